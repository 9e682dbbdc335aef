"""Taking objects apart and gathering what belongs to them: the same for a page of a list and for what an event tells.

A *unit* is what is delivered together. An object is put into one; child lists are asked for as `children` decides, and
their answers put into the same unit. When nothing is open any more its owner, a source, delivers `contents`: parents
before their children. Nothing here knows of windows or polls.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from tap_stripe_events import changes
from tap_stripe_events.changes import CHILDREN, DELETED_AT, GAP_FILLER, Change, Read
from tap_stripe_events.children import Children, Memory
from tap_stripe_events.client import Answer, StripeClient, list_elements, refused
from tap_stripe_events.errors import EndlessListError
from tap_stripe_events.families import asks_of, owned_child_types, owning_lists, retrieved_by_id
from tap_stripe_events.limits import Verdict
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import EmbeddedList, StripeList, parent_column, stream_name
from tap_stripe_events.request_queue import RequestQueue
from tap_stripe_events.shapes import Found, Sent, StripeJson
from tap_stripe_events.units import ChildPurpose, NeedPurpose, Parent, Unit

_HELD_ROWS = 20_000  # children kept back for their parents; more are delivered before them
_EMBEDDED = 10  # the elements of a list that an object holds; the others have to be asked for
_CHILD_RESTARTS = 5  # times that a child list is begun anew because its cursor had vanished
_REASON_CHARACTERS = 160  # of what Stripe says, in a warning and in the state

_ID = ("id",)

_logger = logging.getLogger("tap-stripe-events.gather")


@dataclass(frozen=True, kw_only=True)
class ChildListDenied:
    """Stripe refuses what else belongs to the objects of a list: its rows are not read, the others are.

    Attributes:
        path: The child list, or the list on which Stripe does not expand it.
        objects: The types of its rows.
        reason: Stripe's reason.
        not_set_up: The account does not use the product.
    """

    path: str
    objects: tuple[str, ...]
    reason: str
    not_set_up: bool


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where an object was read.

    Attributes:
        as_of: The moment it is known to reflect, a date-time string.
        secrets: It may hold what must not be stored.
    """

    as_of: str
    secrets: bool


@dataclass(kw_only=True)
class Taken:
    """What came of an answer.

    Attributes:
        items: What to deliver at once.
        units: The units to which it made a difference.
    """

    items: list[Change | ChildListDenied]
    units: list[Unit]


