"""How the sync stands, in the words a person needs: read from the target's own tables, decided in pure functions.

``read`` takes one look; the status page and the metrics show it and decide nothing. A database that nothing was written
to, a sync that never ran and a stream that nobody reads yet are states like others.

What is odd: no table records why a run failed. All that is known of failures is what the bookmarks keep: what Stripe
refuses, which lists a listing went without, times whose events are lost, rows that had to be mended, and how long ago
the feed was last read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from tap_stripe_events.references import references as schema_references
from target_postgres_stripe.columns import quoted
from target_postgres_stripe.status import mapping, moment_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import psycopg

FOLLOWED_WITHIN = timedelta(minutes=1)
"""A sync that follows reads the feed twice a second, and its lookback every ten: a minute is too long."""

LEFT_BEHIND_AFTER = timedelta(minutes=2)
"""The rows of streams say a little later than ``_sync`` when the feed was last read."""

ESTIMATED_FROM = 0.05
"""The part of a list that must be read before the rest is reckoned from it."""


class StreamState(StrEnum):
    """How a stream is."""

    DENIED = "denied"  # Stripe refuses it to the sync's key
    BACKFILLING = "backfilling"  # its table is being filled
    LIVE = "live"  # its table is filled and kept up to date
    WAITING = "waiting"  # nothing of it was read yet
    NOT_IN_USE = "not in use"  # the account does not use the product


@dataclass(frozen=True, kw_only=True)
class Denial:
    """Stripe refuses a stream.

    Attributes:
        reason: Why.
        permission: The permission of the key that is missing; None if that is not the reason.
        since: Since when.
        tried_at: When it was last tried.
    """

    reason: str
    permission: str | None = None
    since: datetime | None = None
    tried_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Backfill:
    """How far the filling of a table is.

    Attributes:
        started_at: When it began.
        open_windows: How many stretches of its lists are still to be read.
        reached: The oldest moment of creation read so far; other stretches may still lack newer objects.
        fraction: How much of the time that the list spans is read, 0 to 1; None if that cannot be told.
        remaining: How long the rest takes if objects are spread evenly over time; None if that cannot be told.
        doubt: Why there is no estimate; empty if there is one.
    """

    started_at: datetime
    open_windows: int = 0
    reached: datetime | None = None
    fraction: float | None = None
    remaining: timedelta | None = None
    doubt: str = ""


@dataclass(frozen=True, kw_only=True)
class StreamStatus:
    """How a stream stands.

    Attributes:
        stream: Its name, which is also its table's.
        account: Whose part of it this is, where the tables have the rows of several accounts.
        state: How it is.
        rows: How many of its rows are not deleted, as last counted; None if they never were.
        kept_by: What keeps it up to date.
        lag: How far behind the present is what Stripe announced and is in; None if no events tell of it.
        polled_at: When the feed was last read for it.
        swept_at: When its last listing that was finished began.
        listing_since: When the listing under way began; None if none is, and while the table is filled.
        listing_because: Why it is listed.
        backfill: How far its backfill is; None unless it is ``BACKFILLING``.
        denial: Why Stripe refuses it; None unless it is ``DENIED`` or ``NOT_IN_USE``.
        not_read: The lists that its listing went without, and why.
        gap: A time whose events are lost, from and to, that no list makes up for.
        drift: How many rows had to be mended that events should have kept right.
        drift_found_at: When the last such row was found.
    """

    stream: str
    state: StreamState
    account: str = ""
    rows: int | None = None
    kept_by: str | None = None
    lag: timedelta | None = None
    polled_at: datetime | None = None
    swept_at: datetime | None = None
    listing_since: datetime | None = None
    listing_because: str = ""
    backfill: Backfill | None = None
    denial: Denial | None = None
    not_read: Mapping[str, str] = field(default_factory=dict)
    gap: tuple[datetime, datetime] | None = None
    drift: int = 0
    drift_found_at: datetime | None = None

    @property
    def name(self) -> str:
        """What it is called where those of all accounts stand together."""
        return f"{self.stream} of {self.account}" if self.account else self.stream


@dataclass(frozen=True, kw_only=True, order=True)
class Reference:
    """A column that holds ids of another stream's rows.

    Attributes:
        stream: The stream with the column.
        column: The column.
        of: The stream whose ids it holds.
    """

    stream: str
    column: str
    of: str


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How a sync stands at a moment.

    Attributes:
        schema: The schema that it fills.
        taken_at: The moment, by the database's clock.
        sync_id: The wait endpoint's id; None if nothing was ever written to the schema.
        livemode: Whether these are live mode's rows; None if that is not known.
        polled_at: When the feed was last read.
        written_at: When the last state that is stored was written.
        streams: Each stream, by name.
        references: What refers to what, among streams that have rows.
    """

    schema: str
    taken_at: datetime
    sync_id: str | None = None
    livemode: bool | None = None
    polled_at: datetime | None = None
    written_at: datetime | None = None
    streams: tuple[StreamStatus, ...] = ()
    references: tuple[Reference, ...] = ()

    def having(self, *states: StreamState) -> tuple[StreamStatus, ...]:
        """The streams in one of these states."""
        return tuple(each for each in self.streams if each.state in states)

    @property
    def poll_age(self) -> timedelta | None:
        """How long ago the feed was last read."""
        return age(self.polled_at, self.taken_at)


