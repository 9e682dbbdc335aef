"""What goes, what goes with it, and which events tell of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fix_sandbox import NOW

from stripe_sandbox.families import CHILD_LISTS, NAMED_PARENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fix_sandbox import Http

    from stripe_sandbox.sandbox import Sandbox


def ok(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def delete(http: Http, path: str) -> Any:
    return ok(http.request("DELETE", path))


def events(http: Http, kind: str) -> list[Any]:
    return http.pages("/v1/events", {"type": kind, "limit": 100})


def kinds(sandbox: Sandbox) -> list[str]:
    """The types of all events in the order in which they happened."""
    found = sandbox.run(lambda: list(sandbox.account.store.table("event").records.values()))
    return [event.body["type"] for event in sorted(found, key=lambda event: event.facts["number"])]


def truth(http: Http, *types: str) -> list[tuple[str, str]]:
    lines = http.get("/_sandbox/truth", {"types": ",".join(types)}).iter_lines()
    return [(line["object"], line["key"]) for line in map(json.loads, lines)]


def gone(http: Http, path: str) -> bool:
    answer = http.get(path)
    return answer.status_code == 404 and answer.json()["error"]["code"] == "resource_missing"


def subscribe(http: Http, customer: str, product: str) -> Any:
    price = {"product": product, "currency": "eur", "unit_amount": 900, "recurring[interval]": "month"}
    made = ok(http.post("/v1/prices", price))
    return ok(http.post("/v1/subscriptions", {"customer": customer, "items[0][price]": made["id"]}))


def make_account(sandbox: Sandbox) -> str:
    def make() -> str:
        account = sandbox.account.create("account", {"type": "custom"}, verb=None)
        capability = {"id": "transfers", "account": account.key}
        sandbox.account.create("capability", capability, verb=None)
        return account.key

    return sandbox.run(make)


def make_install(sandbox: Sandbox) -> str:
    return sandbox.run(lambda: sandbox.account.create("apps.install", {"app": "app_1"}, verb=None).key)


BANK = {
    f"external_account[{name}]": value
    for name, value in [
        ("object", "bank_account"),
        ("account_number", "000123456789"),
        ("country", "DE"),
        ("currency", "eur"),
    ]
}


def _external_account(http: Http, sandbox: Sandbox) -> tuple[str, str]:
    path = f"/v1/accounts/{make_account(sandbox)}/external_accounts"
    made = ok(http.post(path, BANK))["id"]
    delete(http, f"{path}/{made}")
    return made, f"{path}/{made}"


def _install(http: Http, sandbox: Sandbox) -> tuple[str, str]:
    path = f"/v1/apps/installs/{make_install(sandbox)}"
    ok(http.post(f"{path}/uninstall"))
    return path.rsplit("/", 1)[1], path


def _coupon(http: Http, sandbox: Sandbox) -> tuple[str, str]:
    ok(http.post("/v1/coupons", {"id": "X", "percent_off": 5, "duration": "once"}))
    delete(http, "/v1/coupons/X")
    return "X", "/v1/coupons/X"


def _child_of_customer(list_path: str, data: Any) -> Callable[[Http, Sandbox], tuple[str, str]]:
    def act(http: Http, sandbox: Sandbox) -> tuple[str, str]:
        path = f"/v1/customers/{ok(http.post('/v1/customers'))['id']}/{list_path}"
        made = ok(http.post(path, data))["id"]
        delete(http, f"{path}/{made}")
        return made, f"{path}/{made}"

    return act


def _discount(http: Http, sandbox: Sandbox) -> tuple[str, str]:
    ok(http.post("/v1/coupons", {"id": "X", "percent_off": 5, "duration": "forever"}))
    customer = ok(http.post("/v1/customers", {"coupon": "X"}))["id"]
    (discount,) = [key for _, key in truth(http, "discount")]
    assert delete(http, f"/v1/customers/{customer}/discount")["deleted"] is True
    assert ok(http.get(f"/v1/customers/{customer}"))["discount"] is None
    return discount, "/v1/customers/none"  # no path retrieves a discount


def _invoice(http: Http, sandbox: Sandbox) -> tuple[str, str]:
    customer = ok(http.post("/v1/customers"))["id"]
    path = f"/v1/invoices/{ok(http.post('/v1/invoices', {'customer': customer}))['id']}"
    delete(http, path)
    return path.rsplit("/", 1)[1], path


def _invoice_item(http: Http, sandbox: Sandbox) -> tuple[str, str]:
    customer = ok(http.post("/v1/customers"))["id"]
    item = ok(http.post("/v1/invoiceitems", {"customer": customer, "amount": 5, "currency": "eur"}))["id"]
    delete(http, f"/v1/invoiceitems/{item}")
    return item, f"/v1/invoiceitems/{item}"


def _person(http: Http, sandbox: Sandbox) -> tuple[str, str]:
    path = f"/v1/accounts/{make_account(sandbox)}/persons"
    made = ok(http.post(path, {"first_name": "Ada"}))["id"]
    ok(http.post(f"{path}/{made}", {"first_name": "Eve"}))
    delete(http, f"{path}/{made}")
    return made, f"{path}/{made}"


def _plan(http: Http, sandbox: Sandbox) -> tuple[str, str]:
    plan = {"id": "P", "currency": "eur", "interval": "month", "amount": 5, "product[name]": "Box"}
    ok(http.post("/v1/plans", plan))
    delete(http, "/v1/plans/P")
    return "P", "/v1/plans/P"


def _price(http: Http, sandbox: Sandbox) -> tuple[str, str]:
    price = {"currency": "eur", "unit_amount": 5, "product_data[name]": "Box"}
    made = ok(http.post("/v1/prices", price))["id"]
    http.control("delete", object="price", id=made)
    return made, f"/v1/prices/{made}"


def _product(http: Http, sandbox: Sandbox) -> tuple[str, str]:
    ok(http.post("/v1/products", {"id": "box", "name": "Box"}))
    delete(http, "/v1/products/box")
    return "box", "/v1/products/box"


def _test_clock(http: Http, sandbox: Sandbox) -> tuple[str, str]:
    path = f"/v1/test_helpers/test_clocks/{ok(http.post('/v1/test_helpers/test_clocks', {'frozen_time': NOW}))['id']}"
    delete(http, path)
    return path.rsplit("/", 1)[1], path


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        ("account.external_account.deleted", _external_account),
        ("apps.install.deleted", _install),
        ("coupon.deleted", _coupon),
        ("customer.discount.deleted", _discount),
        ("customer.source.deleted", _child_of_customer("sources", {"source": "tok_visa"})),
        ("customer.tax_id.deleted", _child_of_customer("tax_ids", {"type": "eu_vat", "value": "DE123456789"})),
        ("invoice.deleted", _invoice),
        ("invoiceitem.deleted", _invoice_item),
        ("person.deleted", _person),
        ("plan.deleted", _plan),
        ("price.deleted", _price),
        ("product.deleted", _product),
        ("test_helpers.test_clock.deleted", _test_clock),
    ],
)
def test_a_deletion_is_announced_with_the_last_values_and_the_object_is_gone(
    http: Http, sandbox: Sandbox, kind: str, act: Callable[[Http, Sandbox], tuple[str, str]]
) -> None:
    key, path = act(http, sandbox)
    (event,) = events(http, kind)
    assert event["data"]["object"]["id"] == key
    assert len(event["data"]["object"]) > 5
    assert gone(http, path)
    assert key not in [k for name, k in truth(http) if name == event["data"]["object"]["object"]]


def test_a_deleted_customer_leaves_a_stub_and_nothing_else_of_its_own(http: Http, sandbox: Sandbox) -> None:
    ok(http.post("/v1/coupons", {"id": "X", "percent_off": 5, "duration": "forever"}))
    product = ok(http.post("/v1/products", {"name": "Box"}))["id"]
    customer = ok(http.post("/v1/customers", {"coupon": "X", "payment_method": "pm_card_visa"}))["id"]
    path = f"/v1/customers/{customer}"
    subscription = subscribe(http, customer, product)["id"]
    card = ok(http.post(f"{path}/sources", {"source": "tok_visa"}))["id"]
    tax_id = ok(http.post(f"{path}/tax_ids", {"type": "eu_vat", "value": "DE123456789"}))["id"]
    ok(http.post(f"/v1/test_helpers{path[3:]}/fund_cash_balance", {"amount": 5, "currency": "eur"}))
    before = len(kinds(sandbox))
    delete(http, path)
    assert kinds(sandbox)[before:] == ["customer.subscription.deleted", "payment_method.detached", "customer.deleted"]
    assert ok(http.get(path)) == {"id": customer, "object": "customer", "deleted": True}
    assert ok(http.get(f"/v1/subscriptions/{subscription}"))["status"] == "canceled"
    assert gone(http, f"{path}/cash_balance")
    assert gone(http, f"{path}/sources/{card}")
    assert gone(http, f"/v1/payment_methods/{card}")
    assert gone(http, f"/v1/tax_ids/{tax_id}")
    lists = [path_ for path_, child in CHILD_LISTS.items() if child.parent == "customer"]
    assert [http.get(each.format(customer=customer)).status_code for each in lists] == [404] * len(lists)
    left = {name for name, _ in truth(http)} & {"card", "cash_balance", "customer", "discount", "source", "tax_id"}
    assert left == set()


def test_a_detached_card_is_gone_and_so_is_its_payment_method(http: Http) -> None:
    customer = ok(http.post("/v1/customers"))["id"]
    card = ok(http.post(f"/v1/customers/{customer}/sources", {"source": "tok_visa"}))["id"]
    assert card.startswith("card_")
    assert [m["id"] for m in http.pages(f"/v1/customers/{customer}/payment_methods")] == [card]
    assert ok(http.get(f"/v1/payment_methods/{card}"))["card"]["last4"] == "4242"
    assert ok(http.post(f"/v1/payment_methods/{card}/detach"))["customer"] is None
    (event,) = events(http, "payment_method.detached")
    assert (event["data"]["object"]["id"], event["data"]["object"]["customer"]) == (card, None)
    assert event["data"]["previous_attributes"] == {"customer": customer}
    assert gone(http, f"/v1/payment_methods/{card}")
    assert gone(http, f"/v1/customers/{customer}/sources/{card}")
    assert [key for _, key in truth(http, "card", "payment_method")] == []


def test_a_detached_source_stays_but_never_can_be_retrieved_as_a_payment_method(http: Http, sandbox: Sandbox) -> None:
    customer = ok(http.post("/v1/customers"))["id"]
    source = sandbox.run(lambda: sandbox.account.create("source", {"type": "sepa_debit"}, verb=None).key)
    ok(http.post(f"/v1/customers/{customer}/sources", {"source": source}))
    assert gone(http, f"/v1/payment_methods/{source}")
    assert [m["id"] for m in http.pages(f"/v1/customers/{customer}/payment_methods")] == [source]
    delete(http, f"/v1/customers/{customer}/sources/{source}")
    (event,) = events(http, "payment_method.detached")
    assert (event["data"]["object"]["id"], event["data"]["object"]["customer"]) == (source, None)
    assert gone(http, f"/v1/payment_methods/{source}")
    assert ok(http.get(f"/v1/sources/{source}"))["status"] == "consumed"
    assert truth(http, "payment_method", "source") == [("payment_method", source), ("source", source)]


def test_a_source_that_was_let_go_outlives_the_test_clock_of_whose_it_was(http: Http, sandbox: Sandbox) -> None:
    clock = ok(http.post("/v1/test_helpers/test_clocks", {"frozen_time": NOW}))["id"]
    customer = ok(http.post("/v1/customers", {"test_clock": clock}))["id"]
    gone_with_it, let_go = (
        sandbox.run(lambda: sandbox.account.create("source", {"type": "sepa_debit", "customer": customer}).key)
        for _ in range(2)
    )
    delete(http, f"/v1/customers/{customer}/sources/{let_go}")
    delete(http, f"/v1/test_helpers/test_clocks/{clock}")
    assert gone(http, f"/v1/sources/{gone_with_it}")
    assert ok(http.get(f"/v1/sources/{let_go}"))["status"] == "consumed"


def test_a_deleted_test_clock_takes_all_of_its_customers_without_a_word(http: Http, sandbox: Sandbox) -> None:
    clock = ok(http.post("/v1/test_helpers/test_clocks", {"frozen_time": NOW}))["id"]
    customer = ok(http.post("/v1/customers", {"test_clock": clock, "payment_method": "pm_card_visa"}))["id"]
    subscription = subscribe(http, customer, ok(http.post("/v1/products", {"name": "Box"}))["id"])
    charge = http.pages("/v1/charges", {"customer": customer})[0]["id"]
    ok(http.post("/v1/refunds", {"charge": charge}))
    ok(http.post("/v1/customers"))
    before = len(kinds(sandbox))
    delete(http, f"/v1/test_helpers/test_clocks/{clock}")
    assert kinds(sandbox)[before:] == ["test_helpers.test_clock.deleted"]
    assert gone(http, f"/v1/subscriptions/{subscription['id']}")
    assert gone(http, f"/v1/invoices/{subscription['latest_invoice']}")
    left = {name for name, _ in truth(http)} - {"event"}
    assert left == {
        *("account", "balance", "balance_settings", "balance_transaction", "cash_balance", "customer"),
        *("plan", "price", "product", "tax.settings"),
    }
    assert len(http.pages("/v1/customers")) == 1


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/v1/coupons", {"id": "X", "percent_off": 5, "duration": "once"}),
        ("/v1/products", {"id": "X", "name": "Box"}),
        ("/v1/plans", {"id": "X", "currency": "eur", "interval": "month", "amount": 5, "product[name]": "Box"}),
    ],
)
def test_an_id_of_ones_own_can_be_used_again_within_the_second(
    http: Http, sandbox: Sandbox, path: str, data: Any
) -> None:
    first = ok(http.post(path, data))
    delete(http, f"{path}/X")
    again = ok(http.post(path, {**data, "metadata[life]": "2"}))
    assert (first["created"], again["created"], again["metadata"]) == (NOW, NOW, {"life": "2"})
    assert [each["id"] for each in http.pages(path)] == ["X"]
    name = first["object"]
    wanted = [f"{name}.created", f"{name}.deleted", f"{name}.created"]
    assert [kind for kind in kinds(sandbox) if kind.startswith(f"{name}.") and kind in wanted][-3:] == wanted


def test_entitlements_come_and_go_with_subscriptions_and_features(http: Http) -> None:
    product = ok(http.post("/v1/products", {"name": "Box"}))["id"]
    feature = ok(http.post("/v1/entitlements/features", {"name": "Roast", "lookup_key": "roast"}))["id"]
    customer = ok(http.post("/v1/customers", {"payment_method": "pm_card_visa"}))["id"]
    kind = "entitlements.active_entitlement_summary.updated"

    def entitled() -> list[str]:
        return [
            each["lookup_key"] for each in http.pages("/v1/entitlements/active_entitlements", {"customer": customer})
        ]

    subscription = subscribe(http, customer, product)["id"]
    assert (entitled(), events(http, kind)) == ([], [])
    attached = ok(http.post(f"/v1/products/{product}/features", {"entitlement_feature": feature}))["id"]
    (event,) = events(http, kind)
    assert event["data"]["object"]["customer"] == customer
    assert [each["lookup_key"] for each in event["data"]["object"]["entitlements"]["data"]] == ["roast"] == entitled()
    delete(http, f"/v1/subscriptions/{subscription}")
    assert entitled() == []
    subscribe(http, customer, product)
    assert entitled() == ["roast"]
    delete(http, f"/v1/products/{product}/features/{attached}")
    assert (entitled(), len(events(http, kind))) == ([], 4)


def test_a_connected_account_tells_of_its_cards_persons_and_capabilities(http: Http, sandbox: Sandbox) -> None:
    account = make_account(sandbox)
    path = f"/v1/accounts/{account}"
    card = ok(http.post(f"{path}/external_accounts", {"external_account": "tok_visa"}))["id"]
    ok(http.post(f"{path}/external_accounts/{card}", {"name": "Ada"}))
    ok(http.post(f"{path}/capabilities/transfers", {"requested": "true"}))
    person = ok(http.post(f"{path}/persons", {"first_name": "Ada"}))["id"]
    ok(http.post(f"{path}/persons/{person}", {"first_name": "Eve"}))
    assert kinds(sandbox) == [
        *("account.external_account.created", "account.external_account.updated", "capability.updated"),
        *("person.created", "person.updated"),
    ]
    delete(http, path)
    assert gone(http, path)
    assert http.get(f"{path}/persons").status_code == 404
    assert {"person", "capability", "card"} & {name for name, _ in truth(http)} == set()


def test_what_has_no_delete_event_goes_in_silence(http: Http, sandbox: Sandbox) -> None:
    tax_id = ok(http.post("/v1/tax_ids", {"type": "eu_vat", "value": "DE123456789"}))["id"]
    delete(http, f"/v1/tax_ids/{tax_id}")
    hook = ok(http.post("/v1/webhook_endpoints", {"url": "https://example.com", "enabled_events[]": "*"}))["id"]
    delete(http, f"/v1/webhook_endpoints/{hook}")
    values = ok(http.post("/v1/radar/value_lists", {"alias": "a", "name": "A"}))["id"]
    item = ok(http.post("/v1/radar/value_list_items", {"value_list": values, "value": "x"}))["id"]
    delete(http, f"/v1/radar/value_lists/{values}")
    assert gone(http, f"/v1/radar/value_list_items/{item}")
    assert kinds(sandbox) == []


def test_a_deleted_secret_is_answered_as_a_deleted_one(http: Http) -> None:
    named = {"name": "key", "scope[type]": "account"}
    made = ok(http.post("/v1/apps/secrets", {**named, "payload": "x"}))
    deleted = ok(http.post("/v1/apps/secrets/delete", named))
    assert (deleted["id"], deleted["object"], deleted["deleted"]) == (made["id"], "apps.secret", True)
    assert ok(http.get("/v1/apps/secrets", {"scope[type]": "account"}))["data"] == []


def test_whatever_vanishes_takes_its_children_along_and_their_lists_are_gone(make_sandbox: Any, connect: Any) -> None:
    sandbox = make_sandbox("full")
    http = connect(sandbox)
    spec = sandbox.account.spec
    lists = [(e.path, CHILD_LISTS[e.path].parent, ()) for e in spec.lists if e.path in CHILD_LISTS]
    lists += [
        (e.path, NAMED_PARENTS[name], (name,)) for e in spec.lists for name in e.required if name in NAMED_PARENTS
    ]
    checked = set()
    for path, parent_type, params in lists:
        if "/preview/" in path or "event_summaries" in path:
            continue
        record = next(iter(sandbox.account.store.table(parent_type).records.values()))
        asked = path if params else path.replace(path[path.index("{") : path.index("}") + 1], record.key)
        query = dict.fromkeys(params, record.key)
        if "owners" in path:
            query["ownership"] = record.body["ownership"]
        shown = http.pages(asked, query)
        http.control("vanish", object=parent_type, id=record.key)
        assert http.get(asked, query).status_code in (400, 404), path
        there = set(truth(http))
        assert [each["id"] for each in shown if (each["object"], each["id"]) in there] == [], path
        checked |= {path} if shown else set()
    assert len(checked) > 20


def test_everything_that_can_be_retrieved_by_id_is_there_and_gone_once_it_is_deleted(
    make_sandbox: Any, connect: Any
) -> None:
    sandbox = make_sandbox("full")
    http = connect(sandbox)
    failed = []
    for retrieve in sandbox.account.spec.retrieves:
        table = sandbox.account.store.table(retrieve.object)
        if retrieve.path.count("{") != 1 or not retrieve.path.endswith("}") or not table.records:
            continue
        keys = [key for key in table.records if not (retrieve.object == "payment_method" and key.startswith("src_"))]
        path = retrieve.path[: retrieve.path.index("{")] + keys[-1]
        there = http.get(path).status_code
        http.control("vanish", object=retrieve.object, id=keys[-1])
        after = http.get(path)
        stub = retrieve.object == "customer" and after.json().get("deleted") is True
        if there != 200 or not (stub or after.status_code == 404):
            failed.append((path, there, after.status_code))
    assert failed == []


def test_the_truth_agrees_with_what_the_lists_show(http: Http, sandbox: Sandbox) -> None:
    ok(http.post("/v1/coupons", {"id": "X", "percent_off": 5, "duration": "forever"}))
    kept, lost, left = (ok(http.post("/v1/customers", {"coupon": "X"}))["id"] for _ in range(3))
    delete(http, f"/v1/customers/{lost}")
    http.control("vanish", object="customer", id=left)
    assert truth(http, "customer", "cash_balance") == [("cash_balance", kept), ("customer", kept)]
    assert [key for _, key in truth(http, "discount")] == [ok(http.get(f"/v1/customers/{kept}"))["discount"]["id"]]
    shown = {each["id"] for each in http.pages("/v1/events", {"limit": 100})}
    assert {key for _, key in truth(http, "event")} == shown
    spec = sandbox.account.spec
    free = [each for each in spec.lists if "{" not in each.path and not each.required]
    listed = {(each["object"], each["id"]) for endpoint in free for each in http.pages(endpoint.path)}
    assert listed <= set(truth(http))
    assert {name for name, _ in set(truth(http)) - listed} == {
        *("account", "balance", "balance_settings", "cash_balance", "discount", "tax.settings"),
    }
