"""One simulation: an account lives, the pipe runs and is broken, and in the end everything has to be right.

    plan (from a seed) → phases, each a run with its troubles → troubles off → runs → tables equal the truth

What happens at the same time are actions on one agenda: the account's history, requests and their answers, the target's
reading, faults, kills, what an application does through a proxy.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import checkers
import msgspec
import preview_checkers
import psycopg
from agenda import Agenda
from application import Application
from comparison import forgets_the_feed, told_in_part, wanted_types, wrong_cells
from oracle import Oracle, parse_truth, table_names
from plan import OF_FULL_SIZE, TEST_CLOCK, WITH_TEST_CLOCKS, Phase, Plan, PreviewPlan
from proxy_checkers import as_of_in_the_future
from simulated_pipe import Ended, Killed, SessionFaults, SimulatedTap, TargetProcess, run_tap, tap_settings
from simulated_stripe import PREVIEW_PATHS, SimulatedClient, SimulatedStripe
from stripe_account import SHOWN_ON_REQUEST

from stripe_sandbox import deletions
from stripe_sandbox.feed import FeedSettings
from stripe_sandbox.histories import History
from stripe_sandbox.messages import Request as HttpRequest
from stripe_sandbox.sandbox import TEST_KEY, Service
from stripe_sandbox.truth import PREVIEWS, truth_lines
from stripe_sandbox.upcoming import CREATE_PREVIEW_PATH
from tap_stripe_events.object_table import API_VERSION
from tap_stripe_events.objects import CUSTOMER_PREVIEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from oracle import StripeObject

START = 1_790_000_000
LONGER_THAN_LATE_SECONDS = 130.0
MOST_WRONG = 12
MOVES_AT_LAST = 30
MOST_RENEWALS = 8
"""After so many runs in which something was billed meanwhile, the last one counts."""

METERED = "metered"
START_SECONDS = 1.5
"""How long processes take to start."""

FEW = 8
"""Objects of a type, in an account that is not of full size."""

SEEN_BY_LISTS = frozenset({"cash_balance"})
LOOK_EVERY = 5
"""After how many STATEs all rows are looked at."""

MOST_REQUESTS = 6_000
"""In one run: everything is listed with about 600, and troubles and children cost more."""

AnyService = TypeVar("AnyService", bound=Service)


@dataclass(kw_only=True)
class Outcome:
    """What came of a simulation.

    Attributes:
        wrong: What does not hold, in words; empty if all does.
        counts: What happened, how often.
    """

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class World:
    """An account to begin with, and its time."""

    service: Service
    agenda: Agenda
    oracle: RememberingOracle


class RememberingOracle(Oracle):
    """The oracle, which computes the cells of an object that has not changed only once."""

    def __init__(self, account_id: str) -> None:
        super().__init__(account_id)
        self._objects: dict[bytes, StripeObject] = {}
        self._cells: dict[tuple[int, tuple[tuple[str, Any], ...]], tuple[Any, dict[str, Any]]] = {}

    def read(self, line: bytes) -> StripeObject:
        """Read a line of the truth."""
        if line not in self._objects:
            self._objects[line] = next(parse_truth([line]))
        return self._objects[line]

    def cells(self, object_type: str, body: Mapping[str, Any], parents: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of each column."""
        name = (id(body), tuple(sorted(parents.items())))
        if name not in self._cells:
            # With the body, so that it lives, and no other one is ever found under its number.
            self._cells[name] = (body, super().cells(object_type, body, parents))
        return self._cells[name][1]


def make_account(kind: type[AnyService], account: int, **options: Any) -> AnyService:
    """Make an account of every type of object.

    Args:
        kind: A sandbox with a socket or without.
        account: Which one.
        options: More that the sandbox takes.
    """
    most = None if account == OF_FULL_SIZE else FEW
    service = kind(account="full", seed=account + 1, most=most, now=START, **options)
    if account != WITH_TEST_CLOCKS:
        for clock in list(service.account.store.table(TEST_CLOCK)):
            deletions.delete_test_clock(service.account, {"test_clock": clock.key}, {})
    return service


def make_world(account: int) -> World:
    """Make an account and its time."""
    agenda = Agenda(START)
    service = make_account(Service, account, monotonic=agenda.monotonic)
    return World(service=service, agenda=agenda, oracle=RememberingOracle(service.account.id))


