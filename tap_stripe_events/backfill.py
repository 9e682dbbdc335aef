"""Source 1: lists → changes.

Every root list is read newest first, page by page, in all its passes. A page of objects is one *unit*: it is delivered
when everything that belongs to its objects has been read too (the rest of embedded lists, child lists), children before
parents, and only then does the window's bookmark move past it. So a killed backfill repeats at most the units that were
under way.

Many requests are in flight: those of all lists together, and where these leave places free, those of one long list that
is split into windows of `created`. `sync` drives the generator; nothing here runs in another thread.
"""

import logging
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tap_stripe_events import changes
from tap_stripe_events.bookmarks import OpenWindow
from tap_stripe_events.changes import CHILDREN, Change, Found, Read, StripeJson
from tap_stripe_events.client import Answer, Request, StripeClient, list_elements, refused
from tap_stripe_events.clock import iso
from tap_stripe_events.errors import EndlessListError
from tap_stripe_events.families import (
    asked_with,
    asks_of,
    leads_to,
    owned_child_types,
    owning_lists,
    retrieved_by_id,
)
from tap_stripe_events.limits import Verdict
from tap_stripe_events.object_table import STRIPE_LISTS, STRIPE_OBJECTS
from tap_stripe_events.objects import Ask, EmbeddedList, StripeList, parent_column, stream_name

_PAGE = 100  # Stripe's largest
_SAMPLE = 25  # records asked for in spite of what their signals say; see Ask.sampled
_UNITS_AHEAD = 2  # pages of one window whose children are still being read
_HELD_ROWS = 20_000  # children kept back for their parents; more are delivered before them
_SPLIT_PAGES = 8  # a window is split if about so many pages are left in it
_REMEMBERED = 100_000  # ids that were asked for once, so that they are not asked for again
_CURSOR_TRIES = 5  # cursors that may vanish one after another

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
    """Stripe refuses a child list: its rows are not read, the others are."""

    child: StripeList
    reason: str
    not_set_up: bool


@dataclass(kw_only=True, eq=False)
class _Window:
    """A stretch of a root list, as it is being read."""

    root: StripeList
    parameters: dict[str, str]
    start: int | None
    end: int | None
    after: str | None  # delivered up to here, as in the bookmark
    after_created: int | None
    cursor: str | None = None  # requested up to here
    oldest: int | None = None  # the `created` of the last object seen
    reach: int = 32  # pages to leave in this window when it is split and has no lower bound
    exhausted: bool = False
    ordered: bool = True  # newest first, as far as seen
    requested: bool = False
    units: deque["_Unit"] = field(default_factory=deque)
    cursors: set[str] = field(default_factory=set)
    fallbacks: list[str] = field(default_factory=list)  # ids before the cursor, nearest last
    restarts: int = 0

    def bookmark(self) -> OpenWindow:
        return OpenWindow(
            path=self.root.path,
            parameters=self.parameters,
            start=self.start,
            end=self.end,
            after=self.after,
            after_created=self.after_created,
        )


@dataclass(kw_only=True, eq=False)
class _Parent:
    """An object whose children are being read."""

    read: Read
    json: StripeJson
    children: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # (list path, type) → ids
    complete: set[str] = field(default_factory=set)  # list paths that were read to their end


@dataclass(kw_only=True, eq=False)
class _Unit:
    """A page of a root list with all that belongs to its objects.

    Attributes:
        open: Requests that are not answered yet.
        held: Changes to deliver before the parents.
        parents: The page's objects, and those of child lists that have children themselves; innermost last.
    """

    window: _Window
    last_id: str | None
    last_created: int | None
    open: int = 0
    held: list[Change] = field(default_factory=list)
    parents: list[_Parent] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, eq=False)
