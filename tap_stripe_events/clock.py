"""Time: the machine's, and Stripe's as far as its answers tell."""

import threading
import time
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

_SECONDS = [f"{second:02d}Z" for second in range(60)]
_FIRST_DAY = date(1970, 1, 1).toordinal()


class Clock:
    """The machine's clock. Tests and simulations give their own."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class StripeClock:
    """Stripe's clock, as far as the `Date` of its answers tells. It may run slower than the machine's, or stand.

    Shared by the client's threads; the lock guards what was heard.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._offset: float | None = None
        self._latest: int | None = None

    def heard(self, date: str | None) -> int | None:
        """Take in the `Date` header of an answer that has just arrived; return its second, None if it tells none."""
        if not date:
            return None
        try:
            told = parsedate_to_datetime(date)
        except ValueError:
            return None  # a proxy's odd header tells nothing
        if told.tzinfo is None:
            told = told.replace(tzinfo=UTC)  # `-0000`: UTC from nowhere in particular
        offset = told.timestamp() - self._clock.monotonic()
        second = int(told.timestamp())
        with self._lock:
            if self._offset is None or offset > self._offset:
                self._offset = offset
            if self._latest is None or second > self._latest:
                self._latest = second
        return second

    def second(self) -> int:
        """Return the latest second that was heard of, in Unix time: never ahead. Before any: the machine's own."""
        with self._lock:
            latest = self._latest
        return int(self._clock.now()) if latest is None else latest

    def estimate(self) -> int:
        """Return the present second, in Unix time, if Stripe's clock has run since then as the machine's has."""
        with self._lock:
            offset = self._offset
        if offset is None:
            return int(self._clock.now())
        return int(self._clock.monotonic() + offset)


@lru_cache(maxsize=1024)  # the same moments over and over: a page's, an object's
def iso(second: int) -> str:
    """Return a Unix time as a date-time string: `2026-11-24T08:35:42Z`."""
    minute, rest = divmod(second, 60)
    return _minute(minute) + _SECONDS[rest]


@lru_cache(maxsize=4096)
def _minute(minute: int) -> str:
    day, rest = divmod(minute, 24 * 60)
    return f"{date.fromordinal(_FIRST_DAY + day).isoformat()}T{rest // 60:02d}:{rest % 60:02d}:"


@lru_cache(maxsize=1024)
def moment(milliseconds: int) -> str:
    """Return milliseconds since the epoch as a date-time string, with the fraction only where there is one."""
    second, rest = divmod(milliseconds, 1000)
    return f"{iso(second)[:-1]}.{rest:03d}Z" if rest else iso(second)


def unix(text: str) -> int:
    """Return the Unix time of what `iso` wrote."""
    return int(datetime.fromisoformat(text).timestamp())
