"""Bring a table to its stream's columns, and no further than is safe.

New columns are added, ``bigint`` widens to ``numeric``, NOT NULL goes where the stream may send nothing. Everything
else that differs is an error. What to do is decided by ``table_changes`` from what is stored; the functions that take
a connection only read or run.

The bookkeeping tables are ours alone. ``_streams`` says which tables in the schema this target made: it writes to no
other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from target_postgres_stripe.columns import (
    AS_OF,
    RESERVED_PROPERTIES,
    Column,
    ColumnType,
    TableShape,
    column_definitions,
    fitting_name,
    literal,
    quoted,
)
from target_postgres_stripe.comments import describe
from target_postgres_stripe.errors import ColumnConflictError, ForeignTableError, KeyConflictError, TableNameTakenError

if TYPE_CHECKING:
    import psycopg

    from target_postgres_stripe.apply import Relation

BOOKKEEPING: dict[str, tuple[str, ...]] = {
    "_streams": (
        "stream text PRIMARY KEY",
        "table_name text NOT NULL UNIQUE",
        "floor timestamptz",
        "child_streams text[] NOT NULL DEFAULT '{}'",
        "comments jsonb NOT NULL DEFAULT '{}'",
    ),
    "_children": ("stream text", "key jsonb", "lists jsonb NOT NULL", "PRIMARY KEY (stream, key)"),
    "_sweep_seen": (
        "stream text",
        'key text COLLATE "C"',
        "version bigint NOT NULL",
        "as_of timestamptz NOT NULL",
        "PRIMARY KEY (stream, key)",
    ),
    "_sweep_mended": (
        "stream text",
        "key jsonb",
        "as_of timestamptz NOT NULL",
        "stripe_account_id text NOT NULL DEFAULT ''",
        "PRIMARY KEY (stream, key)",
    ),
    "_account_sweeps": (
        "stream text",
        "stripe_account_id text",
        "floor timestamptz NOT NULL",
        "PRIMARY KEY (stream, stripe_account_id)",
    ),
    "_tombstones": ("stream text", "key jsonb", "as_of timestamptz NOT NULL", "PRIMARY KEY (stream, key)"),
    "_sync": (
        "id uuid PRIMARY KEY DEFAULT gen_random_uuid()",
        "livemode boolean",
        "account_id text",
        "state_written_at timestamptz",
        "polled_at timestamptz",
        "created_at timestamptz NOT NULL DEFAULT now()",
    ),
    "_sync_status": (
        "stream text",
        "stripe_account_id text NOT NULL DEFAULT ''",
        "kept_by text",
        "rows bigint",
        "rows_counted_at timestamptz",
        "events_as_of timestamptz",
        "lag interval",
        "polled_at timestamptz",
        "listed_at timestamptz",
        "backfill_started_at timestamptz",
        "backfill_finished_at timestamptz",
        "denied text",
        "drift bigint NOT NULL DEFAULT 0",
        "drift_found_at timestamptz",
        "updated_at timestamptz NOT NULL DEFAULT now()",
        "furthest jsonb",
        "bookmark jsonb",
        "PRIMARY KEY (stream, stripe_account_id)",
    ),
}
"""The columns of this target's own tables, by name; what a column is called comes first.

* ``_streams``: the streams and the tables they are in. ``floor``: the start of the last finished sweep;
  ``child_streams``: of which child streams its records have brought complete lists; ``comments``: see comments.py.
* ``_children``: these lists, by parent: ``{"line_item": {"as_of": "2026-...", "ids": ["il_1"]}}``.
* ``_account_sweeps``: the floor of each account, where a stream has the rows of several.
* ``_sweep_seen``: what an unfinished sweep saw without a change; ``key`` is a JSON array as text.
* ``_sweep_mended``: see drift.py.
* ``_tombstones``: what was removed, and as of when.
* ``_sync``, ``_sync_status``: see status.py.

