"""The account's clock: the real time, moved, made faster, stopped, or held where there is still business to do."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stripe_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Clock:
    """Tells the time in whole seconds since the epoch. Not thread-safe; the server's loop owns it.

    ``target`` is where the time would be, ``now`` what everyone is told: while the clock is held they differ.
    """

    def __init__(self, at: int | None = None, *, real: Callable[[], float] = time.time) -> None:
        self._real = real
        self._speed = 1.0
        self._since = 0.0  # a moment of the real time, and what this clock showed then
        self._shown = 0.0
        self._stopped_at = at
        self._held_at: int | None = None

    def now(self) -> int:
        """Seconds since the epoch."""
        return self._held_at if self._held_at is not None else self.target()

    def target(self) -> int:
        """Where the time goes by itself, whether or not it is held."""
        if self._stopped_at is not None:
            return self._stopped_at
        return int(self._shown + (self._real() - self._since) * self._speed)

    def hold(self, moment: int) -> None:
        """Let it be ``moment`` until it is held elsewhere or released; the time goes on behind it."""
        self._held_at = moment

    def release(self) -> None:
        """Show the time that it has become."""
        self._held_at = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """Whatever is done to the clock within counts for nothing afterwards; it begins where it shows to be."""
        kept = (self._speed, self._since, self._shown, self._stopped_at, self._held_at)
        self._stopped_at, self._held_at = self.now(), None
        try:
            yield
        finally:
            self._speed, self._since, self._shown, self._stopped_at, self._held_at = kept

    def stop_at(self, moment: int) -> None:
        """From now on it is ``moment`` (seconds since the epoch) until the clock is moved again."""
        self._stopped_at = moment

    def advance(self, seconds: int) -> None:
        """Move a stopped or a running clock forward; negative moves it back."""
        if self._stopped_at is not None:
            self._stopped_at += seconds
        else:
            self._shown += seconds

    def run(self) -> None:
        """Let a stopped clock run on from where it stands."""
        if self._stopped_at is not None:
            self._since, self._shown = self._real(), float(self._stopped_at)
            self._stopped_at = None

    def run_at(self, speed: float) -> None:
        """Run that many times as fast as the real time.

        Raises:
            SandboxError: The speed is not above 0.
        """
        if speed <= 0:
            raise SandboxError(f"A clock runs at a speed above 0, not {speed}.")
        self.run()
        real = self._real()
        self._shown += (real - self._since) * self._speed
        self._since, self._speed = real, speed

    def run_in_real_time(self) -> None:
        """Go back to the real time."""
        self._since = self._shown = 0.0
        self._speed = 1.0
        self._stopped_at = None
