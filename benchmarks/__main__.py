"""``python -m benchmarks [WORK …] [--scale S] [--rounds N]``: measure, print the table, write it as JSON."""

# ruff: noqa: T201 - a command

from __future__ import annotations

import argparse
import os
import platform
import sys
from datetime import UTC, datetime

from benchmarks import registry, report
from benchmarks.foreign import ROOT
from benchmarks.measure import BenchError, Row
from benchmarks.setting import Setting

RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    """Run the works that are asked for; 1 if one of them could not be measured. A figure that misses is no error."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("works", nargs="*", choices=[[], *registry.WORKS], help="default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the sizes (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant (default: %(default)s)")
    options = parser.parse_args()
    rows: list[Row] = []
    failed: dict[str, str] = {}
    with Setting(scale=options.scale, rounds=options.rounds) as setting:
        for name in options.works or registry.WORKS:
            print(f"{name} …", file=sys.stderr, flush=True)
            try:
                found = registry.WORKS[name].run(setting)
            except BenchError as error:
                failed[name] = str(error)
                print(f"{name} could not be measured: {error}", file=sys.stderr)
                continue
            for row in found:
                print(report.line(row), flush=True)
            rows += found
    began = datetime.now(UTC)
    facts = {
        "measured": began.isoformat(timespec="seconds"),
        "scale": options.scale,
        "rounds": options.rounds,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "failed": failed,
    }
    path = RESULTS / f"{began:%Y%m%d-%H%M%S}.json"
    report.write(path, report.as_json(rows, facts))
    print(path, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
