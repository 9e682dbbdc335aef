"""What is asked of Stripe and not answered yet, for several sources that share one client.

The sources say what they need, the most urgent first; here it is sent as the budget allows, and every answer finds its
way back to the source that asked.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from tap_stripe_events.client import Answer, Request, StripeClient
from tap_stripe_events.request_queue import RequestQueue

_LONGEST_WAIT_SECONDS = 1.0


class Asker(Protocol):
    """A source of changes: a state machine that is driven by the answers it gets."""

    @property
    def queues(self) -> tuple[RequestQueue, ...]:
        """What is to be asked for, most urgent first. Emptied from outside."""

    def take(self, answer: Answer) -> Iterator[Any]:
        """Take an answer, and yield what comes of it."""


class Flight:
    """Sends the requests of sources, and hands the answers over.

    Args:
        client: The way to Stripe; other flights may share it.
        account: The connected account that all requests are about; None: the key's own.

    Attributes:
        crowded: More was to be sent the last time, but no more requests may be in flight.
    """

    def __init__(self, client: StripeClient, account: str | None = None) -> None:
        self._client = client
        self._account = account
        self._share = client.endpoint_requests_per_second / client.requests_per_second
        self.crowded = False
        self.reasons: Counter[str] = Counter()
        self._open: Counter[int] = Counter()  # asker (by identity) → its requests that are not answered

    def submit(self, askers: Iterable[Asker]) -> float:
        """Start what may start now, in the order of the askers; return how long to wait before looking again."""
        wait = _LONGEST_WAIT_SECONDS
        self.crowded = False
        blocked: set[str] = set()
        for asker in askers:
            for waiting in asker.queues:
                while waiting:
                    if self._client.in_flight >= self._client.max_concurrent_requests:
                        self.crowded = True
                        return _LONGEST_WAIT_SECONDS
                    endpoint, delay = self._next_endpoint(waiting, blocked)
                    wait = min(wait, delay)
                    if endpoint is None:
                        break
                    self._send(asker, waiting.take(endpoint))
        return wait

    def _next_endpoint(self, waiting: RequestQueue, blocked: set[str]) -> tuple[str | None, float]:
        """Return the endpoint to be asked next, and how long those before it must wait; note these as blocked."""
        wait = _LONGEST_WAIT_SECONDS
        for endpoint in waiting.in_turn(self._share):
            if endpoint not in blocked:
                delay = self._client.delay(endpoint)
                if delay <= 0:
                    return endpoint, wait
                blocked.add(endpoint)
                wait = min(wait, delay)
        return None, wait

    def _send(self, asker: Asker, request: Request) -> None:
        self.reasons[request.reason] += 1
        self._open[id(asker)] += 1
        self._client.submit(replace(request, account=self._account, asker=asker, flight=self))

    def take(self, seconds: float) -> tuple[Asker, Iterator[Any]] | None:
        """Return whose the next answer is, and what comes of it; None if none arrives in time.

        For a flight that has its client for itself.

        Raises:
            TapError: A request failed for good.
        """
        answer = self._client.take(seconds)
        return None if answer is None else self.receive(answer)

    def receive(self, answer: Answer) -> tuple[Asker, Iterator[Any]]:
        """Return whose an answer to a request of this flight is, and what comes of it."""
        asker: Asker = answer.request.asker
        self._open[id(asker)] -= 1
        if not self._open[id(asker)]:
            del self._open[id(asker)]  # askers come and go, for days
        return asker, asker.take(answer)

    def is_idle(self, asker: Asker) -> bool:
        """Whether a source waits for no answer and has nothing to ask. What its last answer brought must be taken."""
        return self._open[id(asker)] <= 0 and not any(asker.queues)
