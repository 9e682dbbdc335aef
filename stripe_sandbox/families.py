"""How objects belong together, where their lists are, and what their ids look like.

These tables say what the official library's types do not. Everything that is particular to one object type and is
not a rule about money has its place here, so that the rest of the sandbox never names a type.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """A Stripe list inside an object: ``parent.field`` holds the ``children`` whose ``link`` is the parent's id."""

    parent: str
    field: str
    children: tuple[str, ...]
    link: str
    url: str  # with {id} for the parent's id, and perhaps one of its facts
    listed_at: str | None = None  # the list whose default filters apply here too


EMBEDDED: Final = (
    Embedded(parent="file", field="links", children=("file_link",), link="file", url="/v1/file_links?file={id}"),
    Embedded(
        parent="account",
        field="external_accounts",
        children=("bank_account", "card"),
        link="account",
        url="/v1/accounts/{id}/external_accounts",
    ),
    Embedded(
        parent="application_fee",
        field="refunds",
        children=("fee_refund",),
        link="fee",
        url="/v1/application_fees/{id}/refunds",
    ),
    Embedded(parent="charge", field="refunds", children=("refund",), link="charge", url="/v1/charges/{id}/refunds"),
    Embedded(
        parent="checkout.session",
        field="line_items",
        children=("item",),
        link="checkout_session",
        url="/v1/checkout/sessions/{id}/line_items",
    ),
    Embedded(
        parent="credit_note",
        field="lines",
        children=("credit_note_line_item",),
        link="credit_note",
        url="/v1/credit_notes/{id}/lines",
    ),
    Embedded(
        parent="customer",
        field="sources",
        children=("account", "bank_account", "card", "source"),
        link="customer",
        url="/v1/customers/{id}/sources",
    ),
    Embedded(
        parent="customer",
        field="subscriptions",
        children=("subscription",),
        link="customer",
        url="/v1/customers/{id}/subscriptions",
        listed_at="/v1/subscriptions",
    ),
    Embedded(
        parent="customer", field="tax_ids", children=("tax_id",), link="customer", url="/v1/customers/{id}/tax_ids"
    ),
    Embedded(parent="invoice", field="lines", children=("line_item",), link="invoice", url="/v1/invoices/{id}/lines"),
    Embedded(
        parent="invoice",
        field="payments",
        children=("invoice_payment",),
        link="invoice",
        url="/v1/invoice_payments?invoice={id}",
    ),
    Embedded(
        parent="payment_link",
        field="line_items",
        children=("item",),
        link="payment_link",
        url="/v1/payment_links/{id}/line_items",
    ),
    Embedded(
        parent="payment_intent",
        field="amount_details.line_items",
        children=("payment_intent_amount_details_line_item",),
        link="payment_intent",
        url="/v1/payment_intents/{id}/amount_details_line_items",
    ),
    Embedded(parent="quote", field="line_items", children=("item",), link="quote", url="/v1/quotes/{id}/line_items"),
    Embedded(
        parent="quote",
        field="computed.upfront.line_items",
        children=("item",),
        link="quote_upfront",
        url="/v1/quotes/{id}/computed_upfront_line_items",
    ),
    Embedded(
        parent="radar.value_list",
        field="list_items",
        children=("radar.value_list_item",),
        link="value_list",
        url="/v1/radar/value_list_items?value_list={id}",
    ),
    Embedded(
        parent="subscription",
        field="items",
        children=("subscription_item",),
        link="subscription",
        url="/v1/subscription_items?subscription={id}",
    ),
    Embedded(
        parent="transfer",
        field="reversals",
        children=("transfer_reversal",),
        link="transfer",
        url="/v1/transfers/{id}/reversals",
    ),
    Embedded(
        parent="treasury.transaction",
        field="entries",
        children=("treasury.transaction_entry",),
        link="transaction",
        url="/v1/treasury/transaction_entries?transaction={id}",
    ),
    Embedded(
        parent="tax.calculation",
        field="line_items",
        children=("tax.calculation_line_item",),
        link="calculation",
        url="/v1/tax/calculations/{id}/line_items",
    ),
    Embedded(
        parent="tax.transaction",
        field="line_items",
        children=("tax.transaction_line_item",),
        link="transaction",
        url="/v1/tax/transactions/{id}/line_items",
    ),
    Embedded(
        parent="financial_connections.account_ownership",
        field="owners",
        children=("financial_connections.account_owner",),
        link="ownership",
        url="/v1/financial_connections/accounts/{account}/owners?ownership={id}",
    ),
    Embedded(
        parent="financial_connections.session",
        field="accounts",
        children=("financial_connections.account",),
        link="session",
        url="/v1/financial_connections/accounts?session={id}",
    ),
)