class Gather:
    """Puts objects and what belongs to them into units.

    Args:
        client: Asked for nothing here: what is to be asked for is in `requests`.
        selected: The object types whose rows are wanted.
        copied: Those that are wanted where others hold them whole; the selected ones are anyway.
        account_id: The account's id, for objects that are keyed by it; None if the key may not know it.
        floor: Nothing created before this Unix time is wanted, where a list can say so.
        being_listed: The object types whose own lists are being read.
        used: The object types of which the account has had rows; what is added later counts too.
    """

    def __init__(
        self,
        *,
        client: StripeClient,
        selected: Collection[str],
        account_id: str | None,
        floor: int | None = None,
        being_listed: Collection[str] = (),
        copied: Collection[str] = (),
        used: Collection[str] = (),
    ) -> None:
        self._client = client
        self._selected = frozenset(selected)
        self._copied = self._selected.union(copied)
        self._account_id = account_id or "self"
        self.children = Children(selected=selected, floor=floor, being_listed=being_listed, used=used)
        self._copies_sent = Memory()
        self._owned: dict[str, list[tuple[str, tuple[str, ...]]]] = {}  # see `_owned_by`
        self._unknown_types: set[str] = set()
        self.skipped: dict[StripeList, int] = {}

    @property
    def requests(self) -> RequestQueue:
        """What is to be asked for."""
        return self.children.queue

    def own_key(self, name: str) -> Mapping[str, str]:
        """Return the key columns of the account's own objects, which do not say whose they are."""
        return {"account_id": self._account_id} if "account_id" in STRIPE_OBJECTS[name].key else {}

    # Objects

    def type_of(self, a_list: StripeList | EmbeddedList, json_object: StripeJson) -> str | None:
        """Return the type of a list's element; None if it has no table."""
        if isinstance(json_object, Sent):
            return json_object.shape.object.name
        name = json_object.get("object")
        if isinstance(name, str) and name in STRIPE_OBJECTS:
            return name
        if len(a_list.objects) == 1:
            return a_list.objects[0]
        if str(name) not in self._unknown_types:
            self._unknown_types.add(str(name))
            where = a_list.path if isinstance(a_list, StripeList) else a_list.field
            _logger.warning("%s holds objects of an unknown type, %s: they have no table", where, str(name)[:60])
        return None

    def take_object(
        self, unit: Unit, name: str | None, json_object: StripeJson, source: Source, columns: Mapping[str, str]
    ) -> Read | None:
        """Take an object apart, ask for its children, and put what it brings into the unit.

        Returns:
            None if it has no table or no key.
        """
        if name is None:
            return None
        found = self._read(unit, Found(name=name, json=json_object), source, columns)
        if found is None:
            return None
        if found.gone:
            self._hold_gone(unit, found)
            return found
        if (known := retrieved_by_id().get(name)) is not None:
            self.children.seen(known.path, found.id)
        # An account's own objects lead nowhere, whether its list or an event brings them.
        alone = found.id == self._account_id or (unit.window is not None and unit.window.root.single)
        asks = () if alone else self.children.asks_of(name, after_event=unit.cause is not None)
        if not asks and not found.lists:
            if name in self._selected:
                (unit.parents if asks_of(name) and not alone else unit.held).append(found.change)
            return found
        parent = Parent(read=found, json=json_object)
        unit.parents.append(parent)
        embedded = self._take_embedded(unit, parent, source)
        for ask, child in asks:
            if ask.by != "id" or child.path not in embedded:
                self.children.ask(unit, parent, ask, child)
            else:
                self._complete(unit, parent, child, *embedded[child.path])
        return found

    def take_gone(self, unit: Unit, name: str, key: Mapping[str, str], as_of: str) -> None:
        """Put into the unit that an object was gone as of a moment, with what goes along."""
        change = changes.gone(name, key, as_of=as_of)
        self._hold_gone(unit, Read(object=STRIPE_OBJECTS[name], id=key.get("id", ""), change=change))

    def _hold_gone(self, unit: Unit, found: Read) -> None:
        along = {*found.object.takes_along, *owned_child_types(found.object.name)}
        lost = [stream_name(each) for each in sorted(along & self._selected)]
        if lost:
            found.change.record[CHILDREN] = {stream: [] for stream in lost}
        if found.object.name in self._selected:
            unit.held.append(found.change)
        for dependent in found.object.dependents.values():
            if dependent in self._selected:
                key = {parent_column(found.object.name): found.id}
                unit.held.append(changes.gone(dependent, key, as_of=found.change.record[DELETED_AT]))

    def _take_embedded(self, unit: Unit, parent: Parent, source: Source) -> dict[str | None, tuple[bool, str | None]]:
        """Take the elements of embedded lists; return by path whether there are more, and the last one's id."""
        embedded: dict[str | None, tuple[bool, str | None]] = {}
        for each, value in parent.read.lists:
            more = _may_go_on(value)
            if unit.cause is not None and each.completed_by in unit.cause.again:
                embedded[each.completed_by] = (True, None)
                continue
            last = self._take_elements(unit, parent, each, value, source)
            if more and unit.cause is not None and each.completed_by:
                parent.forget(each.completed_by)  # the event may be old: what its list lacks is read with the rest anew
                last = None
            embedded[each.completed_by] = (more, last)
        return embedded

    def _complete(self, unit: Unit, parent: Parent, child: StripeList, more: bool, last: str | None) -> None:
        if more:
            self.children.ask_for_rest(unit, parent, child, last)
        else:
            parent.complete.add(child.path)

    def _read(self, unit: Unit, what: Found, source: Source, columns: Mapping[str, str]) -> Read | None:
        """Take an object apart and put the copies and dependents that it holds into the unit."""
        found = changes.read(what.json, what.name, as_of=source.as_of, columns=columns, secrets=source.secrets)
        if found is None or not _has_key(found):
            _logger.warning("An object of type %s came without its key: it has no row", what.name)
            return None
        for copied in found.copies:
            self._take_copy(unit, copied, source)
        for dependent in found.dependents:
            own = changes.read(
                dependent.json, dependent.name, as_of=source.as_of, columns={parent_column(what.name): found.id}
            )
            if own is not None and dependent.name in self._selected:
                unit.held.append(own.change)
        return found

    def _take_copy(self, unit: Unit, copied: Found, source: Source) -> None:
        stale = changes.copy_as_of(copied.name, source.as_of)
        if stale == GAP_FILLER:  # it fills a gap once
            identity = (copied.name, str(copied.json.get("id")))
            if identity in self._copies_sent:
                return
            self._copies_sent.add(identity)
        found = changes.read(copied.json, copied.name, as_of=stale, secrets=source.secrets)
        if found is None:
            return
        for inner in found.copies:
            self._take_copy(unit, inner, source)
        if copied.name in self._copied and _has_key(found):
            unit.held.append(found.change)

    def _take_elements(
        self, unit: Unit, parent: Parent, embedded: EmbeddedList, value: StripeJson, source: Source
    ) -> str | None:
        """Take the elements of an embedded list; return the last one's id."""
        columns = {parent_column(parent.read.object.name): parent.read.id}
        last = None
        for each in changes.elements(value):
            found = self.take_object(unit, self.type_of(embedded, each), each, source, columns)
            if found is not None:
                last = found.id
                if embedded.completed_by:
                    parent.found(embedded.completed_by, found)
        return last

    # Answers

    def take(self, answer: Answer) -> Taken:
        """Take the answer to one of `requests`.

        Raises:
            TapError: The run cannot go on.
        """
        purpose = answer.request.purpose
        if isinstance(purpose, NeedPurpose):
            there = self._is_there(answer)
            return Taken(items=[], units=self.children.need_answered(purpose.name, there=there))
        return self._take_child_page(purpose, answer)

    def _take_child_page(self, purpose: ChildPurpose, answer: Answer) -> Taken:
        unit, child = purpose.unit, purpose.child
        taken = Taken(items=[], units=[])
        found = False
        match answer.verdict:
            case Verdict.TAKE:
                found = self._take_children(purpose, answer)
                if len(unit.held) > _HELD_ROWS:
                    taken.items += unit.held
                    unit.held = []
            case Verdict.DENIED | Verdict.NOT_EXPANDABLE if "expand[]" in purpose.parameters:
                taken.items += self.stop_expanding(child, answer)
                del purpose.parameters["expand[]"]
                self.requests.append(purpose.request(answer.request.parameters.get("starting_after")))
                return taken
            case Verdict.CURSOR_GONE if purpose.restarts < _CHILD_RESTARTS:
                self.requests.append(purpose.restarted().request())
                return taken
            case Verdict.DENIED | Verdict.NOT_SET_UP:
                unit.open -= 1
                denied, units = self._deny_child(child, answer)
                taken.items += denied
                taken.units += units
            case Verdict.GONE:
                self.skipped[child] = self.skipped.get(child, 0) + 1
                unit.open -= 1
            case _:
                raise refused(answer.request, answer.refusal)
        if "starting_after" not in answer.request.parameters:
            if found and purpose.sample and self.children.trusts(child):
                _logger.warning("%s has rows where their parents say there are none: asking for all", child.path)
            taken.units += self.children.answered(purpose, found=found)
        taken.units.append(unit)
        return taken

    def _take_children(self, purpose: ChildPurpose, answer: Answer) -> bool:
        """Take the elements of a child list's page; return whether there are any."""
        unit, child, parent = purpose.unit, purpose.child, purpose.parent
        source = Source(as_of=unit.as_of(answer.as_of), secrets=answer.secrets)
        if child.single:
            unit.open -= 1
            self.take_object(unit, child.objects[0], answer.body, source, purpose.columns)
            return True
        found, more = list_elements(answer, self._client.api_url)
        for each in found:
            taken = self.take_object(unit, self.type_of(child, each), each, source, purpose.columns)
            if parent is not None and taken is not None:
                parent.found(child.path, taken)
        if more and child.paged:
            last = found[-1].get("id") if found else None
            if not isinstance(last, str) or last in purpose.cursors:
                problem = "no object with an id" if last is None else "the same page again"
                raise endless(answer, problem, self._client.api_url)
            purpose.cursors.add(last)
            self.requests.append(purpose.request(last))
        else:
            unit.open -= 1
            if parent is not None:
                parent.complete.add(child.path)
        return bool(found)

    def _deny_child(self, child: StripeList, answer: Answer) -> tuple[list[ChildListDenied], list[Unit]]:
        news, units = self.children.deny(child)
        if not news:
            return [], units
        not_set_up = answer.verdict is Verdict.NOT_SET_UP
        reason = refusal_reason(answer)
        denied = ChildListDenied(path=child.path, objects=child.objects, reason=reason, not_set_up=not_set_up)
        return [denied], units

    def stop_expanding(self, a_list: StripeList, answer: Answer) -> list[ChildListDenied]:
        """Go on without `expand[]` on a list; return what is lost by that."""
        if not self.children.stop_expanding(a_list):
            return []
        reason, fields = refusal_reason(answer), ", ".join(answer.request.parameters["expand[]"])
        _logger.warning(
            "%s: Stripe does not expand %s for this key (%s); asking for each list instead", a_list.path, fields, reason
        )
        path = f"{a_list.path} with {fields}"
        return [
            ChildListDenied(path=path, objects=(lost,), reason=reason, not_set_up=False)
            for name in a_list.objects
            for lost in set(STRIPE_OBJECTS[name].dependents.values()) & self._selected
        ]

    def _is_there(self, answer: Answer) -> bool:
        """Whether a list has any object. If Stripe does not say, that is no reason to leave something out."""
        if answer.verdict is Verdict.TAKE:
            return bool(list_elements(answer, self._client.api_url)[0])
        return answer.verdict is not Verdict.NOT_SET_UP

    # Delivery

    def contents(self, unit: Unit) -> Iterator[Change]:
        """Yield what a unit holds, parents before children.

        An older list of the same second may lack a child: when it comes, the newer list must be known already.
        """
        for parent in unit.parents:
            if isinstance(parent, Change):
                yield parent
            elif parent.read.object.name in self._selected:
                also = unit.cause.also if unit.cause is not None else frozenset()
                yield self._with_children(parent, also)
        yield from unit.held

    def _with_children(self, parent: Parent, also: Collection[str]) -> Change:
        """Return a parent's change with the ids of its children, where their complete list is known."""
        name = parent.read.object.name
        known: dict[str, list[str]] = {}
        owned = self._owned.get(name)
        if owned is None:
            owned = self._owned[name] = self._owned_by(name, owned_child_types(name))
        if also:
            asked = {child for ask, each in asks_of(name) if each.path in also and each.owned for child in each.objects}
            owned = self._owned_by(name, {*owned_child_types(name), *asked})
        for child, paths in owned:
            if all(path in parent.complete for path in paths):
                ids = {each: None for path in paths for each in parent.children.get((path, child), ())}
                known[stream_name(child)] = list(ids)
        if known:
            parent.read.change.record[CHILDREN] = known
        return parent.read.change

    def _owned_by(self, name: str, children: Collection[str]) -> list[tuple[str, tuple[str, ...]]]:
        """Return those of these types that are wanted, each with the paths of the lists that a parent has it in."""
        return [(child, tuple(owning_lists(name, child))) for child in sorted(children) if child in self._selected]


