"""What the `stripe` package does not say about the API, and the replica needs to know.

`generate_schemas` joins this with what `stripe_library` reads. To add a Stripe object: raise the version of the
`stripe` package, run `make generate`, and write here only what the generator says it cannot know.

An *ask* is a rule of when a child list is asked for: `of` is the object whose record may lead to a request, `by` the
field that holds the id to ask with. A request is saved where the record answers already:

* `signals`: fields of the record; if all of them are there and all are empty (null, false, 0, {}), there is nothing to
  ask for.
* `needs`: an object type of which the account must have at least one.
* `absent_is_empty`: a signal that is not there says "nothing" too.
* `sampled`: the signals are Stripe's habit rather than its promise, so the first few records whose signals say
  "nothing" are asked for all the same; if one of them has something after all, signals of that list are not trusted
  again.
* `only_sampled`: the record says nothing at all, another ask finds the rows; only the sample is asked for.
* `optional`: it adds rows if the tap reads `of` anyway; selecting the child stream alone does not make the tap read
  `of`.
* `on_event`: whether it is asked again when an event brings a record of `of`. Default: if Stripe does not announce
  every change of the child itself.
* `changed`: after an `…updated` event, only if one of these fields is among what that changed; after others, as the
  signals say.
* `added`: rows of the list are only added, so that after an event only those since are asked for.
* `event_signals`: the signals to look at in an event's record, where nothing can be expanded.
* `event_if_used`: these say little; once the account has had any such row, it is asked for whatever they say.
"""

from typing import Any

# Lists whose elements need more than one reading, or parameters, to be seen in full. Default: one pass, no parameters.
# An empty tuple: not read at all (the reason beside it).
PASSES: dict[str, tuple[dict[str, str], ...]] = {
    "/v1/apps/secrets": ({"scope[type]": "account"},),
    "/v1/payment_methods": ({}, {"type": "custom"}),
    "/v1/prices": ({"active": "true"}, {"active": "false"}),
    "/v1/subscriptions": ({"status": "all"},),
    "/v1/tax/locations": ({"type": "performance"},),
    "/v1/tax/registrations": ({"status": "all"},),
    "/v1/billing/meters/{id}/event_summaries": (),  # sums over a window that the caller chooses: not stored objects
    "/v1/credit_notes/preview/lines": (),  # a computation
    "/v1/tax/calculations/{calculation}/line_items": (),  # calculations have no list and expire: only by write-through
    "/v1/tax/transactions/{transaction}/line_items": (),  # transactions have no list: only by write-through
}

# Child lists whose parent is named by a query parameter, and the objects of those parameters.
QUERY_PARENTS: dict[str, str] = {
    "/v1/billing/credit_balance_transactions": "customer",
    "/v1/entitlements/active_entitlements": "customer",
    "/v1/financial_connections/transactions": "account=financial_connections.account",
    "/v1/issuing/tokens": "card=issuing.card",
    "/v1/payment_attempt_records": "payment_record",
    "/v1/radar/value_list_items": "value_list=radar.value_list",
    "/v1/setup_attempts": "setup_intent",
    "/v1/subscription_items": "subscription",
    "/v1/treasury/credit_reversals": "financial_account=treasury.financial_account",
    "/v1/treasury/debit_reversals": "financial_account=treasury.financial_account",
    "/v1/treasury/inbound_transfers": "financial_account=treasury.financial_account",
    "/v1/treasury/outbound_payments": "financial_account=treasury.financial_account",
    "/v1/treasury/outbound_transfers": "financial_account=treasury.financial_account",
    "/v1/treasury/received_credits": "financial_account=treasury.financial_account",
    "/v1/treasury/received_debits": "financial_account=treasury.financial_account",
    "/v1/treasury/transaction_entries": "financial_account=treasury.financial_account",
    "/v1/treasury/transactions": "financial_account=treasury.financial_account",
}

