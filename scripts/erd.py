"""`make erd`: a drawing of what is in the database, `output/erd.svg`: tables with rows, and references that hold.

It reads the database that the target's settings name; the embedded Postgres if they name none. Whether a reference
holds is seen by its first values. No value gets into the drawing, only names, counts and descriptions.
"""

import sys
from typing import Any

import psycopg
import run
from erd_drawing import OTHERS, Column, Found, Table, drawing
from psycopg import sql
from stripe_words import TABLES

from tap_stripe_events.changes import schema as stored_schema
from tap_stripe_events.references import described_streams, references
from target_postgres_stripe.connection import connection_string
from target_postgres_stripe.errors import TargetError

OUTPUT = run.ROOT / "output" / "erd.svg"
LOOKED_AT_MAX = 1000
"""How many values of a column are looked up in the tables that it refers to."""
COUNTED_MAX = 1_000_000
"""Beyond this many rows a table is said to have more."""

_COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnum = ANY(i.indkey::int2[]) IS TRUE,
           col_description(c.oid, a.attnum)
      FROM pg_class c
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
     WHERE c.oid = to_regclass(%s)
     ORDER BY array_position(i.indkey::int2[], a.attnum), a.attnum
"""


def read(connection: psycopg.Connection[Any], schema: str) -> list[Table]:
    """Return the tables that the target made and that have rows, in the order in which `stripe_words.py` tells them.

    Raises:
        SystemExit: There are none.
    """
    streams_table = sql.Identifier(schema, "_streams")
    known = connection.execute("SELECT to_regclass(%s)", (streams_table.as_string(connection),)).fetchone()
    if known is None or known[0] is None:
        sys.exit(f"There is no schema {schema} that the target has written to: make demo or make run fills one.")
    made = connection.execute(sql.SQL("SELECT stream, table_name FROM {}").format(streams_table)).fetchall()
    counts = {(stream, table): _rows(connection, schema, table) for stream, table in made}
    filled = {stream: table for (stream, table), rows in counts.items() if rows}
    if not filled:
        sys.exit(f"The tables of schema {schema} have no rows yet: make demo or make run fills them.")
    told = [name.replace(".", "_") for names in TABLES.values() for name in names]
    ordered = sorted(filled, key=lambda stream: (told.index(stream) if stream in told else len(told), stream))
    return [_table(connection, schema, each, filled, counts[each, filled[each]]) for each in ordered]


def _rows(connection: psycopg.Connection[Any], schema: str, table: str) -> int:
    query = sql.SQL("SELECT count(*) FROM (SELECT FROM {} LIMIT {}) rows")
    found = connection.execute(query.format(sql.Identifier(schema, table), COUNTED_MAX + 1)).fetchone()
    return int(found[0]) if found else 0


def _table(connection: psycopg.Connection[Any], schema: str, stream: str, filled: dict[str, str], rows: int) -> Table:
    name = sql.Identifier(schema, filled[stream]).as_string(connection)
    columns = [
        Column(
            name=column,
            type=kind,
            is_key=is_key,
            description=text or "",
            found=_found(connection, schema, filled, stream, column),
        )
        for column, kind, is_key, text in connection.execute(_COLUMNS, (name,)).fetchall()
    ]
    described = connection.execute("SELECT obj_description(to_regclass(%s))", (name,)).fetchone()
    known = described_streams().get(stream)
    return Table(
        name=filled[stream],
        area=stored_schema(known)["x-area"] if known else OTHERS,
        description=(described and described[0]) or "",
        rows=f"{COUNTED_MAX:,}+" if rows > COUNTED_MAX else f"{rows:,}",
        columns=tuple(columns),
    )


def _found(
    connection: psycopg.Connection[Any], schema: str, filled: dict[str, str], stream: str, column: str
) -> Found | None:
    """Look the first values of a reference up; None if it is none, or has no values."""
    targets = [filled[each] for each in references().get((stream, column), ()) if each in filled]
    if not targets:
        return None
    looked_up = sql.SQL(", ").join(
        sql.SQL("count(*) FILTER (WHERE EXISTS (SELECT FROM {} t WHERE t.id = v.value))").format(
            sql.Identifier(schema, each)
        )
        for each in targets
    )
    query = sql.SQL("SELECT count(*), {} FROM (SELECT {} AS value FROM {} WHERE {} IS NOT NULL LIMIT {}) v")
    names = sql.Identifier(column), sql.Identifier(schema, filled[stream]), sql.Identifier(column)
    row = connection.execute(query.format(looked_up, *names, LOOKED_AT_MAX)).fetchone()
    if row is None or not row[0]:
        return None
    held = {target: count for target, count in zip(targets, row[1:], strict=True) if count}
    return Found(tables=tuple(held), values=row[0], held=min(sum(held.values()), row[0]))


def main() -> None:
    """Read, draw, write."""
    settings = run.settings(run.TARGET)
    schema = str(settings["default_target_schema"])
    try:
        with psycopg.connect(connection_string(settings)) as connection:
            connection.execute("SET TRANSACTION READ ONLY")
            tables = read(connection, schema)
    except (TargetError, psycopg.Error) as error:
        sys.exit(str(error))
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(drawing(schema, tables), encoding="utf-8")
    found = [column.found for table in tables for column in table.columns if column.found]
    holding = sum(each.held == each.values for each in found)
    what = f"{len(tables)} tables with rows, {len(found)} references with values, of which {holding} hold"
    print(f"{OUTPUT.relative_to(run.ROOT)}: {what}.")


if __name__ == "__main__":
    main()
