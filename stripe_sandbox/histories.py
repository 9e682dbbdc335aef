"""Seeded random histories of an account: what could happen to its objects, in any order, announced as Stripe would.

``POST /_sandbox/history`` drives this. Rules of a history:

* A change keeps the shape of what it changes, and is announced by an event type that the catalogue has for the object.
* What has no events of its own is announced by its parent, as ``FAMILIES`` says: the parent's event comes after all
  changes to the children.
* With ``silent`` there are changes without any event, only where Stripe has no event for them.
* Changes come in seconds of the account's clock, several in one: an object may be created, changed and deleted in one.
* Where nobody could tell which of two events of a second is the newer one (an object that can neither be retrieved nor
  listed), there is only one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox import catalog, deletions
from stripe_sandbox.announcements import FAMILIES, Family
from stripe_sandbox.errors import SandboxError
from stripe_sandbox.ids import token
from stripe_sandbox.moves import MOVES
from stripe_sandbox.mutations import Variations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Record

MAX_CHANGES: Final = 100_000
_MANY: Final = (0, 1, 2, 3, 12, 25)  # how many children a copy has; an embedded list shows ten
_ATTEMPTS: Final = 200
_TRIED: Final = 12
_USUAL: Final = frozenset({"charge", "customer", "invoice", "payment_intent", "price", "product", "subscription"})
_USUAL_SHARE: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that happened: to which object, at which second, and the events that tell of it, oldest first."""

    type: str
    verb: str
    id: str
    at: int
    events: tuple[str, ...]


