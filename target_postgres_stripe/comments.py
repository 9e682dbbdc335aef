"""Comments on tables and columns: what a stream's SCHEMA says in ``description``, as Postgres keeps it.

A comment that somebody else wrote stays. Ours are told from theirs by what was described last, which ``_streams``
remembers: a comment is written where there is none, and replaced or removed where it says just that. So is one that
was taken away when its description changes; until then nothing is looked at.

Comments are a courtesy, and nothing else waits for them: of a table that belongs to another role, or that somebody
has locked for more than a moment, they stay as they are, until a later run.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from target_postgres_stripe.columns import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_postgres_stripe.columns import TableShape

LOCK_SECONDS_MAX = 3
"""How long a table's lock is waited for: longer than an autovacuum takes to give way."""

logger = logging.getLogger("target-postgres-stripe")


@dataclass(frozen=True, kw_only=True)
class StoredComments:
    """The comments of a table as they are.

    Attributes:
        writable: Whether this session's user may write them: the table's owner, of a table and nothing else.
        texts: Each comment, by column; the table's own by ``""``.
    """

    writable: bool
    texts: Mapping[str, str]


def comment_statements(
    table: str, wanted: Mapping[str, str], described: Mapping[str, str], stored: Mapping[str, str]
) -> list[str]:
    """The statements that bring a table's comments to what its stream says.

    Args:
        table: The table's name, quoted.
        wanted: The comments, by column; the table's own by ``""``.
        described: What was wanted when they were last written.
        stored: What they are.
    """
    statements = []
    for name in wanted.keys() | described.keys():
        text, found = wanted.get(name), stored.get(name)
        if text == found or found not in {None, described.get(name)}:
            continue
        what = f"COLUMN {table}.{quoted(name)}" if name else f"TABLE {table}"
        statements.append(f"COMMENT ON {what} IS {'NULL' if text is None else literal(text)}")
    return sorted(statements)


def describe(connection: psycopg.Connection[Any], schema: str, shape: TableShape, described: Mapping[str, str]) -> None:
    """Write the comments of a stream's table, in the open transaction, and remember what they say.

    Args:
        connection: The session.
        schema: The table's schema.
        shape: The stream as a table that is there.
        described: What was wanted when they were last written.
    """
    stored = stored_comments(connection, schema, shape.table)
    if not stored.writable:
        return
    wanted = dict(shape.comments)
    statements = comment_statements(f"{quoted(schema)}.{quoted(shape.table)}", wanted, described, stored.texts)
    if statements:
        patience = f"SET LOCAL lock_timeout = '{LOCK_SECONDS_MAX}s'"
        try:
            with connection.transaction():
                connection.execute("; ".join([patience, *statements, "SET LOCAL lock_timeout TO DEFAULT"]))
        except psycopg.errors.LockNotAvailable:
            logger.info("Table '%s' is locked; its comments are written by a later run.", shape.table)
            return
    connection.execute(
        f"UPDATE {quoted(schema)}._streams SET comments = %s WHERE stream = %s", (json.dumps(wanted), shape.stream)
    )


def stored_comments(connection: psycopg.Connection[Any], schema: str, table: str) -> StoredComments:
    """Read a table's comments."""
    rows = connection.execute(
        """
        SELECT c.relkind IN ('r', 'p') AND pg_has_role(c.relowner, 'USAGE'), coalesce(a.attname, ''), d.description
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND a.attnum > 0
        WHERE n.nspname = %s AND c.relname = %s
        """,
        (schema, table),
    ).fetchall()
    return StoredComments(
        writable=any(writable for writable, _, _ in rows),
        texts={name: text for _, name, text in rows if text is not None},
    )
