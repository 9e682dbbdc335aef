"""Which child lists to ask for: as few as leave nothing out.

The rules are in the object table (`Ask`); here is what a run learns while it applies them: which lists Stripe refuses,
which products the account does not use, which signals a sample has proved wrong, what was asked for already. Requests
are put into `queue`, which a source empties. After an event other rules hold than for a listing (`Cause`): no samples
are taken, and what Stripe announces by itself is not asked for.

Invariants:
* a unit's `open` counts exactly the requests that are queued, in flight or waiting here for a decision;
* `complete` of a parent names a list only if all of it was seen, or there is nothing in it.
"""

from collections.abc import Collection
from typing import Any
from urllib.parse import quote

from tap_stripe_events.client import Request
from tap_stripe_events.families import asked_with, asks_of, leads_to
from tap_stripe_events.object_table import STRIPE_LISTS, STRIPE_OBJECTS
from tap_stripe_events.objects import Ask, StripeList, parent_column
from tap_stripe_events.request_queue import RequestQueue
from tap_stripe_events.shapes import StripeJson, field_value, reference_id
from tap_stripe_events.units import Cause, ChildPurpose, NeedPurpose, Parent, Unit
from tap_stripe_events.windows import PAGE

_SAMPLE = 25  # records asked for in spite of what their signals say; see Ask.sampled
_REMEMBERED = 50_000  # what was asked for or sent once; up to twice as much


class Memory:
    """Remembers the last fifty thousand things it was told, or nearly as many more.

    Things are forgotten in bulk: to find the oldest one, each time, takes longer the more were forgotten before.
    """

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()
        self._older: set[tuple[str, str]] = set()

    def __contains__(self, thing: tuple[str, str]) -> bool:
        return thing in self._known or thing in self._older

    def add(self, thing: tuple[str, str]) -> None:
        """Remember a thing, and forget the older half if there are too many."""
        if len(self._known) >= _REMEMBERED:
            self._known, self._older = set(), self._known
        self._known.add(thing)


