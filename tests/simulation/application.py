"""An application before the proxy: it reads and writes through it, and waits until all is in.

Its calls come with the account's moves, so that there are as many as those, and are actions on the agenda.
"""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any

import psycopg
from callers import Callers
from oracle import table
from proxy_checkers import Truth, WaitPromise, WrittenThrough
from simulated_pipe import Killed
from simulated_proxy import Call, SimulatedProxy, draw_version

from stripe_proxy.wait import obstacle, read_status
from stripe_sandbox.histories import Change
from stripe_sandbox.messages import Delivery
from target_postgres_stripe.errors import TargetError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable

    from oracle import Oracle, StripeObject
    from plan import Plan
    from proxy_checkers import Waiting
    from simulated_stripe import SimulatedStripe

    from stripe_proxy.wait import Status
    from stripe_sandbox.histories import History

WAIT_SECONDS = 30.0
LOOK_SECONDS = 0.5  # apart; the proxy looks more often
RECENT = 20


class Application:
    """What happens with a proxy.

    Args:
        plan: What is to happen; it has a proxy.
        stripe: Stripe.
        history: The account's history, to which it adds.
        connection: A session in the database, for the checkers.
        oracle: Computes cells.
        complete: Adds to an object what is shown on request.
        say: Takes what is wrong.
        settings: The target's.
    """

    def __init__(
        self,
        plan: Plan,
        stripe: SimulatedStripe,
        history: History,
        connection: psycopg.Connection[Any],
        *,
        oracle: Oracle,
        complete: Callable[[StripeObject], StripeObject],
        say: Callable[[Iterable[str]], None],
        settings: dict[str, Any],
    ) -> None:
        assert plan.proxy is not None
        self._plan, self._proxy_plan = plan, plan.proxy
        self._stripe, self._agenda, self._history = stripe, stripe.agenda, history
        self._random = Random(f"application {plan.seed}")
        self._callers = Callers(history, self._random)
        self._connection = connection
        self._say = say
        self.proxy = SimulatedProxy(
            stripe, self._random, plan.proxy, settings=settings, api_version=stripe.account.spec.api_version
        )
        self.proxy.performed = self._performed
        self.proxy.stored = self._stored
        self._written = WrittenThrough(connection, Truth(stripe.account, oracle, complete))
        self.proxy.read_again = self._written.read_again
        self._waits = WaitPromise(connection, stripe.account, refused=plan.is_refused_at_times)
        self._near: tuple[str, str] | None = None
        self._requests: list[str] = []
        self._run = 0
        self._waiting: list[tuple[Waiting, float, float, int]] = []
        self._keys = 0
        self._repeated: set[str] = set()

    @property
    def counts(self) -> Counter[str]:
        """What happened, how often."""
        return self.proxy.counts

    def begin_run(self, number: int) -> None:
        """Have go wrong what is planned for a run, and wait now and then."""
        self._run = number + 1
        self.proxy.begin_run(self._proxy_plan.phases[number])
        self._wait_soon(self._run)

    def end_run(self) -> None:
        """Let nothing go wrong, and nobody wait."""
        self._run = 0
        self.proxy.end_run()

    def close(self) -> None:
        """The simulation is over."""
        self.proxy.close()

    def look(self) -> None:
        """Check what was written."""
        self._say(self._written.look())

    # Calls

    def move(self) -> None:
        """The account makes a move: make as many calls as come with it."""
        calls = self._proxy_plan.calls
        for _ in range(int(calls) + (self._random.random() < calls % 1)):
            call = self._draw()
            if call is not None:
                self._agenda.after(self._random.random() * 0.3, lambda call=call: self.proxy.call(call))  # type: ignore[misc]

    def _draw(self) -> Call | None:
        plan, random = self._proxy_plan, self._random
        near = self._near if random.random() < plan.same else None
        asked = self._callers.read(near) if random.random() < plan.reading else self._callers.write(near)
        if asked is None:
            return None
        if asked.about is not None:
            self._near = asked.about
        self._keys += 1
        with_key = asked.method == "POST" and random.random() < 0.7
        return Call(
            asked=asked,
            version=draw_version(random, plan.old),
            idempotency_key=f"key {self._keys}" if with_key else None,
            unknown=random.random() < plan.unknown,
            past=random.random() < plan.past,
        )

    def _performed(self, call: Call) -> None:
        """Stripe has answered: note it in the history, and perhaps send it again some time."""
        self._written.performed(call, self._plan.selected)
        exchange = call.exchange
        if exchange is None or exchange.response.status >= 300 or call.asked.method == "GET":
            return
        if dict(exchange.response.headers).get("Idempotent-Replayed") != "true":
            self._note(call)
            if call.request_id is not None and exchange.delivery is Delivery.WHOLE:
                self._requests = [*self._requests[-RECENT:], call.request_id]
        key = call.idempotency_key
        if key and key not in self._repeated and self._random.random() < self._proxy_plan.repeated:
            self._repeated.add(key)
            self.proxy.again(call, after=self._random.choice((0.1, 1.0, 10.0)))

    def _note(self, call: Call) -> None:
        """Note in the history what a write did."""
        account = self._history.account
        verb = "deleted" if call.asked.method == "DELETE" else "updated" if call.asked.about else "created"
        for had in call.told[:1]:
            self._history.done.append(Change(type=had.object[0], verb=verb, id=had.object[1], at=had.at, events=()))
            if self._near is None or self._random.random() < 0.5:
                self._near = had.object
        for event in list(account.store.table("event").records.values())[-RECENT:]:
            body = event.body["data"]["object"]
            if event.body["request"]["id"] == call.request_id and isinstance(body.get("id"), str):
                record = account.store.get(body["object"], body["id"])
                if record is not None:
                    self._history.variations.hold(record)

    def _stored(self, call: Call) -> None:
        self._say(self._written.stored(call, self._types()))

    def _types(self) -> frozenset[str]:
        """The selected types of which a sync has bookmarks."""
        streams = {each for (each,) in self._connection.execute("SELECT stream FROM stripe._sync_status")}
        return frozenset(each for each in self._plan.selected if table(each) in streams)

    # Waits

    def _wait_soon(self, run: int) -> None:
        every = self._proxy_plan.wait_every
        if every:
            self._agenda.after(self._random.expovariate(1 / every), lambda: self._wait(run))

    def _wait(self, run: int) -> None:
        """Somebody calls, and waits."""
        if run != self._run:
            return
        self._wait_soon(run)
        after = self.proxy.bound.latest(self._agenda.monotonic())
        if after is None or not self.proxy.is_up:
            return
        self.counts["waits"] += 1
        named = self._requests if "event" in self._plan.selected and self._random.random() < 0.5 else []
        waiting = self._waits.begin(self._random.choice(named) if named else None)
        if not self._waiting:
            self._agenda.after(self._stripe.way(self._random), self._look_while_asked)
        self._waiting.append((waiting, after, self._agenda.monotonic() + WAIT_SECONDS, self.proxy.life))

    def _look_while_asked(self) -> None:
        """Answer those who wait, as far as it can be; all of them share a look, as in the proxy."""
        now, life = self._agenda.monotonic(), self.proxy.life
        self._waiting = [each for each in self._waiting if each[2] >= now and each[3] == life]
        status = self._status(frozenset(filter(None, (waiting.request for waiting, *_ in self._waiting))))
        machine = datetime.fromtimestamp(self._agenda.now(), UTC)
        for each in list(self._waiting) if status is not None else ():
            waiting, after, *_ = each
            if obstacle(status, after, machine, waiting.request) is None:
                self._waiting.remove(each)
                self.counts["waits: yes"] += 1
                self._say(self._waits.answered(waiting, self._followed()))
        if self._waiting:
            self._agenda.after(LOOK_SECONDS, self._look_while_asked)

    def _status(self, requests: frozenset[str]) -> Status | None:
        try:
            return self.proxy.database.read(lambda connection: read_status(connection, "stripe", requests))
        except Killed:
            self.proxy.kill(down_seconds=0.5)
        except (psycopg.Error, TargetError):
            return None
        return None

    def _followed(self) -> frozenset[str]:
        """The selected streams that Stripe does not refuse."""
        statement = "SELECT stream FROM stripe._sync_status WHERE denied IS NULL"
        streams = frozenset(stream for (stream,) in self._connection.execute(statement))
        return streams & frozenset(map(table, self._plan.selected))
