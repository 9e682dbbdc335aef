"""The tap's only way to Stripe: GET requests within a budget, several in flight, tried again when that helps.

The only module with `requests`, `backoff` and threads. The main thread submits requests and takes answers; the worker
threads share the budget, the session and Stripe's clock, each guarded. A worker that must wait for a retry holds its
place in flight, so a struggling Stripe is asked less. Workers are daemons: a run that ends, by a failure or a signal,
waits for no answer.
"""

import json
import logging
import queue
import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Self

import backoff
import msgspec
import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

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

TRIES = 9  # with waits of 0.5, 1, 2 … 30 s, each with jitter: 70 s or so
_TIMEOUT_SECONDS = (10, 80)  # to connect; between two bytes of the answer
_LONG_KEY = 20  # of a shorter one, the end would give away too much
_USER_AGENT = "stripe-postgres-sync/0.1"

_logger = logging.getLogger("tap-stripe-events.client")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, which changes nothing.

    Attributes:
        path: The path with every id filled in.
        endpoint: The path as the API names it, with `{parameter}`: what is limited by endpoint.
        parameters: The query, or the form of a POST.
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
        body: The decoded JSON; floats are `Decimal`.
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


class RetryableError(Exception):
    """A try failed in a way that another try may mend."""

    def __init__(self, reason: str, headers: Mapping[str, str]) -> None:
        super().__init__(reason)
        self.headers = headers