def read(connection: psycopg.Connection[Any], schema: str) -> Snapshot:
    """Take one look at the tables, in a transaction of its own that changes nothing.

    Args:
        connection: A session that is in no transaction.
        schema: The target's schema; it need not exist.

    Raises:
        psycopg.Error: The database is away, or its user may not read the tables.
    """
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")
        cursor.execute("SELECT now() AS now, array_agg(relname) AS tables FROM pg_class WHERE relname = ANY(%s) "
                       "AND relnamespace = to_regnamespace(%s)", (list(_READ), quoted(schema)))  # fmt: skip
        found = cursor.fetchone() or {}
        taken_at: datetime = found["now"]
        if not {*_READ} <= {*(found["tables"] or ())}:
            return Snapshot(schema=schema, taken_at=taken_at)
        sync = cursor.execute(f"SELECT * FROM {quoted(schema)}._sync").fetchone()
        rows = cursor.execute(f"SELECT * FROM {quoted(schema)}._sync_status").fetchall()
        rows.sort(key=lambda each: (each["stream"], each.get("stripe_account_id", "")))
        columns = cursor.execute(_COLUMNS.format(schema=quoted(schema)), (quoted(schema),)).fetchall()
        if sync is None:
            return Snapshot(schema=schema, taken_at=taken_at)
        beginning = None
        if {("account", "id"), ("account", "created")} <= {(each["stream"], each["name"]) for each in columns}:
            query = f"SELECT created FROM {quoted(schema)}.account WHERE id = %s"
            account = cursor.execute(query, (sync["account_id"],)).fetchone()
            beginning = account["created"] if account and isinstance(account["created"], datetime) else None
    streams = tuple(
        stream_status(row, taken_at=taken_at, written_at=sync["state_written_at"], beginning=beginning) for row in rows
    )
    return Snapshot(
        schema=schema,
        taken_at=taken_at,
        sync_id=str(sync["id"]),
        livemode=sync["livemode"],
        polled_at=sync["polled_at"],
        written_at=sync["state_written_at"],
        streams=streams,
        references=references(
            ((each["stream"], each["name"]) for each in columns), {each.stream for each in streams if each.rows}
        ),
    )


_READ = ("_sync", "_sync_status", "_streams")
_COLUMNS = """
    SELECT s.stream, a.attname AS name FROM {schema}._streams s
      JOIN pg_class c ON c.relname = s.table_name AND c.relnamespace = to_regnamespace(%s)
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     ORDER BY s.stream, a.attnum
"""


