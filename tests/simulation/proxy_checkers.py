"""What must hold of a proxy, one small checker for each claim. A checker yields what is wrong, in words.

They compare the tables with what the sandbox had when it answered, and know nothing of how the proxy stores it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from checkers import is_remembered, sighted
from oracle import GAP_FILLER, HIDDEN, KEYS, table, table_names
from oracle import _cell_differences as cell_differences
from psycopg.types.json import set_json_loads
from stripe_account import SHOWN_ON_REQUEST

from stripe_sandbox.filters import event_shows
from tap_stripe_events.families import unlisted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import psycopg
    from oracle import Oracle, StripeObject
    from simulated_proxy import Call

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Record

Object = tuple[str, str]  # the type, and the key in the sandbox's store
REMEMBERED = 60
"""How many writes are looked after."""


@dataclass(frozen=True, kw_only=True)
class Had:
    """An object as Stripe had it at a moment.

    Attributes:
        object: Which.
        line: The line of the truth; None if it was gone.
        at: The second.
        request: The request that was answered then.
    """

    object: Object
    line: bytes | None
    at: int
    request: str | None = None


class Truth:
    """What Stripe has now, object by object."""

    def __init__(self, account: Account, oracle: Oracle, complete: Callable[[StripeObject], StripeObject]) -> None:
        self.account = account
        self._oracle = oracle
        self._complete = complete

    def line(self, which: Object) -> bytes | None:
        """The line of the truth about an object; None if it is gone."""
        record = self.account.store.get(*which)
        if record is None:
            return None
        body = self.account.renderer.body(record)
        return msgspec.json.encode({"object": record.object, "key": record.key, "facts": record.facts, "data": body})

    def had(self, which: Object, request: str | None) -> Had:
        """An object as it is now."""
        return Had(object=which, line=self.line(which), at=self.account.now(), request=request)

    def cells(self, line: bytes) -> dict[str, Any]:
        """The cells of a line of the truth, which has to be that of the present."""
        each = self._complete(self._oracle.read(line))  # type: ignore[attr-defined]
        return self._oracle.cells(each.object, each.body, self._oracle._parents(each))

    def others_told(self, had: Had) -> bool:
        """Whether there are events of the same second about an object, but for those of the request itself."""
        return any(
            each.created == had.at and _carried(each) == had.object and each.body["request"]["id"] != had.request
            for each in self.account.store.table("event").records.values()
        )


class WrittenThrough:
    """What Stripe answered through the proxy is there at once, and nothing of an earlier second undoes it.

    Where several things happened to an object within a second, one may be shown in the place of a later one for a
    while: whole seconds do not tell their order. Then only the as-of is asked for.

    Args:
        connection: A session in the database.
        truth: What Stripe has.
    """

    def __init__(self, connection: psycopg.Connection[Any], truth: Truth) -> None:
        self._connection = connection
        self._truth = truth
        self._written: dict[Object, Had] = {}
        self._requests: dict[tuple[Object, int], set[str | None]] = {}

    def performed(self, call: Call, types: frozenset[str]) -> None:
        """Note what Stripe had when it answered a call."""
        exchange = call.exchange
        if exchange is None or not 200 <= exchange.response.status < 300 or exchange.response.body[:1] != b"{":
            return
        body = msgspec.json.decode(exchange.response.body)
        found = (which for each in _objects(body) if (which := _identity(each)) is not None and which[0] in types)
        call.told = tuple(self._truth.had(each, call.request_id) for each in dict.fromkeys(found))
        for had in call.told if call.asked.method != "GET" else ():
            self._requests.setdefault((had.object, had.at), set()).add(had.request)

    def read_again(self, call: Call, body: dict[str, Any]) -> None:
        """Take in that a list was read once more to be stored: what has left its page meanwhile is not stored."""
        if call.exchange is None or body.get("object") != "list":
            return
        now = {_identity(each) for each in body["data"]}
        before = msgspec.json.decode(call.exchange.response.body)["data"]
        left = {_identity(part) for each in before if _identity(each) not in now for part in _objects(each)}
        call.told = tuple(had for had in call.told if had.object not in left)

    def stored(self, call: Call, types: frozenset[str]) -> Iterator[str]:
        """Check that what a call's answer told is in the tables; ``types`` are those that have one."""
        for had in call.told:
            if had.object[0] in types:
                yield from self._check(call, had)

    def look(self) -> Iterator[str]:
        """Check that what was written through and has not changed since is still as it was."""
        for which, had in list(self._written.items()):
            if self._truth.line(which) != had.line:
                del self._written[which]
                continue
            problem = self._problem(which, had, at_least=None)
            if problem is not None and not self._is_ambiguous(had):
                yield f"a write of {which} at {had.at} by {had.request} was undone: {problem}"
                del self._written[which]

    def _is_ambiguous(self, had: Had) -> bool:
        """Whether more than one thing happened to an object in that second."""
        return len(self._requests.get((had.object, had.at), ())) > 1 or self._truth.others_told(had)

    def _check(self, call: Call, had: Had) -> Iterator[str]:
        is_read, doubted = call.asked.method == "GET", call.answered is None or call.answered.replayed
        unchanged = self._truth.line(had.object) == had.line and not self._is_ambiguous(had)
        end = datetime.fromtimestamp(had.at, UTC) + timedelta(milliseconds=999)
        row = self._row(had.object)
        if is_read and row is not None and row["_sdc_as_of"] >= end:
            return  # the row is newer than what was read, and its own event tells
        problem = self._problem(had.object, had, at_least=None if is_read or doubted else end, unchanged=unchanged)
        if problem is not None:
            asked = f"{call.asked.method} {call.asked.path} in version {call.version}, try {call.tries}"
            yield f"{asked}: {had.object} at {had.at} is not there at once: {problem}"
        elif unchanged and not is_read and not doubted:
            self._written[had.object] = had
            if len(self._written) > REMEMBERED:
                del self._written[next(iter(self._written))]

    def _problem(self, which: Object, had: Had, *, at_least: datetime | None, unchanged: bool = True) -> str | None:
        """What is wrong with the row of an object that is as it was."""
        row, name = self._row(which), table(which[0])
        key = _key(which)
        if had.line is None:
            gone = row is None or row["_sdc_deleted_at"] is not None
            return None if gone or not unchanged else "it is gone at Stripe's, and its row is not"
        if row is None or row["_sdc_deleted_at"] is not None:
            if not unchanged:  # it may be gone meanwhile
                return None
            return "there is no row" if row is None else f"its row is deleted as of {row['_sdc_as_of']}"
        if at_least is not None and max(row["_sdc_as_of"], sighted(self._connection, name, key)) < at_least:
            return f"it is as of {row['_sdc_as_of']}, and Stripe answered at {at_least}"
        if not unchanged or row["_sdc_as_of"] == GAP_FILLER:
            return None
        on_request = SHOWN_ON_REQUEST.get(which[0], ())  # the answer may lack it, and the tap has asked for it since
        differing = cell_differences(name, key, self._truth.cells(had.line), row)
        found = [each for each in differing if each.column not in on_request]
        return f"{'; '.join(map(str, found[:3]))} (as of {row['_sdc_as_of']})" if found else None

    def _row(self, which: Object) -> dict[str, Any] | None:
        set_json_loads(partial(json.loads, parse_float=Decimal), self._connection)
        name = table(which[0])
        if name not in table_names(self._connection):
            return None
        columns = " AND ".join(f'"{column}" = %s' for column in KEYS.get(name, ("id",)))
        cursor = self._connection.execute(f'SELECT * FROM stripe."{name}" WHERE {columns}', _key(which))  # type: ignore[call-overload]
        values = cursor.fetchone()
        return dict(zip([each.name for each in cursor.description], values, strict=True)) if values else None


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A call that waits, and what was to be seen in the feed when it came in.

    Attributes:
        at: The second in which it came in.
        seen: The second of the newest event about each object.
        request: The request whose events it waits for too.
    """

    at: int
    seen: dict[Object, int]
    request: str | None


class WaitPromise:
    """A wait that was answered with yes: all that the feed showed when the call came in can be read.

    Args:
        connection: A session in the database.
        account: The account.
        back: How many seconds before the call are looked at.
        refused: Stripe refuses lists or events at times, so that an event may never have been read. Of a type that no
            list shows, or not always, nothing else tells.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], account: Account, *, back: int = 120, refused: bool = False
    ) -> None:
        self._connection = connection
        self._hidden = HIDDEN.keys() | unlisted() if refused else frozenset()
        self._account = account
        self._back = back

    def begin(self, request: str | None) -> Waiting:
        """A call has come in."""
        now = self._account.now()
        shown = (each for each in self._events(now - self._back) if event_shows(each, now))
        return Waiting(at=now, seen=_newest(shown), request=request)

    def answered(self, waiting: Waiting, streams: frozenset[str]) -> Iterator[str]:
        """Check a yes; ``streams`` are the tables that Stripe does not refuse."""
        if "event" in streams and waiting.request is not None:
            yield from self._check_request(waiting.request, streams)
        yield from self._check_seen(waiting.seen, streams, f"a wait at {waiting.at}")

    def _check_request(self, request: str, streams: frozenset[str]) -> Iterator[str]:
        of_request = [each for each in self._events(0) if each.body["request"]["id"] == request]
        statement = "SELECT id FROM stripe.event WHERE request->>'id' = %s"
        stored = {identifier for (identifier,) in self._connection.execute(statement, (request,))}
        if not stored & {each.key for each in of_request}:  # Stripe does not say how many there are
            yield f"a wait for {request} was answered, and none of its {len(of_request)} events is in"
        told = _newest(each for each in of_request if each.key in stored)
        yield from self._check_seen(told, streams, f"a wait for request {request}")

    def _check_seen(self, seen: dict[Object, int], streams: frozenset[str], what: str) -> Iterator[str]:
        for which, second in seen.items():
            name = table(which[0])
            if name not in streams or name in KEYS or name == "event" or which[0] in self._hidden:
                continue
            least = datetime.fromtimestamp(second, UTC) + timedelta(milliseconds=999)
            found = None
            if name in table_names(self._connection):
                statement = f'SELECT _sdc_as_of FROM stripe."{name}" WHERE id = %s'
                found = self._connection.execute(statement, (which[1],)).fetchone()  # type: ignore[call-overload]
            key = (which[1],)
            if found is None:
                if not is_remembered(self._connection, name, key, least):
                    yield f"{what} was answered, and {which} of second {second} is not in"
            elif max(found[0], sighted(self._connection, name, key)) < least:
                yield f"{what} was answered, and {which} of second {second} is as of {found[0]}"

    def _events(self, since: int) -> Iterator[Record]:
        table = self._account.store.table("event")
        for created, _, key in reversed(table.order):
            if created < since:
                return
            yield table.records[key]


