"""Which sources feed a stream, and in which order: one run of the tap.

A run reads the feed from where the last one left off, then lists what is due (`plan`), then reads the feed once more
if that took its time. With `follow` it goes on: polls at an interval, and lists what falls due between them. All
sources share one client; the feed's requests go first.

The SDK calls the streams one after another; all of them pull from one shared run, and what a stream pulls for others
is handed to them on the spot. So the first stream's turn is the whole pass.

Invariants:
* what a bookmark says has been delivered before the `Checkpoint` that writes it;
* no `Checkpoint` lies between a parent and its children.
"""

import logging
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from tap_stripe_events.backfill import Backfill, ListClosed, WindowsMoved
from tap_stripe_events.bookmarks import Bookmarks
from tap_stripe_events.changes import DELETED_AT, Change
from tap_stripe_events.client import StripeClient
from tap_stripe_events.clock import Clock
from tap_stripe_events.families import asked_if_used, names_by_stream, unlisted
from tap_stripe_events.feed import Feed, FeedDenied, Polled, StreamDenied, UpTo
from tap_stripe_events.flight import Asker, Flight
from tap_stripe_events.gather import ChildListDenied
from tap_stripe_events.listing import Activate, Listing, Warnings
from tap_stripe_events.object_table import API_VERSION, STRIPE_OBJECTS
from tap_stripe_events.objects import stream_name
from tap_stripe_events.plan import Rhythm
from tap_stripe_events.refresh import Refreshes
from tap_stripe_events.standings import Standings
from tap_stripe_events.upcoming import Upcoming

_STATE_SECONDS = 1.0  # the least time between two STATEs, while lists are read
_TOLD_STATE_SECONDS = 0.2  # the least time between a STATE and one that covers what was read again since
IDLE_STATE_SECONDS = 10.0  # and the longest, while the feed brings nothing
_WHOLE_POLL_SECONDS = 10.0  # how often the whole lookback is read
_POLL_WHILE_LISTING_SECONDS = 60.0  # how often the feed is read beside a listing, in a run that ends
_CAUGHT_UP_SECONDS = 30  # how far behind a run that ends may leave the feed
_MOST_CATCH_UPS = 10
_PLAN_SECONDS = 60.0  # how often it is looked up what is due
_HINT_SECONDS = 5.0  # the least time between two looks at lists that events hint at
_PROGRESS_SECONDS = 5.0
_FOLLOW_PROGRESS_SECONDS = 60.0
_NAMES_SHOWN = 10
_DENIED_SECONDS = 600.0  # how often it is tried whether the feed may be read after all

_logger = logging.getLogger("tap-stripe-events")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Records for a stream that came together.

    Attributes:
        stream: The stream.
        changes: The records, in their order.
        version: The version of the listing that they belong to; None if they belong to none.
    """

    stream: str
    changes: list[Change]
    version: int | None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that the bookmarks say has been delivered.

    Attributes:
        idle: They say nothing new, save that the feed was read.
    """

    idle: bool = False


@dataclass(frozen=True, kw_only=True)
class CaughtUp:
    """The run has come to its end, or goes on by following."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """The run can only go on with an answer, or after some time. Whatever it has read is delivered.

    Attributes:
        seconds: The time.
        crowded: It had more to ask for, but no more requests may be in flight.
    """

    seconds: float
    crowded: bool = False


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How the feed is read, and how often lists are.

    Attributes:
        poll_seconds: The time between the beginnings of two polls; None: the run ends when it has caught up.
        lookback_seconds: How far behind its bookmark the feed is read again.
        rhythm: How often lists are read.
        wished: Asked before each poll of a run that follows: whether somebody wants to know at once how far all is.
        quiet: Nothing is told of how the run gets on: it is one of several, and whoever drives them tells.
    """

    poll_seconds: float | None = None
    lookback_seconds: int = 60
    rhythm: Rhythm
    wished: Callable[[], bool] = lambda: False
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class PreviewSettings:
    """What is computed on request.

    Attributes:
        names: The kinds of previews that are wanted.
        refresh_seconds: How often each is computed anew.
        create: They are asked for by POST `create_preview`.
    """

    names: Collection[str]
    refresh_seconds: int
    create: bool = False


Item = Delivery | Activate | Checkpoint | CaughtUp | Pause
Taken: TypeAlias = tuple[Asker, Iterator[Any]] | None
Steps: TypeAlias = Generator[Item, Taken, None]


def advance(steps: Steps, taken: Taken = None) -> Item | None:
    """Return what comes next, given what a pause has brought; None at the end."""
    try:
        return steps.send(taken)
    except StopIteration:
        return None