# When child lists are asked for. Default: for every parent, with its id.
ASKS: dict[str, tuple[dict[str, Any], ...]] = {
    "/v1/billing/credit_balance_transactions": ({"of": "billing.credit_grant", "by": "customer"},),
    "/v1/customers/{customer}/balance_transactions": (
        {"of": "customer", "signals": ("balance",), "sampled": True, "changed": ("balance",), "added": True},
        {
            "of": "invoice",
            "by": "customer",
            "signals": ("starting_balance", "ending_balance"),
            "optional": True,
            "changed": ("starting_balance", "ending_balance"),
            "added": True,
        },
        {
            "of": "credit_note",
            "by": "customer",
            "signals": ("customer_balance_transaction",),
            "optional": True,
            "added": True,
        },
    ),
    "/v1/customers/{customer}/cash_balance_transactions": (
        {"of": "customer", "signals": ("cash_balance.available",), "sampled": True},
    ),
    "/v1/entitlements/active_entitlements": (
        {"of": "customer", "needs": "entitlements.feature", "only_sampled": True, "optional": True, "on_event": False},
        # A summary of its own announces what a subscription's change does to entitlements: see REFRESHES.
        {"of": "subscription", "by": "customer", "needs": "entitlements.feature", "on_event": False},
    ),
    "/v1/financial_connections/transactions": (
        {"of": "financial_connections.account", "signals": ("transaction_refresh",), "sampled": True},
    ),
    "/v1/payment_intents/{intent}/amount_details_line_items": (
        {
            "of": "payment_intent",
            "signals": ("amount_details.line_items",),
            "absent_is_empty": True,
            "sampled": True,
            "event_signals": (
                "amount_details.line_items",
                "amount_details.discount_amount",
                "amount_details.shipping",
                "amount_details.tax",
            ),
            "event_if_used": True,
        },
    ),
    "/v1/quotes/{quote}/computed_upfront_line_items": (
        {
            "of": "quote",
            "signals": ("computed.upfront.line_items",),
            "absent_is_empty": True,
            "sampled": True,
            "event_signals": ("computed.upfront",),
        },
    ),
    "/v1/customers/{customer}/payment_methods": ({"of": "customer", "on_event": False},),
    "/v1/customers/{customer}/sources": ({"of": "customer", "on_event": False},),
    "/v1/customers/{customer}/tax_ids": ({"of": "customer", "on_event": False},),
    "/v1/products/{product}/features": ({"of": "product", "needs": "entitlements.feature"},),
    "/v1/setup_attempts": ({"of": "setup_intent", "signals": ("latest_attempt",), "sampled": True},),
    "/v1/sources/{source}/source_transactions": ({"of": "source", "signals": ("receiver",), "sampled": True},),
}

# Parameters of a child list that come from the record that is asked for; without a value nothing is asked.
FIELD_PARAMETERS: dict[str, dict[str, str]] = {
    "/v1/financial_connections/accounts/{account}/owners": {"ownership": "ownership"},
}

