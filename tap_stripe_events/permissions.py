"""What a restricted key needs to read, for the README: read off the object table."""

from dataclasses import dataclass

from tap_stripe_events.object_table import STRIPE_LISTS, STRIPE_OBJECTS


@dataclass(frozen=True, kw_only=True)
class Permission:
    """One permission of a restricted key.

    Attributes:
        name: As Stripe's documentation has it; empty: none is known.
        streams: The streams whose lists it opens.
        presumed: Those of which Stripe's documentation does not say so.
    """

    name: str
    streams: tuple[str, ...]
    presumed: tuple[str, ...]


def permissions() -> list[Permission]:
    """Return all permissions that the lists take, by name; last, what none is known of."""
    read = [each for each in STRIPE_LISTS if each.passes]
    found = []
    for name in sorted({each.permission for each in read}, key=lambda name: (not name, name)):
        opened = [each for each in read if each.permission == name]
        sure = {stream for each in opened if not each.guessed for stream in map(_stream, each.objects)}
        presumed = {stream for each in opened if each.guessed for stream in map(_stream, each.objects)} - sure
        found.append(Permission(name=name, streams=tuple(sorted(sure)), presumed=tuple(sorted(presumed))))
    return found


def _stream(name: str) -> str:
    return STRIPE_OBJECTS[name].stream
