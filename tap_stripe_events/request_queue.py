"""Requests that wait to be sent, and which of them is next.

First come, first served, but for what would come to an end late. Where the budget of one endpoint is used up, others
go on. An endpoint at whose own limit its requests take longer than all together take at the limit of all goes first:
each second in which it is asked less often than it may be would be one more at the end. The same is true of several
endpoints together, such as three long lists at the limit of each. And of the requests to an endpoint the one goes first
that has most to follow it, one after another.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

from tap_stripe_events.client import Request


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a request among others of its endpoint: the least is the first."""

    to_follow: float
    number: int
    request: Request

    def __lt__(self, other: "_Place") -> bool:
        return (-self.to_follow, self.number) < (-other.to_follow, other.number)


class RequestQueue:
    """A queue of requests, by endpoint.

    Args:
        requests: What is in it at first.
    """

    def __init__(self, requests: Iterable[Request] = ()) -> None:
        self._by_endpoint: dict[str, list[_Place]] = {}  # a heap each
        self._expected: dict[str, float] = {}
        self._first = self._last = self._length = 0
        for each in requests:
            self.append(each)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Request]:
        """Yield the requests in the order in which they came."""
        places = (each for waiting in self._by_endpoint.values() for each in waiting)
        return (each.request for each in sorted(places, key=lambda each: each.number))

    def append(self, request: Request, *, to_follow: float = 0.0) -> None:
        """Put a request at the end.

        Args:
            request: The request.
            to_follow: About how many others will come one after another once it is answered. Of an endpoint's requests
                the one with most goes first, so that all chains come to their ends at the same time.
        """
        self._last += 1
        self._put(_Place(to_follow, self._last, request))

    def appendleft(self, request: Request) -> None:
        """Put a request before all others."""
        self._first -= 1
        self._put(_Place(inf, self._first, request))

    def _put(self, place: "_Place") -> None:
        self._length += 1
        heappush(self._by_endpoint.setdefault(place.request.endpoint, []), place)

    def remove(self, condition: Callable[[Request], bool]) -> list[Request]:
        """Take out the requests that meet a condition, and return them."""
        removed = [each for each in self if condition(each)]
        kept = [each for waiting in self._by_endpoint.values() for each in waiting if not condition(each.request)]
        self._by_endpoint.clear()
        self._length = 0
        for each in kept:
            self._put(each)
        return removed

    def expect(self, endpoint: str, requests: float) -> None:
        """Take in about how many requests to an endpoint there are still to be answered, now or later.

        Where nobody says, they are those that wait.
        """
        if requests:
            self._expected[endpoint] = requests
        else:
            self._expected.pop(endpoint, None)

    def in_turn(self, share: float) -> list[str]:
        """Return the endpoints in the order of whose turn it is.

        Args:
            share: The part of the whole budget that one endpoint may use. As what goes first is more than that part of
                all that is to come, it never is all of the budget, and nobody waits for ever.
        """
        late = self._late(share)
        ranks = [(each not in late, waiting[0].number, each) for each, waiting in self._by_endpoint.items()]
        return [endpoint for *_, endpoint in sorted(ranks)]

    def _late(self, share: float) -> set[str]:
        """Return the endpoints that would come to an end after all others if it went by turns."""
        left = {each: float(len(waiting)) for each, waiting in self._by_endpoint.items()}
        for each, requests in self._expected.items():
            left[each] = max(requests, left.get(each, 0.0))
        late = {each for each, requests in left.items() if requests == inf}
        finite = sorted(left.keys() - late, key=lambda each: -left[each])
        enough = share * sum(left[each] for each in finite)
        together = 0.0
        for number, each in enumerate(finite, start=1):
            together += left[each]
            if together > number * enough:
                late.update(finite[:number])
        return late

    def take(self, endpoint: str) -> Request:
        """Take out the first request to an endpoint."""
        waiting = self._by_endpoint[endpoint]
        request = heappop(waiting).request
        self._length -= 1
        if not waiting:
            del self._by_endpoint[endpoint]
        return request
