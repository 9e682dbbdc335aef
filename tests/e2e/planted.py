"""Values that replicas stumble over, and secrets that they must not keep, put into an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stripe_account import StripeAccount

PASSWORD = "planted-password"  # noqa: S105 - the test server asks for none
PLANTED_SECRETS = {
    "webhook_endpoint": {"secret": "whsec_planted"},
    "issuing.card": {"number": "4000056655665556", "cvc": "987"},
    "payment_intent": {"client_secret": "pi_planted_secret_value"},
    "apps.secret": {"payload": "app payload planted"},
    "invoice": {"confirmation_secret": {"client_secret": "pi_invoice_secret_value", "type": "payment_intent"}},
}
"""By object type: what must never be stored."""


def plant(account: StripeAccount) -> None:
    """Put values into the account that replicas stumble over, and secrets that they must not keep."""
    for object_type, values in PLANTED_SECRETS.items():
        facts = {"test_clock": None} if object_type in {"payment_intent", "invoice"} else {}
        account.change(object_type, account.first(object_type, **facts).key, **values)
    account.change(
        "customer",
        account.first("customer").key,
        metadata={
            "a.b": "1", "A B": "2", 'quo"te': "'", "Twin": "1", "twin": "2", "back\\slash": "\\u0000",
            "nul\0": "\0", "line": "a\r\n\tb", "k" * 80: "long", "": "empty", "emoji": "🙂", "rtl": "עברית",
        },
        balance=2**53 + 1,
        brand_new_field={"amount": 2**70, "rate": 0.1, "list": [None, True, "\0"], "client_secret": "x_secret_nested"},
    )  # fmt: skip
    account.change(
        "charge",
        account.first("charge").key,
        amount=0,
        currency="USD",
        description={"now": "an object"},
        amount_captured=2**63 + 5,
        receipt_number="",
    )
    account.change(
        "invoice",
        account.first("invoice").key,
        due_date=1_790_000_000_000,
        period_start=-5,
        period_end=0,
        currency="KWD",
        starting_balance=-(2**60),
    )
    account.change("price", account.first("price", inline=None).key, unit_amount_decimal="0.000000000001")