class Simulation:
    """One simulation.

    Args:
        plan: What is to happen.
        world: The account; it is used up.
        database_url: An empty database.
    """

    def __init__(self, plan: Plan, world: World, database_url: str) -> None:
        self.plan = plan
        self.outcome = Outcome()
        self._agenda = world.agenda
        self._database_url = database_url
        self._random = Random(f"world {plan.seed}")
        self._stripe = SimulatedStripe(world.service, world.agenda, self._random)
        self._stripe.way_seconds = plan.way_seconds
        self._account = world.service.account
        self._oracle = world.oracle
        self._history = History(self._account, Random(f"history {plan.seed}"), plan.changing, silent=plan.silent)
        self._begun_anew = False
        self._state: dict[str, Any] | None = None
        self._connection = psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC")
        self._backwards = checkers.NothingGoesBack(self._was_made)
        self._promise = checkers.StatePromise(self._connection)
        self._states = 0
        self._lives = False
        self._phase: Phase | None = None
        self._runs: SimulatedTap | None = None
        self._application = self._make_application() if plan.proxy is not None else None
        self._fresh = preview_checkers.Freshness()
        self._promise.on_covered = self._fresh.covered
        self._usage = Random(f"usage {plan.seed}")

    def _make_application(self) -> Application:
        return Application(
            self.plan, self._stripe, self._history, self._connection, oracle=self._oracle, complete=self._complete,
            say=self._say, settings={"database_url": self._database_url, **self.plan.target_settings},
        )  # fmt: skip

    def run(self) -> Outcome:
        """Let it all happen."""
        try:
            for number, phase in enumerate(self.plan.phases):
                self._run_phase(phase, number)
                if self.outcome.wrong:
                    return self.outcome
            self._converge()
        finally:
            if self._application is not None:
                self.outcome.counts.update(self._application.counts)
                self._application.close()
            self._connection.close()
        return self.outcome

    # What happens

    def _run_phase(self, phase: Phase, number: int) -> None:
        if self._application is not None:
            self._application.begin_run(number)
        self._let_live(phase.changes_before)
        self._account.feed = FeedSettings(**self.plan.feed)
        self._agenda.machine_error = phase.machine_error
        self._stripe.refuse(types=phase.refused, products=phase.not_set_up)
        self._stripe.refused_previews = self.plan.previews.refused[number] if self.plan.previews is not None else 0.0
        if phase.wire_faults:
            self._agenda.after(phase.wire_from, lambda: self._go_wrong(phase))
            self._agenda.after(phase.wire_until, self._stripe.go_right)
        self._phase = phase
        self._begin_living(phase.changes_a_second)
        ended = self._run(phase)
        self._lives = False
        self._phase = None
        self._say(checkers.exit_codes(ended, troubled=phase.is_troubled, state=self._state))
        self._stripe.go_right()
        if self._application is not None:
            self._application.end_run()
        self._quiet(phase.quiet_seconds)

    def _go_wrong(self, phase: Phase) -> None:
        """Let the way to Stripe go wrong, unless the run is over by now."""
        if self._phase is phase:
            self._stripe.go_wrong(list(phase.wire_faults))

    def _converge(self) -> None:
        """All troubles are over: two runs after quiet, and every table equals the truth."""
        plan = self.plan
        self._agenda.machine_error = 0.0
        self._account.feed = FeedSettings()
        self._stripe.refuse(types=frozenset(), products=frozenset())
        self._stripe.refused_previews = 0.0
        calm = Phase()
        self._quiet(LONGER_THAN_LATE_SECONDS)
        self._calm_run(calm)
        if not plan.has_gaps and not self._begun_anew:
            self._compare("without a sweep", without=SEEN_BY_LISTS | told_in_part(plan))
        if plan.previews is not None:
            self._converge_previews(plan.previews)
        self._quiet(LONGER_THAN_LATE_SECONDS)
        self._calm_run(replace(calm, list_everything=True))
        self._compare("after everything was listed")
        self._quiet(LONGER_THAN_LATE_SECONDS)
        if not self.outcome.wrong:
            ended = self._calm_run(calm)
            if plan.tap_settings["sweep_interval_hours"] > 1 and plan.tap_settings["full_sweep_interval_days"]:
                self._check_idle(ended)
            self._compare("after a run without news")
            self._compare_previews("after a run without news")
            self._check_drift()

    def _converge_previews(self, previews: PreviewPlan) -> None:
        """What events tell of is there at once, the rest when each has had a turn; then runs until nothing moves."""
        refused = self.plan.refuses_previews
        if not refused:
            began = self._agenda.true_time() - LONGER_THAN_LATE_SECONDS
            self._say(self._fresh.check(self._previews(), previews, began))
        if not (refused or previews.usage or self.plan.silent or self.plan.has_gaps or self._begun_anew):
            self._compare_previews("as events tell")
        self._quiet(previews.refresh_seconds + preview_checkers.REST_SECONDS + LONGER_THAN_LATE_SECONDS)
        for _ in range(MOST_RENEWALS):
            before = self._newest_event()
            self._calm_run(Phase())
            if self._newest_event() == before:
                break
            self._quiet(preview_checkers.REST_SECONDS + LONGER_THAN_LATE_SECONDS)
        self._compare_previews("after all had their turn")
        self._lose_no_turn(previews)
        self._tell_previews()

    def _lose_no_turn(self, previews: PreviewPlan) -> None:
        """All are due again, and the tap is killed while it asks: what was not answered is asked for again."""
        self._quiet(previews.refresh_seconds + preview_checkers.REST_SECONDS + LONGER_THAN_LATE_SECONDS)
        began = self._agenda.true_time()
        ended = self._run(Phase(kill_tap_at_preview=self._usage.randint(1, 1 + len(self._previews()))))
        self._say(checkers.exit_codes(ended, troubled=True, state=self._state))
        self._calm_run(Phase())
        self._say(self._fresh.check(self._previews(), previews, began))

    def _tell_previews(self) -> None:
        """All is read: of whatever happens now events tell, whoever had a turn meanwhile."""
        self._history.silent = False
        for _ in range(MOVES_AT_LAST):
            self._history.step()
        self._quiet(LONGER_THAN_LATE_SECONDS)
        self._calm_run(Phase())
        self._compare_previews("as events tell at last")
        self._history.silent = self.plan.silent

    def _newest_event(self) -> int:
        order = self._account.store.table("event").order
        return order[-1][0] if order else 0

    def _previews(self) -> list[StripeObject]:
        """Every upcoming invoice, as Stripe computes it now."""
        chunks = truth_lines(self._account, PREVIEWS)
        found = [self._oracle.read(line) for chunk in chunks for line in chunk.splitlines()]
        previews = self.plan.previews
        if previews is None or previews.tap_settings["upcoming_api"] != "create_preview":
            return found
        # It answers in our version, which tells more of some things and less of others, and shows the first lines only.
        return [self._created(each) for each in found if each.object != CUSTOMER_PREVIEW]

    def _created(self, each: StripeObject) -> StripeObject:
        request = HttpRequest(
            method="POST", path=CREATE_PREVIEW_PATH, body=f"subscription={each.key}".encode(),
            headers={"authorization": f"Bearer {TEST_KEY}", "stripe-version": API_VERSION},
        )  # fmt: skip
        return self._answered(each, request)

    def _compare_previews(self, when: str) -> None:
        if self.plan.previews is None:
            return
        found = preview_checkers.wrong_previews(self._connection, self.plan.previews, self._oracle, self._previews())
        for each in found[:MOST_WRONG]:
            self.outcome.wrong.append(f"{when}: {each}{self._told_of(each.key)}")
        self._say(preview_checkers.rows_that_nobody_asked_for(self._connection, self.plan.previews))
        self.outcome.counts["previews compared"] += len(self._previews())

    def _calm_run(self, phase: Phase) -> Ended:
        ended = self._run(phase)
        self._say(checkers.exit_codes(ended, troubled=False, state=self._state))
        return ended

    def _let_live(self, moves: int) -> None:
        """Let the account make some moves over half a minute or so, several of them in one second."""
        self._stripe.pass_time()
        for _ in range(moves):
            if self._random.random() < 0.4:
                self._agenda.sleep(self._random.random() * 2)
                self._stripe.pass_time()
            self._move()

    def _begin_living(self, moves_a_second: float) -> None:
        self._lives = moves_a_second > 0

        def move() -> None:
            if self._lives:
                self._stripe.pass_time()
                for _ in range(self._random.choice((1, 1, 1, 2, 4))):
                    self._move()
                self._agenda.after(self._random.expovariate(moves_a_second) * 2, move)

        if self._lives:
            self._agenda.after(self._random.random(), move)

    def _move(self) -> None:
        self._history.step()
        if self.plan.previews is not None and self._usage.random() < self.plan.previews.usage:
            self._report_usage()
        if self._application is not None:
            self._application.move()

    def _report_usage(self) -> None:
        """Something is used, of which no event tells."""
        store = self._account.store
        prices = {
            each.key for each in store.table("price") if (each.body["recurring"] or {}).get("usage_type") == METERED
        }
        items = sorted(each.key for each in store.table("subscription_item") if each.body["price"] in prices)
        if items:
            item = store.table("subscription_item").records[self._usage.choice(items)]
            item.facts["usage"] = item.facts.get("usage", 0) + self._usage.randint(1, 9)
            self.outcome.counts["reports of usage"] += 1

    def _quiet(self, seconds: float) -> None:
        self._agenda.sleep(seconds)
        self._stripe.pass_time()

    # The pipe

    def _run(self, phase: Phase) -> Ended:
        """Run ``tap | target`` once, with its troubles, and keep the state as a runner does."""
        self._agenda.sleep(START_SECONDS)  # what the last run sent has arrived by then
        faults = SessionFaults(
            statements=dict(phase.statement_faults), commits=dict(phase.commit_faults), away=phase.database_away
        )
        printed: list[dict[str, Any]] = []

        def take_state(state: dict[str, Any]) -> None:
            printed.append(state)
            self._take_printed(state)

        settings = {"database_url": self._database_url, **self.plan.target_settings}
        target = TargetProcess(self._agenda, self._random, settings, faults, take_state)
        written: list[dict[str, Any]] = []

        def take_line(line: bytes) -> None:
            self._promise.write(line)
            if line.startswith(b'{"type":"STATE"'):
                written.append(msgspec.json.decode(line)["value"])

        target.pipe.on_line = take_line
        self._promise.begin()
        before = len(self._stripe.arrivals)
        self._stripe.journal.clear()
        tap = self._make_tap(phase, target)
        self._runs = tap
        self._plan_kills(phase, tap, target)
        code, error = run_tap(tap)
        self._runs = None
        self._close(tap)
        if code == -9:
            target.pipe.lose_writer(self._random)
        else:
            self._end_writing(target)
        while target.code is None:
            self._agenda.step(self._agenda.monotonic() + 1.0)
        if phase.kill_all_at is not None and code == -9:
            printed = printed[: max(0, len(printed) - phase.states_lost)]
        if printed:
            self._state = printed[-1]
        self._begun_anew |= forgets_the_feed(self._connection, self._state)
        ended = Ended(
            tap_code=code, target_code=target.code, tap_error=error, target_error=target.error,
            written=written[-1] if written else None, printed=printed, requests=len(self._stripe.arrivals) - before,
        )  # fmt: skip
        self._look()
        self._check_run(target, ended, before)
        self._check_previews(phase)
        self._count(tap, ended, faults)
        return ended

    def _make_tap(self, phase: Phase, target: TargetProcess) -> SimulatedTap:
        previews = self.plan.previews
        settings = tap_settings(**self.plan.tap_settings, follow=phase.follow_seconds is not None)
        settings |= previews.tap_settings if previews is not None else {}
        if phase.list_everything:
            settings |= {"sweep_interval_hours": 0, "full_sweep_interval_days": 0}
        state = msgspec.json.decode(msgspec.json.encode(self._state)) if self._state else None
        selected = self.plan.selected | (previews.selected if previews is not None else frozenset())
        return SimulatedTap(self._stripe, target.pipe, selected, config=settings, state=state)

    def _plan_kills(self, phase: Phase, tap: SimulatedTap, target: TargetProcess) -> None:
        def kill_tap() -> None:
            if self._runs is tap:
                raise Killed

        def kill_all() -> None:
            if self._application is not None:
                self._application.proxy.kill(down_seconds=START_SECONDS)
            target.kill()
            kill_tap()

        def terminate() -> None:
            if self._runs is tap:
                tap.terminate()

        for moment, action in (
            (phase.kill_tap_at, kill_tap),
            (phase.kill_target_at, target.kill),
            (phase.kill_all_at, kill_all),
            (phase.terminate_at, terminate),
        ):
            if moment is not None:
                self._agenda.after(moment, action)
        if phase.follow_seconds is not None:
            self._agenda.after(phase.follow_seconds, terminate)
        self._plan_kill_at_preview(phase, kill_tap)

    def _plan_kill_at_preview(self, phase: Phase, kill_tap: Callable[[], None]) -> None:
        asked = itertools.count(1)

        def note() -> None:
            if next(asked) == phase.kill_tap_at_preview:
                self._agenda.after(self._usage.expovariate(2.0), kill_tap)

        self._stripe.on_preview = note

    def _end_writing(self, target: TargetProcess) -> None:
        with contextlib.suppress(BrokenPipeError):  # what it could not write is lost with the target
            target.pipe.flush()
        target.pipe.end()

    def _close(self, tap: SimulatedTap) -> None:
        if isinstance(tap._client, SimulatedClient):
            tap._client.close()

    # What must hold

    def _say(self, found: Iterable[str]) -> None:
        self.outcome.wrong += list(found)[:MOST_WRONG]

    def _was_made(self, identifier: str) -> bool:
        return any(each.id == identifier and each.verb == "created" for each in self._history.done)

    def _take_printed(self, state: dict[str, Any]) -> None:
        self._states += 1
        self._say(self._promise.printed(state))
        if self._application is not None:
            self._application.look()
        if self._states % LOOK_EVERY == 0:
            self._look()

    def _look(self) -> None:
        self._say(self._backwards.look(checkers.rows_of(self._connection)))
        if self._states:
            self._say(checkers.families(self._connection))
            self._say(as_of_in_the_future(self._connection, table_names(self._connection), self._agenda.true_time()))

    def _check_run(self, target: TargetProcess, ended: Ended, before: int) -> None:
        settings = self.plan.tap_settings
        self._say(
            checkers.rate_limits(
                self._stripe.arrivals[before:],
                per_second=settings["requests_per_second"],
                per_endpoint=settings["endpoint_requests_per_second"],
            )
        )
        if ended.requests > MOST_REQUESTS:
            self.outcome.wrong.append(f"one run took {ended.requests} requests")
        if target.target.pending_rows and ended.succeeded:
            self.outcome.wrong.append(f"the target ended well, and {target.target.pending_rows} rows were not stored")

    def _check_previews(self, phase: Phase) -> None:
        if self.plan.previews is None:
            return
        journal = self._stripe.journal
        self._say(preview_checkers.requests(journal, self.plan.previews))
        if phase.follow_seconds is not None and not phase.wire_faults:
            poll_seconds = self.plan.tap_settings["poll_interval_ms"] / 1_000
            self._say(preview_checkers.feed_waits(journal, poll_seconds))
        asked = (each for _, answered, each in journal if not answered and each.path in PREVIEW_PATHS)
        self.outcome.counts["requests for previews"] += sum(1 for _ in asked)

    def _check_idle(self, ended: Ended) -> None:
        if ended.requests > 2 and not self.plan.silent:
            asked = Counter(endpoint for _, endpoint in self._stripe.arrivals[-ended.requests :])
            self.outcome.wrong.append(f"a run without news took {ended.requests} requests: {asked}")

    def _check_drift(self) -> None:
        if self.plan.account == WITH_TEST_CLOCKS and self.plan.is_refused_at_times:
            return  # what hangs on test clocks is found when the customers may be read again, and no event says so
        self._say(checkers.drift(self._connection))

    def _compare(self, when: str, *, without: frozenset[str] = frozenset()) -> None:
        """Compare every cell of the selected tables with the truth."""
        lines = (line for chunk in truth_lines(self._account, wanted_types(self.plan)) for line in chunk.splitlines())
        found = wrong_cells(
            self._connection, self.plan, self._oracle, map(self._oracle.read, lines), complete=self._complete,
            without=without, begun_anew=self._begun_anew,
        )  # fmt: skip
        for each in found[:MOST_WRONG]:
            self.outcome.wrong.append(f"{when}: {each}{self._told_of(each.key)}")

    def _complete(self, each: StripeObject) -> StripeObject:
        """An object with the fields that are shown on request."""
        fields = SHOWN_ON_REQUEST.get(each.object)
        if not fields:
            return each
        request = HttpRequest(
            method="GET", path=f"/v1/{each.object}s/{each.key}",
            query="&".join(f"expand[]={name}" for name in fields), headers={"authorization": f"Bearer {TEST_KEY}"},
        )  # fmt: skip
        shown = self._answered(each, request)
        return replace(each, body={**each.body, **{name: shown.body[name] for name in fields if name in shown.body}})

    def _answered(self, each: StripeObject, request: HttpRequest) -> StripeObject:
        """An object as a request shows it, past all that goes wrong on the way."""
        line = {"object": each.object, "key": each.key, "facts": each.facts, "data": "BODY"}
        body = self._stripe.service.api.answer(request).body
        return next(iter(parse_truth([msgspec.json.encode(line).replace(b'"BODY"', body)])))

    def _told_of(self, key: tuple[str, ...]) -> str:
        """What happened to an object, and when, for a person who has to find out."""
        told = [f"{each.at - START} {each.type} {each.verb}" for each in self._history.done if each.id in key]
        return f"  [{'; '.join(told[-6:])}]"

    def _count(self, tap: SimulatedTap, ended: Ended, faults: SessionFaults) -> None:
        counts = self.outcome.counts
        counts["runs"] += 1
        counts["requests"] += ended.requests
        counts["states"] += len(ended.printed)
        counts["moves"] = len(self._history.done)
        counts["runs that failed"] += not ended.succeeded
        for met in faults.met:
            counts[f"database: {met}"] += 1
        if isinstance(tap._client, SimulatedClient):
            counts["retries"] += tap._client.retries.total()
