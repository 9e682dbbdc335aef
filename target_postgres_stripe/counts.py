"""How many live rows each stream has, for ``_sync_status``. Off the path of a commit.

Tables that were written to are counted at the end of a run, and once a minute while a tap follows: then one table in
each silence of the tap, so that a change that comes meanwhile waits for one count at most. The end of a sweep looks at
each row anyway, and counts in passing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from target_postgres_stripe.columns import DELETED_AT, literal, quoted
from target_postgres_stripe.status import Part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

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
        self._counts: dict[Part, int] = {}
        self._round_began = time.monotonic()

    def touch(self, streams: Iterable[str]) -> None:
        """Note that the rows of streams have changed."""
        self._touched.update(streams)

    def spare(self, stream: str) -> None:
        """Note that a stream was counted in passing."""
        self._touched.discard(stream)

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

    def note(self, stream: str, rows: Mapping[str, int]) -> None:
        """Take a stream's count, by account."""
        self._counts |= {Part(stream, account): count for account, count in rows.items()}

    def take(self) -> dict[Part, int]:
        """The counts to be stored: those of a round that is complete."""
        if self._due:
            return {}
        counts, self._counts = self._counts, {}
        return counts


def live_rows(
    connection: psycopg.Connection[Any], schema: str, shape: TableShape, accounts: Collection[str]
) -> dict[str, int]:
    """How many rows of a table are not deleted: exact where that is quick, else the planner's estimate.

    Args:
        connection: The session.
        schema: The schema.
        shape: The table.
        accounts: The accounts whose rows are counted; ``""`` where all are one's.
    """
    table = f"{quoted(schema)}.{quoted(shape.table)}"
    whose = "''" if shape.account is None else quoted(shape.account.name)
    lives = f"{quoted(DELETED_AT.name)} IS NULL" if shape.adds(DELETED_AT) else "true"
    live = f"FROM {table} WHERE {lives}"
    size, analyzed = connection.execute(
        "SELECT pg_relation_size(oid), reltuples >= 0 FROM pg_class WHERE oid = %s::regclass", (table,)
    ).fetchone() or (0, False)
    total = estimate(connection, f"SELECT FROM {table}")
    if total <= COUNTED_ROWS_MAX and size <= COUNTED_BYTES_MAX:
        counted = connection.execute(f"SELECT {whose}, count(*) {live} GROUP BY 1").fetchall()
        return dict.fromkeys(accounts, 0) | dict(counted)
    if not analyzed:  # without statistics it would be guessed that hardly any row lives
        return {"": total} if shape.account is None else {}
    return {
        account: estimate(connection, f"SELECT {live}" + (f" AND {whose} = {literal(account)}" if account else ""))
        for account in accounts
    }


def estimate(connection: psycopg.Connection[Any], query: str) -> int:
    """How many rows the planner expects."""
    plan = connection.execute(f"EXPLAIN (FORMAT JSON) {query}").fetchone()
    return int(plan[0][0]["Plan"]["Plan Rows"]) if plan else 0