# Readings that no list endpoint of the package stands for, each with what it is for.
EXTRA_LISTS: tuple[dict[str, Any], ...] = (
    # What hangs on a test clock is left out of the ordinary lists. (See also NOT_BY_CUSTOMER.)
    *(
        {
            "path": path,
            "parent": "test_helpers.test_clock",
            "parameter": "test_clock",
            "passes": (fixed,),
            "asks": ({"of": "test_helpers.test_clock", "on_event": False},),
        }
        for path, fixed in (("/v1/customers", {}), ("/v1/subscriptions", {"status": "all"}), ("/v1/quotes", {}))
    ),
    # Closed reviews are not listed; the charge names its review.
    {
        "path": "/v1/reviews/{review}",
        "object": "review",
        "parent": "review",
        "parameter": "review",
        "asks": ({"of": "charge", "by": "review", "optional": True, "on_event": False},),
    },
    # Prices made inline are not listed; what was sold at them names them.
    {
        "path": "/v1/prices/{price}",
        "object": "price",
        "parent": "price",
        "parameter": "price",
        "asks": (
            {"of": "line_item", "by": "pricing.price_details.price", "optional": True, "on_event": False},
            {"of": "invoiceitem", "by": "pricing.price_details.price", "optional": True, "on_event": False},
        ),
    },
    # What moves money in or out of a cash balance is announced; the balance itself is not.
    {
        "path": "/v1/customers/{customer}/cash_balance",
        "object": "cash_balance",
        "parent": "customer",
        "parameter": "customer",
        "asks": ({"of": "customer_cash_balance_transaction", "by": "customer", "optional": True, "only_events": True},),
    },
    # A dispute is announced; that its charge is disputed is not.
    {
        "path": "/v1/charges/{charge}",
        "object": "charge",
        "parent": "charge",
        "parameter": "charge",
        "asks": ({"of": "dispute", "by": "charge", "optional": True, "only_events": True},),
    },
    # A flow of money of Treasury is announced; the transaction that it makes is not.
    {
        "path": "/v1/treasury/transactions/{transaction}",
        "object": "treasury.transaction",
        "parent": "treasury.transaction",
        "parameter": "transaction",
        "asks": tuple(
            {"of": f"treasury.{flow}", "by": "transaction", "optional": True, "only_events": True}
            for flow in (
                "credit_reversal",
                "debit_reversal",
                "inbound_transfer",
                "outbound_payment",
                "outbound_transfer",
                "received_credit",
                "received_debit",
            )
        ),
    },
    # One object each.
    {"path": "/v1/account", "object": "account"},
    {"path": "/v1/balance", "object": "balance"},
    {"path": "/v1/balance_settings", "object": "balance_settings"},
    {"path": "/v1/tax/settings", "object": "tax.settings"},
)

# Lists leave out what belongs to a customer on a test clock, unless they are asked for that customer. All that have the
# filter are, save these, which are read by test clock above or by customer anyway.
NOT_BY_CUSTOMER = frozenset({"/v1/subscriptions", "/v1/quotes", "/v1/payment_methods", "/v1/promotion_codes"})

# Embedded lists that are asked for with `expand[]` on the parent's list, because they save a request a parent.
# (Left alone: what has a list of its own, such as a charge's refunds.)
EXPANDED: dict[str, tuple[str, ...]] = {
    "checkout.session": ("line_items",),
    "customer": ("sources", "tax_ids", "cash_balance"),
    "payment_intent": ("amount_details.line_items",),
    "payment_link": ("line_items",),
    "quote": ("line_items", "computed.upfront.line_items"),
    "plan": ("tiers",),
    "price": ("tiers", "currency_options"),
    "treasury.transaction": ("entries",),
}

# The child list that completes an embedded list, where the generator cannot find it by path or parameter.
COMPLETED_BY: dict[str, str] = {
    "radar.value_list.list_items": "/v1/radar/value_list_items",
    "subscription.items": "/v1/subscription_items",
    "quote.computed.upfront.line_items": "/v1/quotes/{quote}/computed_upfront_line_items",
    "payment_intent.amount_details.line_items": "/v1/payment_intents/{intent}/amount_details_line_items",
}

# Keys other than `id`. `account_id` without a parent is the account of the API key.
KEYS: dict[str, tuple[str, ...]] = {
    "balance": ("account_id",),
    "balance_settings": ("account_id",),
    "capability": ("account_id", "id"),
    "cash_balance": ("customer_id",),
    "line_item": ("invoice_id", "id"),
    "tax.settings": ("account_id",),
}

# Object types whose lists do not show every live row: absence from a finished listing proves nothing.
INCOMPLETE: dict[str, str] = {
    "billing.meter_event_summary": "not listed",
    "discount": "arrives inside others",
    "event": "kept for 30 days only",
    "payment_method": "detached ones are listed nowhere",
    "price": "inline ones are not listed",
    "review": "closed ones are not listed",
    "source": "detached ones are listed nowhere and can still be retrieved",
    "source_transaction": "found by source",
    "tax.calculation_line_item": "not listed",
    "tax.transaction_line_item": "not listed",
    "subscription_item": "those of subscriptions that ended stay with them",
    "issuing.token": "found by card",
    "customer_balance_transaction": "found by customer",
    "customer_cash_balance_transaction": "found by customer",
    "setup_attempt": "found by setup intent",
    "financial_connections.transaction": "found by account",
    "financial_connections.account_owner": "an ownership that was refreshed leaves the old owners unlisted",
}

