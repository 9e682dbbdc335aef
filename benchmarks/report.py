"""The table for people, the same as JSON, and as Markdown."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.measure import Row


def as_json(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """Everything that was measured."""
    return json.dumps({**facts, "rows": [{**asdict(row), "reached": row.reached} for row in rows]}, indent=1) + "\n"


def line(row: Row) -> str:
    """A row for the terminal."""
    verdict = "reached" if row.reached else "MISSED"
    bound = "≥" if row.at_least else "≤"
    figures = ", ".join(f"{name} {number(value)}" for name, value in row.figures.items())
    result = f"{number(row.value)} {row.unit} (to reach: {bound} {number(row.reach)}) {verdict}"
    return f"{row.work} | {row.against} | {figures} | {result}{f' | {row.note}' if row.note else ''}"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table of a file that ``as_json`` wrote."""
    lines = ["| work | against | measured | result | to reach | |", "| --- | --- | --- | ---: | ---: | --- |"]
    for row in rows:
        figures = "; ".join(f"{name}: {number(value)}" for name, value in row["figures"].items())
        bound = "≥" if row["at_least"] else "≤"
        work = row["work"].replace("|", "\\|")
        lines.append(
            f"| {work} | {row['against']} | {figures} | {number(row['value'])} {row['unit']} "
            f"| {bound} {number(row['reach'])} | {'reached' if row['reached'] else '**missed**'} |".replace("  ", " ")
        )
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """A figure with as many digits as can be relied on."""
    if abs(value) >= 100:  # noqa: PLR2004
        return f"{value:,.0f}"
    return f"{value:.3g}"


def write(path: Path, text: str) -> None:
    """Write a file and the directory it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
