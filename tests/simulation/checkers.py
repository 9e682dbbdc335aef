"""What must hold in a simulation: one small checker for each claim. A checker yields what is wrong, in words.

They look at the tables through a session of their own, as a reader would, and at what the tap wrote into the pipe; they
know the contract, and nothing of how it is kept.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from oracle import GAP_FILLER, KEYS, PREVIEWS, table_names
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import psycopg
    from simulated_pipe import Ended

Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen of a row: as of when it is, and whether it is marked as deleted."""

    as_of: datetime
    deleted: bool


Rows = dict[tuple[str, Key], Seen]


def moment(text: str) -> datetime:
    """A moment that can be compared."""
    return datetime.fromisoformat(text)


def rows_of(connection: psycopg.Connection[Any], tables: Iterable[str] | None = None) -> Rows:
    """Every row's age and whether it is marked as deleted, by table and key, all at one moment."""
    found: Rows = {}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for name in table_names(connection) if tables is None else tables:
            key = ", ".join(f'"{column}"' for column in KEYS.get(name, ("id",)))
            statement = f'SELECT {key}, _sdc_as_of, _sdc_deleted_at IS NOT NULL FROM stripe."{name}"'
            for *values, as_of, deleted in connection.execute(statement):  # type: ignore[call-overload]
                found[name, tuple(values)] = Seen(as_of=as_of, deleted=deleted)
    return found


class NothingGoesBack:
    """``_sdc_as_of`` of a row never goes back, and what is gone stays gone unless somebody made it again.

    Args:
        was_made: Whether an object with this id was created since the beginning.
    """

    def __init__(self, was_made: Callable[[str], bool]) -> None:
        self._was_made = was_made
        self._seen: Rows = {}
        self._gone: dict[tuple[str, Key], datetime] = {}

    def look(self, now: Rows) -> Iterator[str]:
        """Compare with what was there the last time."""
        for row, before in self._seen.items():
            after = now.get(row)
            if after is None or after.deleted:
                self._gone.setdefault(row, before.as_of)
            if after is not None and after.as_of < before.as_of and before.as_of != GAP_FILLER:
                yield f"_sdc_as_of of {row} went back from {before.as_of} to {after.as_of}"
        for row, seen in now.items():
            if row in self._gone and not seen.deleted:
                del self._gone[row]
                if row[0] not in PREVIEWS and not any(map(self._was_made, row[1])):  # one may be due again
                    yield f"{row} was gone and is there again"
        self._seen = now


def key_of(message: dict[str, Any]) -> Key:
    """The key of a RECORD."""
    return tuple(message["record"].get(column) for column in KEYS.get(message["stream"], ("id",)))


class StatePromise:
    """A STATE that the target has printed covers rows: what the tap wrote before it is in the tables.

    ``write`` takes every line that the tap wrote, ``printed`` a STATE at the moment at which it was printed, and
    ``on_covered`` is called with the newest record of each row that it covers.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._since: list[dict[str, Any]] = []
        self._states = 0
        self.on_covered: Callable[[Iterable[dict[str, Any]]], None] = lambda _: None

    def begin(self) -> None:
        """A run begins: what was not covered is lost."""
        self._since = []

    def write(self, line: bytes) -> None:
        """Take in a line that the tap has written."""
        self._since.append(json.loads(line))

    def printed(self, state: dict[str, Any]) -> Iterator[str]:
        """Check the promise of a STATE."""
        at = next((n for n, each in enumerate(self._since) if each["type"] == "STATE" and each["value"] == state), None)
        if at is None:
            yield "the target printed a STATE that the tap did not write, or printed one again"
            return
        covered, self._since = self._since[:at], self._since[at + 1 :]
        newest: dict[tuple[str, Key], dict[str, Any]] = {}
        for each in covered:
            if each["type"] == "RECORD":
                newest[each["stream"], key_of(each)] = each
        self.on_covered(newest.values())
        rows = rows_of(self._connection, {name for name, _ in newest} & table_names(self._connection))
        for (name, key), each in newest.items():
            record, row = each["record"], rows.get((name, key))
            if record["_sdc_as_of"].startswith("0001-") or record.get("_sdc_deleted_at"):
                continue
            if row is None:
                if not is_remembered(self._connection, name, key, record["_sdc_as_of"]):
                    yield f"{name} {key} was covered by a STATE and is not in its table; {_told(covered, name, key)}"
            elif each.get("version") is None and max(row.as_of, sighted(self._connection, name, key)) < moment(
                record["_sdc_as_of"]
            ):
                deleted = " (deleted)" if row.deleted else ""
                yield f"{name} {key} is as of {row.as_of}{deleted}; {_told(covered, name, key)}"
        yield from self._check_status(state)

    def _check_status(self, state: dict[str, Any]) -> Iterator[str]:
        recorded = dict(self._connection.execute("SELECT stream, bookmark FROM stripe._sync_status").fetchall())
        for stream, bookmark in state.get("bookmarks", {}).items():
            if recorded.get(stream) != bookmark:
                yield f"_sync_status of {stream} is {recorded.get(stream)}, and the STATE printed says {bookmark}"


def is_remembered(connection: psycopg.Connection[Any], name: str, key: Key, as_of: datetime | str) -> bool:
    """Whether something says why a row is not there: a deletion, its parent's list, or a listing of all."""
    found = connection.execute(
        "SELECT EXISTS "
        "(SELECT FROM stripe._tombstones WHERE (stream, key) = (%(name)s, %(key)s) AND as_of >= %(at)s) "
        "OR EXISTS (SELECT FROM stripe._streams WHERE stream = %(name)s AND floor >= %(at)s)",
        {"name": name, "at": as_of, "key": Jsonb(list(key))},
    ).fetchone()
    return bool(found and found[0])


