"""Deletions that take other objects along: a customer, a test clock, a parent with its children."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stripe_sandbox.billing import ENDED, end_subscription
from stripe_sandbox.catalog import demand, existing
from stripe_sandbox.errors import no_such
from stripe_sandbox.filters import matches
from stripe_sandbox.ownership import take_owned
from stripe_sandbox.payment_methods import detach
from stripe_sandbox.sources import is_twin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.forms import Params
    from stripe_sandbox.store import Body, Record


def delete(account: Account, record: Record) -> Body:
    """Delete an object with the children that only exist within it, and answer its stub."""
    take_owned(account, record)
    account.delete(record)
    return account.renderer.stub(record)


def vanish(account: Account, record: Record) -> None:
    """The same without any event."""
    take_owned(account, record)
    account.delete(record, verb=None)


def delete_customer(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/customers/{customer}``: cancels subscriptions, detaches payment methods, takes the rest along."""
    customer = existing(account, "customer", path["customer"], "customer")
    for subscription in account.store.linked("subscription", "customer", customer.key):
        if subscription.body["status"] not in ENDED:
            end_subscription(account, subscription)
    for method in account.store.linked("payment_method", "customer", customer.key):
        if not is_twin(method):
            detach(account, method)
    return delete(account, customer)


def uninstall_app(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/apps/installs/{id}/uninstall``: it is no longer listed, and its event calls it deleted."""
    install = existing(account, "apps.install", path["id"])
    account.delete(install)
    return install


def delete_app_secret(account: Account, _path: Mapping[str, str], params: Params) -> Body:
    """``POST /v1/apps/secrets/delete``: by name and scope. Nobody announces it; the answer calls it deleted."""
    demand(params, "name", "scope")
    for secret in account.store.table("apps.secret"):
        if secret.body["name"] == params["name"] and matches(secret.body["scope"], params["scope"]):
            account.delete(secret)
            return account.renderer.body(secret) | {"deleted": True}
    raise no_such("secret", params["name"], param="name")


def delete_test_clock(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/test_helpers/test_clocks/{test_clock}``: its customers and all that is theirs vanish in silence."""
    clock = existing(account, "test_helpers.test_clock", path["test_clock"], "test_clock")
    theirs = [
        record
        for table in account.store.tables()
        for record in table.records.values()
        if record.object != "event" and account.test_clock_of(record) == clock.key
    ]
    for record in theirs:
        if account.store.get(record.object, record.key) is record:
            vanish(account, record)
    account.test_agendas.pop(clock.key, None)
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