def endless(answer: Answer, problem: str, api_url: str) -> EndlessListError:
    """Return the error that ends the run over a list that repeats itself."""
    cursor = answer.request.parameters.get("starting_after", "none")
    return EndlessListError(path=answer.request.endpoint, cursor=cursor, problem=problem, api_url=api_url)


def _may_go_on(embedded: StripeJson) -> bool:
    """Whether there is more to an embedded list. One that is full and does not say may have been cut."""
    more = embedded.get("has_more")
    return more is True or (more is None and len(changes.elements(embedded)) >= _EMBEDDED)


def _has_key(read: Read) -> bool:
    key = read.object.key
    return (key == _ID and bool(read.id)) or all(read.change.record.get(column) is not None for column in key)


def refusal_reason(answer: Answer) -> str:
    """Return in a few words why Stripe refuses a list: the missing permission, or its message."""
    refusal = answer.refusal
    if refusal is None:
        return "refused without a reason"
    if refusal.permission:
        return f"the key lacks the permission {refusal.permission}"
    return shortened(refusal.message.split("\n", maxsplit=1)[0]) or f"HTTP {refusal.status}"


def shortened(text: str) -> str:
    """Return a sentence without its full stop, and not longer than two lines."""
    return text.rstrip(".") if len(text) <= _REASON_CHARACTERS else text[:_REASON_CHARACTERS].rstrip() + " …"
