"""Drift: what a sweep had to mend in a stream that events should have kept right. On a healthy account there is none.

The tap says of each stream whether events announce its every change (``kept_by`` in its bookmark). Once such a stream
is loaded, a sweep is the proof: it should find every row as it is. A row that it inserts or changes, or that the end of
the sweep deletes, is *mended*, and remembered in ``_sweep_mended`` with the as-of of the repair. Most of these are no
drift, since Stripe shows events up to a minute late, and the sweep was merely faster. So a repair is *announced*, and
forgotten, when a record that an event caused comes for the same key. Records of a sweep have a ``version``, and gap
fillers have the as-of of year 1; every other record comes from an event, or from a read because of one. It comes

* afterwards: within ``ANNOUNCED_WITHIN``, as far as ``events_as_of`` of the stream has come, not by the clock here; or
* before: the row already was as of the same time, give or take ``ANNOUNCED_BEFORE``. As-ofs are whole seconds on a
  clock that is known to a second, so there it cannot be told which of the two saw the newer object.

Where a listing had to go without a list that Stripe refused, or that the account had no use for, the one that reads it
finds what no event told: such a listing is judged when it is over, and its repairs count for nothing (``made_up_at``).

What is then left is *drift*: added to ``drift`` of the stream in ``_sync_status``, with ``drift_found_at``, and logged
with ids, never with values. The table survives restarts, so a repair of one run is judged in a later one.

Batches without a version cost nothing, unless some repair of their stream waits to be announced, which the loader
remembers; and a sweep that mends nothing writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from target_postgres_stripe.columns import literal, quoted
from target_postgres_stripe.fragments import GAP_FILLER, LONG_AGO, Fragments
from target_postgres_stripe.status import Part

if TYPE_CHECKING:
    from collections.abc import Collection

    import psycopg

    from target_postgres_stripe.fragments import Sweep

ANNOUNCED_WITHIN = "interval '2 minutes'"
"""How long after a repair its event may show itself: Stripe's minute, and one more."""

ANNOUNCED_BEFORE = "interval '2 seconds'"
"""How much newer than the row a repair must be for it to tell that the row was wrong."""

KEYS_NAMED_MAX = 5
"""How many keys a warning names."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The rows of a stream that a sweep mended and no event announced.

    Attributes:
        part: The stream (of an account).
        rows: How many.
        keys: Some of their keys.
    """

    part: Part
    rows: int
    keys: tuple[str, ...]


class DriftStatements(Fragments):
    """The statements on the repairs of one stream."""

    def note_mended(self, accounts: Collection[str]) -> str:
        """Remember the staged rows of a sweep that are about to insert or change a row.

        Args:
            accounts: Whose rows, where the stream has those of several accounts.
        """
        whose = self._whose("s")
        if self.shape.account is not None:
            listed = f"{whose} IN ({', '.join(map(literal, sorted(accounts)))}) AND "
        else:
            listed = ""
        return (
            f"INSERT INTO {self._mended} AS k (stream, stripe_account_id, key, as_of) "
            f'SELECT {self._stream}, {whose}, {self._key_json("s")}, s."_sdc_as_of" FROM {self._source} '
            f"LEFT JOIN {self._table} AS t ON {self._same_key()} "
            f'WHERE {listed}s."_sdc_table_version" IS NOT NULL AND s."_sdc_deleted_at" IS NULL '
            f'AND s."_sdc_as_of" <> {GAP_FILLER} AND {self._not_outdated()} '
            f'AND coalesce(t."_sdc_as_of", {LONG_AGO}) < s."_sdc_as_of" - {ANNOUNCED_BEFORE} '
            f"AND (t.{quoted(self.shape.key[0].name)} IS NULL OR {self._would_change}) {self._later_repair}"
        )

    def note_absent(self, sweep: Sweep) -> str:
        """Remember the live rows that the end of a sweep is about to delete, save copies that only filled a gap."""
        return (
            f"INSERT INTO {self._mended} AS k (stream, stripe_account_id, key, as_of) "
            f"SELECT {self._stream}, {self._whose('t')}, {self._key_json('t')}, {sweep.start} FROM {self._table} AS t "
            f'WHERE t."_sdc_deleted_at" IS NULL AND t."_sdc_as_of" <> {GAP_FILLER} '
            f'AND t."_sdc_as_of" < {sweep.start} - {ANNOUNCED_BEFORE} '
            f"AND {self._absent_from_sweep(sweep)} AND {self._sweep_is_unfinished(sweep)} {self._later_repair}"
        )

    def forget_announced(self) -> str:
        """Forget the repairs of which a staged row is the announcement."""
        return (
            f"DELETE FROM {self._mended} k USING {self._source} WHERE {self._known_key('k')} "
            f'AND s."_sdc_table_version" IS NULL AND s."_sdc_as_of" <> {GAP_FILLER}'
        )

    def _whose(self, alias: str) -> str:
        """The account of a row, as ``_sync_status`` has it."""
        return "''" if self.shape.account is None else f"{alias}.{quoted(self.shape.account.name)}"

    @property
    def _mended(self) -> str:
        return self._own("_sweep_mended")

    @property
    def _later_repair(self) -> str:
        return "ON CONFLICT (stream, key) DO UPDATE SET as_of = greatest(k.as_of, EXCLUDED.as_of)"


def parts_mended(connection: psycopg.Connection[Any], schema: str) -> set[Part]:
    """The streams with repairs that wait to be announced."""
    found = connection.execute(f"SELECT DISTINCT stream, stripe_account_id FROM {quoted(schema)}._sweep_mended")
    return {Part(*each) for each in found}


def forget(connection: psycopg.Connection[Any], schema: str, parts: Collection[Part]) -> None:
    """Forget the repairs of streams of which events do not announce every change any more."""
    connection.execute(
        f"DELETE FROM {quoted(schema)}._sweep_mended WHERE (stream, stripe_account_id) IN (SELECT * FROM {_PARTS})",
        _columns(parts),
    )


def find(connection: psycopg.Connection[Any], schema: str, parts: Collection[Part]) -> list[Drift]:
    """Count the repairs of streams that can no longer be announced, by their ``events_as_of``, and forget them."""
    found = connection.execute(
        f"""
        WITH found AS (
            DELETE FROM {quoted(schema)}._sweep_mended k USING {quoted(schema)}._sync_status b
            WHERE (k.stream, k.stripe_account_id) IN (SELECT * FROM {_PARTS})
            AND (b.stream, b.stripe_account_id) = (k.stream, k.stripe_account_id)
            AND b.events_as_of > k.as_of + {ANNOUNCED_WITHIN}
            RETURNING k.stream, k.stripe_account_id, k.key
        ), counted AS (
            SELECT stream, stripe_account_id, count(*) AS rows,
                (array_agg(key::text ORDER BY key))[:{KEYS_NAMED_MAX}] AS keys
            FROM found GROUP BY stream, stripe_account_id
        )
        UPDATE {quoted(schema)}._sync_status b SET drift = b.drift + c.rows, drift_found_at = now()
        FROM counted c WHERE (b.stream, b.stripe_account_id) = (c.stream, c.stripe_account_id)
        RETURNING b.stream, b.stripe_account_id, c.rows, c.keys
        """,
        _columns(parts),
    )
    return [Drift(part=Part(stream, account), rows=rows, keys=tuple(keys)) for stream, account, rows, keys in found]


_PARTS = "unnest(%s::text[], %s::text[])"


def _columns(parts: Collection[Part]) -> tuple[list[str], list[str]]:
    """The parameters of ``_PARTS``."""
    return [part.stream for part in parts], [part.account for part in parts]
