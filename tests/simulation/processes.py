"""The same plans with real processes: a sandbox on a socket, ``tap | target`` or ``meltano run``, a real Postgres.

    plan (from a seed) → phases, runs of processes with troubles → troubles off → runs → tables equal the truth

The account's history, late events, faults on the wire, refusals, kills and signals come at the plan's moments, counted
from the first request of a run and cut to some seconds. What differs from the simulation in one thread:

* Time is real while a run lasts, and the account's clock is moved on for the quiet between runs. So a seed is always
  the same plan, but never twice the same interleaving: a failure may take some repetitions to show again.
* The account's clock is weeks off the machine's, by more after every quiet; a machine's clock that is put right in the
  middle of a run is left to the other simulation, and so is a full disk (here a statement is cancelled instead).
* What a STATE promises is looked at when the run is over: by then the target may have committed more than it printed.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import checkers
import psycopg
import requests
from checkers import StatePromise
from comparison import forgets_the_feed, told_in_part, wanted_types, wrong_cells
from fix_sandbox import TIMEOUT_SECONDS, Http
from oracle import Oracle, parse_truth, table, table_names
from pipeline import LIST_AGAIN, Pipeline
from plan import Phase, Plan
from process_pipes import MeltanoPipe, PlainPipe
from process_troubles import Timeline, Troublemaker, plan_kills
from simulation import (
    LONGER_THAN_LATE_SECONDS,
    MOST_REQUESTS,
    MOST_WRONG,
    SEEN_BY_LISTS,
    START,
    Outcome,
    make_account,
)
from stripe_account import StripeAccount, busiest_second, busiest_seconds_by_endpoint

from stripe_sandbox.feed import FeedSettings
from stripe_sandbox.sandbox import Sandbox
from tap_stripe_events.tap import TapStripeEvents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from process_pipes import Run, Started
    from simulated_pipe import Ended

KEY = "rk_test_simulated"
LEAST_REQUESTS_PER_SECOND = 50
LEAST_REQUESTS_PER_ENDPOINT = 25
"""Slower ones take a minute for a run."""

LONGEST_RUN_SECONDS = 150.0
SLOW_SECONDS = 2.0
WIRE_SECONDS = 4.0
HISTORY_SECONDS = 1.1
"""Between two parts of a history: never two of them in one second of the account's clock."""

LOOK_SECONDS = 0.05
MELTANO_SHARE = 5
"""One of so many seeds is run by Meltano."""


@dataclass(frozen=True, kw_only=True)
class ProcessWorld:
    """An account to begin with, not served yet, and the tap's catalog."""

    sandbox: Sandbox
    catalog: dict[str, Any]


def make_process_world(account: int) -> ProcessWorld:
    """Make an account, and a key for which permissions come and go."""
    return ProcessWorld(sandbox=make_account(Sandbox, account, restricted_keys={KEY: "account"}), catalog=_catalog())


@cache
def _catalog() -> dict[str, Any]:
    catalog: dict[str, Any] = dict(TapStripeEvents(config={"api_key": KEY}).catalog_dict)
    return catalog


def select(catalog: dict[str, Any], types: Iterable[str]) -> dict[str, Any]:
    """A catalog in which the streams of these types are selected."""
    names = {table(name) for name in types}
    catalog = copy.deepcopy(catalog)
    for stream in catalog["streams"]:
        for each in stream["metadata"]:
            if not each["breadcrumb"]:
                each["metadata"]["selected"] = stream["stream"] in names
    return catalog


