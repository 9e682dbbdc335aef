"""Lists: paging, filters, hidden rows, refusals."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from addresses import list_address
from fix_sandbox import NOW, Http

from stripe_sandbox.filters import FILTERS, IGNORED, PAGING, RANGE_FIELDS
from stripe_sandbox.spec import ListEndpoint, load_spec

if TYPE_CHECKING:
    from stripe_sandbox.sandbox import Sandbox

SPEC = load_spec()
ENDPOINTS = {endpoint.path: endpoint for endpoint in SPEC.lists}


def request_for(sandbox: Sandbox, endpoint: ListEndpoint) -> tuple[str, dict[str, Any]]:
    """A path and parameters for which the account has data, as a form has them."""
    address = list_address(sandbox.account, endpoint)
    params = {
        name if inner is None else f"{name}[{inner}]": item
        for name, value in address.params.items()
        for inner, item in (value.items() if isinstance(value, dict) else ((None, value),))
    }
    return address.path(endpoint.path), params


@pytest.mark.parametrize("path", sorted(ENDPOINTS))
def test_every_list_endpoint_of_the_api_answers_with_data(full: Http, full_sandbox: Sandbox, path: str) -> None:
    endpoint = ENDPOINTS[path]
    url, params = request_for(full_sandbox, endpoint)
    answer = full.get(url, params)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["object"] == "list"
    assert page["url"] == url
    assert {item["object"] for item in page["data"]} <= set(endpoint.objects)
    assert page["data"]


@pytest.mark.parametrize("path", sorted(ENDPOINTS))
def test_a_list_takes_exactly_the_parameters_that_the_api_has(full: Http, full_sandbox: Sandbox, path: str) -> None:
    endpoint = ENDPOINTS[path]
    url, params = request_for(full_sandbox, endpoint)
    unknown = full.get(url, {**params, "nonsense": "1"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (400, "parameter_unknown")
    limited = full.get(url, {**params, "limit": 1})
    assert limited.status_code == (200 if "limit" in endpoint.params else 400)
    for name in endpoint.required:
        rest = {key: value for key, value in params.items() if key.partition("[")[0] != name}
        missing = full.get(url, rest)
        assert (missing.status_code, missing.json()["error"]["code"]) == (400, "parameter_missing")


def test_no_parameter_of_a_list_is_without_effect() -> None:
    facts = {
        "/v1/balance_transactions": {"payout"},
        "/v1/billing/credit_balance_transactions": {"customer", "customer_account"},
        "/v1/billing/meters/{id}/event_summaries": {"customer"},
        "/v1/credit_notes/preview/lines": set(ENDPOINTS["/v1/credit_notes/preview/lines"].params),
        "/v1/entitlements/active_entitlements": {"customer"},
        "/v1/financial_connections/accounts": {"session"},
        "/v1/treasury/debit_reversals": {"resolution"},
    }
    unexplained = [
        (endpoint.path, name)
        for endpoint in SPEC.lists
        for name in endpoint.params
        if name not in PAGING | RANGE_FIELDS
        and (endpoint.path, name) not in FILTERS
        and (endpoint.path, name) not in IGNORED
        and name not in facts.get(endpoint.path, set())
        and not any(name in SPEC.fields(object_type) for object_type in endpoint.objects)
    ]
    assert unexplained == []


@pytest.mark.parametrize(
    ("object_type", "fact", "path"),
    [
        ("balance_transaction", "payout", "/v1/balance_transactions"),
        ("financial_connections.account", "session", "/v1/financial_connections/accounts"),
    ],
)
def test_what_an_object_does_not_say_can_still_be_filtered_by(
    full: Http, full_sandbox: Sandbox, object_type: str, fact: str, path: str
) -> None:
    records = list(full_sandbox.account.store.table(object_type))
    value = next(record.facts[fact] for record in records if fact in record.facts)
    found = {item["id"] for item in full.pages(path, {fact: value})}
    assert found == {record.key for record in records if record.facts.get(fact) == value}
    assert len(found) < len(records)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 201])
def test_pages_tile_exactly(sandbox: Sandbox, http: Http, count: int) -> None:
    made = [sandbox.run(lambda: sandbox.account.create("customer", {}).key) for _ in range(count)]
    asked = len(sandbox.requests)
    listed = [customer["id"] for customer in http.pages("/v1/customers", {"limit": 100})]
    assert listed == made[::-1]
    assert len(sandbox.requests) - asked == max(1, -(-count // 100))


def test_a_page_before_a_cursor_is_the_one_next_to_it(sandbox: Sandbox, http: Http) -> None:
    made = [sandbox.run(lambda: sandbox.account.create("customer", {}).key) for _ in range(6)][::-1]
    page = http.get("/v1/customers", {"limit": 2, "ending_before": made[4]}).json()
    assert [customer["id"] for customer in page["data"]] == made[2:4]
    assert page["has_more"] is True
    first = http.get("/v1/customers", {"limit": 2, "ending_before": made[2]}).json()
    assert [customer["id"] for customer in first["data"]] == made[:2]
    assert first["has_more"] is False


def test_the_default_limit_is_ten(full: Http) -> None:
    assert len(full.get("/v1/charges").json()["data"]) == 10


@pytest.mark.parametrize("limit", ["0", "-1", "101", "many"])
def test_a_limit_outside_1_to_100_is_refused(full: Http, limit: str) -> None:
    answer = full.get("/v1/charges", {"limit": limit})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "limit"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"created[gte]": NOW - 2, "created[lt]": NOW}, [NOW - 1, NOW - 2]),
        ({"created[gt]": NOW - 2, "created[lte]": NOW}, [NOW, NOW - 1]),
        ({"created": NOW - 1}, [NOW - 1]),
        ({"created[gt]": NOW}, []),
        ({"created[lt]": NOW - 3}, []),
    ],
)
def test_created_filters_are_exact_to_the_second(
    sandbox: Sandbox, http: Http, params: Any, expected: list[int]
) -> None:
    for age in (3, 2, 1, 0):
        sandbox.run(lambda age=age: sandbox.account.create("customer", {"created": NOW - age}))
    listed = http.get("/v1/customers", params).json()["data"]
    assert [customer["created"] for customer in listed] == expected


def test_windows_of_created_tile_a_list_with_crowds_in_one_second(full: Http) -> None:
    everything = [charge["id"] for charge in full.pages("/v1/charges", {"limit": 100})]
    moments = sorted({charge["created"] for charge in full.pages("/v1/charges", {"limit": 100})})
    assert len(moments) < len(everything)
    middle = moments[len(moments) // 2]
    newer = full.pages("/v1/charges", {"limit": 100, "created[gte]": middle})
    older = full.pages("/v1/charges", {"limit": 100, "created[lt]": middle})
    assert [charge["id"] for charge in newer + older] == everything


def test_a_cursor_that_vanished_is_refused(sandbox: Sandbox, http: Http) -> None:
    made = [sandbox.run(lambda: sandbox.account.create("customer", {}).key) for _ in range(3)]
    http.control("vanish", object="customer", id=made[1])
    answer = http.get("/v1/customers", {"starting_after": made[1]})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "resource_missing", "starting_after")


def test_canceled_subscriptions_are_listed_only_on_request(full: Http) -> None:
    shown = {s["id"]: s["status"] for s in full.pages("/v1/subscriptions", {"limit": 100})}
    every = {s["id"]: s["status"] for s in full.pages("/v1/subscriptions", {"limit": 100, "status": "all"})}
    ended = {s["id"] for s in full.pages("/v1/subscriptions", {"limit": 100, "status": "ended"})}
    assert "canceled" not in shown.values()
    assert ended
    assert every.keys() == shown.keys() | ended
    hidden = next(iter(ended))
    assert full.get("/v1/subscriptions", {"starting_after": hidden}).status_code == 400


def test_prices_are_listed_by_activity_and_inline_ones_never(full: Http, full_sandbox: Sandbox) -> None:
    default = {p["id"] for p in full.pages("/v1/prices", {"limit": 100})}
    active = {p["id"] for p in full.pages("/v1/prices", {"limit": 100, "active": "true"})}
    inactive = {p["id"] for p in full.pages("/v1/prices", {"limit": 100, "active": "false"})}
    inline = {r.key for r in full_sandbox.account.store.table("price") if r.facts.get("inline")}
    assert default == active
    assert inactive
    assert inline
    assert not (active | inactive) & inline
    assert full.get(f"/v1/prices/{next(iter(inline))}").status_code == 200


def test_closed_reviews_detached_payment_methods_and_the_own_account_are_not_listed(
    full: Http, full_sandbox: Sandbox
) -> None:
    store = full_sandbox.account.store
    reviews = {r["id"] for r in full.pages("/v1/reviews", {"limit": 100})}
    assert reviews == {r.key for r in store.table("review") if r.body["open"]}
    assert len(reviews) < len(store.table("review"))
    methods = {m["id"] for m in full.pages("/v1/payment_methods", {"limit": 100})}
    custom = {m["id"] for m in full.pages("/v1/payment_methods", {"limit": 100, "type": "custom"})}
    detached = {r.key for r in store.table("payment_method") if r.facts.get("detached")}
    assert custom
    assert detached
    on_clocks = {r.key for r in store.table("payment_method") if r.link("test_clock")}
    assert methods | custom | detached | on_clocks == {r.key for r in store.table("payment_method")}
    assert not methods & custom
    accounts = {a["id"] for a in full.pages("/v1/accounts", {"limit": 100})}
    assert full_sandbox.account.id not in accounts
    assert full.get("/v1/account").json()["id"] == full_sandbox.account.id


def test_tax_ids_are_the_accounts_own_unless_an_owner_is_named(full: Http) -> None:
    own = full.pages("/v1/tax_ids", {"limit": 100})
    assert own
    assert {tax_id["customer"] for tax_id in own} == {None}
    customers = full.pages("/v1/customers", {"limit": 100, "expand[]": "data.tax_ids"})
    owner = next(customer for customer in customers if customer["tax_ids"]["has_more"])
    by_owner = full.pages("/v1/tax_ids", {"owner[type]": "customer", "owner[customer]": owner["id"], "limit": 100})
    by_customer = full.pages(f"/v1/customers/{owner['id']}/tax_ids", {"limit": 100})
    assert by_owner == by_customer
    assert len(by_owner) > 10


def test_what_belongs_to_a_test_clock_is_listed_only_with_it(full: Http, full_sandbox: Sandbox) -> None:
    store = full_sandbox.account.store
    hidden = [r for r in store.table("customer") if r.body["test_clock"] is not None]
    assert hidden
    listed = {customer["id"] for customer in full.pages("/v1/customers", {"limit": 100})}
    assert listed == {r.key for r in store.table("customer")} - {r.key for r in hidden}
    for record in hidden:
        of_clock = full.pages("/v1/customers", {"test_clock": record.body["test_clock"]})
        assert record.key in {customer["id"] for customer in of_clock}


def test_events_are_filtered_by_type_wildcard_and_types(full: Http) -> None:
    def kinds(params: Any) -> set[str]:
        return {event["type"] for event in full.pages("/v1/events", params)}

    assert kinds({"type": "charge.succeeded"}) == {"charge.succeeded"}
    subscriptions = kinds({"type": "customer.subscription.*", "limit": 100})
    assert subscriptions
    assert all(kind.startswith("customer.subscription.") for kind in subscriptions)
    both = full.get("/v1/events", [("types[]", "charge.succeeded"), ("types[]", "coupon.deleted")]).json()["data"]
    assert {event["type"] for event in both} == {"charge.succeeded", "coupon.deleted"}
    many = full.get("/v1/events", [("types[]", f"a.{number}") for number in range(21)])
    assert many.status_code == 400


def test_every_event_type_is_there_with_the_object_it_carries(full: Http) -> None:
    events = full.pages("/v1/events", {"limit": 100})
    assert {event["type"] for event in events} == set(SPEC.events)
    for event in events:
        assert event["data"]["object"]["object"] in SPEC.events[event["type"]]


def test_events_older_than_thirty_days_are_forgotten(sandbox: Sandbox, http: Http) -> None:
    http.post("/v1/customers", {"name": "A"})
    assert len(http.get("/v1/events").json()["data"]) == 1
    http.control("clock", advance=30 * 86_400 + 1)
    assert http.get("/v1/events").json()["data"] == []


def test_report_types_come_whole_and_refuse_a_limit(full: Http) -> None:
    assert full.get("/v1/reporting/report_types").json()["has_more"] is False
    assert full.get("/v1/reporting/report_types", {"limit": 10}).json()["error"]["code"] == "parameter_unknown"


def test_an_unknown_path_is_told_in_stripes_words(full: Http) -> None:
    answer = full.get("/v1/nothing/here")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith("Unrecognized request URL (GET: /v1/nothing/here).")


def test_answers_are_pretty_printed_and_say_who_they_are(full: Http) -> None:
    answer = full.get("/v1/customers", {"limit": 1}, headers={"Stripe-Version": "2026-10-28.endive"})
    assert answer.text.startswith('{\n  "object": "list",\n  "data": [\n    {\n      "id": "cus_')
    assert answer.text.endswith('\n  "url": "/v1/customers"\n}')
    assert re.fullmatch(r"req_\w{14}", answer.headers["Request-Id"])
    assert answer.headers["Stripe-Version"] == "2026-10-28.endive"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Date"] == "Mon, 21 Sep 2026 14:13:20 GMT"


def test_the_same_seed_gives_the_same_bytes(make_sandbox: Any, connect: Any) -> None:
    one, two, other = (connect(make_sandbox("full", seed=seed)) for seed in (7, 7, 8))
    for path in ("/v1/charges", "/v1/customers", "/v1/invoices"):
        params = {"limit": 100}
        assert one.get(path, params).content == two.get(path, params).content
        assert one.get(path, params).content != other.get(path, params).content


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("/v1/products", {"active": "perhaps"}, "parameter_invalid_boolean"),
        ("/v1/prices", {"lookup_keys": "one"}, "parameter_invalid_array"),
        ("/v1/forwarding/requests", {"created": "5"}, "parameter_invalid_hash"),
        ("/v1/charges", {"created[around]": "5"}, "parameter_unknown"),
        ("/v1/charges", {"created": "yesterday"}, "parameter_invalid_integer"),
        ("/v1/subscriptions", {"status": "perhaps"}, "parameter_invalid_enum"),
        ("/v1/charges", {"customer": "cus_none"}, "resource_missing"),
        ("/v1/subscription_items", {"subscription": "sub_none"}, "resource_missing"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(full: Http, path: str, params: Any, code: str) -> None:
    answer = full.get(path, params)
    assert (answer.status_code, answer.json()["error"].get("code")) == (400, code)


def test_a_deleted_customer_can_be_filtered_by_but_has_no_lists_of_its_own(http: Http) -> None:
    made = http.post("/v1/customers", {"payment_method": "pm_card_visa"}).json()["id"]
    http.post("/v1/invoiceitems", {"customer": made, "amount": "5", "currency": "eur"})
    http.request("DELETE", f"/v1/customers/{made}")
    assert len(http.get("/v1/invoiceitems", {"customer": made}).json()["data"]) == 1
    assert http.get(f"/v1/customers/{made}/tax_ids").status_code == 404
    assert http.get("/v1/entitlements/active_entitlements", {"customer": made}).status_code == 400
