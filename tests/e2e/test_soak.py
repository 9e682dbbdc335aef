"""The soak's own parts: what happens when is decided by the seed, and each checker finds what it is there for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from soak_changes import Mark
from soak_checks import (
    RECOVERY_SECONDS,
    RESTART_RECOVERY_SECONDS,
    Happened,
    Lived,
    Observed,
    as_of,
    drift,
    ends,
    failed,
    files,
    judge,
    lag_after_faults,
    lag_in_calm,
    memory,
    nothing_is_lost,
    postgres_sessions,
    request_rate,
    states,
    tables,
    the_soak_itself,
    threads,
)
from soak_faults import FAULTS
from soak_pipeline import Printed
from soak_schedule import ENDING, SURVIVED, WARM_UP_SECONDS, schedule
from soak_watch import Sample, Sessions

if TYPE_CHECKING:
    from collections.abc import Callable

HALF_AN_HOUR = 1_800.0
BEGAN, ENDED = 1_000.0, 1_000.0 + 900.0
TAP, TARGET = 11, 22
AWAY = next(each for each in SURVIVED if each.name == "Stripe away")
KILLED = next(each for each in ENDING if each.name == "tap killed")
FAULT = Happened(number=1, kind=AWAY, began=BEGAN + 300, ended=BEGAN + 310)


def moments(step: float = 1.0) -> list[float]:
    return [BEGAN + step * number for number in range(int((ENDED - BEGAN) / step))]


def marks(lag: float = 0.5, *, recovered: float = FAULT.ended + 2) -> list[Mark]:
    """One a second; those of the fault and of the time until it is over come then."""
    return [Mark(made=at, read=max(at + lag, recovered if FAULT.began <= at < recovered else 0)) for at in moments()]


def samples(**growth: float) -> list[Sample]:
    """One a second of each process, with so much more of something each second."""
    start = {"memory": 80e6, "files": 20, "threads": 17}
    return [
        Sample(
            at=at, pid=pid, cpu=0, **{name: int(n + growth.get(name, 0) * (at - BEGAN)) for name, n in start.items()}
        )
        for at in moments()
        for pid in (TAP, TARGET)
    ]


def sessions(count: Callable[[float], int]) -> list[Sessions]:
    """So many of the target's."""
    return [Sessions(at=at, target=count(at), others=2) for at in moments()]


@pytest.fixture
def well() -> Observed:
    """A soak in which all was well."""
    return Observed(
        began=BEGAN,
        ended=ENDED,
        episodes=[FAULT],
        marks=marks(),
        lives=[
            Lived(name=name, pid=pid, began=BEGAN, ended=ENDED + 60, code=code)
            for name, pid, code in (("tap", TAP, 143), ("target", TARGET, 0))
        ],
        samples=samples(),
        sessions=sessions(lambda _: 1),
        printed=[Printed(at=at, size=37_000) for at in moments(0.5)],
        per_second=50,
        per_endpoint_second=25,
        requests={"GET /v1/events": moments(0.1)},
        rows_watched=100,
    )


# The schedule


def test_a_seed_is_one_schedule():
    assert schedule(1, HALF_AN_HOUR) == schedule(1, HALF_AN_HOUR)
    assert schedule(1, HALF_AN_HOUR) != schedule(2, HALF_AN_HOUR)


@pytest.mark.parametrize("seed", range(20))
def test_half_an_hour_has_every_fault_with_calm_after_each(seed):
    episodes = schedule(seed, HALF_AN_HOUR)
    assert {each.kind for each in episodes} == {*SURVIVED, *ENDING}
    for one, next_one in pairwise(episodes):
        assert one.kind.at_once or 5 <= one.seconds <= 20
        assert next_one.begins - one.begins - one.seconds - one.kind.trailing_seconds >= 15
    assert episodes[0].begins >= WARM_UP_SECONDS
    assert episodes[-1].begins + episodes[-1].seconds < HALF_AN_HOUR - 20


@pytest.mark.parametrize("seed", range(20))
def test_processes_live_for_most_of_half_an_hour_after_the_last_fault_that_ends_them(seed):
    last = max(each.begins + each.seconds for each in schedule(seed, HALF_AN_HOUR) if each.kind.ends_processes)
    assert HALF_AN_HOUR - last > 900


@pytest.mark.parametrize("seed", range(20))
def test_two_minutes_have_faults_of_both_sorts(seed):
    assert {each.kind.ends_processes for each in schedule(seed, 120)} == {True, False}


