"""How often Stripe may be asked, what an answer means, and how long to wait before asking again.

The decisions are pure functions of an answer; `Budget` keeps the times of past requests and decides from them.
A new rule about an answer belongs in `verdict`.
"""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache

LONGEST_WAIT_SECONDS = 30.0  # between two tries of one request, unless Stripe says how long
_WINDOW_SECONDS = 1.0
# What takes longer to be answered took that long at Stripe, not on its way there. So the budget holds at Stripe's end
# for ways up to this; in return at most a fifth of it stays unused, where answers take long and each another time.
_LONGEST_WAY_SECONDS = 0.25
_TRIPS = 100  # round trips that are remembered
_LEAST_TRIPS = 30  # of fewer the shortest says little

_NOT_SET_UP = re.compile(
    r"not set up to use|unrecognized request url|only available in test ?mode|not (?:been )?(?:enabled|onboarded)"
    r"|not enabled for test ?mode|not authorized to send forwarding requests|have you onboarded|(?:sign|signed) up for"
    r"|only stripe connect platforms|do(?:es)? not have access to this (?:feature|endpoint|api)",
    re.IGNORECASE,
)
_ONE_OBJECT_ONLY = re.compile(r"could not find line items", re.IGNORECASE)
_NOT_EXPANDABLE = re.compile(r"cannot be expanded", re.IGNORECASE)
_PARAMETER = re.compile(r"\{[^}]*\}")
# Stripe's words have changed: "Having the 'rak_charge_read' permission would allow this request to continue", and
# "Enabling Charges Read ('charge_read') permissions on this key would allow this request to continue".
_PERMISSION = re.compile(r"'((?:rak_)?[a-z0-9_]+_(?:read|write))'")
_ACCOUNT = re.compile(r"\bon account '(acct_[A-Za-z0-9]+)'")


class Verdict(Enum):
    """What the tap does about an answer."""

    TAKE = auto()  # it is what was asked for
    RETRY = auto()  # Stripe or the network had a bad moment
    DENIED = auto()  # the key lacks a permission: close this list only
    NOT_SET_UP = auto()  # the account does not use this product: close this list only
    CURSOR_GONE = auto()  # the object under `starting_after` has vanished
    NOT_EXPANDABLE = auto()  # ask again without `expand[]`
    GONE = auto()  # this one object does not exist, or cannot be asked for
    KEY_REFUSED = auto()  # end the run
    REFUSED = auto()  # end the run


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Stripe's error object, as far as it may be shown: texts can quote what was sent, never what is stored."""

    status: int
    code: str
    parameter: str
    message: str
    request: str

    @property
    def permission(self) -> str | None:
        """The permission that a restricted key lacks, such as `rak_charge_read`."""
        match = _PERMISSION.search(self.message)
        return match[1] if match else None

    @property
    def account(self) -> str | None:
        """The account that the request was about, if the refusal of a permission names it."""
        match = _ACCOUNT.search(self.message) if self.status == 403 else None  # noqa: PLR2004
        return match[1] if match else None


def verdict(status: int, headers: Mapping[str, str], refusal: Refusal | None) -> Verdict:
    """Decide what an answer means.

    Args:
        status: The HTTP status.
        headers: The answer's headers, case-insensitive.
        refusal: Stripe's error, None if the body was not one.
    """
    if status == 200:  # noqa: PLR2004
        return Verdict.TAKE if refusal is None else Verdict.REFUSED
    asked = headers.get("Stripe-Should-Retry")
    if status in {409, 429} or status >= 500 or asked == "true":  # noqa: PLR2004
        return Verdict.REFUSED if asked == "false" else Verdict.RETRY
    if status == 401:  # noqa: PLR2004
        return Verdict.KEY_REFUSED
    if refusal is None:
        # Not Stripe's own words: something between here and Stripe spoke, such as a proxy's error page.
        return Verdict.RETRY if status in {403, 408} else Verdict.REFUSED
    return _meaning(status, refusal)


def _meaning(status: int, refusal: Refusal) -> Verdict:
    if _NOT_SET_UP.search(refusal.message):
        return Verdict.NOT_SET_UP
    if status == 403:  # noqa: PLR2004
        return Verdict.DENIED
    if _NOT_EXPANDABLE.search(refusal.message):
        return Verdict.NOT_EXPANDABLE
    if refusal.code == "resource_missing" and refusal.parameter == "starting_after":
        return Verdict.CURSOR_GONE
    if status == 404 or refusal.code == "resource_missing" or _ONE_OBJECT_ONLY.search(refusal.message):  # noqa: PLR2004
        return Verdict.GONE
    return Verdict.REFUSED


