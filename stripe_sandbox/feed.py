"""How an event comes into ``/v1/events``: how late, at which place within its second, and in which API version.

Pure: the settings, the account's seed and the event's number decide. Nothing here knows a store or a clock.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from stripe_sandbox.errors import SandboxError
from stripe_sandbox.old_versions import VERSIONS

MAX_LATE_SECONDS: Final = 60
_BITS: Final = 40


@dataclass(frozen=True, kw_only=True)
class FeedSettings:
    """How the feed treats events that are announced from now on.

    Args:
        delay_seconds: All events show that much later than they happened.
        late_share: The share of events, from 0 to 1, that show later still.
        late_seconds: By how much at most, 1 to 60; each of the late ones has a lateness of its own.
        old_share: The share of events that are rendered in an older API version.
        old_versions: Those versions.
    """

    delay_seconds: int = 0
    late_share: float = 0.0
    late_seconds: int = 20
    old_share: float = 0.0
    old_versions: tuple[str, ...] = VERSIONS

    def __post_init__(self) -> None:
        """Refuse what Stripe would not do.

        Raises:
            SandboxError: A share outside 0..1, a lateness outside 1..60 seconds, a negative delay, no versions.
        """
        for name in ("late_share", "old_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise SandboxError(f"{name} is a share from 0 to 1, not {getattr(self, name)}.")
        if not 1 <= self.late_seconds <= MAX_LATE_SECONDS:
            raise SandboxError(f"late_seconds is 1 to {MAX_LATE_SECONDS}, not {self.late_seconds}.")
        if self.delay_seconds < 0:
            raise SandboxError(f"delay_seconds is 0 or more, not {self.delay_seconds}.")
        if not self.old_versions:
            raise SandboxError(f"old_versions names at least one of {', '.join(VERSIONS)}.")


@dataclass(frozen=True, kw_only=True)
class Passage:
    """How one event passes: seconds until it shows, its place within its second, the version it is rendered in.

    ``api_version`` None is the account's own.
    """

    late_seconds: int
    place: int
    api_version: str | None


def passage(settings: FeedSettings, *, seed: int, number: int) -> Passage:
    """The passage of the event with this number; numbers are unique, and the place is never 0."""
    digest = hashlib.blake2b(f"{seed}:feed:{number}".encode(), digest_size=25).digest()
    place, late, lateness, old, version = (int.from_bytes(digest[i : i + 5], "big") for i in range(0, 25, 5))
    seconds = settings.delay_seconds
    if late < settings.late_share * (1 << _BITS):
        seconds += 1 + lateness % settings.late_seconds
    is_old = old < settings.old_share * (1 << _BITS)
    return Passage(
        late_seconds=seconds,
        place=1 + place,
        api_version=settings.old_versions[version % len(settings.old_versions)] if is_old else None,
    )
