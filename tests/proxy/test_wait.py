"""When a call to the wait endpoint may be answered with yes; no network."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest

from stripe_proxy.wait import Followed, Status, StripeBound, Waits, obstacle, read_status

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
CALLED = NOW.timestamp() + 0.4


def status(*as_ofs, polled_seconds_ago=0, backfilling=None, requested=()):
    return Status(
        followed=tuple(
            Followed(stream=f"stream_{number}", backfilling_since=backfilling,
                     events_as_of=None if each is None else NOW + timedelta(seconds=each))
            for number, each in enumerate(as_ofs)
        ),
        polled_at=NOW - timedelta(seconds=polled_seconds_ago),
        requested=frozenset(requested),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("as_ofs", "expected"),
    [((1,), True), ((1, 2, 60), True), ((0,), False), ((1, 0), False), ((1, None), False), ((), False)],
)
def test_every_stream_must_be_in_up_to_a_second_that_began_after_the_call(as_ofs, expected):
    assert (obstacle(status(*as_ofs), CALLED, NOW, None) is None) is expected


def test_a_second_that_began_with_the_call_is_not_after_it():
    assert obstacle(status(1), NOW.timestamp() + 1, NOW, None) is not None
    assert obstacle(status(1), NOW.timestamp() + 0.999, NOW, None) is None


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (status(), "No stream is followed"),
        (status(1, backfilling=NOW), "backfill is under way since 2026-11-24T12:00:00Z: stream_0"),
        (status(*[1] * 5, backfilling=NOW), "and 2 more"),
        (status(-9), "in up to 2026-11-24T11:59:51Z"),
        (status(None), "None is"),
        (status(-90, polled_seconds_ago=90), "does not seem to run: it last read the feed 2026-11-24T11:58:30Z"),
    ],
)
def test_why_not_is_said(state, says):
    assert says in (obstacle(state, CALLED, NOW, None) or "")


def test_the_events_of_a_request_must_be_in_too():
    assert "req_1" in (obstacle(status(1, requested=["req_2"]), CALLED, NOW, "req_1") or "")
    assert obstacle(status(1, requested=["req_1"]), CALLED, NOW, "req_1") is None
    assert obstacle(status(0, requested=["req_1"]), CALLED, NOW, "req_1") is not None


IN = {"kept_by": "events", "events_as_of": "2026-11-24T12:00:01Z"}


@pytest.mark.parametrize(
    ("bookmarks", "followed"),
    [
        ({"mandate": IN, "customer": {"kept_by": "events"}}, {"mandate", "customer"}),
        ({"mandate": IN, "customer": {"kept_by": "events", "denied": {"since": "…", "reason": "…"}}}, {"mandate"}),
        ({"mandate": IN, "charge": {"open_windows": []}}, {"mandate"}),
        ({"mandate": IN, "customer": {"kept_by": "events", "selected": False}}, {"mandate"}),
    ],
)
def test_a_stream_is_waited_for_from_its_first_bookmark_on(load, connection, bookmarks, followed):
    """Before its backfill has begun, too: another stream that needs none may be in already."""
    account = {"id": "acct_1", "livemode": False}
    load(*({"type": "STATE", "value": {"account": account, "bookmarks": each}} for each in ({}, bookmarks)))
    found = read_status(connection, "stripe", frozenset())
    assert {each.stream for each in found.followed} == followed
    assert (obstacle(found, CALLED, NOW, None) is None) is (followed == {"mandate"})


LOADED = IN | {"backfill_started_at": "2026-11-24T11:00:00Z", "backfill_finished_at": "2026-11-24T11:01:00Z"}


@pytest.mark.parametrize(
    ("second", "is_up_to_date"),
    [
        (LOADED, True),
        (LOADED | {"events_as_of": "2026-11-24T12:00:00Z"}, False),  # in the second of the call
        ({"kept_by": "events"}, False),  # it is not its turn yet
        (LOADED | {"backfill_finished_at": None}, False),
        (LOADED | {"events_as_of": "2026-11-20T12:00:00Z", "selected": False}, True),  # it has left
        (LOADED | {"events_as_of": "2026-11-20T12:00:00Z", "denied": {"reason": "no access"}}, True),
    ],
)
def test_every_account_that_is_read_is_waited_for(load, connection, second, is_up_to_date):
    accounts = {"acct_1": {"bookmarks": {"coupon": LOADED}}, "acct_2": {"bookmarks": {"coupon": second}}}
    first = {"account": {"id": "acct_1", "livemode": False}}
    load(*({"type": "STATE", "value": each} for each in (first, first | {"accounts": accounts})))
    found = read_status(connection, "stripe", frozenset())
    assert (obstacle(found, CALLED, NOW, None) is None) is is_up_to_date


# How late it is at Stripe's


@pytest.mark.parametrize("ahead", [0.0, 0.3, 0.9999])
@pytest.mark.parametrize("way_seconds", [0.0, 0.2, 5.0])
def test_it_is_never_later_there_than_the_bound(ahead, way_seconds):
    """Whatever the difference of the clocks is, and wherever in the second and on its way an answer is dated."""
    bound = StripeBound()
    for number in range(50):
        here = number * 1.37
        there = 1_000_000 + ahead + here + way_seconds / 2
        bound.heard(formatdate(int(there), usegmt=True), here)
        for later in (0.0, 0.5, 100.0):
            latest = bound.latest(here + later)
            assert latest is not None
            assert latest >= 1_000_000 + ahead + here + later
    assert bound.latest(100.0) - (1_000_100 + ahead) < 0.1 + way_seconds


def test_nothing_heard_is_no_bound():
    bound = StripeBound()
    for odd in (None, "", "yesterday"):
        bound.heard(odd, 1.0)
    assert bound.latest(1.0) is None


# Many who wait


def waits(looks):
    """Waits on a status that is as the looks say, one after the other."""
    seen = iter(looks)
    asked = []

    async def look(requests):
        asked.append(requests)
        found = next(seen)
        if isinstance(found, Exception):
            raise found
        return found

    return Waits(look=look, wake=lambda: asked.append("wake")), asked


def test_many_waiters_share_each_look():
    waiting, asked = waits([status(0), status(0), status(1)])

    async def wait_together():
        return await asyncio.gather(*(waiting.until(CALLED, request=None, timeout_seconds=5) for _ in range(100)))

    assert asyncio.run(wait_together()) == [None] * 100
    assert asked == ["wake", frozenset()] * 3


def test_after_the_timeout_the_reason_is_said():
    waiting, _ = waits([replace(status(0), polled_at=datetime.now(UTC))] * 100)
    reason = asyncio.run(waiting.until(CALLED, request=None, timeout_seconds=0.2))
    assert reason == "The sync runs; what Stripe announced is in up to 2026-11-24T12:00:00Z."


def test_postgres_being_away_for_a_moment_is_waited_out():
    waiting, _ = waits([OSError(), OSError(), status(1)])
    assert asyncio.run(waiting.until(CALLED, request=None, timeout_seconds=5)) is None


def test_postgres_being_away_is_the_reason_after_the_timeout():
    waiting, _ = waits([OSError()] * 100)
    reason = asyncio.run(waiting.until(CALLED, request=None, timeout_seconds=0.2))
    assert reason == "Postgres cannot be asked (OSError)."


def test_a_look_that_began_before_a_call_does_not_answer_it():
    """Whoever comes while a look is under way waits for the next one."""
    waiting, asked = waits([status(1)] * 100)

    async def come_late():
        one = asyncio.create_task(waiting.until(CALLED, request=None, timeout_seconds=5))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await asyncio.gather(one, waiting.until(CALLED, request="req_late", timeout_seconds=0.3))

    found = asyncio.run(come_late())
    assert found[0] is None
    assert "req_late" in (found[1] or "")
    assert asked[:4] == ["wake", frozenset(), "wake", frozenset({"req_late"})]
