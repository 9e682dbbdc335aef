"""The least that a target does, so that tests can ask what is in the tables after a run.

Rows and state are kept together at every STATE. A row changes only if what comes is not older. An unchanged row gets
only the newer as-of; if a listing brings it not even that: its sighting counts as much. A delete leaves a tombstone; a
copy that only fills a gap fills none where something is or was. A parent's complete list of children is applied if it
is not older than the last one, and goes on counting for older rows. A finished listing removes what it did not see and
nothing newer has touched.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from stand_in import NOW, StandInStripe, poll

from tap_stripe_events.bookmarks import Bookmarks
from tap_stripe_events.changes import AS_OF, CHILDREN, DELETED_AT, GAP_FILLER, Change, table_entry
from tap_stripe_events.clock import Clock
from tap_stripe_events.families import names_by_stream
from tap_stripe_events.feed import Feed, Polled, UpTo
from tap_stripe_events.listing import Activate
from tap_stripe_events.object_table import API_VERSION, STRIPE_OBJECTS
from tap_stripe_events.plan import Rhythm
from tap_stripe_events.sync import Checkpoint, Delivery, Pace, PreviewSettings, Run

DAY = 86_400
EVERY_RUN = Pace(rhythm=Rhythm(sweep_seconds=0, full_sweep_seconds=0))  # everything is listed in every run
SELDOM = Pace(rhythm=Rhythm(sweep_seconds=7 * DAY, full_sweep_seconds=30 * DAY))


class HurriedClock(Clock):
    """A clock on which every look is a second later, so that STATE is due whenever it may be."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def monotonic(self) -> float:
        self._seconds += 1.0
        return self._seconds


