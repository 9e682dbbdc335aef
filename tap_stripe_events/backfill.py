"""Source 1: lists → changes.

Every root list is read newest first, page by page, in all its passes. A page of objects is one *unit*: it is delivered
when everything that belongs to its objects has been read too (the rest of embedded lists, child lists), children before
parents, and only then does the window's bookmark move past it. So a killed backfill repeats at most the units that were
under way.

Many requests are in flight: those of all lists together, and where these leave places free, those of one long list that
is split into windows of `created` (`windows`). `children` decides what else is asked for. `sync` drives the generator;
nothing here runs in another thread.
"""

import logging
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tap_stripe_events import changes
from tap_stripe_events.bookmarks import OpenWindow
from tap_stripe_events.changes import CHILDREN, GAP_FILLER, Change, Found, Read, StripeJson
from tap_stripe_events.children import Children, Memory
from tap_stripe_events.client import Answer, Request, StripeClient, list_elements, refused
from tap_stripe_events.clock import iso
from tap_stripe_events.errors import EndlessListError, UnfinishedListError
from tap_stripe_events.families import asks_of, owned_child_types, owning_lists, retrieved_by_id
from tap_stripe_events.limits import Verdict
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import EmbeddedList, StripeList, parent_column, stream_name
from tap_stripe_events.units import ChildPurpose, NeedPurpose, PagePurpose, Parent, Unit, Window
from tap_stripe_events.windows import move_cursor, page_parameters, split, step_back

_UNITS_AHEAD = 2  # pages of one window whose children are still being read
_HELD_ROWS = 20_000  # children kept back for their parents; more are delivered before them
_CHILD_RESTARTS = 5  # times that a child list is begun anew because its cursor had vanished

_REASON_CHARACTERS = 160  # of what Stripe says, in a warning and in the state

_logger = logging.getLogger("tap-stripe-events.backfill")


@dataclass(frozen=True, kw_only=True)
class WindowsMoved:
    """The open windows of a list have changed, and everything before that has been delivered."""

    root: StripeList
    windows: tuple[OpenWindow, ...]


@dataclass(frozen=True, kw_only=True)
class ListClosed:
    """A root list has been read to its end, or Stripe refuses it.

    Attributes:
        root: The list.
        refused: Stripe's reason; None if the list was read.
        not_set_up: The account does not use the product, so that there is nothing in the list.
    """

    root: StripeList
    refused: str | None = None
    not_set_up: bool = False


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


Item: TypeAlias = Change | WindowsMoved | ListClosed | ChildListDenied


