"""What the shape of an object does not say and the ``full`` account needs: that its objects make sense to lists.

One function a type. Each changes the body or the facts of a draft whose ids and parents are fixed already.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.customers import cash_balance
from stripe_sandbox.ids import token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Body

_STATUSES: Final = ("active", "canceled", "trialing", "past_due", "incomplete_expired", "paused")
_INLINE_EVERY: Final = 10
_ON_CLOCK_EVERY: Final = 5


@dataclass(kw_only=True)
class Draft:
    """An object before it is stored.

    ``number`` is its place among its like, ``links`` the parents it has, ``ids`` all ids there will be, by type, but
    for the customers on test clocks, whom nothing refers to that lists show.
    """

    account: Account
    object: str
    id: str
    number: int
    links: Mapping[str, str]
    body: Body
    facts: dict[str, Any]
    ids: Mapping[str, list[str]]
    clock_customers: Sequence[str]

    def customer(self) -> str:
        """A customer for what may hang on a test clock: every fifth is a customer on one."""
        if self.number % _ON_CLOCK_EVERY == _ON_CLOCK_EVERY - 1:
            return self.clock_customers[self.number % len(self.clock_customers)]
        return self.other("customer")

    def other(self, object_type: str, index: int | None = None) -> str:
        """The id of the object of another type with this index (by default its own number), going round."""
        known = self.ids[object_type]
        return known[(self.number if index is None else index) % len(known)]

    def index_of_parent(self, object_type: str, link: str) -> int:
        """The index of its parent among the parent's like."""
        return self.ids[object_type].index(self.links[link])


def refine(draft: Draft) -> None:
    """Apply what is known of the draft's type."""
    refinement = _REFINEMENTS.get(draft.object)
    if refinement is not None:
        refinement(draft)


def _app_secret(draft: Draft) -> None:
    own = draft.number % 3 == 0
    draft.body["scope"] = {"type": "user", "user": f"usr_{draft.number}"} if own else {"type": "account"}


def _balance_transaction(draft: Draft) -> None:
    draft.body["net"] = draft.body["amount"] - draft.body["fee"]
    if draft.number % 3:
        draft.facts["payout"] = draft.other("payout")


def _credit_balance_transaction(draft: Draft) -> None:
    draft.facts["customer"] = draft.other("customer", draft.index_of_parent("billing.credit_grant", "credit_grant"))


def _credit_grant(draft: Draft) -> None:
    draft.body["customer"] = draft.other("customer")


def _meter_event_summary(draft: Draft) -> None:
    start = draft.account.now() // 60 * 60 - (draft.number + 1) * 3600
    draft.body |= {"start_time": start, "end_time": start + 3600}
    draft.facts["customer"] = draft.other("customer")


