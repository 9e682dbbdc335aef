"""What happens in an account that is followed: business as usual, and marks that tell how far behind Postgres is."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from fix_sandbox import Http

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

MARK_SECONDS = 0.7
"""How often a mark is written; no multiple of the interval at which the feed is polled."""

LOOK_SECONDS = 0.02
LAST_SECONDS = 10.0
"""How long the last one is waited for."""

READER = "reader-of-the-soak"

HISTORIES = (
    "billing.meter", "charge", "coupon", "credit_note", "dispute", "invoice", "invoiceitem", "payment_intent", "payout",
    "price", "product", "promotion_code", "quote", "refund", "setup_intent", "subscription", "subscription_schedule",
    "tax_rate", "topup", "transfer",
)  # fmt: skip
"""Types to which random histories happen. Not customers: one of them carries the marks."""

CLIENTS = 4
"""So many send requests at a time, as a slow answer must not hold up the others."""

OF_EACH = 100
FEWEST = 20


class Business:
    """So many changes a second: requests as an application makes them, and random histories for a fifth of it.

    Args:
        url: The sandbox.
        per_second: How many changes.
        random: Decides what is changed.
    """

    def __init__(self, url: str, *, per_second: int, random: Random) -> None:
        self._http = [Http(url) for _ in range(CLIENTS + 1)]
        self._random = random
        self._in_histories = per_second // 5
        self._by_requests = per_second - self._in_histories
        self._stopping = threading.Event()
        # Only these are deleted: with an older one, what payment intents show of its payment methods would change in
        # silence.
        self._fresh: deque[str] = deque()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._make_histories, args=(self._http[0],), daemon=True),
            *(threading.Thread(target=self._make_requests, args=(http,), daemon=True) for http in self._http[1:]),
        ]
        self._known = {name: self._list(name) for name in ("customers", "products", "subscriptions", "charges")}
        self.made = 0
        self.behind_seconds = 0.0
        self.failures: list[str] = []

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
        for http in self._http:
            http.close()

    def _list(self, name: str) -> list[str]:
        found = self._http[0].get(f"/v1/{name}", {"limit": OF_EACH}).json()["data"]
        return [each["id"] for each in found]

    def _paced(self, per_second: float, act: Callable[[int], None]) -> None:
        began = time.monotonic()
        number = 0
        while not self._stopping.wait(max(0.0, began + number / per_second - time.monotonic())):
            self.behind_seconds = max(self.behind_seconds, time.monotonic() - began - number / per_second)
            try:
                act(number)
            except Exception as error:  # noqa: BLE001 - the soak goes on, and is told of it at its end
                self.failures.append(repr(error))
            number += 1

    def _make_histories(self, http: Http) -> None:
        def happen(number: int) -> None:
            settings = {"changes": self._in_histories, "types": HISTORIES, "silent": False, "seconds": 0}
            self._count(len(http.control("history", seed=number, **settings)["changes"]))

        self._paced(1.0, happen)

    def _make_requests(self, http: Http) -> None:
        self._paced(self._by_requests / CLIENTS, lambda number: self._make_request(http, number))

    def _count(self, changes: int) -> None:
        with self._lock:
            self.made += changes

    def _make_request(self, http: Http, number: int) -> None:
        if number % 20 == 0:
            answer = http.post("/v1/customers", {"email": "somebody@example.com"})
            self._fresh.append(answer.json()["id"])
        elif number % 20 == 5:
            answer = http.post("/v1/coupons", {"percent_off": 10, "duration": "once"})
        elif number % 20 == 10:
            customer = self._random.choice(self._known["customers"])
            answer = http.post("/v1/invoiceitems", {"customer": customer, "amount": 1_234, "currency": "usd"})
        elif number % 20 == 15 and len(self._fresh) > FEWEST:
            answer = http.request("DELETE", f"/v1/customers/{self._fresh.popleft()}")
        else:
            answer = self._update(http, number)
        if answer.status_code == 200:
            self._count(1)
        elif answer.status_code >= 500:
            self.failures.append(answer.text[:200])

    def _update(self, http: Http, number: int) -> Any:
        """Change one of the objects; one that is gone, or cannot be changed any more, makes way for another."""
        while True:
            name = self._random.choice([name for name, keys in self._known.items() if len(keys) > FEWEST])
            key = self._random.choice(self._known[name])
            answer = http.post(f"/v1/{name}/{key}", {"metadata[number]": number})
            if answer.status_code not in {400, 404}:
                return answer
            with self._lock:
                if key in self._known[name]:
                    self._known[name].remove(key)


@dataclass(kw_only=True)
class Mark:
    """A change of the one customer that carries the marks: when it was asked for, and when it could be read."""

    made: float
    read: float | None = None

    @property
    def lag(self) -> float:
        """How many seconds it took; without end if it could never be read."""
        return float("inf") if self.read is None else self.read - self.made


class Marks:
    """Writes marks into the account, and looks for them in Postgres.

    Args:
        url: The sandbox.
        database_url: Postgres, which may be away at times.
    """

    def __init__(self, url: str, database_url: str) -> None:
        self._http = Http(url)
        self._database_url = database_url
        self._key = self._http.post("/v1/customers", {"name": "Bearer of marks"}).json()["id"]
        self._writing_ends = threading.Event()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._write, self._read)]
        self.marks: list[Mark] = []

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, when all are there, or none came for some time."""
        self._writing_ends.set()
        self._threads[0].join(60)
        deadline = time.monotonic() + LAST_SECONDS
        while self.marks[-1].read is None and time.monotonic() < deadline:
            self._stopping.wait(LOOK_SECONDS)
        self._stopping.set()
        self._threads[1].join(60)
        self._http.close()

    def _write(self) -> None:
        while not self._writing_ends.wait(MARK_SECONDS):
            self.marks.append(Mark(made=time.monotonic()))
            self._http.post(f"/v1/customers/{self._key}", {"metadata[mark]": len(self.marks)})

    def _read(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._database_url, autocommit=True, application_name=READER) as session:
                    self._look(session)
            except psycopg.OperationalError:
                self._stopping.wait(0.1)  # the database is away

    def _look(self, session: psycopg.Connection[Any]) -> None:
        seen = sum(mark.read is not None for mark in self.marks)
        while not self._stopping.wait(LOOK_SECONDS):
            found = session.execute(
                "SELECT (metadata->>'mark')::int FROM stripe.customer WHERE id = %s", (self._key,)
            ).fetchone()
            latest = (found and found[0]) or 0
            now = time.monotonic()
            for mark in self.marks[seen:latest]:
                mark.read = now
            seen = max(seen, latest)
