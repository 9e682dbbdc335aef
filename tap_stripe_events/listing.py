"""One round of listing some streams: which lists, what each stream still waits for, and what its end says.

A listing of a stream is whole if every list that can hold its rows was read; then what it did not see is gone. It is
kept in the bookmarks, so that a run that is killed goes on where it was. `Backfill` reads the lists.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from tap_stripe_events.backfill import ListClosed
from tap_stripe_events.bookmarks import Bookmarks, OpenWindow
from tap_stripe_events.changes import Change
from tap_stripe_events.families import (
    brought_unannounced,
    names_by_stream,
    needed_roots,
    root_lists,
    roots_of,
    shows_test_clocks,
)
from tap_stripe_events.gather import ChildListDenied
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import StripeList, stream_name

_logger = logging.getLogger("tap-stripe-events")


@dataclass(frozen=True, kw_only=True)
class Activate:
    """A stream's listing is finished: what has another version is gone.

    Attributes:
        stream: The stream.
        version: The version.
        account: Whose rows alone that is about, where a stream has several accounts'.
    """

    stream: str
    version: int
    account: str | None = None


class Warnings:
    """Says once for each list that it is not read, and why; what the account does not use is said at the end."""

    def __init__(self) -> None:
        self._warned: set[str] = set()  # paths: a list can be refused as a child list too
        self._not_set_up: dict[str, list[str]] = {}  # Stripe's reason → paths

    def refused(self, path: str, reason: str, *, not_set_up: bool) -> None:
        """Warn that a list is closed."""
        if path in self._warned:
            return
        self._warned.add(path)
        if not_set_up:
            self._not_set_up.setdefault(reason, []).append(path)
        else:
            _logger.warning("%s is not read: %s. Its rows stay as they are; all other streams go on.", path, reason)

    def allowed(self, stream: str, paths: Collection[str]) -> None:
        """Say that a stream is read again, so that it will be said if it is refused another time."""
        self._warned.difference_update({f"Stream {stream}", *paths})
        _logger.info("Stream %s may be read again, and was listed anew", stream)

    def say_not_set_up(self) -> None:
        """Say which lists the account has no use for."""
        for reason, paths in self._not_set_up.items():
            _logger.warning("Not set up in this account, so not read: %s. Stripe says: %s", ", ".join(paths), reason)
        self._not_set_up.clear()


class Listing:
    """Listings of streams that began together, or go on together.

    Args:
        bookmarks: Where they are kept.
        names: The object types whose listings are under way, as the bookmarks say.
        anew: Those whose listings have just begun.
        selected: All object types whose streams are selected.
        floor: Nothing created before this Unix time is wanted, where a list can say so.
        warnings: Where it is said which lists are closed.
    """

    def __init__(
        self,
        *,
        bookmarks: Bookmarks,
        names: Collection[str],
        anew: Collection[str],
        selected: Collection[str],
        floor: int | None,
        warnings: Warnings,
    ) -> None:
        self._bookmarks = bookmarks
        self._floor = floor
        self._warnings = warnings
        self.names = frozenset(names)
        self._needed = frozenset(self._roots(selected))
        self._open: dict[str, set[StripeList]] = {}  # stream → root lists that still feed it
        self._unused: dict[str, dict[StripeList, str]] = {}  # stream → its lists of products not in use, and why
        self._versions: dict[str, int] = {}
        began = bookmarks.listings()
        for name in sorted(names):
            stream = stream_name(name)
            self._open[stream] = set(roots_of(name, optional=True)) & self._needed
            if STRIPE_OBJECTS[name].complete:
                self._versions[stream] = began[stream] * 1000
        self.windows = self._windows({root for name in anew for root in roots_of(name, optional=True)})
        self._read_before = {root for root, rest in self.windows.items() if not rest}

    def _roots(self, selected: Collection[str]) -> Iterator[StripeList]:
        """Yield the lists to read: those without which a stream is not whole, and those that add to it.

        What adds to a type is found by reading others. When these are not listed now, that is worth it only if the type
        has never been read, or on a test clock, where ordinary lists do not show what there is.
        """
        read_anyway = needed_roots(self.names)
        yield from read_anyway
        for name in self.names:
            if not self._bookmarks.backfilled(stream_name(name)) or not self._bookmarks.livemode:
                yield from roots_of(name, optional=True) & set(needed_roots(selected))

    def _windows(self, anew: Collection[StripeList]) -> dict[StripeList, tuple[OpenWindow, ...]]:
        """Return what is to be read of the lists that are needed, and forget what was left of others."""
        windows: dict[StripeList, tuple[OpenWindow, ...]] = {}
        for root in root_lists():
            owner = owner_of(root)
            if root in anew and root in self._needed:
                whole = [OpenWindow(path=root.path, parameters=dict(each)) for each in root.passes]
                self._bookmarks.set_windows(owner, root.path, whole)
            rest = self._bookmarks.windows(owner, root.path)
            if root in self._needed:
                windows[root] = rest
            elif rest:
                self._bookmarks.set_windows(owner, root.path, ())
        return windows

    @property
    def to_go(self) -> int:
        """How many streams are not listed to their end yet."""
        return len(self._open)

    def version(self, change: Change) -> int | None:
        """Return the version of the listing that a change belongs to; None if it proves nothing about its presence."""
        if change.fills_gap:
            return None
        return self._versions.get(change.stream)

    def move(self, root: StripeList, windows: Collection[OpenWindow]) -> None:
        """Note where the windows of a list stand."""
        self._bookmarks.set_windows(owner_of(root), root.path, windows)

    def close(self, closed: ListClosed, second: int) -> Iterator[Activate]:
        """Take in that a list was read to its end, or is refused; yield what is finished by that."""
        root = closed.root
        self.move(root, ())
        if closed.refused is not None:
            self._warnings.refused(root.path, closed.refused, not_set_up=closed.not_set_up)
        self._drop_ended()
        for stream in [each for each, roots in self._open.items() if root in roots]:
            if closed.refused is not None:
                self._leave_out(stream, closed, closed.refused)
            elif root not in self._read_before:
                self._bookmarks.use_list(stream, root.path)
            self._open[stream].discard(root)
            if not self._open[stream]:
                del self._open[stream]
                yield from self._finish(stream, second)

    def deny_children(self, denied: ChildListDenied) -> None:
        """Take in that a child list is refused."""
        self._warnings.refused(denied.path, denied.reason, not_set_up=denied.not_set_up)
        self._drop_ended()
        for name in denied.objects:
            if stream_name(name) in self._open:
                self._bookmarks.leave_out(stream_name(name), denied.path, denied.reason)

    def _drop_ended(self) -> None:
        """Let go of listings that ended elsewhere: an event told of an object that may not be read."""
        for stream in [each for each in self._open if self._bookmarks.listing_since(each) is None]:
            del self._open[stream]

    def _leave_out(self, stream: str, closed: ListClosed, reason: str) -> None:
        """Note what a stream's listing lacks without a list.

        That of a product that the account does not use holds nothing, so others can still bring all there is. If it was
        in use once, rows may be there of it.
        """
        if not closed.not_set_up:
            self._bookmarks.leave_out(stream, closed.root.path, reason)
            return
        unused = self._unused.setdefault(stream, {})
        unused[closed.root] = reason
        if not self._bookmarks.leave_unused(stream, closed.root.path):
            self._bookmarks.leave_out(stream, closed.root.path, reason)
        if self._is_unused(stream):
            for root, why in unused.items():
                self._bookmarks.leave_out(stream, root.path, why)

    def _is_unused(self, stream: str) -> bool:
        """Whether all that could bring a stream's rows are lists of products that the account does not use."""
        return roots_of(names_by_stream()[stream]) <= self._unused.get(stream, {}).keys()

    def _finish(self, stream: str, second: int) -> Iterator[Activate]:
        if reason := self._denial(stream):
            self._bookmarks.deny(stream, reason, second, not_set_up=self._is_unused(stream))
            return
        whole = not self._bookmarks.not_read(stream) and self._shows_every_row(stream)
        self._bookmarks.finish_listing(stream, second)
        if self._bookmarks.denied(stream) is not None:
            self._bookmarks.allow(stream)
            self._warnings.allowed(stream, [each.path for each in roots_of(names_by_stream()[stream])])
            self._make_up_for_refusal(stream)
        if whole:
            yield Activate(stream=stream, version=self._versions[stream])

    def _make_up_for_refusal(self, stream: str) -> None:
        """Have listed again what was found by a stream's lists, or comes with its objects: it went without them."""
        name = names_by_stream()[stream]
        for root in roots_of(name):
            for other in self._bookmarks.lacking(root.path):
                self._bookmarks.make_listing_due(other, f"{root.path} was refused before")
        for each in brought_unannounced(name) - self.names:  # what is listed at the same time has what it needs
            other = stream_name(each)
            if self._bookmarks.backfilled(other) and other in listable():
                self._bookmarks.make_listing_due(other, f"its {stream} was refused before")

    def _denial(self, stream: str) -> str | None:
        """Return why a stream counts as refused: a list of its own is, or all that lead to it."""
        name = names_by_stream()[stream]
        not_read = self._bookmarks.not_read(stream)
        unused = {root.path: why for root, why in self._unused.get(stream, {}).items()}
        detours = {each.path for each in roots_of(name, optional=True) if name not in each.objects}
        for path, reason in not_read.items():
            if path not in detours and path not in unused:
                return reason
        unread = not_read | unused
        paths = [each.path for each in roots_of(name)]
        if all(path in unread for path in paths):
            return f"{paths[0]}, which it is found by, is refused: {unread[paths[0]]}"
        return None

    def _shows_every_row(self, stream: str) -> bool:
        """Whether this listing sees every live row of a type, so that it can tell what is gone."""
        if stream not in self._versions:
            return False
        name = names_by_stream()[stream]
        if any(name in root.objects for root in self._unused.get(stream, ())):
            return False  # what the list held while the product was in use need not be gone
        if self._floor is not None and any(root.created for root in roots_of(name)):
            return False
        return shows_test_clocks(name, self._needed, livemode=self._bookmarks.livemode)


@cache
def listable() -> Mapping[str, str]:
    """Return stream → object type of all that can be listed at all."""
    return {stream_name(name): name for name in STRIPE_OBJECTS if roots_of(name)}


def owner_of(root: StripeList) -> str:
    """Return the stream in whose bookmark a root list's windows are."""
    return stream_name(root.objects[0])
