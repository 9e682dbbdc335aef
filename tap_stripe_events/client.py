"""The tap's only way to Stripe: GET requests within a budget, several in flight, tried again when that helps.

The only module with threads, but for the one that writes the output; `transport` has the connections. The main thread
submits requests and takes answers; the worker threads share the budget and Stripe's clock, each guarded. A worker that
must wait for a retry holds its place in flight, so a struggling Stripe is asked less. Workers are daemons: a run that
ends, by a failure or a signal, waits for no answer.

Odd: a worker leaves a good answer unread, and it is read when it is taken. Python reads one at a time in any case, and
what is read while others wait has left the processor's cache by the time it is used, which costs a fifth of the run.
"""

import logging
import queue
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self, TypeVar

from tap_stripe_events.changes import may_hold_secrets
from tap_stripe_events.clock import Clock, StripeClock
from tap_stripe_events.errors import (
    KeyRefusedError,
    NotAListError,
    NotStripeError,
    RequestRefusedError,
    RetriesSpentError,
    TapError,
)
from tap_stripe_events.keys import without_keys
from tap_stripe_events.limits import LONGEST_WAIT_SECONDS, Budget, Refusal, Start, Verdict, retry_seconds, verdict
from tap_stripe_events.pages import Bodies, Page, on_one_line
from tap_stripe_events.shapes import StripeJson
from tap_stripe_events.transport import NetworkError, Reply, Transport

TRIES = 9  # with waits of 0.5, 1, 2 … 30 s, each with jitter: 70 s or so
_FIRST_REFUSAL = 400  # of the HTTP statuses
_LONG_KEY = 20  # of a shorter one, the end would give away too much
_USER_AGENT = "stripe-postgres-sync/0.1"

_T = TypeVar("_T")

_logger = logging.getLogger("tap-stripe-events.client")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, which changes nothing.

    Attributes:
        path: The path with every id filled in.
        endpoint: The path as the API names it, with `{parameter}`: what is limited by endpoint.
        parameters: The query, or the form of a POST.
        element: The type of the elements, if the answer is a list of one type.
        post: It is a POST: some of what Stripe computes on request is asked for so.
        version: The API version to answer in, if it is not the client's.
        of_one: It is about one object. That Stripe refuses it is an answer then, and not the end of the run.
        purpose: What the asker wants to find again with the answer.
        reason: What it is for, in words: the log counts requests by it.
        account: The connected account that it is about; None: the key's own.
        asker: The source that takes the answer.
        flight: The asker's flight, which knows the way back.
    """

    path: str
    endpoint: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    element: str | None = None
    post: bool = False
    version: str | None = None
    of_one: bool = False
    purpose: Any = None
    reason: str = "lists"
    account: str | None = None
    asker: Any = None
    flight: Any = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a request.

    Attributes:
        request: The request.
        verdict: TAKE, or why there is no body.
        body: The decoded JSON, floats as `Decimal`; a `Page`, nearly always, if the request said of what.
        as_of: The second in which the request started, on Stripe's clock.
        refusal: Stripe's error, if that was the answer.
        secrets: The body may hold what must not be stored.
    """

    request: Request
    verdict: Verdict
    body: Any
    as_of: int
    refusal: Refusal | None = None
    secrets: bool = False


@dataclass(kw_only=True, slots=True)
class _Sending:
    """A request until there is an answer that stands. Of one thread at a time.

    Attributes:
        request: The request.
        began: When it was given to the client.
        start: The next try's place in the budget, if it has one.
        tries: How many there were.
        failure: Why the last try is not the last one; None if that was seen to.
    """

    request: Request
    began: float
    start: Start | None = None
    tries: int = 0
    failure: "RetryableError | None" = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Arrived:
    """An answer that nobody has read; ``as_of`` as of an `Answer`."""

    sending: _Sending
    reply: Reply
    as_of: int


class RetryableError(Exception):
    """A try failed in a way that another try may mend."""

    def __init__(self, reason: str, headers: Mapping[str, str]) -> None:
        super().__init__(reason)
        self.headers = headers


