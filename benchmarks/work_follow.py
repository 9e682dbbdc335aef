"""Following: what it costs when nothing happens, and how late a change is in Postgres when much does."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import requests

from benchmarks.measure import BenchError, Row, Work, median
from benchmarks.pipe import running
from benchmarks.setting import KEY

if TYPE_CHECKING:
    from benchmarks.setting import Setting

INTERVAL_SECONDS = 0.5
CHANGES_A_SECOND = 50
_STREAMS = ("customer",)
_SETTLE_SECONDS = 120
_PERCENTILE = 0.95
_TICKS = os.sysconf("SC_CLK_TCK")


def idle(setting: Setting) -> list[Row]:
    """CPU of tap and target while the feed is read every half second and holds nothing."""
    seconds = max(60 * setting.scale, 20)
    with setting.sandbox() as url, setting.database() as database:
        config = setting.tap_config(url, follow=True)
        catalog = setting.catalog(config, _STREAMS)
        with running(setting, config, database, catalog) as pair:
            _wait_for_table(database)
            time.sleep(5)
            before = _cpu_seconds(pair.tap.pid), _cpu_seconds(pair.target.pid)
            time.sleep(seconds)
            after = _cpu_seconds(pair.tap.pid), _cpu_seconds(pair.target.pid)
    tap, target = (100 * (late - early) / seconds for early, late in zip(before, after, strict=True))
    return [
        Row(
            work=f"idle follow, {seconds:.0f} s, poll interval {INTERVAL_SECONDS} s",
            against="one core",
            value=tap + target,
            unit="% CPU",
            reach=2,
            at_least=False,
            figures={"tap, %": tap, "target, %": target},
        )
    ]


def lag(setting: Setting) -> list[Row]:
    """From Stripe's answer to a change until another session sees its row."""
    count = int(max(60 * setting.scale, 10)) * CHANGES_A_SECOND
    answered: dict[str, float] = {}
    seen: dict[str, float] = {}
    with setting.sandbox() as url, setting.database() as database:
        config = setting.tap_config(url, follow=True)
        catalog = setting.catalog(config, _STREAMS)
        with running(setting, config, database, catalog):
            _wait_for_table(database)
            changes = threading.Thread(target=_change, args=(url, count, answered))
            changes.start()
            deadline = time.monotonic() + count / CHANGES_A_SECOND + _SETTLE_SECONDS
            with psycopg.connect(database, autocommit=True) as connection:
                while len(seen) < count and time.monotonic() < deadline:
                    keys = [str(row[0]) for row in connection.execute("SELECT id FROM bench.customer")]
                    now = time.monotonic()
                    for key in keys:
                        seen.setdefault(key, now)
                    time.sleep(0.02)
            changes.join()
    if len(answered) < count or not answered.keys() <= seen.keys():
        raise BenchError(f"Of {count} changes {len(answered)} were made and {len(seen)} came.")
    late = sorted(seen[key] - moment for key, moment in answered.items())
    return [
        Row(
            work=f"lag at {CHANGES_A_SECOND} changes/s, {count:,} of them",
            against=f"poll interval, {INTERVAL_SECONDS} s",
            value=late[int(len(late) * _PERCENTILE)],
            unit="s (p95)",
            reach=INTERVAL_SECONDS + 0.5,
            at_least=False,
            figures={"median, s": median(late), "most, s": late[-1]},
        )
    ]


def _change(url: str, count: int, answered: dict[str, float]) -> None:
    """Make customers at the rate."""
    began = time.monotonic()
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {KEY}"
        for number in range(count):
            time.sleep(max(0.0, began + number / CHANGES_A_SECOND - time.monotonic()))
            answer = session.post(f"{url}/v1/customers", data={"name": f"{number}"}, timeout=60).json()
            answered[answer["id"]] = time.monotonic()


def _wait_for_table(database: str) -> None:
    deadline = time.monotonic() + _SETTLE_SECONDS
    with psycopg.connect(database, autocommit=True) as connection:
        while time.monotonic() < deadline:
            row = connection.execute("SELECT to_regclass('bench.customer') IS NOT NULL").fetchone()
            if row and row[0]:
                return
            time.sleep(0.1)
    raise BenchError("No table appeared.")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


WORKS = (Work(name="idle", run=idle), Work(name="lag", run=lag))
