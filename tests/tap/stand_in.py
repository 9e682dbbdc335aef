"""A Stripe without a network, for tests of the sources: the client's interface over lists in memory.

Answers come back in an order drawn from a seed, since in flight nothing keeps its order. The feed is a list too: an
event may show late, and ages out. An object is read by its own path, or out of the list that holds it.
"""

import copy
import random
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from tap_stripe_events.changes import may_hold_secrets
from tap_stripe_events.client import Answer, Request
from tap_stripe_events.clock import Clock
from tap_stripe_events.flight import Flight
from tap_stripe_events.limits import Refusal, Verdict, verdict
from tap_stripe_events.object_table import API_VERSION
from tap_stripe_events.pages import Bodies
from tap_stripe_events.plan import RETENTION_SECONDS

NOW = 1_790_000_000
EVENTS = "/v1/events"
NO_PERMISSION = (403, "Having the 'rak_some_read' permission would allow this request to continue.")
NOT_SET_UP = (400, "Your account is not set up to use Treasury.")
NOT_EXPANDABLE = (400, "This property cannot be expanded (tiers).")


class StandInClock:
    """Stripe's clock, standing still unless told."""

    def __init__(self) -> None:
        self.now = NOW

    def second(self) -> int:
        return self.now


class MovingClock(Clock):
    """The machine's clock and Stripe's, which moves when somebody waits."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return NOW + self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def second(self) -> int:
        return int(self.now())


class StandInStripe:
    """Lists by path, newest first, with the `created` filter, cursors and refusals of the real ones."""

    api_url = "memory:"
    requests_per_second = endpoint_requests_per_second = 100

    def __init__(self, lists: dict[str, list[dict[str, Any]]], *, in_flight: int = 8, seed: int = 0) -> None:
        self.lists = lists
        self.max_concurrent_requests = in_flight
        self.stripe_clock: Any = StandInClock()
        self.requests: list[Request] = []
        self.refusals: dict[str, tuple[int, str]] = {}  # path → status, message
        self.expand_refusals: dict[str, tuple[int, str]] = {}  # the same, for requests that expand something
        self.before_answer: Callable[[Request], None] = lambda _: None
        self._random = random.Random(seed)
        self.held: set[str] = set()  # paths whose answers are made at once, and do not arrive
        self._waiting: deque[tuple[Request, int, Answer | None]] = deque()
        self.sent_again = 0
        self._bodies = Bodies()
        self._shown_at: dict[str, int] = {}  # event id → the second in which it shows in the feed
        self._created: dict[str, int] = {}  # event id → its own second

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
        self._began = self.stripe_clock.second()
        self._waiting.append((request, self._began, self._answer(request) if self._is_prompt(request) else None))

    def _is_prompt(self, request: Request) -> bool:
        """Whether an answer is made at once; otherwise when it is taken."""
        return request.path in self.held

    def take(self, _timeout: float) -> Answer | None:
        if all(request.path in self.held for request, *_ in self._waiting):
            return None
        self._waiting.rotate(self._random.randrange(len(self._waiting)))
        while self._waiting[0][0].path in self.held:
            self._waiting.rotate(1)
        request, self._began, answer = self._waiting.popleft()
        self.requests.append(request)
        self.before_answer(request)
        return answer or self._answer(request)

    def announce(
        self,
        kind: str,
        json_object: dict[str, Any],
        *,
        created: int | None = None,
        previous: dict[str, Any] | None = None,
        version: str | None = API_VERSION,
        late_by: int = 0,
        last_of_second: bool = True,
        **more: Any,
    ) -> str:
        """Put an event into the feed and return its id, which says nothing about its place.

        Args:
            kind: The event's type.
            json_object: What it carries.
            created: Its second; now, if it is not given.
            previous: What it says the changed fields were before.
            version: The API version that it is rendered in.
            late_by: After how many seconds it shows.
            last_of_second: It is listed before the other events of its second that are there.
            more: Further fields of the event.
        """
        created = self.stripe_clock.second() if created is None else created
        body: dict[str, Any] = {"object": copy.deepcopy(json_object)}
        if previous is not None:
            body["previous_attributes"] = previous
        event = {
            "id": f"evt_{self._random.getrandbits(80):020x}",
            "object": "event",
            "type": kind,
            "created": created,
            "api_version": version,
            "data": body,
            **more,
        }
        self._shown_at[event["id"]], self._created[event["id"]] = created + late_by, created
        feed = self.lists.setdefault(EVENTS, [])
        feed.insert((bisect_left if last_of_second else bisect_right)(feed, -created, key=_newest_first), event)
        return str(event["id"])

    def asked(self, *, reason: str | None = None) -> list[str]:
        """Return the paths that were asked for since the last time, in order, the feed's left out."""
        found = [each.path for each in self.requests if reason in {None, each.reason} and each.path != EVENTS]
        self.requests.clear()
        return found

    def _answer(self, request: Request) -> Answer:
        expands = self.expand_refusals if "expand[]" in request.parameters else {}
        if refusal := self.refusals.get(request.path) or expands.get(request.path):
            status, message = refusal
            return self._refused(request, status, message=message)
        parameters = request.parameters
        found = self._events(parameters) if request.path == EVENTS else self._found(request.path)
        if found is None:
            return self._refused(request, 404, code="resource_missing", message="No such object")
        if isinstance(found, dict):
            return self._taken(request, copy.deepcopy(found))
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

    def _events(self, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the event under the cursor, if it is still there, and a page or so of those that come after it."""
        feed, now, after = self.lists.get(EVENTS, []), self.stripe_clock.second(), parameters.get("starting_after")
        oldest = max(now - RETENTION_SECONDS + 1, parameters.get("created[gte]", 0))
        place = bisect_right(feed, -parameters["created[lt]"], key=_newest_first) if "created[lt]" in parameters else 0
        if after is not None:
            place = bisect_left(feed, -self._created[after], key=_newest_first)
            while feed[place]["id"] != after:
                place += 1
        found: list[dict[str, Any]] = []
        while place < len(feed) and feed[place]["created"] >= oldest and len(found) < parameters.get("limit", 10) + 2:
            if self._shown_at.get(feed[place]["id"], 0) <= now:
                found.append(feed[place])
            place += 1
        return found

    def _found(self, path: str) -> Any:
        """Return a list, or one object; None if there is none."""
        if path in self.lists:
            return self.lists[path]
        parent, _, identifier = path.rpartition("/")
        holds = self.lists.get(parent)
        return next((each for each in holds if each.get("id") == identifier), None) if isinstance(holds, list) else None

    def _taken(self, request: Request, body: dict[str, Any]) -> Answer:
        content = msgspec.json.encode(body)
        return Answer(
            request=request,
            verdict=Verdict.TAKE,
            body=self._bodies.decoded(content, request.element),
            as_of=self._began,
            secrets=may_hold_secrets(content),
        )

    def _refused(
        self, request: Request, status: int, *, code: str = "none", message: str = "refused", parameter: str = "none"
    ) -> Answer:
        refusal = Refusal(status=status, code=code, parameter=parameter, message=message, request="req_1")
        meaning = verdict(status, {}, refusal)
        return Answer(request=request, verdict=meaning, body=None, as_of=self._began, refusal=refusal)


class MovingStripe(StandInStripe):
    """A Stripe whose time goes by: an answer takes its time, and so does waiting for one.

    What an answer says may be from any moment between the request and its arrival; here it is from either end.
    """

    def __init__(self, lists: dict[str, Any], *, in_flight: int = 8, seed: int = 0, latency: float = 0.02) -> None:
        super().__init__(lists, in_flight=in_flight, seed=seed)
        self.clock = self.stripe_clock = MovingClock()
        self.latency = latency
        self.asked_at: list[tuple[float, Request]] = []
        self.looks = 0  # how often somebody looked for an answer
        self._to_come: list[tuple[float, Callable[[], Any]]] = []

    def at(self, seconds: float, happens: Callable[[], Any]) -> None:
        """Have something happen when the clock has reached so many seconds."""
        self._to_come.append((seconds, happens))
        self._to_come.sort(key=lambda each: each[0])

    def submit(self, request: Request) -> None:
        self.asked_at.append((self.clock.seconds, request))
        super().submit(request)

    def _is_prompt(self, request: Request) -> bool:
        return super()._is_prompt(request) or self._random.random() < 0.5

    def take(self, timeout: float) -> Answer | None:
        self.looks += 1
        wait = self.latency if self._waiting else max(timeout, 0.001)
        if self._to_come and not self._waiting:
            wait = min(wait, max(0.001, self._to_come[0][0] - self.clock.seconds))
        self.clock.sleep(wait)
        while self._to_come and self._to_come[0][0] <= self.clock.seconds:
            self._to_come.pop(0)[1]()
        return super().take(timeout)


def poll(stripe: StandInStripe, feed: Any, since: int, *, whole: bool = True, **more: Any) -> list[Any]:
    """Have the feed read once, and return all that it says."""
    flight = Flight(stripe)  # type: ignore[arg-type]
    feed.begin(since, whole=whole, **more)
    items: list[Any] = []
    while feed.busy:
        flight.submit([feed])
        taken = flight.take(0.0)
        if taken is not None:
            items += taken[1]
    assert flight.is_idle(feed)
    return items


def take_what_comes(stripe: StandInStripe, source: Any, flight: Flight) -> list[Any]:
    """Have a source take the answers that arrive, and return what it says."""
    items: list[Any] = []
    while True:
        flight.submit([source])
        taken = flight.take(0.0)
        if taken is None:
            return items
        items += taken[1]


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


def _newest_first(event: dict[str, Any]) -> int:
    return -int(event["created"])


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
