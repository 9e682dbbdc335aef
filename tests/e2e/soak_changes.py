"""What happens in an account that is followed: business as usual, and marks that tell how far behind Postgres is."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from fix_sandbox import Http

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from requests import Response

MARK_SECONDS = 0.7
"""How often a mark is written; no multiple of the interval at which the feed is polled."""

BEARERS = 5
LOOK_SECONDS = 0.02
LAST_SECONDS = 10.0
"""How long the last one is waited for."""

READER = "reader-of-the-soak"
CLIENTS = 4
"""So many send requests at a time, as a slow answer must not hold up the others."""

OF_EACH = 100
FEWEST = 20
PAID_AT_ONCE = {"payment_method": "pm_card_visa", "confirm": "true"}
MOST = 500
"""So many fresh objects of a type are remembered, the latest ones."""


class Business:
    """So many changes a second: requests as an application makes them, all of one account's usual business.

    Half of them change the metadata of what is there, the others make and unmake things, with all that hangs on them:
    a payment makes a charge and a balance transaction, a subscription its items and an invoice.

    Args:
        url: The sandbox.
        per_second: How many changes.
        random: Decides what is changed.
    """

    def __init__(self, url: str, *, per_second: int, random: Random) -> None:
        self._http = [Http(url) for _ in range(CLIENTS)]
        self._random = random
        self._per_second = per_second
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._make, args=(http,), daemon=True) for http in self._http]
        self._known = {name: self._list(name) for name in ("customers", "products", "subscriptions", "charges")}
        self._recurring = self._list("prices", type="recurring", active="true")
        # What was made here, to be changed and unmade. Only these customers are deleted, and they have no cards: what
        # payment intents show of its payment methods would change in silence, and no event tells of a card's twin.
        self._fresh: dict[str, deque[str]] = {}
        self._deeds: tuple[Callable[[Http], Response | None], ...] = (
            self._new("customers", {"email": "somebody@example.com"}),
            self._of_a_fresh("customers", "/tax_ids", {"type": "eu_vat", "value": "DE123456789"}),
            self._of_a_fresh("customers", "/balance_transactions", {"amount": -500, "currency": "usd"}),
            self._card,
            self._unmade("customers"),
            self._new("coupons", {"percent_off": 10, "duration": "once"}),
            self._new("promotion_codes", self._promotion),
            self._unmade("coupons"),
            self._new("products", {"name": "Another one"}),
            self._new("prices", lambda: {"product": self._a("products"), "currency": "usd", "unit_amount": 900}),
            self._new("invoiceitems", lambda: {"customer": self._customer(), "amount": 1_234, "currency": "usd"}),
            self._new("invoiceitems", lambda: {"customer": self._customer(), "amount": 4_321, "currency": "usd"}),
            self._unmade("invoiceitems"),
            self._new("invoices", lambda: {"customer": self._customer(), "pending_invoice_items_behavior": "include"}),
            self._of_a_fresh("invoices", "/finalize", {}),
            self._new("payment_intents", self._payment),
            self._new("payment_intents", lambda: self._payment() | PAID_AT_ONCE),
            self._of_a_fresh("payment_intents", "/cancel", {}),
            self._new("refunds", lambda: {"charge": self._random.choice(self._known["charges"]), "amount": 1}),
            self._new("subscriptions", lambda: {"customer": self._customer(), "items[0][price]": self._price()}),
            self._new("subscription_items", lambda: {"subscription": self._a("subscriptions"), "price": self._price()}),
            self._unmade("subscriptions"),
        )  # fmt: skip
        self.made = 0
        self.refused: Counter[str] = Counter()
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

    def _list(self, name: str, **filters: str) -> list[str]:
        found = self._http[0].get(f"/v1/{name}", {"limit": OF_EACH, **filters}).json()["data"]
        return [each["id"] for each in found]

    def _make(self, http: Http) -> None:
        """Make changes, each as soon as it is due."""
        per_second = self._per_second / CLIENTS
        began = time.monotonic()
        number = 0
        while not self._stopping.wait(max(0.0, began + number / per_second - time.monotonic())):
            self.behind_seconds = max(self.behind_seconds, time.monotonic() - began - number / per_second)
            number += 1
            try:
                self._change(http, number)
            except Exception as error:  # noqa: BLE001 - the soak goes on, and is told of it at its end
                self.failures.append(repr(error))

    def _change(self, http: Http, number: int) -> None:
        """Make one change; where it is refused, such as what was done before, another one."""
        deed = self._random.choice(self._deeds) if number % 2 else None
        answer = (deed(http) if deed is not None else None) or self._update(http, number)
        if answer.status_code == 400:
            with self._lock:
                self.refused[answer.request.path_url.split("/")[2]] += 1
            answer = self._update(http, number)
        if answer.status_code == 200:
            with self._lock:
                self.made += 1
        else:
            self.failures.append(answer.text[:200])

    def _update(self, http: Http, number: int) -> Response:
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

    # Deeds: each does something, or nothing where there is nothing to do it to.

    def _new(
        self, name: str, values: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
    ) -> Callable[[Http], Response | None]:
        def deed(http: Http) -> Response | None:
            given = values() if callable(values) else values
            if None in given.values():
                return None
            answer = http.post(f"/v1/{name}", given)
            if answer.status_code == 200:
                self._fresh.setdefault(name, deque(maxlen=MOST)).append(answer.json()["id"])
            return answer

        return deed

    def _of_a_fresh(self, name: str, path: str, values: Mapping[str, Any]) -> Callable[[Http], Response | None]:
        def deed(http: Http) -> Response | None:
            key = self._a(name)
            return None if key is None else http.post(f"/v1/{name}/{key}{path}", values)

        return deed

    def _unmade(self, name: str) -> Callable[[Http], Response | None]:
        def deed(http: Http) -> Response | None:
            fresh = self._fresh.get(name, ())
            return http.request("DELETE", f"/v1/{name}/{fresh.popleft()}") if len(fresh) > FEWEST else None

        return deed

    def _a(self, name: str) -> str | None:
        """One of the latest fresh objects of a type."""
        fresh = self._fresh.get(name, ())
        return fresh[-self._random.randint(1, min(len(fresh), FEWEST))] if fresh else None

    def _card(self, http: Http) -> Response:
        return http.post(f"/v1/customers/{self._customer()}/sources", {"source": "tok_visa"})

    def _promotion(self) -> dict[str, Any]:
        return {"promotion[type]": "coupon", "promotion[coupon]": self._a("coupons")}

    def _customer(self) -> str:
        return self._random.choice(self._known["customers"])

    def _price(self) -> str:
        return self._random.choice(self._recurring)

    def _payment(self) -> dict[str, Any]:
        return {"customer": self._customer(), "amount": self._random.randint(100, 9_999), "currency": "usd"}


@dataclass(kw_only=True)
class Mark:
    """A change of one of the customers that carry marks: when it was asked for, and when it could be read."""

    made: float
    read: float | None = None

    @property
    def lag(self) -> float:
        """How many seconds it took; without end if it could never be read."""
        return float("inf") if self.read is None else self.read - self.made


class Marks:
    """Writes marks into the account, and looks for them in Postgres.

    Several customers carry them in turn. One alone would change twice in a second, and of two events of a second nobody
    can tell which is the newer one: what would be measured is how long such an object waits to be read again.

    Args:
        url: The sandbox.
        database_url: Postgres, which may be away at times.
    """

    def __init__(self, url: str, database_url: str) -> None:
        self._http = Http(url)
        self._database_url = database_url
        self._keys = [self._http.post("/v1/customers", {"name": "Bearer"}).json()["id"] for _ in range(BEARERS)]
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
        while any(mark.read is None for mark in self.marks[-BEARERS:]) and time.monotonic() < deadline:
            self._stopping.wait(LOOK_SECONDS)
        self._stopping.set()
        self._threads[1].join(60)
        self._http.close()

    def _write(self) -> None:
        while not self._writing_ends.wait(MARK_SECONDS):
            number = len(self.marks)
            self.marks.append(Mark(made=time.monotonic()))
            self._http.post(f"/v1/customers/{self._keys[number % BEARERS]}", {"metadata[mark]": number})

    def _read(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._database_url, autocommit=True, application_name=READER) as session:
                    self._look(session)
            except psycopg.OperationalError:
                self._stopping.wait(0.1)  # the database is away

    def _look(self, session: psycopg.Connection[Any]) -> None:
        first = 0  # all before it have been read
        while not self._stopping.wait(LOOK_SECONDS):
            found = session.execute(
                "SELECT id, (metadata->>'mark')::int FROM stripe.customer WHERE id = ANY(%s) AND metadata ? 'mark'",
                (self._keys,),
            ).fetchall()
            latest = dict(found)
            now = time.monotonic()
            for number, mark in enumerate(self.marks[first:], start=first):
                if mark.read is None and latest.get(self._keys[number % BEARERS], -1) >= number:
                    mark.read = now
            while first < len(self.marks) and self.marks[first].read is not None:
                first += 1
