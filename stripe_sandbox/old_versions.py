"""Objects as older API versions render them, modelled on Stripe's changelog: for events that are not of today.

``as_of_version`` undoes, newest first, what has changed since the version (``_CHANGES``); then, for any type, some
fields that came later are missing, currencies are in upper case and, in the oldest versions, lists are absent. So an
object of an older version never has the fields of today's, whatever its type. Pure, but for looking up references.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.store import Body

VERSIONS: Final = ("2018-11-08", "2019-12-03", "2020-08-27", "2022-11-15", "2024-06-20", "2025-02-24.acacia")
"""Versions that events come in, oldest first."""


_LISTS_SINCE: Final = "2020-08-27"
_ALWAYS_THERE: Final = frozenset(
    {
        *("id", "object", "amount", "created", "currency", "deleted", "livemode", "metadata", "status", "type"),
        *("account", "customer", "fee", "source"),  # whose it is
    }
)
_LATER_FIELDS: Final = 3  # one of so many fields did not exist yet


@dataclass(frozen=True, kw_only=True)
class _Change:
    """What ``version`` changed about a type, undone by a function of the body."""

    version: str
    object: str
    undo: Callable[[Body, Callable[[str, Any], Any]], None]


def as_of_version(body: Mapping[str, Any], version: str, lookup: Callable[[str, Any], Any]) -> Body:
    """The object as it would be in an older version.

    Args:
        body: The object as today's version renders it; it is not changed.
        version: The older version.
        lookup: Finds objects that the older version holds whole: type and id to a body, or None.
    """
    older = changed_back(body, version, lookup)
    for name in [name for name in older if name in body and _came_later(name)] or _last_field(older):
        del older[name]
    for name, value in list(older.items()):
        if name.endswith("currency") and isinstance(value, str):
            older[name] = value.upper()
        elif version < _LISTS_SINCE and isinstance(value, dict) and value.get("object") == "list":
            del older[name]
    return older


def changed_back(body: Mapping[str, Any], version: str, lookup: Callable[[str, Any], Any]) -> Body:
    """The object with just the changes undone that an older version lacks; it is not changed itself."""
    older = dict(body)
    for change in _CHANGES:
        if change.object == body["object"] and version < change.version:
            change.undo(older, lookup)
    return older


def _came_later(name: str) -> bool:
    return name not in _ALWAYS_THERE and zlib.crc32(name.encode()) % _LATER_FIELDS == 0


def _last_field(body: Body) -> list[str]:
    """What to leave out of an object of which all fields were there."""
    return [name for name in body if name not in ("id", "object")][-1:]


def _nested(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _taxes(body: Body, name: str, older_name: str) -> None:
    body[older_name] = [
        {
            "amount": tax["amount"],
            "inclusive": tax["tax_behavior"] == "inclusive",
            "tax_rate": _nested(tax, "tax_rate_details", "tax_rate"),
            "taxability_reason": tax["taxability_reason"],
            "taxable_amount": tax["taxable_amount"],
        }
        for tax in body.pop(name, None) or []
    ]


def _invoice(body: Body, lookup: Callable[[str, Any], Any]) -> None:
    """The subscription and the payment stood in the invoice itself, with ``paid`` and one sum of taxes."""
    parent = body.pop("parent", None)
    body["subscription"] = _nested(parent, "subscription_details", "subscription")
    body["subscription_details"] = {"metadata": _nested(parent, "subscription_details", "metadata")}
    body["paid"] = body["status"] == "paid"
    body["tax"] = sum(tax["amount"] for tax in body.get("total_taxes") or []) or None
    body["discount"] = lookup("discount", next(iter(body.get("discounts") or []), None))
    body["charge"] = body["payment_intent"] = None
    _taxes(body, "total_taxes", "total_tax_amounts")
    if _nested(body, "lines", "data") is not None:
        lines = []
        for line in body["lines"]["data"]:
            older = dict(line)
            _invoice_line(older, lookup)
            lines.append(older)
        body["lines"] = {**body["lines"], "data": lines}


def _invoice_line(body: Body, lookup: Callable[[str, Any], Any]) -> None:
    """The price stood whole in the line."""
    parent = body.pop("parent", None)
    item = _nested(parent, "invoice_item_details")
    price = _nested(body.pop("pricing", None), "price_details", "price")
    body["price"] = lookup("price", price)
    body["plan"] = lookup("plan", price)
    body["invoice_item"] = _nested(item, "invoice_item")
    body["subscription_item"] = _nested(parent, "subscription_item_details", "subscription_item")
    body["type"] = "invoiceitem" if item else "subscription"
    _taxes(body, "taxes", "tax_amounts")


def _invoice_item(body: Body, lookup: Callable[[str, Any], Any]) -> None:
    price = _nested(body.pop("pricing", None), "price_details", "price")
    body["price"] = lookup("price", price)
    body["plan"] = lookup("plan", price)
    body["subscription"] = _nested(body.pop("parent", None), "subscription_details", "subscription")


def _subscription(body: Body, lookup: Callable[[str, Any], Any]) -> None:
    """The period stood in the subscription, and its one plan; it had one discount."""
    items = [dict(item) for item in _nested(body, "items", "data") or []]
    first = items[0] if items else {}
    body["current_period_start"] = first.get("current_period_start")
    body["current_period_end"] = first.get("current_period_end")
    body["plan"], body["quantity"] = first.get("plan"), first.get("quantity")
    body["discount"] = lookup("discount", next(iter(body.get("discounts") or []), None))
    for item in items:
        _subscription_item(item, lookup)
    if "items" in body:
        body["items"] = {**body["items"], "data": items}


def _subscription_item(body: Body, _lookup: Callable[[str, Any], Any]) -> None:
    body.pop("current_period_start", None)
    body.pop("current_period_end", None)


def _discount(body: Body, lookup: Callable[[str, Any], Any]) -> None:
    """The coupon stood whole in the discount."""
    body["coupon"] = lookup("coupon", _nested(body.pop("source", None), "coupon"))


def _promotion_code(body: Body, lookup: Callable[[str, Any], Any]) -> None:
    body["coupon"] = lookup("coupon", _nested(body.pop("promotion", None), "coupon"))


def _charge(body: Body, lookup: Callable[[str, Any], Any]) -> None:
    """The refunds came along, and the invoice was named."""
    body["refunds"] = {"object": "list", "data": [], "has_more": False, "url": f"/v1/charges/{body['id']}/refunds"}
    body["invoice"] = None
    body["dispute"] = None
    body["source"] = lookup("card", body.get("payment_method"))


def _payment_intent(body: Body, lookup: Callable[[str, Any], Any]) -> None:
    """The charges came along."""
    charge = lookup("charge", body.pop("latest_charge", None))
    url = f"/v1/charges?payment_intent={body['id']}"
    body["charges"] = {"object": "list", "data": [charge] if charge else [], "has_more": False, "url": url}


def _source_statuses(body: Body, _lookup: Callable[[str, Any], Any]) -> None:
    statuses = {"requires_payment_method": "requires_source", "requires_action": "requires_source_action"}
    body["status"] = statuses.get(body["status"], body["status"])


def _billing(body: Body, _lookup: Callable[[str, Any], Any]) -> None:
    body["billing"] = body.pop("collection_method", None)
    body["tax_percent"] = None


def _customer(body: Body, _lookup: Callable[[str, Any], Any]) -> None:
    body["account_balance"] = body.pop("balance", None)
    body["tax_info"] = None


_CHANGES: Final = (
    _Change(version="2025-09-30.clover", object="discount", undo=_discount),
    _Change(version="2025-09-30.clover", object="promotion_code", undo=_promotion_code),
    _Change(version="2025-03-31.basil", object="invoice", undo=_invoice),
    _Change(version="2025-03-31.basil", object="line_item", undo=_invoice_line),
    _Change(version="2025-03-31.basil", object="invoiceitem", undo=_invoice_item),
    _Change(version="2025-03-31.basil", object="subscription", undo=_subscription),
    _Change(version="2025-03-31.basil", object="subscription_item", undo=_subscription_item),
    _Change(version="2022-11-15", object="charge", undo=_charge),
    _Change(version="2022-11-15", object="payment_intent", undo=_payment_intent),
    _Change(version="2019-10-17", object="invoice", undo=_billing),
    _Change(version="2019-10-17", object="subscription", undo=_billing),
    _Change(version="2019-12-03", object="customer", undo=_customer),
    _Change(version="2019-02-11", object="payment_intent", undo=_source_statuses),
)
