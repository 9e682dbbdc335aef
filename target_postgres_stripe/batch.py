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
    from collections.abc import Iterator

    from target_postgres_stripe.rows import Row


class Batch:
    """The pending rows of one stream, in order of arrival.

    Whoever adds also drains; there is one thread.
    """

    def __init__(self) -> None:
        self._rounds: list[dict[tuple[str, ...] | int, Row]] = []
        self._rounds_of_key: dict[tuple[str, ...], int] = {}
        self.rows = 0
        self.bytes = 0
        self._last_segment = -1

    def add(self, row: Row) -> None:
        """Add the row that arrived last."""
        self.rows += 1
        self.bytes += len(row.line)
        self._last_segment = row.segment
        if not row.key:
            self._round(0)[self.rows] = row
            return
        last = self._rounds_of_key.get(row.key, 0)
        earlier = self._round(last).get(row.key)
        if earlier is not None and not replaces(earlier, row):
            last += 1
            self._rounds_of_key[row.key] = last
        self._round(last)[row.key] = row

    def rounds(self) -> Iterator[list[Row]]:
        """The rows to apply together, first round first."""
        return (list(rows.values()) for rows in self._rounds)

    def split(self, segment: int) -> tuple[Batch, Batch]:
        """The rows that arrived before STATE number ``segment``, and the others."""
        if self._last_segment < segment:
            return self, Batch()
        before, after = Batch(), Batch()
        for rows in self.rounds():
            for row in rows:
                (before if row.segment < segment else after).add(row)
        return before, after

    def _round(self, number: int) -> dict[tuple[str, ...] | int, Row]:
        if number == len(self._rounds):
            self._rounds.append({})
        return self._rounds[number]


def replaces(earlier: Row, later: Row) -> bool:
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
