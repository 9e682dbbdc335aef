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

    def take(self, until: int) -> tuple[int, str, str] | None:
        """The next entry that is due by a moment, as the moment it was noted for, type and key; None if none is.

        ``moment`` is then when it happens: not before what was taken before it, and later where there was too much.
        """
        self.moment = min(self.moment, until)  # the clock was moved back
        if not self._heap or self._heap[0][0] > until:
            self._reach(until)
            return None
        self._reach(self._heap[0][0])
        if self._taken >= PER_SECOND:
            if self.moment >= until:
                return None
            self._reach(self.moment + 1)
        self._taken += 1
        moment, _, object_type, key = heappop(self._heap)
        self._known.discard((moment, object_type, key))
        return moment, object_type, key

    def _reach(self, moment: int) -> None:
        if moment > self.moment:
            self.moment = moment
            self._taken = 0
