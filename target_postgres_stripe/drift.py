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

from target_postgres_stripe.columns import DELETED_AT, quoted
from target_postgres_stripe.fragments import GAP_FILLER, LONG_AGO, Fragments, moment_of_version, staged_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg

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
        stream: The stream.
        rows: How many.
        keys: Some of their keys.
    """

    stream: str
    rows: int
    keys: tuple[str, ...]


class DriftStatements(Fragments):
    """The statements on the repairs of one stream."""

    def note_mended(self) -> str:
        """Remember the staged rows of a sweep that are about to insert or change a row."""
        changed = self._difference([*self.shape.values, DELETED_AT], staged_value)
        return (
            f"INSERT INTO {self._mended} AS k (stream, key, as_of) "
            f'SELECT {self._stream}, {self._key_json("s")}, s."_sdc_as_of" FROM {self._source} '
            f"LEFT JOIN {self._table} AS t ON {self._same_key()} "
            f'WHERE s."_sdc_table_version" IS NOT NULL AND s."_sdc_deleted_at" IS NULL '
            f'AND s."_sdc_as_of" <> {GAP_FILLER} AND {self._not_outdated()} '
            f'AND coalesce(t."_sdc_as_of", {LONG_AGO}) < s."_sdc_as_of" - {ANNOUNCED_BEFORE} '
            f"AND (t.{quoted(self.shape.key[0].name)} IS NULL OR {changed}) {self._later_repair}"
        )

    def note_absent(self, version: int) -> str:
        """Remember the live rows that the end of a sweep is about to delete, save copies that only filled a gap."""
        start = moment_of_version(version)
        return (
            f"INSERT INTO {self._mended} AS k (stream, key, as_of) "
            f"SELECT {self._stream}, {self._key_json('t')}, {start} FROM {self._table} AS t "
            f'WHERE t."_sdc_deleted_at" IS NULL AND t."_sdc_as_of" <> {GAP_FILLER} '
            f'AND t."_sdc_as_of" < {start} - {ANNOUNCED_BEFORE} '
            f"AND {self._absent_from_sweep(version)} AND {self._sweep_is_unfinished(version)} {self._later_repair}"
        )

    def forget_announced(self) -> str:
        """Forget the repairs of which a staged row is the announcement."""
        return (
            f"DELETE FROM {self._mended} k USING {self._source} WHERE {self._known_key('k')} "
            f'AND s."_sdc_table_version" IS NULL AND s."_sdc_as_of" <> {GAP_FILLER}'
        )

    @property
    def _mended(self) -> str:
        return self._own("_sweep_mended")

    @property
    def _later_repair(self) -> str:
        return "ON CONFLICT (stream, key) DO UPDATE SET as_of = greatest(k.as_of, EXCLUDED.as_of)"


def streams_mended(connection: psycopg.Connection[Any], schema: str) -> set[str]:
    """The streams with repairs that wait to be announced."""
    return {stream for (stream,) in connection.execute(f"SELECT DISTINCT stream FROM {quoted(schema)}._sweep_mended")}


def forget(connection: psycopg.Connection[Any], schema: str, streams: Iterable[str]) -> None:
    """Forget the repairs of streams of which events do not announce every change any more."""
    connection.execute(f"DELETE FROM {quoted(schema)}._sweep_mended WHERE stream = ANY(%s)", (list(streams),))


def find(connection: psycopg.Connection[Any], schema: str, streams: Iterable[str]) -> list[Drift]:
    """Count the repairs of streams that can no longer be announced, by their ``events_as_of``, and forget them."""
    found = connection.execute(
        f"""
        WITH found AS (
            DELETE FROM {quoted(schema)}._sweep_mended k USING {quoted(schema)}._sync_status b
            WHERE k.stream = ANY(%(streams)s) AND b.stream = k.stream AND b.events_as_of > k.as_of + {ANNOUNCED_WITHIN}
            RETURNING k.stream, k.key
        ), per_stream AS (
            SELECT stream, count(*) AS rows, (array_agg(key::text ORDER BY key))[:{KEYS_NAMED_MAX}] AS keys
            FROM found GROUP BY stream
        )
        UPDATE {quoted(schema)}._sync_status b SET drift = b.drift + per_stream.rows, drift_found_at = now()
        FROM per_stream WHERE b.stream = per_stream.stream RETURNING b.stream, per_stream.rows, per_stream.keys
        """,
        {"streams": list(streams)},
    )
    return [Drift(stream=stream, rows=rows, keys=tuple(keys)) for stream, rows, keys in found]