def _charge(draft: Draft) -> None:
    draft.body["payment_intent"] = draft.other("payment_intent")
    draft.body["customer"] = draft.other("customer", draft.number // 2) if draft.number % 7 else None
    if draft.number < len(draft.ids["review"]):
        draft.body["review"] = draft.ids["review"][draft.number]


def _payment_intent(draft: Draft) -> None:
    draft.body["latest_charge"] = draft.other("charge")
    draft.body["customer"] = draft.other("customer", draft.number // 2) if draft.number % 7 else None
    draft.body["amount_details"] = {**(draft.body.get("amount_details") or {"tip": {}}), "error": None}


def _customer(draft: Draft) -> None:
    settings = dict.fromkeys(("custom_fields", "default_payment_method", "footer", "rendering_options"))
    draft.body |= {
        "balance": 0,
        "cash_balance": draft.id,
        "invoice_prefix": token(draft.id, length=8).upper(),
        "invoice_settings": settings,
        "next_invoice_sequence": 1,
    }
    draft.account.add("cash_balance", cash_balance(draft.account, draft.id), facts={"key": draft.id})


def _debit_reversal(draft: Draft) -> None:
    draft.facts["resolution"] = "won" if draft.number % 2 else "lost"


def _discount(draft: Draft) -> None:
    draft.body["source"] = {"coupon": draft.other("coupon"), "type": "coupon"}


def _connected_bank_account(draft: Draft) -> None:
    refresh = {"id": f"fctxnref_{draft.number}", "last_attempted_at": draft.account.now(), "status": "succeeded"}
    draft.facts["session"] = draft.other("financial_connections.session")
    draft.body["ownership"] = draft.other("financial_connections.account_ownership")
    draft.body["transaction_refresh"] = {**refresh, "next_refresh_available_at": None}


def _bank_account_ownership(draft: Draft) -> None:
    draft.facts["account"] = draft.other("financial_connections.account")


def _bank_account_owner(draft: Draft) -> None:
    index = draft.index_of_parent("financial_connections.account", "financial_account")
    draft.body["ownership"] = draft.other("financial_connections.account_ownership", index)


def _payment_method(draft: Draft) -> None:
    draft.body["customer"] = draft.links.get("customer")
    if not draft.links:
        draft.facts["detached"] = True
    elif draft.number == 1:
        draft.body |= {"type": "custom", "custom": {"display_name": "House account", "logo": None, "type": "cpmt_1"}}
        draft.body.pop("card", None)


def _price(draft: Draft) -> None:
    draft.body["active"] = draft.number % 4 != 1
    draft.body["type"] = "recurring" if draft.body.get("recurring") else "one_time"
    if draft.number % _INLINE_EVERY == _INLINE_EVERY - 1:
        draft.facts["inline"] = True


def _quote(draft: Draft) -> None:
    draft.body["customer"] = draft.customer()
    upfront = {**(draft.body["computed"].get("upfront") or {}), "amount_total": 0}
    draft.body["computed"] = {**draft.body["computed"], "upfront": upfront}


def _review(draft: Draft) -> None:
    is_open = draft.number % 2 == 0
    draft.body |= {"charge": draft.other("charge"), "closed_reason": None if is_open else "approved", "open": is_open}


def _source(draft: Draft) -> None:
    draft.body["customer"] = draft.links.get("customer")
    draft.body["receiver"] = {
        "address": token(draft.id, length=12),
        "amount_charged": 0,
        "amount_received": 0,
        "amount_returned": 0,
        "refund_attributes_method": "email",
        "refund_attributes_status": "missing",
    }


def _subscription(draft: Draft) -> None:
    draft.body["cancellation_details"] = dict.fromkeys(("comment", "feedback", "feedback_option", "reason"))
    draft.body["customer"] = draft.customer()
    draft.body["status"] = _STATUSES[draft.number % len(_STATUSES)]


def _subscription_schedule(draft: Draft) -> None:
    draft.body["customer"] = draft.customer()


def _tax_id(draft: Draft) -> None:
    customer = draft.links.get("customer")
    owner = {"account": None, "application": None, "customer": customer, "customer_account": None}
    draft.body |= {"customer": customer, "owner": {**owner, "type": "customer" if customer else "self"}}


def _tax_location(draft: Draft) -> None:
    draft.body["type"] = "performance"


def _test_clock(draft: Draft) -> None:
    draft.body["status"] = "ready"


_REFINEMENTS: Final[Mapping[str, Callable[[Draft], None]]] = MappingProxyType(
    {
        "apps.secret": _app_secret,
        "balance_transaction": _balance_transaction,
        "billing.credit_balance_transaction": _credit_balance_transaction,
        "billing.credit_grant": _credit_grant,
        "billing.meter_event_summary": _meter_event_summary,
        "charge": _charge,
        "customer": _customer,
        "discount": _discount,
        "financial_connections.account": _connected_bank_account,
        "financial_connections.account_owner": _bank_account_owner,
        "financial_connections.account_ownership": _bank_account_ownership,
        "payment_intent": _payment_intent,
        "payment_method": _payment_method,
        "price": _price,
        "quote": _quote,
        "review": _review,
        "source": _source,
        "subscription": _subscription,
        "subscription_schedule": _subscription_schedule,
        "tax.location": _tax_location,
        "tax_id": _tax_id,
        "test_helpers.test_clock": _test_clock,
        "treasury.debit_reversal": _debit_reversal,
    }
)
