"""`make run`: read a Stripe account into Postgres through Meltano, then show what is there.

Needs TAP_STRIPE_EVENTS_API_KEY (or …_FILE), in the environment or in `.env`; everything else has a default (see
README.md).
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo, sql

from target_postgres_stripe.connection import PARTS, connection_string
from target_postgres_stripe.errors import TargetError

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
TAP, TARGET = "tap-stripe-events", "target-postgres-stripe"
STATE_ID = f"{os.environ.get('MELTANO_ENVIRONMENT', 'dev')}:{TAP}-to-{TARGET}"

# What Meltano's log has in bulk and a person does not read: a counter of every stream, where settings were looked for.
_NOISE = re.compile(r"METRIC|Skipping parse of env var settings")

REVENUE = """
    select to_char(created at time zone 'UTC', 'YYYY-MM') as month,
           currency,
           count(*) filter (where reporting_category = 'charge') as payments,
           coalesce(sum(amount) filter (where reporting_category = 'charge'), 0) as gross,
           coalesce(sum(amount) filter (where reporting_category = 'refund'), 0) as refunds,
           coalesce(sum(amount) filter (where reporting_category like 'dispute%'), 0) as disputes,
           sum(-fee) as fees,
           sum(net) as net
    from balance_transaction
    where reporting_category in ('charge', 'refund', 'dispute', 'dispute_reversal', 'fee')
    group by 1, 2 order by 1 desc, 2 limit 12
"""


def sync(environment: dict[str, str] | None = None) -> int:
    """Run Meltano once, its log on this terminal without the noise; return its exit code."""
    command = [str(BIN / "meltano"), "run", TAP, TARGET]
    interrupted: list[int] = []
    # Ctrl-C reaches Meltano, the tap and the target too. They end by themselves, so this waits for them.
    before = signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    try:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(environment or {})},
            stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip
        with process:
            _show_log(process.stderr or ())
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        print("\nStopped. What was committed is kept; run again to go on from there.", file=sys.stderr)
    elif process.returncode:
        print(f"\nThe run failed. The last lines of {TAP} and {TARGET} above say why.", file=sys.stderr)
    return process.returncode


def settings(plugin: str) -> dict[str, Any]:
    """Return a plugin's settings as Meltano finds them: in the environment, `.env` and `meltano.yml`."""
    command = [str(BIN / "meltano"), "config", "--unsafe", "print", plugin]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"meltano cannot read the settings of {plugin}:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def show() -> None:
    """Print the tables with their row counts, revenue by month, the state, and how to look further."""
    found = settings(TARGET)
    schema = str(found["default_target_schema"])
    try:
        url = connection_string(found)
    except TargetError as error:
        sys.exit(str(error))
    embedded = not any(found.get(name) for name in ("database_url", "database_url_file", *PARTS))
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("set search_path to {}").format(sql.Identifier(schema)))
        tables = _tables(connection, schema)
        _show_tables(schema, tables)
        if tables.get("balance_transaction"):
            print("\nMoney by month, in the smallest unit of the currency:\n")
            _show_query(connection, REVENUE)
    print(f"\nThe state of two streams, from .venv/bin/meltano state get {STATE_ID}\n")
    _show_state()
    print("\nTo look further:\n")
    print(f"  {_psql(url, embedded=embedded)}\n  select * from {schema}.subscription where status = 'active' limit 5;")
    print(f"  select * from {schema}._sync_status;\n")


def _show_log(lines: Iterable[str]) -> None:
    """Print Meltano's log without the noise and without the boxes that show its own source code."""
    boxed = False
    for line in lines:
        boxed = boxed or line.startswith("╭")
        if not boxed and not _NOISE.search(line):
            print(line, end="", file=sys.stderr, flush=True)
        boxed = boxed and not line.startswith("╰")


def _psql(url: str, *, embedded: bool) -> str:
    """Return the command that opens psql on the database; a password is left out."""
    if embedded:
        return "make psql"
    parts = conninfo.conninfo_to_dict(url)
    return f'psql "{conninfo.make_conninfo("", **{**parts, "password": None})}"'


def _tables(connection: psycopg.Connection, schema: str) -> dict[str, int]:
    """Return each table's number of rows."""
    names = connection.execute(
        "select tablename from pg_tables where schemaname = %s and tablename !~ '^_' order by 1", (schema,)
    ).fetchall()
    counts = {}
    for (name,) in names:
        query = sql.SQL("select count(*) from {}").format(sql.Identifier(schema, name))
        row = connection.execute(query).fetchone()
        counts[name] = row[0] if row else 0
    return counts


def _show_tables(schema: str, tables: dict[str, int]) -> None:
    filled = [each for each in tables.items() if each[1]]
    print(f"\nSchema {schema}: {len(tables)} tables, {len(filled)} with rows, {sum(tables.values()):,} rows\n")
    width = max((len(name) for name, _ in filled), default=0)
    half = (len(filled) + 1) // 2
    for position in range(half):
        left = filled[position]
        line = f"  {left[0]:<{width}} {left[1]:>8,}"
        if position + half < len(filled):
            right = filled[position + half]
            line += f"     {right[0]:<{width}} {right[1]:>8,}"
        print(line)


def _show_query(connection: psycopg.Connection, query: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(query)
        names = [each.name for each in cursor.description or ()]
        rows = [[("" if value is None else f"{value}") for value in row] for row in cursor.fetchall()]
    widths = [max(len(name), *(len(row[column]) for row in rows), 0) for column, name in enumerate(names)]
    for row in [names, *rows]:
        print("  " + "  ".join(f"{value:>{width}}" for value, width in zip(row, widths, strict=True)))


def _show_state() -> None:
    command = [str(BIN / "meltano"), "state", "get", STATE_ID]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    state = json.loads(output).get("singer_state", {})
    bookmarks = state.get("bookmarks", {})
    shown = {
        "account": state.get("account"),
        "bookmarks": {name: bookmarks[name] for name in ("charge", "customer") if name in bookmarks},
    }
    print("  " + json.dumps(shown, indent=2).replace("\n", "\n  "))


def main() -> None:
    """Sync and show."""
    found = settings(TAP)
    if not found.get("api_key") and not found.get("api_key_file"):
        sys.exit("TAP_STRIPE_EVENTS_API_KEY is not set: TAP_STRIPE_EVENTS_API_KEY=sk_test_… make run, or try make demo")
    if (ROOT / ".stripe-sync" / "demo-account.json").exists() and "MELTANO_ENVIRONMENT" not in os.environ:
        sys.exit("The tables and the state here are the demo's, and accounts do not mix: run make clean first.")
    code = sync()
    if code:
        sys.exit(code)
    show()


if __name__ == "__main__":
    main()
