"""A platform's keys act for connected accounts, each of which is an account of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fix_sandbox import NOW

from stripe_sandbox.errors import SandboxError
from stripe_sandbox.occurrences import catch_up
from stripe_sandbox.sandbox import KINDS, LIVE_KEY, TEST_KEY, Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import stripe
    from fix_sandbox import Http

    from stripe_sandbox.sandbox import Sandbox

DAY = 86_400


@pytest.fixture
def platform(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """An empty account with two empty ones connected to it."""
    return make_sandbox(connected_accounts=2, restricted_keys={"rk_test_some": "customer,event,customer:write"})


@pytest.fixture
def http(platform: Sandbox, connect: Callable[[Sandbox], Http]) -> Http:
    """Plain requests to the platform."""
    return connect(platform)


def acting(account_id: str, **more: str) -> dict[str, str]:
    return {"Stripe-Account": account_id, **more}


def ok(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def error(answer: Any) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"].get("code")


def ids(listed: Any) -> list[str]:
    return [each["id"] for each in ok(listed)["data"]]


def truth(http: Http, types: str, account: str | None = None) -> list[Any]:
    where = {"types": types} if account is None else {"types": types, "account": account}
    answer = http.get("/_sandbox/truth", where)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


# Whose an answer is.


def test_what_one_account_has_no_other_one_shows(http: Http, platform: Sandbox) -> None:
    first, second = platform.connected
    made = ok(http.post("/v1/customers", {"name": "A"}, headers=acting(first)))
    assert ids(http.get("/v1/customers", headers=acting(first))) == [made["id"]]
    for headers in ({}, acting(second)):
        assert ids(http.get("/v1/customers", headers=headers)) == []
        assert error(http.get(f"/v1/customers/{made['id']}", headers=headers)) == (404, "resource_missing")
        assert error(http.post(f"/v1/customers/{made['id']}", {"name": "B"}, headers=headers)) == (
            404,
            "resource_missing",
        )
    assert [line["data"]["id"] for line in truth(http, "customer", first)] == [made["id"]]
    assert truth(http, "customer") == truth(http, "customer", second) == []


def test_an_account_tells_who_it_is(http: Http, platform: Sandbox) -> None:
    for account_id in platform.connected:
        answer = http.get("/v1/account", headers=acting(account_id))
        assert ok(answer)["id"] == account_id
        assert answer.headers["Stripe-Account"] == account_id
        assert ok(http.get(f"/v1/accounts/{account_id}", headers=acting(account_id)))["id"] == account_id
    assert ok(http.get("/v1/account"))["id"] == platform.account.id
    assert ok(http.get("/v1/account", headers=acting(platform.account.id)))["id"] == platform.account.id


@pytest.mark.parametrize("kind", KINDS)
def test_the_platform_lists_all_it_may_act_for(
    kind: str, make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http]
) -> None:
    sandbox = make_sandbox(kind, connected_accounts=3)
    http = connect(sandbox)
    listed = [each["id"] for each in http.pages("/v1/accounts", {"limit": 2})]
    assert sorted(listed) == sorted(sandbox.connected)
    assert len(listed) == 3
    for account_id in listed:
        capabilities = ok(http.get(f"/v1/accounts/{account_id}/capabilities"))["data"]
        assert {each["account"] for each in capabilities} <= {account_id}
        assert ok(http.get("/v1/account", headers=acting(account_id)))["id"] == account_id
    first = next(iter(sandbox.connected))
    for children in ("capabilities", "external_accounts", "persons"):
        assert ids(http.get(f"/v1/accounts/{first}/{children}"))


def test_the_same_seed_connects_the_same_accounts_and_another_one_others() -> None:
    def known(seed: int) -> dict[str, list[str]]:
        service = Service(account="full", seed=seed, now=NOW, connected_accounts=2)
        return {key: list(each.store.table("customer").records) for key, each in service.connected.items()}

    same, again, other = known(1), known(1), known(2)
    assert same == again
    assert same.keys().isdisjoint(other)
    first, second = same.values()
    assert set(first).isdisjoint(second)


def test_without_connected_accounts_everything_is_as_it_was(full: Http, full_sandbox: Sandbox) -> None:
    made_up = ids(full.get("/v1/accounts"))[0]
    assert full_sandbox.connected == {}
    assert error(full.get("/v1/customers", headers=acting(made_up))) == (403, "account_invalid")


def test_a_full_connected_account_has_objects_of_every_type_that_its_platform_has(
    make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http]
) -> None:
    sandbox = make_sandbox("full", connected_accounts=1)
    (connected,) = sandbox.connected.values()
    http = connect(sandbox)

    def types(account: str | None) -> set[str]:
        return {line["object"] for line in truth(http, "", account)}

    assert types(connected.id) == types(None)
    assert [line["key"] for line in truth(http, "account", connected.id)] == [connected.id]
    named = {line["data"]["account"] for line in truth(http, "capability,person", connected.id)}
    assert named == {connected.id}


@pytest.mark.parametrize(("kind", "coupon"), [("demo", "WELCOME10"), ("full", "COUPON-001")])
def test_an_id_that_users_choose_means_something_else_in_each_account(
    kind: str, coupon: str, make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http]
) -> None:
    sandbox = make_sandbox(kind, connected_accounts=2)
    http = connect(sandbox)
    places: list[dict[str, str]] = [{}, *map(acting, sandbox.connected)]
    told = [ok(http.get(f"/v1/coupons/{coupon}", headers=headers)) for headers in places]
    assert {each["id"] for each in told} == {coupon}
    terms = [tuple(each[name] for name in ("amount_off", "percent_off", "duration_in_months")) for each in told]
    assert all(each not in terms[:number] for number, each in enumerate(terms))


def test_what_an_object_is_in_one_account_it_stays_when_its_namesake_is_deleted(http: Http, platform: Sandbox) -> None:
    first, second = platform.connected
    for account_id, percent in ((first, "10"), (second, "20")):
        ok(http.post("/v1/coupons", {"id": "SAME", "percent_off": percent}, headers=acting(account_id)))
    ok(http.request("DELETE", "/v1/coupons/SAME", headers=acting(first)))
    assert error(http.get("/v1/coupons/SAME", headers=acting(first))) == (404, "resource_missing")
    assert ok(http.get("/v1/coupons/SAME", headers=acting(second)))["percent_off"] == 20


def test_the_official_library_acts_for_an_account(
    platform: Sandbox, make_client: Callable[..., stripe.StripeClient]
) -> None:
    client = make_client(platform)
    first, second = platform.connected
    made = client.v1.customers.create({"name": "A"}, {"stripe_account": first})
    assert [each.id for each in client.v1.customers.list(options={"stripe_account": first})] == [made.id]
    assert [each.id for each in client.v1.customers.list(options={"stripe_account": second})] == []
    (event,) = client.v1.events.list({"type": "customer.created"}, {"stripe_account": first})
    assert event.account == first


def test_an_account_that_the_platform_makes_can_be_acted_for(http: Http, platform: Sandbox) -> None:
    made = ok(http.post("/v1/accounts", {"type": "custom", "email": "new@example.com"}))
    assert made["id"] in platform.connected
    assert ok(http.get("/v1/account", headers=acting(made["id"])))["email"] == "new@example.com"
    assert ids(http.get("/v1/customers", headers=acting(made["id"]))) == []


# Who may, and what.


def test_an_account_without_access_is_refused_with_the_key_masked(http: Http, platform: Sandbox) -> None:
    refused = http.get("/v1/customers", headers=acting("acct_other"))
    assert error(refused) == (403, "account_invalid")
    assert "'acct_other'" in refused.json()["error"]["message"]
    assert TEST_KEY not in refused.text
    first = next(iter(platform.connected))
    assert error(http.get("/v1/customers", key=LIVE_KEY, headers=acting(first))) == (403, "account_invalid")


def test_a_connected_account_is_no_platform(http: Http, platform: Sandbox) -> None:
    first, second = platform.connected
    for method in ("GET", "POST"):
        refused = http.request(method, "/v1/accounts", headers=acting(first))
        assert error(refused) == (403, "platform_account_required")
        assert "Only Stripe Connect platforms can work with other accounts" in refused.json()["error"]["message"]
    for path in (f"/v1/accounts/{second}", f"/v1/accounts/{second}/persons", f"/v1/accounts/{platform.account.id}"):
        assert error(http.get(path, headers=acting(first))) == (403, "account_invalid")


def test_a_restricted_key_may_as_much_in_every_account_and_is_told_in_which_it_may_not(
    http: Http, platform: Sandbox
) -> None:
    first = next(iter(platform.connected))
    key = "rk_test_some"
    assert http.get("/v1/customers", key=key, headers=acting(first)).status_code == 200
    assert http.post("/v1/customers", {"name": "A"}, key=key, headers=acting(first)).status_code == 200
    for headers, named in (({}, platform.account.id), (acting(first), first)):
        for method, path, permission in (
            ("GET", "/v1/charges", "rak_charge_read"),
            ("POST", "/v1/products", "rak_product_write"),
            ("POST", "/v1/invoices/create_preview", "rak_invoice_write"),
        ):
            refused = http.request(method, path, key=key, headers=headers)
            assert refused.status_code == 403
            message = refused.json()["error"]["message"]
            assert f"on account '{named}'" in message
            assert f"'{permission}'" in message


def test_an_idempotency_key_is_an_accounts_own(http: Http, platform: Sandbox) -> None:
    first, second = platform.connected
    key = {"Idempotency-Key": "once"}
    made = [
        ok(http.post("/v1/customers", {"name": name}, headers=headers | key))["id"]
        for name, headers in (("P", {}), ("A", acting(first)), ("B", acting(second)))
    ]
    assert len(set(made)) == 3
    again = http.post("/v1/customers", {"name": "A"}, headers=acting(first) | key)
    assert (ok(again)["id"], again.headers["Idempotent-Replayed"]) == (made[1], "true")
    own = http.post("/v1/customers", {"name": "P"}, headers=acting(platform.account.id) | key)
    assert ok(own)["id"] == made[0]
    assert error(http.post("/v1/customers", {"name": "A"}, headers=acting(second) | key))[0] == 400


# Events, previews and time.


def subscribe(http: Http, account_id: str) -> Any:
    headers = acting(account_id)
    customer = ok(http.post("/v1/customers", {"payment_method": "pm_card_visa"}, headers=headers))
    product = ok(http.post("/v1/products", {"name": "Box"}, headers=headers))
    price = {"product": product["id"], "currency": "eur", "unit_amount": 900, "recurring[interval]": "month"}
    made = ok(http.post("/v1/prices", price, headers=headers))
    wanted = {"customer": customer["id"], "items[0][price]": made["id"]}
    return ok(http.post("/v1/subscriptions", wanted, headers=headers))


def test_events_say_from_which_account_they_come(http: Http, platform: Sandbox) -> None:
    first, second = platform.connected
    ok(http.post("/v1/customers", {"name": "P"}))
    ok(http.post("/v1/customers", {"name": "A"}, headers=acting(first)))
    (own,) = ok(http.get("/v1/events"))["data"]
    (theirs,) = ok(http.get("/v1/events", headers=acting(first)))["data"]
    assert "account" not in own
    assert (theirs["account"], theirs["data"]["object"]["name"]) == (first, "A")
    assert ids(http.get("/v1/events", headers=acting(second))) == []
    assert error(http.get(f"/v1/events/{theirs['id']}")) == (404, "resource_missing")


def test_every_event_of_a_full_connected_account_names_it(
    make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http]
) -> None:
    sandbox = make_sandbox("full", connected_accounts=1)
    http = connect(sandbox)
    (account_id,) = sandbox.connected
    assert {line["data"].get("account") for line in truth(http, "event", account_id)} == {account_id}
    assert {line["data"].get("account") for line in truth(http, "event")} == {None}


def test_previews_are_of_the_account_that_is_acted_for(http: Http, platform: Sandbox) -> None:
    first, second = platform.connected
    subscription = subscribe(http, first)
    wanted = {"subscription": subscription["id"]}
    old = {"Stripe-Version": "2024-06-20"}
    assert ok(http.get("/v1/invoices/upcoming", wanted, headers=acting(first) | old))["amount_due"] == 900
    assert ok(http.post("/v1/invoices/create_preview", wanted, headers=acting(first)))["amount_due"] == 900
    for headers in ({}, acting(second)):
        assert error(http.get("/v1/invoices/upcoming", wanted, headers=headers | old))[1] == "resource_missing"
        assert error(http.post("/v1/invoices/create_preview", wanted, headers=headers))[1] == "resource_missing"


def test_time_passes_in_every_account_and_what_happens_carries_its_own_moment(http: Http, platform: Sandbox) -> None:
    ends = {}
    for account_id in platform.connected:
        ends[account_id] = subscribe(http, account_id)["items"]["data"][0]["current_period_end"]
        http.control("clock", advance=DAY)
    http.control("clock", advance=32 * DAY)
    assert len(set(ends.values())) == 2
    for account_id, end in ends.items():
        invoices = ok(http.get("/v1/invoices", headers=acting(account_id)))["data"]
        assert [each["created"] >= end for each in invoices] == [True, False]
        since = {"type": "invoice.created", "created[gte]": end}
        created = ok(http.get("/v1/events", since, headers=acting(account_id)))["data"]
        assert [(each["created"], each["account"]) for each in created] == [(end, account_id)]


def test_what_is_due_in_several_accounts_happens_in_order_of_time() -> None:
    service = Service(account="empty", now=NOW, connected_accounts=2)
    accounts = (service.account, *service.connected.values())
    due = {NOW + day * DAY + number * 100: account for day in (1, 2) for number, account in enumerate(accounts)}
    for moment, account in due.items():
        account.schedule(account.create("checkout.session", {"status": "open", "expires_at": moment}))
    service.account.clock.advance(10 * DAY)
    passed: list[int] = []
    while not catch_up(*accounts, seconds=0):  # one thing at a time
        passed.append(service.account.now())
    assert passed == sorted(passed)
    assert set(due) <= set(passed)
    for account in accounts:
        expired = [each for each in account.store.table("event") if each.body["type"] == "checkout.session.expired"]
        assert sorted(each.created for each in expired) == [moment for moment, of in due.items() if of is account]


def test_business_goes_on_in_all_accounts_or_in_one(
    make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http]
) -> None:
    sandbox = make_sandbox("demo", connected_accounts=2)
    http = connect(sandbox)
    first, second = sandbox.connected
    accounts = [None, first, second]

    def charges() -> list[int]:
        return [len(truth(http, "charge", each)) for each in accounts]

    before = charges()
    assert http.control("tick", days=20)["now"] == NOW + 20 * DAY
    after = charges()
    assert all(new > old for old, new in zip(before, after, strict=True))
    customers = [len(truth(http, "customer", each)) for each in accounts]
    http.control("tick", days=40, account=first)
    grown = [len(truth(http, "customer", each)) for each in accounts]
    assert [grown[0], grown[2]] == [customers[0], customers[2]]
    assert grown[1] > customers[1]


# The sandbox itself.


def test_control_is_about_the_account_that_it_names(http: Http, platform: Sandbox) -> None:
    first, second = platform.connected
    for account_id in (first, second):
        for coupon in ("KEPT", "GONE", "DEAD"):
            ok(http.post("/v1/coupons", {"id": coupon, "percent_off": "10"}, headers=acting(account_id)))
    http.control("change", object="coupon", id="KEPT", values={"name": "New"}, account=first)
    http.control("vanish", object="coupon", id="GONE", account=first)
    http.control("delete", object="coupon", id="DEAD", account=first)
    names = {line["key"]: line["data"]["name"] for line in truth(http, "coupon", first)}
    assert names == {"KEPT": "New"}
    changes = http.control("history", seed=1, changes=5, types=["coupon"], account=first)["changes"]
    assert {each["type"] for each in changes} == {"coupon"}
    assert [line["key"] for line in truth(http, "coupon", second)] == ["KEPT", "GONE", "DEAD"]
    gone = ok(http.get("/v1/events", {"type": "coupon.deleted", "limit": 100}, headers=acting(first)))["data"]
    assert "DEAD" in [each["data"]["object"]["id"] for each in gone]
    assert "GONE" not in [each["data"]["object"]["id"] for each in gone]
    old = http.control("events", api_version="2024-06-20", account=second)
    assert (old["api_version"], platform.connected[first].api_version) == ("2024-06-20", platform.account.api_version)
    for name in ("change", "vanish", "delete", "history", "events"):
        given = {"account": "acct_other", "object": "coupon", "id": "KEPT", "seed": 1}
        refused = http.request("POST", f"/_sandbox/{name}", json=given)
        assert refused.status_code == 400
        assert "There is no account acct_other" in refused.json()["error"]


def test_revoked_access_is_refused_and_comes_back_with_all_that_was_there(http: Http, platform: Sandbox) -> None:
    first, second = platform.connected
    ok(http.post("/v1/customers", {"name": "A"}, headers=acting(first)))
    before = truth(http, "account,capability,person,bank_account")
    answer = http.control("connected", revoke=first)
    assert answer["accounts"] == [{"id": first, "access": False}, {"id": second, "access": True}]
    assert error(http.get("/v1/customers", headers=acting(first))) == (403, "account_invalid")
    for path in (f"/v1/accounts/{first}", f"/v1/accounts/{first}/capabilities", f"/v1/accounts/{first}/persons"):
        assert error(http.get(path)) == (403, "account_invalid")
    assert ids(http.get("/v1/accounts")) == [second]
    assert {line["data"].get("account", second) for line in truth(http, "capability,person,bank_account")} == {second}
    assert [line["data"]["name"] for line in truth(http, "customer", first)] == ["A"]
    http.control("connected", restore=first)
    assert [each["name"] for each in ok(http.get("/v1/customers", headers=acting(first)))["data"]] == ["A"]
    assert sorted(ids(http.get("/v1/accounts"))) == sorted((first, second))
    by_key = lambda lines: sorted(lines, key=lambda line: line["key"])  # noqa: E731
    assert by_key(truth(http, "account,capability,person,bank_account")) == by_key(before)
    told = [(each["type"], each["account"]) for each in ok(http.get("/v1/events"))["data"]]
    assert sorted(told) == [("account.application.authorized", first), ("account.application.deauthorized", first)]


def test_an_account_that_the_platform_deletes_cannot_be_acted_for_any_more(http: Http, platform: Sandbox) -> None:
    first = next(iter(platform.connected))
    ok(http.request("DELETE", f"/v1/accounts/{first}"))
    assert error(http.get("/v1/customers", headers=acting(first))) == (403, "account_invalid")
    assert {"id": first, "access": False} in http.get("/_sandbox/connected").json()["accounts"]


@pytest.mark.parametrize("kind", KINDS)
def test_another_account_joins_while_the_sandbox_runs(
    kind: str, make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http]
) -> None:
    sandbox = make_sandbox(kind, connected_accounts=1)
    http = connect(sandbox)
    (joined,) = http.control("connected", connect=1)["connected"]
    assert joined in ids(http.get("/v1/accounts"))
    assert sandbox.account.now() == NOW
    assert ok(http.get("/v1/account", headers=acting(joined)))["id"] == joined
    started = Service(account=kind, now=NOW, connected_accounts=2)
    assert joined == list(started.connected)[1]
    kinds = {each["type"] for each in ok(http.get("/v1/events", {"created[gte]": NOW, "limit": 100}))["data"]}
    assert {
        "account.application.authorized",
        "account.external_account.created",
        "account.updated",
        "capability.updated",
        "person.created",
    } <= kinds


def test_what_cannot_be_done_to_connected_accounts_is_told(http: Http, platform: Sandbox) -> None:
    first = next(iter(platform.connected))
    for given in ({}, {"nonsense": 1}, {"revoke": "acct_other"}, {"restore": first}, {"connect": -1}):
        assert http.request("POST", "/_sandbox/connected", json=given).status_code == 400
    platform.run(lambda: platform.revoke(first))
    with pytest.raises(SandboxError, match="no access"):
        platform.run(lambda: platform.revoke(first))
    platform.run(lambda: platform.restore(first))
    assert platform.run(lambda: platform.reaches(first))
    with pytest.raises(SandboxError, match="connected accounts, not -1"):
        Service(account="empty", connected_accounts=-1)


def test_the_log_says_for_which_account_a_request_acted(http: Http, platform: Sandbox) -> None:
    first = next(iter(platform.connected))
    http.get("/v1/customers", headers=acting(first))
    http.get("/v1/customers")
    requests = http.get("/_sandbox/requests").json()["requests"]
    assert [each["account"] for each in requests] == [first, None]


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_file_has_the_connected_accounts_in_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    service = Service(account=kind, now=NOW, connected_accounts=2, state_file=path)
    first, second = service.connected
    service.connected[second].create("customer", {"name": "Late"})
    (joined,) = service.connect()
    service.revoke(first)
    agendas = {key: each.agenda.entries() for key, each in service.connected.items()}
    service.save()
    resumed = Service(account=kind, now=NOW, connected_accounts=2, state_file=path)
    assert list(resumed.connected) == [first, second, joined.id]
    assert [resumed.reaches(key) for key in resumed.connected] == [False, True, True]
    names = {each.body["name"] for each in resumed.connected[second].store.table("customer").records.values()}
    assert "Late" in names
    for key, each in service.connected.items():
        again = resumed.connected[key]
        assert set(again.store.table("customer").records) >= set(each.store.table("customer").records)
        assert kind == "demo" or again.agenda.entries() == agendas[key]
    resumed.restore(first)
    capabilities = {each.body["id"] for each in resumed.account.store.linked("capability", "account", first)}
    assert {"card_payments", "transfers"} <= capabilities
    more = Service(account=kind, now=NOW, connected_accounts=4, state_file=path)
    assert list(more.connected)[:3] == [first, second, joined.id]
    assert [more.reaches(key) for key in more.connected] == [False, True, True, True]


def test_an_account_made_by_the_platform_is_in_the_state_file_under_its_id(
    make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http], tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    sandbox = make_sandbox(state_file=path)
    http = connect(sandbox)
    made = ok(http.post("/v1/accounts", {"type": "custom"}))["id"]
    ok(http.post("/v1/customers", {"name": "A"}, headers=acting(made)))
    sandbox.run(sandbox.save)
    resumed = Service(account="empty", now=NOW, state_file=path)
    assert list(resumed.connected) == [made]
    names = [each.body["name"] for each in resumed.connected[made].store.table("customer").records.values()]
    assert names == ["A"]


def test_a_state_file_from_before_there_were_connected_accounts_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    Service(account="empty", now=NOW, state_file=path).save()
    saved = json.loads(path.read_bytes())
    for name in ("connected", "left", "id"):
        del saved[name]
    path.write_text(json.dumps(saved))
    resumed = Service(account="empty", now=NOW, connected_accounts=2, state_file=path)
    assert all(resumed.reaches(key) for key in resumed.connected)
    assert len(resumed.connected) == 2
