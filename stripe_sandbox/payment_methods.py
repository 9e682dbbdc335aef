"""Rules for payment methods: test cards, attached to a customer and let go of."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.catalog import demand, named
from stripe_sandbox.coercion import values_from_params
from stripe_sandbox.errors import StripeError
from stripe_sandbox.forms import Params, as_dict
from stripe_sandbox.shapes import minimal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Body, Record

TEST_CARDS: Final = MappingProxyType(
    {
        # the end of pm_card_… and tok_…: brand, last four digits, the decline code that charges get
        "visa": ("visa", "4242", None),
        "visa_debit": ("visa", "5556", None),
        "mastercard": ("mastercard", "4444", None),
        "amex": ("amex", "8431", None),
        "discover": ("discover", "9424", None),
        "jcb": ("jcb", "0505", None),
        "chargeDeclined": ("visa", "0002", "generic_decline"),
        "visa_chargeDeclined": ("visa", "0002", "generic_decline"),
        "chargeDeclinedInsufficientFunds": ("visa", "9995", "insufficient_funds"),
        "visa_chargeDeclinedInsufficientFunds": ("visa", "9995", "insufficient_funds"),
        "chargeCustomerFail": ("visa", "0341", "generic_decline"),
    }
)
_DIGITS: Final = MappingProxyType({card[1]: name for name, card in reversed(list(TEST_CARDS.items()))})


def create_payment_method(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/payment_methods``: cards by token or number, other types with what they are given."""
    demand(params, "type")
    if params["type"] != "card":
        values = values_from_params(account, "payment_method", params)
        return account.create("payment_method", {"billing_details": billing_details({}), **values}, verb=None)
    card = as_dict("card", params.pop("card", ""))
    name = str(card.get("token", "")).removeprefix("tok_") or _DIGITS.get(str(card.get("number", ""))[-4:], "")
    if name not in TEST_CARDS:
        raise StripeError(
            402, "Your card number is incorrect.", type="card_error", code="incorrect_number", param="number"
        )
    values = values_from_params(account, "payment_method", params)
    return new_card_method(account, name, values)


def new_card_method(account: Account, name: str, values: Body) -> Record:
    """A card as a payment method; ``name`` is one of the test cards."""
    brand, last4, decline_code = TEST_CARDS[name]
    body = {
        "billing_details": billing_details({}),
        "customer": None,
        "metadata": {},
        **values,
        "type": "card",
        "card": card_details(brand, last4, account.ids.token(16)),
    }
    return account.create(
        "payment_method", body, facts={"decline_code": decline_code} if decline_code else {}, verb=None
    )


def payment_method(account: Account, key: Any, param: str) -> Record:
    """The payment method that a parameter names; ``pm_card_…`` makes a new one, as in Stripe's test mode."""
    if isinstance(key, str) and key.removeprefix("pm_card_") in TEST_CARDS:
        return new_card_method(account, key.removeprefix("pm_card_"), {})
    return named(account, "payment_method", key, param)


def attach(account: Account, method: Record, customer: Record) -> Record:
    """Attach a payment method to a customer."""
    if method.body["customer"] not in (None, customer.key):
        raise StripeError(400, "The payment method you provided has already been attached to a customer.")
    if method.facts.get("detached"):
        raise StripeError(400, "This PaymentMethod was previously used and detached. It may not be used again.")
    return account.change(method, {"customer": customer.key}, verb="attached")


def detach(account: Account, method: Record) -> Record:
    """Detach a payment method: it lives on without a customer, and no list shows it any more."""
    if method.body["customer"] is None:
        raise StripeError(
            400, "The payment method you provided is not attached to a customer so detachment is impossible."
        )
    method.facts["detached"] = True
    method.facts.pop("test_clock", None)  # that was its customer's
    customer = account.store.get("customer", method.body["customer"])
    account.change(method, {"customer": None}, verb="detached")
    if customer is not None and customer.body["invoice_settings"]["default_payment_method"] == method.key:
        settings = {**customer.body["invoice_settings"], "default_payment_method": None}
        account.change(customer, {"invoice_settings": settings})
    return method


def attach_by_request(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/payment_methods/{payment_method}/attach``."""
    demand(params, "customer")
    customer = named(account, "customer", params["customer"], "customer")
    return attach(account, payment_method(account, path["payment_method"], "payment_method"), customer)


def card_details(brand: str, last4: str, fingerprint: str | None) -> Body:
    """What a payment method tells of a card."""
    return {
        "brand": brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": brand,
        "exp_month": 8,
        "exp_year": 2031,
        "fingerprint": fingerprint,
        "funding": "credit",
        "generated_from": None,
        "last4": last4,
        "networks": {"available": [brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def card_values(account: Account, name: str) -> Body:
    """What a card of a customer or a connected account tells of itself; ``name`` is one of the test cards."""
    brand, last4, _ = TEST_CARDS[name]
    return {
        "brand": brand.title(),
        "country": "US",
        "cvc_check": "pass",
        "exp_month": 8,
        "exp_year": 2031,
        "fingerprint": account.ids.token(16),
        "funding": "credit",
        "last4": last4,
        "metadata": {},
    }


def billing_details(values: Body) -> Body:
    """Billing details with nothing in them but some values."""
    address = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    return {"address": address, "email": None, "name": None, "phone": None, "tax_id": None, **values}


def charged_card(account: Account, method: Record, amount: int) -> Body:
    """What a charge says of the card that it was made with."""
    card = method.body.get("card") or {}
    shape = account.spec.fields("charge")["payment_method_details"].fields["card"]
    known = ("brand", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    return {
        **minimal(shape.fields, livemode=account.livemode),
        **{name: card.get(name) for name in known},
        "amount_authorized": amount,
        "network": card.get("brand"),
    }


RULES: Final[Mapping[tuple[str, str], Callable[[Account, Mapping[str, str], Params], Record | Body]]] = (
    MappingProxyType(
        {
            ("POST", "/v1/payment_methods"): create_payment_method,
            ("POST", "/v1/payment_methods/{payment_method}/attach"): attach_by_request,
        }
    )
)
