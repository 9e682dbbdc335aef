"""Rules for what is sold: products, prices and their older twins the plans, coupons, promotion codes."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.coercion import values_from_params
from stripe_sandbox.errors import StripeError, invalid_parameter, missing_parameter, no_such, no_such_reference
from stripe_sandbox.forms import Params, as_dict, as_list
from stripe_sandbox.ownership import take_owned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Body, Record

_PRICE_DATA: Final = frozenset(
    {"currency", "product", "product_data", "recurring", "tax_behavior", "unit_amount", "unit_amount_decimal"}
)


def demand(params: Params, *names: str) -> None:
    """Refuse a request without these parameters.

    Raises:
        StripeError: 400 parameter_missing.
    """
    for name in names:
        if params.get(name) in (None, ""):
            raise missing_parameter(name)


def existing(account: Account, object_type: str, key: str, param: str = "id") -> Record:
    """The object that a path names.

    Raises:
        StripeError: 404 resource_missing.
    """
    record = account.store.get(object_type, key)
    if record is None:
        raise no_such(object_type, key, param=param)
    return record


def named(account: Account, object_type: str, key: Any, param: str) -> Record:
    """The object that a parameter names.

    Raises:
        StripeError: 400 resource_missing.
    """
    record = account.store.get(object_type, key) if isinstance(key, str) else None
    if record is None:
        raise no_such_reference(object_type, str(key), param)
    return record


def create_product(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/products``, with ``default_price_data`` if wanted."""
    demand(params, "name")
    price_data = params.pop("default_price_data", None)
    chosen_id = _chosen_id(account, "product", params)
    values = values_from_params(account, "product", params)
    product = account.create(
        "product", {"active": True, "type": "service", "updated": account.now(), **chosen_id, **values}
    )
    if price_data is not None:
        price = create_price(account, {}, {**as_dict("default_price_data", price_data), "product": product.key})
        account.change(product, {"default_price": price.key})
    return product


