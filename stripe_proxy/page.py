"""The status page, for people who have never seen it: a snapshot as HTML.

Pure: what is said is decided here and in snapshot.py, ``templates/status.html`` says how it looks. There is one style
and one script, both inline and the same on every page, so that ``CONTENT_SECURITY_POLICY`` can name them by their
hashes and forbid all else. The script fetches the page again and replaces ``<main>``; without it the page is whole.

The page shows names of streams and columns, counts, times and Stripe's reasons. No row is read for it.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from stripe_proxy.layout import Grid, bends_of, curve, laid_out, without_circles, without_detours
from stripe_proxy.snapshot import (
    FOLLOWED_WITHIN,
    Snapshot,
    StreamState,
    StreamStatus,
    age,
    behind,
    left_behind,
    lists_not_read,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from stripe_proxy.follow import SyncProcess
    from stripe_proxy.snapshot import Reference

SHOWN_OPEN_MAX = 10
"""Longer tables of refused streams are folded, so that the others are in sight."""

DRAWN_MAX = 12
"""How many streams are drawn: more would be a picture of lines."""


class Level(StrEnum):
    """How good a verdict is; a colour and a sign, and the words say it too."""

    GOOD = "good"
    WORKING = "working"
    TROUBLE = "trouble"
    IDLE = "idle"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the copy is up to date.

    Attributes:
        level: How good that is.
        headline: In a few words.
        detail: In a sentence or two.
    """

    level: Level
    headline: str
    detail: str


def render(snapshot: Snapshot, *, wait_path: str | None, sync_process: SyncProcess | None = None) -> str:
    """The page.

    Args:
        snapshot: What it shows.
        wait_path: The path of the wait endpoint for this sync; None while there is no sync to wait for.
        sync_process: How the sync's process is, where the proxy keeps it running.
    """
    denied = snapshot.having(StreamState.DENIED)
    ordered = in_order(snapshot)
    return _TEMPLATE.render(
        snapshot=snapshot,
        verdict=verdict(snapshot),
        wait_path=wait_path,
        troubles=process_troubles(sync_process, snapshot.taken_at) + troubles(snapshot),
        denied=denied,
        fold_denied=len(denied) > SHOWN_OPEN_MAX,
        streams=[each for each in ordered if not is_empty(each)],
        empty=[each for each in ordered if is_empty(each)],
        notes={each.name: notes(each, snapshot.taken_at) for each in snapshot.streams},
        unused=snapshot.having(StreamState.NOT_IN_USE),
        drawing=drawing(snapshot.references, rows_by_stream(snapshot.streams)),
    )


def verdict(snapshot: Snapshot) -> Verdict:
    """Whether the copy is up to date, in words."""
    filling = snapshot.having(StreamState.BACKFILLING, StreamState.WAITING)
    live = snapshot.having(StreamState.LIVE)
    if not snapshot.streams:
        return Verdict(
            level=Level.IDLE,
            headline="There is nothing here yet",
            detail=f"No sync has filled schema “{snapshot.schema}” of this database. Start one, and it shows here.",
        )
    if not filling and not live:
        detail = "The sync's key may read none of the streams; below is what it lacks."
        return Verdict(level=Level.TROUBLE, headline="Stripe refuses everything", detail=detail)
    since_state = age(snapshot.written_at, snapshot.taken_at)
    if not filling or since_state is None:
        return freshness(snapshot.poll_age, behind(snapshot))
    progress = f"{len(live)} of {len(filling) + len(live)} streams are complete"
    if since_state > FOLLOWED_WITHIN:
        detail = f"{progress}. The sync last wrote {ago(since_state)}; started again, it goes on where it was."
        return Verdict(level=Level.TROUBLE, headline="The first copy is unfinished, and rests", detail=detail)
    detail = f"{progress}; these are kept up to date already."
    return Verdict(level=Level.WORKING, headline="The first copy is being made", detail=detail)