class StripeClient:
    """Requests to one Stripe account.

    Args:
        api_key: The key.
        api_url: Where Stripe is, without a slash at the end.
        api_version: The version that answers are rendered in.
        requests_per_second: The most in any second.
        endpoint_requests_per_second: The most on one endpoint in any second.
        max_concurrent_requests: The most in flight.
        tries: The most times that one request is sent.
        longest_wait_seconds: The longest wait between two tries, unless Stripe says how long.
        clock: The machine's clock.
    """

    def __init__(
        self,
        *,
        api_key: str,
        api_url: str,
        api_version: str,
        requests_per_second: int,
        endpoint_requests_per_second: int,
        max_concurrent_requests: int,
        tries: int = TRIES,
        longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        self.api_url = api_url.rstrip("/")
        self.max_concurrent_requests = max_concurrent_requests
        self.requests_per_second = requests_per_second
        self.endpoint_requests_per_second = endpoint_requests_per_second
        self._tries = tries
        self._longest_wait_seconds = longest_wait_seconds
        self._clock = clock or Clock()
        self.stripe_clock = StripeClock(self._clock)
        self._key_name = f"ending in …{api_key[-4:]}" if len(api_key) >= _LONG_KEY else "(a short one)"
        self._budget = Budget(per_second=requests_per_second, per_endpoint_second=endpoint_requests_per_second)
        self._budget_lock = threading.Lock()
        self._closed = threading.Event()
        # No `SimpleQueue`, as that of the workers: after a signal whose handler takes longer than is left of the
        # timeout, that waits for ever (CPython 3.11), and a run that was told to stop would go on waiting.
        self._answers: queue.Queue[Answer | _Arrived | TapError] = queue.Queue()
        self._requests: queue.SimpleQueue[_Sending | None] = queue.SimpleQueue()
        self._transport = Transport(
            self.api_url,
            headers={
                "Authorization": f"Bearer {api_key}",
                "Stripe-Version": api_version,
                "User-Agent": _USER_AGENT,
            },
            connections=max_concurrent_requests,
        )
        self._bodies = Bodies()
        self.in_flight = 0
        self._told_retry = -1.0
        self.requests_sent = 0
        self.sent_again = 0
        self._sent_to: Counter[str] = Counter()
        self._start_workers()

    def _start_workers(self) -> None:
        for number in range(self.max_concurrent_requests):
            threading.Thread(target=self._work, name=f"stripe-{number}", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what is in flight."""
        self._closed.set()
        for _ in range(self.max_concurrent_requests):
            self._requests.put(None)
        self._transport.close()

    def delay(self, endpoint: str) -> float:
        """Return the seconds until a request to the endpoint may start."""
        with self._budget_lock:
            return self._budget.delay(endpoint, self._clock.monotonic())

    def sent_to(self) -> dict[str, int]:
        """Return how many requests were sent to each endpoint."""
        with self._budget_lock:
            return dict(self._sent_to)

    def submit(self, request: Request) -> None:
        """Start a request in the background, as soon as the budget allows. Its answer comes from `take`.

        It keeps a worker waiting unless `delay` has just said 0, and no retry came in between.
        """
        start = self._reserve(request.endpoint)
        self.in_flight += 1
        self._requests.put(_Sending(request=request, began=self._clock.monotonic(), start=start))

    def take(self, timeout: float) -> Answer | None:
        """Return an answer that has arrived, in any order.

        None if none has after `timeout` seconds, or if the one that has shows that it has to be asked for again.

        Raises:
            TapError: A request failed for good; the error's `request` is which.
        """
        try:
            outcome = self._answers.get(timeout=timeout) if timeout > 0 else self._answers.get_nowait()
        except queue.Empty:
            return None
        if isinstance(outcome, _Arrived):
            sending = outcome.sending
            settled = self._outcome(sending, partial(self._settled, outcome))
            if settled is None:
                self._requests.put(sending)
                return None
            outcome = settled
        self.in_flight -= 1
        if isinstance(outcome, TapError):
            raise outcome
        return outcome

    def get(self, request: Request) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            KeyRefusedError: Stripe does not know the key.
            RequestRefusedError: Stripe refused, for a reason that no other request will meet differently.
            RetriesSpentError: No try succeeded.
        """
        sending = _Sending(request=request, began=self._clock.monotonic())
        while (answer := self._settled(self._arrival(sending))) is None:
            continue
        return answer

    def _work(self) -> None:
        while (sending := self._requests.get()) is not None and not self._closed.is_set():
            self._answers.put(self._outcome(sending, partial(self._arrival, sending)))

    def _outcome(self, sending: _Sending, step: Callable[[], _T]) -> _T | TapError:
        """Return what comes of a step, or why the request has failed for good."""
        request = sending.request
        try:
            return step()
        except TapError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a fault here must end the run, not hang it
            reason = f"{type(error).__name__} in the tap"
            failure = RetriesSpentError(api_url=self.api_url, path=request.path, tries=1, seconds=0.0, reason=reason)
        failure.request = request
        return failure

    def _arrival(self, sending: _Sending) -> _Arrived | Answer:
        """Send until an answer arrives that is good by its status, which is left unread, or that is a refusal."""
        while True:
            if sending.failure is not None:
                self._wait_for_retry(sending, sending.failure)
                sending.failure = None
            start, sending.start = sending.start or self._wait_for_budget(sending.request.endpoint), None
            sending.tries += 1
            try:
                reply, as_of = self._attempt(sending.request, start)
                if reply.status < _FIRST_REFUSAL:
                    return _Arrived(sending=sending, reply=reply, as_of=as_of)
                return self._read(sending.request, reply, as_of)
            except RetryableError as error:
                sending.failure = error

    def _settled(self, arrived: _Arrived | Answer) -> Answer | None:
        """Read what has arrived; None if that shows that the request has to be sent again."""
        if isinstance(arrived, Answer):
            return arrived
        try:
            return self._read(arrived.sending.request, arrived.reply, arrived.as_of)
        except RetryableError as error:
            arrived.sending.failure = error
            return None

    def _wait_for_retry(self, sending: _Sending, error: RetryableError) -> None:
        if sending.tries >= self._tries or self._closed.is_set():
            seconds = self._clock.monotonic() - sending.began
            raise RetriesSpentError(
                api_url=self.api_url, path=sending.request.path, tries=sending.tries, seconds=seconds, reason=error
            ) from None
        chance = random.random()  # noqa: S311 - jitter
        wait = retry_seconds(sending.tries, error.headers, chance, longest=self._longest_wait_seconds)
        self._tell_retry(sending.request, error, sending.tries, wait)
        self._clock.sleep(wait)

    def _attempt(self, request: Request, start: Start) -> tuple[Reply, int]:
        """Send a request once; return its answer and as of which second that counts."""
        as_of = self._leave(start)
        reply: Reply | None = None
        try:
            reply = self._transport.send(request.path, request.parameters, post=request.post, headers=_headers(request))
        except NetworkError as error:
            raise RetryableError(f"{error} (network)", {}) from None
        finally:
            self._end(start, answered=reply is not None)
        return reply, self._as_of(reply, as_of)

    def _leave(self, start: Start) -> int:
        """Note that a request leaves now; return the second as of which its answer counts at most."""
        as_of = self.stripe_clock.estimate()
        start.left = self._clock.monotonic()  # written at once: the lock is not needed
        return as_of

    def _end(self, start: Start, *, answered: bool) -> None:
        """Note that a request is over, answered or not."""
        with self._budget_lock:
            self._budget.end(start, self._clock.monotonic(), answered=answered)

    def _as_of(self, reply: Reply, estimate: int) -> int:
        """Take in the date of an answer; return the second as of which it counts, which was estimated before."""
        # Something in between may have a clock of its own; it gives no good answer, and none a `Request-Id`.
        stripes = reply.status < _FIRST_REFUSAL or "Request-Id" in reply.headers
        dated = self.stripe_clock.heard(reply.headers.get("Date")) if stripes else None
        # No request begins after its answer is dated, whatever that clock is like.
        return estimate if dated is None else min(estimate, dated)

    def _read(self, request: Request, reply: Reply, as_of: int) -> Answer:
        """Take in an answer, whole.

        Raises:
            RetryableError: The request has to be sent again.
            TapError: Stripe refused, for a reason that no other try will meet differently.
        """
        headers, content = reply.headers, on_one_line(reply.content)
        body = self._bodies.decoded(content, request.element)
        refusal = _refusal(reply.status, body, headers.get("Request-Id", "unknown"))
        meaning = verdict(reply.status, headers, refusal)
        if meaning is Verdict.TAKE and not isinstance(body, (dict, Page)):
            raise RetryableError("HTTP 200 with a body that is not a JSON object", headers)
        if meaning is Verdict.RETRY:
            code = f" {refusal.code}" if refusal else ""
            raise RetryableError(f"HTTP {reply.status}{code}", headers)
        if meaning is Verdict.KEY_REFUSED:
            code = refusal.code if refusal else "no code"
            request_id = refusal.request if refusal else "unknown"
            raise KeyRefusedError(key=self._key_name, status=reply.status, code=code, request=request_id) from None
        if meaning is Verdict.REFUSED and not (request.of_one and refusal is not None):
            if refusal is None:
                status = reply.status
                raise NotStripeError(path=request.endpoint, status=status, api_url=self.api_url)
            raise refused(request, refusal)
        return Answer(
            request=request,
            verdict=meaning,
            body=body if meaning is Verdict.TAKE else None,
            as_of=as_of,
            refusal=refusal,
            secrets=may_hold_secrets(content),
        )

    def _tell_retry(self, request: Request, error: Exception, tries: int, wait: float) -> None:
        """Count a retry and log it, at most one a second: when Stripe is away, all requests in flight say the same."""
        with self._budget_lock:
            self.sent_again += 1
        now = self._clock.monotonic()
        if now - self._told_retry >= 1.0:
            self._told_retry = now
            _logger.info("%s: %s; try %d of %d in %.1f s", request.endpoint, error, tries + 1, self._tries, wait)

    def _reserve(self, endpoint: str) -> Start | None:
        """Count a request that starts now; None if it may not."""
        with self._budget_lock:
            now = self._clock.monotonic()
            if self._budget.delay(endpoint, now) > 0:
                return None
            self.requests_sent += 1
            self._sent_to[endpoint] += 1
            return self._budget.reserve(endpoint, now)

    def _wait_for_budget(self, endpoint: str) -> Start:
        while (start := self._reserve(endpoint)) is None:
            self._clock.sleep(self.delay(endpoint))
        return start


def list_elements(answer: Answer, api_url: str) -> tuple[list[StripeJson], bool]:
    """Return a list answer's elements and whether there are more.

    Raises:
        NotAListError: The body is something else.
    """
    body = answer.body
    elements: Any
    if isinstance(body, Page):
        elements, more = body.data, body.has_more
    else:
        elements, more = body.get("data") if body.get("object") == "list" else None, body.get("has_more")
        if not isinstance(elements, list) or not all(isinstance(each, dict) for each in elements):
            found = f"object: {str(body.get('object'))[:40]}"
            raise NotAListError(path=answer.request.path, found=found, api_url=api_url)
    if not isinstance(more, bool) and "limit" in answer.request.parameters:
        # Taking it for the end could leave the rest out, and what is left out counts as gone.
        raise NotAListError(path=answer.request.path, found=f"has_more: {str(more)[:40]}", api_url=api_url)
    return elements, more is True


def refused(request: Request, refusal: Refusal | None) -> RequestRefusedError:
    """Return the error that ends the run over a refused request."""
    return RequestRefusedError(
        path=request.endpoint,
        status=refusal.status if refusal else "unknown",
        code=refusal.code if refusal else "unknown",
        parameter=refusal.parameter if refusal else "unknown",
        request=refusal.request if refusal else "unknown",
        reason=refusal.message.rstrip(".") if refusal else "unknown",
        stream=getattr(request.purpose, "stream", "in question"),
    )


def _headers(request: Request) -> dict[str, str]:
    """Return what a request's headers have besides the session's."""
    headers = {"Stripe-Version": request.version, "Stripe-Account": request.account}
    return {name: value for name, value in headers.items() if value is not None}


def is_live(api_key: str) -> bool:
    """Whether a key is one of live mode."""
    return "_live_" in api_key


def _refusal(status: int, body: Any, request_id: str) -> Refusal | None:
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or "object" in body:
        return None  # some objects have an `error` of their own, such as a query run that failed
    return Refusal(
        status=status,
        code=str(error.get("code") or error.get("type") or "no code")[:80],
        parameter=str(error.get("param") or "none")[:80],
        message=without_keys(str(error.get("message") or "")[:500]),
        request=request_id[:80],
    )
