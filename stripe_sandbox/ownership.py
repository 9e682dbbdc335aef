"""What exists only within something else and goes with it: the children that no list shows but their parent's."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from stripe_sandbox.families import CHILD_LISTS, EMBEDDED, NAMED_PARENTS
from stripe_sandbox.spec import load_spec

if TYPE_CHECKING:
    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Record

_UNDER_THE_SAME_KEY: Final = {"customer": "cash_balance"}
_MORE: Final = (
    ("customer", "discount", "customer"),  # no list shows them at all
    ("financial_connections.account", "financial_connections.transaction", "account"),
)


def take_owned(account: Account, parent: Record) -> None:
    """Remove all that exists only within a parent, deepest first. Nobody announces it."""
    for child in owned(account, parent):
        account.delete(child, verb=None)


def owned(account: Account, parent: Record) -> list[Record]:
    """All that exists only within a parent, deepest first, each of it once however many parents it names."""
    found: dict[tuple[str, str], Record] = {}
    _find_owned(account, parent, found)
    return list(found.values())


def _find_owned(account: Account, parent: Record, found: dict[tuple[str, str], Record]) -> None:
    for child_type, link in owned_children().get(parent.object, ()):
        for child in account.store.linked(child_type, link, parent.key):
            if child.object == "discount" and child.body["invoice"] is not None:
                continue  # an invoice that was made goes on naming it
            _find_owned(account, child, found)
            found.setdefault((child.object, child.key), child)
    twin = account.store.get(_UNDER_THE_SAME_KEY.get(parent.object, parent.object), parent.key)
    if twin is not None and twin is not parent:
        found.setdefault((twin.object, twin.key), twin)


@cache
def owned_children() -> dict[str, tuple[tuple[str, str], ...]]:
    """By the parent's type: its children's types, and the field or fact in which they name it."""
    spec = load_spec()
    found = set(_MORE)
    free: set[str] = set()  # types that a list shows without being told a parent
    for endpoint in spec.lists:
        child = CHILD_LISTS.get(endpoint.path)
        parents = [name for name in endpoint.required if name in NAMED_PARENTS]
        if child is not None:
            found |= {(child.parent, name, child.link) for name in endpoint.objects}
        elif "/preview/" not in endpoint.path:
            found |= {(NAMED_PARENTS[param], name, param) for name in endpoint.objects for param in parents}
            free.update(() if endpoint.required else endpoint.objects)
    for each in EMBEDDED:
        found |= {(each.parent, name, each.link) for name in each.children if name not in free}
    owned: dict[str, tuple[tuple[str, str], ...]] = {}
    for parent, name, link in sorted(found):
        owned[parent] = (*owned.get(parent, ()), (name, link))
    return owned
