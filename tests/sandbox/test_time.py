"""Time passes: what happens by itself, when, and which events tell of it."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from fix_sandbox import NOW

from stripe_sandbox.sandbox import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fix_sandbox import Http

    from stripe_sandbox.sandbox import Sandbox

DAY = 86_400
HOUR = 3_600


@pytest.fixture(autouse=True)
def _nothing_fails(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


def ok(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def told(http: Http, since: int, *prefixes: str) -> list[tuple[int, str]]:
    """The events since a moment, as seconds after it and type, oldest first."""
    events = http.pages("/v1/events", {"limit": 100, "created[gt]": since})
    found = [(e["created"] - since, e["type"]) for e in events if not prefixes or e["type"].startswith(prefixes)]
    return sorted(found)


def subscribe(http: Http, *, card: str = "pm_card_visa", interval: str = "month", **options: Any) -> Any:
    customer = ok(http.post("/v1/customers", {"payment_method": card}))
    product = ok(http.post("/v1/products", {"name": "Box"}))
    price = {"product": product["id"], "currency": "eur", "unit_amount": 900, "recurring[interval]": interval}
    made = ok(http.post("/v1/prices", price))
    wanted = {"customer": customer["id"], "items[0][price]": made["id"], **options}
    return ok(http.post("/v1/subscriptions", wanted))


def advance(http: Http, seconds: int) -> None:
    http.control("clock", advance=seconds)


def test_a_subscription_renews_and_its_draft_is_finalised_and_paid_an_hour_later(http: Http) -> None:
    subscription = subscribe(http)
    end = subscription["items"]["data"][0]["current_period_end"]
    advance(http, end - NOW)
    renewed = ok(http.get(f"/v1/subscriptions/{subscription['id']}"))
    invoice = ok(http.get(f"/v1/invoices/{renewed['latest_invoice']}"))
    assert (invoice["status"], invoice["created"], invoice["automatically_finalizes_at"]) == ("draft", end, end + HOUR)
    assert renewed["items"]["data"][0]["current_period_start"] == end
    assert told(http, end - 1) == [(1, "customer.subscription.updated"), (1, "invoice.created")]
    advance(http, HOUR)
    invoice = ok(http.get(f"/v1/invoices/{renewed['latest_invoice']}"))
    assert (invoice["status"], invoice["amount_paid"], invoice["status_transitions"]["paid_at"]) == (
        "paid",
        900,
        end + HOUR,
    )
    assert {
        "charge.succeeded",
        "invoice.finalized",
        "invoice.paid",
        "invoice_payment.paid",
        "payment_intent.created",
        "payment_intent.succeeded",
    } <= {kind for after, kind in told(http, end) if after == HOUR}


def test_a_renewal_tells_what_changed_about_the_subscription(http: Http) -> None:
    subscription = subscribe(http)
    advance(http, 31 * DAY)
    (event,) = http.pages("/v1/events", {"type": "customer.subscription.updated"})
    previous = event["data"]["previous_attributes"]
    assert previous["latest_invoice"] == subscription["latest_invoice"]
    assert previous["items"]["data"][0]["current_period_start"] == NOW
    assert event["data"]["object"]["items"]["data"][0]["current_period_start"] > NOW


def test_what_happens_in_one_leap_happens_in_order_of_time(http: Http, sandbox: Sandbox) -> None:
    subscribe(http)
    advance(http, 100 * DAY)
    events = sandbox.run(lambda: list(sandbox.account.store.table("event").records.values()))
    numbered = [event.created for event in sorted(events, key=lambda event: event.facts["number"])]
    assert numbered == sorted(numbered)
    periods = [invoice["period_end"] for invoice in http.pages("/v1/invoices")]
    assert len(periods) == 4
    assert periods == sorted(periods, reverse=True)


def test_the_next_invoice_is_announced_three_days_before_without_an_id(http: Http) -> None:
    subscription = subscribe(http)
    end = subscription["items"]["data"][0]["current_period_end"]
    advance(http, end - 3 * DAY - NOW)
    (event,) = http.pages("/v1/events", {"type": "invoice.upcoming"})
    assert (event["created"], "id" in event["data"]["object"]) == (end - 3 * DAY, False)
    assert event["data"]["object"]["amount_due"] == 900


def test_a_trial_is_announced_three_days_before_it_ends_and_then_billed(http: Http) -> None:
    subscription = subscribe(http, trial_period_days=7)
    advance(http, 4 * DAY)
    assert told(http, NOW, "customer.subscription") == [(4 * DAY, "customer.subscription.trial_will_end")]
    advance(http, 3 * DAY + HOUR)
    ended = ok(http.get(f"/v1/subscriptions/{subscription['id']}"))
    assert ended["status"] == "active"
    assert ok(http.get(f"/v1/invoices/{ended['latest_invoice']}"))["amount_paid"] == 900
    (event,) = http.pages("/v1/events", {"type": "customer.subscription.updated"})
    assert event["data"]["previous_attributes"]["status"] == "trialing"


def test_a_subscription_that_is_to_end_with_its_period_ends_then(http: Http) -> None:
    subscription = subscribe(http)
    ok(http.post(f"/v1/subscriptions/{subscription['id']}", {"cancel_at_period_end": "true"}))
    advance(http, 32 * DAY)
    assert ok(http.get(f"/v1/subscriptions/{subscription['id']}"))["status"] == "canceled"
    assert len(http.pages("/v1/invoices")) == 1
    assert "customer.subscription.deleted" in [kind for _, kind in told(http, NOW)]


def test_a_renewal_that_fails_is_tried_four_times(http: Http) -> None:
    subscription = subscribe(
        http, card="pm_card_chargeDeclined", payment_behavior="allow_incomplete", trial_period_days=1
    )
    advance(http, 20 * DAY)
    late = ok(http.get(f"/v1/subscriptions/{subscription['id']}"))
    invoice = ok(http.get(f"/v1/invoices/{late['latest_invoice']}"))
    assert (late["status"], invoice["attempt_count"], invoice["next_payment_attempt"]) == ("past_due", 4, None)
    failed = [after for after, kind in told(http, NOW) if kind == "invoice.payment_failed"]
    assert failed == [DAY + HOUR + 3 * DAY * number for number in range(4)]


def test_a_subscription_whose_first_payment_never_comes_expires(http: Http) -> None:
    subscription = subscribe(http, card="pm_card_chargeDeclined")
    assert subscription["status"] == "incomplete"
    advance(http, DAY)
    expired = ok(http.get(f"/v1/subscriptions/{subscription['id']}"))
    assert (expired["status"], expired["ended_at"]) == ("incomplete_expired", NOW + 23 * HOUR)
    assert ok(http.get(f"/v1/invoices/{subscription['latest_invoice']}"))["status"] == "void"


def test_a_balance_transaction_becomes_available_silently_and_the_balance_says_so(http: Http) -> None:
    payment = {"amount": 1000, "currency": "eur", "confirm": "true", "payment_method": "pm_card_visa"}
    ok(http.post("/v1/payment_intents", payment))
    (transaction,) = http.pages("/v1/balance_transactions")
    before = ok(http.get("/v1/balance"))
    advance(http, transaction["available_on"] - NOW)
    (settled,) = http.pages("/v1/balance_transactions")
    after = ok(http.get("/v1/balance"))
    assert (transaction["status"], settled["status"]) == ("pending", "available")
    assert after["available"] == before["pending"]
    assert told(http, NOW) == [(transaction["available_on"] - NOW, "balance.available")]


def test_stripe_pays_out_on_mondays_and_the_money_arrives_the_day_after(http: Http) -> None:
    payment = {"amount": 1000, "currency": "eur", "confirm": "true", "payment_method": "pm_card_visa"}
    ok(http.post("/v1/payment_intents", payment))
    advance(http, 10 * DAY)
    (payout,) = http.pages("/v1/payouts")
    assert time.gmtime(payout["created"]).tm_wday == 0
    assert (payout["status"], payout["amount"]) == ("paid", 1000 - 40)
    kinds = [kind for _, kind in told(http, NOW, "payout")]
    assert kinds == ["payout.created", "payout.paid", "payout.reconciliation_completed"]


def test_sessions_and_links_and_codes_expire_with_or_without_an_event(http: Http, sandbox: Sandbox) -> None:
    session = ok(http.post("/v1/checkout/sessions", {"mode": "setup"}))
    coupon = ok(http.post("/v1/coupons", {"percent_off": 5, "duration": "once", "redeem_by": NOW + HOUR}))
    code = {"promotion[type]": "coupon", "promotion[coupon]": coupon["id"], "expires_at": NOW + HOUR}
    promotion = ok(http.post("/v1/promotion_codes", code))
    file = sandbox.run(lambda: sandbox.account.create("file", {}, verb=None).key)
    link = ok(http.post("/v1/file_links", {"file": file, "expires_at": NOW + HOUR}))
    advance(http, HOUR)
    assert ok(http.get(f"/v1/coupons/{coupon['id']}"))["valid"] is False
    assert ok(http.get(f"/v1/promotion_codes/{promotion['id']}"))["active"] is False
    assert ok(http.get(f"/v1/file_links/{link['id']}"))["expired"] is True
    assert told(http, NOW) == []
    advance(http, DAY)
    assert ok(http.get(f"/v1/checkout/sessions/{session['id']}"))["status"] == "expired"
    assert told(http, NOW) == [(DAY, "checkout.session.expired")]


def test_an_authorisation_that_nobody_captures_expires(http: Http) -> None:
    payment = {"amount": 1000, "currency": "eur", "confirm": "true", "payment_method": "pm_card_visa"}
    intent = ok(http.post("/v1/payment_intents", {**payment, "capture_method": "manual"}))
    advance(http, 7 * DAY)
    assert ok(http.get(f"/v1/payment_intents/{intent['id']}"))["status"] == "canceled"
    assert told(http, NOW) == [(7 * DAY, "charge.expired"), (7 * DAY, "payment_intent.canceled")]


def test_a_discount_ends_with_its_months(http: Http) -> None:
    ok(http.post("/v1/coupons", {"id": "M", "percent_off": 5, "duration": "repeating", "duration_in_months": 1}))
    customer = ok(http.post("/v1/customers", {"coupon": "M"}))
    advance(http, 31 * DAY)
    assert ok(http.get(f"/v1/customers/{customer['id']}"))["discount"] is None
    assert [kind for _, kind in told(http, NOW)] == ["customer.discount.deleted", "customer.updated"]


def test_a_draft_that_advances_by_itself_is_finalised_and_another_is_not(http: Http) -> None:
    customer = ok(http.post("/v1/customers", {"payment_method": "pm_card_visa"}))["id"]
    ok(http.post("/v1/invoiceitems", {"customer": customer, "amount": 500, "currency": "eur"}))
    billing = {"customer": customer, "pending_invoice_items_behavior": "include"}
    moving = ok(http.post("/v1/invoices", {**billing, "auto_advance": "true"}))
    still = ok(http.post("/v1/invoices", billing))
    advance(http, HOUR)
    assert ok(http.get(f"/v1/invoices/{moving['id']}"))["status"] == "paid"
    assert ok(http.get(f"/v1/invoices/{still['id']}"))["status"] == "draft"


def test_pending_invoice_items_are_picked_up_by_the_renewal(http: Http) -> None:
    subscription = subscribe(http)
    item = {"customer": subscription["customer"], "amount": 70, "currency": "eur"}
    made = ok(http.post("/v1/invoiceitems", item))
    advance(http, 32 * DAY)
    invoice = ok(http.get("/v1/invoices"))["data"][0]
    assert (invoice["amount_paid"], len(invoice["lines"]["data"])) == (970, 2)
    assert ok(http.get(f"/v1/invoiceitems/{made['id']}"))["invoice"] == invoice["id"]


def test_a_test_clock_has_a_time_of_its_own_and_is_deleted_after_thirty_days(http: Http) -> None:
    clock = ok(http.post("/v1/test_helpers/test_clocks", {"frozen_time": NOW - 365 * DAY}))
    customer = ok(http.post("/v1/customers", {"test_clock": clock["id"], "payment_method": "pm_card_visa"}))
    price = {"currency": "eur", "unit_amount": 900, "recurring[interval]": "month", "product_data[name]": "Box"}
    wanted = {"customer": customer["id"], "items[0][price]": ok(http.post("/v1/prices", price))["id"]}
    subscription = ok(http.post("/v1/subscriptions", wanted))
    assert subscription["items"]["data"][0]["current_period_start"] == NOW - 365 * DAY
    advance(http, 20 * DAY)
    assert len(http.pages("/v1/invoices", {"customer": customer["id"]})) == 1
    path = f"/v1/test_helpers/test_clocks/{clock['id']}"
    ok(http.post(f"{path}/advance", {"frozen_time": NOW - 300 * DAY}))
    assert len(http.pages("/v1/invoices", {"customer": customer["id"]})) == 3
    advance(http, 10 * DAY)
    assert http.get(path).status_code == 404
    assert ok(http.get(f"/v1/customers/{customer['id']}"))["deleted"] is True
    assert http.get(f"/v1/subscriptions/{subscription['id']}").status_code == 404


def test_a_running_clock_renews_without_being_asked(make_sandbox: Callable[..., Sandbox], connect: Any) -> None:
    sandbox = make_sandbox(now=None, speed=DAY * 10)
    http = connect(sandbox)
    subscription = subscribe(http, interval="day")
    item = sandbox.run(lambda: sandbox.account.store.linked("subscription_item", "subscription", subscription["id"])[0])
    first = item.body["current_period_end"]
    deadline = time.monotonic() + 20
    while item.body["current_period_end"] == first and time.monotonic() < deadline:
        http.request("GET", "/_sandbox/faults")
    assert item.body["current_period_end"] > first


def test_a_storm_of_renewals_is_served_in_slices_and_no_time_is_told_that_it_has_not_reached() -> None:
    service = Service(account="empty", now=NOW)
    account = service.account
    for number in range(400):
        account.create("coupon", {"id": f"C{number}", "valid": True, "redeem_by": NOW + 10}, verb=None)
        account.schedule(account.store.table("coupon").records[f"C{number}"])
    account.clock.advance(20)
    rounds = 0
    while not service.pass_time(0.0):
        rounds += 1
        valid = sum(record.body["valid"] for record in account.store.table("coupon"))
        assert account.now() == NOW + 10 + (399 - valid) // 100
    assert rounds > 300
    assert account.now() == NOW + 20


def test_what_is_due_is_kept_in_the_state_file(tmp_path: Path) -> None:
    before = Service(account="empty", now=NOW, state_file=tmp_path / "state")
    coupon = before.account.create("coupon", {"valid": True, "redeem_by": NOW + 10}, verb=None)
    before.account.schedule(coupon)
    before.save()
    after = Service(account="empty", now=NOW + 10, state_file=tmp_path / "state")
    assert after.pass_time(1)
    assert after.account.store.table("coupon").records[coupon.key].body["valid"] is False


def test_the_full_account_lives_through_a_year(make_sandbox: Callable[..., Sandbox], connect: Any) -> None:
    sandbox = make_sandbox("full")

    def schedule_everything() -> None:
        for table in sandbox.account.store.tables():
            for record in list(table.records.values()):
                sandbox.account.schedule(record)

    sandbox.run(schedule_everything)
    http = connect(sandbox)
    assert http.control("clock", advance=400 * DAY)["now"] == NOW + 400 * DAY


def test_a_state_file_of_an_earlier_version_goes_on_too(tmp_path: Path) -> None:
    before = Service(account="demo", now=NOW, state_file=tmp_path / "state")
    before.save()
    saved = json.loads((tmp_path / "state").read_bytes())
    del saved["agenda"], saved["test_agendas"]
    (tmp_path / "state").write_text(json.dumps(saved))
    after = Service(account="demo", now=NOW + 40 * DAY, state_file=tmp_path / "state")
    renewed = [i for i in after.account.store.table("invoice") if i.body["billing_reason"] == "subscription_cycle"]
    assert max(invoice.created for invoice in renewed) > NOW + 35 * DAY
