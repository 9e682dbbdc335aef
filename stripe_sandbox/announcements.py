"""Which changes Stripe announces, and by which event types.

From the catalogue of events comes what an object's events are. What it does not say stands here: which children are
announced by their parents, and what changes without any event. Histories obey these tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stripe_sandbox.account import Account
    from stripe_sandbox.spec import Spec
    from stripe_sandbox.store import Record

_UNUSED: Final = frozenset(
    {
        # Events that do not simply say that the object they carry is now like that.
        "account.application.authorized",
        "account.application.deauthorized",
        "application_fee.refunded",
        "billing.alert.triggered",
        "customer.subscription.deleted",
        "entitlements.active_entitlement_summary.updated",
        "invoice.upcoming",
        "payment_method.attached",
        "payment_method.detached",
        "transfer.reversed",
    }
)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Children without events of their own, whose parent announces that they came, changed or went."""

    child: str
    link: str
    parent: str
    kinds: tuple[str, ...]
    goes: bool = True  # a child may leave its parent's list
    names: str | None = None  # the parent's field that holds the id of the newest child
    sums: str | None = None  # the parent's field that holds the sum of the children's amounts
    shares: tuple[str, ...] = ()  # fields in which a child is like its parent


_INTENT: Final = ("payment_intent.amount_capturable_updated", "payment_intent.processing", "payment_intent.succeeded")
_QUOTE: Final = ("quote.accepted", "quote.canceled", "quote.finalized")
_SESSION: Final = ("checkout.session.async_payment_succeeded", "checkout.session.completed", "checkout.session.expired")
FAMILIES: Final = (
    Family(child="credit_note_line_item", link="credit_note", parent="credit_note", kinds=("credit_note.updated",)),
    Family(child="fee_refund", link="fee", parent="application_fee", kinds=("application_fee.refunded",), goes=False),
    Family(
        child="financial_connections.account_owner",
        link="financial_account",
        parent="financial_connections.account",
        kinds=("financial_connections.account.refreshed_ownership",),
        goes=False,
        shares=("ownership",),
    ),
    Family(
        child="financial_connections.transaction",
        link="account",
        parent="financial_connections.account",
        kinds=("financial_connections.account.refreshed_transactions",),
        goes=False,
    ),
    Family(child="item", link="checkout_session", parent="checkout.session", kinds=_SESSION),
    Family(child="item", link="payment_link", parent="payment_link", kinds=("payment_link.updated",)),
    Family(child="item", link="quote", parent="quote", kinds=_QUOTE),
    Family(child="item", link="quote_upfront", parent="quote", kinds=_QUOTE),
    Family(child="line_item", link="invoice", parent="invoice", kinds=("invoice.updated", "invoice.finalized")),
    Family(
        child="payment_intent_amount_details_line_item", link="payment_intent", parent="payment_intent", kinds=_INTENT
    ),
    Family(child="product_feature", link="product", parent="product", kinds=("product.updated",)),
    Family(
        child="setup_attempt",
        link="setup_intent",
        parent="setup_intent",
        kinds=("setup_intent.requires_action", "setup_intent.setup_failed", "setup_intent.succeeded"),
        goes=False,
        names="latest_attempt",
    ),
    Family(
        child="subscription_item",
        link="subscription",
        parent="subscription",
        kinds=("customer.subscription.updated",),
    ),
    Family(
        child="transfer_reversal",
        link="transfer",
        parent="transfer",
        kinds=("transfer.reversed", "transfer.updated"),
        goes=False,
        sums="amount_reversed",
    ),
)
BORN_OF_A_STATE: Final = frozenset(
    {
        # Nothing announces that they are there but the first state they reach.
        "charge",
        "checkout.session",
        "invoice_payment",
        "reporting.report_run",
        "review",
        "three_d_secure.authentication",
    }
)
NEVER_BORN: Final = frozenset(
    # Made by Stripe, one for each account, or by a rule of their own below.
    {"account", "balance", "balance_settings", "capability", "cash_balance", "customer", "discount", "tax.settings"}
)
NEVER_DIES_ALONE: Final = frozenset({"customer", "discount", "source", "test_helpers.test_clock"})
SILENT: Final = frozenset(
    {
        # The types without any event, but for those whose parents speak for them and those that no list shows whole.
        "apple_pay_domain",
        "apps.secret",
        "balance_transaction",
        "billing.alert",
        "billing.feedback_option",
        "climate.supplier",
        "country_spec",
        "entitlements.feature",
        "exchange_rate",
        "file_link",
        "forwarding.request",
        "identity.verification_report",
        "invoice_rendering_template",
        "issuing.physical_bundle",
        "payment_attempt_record",
        "payment_method_configuration",
        "payment_method_domain",
        "payment_record",
        "product_catalog.trial_offer",
        "radar.value_list",
        "radar.value_list_item",
        "shipping_rate",
        "tax.location",
        "tax.registration",
        "tax_code",
        "terminal.configuration",
        "terminal.location",
        "treasury.transaction",
        "treasury.transaction_entry",
        "webhook_endpoint",
    }
)
PARTLY_SILENT: Final = frozenset(
    {
        # Types with events for some of their states only: any other edit of theirs is silent.
        "application_fee",
        "climate.order",
        "climate.product",
        "financial_connections.account",
        "identity.verification_session",
        "invoiceitem",
        "payment_intent",
        "quote",
        "scheduled_query_run",
        "setup_intent",
        "terminal.reader",
        "test_helpers.test_clock",
        "three_d_secure.authentication",
        "topup",
        "treasury.credit_reversal",
        "treasury.debit_reversal",
        "treasury.financial_account",
        "treasury.inbound_transfer",
        "treasury.outbound_payment",
        "treasury.outbound_transfer",
        "treasury.received_credit",
        "treasury.received_debit",
    }
)
IMMUTABLE: Final = frozenset({"apple_pay_domain", "forwarding.request", "identity.verification_report"})
BORN_SILENTLY: Final = SILENT - {"climate.supplier", "country_spec", "exchange_rate", "tax_code"} | {
    "issuing.personalization_design",
    "terminal.reader",
}
DIES_SILENTLY: Final = frozenset(
    {
        "apple_pay_domain",
        "apps.secret",
        "radar.value_list",
        "radar.value_list_item",
        "terminal.configuration",
        "terminal.location",
        "terminal.reader",
        "webhook_endpoint",
    }
)


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """The event types that carry an object as it is created, as it is now, and as it was when it was deleted."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


def kinds_of(spec: Spec, record: Record) -> Kinds:
    """The event types that Stripe has for an object; whose it is decides for cards, sources and tax ids."""
    owned = record.link("customer") is not None
    kinds = [
        kind
        for kind, types in spec.events.items()
        if record.object in types and kind not in _UNUSED and _fits(kind, record.object, owned=owned)
    ]
    created = tuple(kind for kind in kinds if kind.endswith(".created"))
    deleted = tuple(kind for kind in kinds if kind.endswith(".deleted"))
    updated = tuple(kind for kind in kinds if kind not in created and kind not in deleted)
    return Kinds(created=created, updated=updated, deleted=deleted)


def _fits(kind: str, object_type: str, *, owned: bool) -> bool:
    if kind.startswith(("customer.source.", "customer.tax_id.")):
        return owned and object_type != "account"
    if kind.startswith("account.external_account."):
        return not owned
    return True


def evented(account: Account) -> frozenset[str]:
    """The types that some event carries."""
    return frozenset(name for types in account.spec.events.values() for name in types)
