"""What a made-up change consists of: new values for an object, a copy of one, and the events Stripe has for it.

Everything comes from the shapes of the API, so that a mutated object is one that Stripe could answer. Odd: an object
that stands whole in a hash of another one, or in one that stands so, is *held*. To change it would change the other one
too, which no event would tell, so histories leave held objects alone.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.account import link_names
from stripe_sandbox.families import CHILD_LISTS, EMBEDDED, INCLUDABLE, NEVER_SHOWN
from stripe_sandbox.shapes import Generator, cyclic_types

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from random import Random

    from stripe_sandbox.account import Account
    from stripe_sandbox.spec import Shape, Spec
    from stripe_sandbox.store import Body, Record

_FROZEN: Final = frozenset(
    {
        # What an object is, whose it is, and what decides whether a list shows it.
        "created",
        "customer",
        "customer_account",
        "deleted",
        "id",
        "livemode",
        "object",
        "owner",
        "scope",
        "source",
        "test_clock",
        "type",
        # What the sandbox's rules count on.
        "amount_details",
        "cancellation_details",
        "cash_balance",
        "computed",
        "discount",
        "invoice_settings",
        "latest_attempt",
        "ownership",
        "recurring",
        "review",
        "transaction_refresh",
    }
)
_FROZEN_OF: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "customer": frozenset({"balance"}),
        "discount": frozenset({"subscription"}),
        "transfer": frozenset({"amount_reversed"}),
    }
)
_SHOWN_IF_ASKED: Final = frozenset({"plan", "price"})  # readers ask for what these include on request only
_STAYS_BEHIND: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    # What a copy does not share with its original.
    {
        "charge": {"review": None},
        "customer": {"balance": 0, "default_source": None, "discount": None},
        "transfer": {"amount_reversed": 0},
    }
)


class Variations:
    """New values and copies for the objects of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._cyclic = cyclic_types(account.spec)
        self._held: set[str] = set()
        for table in account.store.tables():
            for record in table.records.values():
                self.hold(record)

    def hold(self, record: Record) -> None:
        """Take note of the objects that stand whole within hashes of this one."""
        if record.object == "event":
            return
        found = list(_held_by(self._account.spec.fields(record.object), record.body))
        while found:
            types, key = found.pop()
            if key in self._held:
                continue
            self._held.add(key)
            for name in types:
                whole = self._account.store.last_known(name, key)
                if whole is not None:
                    found += _wholes(self._account.spec.fields(name), whole.body)

    def is_held(self, record: Record) -> bool:
        """Whether the object stands whole within a hash of another one."""
        return record.key in self._held

    def values(self, record: Record, random: Random) -> Body:
        """New values for a few fields, of the shape those fields have."""
        fields = self._account.spec.fields(record.object)
        fresh = self._generator().body(record.object, fields, random)
        open_names = [name for name in fresh if name in record.body and fresh[name] != record.body[name]]
        names = [name for name in open_names if name not in self._frozen(record.object)]
        return {name: fresh[name] for name in random.sample(names, min(len(names), random.choice((1, 1, 2, 4))))}

    def copy(self, record: Record, random: Random, links: Mapping[str, str], *, key: str | None = None) -> Record:
        """A new object that is like another one but for its id, its age, its parents and a few values."""
        account = self._account
        body = {**record.body, **_STAYS_BEHIND.get(record.object, {}), **self.values(record, random)}
        facts = dict(record.facts)
        if "id" in body:
            body["id"] = key or account.ids.next(record.object)
        if "created" in body:
            body["created"] = account.now()
        for name, value in links.items():
            (body if name in account.spec.fields(record.object) else facts)[name] = value
        new = account.add(record.object, body, facts=facts)
        self.hold(new)
        return new

    def _frozen(self, object_type: str) -> frozenset[str]:
        spec = self._account.spec
        links = {each.link for each in EMBEDDED if object_type in each.children}
        links |= {child.link for path, child in CHILD_LISTS.items() if object_type in _listed_at(spec, path)}
        unseen = {
            path.partition(".")[0]
            for owner, path in (*INCLUDABLE, *NEVER_SHOWN)
            if owner == object_type and owner not in _SHOWN_IF_ASKED
        }
        found_by = link_names(spec, object_type) - {"email"}
        return _FROZEN | _FROZEN_OF.get(object_type, frozenset()) | links | unseen | found_by

    def _generator(self) -> Generator:
        account = self._account
        return Generator(self._reference, now=account.now(), livemode=account.livemode, cyclic=self._cyclic)

    def _reference(self, types: tuple[str, ...], random: Random) -> str | None:
        known = [keys for name in types if (keys := list(self._account.store.table(name).records))]
        return random.choice(random.choice(known)) if known else None


def _listed_at(spec: Spec, path: str) -> tuple[str, ...]:
    return next((each.objects for each in spec.lists if each.path == path), ())


_Named = tuple[tuple[str, ...], str]  # an id, and the types of which it may be one


def _held_by(fields: Mapping[str, Shape], body: Mapping[str, Any]) -> Iterator[_Named]:
    """The objects that stand whole in the hashes and arrays of a body: those in a field of their own have rows."""
    return _wholes({name: shape for name, shape in fields.items() if shape.type not in ("ref", "union")}, body)


def _wholes(fields: Mapping[str, Shape], body: Mapping[str, Any]) -> Iterator[_Named]:
    """The objects that stand whole in a body."""
    for name, value in body.items():
        if name in fields:
            yield from _whole(fields[name], value)


def _whole(shape: Shape, value: Any) -> Iterator[_Named]:
    match shape.type, value:
        case "ref" | "union", str():
            yield shape.objects, value
        case "object", dict():
            yield from _wholes(shape.fields, value)
        case "array", list() if shape.items is not None:
            for inner in value:
                yield from _whole(shape.items, inner)
        case "map", dict() if shape.values is not None:
            for inner in value.values():
                yield from _whole(shape.values, inner)