``stripe_account_id`` is empty where all rows are one account's, which is the one that ``_sync`` names. Databases of
earlier versions get the columns that they lack, so a new one must do with its default, and the types and keys that they
should have.
"""

_KEY = "PRIMARY KEY"

_CONSTRAINT = re.compile(" (?:NOT NULL|DEFAULT|PRIMARY KEY|UNIQUE)")

COMMENTS = {
    "_streams": "Which stream is in which table",
    "_children": "The newest complete list of a row's children",
    "_account_sweeps": "When the last full listing of an account's rows began, where a stream has several accounts'",
    "_sweep_seen": "What an unfinished sweep saw unchanged; empty between sweeps",
    "_sweep_mended": "What a sweep changed and events should have: drift, unless one comes within two minutes",
    "_tombstones": "What was removed, so that nothing older brings it back",
    "_sync": "What this schema is a copy of",
    "_sync_status": "The tap's state, as of the rows",
}


@dataclass(frozen=True, kw_only=True)
class StoredTable:
    """A table as it is.

    Attributes:
        types: The type of each column, as Postgres writes it.
        required: The columns that are NOT NULL.
        key: The columns of the primary key, in its order.
    """

    types: dict[str, str]
    required: frozenset[str]
    key: tuple[str, ...]


def table_changes(schema: str, shape: TableShape, stored: StoredTable | None) -> list[str]:
    """The statements that bring a table to its shape, none if it has it.

    Raises:
        KeyConflictError: The table has another primary key.
        ColumnConflictError: A column has a type that does not widen to the one wanted.
    """
    table = f"{quoted(schema)}.{quoted(shape.table)}"
    if stored is None:
        return [create_table(table, shape)]
    key = tuple(column.name for column in shape.key)
    if stored.key != key:
        raise KeyConflictError(table=table, stored=stored.key, wanted=key)
    actions: list[str] = []
    for column in shape.all_columns:
        name, found = quoted(column.name), stored.types.get(column.name)
        if found is None:
            actions.append(f"ADD COLUMN {name} {column.type}")
        elif (found, column.type) == (ColumnType.BIGINT, ColumnType.NUMERIC):
            actions.append(f"ALTER COLUMN {name} TYPE numeric")
        elif found != column.type and (found, column.type) != (ColumnType.NUMERIC, ColumnType.BIGINT):
            raise ColumnConflictError(table=table, column=column.name, stored=found, wanted=column.type)
    actions += [f"ALTER COLUMN {quoted(name)} DROP NOT NULL" for name in sorted(stored.required - set(key))]
    return [f"ALTER TABLE {table} {', '.join(actions)}"] if actions else []


def create_table(table: str, shape: TableShape) -> str:
    """The statement that creates a stream's table."""
    key = f", PRIMARY KEY ({', '.join(quoted(column.name) for column in shape.key)})" if shape.key else ""
    return f"CREATE TABLE {table} ({column_definitions(shape.all_columns)}{key})"


def parent_index(schema: str, relation: Relation) -> str | None:
    """The index by which a parent's children are found, None if the child's key begins with the parent's."""
    columns = relation.parent_columns
    if tuple(column.name for column in relation.child.key)[: len(columns)] == columns:
        return None
    name = fitting_name(f"{relation.child.table}_{relation.reference}_idx")
    listed = ", ".join(quoted(column) for column in columns)
    return f"CREATE INDEX IF NOT EXISTS {quoted(name)} ON {quoted(schema)}.{quoted(relation.child.table)} ({listed})"


def ensure_bookkeeping(connection: psycopg.Connection[Any], schema: str) -> None:
    """Create the schema and this target's own tables where they are missing.

    Raises:
        ForeignTableError: Somebody else's table has the name of one of ours.
    """
    # Not IF NOT EXISTS: that asks for the right to create schemas even where there is nothing to create.
    if not schema_exists(connection, schema):
        connection.execute(f"CREATE SCHEMA {quoted(schema)}")
    stored = {table: stored_table(connection, schema, table) for table in BOOKKEEPING}
    present = {table for table, found in stored.items() if found is not None}
    if present and "_streams" not in present:
        raise ForeignTableError(schema=schema, table=min(present))
    for table, found in stored.items():
        for statement in bookkeeping_changes(f"{quoted(schema)}.{quoted(table)}", table, found):
            connection.execute(statement)
    connection.execute(
        f"INSERT INTO {quoted(schema)}._sync SELECT WHERE NOT EXISTS (SELECT FROM {quoted(schema)}._sync)"
    )


def bookkeeping_changes(name: str, table: str, stored: StoredTable | None) -> list[str]:
    """The statements that bring one of this target's own tables to its columns, none if it has them."""
    definitions = BOOKKEEPING[table]
    if stored is None:
        return [
            f"CREATE TABLE {name} ({', '.join(definitions)})",
            f"COMMENT ON TABLE {name} IS {literal(COMMENTS[table])}",
        ]
    columns = [definition for definition in definitions if not definition.startswith(_KEY)]
    actions = [f"ADD COLUMN {column}" for column in columns if column.split()[0] not in stored.types]
    for column, kind, *collation in (_CONSTRAINT.split(definition)[0].split() for definition in columns):
        if stored.types.get(column, kind) != kind:
            actions.append(f"ALTER COLUMN {column} TYPE {' '.join((kind, *collation))} USING {column}::{kind}")
    for key in (definition for definition in definitions if definition.startswith(_KEY)):
        if key != f"{_KEY} ({', '.join(stored.key)})":
            actions += [f"DROP CONSTRAINT {quoted(f'{table}_pkey')}", f"ADD {key}"]
    return [f"ALTER TABLE {name} {', '.join(actions)}"] if actions else []


def schema_exists(connection: psycopg.Connection[Any], schema: str) -> bool:
    """Whether there is such a schema."""
    return connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone() is not None


def has_bookkeeping(connection: psycopg.Connection[Any], schema: str) -> bool:
    """Whether this target has written to the schema before."""
    return stored_table(connection, schema, "_streams") is not None