def test_one_kind_alone_can_be_asked_for():
    assert {each.kind for each in schedule(1, 300, only=AWAY.name)} == {AWAY}


def test_every_kind_of_fault_is_known():
    assert FAULTS.keys() == {each.name for each in (*SURVIVED, *ENDING)}


# The checkers


def test_where_all_is_well_nothing_fails(well):
    assert failed(judge(well)) == []


@pytest.mark.parametrize(
    ("checker", "seen"),
    [
        (lag_in_calm, {"marks": marks(1.1)}),
        (nothing_is_lost, {"marks": [*marks(), Mark(made=ENDED)]}),
        (memory, {"samples": samples(memory=20_000)}),
        (memory, {"samples": [replace(each, memory=500_000_000) for each in samples()]}),
        (files, {"samples": samples(files=0.01)}),
        (threads, {"samples": samples(threads=0.01)}),
        (postgres_sessions, {"sessions": sessions(lambda _: 3)}),
        (postgres_sessions, {"sessions": sessions(lambda at: 1 + (at > ENDED - 200))}),
        (states, {"printed": [Printed(at=at, size=int(37_000 + 5 * (at - BEGAN))) for at in moments()]}),
        (states, {"printed": [Printed(at=at, size=37_000) for at in moments(0.05)]}),
        (request_rate, {"requests": {"GET /v1/events": moments(0.03)}}),
        (request_rate, {"requests": {str(number): moments(0.1) for number in range(6)}}),
        (as_of, {"backward": ["charge ch_1: later, then earlier"]}),
        (tables, {"wrong": ["charge ch_1 amount: expected 1, found 2"]}),
        (tables, {"wrong_after_sweep": ["charge ch_1 amount: expected 1, found 2"]}),
        (drift, {"drift": [("charge", 1)]}),
        (drift, {"still_denied": ["charge"]}),
        (the_soak_itself, {"failures": ["a thread died"]}),
    ],
)  # fmt: skip
def test_a_checker_finds_what_it_is_there_for(well, checker, seen):
    assert checker(well).failures == ()
    assert checker(replace(well, **seen)).failures


@pytest.mark.parametrize(("kind", "limit"), [(AWAY, RECOVERY_SECONDS), (KILLED, RESTART_RECOVERY_SECONDS)])
def test_a_lag_that_stays_after_a_fault_fails_and_names_the_episode(well, kind, limit):
    fault = replace(FAULT, kind=kind)
    for late, fails in ((limit - 1, False), (limit + 2, True)):
        found = lag_after_faults(replace(well, episodes=[fault], marks=marks(recovered=fault.ended + late)))
        assert [f"episode 1 ({kind.name})" in each for each in found.failures] == [True] * fails


def test_a_lag_that_never_comes_back_fails(well):
    found = lag_after_faults(replace(well, marks=marks(recovered=ENDED + 1)))
    assert "never came back" in found.failures[0]


@pytest.mark.parametrize(
    ("life", "fails"),
    [
        ({"ended": FAULT.ended, "code": 1}, True),  # Stripe away is to be survived
        ({"ended": FAULT.ended + 200, "code": 1}, True),
        ({"hung": True}, True),
        ({"log": "Traceback (most recent call last):"}, True),
        ({"log": "GET /v1/events: HTTP 503"}, False),
    ],
)
def test_a_process_that_ends_hangs_or_crashes_fails(well, life, fails):
    tap, target = well.lives
    assert bool(ends(replace(well, lives=[replace(tap, **life), target])).failures) is fails


def test_a_process_may_end_where_a_fault_ends_it(well):
    fault = replace(FAULT, kind=KILLED)
    lives = [replace(each, ended=fault.began + 0.5, code=-9) for each in well.lives]
    assert ends(replace(well, episodes=[fault], lives=lives)).failures == ()
    assert ends(replace(well, lives=lives)).failures


def test_what_piles_up_while_the_sandbox_stalls_is_no_request_too_many(well):
    burst = {"GET /v1/events": [*moments(0.1), *[BEGAN + 500 + 0.01 * number for number in range(30)]]}
    stalled = [at for at in moments(0.05) if not 499.5 < at - BEGAN < 500]
    assert request_rate(replace(well, requests=burst, answered=moments(0.05))).failures
    assert not request_rate(replace(well, requests=burst, answered=stalled)).failures


def test_a_life_that_was_too_short_is_not_judged(well):
    short = [replace(each, ended=BEGAN + 120) for each in well.lives]
    found = memory(replace(well, lives=short, samples=samples(memory=20_000)))
    assert found.failures == ()
    assert "no life was long enough" in found.measured
