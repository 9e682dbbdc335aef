"""Source 2: /v1/events → changes. One reading of the feed serves all streams.

A *poll* reads newest first from `since` less the lookback: down to a page with nothing new, or the whole stretch, which
alone says that everything up to its beginning is in. New events are folded (`fold`): one change for each object. The
payload of its newest event is the object, if it can be; otherwise the object is read again. An object and what belongs
to it are a unit, as a page of a list is, and `gather` treats both alike.

After a long time without a poll the stretch is cut into slices of time, oldest first, so that each is small enough for
memory and says for itself how far it got.

Odd: Stripe's answer 404 to a re-read means that the object is gone, save for the few types that no path answers.
"""

import logging
import re
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeAlias
from urllib.parse import quote

from tap_stripe_events import changes
from tap_stripe_events.changes import Change, StripeJson
from tap_stripe_events.client import Answer, Request, StripeClient, list_elements, refused
from tap_stripe_events.clock import iso
from tap_stripe_events.families import asks_of, root_lists
from tap_stripe_events.fold import Announcement, Folded, Identity, Lookback
from tap_stripe_events.gather import ChildListDenied, Gather, Source, endless, refusal_reason
from tap_stripe_events.limits import Verdict
from tap_stripe_events.object_table import REFRESHES, STRIPE_OBJECTS
from tap_stripe_events.objects import StripeObject, stream_name
from tap_stripe_events.plan import RETENTION_SECONDS
from tap_stripe_events.units import Cause, ChildPurpose, NeedPurpose, Unit

PATH = "/v1/events"

_PAGE = 100
_SHORT_SECONDS = 900  # what is not longer is read in one piece
_SLICE_SECONDS = 3600  # the first slice of a longer stretch
_LONGEST_SLICE_SECONDS = 86_400
_SLICE_EVENTS = 3000  # more than that makes the next slice shorter
_MOST_SLICE_EVENTS = 6000  # more than that, and the slice is begun anew and shorter: they are held in memory
_NEEDS_SECONDS = 60  # how long a product that the account does not use is believed not to be used

_PLACEHOLDER = re.compile(r"{(\w+)}")

_logger = logging.getLogger("tap-stripe-events.feed")


@dataclass(frozen=True, kw_only=True)
class Polled:
    """A stretch of the feed was read, and all that it says has been delivered.

    Attributes:
        as_of: Everything that Stripe announced up to this second is in; None if only what is new was looked for.
        new: How many events were new.
        names: The object types that they were about.
        deleted: Those of which an object was deleted.
    """

    as_of: int | None
    new: int
    names: frozenset[str]
    deleted: frozenset[str]


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


Item: TypeAlias = Change | ChildListDenied | Polled | StreamDenied | FeedDenied


@dataclass(frozen=True, kw_only=True, eq=False)
class FeedPagePurpose:
    """A page of the feed."""

    stream: str = "event"


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadPurpose:
    """One object, read because of an event.

    Attributes:
        unit: What the answer belongs to.
        name: The object's type.
        json: The object as the event showed it, for its key.
    """

    unit: Unit
    name: str
    json: StripeJson

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
        folded: All pages have been read, and what they amount to is under way.
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
    folded: bool = False


