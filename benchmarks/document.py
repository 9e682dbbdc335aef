"""``python -m benchmarks.document RESULT …``: put results together as docs/performance.json, its table and its plots.

A later file's rows replace the same works' rows of earlier ones. The table goes between two marks in
docs/performance.md; the rest of that page is written by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.foreign import ROOT
from benchmarks.plot import bars
from benchmarks.report import markdown, write

DOCS = ROOT / "docs"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


def main(paths: list[Path]) -> None:
    """Write all of it."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    runs = []
    for path in paths:
        result = json.loads(path.read_text())
        found = result.pop("rows")
        runs.append(result)
        rows |= {(row["work"], row["against"]): {**row, "scale": result["scale"]} for row in found}
    write(DOCS / "performance.json", json.dumps({"runs": runs, "rows": list(rows.values())}, indent=1) + "\n")
    page = DOCS / "performance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + BEGIN + markdown(list(rows.values())) + END + after)
    write(DOCS / "performance-rates.svg", _rates(list(rows.values())))
    write(DOCS / "performance-marks.svg", _marks(list(rows.values())))


def _rates(rows: list[dict[str, Any]]) -> str:
    """All rates in rows or objects a second."""
    entries = [
        (f"{_short(row)}: {name.partition(',')[0]}", value, None)
        for row in rows
        for name, value in row["figures"].items()
        if name.endswith(("rows/s", "objects/s"))
    ]
    return bars("Rows or objects a second", "each pair in alternation, on the same data", entries)


def _marks(rows: list[dict[str, Any]]) -> str:
    """How near each row is to what it is to reach."""
    entries = [
        (_short(row), row["value"] / row["reach"] if row["at_least"] else row["reach"] / max(row["value"], 1e-9), 1.0)
        for row in rows
    ]
    capped = [(name, min(value, 3.0), mark) for name, value, mark in entries]
    return bars("How near to what is to be reached", "1 is reached; more than 3 is drawn as 3", capped)


def _short(row: dict[str, Any]) -> str:
    text = f"{row['work'].partition(':')[0]} / {row['against']}"
    return text if len(text) <= 54 else f"{text[:53]}…"  # noqa: PLR2004


if __name__ == "__main__":
    main([Path(path) for path in sys.argv[1:]])