# Child lists whose rows do not belong to the parent: they are asked for by parent, can be long, and are never gone for
# being absent. All other child lists are the whole truth about their parent.
BY_PARENT_ONLY = frozenset(
    {
        "/v1/billing/credit_balance_transactions",
        "/v1/customers/{customer}/balance_transactions",
        "/v1/customers/{customer}/cash_balance_transactions",
        "/v1/customers/{customer}/payment_methods",
        "/v1/financial_connections/accounts/{account}/owners",
        "/v1/financial_connections/transactions",
        "/v1/issuing/tokens",
        "/v1/payment_attempt_records",
        "/v1/setup_attempts",
        "/v1/sources/{source}/source_transactions",
        "/v1/treasury/credit_reversals",
        "/v1/treasury/debit_reversals",
        "/v1/treasury/inbound_transfers",
        "/v1/treasury/outbound_payments",
        "/v1/treasury/outbound_transfers",
        "/v1/treasury/received_credits",
        "/v1/treasury/received_debits",
        "/v1/treasury/transaction_entries",
        "/v1/treasury/transactions",
    },
)

# Object types that live on when they leave a parent's list.
INDEPENDENT = frozenset(
    {"account", "payment_method", "source", "refund", "file_link", "invoice_payment", "subscription"}
)

# Objects without an id that are embedded in their parent and have a table of their own, keyed by the parent.
DEPENDENTS: dict[str, dict[str, str]] = {"customer": {"cash_balance": "cash_balance"}}

# Objects that are not listed but have a table: they arrive inside others or in events.
ALSO_TABLES = (
    "application",
    "balance",
    "balance_settings",
    "billing_portal.session",
    "cash_balance",
    "connect_collection_transfer",
    "discount",
    "financial_connections.account_ownership",
    "financial_connections.authorization",
    "mandate",
    "radar.payment_evaluation",
    "reserve.hold",
    "reserve.plan",
    "reserve.release",
    "reserve_transaction",
    "source_mandate_notification",
    "tax.association",
    "tax.calculation",
    "tax.settings",
    "tax.transaction",
    "tax_deducted_at_source",
)

# Event types (or all that begin so) whose object is not the part of their name before the last dot.
EVENT_OBJECTS: dict[str, tuple[str, ...]] = {
    "account.application": ("application",),
    "account.external_account": ("bank_account", "card"),
    "application_fee.refund": ("fee_refund",),
    "billing.alert": ("billing.alert_triggered",),
    "charge.dispute": ("dispute",),
    "charge.refund": ("refund",),
    "customer.discount": ("discount",),
    "customer.source": ("account", "bank_account", "card", "source"),
    "customer.subscription": ("subscription",),
    "customer.tax_id": ("tax_id",),
    "issuing_authorization": ("issuing.authorization",),
    "issuing_card": ("issuing.card",),
    "issuing_cardholder": ("issuing.cardholder",),
    "issuing_dispute": ("issuing.dispute",),
    "issuing_personalization_design": ("issuing.personalization_design",),
    "issuing_token": ("issuing.token",),
    "issuing_transaction": ("issuing.transaction",),
    "sigma.scheduled_query_run": ("scheduled_query_run",),
    "source.mandate_notification": ("source_mandate_notification",),
    "source.transaction": ("source_transaction",),
}

# `…deleted` events that are not deletions.
NOT_DELETIONS = frozenset({"customer.subscription.deleted"})

