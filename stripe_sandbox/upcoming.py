"""The invoice that Stripe would make next: computed on request and kept nowhere.

By two ways: ``GET /v1/invoices/upcoming``, for a customer or a subscription, in versions before 2025-03-31.basil; and
``POST /v1/invoices/create_preview``, for a subscription, in all that the sandbox has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.billing import AT_REST, interval_of, period_end
from stripe_sandbox.catalog import named
from stripe_sandbox.errors import (
    StripeError,
    missing_parameter,
    no_such_reference,
    unknown_parameter,
    unrecognized_url,
)
from stripe_sandbox.forms import as_str
from stripe_sandbox.invoices import (
    DRAFT_SECONDS,
    discount_shares,
    pending_items,
    price_named_by,
    pricing_of,
    subscription_parent,
    tax,
    tax_total,
    with_balance,
)
from stripe_sandbox.lists import limit_of, page_json
from stripe_sandbox.old_versions import changed_back
from stripe_sandbox.periods import nth_period
from stripe_sandbox.rendering import EMBEDDED_LIMIT, at_page_depth
from stripe_sandbox.shapes import minimal

if TYPE_CHECKING:
    from stripe_sandbox.account import Account
    from stripe_sandbox.forms import Params
    from stripe_sandbox.store import Body, Record

UPCOMING_PATH: Final = "/v1/invoices/upcoming"
UPCOMING_LINES_PATH: Final = "/v1/invoices/upcoming/lines"
CREATE_PREVIEW_PATH: Final = "/v1/invoices/create_preview"
_REMOVED_IN: Final = "2025-03-31"
_WHOSE: Final = frozenset({"customer", "subscription"})
_RENAMED: Final = frozenset({"subscription", "subscription_details", "total_tax_amounts"})
_PAGING: Final = frozenset({"limit", "starting_after"})


def upcoming_invoice(account: Account, params: Params, version: str) -> Body:
    """``GET /v1/invoices/upcoming`` by ``customer`` or ``subscription``.

    Raises:
        StripeError: 404 in versions that no longer have it, or where nothing is due (``invoice_upcoming_none``).
    """
    body = _asked_for(account, params, version, UPCOMING_PATH, _WHOSE | {"expand"})
    return _cut(_in_version(account, body, version), params)


def upcoming_lines(account: Account, params: Params, version: str) -> bytes:
    """``GET /v1/invoices/upcoming/lines``: a page of the lines.

    Raises:
        StripeError: As for the invoice; 400 for a cursor that is no line of it.
    """
    body = _asked_for(account, params, version, UPCOMING_LINES_PATH, _WHOSE | _PAGING)
    lines, limit = _in_version(account, body, version)["lines"]["data"], limit_of(params)
    if "starting_after" in params:
        after = as_str("starting_after", params["starting_after"])
        position = next((number for number, line in enumerate(lines) if line["id"] == after), None)
        if position is None:
            raise no_such_reference("line_item", after, "starting_after")
        lines = lines[position + 1 :]
    page = [at_page_depth(line) for line in lines[:limit]]
    return page_json(page, has_more=len(lines) > limit, url=UPCOMING_LINES_PATH)


def created_preview(account: Account, params: Params, version: str) -> Body:
    """``POST /v1/invoices/create_preview`` by ``subscription``.

    Raises:
        StripeError: 400 for other parameters; 404 where nothing is due.
    """
    for name in params:
        if name not in ("subscription", "customer", "expand"):
            raise unknown_parameter(name)
    if "subscription" not in params:
        raise missing_parameter("subscription")
    body = _next(account, {"subscription": params["subscription"]})
    return _cut(_in_version(account, body, version), params)


def next_of_subscription(account: Account, subscription: Record) -> Body | None:
    """The invoice that a subscription brings next, in today's shape with all lines; None if there is none."""
    end = _due(account, subscription)
    return None if end is None else preview(account, subscription, end)


def next_of_customer(account: Account, customer: Record) -> Body | None:
    """The invoice that a customer gets next: of the subscription that is due first, or of items that wait."""
    due = [
        (end, subscription)
        for subscription in account.store.linked("subscription", "customer", customer.key)
        if (end := _due(account, subscription)) is not None
    ]
    if due:
        end, subscription = min(due, key=lambda pair: pair[0])
        return preview(account, subscription, end)
    waiting = pending_items(account, customer.key)
    return _preview(account, customer, None, max(each.body["date"] for each in waiting)) if waiting else None


