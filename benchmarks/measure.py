"""Measuring: commands with what they took, contestants in alternation, and what comes of it as a row of the table."""

# ruff: noqa: S603 - it runs commands of its own

from __future__ import annotations

import os
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.setting import Setting

_KILOBYTES_PER_MB = 1024


class BenchError(Exception):
    """A contestant did not do its work; says which and what it said last."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a command took.

    Attributes:
        seconds: By the clock.
        cpu_seconds: Of the command and of those it waited for.
        peak_mb: The most memory it held, in MB (resident).
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table.

    Attributes:
        work: What was done.
        against: What it is compared with.
        figures: What was measured, each with its unit in the name.
        value: The figure that counts.
        unit: Of that figure.
        reach: What it is to be.
        at_least: Whether more is better.
        note: What a reader should know.
    """

    work: str
    against: str
    value: float
    unit: str
    reach: float
    at_least: bool = True
    figures: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether the figure is what it is to be."""
        return self.value >= self.reach if self.at_least else self.value <= self.reach


@dataclass(frozen=True, kw_only=True)
class Work:
    """One thing to measure.

    Attributes:
        name: As in ``make bench WORK=name``.
        run: Measures it.
    """

    name: str
    run: Callable[[Setting], Sequence[Row]]


@dataclass(frozen=True)
class Comparison:
    """Two contestants, measured in alternation; both lists are in the order of the rounds."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: what slows down the machine for a while slows down both."""
        return statistics.median(ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True))


def alternate(ours: Callable[[], float], theirs: Callable[[], float], *, rounds: int) -> Comparison:
    """Measure both, one after the other, so many times. Each returns a rate."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return Comparison([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def spent_by(
    command: Sequence[str | Path],
    *,
    log: Path,
    source: Path | None = None,
    output: Path | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Spent:
    """Run a command to its end and tell what it took.

    Args:
        command: The command.
        log: Where its standard error goes.
        source: Its standard input; nothing by default.
        output: Where its standard output goes; nowhere by default.
        environment: In addition to the present one.
        cwd: Where it runs.

    Raises:
        BenchError: It failed.
    """
    with (
        open(source or os.devnull, "rb") as given,  # noqa: PTH123
        open(output or os.devnull, "wb") as taken,  # noqa: PTH123
        log.open("wb") as said,
    ):
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdin=given, stdout=taken, stderr=said, cwd=cwd, env={**os.environ, **(environment or {})}
        )
        spent = ended(process, began)
    if process.returncode:
        raise BenchError(f"{command[0]} failed ({process.returncode}): {log.read_text(errors='replace')[-1500:]}")
    return spent


def ended(process: subprocess.Popen[Any], began: float) -> Spent:
    """Wait for a process and tell what it took since ``began`` (of the monotonic clock)."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Spent(
        seconds=time.monotonic() - began,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss / _KILOBYTES_PER_MB,
    )


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)
