"""A whole backfill through Meltano, against Stripe's own sync engines from npm on the same sandbox."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from benchmarks.foreign import ROOT, node_modules
from benchmarks.measure import BenchError, Row, Work, alternate, median, spent_by
from benchmarks.setting import BIN, KEY, NOW, control
from benchmarks.work_tap import BUDGET, LIST_BUDGET, PAGE, requests_answered

if TYPE_CHECKING:
    from benchmarks.setting import Setting

_LINE = (f"--now={NOW}", "--latency-ms=200", f"--rate-limit={BUDGET}", f"--endpoint-rate-limit={LIST_BUDGET}")
_SCRIPTS = Path(__file__).parent
_ENGINES = (("@supabase/stripe-sync-engine", 15.0), ("stripe-experiment-sync", 5.0))
_TABLES = {"bench": ("charge", "customer"), "stripe": ("charges", "customers")}


def backfill(setting: Setting) -> list[Row]:
    """Objects/s, and pages asked for against the fewest that hold them."""
    count = setting.size(20_000)
    rows = []
    pages: list[float] = []
    # Only the customers' and charges' pages count: the rest of the lists is looked at, and empty.
    ideal = 2 * -(-count // PAGE)
    with setting.sandbox(*_LINE, bulk={"charge": count, "customer": count}) as url:

        def ours() -> float:
            with setting.database() as database:
                control(url, "requests/reset")
                seconds = _meltano(setting, url, database)
                _check(database, "bench", count)
                asked = requests_answered(url)["by_endpoint"]
                pages.append(sum(n for name, n in asked.items() if name.endswith(("/v1/charges", "/v1/customers"))))
            return 2 * count / seconds

        for engine, reach in _ENGINES:
            compared = alternate(ours, partial(_engine, setting, url, engine, count), rounds=setting.rounds)
            rows.append(
                Row(
                    work=f"whole backfill through meltano run, {count:,} customers + {count:,} charges, 200 ms",
                    against=engine,
                    value=compared.ratio,
                    unit="times",
                    reach=reach,
                    figures={"ours, objects/s": median(compared.ours), "theirs, objects/s": median(compared.theirs)},
                )
            )
    value = median(pages) / ideal
    row = Row(work="pages of that", against="the fewest", value=value, unit="times", reach=1.1, at_least=False)
    return [*rows, row]


def _meltano(setting: Setting, url: str, database: str) -> float:
    environment = {
        "TAP_STRIPE_EVENTS_API_KEY": KEY,
        "TAP_STRIPE_EVENTS_API_URL": url,
        "TAP_STRIPE_EVENTS_REQUESTS_PER_SECOND": str(BUDGET),
        "TAP_STRIPE_EVENTS_ENDPOINT_REQUESTS_PER_SECOND": str(LIST_BUDGET),
        "TAP_STRIPE_EVENTS_MAX_CONCURRENT_REQUESTS": "100",
        "TARGET_POSTGRES_STRIPE_DATABASE_URL": database,
        "TARGET_POSTGRES_STRIPE_DEFAULT_TARGET_SCHEMA": "bench",
        "MELTANO_DATABASE_URI": f"sqlite:///{setting.path('meltano.db')}",
    }
    command: list[str | Path] = [BIN / "meltano", "run", "tap-stripe-events", "target-postgres-stripe"]
    return spent_by(command, log=setting.path("meltano.log"), cwd=ROOT, environment=environment).seconds


def _engine(setting: Setting, url: str, engine: str, count: int) -> float:
    node, home = node_modules()
    with setting.database() as database:
        environment = {
            "DATABASE_URL": database.replace("postgres@/", "postgres@localhost/"),
            "STRIPE_KEY": KEY,
            "SANDBOX_PORT": url.rpartition(":")[2],
            "ENGINES": str(home),
        }
        command: list[str | Path] = [node, "--import", _SCRIPTS / "to_sandbox.mjs", _SCRIPTS / "engine.mjs", engine]
        seconds = spent_by(command, log=setting.path("engine.log"), environment=environment).seconds
        _check(database, "stripe", count)
    return 2 * count / seconds


def _check(database: str, schema: str, count: int) -> None:
    with psycopg.connect(database) as connection:
        for table in _TABLES[schema]:
            row = connection.execute(f"SELECT count(*) FROM {schema}.{table}".encode()).fetchone()
            if not row or row[0] != count:
                raise BenchError(f"{schema}.{table}: {row and row[0]} rows, not {count}")


WORKS = (Work(name="engines", run=backfill),)
