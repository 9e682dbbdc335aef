"""Rules for entitlements: what a customer's live subscriptions entitle it to, by the features of their products.

The entitlements themselves have no events; their customer's summary has one whenever they come or go.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stripe_sandbox.catalog import demand, existing, named
from stripe_sandbox.rendering import EMBEDDED_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.forms import Params
    from stripe_sandbox.store import Body, Record

_ENTITLING: Final = frozenset({"active", "past_due", "trialing"})


def entitle(account: Account, customer: str) -> None:
    """Bring a customer's entitlements in line with its subscriptions, and announce it where that changes them."""
    store = account.store
    if not store.table("product_feature").records and not store.table("entitlements.active_entitlement").records:
        return
    wanted = dict.fromkeys(_features(account, customer))
    had = {r.body["feature"]: r for r in store.linked("entitlements.active_entitlement", "customer", customer)}
    for feature in [feature for feature in had if feature not in wanted]:
        account.delete(had[feature], verb=None)
    for feature in [feature for feature in wanted if feature not in had]:
        lookup_key = existing(account, "entitlements.feature", feature).body["lookup_key"]
        values = {"feature": feature, "lookup_key": lookup_key}
        account.create("entitlements.active_entitlement", values, facts={"customer": customer}, verb=None)
    owner = store.get("customer", customer)
    if wanted.keys() != had.keys() and owner is not None:
        kind = "entitlements.active_entitlement_summary.updated"
        account.announce(owner, "updated", name=kind, snapshot=summary(account, customer))


def create_product_feature(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/products/{product}/features``: whoever subscribes to the product has the feature from now on."""
    demand(params, "entitlement_feature")
    product = existing(account, "product", path["product"], "product")
    feature = named(account, "entitlements.feature", params["entitlement_feature"], "entitlement_feature")
    made = account.create(
        "product_feature", {"entitlement_feature": feature.key}, facts={"product": product.key}, verb=None
    )
    entitle_subscribers(account, product.key)
    return made


def delete_product_feature(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/products/{product}/features/{id}``: nobody announces it, but its subscribers' summaries."""
    feature = existing(account, "product_feature", path["id"])
    account.delete(feature, verb=None)
    entitle_subscribers(account, path["product"])
    return account.renderer.stub(feature)


def entitle_subscribers(account: Account, product: str) -> None:
    """Bring the entitlements of all who subscribe to a product in line."""
    store = account.store
    customers: dict[str, None] = {}
    for price in store.linked("price", "product", product):
        for item in store.linked("subscription_item", "price", price.key):
            subscription = store.get("subscription", item.body["subscription"])
            if subscription is not None:
                customers[subscription.body["customer"]] = None
    for customer in customers:
        entitle(account, customer)


def _features(account: Account, customer: str) -> list[str]:
    store = account.store
    found: list[str] = []
    for subscription in store.linked("subscription", "customer", customer):
        if subscription.body["status"] not in _ENTITLING:
            continue
        for item in store.linked("subscription_item", "subscription", subscription.key):
            price = store.last_known("price", item.body["price"])
            if price is not None:
                features = store.linked("product_feature", "product", price.body["product"])
                found += [feature.body["entitlement_feature"] for feature in features]
    return [feature for feature in found if store.get("entitlements.feature", feature) is not None]


def summary(account: Account, customer: str) -> Body:
    """All that a customer is entitled to, of which the list shows ten."""
    entitlements = account.store.linked("entitlements.active_entitlement", "customer", customer)[::-1]
    return {
        "object": "entitlements.active_entitlement_summary",
        "customer": customer,
        "entitlements": {
            "object": "list",
            "data": [account.renderer.body(each) for each in entitlements[:EMBEDDED_LIMIT]],
            "has_more": len(entitlements) > EMBEDDED_LIMIT,
            "url": f"/v1/entitlements/active_entitlements?customer={customer}",
        },
        "livemode": account.livemode,
    }


RULES: Final[Mapping[tuple[str, str], Callable[[Account, Mapping[str, str], Params], Record | Body]]] = (
    MappingProxyType(
        {
            ("POST", "/v1/products/{product}/features"): create_product_feature,
            ("DELETE", "/v1/products/{product}/features/{id}"): delete_product_feature,
        }
    )
)
