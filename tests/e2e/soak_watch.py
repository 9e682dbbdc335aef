"""What is looked at all through a soak, once a second or less often; to be judged at its end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from fix_sandbox import Http
from following import usage
from oracle import GAP_FILLER
from soak_changes import READER

if TYPE_CHECKING:
    from datetime import datetime

    from soak_pipeline import Supervised

SAMPLE_SECONDS = 1.0
ROWS_EVERY = 5
"""After so many samples, rows are looked at."""

REQUESTS_EVERY = 15
MORE_REQUESTS = 500
"""That many may come in while the log is read."""

ROWS_OF_EACH = 200
SESSIONS = "SELECT application_name, count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1"
TABLES = (
    "charge", "coupon", "customer", "invoice", "invoiceitem", "payment_intent", "price", "product", "subscription",
    "subscription_item",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a process uses at a moment. ``memory`` is in bytes, ``cpu`` in seconds since it began."""

    at: float
    pid: int
    memory: int
    files: int
    threads: int
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """How many sessions the target has in Postgres at a moment, and how many others there are."""

    at: float
    target: int
    others: int


def sample(pid: int) -> Sample | None:
    """Look at a process; None if it is gone."""
    try:
        cpu, memory = usage(pid)
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Sample(at=time.monotonic(), pid=pid, memory=memory, files=files, threads=threads, cpu=cpu)


class Rows:
    """Some rows of each table, and whether their ``_sdc_as_of`` ever went back."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, datetime]] = {}
        self.looks = 0
        self.backward: list[str] = []

    @property
    def watched(self) -> int:
        """How many rows are looked at."""
        return sum(map(len, self._seen.values()))

    def look(self, session: psycopg.Connection[Any]) -> None:
        """Look at them again; which they are is chosen the first time."""
        for table in TABLES:
            if table not in self._seen:
                chosen = f"SELECT id, _sdc_as_of FROM stripe.{table} ORDER BY random() LIMIT {ROWS_OF_EACH}"
                self._seen[table] = dict(session.execute(chosen).fetchall())
                continue
            before = self._seen[table]
            now = dict(
                session.execute(
                    f"SELECT id, _sdc_as_of FROM stripe.{table} WHERE id = ANY(%s)", (list(before),)
                ).fetchall()
            )
            self.backward += [
                f"{table} {key}: {before[key]}, then {as_of}"
                for key, as_of in now.items()
                if as_of < before[key] != GAP_FILLER
            ]
            self._seen[table] = {**before, **now}
        self.looks += 1


class RequestLog:
    """The tap's requests, as the sandbox logged them: the moment in seconds since the epoch, and the endpoint."""

    def __init__(self, url: str, key: str) -> None:
        self._http = Http(url)
        self._key_last4 = key[-4:]
        self._taken = 0
        self.requests: list[dict[str, Any]] = []
        self.answered: list[float] = []  # those of others too

    def take(self) -> None:
        """Take those that came in since the last time."""
        asked = self._summary(0)["total"] - self._taken + MORE_REQUESTS
        answer = self._summary(asked)
        new = answer["total"] - self._taken
        assert new <= asked, "more requests came in while the log was read than expected"
        newest = answer["requests"][-new:] if new else []
        self._taken = answer["total"]
        self.answered += [each["at"] for each in newest]
        self.requests += [
            {"at": each["at"], "endpoint": each["endpoint"]} for each in newest if each["key_last4"] == self._key_last4
        ]

    def _summary(self, newest: int) -> dict[str, Any]:
        answer: dict[str, Any] = self._http.request("GET", "/_sandbox/requests", params={"newest": newest}).json()
        return answer


class Watch:
    """A thread that looks, and what it has seen.

    Args:
        supervised: The pipeline.
        database_url: Postgres, which may be away at times.
        requests: The sandbox's log.
    """

    def __init__(self, supervised: Supervised, database_url: str, requests: RequestLog) -> None:
        self._supervised = supervised
        self._database_url = database_url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._session: psycopg.Connection[Any] | None = None
        self.requests = requests
        self.rows = Rows()
        self.samples: list[Sample] = []
        self.sessions: list[Sessions] = []
        self.failures: list[str] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(60)
        self._close()
        self.requests.take()

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = None

    def _look_on(self) -> None:
        number = 0
        while not self._stopping.wait(SAMPLE_SECONDS):
            number += 1
            self.samples += [found for life in self._supervised.alive() if (found := sample(life.pid)) is not None]
            self._supervised.watch()
            try:
                self._look_into_postgres(rows=number % ROWS_EVERY == 0)
                if number % REQUESTS_EVERY == 0:
                    self.requests.take()
            except psycopg.OperationalError:
                self._close()  # the database is away
            except Exception as error:  # noqa: BLE001 - the soak goes on, and is told of it at its end
                self.failures.append(repr(error))

    def _look_into_postgres(self, *, rows: bool) -> None:
        if self._session is None:
            self._session = psycopg.connect(self._database_url, autocommit=True, application_name=READER)
        found = dict(self._session.execute(SESSIONS).fetchall())
        target = found.pop("target-postgres-stripe", 0)
        self.sessions.append(Sessions(at=time.monotonic(), target=target, others=sum(found.values())))
        if rows:
            self.rows.look(self._session)
