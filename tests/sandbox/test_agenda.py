"""The clock and the agenda by themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_sandbox.agenda import PER_SECOND, Agenda
from stripe_sandbox.clock import Clock
from stripe_sandbox.errors import SandboxError

moments = st.integers(0, 50)


def taken(agenda: Agenda, until: int) -> list[tuple[int, str]]:
    """What is taken until a moment: when it happens, and its key."""
    found = []
    while (entry := agenda.take(until)) is not None:
        found.append((agenda.moment, entry[2]))
    return found


@given(st.lists(moments), moments)
def test_what_is_due_comes_in_order_of_time_and_nothing_else_does(noted: list[int], until: int) -> None:
    agenda = Agenda(0)
    for number, moment in enumerate(noted):
        agenda.note(moment, "thing", str(number))
    wanted = sorted((moment, str(number)) for number, moment in enumerate(noted) if moment <= until)
    assert taken(agenda, until) == sorted(wanted, key=lambda pair: (pair[0], int(pair[1])))
    assert len(agenda) == len(noted) - len(wanted)


def test_what_is_noted_twice_is_due_once() -> None:
    agenda = Agenda(0)
    agenda.note(5, "thing", "a")
    agenda.note(5, "thing", "a")
    assert taken(agenda, 10) == [(5, "a")]
    agenda.note(6, "thing", "a")
    assert taken(agenda, 10) == [(10, "a")]


def test_a_crowd_in_one_second_spreads_over_the_next_ones() -> None:
    agenda = Agenda(0)
    for number in range(2 * PER_SECOND + 1):
        agenda.note(5, "thing", str(number))
    assert len(taken(agenda, 5)) == PER_SECOND
    later = taken(agenda, 20)
    assert [later[0][0], later[-1][0], len(later)] == [6, 7, PER_SECOND + 1]


def test_a_clock_tells_no_time_beyond_where_it_is_held() -> None:
    real = [100.0]
    clock = Clock(real=lambda: real[0])
    clock.hold(90)
    real[0] = 200.0
    assert (clock.now(), clock.target()) == (90, 200)
    clock.release()
    assert clock.now() == 200


def test_a_clock_runs_as_fast_as_it_is_told_from_where_it_stands() -> None:
    real = [100.0]
    clock = Clock(1_000, real=lambda: real[0])
    real[0] = 110.0
    assert clock.now() == 1_000
    clock.run_at(60)
    real[0] = 111.0
    assert clock.now() == 1_060
    clock.advance(5)
    clock.run_at(1)
    real[0] = 121.0
    assert clock.now() == 1_075
    with pytest.raises(SandboxError, match="above 0, not 0"):
        clock.run_at(0)


@given(st.lists(moments), st.lists(moments))
def test_when_the_next_entry_happens_is_told_beforehand(noted: list[int], turns: list[int]) -> None:
    """Also where the clock is moved back, and where a second is full."""
    agenda = Agenda(0)
    for number, moment in enumerate(noted):
        agenda.note(moment, "thing", str(number))
        for extra in range(PER_SECOND * (number == 0)):
            agenda.note(moment, "crowd", str(extra))
    for until in turns:
        told = agenda.next_at(until)
        entry = agenda.take(until)
        assert (entry is None) == (told is None)
        assert told is None or told == agenda.moment
        taken(agenda, until)


def test_what_is_done_to_a_clock_while_it_is_away_counts_for_nothing_afterwards() -> None:
    real = 1_000.0
    running, standing = Clock(real=lambda: real), Clock(5, real=lambda: real)
    running.run_at(10)
    standing.hold(3)
    for clock, shown, target in ((running, 1_000, 1_000), (standing, 3, 5)):
        with clock.away():
            assert clock.now() == clock.target() == shown
            clock.stop_at(7)
            clock.hold(6)
        assert (clock.now(), clock.target()) == (shown, target)
    real += 2
    assert (running.now(), standing.now()) == (1_020, 3)
