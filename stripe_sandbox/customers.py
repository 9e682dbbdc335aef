"""Rules for customers and what hangs on them: tax ids, balances, discounts."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stripe_sandbox.catalog import demand, existing, named
from stripe_sandbox.coercion import values_from_params
from stripe_sandbox.errors import StripeError, no_such
from stripe_sandbox.forms import Params, as_dict, as_int, as_list
from stripe_sandbox.payment_methods import attach, payment_method
from stripe_sandbox.sources import create_source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Body, Record

_CUSTOMER_EXTRAS: Final = frozenset({"coupon", "payment_method", "source", "tax_id_data"})


def create_customer(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/customers``, with a payment method, a source or tax ids if wanted."""
    extras = {name: params.pop(name) for name in list(params) if name in _CUSTOMER_EXTRAS}
    method = payment_method(account, extras["payment_method"], "payment_method") if "payment_method" in extras else None
    settings = params.get("invoice_settings")
    if method is not None and isinstance(settings, dict):
        # A test card's name makes a card of its own at each use, but here it is the one that is attached.
        same = settings.get("default_payment_method") == extras["payment_method"]
        params["invoice_settings"] = {**settings, **({"default_payment_method": method.key} if same else {})}
    values = values_from_params(account, "customer", params)
    customer = account.create(
        "customer",
        {
            "address": None,
            "balance": 0,
            "currency": None,
            "delinquent": False,
            "discount": None,
            "invoice_prefix": account.ids.token(8).upper(),
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "metadata": {},
            "name": None,
            "next_invoice_sequence": 1,
            "phone": None,
            "preferred_locales": [],
            "tax_exempt": "none",
            "test_clock": None,
            **values,
        },
        verb=None,
    )
    account.add("cash_balance", cash_balance(account, customer.key), facts={"key": customer.key})
    account.change(customer, {"cash_balance": customer.key}, verb=None)
    account.announce(customer, "created")
    if method is not None:
        attach(account, method, customer)
    if "source" in extras:
        create_source(account, {"customer": customer.key}, {"source": extras["source"]})
    if "coupon" in extras:
        give_discount(account, customer, named(account, "coupon", extras["coupon"], "coupon"))
    for item in as_list("tax_id_data", extras.get("tax_id_data", "")):
        create_tax_id(account, {"customer": customer.key}, item)
    return customer