def stream_status(
    row: Mapping[str, Any], *, taken_at: datetime, written_at: datetime | None, beginning: datetime | None
) -> StreamStatus:
    """How a stream stands by its row of ``_sync_status``.

    Args:
        row: The row.
        taken_at: Now.
        written_at: When the last state was written.
        beginning: When the account was made: nothing in it is older.
    """
    bookmark = row["bookmark"] if isinstance(row["bookmark"], dict) else {}
    state = state_of(row, bookmark)
    is_filling = state is StreamState.BACKFILLING
    gap = bookmark.get("gap")
    ends = (moment_of(gap, "from"), moment_of(gap, "to"))
    is_refused = state in {StreamState.DENIED, StreamState.NOT_IN_USE}
    return StreamStatus(
        stream=row["stream"],
        account=row.get("stripe_account_id", ""),
        state=state,
        rows=row["rows"],
        kept_by=row["kept_by"],
        lag=None if is_refused or is_filling else age(row["events_as_of"], taken_at),
        polled_at=row["polled_at"],
        swept_at=row["listed_at"],
        listing_since=None if is_filling else moment_of(bookmark, "listing_started_at"),
        listing_because=str(bookmark.get("listing_because") or ""),
        backfill=backfill_of(
            bookmark, row["backfill_started_at"], taken_at=taken_at, written_at=written_at, beginning=beginning
        ) if is_filling else None,
        denial=denial_of(row["denied"], bookmark) if is_refused else None,
        not_read={str(path): str(why) for path, why in mapping(bookmark.get("not_read")).items()},
        gap=(ends[0], ends[1]) if ends[0] and ends[1] else None,
        drift=row["drift"],
        drift_found_at=row["drift_found_at"],
    )  # fmt: skip


def state_of(row: Mapping[str, Any], bookmark: Mapping[str, Any]) -> StreamState:
    """How a stream is.

    What Stripe lists nowhere has no backfill: its table is filled by events, and by what other objects hold.
    """
    if row["denied"] is not None:
        unused = bool(mapping(bookmark.get("denied")).get("not_set_up"))
        return StreamState.NOT_IN_USE if unused else StreamState.DENIED
    if row["backfill_finished_at"] is not None:
        return StreamState.LIVE
    if row["backfill_started_at"] is not None:
        return StreamState.BACKFILLING
    return StreamState.LIVE if row["events_as_of"] is not None else StreamState.WAITING


def denial_of(reason: str, bookmark: Mapping[str, Any]) -> Denial:
    """Why Stripe refuses a stream."""
    found = re.search(r"the key lacks the permission (\S+)$", reason)
    denied = bookmark.get("denied")
    return Denial(
        reason=reason or "refused without a reason",
        permission=found[1] if found else None,
        since=moment_of(denied, "since"),
        tried_at=moment_of(denied, "tried_at"),
    )


def backfill_of(
    bookmark: Mapping[str, Any],
    started_at: datetime,
    *,
    taken_at: datetime,
    written_at: datetime | None,
    beginning: datetime | None,
) -> Backfill:
    """How far a backfill is, and what is left of it where that can be told.

    Lists are read from the newest object to the oldest, in stretches of the time of creation, so what is read of that
    time is known if its beginning is: the start date, or the account's own. Objects need not be spread evenly, and what
    belongs to them is read with them, so the estimate is a rough one.

    Args:
        bookmark: The stream's bookmark.
        started_at: When the backfill began.
        taken_at: Now.
        written_at: When the last state was written: what it says was so then.
        beginning: When the account was made.
    """
    windows = [each for each in bookmark.get("open_windows") or () if isinstance(each, dict)]
    first = moment_of(bookmark, "listing_from") or beginning
    last = moment_of(bookmark, "listing_started_at") or started_at
    fraction, doubt = part_read(windows, first, last)
    remaining = None
    if fraction is not None and fraction < ESTIMATED_FROM:
        doubt = "too little is read to reckon from"
    elif fraction is not None and (written_at is None or taken_at - written_at > FOLLOWED_WITHIN):
        doubt = "it does not go on at present"
    elif fraction is not None and written_at is not None:
        remaining = max(written_at - last, timedelta(0)) * ((1 - fraction) / fraction)
    return Backfill(
        started_at=started_at,
        open_windows=len(windows),
        reached=min((moment for each in windows if (moment := moment_of(each, "after_created"))), default=None),
        fraction=fraction,
        remaining=remaining,
        doubt=doubt,
    )