class Run:
    """One reading of everything that is selected.

    Args:
        client: The way to Stripe.
        bookmarks: The state; this run is what moves it.
        selected: The object types whose streams are selected.
        floor: Nothing created before this Unix time is wanted, where a list can say so.
        pace: How often what is read.
        api_version: The version that rows are in.
        feed: Whether the feed is read.
        previews: What is computed on request; None: nothing.
        flight: What sends the requests; None: one that has the client for itself.
        clock: The machine's clock.
    """

    def __init__(
        self,
        *,
        client: StripeClient,
        bookmarks: Bookmarks,
        selected: Collection[str],
        floor: int | None,
        pace: Pace,
        api_version: str = API_VERSION,
        feed: bool = True,
        previews: PreviewSettings | None = None,
        flight: Flight | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._bookmarks = bookmarks
        self._selected = frozenset(selected)
        self._floor = floor
        self._pace = pace
        self._api_version = api_version
        self._clock = clock or Clock()
        self._flight = flight or Flight(client)
        self._unused = set(asked_if_used())  # what has not had a row yet
        self._to_remember = {
            stream_name(each.name) for each in STRIPE_OBJECTS.values() if each.lasting
        } - bookmarks.remembered().keys()
        self._used = {name for name in self._unused if bookmarks.is_used(stream_name(name))}
        self._unused -= self._used
        self._warnings = Warnings()
        self._previews = previews
        self._upcoming = Upcoming(
            client=client,
            bookmarks=bookmarks,
            selected=previews.names if previews is not None else (),
            refresh_seconds=previews.refresh_seconds if previews is not None else 1,
            create=previews is not None and previews.create,
            follows=pace.poll_seconds is not None,
            warnings=self._warnings,
        )
        self._feed = Feed(
            client=client,
            selected=selected,
            account_id=bookmarks.account_id,
            api_version=api_version,
            lookback=pace.lookback_seconds,
            floor=floor,
            used=self._used,
            watch=self._upcoming.watch,
        )
        self._standings = Standings(
            bookmarks=bookmarks,
            selected=selected,
            floor=floor,
            stripe_clock=client.stripe_clock,
            warnings=self._warnings,
        )
        self._listing: tuple[Listing, Backfill] | None = None
        self._refreshes = Refreshes(
            client=client,
            bookmarks=bookmarks,
            selected=selected,
            floor=floor,
            lookback_seconds=pace.lookback_seconds,
        )
        self._without_feed = not feed
        self._caught_up = False
        self._following = False
        self._moved = False  # a bookmark has moved that no STATE tells of
        self._told = False  # the feed has brought rows that no STATE covers
        self._wished = False  # somebody waits to be told how far all is
        self._wants_feed = feed
        self._feed_denied_at = 0.0
        self._delivered: dict[str, int] = {}
        now = self._began_at = self._clock.monotonic()
        self._next_poll = self._next_plan = self._next_hint = now
        self._next_whole = self._last_state = self._last_progress = now
        self.steps: Steps = self._run()
        self.exit_code: int | None = None

    def until_caught_up(self) -> Iterator[Delivery | Activate | Checkpoint]:
        """Yield what a run brings all streams, up to the point where it has caught up.

        Raises:
            TapError: The run cannot go on.
        """
        if self._caught_up:
            return
        for item in self._unless_stopped():
            if isinstance(item, CaughtUp):
                self._caught_up = True
                return
            yield item

    def follow(self) -> Iterator[Delivery | Activate | Checkpoint]:
        """Yield what comes after that, until the run is stopped.

        Raises:
            TapError: The run cannot go on.
        """
        for item in self._unless_stopped():
            if not isinstance(item, CaughtUp):
                yield item

    def _unless_stopped(self) -> Iterator[Delivery | Activate | Checkpoint | CaughtUp]:
        if self.exit_code is not None:
            return
        taken: Taken = None
        while (item := advance(self.steps, taken)) is not None:
            taken = None
            if isinstance(item, Pause):
                if self.exit_code is not None:
                    return
                taken = self._flight.take(item.seconds)
            else:
                yield item
                if self.exit_code is not None and isinstance(item, Checkpoint):
                    return

    def stop(self, exit_code: int) -> None:
        """Deliver nothing more than the rest of the present answer, so that a parent comes with its children."""
        self.exit_code = exit_code

    def _run(self) -> Steps:
        self._standings.bring_up_to_date(self._api_version, again_after=self._pace.rhythm.sweep_seconds)
        previews = self._previews.names if self._previews is not None else ()
        self._bookmarks.select({*map(stream_name, self._selected), *previews})
        self._upcoming.begin(denied_seconds=self._pace.rhythm.denied_seconds)
        yield Checkpoint()
        if self._since() is not None:
            yield from self._catch_up()
        self._plan()
        yield from self._list_what_is_due()
        if any(self._bookmarks.listing_due(stream_name(name)) for name in self._selected):
            self._plan()  # something was deleted meanwhile that takes rows along
            yield from self._list_what_is_due()
        if not self._pace.quiet:  # of hundreds of accounts it is in the state
            self._warnings.say_not_set_up()
        self.tell("Finished")
        yield from self._checkpoint()
        yield CaughtUp()
        if self._pace.poll_seconds is not None:
            self._following = True
            self._next_plan = self._clock.monotonic() + _PLAN_SECONDS
            yield from self._drive(lambda: False)

    def _list_what_is_due(self) -> Steps:
        listed = self._listing is not None
        yield from self._drive(self._nothing_left)
        if listed:
            yield from self._catch_up()

    # The feed

    def _catch_up(self) -> Steps:
        """Read the feed until what it says is nearly the present, or Stripe's time runs away.

        A run that follows reads it once: it goes on polling anyway.
        """
        for _ in range(_MOST_CATCH_UPS if self._pace.poll_seconds is None else 1):
            if self._without_feed:
                return
            self._begin_poll(whole=True)
            yield from self._drive(self._nothing_left)
            since = self._since()
            if since is None or since >= self._client.stripe_clock.second() - _CAUGHT_UP_SECONDS:
                return

    def _begin_poll(self, *, whole: bool) -> None:
        if self._feed.polling:
            return
        now = self._clock.monotonic()
        self._next_poll = now + (self._pace.poll_seconds or _POLL_WHILE_LISTING_SECONDS)
        since = self._since()
        if since is None:
            return  # nothing is followed, such as when all is refused
        self._feed.begin(since, whole=whole, ignored=self._standings.ignored())
        if whole:
            self._next_whole = now + _WHOLE_POLL_SECONDS

    def _since(self) -> int | None:
        """Return from when the feed is to be read; None if nothing was read before it."""
        return min((each for each in (self._standings.since(), self._upcoming.since) if each is not None), default=None)

    def _take_poll(self, polled: Polled) -> Iterator[Item]:
        self._bookmarks.polled(self._clock.now())
        self._refreshes.hint(polled.names)
        doubtful = self._standings.doubt_refusals(polled.names)
        if self._standings.lose(polled.deleted) or doubtful:
            self._next_plan = self._clock.monotonic()
        if polled.new:
            yield from self._checkpoint()

    def _deny_feed(self, denied: FeedDenied) -> None:
        self._feed_denied_at = self._clock.monotonic()
        if not self._without_feed:
            self._without_feed = True
            _logger.warning(
                "The feed /v1/events is not read: %s. Without it, only listings tell what has changed: "
                "every run reads all lists.",
                denied.reason,
            )

    # Lists

    def _plan(self) -> None:
        """Begin what is due, and go on with what is under way."""
        self._next_plan = self._clock.monotonic() + _PLAN_SECONDS
        if (
            self._wants_feed
            and self._without_feed
            and self._clock.monotonic() - self._feed_denied_at >= _DENIED_SECONDS
        ):
            self._without_feed = False  # it is tried again
        under_way, anew, partly = self._standings.begin_due(self._rhythm(), without_feed=self._without_feed)
        for reason in dict.fromkeys(anew.values()):
            streams = sorted(stream_name(name) for name, why in anew.items() if why == reason)
            shown = ", ".join(streams) if len(streams) <= _NAMES_SHOWN else f"{len(streams)} streams"
            _logger.info("Listing, because %s: %s", reason, shown)
        if under_way or anew:
            self._begin_listing(under_way | anew.keys(), anew)
        if partly:
            self._refreshes.begin(partly)

    def _rhythm(self) -> Rhythm:
        rhythm = self._pace.rhythm
        if not self._without_feed:
            return rhythm
        # Nothing but listings tells what has changed: every run lists everything.
        return replace(rhythm, full_sweep_seconds=rhythm.sweep_seconds if self._following else 0)

    def _begin_listing(self, names: Collection[str], anew: Collection[str]) -> None:
        listing = Listing(
            bookmarks=self._bookmarks,
            names=names,
            anew=anew,
            selected=self._selected,
            floor=self._floor,
            warnings=self._warnings,
        )
        if len(anew) < len(names):
            rest = sum(len(each) for each in listing.windows.values())
            _logger.info("Going on with an interrupted listing: %d open windows", rest)
        backfill = Backfill(
            client=self._client,
            windows=listing.windows,
            selected={*names, *(self._selected & unlisted())},  # these are found in others
            account_id=self._bookmarks.account_id,
            floor=self._floor,
            copied=self._selected,  # some are hidden from their own lists, such as inline prices
        )
        self._listing = (listing, backfill)
        self._moved = True

    # The loop

    def _backfills(self) -> list[Backfill]:
        found = [self._refreshes.backfill] if self._refreshes.backfill is not None else []
        return [*found, self._listing[1]] if self._listing is not None else found

    def _nothing_left(self) -> bool:
        """Return whether the run has come to its end, or to the point where it follows.

        What must be read again, which may be hundreds of objects after a pause, is read while it follows.
        """
        if self._pace.poll_seconds is not None:
            return not self._feed.polling and self._listing is None
        idle = not self._feed.busy and self._listing is None and self._refreshes.backfill is None
        idle = idle and not self._upcoming.busy
        return idle and not self._refreshes.hinted(self._being_listed())

    def _being_listed(self) -> frozenset[str]:
        """Return the types whose hints wait for the end of a listing; a run that follows may be listing for hours."""
        return self._listing[0].names if self._listing is not None and not self._following else frozenset()

    def _drive(self, done: Callable[[], bool]) -> Steps:
        """Send requests, take answers, and begin what falls due, until there is nothing left to do."""
        while not done():
            now = self._clock.monotonic()
            self._begin_due(now)
            for backfill in self._backfills():
                yield from self._take_all(backfill, backfill.begin())
            wait = self._flight.submit([self._feed, self._upcoming, *self._backfills(), self._upcoming.turns])
            if self._polls and not self._feed.polling:
                wait = min(wait, max(0.0, self._next_poll - now))
            taken = yield Pause(seconds=wait, crowded=self._flight.crowded)
            if taken is not None:
                yield from self._take_all(*taken)
            yield from self._settle()

    @property
    def _polls(self) -> bool:
        """Whether the feed is read from time to time."""
        return not self._without_feed and (self._following or self._listing is not None)

    def _begin_due(self, now: float) -> None:
        if self._polls and now >= self._next_poll and not self._feed.polling:
            self._wished |= self._pace.wished()
            self._begin_poll(whole=now >= self._next_whole or self._wished)
        if self._refreshes.backfill is not None:
            return
        if self._following and now >= self._next_plan and self._listing is None:
            self._plan()
        # A run that ends looks once, after the feed has been read; one that follows may be reading it all the time.
        looks = now >= self._next_hint if self._following else not self._feed.polling
        if looks and self._refreshes.backfill is None and (hinted := self._refreshes.hinted(self._being_listed())):
            self._next_hint = now + _HINT_SECONDS
            self._refreshes.begin_hinted(hinted)

    def _settle(self) -> Iterator[Item]:
        """Finish what has come to its end, and say how it goes."""
        if self._listing is not None and self._flight.is_idle(self._listing[1]):
            self._listing[1].check_finished()
            self._log_skipped(self._listing[1])
            self._listing = None
            self._moved = True
        refreshing = self._refreshes.backfill
        if refreshing is not None and self._flight.is_idle(refreshing):
            self._refreshes.finish()
            self._moved = True
        yield from self._upcoming.settle()
        self._moved |= self._upcoming.has_moved()
        now = self._clock.monotonic()
        since = now - self._last_state
        told = self._told and since >= _TOLD_STATE_SECONDS
        moved = self._moved and since >= _STATE_SECONDS
        if told or moved or (self._following and since >= IDLE_STATE_SECONDS):
            yield from self._checkpoint(idle=not (told or moved))
        if now - self._last_progress >= (_FOLLOW_PROGRESS_SECONDS if self._following else _PROGRESS_SECONDS):
            self.tell("Following" if self._following and self._listing is None else "Reading")

    def _checkpoint(self, *, idle: bool = False) -> Iterator[Item]:
        if self._told:
            self._bookmarks.delivered()
        self._moved = self._told = False
        self._last_state = self._clock.monotonic()
        yield Checkpoint(idle=idle)

    # Items

    def _take_all(self, source: Asker, items: Iterator[Any]) -> Iterator[Item]:
        listing = self._listing[0] if self._listing is not None and source is self._listing[1] else None
        version_of = self._upcoming.version if source in (self._upcoming, self._upcoming.turns) else None
        if listing is not None:
            version_of = listing.version
        together: Delivery | None = None
        for item in items:
            if isinstance(item, Change):
                version = version_of(item) if version_of is not None else None
                if together is None or item.stream != together.stream or version != together.version:
                    if together is not None:
                        yield self._noted(together, source)
                    together = Delivery(stream=item.stream, changes=[], version=version)
                together.changes.append(item)
                continue
            if together is not None:
                yield self._noted(together, source)
                together = None
            if listing is not None:
                yield from self._take_listed(listing, item)
            else:
                yield from self._take_told(item)
        if together is not None:
            yield self._noted(together, source)

    def _noted(self, delivery: Delivery, source: Asker) -> Delivery:
        """Return what is delivered, after a note of what follows from it."""
        stream = delivery.stream
        self._delivered[stream] = self._delivered.get(stream, 0) + len(delivery.changes)
        if source in (self._upcoming, self._upcoming.turns):
            self._told = True
            return delivery
        self._refreshes.note(stream, delivery.changes)
        if stream in self._to_remember:
            self._remember(stream, delivery.changes)
        if self._unused and (name := names_by_stream()[stream]) in self._unused:
            self._unused.discard(name)
            self._used.add(name)
            self._bookmarks.use(stream)
        self._told = self._told or source is self._feed
        return delivery

    def _take_listed(self, listing: Listing, item: Any) -> Iterator[Item]:
        """Take in what a listing says besides rows."""
        match item:
            case WindowsMoved():
                listing.move(item.root, item.windows)
                self._moved = True
            case ListClosed():
                yield from listing.close(item, self._client.stripe_clock.second())
                self._moved = True
            case ChildListDenied():
                listing.deny_children(item)

    def _take_told(self, item: Any) -> Iterator[Item]:
        """Take in what the feed or a refresh says besides rows."""
        match item:
            case Polled():
                yield from self._take_poll(item)
            case UpTo():
                ignored = {stream_name(each) for each in self._feed.ignored}  # of these nothing was delivered
                self._bookmarks.move_events(set(self._standings.followed()) - ignored, item.second)
                self._upcoming.up_to(item.second)
                self._told |= self._wished  # it is to be known at once
                self._wished = False
            case FeedDenied():
                self._deny_feed(item)
            case StreamDenied():
                self._moved |= self._standings.deny_objects(item.name, item.reason, not_set_up=item.not_set_up)
            case ChildListDenied():
                self._moved |= self._standings.deny(item.objects, item.reason, not_set_up=item.not_set_up)
            case ListClosed(refused=str() as reason):
                self._moved |= self._standings.deny(item.root.objects, reason, not_set_up=item.not_set_up)

    def _remember(self, stream: str, changes: Iterable[Change]) -> None:
        """Remember an object by which the account is known again, if there is one."""
        for change in changes:
            record = change.record
            # What is on a test clock goes with it, and a copy may be of something that is gone.
            if not record.get(DELETED_AT) and not change.fills_gap and not record.get("test_clock_id"):
                self._to_remember.discard(stream)
                self._bookmarks.remember(stream, record["id"])
                return

    def _log_skipped(self, backfill: Backfill) -> None:
        for child, count in backfill.skipped.items():
            _logger.warning(
                "%s: not read for %d objects, which vanished meanwhile or do not support it", child.path, count
            )

    def tell(self, what: str) -> None:
        """Log in one line what came of the run so far.

        Args:
            what: What it is at, or how it ends.
        """
        self._last_progress = self._clock.monotonic()
        if self._pace.quiet:
            return
        largest = sorted(self._delivered.items(), key=lambda each: -each[1])[:4]
        reasons = "".join(f"{reason} {count}, " for reason, count in self._flight.reasons.most_common())
        sent, again = self._client.requests_sent, self._client.sent_again
        since = self._standings.since()
        _logger.info(
            "%s: %d records of %d streams (%s) with %d requests (%sothers %d, tried again %d), %d streams to go%s; "
            "%s, %.1f s",
            what,
            sum(self._delivered.values()),
            len(self._delivered),
            ", ".join(f"{stream} {count}" for stream, count in largest) or "nothing yet",
            sent,
            reasons,
            max(0, sent - again - sum(self._flight.reasons.values())),
            again,
            self._listing[0].to_go if self._listing is not None else 0,
            self._upcoming.progress(),
            "no lag known" if since is None else f"lag {self._client.stripe_clock.second() - since} s",
            self._last_progress - self._began_at,
        )

    @property
    def delivered(self) -> Mapping[str, int]:
        """How many records of each stream there were."""
        return self._delivered
