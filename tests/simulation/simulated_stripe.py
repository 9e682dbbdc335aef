"""Stripe and the network before it: the sandbox without a socket, on the simulation's clock, with its faults.

``SimulatedClient`` is the tap's client with the network put in place of its threads. Budget, retries, Stripe's clock
and what an answer means are the client's own. A request is an action when it leaves, one when it reaches Stripe, and
one when its answer is back.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

import msgspec
import requests
from requests.structures import CaseInsensitiveDict

from stripe_sandbox.errors import StripeError
from stripe_sandbox.faults import Fault, FaultKind
from stripe_sandbox.keys import Key, restricted
from stripe_sandbox.messages import Delivery, Exchange, Response
from stripe_sandbox.messages import Request as HttpRequest
from stripe_sandbox.sandbox import TEST_KEY
from stripe_sandbox.upcoming import CREATE_PREVIEW_PATH, UPCOMING_LINES_PATH, UPCOMING_PATH
from tap_stripe_events.client import RetryableError, StripeClient
from tap_stripe_events.errors import RetriesSpentError, TapError
from tap_stripe_events.limits import retry_seconds
from tap_stripe_events.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from agenda import Agenda
    from plan import WireFault

    from stripe_sandbox.sandbox import Service
    from tap_stripe_events.client import Answer, Request
    from tap_stripe_events.limits import Start

URL = "http://stripe.simulated"
READ_TIMEOUT_SECONDS = 80.0  # as the client's
LONGEST_WAY_SECONDS = 0.2
PREVIEW_PATHS = frozenset({CREATE_PREVIEW_PATH, UPCOMING_LINES_PATH, UPCOMING_PATH})


class SimulatedStripe:
    """The account, and the way to it.

    Args:
        service: The sandbox.
        agenda: The time.
        random: How long ways are, and the jitter of retries.
    """

    def __init__(self, service: Service, agenda: Agenda, random: Random) -> None:
        self.service = service
        self.agenda = agenda
        self.random = random
        self.way_seconds = 0.02
        self.arrivals: list[tuple[float, str]] = []  # when a request reached Stripe, and its endpoint
        self.journal: list[tuple[float, bool, Request]] = []  # requests of the tap: sent for, and (True) answered
        self.refused_previews = 0.0  # the share of them that is refused with 400
        self.on_preview: Callable[[], None] = lambda: None  # called when one is asked for
        self._full_key = service.keys[TEST_KEY]

    @property
    def account(self) -> Any:
        """The account of the key."""
        return self.service.account

    def pass_time(self) -> None:
        """Bring the account's clock to the present, and let happen what is due."""
        self.account.clock.stop_at(int(self.agenda.true_time()))
        while not self.service.pass_time():
            pass

    def way(self, random: Random) -> float:
        """How long the next thing is on its way, in seconds."""
        return min(LONGEST_WAY_SECONDS, random.expovariate(1 / self.way_seconds))

    def answer(self, request: HttpRequest, *, of_the_tap: bool = True) -> Exchange:
        """Answer a request that has just arrived."""
        self.pass_time()
        if of_the_tap:
            self.arrivals.append((self.agenda.monotonic(), self.service.api.endpoint(request)))
        if of_the_tap and urlsplit(request.path).path in PREVIEW_PATHS:
            self.on_preview()
        if of_the_tap and self._refuses(request):
            return Exchange(response=Response(status=400, body=msgspec.json.encode(_NO_PREVIEW.body(""))))
        return self.service.handle(request)

    def _refuses(self, request: HttpRequest) -> bool:
        """Whether it is one of the previews that cannot be computed: always the same ones."""
        if urlsplit(request.path).path not in PREVIEW_PATHS:
            return False
        whose = parse_qs(request.query or request.body.decode()).items()
        named = next((values[0] for name, values in whose if name in {"customer", "subscription"}), "")
        return crc32(named.encode()) % 1_000 < self.refused_previews * 1_000

    def date(self) -> str:
        """The `Date` of an answer that is given now."""
        return formatdate(self.account.now(), usegmt=True)

    def go_wrong(self, faults: list[WireFault]) -> None:
        """Switch faults on."""
        self.service.faults.active += [
            Fault(kind=FaultKind(each.kind), path=each.path, probability=each.probability, seconds=each.seconds,
                  retry_after_seconds=each.retry_after_seconds)
            for each in faults
        ]  # fmt: skip

    def go_right(self) -> None:
        """Switch all faults off."""
        self.service.faults.active.clear()

    def refuse(self, *, types: frozenset[str], products: frozenset[str]) -> None:
        """Let the key read all but these types, and products be not set up; none: all is allowed."""
        names = ",".join(sorted(self.account.spec.objects.keys() - types))
        # The account itself is told to every key that may read anything of it.
        self.service.keys[TEST_KEY] = restricted(TEST_KEY, names, self.account) if types else self._full_key
        self.service.api.missing_products = products

    @property
    def key(self) -> Key:
        """The key as it is."""
        return self.service.keys[TEST_KEY]


_NO_PREVIEW = StripeError(400, "There is no location that automatic tax could go by.")


@dataclass(kw_only=True, eq=False)
class Flying:
    """A request that is not answered yet."""

    request: Request
    tries: int
    began: float
    land: Callable[[Answer | TapError], None]


