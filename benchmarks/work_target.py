"""The target alone: first load, all changed, nothing changed; against another target and against Postgres itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import psycopg

from benchmarks.foreign import target_postgres
from benchmarks.measure import BenchError, Row, Work, alternate, median, spent_by
from target_postgres_stripe.apply import Statements
from target_postgres_stripe.tables import known_streams

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.setting import Setting

SCHEMA = "bench"
STREAMS = ("charge", "customer")
_BATCH_ROWS = 10_000
_WAL_BYTES_A_ROW = 10.0
# Not what the first reader of a page causes by marking that its rows were committed, whoever reads it.
_OF_ROWS = (
    "record_type <> 'FPI_FOR_HINT' AND relfilenode IN (SELECT relfilenode FROM pg_class c "
    "WHERE c.relnamespace = 'bench'::regnamespace AND c.relname ~ '^(charge|customer)')"
)
_AT_BEST = {
    "use_copy": True,
    "validate_records": False,
    "add_record_metadata": False,
    "activate_version": False,
}


def first_load_rate(setting: Setting, messages: Path, count: int) -> float:
    """Rows/s of our target into an empty database, its start included."""
    with setting.database() as database:
        rate = 2 * count / setting.load(database, messages).seconds
        _check(database, count)
    return rate


def other_target_rate(setting: Setting, messages: Path, count: int, options: dict[str, bool]) -> float:
    """Rows/s of MeltanoLabs' target."""
    with setting.database() as database:
        url = database.replace("postgresql://", "postgresql+psycopg://")
        config = setting.config(sqlalchemy_url=url, default_target_schema=SCHEMA, **options)
        log = setting.path("other.log")
        rate = 2 * count / spent_by([target_postgres(), "--config", config], source=messages, log=log).seconds
        _check(database, count)
    return rate


def against_other(setting: Setting) -> list[Row]:
    """First load against the other target, as it comes and at its best."""
    rows = []
    for name, options, reach in (
        ("meltanolabs-target-postgres, default", {}, 12.0),
        ("the same at its best: COPY, no validation, no metadata", _AT_BEST, 4.0),
    ):
        count = setting.size(100_000)
        messages = setting.messages(count)
        compared = alternate(
            partial(first_load_rate, setting, messages, count),
            partial(other_target_rate, setting, messages, count, dict(options)),
            rounds=setting.rounds,
        )
        figures = {"ours, rows/s": median(compared.ours), "theirs, rows/s": median(compared.theirs)}
        work = f"target, first load of {count:,} charges + {count:,} customers"
        rows.append(Row(work=work, against=name, value=compared.ratio, unit="times", reach=reach, figures=figures))
    return rows


def against_copy(setting: Setting) -> list[Row]:
    """First load against psql's COPY of the same rows into the same tables, primary keys and indexes included."""
    count = setting.size(100_000)
    messages = setting.messages(count)
    with setting.database() as database:
        setting.load(database, messages)
        files = copy_tables(setting, database)

        def copy_rate() -> float:
            rate = 2 * count / copy_seconds(setting, database, files)
            _check(database, count, prefix="c_")
            return rate

        compared = alternate(partial(first_load_rate, setting, messages, count), copy_rate, rounds=setting.rounds)
    return [
        Row(
            work=f"target, first load, {count:,} + {count:,}",
            against="psql COPY of the same rows into the same tables",
            value=compared.ratio,
            unit="times",
            reach=0.6,
            figures={"ours, rows/s": median(compared.ours), "COPY, rows/s": median(compared.theirs)},
        )
    ]


def copy_tables(setting: Setting, database: str) -> dict[str, Path]:
    """Files for COPY of the tables as they are."""
    return {stream: _copied_out(setting, database, f"SELECT * FROM {SCHEMA}.{stream}") for stream in STREAMS}


def copy_seconds(setting: Setting, database: str, files: Mapping[str, Path]) -> float:
    """How long psql's COPY takes into new tables with the same columns, keys and indexes."""
    make = "".join(
        f"DROP TABLE IF EXISTS {SCHEMA}.c_{s}; CREATE TABLE {SCHEMA}.c_{s} (LIKE {SCHEMA}.{s} INCLUDING ALL);\n"
        for s in files
    )
    setting.psql(database, make + "CHECKPOINT;")
    copies = "".join(f"\\copy {SCHEMA}.c_{s} FROM '{path}'\n" for s, path in files.items())
    return setting.psql(database, copies).seconds


