"""Rows that wait to be stored, in rounds. Pure.

One ``INSERT ... ON CONFLICT`` may touch a key only once, but a batch may hold a key several times: an object twice, or
an object and that it was gone. So a batch is a list of rounds that are applied one after the other, and in a round each
key occurs once. A row only takes the place of an earlier one where the outcome is the same as applying both; otherwise
it waits for the next round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_postgres_stripe.rows import instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from target_postgres_stripe.columns import TableShape
    from target_postgres_stripe.rows import Row, Sighting

    Whole = Callable[[Sequence[Row | Sighting]], tuple[TableShape, Sequence[Row]]]
    """Reads sightings whole: the rows, and the shape that they need."""


class Batch:
    """The pending rows of one stream, in order of arrival.

    Whoever adds also drains; there is one thread.
    """

    def __init__(self) -> None:
        self._rounds: list[dict[tuple[str, ...] | int, Row | Sighting]] = [{}]
        self._rounds_of_key: dict[tuple[str, ...] | int, int] = {}
        self.rows = 0
        self.bytes = 0
        self._last_segment = -1

    def add(self, row: Row | Sighting) -> None:
        """Add the row that arrived last."""
        self.rows += 1
        self.bytes += row.size
        self._last_segment = row.segment
        key = row.key or self.rows
        if self._rounds[0].setdefault(key, row) is row:
            return
        last = self._rounds_of_key.get(key, 0)
        if not replaces(self._rounds[last][key], row):
            last += 1
            self._rounds_of_key[key] = last
            if last == len(self._rounds):
                self._rounds.append({})
        self._rounds[last][key] = row

    def rounds(self) -> Iterator[list[Row | Sighting]]:
        """The rows to apply together, first round first."""
        return (list(rows.values()) for rows in self._rounds if rows)

    def split(self, segment: int) -> tuple[Batch, Batch]:
        """The rows that arrived before STATE number ``segment``, and the others."""
        if self._last_segment < segment:
            return self, Batch()
        before, after = Batch(), Batch()
        for rows in self.rounds():
            for row in rows:
                (before if row.segment < segment else after).add(row)
        return before, after


def replaces(earlier: Row | Sighting, later: Row | Sighting) -> bool:
    """Whether storing only ``later`` has the same outcome as storing ``earlier`` and then ``later``.

    Not across a STATE, since what precedes it may have to be committed alone; and not where a sweep brought one of
    them, since of two sightings each counts.
    """
    if earlier.segment != later.segment:
        return False
    if later.as_of is None or earlier.as_of is None:
        return True
    return (
        not (earlier.deleted or later.deleted or earlier.fills_gap or later.fills_gap)
        and earlier.version is None
        and later.version is None
        and earlier.lists <= later.lists
        and is_not_newer(earlier.as_of, later.as_of)
    )


def is_not_newer(earlier: str, later: str) -> bool:
    """Whether a moment is known not to come after another one."""
    first, second = instant(earlier), instant(later)
    return first is not None and second is not None and first <= second
