"""What the proxy reads from Postgres, in a session of its own: whose rows these are, and how far they are."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg

from target_postgres_stripe import status, tables
from target_postgres_stripe.columns import quoted

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Sync:
    """The sync whose tables these are.

    Attributes:
        id: The wait endpoint's id.
        account_id: The Stripe account; None if the sync's key may not know it.
        livemode: Whether the account is read in live mode.
        streams: The streams that it has bookmarks of.
        accounts: The accounts whose rows the tables tell apart; none: all rows are the one account's.
    """

    id: str
    account_id: str | None
    livemode: bool
    streams: frozenset[str]
    accounts: frozenset[str] = frozenset()


class Database:
    """Reads; any thread may, one at a time. A session that was lost is opened again.

    Args:
        connect: Opens a session.
        schema: The schema with the tables.
    """

    def __init__(self, *, connect: Callable[[], psycopg.Connection[Any]], schema: str) -> None:
        self._connect, self.schema = connect, schema
        self._session: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()

    def read(self, query: Callable[[psycopg.Connection[Any]], Result]) -> Result:
        """Run a query in a transaction that changes nothing.

        Raises:
            psycopg.Error, TargetError: It cannot be.
        """
        with self._lock:
            if self._session is None or self._session.closed:
                self._session = self._connect()
            try:
                return query(self._session)
            finally:
                if not self._session.broken:
                    self._session.rollback()

    def sync(self) -> Sync | None:
        """Return the sync whose tables these are; None if none has run yet."""
        return self.read(self._sync)

    def _sync(self, connection: psycopg.Connection[Any]) -> Sync | None:
        if not tables.has_bookkeeping(connection, self.schema):
            return None
        found = connection.execute(f"SELECT id, account_id, livemode FROM {quoted(self.schema)}._sync").fetchone()
        if found is None or found[2] is None:
            return None
        parts = status.stored_parts(connection, self.schema)
        return Sync(
            id=str(found[0]),
            account_id=found[1],
            livemode=found[2],
            streams=frozenset(part.stream for part in parts),
            accounts=frozenset(part.account for part in parts if part.account),
        )

    def close(self) -> None:
        """End the session."""
        with self._lock:
            if self._session is not None:
                self._session.close()
