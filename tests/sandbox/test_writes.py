"""Changes by the official library, and the events they leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe
from fix_sandbox import NOW

if TYPE_CHECKING:
    from fix_sandbox import Http

    from stripe_sandbox.sandbox import Sandbox

Client = stripe.StripeClient


def kinds(sandbox: Sandbox) -> list[str]:
    """The types of all events in the order in which they happened, which the feed does not tell within a second."""
    events = sandbox.run(lambda: list(sandbox.account.store.table("event").records.values()))
    return [event.body["type"] for event in sorted(events, key=lambda event: event.facts["number"])]


def monthly_price(client: Client, amount: int = 2000) -> stripe.Price:
    product = client.v1.products.create({"name": "Box"})
    return client.v1.prices.create(
        {"product": product.id, "currency": "eur", "unit_amount": amount, "recurring": {"interval": "month"}}
    )


def paying_customer(client: Client, card: str = "pm_card_visa") -> stripe.Customer:
    customer = client.v1.customers.create({"name": "Café 17 GmbH", "payment_method": card})
    method = client.v1.customers.payment_methods.list(customer.id).data[0]
    return client.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})


def test_a_customer_is_created_changed_and_deleted(client: Client, sandbox: Sandbox) -> None:
    customer = client.v1.customers.create(
        {"name": "Zoë & Søn", "metadata": {"a.b": "1", 'odd "key"': "x"}, "address": {"city": "Wien"}}
    )
    assert customer.metadata.to_dict() == {"a.b": "1", 'odd "key"': "x"}
    changed = client.v1.customers.update(
        customer.id, {"metadata": {"a.b": "", 'odd "key"': "", "c": "2"}, "address": {"line1": "Gasse 1"}}
    )
    assert changed.metadata.to_dict() == {"c": "2"}
    assert (changed.address.city, changed.address.line1) == ("Wien", "Gasse 1")
    assert client.v1.customers.update(customer.id, {"name": ""}).name is None
    assert client.v1.customers.delete(customer.id).deleted is True
    gone = client.v1.customers.retrieve(customer.id)
    assert gone.to_dict() == {"id": customer.id, "object": "customer", "deleted": True}
    assert client.v1.customers.list().data == []
    assert kinds(sandbox) == ["customer.created", "customer.updated", "customer.updated", "customer.deleted"]


def test_an_update_event_has_the_old_values_of_what_changed_only(client: Client) -> None:
    customer = client.v1.customers.create({"name": "A", "metadata": {"x": "1", "y": "1"}})
    client.v1.customers.update(customer.id, {"name": "B", "metadata": {"x": "2"}})
    event = client.v1.events.list({"type": "customer.updated"}).data[0]
    assert event.data.previous_attributes.to_dict() == {"name": "A", "metadata": {"x": "1"}}
    assert event.data.object["name"] == "B"
    assert event.api_version == "2026-10-28.endive"


def test_a_change_that_changes_nothing_leaves_no_event(client: Client, sandbox: Sandbox) -> None:
    customer = client.v1.customers.create({"name": "A"})
    client.v1.customers.update(customer.id, {"name": "A"})
    assert kinds(sandbox) == ["customer.created"]


def test_an_event_names_the_request_that_caused_it(client: Client) -> None:
    customer = client.v1.customers.create({"name": "A"}, {"idempotency_key": "key-1"})
    event = client.v1.events.list().data[0]
    assert event.request.id == customer.last_response.request_id
    assert event.request.idempotency_key == "key-1"


def test_the_same_idempotency_key_answers_the_same_bytes_and_does_nothing(client: Client, http: Http) -> None:
    headers = {"Idempotency-Key": "once"}
    first = http.post("/v1/customers", {"name": "A"}, headers=headers)
    http.post(f"/v1/customers/{first.json()['id']}", {"name": "B"})
    again = http.post("/v1/customers", {"name": "A"}, headers=headers)
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Idempotency-Key"] == "once"
    assert len(client.v1.customers.list().data) == 1
    other = http.post("/v1/customers", {"name": "C"}, headers=headers)
    assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")


def test_a_subscription_bills_and_charges_at_once(client: Client, sandbox: Sandbox) -> None:
    customer, price = paying_customer(client), monthly_price(client)
    subscription = client.v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": price.id, "quantity": 2}],
            "expand": ["latest_invoice.payments"],
        }
    )
    assert subscription.status == "active"
    assert isinstance(subscription.latest_invoice, stripe.Invoice)
    assert (subscription.latest_invoice.status, subscription.latest_invoice.amount_paid) == ("paid", 4000)
    intent_id = subscription.latest_invoice.payments.data[0].payment.payment_intent
    intent = client.v1.payment_intents.retrieve(intent_id, {"expand": ["latest_charge.balance_transaction"]})
    charge = intent.latest_charge
    assert (charge.amount, charge.customer) == (4000, customer.id)
    assert charge.balance_transaction.net == 4000 - charge.balance_transaction.fee
    wanted = {
        "charge.succeeded",
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "payment_intent.created",
        "payment_intent.succeeded",
        "plan.created",
        "price.created",
    }
    assert wanted <= set(kinds(sandbox))


def test_a_cancellation_is_called_deleted_and_deletes_nothing(client: Client) -> None:
    customer, price = paying_customer(client), monthly_price(client)
    subscription = client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    assert client.v1.subscriptions.cancel(subscription.id).status == "canceled"
    assert client.v1.subscriptions.retrieve(subscription.id).ended_at == NOW
    event = client.v1.events.list({"type": "customer.subscription.deleted"}).data[0]
    assert event.data.object["status"] == "canceled"
    assert client.v1.subscriptions.list().data == []
    assert len(client.v1.subscriptions.list({"status": "all"}).data) == 1


def test_a_deleted_customer_takes_its_belongings_along(client: Client, http: Http, sandbox: Sandbox) -> None:
    customer, price = paying_customer(client), monthly_price(client)
    client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    tax_id = client.v1.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": "DE123456789"})
    client.v1.customers.payment_sources.create(customer.id, {"source": "tok_visa"})
    client.v1.customers.delete(customer.id)
    assert [s.status for s in client.v1.subscriptions.list({"status": "all"}).data] == ["canceled"]
    assert client.v1.payment_methods.list().data == []
    assert http.get(f"/v1/customers/{customer.id}/sources").status_code == 404
    with pytest.raises(stripe.InvalidRequestError, match="No such tax id"):
        client.v1.tax_ids.retrieve(tax_id.id)
    assert kinds(sandbox)[-3:] == ["payment_method.detached", "customer.updated", "customer.deleted"]


def test_a_detached_payment_method_lives_on_unlisted(client: Client) -> None:
    customer = paying_customer(client)
    method = client.v1.customers.payment_methods.list(customer.id).data[0]
    client.v1.payment_methods.detach(method.id)
    assert client.v1.payment_methods.retrieve(method.id).customer is None
    assert client.v1.payment_methods.list().data == []
    with pytest.raises(stripe.InvalidRequestError, match="previously used and detached"):
        client.v1.payment_methods.attach(method.id, {"customer": customer.id})


def test_a_declined_card_is_a_card_error_that_carries_the_changed_intent(client: Client, sandbox: Sandbox) -> None:
    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_intents.create(
            {"amount": 500, "currency": "eur", "confirm": True, "payment_method": "pm_card_chargeDeclined"}
        )
    error = caught.value.error
    assert (caught.value.http_status, error.code, error.decline_code) == (402, "card_declined", "generic_decline")
    intent = client.v1.payment_intents.retrieve(error.payment_intent.id)
    assert (intent.status, intent.last_payment_error.code) == ("requires_payment_method", "card_declined")
    assert client.v1.charges.retrieve(error.charge).status == "failed"
    assert kinds(sandbox) == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]


def test_a_refund_shows_in_the_charge_and_the_balance(client: Client) -> None:
    intent = client.v1.payment_intents.create(
        {"amount": 1000, "currency": "eur", "confirm": True, "payment_method": "pm_card_visa"}
    )
    before = client.v1.balance.retrieve().pending[0].amount
    refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 400})
    charge = client.v1.charges.retrieve(intent.latest_charge, {"expand": ["refunds"]})
    assert (charge.amount_refunded, charge.refunded, charge.refunds.data[0].id) == (400, False, refund.id)
    assert client.v1.balance.retrieve().pending[0].amount == before - 400
    client.v1.refunds.create({"charge": charge.id})
    assert client.v1.charges.retrieve(charge.id).refunded is True
    with pytest.raises(stripe.InvalidRequestError, match="has already been refunded"):
        client.v1.refunds.create({"charge": charge.id})


def test_a_manual_capture_takes_part_of_what_was_authorised(client: Client) -> None:
    intent = client.v1.payment_intents.create(
        {
            "amount": 1000,
            "currency": "eur",
            "confirm": True,
            "payment_method": "pm_card_visa",
            "capture_method": "manual",
        }
    )
    assert intent.status == "requires_capture"
    captured = client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 600})
    assert (captured.status, captured.amount_received) == ("succeeded", 600)


def test_an_invoice_adds_up_its_items_discounts_and_taxes(client: Client) -> None:
    customer = paying_customer(client)
    coupon = client.v1.coupons.create({"percent_off": 10, "duration": "once"})
    rate = client.v1.tax_rates.create({"display_name": "USt.", "percentage": 7, "inclusive": False})
    for amount in (999, 1001):
        client.v1.invoice_items.create({"customer": customer.id, "amount": amount, "currency": "eur"})
    invoice = client.v1.invoices.create(
        {
            "customer": customer.id,
            "default_tax_rates": [rate.id],
            "discounts": [{"coupon": coupon.id}],
            "pending_invoice_items_behavior": "include",
        }
    )
    assert (invoice.status, invoice.subtotal, len(invoice.lines.data)) == ("draft", 2000, 2)
    assert [discount.amount for discount in invoice.total_discount_amounts] == [200]
    assert sum(tax.amount for tax in invoice.total_taxes) == 126
    assert invoice.total == 2000 - 200 + 126
    paid = client.v1.invoices.pay(client.v1.invoices.finalize_invoice(invoice.id).id)
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 1926, 0)
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        client.v1.invoices.pay(invoice.id)


def test_a_customers_balance_pays_first(client: Client) -> None:
    customer = paying_customer(client)
    client.v1.customers.balance_transactions.create(customer.id, {"amount": -300, "currency": "eur"})
    client.v1.invoice_items.create({"customer": customer.id, "amount": 1000, "currency": "eur"})
    invoice = client.v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    finalized = client.v1.invoices.finalize_invoice(invoice.id)
    assert (finalized.starting_balance, finalized.amount_due, finalized.ending_balance) == (-300, 700, 0)
    assert client.v1.customers.retrieve(customer.id).balance == 0
    applied = client.v1.customers.balance_transactions.list(customer.id).data[0]
    assert (applied.type, applied.amount, applied.invoice) == ("applied_to_invoice", 300, invoice.id)


def test_a_deleted_draft_takes_its_items_along(client: Client, sandbox: Sandbox) -> None:
    customer = paying_customer(client)
    invoice = client.v1.invoices.create({"customer": customer.id})
    item = client.v1.invoice_items.create(
        {"customer": customer.id, "amount": 5, "currency": "eur", "invoice": invoice.id}
    )
    assert client.v1.invoices.retrieve(invoice.id).total == 5
    assert client.v1.invoices.delete(invoice.id).deleted is True
    with pytest.raises(stripe.InvalidRequestError, match="No such invoiceitem"):
        client.v1.invoice_items.retrieve(item.id)
    assert kinds(sandbox)[-2:] == ["invoiceitem.deleted", "invoice.deleted"]


def test_voiding_an_invoice_cancels_its_payment(client: Client) -> None:
    customer = paying_customer(client)
    client.v1.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "eur"})
    invoice = client.v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    client.v1.invoices.finalize_invoice(invoice.id)
    voided = client.v1.invoices.void_invoice(invoice.id, {"expand": ["payments.data.payment.payment_intent"]})
    assert voided.status == "void"
    assert voided.payments.data[0].payment.payment_intent.status == "canceled"


def test_a_credit_note_of_a_paid_invoice_refunds(client: Client) -> None:
    customer = paying_customer(client)
    client.v1.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "eur"})
    invoice = client.v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    client.v1.invoices.pay(invoice.id)
    note = client.v1.credit_notes.create({"invoice": invoice.id, "amount": 200, "refund_amount": 200})
    assert (note.type, note.total, len(note.lines.data)) == ("post_payment", 200, 1)
    assert client.v1.refunds.list().data[0].amount == 200
    assert client.v1.invoices.retrieve(invoice.id).post_payment_credit_notes_amount == 200


def test_changing_a_quantity_prorates_into_pending_items(client: Client) -> None:
    customer, price = paying_customer(client), monthly_price(client)
    subscription = client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    item = subscription["items"].data[0]
    client.v1.subscriptions.update(subscription.id, {"items": [{"id": item.id, "quantity": 3}]})
    pending = client.v1.invoice_items.list({"customer": customer.id, "pending": True}).data
    assert sorted(i.amount for i in pending) == [-2000, 6000]
    event = client.v1.events.list({"type": "customer.subscription.updated"}).data[0]
    assert event.data.previous_attributes["items"]["data"][0]["quantity"] == 1


def test_subscription_items_come_and_go(client: Client) -> None:
    customer, price, other = paying_customer(client), monthly_price(client), monthly_price(client, 500)
    subscription = client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    with pytest.raises(stripe.InvalidRequestError, match="at least one active plan"):
        client.v1.subscription_items.delete(subscription["items"].data[0].id)
    added = client.v1.subscription_items.create({"subscription": subscription.id, "price": other.id})
    assert len(client.v1.subscription_items.list({"subscription": subscription.id}).data) == 2
    client.v1.subscription_items.delete(added.id)
    assert len(client.v1.subscriptions.retrieve(subscription.id)["items"].data) == 1


def test_an_inline_price_is_retrievable_but_never_listed(client: Client) -> None:
    customer = paying_customer(client)
    product = client.v1.products.create({"name": "Service"})
    data: Any = {"product": product.id, "currency": "eur", "unit_amount": 900, "recurring": {"interval": "month"}}
    subscription = client.v1.subscriptions.create({"customer": customer.id, "items": [{"price_data": data}]})
    price = subscription["items"].data[0].price
    assert client.v1.prices.retrieve(price.id).unit_amount == 900
    assert client.v1.prices.list().data == []


def test_an_id_that_was_deleted_can_be_used_again(client: Client, sandbox: Sandbox) -> None:
    client.v1.coupons.create({"id": "AGAIN", "percent_off": 10})
    with pytest.raises(stripe.InvalidRequestError, match="Coupon already exists"):
        client.v1.coupons.create({"id": "AGAIN", "percent_off": 10})
    client.v1.coupons.delete("AGAIN")
    assert client.v1.coupons.create({"id": "AGAIN", "percent_off": 20}).percent_off == 20
    assert kinds(sandbox) == ["coupon.created", "coupon.deleted", "coupon.created"]


def test_a_test_clock_renews_its_subscriptions_and_takes_its_customers_along(client: Client, sandbox: Sandbox) -> None:
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": NOW})
    customer = client.v1.customers.create({"test_clock": clock.id, "payment_method": "pm_card_visa"})
    price = monthly_price(client)
    client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": NOW + 70 * 86_400})
    assert len(client.v1.invoices.list({"customer": customer.id}).data) == 3
    assert client.v1.invoices.list().data == []
    client.v1.test_helpers.test_clocks.delete(clock.id)
    left = [t.object for t in sandbox.account.store.tables() if t.object != "event" for r in t if r.link("test_clock")]
    assert left == []
    assert kinds(sandbox)[-2:] == ["test_helpers.test_clock.ready", "test_helpers.test_clock.deleted"]


@pytest.mark.parametrize(
    ("path", "data", "code"),
    [
        ("/v1/customers", {"nonsense": "1"}, "parameter_unknown"),
        ("/v1/customers", {"address[nonsense]": "1"}, "parameter_unknown"),
        ("/v1/prices", {"unit_amount": "5"}, "parameter_missing"),
        ("/v1/payment_intents", {"amount": "many", "currency": "eur"}, "parameter_invalid_integer"),
        ("/v1/subscriptions", {"customer": "cus_none", "items[0][price]": "price_none"}, "resource_missing"),
        ("/v1/customers", {"tax_exempt": "perhaps"}, "parameter_invalid_enum"),
        ("/v1/tokens/nonsense/act", {}, None),
    ],
)
def test_a_wrong_write_is_refused_and_changes_nothing(http: Http, path: str, data: Any, code: str | None) -> None:
    answer = http.post(path, data)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"].get("code") == code
    assert http.get("/v1/events").json()["data"] == []


def test_what_the_sandbox_cannot_do_it_refuses(http: Http) -> None:
    answer = http.post("/v1/tax/calculations", {"currency": "eur"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "sandbox_unsupported")


def test_simple_objects_are_created_changed_and_deleted_by_their_form(client: Client) -> None:
    value_list = client.v1.radar.value_lists.create({"alias": "blocked", "name": "Blocked"})
    item = client.v1.radar.value_list_items.create({"value_list": value_list.id, "value": "1.2.3.4"})
    found = client.v1.radar.value_lists.list({"contains": "1.2.3.4"}).data
    assert [(v.id, [i.id for i in v.list_items.data]) for v in found] == [(value_list.id, [item.id])]
    client.v1.radar.value_lists.update(value_list.id, {"name": "Other"})
    assert client.v1.radar.value_lists.retrieve(value_list.id).name == "Other"
    client.v1.radar.value_lists.delete(value_list.id)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.radar.value_list_items.retrieve(item.id)
    endpoint = client.v1.webhook_endpoints.create({"url": "https://example.com/hook", "enabled_events": ["*"]})
    assert endpoint.secret.startswith("whsec_")


def test_auto_paging_of_the_official_library_walks_a_list(client: Client, sandbox: Sandbox) -> None:
    made = [sandbox.run(lambda: sandbox.account.create("customer", {}).key) for _ in range(201)]
    walked = [customer.id for customer in client.v1.customers.list({"limit": 100}).auto_paging_iter()]
    assert walked == made[::-1]


def test_upcoming_invoices_exist_in_old_versions_only(client: Client, http: Http) -> None:
    customer, price = paying_customer(client), monthly_price(client)
    subscription = client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    old = {"Stripe-Version": "2025-02-24.acacia"}
    upcoming = http.get("/v1/invoices/upcoming", {"customer": customer.id}, headers=old).json()
    assert (upcoming["object"], upcoming["amount_due"], upcoming["subscription"]) == ("invoice", 2000, subscription.id)
    assert "id" not in upcoming
    assert http.get("/v1/invoices/upcoming", {"customer": customer.id}).status_code == 404
    client.v1.subscriptions.cancel(subscription.id)
    none = http.get("/v1/invoices/upcoming", {"customer": customer.id}, headers=old)
    assert (none.status_code, none.json()["error"]["code"]) == (404, "invoice_upcoming_none")


def test_a_declined_payment_is_replayed_too(http: Http) -> None:
    data = {"amount": "500", "currency": "eur", "confirm": "true", "payment_method": "pm_card_chargeDeclined"}
    first, again = (http.post("/v1/payment_intents", data, headers={"Idempotency-Key": "x"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (402, 402)
    assert again.content == first.content
    assert len(http.get("/v1/charges").json()["data"]) == 1
