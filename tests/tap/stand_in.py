"""A Stripe without a network, for tests of the sources: the client's interface over lists in memory.

Answers come back in an order drawn from a seed, since in flight nothing keeps its order.
"""

import random
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tap_stripe_events.client import Answer, Request
from tap_stripe_events.flight import Flight
from tap_stripe_events.limits import Refusal, Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_790_000_000


class StandInClock:
    """Stripe's clock, standing still unless told."""

    def __init__(self) -> None:
        self.now = NOW

    def second(self) -> int:
        return self.now


class StandInStripe:
    """Lists by path, newest first, with the `created` filter, cursors and refusals of the real ones."""

    api_url = "memory:"

    def __init__(self, lists: dict[str, list[dict[str, Any]]], *, in_flight: int = 8, seed: int = 0) -> None:
        self.lists = lists
        self.max_concurrent_requests = in_flight
        self.stripe_clock = StandInClock()
        self.requests: list[Request] = []
        self.refusals: dict[str, tuple[int, str]] = {}  # path → status, message
        self.before_answer: Callable[[Request], None] = lambda _: None
        self._random = random.Random(seed)
        self._waiting: deque[Request] = deque()

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    @property
    def requests_sent(self) -> int:
        return len(self.requests)

    def delay(self, _endpoint: str) -> float:
        return 0.0

    def submit(self, request: Request) -> None:
        assert self.in_flight < self.max_concurrent_requests
        self._waiting.append(request)

    def take(self, _timeout: float) -> Answer | None:
        if not self._waiting:
            return None
        self._waiting.rotate(self._random.randrange(len(self._waiting)))
        request = self._waiting.popleft()
        self.requests.append(request)
        self.before_answer(request)
        return self._answer(request)

    def _answer(self, request: Request) -> Answer:
        if request.path in self.refusals:
            status, message = self.refusals[request.path]
            return self._refused(request, status, message=message)
        parameters = request.parameters
        found = self.lists.get(request.path, [] if request.path == "/v1/events" else None)
        if found is None:
            return self._refused(request, 404, code="resource_missing", message="No such object")
        if isinstance(found, dict):
            return self._taken(request, found)
        found = [each for each in found if _matches(each, parameters)]
        found = sorted(found, key=lambda each: -each.get("created", 0))
        after = parameters.get("starting_after")
        if after is not None:
            ids = [each["id"] for each in found]
            if after not in ids:
                return self._refused(request, 400, code="resource_missing", parameter="starting_after")
            found = found[ids.index(after) + 1 :]
        limit = parameters.get("limit", 10)
        return self._taken(request, {"object": "list", "data": found[:limit], "has_more": len(found) > limit})

    def _taken(self, request: Request, body: dict[str, Any]) -> Answer:
        return Answer(request=request, verdict=Verdict.TAKE, body=body, as_of=self.stripe_clock.now)

    def _refused(
        self, request: Request, status: int, *, code: str = "none", message: str = "refused", parameter: str = "none"
    ) -> Answer:
        refusal = Refusal(status=status, code=code, parameter=parameter, message=message, request="req_1")
        meaning = verdict(status, {}, refusal)
        return Answer(request=request, verdict=meaning, body=None, as_of=self.stripe_clock.now, refusal=refusal)


def drive(stripe: StandInStripe, source: Any) -> Iterator[Any]:
    """Have a source read to its end, and yield all that it says."""
    flight = Flight(stripe)  # type: ignore[arg-type]
    yield from source.begin()
    while not flight.is_idle(source):
        flight.submit([source])
        taken = flight.take(0.0)
        if taken is not None:
            yield from taken[1]
    source.check_finished()


def _matches(each: dict[str, Any], parameters: dict[str, Any]) -> bool:
    if each.get("created", 0) < parameters.get("created[gte]", 0):
        return False
    if "created[lt]" in parameters and each.get("created", 0) >= parameters["created[lt]"]:
        return False
    plain = {key: value for key, value in parameters.items() if "[" not in key and key not in _PAGING}
    return all(_text(each.get(key)) == value for key, value in plain.items() if key != "status" or value != "all")


def _text(value: Any) -> Any:
    return {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value


_PAGING = {"limit", "starting_after", "expand"}
