"""A sandbox Stripe as these tests use it: changed behind the tap's back, asked for the truth, and its log read."""

from __future__ import annotations

import json
from collections import Counter, deque
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fix_sandbox import NOW, Http
from oracle import Oracle, StripeObject, parse_truth

from stripe_sandbox.sandbox import Sandbox
from stripe_sandbox.truth import PREVIEWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from oracle import Expectation

SHOWN_ON_REQUEST = {"plan": ("tiers",), "price": ("currency_options", "tiers")}
"""Fields that are only in answers to requests which ask for them, as the tap's do."""


class StripeAccount:
    """One sandbox and a client of it.

    Args:
        sandbox: The sandbox.
        http: The client.
        connected: The connected account that this is; None: the key's own.
    """

    def __init__(self, sandbox: Sandbox, http: Http, connected: str | None = None) -> None:
        self.url = sandbox.url
        self.id = connected or sandbox.account.id
        self._sandbox = sandbox
        self._http = http
        self._about = {} if connected is None else {"account": connected}
        self._headers = {} if connected is None else {"Stripe-Account": connected}

    def control(self, name: str, **given: Any) -> Any:
        """Do something to the sandbox that is about this account."""
        return self._http.control(name, **given, **self._about)

    @property
    def connected(self) -> list[StripeAccount]:
        """The accounts that are connected to this one."""
        return [StripeAccount(self._sandbox, self._http, each) for each in self._sandbox.connected]

    def truth(self) -> list[StripeObject]:
        """Every object that is really there, with the fields that are shown on request."""
        return [self.complete(each) for each in parse_truth([*self.lines(), *self.lines(*PREVIEWS)])]

    def lines(self, *types: str) -> Iterable[bytes]:
        """The truth as the sandbox tells it, of all types or of some."""
        return self._http.get("/_sandbox/truth", {"types": ",".join(types), **self._about}).iter_lines()

    def expectation(self) -> Expectation:
        """What Postgres must hold."""
        return Oracle(self.id).expect(self.truth())

    def first(self, object_type: str, **facts: Any) -> StripeObject:
        """An object of a type with these facts; ``None`` asks for the absence of one."""
        return next(
            each for each in self.all(object_type) if all(each.facts.get(name) == facts[name] for name in facts)
        )

    def all(self, object_type: str) -> list[StripeObject]:
        """All objects of a type."""
        return list(parse_truth(self.lines(object_type)))

    def change(self, object_type: str, key: str, **values: Any) -> None:
        """Change an object; no event says so."""
        self.control("change", object=object_type, id=key, values=values)

    def vanish(self, object_type: str, key: str) -> None:
        """Delete an object; no event says so."""
        self.control("vanish", object=object_type, id=key)

    def create(self, path: str, **values: Any) -> dict[str, Any]:
        """Create an object through the API."""
        answer = self._http.post(path, values, headers=self._headers)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def delete(self, path: str) -> None:
        """Delete an object through the API."""
        answer = self._http.request("DELETE", path, headers=self._headers)
        assert answer.status_code == HTTPStatus.OK, answer.text

    def let_time_pass(self, seconds: int = 3_600) -> None:
        """Move the account's clock on, so that the next run is a later one."""
        self._http.control("clock", advance=seconds)

    def fault(self, kind: str, **options: Any) -> None:
        """Make requests go wrong."""
        self._http.control("faults", kind=kind, **options)

    def clear_faults(self) -> list[int]:
        """Let nothing go wrong any more; returns how many more requests each fault would have hit."""
        left = [fault["count"] for fault in self._http.get("/_sandbox/faults").json()["faults"]]
        assert self._http.request("DELETE", "/_sandbox/faults").status_code == HTTPStatus.OK
        return left

    def forget_requests(self) -> None:
        """Start a new request log."""
        self._http.control("requests/reset")

    def requests(self) -> list[dict[str, Any]]:
        """Every request since, oldest first."""
        answer: dict[str, Any] = self._http.get("/_sandbox/requests", {"newest": 200_000}).json()
        requests: list[dict[str, Any]] = answer["requests"]
        return requests

    def complete(self, each: StripeObject) -> StripeObject:
        """An object with the fields that are shown on request."""
        fields = SHOWN_ON_REQUEST.get(each.object)
        if not fields:
            return each
        answer = self._http.get(f"/v1/{each.object}s/{each.key}", {"expand[]": list(fields)}, headers=self._headers)
        assert answer.status_code == HTTPStatus.OK, answer.text
        shown = json.loads(answer.content, parse_float=Decimal)
        return replace(each, body={**each.body, **{name: shown[name] for name in fields if name in shown}})


@contextmanager
def stripe_account(account: str = "empty", **options: Any) -> Iterator[StripeAccount]:
    """A sandbox on a clock that stands, in a thread."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(account=account, **{"now": NOW, **options}))
        http = Http(sandbox.url)
        stack.callback(http.close)
        yield StripeAccount(sandbox, http)


def busiest_second(moments: Iterable[float]) -> int:
    """The most moments in any stretch of a second, wherever it begins.

    A tenth of the second is left out: moments are those of arrival, and a busy machine bunches up what left apart.
    """
    window: deque[float] = deque()
    most = 0
    for moment in moments:
        window.append(moment)
        while window[0] <= moment - 0.9:
            window.popleft()
        most = max(most, len(window))
    return most


def busiest_seconds_by_endpoint(requests: Iterable[dict[str, Any]]) -> Counter[str]:
    """The same for each endpoint."""
    moments: dict[str, list[float]] = {}
    for request in requests:
        moments.setdefault(request["endpoint"], []).append(request["at"])
    return Counter({endpoint: busiest_second(each) for endpoint, each in moments.items()})
