"""The tap's output into the target, both timed."""

# ruff: noqa: S603 - it runs commands of its own

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.measure import BenchError, Spent, ended
from benchmarks.setting import TAP, TARGET

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from benchmarks.setting import Setting


@dataclass(frozen=True)
class Pair:
    """Tap and target at work, and where they log."""

    tap: subprocess.Popen[bytes]
    target: subprocess.Popen[bytes]
    logs: tuple[Path, Path]


@dataclass(frozen=True, kw_only=True)
class PipeSpent:
    """What a run took, and the tap and the target of it."""

    seconds: float
    tap: Spent
    target: Spent


@contextmanager
def running(setting: Setting, config: Path, database: str, catalog: Path | None = None) -> Iterator[Pair]:
    """Tap and target, started; stopped at the end if they still run."""
    logs = setting.path("tap.log"), setting.path("target.log")
    chosen: list[str | Path] = ["--catalog", catalog] if catalog else []
    target_config = setting.config(database_url=database, default_target_schema="bench")
    with logs[0].open("wb") as tap_log, logs[1].open("wb") as target_log:
        tap = subprocess.Popen([TAP, "--config", config, *chosen], stdout=subprocess.PIPE, stderr=tap_log)
        target = subprocess.Popen(
            [TARGET, "--config", target_config], stdin=tap.stdout, stdout=subprocess.DEVNULL, stderr=target_log
        )
    if tap.stdout is not None:
        tap.stdout.close()  # the target's alone, so that the tap notices if it goes
    try:
        yield Pair(tap, target, logs)
    finally:
        for process in (tap, target):
            if process.returncode is None:
                process.terminate()
                process.wait()


def run_pipe(
    setting: Setting, url: str, database: str, streams: Collection[str] | None = None, settings: Mapping[str, Any] = {}
) -> PipeSpent:
    """Run the tap and the target once.

    Args:
        setting: The run of the benchmarks.
        url: The sandbox.
        database: Where to.
        streams: Only these; all by default.
        settings: Of the tap.

    Raises:
        BenchError: One of them failed.
    """
    config = setting.tap_config(url, **settings)
    catalog = setting.catalog(config, streams) if streams is not None else None
    began = time.monotonic()
    with running(setting, config, database, catalog) as pair:
        tap, target = ended(pair.tap, began), ended(pair.target, began)
    for process, log in zip((pair.tap, pair.target), pair.logs, strict=True):
        if process.returncode:
            raise BenchError(f"{log.name} ({process.returncode}): {log.read_text(errors='replace')[-1500:]}")
    return PipeSpent(seconds=time.monotonic() - began, tap=tap, target=target)
