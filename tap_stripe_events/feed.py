"""Source 2: /v1/events → changes. One reading of the feed serves all streams.

A *poll* reads newest first from `since` less the lookback, down to a page with nothing new. A whole one goes on to the
end of the stretch, a page at a time and without holding up later polls; that alone says that everything up to its
beginning is in, for an event can show up late. New events are folded (`fold`): one change for each object. The payload
of its newest event is the object, if it can be; otherwise the object is read again. An object and what belongs to it
are a unit, as a page of a list is, and `gather` treats both alike.

A stretch that holds too much for memory, after a long time without a poll, is cut into slices of time, oldest first;
each says for itself how far it got.

Invariants:
* one page of newest events is asked for at a time;
* `UpTo` comes when every unit that was begun before the end of a whole reading has been delivered.

Odd: Stripe's answer 404 to a re-read means that the object is gone, save for the few types that no path answers.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from tap_stripe_events import changes
from tap_stripe_events.announced import (
    announcement,
    brings_children,
    brought_by,
    carried,
    gone_after,
    only_expanded,
    owners,
    retrieval,
    told_lists,
)
from tap_stripe_events.changes import Change
from tap_stripe_events.client import Answer, Request, StripeClient, list_elements, refused
from tap_stripe_events.clock import iso
from tap_stripe_events.families import list_paths, only_of_connected, root_lists
from tap_stripe_events.fold import Announcement, Folded, Identity, Lookback
from tap_stripe_events.gather import ChildListDenied, Gather, Source, endless, refusal_reason
from tap_stripe_events.limits import Verdict
from tap_stripe_events.object_table import REFRESHES, STRIPE_OBJECTS
from tap_stripe_events.objects import EmbeddedList, stream_name
from tap_stripe_events.plan import RETENTION_SECONDS
from tap_stripe_events.request_queue import RequestQueue
from tap_stripe_events.shapes import StripeJson, reference_id
from tap_stripe_events.units import Cause, ChildPurpose, NeedPurpose, Unit
from tap_stripe_events.windows import PAGE

PATH = "/v1/events"

_LONGEST_SLICE_SECONDS = 86_400
_SLICE_EVENTS = 3000  # more than that makes the next slice shorter
_MOST_SLICE_EVENTS = 6000  # more than that, and the slice is begun anew and shorter: they are held in memory
_MOST_UNITS = 2000  # objects that wait for answers; with more, the next slice waits too
_MOST_WAITING = 10_000  # the same for the next poll
_NEEDS_SECONDS = 60  # how long a product that the account does not use is believed not to be used

_logger = logging.getLogger("tap-stripe-events.feed")


@dataclass(frozen=True, kw_only=True)
class Polled:
    """The feed was read, and what its new events themselves tell has been delivered; objects may still be read again.

    Attributes:
        new: How many events were new.
        names: The object types that they were about.
        deleted: Those of which an object was deleted.
    """

    new: int
    names: frozenset[str]
    deleted: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class UpTo:
    """Everything that Stripe announced up to a second has been delivered."""

    second: int


@dataclass(frozen=True, kw_only=True)
class StreamDenied:
    """Stripe does not let an object be read that an event told of."""

    name: str
    reason: str
    not_set_up: bool


@dataclass(frozen=True, kw_only=True)
class FeedDenied:
    """Stripe does not let the feed be read."""

    reason: str


Item: TypeAlias = Change | ChildListDenied | Polled | UpTo | StreamDenied | FeedDenied


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadPurpose:
    """One object, read because of an event.

    Attributes:
        unit: What the answer belongs to.
        name: The object's type.
        json: The object as the event showed it, for its key.
        told: The event, if it is the last word on the object as far as events tell.
    """

    unit: Unit
    name: str
    json: StripeJson
    told: Announcement | None = None

    @property
    def stream(self) -> str:
        """The stream to name in an error."""
        return stream_name(self.name)


@dataclass(kw_only=True, eq=False)
class _Stretch:
    """A stretch of the feed that is being read.

    Attributes:
        start: The first second of it.
        end: The second after the last one; None: it is open.
        whole: It is read to its end.
        as_of: The second in which its first page was asked for.
        read: The ids and seconds of its events, as Stripe lists them.
        new: What the events that were not read before announce.
        newest: The second of the newest announcement of each object.
        names: The object types that the new events are about.
        deleted: Those of which an object was deleted.
        count: How many events are new.
        secrets: It may hold what must not be stored.
    """

    start: int
    end: int | None
    whole: bool
    as_of: int | None = None
    read: dict[str, int] = field(default_factory=dict)
    new: list[Announcement] = field(default_factory=list)
    newest: dict[Identity, int] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    count: int = 0
    secrets: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class FeedPagePurpose:
    """A page of the feed."""

    stretch: _Stretch
    stream: str = "event"


class Feed:
    """Reads the feed, a poll at a time.

    Args:
        client: The way to Stripe; nothing is sent from here.
        selected: The object types whose rows are wanted.
        account_id: The account's id, None if the key may not know it.
        api_version: The version that rows are in.
        lookback: How many seconds are read again.
        floor: Nothing created before this Unix time is wanted, where a child list can say so.
        used: The object types of which the account has had rows; what is added later counts too.
        watch: Is told each new event.
    """

    def __init__(
        self,
        *,
        client: StripeClient,
        selected: Collection[str],
        account_id: str | None,
        api_version: str,
        lookback: int,
        floor: int | None = None,
        used: Collection[str] = (),
        watch: Callable[[StripeJson], None] | None = None,
    ) -> None:
        self._client = client
        self._watch = watch
        self._selected = frozenset(selected)
        self._used = used
        self._account_id = account_id
        self._api_version = api_version
        self._lookback_seconds = lookback
        self._floor = floor
        self._lookback = Lookback()
        # Object → the second as of which child lists of it were last told, and their paths. It may have changed since.
        self._lists_told: dict[Identity, tuple[int, frozenset[str]]] = {}
        self._children_told: set[tuple[Identity, str, int]] = set()  # parent, its list, the second of a child's event
        self._requests = RequestQueue()
        self._pages = RequestQueue()  # the rest of a whole reading can wait
        self._poll: _Stretch | None = None
        self._rest: _Stretch | None = None  # the whole reading whose older pages are still being read
        self._ends: list[tuple[int, set[Unit]]] = []  # seconds up to which all is read, and the units that stand before
        self._slices_from: int | None = None  # where the next slice begins; None: there is none
        self._slice_seconds = _LONGEST_SLICE_SECONDS
        self._units: dict[Unit, Identity] = {}  # what is not delivered yet, and the object that it is about
        self._in_order: dict[Identity, deque[Unit]] = {}  # the same by object, oldest first
        self._needs_doubted = 0
        self._unknown: set[str] = set()
        self._unexpandable: set[str] = set()
        self._ignored: frozenset[str] = frozenset()
        self._ignore(frozenset())

    @property
    def queues(self) -> tuple[RequestQueue, ...]:
        """What is to be asked for, most urgent first."""
        return (self._requests, self._gather.requests, self._pages)

    @property
    def polling(self) -> bool:
        """Whether a poll is under way, so that none can be begun."""
        return self._poll is not None or self._slices_from is not None

    @property
    def busy(self) -> bool:
        """Whether anything that was begun is not delivered yet."""
        return self.polling or self._rest is not None or bool(self._units)

    @property
    def ignored(self) -> frozenset[str]:
        """The object types of which events are left out: what a poll says is in is not in for these."""
        return self._ignored

    def _ignore(self, names: frozenset[str]) -> None:
        if not self._ignored <= names:  # what was left out of them has not been read
            self._lookback, self._lists_told, self._children_told = Lookback(), {}, set()
        self._ignored = names
        wanted = self._selected - names
        self._gather = Gather(
            client=self._client, selected=wanted, account_id=self._account_id, floor=self._floor, used=self._used
        )
        self._wanted = frozenset(name for name in STRIPE_OBJECTS if name not in names and wanted & brought_by(name))

    def begin(self, since: int, *, whole: bool, ignored: frozenset[str] = frozenset()) -> None:
        """Begin a poll, unless one is under way, or too much waits for answers.

        Nor is one begun if other types are to be ignored from now on, and anything is under way.

        What it brings ends with `Polled`, and if it is whole with `UpTo`.

        Args:
            since: Everything announced up to this Unix time is in.
            whole: Whether to read the whole stretch since then; otherwise down to a page with nothing new.
            ignored: The object types that Stripe does not let be read: events about these are left out.
        """
        if len(self._units) > _MOST_WAITING:
            return  # Stripe keeps the events meanwhile, and more of them will be about one object
        if ignored != self._ignored:
            if self.busy:
                return  # what is under way ends first, so that what it says is in is clear
            self._ignore(ignored)
        whole = whole and self._rest is None
        now = self._client.stripe_clock.second()
        start = max(since - self._lookback_seconds, now - RETENTION_SECONDS)
        self._forget(start)
        self._slices_from = None
        self._begin_stretch(start, None, whole=whole)

    def _forget(self, before: int) -> None:
        """Forget what is not read again."""
        self._lookback.forget(before)
        self._lists_told = {
            each: told for each, told in self._lists_told.items() if self._lookback.second_of(each) is not None
        }
        self._children_told = {each for each in self._children_told if each[2] >= before}

    def _begin_slice(self) -> None:
        start = self._slices_from
        assert start is not None  # noqa: S101 - called only while there is a slice
        self._forget(start - self._lookback_seconds)
        end = start + self._slice_seconds
        if end >= self._client.stripe_clock.second() - self._lookback_seconds:
            self._slices_from = None
            self._begin_stretch(start, None, whole=True)
        else:
            self._slices_from = end
            self._begin_stretch(start, end, whole=True)

    def _begin_stretch(self, start: int, end: int | None, *, whole: bool) -> None:
        now = self._client.stripe_clock.second()
        doubt_needs = now - self._needs_doubted >= _NEEDS_SECONDS
        if doubt_needs:
            self._needs_doubted = now
        self._gather.children.begin_poll(doubt_needs=doubt_needs)
        self._poll = _Stretch(start=start, end=end, whole=whole)
        self._request_page(self._poll, None)

    def _request_page(self, stretch: _Stretch, after: str | None) -> None:
        parameters: dict[str, Any] = {"limit": PAGE, "created[gte]": stretch.start}
        if stretch.end is not None:
            parameters["created[lt]"] = stretch.end
        if after is not None:
            parameters["starting_after"] = after
        reason = "lookback" if stretch.whole else "polls"
        purpose = FeedPagePurpose(stretch=stretch)
        request = Request(path=PATH, endpoint=PATH, parameters=parameters, purpose=purpose, reason=reason)
        if stretch is self._rest:
            self._pages.append(request)
        else:
            self._requests.appendleft(request)  # what is new does not wait for what must be read again

    # Answers

    def take(self, answer: Answer) -> Iterator[Item]:
        """Take an answer, and yield what can be delivered with it.

        Raises:
            TapError: The run cannot go on.
        """
        match answer.request.purpose:
            case FeedPagePurpose(stretch=stretch):
                yield from self._take_page(stretch, answer)
            case ReadPurpose() as purpose:
                yield from self._take_object(purpose, answer)
                yield from self._deliver([purpose.unit])
            case ChildPurpose() | NeedPurpose():
                taken = self._gather.take(answer)
                yield from taken.items
                yield from self._deliver(taken.units)

    def _take_page(self, stretch: _Stretch, answer: Answer) -> Iterator[Item]:
        if stretch is not self._poll and stretch is not self._rest:
            return  # the feed was refused while this page was on its way
        match answer.verdict:
            case Verdict.TAKE:
                yield from self._take_events(stretch, answer)
            case Verdict.CURSOR_GONE:  # the event under the cursor has aged out, and with it all older ones
                yield from self._end(stretch)
            case Verdict.DENIED | Verdict.NOT_SET_UP:
                self._poll = self._rest = self._slices_from = None
                yield FeedDenied(reason=refusal_reason(answer))
            case _:
                raise refused(answer.request, answer.refusal)

    def _take_events(self, stretch: _Stretch, answer: Answer) -> Iterator[Item]:
        found, more = list_elements(answer, self._client.api_url)
        if stretch.as_of is None:
            stretch.as_of = answer.as_of
        stretch.secrets |= answer.secrets
        length, news = len(stretch.read), stretch.count
        last = None
        for event in found:
            last = yield from self._take_listed(stretch, event, answer)
        news = stretch.count - news
        if not more:
            yield from self._end(stretch)
        elif last is None:
            raise endless(answer, "no event, although there are more", self._client.api_url)
        elif len(stretch.read) == length:
            raise endless(answer, f"the same page again, ending with {last}", self._client.api_url)
        elif stretch is self._rest:
            yield from self._fold(stretch)
            self._request_page(stretch, last)
        elif not news:
            yield from self._pause(stretch, last)
        elif stretch.count >= _MOST_SLICE_EVENTS and (seconds := self._shorter(stretch)):
            self._slices_from, self._slice_seconds = stretch.start, seconds
            self._begin_slice()
        else:
            self._request_page(stretch, last)

    def _take_listed(self, stretch: _Stretch, event: StripeJson, answer: Answer) -> Generator[Item, None, str]:
        """Take an event as it is listed, which may have been read before; return its id."""
        event_id, created = event.get("id"), event.get("created")
        if not isinstance(event_id, str) or not isinstance(created, int):
            raise endless(answer, "an event without id or time", self._client.api_url)
        if event_id not in stretch.read:
            stretch.read[event_id] = created
            if self._lookback.is_new(event_id):
                stretch.count += 1
                yield from self._take_event(stretch, event, answer)
        return event_id

    def _pause(self, stretch: _Stretch, last: str) -> Iterator[Item]:
        """End a poll at a page with nothing new; a whole reading goes on behind, for what shows up late."""
        yield from self._fold(stretch)
        self._poll = None
        if stretch.whole:
            self._rest = stretch
            self._request_page(stretch, last)
        yield from self._polled(stretch)

    def _end(self, stretch: _Stretch) -> Iterator[Item]:
        """Take in that a stretch has been read to its end."""
        yield from self._fold(stretch)
        second = stretch.end if stretch.end is not None else stretch.as_of
        if second is not None:
            self._ends.append((second, set(self._units)))
        if stretch is self._rest:
            self._rest = None
        else:
            self._poll = None
            if self._slices_from is not None:
                self._fit_slice(stretch.count)
                self._go_on()
        yield from self._polled(stretch)
        yield from self._reached()

    def _polled(self, stretch: _Stretch) -> Iterator[Item]:
        yield Polled(new=stretch.count, names=frozenset(stretch.names), deleted=frozenset(stretch.deleted))
        stretch.names.clear()
        stretch.deleted.clear()

    def _fit_slice(self, count: int) -> None:
        if count > _SLICE_EVENTS:
            self._slice_seconds = max(1, self._slice_seconds // 2)
        elif count < _SLICE_EVENTS // 4:
            self._slice_seconds = min(_LONGEST_SLICE_SECONDS, self._slice_seconds * 2)

    def _go_on(self) -> None:
        """Begin the next slice, if the memory is not full of what waits for answers."""
        if self._slices_from is not None and self._poll is None and len(self._units) <= _MOST_UNITS:
            self._begin_slice()

    def _shorter(self, stretch: _Stretch) -> int:
        """Return the length of a slice to read instead of one that is too full; 0 if it cannot be shorter."""
        end = stretch.end if stretch.end is not None else self._client.stripe_clock.second() + 1
        return (end - stretch.start) // 8

    def _take_event(self, stretch: _Stretch, event: StripeJson, answer: Answer) -> Iterator[Item]:
        """Take a new event: its own row, and what it announces."""
        if "event" in self._selected and "event" not in self._ignored:
            row = changes.read(event, "event", as_of=iso(answer.as_of), secrets=answer.secrets)
            if row is not None:
                yield row.change
        if self._account_id is not None and event.get("account") not in {None, self._account_id}:
            return  # it happened in a connected account
        if self._watch is not None:
            self._watch(event)
        found = carried(event)
        if found is None or (found[0] not in STRIPE_OBJECTS and found[0] not in REFRESHES):
            self._log_without_row(event, found[0] if found else "nothing known")
            stretch.names.update(found[:1] if found else ())  # it may hint at a list all the same
            return
        if self._is_own_accounts(*found):
            return
        announced = announcement(event, *found)
        if announced is None:
            return
        name = announced.identity[0]
        stretch.names.add(name)
        if announced.type in gone_after(announced):
            stretch.deleted.add(name)
        if name not in self._wanted and name not in REFRESHES:
            return
        newest = stretch.newest.setdefault(announced.identity, announced.created)
        stretch.newest[announced.identity] = max(newest, announced.created)
        # Of what is not the newest, only that it happened is of use: the payloads of a busy hour would fill the memory.
        stretch.new.append(replace(announced, json={}) if announced.created < newest else announced)

    def _is_own_accounts(self, name: str, json_object: StripeJson) -> bool:
        """Whether an object is one's own account's, and of a type that is listed of connected ones only.

        Its row would be there from one event to the next listing.
        """
        own = self._account_id is not None and json_object.get("account") == self._account_id
        return own and name in only_of_connected()

    def _log_without_row(self, event: StripeJson, name: str) -> None:
        kind = f"{str(event.get('type'))[:80]} ({name[:60]})"
        if kind not in self._unknown:
            self._unknown.add(kind)
            _logger.info("Events %s carry no object that has a table: they are only rows of event", kind)

    # What to do about them

    def _fold(self, stretch: _Stretch) -> Iterator[Item]:
        """Fold what a stretch has brought so far, and begin what comes of it."""
        folded = self._lookback.fold(stretch.new, list(stretch.read))
        for event_id, second in stretch.read.items():
            self._lookback.note(event_id, second)
        stretch.new = []
        before = set(self._units)
        doubted = self._lists_in_doubt(folded)
        # Several objects may lead to one child list, which is asked for once: from where any of them has news.
        since = min((each.since for each in folded), default=0) - self._lookback_seconds
        for each in sorted(folded, key=lambda each: each.newest.created):
            again = doubted.get(each.newest.identity, frozenset())
            if self._begin_unit(each, since, again, secrets=stretch.secrets):
                doubted.pop(each.newest.identity, None)
        for identity, paths in doubted.items():
            self._read_parent(identity, since, paths)
        yield from self._deliver([unit for unit in self._units if unit not in before])

    def _begin_unit(self, folded: Folded, since: int, again: frozenset[str], *, secrets: bool) -> bool:
        """Begin what events about an object lead to; return whether its lists that are in doubt are read by that."""
        newest = folded.newest
        name = newest.identity[0]
        cause = Cause(
            as_of=newest.created * 1000 + 999,
            since=since,
            changed=folded.changed,
            again=again,
        )
        if name in REFRESHES:
            refresh = REFRESHES[name]
            also = replace(cause, also=frozenset({refresh.path}))
            self._read_again(
                (refresh.of, newest.identity[1]), {"id": newest.identity[1]}, also, "events that name a list"
            )
            return True
        if folded.late:
            if not brings_children(name, folded.changed):
                return False
            reason: str | None = "late events"
        else:
            reason = self._why_read_again(folded)
        if reason is not None and self._path(name, newest.json) is not None:
            told = newest if folded.first and not folded.late else None
            self._read_again(newest.identity, newest.json, cause, reason, told=told)
            return True
        if folded.late or not folded.first:
            return False  # nobody can say more than the event that was listed before it
        self._take_told(self._unit(newest.identity, cause), newest, secrets=secrets)
        return True

    def _take_told(self, unit: Unit, told: Announcement, *, secrets: bool) -> None:
        """Put into the unit what an event itself tells of its object."""
        name = told.identity[0]
        if told.type in gone_after(told):
            self._gather.take_gone(unit, name, self._key(name, told.json), unit.as_of(0))
            return
        source = Source(as_of=unit.as_of(0), secrets=secrets)
        read = self._gather.take_object(unit, name, told.json, source, self._gather.own_key(name))
        if read is not None and read.lists:
            self._note_lists(told.identity, told.created, [each for each, _ in read.lists])

    def _note_lists(self, identity: Identity, second: int, lists: Collection[EmbeddedList]) -> None:
        """Remember which child lists of an object are told as of a second, unless newer ones are."""
        if second >= self._lists_told.get(identity, (second, ()))[0]:
            self._lists_told[identity] = (second, frozenset(each.completed_by or "" for each in lists))

    def _why_read_again(self, folded: Folded) -> str | None:
        """Return why an event's payload is not the object; None if it is."""
        newest = folded.newest
        if folded.tied:
            return "ties"
        if newest.type in gone_after(newest):
            return None
        if newest.type in STRIPE_OBJECTS[newest.identity[0]].doubtful_after:
            return "doubtful deletions"
        if newest.version != self._api_version:
            return "versions"
        fields = only_expanded(newest.identity[0])
        if any(each not in newest.json for each in fields):
            return "expansions"
        return None

    def _lists_in_doubt(self, folded: list[Folded]) -> dict[Identity, frozenset[str]]:
        """Return by parent the lists which an event of a child in the same second puts in doubt.

        Which came first, nobody can say; so the list is read again.
        """
        found = {
            ((owner, reference_id(each.newest.json.get(stream_name(owner))) or ""), path, each.newest.created)
            for each in folded
            for owner, path in owners(each.newest.identity[0])
        }
        self._children_told |= found
        doubted: dict[Identity, frozenset[str]] = {}
        for identity, path, second in found:
            told_at, paths = self._lists_told.get(identity, (0, frozenset()))
            if told_at == second and path in paths:
                doubted[identity] = doubted.get(identity, frozenset()) | {path}
        for parent in (each.newest for each in folded):
            for path in told_lists(parent):
                if (parent.identity, path, parent.created) in self._children_told:
                    doubted[parent.identity] = doubted.get(parent.identity, frozenset()) | {path}
        return doubted

    def _read_parent(self, identity: Identity, since: int, paths: frozenset[str]) -> None:
        second = self._lookback.second_of(identity)
        assert second is not None  # noqa: S101 - that is how it came to be in doubt
        cause = Cause(as_of=second * 1000 + 999, since=since, again=paths)
        self._read_again(identity, {"id": identity[1]}, cause, "ties")

    # Reading again

    def _unit(self, identity: Identity, cause: Cause, *, waits: bool = False) -> Unit:
        unit = Unit(cause=cause, open=int(waits))
        self._units[unit] = identity
        self._in_order.setdefault(identity, deque()).append(unit)
        return unit

    def _read_again(
        self,
        identity: Identity,
        json_object: StripeJson,
        cause: Cause,
        reason: str,
        *,
        told: Announcement | None = None,
    ) -> None:
        name = identity[0]
        found = self._path(name, json_object)
        if found is None or name not in self._wanted:
            return
        path, endpoint = found
        unit = self._unit(identity, cause, waits=True)
        # What is read in the second of its event counts as that event, and a child's event may follow in that second.
        self._note_lists(identity, cause.as_of // 1000, STRIPE_OBJECTS[name].embedded)
        parameters: dict[str, Any] = {"limit": PAGE} if endpoint in list_paths() else {}
        if name not in self._unexpandable and (expand := self._gather.children.expand_one(name)):
            parameters["expand[]"] = expand
        purpose = ReadPurpose(unit=unit, name=name, json=json_object, told=told)
        self._requests.append(
            Request(path=path, endpoint=endpoint, parameters=parameters, purpose=purpose, reason=reason)
        )

    def _path(self, name: str, json_object: StripeJson) -> tuple[str, str] | None:
        """Return the path that answers an object, and the path's form; None if none does."""
        if self._account_id is not None and json_object.get("id") == self._account_id:
            for root in root_lists():
                if root.single and name in root.objects:
                    return root.path, root.path  # the account itself is not one of its connected accounts
        return retrieval(STRIPE_OBJECTS[name], json_object)

    def _take_object(self, purpose: ReadPurpose, answer: Answer) -> Iterator[Item]:
        unit, name = purpose.unit, purpose.name
        match answer.verdict:
            case Verdict.TAKE:
                source = Source(as_of=unit.as_of(answer.as_of), secrets=answer.secrets)
                key = self._key(name, purpose.json)
                columns = {column: value for column, value in key.items() if column != "id"}
                # What has no path of its own may be in a list.
                for each in changes.elements(answer.body) if answer.body.get("object") == "list" else [answer.body]:
                    self._gather.take_object(unit, name, each, source, columns)
            case Verdict.GONE:
                self._gather.take_gone(unit, name, self._key(name, purpose.json), unit.as_of(answer.as_of))
            case Verdict.DENIED | Verdict.NOT_EXPANDABLE if "expand[]" in answer.request.parameters:
                self._unexpandable.add(name)
                plain = {key: each for key, each in answer.request.parameters.items() if key != "expand[]"}
                self._requests.append(replace(answer.request, parameters=plain))
                return
            case Verdict.NOT_SET_UP if purpose.told is not None:
                self._take_told(unit, purpose.told, secrets=True)  # no path answers it: the event is all there is
            case Verdict.DENIED | Verdict.NOT_SET_UP:
                not_set_up = answer.verdict is Verdict.NOT_SET_UP
                yield StreamDenied(name=name, reason=refusal_reason(answer), not_set_up=not_set_up)
            case _:
                raise refused(answer.request, answer.refusal)
        unit.open -= 1

    def _key(self, name: str, json_object: StripeJson) -> dict[str, str]:
        values = changes.key_values(name, json_object) or ()
        known = dict(zip(STRIPE_OBJECTS[name].key, values, strict=False))
        own = self._gather.own_key(name)
        return {column: value or own.get(column, "") for column, value in known.items()}

    # Delivery

    def _deliver(self, units: Collection[Unit]) -> Iterator[Item]:
        """Yield what is complete, and how far all is in by that."""
        done: list[Unit] = []
        for identity in dict.fromkeys(self._units[unit] for unit in units if unit in self._units):
            in_order = self._in_order[identity]  # two may count as of the same moment, and then the later one is right
            while in_order and in_order[0].open == 0:
                unit = in_order.popleft()
                del self._units[unit]
                done.append(unit)
                yield from self._gather.contents(unit)
            if not in_order:
                del self._in_order[identity]
        for _, before in self._ends:
            before.difference_update(done)
        if done:
            self._go_on()
            yield from self._reached()

    def _reached(self) -> Iterator[Item]:
        """Yield up to when everything is in, if no unit stands before that any more."""
        while self._ends and not self._ends[0][1]:
            yield UpTo(second=self._ends.pop(0)[0])
