"""The drawing of `make erd`: tables as boxes, by area of Stripe's product, on a sheet of the shape of an A3. Pure.

In a box are the key, then the references that have values, then the names of all other columns. Within an area lines
join what refers to each other; what is in another area is named, and a link leads there. Text is in a typewriter face,
since it has to be known how wide it is before anything is drawn.
"""

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from stripe_words import TABLES

from stripe_proxy.layout import Edge, Grid, bends_of, curve, laid_out, without_circles

OTHERS = "Other streams"

BOX, COLUMN, GAP, LANE = 250, 310, 20, 12
HEADER, ROW, LINE, INSET = 24, 14, 12, 10
AREA_HEADER, AREA_INSET, AREA_GAP, MARGIN, TITLE = 34, 16, 24, 30, 60
ROW_CHARACTERS, LINE_CHARACTERS = 39, 44
"""How many characters of either size a box is wide."""
A3 = math.sqrt(2)
ORDERS_TRIED = 50
"""In how many orders blocks are put on the sheet, to see which takes least room."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the first values of a reference were found to be.

    Attributes:
        tables: Where any of them was found.
        values: How many were looked up.
        held: How many were found.
    """

    tables: tuple[str, ...]
    values: int
    held: int


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column as it is: its type, whether it is in the key, and what was found of it if it is a reference."""

    name: str
    type: str
    is_key: bool
    description: str
    found: Found | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as it is, with its number of rows as text."""

    name: str
    area: str
    description: str
    rows: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A drawn area: SVG with its upper left corner at 0, 0."""

    svg: str
    width: int
    height: int


def drawing(schema: str, tables: Sequence[Table]) -> str:
    """Return the SVG of some tables."""
    areas: dict[str, list[Table]] = defaultdict(list)
    for each in tables:
        areas[each.area].append(each)
    known = [*TABLES, OTHERS]
    place = {table.name: known.index(table.area) for table in tables}
    blocks = [_area(area, known.index(area), inside, place) for area, inside in areas.items()]
    corners, width, height = packed([(each.width, each.height) for each in blocks])
    parts = [f'<g transform="translate({x + MARGIN} {y + TITLE})">{each.svg}</g>'
             for each, (x, y) in zip(blocks, corners, strict=True)]  # fmt: skip
    width, height = width + 2 * MARGIN, height + TITLE + MARGIN
    width, height = max(width, round(height * A3)), max(height, round(width / A3))
    legend = (
        f"{len(tables)} tables with rows. A line, or an arrow: the columns hold ids of rows that are there; "
        "dashed or “missing”: not all of them are there. Below are the names of the other columns, also of references "
        "without values; left out are those that begin with _."
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="420mm" height="297mm" viewBox="0 0 {width} {height}">',
            f"<title>Schema {escape(schema)}</title>",
            f"<style>{_style(len(known))}</style>",
            f'<rect class="sheet" width="{width}" height="{height}"/>',
            f'<text class="title" x="{MARGIN}" y="30">Schema {escape(schema)}</text>',
            f'<text class="legend" x="{MARGIN}" y="48">{escape(legend)}</text>',
            *parts,
            "</svg>\n",
        ]
    )


def packed(sizes: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], int, int]:
    """Return where blocks go on a sheet that is as small as may be for its shape, and its width and height."""
    best: tuple[list[tuple[int, int]], int, int] | None = None
    widest, total = max(width for width, _ in sizes), sum(width + AREA_GAP for width, _ in sizes)
    orders = [sorted(range(len(sizes)), key=lambda each: (-sizes[each][1], each))]
    shuffled = random.Random(0)  # noqa: S311 - the same drawing each time
    orders += [shuffled.sample(orders[0], len(sizes)) for _ in range(min(ORDERS_TRIED, math.factorial(len(sizes))))]
    for order, limit in itertools.product(orders, range(widest, total + AREA_GAP, COLUMN)):
        corners = _stacked(sizes, order, limit)
        width = max(x + size[0] for (x, _), size in zip(corners, sizes, strict=True))
        height = max(y + size[1] for (_, y), size in zip(corners, sizes, strict=True))
        if best is None or max(width, height * A3) < max(best[1], best[2] * A3):
            best = corners, width, height
    if best is None:
        msg = "there is nothing to draw"
        raise ValueError(msg)
    return best


def _stacked(sizes: Sequence[tuple[int, int]], order: Iterable[int], limit: int) -> list[tuple[int, int]]:
    """Put one block after the other as far up as it fits into a width, and then as far left."""
    placed: list[tuple[int, int, int, int]] = []
    corners: dict[int, tuple[int, int]] = {}
    for number in order:
        width, height = sizes[number]
        choices = []
        for x in {0, *(right + AREA_GAP for _, _, right, _ in placed)}:
            if x + width <= limit or x == 0:
                above = [
                    bottom for left, _, right, bottom in placed if left < x + width + AREA_GAP and x < right + AREA_GAP
                ]
                choices.append((max((bottom + AREA_GAP for bottom in above), default=0), x))
        y, x = min(choices)
        corners[number] = x, y
        placed.append((x, y, x + width, y + height))
    return [corners[number] for number in range(len(sizes))]


def _area(area: str, number: int, tables: Sequence[Table], place: Mapping[str, int]) -> Block:
    """Draw an area: boxes in columns, each right of what it refers to, and lines between them."""
    names = {each.name for each in tables}
    joined: dict[Edge, list[Column]] = defaultdict(list)
    for table in tables:
        for column in table.columns:
            for other in column.found.tables if column.found else ():
                if other in names and other != table.name:
                    joined[table.name, other].append(column)
    boxes = {each.name: _Box(each, place) for each in tables}
    grid = Grid(
        heights={name: box.height for name, box in boxes.items()},
        box_width=BOX, column=COLUMN, gap=GAP, lane=LANE, tight=True,
    )  # fmt: skip
    edges = without_circles(joined)
    places = laid_out(edges, grid)
    corners = {each: corner for each, corner in places.items() if isinstance(each, str)}
    bottoms: dict[int, int] = defaultdict(int)
    for each, (x, y) in places.items():
        bottoms[x] = max(bottoms[x], y + grid.height(each) + GAP)
    columns = max(len(bottoms), math.ceil(math.sqrt(sum(each.name not in corners for each in tables) / 3)))
    for table in sorted(tables, key=lambda each: -boxes[each.name].height):
        if table.name not in corners:
            x = min((column * COLUMN for column in range(columns)), key=lambda x: (bottoms[x], x))
            corners[table.name] = x, bottoms[x]
            bottoms[x] += boxes[table.name].height + GAP
    lines = [
        f'<path class="line s{number}{"" if column.found and column.found.held == column.found.values else " part"}" '
        f'd="{curve(bends_of(edge, places, grid, start=boxes[edge[0]].offset(column), end=HEADER // 2))}">'
        f"<title>{edge[0]}.{column.name} → {edge[1]}.id</title></path>"
        for edge in edges
        for column in joined[edge]
    ]
    drawn = [f'<g transform="translate({x} {y})">{boxes[name].svg}</g>' for name, (x, y) in corners.items()]
    width = max(max(x for x, _ in corners.values()) + BOX, 11 * len(area)) + 2 * AREA_INSET
    height = max(bottoms.values()) - GAP + AREA_HEADER + AREA_INSET
    svg = (
        f'<rect class="area f{number}" width="{width}" height="{height}" rx="10"/>'
        f'<text class="heading f{number}" x="{AREA_INSET}" y="23">{escape(area)}</text>'
        f'<g transform="translate({AREA_INSET} {AREA_HEADER})">{"".join(lines)}{"".join(drawn)}</g>'
    )
    return Block(svg=svg, width=width, height=height)


class _Box:
    """A table's box: its height, its SVG, and how far down each reference is."""

    def __init__(self, table: Table, place: Mapping[str, int]) -> None:
        self._offsets: dict[str, int] = {}
        self._y = HEADER + 2
        rows: list[str] = []
        listed = [each for each in table.columns if each.is_key or each.found]
        for column in listed:
            rows += self._row(column, place)
        others = [each for each in table.columns if each not in listed and not each.name.startswith("_")]
        self._y += 3 if others else 0
        for line in _lines(others):
            words = " ".join(f"<tspan>{_title(column)}{escape(text)}</tspan>" for column, text in line)
            rows.append(f'<text class="other" x="{INSET}" y="{self._y + LINE - 3}">{words}</text>')
            self._y += LINE
        self.height = self._y + 6
        number = place[table.name]
        size = min(12.5, (BOX - 3 * INSET - 7 * len(table.rows)) / (0.68 * len(table.name)))
        self.svg = (
            f'<g id="t-{escape(table.name)}"><title>{escape(table.description)}</title>'
            f'<rect class="box s{number}" width="{BOX}" height="{self.height}" rx="5"/>'
            f'<path class="f{number}" d="M0 {HEADER}V5Q0 0 5 0H{BOX - 5}Q{BOX} 0 {BOX} 5V{HEADER}z"/>'
            f'<text class="name" x="{INSET}" y="16" style="font-size:{size:.1f}px">{escape(table.name)}</text>'
            f'<text class="rows" x="{BOX - INSET}" y="16">{table.rows}</text>{"".join(rows)}</g>'
        )

    def offset(self, column: Column) -> int:
        """How far below the top of the box a reference is."""
        return self._offsets[column.name]

    def _row(self, column: Column, place: Mapping[str, int]) -> Iterable[str]:
        """A key, or a reference and what it is of: beside it, or below if there is no room."""
        self._offsets[column.name] = self._y + ROW // 2
        key = "key" if column.is_key else "reference"
        name = _title(column) + escape(_cut(column.name, ROW_CHARACTERS))
        yield f'<text class="{key}" x="{INSET}" y="{self._y + ROW - 4}">{name}</text>'
        text, target = _target(column)
        if column.is_key and not text:
            yield f'<text class="of" x="{BOX - INSET}" y="{self._y + ROW - 4}">key</text>'
        if text:
            if len(column.name) + len(text) + 1 > ROW_CHARACTERS:
                self._y += ROW
            colour = f" f{place[target]}" if target else ""
            at = f'x="{BOX - INSET}" y="{self._y + ROW - 4}"'
            words = f'<text class="of{colour}" {at}>{escape(text)}</text>'
            yield f'<a href="#t-{escape(target)}">{words}</a>' if target else words
        self._y += ROW


