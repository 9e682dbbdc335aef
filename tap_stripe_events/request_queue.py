"""Requests that wait to be sent, and which of them is next.

First come, first served, but for two things. Where the budget of one endpoint is used up, the others go on. And an
endpoint at whose own limit its requests take longer than all together take at the limit of all goes first: each second
in which it is asked less often than it may be would be one more at the end.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

from tap_stripe_events.client import Request


class RequestQueue:
    """A queue of requests, by endpoint.

    Args:
        requests: What is in it at first.
    """

    def __init__(self, requests: Iterable[Request] = ()) -> None:
        self._by_endpoint: dict[str, deque[tuple[int, Request]]] = {}  # each with its number: the least is the first
        self._first = self._last = self._length = 0
        for each in requests:
            self.append(each)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Request]:
        """Yield the requests in the order in which they came."""
        numbered = (each for waiting in self._by_endpoint.values() for each in waiting)
        return (request for _, request in sorted(numbered, key=lambda each: each[0]))

    def append(self, request: Request) -> None:
        """Put a request at the end."""
        self._last += 1
        self._length += 1
        self._by_endpoint.setdefault(request.endpoint, deque()).append((self._last, request))

    def appendleft(self, request: Request) -> None:
        """Put a request before all others."""
        self._first -= 1
        self._length += 1
        self._by_endpoint.setdefault(request.endpoint, deque()).appendleft((self._first, request))

    def remove(self, condition: Callable[[Request], bool]) -> list[Request]:
        """Take out the requests that meet a condition, and return them."""
        in_order = list(self)
        self._by_endpoint.clear()
        self._length = 0
        removed = []
        for each in in_order:
            if condition(each):
                removed.append(each)
            else:
                self.append(each)
        return removed

    def next_endpoint(self, blocked: Collection[str], share: float) -> str | None:
        """Return the endpoint whose turn it is; None if there is none.

        Args:
            blocked: Endpoints that may not be asked now.
            share: The part of the whole budget that one endpoint may use. As what goes first is more than that part of
                all that waits, it never is all of the budget, and nobody waits for ever.
        """
        best: tuple[bool, int] | None = None
        found = None
        for endpoint, waiting in self._by_endpoint.items():
            if endpoint in blocked:
                continue
            rank = (len(waiting) <= share * self._length, waiting[0][0])
            if best is None or rank < best:
                best, found = rank, endpoint
        return found

    def take(self, endpoint: str) -> Request:
        """Take out the first request to an endpoint."""
        waiting = self._by_endpoint[endpoint]
        _, request = waiting.popleft()
        self._length -= 1
        if not waiting:
            del self._by_endpoint[endpoint]
        return request
