"""What is due for a stream besides the feed: nothing, a backfill, a listing, or a look at a part of its lists. Pure.

A new reason to list a stream belongs in `due`.
"""

from dataclasses import dataclass
from enum import Enum, auto

from tap_stripe_events.objects import KeptBy

RETENTION_SECONDS = 30 * 86_400  # how far back the feed reaches

_MARGIN_SECONDS = 86_400  # a bookmark nearly as old as the retention may be too old before the feed has been read


class Task(Enum):
    """What is due."""

    NOTHING = auto()
    BACKFILL = auto()  # list it as if it had never been read
    SWEEP = auto()  # list it in full, to find what nobody announced
    REFRESH = auto()  # read its own lists, which prove nothing about what is absent
    CATCH_UP = auto()  # read what was created since the last time


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """How often lists are read again.

    Attributes:
        sweep_seconds: Those that events cannot keep fresh.
        full_sweep_seconds: All.
        denied_seconds: Those that the key may not read are tried again.
        not_set_up_seconds: Those of products that the account does not use.
    """

    sweep_seconds: int
    full_sweep_seconds: int
    denied_seconds: int = 0
    not_set_up_seconds: int = 0


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a stream stands. Moments are in Unix time, None: never.

    Attributes:
        kept_by: What keeps its rows up to date.
        partial: A look at its own lists alone is worth while: they cost less than all that its rows are found by, and
            no listing proves what is absent anyway.
        backfilled: It was listed once in full.
        events_as_of: All that Stripe announced up to then is in.
        listed_at: The start of its last listing.
        listing_due: Why it must be listed now, whatever the rhythm.
        refreshed_at: When it was last looked at otherwise.
        denied: Stripe refuses it, as far as is known.
        not_set_up: Because the account does not use the product.
        tried_at: When that was last tried.
    """

    kept_by: KeptBy
    partial: bool = False
    backfilled: bool = False
    events_as_of: int | None = None
    listed_at: int | None = None
    listing_due: str | None = None
    refreshed_at: int | None = None
    denied: bool = False
    not_set_up: bool = False
    tried_at: int | None = None


def too_old(events_as_of: int, now: int) -> bool:
    """Whether the feed may have forgotten what it announced since a moment."""
    return events_as_of < now - RETENTION_SECONDS + _MARGIN_SECONDS


def reach(now: int) -> int:
    """Return from when the feed is read after a gap: as early as it surely tells everything, with a day to spare."""
    return now - RETENTION_SECONDS + 2 * _MARGIN_SECONDS


def due(standing: Standing, now: int, rhythm: Rhythm) -> tuple[Task, str]:
    """Return what is due for a stream, and why.

    Args:
        standing: How it stands; no listing of it is under way.
        now: The time, in Unix time.
        rhythm: How often lists are read again.
    """
    if standing.denied:
        again = rhythm.not_set_up_seconds if standing.not_set_up else rhythm.denied_seconds
        if standing.tried_at is not None and now - standing.tried_at < again:
            return Task.NOTHING, ""
        return Task.BACKFILL, "Stripe refused it before"
    if gap := _gap(standing, now):
        return Task.BACKFILL, gap
    if standing.listing_due is not None:
        return Task.SWEEP, standing.listing_due
    return _repeated(standing, now, rhythm)


def _gap(standing: Standing, now: int) -> str | None:
    """Return why the feed alone cannot bring a stream up to date; None if it can."""
    if not standing.backfilled:
        return "it was never read in full"
    if standing.events_as_of is None:
        return "the feed was never followed for it"
    if too_old(standing.events_as_of, now):
        return "its bookmark is older than the feed reaches back"
    return None


def _repeated(standing: Standing, now: int, rhythm: Rhythm) -> tuple[Task, str]:
    """Return what is due because it has not been done for a while."""
    listed = standing.listed_at if standing.listed_at is not None else 0
    if standing.kept_by is KeptBy.FEED:
        return Task.NOTHING, ""
    if now - listed >= rhythm.full_sweep_seconds:
        return Task.SWEEP, "all lists are read again from time to time"
    if now - max(listed, standing.refreshed_at or 0) >= rhythm.sweep_seconds:
        if standing.kept_by is KeptBy.WINDOWS:
            return Task.CATCH_UP, "rows are added without a word"
        if standing.kept_by is KeptBy.SWEEPS:
            return (Task.REFRESH if standing.partial else Task.SWEEP), "Stripe does not announce all of its changes"
    return Task.NOTHING, ""
