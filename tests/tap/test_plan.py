"""What is due for a stream, case by case."""

from typing import Any

import pytest

from tap_stripe_events.objects import KeptBy
from tap_stripe_events.plan import RETENTION_SECONDS, Rhythm, Standing, Task, due, too_old

DAY = 86_400
HOUR = 3_600
NOW = 1_790_000_000
RHYTHM = Rhythm(sweep_seconds=DAY, full_sweep_seconds=7 * DAY, denied_seconds=HOUR, not_set_up_seconds=2 * DAY)
AT_ONCE = Rhythm(sweep_seconds=0, full_sweep_seconds=0)
ONLY_WHAT_EVENTS_MISS = Rhythm(sweep_seconds=0, full_sweep_seconds=7 * DAY)


def standing(**how: Any) -> Standing:
    """Return how a stream stands that was listed an hour ago and followed ever since, save for what is given."""
    fresh = {"kept_by": KeptBy.EVENTS, "backfilled": True, "events_as_of": NOW - 10, "listed_at": NOW - HOUR}
    return Standing(**{**fresh, **how})


NEVER_READ = {"backfilled": False, "events_as_of": None, "listed_at": None}
SILENT = {"kept_by": KeptBy.SWEEPS}
WINDOWS = {"kept_by": KeptBy.WINDOWS}


@pytest.mark.parametrize(
    ("how", "rhythm", "task"),
    [
        # The feed is enough.
        ({}, RHYTHM, Task.NOTHING),
        ({"listed_at": NOW - 7 * DAY + 1}, RHYTHM, Task.NOTHING),
        ({"kept_by": KeptBy.PARENTS, "listed_at": NOW - 6 * DAY}, RHYTHM, Task.NOTHING),
        ({"kept_by": KeptBy.OTHERS, "listed_at": NOW - 6 * DAY}, RHYTHM, Task.NOTHING),
        # It is not.
        (NEVER_READ, RHYTHM, Task.BACKFILL),
        ({"events_as_of": None}, RHYTHM, Task.BACKFILL),
        ({"backfilled": False}, RHYTHM, Task.BACKFILL),
        ({"events_as_of": NOW - 29 * DAY - 1}, RHYTHM, Task.BACKFILL),
        ({"events_as_of": NOW - 29 * DAY}, RHYTHM, Task.NOTHING),
        ({"events_as_of": NOW - 365 * DAY, "kept_by": KeptBy.FEED}, RHYTHM, Task.BACKFILL),
        # All lists, from time to time.
        ({"listed_at": NOW - 7 * DAY}, RHYTHM, Task.SWEEP),
        ({"listed_at": NOW - 7 * DAY, "partial": True}, RHYTHM, Task.SWEEP),
        ({**WINDOWS, "listed_at": NOW - 7 * DAY, "refreshed_at": NOW - 1}, RHYTHM, Task.SWEEP),
        ({"listed_at": None}, RHYTHM, Task.SWEEP),
        ({"kept_by": KeptBy.FEED, "listed_at": NOW - 700 * DAY}, RHYTHM, Task.NOTHING),
        ({"kept_by": KeptBy.FEED}, AT_ONCE, Task.NOTHING),
        ({}, AT_ONCE, Task.SWEEP),
        ({"listed_at": NOW}, AT_ONCE, Task.SWEEP),
        # Those that Stripe is silent on, sooner.
        ({**SILENT, "listed_at": NOW - DAY}, RHYTHM, Task.SWEEP),
        ({**SILENT, "listed_at": NOW - DAY + 1}, RHYTHM, Task.NOTHING),
        ({**SILENT, "listed_at": NOW - 2 * DAY, "partial": True}, RHYTHM, Task.REFRESH),
        ({**SILENT, "listed_at": NOW - 2 * DAY, "partial": True, "refreshed_at": NOW - HOUR}, RHYTHM, Task.NOTHING),
        ({**SILENT, "listed_at": NOW - 2 * DAY, "partial": True, "refreshed_at": NOW - DAY}, RHYTHM, Task.REFRESH),
        (SILENT, ONLY_WHAT_EVENTS_MISS, Task.SWEEP),
        ({}, ONLY_WHAT_EVENTS_MISS, Task.NOTHING),
        # Where rows are only added, what was added.
        ({**WINDOWS, "listed_at": NOW - DAY}, RHYTHM, Task.CATCH_UP),
        ({**WINDOWS, "listed_at": NOW - DAY + 1}, RHYTHM, Task.NOTHING),
        ({**WINDOWS, "listed_at": NOW - 2 * DAY, "refreshed_at": NOW - HOUR}, RHYTHM, Task.NOTHING),
        ({**WINDOWS, "listed_at": NOW - 2 * DAY, "refreshed_at": NOW - DAY}, RHYTHM, Task.CATCH_UP),
        (WINDOWS, ONLY_WHAT_EVENTS_MISS, Task.CATCH_UP),
        # What something else has made due.
        ({"listing_due": "a test clock was deleted"}, RHYTHM, Task.SWEEP),
        ({**SILENT, "partial": True, "listing_due": "a test clock was deleted"}, RHYTHM, Task.SWEEP),
        ({**NEVER_READ, "listing_due": "a test clock was deleted"}, RHYTHM, Task.BACKFILL),
        # What Stripe refuses.
        ({"denied": True}, RHYTHM, Task.BACKFILL),
        ({"denied": True, "tried_at": NOW - HOUR}, RHYTHM, Task.BACKFILL),
        ({"denied": True, "tried_at": NOW - HOUR + 1}, RHYTHM, Task.NOTHING),
        ({**NEVER_READ, "denied": True, "tried_at": NOW - 1}, RHYTHM, Task.NOTHING),
        ({"denied": True, "tried_at": NOW - 1, "listing_due": "a test clock was deleted"}, RHYTHM, Task.NOTHING),
        ({"denied": True, "tried_at": NOW - 1, "listed_at": NOW - 90 * DAY}, RHYTHM, Task.NOTHING),
        ({"denied": True, "tried_at": NOW}, AT_ONCE, Task.BACKFILL),
        ({"denied": True, "not_set_up": True, "tried_at": NOW - HOUR}, RHYTHM, Task.NOTHING),
        ({"denied": True, "not_set_up": True, "tried_at": NOW - 2 * DAY}, RHYTHM, Task.BACKFILL),
    ],
)
def test_what_is_due_follows_from_how_a_stream_stands(how: dict[str, Any], rhythm: Rhythm, task: Task) -> None:
    found, reason = due(standing(**how), NOW, rhythm)
    assert found is task
    assert bool(reason) is (task is not Task.NOTHING)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (NEVER_READ, "never read"),
        ({"events_as_of": None}, "never followed"),
        ({"events_as_of": NOW - 30 * DAY}, "older than the feed reaches back"),
        ({"denied": True}, "refused"),
        ({"listing_due": "a test clock was deleted"}, "a test clock was deleted"),
        ({"listed_at": NOW - 8 * DAY}, "from time to time"),
    ],
)
def test_the_reason_says_what_happened(how: dict[str, Any], words: str) -> None:
    assert words in due(standing(**how), NOW, RHYTHM)[1]


def test_a_bookmark_is_too_old_a_day_before_the_feed_forgets() -> None:
    assert not too_old(NOW - RETENTION_SECONDS + DAY, NOW)
    assert too_old(NOW - RETENTION_SECONDS + DAY - 1, NOW)
