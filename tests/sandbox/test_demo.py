"""The demo account is a business whose numbers add up."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from stripe_sandbox.business import HISTORY_DAYS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fix_sandbox import Http

    from stripe_sandbox.sandbox import Sandbox


@pytest.fixture
def demo(demo_sandbox: Sandbox, connect: Callable[[Sandbox], Http]) -> Http:
    return connect(demo_sandbox)


def every(http: Http, path: str, **params: Any) -> list[Any]:
    return http.pages(path, {"limit": 100, **params})


def month(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m")


def test_an_invoice_is_the_sum_of_its_lines_less_discounts_and_with_taxes(demo: Http) -> None:
    invoices = every(demo, "/v1/invoices")
    assert len(invoices) > 1000
    for invoice in invoices:
        assert not invoice["lines"]["has_more"]
        lines = invoice["lines"]["data"]
        assert invoice["subtotal"] == sum(line["amount"] for line in lines)
        discounts = sum(d["amount"] for d in invoice["total_discount_amounts"])
        taxes = sum(tax["amount"] for tax in invoice["total_taxes"])
        assert discounts == sum(d["amount"] for line in lines for d in line["discount_amounts"])
        assert taxes == sum(tax["amount"] for line in lines for tax in line["taxes"])
        assert invoice["total"] == invoice["subtotal"] - discounts + taxes
        if invoice["status"] == "paid":
            assert (invoice["amount_paid"], invoice["amount_remaining"]) == (invoice["amount_due"], 0)


def test_a_paid_invoice_was_paid_by_a_charge_of_that_amount(demo: Http) -> None:
    charges = {charge["payment_intent"]: charge for charge in every(demo, "/v1/charges") if charge["paid"]}
    paid = Counter[str]()
    for payment in every(demo, "/v1/invoice_payments", status="paid"):
        charge = charges[payment["payment"]["payment_intent"]]
        assert charge["amount"] == payment["amount_paid"]
        paid[payment["invoice"]] += payment["amount_paid"]
    for invoice in every(demo, "/v1/invoices", status="paid"):
        assert paid[invoice["id"]] == invoice["amount_paid"]


def test_every_movement_has_a_balance_transaction_and_payouts_are_sums_of_them(demo: Http) -> None:
    transactions = {t["id"]: t for t in every(demo, "/v1/balance_transactions")}
    assert all(t["net"] == t["amount"] - t["fee"] for t in transactions.values())
    for charge in every(demo, "/v1/charges"):
        if charge["paid"]:
            assert transactions[charge["balance_transaction"]]["amount"] == charge["amount"]
    for refund in every(demo, "/v1/refunds"):
        assert transactions[refund["balance_transaction"]]["amount"] == -refund["amount"]
    payouts = every(demo, "/v1/payouts")
    assert len(payouts) > 50
    for payout in payouts:
        members = every(demo, "/v1/balance_transactions", payout=payout["id"])
        nets = [t["net"] for t in members if t["type"] != "payout"]
        assert sum(nets) == payout["amount"]
    balance = demo.get("/v1/balance").json()
    left = sum(entry["amount"] for status in ("available", "pending") for entry in balance[status])
    assert left == sum(t["net"] for t in transactions.values())


def test_refunds_add_up_in_their_charge(demo: Http) -> None:
    refunded = defaultdict(int)
    for refund in every(demo, "/v1/refunds"):
        refunded[refund["charge"]] += refund["amount"]
    assert refunded
    for charge in every(demo, "/v1/charges"):
        assert charge["amount_refunded"] == refunded[charge["id"]]


def test_the_business_is_of_a_plausible_size_and_grows(demo: Http) -> None:
    customers = every(demo, "/v1/customers")
    assert 150 < len(customers) < 350
    revenue = Counter[str]()
    for charge in every(demo, "/v1/charges"):
        revenue[month(charge["created"])] += charge["amount_captured"] - charge["amount_refunded"]
    months = sorted(revenue)
    assert len(months) >= HISTORY_DAYS // 31
    assert revenue[months[-2]] > 3 * revenue[months[1]] > 0
    statuses = Counter(s["status"] for s in every(demo, "/v1/subscriptions", status="all"))
    assert statuses["active"] > 100
    assert statuses["canceled"] > 10
    assert every(demo, "/v1/disputes")
    assert every(demo, "/v1/credit_notes")


def test_it_names_nobody(demo: Http) -> None:
    for customer in every(demo, "/v1/customers"):
        assert customer["email"].endswith("@example.com")
        assert any(character.isdigit() for character in customer["name"])


def test_what_happened_in_the_last_month_has_events_and_nothing_older(demo: Http, demo_sandbox: Sandbox) -> None:
    events = every(demo, "/v1/events")
    oldest = demo_sandbox.account.now() - 30 * 86_400
    assert min(event["created"] for event in events) >= oldest
    announced = {e["data"]["object"]["id"] for e in events if e["type"] == "charge.succeeded"}
    recent = {c["id"] for c in every(demo, "/v1/charges", **{"created[gte]": oldest}) if c["paid"]}
    assert announced == recent


def test_products_it_does_not_use_are_refused_in_stripes_words(demo: Http) -> None:
    refused = demo.get("/v1/issuing/cards")
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith("Your account is not set up to use Issuing.")
    treasury = demo.get("/v1/treasury/financial_accounts")
    assert "Unrecognized request URL (GET: /v1/treasury/financial_accounts)" in treasury.json()["error"]["message"]


def test_it_goes_on_from_a_saved_state(
    make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http], tmp_path: Path
) -> None:
    state_file = tmp_path / "state.json"
    first = make_sandbox("demo", state_file=state_file, now=1_790_000_000)
    before = {charge["id"]: charge for charge in every(connect(first), "/v1/charges")}
    first.save()
    later = make_sandbox("demo", state_file=state_file, now=1_790_000_000 + 3 * 86_400)
    http = connect(later)
    after = {charge["id"]: charge for charge in every(http, "/v1/charges")}
    assert before.keys() < after.keys()
    new = [after[key] for key in after.keys() - before.keys()]
    assert {charge["id"] for charge in new if charge["paid"]} <= {
        event["data"]["object"]["id"] for event in every(http, "/v1/events", type="charge.succeeded")
    }
    transactions = every(http, "/v1/balance_transactions")
    balance = http.get("/v1/balance").json()
    left = sum(entry["amount"] for status in ("available", "pending") for entry in balance[status])
    assert left == sum(t["net"] for t in transactions)


def test_a_clock_that_was_moved_ahead_stays_ahead(make_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    state_file = tmp_path / "state.json"
    first = make_sandbox("demo", state_file=state_file, now=None)
    first.run(lambda: first.tick(30))
    ahead = first.account.now()
    first.save()
    again = make_sandbox("demo", state_file=state_file, now=None)
    assert again.account.now() >= ahead
    newest = again.account.store.candidates("event")
    assert newest.first_created_from(again.account.now() + 1) == len(newest)


def test_days_happen_on_demand(make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http]) -> None:
    sandbox = make_sandbox("demo")
    http = connect(sandbox)
    before = sandbox.account.now()
    http.control("tick", days=7)
    assert sandbox.account.now() == before + 7 * 86_400
    assert len(every(http, "/v1/payouts", **{"created[gte]": before})) == 1
    assert every(http, "/v1/charges", **{"created[gte]": before})


def test_business_that_goes_on_meanwhile_leaves_the_clock_alone(
    make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http]
) -> None:
    sandbox = make_sandbox("demo")
    http = connect(sandbox)
    before = {event["id"] for event in every(http, "/v1/events")}
    sandbox.run(sandbox.happen)
    new = [event for event in every(http, "/v1/events") if event["id"] not in before]
    assert new
    assert {event["created"] for event in new} == {sandbox.account.now()}
