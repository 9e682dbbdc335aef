"""Rules for invoices: lines, totals, finalisation, payment, credit notes.

``total = sum of the lines - discounts + exclusive taxes``; ``amount_due`` is that and the customer's balance. Lines
hold their own share of discounts and taxes, and the shares add up to the invoice's.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.catalog import create_price, demand, existing, line_price, named
from stripe_sandbox.coercion import values_from_params
from stripe_sandbox.customers import give_discount, move_balance
from stripe_sandbox.errors import StripeError, invalid_parameter, wrong_state
from stripe_sandbox.forms import Params, as_bool, as_dict, as_int, as_list
from stripe_sandbox.ownership import take_owned
from stripe_sandbox.payment_methods import payment_method
from stripe_sandbox.payments import new_intent, pay, refund

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Body, Record

RETRY_SECONDS: Final = 3 * 86_400
MAX_ATTEMPTS: Final = 4
DRAFT_SECONDS: Final = 3_600  # a draft that advances by itself may be edited that long
_CREDITED_AS: Final = frozenset({"credit_amount", "out_of_band_amount", "refund_amount"})
_INVOICE_EXTRAS: Final = frozenset({"pending_invoice_items_behavior", "subscription", "discounts", "days_until_due"})


def draft(account: Account, customer: Record, values: Body) -> Record:
    """A draft without lines, not announced yet."""
    owner = customer.body
    if owner["currency"] is None:
        account.change(customer, {"currency": values["currency"]})
    return account.create(
        "invoice",
        {
            "account_country": "DE",
            "account_name": "Sandbox",
            "attempt_count": 0,
            "attempted": False,
            "auto_advance": False,
            "billing_reason": "manual",
            "collection_method": "charge_automatically",
            "customer": customer.key,
            "customer_address": owner["address"],
            "customer_email": owner["email"],
            "customer_name": owner["name"],
            "customer_phone": owner["phone"],
            "customer_shipping": owner["shipping"],
            "customer_tax_exempt": owner["tax_exempt"],
            "customer_tax_ids": [
                {"type": tax_id.body["type"], "value": tax_id.body["value"]}
                for tax_id in account.store.linked("tax_id", "customer", customer.key)
            ],
            "metadata": {},
            "period_end": account.now(),
            "period_start": account.now(),
            "starting_balance": owner["balance"],
            "status": "draft",
            **values,
        },
        verb=None,
    )


def pricing_of(price: Record | None) -> Body | None:
    """How a line names its price."""
    if price is None:
        return None
    return {
        "price_details": {"price": price.key, "product": price.body["product"]},
        "type": "price_details",
        "unit_amount_decimal": price.body["unit_amount_decimal"],
    }


def price_named_by(account: Account, item: Record) -> Record | None:
    """The price that an invoice item is charged by, also one that is gone; None for an amount of its own."""
    details = (item.body["pricing"] or {}).get("price_details")
    return account.store.last_known("price", details["price"]) if details else None


def add_line(
    account: Account,
    invoice: Record,
    *,
    amount: int,
    description: str,
    price: Record | None,
    quantity: int,
    period: tuple[int, int],
    parent: Body,
) -> Record:
    """A line of a draft."""
    details = parent.get(f"{parent['type']}") or {}
    return account.create(
        "line_item",
        {
            "amount": amount,
            "currency": invoice.body["currency"],
            "description": description,
            "discount_amounts": [],
            "discountable": True,
            "discounts": [],
            "invoice": invoice.key,
            "metadata": {},
            "parent": {"invoice_item_details": None, "subscription_item_details": None, **parent},
            "period": {"end": period[1], "start": period[0]},
            "pretax_credit_amounts": [],
            "pricing": pricing_of(price),
            "quantity": quantity,
            "subscription": details.get("subscription"),
            "subtotal": amount,
            "taxes": [],
        },
        verb=None,
    )


def add_pending_items(account: Account, invoice: Record) -> None:
    """What the customer is to be billed for beside subscriptions becomes lines of the draft."""
    for item in pending_items(account, invoice.body["customer"]):
        if item.body["currency"] == invoice.body["currency"]:
            account.change(item, {"invoice": invoice.key}, verb=None)
            add_item_line(account, invoice, item)


def pending_items(account: Account, customer: str) -> list[Record]:
    """What is still to be billed to a customer, oldest first."""
    items = account.store.linked("invoiceitem", "customer", customer)
    return [item for item in items if item.body["invoice"] is None]


def add_item_line(account: Account, invoice: Record, item: Record) -> None:
    """The line of an invoice item."""
    details = {
        "invoice_item": item.key,
        "proration": item.body["proration"],
        "proration_details": None,
        "subscription": None,
    }
    add_line(
        account,
        invoice,
        amount=item.body["amount"],
        description=item.body["description"] or "",
        price=price_named_by(account, item),
        quantity=item.body["quantity"],
        period=(item.body["period"]["start"], item.body["period"]["end"]),
        parent={"invoice_item_details": details, "type": "invoice_item_details"},
    )


def total_up(account: Account, invoice: Record) -> None:
    """Bring discounts, taxes and totals in line with the lines; not announced."""
    lines = account.store.linked("line_item", "invoice", invoice.key)
    discounts = discount_shares(account, invoice.body["discounts"], {each.key: each.body["amount"] for each in lines})
    rates = [record for key in invoice.body["default_tax_rates"] if (record := account.store.get("tax_rate", key))]
    for line in lines:
        taken: list[Body] = [{"amount": shares[line.key], "discount": key} for key, shares in discounts.items()]
        taxable = line.body["amount"] - sum(share["amount"] for share in taken)
        values = {"discount_amounts": taken, "taxes": [tax(rate, taxable) for rate in rates]}
        account.change(line, values, verb=None)
    subtotal = sum(line.body["amount"] for line in lines)
    totals: list[Body] = [{"amount": sum(shares.values()), "discount": key} for key, shares in discounts.items()]
    taxes = [tax_total(rate, [line.body["taxes"][index] for line in lines]) for index, rate in enumerate(rates)]
    net = subtotal - sum(total["amount"] for total in totals)
    exclusive = sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "exclusive")
    inclusive = sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "inclusive")
    total = net + exclusive
    account.change(
        invoice,
        {
            "amount_due": total,
            "amount_remaining": total,
            "subtotal": subtotal,
            "subtotal_excluding_tax": subtotal - inclusive,
            "total": total,
            "total_discount_amounts": totals,
            "total_excluding_tax": net - inclusive,
            "total_pretax_credit_amounts": [],
            "total_taxes": taxes,
        },
        verb=None,
    )


def finalize(account: Account, invoice: Record) -> Record:
    """Number the invoice, apply the customer's balance, and open it for payment.

    Raises:
        StripeError: 400 if it is no draft.
    """
    if invoice.body["status"] != "draft":
        raise wrong_state(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.", "invoice_not_editable"
        )
    customer = existing(account, "customer", invoice.body["customer"])
    total_up(account, invoice)
    # What a made-up past has filled at random may lack these.
    starting = customer.body["balance"] or 0
    number, prefix = customer.body["next_invoice_sequence"] or 1, customer.body["invoice_prefix"] or "SANDBOX"
    due, applied = with_balance(starting, invoice.body["total"])
    account.change(customer, {"next_invoice_sequence": number + 1})
    if applied != 0:
        reason = {"invoice": invoice.key, "type": "applied_to_invoice"}
        move_balance(account, customer, applied, invoice.body["currency"], reason)
    values: Body = {
        "amount_due": due,
        "amount_remaining": due,
        "auto_advance": invoice.body["collection_method"] == "charge_automatically",
        "automatically_finalizes_at": None,
        "effective_at": account.now(),
        "ending_balance": customer.body["balance"],
        "hosted_invoice_url": f"https://invoice.example.com/{invoice.key}",
        "invoice_pdf": f"https://invoice.example.com/{invoice.key}/pdf",
        "number": f"{prefix}-{number:04}",
        "starting_balance": starting,
        "status": "open",
        "status_transitions": {**invoice.body["status_transitions"], "finalized_at": account.now()},
    }
    if due > 0:
        intent = new_intent(account, _intent_values(invoice, due), None)
        account.create("invoice_payment", _payment_values(invoice, intent, due), verb=None)
    account.change(invoice, values, verb="updated")
    account.announce(invoice, "finalized")
    if due <= 0:
        _mark_paid(account, invoice, 0)
    return invoice


def pay_invoice(account: Account, invoice: Record, method: Record | None = None) -> Record:
    """Charge what an open invoice demands.

    Raises:
        StripeError: 400 if it is not open, 402 where the card is declined; the invoice counts the attempt.
    """
    if invoice.body["status"] == "draft":
        finalize(account, invoice)
    if invoice.body["status"] == "paid":
        raise wrong_state("Invoice is already paid", "invoice_already_paid")
    if invoice.body["status"] not in ("open", "uncollectible"):
        raise wrong_state("This invoice can no longer be paid", "invoice_not_editable")
    payment = _default_payment(account, invoice)
    intent = existing(account, "payment_intent", payment.body["payment"]["payment_intent"])
    method = method or _method_for(account, invoice)
    if method is None:
        raise wrong_state(
            "There is no default_payment_method set on this Customer or Invoice.", "missing_payment_method"
        )
    account.change(intent, {"payment_method": method.key, "status": "requires_confirmation"}, verb=None)
    attempts = {"attempt_count": invoice.body["attempt_count"] + 1, "attempted": True}
    try:
        pay(account, intent, description=_description(invoice))
    except StripeError:
        again = account.moment_of(invoice) + RETRY_SECONDS if attempts["attempt_count"] < MAX_ATTEMPTS else None
        account.change(invoice, {**attempts, "next_payment_attempt": again})
        account.announce(invoice, "payment_failed")
        account.schedule(invoice)
        raise
    amount = intent.body["amount_received"]
    transitions = {"canceled_at": None, "paid_at": account.now()}
    account.change(payment, {"amount_paid": amount, "status": "paid", "status_transitions": transitions}, verb="paid")
    account.change(invoice, attempts, verb=None)
    return _mark_paid(account, invoice, amount)


def _default_payment(account: Account, invoice: Record) -> Record:
    """How an open invoice is to be paid; one of a made-up past may lack it."""
    for each in account.store.linked("invoice_payment", "invoice", invoice.key):
        intent = (each.body["payment"] or {}).get("payment_intent")
        if each.body["is_default"] and account.store.get("payment_intent", intent or "") is not None:
            return each
    due = invoice.body["amount_remaining"] or invoice.body["amount_due"] or 0
    intent = new_intent(account, _intent_values(invoice, due), None)
    return account.create("invoice_payment", _payment_values(invoice, intent, due), verb=None)


def create_invoice(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/invoices``: a draft, with the customer's pending items if they are to be included."""
    demand(params, "customer")
    extras = {name: params.pop(name) for name in list(params) if name in _INVOICE_EXTRAS}
    customer = named(account, "customer", params["customer"], "customer")
    values = values_from_params(account, "invoice", params)
    if "subscription" in extras:
        subscription = named(account, "subscription", extras["subscription"], "subscription")
        values["parent"] = subscription_parent(subscription)
    including = extras.get("pending_invoice_items_behavior", "exclude") == "include"
    pending = pending_items(account, customer.key) if including else []
    to_bill = pending[0].body["currency"] if pending else "eur"
    values["currency"] = values.get("currency") or customer.body["currency"] or to_bill
    if "days_until_due" in extras:
        values["due_date"] = account.now() + as_int("days_until_due", extras["days_until_due"]) * 86_400
    values |= _advancing(account, customer, values)
    invoice = draft(account, customer, values)
    if including:
        add_pending_items(account, invoice)
    _discount(account, invoice, extras.get("discounts", ""))
    total_up(account, invoice)
    account.announce(invoice, "created")
    return invoice