INCLUDABLE: Final = frozenset(
    {
        # Fields that are no lists and still are absent unless they are expanded.
        ("apps.secret", "payload"),
        ("coupon", "applies_to"),
        ("coupon", "currency_options"),
        ("customer", "cash_balance"),
        ("customer", "invoice_credit_balance"),
        ("customer", "tax"),
        ("identity.verification_session", "provided_details"),
        ("identity.verification_session", "verified_outputs"),
        ("issuing.card", "cvc"),
        ("issuing.card", "number"),
        ("plan", "tiers"),
        ("price", "currency_options"),
        ("price", "tiers"),
        ("promotion_code", "restrictions.currency_options"),
        ("shipping_rate", "fixed_amount.currency_options"),
        ("invoice", "confirmation_secret"),
    }
)
"""Fields that Stripe includes on request only."""

NEVER_SHOWN: Final = frozenset({("webhook_endpoint", "secret")})
"""Fields that come with the answer to a creation and never again."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """A list below a parent's path: the parent's type, and the child's field that holds the parent's id.

    ``link`` is a field of the child where it has one, else a fact that is kept beside the object.
    """

    parent: str
    link: str


CHILD_LISTS: Final = MappingProxyType(
    {
        "/v1/accounts/{account}/capabilities": Child(parent="account", link="account"),
        "/v1/accounts/{account}/external_accounts": Child(parent="account", link="account"),
        "/v1/accounts/{account}/persons": Child(parent="account", link="account"),
        "/v1/application_fees/{id}/refunds": Child(parent="application_fee", link="fee"),
        "/v1/billing/meters/{id}/event_summaries": Child(parent="billing.meter", link="meter"),
        "/v1/checkout/sessions/{session}/line_items": Child(parent="checkout.session", link="checkout_session"),
        "/v1/credit_notes/{credit_note}/lines": Child(parent="credit_note", link="credit_note"),
        "/v1/customers/{customer}/balance_transactions": Child(parent="customer", link="customer"),
        "/v1/customers/{customer}/cash_balance_transactions": Child(parent="customer", link="customer"),
        "/v1/customers/{customer}/payment_methods": Child(parent="customer", link="customer"),
        "/v1/customers/{customer}/sources": Child(parent="customer", link="customer"),
        "/v1/customers/{customer}/tax_ids": Child(parent="customer", link="customer"),
        "/v1/financial_connections/accounts/{account}/owners": Child(
            parent="financial_connections.account", link="financial_account"
        ),
        "/v1/invoices/{invoice}/lines": Child(parent="invoice", link="invoice"),
        "/v1/payment_intents/{intent}/amount_details_line_items": Child(parent="payment_intent", link="payment_intent"),
        "/v1/payment_links/{payment_link}/line_items": Child(parent="payment_link", link="payment_link"),
        "/v1/products/{product}/features": Child(parent="product", link="product"),
        "/v1/quotes/{quote}/computed_upfront_line_items": Child(parent="quote", link="quote_upfront"),
        "/v1/quotes/{quote}/line_items": Child(parent="quote", link="quote"),
        "/v1/sources/{source}/source_transactions": Child(parent="source", link="source"),
        "/v1/tax/calculations/{calculation}/line_items": Child(parent="tax.calculation", link="calculation"),
        "/v1/tax/transactions/{transaction}/line_items": Child(parent="tax.transaction", link="transaction"),
        "/v1/transfers/{id}/reversals": Child(parent="transfer", link="transfer"),
        # Older names that embedded lists still carry in their url.
        "/v1/charges/{charge}/refunds": Child(parent="charge", link="charge"),
        "/v1/customers/{customer}/subscriptions": Child(parent="customer", link="customer"),
    }
)

LIST_ALIASES: Final = MappingProxyType(
    {
        "/v1/charges/{charge}/refunds": "/v1/refunds",
        "/v1/customers/{customer}/subscriptions": "/v1/subscriptions",
    }
)

NAMED_PARENTS: Final = MappingProxyType(
    # Which type's ids a list's parameter takes: unknown ones are refused.
    {
        "card": "issuing.card",
        "cardholder": "issuing.cardholder",
        "charge": "charge",
        "customer": "customer",
        "financial_account": "treasury.financial_account",
        "invoice": "invoice",
        "payment_intent": "payment_intent",
        "payment_record": "payment_record",
        "setup_intent": "setup_intent",
        "subscription": "subscription",
        "test_clock": "test_helpers.test_clock",
        "value_list": "radar.value_list",
    }
)

PREFIXES: Final = MappingProxyType(
    {
        "account": "acct",
        "apple_pay_domain": "apwc",
        "application": "ca",
        "application_fee": "fee",
        "apps.install": "appin",
        "apps.secret": "appsecret",
        "balance_transaction": "txn",
        "bank_account": "ba",
        "billing.alert": "alrt",
        "billing.credit_balance_transaction": "cbtxn",
        "billing.credit_grant": "credgr",
        "billing.feedback_option": "bfo",
        "billing.meter": "mtr",
        "billing.meter_event_summary": "mtrusg",
        "billing_portal.configuration": "bpc",
        "billing_portal.session": "bps",
        "capability": "capability",
        "card": "card",
        "charge": "ch",
        "checkout.session": "cs_test",
        "climate.order": "climorder",
        "climate.product": "climsku",
        "climate.supplier": "climsup",
        "coupon": "coupon",
        "credit_note": "cn",
        "credit_note_line_item": "cnli",
        "customer": "cus",
        "customer_balance_transaction": "cbtx",
        "customer_cash_balance_transaction": "ccsbtxn",
        "discount": "di",
        "dispute": "dp",
        "entitlements.active_entitlement": "ent",
        "entitlements.feature": "feat",
        "event": "evt",
        "fee_refund": "fr",
        "file": "file",
        "file_link": "link",
        "financial_connections.account": "fca",
        "financial_connections.account_owner": "fcaown",
        "financial_connections.account_ownership": "fcaowns",
        "financial_connections.authorization": "fcauth",
        "financial_connections.session": "fcsess",
        "financial_connections.transaction": "fctxn",
        "forwarding.request": "fwdreq",
        "identity.verification_report": "vr",
        "identity.verification_session": "vs",
        "invoice": "in",
        "invoice_payment": "inpay",
        "invoice_rendering_template": "inrtem",
        "invoiceitem": "ii",
        "issuing.authorization": "iauth",
        "issuing.card": "ic",
        "issuing.cardholder": "ich",
        "issuing.dispute": "idp",
        "issuing.personalization_design": "ipd",
        "issuing.physical_bundle": "ics",
        "issuing.token": "intok",
        "issuing.transaction": "ipi",
        "item": "li",
        "line_item": "il",
        "mandate": "mandate",
        "payment_attempt_record": "par",
        "payment_intent": "pi",
        "payment_intent_amount_details_line_item": "uli",
        "payment_link": "plink",
        "payment_method": "pm",
        "payment_method_configuration": "pmc",
        "payment_method_domain": "pmd",
        "payment_record": "pr",
        "payout": "po",
        "person": "person",
        "plan": "plan",
        "price": "price",
        "product": "prod",
        "product_catalog.trial_offer": "trof",
        "product_feature": "prodft",
        "promotion_code": "promo",
        "quote": "qt",
        "radar.early_fraud_warning": "issfr",
        "radar.value_list": "rsl",
        "radar.value_list_item": "rsli",
        "refund": "re",
        "reporting.report_run": "frr",
        "reserve.hold": "resvhld",
        "reserve.plan": "resvpln",
        "reserve.release": "resvrel",
        "review": "prv",
        "scheduled_query_run": "sqr",
        "setup_attempt": "setatt",
        "setup_intent": "seti",
        "shipping_rate": "shr",
        "source": "src",
        "source_transaction": "srctxn",
        "subscription": "sub",
        "subscription_item": "si",
        "subscription_schedule": "sub_sched",
        "tax.calculation": "taxcalc",
        "tax.calculation_line_item": "tax_li",
        "tax.location": "taxloc",
        "tax.registration": "taxreg",
        "tax.transaction": "tax",
        "tax.transaction_line_item": "tax_li",
        "tax_code": "txcd",
        "tax_id": "txi",
        "tax_rate": "txr",
        "terminal.configuration": "tmc",
        "terminal.location": "tml",
        "terminal.reader": "tmr",
        "test_helpers.test_clock": "clock",
        "three_d_secure.authentication": "tdsrc",
        "token": "tok",
        "topup": "tu",
        "transfer": "tr",
        "transfer_reversal": "trr",
        "treasury.credit_reversal": "credrev",
        "treasury.debit_reversal": "debrev",
        "treasury.financial_account": "fa",
        "treasury.inbound_transfer": "ibt",
        "treasury.outbound_payment": "obp",
        "treasury.outbound_transfer": "obt",
        "treasury.received_credit": "rc",
        "treasury.received_debit": "rd",
        "treasury.transaction": "trxn",
        "treasury.transaction_entry": "trxne",
        "webhook_endpoint": "we",
    }
)
"""What ids begin with. A type that is missing here gets its own name without dots."""

EVENT_PREFIXES: Final = MappingProxyType(
    # Where an object's events do not simply begin with its type.
    {
        "dispute": "charge.dispute",
        "discount": "customer.discount",
        "subscription": "customer.subscription",
        "tax_id": "customer.tax_id",
        "source": "customer.source",
        "fee_refund": "application_fee.refund",
        "scheduled_query_run": "sigma.scheduled_query_run",
        "issuing.authorization": "issuing_authorization",
        "issuing.card": "issuing_card",
        "issuing.cardholder": "issuing_cardholder",
        "issuing.dispute": "issuing_dispute",
        "issuing.personalization_design": "issuing_personalization_design",
        "issuing.token": "issuing_token",
        "issuing.transaction": "issuing_transaction",
    }
)

PERMISSION_OWNERS: Final = MappingProxyType(
    # Whose read permission opens a list, where it is not the object's own.
    {
        "line_item": "invoice",
        "subscription_item": "subscription",
        "credit_note_line_item": "credit_note",
        "customer_balance_transaction": "customer",
        "tax_id": "customer",
        "cash_balance": "customer",
        "customer_cash_balance_transaction": "customer",
        "fee_refund": "application_fee",
        "refund": "charge",
        "transfer_reversal": "transfer",
        "capability": "account",
        "person": "account",
        "setup_attempt": "setup_intent",
        "radar.value_list_item": "radar.value_list",
        "product_feature": "product",
        "payment_intent_amount_details_line_item": "payment_intent",
        "source_transaction": "source",
    }
)


PERMISSION_NAMES: Final = MappingProxyType(
    # What Stripe calls a permission, where it is not the type's name.
    {
        "account": "connected_account",
        "billing_portal.configuration": "customer_portal",
        "payment_link": "payment_links",
        "payment_method_configuration": "payment_method_configurations",
        "payment_record": "payment_records",
        "tax.location": "tax_locations",
        "test_helpers.test_clock": "billing_clock",
        "topup": "top_up",
        "webhook_endpoint": "webhook",
    }
)


def id_prefix(object_type: str) -> str:
    """What the ids of a type begin with, without the underscore that follows."""
    return PREFIXES.get(object_type, object_type.replace(".", "_"))


def event_type(object_type: str, verb: str, *, owner: str = "customer") -> str:
    """The event type for ``verb`` (created, updated, deleted, …) on an object.

    Cards and bank accounts announce themselves by their ``owner``: a customer's source or an account's.
    """
    if object_type in ("card", "bank_account"):
        return f"customer.source.{verb}" if owner == "customer" else f"account.external_account.{verb}"
    return f"{EVENT_PREFIXES.get(object_type, object_type)}.{verb}"


def permission(object_type: str, kind: str) -> str:
    """The name of the permission that a restricted key needs; ``kind`` is read or write."""
    return own_permission(PERMISSION_OWNERS.get(object_type, object_type), kind)


def own_permission(object_type: str, kind: str) -> str:
    """The name of the permission that is called after a type, whatever opens its lists."""
    name = PERMISSION_NAMES.get(object_type, object_type)
    return f"rak_{name.replace('.', '_')}_{kind}"