class Backfill:
    """One reading of a set of root lists.

    Args:
        client: The way to Stripe.
        windows: What is still to be read of each list.
        selected: The object types whose rows are wanted.
        account_id: The account's id, for objects that are keyed by it; None if the key may not know it.
        floor: Nothing created before this Unix time is wanted, where a list can say so.
    """

    def __init__(
        self,
        *,
        client: StripeClient,
        windows: Mapping[StripeList, Collection[OpenWindow]],
        selected: Collection[str],
        account_id: str | None,
        floor: int | None = None,
    ) -> None:
        self._client = client
        self._selected = frozenset(selected)
        self._account_id = account_id or "self"
        self._floor = floor
        self._windows = {root: [Window.resumed(root, each) for each in rest] for root, rest in windows.items()}
        self._pages: deque[Request] = deque()
        being_listed = {name for root, rest in windows.items() for name in root.objects if rest}
        self._children = Children(selected=selected, floor=floor, being_listed=being_listed)
        self._copies_sent = Memory()
        self._unknown_types: set[str] = set()
        self.skipped: dict[StripeList, int] = {}

    def run(self) -> Iterator[Item | None]:
        """Yield changes, and what has come to an end. None: nothing has arrived for a while.

        Raises:
            TapError: The run cannot go on.
        """
        for root, windows in list(self._windows.items()):
            for window in windows:
                self._request_page(window)
            if not windows:
                yield ListClosed(root=root)
        while self._pages or self._children.queue or self._client.in_flight:
            answer = self._client.take(self._submit())
            if answer is None:
                yield None
            else:
                yield from self._take(answer)
        if unfinished := [root.path for root, windows in self._windows.items() if windows]:
            raise UnfinishedListError(paths=", ".join(unfinished))

    # Requests

    def _submit(self) -> float:
        """Start what may start now, children first; return how long to wait for an answer before looking again."""
        wait = 1.0
        for waiting in (self._children.queue, self._pages):
            blocked: set[str] = set()
            for _ in range(len(waiting)):
                if self._client.in_flight >= self._client.max_concurrent_requests:
                    return 1.0
                request = waiting.popleft()
                if request.endpoint not in blocked:
                    delay = self._client.delay(request.endpoint)
                    if delay <= 0:
                        self._client.submit(request)
                        continue
                    blocked.add(request.endpoint)
                    wait = min(wait, delay)
                waiting.append(request)
        return wait

    def _request_page(self, window: Window) -> None:
        parameters = page_parameters(window, self._floor)
        if expand := self._children.expand(window.root):
            parameters["expand[]"] = expand
        window.requested = True
        path = window.root.path
        self._pages.append(Request(path=path, endpoint=path, parameters=parameters, purpose=PagePurpose(window=window)))

    # Answers

    def _take(self, answer: Answer) -> Iterator[Item]:
        match answer.request.purpose:
            case PagePurpose(window=window):
                yield from self._take_page(window, answer)
            case ChildPurpose() as purpose:
                yield from self._take_child_page(purpose, answer)
            case NeedPurpose(name=name):
                yield from self._deliver(*self._children.need_answered(name, there=self._is_there(answer)))

    def _take_page(self, window: Window, answer: Answer) -> Iterator[Item]:
        window.requested = False
        root = window.root
        if window not in self._windows[root]:
            return  # the list was closed while this page was on its way
        match answer.verdict:
            case Verdict.TAKE:
                self._take_unit(window, answer)
                yield from self._deliver(window)
            case Verdict.DENIED | Verdict.NOT_EXPANDABLE if "expand[]" in answer.request.parameters:
                yield from self._stop_expanding(root, answer)
                self._request_page(window)
            case Verdict.DENIED | Verdict.NOT_SET_UP:
                yield from self._refuse(root, answer)
            case Verdict.GONE if root.single:
                yield from self._refuse(root, answer)
            case Verdict.CURSOR_GONE if step_back(window):
                self._request_page(window)
            case _:
                raise refused(answer.request, answer.refusal)

    def _refuse(self, root: StripeList, answer: Answer) -> Iterator[Item]:
        self._windows[root] = []
        nothing_there = answer.verdict is not Verdict.DENIED
        yield from self._closed(ListClosed(root=root, refused=refusal_reason(answer), not_set_up=nothing_there))

    def _closed(self, closed: ListClosed) -> Iterator[Item]:
        yield closed
        for name in closed.root.objects:
            if not any(self._windows[root] for root in self._windows if name in root.objects):
                yield from self._deliver(*self._children.listed(name))

    def _take_unit(self, window: Window, answer: Answer) -> None:
        root = window.root
        if root.single:
            unit = Unit(window=window)
            window.units.append(unit)
            window.exhausted = True
            name = root.objects[0]
            columns = {"account_id": self._account_id} if "account_id" in STRIPE_OBJECTS[name].key else {}
            self._take_object(unit, name, answer.body, answer, columns)
            return
        found, more = list_elements(answer, self._client.api_url)
        last = found[-1] if found else {}
        last_id, last_created = last.get("id"), last.get("created")
        unit = Unit(
            window=window,
            last_id=last_id if isinstance(last_id, str) else None,
            last_created=last_created if isinstance(last_created, int) else None,
        )
        window.units.append(unit)
        for each in found:
            self._take_object(unit, self._type_of(root, each), each, answer, {})
        if not more or not root.paged:
            window.exhausted = True
            return
        if problem := move_cursor(window, unit, found):
            raise self._endless(answer, problem)
        self._split(window, found)

    def _split(self, window: Window, found: list[StripeJson]) -> None:
        """Hand the older part of a long window to places in flight that are free."""
        client = self._client
        free = client.max_concurrent_requests - client.in_flight - len(self._pages) - len(self._children.queue)
        for _ in range(free - 1):
            older = split(window, found, self._floor)
            if older is None:
                return
            self._windows[window.root].append(older)
            self._request_page(older)

    def _take_child_page(self, purpose: ChildPurpose, answer: Answer) -> Iterator[Item]:
        unit, child = purpose.unit, purpose.child
        found = False
        match answer.verdict:
            case Verdict.TAKE:
                found = self._take_children(purpose, answer)
                if len(unit.held) > _HELD_ROWS:
                    yield from unit.held
                    unit.held.clear()
            case Verdict.DENIED | Verdict.NOT_EXPANDABLE if "expand[]" in purpose.parameters:
                yield from self._stop_expanding(child, answer)
                del purpose.parameters["expand[]"]
                self._children.queue.append(purpose.request(answer.request.parameters.get("starting_after")))
                return
            case Verdict.CURSOR_GONE if purpose.restarts < _CHILD_RESTARTS:
                self._children.queue.append(purpose.restarted().request())
                return
            case Verdict.DENIED | Verdict.NOT_SET_UP:
                unit.open -= 1
                yield from self._deny_child(child, answer)
            case Verdict.GONE:
                self.skipped[child] = self.skipped.get(child, 0) + 1
                unit.open -= 1
            case _:
                raise refused(answer.request, answer.refusal)
        if "starting_after" not in answer.request.parameters:
            if found and purpose.sample and self._children.trusts(child):
                _logger.warning("%s has rows where their parents say there are none: asking for all", child.path)
            yield from self._deliver(*self._children.answered(purpose, found=found))
        yield from self._deliver(unit.window)

    def _take_children(self, purpose: ChildPurpose, answer: Answer) -> bool:
        """Take the elements of a child list's page; return whether there are any."""
        unit, child, parent = purpose.unit, purpose.child, purpose.parent
        if child.single:
            unit.open -= 1
            self._take_object(unit, child.objects[0], answer.body, answer, purpose.columns)
            return True
        found, more = list_elements(answer, self._client.api_url)
        for each in found:
            taken = self._take_object(unit, self._type_of(child, each), each, answer, purpose.columns)
            if parent is not None and taken is not None:
                parent.found(child.path, taken)
        if more and child.paged:
            last = found[-1].get("id") if found else None
            if not isinstance(last, str) or last in purpose.cursors:
                raise self._endless(answer, "no object with an id" if last is None else "the same page again")
            purpose.cursors.add(last)
            self._children.queue.append(purpose.request(last))
        else:
            unit.open -= 1
            if parent is not None:
                parent.complete.add(child.path)
        return bool(found)

    def _deny_child(self, child: StripeList, answer: Answer) -> Iterator[Item]:
        news, windows = self._children.deny(child)
        if news:
            not_set_up = answer.verdict is Verdict.NOT_SET_UP
            reason = refusal_reason(answer)
            yield ChildListDenied(path=child.path, objects=child.objects, reason=reason, not_set_up=not_set_up)
        yield from self._deliver(*windows)

    def _stop_expanding(self, a_list: StripeList, answer: Answer) -> Iterator[Item]:
        if not self._children.stop_expanding(a_list):
            return
        reason, fields = refusal_reason(answer), ", ".join(answer.request.parameters["expand[]"])
        _logger.warning(
            "%s: Stripe does not expand %s for this key (%s); asking for each list instead", a_list.path, fields, reason
        )
        for name in a_list.objects:
            for lost in set(STRIPE_OBJECTS[name].dependents.values()) & self._selected:
                path = f"{a_list.path} with {fields}"
                yield ChildListDenied(path=path, objects=(lost,), reason=reason, not_set_up=False)

    def _is_there(self, answer: Answer) -> bool:
        """Whether a list has any object. If Stripe does not say, that is no reason to leave something out."""
        if answer.verdict is Verdict.TAKE:
            return bool(list_elements(answer, self._client.api_url)[0])
        return answer.verdict is not Verdict.NOT_SET_UP

    def _endless(self, answer: Answer, problem: str) -> EndlessListError:
        cursor = answer.request.parameters.get("starting_after", "none")
        path = answer.request.endpoint
        return EndlessListError(path=path, cursor=cursor, problem=problem, api_url=self._client.api_url)

    # Objects

    def _type_of(self, a_list: StripeList | EmbeddedList, json_object: StripeJson) -> str | None:
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

    def _take_object(
        self, unit: Unit, name: str | None, json_object: StripeJson, answer: Answer, columns: Mapping[str, str]
    ) -> Read | None:
        """Take an object apart, ask for its children, and put what it brings into the unit.

        Returns:
            None if it has no table or no key.
        """
        if name is None:
            return None
        found = self._read(unit, Found(name=name, json=json_object), answer, columns)
        if found is None:
            return None
        if (known := retrieved_by_id().get(name)) is not None:
            self._children.seen(known.path, found.id)
        asks = () if unit.window.root.single else asks_of(name)
        if not asks and not found.lists:
            if name in self._selected:
                unit.held.append(found.change)
            return found
        parent = Parent(read=found, json=json_object)
        unit.parents.append(parent)
        embedded = {}
        for each, value in found.lists:
            last = self._take_elements(unit, parent, each, value, answer)
            embedded[each.completed_by] = (value.get("has_more") is True, last)
        for ask, child in asks:
            if ask.by != "id" or child.path not in embedded:
                self._children.ask(unit, parent, ask, child)
            else:
                more, last = embedded[child.path]
                if more:
                    self._children.ask_for_rest(unit, parent, child, last)
                else:
                    parent.complete.add(child.path)
        return found

    def _read(self, unit: Unit, what: Found, answer: Answer, columns: Mapping[str, str]) -> Read | None:
        """Take an object apart and put the copies and dependents that it holds into the unit."""
        as_of = iso(answer.as_of)
        found = changes.read(what.json, what.name, as_of=as_of, columns=columns, secrets=answer.secrets)
        if found is None or not _has_key(found):
            _logger.warning("An object of type %s came without its key: it has no row", what.name)
            return None
        for copied in found.copies:
            self._take_copy(unit, copied, as_of, answer)
        for dependent in found.dependents:
            own = changes.read(
                dependent.json, dependent.name, as_of=as_of, columns={parent_column(what.name): found.id}
            )
            if own is not None and dependent.name in self._selected:
                unit.held.append(own.change)
        return found

    def _take_copy(self, unit: Unit, copied: Found, as_of: str, answer: Answer) -> None:
        stale = changes.copy_as_of(copied.name, as_of)
        if stale == GAP_FILLER:  # it fills a gap once
            identity = (copied.name, str(copied.json.get("id")))
            if identity in self._copies_sent:
                return
            self._copies_sent.add(identity)
        found = changes.read(copied.json, copied.name, as_of=stale, secrets=answer.secrets)
        if found is None:
            return
        for inner in found.copies:
            self._take_copy(unit, inner, as_of, answer)
        if copied.name in self._selected and _has_key(found):
            unit.held.append(found.change)

    def _take_elements(
        self, unit: Unit, parent: Parent, embedded: EmbeddedList, value: StripeJson, answer: Answer
    ) -> str | None:
        """Take the elements of an embedded list; return the last one's id."""
        columns = {parent_column(parent.read.object.name): parent.read.id}
        last = None
        for each in changes.elements(value):
            found = self._take_object(unit, self._type_of(embedded, each), each, answer, columns)
            if found is not None:
                last = found.id
                if embedded.completed_by:
                    parent.found(embedded.completed_by, found)
        return last

    # Delivery

    def _deliver(self, *windows: Window) -> Iterator[Item]:
        """Yield the units at the heads of windows that are complete, then where the windows stand."""
        for window in dict.fromkeys(windows):
            if window in self._windows[window.root]:
                yield from self._deliver_window(window)

    def _deliver_window(self, window: Window) -> Iterator[Item]:
        open_windows = self._windows[window.root]
        moved = False
        while window.units and window.units[0].open == 0:
            unit = window.units.popleft()
            yield from unit.held
            for parent in reversed(unit.parents):
                if parent.read.object.name in self._selected:
                    yield self._with_children(parent)
            if unit.last_id is not None:
                window.after, window.after_created = unit.last_id, unit.last_created
            moved = True
        if window.exhausted and not window.units:
            open_windows.remove(window)
        elif not window.exhausted and not window.requested and len(window.units) < _UNITS_AHEAD:
            self._request_page(window)
        if moved:
            yield WindowsMoved(root=window.root, windows=tuple(each.bookmark() for each in open_windows))
        if not open_windows:
            yield from self._closed(ListClosed(root=window.root))

    def _with_children(self, parent: Parent) -> Change:
        """Return a parent's change with the ids of its children, where their complete list is known."""
        name = parent.read.object.name
        known: dict[str, list[str]] = {}
        for child in owned_child_types(name):
            paths = owning_lists(name, child)
            if child in self._selected and all(path in parent.complete for path in paths):
                ids = {each: None for path in paths for each in parent.children.get((path, child), ())}
                known[stream_name(child)] = list(ids)
        if known:
            parent.read.change.record[CHILDREN] = known
        return parent.read.change


def _has_key(read: Read) -> bool:
    return all(read.change.record.get(column) is not None for column in read.object.key)


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
