"""The sandbox as one thing: accounts, keys, faults and log behind one handler, and a thread to serve them from.

``Sandbox`` is what tests use::

    with Sandbox(account="full", seed=1) as sandbox:
        stripe.api_base = sandbox.url

``Service`` is the same without a socket: it answers requests in the caller's thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING, Final, Self, TypeVar

from stripe_sandbox import business, control, server, state
from stripe_sandbox.account import Account
from stripe_sandbox.api import Api
from stripe_sandbox.bulk_fill import add_bulks
from stripe_sandbox.clock import Clock
from stripe_sandbox.errors import SandboxError
from stripe_sandbox.faults import Faults, RateLimit
from stripe_sandbox.ids import token
from stripe_sandbox.keys import Key, restricted
from stripe_sandbox.messages import Delivery, Exchange, Request
from stripe_sandbox.occurrences import catch_up, open_books
from stripe_sandbox.request_log import LoggedRequest, RequestLog
from stripe_sandbox.seeding import add_singletons, seed_full
from stripe_sandbox.shapes import Generator, cyclic_types
from stripe_sandbox.spec import load_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

TEST_KEY: Final = "sk_test_sandbox"
LIVE_KEY: Final = "sk_live_sandbox"
KINDS: Final = ("demo", "full", "empty")
START_TIMEOUT_SECONDS: Final = 60.0
SLICE_SECONDS: Final = 0.05

Result = TypeVar("Result")


class Service:
    """Answers requests.

    Args:
        account: How the account is filled: ``demo`` (a small business), ``full`` (every type) or ``empty``.
        seed: Decides everything that looks random.
        scale: For ``full``: multiplies how many objects there are.
        most: For ``full``: the most objects of a type that belong to no other object; None for no limit.
        bulk: How many virtual objects of a type there are, such as ``{"charge": 1_000_000}``.
        restricted_keys: Restricted keys and what they may read, such as ``{"rk_test_x": "customer,event"}``.
        now: Where the account's clock starts, and stands; without it, it is the real time.
        state_file: Where the account is loaded from, if there is such a file, and saved to.
        speed: How many times as fast as the real time a running clock runs.
        monotonic: The time by which rate limits are kept, in seconds.
    """

    def __init__(
        self,
        *,
        account: str = "full",
        seed: int = 1,
        scale: int = 1,
        most: int | None = None,
        bulk: Mapping[str, int] | None = None,
        restricted_keys: Mapping[str, str] | None = None,
        now: int | None = None,
        state_file: Path | None = None,
        speed: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if account not in KINDS:
            raise SandboxError(f"There is no account '{account}', but: {', '.join(KINDS)}.")
        spec = load_spec()
        self._kind = account
        self._state_file = state_file
        self._clock_stands = now is not None
        self._monotonic = monotonic
        account_id = f"acct_1{token(seed, 'account', length=16)}"
        self.account = Account(spec, account_id=account_id, seed=seed, clock=Clock(now))
        self.live_account = Account(spec, account_id=account_id, seed=seed, livemode=True, clock=Clock(now))
        self.keys = {
            TEST_KEY: Key(secret=TEST_KEY, account=self.account),
            LIVE_KEY: Key(secret=LIVE_KEY, account=self.live_account),
            **{secret: restricted(secret, names, self.account) for secret, names in (restricted_keys or {}).items()},
        }
        self.api = Api(spec, self.keys)
        self.faults = Faults(random=Random(token(seed, "faults")))
        self.limit = RateLimit()
        self.requests = RequestLog()
        _own_objects(self.live_account)
        open_books(self.live_account)
        self._fill(scale, most)
        add_bulks(self.account, bulk or {})
        if not self._clock_stands and speed != 1:
            self.account.clock.run_at(speed)

    def handle(self, request: Request) -> Exchange:
        """Answer a request, after what was due before it. Control requests are not logged and never go wrong."""
        self.pass_time()
        if request.path.startswith(control.PREFIX):
            return Exchange(response=control.answer(self, request))
        endpoint = self.api.endpoint(request)
        refusal = self.limit.refusal(endpoint, self._monotonic())
        if refusal is not None:
            exchange = Exchange(response=refusal, delay_seconds=self.faults.latency_seconds)
        else:
            exchange = self.faults.exchange(request, lambda: self.api.answer(request))
        self.requests.add(
            LoggedRequest(
                method=request.method,
                path=request.path,
                query=request.query,
                endpoint=endpoint,
                status=0 if exchange.delivery is Delivery.RESET else exchange.response.status,
                at=time.time(),
                key_last4=request.headers.get("authorization", "")[-4:],
            )
        )
        return exchange

    def pass_time(self, seconds: float = SLICE_SECONDS) -> bool:
        """Let happen what is due, for so many seconds of real time at most; whether all of it has happened."""
        done = [catch_up(account, seconds=seconds) for account in (self.account, self.live_account)]
        return all(done)

    def tick(self, days: int) -> None:
        """Let ``days`` days of business happen; the clock moves on by them."""
        now = self.account.now()
        self._go_on(since=now, until=now + days * business.DAY)

    def happen(self) -> None:
        """Let a day's worth of business happen now; the clock stays."""
        now = self.account.now()
        self._go_on(since=now, until=now)

    def save(self) -> None:
        """Write the state file, if there is to be one."""
        if self._state_file is not None:
            state.save(self.account, self._state_file, kind=self._kind)

    def _fill(self, scale: int, most: int | None) -> None:
        account = self.account
        now = until = account.now()
        if self._state_file is not None and self._state_file.exists():
            saved = state.load(account, self._state_file, kind=self._kind)
            until = max(now, saved.saved_at)  # where a saved clock was ahead, it stays ahead
            if not account.agenda.entries():
                _begin_anew(account)
            if self._kind == "demo":
                business.go_on(account, since=saved.saved_at, until=until)
        elif self._kind == "demo":
            business.open_business(account, until=until)
        elif self._kind == "full":
            seed_full(account, scale=scale, most=most)
            open_books(account)
        else:
            _own_objects(account)
            open_books(account)
        if self._kind == "demo":
            self.api.missing_products = business.MISSING_PRODUCTS
        account.clock.stop_at(until)
        if not self._clock_stands and until > now:
            account.clock.run()
        elif not self._clock_stands:
            account.clock.run_in_real_time()

    def _go_on(self, *, since: int, until: int) -> None:
        if self._kind != "demo":
            raise SandboxError(f"Only the demo account has a business that goes on; this one is '{self._kind}'.")
        business.go_on(self.account, since=since, until=until)
        if not self._clock_stands:
            self.account.clock.run()


