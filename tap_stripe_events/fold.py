"""Many events about an object → what to do about the object. Pure.

Events are announcements: the newest one about an object tells what it is, if it can be told. Two in one second cannot
be told apart, since Stripe promises no order within a second; then the object is worth a look. `Lookback` remembers
what was read of the stretch of the feed that is read over and over, because events show up to a minute late.

Invariants of `Lookback`:
* an event is new once, however often it is read while it is remembered;
* an object whose newest event was folded is folded again only for an event that is not older than that one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tap_stripe_events.shapes import StripeJson

Identity: TypeAlias = tuple[str, ...]  # the object's type, then its key


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """An event, as far as it is about the object that it carries.

    Attributes:
        id: The event's id.
        type: Its type.
        created: Its second.
        version: The API version in which it was rendered.
        identity: The object.
        json: The object as the event shows it.
        changed: The top-level fields that it says have changed; None if it does not say.
    """

    id: str
    type: str
    created: int
    version: str | None
    identity: Identity
    json: StripeJson
    changed: frozenset[str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Folded:
    """What new events about one object amount to.

    Attributes:
        newest: The newest event; of several in its second a deletion, else the first in Stripe's list, a creation last.
        tied: There are several in its second, so that the payload may not be the last word.
        first: It is the newest in that sense of all of its second, whether new or not.
        late: An event that was read before is newer: there is nothing new about the object itself.
        since: The second of the oldest new event.
        changed: All that they say has changed; None if one of them does not say.
    """

    newest: Announcement
    tied: bool
    first: bool
    late: bool
    since: int
    changed: frozenset[str] | None


class Lookback:
    """What was read of the latest stretch of the feed."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}  # event id → its second
        self._newest: dict[Identity, tuple[int, int, str]] = {}  # object → newest event: second, place in life, id

    def __len__(self) -> int:
        return len(self._seen)

    def is_new(self, event_id: str) -> bool:
        """Whether an event was not read before."""
        return event_id not in self._seen

    def note(self, event_id: str, created: int) -> None:
        """Remember that an event was read."""
        self._seen[event_id] = created

    def fold(self, new: Sequence[Announcement], order: Sequence[str]) -> list[Folded]:
        """Fold new events by the object that they are about.

        Args:
            new: The events that were not read before, as Stripe lists them: newest first.
            order: The ids of all events of the reading, in the same order.
        """
        position = {event_id: number for number, event_id in enumerate(order)}
        by_object: dict[Identity, list[Announcement]] = {}
        for each in new:
            by_object.setdefault(each.identity, []).append(each)
        return [self._folded(events, position) for events in by_object.values()]

    def _folded(self, events: list[Announcement], position: dict[str, int]) -> Folded:
        latest = max(each.created for each in events)
        of_second = [each for each in events if each.created == latest]
        newest = min(of_second, key=lambda each: (_place(each), position[each.id]))
        known, known_place, known_id = self._newest.get(newest.identity, (-1, 0, ""))
        first = known < latest or (
            known == latest
            and (_place(newest), position[newest.id]) < (known_place, position.get(known_id, len(position)))
        )
        if first:
            self._newest[newest.identity] = (latest, _place(newest), newest.id)
        says = [each.changed for each in events]
        return Folded(
            newest=newest,
            tied=len(of_second) + (known == latest) > 1,
            first=first,
            late=known > latest,
            since=min(each.created for each in events),
            changed=None if None in says else frozenset().union(*(each for each in says if each is not None)),
        )

    def second_of(self, identity: Identity) -> int | None:
        """Return the second of the newest event about an object; None if none is remembered."""
        known = self._newest.get(identity)
        return known[0] if known else None

    def forget(self, before: int) -> None:
        """Forget the events of the seconds before one: they are not read again."""
        self._seen = {event_id: second for event_id, second in self._seen.items() if second >= before}
        self._newest = {identity: each for identity, each in self._newest.items() if each[0] >= before}


def _place(announced: Announcement) -> int:
    """Return where in its object's life an event is, latest first: an end, anything between, the beginning."""
    if announced.type.endswith(".deleted"):
        return 0
    return 2 if announced.type.endswith(".created") else 1