def change_invoice(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/invoices/{invoice}``."""
    invoice = existing(account, "invoice", path["invoice"], "invoice")
    values = values_from_params(account, "invoice", params, invoice.body)
    if invoice.body["status"] == "draft" and "auto_advance" in values:
        values = {**values, "automatically_finalizes_at": None, **_advancing(account, invoice, values)}
    return account.change(invoice, values)


def delete_invoice(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/invoices/{invoice}``: drafts only; its lines and items go too."""
    invoice = existing(account, "invoice", path["invoice"], "invoice")
    if invoice.body["status"] != "draft":
        raise wrong_state("You can only delete draft invoices.", "invoice_not_editable")
    take_owned(account, invoice)
    for item in account.store.linked("invoiceitem", "invoice", invoice.key):
        account.delete(item)
    account.delete(invoice)
    return account.renderer.stub(invoice)


def finalize_by_request(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/invoices/{invoice}/finalize``."""
    invoice = existing(account, "invoice", path["invoice"], "invoice")
    values_from_params(account, "invoice", params)
    return finalize(account, invoice)


def pay_by_request(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/invoices/{invoice}/pay``, also ``paid_out_of_band``."""
    invoice = existing(account, "invoice", path["invoice"], "invoice")
    if as_bool("paid_out_of_band", params.get("paid_out_of_band", "false")):
        if invoice.body["status"] != "open":
            raise wrong_state("This invoice can no longer be paid", "invoice_not_editable")
        return _mark_paid(account, invoice, 0)
    method = payment_method(account, params["payment_method"], "payment_method") if "payment_method" in params else None
    return pay_invoice(account, invoice, method)


def send_invoice(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/invoices/{invoice}/send``."""
    invoice = existing(account, "invoice", path["invoice"], "invoice")
    if invoice.body["status"] == "draft":
        finalize(account, invoice)
    account.announce(invoice, "sent")
    return invoice


def void_invoice(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/invoices/{invoice}/void``; its payment intent is canceled."""
    invoice = existing(account, "invoice", path["invoice"], "invoice")
    if invoice.body["status"] not in ("open", "uncollectible"):
        raise wrong_state("You can only pass in open invoices. This invoice isn't open.", "invoice_not_editable")
    for payment in account.store.linked("invoice_payment", "invoice", invoice.key):
        intent = existing(account, "payment_intent", payment.body["payment"]["payment_intent"])
        values = {"canceled_at": account.now(), "cancellation_reason": "void_invoice", "status": "canceled"}
        account.change(intent, values, verb="canceled")
        transitions = {"canceled_at": account.now(), "paid_at": None}
        account.change(payment, {"status": "canceled", "status_transitions": transitions}, verb=None)
    transitions = {**invoice.body["status_transitions"], "voided_at": account.now()}
    return account.change(
        invoice,
        {"amount_remaining": 0, "next_payment_attempt": None, "status": "void", "status_transitions": transitions},
        verb="voided",
    )


def mark_uncollectible(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/invoices/{invoice}/mark_uncollectible``."""
    invoice = existing(account, "invoice", path["invoice"], "invoice")
    if invoice.body["status"] != "open":
        raise wrong_state("You can only pass in open invoices. This invoice isn't open.", "invoice_not_editable")
    transitions = {**invoice.body["status_transitions"], "marked_uncollectible_at": account.now()}
    return account.change(
        invoice, {"status": "uncollectible", "status_transitions": transitions}, verb="marked_uncollectible"
    )


def create_item(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/invoiceitems``: pending, or a line of a draft at once."""
    demand(params, "customer")
    customer = named(account, "customer", params["customer"], "customer")
    pricing = as_dict("pricing", params.pop("pricing", ""))
    if pricing or "price_data" in params:
        item = {"price_data": params.pop("price_data")} if "price_data" in params else pricing
        return new_item(account, customer, params, line_price(account, item, "pricing"))
    demand(params, "amount")
    return new_item(account, customer, params, None)


def new_item(account: Account, customer: Record, params: Params, price: Record | None) -> Record:
    """An invoice item of an amount or a price."""
    values = values_from_params(account, "invoiceitem", params)
    quantity = values.get("quantity", 1)
    if price is not None:
        values["amount"] = (price.body["unit_amount"] or 0) * quantity
        values["currency"] = price.body["currency"]
        values["pricing"] = {
            "price_details": {"price": price.key, "product": price.body["product"]},
            "type": "price_details",
            "unit_amount_decimal": price.body["unit_amount_decimal"],
        }
    currency = values.get("currency") or customer.body["currency"] or "eur"
    now = account.now()
    item = account.create(
        "invoiceitem",
        {
            "customer": customer.key,
            "date": now,
            "discountable": True,
            "discounts": [],
            "metadata": {},
            "period": {"end": now, "start": now},
            "proration": False,
            "quantity_decimal": str(quantity),
            "tax_rates": [],
            **values,
            "currency": currency,
            "quantity": quantity,
        },
    )
    invoice = account.store.get("invoice", values.get("invoice") or "")
    if invoice is not None:
        _editable(invoice)
        add_item_line(account, invoice, item)
        total_up(account, invoice)
        account.announce(invoice, "updated", previous={})
    return item


def delete_item(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/invoiceitems/{invoiceitem}``: pending ones, or of a draft."""
    item = existing(account, "invoiceitem", path["invoiceitem"], "invoiceitem")
    invoice = account.store.get("invoice", item.body["invoice"] or "")
    if invoice is not None:
        _editable(invoice)
        for line in account.store.linked("line_item", "invoice", invoice.key):
            if _item_of(line) == item.key:
                account.delete(line, verb=None)
        total_up(account, invoice)
        account.announce(invoice, "updated", previous={})
    account.delete(item)
    return account.renderer.stub(item)


def remove_lines(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/invoices/{invoice}/remove_lines``: their items are deleted, or unassigned."""
    invoice = existing(account, "invoice", path["invoice"], "invoice")
    _editable(invoice)
    for number, given in enumerate(as_list("lines", params.get("lines", ""))):
        line = named(account, "line_item", given.get("id"), f"lines[{number}][id]")
        item = account.store.get("invoiceitem", _item_of(line) or "")
        account.delete(line, verb=None)
        if item is not None and given.get("behavior") == "unassign":
            account.change(item, {"invoice": None}, verb=None)
        elif item is not None:
            account.delete(item)
    total_up(account, invoice)
    account.announce(invoice, "updated", previous={})
    return invoice


def add_lines(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/invoices/{invoice}/add_lines``."""
    invoice = existing(account, "invoice", path["invoice"], "invoice")
    _editable(invoice)
    customer = existing(account, "customer", invoice.body["customer"])
    for number, line in enumerate(as_list("lines", params.get("lines", ""))):
        fields = {**line, "customer": customer.key, "invoice": invoice.key}
        pricing = fields.pop("pricing", None)
        price = line_price(account, pricing, f"lines[{number}][pricing]") if pricing is not None else None
        if "price_data" in fields:
            price = create_price(account, {}, dict(fields.pop("price_data")), inline=True)
        new_item(account, customer, fields, price)
    return invoice


def create_credit_note(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/credit_notes``: lowers what is due of an open invoice; of a paid one gives back or credits."""
    demand(params, "invoice")
    invoice = named(account, "invoice", params["invoice"], "invoice")
    if invoice.body["status"] not in ("open", "paid"):
        raise wrong_state("You can only create credit notes for open or paid invoices.")
    lines = [dict(as_dict("lines", line)) for line in as_list("lines", params.get("lines", ""))]
    amount = (
        as_int("amount", params["amount"]) if "amount" in params else sum(_credited(account, line) for line in lines)
    )
    if amount < 1:
        raise invalid_parameter("amount", "You must specify an amount, or at least one line.")
    before = invoice.body["status"] == "open"
    if not before and not _CREDITED_AS & params.keys():
        raise wrong_state(f"You must specify how to credit a paid invoice: {', '.join(sorted(_CREDITED_AS))}.")
    number = sum(1 for _ in account.store.linked("credit_note", "invoice", invoice.key)) + 1
    rest: Params = {name: params[name] for name in ("effective_at", "memo", "metadata", "reason") if name in params}
    note = account.create(
        "credit_note",
        {
            "amount": amount,
            "currency": invoice.body["currency"],
            "customer": invoice.body["customer"],
            "invoice": invoice.key,
            "metadata": {},
            "number": f"{invoice.body['number']}-CN-{number:02}",
            "pdf": f"https://invoice.example.com/{invoice.key}/credit-note/{number}",
            "post_payment_amount": 0 if before else amount,
            "pre_payment_amount": amount if before else 0,
            "status": "issued",
            "subtotal": amount,
            "subtotal_excluding_tax": amount,
            "total": amount,
            "total_excluding_tax": amount,
            "total_taxes": [],
            "type": "pre_payment" if before else "post_payment",
            **values_from_params(account, "credit_note", rest),
        },
        verb=None,
    )
    for line in lines or [
        {"type": "custom_line_item", "description": "Credit", "unit_amount": str(amount), "quantity": "1"}
    ]:
        _credit_line(account, note, line)
    _apply_credit(account, invoice, note, params)
    account.announce(note, "created")
    return note


def void_credit_note(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/credit_notes/{id}/void``."""
    note = existing(account, "credit_note", path["id"])
    invoice = existing(account, "invoice", note.body["invoice"])
    if note.body["status"] == "void" or invoice.body["status"] != "open":
        raise wrong_state("You cannot void this credit note.")
    _credit_invoice(account, invoice, "pre_payment_credit_notes_amount", -note.body["amount"])
    return account.change(note, {"status": "void", "voided_at": account.now()}, verb="voided")


def subscription_parent(subscription: Record) -> Body:
    """How an invoice names the subscription it comes from."""
    details = {"metadata": subscription.body["metadata"], "subscription": subscription.key}
    return {"quote_details": None, "subscription_details": details, "type": "subscription_details"}


def _advancing(account: Account, owner: Record, values: Body) -> Body:
    """When a draft is finalised by itself, if it is to be."""
    moment = account.moment_of(owner) + DRAFT_SECONDS
    return {"automatically_finalizes_at": moment} if values.get("auto_advance") else {}


def _mark_paid(account: Account, invoice: Record, amount: int) -> Record:
    transitions = {**invoice.body["status_transitions"], "paid_at": account.now()}
    values = {
        "amount_paid": amount,
        "amount_remaining": 0,
        "attempted": True,
        "next_payment_attempt": None,
        "status": "paid",
        "status_transitions": transitions,
    }
    account.change(invoice, values)
    account.announce(invoice, "paid")
    account.announce(invoice, "payment_succeeded")
    return invoice


def _item_of(line: Record) -> str | None:
    """The invoice item that a line stands for."""
    details = (line.body["parent"] or {}).get("invoice_item_details") or {}
    item: str | None = details.get("invoice_item")
    return item


def _editable(invoice: Record) -> None:
    if invoice.body["status"] != "draft":
        raise wrong_state("Invoice items can only be added to draft invoices.", "invoice_not_editable")


def _discount(account: Account, invoice: Record, given: Any) -> None:
    keys = []
    for number, item in enumerate(as_list("discounts", given)):
        coupon = named(account, "coupon", item.get("coupon"), f"discounts[{number}][coupon]")
        customer = existing(account, "customer", invoice.body["customer"])
        discount = give_discount(account, invoice, coupon)
        account.change(discount, {"customer": customer.key, "invoice": invoice.key, "subscription": None}, verb=None)
        keys.append(discount.key)
    if keys:
        account.change(invoice, {"discounts": keys}, verb=None)


def discount_shares(account: Account, discounts: Sequence[str], lines: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """For each discount, what it takes off each line; the last line takes what rounding leaves.

    Args:
        account: The account.
        discounts: The discounts' ids.
        lines: The lines' keys and amounts.
    """
    shares: dict[str, dict[str, int]] = {}
    left = {key: max(amount, 0) for key, amount in lines.items()}
    for key in discounts:
        discount = account.store.last_known("discount", key)
        coupon = account.store.last_known("coupon", discount.body["source"]["coupon"]) if discount is not None else None
        if coupon is None:
            continue
        base = sum(left.values())
        percent = coupon.body["percent_off"]
        off = round(base * percent / 100) if percent is not None else min(base, coupon.body["amount_off"] or 0)
        taken: dict[str, int] = {}
        for position, line in enumerate(lines):
            rest = off - sum(taken.values())
            share = rest if position == len(lines) - 1 else (off * left[line] // base if base else 0)
            taken[line] = share
            left[line] -= share
        shares[key] = taken
    return shares


def tax(rate: Record, taxable: int) -> Body:
    """What a rate comes to on an amount."""
    percentage = rate.body["percentage"]
    inclusive = rate.body["inclusive"]
    amount = taxable - taxable * 100 / (100 + percentage) if inclusive else taxable * percentage / 100
    return {
        "amount": round(amount),
        "tax_behavior": "inclusive" if inclusive else "exclusive",
        "tax_rate_details": {"tax_rate": rate.key},
        "taxability_reason": "standard_rated",
        "taxable_amount": taxable,
        "type": "tax_rate_details",
    }


def tax_total(rate: Record, taxes: Sequence[Body]) -> Body:
    """The sum of what a rate comes to on each line."""
    return {
        **tax(rate, 0),
        "amount": sum(tax["amount"] for tax in taxes),
        "taxable_amount": sum(tax["taxable_amount"] for tax in taxes),
    }


def with_balance(balance: int, total: int) -> tuple[int, int]:
    """What is due of a total given the customer's balance, and by how much the balance changes."""
    if balance < 0:
        used = min(-balance, max(total, 0))
        return total - used, used
    return total + balance, -balance


def _intent_values(invoice: Record, due: int) -> Body:
    return {
        "amount": due,
        "currency": invoice.body["currency"],
        "customer": invoice.body["customer"],
        "description": _description(invoice),
    }


def _payment_values(invoice: Record, intent: Record, due: int) -> Body:
    return {
        "amount_requested": due,
        "currency": invoice.body["currency"],
        "invoice": invoice.key,
        "is_default": True,
        "payment": {"charge": None, "payment_intent": intent.key, "payment_record": None, "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }


def _description(invoice: Record) -> str:
    reasons = {"subscription_create": "Subscription creation", "subscription_cycle": "Subscription update"}
    return reasons.get(invoice.body["billing_reason"], "Payment for Invoice")


def _method_for(account: Account, invoice: Record) -> Record | None:
    customer = existing(account, "customer", invoice.body["customer"])
    details = (invoice.body["parent"] or {}).get("subscription_details") or {}
    subscription = account.store.get("subscription", details.get("subscription") or "")
    methods = account.store.linked("payment_method", "customer", customer.key)
    choices = (
        invoice.body["default_payment_method"],
        subscription.body["default_payment_method"] if subscription is not None else None,
        customer.body["invoice_settings"]["default_payment_method"],
        methods[-1].key if methods else None,
    )
    key = next(filter(None, choices), None)
    return account.store.get("payment_method", key) if key is not None else None


def _credited(account: Account, line: Mapping[str, Any]) -> int:
    if line.get("amount"):
        return as_int("lines[amount]", line["amount"])
    quantity = as_int("lines[quantity]", line.get("quantity", 1))
    if line.get("unit_amount"):
        return as_int("lines[unit_amount]", line["unit_amount"]) * quantity
    source = named(account, "line_item", line.get("invoice_line_item"), "lines[invoice_line_item]")
    return int(source.body["amount"]) * quantity // max(source.body["quantity"] or 1, 1)


def _credit_line(account: Account, note: Record, line: Mapping[str, Any]) -> None:
    amount = _credited(account, line)
    account.create(
        "credit_note_line_item",
        {
            "amount": amount,
            "description": line.get("description"),
            "invoice_line_item": line.get("invoice_line_item"),
            "quantity": as_int("lines[quantity]", line.get("quantity", 1)),
            "type": line.get("type", "custom_line_item"),
            "unit_amount": amount,
            "unit_amount_decimal": str(amount),
        },
        facts={"credit_note": note.key},
        verb=None,
    )


def _apply_credit(account: Account, invoice: Record, note: Record, params: Params) -> None:
    amount = note.body["amount"]
    if invoice.body["status"] == "open":
        _credit_invoice(account, invoice, "pre_payment_credit_notes_amount", amount)
        return
    _credit_invoice(account, invoice, "post_payment_credit_notes_amount", amount)
    customer = existing(account, "customer", invoice.body["customer"])
    if "refund_amount" in params:
        payment = next(iter(account.store.linked("invoice_payment", "invoice", invoice.key)))
        intent = existing(account, "payment_intent", payment.body["payment"]["payment_intent"])
        charge = existing(account, "charge", intent.body["latest_charge"])
        refunded = refund(account, charge, as_int("refund_amount", params["refund_amount"]), {})
        given = {
            "amount_refunded": refunded.body["amount"],
            "payment_record_refund": None,
            "refund": refunded.key,
            "type": "refund",
        }
        account.change(note, {"refunds": [given]}, verb=None)
    elif "credit_amount" in params:
        values = {"credit_note": note.key, "invoice": invoice.key, "type": "credit_note"}
        credited = -as_int("credit_amount", params["credit_amount"])
        transaction = move_balance(account, customer, credited, invoice.body["currency"], values)
        account.change(note, {"customer_balance_transaction": transaction.key}, verb=None)
    elif "out_of_band_amount" in params:
        account.change(
            note, {"out_of_band_amount": as_int("out_of_band_amount", params["out_of_band_amount"])}, verb=None
        )


def _credit_invoice(account: Account, invoice: Record, field: str, amount: int) -> None:
    values = {field: invoice.body[field] + amount}
    if invoice.body["status"] == "open":
        values["amount_remaining"] = invoice.body["amount_remaining"] - amount
    account.change(invoice, values)
    if invoice.body["status"] == "open" and invoice.body["amount_remaining"] == 0:
        _mark_paid(account, invoice, invoice.body["amount_paid"])


RULES: Final[Mapping[tuple[str, str], Callable[[Account, Mapping[str, str], Params], Record | Body]]] = (
    MappingProxyType(
        {
            ("POST", "/v1/invoices"): create_invoice,
            ("POST", "/v1/invoices/{invoice}"): change_invoice,
            ("DELETE", "/v1/invoices/{invoice}"): delete_invoice,
            ("POST", "/v1/invoices/{invoice}/add_lines"): add_lines,
            ("POST", "/v1/invoices/{invoice}/remove_lines"): remove_lines,
            ("POST", "/v1/invoices/{invoice}/finalize"): finalize_by_request,
            ("POST", "/v1/invoices/{invoice}/pay"): pay_by_request,
            ("POST", "/v1/invoices/{invoice}/send"): send_invoice,
            ("POST", "/v1/invoices/{invoice}/void"): void_invoice,
            ("POST", "/v1/invoices/{invoice}/mark_uncollectible"): mark_uncollectible,
            ("POST", "/v1/invoiceitems"): create_item,
            ("DELETE", "/v1/invoiceitems/{invoiceitem}"): delete_item,
            ("POST", "/v1/credit_notes"): create_credit_note,
            ("POST", "/v1/credit_notes/{id}/void"): void_credit_note,
        }
    )
)