class Tables:
    """Rows by stream and key; the key is the id where the key is nothing else."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, dict[str, Any]]] = {}
        self.tombstones: dict[tuple[str, str], str] = {}
        self._lists: dict[
            tuple[str, str, str], tuple[str, list[str]]
        ] = {}  # parent's stream and id, child's → as-of, ids
        self.seen: dict[tuple[str, str], int] = {}  # the last listing that brought it
        self._floors: dict[str, int] = {}  # stream → its last finished sweep
        self._sightings: dict[tuple[str, str], str] = {}  # stream and key → as-of of what changed nothing

    def ids(self, stream: str) -> set[str]:
        return set(self.rows.get(stream, {}))

    def values(self, stream: str, column: str) -> dict[str, Any]:
        return {key: row.get(column) for key, row in self.rows.get(stream, {}).items()}

    def apply(self, items: Iterable[Any]) -> None:
        """Take what a source or a run says, in its order; what is no record is left alone."""
        for item in items:
            match item:
                case Change():
                    self._take(item, None)
                case Delivery():
                    for change in item.changes:
                        self._take(change, item.version)
                case Activate():
                    self._sweep(item)

    def _take(self, change: Change, version: int | None) -> None:
        stream, record = change.stream, dict(change.record)
        identity = table_entry(names_by_stream().get(stream, stream)).key
        key = ",".join(record[column] for column in (["id"] if "id" in identity else identity))
        if version is not None:
            self.seen[stream, key] = version
        lists = record.pop(CHILDREN, {})
        self._take_row(stream, key, record, sighted=version is not None)
        for child, known in lists.items():
            self._take_list(stream, key, child, known, record[AS_OF])

    def _take_row(self, stream: str, key: str, record: dict[str, Any], *, sighted: bool) -> None:
        rows = self.rows.setdefault(stream, {})
        stored = rows.get(key)
        known = stored[AS_OF] if stored is not None else self.tombstones.get((stream, key))
        if known is not None:
            known = max(known, self._sightings.get((stream, key), known), key=moment_of)
            if record[AS_OF] == GAP_FILLER or moment_of(record[AS_OF]) < moment_of(known):
                return
        if record.get(DELETED_AT) or self._left_out(stream, key, record):
            rows.pop(key, None)
            self.tombstones[stream, key] = record[AS_OF]
            return
        if stored is not None and sighted and {**stored, AS_OF: None} == {**record, AS_OF: None}:
            self._sightings[stream, key] = record[AS_OF]
            return
        rows[key] = {**(stored or {}), **record}
        self.tombstones.pop((stream, key), None)

    def _left_out(self, stream: str, key: str, record: dict[str, Any]) -> bool:
        """Whether a list of its parent that is not older lacks a row."""
        return any(
            child == stream
            and record.get(f"{parent}_id") == parent_key
            and key not in known
            and moment_of(record[AS_OF]) <= moment_of(as_of)
            for (parent, parent_key, child), (as_of, known) in self._lists.items()
        )

    def _take_list(self, stream: str, key: str, child: str, known: list[str], as_of: str) -> None:
        last = self._lists.get((stream, key, child))
        if last is not None and moment_of(as_of) < moment_of(last[0]):
            return
        self._lists[stream, key, child] = (as_of, known)
        children = self.rows.setdefault(child, {})
        for each in [name for name, row in children.items() if row.get(f"{stream}_id") == key]:
            if each not in known and moment_of(children[each][AS_OF]) <= moment_of(as_of):
                del children[each]
                self.tombstones[child, each] = as_of

    def _sweep(self, item: Activate) -> None:
        if item.version <= self._floors.get(item.stream, 0):
            return  # it is finished already
        self._floors[item.stream] = item.version
        rows = self.rows.setdefault(item.stream, {})
        for key, row in list(rows.items()):
            newer = moment_of(row[AS_OF]).timestamp() * 1000 > item.version
            if not newer and self.seen.get((item.stream, key)) != item.version:
                del rows[key]


def one_by_one(items: Iterable[Any]) -> Iterator[Any]:
    """What a run says, each record by itself: it may be cut short between any two."""
    for item in items:
        if isinstance(item, Delivery):
            yield from (replace(item, changes=[change]) for change in item.changes)
        else:
            yield item


class Replica(Tables):
    """Tables that runs of the tap fill, and the state beside them."""

    def __init__(self, *, livemode: bool = True) -> None:
        super().__init__()
        self._livemode = livemode
        self.state: dict[str, Any] = {}

    def begin(
        self,
        stripe: Any,
        *selected: str,
        floor: int | None = None,
        pace: Pace = EVERY_RUN,
        clock: Clock | None = None,
        feed: bool = True,
        api_version: str = API_VERSION,
        previews: PreviewSettings | None = None,
    ) -> tuple[Run, dict[str, Any]]:
        """Return a run that goes on where the tables are, and the state that it moves."""
        state = copy.deepcopy(self.state)
        bookmarks = Bookmarks(state)
        bookmarks.claim("acct_1", livemode=self._livemode)
        run = Run(
            client=stripe,
            bookmarks=bookmarks,
            selected=selected,
            floor=floor,
            pace=pace,
            clock=clock or HurriedClock(),
            feed=feed,
            api_version=api_version,
            previews=previews,
        )
        return run, state

    def run(
        self,
        stripe: Any,
        *selected: str,
        most_items: int | None = None,
        until: Callable[[dict[str, Any]], bool] | None = None,
        **how: Any,
    ) -> bool:
        """Run once; a run that is cut short keeps what its last STATE covers. Return whether it came to its end.

        Args:
            stripe: The stand-in.
            selected: The object types.
            most_items: Cut short after so many items.
            until: Cut short after the first STATE whose bookmarks are so.
            how: See `begin`.
        """
        run, state = self.begin(stripe, *selected, **how)
        pending: list[Any] = []
        for count, item in enumerate(one_by_one(run.until_caught_up())):
            if most_items is not None and count >= most_items:
                return False
            if isinstance(item, Checkpoint):
                if not run._bookmarks.stamp(count):
                    continue  # no STATE is written, and nothing is covered by it
                self.keep(pending, state)
                if until is not None and until(state["bookmarks"]):
                    return False
            else:
                pending.append(item)
        assert not pending
        return True

    def keep(self, pending: list[Any], state: dict[str, Any]) -> None:
        """Take what a STATE covers, and the STATE."""
        self.apply(pending)
        self.state = copy.deepcopy(state)
        pending.clear()

    def bookmark(self, stream: str) -> dict[str, Any]:
        return dict(self.state["bookmarks"][stream])


def moment_of(as_of: str) -> datetime:
    """Return a moment that can be compared; texts cannot, since only some have a fraction."""
    return datetime.fromisoformat(as_of)


class Reader(Tables):
    """Tables that nothing but the feed fills, and how far it was read.

    Args:
        stripe: The stand-in.
        selected: The object types; all, if none is named.
        since: Everything announced up to this second counts as read.
    """

    def __init__(
        self,
        stripe: StandInStripe,
        *selected: str,
        since: int = NOW,
        account_id: str | None = "acct_1",
        lookback: int = 60,
        floor: int | None = None,
        used: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.stripe = stripe
        self.since = since
        self.feed = Feed(
            client=stripe,  # type: ignore[arg-type]
            selected=selected or tuple(STRIPE_OBJECTS),
            account_id=account_id,
            api_version=API_VERSION,
            lookback=lookback,
            floor=floor,
            used=used,
        )
        self.items: list[Any] = []

    def poll(self, *, whole: bool = True, **how: Any) -> int:
        """Read the feed once, wait for all that comes of it, and return how many events were new."""
        self.items = poll(self.stripe, self.feed, self.since, whole=whole, **how)
        self.apply(self.items)
        self.since = max([self.since, *self.up_to])
        return sum(each.new for each in self.items if isinstance(each, Polled))

    @property
    def up_to(self) -> list[int]:
        """The seconds up to which all is in, as the last poll said."""
        return [each.second for each in self.items if isinstance(each, UpTo)]

    def records(self, stream: str) -> list[dict[str, Any]]:
        """Return the records of a stream that the last poll brought, in order."""
        return [dict(each.record) for each in self.items if isinstance(each, Change) and each.stream == stream]
