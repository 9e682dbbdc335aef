"""What is made to go wrong on demand: errors, resets, truncated and slow answers, and rate limits that bite.

Faults are chosen from a seed, so the same requests meet the same faults. Only the server's loop touches them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from stripe_sandbox.errors import SandboxError, StripeError
from stripe_sandbox.messages import Delivery, Exchange, Request, Response
from stripe_sandbox.rendering import pretty

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

_HTML: Final = b"<html>\n<head><title>%s</title></head>\n<body><h1>%s</h1></body>\n</html>\n"


class FaultKind(Enum):
    """The kinds of faults, by the name that the control endpoint takes."""

    RATE_LIMIT = "rate_limit"
    LOCK_TIMEOUT = "lock_timeout"
    SERVER_ERROR = "server_error"
    BAD_GATEWAY = "bad_gateway"
    UNAVAILABLE = "unavailable"
    HTML_OK = "html_ok"
    RESET_BEFORE = "reset_before"  # the request is not performed
    RESET_AFTER = "reset_after"  # it is performed, the answer is lost
    TRUNCATED = "truncated"
    SLOW = "slow"


@dataclass(kw_only=True)
class Fault:
    """A fault and which requests it hits.

    Args:
        kind: What goes wrong.
        path: The beginning of the paths it hits.
        method: Only this method, or any.
        probability: The share of matching requests that it hits, 0 to 1.
        count: How many more requests it may hit; None for no limit.
        retry_after_seconds: ``Retry-After`` of a 429; None leaves the header out.
        reason: ``Stripe-Rate-Limited-Reason`` of a 429.
        seconds: How slow a slow answer is.
    """

    kind: FaultKind
    path: str = "/v1/"
    method: str | None = None
    probability: float = 1.0
    count: int | None = None
    retry_after_seconds: int | None = None
    reason: str | None = None
    seconds: float = 1.0

    def hits(self, request: Request, random: Random) -> bool:
        """Whether it hits this request; counts the hit."""
        if not request.path.startswith(self.path) or self.method not in (None, request.method) or self.count == 0:
            return False
        if self.probability < 1 and random.random() >= self.probability:
            return False
        if self.count is not None:
            self.count -= 1
        return True


@dataclass(kw_only=True)
class Faults:
    """The faults that are switched on, and the latency that every answer has."""

    random: Random
    active: list[Fault] = field(default_factory=list)
    latency_seconds: float = 0.0

    def exchange(self, request: Request, perform: Callable[[], Response]) -> Exchange:
        """Perform a request, or let it go wrong."""
        fault = next((fault for fault in self.active if fault.hits(request, self.random)), None)
        delay = self.latency_seconds
        if fault is None:
            return Exchange(response=perform(), delay_seconds=delay)
        match fault.kind:
            case FaultKind.RESET_BEFORE:
                return Exchange(response=Response(status=0), delivery=Delivery.RESET, delay_seconds=delay)
            case FaultKind.RESET_AFTER:
                return Exchange(response=perform(), delivery=Delivery.RESET, delay_seconds=delay)
            case FaultKind.TRUNCATED:
                return Exchange(response=perform(), delivery=Delivery.TRUNCATED, delay_seconds=delay)
            case FaultKind.SLOW:
                return Exchange(response=perform(), delay_seconds=delay + fault.seconds)
        return Exchange(response=_refusal(fault), delay_seconds=delay)


def _refusal(fault: Fault) -> Response:
    match fault.kind:
        case FaultKind.RATE_LIMIT:
            return too_many_requests(retry_after_seconds=fault.retry_after_seconds, reason=fault.reason)
        case FaultKind.LOCK_TIMEOUT:
            message = (
                "This object cannot be accessed right now because another API request or Stripe process is currently "
                "accessing it. If you see this error intermittently, retry the request."
            )
            return _error(StripeError(429, message, code="lock_timeout"), (("Stripe-Should-Retry", "true"),))
        case FaultKind.SERVER_ERROR:
            return _error(
                StripeError(500, "Sorry! There was an error while talking to one of our backends.", type="api_error"),
                (),
            )
        case FaultKind.BAD_GATEWAY:
            return Response(status=502, body=_HTML % (b"502 Bad Gateway", b"502 Bad Gateway"), content_type="text/html")
        case FaultKind.UNAVAILABLE:
            return Response(status=503, body=_HTML % (b"503", b"Service Unavailable"), content_type="text/html")
        case FaultKind.HTML_OK:
            return Response(status=200, body=_HTML % (b"Maintenance", b"Back soon"), content_type="text/html")
    raise SandboxError(f"The fault {fault.kind.value} has no answer of its own.")


def too_many_requests(*, retry_after_seconds: int | None = None, reason: str | None = None) -> Response:
    """A 429 in Stripe's form."""
    headers: list[tuple[str, str]] = [("Stripe-Should-Retry", "true")]
    if retry_after_seconds is not None:
        headers.append(("Retry-After", str(retry_after_seconds)))
    if reason is not None:
        headers.append(("Stripe-Rate-Limited-Reason", reason))
    message = (
        "Request rate limit exceeded. You can learn more about rate limits here https://stripe.com/docs/rate-limits."
    )
    return _error(StripeError(429, message, code="rate_limit"), tuple(headers))


def _error(error: StripeError, headers: tuple[tuple[str, str], ...]) -> Response:
    return Response(
        status=error.status,
        body=pretty(error.body("https://dashboard.stripe.com/test/workbench/logs")),
        headers=headers,
    )


class RateLimit:
    """At most so many requests in any one second, over all and for each operation of an endpoint.

    Args:
        per_second: Over all endpoints; None for no limit.
        per_endpoint: For one operation; None for no limit.
    """

    def __init__(self, *, per_second: int | None = None, per_endpoint: int | None = None) -> None:
        self.per_second = per_second
        self.per_endpoint = per_endpoint
        self._all: deque[float] = deque()
        self._by_endpoint: dict[str, deque[float]] = {}

    def refusal(self, endpoint: str, now: float) -> Response | None:
        """A 429 if this request, at ``now`` (monotonic seconds), is one too many; else it counts."""
        if self.per_second is None and self.per_endpoint is None:
            return None
        mine = self._by_endpoint.setdefault(endpoint, deque())
        for times in (self._all, mine):
            while times and times[0] <= now - 1:
                times.popleft()
        if self.per_second is not None and len(self._all) >= self.per_second:
            return too_many_requests(reason="global-rate")
        if self.per_endpoint is not None and len(mine) >= self.per_endpoint:
            return too_many_requests(reason="endpoint-rate")
        self._all.append(now)
        mine.append(now)
        return None


def fault_kinds() -> Sequence[str]:
    """The names of all kinds, for messages."""
    return [kind.value for kind in FaultKind]
