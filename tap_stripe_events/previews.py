"""What Stripe only computes on request: the invoices that would come next. Facts, and functions of one object. Pure.

A preview has no id, no list and no events. Its key is whom it is for: a customer, or a subscription. What events about
other objects say of it is in `CAUSES`. Stripe took the path that a key with read permissions may call out of its API
in version 2025-03-31.basil; a request that pins the version before still has it. `in_our_version` gives the columns the
names they have now.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tap_stripe_events.objects import CUSTOMER_PREVIEW, SUBSCRIPTION_PREVIEW
from tap_stripe_events.shapes import StripeJson, field_value, reference_id

PATH = "/v1/invoices/upcoming"
LINES_PATH = "/v1/invoices/upcoming/lines"
CREATE_PATH = "/v1/invoices/create_preview"
VERSION = "2025-02-24.acacia"
"""The last version with the first two paths."""

PARAMETERS = MappingProxyType({CUSTOMER_PREVIEW: "customer", SUBSCRIPTION_PREVIEW: "subscription"})
"""The kind of preview → the parameter that says whom it is for."""

ENDED = frozenset({"canceled", "incomplete_expired"})
"""The statuses in which a subscription is billed no more."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What an event about an object says of previews.

    Attributes:
        customer: The dotted fields that name the customer whose previews may have changed, the first that does.
        subscription: The same for the subscription. If none is named, all of the customer's are meant.
        makes: There may be a preview now where there was none.
        used: The object's id may be among what subscriptions use: prices, coupons, tax rates.
    """

    customer: tuple[str, ...] = ()
    subscription: tuple[str, ...] = ()
    makes: bool = False
    used: bool = False


_BILLED = ("parent.subscription_details.subscription", "subscription")  # the second up to 2025-02-24.acacia

CAUSES: Mapping[str, Cause] = MappingProxyType(
    {
        "subscription": Cause(customer=("customer",), subscription=("id",), makes=True),
        "subscription_item": Cause(subscription=("subscription",), makes=True),
        "subscription_schedule": Cause(
            customer=("customer",), subscription=("subscription", "released_subscription"), makes=True
        ),
        "invoiceitem": Cause(customer=("customer",), subscription=_BILLED, makes=True),
        "invoice": Cause(customer=("customer",), subscription=_BILLED, makes=True),
        "discount": Cause(customer=("customer",), subscription=("subscription",)),
        "customer": Cause(customer=("id",)),
        "tax_id": Cause(customer=("customer",)),
        "billing.credit_grant": Cause(customer=("customer",)),
        "price": Cause(used=True),
        "plan": Cause(used=True),
        "product": Cause(used=True),
        "coupon": Cause(used=True),
        "tax_rate": Cause(used=True),
    }
)


@dataclass(frozen=True, kw_only=True)
class Affected:
    """Whose previews an event says may have changed.

    Attributes:
        as_of: The moment that the event counts as, in milliseconds: the end of its second.
        customer: The customer.
        subscription: The subscription; None: all of the customer's.
        makes: There may be a preview now where there was none.
        used: The id of what subscriptions may use.
    """

    as_of: int
    customer: str | None = None
    subscription: str | None = None
    makes: bool = False
    used: str | None = None


def affected(event: StripeJson) -> Affected | None:
    """Return whose previews an event says may have changed; None if it is about something else."""
    wrapped, created = event.get("data"), event.get("created")
    json_object = wrapped.get("object") if isinstance(wrapped, dict) else None
    if not isinstance(json_object, dict) or not isinstance(created, int):
        return None
    cause = CAUSES.get(str(json_object.get("object")))
    if cause is None:
        return None
    as_of = created * 1000 + 999
    if cause.used:
        used = reference_id(json_object)
        new = str(event.get("type")).endswith(".created")  # what takes it into use has an event of its own
        return None if used is None or new else Affected(as_of=as_of, used=used)
    customer, subscription = _named(json_object, cause.customer), _named(json_object, cause.subscription)
    if customer is None and subscription is None:
        return None
    return Affected(as_of=as_of, customer=customer, subscription=subscription, makes=cause.makes)


def _named(json_object: StripeJson, paths: tuple[str, ...]) -> str | None:
    for path in paths:
        if (found := reference_id(field_value(json_object, path)[1])) is not None:
            return found
    return None


@dataclass(frozen=True, kw_only=True)
class Billed:
    """What there is to know of a subscription that may be billed again.

    Attributes:
        id: Its id.
        customer: Whose it is.
        uses: The ids of its prices, their products, its coupons and tax rates, as far as they are shown.
        metered: Usage is billed, of which nothing tells.
        ends: The Unix times at which its periods end.
        live: It is billed again, unless somebody ends it.
    """

    id: str
    customer: str
    uses: frozenset[str]
    metered: bool
    ends: tuple[int, ...]
    live: bool


def billed(subscription: StripeJson) -> Billed | None:
    """Return what a subscription says of that, in whatever version; None if it is none."""
    identifier, customer = reference_id(subscription), reference_id(subscription.get("customer"))
    if identifier is None or customer is None:
        return None
    items = _elements(subscription.get("items"))
    ends = [each.get("current_period_end") for each in (subscription, *items)]
    return Billed(
        id=identifier,
        customer=customer,
        uses=frozenset(_uses(subscription, items)),
        metered=any(_is_metered(each) for each in items),
        ends=tuple(sorted({each for each in ends if isinstance(each, int)})),
        live=subscription.get("status") not in ENDED,
    )


def _uses(subscription: StripeJson, items: list[StripeJson]) -> Iterator[str]:
    rates = [subscription.get("default_tax_rates")]
    discounts = [subscription.get("discounts"), [subscription.get("discount")]]
    for item in items:
        rates.append(item.get("tax_rates"))
        discounts.append(item.get("discounts"))
        for name in ("price", "plan"):
            price = item.get(name)
            product = price.get("product") if isinstance(price, dict) else None
            yield from filter(None, (reference_id(price), reference_id(product)))
    for each in rates:
        yield from filter(None, map(reference_id, each if isinstance(each, list) else ()))
    for each in discounts:
        for discount in each if isinstance(each, list) else ():
            if isinstance(discount, dict):
                coupons = (discount.get("coupon"), field_value(discount, "source.coupon")[1])
                yield from filter(None, map(reference_id, coupons))


def _is_metered(item: StripeJson) -> bool:
    price = item.get("price") or item.get("plan")
    if not isinstance(price, dict):
        return False
    recurring = price.get("recurring")
    return "metered" in {price.get("usage_type"), recurring.get("usage_type") if isinstance(recurring, dict) else None}


def _elements(value: Any) -> list[StripeJson]:
    found = value.get("data") if isinstance(value, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def in_our_version(preview: StripeJson) -> StripeJson:
    """Return a preview with the names that version 2025-03-31.basil and later give to what they have moved.

    What has no place there any more stays under its old name. The lines stay as they are: they are one column.
    """
    if "subscription" not in preview and "total_tax_amounts" not in preview:
        return preview  # it has them already
    result = {key: value for key, value in preview.items() if key not in _MOVED}
    result["parent"] = _parent(preview)
    if isinstance(taxes := preview.get("total_tax_amounts"), list):
        result["total_taxes"] = [_tax(each) for each in taxes if isinstance(each, dict)]
    return result


_MOVED = frozenset(
    {"subscription", "subscription_details", "subscription_proration_date", "quote", "total_tax_amounts"}
)


def _parent(preview: StripeJson) -> StripeJson | None:
    if (subscription := reference_id(preview.get("subscription"))) is not None:
        details = preview.get("subscription_details")
        metadata = details.get("metadata") if isinstance(details, dict) else None
        told = {"metadata": metadata, "subscription": subscription}
        if preview.get("subscription_proration_date") is not None:
            told["subscription_proration_date"] = preview["subscription_proration_date"]
        return {"quote_details": None, "subscription_details": told, "type": "subscription_details"}
    if (quote := reference_id(preview.get("quote"))) is not None:
        return {"quote_details": {"quote": quote}, "subscription_details": None, "type": "quote_details"}
    return None


def _tax(amount: StripeJson) -> StripeJson:
    inclusive = amount.get("inclusive")
    kept = {key: value for key, value in amount.items() if key not in {"inclusive", "tax_rate"}}
    return {
        **kept,
        "tax_behavior": "inclusive" if inclusive else "exclusive",
        "tax_rate_details": {"tax_rate": reference_id(amount.get("tax_rate"))},
        "type": "tax_rate_details",
    }


def subscription_of(preview: StripeJson) -> str | None:
    """Return the subscription that a preview is of, in whatever version; None if it is of none."""
    return _named(preview, _BILLED)