class Children:
    """Decides about child lists and queues the requests.

    Args:
        selected: The object types whose rows are wanted.
        floor: Nothing created before this Unix time is wanted, where a list can say so.
        being_listed: The object types whose own lists are being read.
        used: The object types of which the account has had rows; what is added later counts too.
    """

    def __init__(
        self,
        *,
        selected: Collection[str],
        floor: int | None,
        being_listed: Collection[str] = (),
        used: Collection[str] = (),
    ) -> None:
        self.queue = RequestQueue()
        self._selected = frozenset(selected)
        self._floor = floor
        self._used = used
        self._denied: set[StripeList] = set()
        self._wanted: dict[StripeList, bool] = {}  # whether it brings anything that is selected; asked for each object
        self._asks: dict[tuple[str, bool], tuple[tuple[Ask, StripeList], ...]] = {}  # by type and whether after events
        self._unexpandable: set[StripeList] = set()
        self._needs: dict[str, bool] = {}
        self._waiting: dict[str, list[ChildPurpose]] = {}  # object type that is needed → who needs it
        self._samples: dict[StripeList, int] = {}
        self._samples_open: dict[StripeList, set[ChildPurpose]] = {}  # not answered yet
        self._undecided: dict[StripeList, list[tuple[Unit, Parent, Ask]]] = {}
        self._distrusted: set[StripeList] = set()
        self._being_listed = set(being_listed)
        self._unlisted: dict[str, list[tuple[Unit, Parent, Ask, StripeList]]] = {}  # object type → references to it
        self._asked_once = Memory()

    def wants(self, child: StripeList) -> bool:
        """Whether a list can bring something that is wanted, and Stripe lets it be read."""
        return self._is_of_use(child) and child not in self._denied

    def _is_of_use(self, child: StripeList) -> bool:
        """Whether a list can bring something that is wanted."""
        wanted = self._wanted.get(child)
        if wanted is None:
            wanted = self._wanted[child] = not self._selected.isdisjoint(leads_to(child))
        return wanted

    def asks_of(self, name: str, *, after_event: bool) -> tuple[tuple[Ask, StripeList], ...]:
        """Return the rules for a record of this type that can bring something that is wanted."""
        asks = self._asks.get((name, after_event))
        if asks is None:
            asks = tuple(each for each in asks_of(name, after_event=after_event) if self._is_of_use(each[1]))
            self._asks[name, after_event] = asks
        return asks

    def expand(self, a_list: StripeList) -> list[str]:
        """Return what to expand on a list: what would cost a request an object otherwise, and is wanted."""
        if a_list in self._unexpandable:
            return []
        fields = [field for name in a_list.objects for field in self.expand_one(name)]
        return fields if a_list.single else [f"data.{field}" for field in fields]

    def expand_one(self, name: str) -> list[str]:
        """Return what to expand on one object of a type."""
        stripe_object = STRIPE_OBJECTS[name]
        lists = {each.field: each for each in stripe_object.embedded}
        wanted = []
        for path in stripe_object.expand:
            brings = lists[path].objects if path in lists else (stripe_object.dependents.get(path, name),)
            if self._selected & (set(brings) | asked_with(name, path)):
                wanted.append(path)
        return wanted

    def stop_expanding(self, a_list: StripeList) -> bool:
        """Never expand on a list again; return whether that is news."""
        news = a_list not in self._unexpandable
        self._unexpandable.add(a_list)
        return news

    def ask(self, unit: Unit, parent: Parent, ask: Ask, child: StripeList) -> None:
        """Ask for a child list, unless the record says there is nothing in it."""
        if not self.wants(child):
            return
        if unit.cause is not None:
            if not self._worth_asking(unit.cause, parent, ask, child):
                return
        elif not self._asked_in_listing(unit, parent, ask, child):
            return
        named = parent.read.id if ask.by == "id" else field_value(parent.json, ask.by)[1]
        value = reference_id(named)
        if value is None or (ask.by != "id" and not self._first_time(child, value)):
            return
        sample = unit.cause is None and self._is_sample(parent, ask, child)
        for purpose in self._purposes(unit, parent, child, value, sample=sample):
            self._request_if_needed(purpose, ask.needs)

    def _worth_asking(self, cause: Cause, parent: Parent, ask: Ask, child: StripeList) -> bool:
        """Whether an event is a reason to ask for a child list."""
        if child.path in cause.also or child.path in cause.again:
            return True
        if not ask.on_event:
            return False
        if ask.changed and cause.changed is not None:
            return not cause.changed.isdisjoint(ask.changed)
        used = ask.event_if_used and any(name in self._used for name in child.objects)
        return used or not _says_nothing(parent.json, ask.event_signals or ask.signals, ask)

    def _asked_in_listing(self, unit: Unit, parent: Parent, ask: Ask, child: StripeList) -> bool:
        """Whether a listing asks for a child list now: not if there is nothing in it, or that is not known yet."""
        if child.single and child.objects[0] in self._being_listed:
            unit.open += 1  # its own list may bring the object, which saves the request
            self._unlisted.setdefault(child.objects[0], []).append((unit, parent, ask, child))
            return False
        if not self._seems_empty(parent, ask, child) or self._is_sample(parent, ask, child):
            return True
        if (ask.sampled or ask.only_sampled) and self._samples_open.get(child):
            unit.open += 1
            self._undecided.setdefault(child, []).append((unit, parent, ask))
        else:
            parent.complete.add(child.path)
        return False

    def _seems_empty(self, parent: Parent, ask: Ask, child: StripeList) -> bool:
        return self._spares(ask, child) and (ask.only_sampled or _says_nothing(parent.json, ask.signals, ask))

    def _is_sample(self, parent: Parent, ask: Ask, child: StripeList) -> bool:
        """Whether a child list that seems empty is asked for, to see whether it is."""
        may_be_wrong = ask.sampled or ask.only_sampled
        return may_be_wrong and self._seems_empty(parent, ask, child) and self._samples.get(child, 0) < _SAMPLE

    def ask_for_rest(self, unit: Unit, parent: Parent, child: StripeList, after: str | None) -> None:
        """Ask for what an embedded list does not hold."""
        if self.wants(child):
            for purpose in self._purposes(unit, parent, child, parent.read.id, sample=False):
                unit.open += 1
                self.queue.append(purpose.request(after))

    def seen(self, path: str, identifier: str) -> None:
        """Note that an object has been read, so that it need not be asked for by a reference to it."""
        self._asked_once.add((path, identifier))

    def begin_poll(self, *, doubt_needs: bool) -> None:
        """Begin a new round after events: what was asked for in an earlier one may have changed since.

        Args:
            doubt_needs: Also that the account does not use a product.
        """
        self._asked_once = Memory()
        if doubt_needs:
            self._needs = {name: there for name, there in self._needs.items() if there}

    def listed(self, name: str) -> list[Unit]:
        """Ask for the objects of a type that were only referred to, now that its own lists are read."""
        self._being_listed.discard(name)
        waiting = self._unlisted.pop(name, [])
        for unit, parent, ask, child in waiting:
            unit.open -= 1
            self.ask(unit, parent, ask, child)
        return [unit for unit, *_ in waiting]

    def answered(self, purpose: ChildPurpose, *, found: bool) -> list[Unit]:
        """Take in what the first page of a child list told about the signals of its kind.

        Returns:
            The units in which something was decided by that.
        """
        if not purpose.sample or purpose not in self._samples_open.get(purpose.child, ()):
            return []
        if found:
            self._distrusted.add(purpose.child)
        self._samples_open[purpose.child].discard(purpose)
        return self._decide(purpose.child)

    def trusts(self, child: StripeList) -> bool:
        """Whether the signals that spare this list were never wrong."""
        return child not in self._distrusted

    def deny(self, child: StripeList) -> tuple[bool, list[Unit]]:
        """Never ask for a child list again, nor wait for what was going to be asked for.

        Returns:
            Whether that is news, and the units in which a request for it was waiting.
        """
        news = child not in self._denied
        self._denied.add(child)
        waiting = [each.purpose for each in self.queue.remove(lambda request: _is_for(request.purpose, child))]
        self._asks.clear()
        for need, purposes in self._waiting.items():
            waiting += [each for each in purposes if each.child is child]
            self._waiting[need] = [each for each in purposes if each.child is not child]
        for purpose in waiting:
            purpose.unit.open -= 1
        self._samples_open.pop(child, None)
        return news, [each.unit for each in waiting] + self._decide(child)

    def need_answered(self, name: str, *, there: bool) -> list[Unit]:
        """Take in whether the account has any object of a type; return the units in which that decided something."""
        self._needs[name] = there
        units = []
        for purpose in self._waiting.pop(name, []):
            if there:
                self._request(purpose)
            else:
                self._drop(purpose)
                units += [purpose.unit, *self._decide(purpose.child)]
        return units

    def _spares(self, ask: Ask, child: StripeList) -> bool:
        """Whether what a record says may spare a request: no sample was wrong, and what it should say was asked for."""
        if child in self._distrusted:
            return False
        if not any(ask.of in each.objects for each in self._unexpandable):
            return True
        expanded = STRIPE_OBJECTS[ask.of].expand
        return not any(asked_with(ask.of, path) & set(child.objects) for path in expanded)

    def _first_time(self, child: StripeList, value: str) -> bool:
        if (child.path, value) in self._asked_once:
            return False
        self._asked_once.add((child.path, value))
        return True

    def _request_if_needed(self, purpose: ChildPurpose, need: str | None) -> None:
        purpose.unit.open += 1
        if purpose.sample:
            self._samples[purpose.child] = self._samples.get(purpose.child, 0) + 1
            self._samples_open.setdefault(purpose.child, set()).add(purpose)
        if need is None or self._needs.get(need):
            self._request(purpose)
        elif need in self._needs:
            self._drop(purpose)
        else:
            if need not in self._waiting:
                self.queue.appendleft(_need_request(need))
            self._waiting.setdefault(need, []).append(purpose)

    def _request(self, purpose: ChildPurpose) -> None:
        """Queue the request for a child list; a sample first, since it tells whether there is more to ask for."""
        if purpose.sample:
            self.queue.appendleft(purpose.request())
        else:
            self.queue.append(purpose.request())

    def _drop(self, purpose: ChildPurpose) -> None:
        """Let go of a request that turned out to be for nothing: the account does not use the product."""
        purpose.unit.open -= 1
        if purpose.parent is not None:
            purpose.parent.complete.add(purpose.child.path)
        if purpose.sample:
            self._samples_open[purpose.child].discard(purpose)

    def _decide(self, child: StripeList) -> list[Unit]:
        """Ask for what waited for the sample, or not, once the sample has told."""
        if self._samples_open.get(child) and child not in self._distrusted:
            return []
        units = []
        for unit, parent, ask in self._undecided.pop(child, []):
            unit.open -= 1
            self.ask(unit, parent, ask, child)
            units.append(unit)
        return units

    def _purposes(
        self, unit: Unit, parent: Parent, child: StripeList, value: str, *, sample: bool
    ) -> list[ChildPurpose]:
        path, parameters = child.path, self._parameters(unit, parent, child)
        if parameters is None:
            return []
        if f"{{{child.parameter}}}" in path:
            path = path.replace(f"{{{child.parameter}}}", quote(value, safe=""))
        elif child.parameter:
            parameters[child.parameter] = value
        is_parents = child.owned and child.parent == parent.read.object.name
        columns = {parent_column(child.parent): value} if child.owned and child.parent else {}
        return [
            ChildPurpose(
                child=child,
                unit=unit,
                path=path,
                parameters={**parameters, **each},
                columns=columns,
                parent=parent if is_parents else None,
                sample=sample,
            )
            for each in child.passes
        ]

    def _parameters(self, unit: Unit, parent: Parent, child: StripeList) -> dict[str, Any] | None:
        """Return the query of a child list, without the parent; None if the record lacks a value for it."""
        parameters: dict[str, Any] = {"limit": PAGE} if child.paged else {}
        for parameter, source in child.parameters.items():
            named = reference_id(field_value(parent.json, source)[1])
            if named is None:
                return None
            parameters[parameter] = named
        added = any(ask.added for ask in child.asks) and unit.cause is not None
        since = [each for each in (self._floor, unit.cause.since if added and unit.cause else None) if each is not None]
        if child.created and not child.owned and since:
            parameters["created[gte]"] = max(since)
        if expand := self.expand(child):
            parameters["expand[]"] = expand
        return parameters


def _says_nothing(json_object: StripeJson, signals: Collection[str], ask: Ask) -> bool:
    values = [field_value(json_object, signal) for signal in signals]
    return bool(values) and all((there or ask.absent_is_empty) and not value for there, value in values)


def _is_for(purpose: Any, child: StripeList) -> bool:
    return isinstance(purpose, ChildPurpose) and purpose.child is child


def _need_request(name: str) -> Request:
    path = next(each.path for each in STRIPE_LISTS if name in each.objects and each.parent is None)
    parameters = {"limit": 1}
    return Request(path=path, endpoint=path, parameters=parameters, purpose=NeedPurpose(name=name), reason="products")
