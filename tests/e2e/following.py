"""Runs that follow, and changes that are made meanwhile: started, watched, stopped.

The target prints a STATE when what it covers is committed. So whoever waits for a change looks after each STATE, and
need not look more often; what is measured is the time until the change could be read for certain.
"""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import psycopg
from fix_sandbox import Http
from pipeline import TIMEOUT_SECONDS
from stripe_account import StripeAccount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline import Outcome, Running

FOLLOW = {"follow": True, "requests_per_second": 20, "endpoint_requests_per_second": 20}
"""As with a test key; nothing else is set."""

CHANGED = ("customer", "product", "subscription", "charge")
"""What is changed, if the account has any; customers and products are made for it."""

PATIENCE_SECONDS = 30
ROOT = Path(__file__).parents[2]


class Following:
    """A run that follows, and a thread that takes the STATEs which its target prints.

    Args:
        running: The run.
        on_state: Called in that thread after each STATE.
    """

    def __init__(self, running: Running, on_state: Callable[[], None] | None = None) -> None:
        self.running = running
        self.states: list[dict[str, Any]] = []
        self._on_state = on_state
        self._arrived: SimpleQueue[float | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.running.__exit__()
        self._thread.join(TIMEOUT_SECONDS)

    def _take(self) -> None:
        for state in self.running.states():
            self.states.append(state)
            if self._on_state is not None:
                self._on_state()
            self._arrived.put(time.monotonic())
        self._arrived.put(None)

    def wait_until(self, holds: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> float:
        """Look after each STATE, for so long; return how many seconds it took.

        Raises:
            AssertionError: It never held, or the run ended before.
        """
        began = time.monotonic()
        while not holds():
            left = began + seconds - time.monotonic()
            try:
                ended = left <= 0 or self._arrived.get(timeout=left) is None
            except Empty:
                ended = True
            if ended and not holds():
                of_what = getattr(holds, "__self__", "")
                raise AssertionError(f"not in {seconds} s, or the run ended. {of_what}\n{self.running.logs()[-6_000:]}")
        return time.monotonic() - began

    def wait_until_caught_up(self) -> None:
        """Wait until the tap says so."""
        self.wait_until(lambda: "Following the feed" in self.running.logs())

    @property
    def both(self) -> tuple[subprocess.Popen[Any], subprocess.Popen[Any]]:
        """The tap's process and the target's."""
        return self.running.tap, self.running.target

    def signal(self, number: int, *names: str) -> None:
        """Send a signal to ``tap``, ``target`` or both."""
        for name in names:
            getattr(self.running, name).send_signal(number)

    def finish(self) -> Outcome:
        """Wait until both have ended."""
        self._thread.join(TIMEOUT_SECONDS)
        return self.running.finish()

    def stop(self) -> tuple[Outcome, float]:
        """End it as a shell or a service manager does; return how, and how many seconds that took."""
        began = time.monotonic()
        self.signal(signal.SIGTERM, "tap", "target")
        outcome = self.finish()
        return outcome, time.monotonic() - began


class Changes:
    """Changes of several types, made through the API, and how long each took until it could be read.

    Args:
        account: Where they are made.
        database_url: Where they are to arrive.
        objects: How many of each type are changed in turn.
    """

    def __init__(self, account: StripeAccount, database_url: str, *, objects: int = 100) -> None:
        self._account = account
        self._http = Http(account.url)
        self._session = psycopg.connect(database_url, autocommit=True)
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], list[tuple[int, float]]] = {}  # table and id → marks and when they were made
        self._marks = itertools.count(1)
        self.lags: list[float] = []
        for _ in range(10):
            account.create("/v1/customers", name="One of many")
            account.create("/v1/products", name="One of many")
        customers = self._list("/v1/customers", objects)
        product = self._list("/v1/products", 1)[0]
        changed = [
            *(self._in_turn(table, f"/v1/{table}s", objects) for table in CHANGED if self._list(f"/v1/{table}s", 1)),
            itertools.repeat(("customer", "/v1/customers", {"email": "somebody@example.com"})),
            itertools.repeat(("coupon", "/v1/coupons", {"percent_off": 10, "duration": "once"})),
            (
                ("invoiceitem", "/v1/invoiceitems", {"customer": each, "amount": 1_234, "currency": "usd"})
                for each in itertools.cycle(customers)
            ),
            itertools.repeat(("price", "/v1/prices", {"product": product, "currency": "usd", "unit_amount": 900})),
            itertools.repeat(("product", "/v1/products", {"name": "Another one"})),
        ]
        self._next = itertools.chain.from_iterable(zip(*changed, strict=False))

    def close(self) -> None:
        self._http.close()
        self._session.close()

    def _list(self, path: str, most: int) -> list[str]:
        found = self._http.get(path, {"limit": most}).json()["data"]
        return [each["id"] for each in found]

    def _in_turn(self, table: str, path: str, most: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
        return ((table, f"{path}/{each}", {}) for each in itertools.cycle(self._list(path, most)))

    @property
    def made(self) -> int:
        """How many there were."""
        return len(self.lags) + self.outstanding

    @property
    def outstanding(self) -> int:
        """How many have not arrived."""
        with self._lock:
            return sum(map(len, self._open.values()))

    def all_there(self) -> bool:
        """Whether all have arrived."""
        self.look()
        return not self._open

    def __str__(self) -> str:
        return f"{len(self.lags)} changes arrived, not yet: {sorted(self._open)[:20]}"

    def make(self) -> None:
        """Make the next change."""
        table, path, values = next(self._next)
        mark, began = next(self._marks), time.monotonic()
        answer = self._http.post(path, {**values, "metadata[mark]": mark})
        assert answer.status_code == 200, answer.text
        with self._lock:
            self._open.setdefault((table, answer.json()["id"]), []).append((mark, began))

    def make_at(self, per_second: float, seconds: float) -> None:
        """Make so many changes a second for so long."""
        pace = threading.Event()
        began = time.monotonic()
        for number in range(int(per_second * seconds)):
            pace.wait(max(0.0, began + number / per_second - time.monotonic()))
            self.make()

    def look(self) -> None:
        """Take in which changes can be read now."""
        now = time.monotonic()
        with self._lock:
            waiting = {table: [key for name, key in self._open if name == table] for table, _ in self._open}
        for table, keys in waiting.items():
            found = self._session.execute(
                f"SELECT id, (metadata->>'mark')::bigint FROM stripe.{table} WHERE id = ANY(%s) AND metadata ? 'mark'",
                (keys,),
            ).fetchall()
            with self._lock:
                for key, mark in found:
                    self._take(table, key, mark, now)

    def _take(self, table: str, key: str, mark: int, now: float) -> None:
        marks = self._open.get((table, key), [])
        self.lags += [now - made for number, made in marks if number <= mark]
        rest = [each for each in marks if each[0] > mark]
        if rest:
            self._open[table, key] = rest
        else:
            self._open.pop((table, key), None)

    def percentile(self, percent: int) -> float:
        """How long so many percent of the changes took at most."""
        return statistics.quantiles(self.lags, n=100, method="inclusive")[percent - 1]


@contextmanager
def sandbox_process(directory: Path, *options: str, account: str = "demo") -> Iterator[StripeAccount]:
    """A sandbox on a running clock, in a process of its own."""
    port_file = directory / "port"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "stripe_sandbox", "--account", account, "--port", "0", *options]
    process = subprocess.Popen([*command, "--port-file", str(port_file)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{_port(port_file, process)}"
        http = Http(url)
        account_id = http.get("/v1/account").json()["id"]
        yield StripeAccount(SimpleNamespace(url=url, account=SimpleNamespace(id=account_id)), http)  # type: ignore[arg-type]
        http.close()
    finally:
        process.terminate()
        process.wait(TIMEOUT_SECONDS)


def _port(port_file: Path, process: subprocess.Popen[bytes]) -> int:
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.exists() and (text := port_file.read_text().strip()):
            return int(text)
        pause.wait(0.02)
    raise AssertionError("the sandbox did not start")


def usage(pid: int) -> tuple[float, int]:
    """The CPU seconds that a process has used, and the bytes that it holds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
