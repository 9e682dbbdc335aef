"""A plot as SVG: bars of a few figures, each with its name and its number, and a mark where it was to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from benchmarks.report import number

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH: Final = 860
_NAMES: Final = 380
_BAR: Final = 360
_STEP: Final = 30
_TOP: Final = 56


def bars(title: str, unit: str, entries: Sequence[tuple[str, float, float | None]]) -> str:
    """Draw bars.

    Args:
        title: What it shows.
        unit: Of the figures.
        entries: Name, figure, and where it was to be if it was to be somewhere.
    """
    most = max(max(value, mark or 0) for _, value, mark in entries) or 1
    height = _TOP + _STEP * len(entries) + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        '<g font-size="13">',
        f'<text x="12" y="24" font-size="16" fill="#222">{escape(title)}</text>',
        f'<text x="12" y="43" fill="#666">{escape(unit)}</text>',
    ]
    for index, (name, value, mark) in enumerate(entries):
        top = _TOP + index * _STEP
        length = _BAR * value / most
        lines.append(f'<text x="{_NAMES - 10}" y="{top + 16}" text-anchor="end" fill="#222">{escape(name)}</text>')
        lines.append(f'<rect x="{_NAMES}" y="{top + 2}" width="{length:.1f}" height="20" fill="#3b6fb6"/>')
        end = _NAMES + max(length, _BAR * (mark or 0) / most)
        lines.append(f'<text x="{end + 8:.1f}" y="{top + 17}" fill="#222">{number(value)}</text>')
        if mark is not None:
            place = _NAMES + _BAR * mark / most
            lines.append(
                f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{top - 1}" y2="{top + 25}" '
                'stroke="#c0392b" stroke-width="2.5"/>'
            )
    return "\n".join([*lines, "</g>", "</svg>"]) + "\n"