class ProcessSimulation:
    """One simulation with processes.

    Args:
        plan: What is to happen.
        world: The account; it is used up.
        database_url: An empty database.
        admin_url: Another one of the same server.
    """

    def __init__(self, plan: Plan, world: ProcessWorld, database_url: str, admin_url: str) -> None:
        self.plan = plan
        self.outcome = Outcome()
        self._world = world
        self._database_url = database_url
        self._random = Random(f"processes {plan.seed}")
        self._troublemaker = Troublemaker(database_url, admin_url, self._random)
        self._by_meltano = self._random.randrange(MELTANO_SHARE) == 0
        self._begun_anew = False
        self._made: set[str] = set()
        self._told: list[dict[str, Any]] = []
        self._parts = 0

    def run(self) -> Outcome:
        """Let it all happen. What the processes wrote is only kept if something is wrong."""
        directory = Path(tempfile.mkdtemp(prefix=f"simulation-{self.plan.seed}-"))
        with ExitStack() as stack:
            sandbox = stack.enter_context(self._world.sandbox)
            http = Http(sandbox.url)
            stack.callback(http.close)
            self._account = StripeAccount(sandbox, http)
            self._connection = stack.enter_context(
                psycopg.connect(self._database_url, autocommit=True, options="-c timezone=UTC")
            )
            self._backwards = checkers.NothingGoesBack(self._made.__contains__)
            self._pipe = self._make_pipe(directory)
            self._account.control("clock", run=True)
            self._account.control("latency", ms=2_000 * self.plan.way_seconds)
            self._play()
        if self.outcome.wrong:
            self.outcome.wrong.append(f"the last run's logs are in {directory}")
        else:
            shutil.rmtree(directory)
        self.outcome.counts.update(self._troublemaker.met)
        return self.outcome

    def _make_pipe(self, directory: Path) -> PlainPipe | MeltanoPipe:
        plan = self.plan
        url = self._account.url
        pipeline = Pipeline(directory, stripe_url=url, database_url=self._database_url, api_key=KEY)
        pipeline.tap_settings |= plan.tap_settings | self._limits()
        pipeline.target_settings |= plan.target_settings
        pipeline.catalog = select(self._world.catalog, plan.selected)
        self.outcome.counts["by Meltano"] += self._by_meltano
        return MeltanoPipe(pipeline) if self._by_meltano else PlainPipe(pipeline)

    def _limits(self) -> dict[str, int]:
        settings = self.plan.tap_settings
        return {
            "requests_per_second": max(LEAST_REQUESTS_PER_SECOND, settings["requests_per_second"]),
            "endpoint_requests_per_second": max(LEAST_REQUESTS_PER_ENDPOINT, settings["endpoint_requests_per_second"]),
        }

    # What happens

    def _play(self) -> None:
        for phase in self.plan.phases:
            self._play_phase(phase)
            if self.outcome.wrong:
                return
        self._converge()

    def _play_phase(self, phase: Phase) -> None:
        self._live(phase.changes_before, seconds=30)
        self._account.control("events", **{**_USUAL_FEED, **self.plan.feed})
        self._refuse(phase)
        with ExitStack() as stack:
            if phase.database_away:
                stack.enter_context(self._troublemaker.away())
            ended = self._run(phase)
        self._say(checkers.exit_codes(ended, troubled=phase.is_troubled, state=self._state()))
        self._account.clear_faults()
        self._account.let_time_pass(int(phase.quiet_seconds))

    def _converge(self) -> None:
        """All troubles are over: two runs after quiet, and every table equals the truth."""
        plan = self.plan
        self._account.control("events", **_USUAL_FEED)
        calm = Phase()
        self._refuse(calm)
        self._account.let_time_pass(int(LONGER_THAN_LATE_SECONDS))
        self._calm_run(calm)
        if not plan.has_gaps and not self._begun_anew:
            self._compare("without a sweep", without=SEEN_BY_LISTS | told_in_part(plan))
        if not self.outcome.wrong:
            self._account.let_time_pass(int(LONGER_THAN_LATE_SECONDS))
            self._calm_run(replace(calm, list_everything=True))
            self._compare("after everything was listed")
        if not self.outcome.wrong:
            self._account.let_time_pass(int(LONGER_THAN_LATE_SECONDS))
            ended = self._calm_run(calm)
            if plan.tap_settings["sweep_interval_hours"] > 1 and plan.tap_settings["full_sweep_interval_days"]:
                self._check_idle(ended)
            self._compare("after a run without news")
            self._say(checkers.drift(self._connection))
            self._check_kept()

    def _calm_run(self, phase: Phase) -> Ended:
        ended = self._run(phase)
        self._say(checkers.exit_codes(ended, troubled=False, state=self._state()))
        return ended

    def _live(self, changes: int, *, seconds: int) -> None:
        """Let a part of the history happen, unless nothing of its types can change any more."""
        self._parts += 1
        given = {
            "seed": self.plan.seed * 1_000 + self._parts, "changes": changes, "seconds": seconds,
            "types": sorted(self.plan.changing), "silent": self.plan.silent,
        }  # fmt: skip
        answer = requests.post(f"{self._account.url}/_sandbox/history", json=given, timeout=TIMEOUT_SECONDS)
        if answer.status_code == HTTPStatus.BAD_REQUEST and "can change here" in answer.text:
            return
        assert answer.status_code == HTTPStatus.OK, answer.text
        changed = answer.json()["changes"]
        self._told += changed
        self._made.update(each["id"] for each in changed if each["verb"] == "created")

    def _refuse(self, phase: Phase) -> None:
        names = ",".join(sorted(self._world.sandbox.account.spec.objects.keys() - phase.refused))
        self._account.control("permissions", key=KEY, names=names)
        self._account.control("products", missing=sorted(phase.not_set_up))

    # The pipe

    def _run(self, phase: Phase) -> Ended:
        """Run the pipe once, with its troubles."""
        self._account.forget_requests()
        settings = {"follow": phase.follow_seconds is not None, **(LIST_AGAIN if phase.list_everything else {})}
        with self._pipe.start(settings) as started, ThreadPoolExecutor(1) as pool:
            ending = pool.submit(started.finish)
            self._go_along(phase, started, ending)
            run = ending.result()
        if phase.kill_all_at is not None and run.ended.tap_code < 0:
            self._pipe.lose_states(phase.states_lost)
            self._begun_anew |= forgets_the_feed(self._connection, self._pipe.state())
        return self._checked(phase, run)

    def _go_along(self, phase: Phase, started: Started, ending: Future[Run]) -> None:
        """Let happen what is to happen while a run lasts."""
        hung = Timeline()
        while not len(self._world.sandbox.requests) and not ending.done():
            wait([ending], timeout=LOOK_SECONDS)
            if hung.seconds() > LONGEST_RUN_SECONDS:
                break
        timeline = Timeline()
        plan_kills(timeline, phase, started)
        if not phase.database_away:
            self._troublemaker.plan(timeline, phase, started)
        if phase.wire_faults:
            timeline.at(phase.wire_from, lambda: self._go_wrong(phase))
            timeline.later(
                min(phase.wire_from, WIRE_SECONDS) + min(phase.wire_until - phase.wire_from, WIRE_SECONDS),
                self._account.clear_faults,
            )
        if phase.changes_a_second:
            self._keep_living(timeline, phase.changes_a_second)
        while not ending.done():
            timeline.happen()
            wait([ending], timeout=timeline.wait_seconds(LOOK_SECONDS))
            if hung.seconds() > LONGEST_RUN_SECONDS:
                self.outcome.wrong.append(f"a run took more than {LONGEST_RUN_SECONDS:.0f} s, and was killed")
                started.kill("all", "tap", "target")
                return

    def _keep_living(self, timeline: Timeline, changes_a_second: float) -> None:
        def live() -> None:
            self._live(max(1, round(changes_a_second * HISTORY_SECONDS)), seconds=0)
            self._look()
            timeline.later(HISTORY_SECONDS, live)

        timeline.later(self._random.random(), live)

    def _go_wrong(self, phase: Phase) -> None:
        for each in phase.wire_faults:
            self._account.fault(
                each.kind, path=each.path, probability=each.probability, seconds=min(each.seconds, SLOW_SECONDS),
                retry_after_seconds=each.retry_after_seconds, method="GET",
            )  # fmt: skip

    # What must hold

    def _say(self, found: Iterable[str]) -> None:
        self.outcome.wrong += list(found)[:MOST_WRONG]

    def _state(self) -> dict[str, Any] | None:
        """The state after a run; Meltano's is asked for at the end only, since that takes seconds."""
        return {} if self._by_meltano else self._pipe.state()

    def _look(self) -> None:
        """Look at all rows, a table at a time: a reader of all of them at once would stand in the target's way."""
        now: checkers.Rows = {}
        for name in table_names(self._connection):
            now |= checkers.rows_of(self._connection, [name])
        self._say(self._backwards.look(now))

    def _checked(self, phase: Phase, run: Run) -> Ended:
        asked = self._account.requests()
        ended = replace(run.ended, requests=len(asked))
        self._look()
        self._say(_families(self._connection))
        self._say(_rate_limits(asked, **self._limits()))
        if run.lines is not None:
            self._say(PromiseFromWithout(self._connection).after(run.lines, ended.printed))
        if "Traceback" in run.logs:
            self.outcome.wrong.append(f"a process showed where it failed:\n{run.logs[-3_000:]}")
        if ended.requests > MOST_REQUESTS:
            self.outcome.wrong.append(f"one run took {ended.requests} requests")
        counts = self.outcome.counts
        counts["runs"] += 1
        counts["requests"] += ended.requests
        counts["states"] += len(ended.printed)
        counts["moves"] = len(self._told)
        counts["runs that failed"] += not ended.succeeded
        counts["runs that were troubled"] += phase.is_troubled
        return ended

    def _check_idle(self, ended: Ended) -> None:
        if ended.requests > 2 and not self.plan.silent:
            asked = Counter(each["endpoint"] for each in self._account.requests())
            self.outcome.wrong.append(f"a run without news took {ended.requests} requests: {asked}")

    def _check_kept(self) -> None:
        stored = dict(self._connection.execute("SELECT stream, bookmark FROM stripe._sync_status").fetchall())
        kept = (self._pipe.state() or {}).get("bookmarks", {})
        for stream in kept.keys() | {name for name, bookmark in stored.items() if bookmark}:
            if kept.get(stream) != stored.get(stream):
                told = f"{kept.get(stream)}, and _sync_status says {stored.get(stream)}"
                self.outcome.wrong.append(f"the state that is kept says of {stream} {told}")

    def _compare(self, when: str, *, without: frozenset[str] = frozenset()) -> None:
        """Compare every cell of the selected tables with the truth."""
        truth = parse_truth(self._account.lines(*wanted_types(self.plan)))
        found = wrong_cells(
            self._connection, self.plan, Oracle(self._account.id), truth, complete=self._account.complete,
            without=without, begun_anew=self._begun_anew,
        )  # fmt: skip
        for each in found[:MOST_WRONG]:
            told = "; ".join(f"{one['at'] - START} {one['type']} {one['verb']}" for one in self._told_of(each.key))
            self.outcome.wrong.append(f"{when}: {each}  [{told}]")

    def _told_of(self, key: tuple[str, ...]) -> list[dict[str, Any]]:
        """What happened to an object, for a person who has to find out."""
        return [each for each in self._told if each["id"] in key][-6:]


