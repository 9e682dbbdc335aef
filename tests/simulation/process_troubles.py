"""What goes wrong while processes run, and when: a timeline in real time, and troubles of a real database.

The plan counts statements and commits of the target's; from without they cannot be seen, so their numbers become
moments. A statement that fails on a full disk is one that is cancelled: it fails, and the session lives on. A deadlock
is looked for by a reader who locks one table and then another.
"""

from __future__ import annotations

import heapq
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from plan import Phase
    from process_pipes import Started

LONGEST_MOMENT_SECONDS = 5.0
STATEMENT_SECONDS = 0.02
"""About how long a statement takes, and below a commit."""

COMMIT_SECONDS = 0.5
LOCKED_SECONDS = 0.7
OUR_SESSIONS = (
    "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'target-postgres-stripe'"
)


class Timeline:
    """What is to happen, in seconds since its beginning. One thread asks for it, and lets it happen."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._actions: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen so many seconds after the beginning, at most a few."""
        self.later(min(seconds, LONGEST_MOMENT_SECONDS) - self.seconds(), action)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen in so many seconds."""
        self._count += 1
        heapq.heappush(self._actions, (self.seconds() + max(0.0, seconds), self._count, action))

    def seconds(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self._began

    def happen(self) -> None:
        """Let everything happen that is due."""
        while self._actions and self._actions[0][0] <= self.seconds():
            heapq.heappop(self._actions)[2]()

    def wait_seconds(self, most: float) -> float:
        """How long until the next thing is due."""
        return max(0.0, min(most, self._actions[0][0] - self.seconds())) if self._actions else most


def plan_kills(timeline: Timeline, phase: Phase, run: Started) -> None:
    """The kills of a phase, and the end of following."""
    for moment, action in (
        (phase.kill_tap_at, lambda: run.kill("tap")),
        (phase.kill_target_at, lambda: run.kill("target")),
        (phase.kill_all_at, lambda: run.kill("all")),
        (phase.terminate_at, run.terminate),
        (phase.follow_seconds, run.terminate),
    ):
        if moment is not None:
            timeline.at(moment, action)


class Troublemaker:
    """Sessions of others, in the target's database.

    Args:
        url: The database's libpq URI.
        admin_url: Another database's of the same server.
        random: Chooses tables.

    Attributes:
        met: What has gone wrong.
    """

    def __init__(self, url: str, admin_url: str, random: Random) -> None:
        self._url = url
        self._admin_url = admin_url
        self._random = random
        self.met: list[str] = []

    def plan(self, timeline: Timeline, phase: Phase, run: Started) -> None:
        """What goes wrong with the database in a phase, while it can be reached."""
        moments = [(number * STATEMENT_SECONDS, kind) for number, kind in phase.statement_faults.items()]
        moments += [(number * COMMIT_SECONDS, kind) for number, kind in phase.commit_faults.items()]
        for moment, kind in moments:
            if kind == "killed":
                timeline.at(moment, lambda: run.kill("target"))
            elif kind == "deadlock":
                timeline.at(moment, lambda: self._lock(timeline))
            else:
                function = "pg_cancel_backend" if kind == "disk_full" else "pg_terminate_backend"
                timeline.at(moment, lambda function=function: self._signal(function))

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody gets a new session in the database."""
        self._allow_connections(allowed=False)
        try:
            yield
        finally:
            self._allow_connections(allowed=True)

    def _allow_connections(self, *, allowed: bool) -> None:
        name = psycopg.conninfo.conninfo_to_dict(self._url)["dbname"]
        statement = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
        with psycopg.connect(self._admin_url, autocommit=True) as session:
            session.execute(statement.format(sql.Identifier(str(name)), sql.Literal(allowed)))
        self.met.append("database away" if not allowed else "database back")

    def _signal(self, function: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as session:
            hit = session.execute(f"SELECT {function}(pid) {OUR_SESSIONS}").fetchall()  # type: ignore[call-overload]
        self.met.append(f"{function}, {len(hit)} sessions")

    def _lock(self, timeline: Timeline) -> None:
        """A reader holds a table, and some time later wants another one."""
        session = psycopg.connect(self._url, options="-c lock_timeout=3000")
        found = session.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'stripe' ORDER BY 1").fetchall()
        names = self._random.sample(found, min(len(found), 2))

        def lock_another() -> None:
            for (name,) in names:
                self._try_to_lock(session, name)
            timeline.later(LOCKED_SECONDS, session.close)

        for (name,) in names[:1]:
            self._try_to_lock(session, name)
        timeline.later(LOCKED_SECONDS, lock_another)

    def _try_to_lock(self, session: psycopg.Connection[Any], name: str) -> None:
        try:
            session.execute(sql.SQL("LOCK TABLE stripe.{} IN SHARE MODE").format(sql.Identifier(name)))
            self.met.append("table locked")
        except (
            psycopg.errors.OperationalError
        ) as error:  # a deadlock that the reader lost, or a lock that took too long
            self.met.append(type(error).__name__)
            session.rollback()