class _PagePurpose:
    """The next page of a window."""

    window: _Window

    @property
    def stream(self) -> str:
        return stream_name(self.window.root.objects[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class _ChildPurpose:
    """A page of a child list (or an object that a record names)."""

    child: StripeList
    unit: _Unit
    path: str
    parameters: dict[str, Any]
    columns: Mapping[str, str]
    parent: _Parent | None  # whose complete list this is
    sample: bool
    cursors: set[str] = field(default_factory=set)

    @property
    def stream(self) -> str:
        return stream_name(self.child.objects[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class _NeedPurpose:
    """Whether the account has any object of a type."""

    name: str

    @property
    def stream(self) -> str:
        return stream_name(self.name)


class Backfill:
    """One reading of a set of root lists.

    Args:
        client: The way to Stripe.
        windows: What is still to be read of each list.
        selected: The object types whose rows are wanted.
        account_id: The account's id, for objects that are keyed by it.
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
        self._windows: dict[StripeList, list[_Window]] = {
            root: [_window(root, each) for each in open_windows] for root, open_windows in windows.items()
        }
        self._pages: deque[Request] = deque()
        self._children: deque[Request] = deque()
        self._denied_children: dict[StripeList, str] = {}
        self._needs: dict[str, bool | None] = {}  # None: asked, not answered
        self._waiting_for_need: dict[str, list[Request]] = {}
        self._samples: dict[StripeList, int] = {}
        self._samples_open: dict[StripeList, int] = {}
        self._undecided: dict[StripeList, list[tuple[_Unit, _Parent, Ask]]] = {}
        self._distrusted: set[StripeList] = set()
        self._asked_once: dict[tuple[str, str], None] = {}
        self._copies_sent: dict[tuple[str, str], None] = {}
        self._unexpandable: set[StripeList] = set()
        self._unknown_types: set[str] = set()
        self.skipped: dict[StripeList, int] = {}

    def run(self) -> Iterator[Change | WindowsMoved | ListClosed | ChildListDenied | None]:
        """Yield changes, and what has come to an end. None: nothing has arrived for a while.

        Raises:
            TapError: The run cannot go on.
        """
        for root, windows in list(self._windows.items()):
            if windows:
                for window in windows:
                    self._request_page(window)
            else:
                yield ListClosed(root=root)
        while self._pages or self._children or self._client.in_flight:
            wait = self._submit()
            answer = self._client.take(wait)
            if answer is None:
                yield None
                continue
            yield from self._take(answer)

    # Requests

    def _submit(self) -> float:
        """Start what may start now; return how long to wait for an answer before looking again."""
        wait = 1.0
        for waiting in (self._children, self._pages):
            blocked: dict[str, float] = {}
            for _ in range(len(waiting)):
                if self._client.in_flight >= self._client.max_concurrent_requests:
                    return 1.0
                request = waiting.popleft()
                if request.endpoint not in blocked:
                    delay = self._client.delay(request.endpoint)
                    if delay <= 0:
                        self._client.submit(request)
                        continue
                    blocked[request.endpoint] = delay
                    wait = min(wait, delay)
                waiting.append(request)
        return wait

    def _request_page(self, window: _Window) -> None:
        parameters: dict[str, Any] = dict(window.parameters)
        root = window.root
        if root.paged:
            parameters["limit"] = _PAGE
            if window.cursor is not None:
                parameters["starting_after"] = window.cursor
        if root.created:
            start = window.start if self._floor is None else max(window.start or self._floor, self._floor)
            if start is not None:
                parameters["created[gte]"] = start
            if window.end is not None:
                parameters["created[lt]"] = window.end
        if expand := self._expand(root):
            parameters["expand[]"] = expand
        window.requested = True
        self._pages.append(
            Request(path=root.path, endpoint=root.path, parameters=parameters, purpose=_PagePurpose(window=window))
        )

    def _expand(self, a_list: StripeList) -> list[str]:
        """Return what to expand on a list: what would cost a request an object otherwise, and is wanted."""
        if a_list in self._unexpandable:
            return []
        prefix = "" if a_list.single else "data."
        wanted = []
        for name in a_list.objects:
            stripe_object = STRIPE_OBJECTS[name]
            lists = {each.field: each for each in stripe_object.embedded}
            for path in stripe_object.expand:
                brings = lists[path].objects if path in lists else (stripe_object.dependents.get(path, name),)
                if self._selected & (set(brings) | asked_with(name, path)):
                    wanted.append(prefix + path)
        return wanted

    # Answers

    def _take(self, answer: Answer) -> Iterator[Change | WindowsMoved | ListClosed | ChildListDenied]:
        purpose = answer.request.purpose
        if isinstance(purpose, _PagePurpose):
            yield from self._take_page(purpose.window, answer)
        elif isinstance(purpose, _ChildPurpose):
            yield from self._take_child_page(purpose, answer)
        elif isinstance(purpose, _NeedPurpose):
            yield from self._take_need(purpose.name, answer)

    def _take_page(
        self, window: _Window, answer: Answer
    ) -> Iterator[Change | WindowsMoved | ListClosed | ChildListDenied]:
        window.requested = False
        root = window.root
        if window not in self._windows[root]:
            return  # the list was closed while this page was on its way
        match answer.verdict:
            case Verdict.TAKE:
                self._take_unit(window, answer)
                yield from self._deliver(window)
            case Verdict.DENIED | Verdict.NOT_EXPANDABLE if "expand[]" in answer.request.parameters:
                self._stop_expanding(root, answer)
                self._request_page(window)
            case Verdict.DENIED | Verdict.NOT_SET_UP:
                self._windows[root] = []
                reason = refusal_reason(answer)
                yield ListClosed(root=root, refused=reason, not_set_up=answer.verdict is Verdict.NOT_SET_UP)
            case Verdict.CURSOR_GONE:
                self._step_back(window, answer)
            case _:
                status = answer.refusal.status if answer.refusal else 0
                raise refused(answer.request, status, answer.refusal)

    def _take_unit(self, window: _Window, answer: Answer) -> None:
        root = window.root
        if root.single:
            unit = _Unit(window=window, last_id=None, last_created=None)
            window.units.append(unit)
            window.exhausted = True
            self._take_object(unit, root.objects[0], answer.body, answer, self._account_columns(root.objects[0]))
            return
        found, more = list_elements(answer, self._client.api_url)
        last = found[-1] if found else {}
        last_id, last_created = last.get("id"), last.get("created")
        unit = _Unit(
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
        self._move_cursor(window, unit, found, answer)
        self._split(window, found)

    def _move_cursor(self, window: _Window, unit: _Unit, found: list[StripeJson], answer: Answer) -> None:
        cursor = unit.last_id
        if cursor is None or cursor in window.cursors:
            problem = "no object with an id" if cursor is None else f"the same page again, ending with {cursor}"
            raise EndlessListError(
                path=window.root.path,
                cursor=answer.request.parameters.get("starting_after", "none"),
                problem=problem,
                api_url=self._client.api_url,
            )
        window.cursors.add(cursor)
        window.cursor = cursor
        window.fallbacks = [each["id"] for each in found[:-1] if isinstance(each.get("id"), str)][-_CURSOR_TRIES:]
        times = [each["created"] for each in found if isinstance(each.get("created"), int)]
        newest_first = len(times) == len(found) and times == sorted(times, reverse=True)
        if not newest_first or (window.oldest is not None and times[0] > window.oldest):
            window.ordered = False
        window.oldest = unit.last_created

    def _split(self, window: _Window, found: list[StripeJson]) -> None:
        """Hand the older part of a long window to places in flight that are free."""
        root = window.root
        if not root.created or not window.ordered or window.oldest is None:
            return
        span = max(1, found[0]["created"] - window.oldest)
        free = self._client.max_concurrent_requests - self._client.in_flight - len(self._pages) - len(self._children)
        while free > 1:
            if window.start is None:
                middle = window.oldest - span * window.reach
                if self._floor is not None and middle <= self._floor:
                    return
            elif (window.oldest - window.start) / span < _SPLIT_PAGES:
                return
            else:
                middle = window.start + (window.oldest - window.start) // 2
            older = _Window(
                root=root,
                parameters=window.parameters,
                start=window.start,
                end=middle,
                after=None,
                after_created=None,
                reach=window.reach * 2,
            )
            window.start = middle
            self._windows[root].append(older)
            self._request_page(older)
            free -= 1

    def _step_back(self, window: _Window, answer: Answer) -> None:
        """The object under the cursor has vanished: go on after the one before it, or after its moment."""
        window.restarts += 1
        if window.fallbacks and window.restarts % (_CURSOR_TRIES + 1):
            window.cursor = window.fallbacks.pop()
        elif window.restarts > _CURSOR_TRIES * (_CURSOR_TRIES + 1):
            raise refused(answer.request, 400, answer.refusal)
        else:
            window.cursor = None
            moment = window.oldest if window.oldest is not None else window.after_created
            if window.root.created and moment is not None and window.ordered:
                window.end = moment + 1 if window.end is None else min(window.end, moment + 1)
            window.cursors.clear()
        self._request_page(window)

    def _stop_expanding(self, a_list: StripeList, answer: Answer) -> None:
        if a_list not in self._unexpandable:
            _logger.warning(
                "%s: Stripe does not expand %s for this key (%s); asking for each object instead",
                a_list.path,
                ", ".join(answer.request.parameters["expand[]"]),
                refusal_reason(answer),
            )
        self._unexpandable.add(a_list)

    # Objects

    def _type_of(self, a_list: StripeList, json_object: StripeJson) -> str | None:
        name = json_object.get("object")
        if name in STRIPE_OBJECTS:
            return str(name)
        if len(a_list.objects) == 1:
            return a_list.objects[0]
        if str(name) not in self._unknown_types:
            self._unknown_types.add(str(name))
            _logger.warning("%s holds objects of an unknown type, %s: they have no table", a_list.path, str(name)[:60])
        return None

    def _account_columns(self, name: str) -> dict[str, str]:
        return {"account_id": self._account_id} if "account_id" in STRIPE_OBJECTS[name].key else {}

    def _take_object(
        self, unit: _Unit, name: str | None, json_object: StripeJson, answer: Answer, columns: Mapping[str, str]
    ) -> Read | None:
        """Take an object apart, ask for its children, and put what it brings into the unit."""
        if name is None:
            return None
        as_of = iso(answer.as_of)
        found = changes.read(json_object, name, as_of=as_of, columns=columns, secrets=answer.secrets)
        if found is None:
            return None
        if any(column not in found.change.record for column in found.object.key):
            _logger.warning("An object of type %s came without its key %s: skipped", name, found.object.key)
            return None
        for copied in found.copies:
            self._take_copy(unit, copied, as_of, answer)
        for dependent in found.dependents:
            columns_of = {parent_column(name): found.id}
            own = changes.read(dependent.json, dependent.name, as_of=as_of, columns=columns_of, secrets=answer.secrets)
            if own is not None and dependent.name in self._selected:
                unit.held.append(own.change)
        if (known := retrieved_by_id().get(name)) is not None:
            self._remember(known.path, found.id)
        asks = asks_of(name) if not unit.window.root.single else ()
        if not asks and not found.lists:
            if name in self._selected:
                unit.held.append(found.change)
            return found
        parent = _Parent(read=found, json=json_object)
        unit.parents.append(parent)
        embedded = {each.completed_by: (each, value) for each, value in found.lists if each.completed_by}
        for each, value in found.lists:
            if each.completed_by is None:
                self._take_elements(unit, parent, each, value, answer)
        for ask, child in asks:
            if ask.by == "id" and child.path in embedded:
                self._take_embedded(unit, parent, child, *embedded[child.path], answer)
            else:
                self._ask(unit, parent, ask, child)
        return found

    def _take_copy(self, unit: _Unit, copied: Found, as_of: str, answer: Answer) -> None:
        identity = (copied.name, str(copied.json.get("id")))
        if identity in self._copies_sent:
            return
        _remember(self._copies_sent, identity)
        stale = changes.copy_as_of(copied.name, as_of)
        found = changes.read(copied.json, copied.name, as_of=stale, secrets=answer.secrets)
        if found is None:
            return
        for inner in found.copies:
            self._take_copy(unit, inner, as_of, answer)
        if copied.name in self._selected and all(column in found.change.record for column in found.object.key):
            unit.held.append(found.change)

    def _take_elements(
        self, unit: _Unit, parent: _Parent, embedded: EmbeddedList, value: StripeJson, answer: Answer
    ) -> str | None:
        """Take the elements of an embedded list; return the last one's id."""
        columns = {parent_column(parent.read.object.name): parent.read.id}
        last = None
        for each in changes.elements(value):
            found = self._take_object(unit, each.name, each.json, answer, columns)
            if found is not None:
                last = found.id
                if embedded.completed_by and not found.object.independent:
                    parent.children.setdefault((embedded.completed_by, each.name), []).append(found.id)
        return last

    def _take_embedded(
        self,
        unit: _Unit,
        parent: _Parent,
        child: StripeList,
        embedded: EmbeddedList,
        value: StripeJson,
        answer: Answer,
    ) -> None:
        last = self._take_elements(unit, parent, embedded, value, answer)
        if value.get("has_more") is not True:
            parent.complete.add(child.path)
        else:
            self._request_child(unit, parent, child, parent.read.id, after=last)

    # Children

    def _ask(self, unit: _Unit, parent: _Parent, ask: Ask, child: StripeList) -> None:
        """Ask for a child list, unless the record says there is nothing in it."""
        if not self._selected & leads_to(child) or child in self._denied_children:
            return
        sample = False
        if child not in self._distrusted and (ask.only_sampled or self._says_nothing(parent.json, ask)):
            may_be_wrong = ask.sampled or ask.only_sampled
            sample = may_be_wrong and self._samples.get(child, 0) < _SAMPLE
            if not sample:
                if may_be_wrong and self._samples_open.get(child):
                    unit.open += 1
                    self._undecided.setdefault(child, []).append((unit, parent, ask))
                else:
                    parent.complete.add(child.path)
                return
        named = parent.read.id if ask.by == "id" else changes.field_value(parent.json, ask.by)[1]
        value = changes.reference_id(named)
        if value is None:
            return
        if ask.by != "id":
            if (child.path, value) in self._asked_once:
                return
            self._remember(child.path, value)
        self._request_child(unit, parent, child, value, needs=ask.needs, sample=sample)

    def _says_nothing(self, json_object: StripeJson, ask: Ask) -> bool:
        values = [changes.field_value(json_object, signal) for signal in ask.signals]
        return bool(values) and all((there or ask.absent_is_empty) and not value for there, value in values)

    def _remember(self, path: str, identifier: str) -> None:
        _remember(self._asked_once, (path, identifier))

    def _request_child(
        self,
        unit: _Unit,
        parent: _Parent,
        child: StripeList,
        value: str,
        *,
        after: str | None = None,
        needs: str | None = None,
        sample: bool = False,
    ) -> None:
        if child in self._denied_children or not self._selected & leads_to(child):
            return
        path = child.path
        base: dict[str, Any] = {"limit": _PAGE} if child.paged else {}
        if f"{{{child.parameter}}}" in path:
            path = path.replace(f"{{{child.parameter}}}", _quoted(value))
        elif child.parameter:
            base[child.parameter] = value
        for parameter, source in child.parameters.items():
            named = changes.reference_id(changes.field_value(parent.json, source)[1])
            if named is None:
                return
            base[parameter] = named
        if child.created and self._floor is not None:
            base["created[gte]"] = self._floor
        if expand := self._expand(child):
            base["expand[]"] = expand
        whose = parent if child.owned and child.parent == parent.read.object.name else None
        columns = {parent_column(child.parent): value} if child.owned and child.parent else {}
        for each_pass in child.passes:
            purpose = _ChildPurpose(
                child=child,
                unit=unit,
                path=path,
                parameters={**base, **each_pass},
                columns=columns,
                parent=whose,
                sample=sample,
            )
            unit.open += 1
            if sample:
                self._samples[child] = self._samples.get(child, 0) + 1
                self._samples_open[child] = self._samples_open.get(child, 0) + 1
            request = _child_request(purpose, after)
            if needs is None or self._needs.get(needs):
                self._children.append(request)
            else:
                self._request_if_needed(needs, request)

    def _request_if_needed(self, name: str, request: Request) -> None:
        purpose = request.purpose
        if self._needs.get(name) is False:
            purpose.unit.open -= 1
            if purpose.parent is not None:
                purpose.parent.complete.add(purpose.child.path)
            if purpose.sample:
                self._samples_open[purpose.child] -= 1
            return
        self._waiting_for_need.setdefault(name, []).append(request)
        if name not in self._needs:
            self._needs[name] = None
            path = next(each.path for each in STRIPE_LISTS if name in each.objects and each.parent is None)
            purpose = _NeedPurpose(name=name)
            self._children.appendleft(Request(path=path, endpoint=path, parameters={"limit": 1}, purpose=purpose))

    def _take_need(self, name: str, answer: Answer) -> Iterator[Change | WindowsMoved | ListClosed]:
        if answer.verdict is Verdict.TAKE:
            found, _ = list_elements(answer, self._client.api_url)
            self._needs[name] = bool(found)
        else:  # Stripe does not say; then it is not a reason to leave something out
            self._needs[name] = answer.verdict is not Verdict.NOT_SET_UP
        for request in self._waiting_for_need.pop(name, []):
            if self._needs[name]:
                self._children.append(request)
            else:
                self._request_if_needed(name, request)
                yield from self._decide(request.purpose.child)
                yield from self._deliver(request.purpose.unit.window)

    def _take_child_page(
        self, purpose: _ChildPurpose, answer: Answer
    ) -> Iterator[Change | WindowsMoved | ListClosed | ChildListDenied]:
        unit, child = purpose.unit, purpose.child
        match answer.verdict:
            case Verdict.TAKE:
                self._take_children(purpose, answer)
                if len(unit.held) > _HELD_ROWS:
                    yield from unit.held
                    unit.held.clear()
            case Verdict.DENIED | Verdict.NOT_EXPANDABLE if "expand[]" in purpose.parameters:
                self._stop_expanding(child, answer)
                del purpose.parameters["expand[]"]
                self._children.append(_child_request(purpose, None))
                return
            case Verdict.DENIED | Verdict.NOT_SET_UP:
                yield from self._deny_child(child, answer)
                unit.open -= 1
            case Verdict.CURSOR_GONE if len(purpose.cursors) < _CURSOR_TRIES * _PAGE:
                self._children.append(_child_request(purpose, None))
                return
            case _:
                self.skipped[child] = self.skipped.get(child, 0) + 1
                unit.open -= 1
        if purpose.sample and "starting_after" not in answer.request.parameters:
            self._samples_open[child] -= 1
            yield from self._decide(child)
        yield from self._deliver(unit.window)

    def _decide(self, child: StripeList) -> Iterator[Change | WindowsMoved | ListClosed]:
        """Ask for what waited for the sample, or not, once the sample has told."""
        if self._samples_open.get(child) and child not in self._distrusted:
            return
        for unit, parent, ask in self._undecided.pop(child, []):
            unit.open -= 1
            self._ask(unit, parent, ask, child)
            yield from self._deliver(unit.window)

    def _take_children(self, purpose: _ChildPurpose, answer: Answer) -> None:
        unit, child, parent = purpose.unit, purpose.child, purpose.parent
        if child.single:
            self._take_object(unit, child.objects[0], answer.body, answer, purpose.columns)
            unit.open -= 1
            return
        found, more = list_elements(answer, self._client.api_url)
        if found and purpose.sample and child not in self._distrusted:
            self._distrusted.add(child)
            _logger.warning("%s: has rows where their parents say there are none; asking for every parent", child.path)
        for each in found:
            name = self._type_of(child, each)
            taken = self._take_object(unit, name, each, answer, purpose.columns)
            if parent is not None and taken is not None and not taken.object.independent:
                parent.children.setdefault((child.path, taken.object.name), []).append(taken.id)
        if not more or not child.paged:
            unit.open -= 1
            if parent is not None:
                parent.complete.add(child.path)
            return
        last = found[-1].get("id") if found else None
        if not isinstance(last, str) or last in purpose.cursors:
            raise EndlessListError(
                path=child.path,
                cursor=answer.request.parameters.get("starting_after", "none"),
                problem="no object with an id" if not isinstance(last, str) else "the same page again",
                api_url=self._client.api_url,
            )
        purpose.cursors.add(last)
        self._children.append(_child_request(purpose, last))

    def _deny_child(
        self, child: StripeList, answer: Answer
    ) -> Iterator[Change | WindowsMoved | ListClosed | ChildListDenied]:
        if child in self._denied_children:
            return
        reason = refusal_reason(answer)
        self._denied_children[child] = reason
        yield ChildListDenied(child=child, reason=reason, not_set_up=answer.verdict is Verdict.NOT_SET_UP)
        waiting, self._children = self._children, deque()
        for request in waiting:
            if isinstance(request.purpose, _ChildPurpose) and request.purpose.child is child:
                request.purpose.unit.open -= 1
                yield from self._deliver(request.purpose.unit.window)
            else:
                self._children.append(request)

    # Delivery

    def _deliver(self, window: _Window) -> Iterator[Change | WindowsMoved | ListClosed]:
        """Yield the units at the head of a window that are complete, then where the window stands."""
        root = window.root
        if window not in self._windows[root]:
            return
        moved = False
        while window.units and window.units[0].open == 0:
            unit = window.units.popleft()
            yield from unit.held
            for parent in reversed(unit.parents):
                if parent.read.object.name in self._selected:
                    yield self._with_children(parent)
            window.after = unit.last_id or window.after
            window.after_created = unit.last_created if unit.last_created is not None else window.after_created
            moved = True
        if window.exhausted and not window.units:
            self._windows[root].remove(window)
        elif self._may_go_on(window):
            self._request_page(window)
        if moved:
            yield WindowsMoved(root=root, windows=tuple(each.bookmark() for each in self._windows[root]))
        if not self._windows[root]:
            yield ListClosed(root=root)

    def _may_go_on(self, window: _Window) -> bool:
        return not window.exhausted and not window.requested and len(window.units) < _UNITS_AHEAD

    def _with_children(self, parent: _Parent) -> Change:
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


def refusal_reason(answer: Answer) -> str:
    """Return in a few words why Stripe refuses a list: the missing permission, or its message."""
    refusal = answer.refusal
    if refusal is None:
        return "refused without a reason"
    if refusal.permission:
        return f"the key lacks the permission {refusal.permission}"
    return refusal.message.split("\n", maxsplit=1)[0][:200].rstrip(".") or f"HTTP {refusal.status}"


def _window(root: StripeList, bookmark: OpenWindow) -> _Window:
    return _Window(
        root=root,
        parameters=dict(bookmark.parameters),
        start=bookmark.start,
        end=bookmark.end,
        after=bookmark.after,
        after_created=bookmark.after_created,
        cursor=bookmark.after,
        oldest=bookmark.after_created,
    )


def _child_request(purpose: _ChildPurpose, after: str | None) -> Request:
    parameters = dict(purpose.parameters)
    if after is not None:
        parameters["starting_after"] = after
    return Request(path=purpose.path, endpoint=purpose.child.path, parameters=parameters, purpose=purpose)


def _remember(memory: dict[tuple[str, str], None], identity: tuple[str, str]) -> None:
    """Add to a memory that forgets the oldest."""
    if len(memory) >= _REMEMBERED:
        del memory[next(iter(memory))]
    memory[identity] = None


def _quoted(identifier: str) -> str:
    return quote(identifier, safe="")