class SimulatedClient(StripeClient):
    """The tap's client over a simulated network.

    Args:
        stripe: Where requests go.
        random: How long their ways are; None: the simulation's own numbers.
        of_the_tap: They count as the tap's.
        settings: The client's own.
    """

    def __init__(
        self, stripe: SimulatedStripe, *, random: Random | None = None, of_the_tap: bool = True, **settings: Any
    ) -> None:
        self._stripe = stripe
        self._agenda = stripe.agenda
        self._random = random or stripe.random
        self._of_the_tap = of_the_tap
        self._key = settings["api_key"]
        self._version = settings["api_version"]
        self._landed: deque[Answer | TapError] = deque()
        self.retries: Counter[str] = Counter()
        super().__init__(**settings)

    def _start_workers(self) -> None:
        """There are none: the agenda does their work."""

    def submit(self, request: Request) -> None:
        """Send a request when the budget allows."""
        self.in_flight += 1
        self._stripe.journal.append((self._agenda.monotonic(), False, request))
        flying = Flying(request=request, tries=1, began=self._agenda.monotonic(), land=self._landed.append)
        self._wait_for_place(flying, self._reserve(request.endpoint))

    def take(self, timeout: float) -> Answer | None:
        """Let time pass until an answer has arrived."""
        until = self._agenda.monotonic() + timeout
        while not self._landed and self._agenda.step(until):
            pass
        if not self._landed:
            return None
        self.in_flight -= 1
        answer = _raised(self._landed.popleft())
        self._stripe.journal.append((self._agenda.monotonic(), True, answer.request))
        return answer

    def get(self, request: Request) -> Answer:
        """Send a request and let time pass until its answer is there."""
        landed: list[Answer | TapError] = []
        self.send(request, landed.append)
        while not landed:
            self._agenda.step(self._agenda.monotonic() + READ_TIMEOUT_SECONDS)
        return _raised(landed[0])

    def send(self, request: Request, land: Callable[[Answer | TapError], None]) -> None:
        """Send a request; what comes of it is given to ``land`` when it is there."""
        flying = Flying(request=request, tries=1, began=self._agenda.monotonic(), land=land)
        self._wait_for_place(flying, self._reserve(request.endpoint))

    def _wait_for_place(self, flying: Flying, start: Start | None) -> None:
        if self._closed.is_set():
            return
        if start is None:
            delay = max(self.delay(flying.request.endpoint), 1e-6)
            self._agenda.after(delay, lambda: self._wait_for_place(flying, self._reserve(flying.request.endpoint)))
            return
        as_of = self._leave(start)
        self._agenda.after(self._stripe.way(self._random), lambda: self._reach(flying, start, as_of))

    def _reach(self, flying: Flying, start: Start, as_of: int) -> None:
        """A request is at Stripe's."""
        exchange = self._stripe.answer(_http(flying.request, self._key, self._version), of_the_tap=self._of_the_tap)
        date = self._stripe.date()
        wait = exchange.delay_seconds + self._stripe.way(self._random)
        if wait > READ_TIMEOUT_SECONDS:
            self._agenda.after(READ_TIMEOUT_SECONDS, lambda: self._fail(flying, start, "ReadTimeout (network)"))
        elif exchange.delivery is Delivery.WHOLE:
            self._agenda.after(wait, lambda: self._arrive(flying, start, as_of, _reply(exchange, date)))
        else:
            kind = "ConnectionError" if exchange.delivery is Delivery.RESET else "ChunkedEncodingError"
            self._agenda.after(wait, lambda: self._fail(flying, start, f"{kind} (network)"))

    def _fail(self, flying: Flying, start: Start, reason: str) -> None:
        self._end(start, answered=False)
        self._try_again(flying, RetryableError(reason, {}))

    def _arrive(self, flying: Flying, start: Start, as_of: int, reply: Reply) -> None:
        """An answer is back."""
        if self._closed.is_set():
            return
        self._end(start, answered=True)
        try:
            flying.land(self._read(flying.request, reply, self._as_of(reply, as_of)))
        except RetryableError as error:
            self._try_again(flying, error)
        except TapError as error:
            flying.land(error)

    def _try_again(self, flying: Flying, error: RetryableError) -> None:
        self.retries[str(error)] += 1
        if flying.tries >= self._tries:
            seconds = self._agenda.monotonic() - flying.began
            flying.land(
                RetriesSpentError(
                    api_url=self.api_url, path=flying.request.path, tries=flying.tries, seconds=seconds, reason=error
                )
            )
            return
        chance = self._random.random()
        wait = retry_seconds(flying.tries, error.headers, chance, longest=self._longest_wait_seconds)
        flying.tries += 1
        self._agenda.after(wait, lambda: self._wait_for_place(flying, self._reserve(flying.request.endpoint)))


def _raised(answer: Answer | TapError) -> Answer:
    if isinstance(answer, TapError):
        raise answer
    return answer


def _http(request: Request, key: str, version: str) -> HttpRequest:
    prepared = requests.PreparedRequest()
    prepared.prepare_url(URL + request.path, dict(request.parameters))
    parts = urlsplit(str(prepared.url))
    headers = {"authorization": f"Bearer {key}", "stripe-version": request.version or version}
    if request.post:
        form = {**headers, "content-type": "application/x-www-form-urlencoded"}
        return HttpRequest(method="POST", path=parts.path, headers=form, body=parts.query.encode())
    return HttpRequest(method="GET", path=parts.path, query=parts.query, headers=headers)


def _reply(exchange: Exchange, date: str) -> Reply:
    answer = exchange.response
    headers: Mapping[str, str] = {"Date": date, "Content-Type": answer.content_type, **dict(answer.headers)}
    return Reply(
        status=answer.status,
        headers=CaseInsensitiveDict(headers),
        content=answer.body if answer.chunks is None else b"".join(answer.chunks),
    )