def all_changed(setting: Setting) -> list[Row]:
    """Every row changed, against COPY to the staging table and the target's own upsert, in batches, in SQL alone."""
    count = setting.size(100_000)
    first, changed = setting.messages(count), setting.changed_messages(count)
    with setting.database() as database:
        setting.load(database, first)
        setting.load(database, changed)
        with psycopg.connect(database) as connection:
            statements = {
                stream: Statements(schema=SCHEMA, shape=shape, stage=f"stage_{stream}", hard_delete=False)
                for stream, shape in known_streams(connection, SCHEMA).items()
                if stream in STREAMS
            }
        staged = {stream: _staged(setting, database, statements[stream]) for stream in STREAMS}

    def ours() -> float:
        with setting.database() as database:
            setting.load(database, first)
            rate = 2 * count / setting.load(database, changed).seconds
            _check(database, count, "description = 'changed'")
        return rate

    def sql_alone() -> float:
        with setting.database() as database:
            setting.load(database, first)
            script = "".join(
                f"{statements[s].create_stage()};\n"
                + "".join(
                    f"BEGIN;\n\\copy pg_temp.\"{statements[s].stage}\" FROM '{path}'\n"
                    f"{statements[s].apply_changes()};\n{statements[s].truncate_stage()};\nCOMMIT;\n"
                    for path in staged[s]
                )
                for s in STREAMS
            )
            rate = 2 * count / setting.psql(database, script).seconds
            _check(database, count, "description = 'changed'")
        return rate

    compared = alternate(ours, sql_alone, rounds=setting.rounds)
    return [
        Row(
            work=f"target, all rows changed, {count:,} + {count:,}",
            against="staging COPY + the same upsert in SQL alone",
            value=compared.ratio,
            unit="times",
            reach=0.75,
            figures={"ours, rows/s": median(compared.ours), "SQL, rows/s": median(compared.theirs)},
        )
    ]


def nothing_changed(setting: Setting) -> list[Row]:
    """Another listing a day later that finds everything as it was, against the first; and the WAL of that."""
    count = setting.size(100_000)
    messages, later = setting.messages(count), setting.later_messages(count)
    firsts, seconds, of_rows, in_all = [], [], [], []
    for _ in range(setting.rounds):
        with setting.database() as database:
            firsts.append(2 * count / setting.load(database, messages).seconds)
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute("CREATE EXTENSION pg_walinspect")
                before = _one(connection, "SELECT pg_current_wal_lsn()::text")
                seconds.append(2 * count / setting.load(database, later).seconds)
                in_all.append(_wal(connection, before, "true") / (2 * count))
                of_rows.append(_wal(connection, before, _OF_ROWS) / (2 * count))
            _check(database, count)
    ratio = median([second / first for second, first in zip(seconds, firsts, strict=True)])
    work = f"target, nothing changed, {count:,} + {count:,}"
    rates = {"again, rows/s": median(seconds), "first load, rows/s": median(firsts)}
    wal_row = Row(
        work=work,
        against="WAL of their tables and indexes",
        value=median(of_rows),
        unit="bytes a row",
        reach=_WAL_BYTES_A_ROW,
        at_least=False,
        figures={"WAL in all, with what notes that they were seen, bytes a row": median(in_all)},
    )
    return [Row(work=work, against="first load", value=ratio, unit="times", reach=2.0, figures=rates), wal_row]


def _wal(connection: psycopg.Connection[tuple[object, ...]], before: object, condition: str) -> float:
    """Bytes of WAL since then that are of a block that meets a condition; each record counts once for each block."""
    found = _one(
        connection,
        f"SELECT coalesce(sum(block_data_length + block_fpi_length + record_length), 0) "
        f"FROM pg_get_wal_block_info('{before}', pg_current_wal_lsn()) WHERE {condition}",
    )
    return float(str(found))


def _check(database: str, count: int, condition: str = "true", *, prefix: str = "") -> None:
    """See that all rows are there: a contestant that loses some is not fast."""
    with psycopg.connect(database) as connection:
        for stream in STREAMS:
            found = _one(connection, f"SELECT count(*) FROM {SCHEMA}.{prefix}{stream} WHERE {condition}")
            if found != count:
                raise BenchError(f"{stream}: {found} rows, not {count}")


def _one(connection: psycopg.Connection[tuple[object, ...]], query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _copied_out(setting: Setting, database: str, query: str) -> Path:
    path = setting.path("rows.tsv")
    setting.psql(database, f"\\copy ({query}) TO '{path}'")
    return path


def _staged(setting: Setting, database: str, statements: Statements) -> Sequence[Path]:
    """Files of staging rows, a batch each, made of the rows in the table."""
    columns = ", ".join(f'"{column.name}"' for column in statements.shape.columns)
    query = (
        f'SELECT "_sdc_as_of", NULL::bigint, "_sdc_hash" # 1, NULL::timestamptz, now(), 1, NULL::jsonb, {columns} '
        f"FROM {SCHEMA}.{statements.shape.stream}"
    )
    lines = _copied_out(setting, database, query).read_bytes().splitlines(keepends=True)
    paths = []
    for start in range(0, len(lines), _BATCH_ROWS):
        paths.append(setting.path("batch.tsv"))
        paths[-1].write_bytes(b"".join(lines[start : start + _BATCH_ROWS]))
    return paths


WORKS = (
    Work(name="other-target", run=against_other),
    Work(name="copy", run=against_copy),
    Work(name="changed", run=all_changed),
    Work(name="unchanged", run=nothing_changed),
)
