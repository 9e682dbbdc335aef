"""Writes of which it is not known whether what was there is newer.

Stripe dates by whole seconds. Where a write is stored and the row is as of the same second already, from the feed or
from another write, either may be the newer one: the writes were answered in one order and come to Postgres in another,
or the feed has been faster. The write is stored, so that its caller finds it; and once the second has passed for
certain the object is read again, which settles it: that counts as a later second.
"""

from collections.abc import Iterator
from dataclasses import replace

from stripe_proxy.answers import Answered, told

SECONDS = 2.0
"""How long after a tie an object is read again: by then the second has passed, as known from whole seconds too."""

TRIES = 30
"""How often it is tried."""


class Ties:
    """Remembers answers until their objects are to be read again. One thread."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str | None, str, str], tuple[float, int, Answered]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, answered: Answered, now: float, *, tries: int = 0) -> None:
        """Take in an answer that was tied, at a moment of the monotonic clock; a read is not worth another one."""
        first = next(told(answered), None)
        if answered.is_read or first is None or tries >= TRIES:
            return
        self._waiting[answered.account_id, first.name, str(first.json.get("id"))] = (now + SECONDS, tries, answered)

    def due(self, now: float) -> Iterator[tuple[Answered, int]]:
        """Take out the answers that are due, as such that are not believed, and how often each was tried."""
        for key, (moment, tries, answered) in list(self._waiting.items()):
            if moment <= now:
                del self._waiting[key]
                yield replace(answered, replayed=True), tries + 1
