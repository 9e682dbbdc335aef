"""Measures freshness: ``python tests/e2e/measure_freshness.py DATABASE_URL [SECONDS [PER_SECOND]]``. Not a test.

Makes so many changes a second in a sandbox that runs in a process of its own while ``tap | target`` follow it, and
prints how long the changes took until they could be read, and what both processes used. Empties the schema ``stripe``
of the database. Settings of the tap: ``TAP='{"poll_interval_ms": 250}'``. ``OBJECTS=5``: no more of each type, which
then change several times a second.
"""
# ruff: noqa: T201 - it prints

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "e2e")]

import psycopg  # noqa: E402 - the tests' own modules are found by the path above
from following import FOLLOW, Changes, Following, sandbox_process, usage  # noqa: E402
from pipeline import FAST, Pipeline  # noqa: E402


def main(database_url: str, seconds: str = "60", per_second: str = "50") -> None:
    """Measure and print."""
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("DROP SCHEMA IF EXISTS stripe CASCADE")
    directory = Path(tempfile.mkdtemp(prefix="freshness-"))
    with sandbox_process(directory) as account:
        pipeline = Pipeline(directory, stripe_url=account.url, database_url=database_url)
        pipeline.tap_settings |= FAST
        pipeline.run()
        pipeline.tap_settings |= FOLLOW | json.loads(os.environ.get("TAP", "{}"))
        changes = Changes(account, database_url, objects=int(os.environ.get("OBJECTS", "100")))
        with Following(pipeline.start(), changes.look) as following:
            following.wait_until_caught_up()
            account.forget_requests()
            before = {name: usage(getattr(following.running, name).pid) for name in ("tap", "target")}
            began = time.monotonic()
            maker = threading.Thread(target=changes.make_at, args=(float(per_second), float(seconds)))
            maker.start()
            while maker.is_alive():
                maker.join(10)
                print(f"{time.monotonic() - began:4.0f} s: {changes.made} made, {changes.outstanding} outstanding")
            duration = time.monotonic() - began
            following.wait_until(changes.all_there, 120)
            print(f"made in {duration:.1f} s, all there after {time.monotonic() - began:.1f} s")
            print("lag: " + ", ".join(f"p{each} {changes.percentile(each):.2f} s" for each in (50, 90, 95, 99)))
            print(f"longest {max(changes.lags):.2f} s, {len(following.states)} STATEs, load {os.getloadavg()}")
            for name, (cpu, _) in before.items():
                now, size = usage(getattr(following.running, name).pid)
                used, was = (now - cpu) / duration, before[name][1]
                print(f"{name}: {used:.0%} of a core, {size / 1e6:.0f} MB, was {was / 1e6:.0f}")
            reasons: dict[str, int] = {}
            for each in account.requests():
                if each["method"] == "GET":
                    reasons[each["endpoint"]] = reasons.get(each["endpoint"], 0) + 1
            print("requests:", dict(sorted(reasons.items(), key=lambda each: -each[1])[:12]))
            outcome, took = following.stop()
            print(f"stopped in {took:.1f} s: {outcome.tap_code}, {outcome.target_code}")
            print("\n".join(outcome.tap_log.splitlines()[-4:]))
        changes.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