def sighted(connection: psycopg.Connection[Any], name: str, key: Key) -> datetime:
    """As of when a listing has seen a row unchanged, which its own as-of does not tell."""
    found = connection.execute(
        "SELECT greatest(floor, "
        "(SELECT as_of FROM stripe._sweep_seen s WHERE s.stream = t.stream AND s.key::jsonb = %s)) "
        "FROM stripe._streams t WHERE t.stream = %s",
        (Jsonb(list(key)), name),
    ).fetchone()
    return found[0] if found and found[0] else GAP_FILLER


def _told(covered: list[dict[str, Any]], name: str, key: Key) -> str:
    """What the tap said of a row before a STATE."""
    said = [
        f"{each['record']['_sdc_as_of']}{' deleted' if each['record'].get('_sdc_deleted_at') else ''}"
        f" (listing {each.get('version')})"
        for each in covered
        if each["type"] == "RECORD" and each["stream"] == name and key_of(each) == key
    ]
    return f"a STATE covered {', then '.join(said)}"


def families(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """No child without its parent's version: the rows of a parent's children are those of the list last applied."""
    tables = table_names(connection)
    known: dict[tuple[str, str], dict[str, Any]] = {}
    for stream, key, lists in connection.execute("SELECT stream, key, lists FROM stripe._children"):
        for child, each in lists.items():
            if child in tables and len(key) == 1:
                known[child, f"{stream}_id"] = known.get((child, f"{stream}_id"), {}) | {key[0]: each}
    for (child, column), lists in known.items():
        if not _has_column(connection, child, column):
            continue
        alive: dict[str, dict[str, datetime]] = {}
        statement = f'SELECT "{column}", id, _sdc_as_of FROM stripe."{child}" WHERE _sdc_deleted_at IS NULL'
        for parent, identifier, as_of in connection.execute(statement):  # type: ignore[call-overload]
            alive.setdefault(parent, {})[identifier] = as_of
        for parent, each in lists.items():
            listed = moment(each["as_of"])
            for identifier, as_of in alive.get(parent, {}).items():
                if identifier not in each["ids"] and as_of <= listed:
                    yield f"{child} {identifier} of {parent} is there, and the newer list of its parent lacks it"


def drift(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """No listing had to mend what events should have kept right."""
    for stream, rows in connection.execute("SELECT stream, drift FROM stripe._sync_status WHERE drift > 0"):
        yield f"_sync_status says that {rows} rows of {stream} had drifted"


def _has_column(connection: psycopg.Connection[Any], name: str, column: str) -> bool:
    statement = (
        "SELECT count(*) FROM information_schema.columns "
        "WHERE table_schema = 'stripe' AND table_name = %s AND column_name = %s"
    )
    found = connection.execute(statement, (name, column)).fetchone()
    return bool(found and found[0])


def rate_limits(arrivals: Iterable[tuple[float, str]], *, per_second: int, per_endpoint: int) -> Iterator[str]:
    """No second has more requests than allowed, over all and on one endpoint."""
    every: deque[float] = deque()
    by_endpoint: dict[str, deque[float]] = {}
    for moment, endpoint in arrivals:
        for window, limit, name in (
            (every, per_second, "all endpoints"),
            (by_endpoint.setdefault(endpoint, deque()), per_endpoint, endpoint),
        ):
            window.append(moment)
            while window[0] <= moment - 1.0:
                window.popleft()
            if len(window) > limit:
                yield f"{len(window)} requests to {name} within the second before {moment:.3f}; {limit} are allowed"
                return


def exit_codes(ended: Ended, *, troubled: bool, state: dict[str, Any] | None) -> Iterator[str]:
    """0 means that all is in; and a run to which nothing happened ends with 0."""
    codes = f"tap {ended.tap_code} ({ended.tap_error!r}), target {ended.target_code} ({ended.target_error!r})"
    if not ended.succeeded and not troubled:
        yield f"nothing was wrong, and the run ended with {codes}"
    if ended.tap_code not in {0, 1, -9, 143} or ended.target_code not in {0, 1, -9}:
        yield f"the run ended with {codes}"
    if ended.tap_code == 1 and ended.tap_error is None:
        yield f"the tap failed and did not say why: {codes}"
    if ended.succeeded and state is None:
        yield "the run ended well, and left no state"
    if ended.succeeded and ended.written is not None and ended.written != state:
        yield f"the run ended well, and its last STATE is not kept: {codes}"
