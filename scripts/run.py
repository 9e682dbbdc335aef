"""`make run`: read a Stripe account into Postgres through Meltano, then show what is there.

Needs TAP_STRIPE_EVENTS_API_KEY; everything else has a default (see README.md).
"""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
STATE_ID = "dev:tap-stripe-events-to-target-postgres-stripe"
SCHEMA = os.environ.get("TARGET_POSTGRES_STRIPE_DEFAULT_TARGET_SCHEMA", "stripe")

REVENUE = """
    select to_char(date_trunc('month', c.created), 'YYYY-MM') as month,
           c.currency,
           count(*) filter (where c.paid) as paid_charges,
           sum(c.amount_captured) filter (where c.paid) as gross,
           sum(c.amount_refunded) as refunded,
           sum(b.fee) as fees,
           sum(b.net) as net
    from charge c left join balance_transaction b on b.id = c.balance_transaction_id
    where c._sdc_deleted_at is null
    group by 1, 2 order by 1 desc, 2 limit 12
"""


def sync(environment: dict[str, str] | None = None) -> int:
    """Run Meltano once, its log on this terminal; return its exit code."""
    command = [str(BIN / "meltano"), "run", "tap-stripe-events", "target-postgres-stripe"]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **(environment or {})}, check=False).returncode


def show() -> None:
    """Print the tables with their row counts, revenue by month, the state, and how to look further."""
    url = _database_url()
    with psycopg.connect(url, options=f"-c search_path={SCHEMA}") as connection:
        _show_tables(connection)
        print("\nRevenue by month, in the smallest unit of the currency:\n")
        _show_query(connection, REVENUE)
    print("\nThe state (meltano state get dev:tap-stripe-events-to-target-postgres-stripe), for two streams:\n")
    _show_state()
    print("\nTo look further:\n")
    psql = "make psql" if _embedded() else "psql $TARGET_POSTGRES_STRIPE_DATABASE_URL"
    print(f"  {psql}\n  select * from {SCHEMA}.subscription where status = 'active' limit 5;")
    print(f"  select * from {SCHEMA}._sync_status;\n")


def _embedded() -> bool:
    return not os.environ.get("TARGET_POSTGRES_STRIPE_DATABASE_URL") and not os.environ.get(
        "TARGET_POSTGRES_STRIPE_HOST"
    )


def _database_url() -> str:
    if _embedded():
        from target_postgres_stripe import embedded  # noqa: PLC0415 - needs the extra

        return embedded.database_url()
    if url := os.environ.get("TARGET_POSTGRES_STRIPE_DATABASE_URL"):
        return url
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "DATABASE"}
    given = {key: os.environ.get(f"TARGET_POSTGRES_STRIPE_{name}") for key, name in names.items()}
    return psycopg.conninfo.make_conninfo("", **{key: value for key, value in given.items() if value})


def _show_tables(connection: psycopg.Connection) -> None:
    names = connection.execute(
        "select tablename from pg_tables where schemaname = %s and tablename !~ '^_' order by 1", (SCHEMA,)
    ).fetchall()
    counts = []
    for (name,) in names:
        query = sql.SQL("select count(*) from {}").format(sql.Identifier(SCHEMA, name))
        row = connection.execute(query).fetchone()
        counts.append((name, row[0] if row else 0))
    filled = [each for each in counts if each[1]]
    print(f"\nSchema {SCHEMA}: {len(counts)} tables, {len(filled)} with rows, {sum(n for _, n in counts):,} rows\n")
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
    import json  # noqa: PLC0415

    state = json.loads(output)["singer_state"]
    shown = {
        "account": state.get("account"),
        "bookmarks": {name: state["bookmarks"].get(name) for name in ("charge", "customer")},
    }
    print("  " + json.dumps(shown, indent=2).replace("\n", "\n  "))


def main() -> None:
    """Sync and show."""
    if not os.environ.get("TAP_STRIPE_EVENTS_API_KEY"):
        sys.exit("TAP_STRIPE_EVENTS_API_KEY is not set: TAP_STRIPE_EVENTS_API_KEY=sk_test_… make run, or try make demo")
    code = sync()
    if code:
        sys.exit(code)
    show()


if __name__ == "__main__":
    main()
