"""Where boxes and arrows of a diagram go: in columns, each box right of all that it refers to. Pure; no pixel is drawn.

An arrow goes from the left side of a box to the right side of another. Where it passes a column on its way, it has a
place of its own there, so that it runs beside the boxes and not behind them.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Edge = tuple[str, str]
Place = str | tuple[Edge, int]
"""A box, or where an arrow passes a column on its way."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The measures of a diagram, in pixels.

    Attributes:
        heights: The height of each box.
        box_width: The width of all boxes.
        column: From the left side of a column to that of the next one.
        gap: Between a box and what is below it.
        lane: The height of a place where an arrow passes.
        tight: Whether a column has no gaps for the sake of straight arrows.
    """

    heights: Mapping[str, int]
    box_width: int
    column: int
    gap: int
    lane: int
    tight: bool = False

    def height(self, place: Place) -> int:
        """How high a place is."""
        return self.heights[place] if isinstance(place, str) else self.lane


def without_circles(edges: Iterable[Edge]) -> list[Edge]:
    """Those edges, the first ones first, that close no circle."""
    below: dict[str, set[str]] = defaultdict(set)
    kept = []
    for one, other in edges:
        if one != other and not _reaches(below, other, one):
            below[one].add(other)
            kept.append((one, other))
    return kept


def without_detours(edges: Iterable[Edge]) -> list[Edge]:
    """Edges without circles, less those that follow from others."""
    below: dict[str, set[str]] = defaultdict(set)
    for one, other in edges:
        below[one].add(other)
    return [
        (one, other)
        for one in below
        for other in sorted(below[one])
        if not any(_reaches(below, each, other) for each in below[one] - {other})
    ]


def _reaches(below: Mapping[str, set[str]], start: str, end: str) -> bool:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        each = ahead.pop()
        if each == end:
            return True
        if each not in seen:
            seen.add(each)
            ahead += below.get(each, ())
    return False


def laid_out(edges: Iterable[Edge], grid: Grid) -> dict[Place, tuple[int, int]]:
    """Where the boxes that edges join and the bends of arrows are, by their upper left corners.

    Args:
        edges: From a box to one that it refers to; no circles.
        grid: The measures.
    """
    edges = list(edges)
    rank = dict.fromkeys((box for edge in edges for box in edge), 0)
    while lower := [(one, other) for one, other in edges if rank[one] <= rank[other]]:
        for one, other in lower:
            rank[one] = max(rank[one], rank[other] + 1)
    layers: dict[int, list[Place]] = defaultdict(list)
    for box in sorted(rank):
        layers[rank[box]].append(box)
    joined: dict[Place, list[Place]] = defaultdict(list)
    for edge in edges:
        previous: Place = edge[1]
        for column in range(rank[edge[1]] + 1, rank[edge[0]]):
            layers[column].append((edge, column))
            joined[edge, column].append(previous)
            previous = (edge, column)
        joined[edge[0]].append(previous)
    places: dict[Place, tuple[int, int]] = {}
    for column in sorted(layers):

        def wanted(each: Place) -> float:
            heights = [places[other][1] for other in joined[each]]
            return sum(heights) / len(heights) if heights else 0.0

        bottom = 0
        for each in sorted(layers[column], key=lambda each: (wanted(each), str(each))):
            y = bottom if grid.tight else max(bottom, round(wanted(each)))
            places[each] = (column * grid.column, y)
            bottom = y + grid.height(each) + (grid.gap if isinstance(each, str) else 0)
    return places


def bends_of(
    edge: Edge, places: Mapping[Place, tuple[int, int]], grid: Grid, *, start: int | None = None, end: int | None = None
) -> list[tuple[int, int]]:
    """The points that an arrow goes through, from the left side of a box to the right side of another.

    Args:
        edge: What is joined.
        places: Where everything is.
        grid: The measures.
        start: How far below the top of its box it starts; in the middle by default.
        end: How far below the top of the other box it ends; in the middle by default.
    """
    (x, y), (to_x, to_y) = places[edge[0]], places[edge[1]]
    bends = [(x, y + (grid.height(edge[0]) // 2 if start is None else start))]
    column = round(x / grid.column) - 1
    while (edge, column) in places:
        x, y = places[edge, column]
        bends += [(x + grid.box_width, y + grid.lane // 2), (x, y + grid.lane // 2)]
        column -= 1
    return [*bends, (to_x + grid.box_width, to_y + (grid.height(edge[1]) // 2 if end is None else end))]


def curve(bends: list[tuple[int, int]]) -> str:
    """An SVG path through points that lie further and further left."""
    path = f"M{bends[0][0]:.0f} {bends[0][1]:.0f}"
    for (x, y), (to_x, to_y) in itertools.pairwise(bends):
        middle = (x + to_x) / 2
        path += f"C{middle:.0f} {y:.0f} {middle:.0f} {to_y:.0f} {to_x:.0f} {to_y:.0f}"
    return path
