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
from stripe_sandbox.platforms import Platform
from stripe_sandbox.request_log import LoggedRequest, RequestLog
from stripe_sandbox.seeding import own_objects, seed_full
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
MAX_CONNECTED: Final = 1_000

Result = TypeVar("Result")


class Service:
    """Answers requests.

    Args:
        account: How the account is filled: ``demo`` (a small business), ``full`` (every type) or ``empty``.
        seed: Decides everything that looks random.
        scale: For ``full``: multiplies how many objects there are.
        most: For ``full``: the most objects of a type that belong to no other object; None for no limit.
        bulk: How many virtual objects of a type the platform's account has, such as ``{"charge": 1_000_000}``.
        restricted_keys: Restricted keys and what they may read, such as ``{"rk_test_x": "customer,event"}``.
        now: Where the account's clock starts, and stands; without it, it is the real time.
        state_file: Where the account is loaded from, if there is such a file, and saved to.
        speed: How many times as fast as the real time a running clock runs.
        connected_accounts: How many accounts, filled the same way but smaller, the test key's account may act for.
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
        connected_accounts: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if account not in KINDS:
            raise SandboxError(f"There is no account '{account}', but: {', '.join(KINDS)}.")
        if not 0 <= connected_accounts <= MAX_CONNECTED:
            raise SandboxError(f"There may be 0 to {MAX_CONNECTED} connected accounts, not {connected_accounts}.")
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
        self.platform = Platform(self.account)
        self.api = Api(spec, self.keys, self.platform)
        self.faults = Faults(random=Random(token(seed, "faults")))
        self.limit = RateLimit()
        self.requests = RequestLog()
        own_objects(self.live_account)
        open_books(self.live_account)
        self._fill(scale, most, connected_accounts)
        add_bulks(self.account, bulk or {})
        if not self._clock_stands and speed != 1:
            self.account.clock.run_at(speed)

    @property
    def connected(self) -> dict[str, Account]:
        """The connected accounts by id, also those whose access was revoked."""
        return self.platform.connected

    def connect(self, count: int = 1) -> list[Account]:
        """So many more accounts join the platform, and its events tell of it; they are filled as the others.

        Raises:
            SandboxError: There would be too many.
        """
        if not 0 <= count <= MAX_CONNECTED - len(self.connected):
            raise SandboxError(f"So many accounts cannot join ({count}): there may be {MAX_CONNECTED} at most.")
        with self.account.clock.away():
            joined = self._add_connected(count, until=self.account.now())
        for account in joined:
            self.platform.join(account, announced=True)
        return joined

    def reaches(self, account_id: str) -> bool:
        """Whether the platform has access to a connected account."""
        return self.platform.reaches(account_id)

    def revoke(self, account_id: str) -> None:
        """Take the platform's access to a connected account away: 403 from now on.

        Raises:
            SandboxError: The platform has no access to such an account.
        """
        self.platform.leave(account_id)

    def restore(self, account_id: str) -> None:
        """Give access back that was revoked.

        Raises:
            SandboxError: No such access was revoked.
        """
        self.platform.come_back(account_id)

    def account_of(self, account_id: str | None) -> Account:
        """The platform's account (None, or its id) or a connected one, whether or not there is access to it.

        Raises:
            SandboxError: There is no such account.
        """
        if account_id is None or account_id == self.account.id:
            return self.account
        if account_id not in self.connected:
            raise SandboxError(
                f"There is no account {account_id}, but: {', '.join((self.account.id, *self.connected))}."
            )
        return self.connected[account_id]

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
                account=request.headers.get("stripe-account"),
            )
        )
        return exchange

    def pass_time(self, seconds: float = SLICE_SECONDS) -> bool:
        """Let happen what is due, for so many seconds of real time at most; whether all of it has happened."""
        in_test = catch_up(self.account, *self.connected.values(), seconds=seconds)
        return catch_up(self.live_account, seconds=seconds) and in_test

    def tick(self, days: int, account_id: str | None = None) -> None:
        """Let ``days`` days of business happen; the clock moves on by them.

        ``account_id`` None is all accounts. In the others, what is due by then happens but there is nothing new.
        """
        now = self.account.now()
        self._go_on(since=now, until=now + days * business.DAY, account_id=account_id)

    def happen(self) -> None:
        """Let a day's worth of business happen now in every account; the clock stays."""
        now = self.account.now()
        self._go_on(since=now, until=now, account_id=None)

    def save(self) -> None:
        """Write the state file, if there is to be one."""
        if self._state_file is not None:
            state.save(self.platform, self._state_file, kind=self._kind)

    def _fill(self, scale: int, most: int | None, connected: int) -> None:
        account = self.account
        now = until = account.now()
        if self._state_file is not None and self._state_file.exists():
            saved = state.load(self.platform, self._state_file, kind=self._kind)
            until = max(now, saved.saved_at)  # where a saved clock was ahead, it stays ahead
            for each in (account, *self.connected.values()):
                if not each.agenda.entries():
                    _begin_anew(each)
                if self._kind == "demo":
                    business.go_on(each, since=saved.saved_at, until=until)
            self._connect_first(connected - len(self.connected), until=until)
        elif self._kind == "full":
            self._add_connected(connected, until=until)
            seed_full(account, scale=scale, most=most, accounts=tuple(self.connected) or None)
            open_books(account)
        else:
            if self._kind == "demo":
                business.open_business(account, until=until)
            else:
                own_objects(account)
                open_books(account)
            self._connect_first(connected, until=until)
        if self._kind == "demo":
            self.api.missing_products = business.MISSING_PRODUCTS
        account.clock.stop_at(until)
        if not self._clock_stands and until > now:
            account.clock.run()
        elif not self._clock_stands:
            account.clock.run_in_real_time()

    def _add_connected(self, count: int, *, until: int) -> list[Account]:
        added = []
        for _ in range(count):
            account = self.platform.add()
            self.platform.fill(account, self._kind, until=until)
            added.append(account)
        return added

    def _connect_first(self, count: int, *, until: int) -> None:
        """The accounts that are connected from the beginning: no event tells how they joined."""
        for account in self._add_connected(count, until=until):
            self.platform.join(account, announced=False)

    def _go_on(self, *, since: int, until: int, account_id: str | None) -> None:
        if self._kind != "demo":
            raise SandboxError(f"Only the demo account has a business that goes on; this one is '{self._kind}'.")
        everyone = (self.account, *self.connected.values())
        for account in everyone if account_id is None else (self.account_of(account_id),):
            business.go_on(account, since=since, until=until)
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