def ensure_table(connection: psycopg.Connection[Any], schema: str, shape: TableShape) -> None:
    """Create or alter the table of a stream.

    Raises:
        ForeignTableError: A table of that name exists that this target did not make.
        TableNameTakenError: Another stream is in it.
        KeyConflictError, ColumnConflictError: See ``table_changes``.
    """
    streams = f"{quoted(schema)}._streams"
    owner = connection.execute(
        f"SELECT stream, comments FROM {streams} WHERE table_name = %s", (shape.table,)
    ).fetchone()
    if owner is not None and owner[0] != shape.stream:
        raise TableNameTakenError(table=shape.table, stream=shape.stream, owner=owner[0])
    stored = stored_table(connection, schema, shape.table)
    if owner is None and stored is not None:
        raise ForeignTableError(schema=schema, table=shape.table, stream=shape.stream)
    changes = table_changes(schema, shape, stored)
    for statement in changes:
        connection.execute(statement)
    if owner is None:
        connection.execute(f"INSERT INTO {streams} (stream, table_name) VALUES (%s, %s)", (shape.stream, shape.table))
    described: dict[str, str] = {} if owner is None else owner[1]
    if changes or described != dict(shape.comments):
        describe(connection, schema, shape, described)


def table_of_stream(connection: psycopg.Connection[Any], schema: str, shape: TableShape) -> StoredTable | None:
    """The table of a stream as it is, None if this target has not made one of that name for it."""
    owner = connection.execute(
        f"SELECT FROM {quoted(schema)}._streams WHERE (stream, table_name) = (%s, %s)", (shape.stream, shape.table)
    ).fetchone()
    return None if owner is None else stored_table(connection, schema, shape.table)


def stored_table(connection: psycopg.Connection[Any], schema: str, table: str) -> StoredTable | None:
    """Read a table's columns, None if there is no such table (or view)."""
    rows = connection.execute(
        """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, array_position(i.indkey::int2[], a.attnum)
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
        WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        ORDER BY a.attnum
        """,
        (schema, table),
    ).fetchall()
    if not rows:
        return None
    columns = [(name, short_type(found), required, place) for name, found, required, place in rows if name is not None]
    return StoredTable(
        types={name: found for name, found, _, _ in columns},
        required=frozenset(name for name, _, required, _ in columns if required),
        key=tuple(name for place, name in sorted((place, name) for name, _, _, place in columns if place is not None)),
    )


def short_type(name: str) -> str:
    """A type as this package writes it."""
    return {"timestamp with time zone": "timestamptz", "time without time zone": "time"}.get(name, name)


def known_streams(connection: psycopg.Connection[Any], schema: str) -> dict[str, TableShape]:
    """The streams that this target has tables of, whether or not they are in this run."""
    found = connection.execute(f"SELECT stream, table_name FROM {quoted(schema)}._streams").fetchall()
    shapes: dict[str, TableShape] = {}
    for stream, table in found:
        stored = stored_table(connection, schema, table)
        if stored is not None:
            shapes[stream] = stored_shape(stream, table, stored)
    return shapes


def stored_shape(stream: str, table: str, stored: StoredTable) -> TableShape:
    """The shape of a table whose stream's schema is not at hand; only columns of this target's types count."""
    types = set(ColumnType)
    columns = {
        name: Column(property=name, name=name, type=ColumnType(found))
        for name, found in stored.types.items()
        if found in types
    }
    return TableShape(
        stream=stream,
        table=table,
        key=tuple(columns[name] for name in stored.key),
        columns=tuple(column for name, column in columns.items() if name not in RESERVED_PROPERTIES),
        added=tuple(column for name, column in columns.items() if name in RESERVED_PROPERTIES),
        ordered=AS_OF in columns.values() and bool(stored.key),
    )


def child_streams(connection: psycopg.Connection[Any], schema: str) -> dict[str, set[str]]:
    """The child streams of each parent stream, as far as lists have come."""
    found = connection.execute(
        f"SELECT stream, child_streams FROM {quoted(schema)}._streams WHERE child_streams <> '{{}}'"
    )
    return {stream: set(children) for stream, children in found}


def add_child_streams(connection: psycopg.Connection[Any], schema: str, stream: str, children: set[str]) -> None:
    """Remember the child streams of a parent stream."""
    connection.execute(
        f"UPDATE {quoted(schema)}._streams SET child_streams = %s WHERE stream = %s", (sorted(children), stream)
    )


def grant_reading(connection: psycopg.Connection[Any], schema: str, role: str) -> None:
    """Let a role read every table of this target, now and later; other people's tables in the schema are theirs."""
    streams = connection.execute(f"SELECT table_name FROM {quoted(schema)}._streams").fetchall()
    tables = ", ".join(f"{quoted(schema)}.{quoted(table)}" for table in (*BOOKKEEPING, *(name for (name,) in streams)))
    for statement in (
        f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(role)}",
        f"GRANT SELECT ON {tables} TO {quoted(role)}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {quoted(schema)} GRANT SELECT ON TABLES TO {quoted(role)}",
    ):
        connection.execute(statement)
