"""Stripe's clock: what an answer's `Date` tells, wherever the machine stands."""

import time
from collections.abc import Iterator

import pytest

from tap_stripe_events.clock import Clock, StripeClock, iso, unix


class StandingClock(Clock):
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> float:
        return 5_000.5

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kathmandu"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_zone")
@pytest.mark.parametrize("zone", ["GMT", "+0000", "-0000"])
def test_the_time_told_is_the_same_in_every_zone(zone: str) -> None:
    clock = StripeClock(StandingClock())
    clock.heard(f"Tue, 22 Sep 2026 14:13:20 {zone}")
    assert clock.second() == 1_790_086_400
    assert unix(iso(clock.second())) == clock.second()


def test_an_answer_that_was_long_on_its_way_does_not_set_the_clock_back() -> None:
    clock = StripeClock(StandingClock())
    clock.heard("Tue, 22 Sep 2026 14:13:20 GMT")
    clock.heard("Tue, 22 Sep 2026 14:13:10 GMT")
    assert clock.second() == 1_790_086_400
    assert clock.estimate() == 1_790_086_400


def test_what_was_heard_of_is_never_ahead_of_a_clock_that_stands() -> None:
    machine = StandingClock()
    clock = StripeClock(machine)
    clock.heard("Tue, 22 Sep 2026 14:13:20 GMT")
    machine.seconds += 7.0
    assert clock.second() == 1_790_086_400
    assert clock.estimate() == 1_790_086_407


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_without_a_date_the_machines_clock_counts(date: str | None) -> None:
    clock = StripeClock(StandingClock())
    clock.heard(date)
    assert clock.second() == clock.estimate() == 5_000