def part_read(windows: Sequence[Mapping[str, Any]], first: datetime | None, last: datetime) -> tuple[float | None, str]:
    """How much of a list's time is read; or None, and why that cannot be told.

    Args:
        windows: What is still to be read.
        first: When the oldest object may have been created, None if that is not known.
        last: When the newest may.
    """
    if not windows:
        return None, "read along with what it belongs to"
    if len({each.get("list") for each in windows}) > 1 or any("pass" in each for each in windows):
        return None, "read in several passes, so that the rest cannot be told"
    if any(each.get("after") and moment_of(each, "after_created") is None for each in windows):
        return None, "its list is in no order of time, so that the rest cannot be told"
    seen = [moment for each in windows for name in _ENDS if (moment := moment_of(each, name))]
    # Objects can be older than the account: they were brought along from another one.
    if first is None or first >= last or first > min(seen, default=last):
        return None, "nobody knows how far back its list goes"
    rest = timedelta(0)
    for each in windows:
        reached = moment_of(each, "after_created") or moment_of(each, "to") or last
        rest += max(reached - (moment_of(each, "from") or first), timedelta(0))
    return min(max(1 - rest / (last - first), 0.0), 1.0), ""


_ENDS = ("from", "to", "after_created")


def references(columns: Iterable[tuple[str, str]], having_rows: Collection[str]) -> tuple[Reference, ...]:
    """What refers to what, among streams that have rows.

    A column whose ids may be of several streams, such as a charge's source, is left out: what it names differs by row.

    Args:
        columns: Each stream's columns, as stream and name.
        having_rows: The streams with rows.
    """
    known = schema_references()
    found = [
        Reference(stream=stream, column=column, of=of[0])
        for stream, column in columns
        if stream in having_rows and len(of := known.get((stream, column), ())) == 1 and of[0] in having_rows
    ]
    return tuple(sorted(found))


def age(moment: datetime | None, now: datetime) -> timedelta | None:
    """How long ago a moment was; nothing lies in the future, whatever clocks say."""
    return None if moment is None else max(now - moment, timedelta(0))


def lists_not_read(streams: Iterable[StreamStatus]) -> dict[tuple[str, str], list[str]]:
    """The lists that listings went without, each with the reason and the streams that lack what is in it."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in streams:
        for refusal in each.not_read.items():
            found[refusal].append(each.name)
    return dict(found)


def left_behind(snapshot: Snapshot) -> tuple[StreamStatus, ...]:
    """The live streams that the last readings of the feed were not for; maybe they are not selected any more."""
    return tuple(
        each
        for each in snapshot.having(StreamState.LIVE)
        if each.lag is not None
        and snapshot.polled_at is not None
        and (each.polled_at is None or snapshot.polled_at - each.polled_at > LEFT_BEHIND_AFTER)
    )


def behind(snapshot: Snapshot) -> timedelta | None:
    """How far behind the present the live streams are, those left aside that nobody reads any more."""
    aside = {each.name for each in left_behind(snapshot)}
    lags = [each.lag for each in snapshot.having(StreamState.LIVE) if each.lag is not None and each.name not in aside]
    return max(lags, default=None)