def as_of_in_the_future(connection: psycopg.Connection[Any], tables: Iterable[str], now: float) -> Iterator[str]:
    """No row claims to reflect what has not happened yet."""
    end = datetime.fromtimestamp(int(now) + 1, UTC)
    for name in tables:
        found = connection.execute(f'SELECT max(_sdc_as_of) FROM stripe."{name}"').fetchone()  # type: ignore[call-overload]
        if found and found[0] is not None and found[0] >= end:
            yield f"a row of {name} is as of {found[0]}, and it is only {end} at Stripe's"


def _carried(event: Record) -> Object | None:
    body = event.body["data"]["object"]
    return (body["object"], body["id"]) if isinstance(body.get("id"), str) else None


def _newest(events: Iterable[Record]) -> dict[Object, int]:
    newest: dict[Object, int] = {}
    for each in events:
        which = _carried(each)
        if which is not None:
            newest[which] = max(newest.get(which, 0), each.created)
    return newest


def _objects(body: Any) -> Iterator[dict[str, Any]]:
    """The object of an answer, or those of a list, with the elements of the lists that they hold."""
    if not isinstance(body, dict):
        return
    if body.get("object") in {"list", "search_result"}:
        for each in body["data"]:
            yield from _objects(each)
        return
    yield body
    for value in body.values():
        if isinstance(value, dict) and value.get("object") == "list":
            yield from _objects(value)


def _identity(body: dict[str, Any]) -> Object | None:
    """Which object it is, where its row is found by that."""
    name, identifier = body.get("object"), body.get("id")
    if not isinstance(name, str) or not isinstance(identifier, str) or table(name) in KEYS:
        return None
    return name, identifier


def _key(which: Object) -> tuple[str, ...]:
    return (which[1],)