_USUAL_FEED = {name: getattr(FeedSettings(), name) for name in ("late_share", "late_seconds", "old_share")}


class PromiseFromWithout(StatePromise):
    """What a STATE promises, looked at when a run is over.

    The target may have been killed after a commit and before it printed the STATE. So the STATE that counts is the
    one that ``_sync_status`` shows, which must be the last one printed or a later one.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(connection)
        self._shown: dict[str, Any] = {}

    def after(self, lines: list[bytes], printed: list[dict[str, Any]]) -> Iterator[str]:
        """Check a run: what the tap wrote, and the STATEs that the target printed."""
        for line in lines:
            self.write(line)
        written = [each["value"] for each in self._since if each["type"] == "STATE"]
        if printed and printed[-1] not in written:
            yield "the target printed a STATE that the tap did not write"
            return
        self._shown = dict(self._status())
        first = len(written) - 1 - written[::-1].index(printed[-1]) if printed else 0
        committed = [each for each in written[first:] if self._is_shown(each)]
        if committed:  # STATEs may differ in nothing that is stored: then it is the first of them for certain
            yield from self.printed(committed[0])
        elif printed:
            yield f"_sync_status shows neither the last STATE that was printed nor a later one: {self._shown}"

    def _status(self) -> Iterator[tuple[str, Any]]:
        if self._connection.execute("SELECT to_regclass('stripe._sync_status')").fetchone() != (None,):
            yield from self._connection.execute("SELECT stream, bookmark FROM stripe._sync_status").fetchall()

    def _is_shown(self, state: dict[str, Any]) -> bool:
        bookmarks = state.get("bookmarks", {})
        return bool(bookmarks) and all(self._shown.get(name) == each for name, each in bookmarks.items())


def _families(connection: psycopg.Connection[Any]) -> list[str]:
    """All rows of the families are looked at at one moment. Nothing runs meanwhile."""
    if connection.execute("SELECT to_regclass('stripe._children')").fetchone() == (None,):
        return []
    return list(checkers.families(connection))


def _rate_limits(
    asked: list[dict[str, Any]], *, requests_per_second: int, endpoint_requests_per_second: int
) -> Iterator[str]:
    """No second has more requests than allowed, save for what a busy machine bunches up."""
    if (most := busiest_second(each["at"] for each in asked)) > requests_per_second:
        yield f"{most} requests within a second; {requests_per_second} are allowed"
    for endpoint, most in busiest_seconds_by_endpoint(asked).items():
        if most > endpoint_requests_per_second:
            yield f"{most} requests to {endpoint} within a second; {endpoint_requests_per_second} are allowed"
