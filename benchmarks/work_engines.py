"""A whole backfill through Meltano, against Stripe's own sync engines from npm on the same sandbox.

Everybody may ask 100 times a second. For a second row also 25 times a second of one endpoint, as Stripe has it; then
two lists cannot come faster than 5,000 objects/s. The engines ask for one page at a time and never meet that limit.
"""

from __future__ import annotations

from dataclasses import replace
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

_LINE = (f"--now={NOW}", "--latency-ms=200", f"--rate-limit={BUDGET}")
_SCRIPTS = Path(__file__).parent
_ENGINES = (("@supabase/stripe-sync-engine", 15.0), ("stripe-experiment-sync", 5.0))
_NOTE = (
    "Counted are customers and charges. Ours looks at all other lists too, but for what costs a request a customer and "
    "the engines do not ask for here: payment methods and upcoming invoices."
)
_SELECT = '["*.*", "!payment_method.*", "!upcoming_customer_invoice.*", "!upcoming_subscription_invoice.*"]'
_TABLES = {"bench": ("charge", "customer"), "stripe": ("charges", "customers")}


def backfill(setting: Setting) -> list[Row]:
    """Objects/s, and pages asked for against the fewest that hold them."""
    count = setting.size(20_000)
    pages: list[float] = []
    # Only the customers' and charges' pages count: the rest of the lists is looked at, and empty.
    ideal = 2 * -(-count // PAGE)
    what = f"whole backfill through meltano run, {count:,} customers + {count:,} charges, 200 ms, {BUDGET} requests/s"
    with setting.sandbox(*_LINE, bulk={"charge": count, "customer": count}) as url:

        def ours(list_budget: int = BUDGET) -> float:
            with setting.database() as database:
                control(url, "requests/reset")
                control(url, "rate_limit", per_second=BUDGET, per_endpoint=list_budget)
                seconds = _meltano(setting, url, database, list_budget)
                _check(database, "bench", count)
                asked = requests_answered(url)["by_endpoint"]
                pages.append(sum(n for name, n in asked.items() if name.endswith(("/v1/charges", "/v1/customers"))))
            return 2 * count / seconds

        rows = []
        limited = median([ours(LIST_BUDGET) for _ in range(setting.rounds)])
        for engine, reach in _ENGINES:
            compared = alternate(ours, partial(_engine, setting, url, engine, count), rounds=setting.rounds)
            theirs = median(compared.theirs)
            figures = {"ours, objects/s": median(compared.ours), "theirs, objects/s": theirs}
            row = Row(
                work=what, against=engine, value=compared.ratio, unit="times", reach=reach, figures=figures, note=_NOTE
            )
            of_limited = replace(
                row,
                work=f"{what}, {LIST_BUDGET} an endpoint",
                value=limited / theirs,
                figures={**figures, "ours, objects/s": limited},
            )
            rows += [row, of_limited]
    value = median(pages) / ideal
    row = Row(work="pages of that", against="the fewest", value=value, unit="times", reach=1.1, at_least=False)
    return [*rows, row]


def _meltano(setting: Setting, url: str, database: str, list_budget: int) -> float:
    environment = {
        "TAP_STRIPE_EVENTS_API_KEY": KEY,
        "TAP_STRIPE_EVENTS_API_URL": url,
        "TAP_STRIPE_EVENTS_REQUESTS_PER_SECOND": str(BUDGET),
        "TAP_STRIPE_EVENTS_ENDPOINT_REQUESTS_PER_SECOND": str(list_budget),
        "TAP_STRIPE_EVENTS_MAX_CONCURRENT_REQUESTS": "100",
        "TAP_STRIPE_EVENTS_UPCOMING_API": "off",
        "TAP_STRIPE_EVENTS__SELECT": _SELECT,
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
