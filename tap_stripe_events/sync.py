"""Which sources feed a stream, and in which order: one run of the tap.

The SDK calls the streams one after another; all of them pull from one shared run, which reads all lists at once. What a
stream pulls for others is handed to them on the spot, so `Run.until` is a pump that any stream may turn.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from tap_stripe_events.backfill import Backfill, ChildListDenied, ListClosed, WindowsMoved
from tap_stripe_events.bookmarks import Bookmarks, OpenWindow
from tap_stripe_events.changes import AS_OF, GAP_FILLER, Change
from tap_stripe_events.client import StripeClient
from tap_stripe_events.clock import Clock
from tap_stripe_events.families import names_by_stream, needed_roots, root_lists, roots_of
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import StripeList, stream_name

_STATE_SECONDS = 1.0  # the least time between two STATEs
_PROGRESS_SECONDS = 5.0

_logger = logging.getLogger("tap-stripe-events")


@dataclass(frozen=True, kw_only=True)
class Activate:
    """A stream's listing is finished: what has another version is gone."""

    stream: str
    version: int


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that the bookmarks say has been delivered."""


class Run:
    """One reading of everything that is selected.

    Args:
        client: The way to Stripe.
        bookmarks: The state; this run is what moves it.
        selected: The object types whose streams are selected.
        floor: Nothing created before this Unix time is wanted, where a list can say so.
        clock: The machine's clock.
    """

    def __init__(
        self,
        *,
        client: StripeClient,
        bookmarks: Bookmarks,
        selected: Collection[str],
        floor: int | None,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._bookmarks = bookmarks
        self._selected = frozenset(selected)
        self._floor = floor
        self._clock = clock or Clock()
        self._open: dict[str, set[StripeList]] = {}  # stream → root lists that still feed it
        self._versions: dict[str, int] = {}
        self._delivered: dict[str, int] = {}
        self._not_set_up: dict[str, list[str]] = {}  # Stripe's reason → paths
        self._warned: set[str] = set()  # paths that Stripe refuses: a list can be refused as a child list too
        self._items = self._run()
        self.exit_code: int | None = None

    def until(self, stream: str) -> Iterator[Change | Activate | Checkpoint]:
        """Yield what is next for any stream, until this stream has all that a run brings it.

        Raises:
            TapError: The run cannot go on.
        """
        if self.exit_code is not None:
            return
        for item in self._items:
            if item is not None:
                yield item
            if self.exit_code is not None:
                return
            if isinstance(item, Checkpoint) and stream not in self._open and self._open:
                return  # what else the run brings is for others; its last words are for the last stream

    def stop(self, exit_code: int) -> None:
        """Deliver nothing more after the present item. What the bookmarks say stays true."""
        self.exit_code = exit_code

    def version(self, change: Change) -> int | None:
        """Return the version of the listing that a change belongs to; None if it proves nothing about its presence."""
        if change.record[AS_OF] == GAP_FILLER:
            return None
        return self._versions.get(change.stream)

    def _run(self) -> Iterator[Change | Activate | Checkpoint | None]:
        backfill = Backfill(
            client=self._client,
            windows=self._begin(),
            selected=self._selected,
            account_id=self._bookmarks.account_id,
            floor=self._floor,
        )
        yield Checkpoint()
        last_state = last_progress = self._clock.monotonic()
        moved = False
        for item in backfill.run():
            now = self._clock.monotonic()
            match item:
                case Change():
                    self._delivered[item.stream] = self._delivered.get(item.stream, 0) + 1
                    yield item
                case WindowsMoved():
                    self._bookmarks.set_windows(_owner(item.root), item.root.path, item.windows)
                    moved = True
                case ListClosed():
                    yield from self._close(item)
                    moved = True
                case ChildListDenied():
                    self._deny_children(item)
            if moved and now - last_state >= _STATE_SECONDS:
                yield Checkpoint()
                moved, last_state = False, now
            if now - last_progress >= _PROGRESS_SECONDS:
                self._log_progress(finished=False)
                last_progress = now
            yield None  # so that a stop is seen
        for child, count in backfill.skipped.items():
            _logger.warning(
                "%s: not read for %d objects, which vanished meanwhile or do not support it", child.path, count
            )
        for reason, paths in self._not_set_up.items():
            _logger.warning("Not set up in this account, so not read: %s. Stripe says: %s", ", ".join(paths), reason)
        self._log_progress(finished=True)
        yield Checkpoint()

    def _begin(self) -> dict[StripeList, tuple[OpenWindow, ...]]:
        """Decide what to read: the rest of a listing that was interrupted, or everything anew."""
        bookmarks = self._bookmarks
        streams = {stream_name(name): name for name in sorted(self._selected) if roots_of(name)}
        needed = needed_roots(self._selected)
        for stream in bookmarks.listings():
            if stream not in streams or bookmarks.listing_floor(stream) != self._floor:
                bookmarks.abandon_listing(stream)  # it misses what this run reads, or what that one left out
        under_way = bookmarks.listings()
        second = self._client.stripe_clock.second()
        again: set[StripeList] = set()
        for stream, name in streams.items():
            if stream not in under_way and not self._is_done(stream, under_way):
                bookmarks.begin_listing(stream, second, self._floor)
                again |= roots_of(name, optional=True)
        for stream, since in bookmarks.listings().items():
            name = streams[stream]
            self._open[stream] = set(roots_of(name, optional=True)) & set(needed)
            if STRIPE_OBJECTS[name].complete:
                self._versions[stream] = since * 1000
        windows = self._windows(needed, again)
        if under_way:
            rest = sum(len(each) for each in windows.values())
            _logger.info("Going on with an interrupted listing: %d open windows", rest)
        return windows

    def _windows(
        self, needed: Collection[StripeList], again: Collection[StripeList]
    ) -> dict[StripeList, tuple[OpenWindow, ...]]:
        """Return what is to be read of the lists that are needed, and forget what was left of others."""
        windows: dict[StripeList, tuple[OpenWindow, ...]] = {}
        for root in root_lists():
            owner = _owner(root)
            if root in again and root in needed:
                whole = [OpenWindow(path=root.path, parameters=dict(each)) for each in root.passes]
                self._bookmarks.set_windows(owner, root.path, whole)
            rest = self._bookmarks.windows(owner, root.path)
            if root in needed:
                windows[root] = rest
            elif rest:
                self._bookmarks.set_windows(owner, root.path, ())
        return windows

    def _is_done(self, stream: str, under_way: Mapping[str, int]) -> bool:
        """Whether a stream had its turn in the listing that was interrupted."""
        if not under_way:
            return False
        listed_at = self._bookmarks.listed_at(stream)
        finished = listed_at is not None and listed_at >= min(under_way.values())
        return finished or self._bookmarks.denied(stream) is not None

    def _close(self, closed: ListClosed) -> Iterator[Activate]:
        root = closed.root
        self._bookmarks.set_windows(_owner(root), root.path, ())
        if closed.refused is not None:
            self._warn(root.path, closed.refused, not_set_up=closed.not_set_up)
        for stream in [each for each, roots in self._open.items() if root in roots]:
            if closed.refused is not None and self._lacks(stream, root, closed):
                self._bookmarks.leave_out(stream, root.path, closed.refused)
            self._open[stream].discard(root)
            if not self._open[stream]:
                del self._open[stream]
                yield from self._finish(stream)

    def _lacks(self, stream: str, root: StripeList, closed: ListClosed) -> bool:
        """Whether a stream's listing is not whole without a list. What is not set up is only a detour without end."""
        name = names_by_stream()[stream]
        return not closed.not_set_up or name in root.objects or roots_of(name) == {root}

    def _finish(self, stream: str) -> Iterator[Activate]:
        second = self._client.stripe_clock.second()
        if reason := self._denial(stream):
            self._bookmarks.deny(stream, reason, second)
            return
        whole = not self._bookmarks.not_read(stream) and self._shows_every_row(stream)
        self._bookmarks.finish_listing(stream, second)
        self._bookmarks.allow(stream)
        if whole:
            yield Activate(stream=stream, version=self._versions[stream])

    def _denial(self, stream: str) -> str | None:
        """Return why a stream counts as refused: a list of its own is, or all that lead to it."""
        name = names_by_stream()[stream]
        not_read = self._bookmarks.not_read(stream)
        detours = {each.path for each in roots_of(name, optional=True) if name not in each.objects}
        for path, reason in not_read.items():
            if path not in detours:
                return reason
        paths = [each.path for each in roots_of(name)]
        if all(path in not_read for path in paths):
            return f"{paths[0]}, which it is found by, is refused: {not_read[paths[0]]}"
        return None

    def _shows_every_row(self, stream: str) -> bool:
        """Whether this listing sees every live row of a type, so that it can tell what is gone."""
        if stream not in self._versions:
            return False
        name = names_by_stream()[stream]
        if self._floor is not None and any(root.created for root in roots_of(name)):
            return False
        # What only an optional list brings hangs on a test clock, and live accounts have none.
        return self._bookmarks.livemode or roots_of(name, optional=True) <= set(needed_roots(self._selected))

    def _deny_children(self, denied: ChildListDenied) -> None:
        self._warn(denied.path, denied.reason, not_set_up=denied.not_set_up)
        for name in denied.objects:
            if stream_name(name) in self._open:
                self._bookmarks.leave_out(stream_name(name), denied.path, denied.reason)

    def _warn(self, path: str, reason: str, *, not_set_up: bool) -> None:
        """Warn that a list is closed; what the account does not use is warned of once a reason, at the end."""
        if not_set_up:
            self._not_set_up.setdefault(reason, []).append(path)
        elif path not in self._warned:
            self._warned.add(path)
            _logger.warning("%s is not read: %s. Its rows stay as they are; all other streams go on.", path, reason)

    def _log_progress(self, *, finished: bool) -> None:
        rows = sum(self._delivered.values())
        largest = sorted(self._delivered.items(), key=lambda each: -each[1])[:4]
        _logger.info(
            "%s: %d records of %d streams with %d requests, %d streams to go (%s)",
            "Finished" if finished else "Reading",
            rows,
            len(self._delivered),
            self._client.requests_sent,
            len(self._open),
            ", ".join(f"{stream} {count}" for stream, count in largest) or "nothing yet",
        )


def _owner(root: StripeList) -> str:
    """Return the stream in whose bookmark a root list's windows are."""
    return stream_name(root.objects[0])