def freshness(since_poll: timedelta | None, lag: timedelta | None) -> Verdict:
    """Whether filled tables are up to date.

    Args:
        since_poll: How long ago Stripe was last asked for news.
        lag: How far behind the present is what Stripe announced and is in.
    """
    if since_poll is None or lag is None:
        detail = "No reading of Stripe's events is recorded, so what changed since the last run may be missing."
        return Verdict(level=Level.IDLE, headline="How fresh this is, is not known", detail=detail)
    if since_poll > FOLLOWED_WITHIN:
        detail = (
            f"Stripe was last asked for news {ago(since_poll)}. The next run brings what changed since. "
            "If the sync should be running all the time, it has stopped."
        )
        return Verdict(level=Level.TROUBLE, headline=f"As of {ago(since_poll)}", detail=detail)
    if lag > FOLLOWED_WITHIN:
        detail = f"Everything that Stripe announced until {ago(lag)} is here, and the rest is being read."
        return Verdict(level=Level.WORKING, headline="Catching up", detail=detail)
    detail = f"Everything that Stripe announced until {ago(lag)} is here."
    return Verdict(level=Level.GOOD, headline="Up to date", detail=detail)


def troubles(snapshot: Snapshot) -> list[tuple[str, str]]:
    """What went wrong and is still to be known, as far as the tables tell: what it is about, and what it is."""
    found = [
        (path, f"This list is not read: {reason}. {plural(len(lacking), 'stream')} may lack rows: {some(lacking)}.")
        for (path, reason), lacking in lists_not_read(snapshot.streams).items()
    ]
    for each in snapshot.streams:
        if each.gap is not None:
            start, end = map(moment, each.gap)
            found.append((each.name, f"What Stripe announced from {start} to {end} is lost: no list makes up for it."))
        if each.drift:
            last = "" if each.drift_found_at is None else f", last {moment(each.drift_found_at)}"
            rows = plural(each.drift, "row")
            found.append((each.name, f"A listing had to mend {rows} that events should have kept right{last}."))
    found += [
        (each.name, "The last readings of the feed were not for this stream. Is it still selected?")
        for each in left_behind(snapshot)
    ]
    return found


def process_troubles(process: SyncProcess | None, now: datetime) -> list[tuple[str, str]]:
    """What is to be known of the sync's process: that it ended, within a day, and when it is started again."""
    if process is None or process.ended_at is None:
        return []
    how = f"It ended with exit code {process.exit_code} at {moment(process.ended_at)}"
    if process.running_since is not None:
        if now - process.ended_at > timedelta(days=1):
            return []
        return [("sync", f"{how}, and was started again at {moment(process.running_since)}.")]
    pause = timedelta(0) if process.next_at is None else max(process.next_at - now, timedelta(0))
    times = f" It ended soon after its start, {process.failures} times in a row." if process.failures > 1 else ""
    return [("sync", f"{how}, and is started again in {span(pause)}.{times} The log of stripe-proxy says why.")]


def in_order(snapshot: Snapshot) -> list[StreamStatus]:
    """The streams that Stripe shows us, trouble first, then what is being filled, then by rows."""
    aside = left_behind(snapshot)

    def place(each: StreamStatus) -> tuple[int, int, str]:
        if each.gap is not None or each.drift or each in aside:
            group = 0
        else:
            group = {StreamState.BACKFILLING: 1, StreamState.LIVE: 2}.get(each.state, 3)
        return group, -(each.rows or 0), each.name

    return sorted(snapshot.having(StreamState.LIVE, StreamState.BACKFILLING, StreamState.WAITING), key=place)


def is_empty(each: StreamStatus) -> bool:
    """Whether there is nothing to say of a stream but that it has no rows."""
    return each.state is StreamState.LIVE and each.rows == 0 and each.gap is None and not each.drift


def notes(each: StreamStatus, now: datetime) -> list[str]:
    """What is to be said of a stream beside its figures."""
    found = []
    if (filling := each.backfill) is not None:
        if filling.fraction is not None:
            found.append(f"{percent(filling.fraction)} of the time it spans is read")
        if filling.remaining is not None:
            found.append(f"roughly {span(filling.remaining)} to go if objects are spread evenly")
        if filling.doubt:
            found.append(f"no estimate: {filling.doubt}")
        if filling.reached is not None:
            found.append(f"has come to {filling.reached:%Y-%m-%d}, newest first")
    if (since := age(each.listing_since, now)) is not None:
        because = f": {each.listing_because}" if each.listing_because else ""
        found.append(f"being listed again since {span(since)}{because}")
    if each.gap is not None:
        found.append("has a gap")
    if each.drift:
        found.append(f"{plural(each.drift, 'row')} had to be mended")
    if each.not_read:
        found.append(f"without {plural(len(each.not_read), 'list')} that Stripe refuses")
    return found