def told(account: Account, whose: str, record: Record) -> Body | None:
    """What the older versions tell of a customer's or a subscription's next invoice, under today's names.

    Args:
        account: The account.
        whose: ``customer`` or ``subscription``.
        record: That.
    """
    body = (next_of_customer if whose == "customer" else next_of_subscription)(account, record)
    if body is None:
        return None
    older = _in_version(account, body, _REMOVED_IN[:-1])
    kept = {name: value for name, value in older.items() if name not in body and name not in _RENAMED}
    lines = {**older["lines"], "url": f"{UPCOMING_LINES_PATH}?{whose}={record.key}"}
    return {**body, **kept, "lines": lines}


def preview(account: Account, subscription: Record, end: int) -> Body:
    """The invoice that a subscription's next period will bring, in today's shape with all lines."""
    customer = account.store.last_known("customer", subscription.body["customer"])
    assert customer is not None  # noqa: S101 - a subscription has one
    return _preview(account, customer, subscription, end)


def _due(account: Account, subscription: Record) -> int | None:
    if subscription.body["status"] in AT_REST or subscription.body["cancel_at_period_end"]:
        return None
    return period_end(account, subscription)


def _asked_for(account: Account, params: Params, version: str, path: str, known: frozenset[str]) -> Body:
    if version >= _REMOVED_IN:
        raise unrecognized_url("GET", path)
    for name in params:
        if name not in known:
            raise unknown_parameter(name)
    return _next(account, params)


def _next(account: Account, params: Params) -> Body:
    if "subscription" in params:
        subscription = named(account, "subscription", params["subscription"], "subscription")
        whose, body = subscription.body["customer"], next_of_subscription(account, subscription)
    elif "customer" in params:
        customer = named(account, "customer", params["customer"], "customer")
        whose, body = customer.key, next_of_customer(account, customer)
    else:
        raise missing_parameter("customer")
    if body is None:
        raise StripeError(404, f"No upcoming invoices for customer: {whose}", code="invoice_upcoming_none")
    return body


def _in_version(account: Account, body: Body, version: str) -> Body:
    return changed_back(body, version, _lookup(account))


def _lookup(account: Account) -> Any:
    def look(object_type: str, key: Any) -> Body | None:
        record = account.store.last_known(object_type, key) if isinstance(key, str) else None
        return None if record is None else account.renderer.body(record)

    return look


def _cut(body: Body, params: Params) -> Body:
    """The invoice with the first of its lines."""
    lines = body["lines"]["data"]
    whose = next(name for name in ("subscription", "customer") if name in params)
    url = f"{UPCOMING_LINES_PATH}?{whose}={params[whose]}"
    cut = {"data": lines[:EMBEDDED_LIMIT], "has_more": len(lines) > EMBEDDED_LIMIT, "url": url}
    return {**body, "lines": {**body["lines"], **cut}}


def _preview(account: Account, customer: Record, subscription: Record | None, end: int) -> Body:
    lines = [] if subscription is None else _subscription_lines(account, subscription, end)
    currency = customer.body["currency"] if subscription is None else subscription.body["currency"]
    waiting = [each for each in pending_items(account, customer.key) if currency in (None, each.body["currency"])]
    lines += [_item_line(account, each) for each in waiting]
    currency = currency or waiting[0].body["currency"]
    discounts = [] if subscription is None else subscription.body["discounts"]
    discounts = [*discounts, *filter(None, [customer.body["discount"]])]
    rates = [] if subscription is None else subscription.body["default_tax_rates"] or []
    body = minimal(account.spec.fields("invoice"), livemode=account.livemode)
    del body["id"]
    start = end if subscription is None else _period_start(account, subscription)
    return {
        **body,
        "object": "invoice",
        "account_country": "DE",
        "account_name": "Sandbox",
        "billing_reason": "upcoming",
        "collection_method": "charge_automatically" if subscription is None else subscription.body["collection_method"],
        "created": end,
        "currency": currency,
        "customer": customer.key,
        "customer_address": customer.body["address"],
        "customer_email": customer.body["email"],
        "customer_name": customer.body["name"],
        "customer_phone": customer.body["phone"],
        "customer_tax_exempt": customer.body["tax_exempt"],
        "customer_tax_ids": [
            {"type": tax_id.body["type"], "value": tax_id.body["value"]}
            for tax_id in account.store.linked("tax_id", "customer", customer.key)
        ],
        "default_tax_rates": rates,
        "discounts": discounts,
        "metadata": {},
        "next_payment_attempt": end + DRAFT_SECONDS,
        "parent": None if subscription is None else subscription_parent(subscription),
        "period_end": end,
        "period_start": start,
        "starting_balance": customer.body["balance"],
        "status": "draft",
        **_totals(account, lines, discounts, rates, customer.body["balance"] or 0),
    }


