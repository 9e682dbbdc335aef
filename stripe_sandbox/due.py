"""When something happens to an object by itself, told by the object alone.

``due_at`` is the only place that knows; ``occurrences`` says what happens then. Pure.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.store import Record

NOTICE_SECONDS: Final = 3 * 86_400  # a trial's end and the next invoice are announced that long before
UNPAID_SECONDS: Final = 23 * 3_600  # a first payment may take that long
AUTHORIZED_SECONDS: Final = 7 * 86_400  # an authorisation lasts that long


def due_at(record: Record) -> int | None:
    """When something is due for an object next, in seconds since the epoch; None if nothing is."""
    told = _MOMENTS.get(record.object)
    return told(record) if told is not None else None


def _subscription_item(record: Record) -> int | None:
    end: int = record.body["current_period_end"]
    return end if record.facts.get("upcoming_told") == end else end - NOTICE_SECONDS


def _subscription(record: Record) -> int | None:
    body = record.body
    if body["status"] == "incomplete":
        return int(record.created + UNPAID_SECONDS)
    moments = []
    if body["status"] == "trialing" and body["trial_end"] and record.facts.get("trial_told") != body["trial_end"]:
        moments.append(body["trial_end"] - NOTICE_SECONDS)
    if body["cancel_at"] and not body["cancel_at_period_end"] and not body["ended_at"]:
        moments.append(body["cancel_at"])
    return min(moments, default=None)


def _invoice(record: Record) -> int | None:
    body = record.body
    if body["status"] == "draft":
        moment: int | None = body["automatically_finalizes_at"] if body["auto_advance"] else None
        return moment
    retry: int | None = body["next_payment_attempt"] if body["status"] == "open" else None
    return retry


def _while(status: str, field: str) -> Callable[[Record], int | None]:
    def moment(record: Record) -> int | None:
        found: int | None = record.body[field] if record.body["status"] == status else None
        return found

    return moment


def _unless(flag: str, value: bool, field: str) -> Callable[[Record], int | None]:
    def moment(record: Record) -> int | None:
        found: int | None = record.body[field] if record.body[flag] is not value else None
        return found

    return moment


def _field(name: str) -> Callable[[Record], int | None]:
    def moment(record: Record) -> int | None:
        found: int | None = record.body[name]
        return found

    return moment


def _payment_intent(record: Record) -> int | None:
    return record.created + AUTHORIZED_SECONDS if record.body["status"] == "requires_capture" else None


_MOMENTS: Final[Mapping[str, Callable[[Record], int | None]]] = MappingProxyType(
    {
        "checkout.session": _while("open", "expires_at"),
        "coupon": _unless("valid", False, "redeem_by"),
        "discount": _field("end"),
        "file_link": _unless("expired", True, "expires_at"),
        "invoice": _invoice,
        "payment_intent": _payment_intent,
        "payout": _while("in_transit", "arrival_date"),
        "promotion_code": _unless("active", False, "expires_at"),
        "quote": _while("open", "expires_at"),
        "subscription": _subscription,
        "subscription_item": _subscription_item,
        "test_helpers.test_clock": _field("deletes_after"),
    }
)
