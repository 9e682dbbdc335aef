"""What happens by itself when its time has come: renewals, trials that end, settlements, payouts, expiries.

``catch_up`` is driven by whoever is about to ask the account anything, and by the server while nobody asks. The
account's clock is held at the moment of what happens, so everything carries its own time, and nobody is told a time up
to which there is still something to happen. It costs a look at the agenda where nothing is due.
"""

from __future__ import annotations

import logging
import math
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stripe_sandbox import billing, customers, deletions, invoices, payments, upcoming
from stripe_sandbox.due import due_at
from stripe_sandbox.errors import StripeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stripe_sandbox.account import Account
    from stripe_sandbox.agenda import Agenda
    from stripe_sandbox.store import Record

DAY: Final = 86_400
HOUR: Final = 3_600
SETTLED_AT_ONCE: Final = 2_000
_WEEK: Final = 7 * DAY
_PAYOUT_DAY: Final = 4 * DAY + 5 * HOUR  # from a week of the epoch, which begins on a Thursday: Monday at five

logger = logging.getLogger(__name__)


def open_books(account: Account) -> None:
    """Begin what goes on for ever: Stripe pays out on Mondays, and forgets events."""
    _note_payouts(account)
    account.agenda.note(account.now() + HOUR, "forgetting", "")


def catch_up(account: Account, *others: Account, seconds: float = math.inf) -> bool:
    """Let happen what is due by now, in order of time over all accounts.

    Args:
        account: The account. Its clock is held until all has happened.
        others: More accounts on the same clock.
        seconds: How long this may take, in real time. The rest is left to the next call.

    Returns:
        Whether all has happened that can happen by now.
    """
    accounts = (account, *others)
    until = account.clock.target()
    deadline = time.perf_counter() + seconds
    while (first := _first_due(accounts, until)) is not None:
        entry = first.agenda.take(until)
        account.clock.hold(first.agenda.moment)
        if entry is not None:
            _happen(first, first.agenda, *entry)
        if time.perf_counter() >= deadline:
            return False
    for each in accounts:
        each.agenda.take(until)  # nothing is left: it only learns what time it is
    account.clock.release()
    return True


def _first_due(accounts: Sequence[Account], until: int) -> Account | None:
    """The account to which something happens next, if to any by a moment."""
    due = [
        (moment, number) for number, each in enumerate(accounts) if (moment := each.agenda.next_at(until)) is not None
    ]
    return accounts[min(due)[1]] if due else None


def catch_up_test_clock(account: Account, agenda: Agenda, until: int) -> None:
    """The same on a test clock, which nobody waits for: all of it at once, and at the account's own time."""
    while (entry := agenda.take(until)) is not None:
        _happen(account, agenda, *entry)


def _happen(account: Account, agenda: Agenda, moment: int, object_type: str, key: str) -> None:
    chore = _CHORES.get(object_type)
    record = account.store.get(object_type, key) if chore is None else None
    try:
        if chore is not None:
            chore(account)
        elif record is not None and due_at(record) == moment:
            _OCCURRENCES[object_type](account, record)
    except StripeError as error:
        logger.info("What was due for %s %s was refused: %s", object_type, key, error)
        return
    except Exception:
        logger.exception("What was due for %s %s failed.", object_type, key)
        return
    if record is not None and account.store.get(object_type, key) is record:
        following = due_at(record)
        if following is not None and following != moment:
            agenda.note(following, object_type, key)


def _subscription_item(account: Account, item: Record) -> None:
    """The next invoice is announced, or the period is over: the first item speaks for its subscription."""
    subscription = account.store.get("subscription", item.body["subscription"])
    if subscription is None or subscription.body["status"] in billing.AT_REST:
        return
    end = item.body["current_period_end"]
    first = account.store.linked("subscription_item", "subscription", subscription.key)[0]
    if item.facts.get("upcoming_told") != end:
        item.facts["upcoming_told"] = end
        if first is item and not subscription.body["cancel_at_period_end"]:
            preview = upcoming.preview(account, subscription, end)
            account.announce(subscription, "upcoming", name="invoice.upcoming", snapshot=preview)
        return
    billing.renew(account, subscription)


def _subscription(account: Account, subscription: Record) -> None:
    if subscription.body["status"] == "incomplete":
        billing.give_up(account, subscription)
    elif subscription.body["status"] == "trialing" and subscription.facts.get("trial_told") is None:
        subscription.facts["trial_told"] = subscription.body["trial_end"]
        account.announce(subscription, "trial_will_end")
    elif subscription.body["status"] not in billing.ENDED:
        billing.end_subscription(account, subscription)


def _invoice(account: Account, invoice: Record) -> None:
    if invoice.body["status"] == "draft":
        invoices.finalize(account, invoice)
    if invoice.body["status"] == "open" and invoice.body["collection_method"] == "charge_automatically":
        billing.collect(account, invoice)


def _checkout_session(account: Account, session: Record) -> None:
    account.change(session, {"status": "expired", "url": None}, verb="expired")


def _quote(account: Account, quote: Record) -> None:
    account.change(quote, {"status": "canceled"}, verb="canceled")


def _coupon(account: Account, coupon: Record) -> None:
    account.change(coupon, {"valid": False}, verb=None)


def _promotion_code(account: Account, code: Record) -> None:
    account.change(code, {"active": False}, verb=None)


def _file_link(account: Account, link: Record) -> None:
    account.change(link, {"expired": True}, verb=None)


def _payout(account: Account, payout: Record) -> None:
    payments.arrive(account, payout)


def _test_clock(account: Account, clock: Record) -> None:
    deletions.delete_test_clock(account, {"test_clock": clock.key}, {})


def _settle(account: Account) -> None:
    if payments.settle(account, at_most=SETTLED_AT_ONCE):
        account.agenda.note(account.now(), "settlement", "")


def _pay_out(account: Account) -> None:
    for currency in account.ledger.currencies():
        payments.pay_out(account, currency)
    _note_payouts(account)


def _note_payouts(account: Account) -> None:
    now = account.now()
    account.agenda.note(now - (now - _PAYOUT_DAY) % _WEEK + _WEEK, "payouts", "")


def _forget(account: Account) -> None:
    account.forget_old_events()
    account.agenda.note(account.now() + HOUR, "forgetting", "")


_CHORES: Final[Mapping[str, Callable[[Account], None]]] = MappingProxyType(
    {"forgetting": _forget, "payouts": _pay_out, "settlement": _settle}
)
"""What is due for the account rather than for an object."""

_OCCURRENCES: Final[Mapping[str, Callable[[Account, Record], None]]] = MappingProxyType(
    {
        "checkout.session": _checkout_session,
        "coupon": _coupon,
        "discount": customers.end_discount,
        "file_link": _file_link,
        "invoice": _invoice,
        "payment_intent": payments.expire_authorization,
        "payout": _payout,
        "promotion_code": _promotion_code,
        "quote": _quote,
        "subscription": _subscription,
        "subscription_item": _subscription_item,
        "test_helpers.test_clock": _test_clock,
    }
)