# Types whose events leave changes out. (Those without any event are known from the library.)
PARTLY_ANNOUNCED: dict[str, str] = {
    "account": "only account.updated",
    "application_fee": "created and refunded only",
    "balance": "only what becomes available",
    "capability": "only capability.updated",
    "cash_balance": "only funds_available",
    "checkout.session": "neither created nor updated",
    "climate.order": "states only",
    "climate.product": "created and pricing only",
    "fee_refund": "updated only; a new one comes inside its fee",
    "file": "created only",
    "financial_connections.account": "states and refreshes only",
    "identity.verification_session": "states only",
    "invoice_payment": "paid only",
    "invoiceitem": "created and deleted only",
    "issuing.personalization_design": "no created",
    "payment_intent": "no updated",
    "payment_method": "those never attached are silent",
    "promotion_code": "created and updated only",
    "quote": "edits of drafts are silent",
    "reporting.report_run": "succeeded and failed only",
    "review": "opened and closed only",
    "scheduled_query_run": "created only",
    "setup_intent": "no updated",
    "source": "states only",
    "tax_id": "the account's own are silent",
    "terminal.reader": "actions only",
    "test_helpers.test_clock": "states only",
    "three_d_secure.authentication": "states only",
    "topup": "no updated",
    "treasury.credit_reversal": "created and posted only",
    "treasury.debit_reversal": "states only",
    "treasury.financial_account": "created, closed and features only",
    "treasury.inbound_transfer": "states only",
    "treasury.outbound_payment": "states only",
    "treasury.outbound_transfer": "states only",
    "treasury.received_credit": "states only",
    "treasury.received_debit": "created only",
}

# How rows are kept up to date where the generator's rule (see `Table._kept_by`) is not the way.
KEPT_BY: dict[str, str] = {
    "event": "feed",
    "balance_transaction": "windows",
    "forwarding.request": "windows",
    "identity.verification_report": "windows",
    # One request for every parent would be too many a day.
    "capability": "parents",
    "entitlements.active_entitlement": "parents",
    "setup_attempt": "parents",
}

# Child types that change without a word of their parents, and cost few requests.
SILENT_CHILDREN = frozenset({"product_feature"})

# Root lists that are read again when an event brings one of these types: what they hold has probably changed.
HINTS: dict[str, tuple[str, ...]] = {
    "/v1/balance": ("charge", "refund", "dispute", "payout", "transfer", "topup", "application_fee", "fee_refund"),
    "/v1/balance_transactions": (
        "application_fee",
        "balance",
        "charge",
        "dispute",
        "fee_refund",
        "issuing.transaction",
        "payout",
        "refund",
        "topup",
        "transfer",
    ),
    "/v1/billing/alerts": ("billing.alert_triggered",),
    "/v1/identity/verification_reports": ("identity.verification_session",),
    "/v1/tax/registrations": ("tax.settings",),
}

# The field and value of rows that change once more without a word, and the types whose events say that they have.
PENDING: dict[str, tuple[str, str, tuple[str, ...]]] = {"balance_transaction": ("status", "pending", ("balance",))}

# Objects without a table whose event says that a child list of another object has changed: that object's type, the
# field that names it, and the list.
REFRESHES: dict[str, tuple[str, str, str]] = {
    "entitlements.active_entitlement_summary": ("customer", "customer", "/v1/entitlements/active_entitlements"),
}

# Where one object is read, if the generator cannot tell from the paths. Names in braces are fields of the object.
RETRIEVED_AT: dict[str, tuple[str, ...]] = {
    "balance": ("/v1/balance",),
    "balance_settings": ("/v1/balance_settings",),
    "bank_account": ("/v1/customers/{customer}/sources/{id}", "/v1/accounts/{account}/external_accounts/{id}"),
    "card": ("/v1/customers/{customer}/sources/{id}", "/v1/accounts/{account}/external_accounts/{id}"),
    "cash_balance": ("/v1/customers/{customer}/cash_balance",),
    "source_transaction": ("/v1/sources/{source}/source_transactions",),  # a list, in which it is
    "tax.settings": ("/v1/tax/settings",),
    # The path for any tax id needs no customer, but not every key may use it.
    "tax_id": ("/v1/customers/{customer}/tax_ids/{id}", "/v1/tax_ids/{id}"),
}

