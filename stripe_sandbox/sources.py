"""Rules for a customer's cards, bank accounts and sources, and the payment methods that they are as well.

A card or source of a customer is a payment method of the same id. It has no life of its own: ``card_`` is gone with
the card; ``src_`` cannot be retrieved, and once let go of stays as it was, without a customer.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stripe_sandbox.catalog import demand, existing
from stripe_sandbox.coercion import values_from_params
from stripe_sandbox.errors import no_such, no_such_reference
from stripe_sandbox.ownership import take_owned
from stripe_sandbox.payment_methods import TEST_CARDS, billing_details, card_details, card_values, detach

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.forms import Params
    from stripe_sandbox.store import Body, Record

_TYPES: Final = ("card", "bank_account", "source")
_WITH_TWIN: Final = ("card", "source")
_TWIN_PREFIXES: Final = ("card_", "src_")


def create_source(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/customers/{customer}/sources``: a card from a token, or a source that exists."""
    customer = existing(account, "customer", path["customer"], "customer")
    demand(params, "source")
    source = account.store.get("source", params["source"])
    if source is not None:
        account.change(source, {"customer": customer.key}, verb=None)
        account.announce(source, "created")
        account.announce(twin(account, source), "attached")
        return source
    name = str(params["source"]).removeprefix("tok_")
    if name not in TEST_CARDS:
        raise no_such_reference("token", str(params["source"]), "source")
    decline_code = TEST_CARDS[name][2]
    values = {**card_values(account, name), "customer": customer.key}
    card = account.create("card", values, facts={"decline_code": decline_code} if decline_code else {})
    account.announce(twin(account, card), "attached")
    if customer.body["default_source"] is None:
        account.change(customer, {"default_source": card.key})
    return card


def change_source(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/customers/{customer}/sources/{id}``."""
    source = _source(account, path)
    return account.change(source, values_from_params(account, source.object, params, source.body))


def delete_source(account: Account, path: Mapping[str, str], _params: Params) -> Record | Body:
    """``DELETE /v1/customers/{customer}/sources/{id}``: cards are gone, ``src_`` sources are only let go."""
    source = _source(account, path)
    customer = existing(account, "customer", path["customer"], "customer")
    method = twin(account, source) if source.object in _WITH_TWIN else None
    if customer.body["default_source"] == source.key:
        account.change(customer, {"default_source": None})
    if source.object == "source":
        account.announce(source, "deleted")
        source.facts.pop("test_clock", None)  # that was its customer's
        account.change(source, {"customer": None, "status": "consumed"}, verb=None)
    else:
        take_owned(account, source)
        account.delete(source)
    if method is not None:
        method.facts["detached"] = True
        method.facts.pop("test_clock", None)
        account.change(method, {"customer": None}, verb="detached")
        if source.object == "card":
            account.delete(method, verb=None)
    return source if source.object == "source" else account.renderer.stub(source)


def detach_by_request(account: Account, path: Mapping[str, str], _params: Params) -> Record | Body:
    """``POST /v1/payment_methods/{payment_method}/detach``: of a card or source, that is to delete it."""
    method = existing(account, "payment_method", path["payment_method"], "payment_method")
    customer = method.body["customer"]
    for object_type in _WITH_TWIN:
        if account.store.get(object_type, method.key) is not None and customer is not None:
            delete_source(account, {"customer": customer, "id": method.key}, {})
            return account.renderer.body(method)
    return detach(account, method)


def twin(account: Account, source: Record) -> Record:
    """The payment method that a customer's card or source is."""
    found = account.store.get("payment_method", source.key)
    customer = source.link("customer")
    if found is not None:
        found.facts.pop("detached", None)
        return account.change(found, {"customer": customer}, verb=None)
    body: Body = {"id": source.key, "billing_details": billing_details({}), "customer": customer, "metadata": {}}
    if source.object == "card":
        brand = str(source.body["brand"]).lower()
        body |= {"type": "card", "card": card_details(brand, source.body["last4"], source.body["fingerprint"])}
    else:
        body["type"] = source.body["type"]
    decline_code = source.facts.get("decline_code")
    facts = {"decline_code": decline_code} if decline_code else {}
    return account.create("payment_method", body, facts=facts, verb=None)


def is_twin(method: Record) -> bool:
    """Whether a payment method is a card or source."""
    return method.key.startswith(_TWIN_PREFIXES)


def _source(account: Account, path: Mapping[str, str]) -> Record:
    existing(account, "customer", path["customer"], "customer")
    for object_type in _TYPES:
        source = account.store.get(object_type, path["id"])
        if source is not None and source.link("customer") == path["customer"]:
            return source
    raise no_such("source", path["id"])


RULES: Final[Mapping[tuple[str, str], Callable[[Account, Mapping[str, str], Params], Record | Body]]] = (
    MappingProxyType(
        {
            ("POST", "/v1/customers/{customer}/sources"): create_source,
            ("POST", "/v1/customers/{customer}/sources/{id}"): change_source,
            ("DELETE", "/v1/customers/{customer}/sources/{id}"): delete_source,
            ("POST", "/v1/payment_methods/{payment_method}/detach"): detach_by_request,
        }
    )
)
