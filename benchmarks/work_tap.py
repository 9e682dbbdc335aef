"""The tap alone, and tap and target over a line with latency and limits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import requests

from benchmarks.foreign import ROOT
from benchmarks.measure import BenchError, Row, Work, alternate, median, spent_by
from benchmarks.pipe import run_pipe
from benchmarks.setting import KEY, NOW, TAP, control

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.setting import Setting

BUDGET = 100
LIST_BUDGET = 25
PAGE = 100
AT_LIMITS = {"requests_per_second": BUDGET, "endpoint_requests_per_second": LIST_BUDGET, "max_concurrent_requests": 100}
_LINE = (f"--now={NOW}", "--latency-ms=300", f"--rate-limit={BUDGET}", f"--endpoint-rate-limit={LIST_BUDGET}")
_SIZES = {
    "charge": 100_000,
    "customer": 100_000,
    "payment_intent": 100_000,
    "invoice": 80_000,
    "balance_transaction": 60_000,
    "refund": 30_000,
    "coupon": 10_000,
    "product": 5_000,
    "price": 1_000,
    "payout": 300,
}


def tap_alone(setting: Setting) -> list[Row]:
    """The tap to a file, against a loop that decodes and encodes the same pages."""
    count = setting.size(100_000)
    output, log, pages = setting.path("out.jsonl"), setting.path("tap.log"), setting.path("pages")
    with setting.sandbox(f"--now={NOW}", bulk={"charge": count, "customer": count}) as url:
        pages.write_bytes(pages_of(url, "charges", "customers"))
        config = setting.tap_config(url)
        catalog = setting.catalog(config, {"charge", "customer"})
        cpu: list[float] = []

        def tap() -> float:
            spent = spent_by([TAP, "--config", config, "--catalog", catalog], output=output, log=log)
            cpu.append(spent.cpu_seconds / (2 * count) * 1e6)
            return 2 * count / spent.seconds

        def loop() -> float:
            command: list[str | Path] = [sys.executable, "-m", "benchmarks.bare_loop", pages, output]
            return 2 * count / spent_by(command, log=log, cwd=ROOT).seconds

        compared = alternate(tap, loop, rounds=setting.rounds)
    return [
        Row(
            work=f"tap alone, no latency, to a file: {count:,} charges + {count:,} customers",
            against="decoding and encoding the same pages in a bare loop",
            value=compared.ratio,
            unit="times",
            reach=0.5,
            figures={
                "tap, objects/s": median(compared.ours),
                "loop, objects/s": median(compared.theirs),
                "tap, CPU µs an object": median(cpu),
            },
        )
    ]


def over_a_line(setting: Setting) -> list[Row]:
    """Tap and target with 300 ms latency and Stripe's limits, against what the limits let through."""
    rows = []
    sizes = {name: setting.size(count) for name, count in _SIZES.items()}
    for what, chosen, limit in (
        ("lists of every size", sizes, BUDGET * PAGE),
        ("one list alone", {"charge": sizes["charge"]}, LIST_BUDGET * PAGE),
    ):
        with setting.sandbox(*_LINE, bulk=chosen) as url, setting.database() as database:
            control(url, "requests/reset")
            spent = run_pipe(setting, url, database, chosen, AT_LIMITS)
            asked = int(requests_answered(url)["total"])
            total = _loaded(database, chosen)
        rate = total / spent.seconds
        figures = {
            "objects": total,
            "objects/s": rate,
            "seconds": spent.seconds,
            "requests": asked,
            "tap, CPU µs an object": spent.tap.cpu_seconds / total * 1e6,
            "target, CPU µs an object": spent.target.cpu_seconds / total * 1e6,
        }
        rows.append(
            Row(
                work=f"tap | target, 300 ms latency, {BUDGET} requests/s: {what}",
                against=f"the limit of {limit:,} objects/s",
                value=rate / limit,
                unit="of it",
                reach=0.9,
                figures=figures,
            )
        )
    return rows


def small_lists(setting: Setting) -> list[Row]:
    """All lists of a small account, to a file, against the requests that takes at the budget."""
    with setting.sandbox(*_LINE, account="full") as url:
        config = setting.tap_config(url, **AT_LIMITS)
        control(url, "requests/reset")
        spent = spent_by([TAP, "--config", config], log=setting.path("tap.log"))
        asked = int(requests_answered(url)["total"])
    return [
        Row(
            work="all small lists, 300 ms latency",
            against="number of requests ÷ budget",
            value=spent.seconds / (asked / BUDGET),
            unit="times",
            reach=1.3,
            at_least=False,
            figures={"requests": asked, "seconds": spent.seconds, "tap, CPU s": spent.cpu_seconds},
        )
    ]


def requests_answered(url: str) -> dict[str, Any]:
    """What the sandbox has been asked: ``total``, ``by_endpoint``."""
    found: dict[str, Any] = requests.get(f"{url}/_sandbox/requests?newest=0", timeout=60).json()
    return found


def pages_of(url: str, *paths: str) -> bytes:
    """The pages of lists, as ``bare_loop`` takes them."""
    return msgspec.msgpack.encode([page for path in paths for page in _pages(url, path)])


def _pages(url: str, path: str) -> list[bytes]:
    found: list[bytes] = []
    after: dict[str, str] = {}
    with requests.Session() as session:
        while True:
            answer = session.get(
                f"{url}/v1/{path}",
                params={"limit": str(PAGE), **after},
                headers={"Authorization": f"Bearer {KEY}"},
                timeout=60,
            )
            found.append(answer.content)
            page = msgspec.json.decode(answer.content)
            if not page["has_more"]:
                return found
            after = {"starting_after": page["data"][-1]["id"]}


def _loaded(database: str, expected: Mapping[str, int]) -> int:
    """How many rows there are; at least those that are expected."""
    total = 0
    with psycopg.connect(database) as connection:
        for stream, least in expected.items():
            row = connection.execute(f"SELECT count(*) FROM bench.{stream}".encode()).fetchone()
            count = int(row[0]) if row else 0
            if count < least:
                raise BenchError(f"{stream}: {count} rows, not {least}")
            total += count
    return total


WORKS = (
    Work(name="tap", run=tap_alone),
    Work(name="line", run=over_a_line),
    Work(name="small-lists", run=small_lists),
)
