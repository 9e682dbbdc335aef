"""A look at lists that proves nothing about what is absent: what was created since, or what a poll hints at.

Some types have no events, but others' events tell that there is something new (a charge makes a balance transaction):
*hints*, kept in the bookmarks until they have been followed. Some rows change once more in silence; the bookmark says
from when the oldest of these is, so that one reading from there on finds what has become of all of them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tap_stripe_events.backfill import Backfill
from tap_stripe_events.bookmarks import Bookmarks, Hint, OpenWindow
from tap_stripe_events.changes import Change
from tap_stripe_events.client import StripeClient
from tap_stripe_events.clock import unix
from tap_stripe_events.families import hinted_lists, own_lists, root_lists, unlisted
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import StripeList, stream_name
from tap_stripe_events.plan import Task


@dataclass(kw_only=True)
class _Round:
    """One look.

    Attributes:
        backfill: The reading.
        since: Stream → the second from which what was created is read; None: all.
        second: When it began.
        hinted_again: The streams that events have hinted at since then.
        pending: Stream → the second of the oldest row it brought that is still to change in silence.
    """

    backfill: Backfill
    since: Mapping[str, int | None]
    second: int
    hinted_again: set[str] = field(default_factory=set)
    pending: dict[str, int] = field(default_factory=dict)


class Refreshes:
    """Looks at lists, one round at a time.

    Args:
        client: The way to Stripe; nothing is sent from here.
        bookmarks: The state.
        selected: The object types whose streams are selected.
        floor: Nothing created before this Unix time is wanted, where a list can say so.
        lookback_seconds: How far behind its bookmark a list is read again.
    """

    def __init__(
        self,
        *,
        client: StripeClient,
        bookmarks: Bookmarks,
        selected: Collection[str],
        floor: int | None,
        lookback_seconds: int,
    ) -> None:
        self._client = client
        self._bookmarks = bookmarks
        self._selected = frozenset(selected)
        self._floor = floor
        self._lookback_seconds = lookback_seconds
        self._round: _Round | None = None
        # The few types that hints are about: the run asks after every answer whether there are any.
        self._hintable = {
            stream_name(name): name
            for root in root_lists()
            if root.hints
            for name in root.objects
            if name in self._selected
        }
        self._pending = {
            each.stream: (each.pending.field, each.pending.value)
            for each in STRIPE_OBJECTS.values()
            if each.pending is not None
        }

    @property
    def backfill(self) -> Backfill | None:
        """The reading that is under way."""
        return self._round.backfill if self._round is not None else None

    def hint(self, names: Collection[str]) -> None:
        """Note what events about some types hint at."""
        for root in {each for name in names for each in hinted_lists(name)}:
            for name in self._selected.intersection(root.objects):
                pending, stream = STRIPE_OBJECTS[name].pending, stream_name(name)
                if pending is not None and not pending.hints.isdisjoint(names):
                    self._bookmarks.set_refresh_due(stream, Hint.PENDING)
                elif self._bookmarks.refresh_due(stream) is None:
                    self._bookmarks.set_refresh_due(stream, Hint.CREATED)
                if self._round is not None:
                    self._round.hinted_again.add(stream)

    def hinted(self, being_listed: Collection[str]) -> list[str]:
        """Return the types that events hint at; those that are just being listed can wait."""
        return [
            name
            for stream, name in self._hintable.items()
            if name not in being_listed
            and self._bookmarks.refresh_due(stream) is not None
            and self._bookmarks.backfilled(stream)
            and self._bookmarks.denied(stream) is None
        ]

    def begin_hinted(self, names: Collection[str]) -> None:
        """Look at what events hint at."""
        hints = {name: self._bookmarks.refresh_due(stream_name(name)) for name in names}
        self._begin({name: self._since(name, pending=hint is Hint.PENDING) for name, hint in hints.items()})

    def begin(self, tasks: Mapping[str, Task]) -> None:
        """Look at what is due."""
        self._begin(
            {name: self._since(name, pending=True) if task is Task.CATCH_UP else None for name, task in tasks.items()}
        )

    def _since(self, name: str, *, pending: bool) -> int | None:
        """Return from when to read what was created; None: from the beginning.

        Args:
            name: The object type.
            pending: Whether to go back to the oldest row that may have changed since in silence.
        """
        stream = stream_name(name)
        known = max(self._bookmarks.refreshed_at(stream) or 0, self._bookmarks.listed_at(stream) or 0)
        if not known:
            return None
        since = known - self._lookback_seconds
        oldest = self._bookmarks.pending_from(stream)
        return min(since, oldest) if pending and oldest is not None else since

    def _begin(self, since: Mapping[str, int | None]) -> None:
        windows: dict[StripeList, tuple[OpenWindow, ...]] = {}
        for name, second in since.items():
            windows |= _windows(name, second)
        backfill = Backfill(
            client=self._client,
            windows=windows,
            selected=since.keys() | (self._selected & unlisted()),
            account_id=self._bookmarks.account_id,
            floor=self._floor,
            reason="refreshes",
        )
        by_stream = {stream_name(name): second for name, second in since.items()}
        self._round = _Round(backfill=backfill, since=by_stream, second=self._client.stripe_clock.second())

    def note(self, stream: str, changes: Iterable[Change]) -> None:
        """Note rows that are still to change in silence, whatever brought them."""
        if stream in self._pending:
            for change in changes:
                self._note(change)

    def _note(self, change: Change) -> None:
        column, value = self._pending[change.stream]
        created = change.record.get("created")
        if change.record.get(column) != value or not isinstance(created, str):
            return
        second = unix(created)
        if self._round is not None:
            self._round.pending[change.stream] = min(second, self._round.pending.get(change.stream, second))
        oldest = self._bookmarks.pending_from(change.stream)
        if oldest is None or second < oldest:
            self._bookmarks.set_pending_from(change.stream, second)

    def finish(self) -> None:
        """Take in that the round has come to its end.

        Raises:
            UnfinishedListError: A list was not read to its end.
        """
        assert self._round is not None  # noqa: S101 - its owner has just seen it
        ended, self._round = self._round, None
        ended.backfill.check_finished()
        for stream, since in ended.since.items():
            if self._bookmarks.denied(stream) is not None:
                continue
            if stream in self._pending:
                self._move_pending(stream, since, ended.pending.get(stream))
            if stream not in ended.hinted_again:
                self._bookmarks.set_refresh_due(stream, None)
            self._bookmarks.refreshed(stream, ended.second)

    def _move_pending(self, stream: str, since: int | None, seen: int | None) -> None:
        """Move on to the oldest row that is still to change, if the round went back as far as there could be one."""
        oldest = self._bookmarks.pending_from(stream)
        if oldest is not None and since is not None and since > oldest:
            seen = oldest if seen is None else min(oldest, seen)
        self._bookmarks.set_pending_from(stream, seen)


def _windows(name: str, since: int | None) -> Iterator[tuple[StripeList, tuple[OpenWindow, ...]]]:
    """Yield a reading of a type's own lists, or of what was created since a second where they can say so."""
    for root in own_lists(name):
        start = since if root.created else None
        yield root, tuple(OpenWindow(path=root.path, parameters=dict(each), start=start) for each in root.passes)