# The diagram


@dataclass(frozen=True, kw_only=True)
class Box:
    """A stream that is drawn: its name, its rows, and where its upper left corner is, in pixels."""

    stream: str
    rows: int
    x: int
    y: int


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """What a stream refers to: the columns, as text, and an SVG path from the one to the other."""

    text: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The diagram, in pixels."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    width: int
    height: int


BOX_WIDTH, BOX_HEIGHT = 150, 40


def rows_by_stream(streams: Iterable[StreamStatus]) -> dict[str, int]:
    """How many rows each table has, of all accounts."""
    found: Counter[str] = Counter()
    for each in streams:
        found[each.stream] += each.rows or 0
    return dict(found)


def drawing(references: Iterable[Reference], rows: Mapping[str, int]) -> Drawing:
    """A drawing of the streams that have most to do with others; what is referred to is to the left.

    A reference that goes round in a circle, or that follows from two others, is left out: the page lists them all.
    """
    columns: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in references:
        if each.stream != each.of:
            columns[each.stream, each.of].append(each.column)
    neighbours: dict[str, set[str]] = defaultdict(set)
    for one, other in columns:
        neighbours[one].add(other)
        neighbours[other].add(one)
    chosen = sorted(neighbours, key=lambda each: (-len(neighbours[each]), -rows.get(each, 0), each))[:DRAWN_MAX]
    weight = {each: -place for place, each in enumerate(chosen)}
    joined = sorted((e for e in columns if {*e} <= {*chosen}), key=lambda e: (-weight[e[1]], -weight[e[0]]))
    edges = without_detours(without_circles(joined))
    heights = dict.fromkeys(chosen, BOX_HEIGHT)
    grid = Grid(heights=heights, box_width=BOX_WIDTH, column=BOX_WIDTH + 30, gap=16, lane=20)
    places = laid_out(edges, grid)
    if not places:
        return Drawing(boxes=(), arrows=(), width=0, height=0)
    arrows = []
    for (one, other), bends in ((edge, bends_of(edge, places, grid)) for edge in edges):
        text = ", ".join(f"{one}.{column}" for column in columns[one, other]) + f" → {other}.id"
        arrows.append(Arrow(text=text, path=curve(bends)))
    boxes = [Box(stream=s, rows=rows.get(s, 0), x=x, y=y) for s, (x, y) in places.items() if isinstance(s, str)]
    return Drawing(
        boxes=tuple(boxes),
        arrows=tuple(arrows),
        width=max(box.x for box in boxes) + BOX_WIDTH,
        height=max(y + grid.height(place) for place, (_, y) in places.items()),
    )


# Words


def span(value: timedelta) -> str:
    """A time in one unit: ``42 s``, ``7 min``, ``3 h``, ``12 days``."""
    seconds = value.total_seconds()
    for limit, unit, name in ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{round(seconds / unit)} {name}"
    return f"{round(seconds / 86400):,} days"


def ago(value: timedelta) -> str:
    """How long ago."""
    return "just now" if value < timedelta(seconds=1) else f"{span(value)} ago"


def moment(value: datetime) -> str:
    """A moment as people write it, in UTC."""
    return f"{value:%Y-%m-%d %H:%M} UTC"


def percent(fraction: float) -> str:
    """A part that is never called all: while there is something left, it is at most 99 %."""
    return f"{min(int(fraction * 100), 99)} %"


def plural(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def breakable(name: str) -> Markup:
    """A name that may be broken after an underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))


def some(names: list[str], most: int = 6) -> str:
    """The first of some names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


_ENVIRONMENT = Environment(
    loader=PackageLoader("stripe_proxy"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {each.__name__: each for each in (span, ago, moment, percent, plural, some, breakable)}
_ENVIRONMENT.globals |= {"age": age, "box_width": BOX_WIDTH, "box_height": BOX_HEIGHT}
_TEMPLATE = _ENVIRONMENT.get_template("status.html")


def _hash(block: str) -> str:
    """How a Content-Security-Policy names what is between the tags of an inline style or script."""
    text = "".join(_TEMPLATE.blocks[block](_TEMPLATE.new_context()))
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


STYLE_HASH, SCRIPT_HASH = _hash("style"), _hash("script")
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {STYLE_HASH}; script-src {SCRIPT_HASH}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The header's value for the page: its own style and script, itself again, and nothing else."""
