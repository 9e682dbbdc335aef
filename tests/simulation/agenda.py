"""Virtual time: what happens at which moment, in one thread.

Everything in a simulation that takes time is an action on the agenda: a request on its way, a retry, a change in the
account, the target's next look at the pipe, a kill. Whoever waits has the agenda run until then.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from tap_stripe_events.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable


class Agenda(Clock):
    """The simulation's clock, and what is to happen.

    Args:
        start: Unix time at the beginning.

    Attributes:
        machine_error: How far the clock of the machine that the tap runs on is off, in seconds. It may be changed.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._seconds = 0.0
        self._actions: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.machine_error = 0.0

    def true_time(self) -> float:
        """Unix time as Stripe's clock has it."""
        return self._start + self._seconds

    def now(self) -> float:
        """Unix time as the machine's clock has it."""
        return self.true_time() + self.machine_error

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self._seconds

    def sleep(self, seconds: float) -> None:
        """Let everything happen that is due within so many seconds."""
        until = self._seconds + seconds
        while self.step(until):
            pass

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen in so many seconds. What is due at the same moment happens in the order of asking."""
        self._count += 1
        heapq.heappush(self._actions, (self._seconds + max(0.0, seconds), self._count, action))

    def step(self, until: float) -> bool:
        """Let the next thing happen, if it is due by ``until``; else it is ``until`` afterwards, and False."""
        if not self._actions or self._actions[0][0] > until:
            self._seconds = max(self._seconds, until)
            return False
        moment, _, action = heapq.heappop(self._actions)
        self._seconds = max(self._seconds, moment)
        action()
        return True