def run_history(
    account: Account,
    *,
    seed: int,
    changes: int,
    types: Iterable[str] = (),
    silent: bool = True,
    seconds: int = 30,
) -> list[Change]:
    """Let at least ``changes`` things happen to an account, over ``seconds`` of its clock, and tell which.

    Args:
        account: Its clock is moved on, whether it stands or runs.
        seed: The same seed does the same to an account in the same state.
        changes: How many.
        types: The object types to change; all by default. What they take along (children, prices of plans) is too.
        silent: Whether there may be changes without events, where Stripe has none.
        seconds: Over how many seconds of the account's clock; 0 is all in one.

    Raises:
        SandboxError: The types are unknown, or there is nothing of them that could change.
    """
    wanted = frozenset(types)
    unknown = wanted - account.spec.objects.keys()
    if unknown or not 0 <= changes <= MAX_CHANGES or seconds < 0:
        raise SandboxError(f"A history needs known types ({sorted(unknown)}), 0 to {MAX_CHANGES} changes, seconds ≥ 0.")
    history = History(account, Random(token(seed, "history")), wanted, silent=silent)
    moments = sorted(history.random.randrange(seconds + 1) for _ in range(changes // 3 + 1))
    passed = failed = 0
    while len(history.done) < changes:
        due = moments[min(len(history.done) * len(moments) // changes, len(moments) - 1)]
        account.clock.advance(due - passed)
        passed = due
        before = len(history.done)
        history.step()
        failed = failed + 1 if len(history.done) == before else 0
        if failed > _ATTEMPTS:
            raise SandboxError(f"Nothing of the types {sorted(wanted)} can change here.")
    account.clock.advance(seconds - passed)
    return history.done


class History:
    """What happens, one move after another. ``done`` is what happened so far."""

    def __init__(self, account: Account, random: Random, types: frozenset[str], *, silent: bool) -> None:
        self.account = account
        self.random = random
        self.done: list[Change] = []
        self._types = types
        self.silent = silent
        self.variations = Variations(account)
        self._told: dict[str, int] = {}  # when an object that only events show was last announced
        read = {name for each in account.spec.lists for name in each.objects}
        self._readable = read | {each.object for each in account.spec.retrieves}

    def step(self) -> None:
        """Make one move. It may turn out that nothing can happen, or several things happen in one second."""
        moves, weights = zip(*MOVES, strict=True)
        move: Callable[[History], None] = self.random.choices(moves, weights)[0]
        move(self)

    # Choosing.

    def any(self, object_type: str) -> Record | None:
        """An object of a type, to make others like it."""
        records = self.account.store.table(object_type).records
        return records[self.random.choice(list(records))] if records else None

    def loose(self, object_type: str) -> Record | None:
        """An object of a type that may change: none holds it."""
        records = self.account.store.table(object_type).records
        keys = self.random.sample(list(records), min(len(records), _TRIED))
        return next((records[key] for key in keys if not self.variations.is_held(records[key])), None)

    def wants(self, object_type: str) -> bool:
        """Whether the history is about objects of a type."""
        return not self._types or object_type in self._types

    def type_of(self, types: Iterable[str]) -> str | None:
        """One of the types that the history is about; what people look at most is somewhat more likely."""
        wanted = sorted(filter(self.wants, types))
        usual = [name for name in wanted if name in _USUAL]
        if not wanted:
            return None
        return self.random.choice(usual if usual and self.random.random() < _USUAL_SHARE else wanted)

    def usual_kind(self, kinds: Sequence[str]) -> str:
        """An event type; the plain ``updated`` is the usual one."""
        plain = [kind for kind in kinds if kind.endswith(".updated")]
        return self.random.choice(plain if plain and self.random.random() < 0.7 else kinds)  # noqa: PLR2004

    def _is_told(self, record: Record) -> bool:
        """Whether an event of this second is all that anybody will ever see of the object."""
        if record.object in self._readable:
            return False
        name = f"{record.object} {record.key}"
        told = self._told.get(name) == self.account.now()
        self._told[name] = self.account.now()
        return told

    # Doing.

    def note(self, record: Record, verb: str, act: Callable[[], object]) -> None:
        """Do something and note it with the events that came of it."""
        now = self.account.now()
        before = self._events_since(now)
        act()
        events = tuple(key for key in self._events_since(now) if key not in before)
        key = str(record.body.get("id", record.key))
        self.done.append(Change(type=record.object, verb=verb, id=key, at=now, events=events))

    def _events_since(self, moment: int) -> list[str]:
        """The events from a moment on, in the order in which they happened, which within a second is not the feed's."""
        table = self.account.store.table("event")
        found = []
        for created, _, key in reversed(table.order):
            if created < moment:
                break
            found.append(key)
        return sorted(found, key=lambda key: table.records[key].facts.get("number", 0))

    def update(self, record: Record, kind: str | None, values: Mapping[str, Any] | None = None) -> None:
        """Change some values of an object; ``kind`` is the event that tells, None for silence."""
        if kind is not None and self._is_told(record):
            return
        fresh = self.variations.values(record, self.random) if values is None else values
        previous = {name: record.body.get(name) for name in fresh}

        def act() -> None:
            self.account.change(record, fresh, verb=None)
            self.variations.hold(record)
            if kind is not None:
                plain = kind.endswith(".updated")
                self.account.announce(record, "", name=kind, previous=previous if plain else None)

        self.note(record, "updated", act)

    def add(self, original: Record, kind: str | None, *, links: Mapping[str, str], key: str | None = None) -> Record:
        """Create an object like another one, with children of its own."""
        made: list[Record] = []

        def act() -> None:
            made.append(self.variations.copy(original, self.random, links, key=key))
            for family in FAMILIES:
                if family.parent == original.object:
                    self.add_children(family, made[0], self.random.choice(_MANY))
            if kind is not None and not self._is_told(made[0]):
                self.account.announce(made[0], "", name=kind)

        self.note(original, "created", act)
        self.done[-1] = replace(self.done[-1], id=str(made[0].body.get("id", made[0].key)))
        return made[0]

    def remove(self, record: Record) -> None:
        """Delete an object, with what exists only within it; Stripe says so where it has an event for it."""

        def act() -> None:
            if record.object == "plan":
                catalog.delete_plan(self.account, {"plan": record.key}, {})
            else:
                deletions.delete(self.account, record)

        self.note(record, "deleted", act)

    def add_children(self, family: Family, parent: Record, count: int) -> None:
        """Give a parent so many more children; it has to say so afterwards."""
        like = self._like(family)
        if like is not None:
            shared = {name: parent.body[name] for name in family.shares}
            for _ in range(count):
                self.variations.copy(like, self.random, {**shared, family.link: parent.key})
        self.account_for(family, parent)

    def _like(self, family: Family) -> Record | None:
        """A child of the same kind of parent, to make others like it."""
        records = self.account.store.table(family.child).records
        keys = self.random.sample(list(records), min(len(records), 40))
        return next((records[key] for key in keys if records[key].link(family.link) is not None), None)

    def account_for(self, family: Family, parent: Record) -> None:
        """What a parent says of its children."""
        children = self.account.store.linked(family.child, family.link, parent.key)
        if family.names is not None:
            self.account.change(parent, {family.names: children[-1].key if children else None}, verb=None)
        if family.sums is not None:
            self.account.change(parent, {family.sums: sum(each.body["amount"] for each in children)}, verb=None)
        if family.child == "subscription_item":
            parent.facts["prices"] = [each.body["price"] for each in children]
