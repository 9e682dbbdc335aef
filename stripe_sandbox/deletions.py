"""Deletions that take other objects along: a customer, a test clock, a parent with its children."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stripe_sandbox.billing import ENDED, end_subscription
from stripe_sandbox.catalog import demand, existing
from stripe_sandbox.customers import detach
from stripe_sandbox.errors import no_such
from stripe_sandbox.families import EMBEDDED
from stripe_sandbox.filters import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.forms import Params
    from stripe_sandbox.store import Body, Record


def delete(account: Account, record: Record) -> Body:
    """Delete an object with the children that only exist within it, and answer its stub."""
    for embedded in EMBEDDED:
        if embedded.parent == record.object:
            for child_type in embedded.children:
                for child in account.store.linked(child_type, embedded.link, record.key):
                    account.delete(child, verb=None)
    account.delete(record)
    return account.renderer.stub(record)


def delete_customer(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/customers/{customer}``: cancels subscriptions, detaches payment methods, takes the rest along."""
    customer = existing(account, "customer", path["customer"], "customer")
    for subscription in account.store.linked("subscription", "customer", customer.key):
        if subscription.body["status"] not in ENDED:
            end_subscription(account, subscription)
    for method in account.store.linked("payment_method", "customer", customer.key):
        detach(account, method)
    remove_customer(account, customer)
    return account.renderer.stub(customer)


def remove_customer(account: Account, customer: Record) -> None:
    """The customer and what exists only with it, children first and without events of their own."""
    for object_type in ("bank_account", "card", "source", "tax_id", "customer_balance_transaction"):
        for child in account.store.linked(object_type, "customer", customer.key):
            account.delete(child, verb=None)
    cash = account.store.get("cash_balance", customer.key)
    if cash is not None:
        account.delete(cash, verb=None)
    account.delete(customer)


def uninstall_app(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/apps/installs/{id}/uninstall``: it is no longer listed, and its event calls it deleted."""
    install = existing(account, "apps.install", path["id"])
    account.delete(install)
    return install


def delete_app_secret(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/apps/secrets/delete``: by name and scope. Nobody announces it."""
    demand(params, "name", "scope")
    for secret in account.store.table("apps.secret"):
        if secret.body["name"] == params["name"] and matches(secret.body["scope"], params["scope"]):
            account.delete(secret)
            return secret
    raise no_such("secret", params["name"], param="name")


def delete_test_clock(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/test_helpers/test_clocks/{test_clock}``: its customers and all that is theirs vanish with it."""
    clock = existing(account, "test_helpers.test_clock", path["test_clock"], "test_clock")
    for table in account.store.tables():
        for record in list(table.records.values()):
            if record.object not in ("customer", "event") and record.link("test_clock") == clock.key:
                account.delete(record, verb=None)
    for customer in list(account.store.table("customer").records.values()):
        if customer.link("test_clock") == clock.key:
            remove_customer(account, customer)
    account.delete(clock)
    return account.renderer.stub(clock)


RULES: Final[Mapping[tuple[str, str], Callable[[Account, Mapping[str, str], Params], Record | Body]]] = (
    MappingProxyType(
        {
            ("DELETE", "/v1/customers/{customer}"): delete_customer,
            ("POST", "/v1/apps/installs/{id}/uninstall"): uninstall_app,
            ("POST", "/v1/apps/secrets/delete"): delete_app_secret,
            ("DELETE", "/v1/test_helpers/test_clocks/{test_clock}"): delete_test_clock,
        }
    )
)