class Sandbox(Service):
    """A service on a socket of its own, served from a thread. The arguments are those of :class:`Service`."""

    url: str

    def start(self, *, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Serve until ``stop``; ``url`` tells where."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stripe-sandbox", daemon=True)
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(
            server.listen(self.handle, self.account.now, host=host, port=port, beat=self.pass_time), self._loop
        )
        self._listener = listening.result(START_TIMEOUT_SECONDS)
        host, port = self._listener.address
        self.url = f"http://{host}:{port}"
        return self

    def stop(self) -> None:
        """Close the socket, end the thread and save the state."""
        self.run(self._listener.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_TIMEOUT_SECONDS)
        with ExitStack() as stack:
            stack.callback(self._loop.close)
            self.save()

    def run(self, function: Callable[[], Result]) -> Result:
        """Call a function in the server's thread, where alone the account may be touched while it serves."""

        async def call() -> Result:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(START_TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _begin_anew(account: Account) -> None:
    """Find out what is due of everything: for a state from a version that did not keep it."""
    open_books(account)
    for table in account.store.tables():
        for record in table.records.values():
            account.schedule(record)
    for moment in account.ledger.moments():
        account.agenda.note(moment, "settlement", "")


def _own_objects(account: Account) -> None:
    """What even an empty account has: itself, its balance and settings."""
    generator = Generator(
        lambda _types, _random: None, now=account.now(), livemode=account.livemode, cyclic=cyclic_types(account.spec)
    )
    add_singletons(account, generator, account.random)
