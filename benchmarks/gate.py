"""``make bench-ci``: a few ratios in under a minute; fails when one has fallen by a third against ``gate.json``.

Start-up is left out, since it would hide at this size what a row costs: every contestant also runs on next to nothing,
and that is taken off. ``python -m benchmarks.gate --write`` accepts the present ratios.
"""

# ruff: noqa: T201 - a command

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bare_loop import main as bare_loop
from benchmarks.measure import median, spent_by
from benchmarks.setting import NOW, TAP, Setting
from benchmarks.work_tap import pages_of
from benchmarks.work_target import copy_seconds, copy_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COMMITTED = Path(__file__).with_name("gate.json")
FALL = 2 / 3
_COUNT = 8_000
_NEXT_TO_NOTHING = 10
_ROUNDS = 3


def target_against_copy(setting: Setting) -> float:
    """Rows/s of the first load ÷ rows/s of psql COPY of the same rows."""
    few, many = setting.messages(_NEXT_TO_NOTHING), setting.messages(_COUNT)
    with setting.database() as database:
        setting.load(database, many)
        files = copy_tables(setting, database)
        ratios = []
        for _ in range(_ROUNDS):
            seconds = copy_seconds(setting, database, files)
            ratios.append(seconds / (_load_seconds(setting, many) - _load_seconds(setting, few)))
    return median(ratios)


def unchanged_against_first(setting: Setting) -> float:
    """Rows/s of the same messages again ÷ rows/s of their first load."""
    few, many = setting.messages(_NEXT_TO_NOTHING), setting.messages(_COUNT)
    ratios = []
    for _ in range(_ROUNDS):
        start = _load_seconds(setting, few)
        with setting.database() as database:
            first, again = (setting.load(database, many).seconds for _ in range(2))
        ratios.append((first - start) / (again - start))
    return median(ratios)


def tap_against_loop(setting: Setting) -> float:
    """CPU of a bare loop ÷ CPU of the tap, on the same pages."""
    output, pages = setting.path("out.jsonl"), setting.path("pages")
    many = {"charge": _COUNT, "customer": _COUNT}
    few = dict.fromkeys(many, _NEXT_TO_NOTHING)
    with setting.sandbox(f"--now={NOW}", bulk=many) as url, setting.sandbox(f"--now={NOW}", bulk=few) as small:
        pages.write_bytes(pages_of(url, "charges", "customers"))
        config, little = setting.tap_config(url), setting.tap_config(small)
        catalog = setting.catalog(config, many)

        def tap(settings: Path) -> float:
            command: list[str | Path] = [TAP, "--config", settings, "--catalog", catalog]
            return spent_by(command, output=output, log=setting.path("tap.log")).cpu_seconds

        def loop() -> float:
            command: list[str | Path] = [sys.executable, "-m", bare_loop.__module__, pages, output]
            return spent_by(command, log=setting.path("loop.log")).cpu_seconds

        return median([loop() / (tap(config) - tap(little)) for _ in range(_ROUNDS)])


RATIOS: Mapping[str, Callable[[Setting], float]] = {
    "target-against-copy": target_against_copy,
    "unchanged-against-first": unchanged_against_first,
    "tap-against-loop": tap_against_loop,
}


def fallen(measured: Mapping[str, float], committed: Mapping[str, float]) -> list[str]:
    """Sentences about the ratios that have fallen by a third or more."""
    return [
        f"{name} has fallen from {committed[name]:.3f} to {value:.3f}."
        for name, value in measured.items()
        if not value > committed[name] * FALL
    ]


def main() -> int:
    """Measure, compare, tell; 1 if a ratio has fallen."""
    parser = argparse.ArgumentParser(prog="make bench-ci")
    parser.add_argument("ratios", nargs="*", choices=[[], *RATIOS], help="default: all")
    parser.add_argument("--write", action="store_true", help="accept what is measured")
    options = parser.parse_args()
    with Setting() as setting:
        measured = {name: RATIOS[name](setting) for name in options.ratios or RATIOS}
    committed = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    for name, value in measured.items():
        print(f"{name}: {value:.3f} (committed: {committed.get(name, 'none')})")
    if options.write:
        rounded = {name: round(value, 3) for name, value in measured.items()}
        COMMITTED.write_text(json.dumps({**committed, **rounded}, indent=1) + "\n")
        return 0
    complaints = fallen(measured, committed)
    print("\n".join(complaints), end="\n" if complaints else "")
    return 1 if complaints else 0


def _load_seconds(setting: Setting, messages: Path) -> float:
    with setting.database() as database:
        return setting.load(database, messages).seconds


if __name__ == "__main__":
    sys.exit(main())