def retry_seconds(
    attempt: int, headers: Mapping[str, str], chance: float, *, longest: float = LONGEST_WAIT_SECONDS
) -> float:
    """Return how long to wait before the next try: what `Retry-After` says, or 0.5 s doubled each time, with jitter.

    Args:
        attempt: How many tries have failed, from 1.
        headers: The failed answer's headers; empty if there was none.
        chance: A random number from 0 to 1.
        longest: The most seconds that doubling leads to.
    """
    after = headers.get("Retry-After", "").strip()
    if after.isascii() and after.isdigit():  # a superscript is a digit too, and no number
        return min(float(after), 120.0) + chance
    return min(0.5 * 2.0 ** (attempt - 1), longest) * (0.5 + chance / 2)


@dataclass(kw_only=True, eq=False)
class Start:
    """The place of one request in the budget.

    Threads and networks bunch requests up after they have left. What is certain is that one reaches Stripe before its
    answer is here, so until then it counts as under way.

    Attributes:
        left: When the request left.
        arrived: The latest moment at which it can have reached Stripe; None until there is an answer, or the lack of
            one. Where all ways take as long, both are earlier by that, which is all the same.
    """

    left: float
    arrived: float | None = None

    def arrived_by(self, now: float) -> float:
        """Return the latest moment at which it can have reached Stripe, as far as is known now."""
        return min(now if self.arrived is None else self.arrived, self.left + _LONGEST_WAY_SECONDS)


class Trips:
    """How long round trips took of late, and how much of that all of them take.

    If a request was late at Stripe, its round trip took longer than others by at least that. So what all round trips
    take does not matter to how many requests reach Stripe in a second; only what one took beyond it does.
    """

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_TRIPS)

    def add(self, seconds: float) -> None:
        """Take in a round trip."""
        self._seconds.append(seconds)

    def common(self) -> float:
        """Return the seconds that every round trip takes; 0 while that is unknown.

        That is the shortest one, less what half of them took beyond it at most: where trips differ much, the shortest
        may be one that was lucky on its way back only.
        """
        if len(self._seconds) < _LEAST_TRIPS:
            return 0.0
        in_order = sorted(self._seconds)
        return max(0.0, 2 * in_order[0] - in_order[len(in_order) // 2])


class Budget:
    """How many requests may start in any second: over all endpoints, and on each.

    Invariants:
    * at most `per_second` requests reach Stripe in any stretch of `_WINDOW_SECONDS`, and at most
      `per_endpoint_second` of one endpoint, as far as round trips tell (`Trips`);
    * a place is never given back.

    Not thread-safe: its owner, the client, holds a lock.
    """

    def __init__(self, *, per_second: int, per_endpoint_second: int) -> None:
        self._per_endpoint_second = per_endpoint_second
        self._all: deque[Start] = deque(maxlen=per_second)
        self._endpoints: dict[str, deque[Start]] = {}
        self._trips = Trips()

    def delay(self, endpoint: str, now: float) -> float:
        """Return the seconds until a request to the endpoint may start; 0 if it may start now."""
        free = _free(self._all, now)
        on_endpoint = self._endpoints.get(_unnamed(endpoint))
        if on_endpoint:
            free = max(free, _free(on_endpoint, now))
        return max(0.0, free - now)

    def reserve(self, endpoint: str, now: float) -> Start:
        """Count a request that leaves now; its owner notes when that really was, and its `end`."""
        start, name = Start(left=now), _unnamed(endpoint)
        self._all.append(start)
        if name not in self._endpoints:
            self._endpoints[name] = deque(maxlen=self._per_endpoint_second)
        self._endpoints[name].append(start)
        return start

    def end(self, start: Start, now: float, *, answered: bool) -> None:
        """Note that a request is over.

        Args:
            start: Its place.
            now: The time.
            answered: There was an answer; else the time says nothing about round trips.
        """
        if answered:
            self._trips.add(now - start.left)
        start.arrived = max(start.left, now - self._trips.common())


@cache
def _unnamed(endpoint: str) -> str:
    """Return an endpoint without the names of its parameters: `/v1/prices/{price}` and `/v1/prices/{id}` are one."""
    return _PARAMETER.sub("{}", endpoint)


def _free(starts: deque[Start], now: float) -> float:
    """Return when a full window has room again; the past if it is not full."""
    if len(starts) < (starts.maxlen or 0):
        return 0.0
    return starts[0].arrived_by(now) + _WINDOW_SECONDS
