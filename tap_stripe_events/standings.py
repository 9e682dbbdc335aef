"""How the selected streams stand, by their bookmarks: which are followed, which are refused, what is due.

Nothing is read here: `sync` reads, and asks this module what; the rules of what is due are in `plan`.
"""

import logging
from collections.abc import Collection

from tap_stripe_events.bookmarks import Bookmarks
from tap_stripe_events.clock import StripeClock, iso
from tap_stripe_events.families import (
    brought_by_only,
    hung_on,
    names_by_stream,
    needed_roots,
    own_lists,
    roots_of,
    shows_test_clocks,
)
from tap_stripe_events.listing import Warnings, listable
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import KeptBy, stream_name
from tap_stripe_events.plan import Rhythm, Standing, Task, due, reach, too_old

_NOT_SET_UP_SECONDS = 60  # how long a refusal is believed though events tell of the product

_logger = logging.getLogger("tap-stripe-events")


class Standings:
    """The selected streams.

    Args:
        bookmarks: The state.
        selected: Their object types.
        floor: Nothing created before this Unix time is wanted, where a list can say so.
        stripe_clock: Stripe's clock.
        warnings: Where it is said what may not be read.
    """

    def __init__(
        self,
        *,
        bookmarks: Bookmarks,
        selected: Collection[str],
        floor: int | None,
        stripe_clock: StripeClock,
        warnings: Warnings,
    ) -> None:
        self._bookmarks = bookmarks
        self._selected = frozenset(selected)
        self._needed = frozenset(needed_roots(self._selected))
        self._floor = floor
        self._stripe_clock = stripe_clock
        self._warnings = warnings

    def bring_up_to_date(self, api_version: str, *, again_after: int) -> None:
        """Bring the bookmarks up to what this tap knows and this run wants.

        Args:
            api_version: The version that rows are in.
            again_after: After how many seconds a refusal is doubted that no list can tell of.
        """
        bookmarks = self._bookmarks
        for name in sorted(self._selected):
            bookmarks.kept_by(stream_name(name), STRIPE_OBJECTS[name].kept_by.value)
            if stream_name(name) not in listable():
                self._follow_unlisted(stream_name(name), again_after)
        if bookmarks.changes_version(api_version):
            for stream, name in listable().items():
                fixed = STRIPE_OBJECTS[name].kept_by is KeptBy.FEED  # an event stays in the version it was made in
                if name in self._selected and bookmarks.backfilled(stream) and not fixed:
                    bookmarks.make_listing_due(stream, "the API version has changed")
        for stream in bookmarks.listings():
            if names_by_stream().get(stream) not in self._selected or bookmarks.listing_floor(stream) != self._floor:
                bookmarks.abandon_listing(stream)  # it misses what this run reads, or what that one left out
        for name in self._selected:
            listed_from = bookmarks.listed_from(stream_name(name))
            if listed_from is not None and listed_from > (self._floor or 0) and any(r.created for r in roots_of(name)):
                bookmarks.want_backfill(stream_name(name))  # the start date is an earlier one now, or there is none

    def _follow_unlisted(self, stream: str, again_after: int) -> None:
        """Follow a stream that no list shows, so that nothing makes up for what the feed has forgotten.

        If it was refused, no list can tell whether it still is: it is tried again from time to time. The feed is read
        from where the stream was left; that may be far back, so not in every run.
        """
        second = self._stripe_clock.second()
        tried = self._bookmarks.denied_tried_at(stream)
        if tried is not None and second - tried >= again_after:
            self._bookmarks.allow(stream)
        as_of = self._bookmarks.events_as_of(stream)
        if as_of is None:
            self._bookmarks.follow_from(stream, second)
        elif too_old(as_of, second):
            self._bookmarks.note_gap(stream, reach(second))
            _logger.warning(
                "%s: what Stripe announced from %s to %s has been forgotten, and no list shows it. "
                "Rows of that time are in only where other objects hold them.",
                stream,
                iso(as_of),
                iso(reach(second)),
            )

    # What is followed

    def followed(self) -> list[str]:
        """Return the streams for which the feed is read."""
        denied, second = self._bookmarks.streams_denied(), self._stripe_clock.second()
        moments = {
            stream: self._bookmarks.events_as_of(stream)
            for stream in map(stream_name, sorted(self._selected))
            if stream not in denied
        }
        return [stream for stream, as_of in moments.items() if as_of is not None and not too_old(as_of, second)]

    def since(self) -> int | None:
        """Return from when the feed is to be read; None if nothing was read before it."""
        moments = [self._bookmarks.events_as_of(stream) for stream in self.followed()]
        return min((each for each in moments if each is not None), default=None)

    # What is refused

    def ignored(self) -> frozenset[str]:
        """Return the types of which events are left out, since the key may not read them.

        What the account did not use has no rows, and nobody forbids to read what an event tells of it.
        """
        denied = self._bookmarks.streams_denied()
        return frozenset(
            name
            for name in self._selected
            if stream_name(name) in denied and not self._bookmarks.not_set_up(stream_name(name))
        )

    def deny_objects(self, name: str, reason: str, *, not_set_up: bool) -> bool:
        """Take in that objects of which events tell may not be read: nor may what only they bring.

        Returns:
            Whether a bookmark has moved.
        """
        lost = {name} if name in self._selected else self._selected & brought_by_only(name)
        if not lost:
            self._warnings.refused(f"An object of type {name}, of which the feed tells,", reason, not_set_up=False)
        return self.deny(lost, reason, not_set_up=not_set_up)

    def deny(self, names: Collection[str], reason: str, *, not_set_up: bool) -> bool:
        """Take in that what an event told of may not be read; return whether a bookmark has moved."""
        moved = False
        for name in names:
            stream = stream_name(name)
            if name in self._selected and self._bookmarks.denied(stream) is None and not not_set_up:
                self._warnings.refused(f"Stream {stream}", reason, not_set_up=False)
                self._bookmarks.deny(stream, reason, self._stripe_clock.second())
                moved = True
        return moved

    def doubt_refusals(self, told: Collection[str]) -> bool:
        """List again what the account is said not to use, if events tell of it; return whether there is any."""
        second = self._stripe_clock.second()
        found = False
        for stream in map(stream_name, self._selected.intersection(told)):
            tried = self._bookmarks.denied_tried_at(stream) or second
            if self._bookmarks.not_set_up(stream) and second - tried >= _NOT_SET_UP_SECONDS:
                self._bookmarks.try_again(stream)
                found = True
        return found

    # What is due

    def lose(self, deleted: Collection[str]) -> bool:
        """List again what deleted objects have taken along, where only lists tell; return whether there is any."""
        found = False
        for name in deleted:
            if STRIPE_OBJECTS[name].swept_after:
                found = True
                for lost in hung_on(name) & self._selected & set(listable().values()):
                    self._bookmarks.make_listing_due(stream_name(lost), f"a {stream_name(name)} was deleted")
        return found

    def begin_due(
        self, rhythm: Rhythm, *, without_feed: bool
    ) -> tuple[frozenset[str], dict[str, str], dict[str, Task]]:
        """Begin the listings that are due, in the bookmarks.

        Args:
            rhythm: How often lists are read.
            without_feed: The feed may not be read, so that its reach does not matter.

        Returns:
            The types whose listings were under way; those whose listings have begun, each with the reason; and what is
            to be looked at otherwise.
        """
        bookmarks, second = self._bookmarks, self._stripe_clock.second()
        under_way = frozenset(names_by_stream()[stream] for stream in bookmarks.listings())
        anew: dict[str, str] = {}
        partly: dict[str, Task] = {}
        for stream, name in listable().items():
            if name not in self._selected:
                continue
            gap = too_old(bookmarks.events_as_of(stream) or second, second) and not without_feed
            if name in under_way and not gap:
                continue
            task, reason = due(self._standing(name), second, rhythm)
            if task in {Task.BACKFILL, Task.SWEEP}:
                again = task is Task.BACKFILL
                since = self._events_from(name) if again else None
                bookmarks.begin_listing(stream, second, self._floor, because=reason, anew=again, events_from=since)
                anew[name] = reason
            elif task is not Task.NOTHING:
                partly[name] = task
        return under_way, anew, partly

    def _events_from(self, name: str) -> int:
        """Return from when the feed is followed beside a listing that begins anew.

        Where a listing proves nothing about what it does not see, only events tell what is gone, as far as they reach.
        """
        second, as_of = self._stripe_clock.second(), self._bookmarks.events_as_of(stream_name(name))
        livemode = self._bookmarks.livemode
        proves = STRIPE_OBJECTS[name].complete and shows_test_clocks(name, self._needed, livemode=livemode)
        return second if as_of is None or proves else max(as_of, reach(second))

    def _standing(self, name: str) -> Standing:
        bookmarks, stream = self._bookmarks, stream_name(name)
        return Standing(
            kept_by=STRIPE_OBJECTS[name].kept_by,
            partial=not STRIPE_OBJECTS[name].complete and bool(own_lists(name)),
            backfilled=bookmarks.backfilled(stream),
            events_as_of=bookmarks.events_as_of(stream),
            listed_at=bookmarks.listed_at(stream),
            listing_due=bookmarks.listing_due(stream),
            refreshed_at=bookmarks.refreshed_at(stream),
            denied=bookmarks.denied(stream) is not None,
            not_set_up=bookmarks.not_set_up(stream),
            tried_at=bookmarks.denied_tried_at(stream),
        )
