"""Embedded lists and expansions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fix_sandbox import Http


def test_embedded_lists_hold_ten_and_say_where_the_rest_is(full: Http) -> None:
    invoice = next(i for i in full.pages("/v1/invoices", {"limit": 100}) if i["lines"]["has_more"])
    lines = invoice["lines"]
    assert (lines["object"], len(lines["data"]), lines["total_count"]) == ("list", 10, 25)
    assert lines["url"] == f"/v1/invoices/{invoice['id']}/lines"
    rest = full.pages(lines["url"], {"limit": 100, "starting_after": lines["data"][-1]["id"]})
    assert len({line["id"] for line in lines["data"] + rest}) == 25


def test_a_subscription_with_21_items_is_completed_by_its_list(full: Http) -> None:
    subscriptions = full.pages("/v1/subscriptions", {"limit": 100, "status": "all"})
    large = next(s for s in subscriptions if s["items"]["has_more"])
    assert len(large["items"]["data"]) == 10
    items = full.pages("/v1/subscription_items", {"subscription": large["id"], "limit": 10})
    assert len(items) == 21
    assert items[:10] == large["items"]["data"]


def test_the_url_of_every_embedded_list_of_a_customer_and_a_charge_answers(full: Http) -> None:
    expand = [("expand[]", f"data.{name}") for name in ("sources", "subscriptions", "tax_ids")]
    for customer in full.get("/v1/customers", [*expand, ("limit", "100")]).json()["data"][:5]:
        for name in ("sources", "subscriptions", "tax_ids"):
            assert full.get(customer[name]["url"]).json()["data"] == customer[name]["data"]
    charge = full.get("/v1/charges", {"expand[]": "data.refunds", "limit": 1}).json()["data"][0]
    assert full.get(charge["refunds"]["url"]).json()["data"] == charge["refunds"]["data"]


def test_includable_fields_are_absent_unless_expanded(full: Http) -> None:
    plain = full.get("/v1/customers", {"limit": 1}).json()["data"][0]
    assert not {"sources", "tax_ids", "subscriptions", "cash_balance", "tax", "invoice_credit_balance"} & plain.keys()
    expanded = full.get("/v1/customers", [("limit", "1"), ("expand[]", "data.cash_balance")]).json()["data"][0]
    assert expanded["cash_balance"]["object"] == "cash_balance"
    charge = full.get("/v1/charges", {"limit": 1}).json()["data"][0]
    assert "refunds" not in charge
    intent = next(i for i in full.pages("/v1/payment_intents", {"limit": 100}) if i["amount_details"])
    assert "line_items" not in intent["amount_details"]
    path = f"/v1/payment_intents/{intent['id']}"
    assert full.get(path, {"expand[]": "amount_details.line_items"}).json()["amount_details"]["line_items"]["data"]


def test_an_id_becomes_its_object_up_to_four_levels_deep(full: Http) -> None:
    charges = full.get("/v1/charges", {"limit": 10, "expand[]": "data.payment_intent.latest_charge.customer"}).json()
    charge = next(c for c in charges["data"] if c["payment_intent"]["latest_charge"]["customer"])
    assert charge["payment_intent"]["object"] == "payment_intent"
    assert charge["payment_intent"]["latest_charge"]["customer"]["object"] == "customer"
    assert isinstance(charge["balance_transaction"], str | None)


def test_more_than_four_levels_are_refused(full: Http) -> None:
    path = "data.payment_intent.latest_charge.customer.default_source"
    answer = full.get("/v1/charges", {"expand[]": path})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("You cannot expand more than 4 levels")


@pytest.mark.parametrize("path", ["data.nonsense", "customer", "data.amount", "data.refunds.charge"])
def test_what_cannot_be_expanded_is_refused(full: Http, path: str) -> None:
    answer = full.get("/v1/charges", {"expand[]": path})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("This property cannot be expanded")


def test_a_list_within_a_list_is_expanded_through_data(full: Http) -> None:
    answer = full.get("/v1/charges", {"limit": 100, "expand[]": "data.refunds.data.balance_transaction"})
    refunds = [refund for charge in answer.json()["data"] for refund in charge["refunds"]["data"]]
    assert {r["balance_transaction"]["object"] for r in refunds if r["balance_transaction"]} == {"balance_transaction"}


def test_a_secret_of_a_webhook_is_never_shown_again(full: Http) -> None:
    assert all("secret" not in endpoint for endpoint in full.pages("/v1/webhook_endpoints"))
