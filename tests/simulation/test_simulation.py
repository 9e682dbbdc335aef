"""A share of ``make simulate``, and that it can fail: the checkers see what they are there to see.

Each seed is a small account and some runs of the pipe, with troubles. The seeds are others than those that people try
by hand, which begin with 0.
"""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import checkers
import preview_checkers
import pytest
from checkers import NothingGoesBack, Seen
from plan import PreviewPlan, make_plan
from preview_checkers import EVENTS_PATH, FEED_SECONDS, REASON
from simulated_pipe import Ended

from tap_stripe_events.client import Request
from tap_stripe_events.objects import SUBSCRIPTION_PREVIEW
from tap_stripe_events.previews import PATH
from tap_stripe_events.roster import Key
from tap_stripe_events.upcoming import PreviewPurpose

HERE = Path(__file__).parent
SHARES = 4
SEEDS_OF_A_SHARE = 25
FIRST = 1_000_000
EARLY, LATE = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2))
ROW = ("charge", ("ch_1",))


@pytest.mark.parametrize("share", range(SHARES))
def test_after_all_troubles_every_table_is_right(share):
    first = FIRST + share * SEEDS_OF_A_SHARE
    command = [sys.executable, str(HERE / "simulate.py"), "--processes", "1"]
    path = os.pathsep.join(map(str, (HERE.parent, HERE.parent / "e2e", HERE)))
    done = subprocess.run(
        [*command, "--seeds", f"{first}-{first + SEEDS_OF_A_SHARE - 1}"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{SEEDS_OF_A_SHARE} simulations")


def test_a_seed_is_always_the_same_plan():
    assert [make_plan(seed) for seed in range(50)] == [make_plan(seed) for seed in range(50)]
    assert len({repr(make_plan(seed)) for seed in range(50)}) == 50


def test_an_as_of_that_goes_back_is_seen():
    backwards = NothingGoesBack(lambda _: False)
    assert list(backwards.look({ROW: Seen(as_of=LATE, deleted=False)})) == []
    assert "went back" in " ".join(backwards.look({ROW: Seen(as_of=EARLY, deleted=False)}))


@pytest.mark.parametrize("gone", [{}, {ROW: Seen(as_of=EARLY, deleted=True)}])
def test_a_row_that_comes_back_is_seen_unless_it_was_made_again(gone):
    for made in (False, True):
        backwards = NothingGoesBack(lambda _, made=made: made)
        there = {ROW: Seen(as_of=EARLY, deleted=False)}
        assert [*backwards.look(there), *backwards.look(gone)] == []
        assert ("there again" in " ".join(backwards.look(there))) is not made


def test_a_second_with_too_many_requests_is_seen():
    arrivals = [(0.1 * number, "GET /v1/charges") for number in range(30)]
    assert list(checkers.rate_limits(arrivals, per_second=10, per_endpoint=10)) == []
    assert "all endpoints" in " ".join(checkers.rate_limits(arrivals, per_second=9, per_endpoint=10))
    assert "/v1/charges" in " ".join(checkers.rate_limits(arrivals, per_second=10, per_endpoint=9))


@pytest.mark.parametrize(
    ("ended", "state"),
    [
        ({"tap_code": 1, "tap_error": ValueError("why")}, {}),
        ({"tap_code": 7, "tap_error": ValueError("why")}, {}),
        ({"target_code": 1}, {}),
        ({}, None),
        ({"written": {"bookmarks": {"charge": {}}}}, {}),
    ],
)
def test_an_exit_code_that_is_not_true_is_seen(ended, state):
    well = {"tap_code": 0, "target_code": 0, "tap_error": None, "target_error": None, "written": None, "printed": []}
    assert list(checkers.exit_codes(Ended(**well, requests=2), troubled=False, state={})) == []
    assert list(checkers.exit_codes(Ended(**{**well, **ended}, requests=2), troubled=False, state=state))


KEY = Key(name=SUBSCRIPTION_PREVIEW, id="sub_1")
POLL = Request(path=EVENTS_PATH, endpoint=EVENTS_PATH, parameters={}, purpose=None)


def ask(turn: int | None, at_least: int = 0) -> Request:
    purpose = PreviewPurpose(key=KEY, at_least=at_least, turn=turn)
    return Request(path=PATH, endpoint=PATH, parameters={}, purpose=purpose, reason=REASON)


def previews(upcoming_api: str = "upcoming") -> PreviewPlan:
    settings = {"upcoming_api": upcoming_api, "upcoming_refresh_seconds": 600}
    return PreviewPlan(selected=frozenset({SUBSCRIPTION_PREVIEW}), tap_settings=settings, usage=0.0, refused=())


@pytest.mark.parametrize(
    ("entries", "wrong"),
    [
        ([(0, False, ask(5)), (1, True, ask(5)), (700, False, ask(605))], None),
        ([(0, False, ask(5)), (1, True, ask(5)), (2, False, ask(6))], "its last turn was 5"),
        ([(0, False, ask(5)), (1, False, ask(None))], "twice at once"),
        ([(0, True, POLL), (1, False, ask(None, 999))], None),
        ([(0, False, ask(None, 999))], "1 times after 0 pages"),
        ([(0, True, POLL), *((each, each % 2 == 1, ask(None, 999)) for each in range(4))], "2 times after 1 pages"),
        ([(each, each % 2 == 1, ask(None)) for each in range(6)], "3 times since a period has ended"),
    ],
)  # fmt: skip
def test_an_upcoming_invoice_that_is_asked_for_too_often_is_seen(entries, wrong):
    found = " ".join(preview_checkers.requests(entries, previews()))
    assert wrong in found if wrong else not found


def test_an_upcoming_invoice_that_is_asked_for_though_none_is_read_is_seen():
    assert list(preview_checkers.requests([(0, False, ask(5))], previews())) == []
    assert "no upcoming invoices" in " ".join(preview_checkers.requests([(0, False, ask(5))], previews("off")))


def test_a_feed_that_is_not_read_in_time_is_seen():
    def read(seconds: float) -> list[tuple[float, bool, Request]]:
        return [(0.0, False, POLL), (0.1, True, POLL), (0.1 + seconds, False, POLL)]

    assert list(preview_checkers.feed_waits(read(2.0 + FEED_SECONDS), 2.1)) == []
    assert "was not read" in " ".join(preview_checkers.feed_waits(read(2.0 + FEED_SECONDS), 1.0))
