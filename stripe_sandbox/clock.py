"""The account's clock: the real time, moved by an offset or stopped at a moment."""

from __future__ import annotations

import time


class Clock:
    """Tells the time in whole seconds since the epoch. Not thread-safe; the server's loop owns it."""

    def __init__(self, at: int | None = None) -> None:
        self._offset = 0
        self._stopped_at = at

    def now(self) -> int:
        """Seconds since the epoch."""
        if self._stopped_at is not None:
            return self._stopped_at
        return int(time.time()) + self._offset

    def stop_at(self, moment: int) -> None:
        """From now on it is ``moment`` (seconds since the epoch) until the clock is moved again."""
        self._stopped_at = moment

    def advance(self, seconds: int) -> None:
        """Move a stopped or a running clock forward; negative moves it back."""
        if self._stopped_at is not None:
            self._stopped_at += seconds
        else:
            self._offset += seconds

    def run(self) -> None:
        """Let a stopped clock run on from where it stands."""
        if self._stopped_at is not None:
            self._offset = self._stopped_at - int(time.time())
            self._stopped_at = None

    def run_in_real_time(self) -> None:
        """Go back to the real time."""
        self._offset = 0
        self._stopped_at = None
