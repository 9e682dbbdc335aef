"""What a run changed in the tables, by stream and kind of change: for the line at its end.

Only what was committed counts.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """What became of a row."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    UNCHANGED = "unchanged"  # it came, and the table had it as it is, or newer


class Tally:
    """Counts rows. One thread, like the loader that owns it."""

    def __init__(self) -> None:
        self._open: dict[str, Counter[Kind]] = {}
        self._committed: dict[str, Counter[Kind]] = {}

    def add(self, stream: str, kind: Kind, rows: int) -> None:
        """Count rows that were changed in the open transaction."""
        if rows > 0:
            self._open.setdefault(stream, Counter())[kind] += rows

    def commit(self) -> None:
        """Keep what was counted since the last commit."""
        for stream, counts in self._open.items():
            self._committed.setdefault(stream, Counter()).update(counts)
        self._open.clear()

    def rollback(self) -> None:
        """Forget what was counted since the last commit."""
        self._open.clear()

    @property
    def streams(self) -> Mapping[str, Mapping[Kind, int]]:
        """How many rows of each kind were committed, by stream."""
        return self._committed

    def __str__(self) -> str:
        total = sum(self._committed.values(), Counter[Kind]())
        kinds = ", ".join(f"{total[kind]} {kind}" for kind in Kind)
        return f"{kinds} rows of {len(self._committed)} streams"