def _target(column: Column) -> tuple[str, str]:
    """Return the text of what a reference is of, and the first of these tables."""
    if column.found is None:
        return "", ""
    tables, missing = column.found.tables, column.found.values - column.found.held
    if not tables:
        return f"{missing:,} missing", ""
    others = f" +{len(tables) - 1}" if len(tables) > 1 else ""
    lacking = f" {missing:,} missing" if missing else ""
    room = ROW_CHARACTERS - len(others) - len(lacking) - 2
    return f"→ {_cut(tables[0], room)}{others}{lacking}", tables[0]


def _lines(columns: Sequence[Column]) -> list[list[tuple[Column, str]]]:
    """Columns and their names with commas, in lines that are not too long."""
    lines: list[list[tuple[Column, str]]] = []
    room = 0
    for number, column in enumerate(columns, start=1):
        text = _cut(column.name, LINE_CHARACTERS - 1) + ("," if number < len(columns) else "")
        if room < len(text):
            lines.append([])
            room = LINE_CHARACTERS
        lines[-1].append((column, text))
        room -= len(text) + 1
    return lines


def _title(column: Column) -> str:
    """What one is shown who points at a column."""
    among = f" Found in {', '.join(column.found.tables)}." if column.found and len(column.found.tables) > 1 else ""
    return f"<title>{escape(f'{column.name} {column.type}. {column.description}{among}')}</title>"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _style(areas: int) -> str:
    """The colours: of each area one, darker on a light sheet and lighter on a dark one."""
    hues = [round(360 / areas * number * 7) % 360 for number in range(areas)]
    light = "".join(f".f{n}{{fill:hsl({hue} 60% 33%)}}.s{n}{{stroke:hsl({hue} 60% 33%)}}" for n, hue in enumerate(hues))
    dark = "".join(f".f{n}{{fill:hsl({hue} 60% 72%)}}.s{n}{{stroke:hsl({hue} 60% 72%)}}" for n, hue in enumerate(hues))
    mono = "font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
    return (
        "text{font-family:system-ui,'DejaVu Sans',sans-serif}.sheet{fill:#fff}.title{font-size:22px;font-weight:600}"
        ".legend{font-size:12px;fill:#555}.area{opacity:.07}.heading{font-size:17px;font-weight:600}"
        ".box{fill:#fff;stroke-width:1.2}.name{font-size:12.5px;font-weight:600;fill:#fff}"
        f".rows{{font-size:11px;fill:#fff;text-anchor:end}}.key,.reference,.of{{{mono};font-size:9.5px}}"
        f".key{{font-weight:700}}.of{{text-anchor:end}}.other{{{mono};font-size:8.6px;fill:#666}}"
        ".line{fill:none;stroke-width:1.3;opacity:.75}.line:hover{stroke-width:3;opacity:1}.part{stroke-dasharray:5 4}"
        "a:hover{text-decoration:underline}"
        f"{light}@media (prefers-color-scheme:dark){{.sheet,.box{{fill:#0d1117}}text{{fill:#e6edf3}}"
        f".legend,.other{{fill:#9aa4af}}.area{{opacity:.1}}.name,.rows{{fill:#0d1117}}{dark}}}"
    )
