"""Histories that nobody chose, in rounds of ``tap | target``: after quiet, every table equals the truth.

More seeds by hand: ``FEED_SEEDS=0-50 pytest tests/e2e/test_feed_histories.py``.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pipeline import Pipeline
from rounds import ONLY_IN_EVENTS, Rounds, new_database, seeds
from stripe_account import stripe_account
from tables import checksums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOUR = 3_600
PAGE = 100
SEEN_BY_LISTS = frozenset({"cash_balance"})
"""Tables of what is shown on request only and announced when there are funds: a customer's first one is swept."""

PLAIN = [
    "billing.meter", "climate.order", "issuing.cardholder", "issuing.dispute", "promotion_code",
    "radar.early_fraud_warning", "tax_rate",
]  # fmt: skip
"""Types of which an event carries everything: no children, nothing that is shown on request only."""
PATIENT = {"sweep_interval_hours": 24, "full_sweep_interval_days": 7}


@dataclass(frozen=True, kw_only=True)
class Backfilled:
    """A database into which a full account was read, to copy, and the state of that run."""

    database: str
    state: dict[str, Any]


@pytest.fixture(scope="session")
def backfilled(postgres_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backfilled]:
    with ExitStack() as stack:
        account = stack.enter_context(stripe_account("full"))
        database = stack.enter_context(new_database(postgres_server))
        pipeline = Pipeline(tmp_path_factory.mktemp("backfilled"), stripe_url=account.url, database_url=database)
        outcome = pipeline.run()
        assert outcome.succeeded, outcome.logs
        assert pipeline.state
        yield Backfilled(database=database, state=pipeline.state)


@pytest.fixture
def make_rounds(backfilled: Backfilled, postgres_server: Any, tmp_path: Path) -> Iterator[Callable[..., Rounds]]:
    """Makes rounds of the same account as was read, into a copy of its database."""
    with ExitStack() as stack:

        def make(*, hard_delete: bool = False) -> Rounds:
            copy = stack.enter_context(new_database(postgres_server, like=backfilled.database))
            account = stack.enter_context(stripe_account("full"))
            pipeline = Pipeline(tmp_path, stripe_url=account.url, database_url=copy)
            pipeline.tap_settings |= PATIENT
            pipeline.target_settings["hard_delete"] = hard_delete
            pipeline.state = backfilled.state
            connection = stack.enter_context(psycopg.connect(copy, autocommit=True, options="-c timezone=UTC"))
            account.let_time_pass()
            account.control("clock", run=True)  # a reader that counts seconds between answers counts right
            return Rounds(account, pipeline, connection)

        yield make


@pytest.mark.parametrize("hard_delete", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("seed", seeds(1, 2))
def test_what_events_tell_is_true_after_quiet(make_rounds, seed, hard_delete):
    rounds = make_rounds(hard_delete=hard_delete)
    rounds.happen(seed, 150, silent=False)
    rounds.run_meanwhile(seed, 6, silent=False)
    rounds.happen(seed, 60, silent=False, seconds=5)
    rounds.run()
    rounds.quiet()
    rounds.run()
    wrong = rounds.wrong(without=SEEN_BY_LISTS)
    assert not wrong, rounds.explain(wrong)


@pytest.mark.parametrize("hard_delete", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("seed", seeds(3, 4))
def test_late_events_and_those_of_older_versions_end_in_the_truth_too(make_rounds, seed, hard_delete):
    rounds = make_rounds(hard_delete=hard_delete)
    rounds.account.control("events", late_share=0.3, late_seconds=50, old_share=0.2)
    rounds.happen(seed, 120, silent=False, seconds=40)
    rounds.run_meanwhile(seed, 4, silent=False)
    rounds.happen(seed, 60, silent=False, seconds=10)
    rounds.run()
    rounds.quiet()
    rounds.run()
    wrong = rounds.wrong(without=ONLY_IN_EVENTS | SEEN_BY_LISTS)
    assert not wrong, rounds.explain(wrong)


@pytest.mark.parametrize("hard_delete", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("seed", seeds(5, 6))
def test_what_no_event_tells_is_true_after_a_sweep(make_rounds, seed, hard_delete):
    rounds = make_rounds(hard_delete=hard_delete)
    rounds.account.control("events", late_share=0.2, late_seconds=20)
    rounds.happen(seed, 150)
    rounds.run_meanwhile(seed, 4)
    rounds.happen(seed, 60)
    rounds.run()
    rounds.quiet()
    rounds.sweep()
    wrong = rounds.wrong()
    assert not wrong, rounds.explain(wrong)
    rounds.quiet()
    rounds.run()
    assert rounds.drift() == []


def test_the_same_events_read_again_change_nothing(make_rounds):
    rounds = make_rounds()
    rounds.happen(7, 150, silent=False)
    rounds.run()
    rounds.quiet()
    rounds.run()
    before = checksums(rounds.connection)
    rounds.rewind(HOUR)
    rounds.run()
    assert checksums(rounds.connection) == before


def test_a_run_with_nothing_new_asks_twice(make_rounds):
    rounds = make_rounds()
    rounds.happen(8, 60, silent=False)
    rounds.run()
    rounds.quiet()
    rounds.run()
    assert sorted(asked(rounds)) == ["/v1/account", "/v1/events"]


def test_changed_objects_cost_a_request_for_a_hundred_events(make_rounds):
    rounds = make_rounds()
    rounds.run()
    rounds.quiet()
    rounds.happen(9, 250, silent=False, seconds=3_000, types=PLAIN)
    events = [key for change in rounds.happened for key in change["events"]]
    paths = asked(rounds)
    assert paths.count("/v1/events") == -(-len(events) // PAGE)
    rest = [path for path in paths if path not in {"/v1/account", "/v1/events"}]
    assert len(rest) <= len(tied(rounds))
    assert len(set(rest)) == len(rest)
    rounds.quiet()
    rounds.run()
    wrong = rounds.wrong()
    assert not wrong, rounds.explain(wrong)


def test_events_in_another_version_cost_a_request_for_each_object(make_rounds):
    rounds = make_rounds()
    rounds.account.control("events", old_share=1)
    rounds.happen(10, 60, silent=False, seconds=600, types=PLAIN)
    alive = {each.key for name in PLAIN for each in rounds.account.all(name)}
    changed = {change["id"] for change in rounds.happened}
    rest = [path for path in asked(rounds) if path not in {"/v1/account", "/v1/events"}]
    assert {path.rpartition("/")[2] for path in rest} == changed & alive
    assert len(rest) == len(changed & alive)
    rounds.quiet()
    rounds.run()
    wrong = rounds.wrong()
    assert not wrong, rounds.explain(wrong)


def asked(rounds: Rounds) -> list[str]:
    """The paths that a run asks for, without upcoming invoices, whose requests have tests of their own."""
    rounds.pipeline.tap_settings["upcoming_api"] = "off"
    rounds.account.forget_requests()
    rounds.run()
    del rounds.pipeline.tap_settings["upcoming_api"]
    return [each["path"] for each in rounds.account.requests()]


def tied(rounds: Rounds) -> set[str]:
    """The objects of which the two newest events share a second, so that nobody knows which is the newer one."""
    seconds: dict[str, list[int]] = {}
    for change in rounds.happened:
        seconds.setdefault(change["id"], []).extend(change["at"] for _ in change["events"])
    return {key for key, moments in seconds.items() if len(moments) > 1 and moments[-1] == moments[-2]}