# Ids (by how they begin) that no path answers although the object lives: what an event says of it is all there is.
NOT_RETRIEVED: dict[str, tuple[str, ...]] = {"payment_method": ("src_",)}

# Event types after which only objects with such ids are gone.
GONE_AFTER: dict[str, dict[str, str]] = {"payment_method": {"payment_method.detached": "card_"}}

# What goes with a deleted object, unannounced: the types whose rows name it in the column that is called after it.
# (What belongs to it by a list of its own goes too.)
TAKES_ALONG: dict[str, tuple[str, ...]] = {
    "customer": (
        "customer_balance_transaction",
        "customer_cash_balance_transaction",
        "discount",
        "entitlements.active_entitlement",
        "source",
    ),
    "source": ("source_transaction",),
}

# What else is taken to be gone with an object that a listing does not show any more. It lives on, changed, after a
# deletion that is announced; but what vanishes without a word was on a test clock, and takes everything along.
VANISHES_WITH: dict[str, tuple[str, ...]] = {"customer": ("payment_method",)}

# Event types that sound like a deletion and may not be one: the object is read again to see.
DOUBTFUL_AFTER: dict[str, tuple[str, ...]] = {"source": ("customer.source.deleted",)}

# Parents that a child names in a field of another name.
PARENT_FIELDS: dict[tuple[str, str], str] = {("fee_refund", "application_fee"): "fee"}

# Plain text fields that hold ids and are not called like a type (or are, and are something else: an empty tuple).
TEXT_REFERENCES: dict[str, tuple[str, ...]] = {
    "credit_note_line_item.invoice_line_item": ("line_item",),
    "destination_payment_method": ("payment_method",),
    "discount.invoice_item": ("invoiceitem",),
    "financial_account": ("treasury.financial_account",),
    "latest_payment_attempt_record": ("payment_attempt_record",),
    "origin_payment_method": ("payment_method",),
    "performance_location": ("tax.location",),
    "plan.meter": ("billing.meter",),
    "related_customer": ("customer",),
    "released_subscription": ("subscription",),
}

# Deleted objects that take along what only further listings can tell.
SWEPT_AFTER = frozenset({"test_helpers.test_clock"})

# Types of which an object stays for good once it is there: nothing deletes it (a deleted customer can be retrieved all
# the same), one path with its id answers it, and its id is nowhere else. By these an account is known again.
LASTING = frozenset(
    {
        "application_fee",
        "balance_transaction",
        "billing.meter",
        "charge",
        "checkout.session",
        "credit_note",
        "customer",
        "dispute",
        "file",
        "issuing.authorization",
        "issuing.card",
        "issuing.cardholder",
        "issuing.transaction",
        "payment_intent",
        "payment_link",
        "payout",
        "promotion_code",
        "quote",
        "refund",
        "setup_intent",
        "subscription",
        "subscription_schedule",
        "tax_rate",
        "topup",
        "transfer",
        "treasury.financial_account",
    }
)

