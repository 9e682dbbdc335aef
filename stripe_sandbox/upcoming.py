"""The invoice that Stripe would make next: computed on request, without an id, in older API versions only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stripe_sandbox.billing import ENDED, period_end
from stripe_sandbox.catalog import named
from stripe_sandbox.errors import StripeError, missing_parameter, unknown_parameter, unrecognized_url
from stripe_sandbox.invoices import subscription_parent
from stripe_sandbox.rendering import EMBEDDED_LIMIT
from stripe_sandbox.shapes import minimal

if TYPE_CHECKING:
    from stripe_sandbox.account import Account
    from stripe_sandbox.forms import Params
    from stripe_sandbox.store import Body, Record

UPCOMING_PATH: Final = "/v1/invoices/upcoming"
_REMOVED_IN: Final = "2025-03-31"


def upcoming_invoice(account: Account, params: Params, version: str) -> Body:
    """``GET /v1/invoices/upcoming`` by ``customer`` or ``subscription``.

    Raises:
        StripeError: 404 in versions that no longer have it, or where nothing is due (``invoice_upcoming_none``).
    """
    if version >= _REMOVED_IN:
        raise unrecognized_url("GET", UPCOMING_PATH)
    for name in params:
        if name not in ("customer", "subscription", "expand"):
            raise unknown_parameter(name)
    if "subscription" in params:
        chosen = [named(account, "subscription", params["subscription"], "subscription")]
    elif "customer" in params:
        customer = named(account, "customer", params["customer"], "customer")
        chosen = account.store.linked("subscription", "customer", customer.key)
    else:
        raise missing_parameter("customer")
    due = [(end, s) for s in chosen if s.body["status"] not in ENDED and (end := period_end(account, s)) is not None]
    if not due:
        raise StripeError(
            404,
            f"No upcoming invoices for customer: {chosen[0].body['customer'] if chosen else params.get('customer')}",
            code="invoice_upcoming_none",
        )
    end, subscription = min(due, key=lambda pair: pair[0])
    body = preview(account, subscription, end)
    del body["parent"]
    return {**body, "subscription": subscription.key}


def preview(account: Account, subscription: Record, end: int) -> Body:
    """The invoice that a subscription's next period will bring, in today's shape."""
    lines = []
    for item in account.store.linked("subscription_item", "subscription", subscription.key):
        price = account.store.last_known("price", item.body["price"])
        amount = (price.body["unit_amount"] or 0) * (item.body["quantity"] or 1) if price is not None else 0
        line = minimal(account.spec.fields("line_item"), livemode=account.livemode)
        lines.append(
            {
                **line,
                "id": f"il_tmp_{item.key}",
                "amount": amount,
                "currency": subscription.body["currency"],
                "object": "line_item",
                "quantity": item.body["quantity"],
                "subscription": subscription.key,
            }
        )
    total = sum(line["amount"] for line in lines)
    body = minimal(account.spec.fields("invoice"), livemode=account.livemode)
    del body["id"]
    return {
        **body,
        "object": "invoice",
        "amount_due": total,
        "amount_remaining": total,
        "billing_reason": "upcoming",
        "created": end,
        "currency": subscription.body["currency"],
        "customer": subscription.body["customer"],
        "lines": {
            "object": "list",
            "data": lines[:EMBEDDED_LIMIT],
            "has_more": len(lines) > EMBEDDED_LIMIT,
            "total_count": len(lines),
            "url": f"/v1/invoices/upcoming/lines?subscription={subscription.key}",
        },
        "parent": subscription_parent(subscription),
        "status": "draft",
        "subtotal": total,
        "total": total,
    }