class _KeyAuth(AuthBase):
    """Sends the key. An auth object, since otherwise `requests` would prefer what a `.netrc` says."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


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
        self._answers: queue.SimpleQueue[Answer | TapError] = queue.SimpleQueue()
        self._requests: queue.SimpleQueue[tuple[Request, Start | None] | None] = queue.SimpleQueue()
        self._session = requests.Session()
        self._session.mount(self.api_url, HTTPAdapter(pool_maxsize=max_concurrent_requests, max_retries=0))
        self._session.auth = _KeyAuth(api_key)
        self._session.headers.update({"Stripe-Version": api_version, "User-Agent": _USER_AGENT})
        self._decoder = msgspec.json.Decoder(float_hook=Decimal)
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
        self._session.close()

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
        self._requests.put((request, start))

    def take(self, timeout: float) -> Answer | None:
        """Return an answer that has arrived, in any order; None if none has after `timeout` seconds.

        Raises:
            TapError: A request failed for good; the error's `request` is which.
        """
        try:
            answer = self._answers.get(timeout=timeout) if timeout > 0 else self._answers.get_nowait()
        except queue.Empty:
            return None
        self.in_flight -= 1
        if isinstance(answer, TapError):
            raise answer
        return answer

    def get(self, request: Request, *, start: Start | None = None) -> Answer:
        """Send a request and wait for its answer.

        Args:
            request: The request.
            start: The first try's place in the budget, if it has one.

        Raises:
            KeyRefusedError: Stripe does not know the key.
            RequestRefusedError: Stripe refused, for a reason that no other request will meet differently.
            RetriesSpentError: No try succeeded.
        """
        tries, longest = 0, self._longest_wait_seconds
        started = self._clock.monotonic()

        @backoff.on_exception(
            backoff.runtime,
            RetryableError,
            value=lambda error: retry_seconds(tries, error.headers, random.random(), longest=longest),  # noqa: S311 - jitter
            max_tries=self._tries,
            jitter=None,
            giveup=lambda _: self._closed.is_set(),
            on_backoff=lambda details: self._tell_retry(request, details["exception"], tries, details["wait"]),
            logger=None,
        )
        def attempts() -> Answer:
            nonlocal tries, start
            tries += 1
            place, start = start or self._wait_for_budget(request.endpoint), None
            return self._attempt(request, place)

        try:
            return attempts()
        except RetryableError as error:
            seconds = self._clock.monotonic() - started
            raise RetriesSpentError(
                api_url=self.api_url, path=request.path, tries=tries, seconds=seconds, reason=error
            ) from None

    def _work(self) -> None:
        while (work := self._requests.get()) is not None and not self._closed.is_set():
            self._answers.put(self._outcome(*work))

    def _outcome(self, request: Request, start: Start | None) -> Answer | TapError:
        try:
            return self.get(request, start=start)
        except TapError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a worker's fault must end the run, not hang it
            reason = f"{type(error).__name__} in the tap"
            failure = RetriesSpentError(api_url=self.api_url, path=request.path, tries=1, seconds=0.0, reason=reason)
        failure.request = request
        return failure

    def _attempt(self, request: Request, start: Start) -> Answer:
        as_of = self._leave(start)
        response: requests.Response | None = None
        try:
            response = self._session.request(
                "POST" if request.post else "GET",
                self.api_url + request.path,
                params=None if request.post else dict(request.parameters),
                data=dict(request.parameters) if request.post else None,
                headers=_headers(request),
                timeout=_TIMEOUT_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            # The exception's text may hold the URL; its kind says enough.
            raise RetryableError(f"{type(error).__name__} (network)", {}) from None
        finally:
            self._end(start, answered=response is not None)
        return self._arrived(request, response, as_of)

    def _leave(self, start: Start) -> int:
        """Note that a request leaves now; return the second as of which its answer counts at most."""
        as_of = self.stripe_clock.estimate()
        start.left = self._clock.monotonic()  # written at once: the lock is not needed
        return as_of

    def _end(self, start: Start, *, answered: bool) -> None:
        """Note that a request is over, answered or not."""
        with self._budget_lock:
            self._budget.end(start, self._clock.monotonic(), answered=answered)

    def _arrived(self, request: Request, response: requests.Response, as_of: int) -> Answer:
        """Take in what has arrived, whole."""
        # Something in between may have a clock of its own; it gives no good answer, and none a `Request-Id`.
        stripes = response.ok or "Request-Id" in response.headers
        dated = self.stripe_clock.heard(response.headers.get("Date")) if stripes else None
        # No request begins after its answer is dated, whatever that clock is like.
        return self._answer(request, response, as_of if dated is None else min(as_of, dated))

    def _answer(self, request: Request, response: requests.Response, as_of: int) -> Answer:
        headers, content = response.headers, response.content
        body = self._decoded(content)
        refusal = _refusal(response.status_code, body, headers.get("Request-Id", "unknown"))
        meaning = verdict(response.status_code, headers, refusal)
        if meaning is Verdict.TAKE and not isinstance(body, dict):
            raise RetryableError("HTTP 200 with a body that is not a JSON object", headers)
        if meaning is Verdict.RETRY:
            code = f" {refusal.code}" if refusal else ""
            raise RetryableError(f"HTTP {response.status_code}{code}", headers)
        if meaning is Verdict.KEY_REFUSED:
            code = refusal.code if refusal else "no code"
            request_id = refusal.request if refusal else "unknown"
            raise KeyRefusedError(
                key=self._key_name, status=response.status_code, code=code, request=request_id
            ) from None
        if meaning is Verdict.REFUSED and not (request.of_one and refusal is not None):
            if refusal is None:
                status = response.status_code
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

    def _decoded(self, content: bytes) -> Any:
        try:
            return self._decoder.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        try:  # Lone surrogates, which JSON may hold and UTF-8 may not.
            text = content.decode("utf-8", errors="replace")
            return _without_surrogates(json.loads(text, parse_float=Decimal))
        except ValueError:
            return None

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


def list_elements(answer: Answer, api_url: str) -> tuple[list[dict[str, Any]], bool]:
    """Return a list answer's elements and whether there are more.

    Raises:
        NotAListError: The body is something else.
    """
    elements = answer.body.get("data") if answer.body.get("object") == "list" else None
    if not isinstance(elements, list) or not all(isinstance(each, dict) for each in elements):
        found = f"object: {str(answer.body.get('object'))[:40]}"
        raise NotAListError(path=answer.request.path, found=found, api_url=api_url)
    more = answer.body.get("has_more")
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


def may_hold_secrets(content: bytes) -> bool:
    """Whether a body holds a word that leads to a secret; most do not, and need no search."""
    return b"secret" in content or b"whsec_" in content or b"issuing.card" in content


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(each) for key, each in value.items()}
    return value


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
