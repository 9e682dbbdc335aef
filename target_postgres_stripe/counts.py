"""How many live rows each stream has, for ``_sync_status``. Off the path of a commit.

Tables that were written to are counted at the end of a run, and once a minute while a tap follows: then one table in
each silence of the tap, so that a change that comes meanwhile waits for one count at most.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from target_postgres_stripe.columns import DELETED_AT, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg

    from target_postgres_stripe.columns import TableShape

ROUND_SECONDS = 60.0
"""How far the beginnings of two rounds of counting are apart while a tap follows."""

COUNTED_ROWS_MAX = 1_000_000
COUNTED_BYTES_MAX = 256 * 1024 * 1024
"""Of what is larger, the planner's estimate has to do: reading it would hold changes up for more than a moment."""


class CountingRounds:
    """Which tables are due to be counted.

    One thread, like the loader that owns it.
    """

    def __init__(self, *, round_seconds: float = ROUND_SECONDS) -> None:
        self._round_seconds = round_seconds
        self._touched: set[str] = set()
        self._due: list[str] = []
        self._counts: dict[str, int] = {}
        self._round_began = time.monotonic()

    def touch(self, streams: Iterable[str]) -> None:
        """Note that the rows of streams have changed."""
        self._touched.update(streams)

    def next_stream(self, *, at_once: bool = False) -> str | None:
        """The stream to count next, None if none is due.

        Args:
            at_once: Whether the next round begins now, whenever the last one began.
        """
        if not self._due and (at_once or time.monotonic() - self._round_began >= self._round_seconds):
            self._round_began = time.monotonic()
            self._due = sorted(self._touched)
            self._touched.clear()
        return self._due.pop() if self._due else None

    def note(self, stream: str, rows: int) -> None:
        """Take a stream's count."""
        self._counts[stream] = rows

    def take(self) -> dict[str, int]:
        """The counts to be stored: those of a round that is complete."""
        if self._due:
            return {}
        counts, self._counts = self._counts, {}
        return counts


def live_rows(connection: psycopg.Connection[Any], schema: str, shape: TableShape) -> int:
    """How many rows of a table are not deleted: exact where that is quick, else the planner's estimate."""
    table = f"{quoted(schema)}.{quoted(shape.table)}"
    live = f"SELECT FROM {table}" + (f" WHERE {quoted(DELETED_AT.name)} IS NULL" if shape.adds(DELETED_AT) else "")
    size, analyzed = connection.execute(
        "SELECT pg_relation_size(oid), reltuples >= 0 FROM pg_class WHERE oid = %s::regclass", (table,)
    ).fetchone() or (0, False)
    total = estimate(connection, f"SELECT FROM {table}")
    if total <= COUNTED_ROWS_MAX and size <= COUNTED_BYTES_MAX:
        counted = connection.execute(f"SELECT count(*) FROM ({live}) AS l").fetchone()
        return int(counted[0]) if counted else 0
    # Without statistics it would be guessed that hardly any row lives.
    return estimate(connection, live) if analyzed else total


def estimate(connection: psycopg.Connection[Any], query: str) -> int:
    """How many rows the planner expects."""
    plan = connection.execute(f"EXPLAIN (FORMAT JSON) {query}").fetchone()
    return int(plan[0][0]["Plan"]["Plan Rows"]) if plan else 0
