"""The proxy in one thread: what a caller asks goes to simulated Stripe, and what Stripe answers into Postgres.

The proxy's own parts are the real ones: what an answer says (``answers``), the changes that it makes (``Writes``), the
transactions that store them (``Transactions``), what it reads of the sync (``Database``), and how late it is at
Stripe's (``StripeBound``). In place of its event loop and its threads are actions on the agenda. Where ``Writes`` has
to read again, it is run once more from the beginning with the answer, when that is there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from callers import Asked
from simulated_pipe import FaultySession, Killed, SessionFaults
from simulated_stripe import READ_TIMEOUT_SECONDS, URL, SimulatedClient

from stripe_proxy.answers import answered, may_hold_objects
from stripe_proxy.database import Database
from stripe_proxy.errors import NotAppliedError
from stripe_proxy.ties import SECONDS, Ties
from stripe_proxy.wait import StripeBound
from stripe_proxy.writer import Job, Transactions
from stripe_proxy.written import Writes, stored_types
from stripe_sandbox.keys import Key
from stripe_sandbox.messages import Delivery
from stripe_sandbox.messages import Request as HttpRequest
from stripe_sandbox.old_versions import VERSIONS, as_of_version
from stripe_sandbox.sandbox import TEST_KEY
from tap_stripe_events.clock import StripeClock
from tap_stripe_events.errors import TapError
from target_postgres_stripe.connection import SESSION_SETTINGS
from target_postgres_stripe.errors import DatabaseUnavailableError, TargetError
from target_postgres_stripe.load import lock_number

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from plan import ProxyPhase, ProxyPlan
    from simulated_stripe import SimulatedStripe

    from stripe_proxy.answers import Answered
    from stripe_proxy.database import Sync
    from stripe_sandbox.messages import Exchange
    from tap_stripe_events.client import Answer, Request

CALLER_KEY = "sk_test_caller"
APPLY_SECONDS = 10.0  # as APPLY_TIMEOUT_SECONDS
STATEMENT_SECONDS = 30.0  # how long a session waits for its turn
LOOK_SECONDS = 0.01
SYNC_SECONDS = 10.0
SETTLE_SECONDS = 0.5
TRIES = 2
REQUESTS_PER_SECOND = 10
LOCK_MILLISECONDS = 200
SCHEMA = "stripe"


@dataclass(kw_only=True, eq=False)
class Call:
    """A caller's request, and what has come of it.

    Attributes:
        asked: What is asked for.
        version: The API version that is asked for; None: that of the rows.
        idempotency_key: The key by which Stripe knows a repetition.
        unknown: The caller's key may not say whose it is.
        past: It goes past the proxy.
        life: The life of the proxy through which it goes.
        began: The second in which it began, as far as the proxy knows.
        asked_at: When it left, on the agenda.
        request_id: Stripe's name for it.
        exchange: Stripe's answer.
        date: When that is dated.
        answered: What it says.
        applied: Whether what it says was stored in time; None as long as that is open.
        tries: How often it was sent.
        told: The objects in the answer as Stripe had them then, for who checks that.
        settles: How often it was tried to read again what was tied; 0: it is a caller's.
    """

    asked: Asked
    version: str | None = None
    idempotency_key: str | None = None
    unknown: bool = False
    past: bool = False
    life: int = 0
    began: int = 0
    asked_at: float = 0.0
    request_id: str | None = None
    exchange: Exchange | None = None
    date: str = ""
    answered: Answered | None = None
    applied: bool | None = None
    tries: int = 1
    told: tuple[Any, ...] = ()
    settles: int = 0

    def http(self) -> HttpRequest:
        """The request as it reaches Stripe."""
        headers = {"authorization": f"Bearer {CALLER_KEY}"}
        if self.version is not None:
            headers["stripe-version"] = self.version
        if self.idempotency_key is not None:
            headers["idempotency-key"] = self.idempotency_key
        return HttpRequest(
            method=self.asked.method, path=self.asked.path, query=self.asked.query, headers=headers,
            body=self.asked.form.encode(),
        )  # fmt: skip


class WantedError(BaseException):
    """An answer is needed that is not there yet. Nothing may catch it but who asked."""

    def __init__(self, request: Request) -> None:
        super().__init__(request.path)
        self.request = request


@dataclass(kw_only=True)
class Rereads:
    """The client of ``Writes``: answers in order, as far as they are there."""

    answers: list[Answer | TapError] = field(default_factory=list)
    asked: int = 0

    def get(self, request: Request) -> Answer:
        """Return the next answer.

        Raises:
            WantedError: It is not there yet.
        """
        self.asked += 1
        if self.asked > len(self.answers):
            raise WantedError(request)
        answer = self.answers[self.asked - 1]
        if isinstance(answer, TapError):
            raise answer
        return answer


class ProxySession(FaultySession):
    """A session of the proxy's: where it would wait for the target's transaction it fails, since there is no time."""


class SimulatedProxy:
    """The proxy as a process.

    Args:
        stripe: Stripe.
        random: How long everything takes.
        plan: What is planned for it.
        settings: Those that it has in common with the target.
        api_version: The version of the rows.

    Attributes:
        performed: Called when Stripe has performed a call, with what it answered.
        read_again: Called when what a caller has read was read once more, with the new answer's body.
        stored: Called when what Stripe answered is stored; every call is told of once, if ever.
        counts: What happened, how often.
        life: How often it was started.
    """

    def __init__(
        self, stripe: SimulatedStripe, random: Random, plan: ProxyPlan, *, settings: dict[str, Any], api_version: str
    ) -> None:
        self._stripe = stripe
        self._agenda = stripe.agenda
        self._random = random
        self._plan = plan
        self._url: str = settings["database_url"]
        self._hard_delete: bool = settings["hard_delete"]
        self._api_version = api_version
        self.performed: Callable[[Call], None] = lambda _: None
        self.read_again: Callable[[Call, dict[str, Any]], None] = lambda *_: None
        self.stored: Callable[[Call], None] = lambda _: None
        self.counts: Counter[str] = Counter()
        self.life = 0
        self.faults = SessionFaults()
        self._admin = psycopg.connect(self._url, autocommit=True)
        stripe.service.keys[CALLER_KEY] = Key(secret=CALLER_KEY, account=stripe.account)
        self._is_up = False
        self.start()

    # Its life

    @property
    def is_up(self) -> bool:
        """Whether it answers."""
        return self._is_up

    def start(self) -> None:
        """Begin, with nothing in memory."""
        if self._is_up:
            return
        self._is_up = True
        self.life += 1
        self.stripe_clock = StripeClock(self._agenda)
        self.bound = StripeBound()
        self._ties = Ties()
        self.database = Database(connect=self._session, schema=SCHEMA)
        self._transactions = Transactions(
            connect=self._session, schema=SCHEMA, hard_delete=self._hard_delete, clock=self._agenda
        )
        self._jobs: list[tuple[Job, Call]] = []
        self._busy = False
        self._sync: Sync | None = None
        self._sync_read_at = float("-inf")
        self._client = SimulatedClient(
            self._stripe, random=self._random, of_the_tap=False, api_key=TEST_KEY, api_url=URL,
            api_version=self._api_version, requests_per_second=REQUESTS_PER_SECOND,
            endpoint_requests_per_second=REQUESTS_PER_SECOND, max_concurrent_requests=4, tries=TRIES,
            clock=self._agenda,
        )  # fmt: skip

    def kill(self, *, down_seconds: float) -> None:
        """SIGKILL, and a new start after a while."""
        if not self._is_up:
            return
        self.counts["proxy: killed"] += 1
        self._is_up = False
        self._end()
        self._agenda.after(down_seconds, self.start)

    def close(self) -> None:
        """The simulation is over."""
        self._is_up = False
        self._end()
        self._admin.close()

    def _end(self) -> None:
        self._transactions.close()
        self.database.close()
        self._client.close()
        self._jobs.clear()

    def begin_run(self, phase: ProxyPhase) -> None:
        """Have go wrong what is planned for a run."""
        self.faults = SessionFaults(statements=dict(phase.statement_faults), commits=dict(phase.commit_faults))
        faults = self.faults

        def away() -> None:
            if faults is self.faults:
                faults.away = True
                self._transactions.close()  # its sessions are lost
                self.database.close()

        def there() -> None:
            faults.away = False

        if phase.away_seconds:
            self._agenda.after(phase.away_from, away)
            self._agenda.after(phase.away_from + phase.away_seconds, there)
        if phase.kill_at is not None:
            self._agenda.after(phase.kill_at, lambda: self.kill(down_seconds=phase.down_seconds))

    def end_run(self) -> None:
        """Let nothing go wrong."""
        for met in self.faults.met:
            self.counts[f"proxy: {met}"] += 1
        self.faults = SessionFaults()

    def _session(self) -> psycopg.Connection[Any]:
        if self.faults.away:
            raise DatabaseUnavailableError("Cannot connect: it is away.")
        session = ProxySession.connect(self._url)
        assert isinstance(session, ProxySession)
        session.faults, session.admin = SessionFaults(), self._url
        for statement in SESSION_SETTINGS:
            session.execute(statement)
        session.execute(f"SET lock_timeout = {LOCK_MILLISECONDS}")
        session.commit()
        session.faults = self.faults
        return session

    # A call

    def call(self, call: Call) -> None:
        """Pass a request on, or have it go past."""
        if not call.past and not self._is_up:
            self.counts["calls: proxy down"] += 1
            return
        call.life = self.life
        if not call.past:
            call.began, call.asked_at = self.stripe_clock.estimate(), self._agenda.monotonic()
        self._agenda.after(self._way(), lambda: self._reach(call))

    def _way(self) -> float:
        return self._stripe.way(self._random)

    def _reach(self, call: Call) -> None:
        """It is at Stripe's."""
        call.exchange = exchange = self._stripe.answer(call.http(), of_the_tap=False)
        call.date = self._stripe.date()
        response = exchange.response
        call.request_id = dict(response.headers).get("Request-Id")
        self.counts[f"calls: {call.asked.method} {response.status}"] += 1
        self.performed(call)
        wait = exchange.delay_seconds + self._way()
        if wait > READ_TIMEOUT_SECONDS or exchange.delivery is not Delivery.WHOLE:
            self._agenda.after(min(wait, READ_TIMEOUT_SECONDS), lambda: self._broken_off(call))
        else:
            self._agenda.after(wait, lambda: self._arrive(call))

    def _broken_off(self, call: Call) -> None:
        """502 or 504: the caller sends it again with the same key, as it should."""
        if call.idempotency_key is not None and call.tries <= TRIES:
            self.again(call, after=self._random.expovariate(1.0))

    def again(self, call: Call, *, after: float) -> None:
        """Send a request once more, later."""
        repeated = replace(call, tries=call.tries + 1, exchange=None, answered=None, applied=None, told=())
        self._agenda.after(after, lambda: self.call(repeated))

    def _arrive(self, call: Call) -> None:
        """Stripe's answer is there."""
        if call.past or call.life != self.life or not self._is_up or call.exchange is None:
            return
        response = call.exchange.response
        dated = None
        if response.status < 400 or "Request-Id" in dict(response.headers):  # as the proxy has it
            self.bound.heard(call.date, call.asked_at)
            dated = self.stripe_clock.heard(call.date)
        if not may_hold_objects(call.asked.method, call.asked.path, response.status, response.content_type):
            return
        if self._random.random() < self._plan.kill_share:
            self.kill(down_seconds=0.5)
            return
        headers = {name.lower(): value for name, value in response.headers}
        try:
            call.answered = answered(
                self._in_version(response.body, call.version),
                method=call.asked.method,
                path=call.asked.path,
                query=call.asked.query,
                form=call.asked.form,
                status=response.status,
                version=headers.get("stripe-version"),
                replayed=headers.get("idempotent-replayed") == "true" or call.unknown,
                began=call.began,
                dated=dated if dated is not None else self.stripe_clock.second(),
            )
            sync = self._whose()
        except NotAppliedError:
            call.applied = False
            self.counts["calls: not applied"] += 1
            return
        self._agenda.after(APPLY_SECONDS, lambda: self._give_up(call))
        self._make_changes(call, sync, Rereads())

    def _in_version(self, body: bytes, version: str | None) -> bytes:
        """An answer as an old version has it."""
        if version is None:
            return body
        found = msgspec.json.decode(body)

        def older(each: Any) -> Any:
            known = each.get("object") in self._stripe.account.spec.objects and not each.get("deleted")
            return as_of_version(each, version, self._stripe.account._whole) if known else each

        if found.get("object") == "list":
            found["data"] = [older(each) for each in found["data"]]
            return msgspec.json.encode(found)
        return msgspec.json.encode(older(found))

    def _whose(self) -> Sync:
        now = self._agenda.monotonic()
        if self._sync is None or now - self._sync_read_at >= SYNC_SECONDS:
            try:
                self._sync = self.database.sync()
            except Killed:
                self.kill(down_seconds=0.5)
                raise NotAppliedError(reason="killed") from None
            except (psycopg.Error, TargetError) as error:
                if self._sync is None:
                    raise NotAppliedError(reason=f"Postgres is away ({type(error).__name__})") from None
            self._sync_read_at = now
        if self._sync is None:
            raise NotAppliedError(reason="no sync has run into this schema yet, so that it is nobody's")
        return self._sync

    def _give_up(self, call: Call) -> None:
        """It takes too long: the caller gets Stripe's answer."""
        if call.applied is None and call.life == self.life:
            self.counts["calls: took too long"] += 1
            self._fail(call)

    def _make_changes(self, call: Call, sync: Sync, rereads: Rereads) -> None:
        """Make changes of an answer; reads again first, if that is needed."""
        if call.life != self.life or not self._is_up or call.answered is None or call.applied is not None:
            return
        rereads.asked = 0
        client: Any = rereads if self._plan.has_key else None
        writes = Writes(
            client=client, api_version=self._api_version, account_id=sync.account_id or "self",
            selected=stored_types(sync.streams),
        )  # fmt: skip
        try:
            found = writes.changes(call.answered)
        except WantedError as wanted:
            self.counts["calls: read again"] += 1

            def land(answer: Answer | TapError) -> None:
                rereads.answers.append(answer)
                if call.asked.method == "GET" and not isinstance(answer, TapError) and answer.body is not None:
                    self.read_again(call, answer.body)
                self._make_changes(call, sync, rereads)

            self._client.send(wanted.request, land)
            return
        except (NotAppliedError, TapError):
            self._fail(call)
            return
        if not found:
            call.applied = True
            return
        job = Job(changes=found, on_tie=lambda: self._note_tie(call))
        job.stored.set_running_or_notify_cancel()
        self._agenda.after(self._random.expovariate(1 / self._plan.gather_seconds), lambda: self._queue(job, call))

    # Storing

    def _queue(self, job: Job, call: Call) -> None:
        if call.life == self.life and self._is_up:
            self._jobs.append((job, call))
            if not self._busy:
                self._begin_transaction()

    def _begin_transaction(self) -> None:
        self._busy = True
        life, since = self.life, self._agenda.monotonic()
        wait = self._random.expovariate(1 / self._plan.commit_seconds)
        jobs, self._jobs = self._jobs, []
        self._agenda.after(wait, lambda: self._transact(life, since, jobs))

    def _transact(self, life: int, since: float, jobs: list[tuple[Job, Call]]) -> None:
        """Store, when the target's transaction is over."""
        if life != self.life or not self._is_up:
            return
        if not self._is_its_turn() and self._agenda.monotonic() - since < STATEMENT_SECONDS:
            self._agenda.after(LOOK_SECONDS, lambda: self._transact(life, since, jobs))
            return
        try:
            self._transactions.store([job for job, _ in jobs])
        except Killed:
            self.kill(down_seconds=0.5)
            return
        self._busy = False
        for job, call in jobs:
            self._tell(job, call)
        if self._jobs:
            self._begin_transaction()

    def _is_its_turn(self) -> bool:
        """Whether no other writer of the schema has a transaction open."""
        number = lock_number(SCHEMA)
        found = self._admin.execute("SELECT pg_try_advisory_lock(%s)", (number,)).fetchone()
        if found is None or not found[0]:
            return False
        self._admin.execute("SELECT pg_advisory_unlock(%s)", (number,))
        return True

    def _tell(self, job: Job, call: Call) -> None:
        if job.stored.exception() is not None:
            self._fail(call)
            return
        if call.applied is None:
            call.applied = True
            self.counts["settled" if call.settles else "calls: applied"] += 1
        self.stored(call)

    def _fail(self, call: Call) -> None:
        """What an answer says is not stored."""
        if call.applied is None:
            call.applied = False
            self.counts["not settled" if call.settles else "calls: not applied"] += 1
        if call.settles:
            self._note_tie(call)

    # Ties

    def _note_tie(self, call: Call) -> None:
        if call.answered is None or not self._plan.has_key:
            return
        self.counts["ties"] += 1
        self._ties.note(call.answered, self._agenda.monotonic(), tries=call.settles)
        life = self.life
        self._agenda.after(SECONDS + self._random.random() * SETTLE_SECONDS, lambda: self._settle(life))

    def _settle(self, life: int) -> None:
        """Read again what was tied."""
        if life != self.life or not self._is_up:
            return
        for found, tries in self._ties.due(self._agenda.monotonic()):
            call = Call(asked=Asked(method=found.method, path=found.path), life=life, answered=found, settles=tries)
            try:
                sync = self._whose()
            except NotAppliedError:
                self._fail(call)
            else:
                self._agenda.after(APPLY_SECONDS, lambda call=call: self._give_up(call))  # type: ignore[misc]
                self._make_changes(call, sync, Rereads())


def draw_version(random: Random, share: float) -> str | None:
    """An old version, for a share of calls."""
    return random.choice(VERSIONS) if random.random() < share else None