def _totals(account: Account, lines: list[Body], discounts: list[str], tax_rates: list[str], balance: int) -> Body:
    """The lines with their discounts and taxes, and what they add up to."""
    shares = discount_shares(account, discounts, {line["id"]: line["amount"] for line in lines})
    rates = [record for key in tax_rates if (record := account.store.last_known("tax_rate", key))]
    for line in lines:
        taken: list[Body] = [{"amount": share[line["id"]], "discount": key} for key, share in shares.items()]
        taxable = line["amount"] - sum(each["amount"] for each in taken)
        line |= {"discount_amounts": taken, "taxes": [tax(rate, taxable) for rate in rates]}
    subtotal = sum(line["amount"] for line in lines)
    off: list[Body] = [{"amount": sum(share.values()), "discount": key} for key, share in shares.items()]
    taxes = [tax_total(rate, [line["taxes"][index] for line in lines]) for index, rate in enumerate(rates)]
    net = subtotal - sum(each["amount"] for each in off)
    exclusive = sum(each["amount"] for each in taxes if each["tax_behavior"] == "exclusive")
    inclusive = sum(each["amount"] for each in taxes if each["tax_behavior"] == "inclusive")
    due = with_balance(balance, net + exclusive)[0]
    return {
        "amount_due": due,
        "amount_remaining": due,
        "lines": {"object": "list", "data": lines, "has_more": False, "total_count": len(lines), "url": ""},
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal - inclusive,
        "total": net + exclusive,
        "total_discount_amounts": off,
        "total_excluding_tax": net - inclusive,
        "total_pretax_credit_amounts": [],
        "total_taxes": taxes,
    }


def _subscription_lines(account: Account, subscription: Record, end: int) -> list[Body]:
    """A line for each item: the next period, or for metered ones what has been used."""
    lines = []
    interval = interval_of(account, subscription)
    period = nth_period(subscription.body["billing_cycle_anchor"], *interval, end)
    for item in account.store.linked("subscription_item", "subscription", subscription.key):
        price = account.store.last_known("price", item.body["price"])
        if price is None:
            continue
        recurring = price.body["recurring"] or {}
        metered = recurring.get("usage_type") == "metered"
        quantity = item.facts.get("usage", 0) if metered else item.body["quantity"] or 1
        details = {
            "invoice_item": None,
            "proration": False,
            "proration_details": {"credited_items": None},
            "subscription": subscription.key,
            "subscription_item": item.key,
        }
        parent = {"invoice_item_details": None, "subscription_item_details": details}
        lines.append(
            _line(
                account,
                f"il_tmp_{item.key}",
                {
                    "amount": (price.body["unit_amount"] or 0) * quantity,
                    "currency": subscription.body["currency"],
                    "parent": {**parent, "type": "subscription_item_details"},
                    "period": {"end": period[1], "start": period[0]},
                    "quantity": quantity,
                    "subscription": subscription.key,
                },
                price,
            )
        )
    return lines


def _item_line(account: Account, item: Record) -> Body:
    """The line of an invoice item that waits."""
    details = {
        "invoice_item": item.key,
        "proration": item.body["proration"],
        "proration_details": None,
        "subscription": None,
    }
    parent = {"invoice_item_details": details, "subscription_item_details": None, "type": "invoice_item_details"}
    return _line(
        account,
        f"il_tmp_{item.key}",
        {
            "amount": item.body["amount"],
            "currency": item.body["currency"],
            "description": item.body["description"],
            "parent": parent,
            "period": item.body["period"],
            "quantity": item.body["quantity"],
        },
        price_named_by(account, item),
    )


def _line(account: Account, key: str, values: Body, price: Record | None) -> Body:
    blank = minimal(account.spec.fields("line_item"), livemode=account.livemode)
    return {**blank, "id": key, "object": "line_item", "metadata": {}, **values, "pricing": pricing_of(price)}


def _period_start(account: Account, subscription: Record) -> int:
    items = account.store.linked("subscription_item", "subscription", subscription.key)
    return int(items[0].body["current_period_start"])
