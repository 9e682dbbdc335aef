"""Every request that came in: for tests that count them, and for people who wonder what a tap does."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT: Final = 200_000


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedRequest:
    """One request. ``at`` is in seconds since the epoch, real time; ``status`` 0 means that no answer was given."""

    method: str
    path: str
    query: str
    endpoint: str  # the method and the path with placeholders, such as "GET /v1/customers/{customer}"
    status: int
    at: float
    key_last4: str
    account: str | None  # what Stripe-Account named


class RequestLog:
    """The newest requests, and counts over all since the last reset. Written by the server's loop only."""

    def __init__(self) -> None:
        self._entries: deque[LoggedRequest] = deque(maxlen=KEPT)
        self._by_endpoint: Counter[str] = Counter()
        self._by_second: Counter[int] = Counter()
        self._total = 0

    def __len__(self) -> int:
        """How many requests came in since the last reset."""
        return self._total

    def add(self, entry: LoggedRequest) -> None:
        """Note a request."""
        self._entries.append(entry)
        self._by_endpoint[entry.endpoint] += 1
        self._by_second[int(entry.at)] += 1
        self._total += 1

    def entries(self) -> Sequence[LoggedRequest]:
        """The newest requests, oldest first."""
        return tuple(self._entries)

    def by_endpoint(self) -> dict[str, int]:
        """How often each endpoint was asked, most often first."""
        return dict(self._by_endpoint.most_common())

    def busiest_second(self) -> int:
        """The most requests in any one second of the clock."""
        return max(self._by_second.values(), default=0)

    def reset(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._by_endpoint.clear()
        self._by_second.clear()
        self._total = 0

    def summary(self, *, newest: int) -> dict[str, Any]:
        """Counts, and the newest requests."""
        return {
            "total": self._total,
            "busiest_second": self.busiest_second(),
            "by_endpoint": self.by_endpoint(),
            "by_second": {str(second): count for second, count in sorted(self._by_second.items())},
            "requests": [asdict(entry) for entry in list(self._entries)[-newest:]] if newest else [],
        }