class Feed:
    """Reads the feed, a poll at a time.

    Args:
        client: The way to Stripe; nothing is sent from here.
        selected: The object types whose rows are wanted.
        account_id: The account's id, None if the key may not know it.
        api_version: The version that rows are in.
        lookback: How many seconds are read again.
        floor: Nothing created before this Unix time is wanted, where a child list can say so.
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
    ) -> None:
        self._client = client
        self._selected = frozenset(selected)
        self._account_id = account_id
        self._api_version = api_version
        self._lookback_seconds = lookback
        self._floor = floor
        self._lookback = Lookback()
        self._lists_told: dict[Identity, frozenset[str]] = {}  # object → child lists that its newest event held
        self._requests: deque[Request] = deque()
        self._stretch: _Stretch | None = None
        self._slices_from: int | None = None  # where the next slice begins; None: there is none
        self._slices_since = 0
        self._slice_seconds = _SLICE_SECONDS
        self._units: set[Unit] = set()
        self._needs_doubted = 0
        self._unknown: set[str] = set()
        self._unexpandable: set[str] = set()
        self._ignore(frozenset())

    @property
    def queues(self) -> tuple[deque[Request], ...]:
        """What is to be asked for, most urgent first."""
        return (self._requests, self._gather.requests)

    @property
    def polling(self) -> bool:
        """Whether a poll is under way."""
        return self._stretch is not None

    def _ignore(self, names: frozenset[str]) -> None:
        self._ignored = names
        wanted = self._selected - names
        self._gather = Gather(client=self._client, selected=wanted, account_id=self._account_id, floor=self._floor)
        self._wanted = frozenset(name for name in STRIPE_OBJECTS if name not in names and wanted & _brought_by(name))

    def begin(self, since: int, *, whole: bool, ignored: frozenset[str] = frozenset()) -> None:
        """Begin a poll. It has ended when `polling` is false again.

        Args:
            since: Everything announced up to this Unix time is in.
            whole: Whether to read the whole stretch since then; otherwise down to a page with nothing new.
            ignored: The object types that Stripe does not let be read: events about these are left out.
        """
        if ignored != self._ignored:
            self._ignore(ignored)
        now = self._client.stripe_clock.second()
        start = max(since - self._lookback_seconds, now - RETENTION_SECONDS)
        self._lookback.forget(start)
        self._lists_told = {
            each: paths for each, paths in self._lists_told.items() if self._lookback.second_of(each) is not None
        }
        doubt_needs = now - self._needs_doubted >= _NEEDS_SECONDS
        if doubt_needs:
            self._needs_doubted = now
        self._gather.children.begin_poll(doubt_needs=doubt_needs)
        if whole and now - start > _SHORT_SECONDS:
            self._slices_from, self._slice_seconds = start, _SLICE_SECONDS
            self._begin_slice()
        else:
            self._slices_from = None
            self._begin_stretch(start, None, whole=whole)

    def _begin_slice(self) -> None:
        start = self._slices_from
        assert start is not None  # noqa: S101 - called only while there is a slice
        end = start + self._slice_seconds
        if end >= self._client.stripe_clock.second() - self._lookback_seconds:
            self._slices_from = None
            self._begin_stretch(start, None, whole=True)
        else:
            self._slices_from = end
            self._begin_stretch(start, end, whole=True)

    def _begin_stretch(self, start: int, end: int | None, *, whole: bool) -> None:
        self._stretch = _Stretch(start=start, end=end, whole=whole)
        self._request_page(self._stretch, None)

    def _request_page(self, stretch: _Stretch, after: str | None) -> None:
        parameters: dict[str, Any] = {"limit": _PAGE, "created[gte]": stretch.start}
        if stretch.end is not None:
            parameters["created[lt]"] = stretch.end
        if after is not None:
            parameters["starting_after"] = after
        reason = "lookback" if stretch.whole else "polls"
        purpose = FeedPagePurpose()
        self._requests.append(Request(path=PATH, endpoint=PATH, parameters=parameters, purpose=purpose, reason=reason))

    # Answers

    def take(self, answer: Answer) -> Iterator[Item]:
        """Take an answer, and yield what can be delivered with it.

        Raises:
            TapError: The run cannot go on.
        """
        match answer.request.purpose:
            case FeedPagePurpose():
                yield from self._take_page(answer)
            case ReadPurpose() as purpose:
                yield from self._take_object(purpose, answer)
                yield from self._deliver([purpose.unit])
            case ChildPurpose() | NeedPurpose():
                taken = self._gather.take(answer)
                yield from taken.items
                yield from self._deliver(taken.units)

    def _take_page(self, answer: Answer) -> Iterator[Item]:
        stretch = self._stretch
        assert stretch is not None  # noqa: S101 - pages are asked for by a poll only, one at a time
        match answer.verdict:
            case Verdict.TAKE:
                yield from self._take_events(stretch, answer)
            case Verdict.CURSOR_GONE:  # the event under the cursor has aged out, and with it all older ones
                yield from self._fold(stretch, reached_end=True)
            case Verdict.DENIED | Verdict.NOT_SET_UP:
                self._stretch, self._slices_from = None, None
                yield FeedDenied(reason=refusal_reason(answer))
            case _:
                raise refused(answer.request, answer.refusal)

    def _take_events(self, stretch: _Stretch, answer: Answer) -> Iterator[Item]:
        found, more = list_elements(answer, self._client.api_url)
        if stretch.as_of is None:
            stretch.as_of = answer.as_of
        stretch.secrets |= answer.secrets
        news = repeated = 0
        last = None
        for event in found:
            last, created = event.get("id"), event.get("created")
            if not isinstance(last, str) or not isinstance(created, int):
                raise endless(answer, "an event without id or time", self._client.api_url)
            if last in stretch.read:
                repeated += 1
                continue
            stretch.read[last] = created
            if self._lookback.is_new(last):
                news += 1
                yield from self._take_event(stretch, event, answer)
        stretch.count += news
        if not more or last is None or (not stretch.whole and not news):
            yield from self._fold(stretch, reached_end=not more)
        elif repeated == len(found):
            raise endless(answer, f"the same page again, ending with {last}", self._client.api_url)
        elif stretch.count >= _MOST_SLICE_EVENTS and (seconds := self._shorter(stretch)):
            self._slices_from, self._slice_seconds = stretch.start, seconds
            self._begin_slice()
        else:
            self._request_page(stretch, last)

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
        announced = self._announcement(event)
        if announced is None:
            return
        name = announced.identity[0]
        stretch.names.add(name)
        if announced.type in _gone_after(announced):
            stretch.deleted.add(name)
        if name not in self._wanted and name not in REFRESHES:
            return
        newest = stretch.newest.setdefault(announced.identity, announced.created)
        stretch.newest[announced.identity] = max(newest, announced.created)
        # Of what is not the newest, only that it happened is of use: the payloads of a busy hour would fill the memory.
        stretch.new.append(replace(announced, json={}) if announced.created < newest else announced)

    def _announcement(self, event: StripeJson) -> Announcement | None:
        """Return what an event is about; None if that has no row."""
        if self._account_id is not None and event.get("account") not in {None, self._account_id}:
            return None  # it happened in a connected account
        wrapped = event.get("data")
        carried = wrapped.get("object") if isinstance(wrapped, dict) else None
        name = carried.get("object") if isinstance(carried, dict) else None
        if not isinstance(wrapped, dict) or not isinstance(carried, dict) or not isinstance(name, str):
            self._log_without_row(event, "nothing known")
            return None
        if name in REFRESHES:
            key: tuple[str, ...] | None = (changes.reference_id(carried.get(REFRESHES[name].by)) or "",)
        elif name in STRIPE_OBJECTS:
            key = changes.key_values(name, carried)
        else:
            self._log_without_row(event, name)
            return None
        if key is None:
            return None  # such as the invoice that is only to come
        before = wrapped.get("previous_attributes")
        version = event.get("api_version")
        return Announcement(
            id=event["id"],
            type=str(event.get("type")),
            created=event["created"],
            version=version if isinstance(version, str) else None,
            identity=(name, *key),
            json=carried,
            changed=frozenset(before) if isinstance(before, dict) else None,
        )

    def _log_without_row(self, event: StripeJson, name: str) -> None:
        kind = f"{str(event.get('type'))[:80]} ({name[:60]})"
        if kind not in self._unknown:
            self._unknown.add(kind)
            _logger.info("Events %s carry no object that has a table: they are only rows of event", kind)

    # What to do about them

    def _fold(self, stretch: _Stretch, *, reached_end: bool) -> Iterator[Item]:
        stretch.whole = reached_end
        stretch.folded = True
        folded = self._lookback.fold(stretch.new, list(stretch.read))
        for event_id, second in stretch.read.items():
            self._lookback.note(event_id, second)
        stretch.new = []
        doubted = self._lists_in_doubt(folded)
        for each in sorted(folded, key=lambda each: each.newest.created):
            self._begin_unit(each, doubted.pop(each.newest.identity, frozenset()), secrets=stretch.secrets)
        for identity, paths in doubted.items():
            self._read_parent(identity, paths, folded)
        yield from self._deliver(list(self._units))

    def _begin_unit(self, folded: Folded, again: frozenset[str], *, secrets: bool) -> None:
        newest = folded.newest
        name = newest.identity[0]
        cause = Cause(
            as_of=newest.created * 1000 + 999,
            since=folded.since - self._lookback_seconds,
            changed=folded.changed,
            again=again,
        )
        if name in REFRESHES:
            refresh = REFRESHES[name]
            also = replace(cause, also=frozenset({refresh.path}))
            self._read_again(refresh.of, {"id": newest.identity[1]}, also, "events that name a list")
            return
        if folded.late:
            if not _brings_children(name, folded.changed):
                return
            reason: str | None = "late events"
        else:
            reason = self._why_read_again(folded)
        if reason is not None and self._path(name, newest.json) is not None:
            self._read_again(name, newest.json, cause, reason)
            return
        if folded.late or not folded.first:
            return  # nobody can say more than the event that was listed before it
        unit = Unit(cause=cause)
        self._units.add(unit)
        if newest.type in _gone_after(newest):
            self._gather.take_gone(unit, name, self._key(name, newest.json), unit.as_of(0))
            return
        source = Source(as_of=unit.as_of(0), secrets=secrets)
        read = self._gather.take_object(unit, name, newest.json, source, self._gather.own_key(name))
        if read is not None and read.lists:
            self._lists_told[newest.identity] = frozenset(each.completed_by or "" for each, _ in read.lists)

    def _why_read_again(self, folded: Folded) -> str | None:
        """Return why an event's payload is not the object; None if it is."""
        newest = folded.newest
        if folded.tied:
            return "ties"
        if newest.type in _gone_after(newest):
            return None
        if newest.version != self._api_version:
            return "versions"
        fields = _only_expanded(newest.identity[0])
        if any(each not in newest.json for each in fields):
            return "expansions"
        return None

    def _lists_in_doubt(self, folded: list[Folded]) -> dict[Identity, frozenset[str]]:
        """Return by parent the lists which an event of a child in the same second puts in doubt.

        Which came first, nobody can say; so the list is read again.
        """
        told = {each.newest.identity: each.newest.created for each in folded if _told_lists(each.newest)}
        doubted: dict[Identity, frozenset[str]] = {}
        for each in folded:
            for owner, path in _owners(each.newest.identity[0]):
                parent = changes.reference_id(each.newest.json.get(stream_name(owner)))
                identity: Identity = (owner, parent or "")
                earlier = path in self._lists_told.get(identity, ()) and self._lookback.second_of(identity)
                if each.newest.created in {told.get(identity), earlier}:
                    doubted[identity] = doubted.get(identity, frozenset()) | {path}
        return doubted

    def _read_parent(self, identity: Identity, paths: frozenset[str], folded: list[Folded]) -> None:
        second = self._lookback.second_of(identity)
        assert second is not None  # noqa: S101 - that is how it came to be in doubt
        since = min(each.since for each in folded) - self._lookback_seconds
        cause = Cause(as_of=second * 1000 + 999, since=since, again=paths)
        self._read_again(identity[0], {"id": identity[1]}, cause, "ties")

    # Reading again

    def _read_again(self, name: str, json_object: StripeJson, cause: Cause, reason: str) -> None:
        found = self._path(name, json_object)
        if found is None or name not in self._wanted:
            return
        path, endpoint = found
        unit = Unit(cause=cause, open=1)
        self._units.add(unit)
        parameters: dict[str, Any] = {}
        if name not in self._unexpandable and (expand := self._gather.children.expand_one(name)):
            parameters["expand[]"] = expand
        purpose = ReadPurpose(unit=unit, name=name, json=json_object)
        self._requests.append(
            Request(path=path, endpoint=endpoint, parameters=parameters, purpose=purpose, reason=reason)
        )

    def _path(self, name: str, json_object: StripeJson) -> tuple[str, str] | None:
        """Return the path that answers an object, and the path's form; None if none does."""
        if self._account_id is not None and json_object.get("id") == self._account_id:
            for root in root_lists():
                if root.single and name in root.objects:
                    return root.path, root.path  # the account itself is not one of its connected accounts
        return _retrieval(STRIPE_OBJECTS[name], json_object)

    def _take_object(self, purpose: ReadPurpose, answer: Answer) -> Iterator[Item]:
        unit, name = purpose.unit, purpose.name
        match answer.verdict:
            case Verdict.TAKE:
                source = Source(as_of=unit.as_of(answer.as_of), secrets=answer.secrets)
                key = {**self._key(name, purpose.json), **self._gather.own_key(name)}
                columns = {column: value for column, value in key.items() if column != "id"}
                self._gather.take_object(unit, name, answer.body, source, columns)
            case Verdict.GONE:
                self._gather.take_gone(unit, name, self._key(name, purpose.json), unit.as_of(answer.as_of))
            case Verdict.DENIED | Verdict.NOT_EXPANDABLE if "expand[]" in answer.request.parameters:
                self._unexpandable.add(name)
                self._requests.append(replace(answer.request, parameters={}))
                return
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
        """Yield what is complete; when nothing is open any more, the stretch is in."""
        for unit in units:
            if unit in self._units and unit.open == 0:
                self._units.discard(unit)
                yield from self._gather.contents(unit)
        stretch = self._stretch
        if stretch is None or not stretch.folded or self._units:
            return
        self._stretch = None
        if self._slices_from is not None:
            if stretch.count > _SLICE_EVENTS:
                self._slice_seconds = max(1, self._slice_seconds // 2)
            elif stretch.count < _SLICE_EVENTS // 4:
                self._slice_seconds = min(_LONGEST_SLICE_SECONDS, self._slice_seconds * 2)
            self._begin_slice()
        as_of = stretch.as_of if stretch.end is None else stretch.end
        yield Polled(
            as_of=as_of if stretch.whole else None,
            new=stretch.count,
            names=frozenset(stretch.names),
            deleted=frozenset(stretch.deleted),
        )


def _gone_after(announced: Announcement) -> Collection[str]:
    """Return the event types after which an object is gone."""
    stripe_object = STRIPE_OBJECTS.get(announced.identity[0])
    if stripe_object is None:
        return ()
    identifier = announced.identity[-1]
    return (
        *stripe_object.deleted_by,
        *(event for event, begins in stripe_object.gone_after.items() if identifier.startswith(begins)),
    )


def _retrieval(stripe_object: StripeObject, json_object: StripeJson) -> tuple[str, str] | None:
    """Return the path that answers an object, and the path's form; None if none does."""
    if str(json_object.get("id", "")).startswith(stripe_object.not_retrieved):
        return None
    for form in stripe_object.retrieve:
        names = _PLACEHOLDER.findall(form)
        values = {name: changes.reference_id(json_object.get(name)) for name in names}
        if None not in values.values():
            path = _PLACEHOLDER.sub(lambda match: quote(values[match[1]] or "", safe=""), form)  # noqa: B023 - used at once
            return path, form
    return None


@cache
def _brought_by(name: str) -> frozenset[str]:
    """Return the types of which an object of this type can bring rows when an event tells of it."""
    stripe_object = STRIPE_OBJECTS[name]
    return frozenset(
        {
            name,
            *stripe_object.dependents.values(),
            *(child for each in stripe_object.embedded for child in each.objects),
            *(child for _, each in asks_of(name, after_event=True) for child in each.objects),
        }
    )


@cache
def _only_expanded(name: str) -> tuple[str, ...]:
    """Return the fields that become columns, and are there only when they are asked for."""
    stripe_object = STRIPE_OBJECTS[name]
    lists = {each.field for each in stripe_object.embedded}
    return tuple(each for each in stripe_object.expand if each not in lists and each not in stripe_object.dependents)


def _told_lists(announced: Announcement) -> bool:
    """Whether an event's payload holds lists."""
    stripe_object = STRIPE_OBJECTS.get(announced.identity[0])
    return stripe_object is not None and any(each.field in announced.json for each in stripe_object.embedded)


@cache
def _owners(name: str) -> tuple[tuple[str, str], ...]:
    """Return the types that hold a list of this type, if it has events of its own, and the path of the list."""
    if name not in STRIPE_OBJECTS or not STRIPE_OBJECTS[name].events:
        return ()
    return tuple(
        (owner, each.completed_by)
        for owner, stripe_object in STRIPE_OBJECTS.items()
        for each in stripe_object.embedded
        if name in each.objects and each.completed_by
    )


def _brings_children(name: str, changed: frozenset[str] | None) -> bool:
    """Whether what an event says has changed is a reason to read child lists, though the object itself is known."""
    return changed is not None and any(
        ask.on_event and not changed.isdisjoint(ask.changed) for ask, _ in asks_of(name, after_event=True)
    )
