"""What is due, and when: a heap of moments, each with the type and key of an object.

An entry is a hint. Whether it still holds is asked of the object when its moment comes, so nothing is ever taken out
when an object changes; a new entry is put in. A test clock has an agenda of its own.

* Entries come out in order of time, those of one moment in order of coming in.
* At most ``PER_SECOND`` of them happen in one second of the account; what is left over happens in the next one.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

PER_SECOND: Final = 100


class Agenda:
    """The entries, and the ``moment`` up to which they have happened, in seconds since the epoch."""

    def __init__(self, moment: int) -> None:
        self.moment = moment
        self._heap: list[tuple[int, int, str, str]] = []
        self._known: set[tuple[int, str, str]] = set()
        self._noted = 0
        self._taken = 0  # entries taken at this moment

    def __len__(self) -> int:
        return len(self._heap)

    def note(self, moment: int, object_type: str, key: str) -> None:
        """Something will be due; noted twice, it is due once."""
        entry = (moment, object_type, key)
        if entry in self._known:
            return
        self._known.add(entry)
        self._noted += 1
        heappush(self._heap, (moment, self._noted, object_type, key))

    def entries(self) -> list[tuple[int, str, str]]:
        """All entries, in order."""
        return [(moment, object_type, key) for moment, _, object_type, key in sorted(self._heap)]

    def next_at(self, until: int) -> int | None:
        """When the next entry happens: not before what was taken before it, and later where there was too much.

        None if none is to happen by ``until``.
        """
        if not self._heap or self._heap[0][0] > until:
            return None
        reached = min(self.moment, until)  # less than the moment where the clock was moved back
        moment = max(self._heap[0][0], reached)
        if moment == reached and self._taken >= PER_SECOND:
            moment += 1
        return moment if moment <= until else None

    def take(self, until: int) -> tuple[int, str, str] | None:
        """The next entry that is due by a moment, as the moment it was noted for, type and key; None if none is.

        ``moment`` is then when it happens, as ``next_at`` told.
        """
        happens_at = self.next_at(until)
        self.moment = min(self.moment, until)
        self._reach(until if happens_at is None else happens_at)
        if happens_at is None:
            return None
        self._taken += 1
        moment, _, object_type, key = heappop(self._heap)
        self._known.discard((moment, object_type, key))
        return moment, object_type, key

    def _reach(self, moment: int) -> None:
        if moment > self.moment:
            self.moment = moment
            self._taken = 0
