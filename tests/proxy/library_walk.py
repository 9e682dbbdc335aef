"""Every call of the official library, made of an account: lists page by page, retrievals, and writes.

``Walk`` says what is called; ``Twins`` makes each call at a sandbox directly and, through the proxy, at another one
just like it. What comes back has to be the same: the object, the headers, or the exception. A write that lacks a
parameter is made again with one, taken from an object of its type.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import stripe
from addresses import Address, list_address, operation, retrieve_address, write_address
from official_library import Call, calls
from shown import shown

from stripe_sandbox.families import CHILD_LISTS
from stripe_sandbox.spec import load_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from shown import Tables

    from stripe_sandbox.account import Account
    from stripe_sandbox.sandbox import Sandbox
    from stripe_sandbox.spec import Write

SPEC = load_spec()
LISTS = {operation("GET", each.path): each for each in SPEC.lists}
RETRIEVES = {operation("GET", each.path): each for each in SPEC.retrieves}
WRITES = {operation(each.method, each.path): each for each in SPEC.writes}
COMPUTED = {
    "v1.billing.credit_balance_summary.retrieve",
    "v1.credit_notes.preview",
    "v1.treasury.financial_accounts.features.retrieve",
}
"""What the sandbox does not answer."""

OF_THE_REQUEST = re.compile(r"req_\w+")
OWN_HEADERS = {"connection", "keep-alive", "transfer-encoding", "request-id", "original-request"}
TRIES = 6
PAGES_MAX = 40

USUAL: dict[str, Any] = {
    "amount": 500, "currency": "eur", "duration": "once", "mode": "payment", "name": "A", "percent_off": 5,
    "frozen_time": 1_800_000_000, "enabled_events": ["*"], "url": "https://example.com/", "value": "DE123456789",
}  # fmt: skip
"""What is sent where no object of the type says it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a call: an object and headers, or an error. What belongs to one request alone is left out."""

    kind: str
    value: str
    headers: tuple[tuple[str, str], ...] = ()
    status: int | None = None
    missing: str | None = None
    body: dict[str, Any] = field(default_factory=dict, compare=False)
    applied: str | None = field(default=None, compare=False)


def outcome(
    call: Call, client: stripe.StripeClient, address: Address, params: dict[str, Any], options: dict[str, Any]
) -> Outcome:
    """Make a call."""
    try:
        result = call.make(client, address, options=options, **params)
    except stripe.StripeError as error:
        facts = [error.user_message, error.code, error.http_status, error.http_body]
        return Outcome(
            kind=type(error).__name__,
            value=OF_THE_REQUEST.sub("", json.dumps(facts)),
            headers=headers_of(error.headers or {}),
            status=error.http_status,
            missing=getattr(error, "param", None) if error.code == "parameter_missing" else None,
            applied=(error.headers or {}).get("Stripe-Proxy-Applied"),
        )
    response = result.last_response
    return Outcome(
        kind=type(result).__name__,
        value=OF_THE_REQUEST.sub("", response.body),
        headers=headers_of(response.headers),
        status=response.code,
        body=json.loads(response.body, parse_float=Decimal),
        applied=response.headers.get("Stripe-Proxy-Applied"),
    )


Ask: TypeAlias = "Callable[[Call, Any, Address, dict[str, Any], dict[str, Any]], Outcome]"


def headers_of(headers: Any) -> tuple[tuple[str, str], ...]:
    """The headers that are alike for like requests."""
    named = sorted((name.lower(), value) for name, value in headers.items())
    return tuple((name, value) for name, value in named if name not in OWN_HEADERS)


class Walk(ABC):
    """Goes through the calls. Each is made by ``call``."""

    @property
    @abstractmethod
    def sandbox(self) -> Sandbox:
        """The account."""

    @abstractmethod
    def call(self, call: Call, address: Address, /, *, options: dict[str, Any] | None = None, **params: Any) -> Outcome:
        """Make a call."""

    @abstractmethod
    def let_a_second_pass(self) -> None:
        """So that what was written before is older than what is written next."""

    def writes(self, numbers: Iterable[int], *, of: Sequence[Call] | None = None) -> None:
        """Make every write, on one object after another; every second time with all that can be expanded."""
        for number in numbers:
            for call in calls() if of is None else of:
                if (write := WRITES.get(call.operation)) is not None:
                    may_expand = number % 2 == 1 and call.verb.upper() == "POST"
                    self._write(call, write, number, expand=expandable(write.object) if may_expand else ())
                    self.let_a_second_pass()

    def lists(self, limit: int, *, of: Sequence[Call] | None = None) -> None:
        """Go through every list, page by page, and ask for its beginning with all that can be expanded."""
        for call in calls() if of is None else of:
            endpoint = LISTS.get(call.operation)
            if endpoint is None or not any(self.sandbox.account.store.table(name).order for name in endpoint.objects):
                continue
            try:
                address = self.sandbox.run(lambda endpoint=endpoint: list_address(self.sandbox.account, endpoint))
            except IndexError:
                continue  # none has a parent
            if "limit" not in endpoint.params:
                self.call(call, address)
                continue
            paging: dict[str, Any] = {"limit": limit}
            for _ in range(PAGES_MAX):
                found = self.call(call, address, **paging)
                if found.status != 200 or not found.body["has_more"]:
                    break
                paging["starting_after"] = found.body["data"][-1]["id"]
            if expand := [f"data.{name}" for name in expandable(endpoint.objects[0])]:
                self.call(call, address, limit=limit, expand=expand)

    def retrievals(self) -> None:
        """Retrieve an object of each type, plainly and expanded, and one that is not there; search for some."""
        for call in calls():
            retrieve = RETRIEVES.get(call.operation)
            if retrieve is None or call.operation in LISTS:
                continue
            if call.name in COMPUTED or call.name.endswith(".search"):
                self.call(call, Address(values=("x",) * call.path.count("{")))
                continue
            try:
                address = self.sandbox.run(lambda retrieve=retrieve: retrieve_address(self.sandbox.account, retrieve))
            except (IndexError, StopIteration, RuntimeError):
                continue  # none is there
            self.call(call, address)
            self.call(call, address, expand=expandable(retrieve.object))
            if address.values:
                self.call(call, Address(values=(*address.values[:-1], "none_ü/%2F")))

    def _write(self, call: Call, write: Write, number: int, *, expand: Iterable[str] = ()) -> None:
        account = self.sandbox.account
        address = self.sandbox.run(lambda: writing_address(account, write, number))
        params: dict[str, Any] = {"expand": list(expand)} if expand else {}
        for _ in range(TRIES):
            found = self.call(call, address, **params)
            if found.missing is None or found.missing in params:
                break
            value = self.sandbox.run(lambda name=found.missing: _value(account, write, name, number))
            if value is None:
                break
            params[found.missing] = value


@dataclass(kw_only=True)
class Twins(Walk):
    """Makes calls of both, and keeps what was not alike, and what Postgres did not have then.

    Attributes:
        direct: The library at one sandbox.
        proxied: The library at the proxy before the other one.
        sandboxes: The two.
        tables: Compares the tables with what the second one shows.
        ask: Makes a call with one of these libraries.
    """

    direct: Any
    proxied: Any
    sandboxes: tuple[Sandbox, Sandbox]
    tables: Tables
    ask: Ask = outcome
    calls: int = 0
    good: int = 0
    compared: int = 0
    unlike: list[str] = field(default_factory=list)
    not_stored: list[str] = field(default_factory=list)

    @property
    def sandbox(self) -> Sandbox:
        """The one behind the proxy."""
        return self.sandboxes[1]

    def let_a_second_pass(self) -> None:
        """For both."""
        for sandbox in self.sandboxes:
            sandbox.run(lambda sandbox=sandbox: sandbox.account.clock.advance(1))

    def call(self, call: Call, address: Address, /, *, options: dict[str, Any] | None = None, **params: Any) -> Outcome:
        """Make a call twice."""
        self.calls += 1
        own = {} if call.verb.upper() == "GET" else {"idempotency_key": f"walk-{self.calls}"}
        given = {**own, **(options or {})}
        one, other = (self.ask(call, client, address, params, given) for client in (self.direct, self.proxied))
        if one != other:
            self.unlike.append(f"{call.name} {address} {params}: {_first_difference(repr(one), repr(other))}")
        if other.applied is not None:
            self.not_stored.append(f"{call.name}: the proxy says that it is not stored")
        if other.status == 200:
            self.good += 1
            self._compare(call, other.body, params)
        return other

    def _compare(self, call: Call, body: dict[str, Any], params: dict[str, Any]) -> None:
        if "preview" in call.path:
            return  # nothing of it is there
        names = frozenset(each.removeprefix("data.") for each in params.get("expand", ()))
        for each in shown(body, expanded=names):
            self.compared += 1
            self.not_stored += [f"{call.name}: {found}" for found in self.tables.differences(each)]


def _first_difference(one: str, other: str) -> str:
    start = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = max(start - 40, 0)
    return f"{one[start : start + 200]} and {other[start : start + 200]}"


def writing_address(account: Account, write: Write, number: int) -> Address:
    """Where a write finds objects: below a parent that has children, else an object of its type."""
    child = CHILD_LISTS.get(write.path)
    parents = account.store.table(child.parent) if child is not None else None
    if parents is None or not parents.order:
        return write_address(account, write, number)
    return Address(values=(str(parents.records[parents.order[number % len(parents.order)][2]].body["id"]),))


def _value(account: Account, write: Write, name: str, number: int) -> Any:
    table = account.store.table(write.object or "")
    if table.order:
        record = table.records[table.order[number % len(table.order)][2]]
        with suppress(KeyError):
            if (value := record.link(name)) is not None:
                return value
    return USUAL.get(name)


def expandable(object_type: str | None) -> list[str]:
    """The fields of an object that can be expanded, lists that are there on request among them."""
    fields = SPEC.fields(object_type) if object_type in SPEC.objects else {}
    return sorted(
        name
        for name, shape in fields.items()
        if shape.type == "expandable" or (shape.type == "list" and shape.optional)
    )