def change_product(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/products/{id}``."""
    product = existing(account, "product", path["id"])
    values = values_from_params(account, "product", params, product.body)
    return account.change(product, {**values, "updated": account.now()} if values else {})


def delete_product(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/products/{id}``: only one without prices."""
    product = existing(account, "product", path["id"])
    if account.store.linked("price", "product", product.key):
        raise StripeError(400, "This product cannot be deleted because it has one or more user-created prices.")
    take_owned(account, product)
    account.delete(product)
    return account.renderer.stub(product)


def create_price(account: Account, _path: Mapping[str, str], params: Params, *, inline: bool = False) -> Record:
    """``POST /v1/prices``. An ``inline`` one, from ``price_data``, is never listed. Recurring ones have a plan too."""
    demand(params, "currency")
    product_data = params.pop("product_data", None)
    if product_data is not None:
        params["product"] = create_product(account, {}, as_dict("product_data", product_data)).key
    demand(params, "product")
    if not {"unit_amount", "unit_amount_decimal", "custom_unit_amount", "tiers"} & params.keys():
        raise missing_parameter("unit_amount")
    values = _with_whole_tiers(values_from_params(account, "price", _ended_by_null(params)))
    named(account, "product", values["product"], "product")
    recurring = values.get("recurring")
    if recurring is not None:
        recurring["interval_count"] = recurring["interval_count"] or 1
        recurring["usage_type"] = as_dict("recurring", params["recurring"]).get("usage_type", "licensed")
    price = account.create(
        "price",
        {
            "active": True,
            "billing_scheme": "per_unit",
            "tax_behavior": "unspecified",
            "type": "one_time" if recurring is None else "recurring",
            **values,
            **_both_amounts(values, "unit_amount"),
        },
        facts={"inline": True} if inline else {},
    )
    if recurring is not None and not inline:
        account.create("plan", _plan_values(price.body))
    return price


def change_price(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/prices/{price}``; its plan follows."""
    price = existing(account, "price", path["price"], "price")
    params.pop("transfer_lookup_key", None)
    account.change(price, values_from_params(account, "price", params, price.body))
    plan = account.store.get("plan", price.key)
    if plan is not None:
        account.change(plan, _plan_values(price.body))
    return price


def create_plan(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/plans``: the older way to make a recurring price, which comes along under the same id."""
    demand(params, "currency", "interval", "product")
    if isinstance(params["product"], dict):
        params["product"] = create_product(account, {}, params["product"]).key
    chosen_id = _chosen_id(account, "plan", params)
    values = _with_whole_tiers(values_from_params(account, "plan", _ended_by_null(params)))
    plan = account.create(
        "plan",
        {
            "active": True,
            "billing_scheme": "per_unit",
            "interval_count": 1,
            "usage_type": "licensed",
            **chosen_id,
            **values,
            **_both_amounts(values, "amount"),
        },
    )
    recurring = {
        name: plan.body.get(name) for name in ("interval", "interval_count", "meter", "trial_period_days", "usage_type")
    }
    account.create(
        "price",
        {
            "id": plan.key,
            "active": plan.body["active"],
            "billing_scheme": plan.body["billing_scheme"],
            "currency": plan.body["currency"],
            "nickname": plan.body["nickname"],
            "product": plan.body["product"],
            "recurring": recurring,
            "tax_behavior": "unspecified",
            "tiers": plan.body["tiers"],
            "tiers_mode": plan.body["tiers_mode"],
            "type": "recurring",
            "unit_amount": plan.body["amount"],
            "unit_amount_decimal": plan.body["amount_decimal"],
        },
    )
    return plan


def delete_plan(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/plans/{plan}``; the price of the same id goes too."""
    plan = existing(account, "plan", path["plan"], "plan")
    price = account.store.get("price", plan.key)
    if price is not None:
        account.delete(price)
    account.delete(plan)
    return account.renderer.stub(plan)


def create_coupon(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/coupons``; the id may be the caller's own."""
    chosen_id = _chosen_id(account, "coupon", params)
    params.setdefault("duration", "once")
    if ("percent_off" in params) == ("amount_off" in params):
        raise StripeError(400, "You must pass exactly one of percent_off or amount_off.", code="parameter_missing")
    if "amount_off" in params:
        demand(params, "currency")
    if params["duration"] == "repeating":
        demand(params, "duration_in_months")
    values = values_from_params(account, "coupon", params)
    return account.create("coupon", {"id": account.ids.token(8), **chosen_id, "valid": True, **values})


def create_promotion_code(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/promotion_codes``."""
    demand(params, "promotion")
    promotion = as_dict("promotion", params["promotion"])
    named(account, "coupon", promotion.get("coupon"), "promotion[coupon]")
    values = values_from_params(account, "promotion_code", params)
    return account.create("promotion_code", {"code": account.ids.token(8).upper(), "active": True, **values})


def line_price(account: Account, item: Mapping[str, Any], param: str) -> Record:
    """The price of an item that names one (``price`` or ``plan``) or describes one (``price_data``)."""
    if "price_data" in item:
        price_data = dict(as_dict(f"{param}[price_data]", item["price_data"]))
        for name in price_data.keys() - _PRICE_DATA:
            raise invalid_parameter(
                f"{param}[price_data][{name}]", f"Received unknown parameter: {name}", code="parameter_unknown"
            )
        return create_price(account, {}, price_data, inline=True)
    if "price" in item:
        return named(account, "price", item["price"], f"{param}[price]")
    if "plan" in item:
        return named(account, "price", item["plan"], f"{param}[plan]")
    raise missing_parameter(f"{param}[price]")


def line_items(account: Account, items: Any, facts: Mapping[str, Any]) -> int:
    """Make the ``item`` objects of a checkout session, payment link or quote, and answer their total."""
    total = 0
    for number, item in enumerate(as_list("line_items", items)):
        price = line_price(account, item, f"line_items[{number}]")
        quantity = int(item.get("quantity", 1))
        amount = (price.body["unit_amount"] or 0) * quantity
        total += amount
        account.create(
            "item",
            {
                "amount_subtotal": amount,
                "amount_total": amount,
                "currency": price.body["currency"],
                "description": existing(account, "product", price.body["product"]).body["name"],
                "price": price.key,
                "quantity": quantity,
            },
            facts=facts,
            verb=None,
        )
    return total


def _chosen_id(account: Account, object_type: str, params: Params) -> Body:
    """The id that the caller chose, if any. One that was deleted may be used again."""
    chosen = params.pop("id", None)
    if chosen is None:
        return {}
    if account.store.get(object_type, chosen) is not None:
        raise StripeError(400, f"{object_type.title()} already exists.", code="resource_already_exists", param="id")
    return {"id": chosen}


def _both_amounts(values: Body, name: str) -> Body:
    """An amount and its decimal twin, such as ``unit_amount`` and ``unit_amount_decimal``, from whichever was given."""
    twin = f"{name}_decimal"
    if values.get(name) is not None:
        return {twin: str(values[name])}
    text = values.get(twin)
    if text is None:
        return {}
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise invalid_parameter(twin, f"Invalid decimal: {text}") from None
    return {name: int(amount) if amount == amount.to_integral_value() else None}


def _ended_by_null(params: Params) -> Params:
    """The parameters with the end of the last tier as the object has it: nothing, where a request says ``inf``."""
    if not isinstance(params.get("tiers"), list):
        return params
    tiers = [as_dict("tiers", tier) for tier in params["tiers"]]
    return {**params, "tiers": [{**tier, "up_to": ""} if tier.get("up_to") == "inf" else tier for tier in tiers]}


def _with_whole_tiers(values: Body) -> Body:
    """Values of which each tier has both amounts, each both ways."""
    if not values.get("tiers"):
        return values
    tiers = [
        {**tier, **_both_amounts(tier, "flat_amount"), **_both_amounts(tier, "unit_amount")} for tier in values["tiers"]
    ]
    return {**values, "tiers": tiers}


def _plan_values(price: Body) -> Body:
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "metadata": price["metadata"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers": price.get("tiers"),
        "tiers_mode": price.get("tiers_mode"),
        "usage_type": recurring["usage_type"],
    }


RULES: Final[Mapping[tuple[str, str], Callable[[Account, Mapping[str, str], Params], Record | Body]]] = (
    MappingProxyType(
        {
            ("POST", "/v1/products"): create_product,
            ("POST", "/v1/products/{id}"): change_product,
            ("DELETE", "/v1/products/{id}"): delete_product,
            ("POST", "/v1/prices"): create_price,
            ("POST", "/v1/prices/{price}"): change_price,
            ("POST", "/v1/plans"): create_plan,
            ("DELETE", "/v1/plans/{plan}"): delete_plan,
            ("POST", "/v1/coupons"): create_coupon,
            ("POST", "/v1/promotion_codes"): create_promotion_code,
        }
    )
)
