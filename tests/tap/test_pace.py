"""How much of the budget a long list uses, and what it costs, on a clock that only waiting moves."""

import heapq
from bisect import bisect_right

import pytest
from stand_in import NOW, StandInStripe

from tap_stripe_events.backfill import Backfill
from tap_stripe_events.bookmarks import OpenWindow
from tap_stripe_events.client import Answer, Request
from tap_stripe_events.families import root_lists
from tap_stripe_events.flight import Flight
from tap_stripe_events.limits import Budget, Start

CHARGES = "/v1/charges"
LATENCY = 0.3
PER_SECOND, PER_ENDPOINT_SECOND = 100, 25


class LimitedStripe(StandInStripe):
    """One long list, at some distance, with limits.

    Args:
        times: When its objects were created, newest first.
    """

    requests_per_second, endpoint_requests_per_second = PER_SECOND, PER_ENDPOINT_SECOND

    def __init__(self, times: list[int]) -> None:
        super().__init__({}, in_flight=100)
        self.now = 0.0
        self._budget = Budget(per_second=PER_SECOND, per_endpoint_second=PER_ENDPOINT_SECOND)
        self._objects = [{"id": str(place), "object": "charge", "created": time} for place, time in enumerate(times)]
        self._ages = [-time for time in times]
        self._on_their_way: list[tuple[float, int, Start, Request]] = []
        self._sent = 0

    @property
    def in_flight(self) -> int:
        return len(self._on_their_way)

    def delay(self, endpoint: str) -> float:
        return self._budget.delay(endpoint, self.now)

    def submit(self, request: Request) -> None:
        self._sent += 1
        start = self._budget.reserve(request.endpoint, self.now)
        heapq.heappush(self._on_their_way, (self.now + LATENCY, self._sent, start, request))

    def take(self, timeout: float) -> Answer | None:
        if not self._on_their_way or self._on_their_way[0][0] > self.now + timeout:
            self.now += timeout
            return None
        arrives_at, _, start, request = heapq.heappop(self._on_their_way)
        self.now = max(self.now, arrives_at)
        self._budget.end(start, arrives_at, answered=True)
        self.requests.append(request)
        self._began = self.stripe_clock.second()
        asked = request.parameters
        first, end = 0, len(self._objects)
        if "created[lt]" in asked:
            first = bisect_right(self._ages, -asked["created[lt]"])
        if "starting_after" in asked:
            first = max(first, int(asked["starting_after"]) + 1)
        if "created[gte]" in asked:
            end = bisect_right(self._ages, -asked["created[gte]"])
        page = self._objects[first : min(end, first + 100)]
        return self._taken(request, {"object": "list", "data": page, "has_more": end > first + 100})


def read(stripe: LimitedStripe) -> None:
    (charges,) = (each for each in root_lists() if each.path == CHARGES)
    windows = {charges: [OpenWindow(path=CHARGES, parameters={})]}
    source = Backfill(client=stripe, windows=windows, selected=["charge"], account_id="acct_1")  # type: ignore[arg-type]
    flight = Flight(stripe)  # type: ignore[arg-type]
    assert not list(source.begin())
    while not flight.is_idle(source):
        taken = flight.take(flight.submit([source]))
        for _ in taken[1] if taken is not None else ():
            pass
    source.check_finished()


def evenly(count: int) -> list[int]:
    return [NOW - 500 * each for each in range(count)]


def growing(count: int) -> list[int]:
    """Times of an account that had a tenth as much to do at first, and more and more since."""
    times, time = [], NOW
    for each in range(count):
        times.append(time)
        time -= 100 + 900 * each // count
    return times


@pytest.mark.parametrize("times", [evenly(60_000), growing(60_000)], ids=["evenly", "growing"])
def test_a_long_list_uses_its_budget_from_the_first_moment_to_the_last(times: list[int]) -> None:
    stripe = LimitedStripe(times)
    read(stripe)
    at_best = 600 / PER_ENDPOINT_SECOND
    assert len(stripe.requests) <= 600 * 1.05
    assert stripe.now <= at_best * 1.08  # of it, 0.6 s in which nobody knows yet how long the list is


def test_a_list_of_some_pages_costs_few_looks_into_the_past() -> None:
    stripe = LimitedStripe(evenly(20_000))
    read(stripe)
    assert len(stripe.requests) <= 200 * 1.1
