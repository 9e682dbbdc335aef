"""Rules for connected accounts: their bank accounts and cards, their capabilities."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stripe_sandbox.catalog import demand, existing
from stripe_sandbox.coercion import values_from_params
from stripe_sandbox.errors import no_such, no_such_reference
from stripe_sandbox.forms import Params, as_bool, as_dict
from stripe_sandbox.payment_methods import TEST_CARDS, card_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Body, Record

_BANK_FIELDS: Final = ("account_holder_name", "account_holder_type", "country", "currency", "routing_number")


def create_external_account(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/accounts/{account}/external_accounts``: a card from a token, or a bank account from its details."""
    owner = existing(account, "account", path["account"], "account")
    demand(params, "external_account")
    given = params.pop("external_account")
    values = {"account": owner.key, "default_for_currency": False}
    if isinstance(given, dict):
        details = as_dict("external_account", given)
        demand(details, "account_number", "country", "currency")
        known: Params = {name: details[name] for name in _BANK_FIELDS if name in details}
        number = str(details["account_number"])
        made = {"bank_name": "STRIPE TEST BANK", "last4": number[-4:], "metadata": {}, "status": "new"}
        return account.create("bank_account", {**made, **values_from_params(account, "bank_account", known), **values})
    name = str(given).removeprefix("tok_")
    if name not in TEST_CARDS:
        raise no_such_reference("token", str(given), "external_account")
    return account.create("card", {**card_values(account, name), "currency": "eur", **values})


def change_external_account(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/accounts/{account}/external_accounts/{id}``."""
    found = _external_account(account, path)
    return account.change(found, values_from_params(account, found.object, params, found.body))


def delete_external_account(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/accounts/{account}/external_accounts/{id}``."""
    found = _external_account(account, path)
    account.delete(found)
    return account.renderer.stub(found)


def change_capability(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/accounts/{account}/capabilities/{capability}``: what is requested is active at once."""
    capability = account.store.get("capability", f"{path['account']}:{path['capability']}")
    if capability is None:
        raise no_such("capability", path["capability"], param="capability")
    requested = as_bool("requested", params.get("requested", "true"))
    values = {
        "requested": requested,
        "requested_at": account.now() if requested else None,
        "status": "active" if requested else "unrequested",
    }
    return account.change(capability, values)


def _external_account(account: Account, path: Mapping[str, str]) -> Record:
    for object_type in ("bank_account", "card"):
        found = account.store.get(object_type, path["id"])
        if found is not None and found.link("account") == path["account"]:
            return found
    raise no_such("external account", path["id"])


RULES: Final[Mapping[tuple[str, str], Callable[[Account, Mapping[str, str], Params], Record | Body]]] = (
    MappingProxyType(
        {
            ("POST", "/v1/accounts/{account}/external_accounts"): create_external_account,
            ("POST", "/v1/accounts/{account}/external_accounts/{id}"): change_external_account,
            ("DELETE", "/v1/accounts/{account}/external_accounts/{id}"): delete_external_account,
            ("POST", "/v1/accounts/{account}/capabilities/{capability}"): change_capability,
        }
    )
)
