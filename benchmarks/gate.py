"""``make bench-ci``: a few ratios in a minute; fails when one has fallen by a third against ``gate.json``.

Ratios of CPU where that will do, since other programs slow down a clock more than they raise the CPU that ours take.
One that has fallen is measured again, up to twice: what slows a machine down goes away, what slows a program stays.

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

import msgspec

from benchmarks.bare_loop import main as bare_loop
from benchmarks.measure import median, spent_by
from benchmarks.setting import NOW, TAP, Setting
from benchmarks.work_tap import PAGE, pages_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COMMITTED = Path(__file__).with_name("gate.json")
FALL = 2 / 3
_COUNT = 8_000
_NEXT_TO_NOTHING = 10
_ROUNDS = 3
_TRIES = 3


def target_against_loop(setting: Setting) -> float:
    """CPU of a bare loop ÷ CPU of the target, on the same records. What Postgres takes is not in it."""
    few, many = setting.messages(_NEXT_TO_NOTHING), setting.messages(_COUNT)
    pages, output = setting.path("pages"), setting.path("out.jsonl")
    lines = [line for line in many.read_bytes().splitlines() if b'"type":"RECORD"' in line]
    records = [bytes(msgspec.json.decode(line, type=dict[str, msgspec.Raw])["record"]) for line in lines]
    starts = range(0, len(records), PAGE)
    made = [b'{"data":[%b]}' % b",".join(records[start : start + PAGE]) for start in starts]
    pages.write_bytes(msgspec.msgpack.encode(made))

    def target(messages: Path) -> float:
        with setting.database() as database:
            return setting.load(database, messages).cpu_seconds

    return median([_loop(setting, pages, output) / (target(many) - target(few)) for _ in range(_ROUNDS)])


def unchanged_against_first(setting: Setting) -> float:
    """Rows/s of the same objects listed again a day later ÷ rows/s of their first load."""
    few, many = setting.messages(_NEXT_TO_NOTHING), setting.messages(_COUNT)
    ratios = []
    for _ in range(_ROUNDS):
        start = _load_seconds(setting, few)
        with setting.database() as database:
            first, again = (setting.load(database, each).seconds for each in (many, setting.later_messages(_COUNT)))
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

        return median([_loop(setting, pages, output) / (tap(config) - tap(little)) for _ in range(_ROUNDS)])


RATIOS: Mapping[str, Callable[[Setting], float]] = {
    "target-against-loop": target_against_loop,
    "unchanged-against-first": unchanged_against_first,
    "tap-against-loop": tap_against_loop,
}


def fallen(measured: Mapping[str, float], committed: Mapping[str, float]) -> list[str]:
    """Sentences about the ratios that have fallen by a third or more."""
    return [
        f"{name} has fallen from {committed[name]:.3f} to {value:.3f}."
        for name, value in measured.items()
        if name in committed and not value > committed[name] * FALL
    ]


def main() -> int:
    """Measure, compare, tell; 1 if a ratio has fallen."""
    parser = argparse.ArgumentParser(prog="make bench-ci")
    parser.add_argument("ratios", nargs="*", choices=[[], *RATIOS], help="default: all")
    parser.add_argument("--write", action="store_true", help="accept what is measured")
    options = parser.parse_args()
    committed = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    measured: dict[str, float] = {}
    with Setting() as setting:
        for name in options.ratios or RATIOS:
            for _ in range(1 if options.write else _TRIES):
                measured[name] = RATIOS[name](setting)
                if options.write or not fallen({name: measured[name]}, committed):
                    break
    for name, value in measured.items():
        print(f"{name}: {value:.3f} (committed: {committed.get(name, 'none')})")
    if options.write:
        rounded = {name: round(value, 3) for name, value in measured.items()}
        COMMITTED.write_text(json.dumps({**committed, **rounded}, indent=1) + "\n")
        return 0
    complaints = fallen(measured, committed)
    print("\n".join(complaints), end="\n" if complaints else "")
    return 1 if complaints else 0


def _loop(setting: Setting, pages: Path, output: Path) -> float:
    command: list[str | Path] = [sys.executable, "-m", bare_loop.__module__, pages, output]
    return spent_by(command, log=setting.path("loop.log")).cpu_seconds


def _load_seconds(setting: Setting, messages: Path) -> float:
    with setting.database() as database:
        return setting.load(database, messages).seconds


if __name__ == "__main__":
    sys.exit(main())
