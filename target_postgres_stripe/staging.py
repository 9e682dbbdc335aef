"""Rows → a staging table, or a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from target_postgres_stripe.refusals import VALUE_ERRORS, refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import psycopg

    from target_postgres_stripe.columns import TableShape
    from target_postgres_stripe.rows import Row, Sighting

COPY_CHUNK_BYTES = 64 * 1024


def copy_rows(connection: psycopg.Connection[Any], statement: str, shape: TableShape, rows: Sequence[Row]) -> None:
    """Fill a staging table with rows.

    Args:
        connection: The session.
        statement: The COPY.
        shape: The stream, for the message.
        rows: Its rows.

    Raises:
        RecordRefusedError: Postgres does not take a value; its message is kept out, since it quotes the value.
    """
    _copy(connection, statement, shape, rows, (row.added + b"\t" + row.own for row in rows))


def copy_new(
    connection: psycopg.Connection[Any], statement: str, shape: TableShape, rows: Sequence[Row], batched_at: str
) -> None:
    """Fill a table with rows; raises the same."""
    moment = batched_at.encode()
    _copy(connection, statement, shape, rows, (row.straight(moment) for row in rows))


def copy_sightings(
    connection: psycopg.Connection[Any], statement: str, shape: TableShape, rows: Sequence[Row | Sighting]
) -> None:
    """Fill a staging table with what rows are recognised by, and their positions from 0; raises the same."""
    _copy(connection, statement, shape, rows, (row.sighting(position) for position, row in enumerate(rows)))


def _copy(
    connection: psycopg.Connection[Any],
    statement: str,
    shape: TableShape,
    rows: Sequence[Row | Sighting],
    lines: Iterable[bytes],
) -> None:
    try:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for chunk in chunks(lines):
                copy.write(chunk)
    except VALUE_ERRORS as error:
        raise refused(error, shape, rows) from None


def chunks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines, joined to pieces of about ``COPY_CHUNK_BYTES``."""
    pending: list[bytes] = []
    size = 0
    for line in lines:
        pending.append(line)
        size += len(line)
        if size >= COPY_CHUNK_BYTES:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)
