"""What is in the database, for tests that compare it with itself or count it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oracle import table_names

if TYPE_CHECKING:
    import psycopg

PASSING = frozenset({
    "_sdc_as_of", "_sdc_batched_at", "_sdc_deleted_at", "_sdc_extracted_at", "_sdc_hash", "_sdc_received_at",
    "_sdc_sequence", "_sdc_table_version",
})  # fmt: skip
"""Columns that say when a row was read rather than what it says; of a deletion counts that it is known."""


def checksums(connection: psycopg.Connection[Any], schema: str = "stripe") -> dict[str, str]:
    """A checksum of each table's rows, without what only says when they were read."""
    return {name: _checksum(connection, schema, name) for name in sorted(table_names(connection, schema))}


def counts(connection: psycopg.Connection[Any], schema: str = "stripe") -> dict[str, int]:
    """The number of live rows of each table."""
    return {
        name: connection.execute(f'SELECT count(*) FROM "{schema}"."{name}" WHERE _sdc_deleted_at IS NULL').fetchone()[
            0
        ]  # type: ignore[index]
        for name in sorted(table_names(connection, schema))
    }


def _checksum(connection: psycopg.Connection[Any], schema: str, name: str) -> str:
    row = connection.execute(
        f"SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM ("
        f"SELECT (to_jsonb(t) - %s::text[])::text || (t._sdc_deleted_at IS NULL)::text AS line "
        f'FROM "{schema}"."{name}" AS t) AS lines',
        (sorted(PASSING),),
    ).fetchone()
    return str(row[0]) if row else ""