# What a restricted key needs to read a list, by its path or else by the type of its first elements. These are in
# Stripe's references (docs.stripe.com: stripe-apps/reference/permissions and keys/permissions-reference), for the
# objects themselves or for the events that carry them. Its refusals say `rak_charge_read` or `charge_read`.
DOCUMENTED_PERMISSIONS: dict[str, str] = {
    "/v1/accounts/{account}/external_accounts": "connected_account_read",
    "/v1/customers/{customer}/sources": "customer_read",
    "/v1/customers/{customer}/tax_ids": "customer_read",
    "account": "connected_account_read",
    "apple_pay_domain": "apple_pay_domain_read",
    "application_fee": "application_fee_read",
    "balance": "balance_read",
    "billing.meter": "billing_meter_read",
    "billing_portal.configuration": "customer_portal_read",
    "capability": "connected_account_read",
    "cash_balance": "customer_read",
    "charge": "charge_read",
    "checkout.session": "checkout_session_read",
    "coupon": "coupon_read",
    "credit_note": "credit_note_read",
    "customer": "customer_read",
    "customer_cash_balance_transaction": "customer_read",
    "dispute": "dispute_read",
    "entitlements.active_entitlement": "entitlement_read",
    "entitlements.feature": "entitlement_read",
    "event": "event_read",
    "fee_refund": "application_fee_read",
    "file": "file_read",
    "invoice": "invoice_read",
    "invoiceitem": "invoice_read",
    "issuing.authorization": "issuing_authorization_read",
    "issuing.card": "issuing_card_read",
    "issuing.cardholder": "issuing_cardholder_read",
    "issuing.dispute": "issuing_dispute_read",
    "issuing.personalization_design": "issuing_card_read",
    "issuing.transaction": "issuing_transaction_read",
    "payment_intent": "payment_intent_read",
    "payment_link": "payment_links_read",
    "payment_method": "payment_method_read",
    "payout": "payout_read",
    "person": "connected_account_read",
    "plan": "plan_read",
    "price": "plan_read",
    "product": "product_read",
    "promotion_code": "promotion_code_read",
    "quote": "quote_read",
    "radar.early_fraud_warning": "charge_read",
    "refund": "charge_read",
    "reporting.report_run": "report_runs_and_report_types_read",
    "reporting.report_type": "report_runs_and_report_types_read",
    "review": "review_read",
    "setup_intent": "setup_intent_read",
    "shipping_rate": "shipping_rate_read",
    "subscription": "subscription_read",
    "subscription_schedule": "subscription_read",
    "tax.settings": "tax_settings_read",
    "tax_rate": "tax_rate_read",
    "terminal.configuration": "terminal_configuration_read",
    "terminal.location": "terminal_location_read",
    "terminal.reader": "terminal_reader_read",
    "test_helpers.test_clock": "billing_clock_read",
    "topup": "top_up_read",
    "transfer": "transfer_read",
    "webhook_endpoint": "webhook_read",
}

# The same where the references are silent: the permission of what it belongs to, or one that is called alike. What is
# in neither table has a permission that is not known here.
GUESSED_PERMISSIONS: dict[str, str] = {
    "/v1/checkout/sessions/{session}/line_items": "checkout_session_read",
    "/v1/invoices/{invoice}/lines": "invoice_read",
    "/v1/payment_links/{payment_link}/line_items": "payment_links_read",
    "/v1/quotes/{quote}/computed_upfront_line_items": "quote_read",
    "/v1/quotes/{quote}/line_items": "quote_read",
    "/v1/tax_ids": "tax_settings_read",
    "apps.secret": "secret_read",
    "balance_settings": "balance_read",
    "balance_transaction": "balance_read",
    "credit_note_line_item": "credit_note_read",
    "customer_balance_transaction": "customer_read",
    "file_link": "file_read",
    "invoice_payment": "invoice_read",
    "invoice_rendering_template": "invoice_read",
    "issuing.physical_bundle": "issuing_card_read",
    "issuing.token": "issuing_token_read",
    "payment_attempt_record": "payment_records_read",
    "payment_intent_amount_details_line_item": "payment_intent_read",
    "payment_method_configuration": "payment_method_configurations_read",
    "payment_method_domain": "payment_method_domain_read",
    "payment_record": "payment_records_read",
    "product_feature": "product_read",
    "setup_attempt": "setup_intent_read",
    "source_transaction": "source_read",
    "subscription_item": "subscription_read",
    "tax.location": "tax_locations_read",
    "tax.registration": "tax_settings_read",
    "transfer_reversal": "transfer_read",
    "treasury.financial_account": "financial_account_read",
    "treasury.inbound_transfer": "inbound_transfer_read",
    "treasury.outbound_payment": "outbound_payment_read",
    "treasury.outbound_transfer": "outbound_transfer_read",
    "treasury.received_credit": "received_credit_read",
    "treasury.received_debit": "received_debit_read",
    "treasury.transaction": "treasury_transaction_read",
}
