"""For an operation of the API, ids and parameters with which a sandbox's account answers something."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.families import CHILD_LISTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.spec import ListEndpoint, Retrieve, Write
    from stripe_sandbox.store import Record

PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Values of a path's placeholders, in its order, and parameters as nested values."""

    values: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)

    def path(self, template: str) -> str:
        """The path with the values in it."""
        values = iter(self.values)
        return PLACEHOLDER.sub(lambda _: next(values), template)

    def below(self, key: str) -> Address:
        """Where one object of the list at this address is."""
        return Address(values=(*self.values, key))


def operation(verb: str, path: str) -> tuple[str, str]:
    """An operation whatever its placeholders are called: ``("GET", "/v1/customers/{}")``."""
    return verb.upper(), PLACEHOLDER.sub("{}", path)


def list_address(account: Account, endpoint: ListEndpoint) -> Address:
    """Where a list has data: the parent and the required parameters of an object that is there."""
    store = account.store
    records = [record for name in endpoint.objects for record in store.table(name)]
    child = CHILD_LISTS.get(endpoint.path)
    if child is not None:
        records = [r for r in records if store.get(child.parent, str(r.link(child.link))) is not None]
    if endpoint.path.startswith("/v1/credit_notes/preview"):
        records = list(store.table("line_item"))
    return Address(
        values=(records[0].link(child.link),) if child is not None else (),
        params={name: _parameter(records[0], name) for name in endpoint.required},
    )


def _parameter(record: Record, name: str) -> Any:
    return {"type": "account"} if name == "scope" else record.link(name)


def retrieve_address(account: Account, retrieve: Retrieve) -> Address:
    """Where an object is: the newest one of its type, below the parent whose list it is in."""
    store = account.store
    if retrieve.path in _FOUND_BY:
        return Address(params=_FOUND_BY[retrieve.path](account))
    names = PLACEHOLDER.findall(retrieve.path)
    if not names:
        return Address()
    table = store.table(retrieve.object)
    key = table.order[-1][2]
    if len(names) == 1:
        return Address(values=(key,))
    lists = {operation("GET", each.path): each for each in account.spec.lists}
    endpoint = lists[operation("GET", retrieve.path.rpartition("/")[0])]
    link = CHILD_LISTS[endpoint.path].link
    child = next(r for name in endpoint.objects for r in store.table(name) if isinstance(r.link(link), str))
    return Address(values=(child.link(link), child.body["id"]))


def write_address(account: Account, write: Write, number: int) -> Address:
    """Where a write finds objects that are there, where some are; ``number`` chooses among those of its type."""
    store = account.store
    table = store.table(write.object or "")
    record = table.records[table.order[number % len(table.order)][2]] if table.order else None
    names = PLACEHOLDER.findall(write.path)
    values = []
    for name in names:
        own = record is not None and name == names[-1]
        key = record.body.get("id", "none") if record is not None and own else None
        if record is not None and not own:
            key = record.link(name)
        if key is None and store.table(name).order:
            key = store.table(name).order[0][2]
        values.append(str(key))
    return Address(values=tuple(values))


def _secret(account: Account) -> dict[str, Any]:
    record = next(iter(account.store.table("apps.secret")))
    return {"name": record.body["name"], "scope": record.body["scope"]}


def _association(account: Account) -> dict[str, Any]:
    return {"payment_intent": next(iter(account.store.table("tax.association"))).body["payment_intent"]}


_FOUND_BY: Final[Mapping[str, Callable[[Account], dict[str, Any]]]] = MappingProxyType(
    {"/v1/apps/secrets/find": _secret, "/v1/tax/associations/find": _association}
)