def change_customer(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/customers/{customer}``."""
    customer = existing(account, "customer", path["customer"], "customer")
    source = params.pop("source", None)
    if source is not None:
        card = create_source(account, path, {"source": source})
        params["default_source"] = card.key
    return account.change(customer, values_from_params(account, "customer", params, customer.body))


def create_tax_id(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/customers/{customer}/tax_ids``, and ``POST /v1/tax_ids`` for the account's own."""
    demand(params, "type", "value")
    customer = existing(account, "customer", path["customer"], "customer") if "customer" in path else None
    owner = as_dict("owner", params.pop("owner", ""))
    if customer is None and owner.get("type") == "customer":
        customer = named(account, "customer", owner.get("customer"), "owner[customer]")
    values = values_from_params(account, "tax_id", params)
    country = "DE" if values["type"] == "eu_vat" else values["type"][:2].upper()
    return account.create(
        "tax_id",
        {
            "country": country,
            "customer": customer.key if customer is not None else None,
            "owner": {
                "account": None,
                "application": None,
                "customer": customer.key if customer is not None else None,
                "customer_account": None,
                "type": "customer" if customer is not None else "self",
            },
            "verification": {"status": "pending", "verified_address": None, "verified_name": None},
            **values,
        },
        verb="created" if customer is not None else None,
    )


def delete_tax_id(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE`` of a tax id, the customer's or the account's own, which nobody announces."""
    tax_id = existing(account, "tax_id", path["id"])
    if "customer" in path and tax_id.body["customer"] != path["customer"]:
        raise no_such("tax id", path["id"])
    account.delete(tax_id, verb="deleted" if tax_id.body["customer"] is not None else None)
    return account.renderer.stub(tax_id)


def adjust_balance(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/customers/{customer}/balance_transactions``: changes the customer's balance by hand."""
    customer = existing(account, "customer", path["customer"], "customer")
    demand(params, "amount", "currency")
    values = values_from_params(account, "customer_balance_transaction", params)
    return move_balance(account, customer, values["amount"], values["currency"], {"type": "adjustment", **values})


def move_balance(account: Account, customer: Record, amount: int, currency: str, values: Body) -> Record:
    """Change a customer's balance and write the transaction that says why."""
    ending = customer.body["balance"] + amount
    transaction = account.create(
        "customer_balance_transaction",
        {
            **values,
            "amount": amount,
            "currency": currency,
            "customer": customer.key,
            "ending_balance": ending,
            "metadata": values.get("metadata", {}),
        },
        verb=None,
    )
    account.change(customer, {"balance": ending, "currency": customer.body["currency"] or currency})
    return transaction


def give_discount(account: Account, target: Record, coupon: Record, *, promotion_code: Record | None = None) -> Record:
    """A discount for a customer or a subscription; counts as a redemption of its coupon."""
    on_customer = target.object == "customer"
    months = coupon.body["duration_in_months"]
    discount = account.create(
        "discount",
        {
            "checkout_session": None,
            "customer": target.key if on_customer else target.body["customer"],
            "end": account.moment_of(target) + months * 30 * 86_400 if months else None,
            "invoice": None,
            "invoice_item": None,
            "promotion_code": promotion_code.key if promotion_code is not None else None,
            "source": {"coupon": coupon.key, "type": "coupon"},
            "start": account.now(),
            "subscription": None if on_customer else target.key,
        },
    )
    for redeemed in filter(None, (coupon, promotion_code)):
        account.change(redeemed, {"times_redeemed": redeemed.body["times_redeemed"] + 1})
    if on_customer:
        account.change(target, {"discount": discount.key})
    account.schedule(discount)
    return discount


def end_discount(account: Account, discount: Record) -> None:
    """A discount's months are over: it is gone, and whoever had it is without it."""
    account.delete(discount)
    subscription = account.store.get("subscription", discount.body["subscription"] or "")
    customer = account.store.get("customer", discount.body["customer"] or "")
    if subscription is not None:
        left = [key for key in subscription.body["discounts"] if key != discount.key]
        account.change(subscription, {"discounts": left})
    elif customer is not None and customer.body["discount"] == discount.key:
        account.change(customer, {"discount": None})


def delete_discount(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/customers/{customer}/discount``."""
    customer = existing(account, "customer", path["customer"], "customer")
    discount = account.store.get("discount", customer.body["discount"] or "")
    if discount is None:
        raise StripeError(404, "No active discount for customer: " + customer.key, code="resource_missing")
    account.delete(discount)
    account.change(customer, {"discount": None})
    return {**account.renderer.body(discount), "deleted": True}


def fund_cash_balance(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/test_helpers/customers/{customer}/fund_cash_balance``."""
    customer = existing(account, "customer", path["customer"], "customer")
    demand(params, "amount", "currency")
    amount, currency = as_int("amount", params["amount"]), params["currency"].lower()
    cash = existing(account, "cash_balance", customer.key, "customer")
    available = dict(cash.body["available"] or {})
    available[currency] = available.get(currency, 0) + amount
    account.change(cash, {"available": available}, verb=None)
    account.announce(cash, "funds_available")
    return account.create(
        "customer_cash_balance_transaction",
        {
            "currency": currency,
            "customer": customer.key,
            "ending_balance": available[currency],
            "funded": {"bank_transfer": {"reference": account.ids.token(10), "type": "eu_bank_transfer"}},
            "net_amount": amount,
            "type": "funded",
        },
    )


def cash_balance(account: Account, customer: str) -> Body:
    """A customer's cash balance with nothing in it."""
    return {
        "object": "cash_balance",
        "available": None,
        "customer": customer,
        "customer_account": None,
        "livemode": account.livemode,
        "settings": {"reconciliation_mode": "automatic", "using_merchant_default": True},
    }


RULES: Final[Mapping[tuple[str, str], Callable[[Account, Mapping[str, str], Params], Record | Body]]] = (
    MappingProxyType(
        {
            ("POST", "/v1/customers"): create_customer,
            ("POST", "/v1/customers/{customer}"): change_customer,
            ("DELETE", "/v1/customers/{customer}/discount"): delete_discount,
            ("POST", "/v1/customers/{customer}/balance_transactions"): adjust_balance,
            ("POST", "/v1/customers/{customer}/tax_ids"): create_tax_id,
            ("DELETE", "/v1/customers/{customer}/tax_ids/{id}"): delete_tax_id,
            ("POST", "/v1/tax_ids"): create_tax_id,
            ("DELETE", "/v1/tax_ids/{id}"): delete_tax_id,
            ("POST", "/v1/test_helpers/customers/{customer}/fund_cash_balance"): fund_cash_balance,
        }
    )
)
