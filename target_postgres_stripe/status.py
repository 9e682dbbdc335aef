"""STATE as rows: what the schema is a copy of (``_sync``), and how far each stream is (``_sync_status``).

A row of ``_sync_status`` is written when its bookmark changed. What changes with every poll and is the same for all
streams, ``polled_at``, is in ``_sync`` at once and in the streams' rows a little later: a tap that follows speaks twice
a second for days, and a hundred rows each time would be nothing but dead tuples. ``rows`` comes from counts.py,
``drift`` from drift.py; ``lag`` is as of the moment the row was written.

Only this project's tap says which account its STATE is about (``account``); of other taps' STATE the bookmarks are
kept and nothing is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg.types.json import Jsonb

from target_postgres_stripe.columns import quoted
from target_postgres_stripe.errors import OtherAccountError, OtherModeError, StateAheadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import psycopg

MOMENTS = ("backfill_started_at", "backfill_finished_at", "listed_at", "events_as_of")
"""The moments in this project's bookmarks up to which something is stored, each a column of ``_sync_status``.

They grow, save where the tap reads a stream anew or a person has rewound it; ``furthest`` keeps the latest ever.
"""

KEPT_BY = "kept_by"
"""How changes of a stream's objects reach the tap; ``EVENTS``: each of them is announced."""

EVENTS = "events"

MADE_UP_AT = "made_up_at"
"""When the last listing began that read a list which an earlier one had gone without."""

POLLED_AT = "polled_at"
"""When the feed was last read in full."""

PART = ("stream", "stripe_account_id")
"""The key of ``_sync_status``."""

LAG = "CASE WHEN events_as_of IS NOT NULL THEN greatest(now() - events_as_of, interval '0') END"
"""Where Stripe's clock is ahead of the database's, nothing lags."""

WRITTEN_AT = "written_at"
"""When the tap wrote a STATE: it only grows, so it tells which of two STATEs is the later one."""


class Part(NamedTuple):
    """A stream, or what is one account's of it.

    Attributes:
        stream: The stream.
        account: The account, empty where the stream is one account's alone.
    """

    stream: str
    account: str = ""

    def __str__(self) -> str:
        return f"stream {self.stream!r}" + (f" of {self.account}" if self.account else "")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whose rows these are, and how far they are.

    Attributes:
        account_id: The Stripe account, None if not known (yet).
        livemode: Whether it is live mode, None if not known.
        written_at: When the last STATE was written, None if it does not say.
        polled_at: When the feed was last read in full, None if it does not say.
    """

    account_id: str | None = None
    livemode: bool | None = None
    written_at: datetime | None = None
    polled_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a stream is, as recorded.

    Attributes:
        bookmark: Its bookmark.
        furthest: The latest that each of its ``MOMENTS`` ever was.
    """

    bookmark: Any
    furthest: Mapping[str, datetime]

    def after(self, bookmark: Any) -> Progress:
        """How far it is with another bookmark."""
        return Progress(bookmark=bookmark, furthest=latest_moments(self.furthest, moments_of(bookmark)))


NO_PROGRESS = Progress(bookmark=None, furthest={})


def identity_of(state: Any) -> Identity | None:
    """The account that a STATE is about, None if it does not say."""
    account = state.get("account") if isinstance(state, dict) else None
    if not isinstance(account, dict) or not isinstance(account.get("livemode"), bool):
        return None  # another tap's, that calls something else an account
    identifier = account.get("id")
    return Identity(
        account_id=identifier if isinstance(identifier, str) else None,
        livemode=account["livemode"],
        written_at=moment_of(state, WRITTEN_AT),
        polled_at=moment_of(state, POLLED_AT),
    )


def bookmarks_of(state: Any) -> dict[Part, Any]:
    """The bookmark of each stream; a STATE without ``bookmarks`` is taken as them."""
    return {
        Part(stream, account): bookmark
        for account, own in _accounts_of(state).items()
        for stream, bookmark in mapping(own.get("bookmarks", own)).items()
    }


def polls_of(state: Any) -> dict[str, datetime]:
    """When the feed of each account was last read in full."""
    found = {account: moment_of(own, POLLED_AT) for account, own in _accounts_of(state).items()}
    return {account: moment for account, moment in found.items() if moment is not None}


def _accounts_of(state: Any) -> dict[str, dict[str, Any]]:
    """The state of each account; one without a name where the STATE is about one alone."""
    state = mapping(state)
    if identity_of(state) is None or "accounts" not in state:
        return {"": state}
    return {account: mapping(own) for account, own in mapping(state["accounts"]).items()}


def mapping(value: Any) -> dict[str, Any]:
    """What was found where a JSON object is expected; an empty one if it is something else."""
    return value if isinstance(value, dict) else {}


def check_identity(schema: str, stored: Identity, incoming: Identity) -> None:
    """Refuse another account's or another mode's STATE; what is not known fits.

    Raises:
        OtherModeError, OtherAccountError: It does not fit.
    """
    if stored.livemode is not None and incoming.livemode is not None and stored.livemode != incoming.livemode:
        raise OtherModeError(schema=schema, stored=stored.livemode, incoming=incoming.livemode)
    if stored.account_id and incoming.account_id and stored.account_id != incoming.account_id:
        raise OtherAccountError(schema=schema, stored=stored.account_id, incoming=incoming.account_id)


def check_not_ahead(schema: str, stored: Identity, progress: Mapping[Part, Progress], state: Mapping[str, Any]) -> None:
    """Refuse a run's first STATE if it says more than the database recorded.

    A STATE is only ever emitted after the same bookmarks were committed, so the database is at least as far, unless it
    was restored or is another one. Ahead is: it was written later than the last one stored, or a moment in a bookmark
    is later than any that was stored; a moment that never was is the earliest of all. A STATE that was set back, by a
    person or by a kill before it was saved, is behind, and behind is fine: what it brings again changes nothing.

    Args:
        schema: The schema's name, for the message.
        stored: What ``_sync`` records.
        progress: How far each stream is by ``_sync_status``.
        state: The STATE.

    Raises:
        StateAheadError: It does.
    """

    def compare(whose: str, field: str, recorded: datetime | None, incoming: datetime | None) -> None:
        if incoming is not None and (recorded is None or recorded < incoming):
            raise StateAheadError(
                schema=schema, whose=whose, field=field,
                stored=recorded.isoformat() if recorded else None, incoming=incoming.isoformat(),
            )  # fmt: skip

    for part, bookmark in bookmarks_of(state).items():
        recorded = progress.get(part, NO_PROGRESS).furthest
        for field, moment in moments_of(bookmark).items():
            compare(str(part), field, recorded.get(field), moment)
    compare("it", WRITTEN_AT, stored.written_at, moment_of(state, WRITTEN_AT))


def moment_of(bookmark: Any, field: str) -> datetime | None:
    """A date-time in a bookmark, None if it has none there."""
    text = bookmark.get(field) if isinstance(bookmark, dict) else None
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def moments_of(bookmark: Any) -> dict[str, datetime]:
    """Those of ``MOMENTS`` that a bookmark has."""
    found = {field: moment_of(bookmark, field) for field in MOMENTS}
    return {field: moment for field, moment in found.items() if moment is not None}


def latest_moments(one: Mapping[str, datetime], other: Mapping[str, datetime]) -> dict[str, datetime]:
    """The later of two moments, field by field."""
    return {field: max(found[field] for found in (one, other) if field in found) for field in {**one, **other}}


def is_kept_by_events(bookmark: Any) -> bool:
    """Whether the stream is loaded, and events announce every later change of it."""
    return (
        isinstance(bookmark, dict)
        and bookmark.get(KEPT_BY) == EVENTS
        and moment_of(bookmark, "backfill_finished_at") is not None
    )


def begins_anew(before: Any, bookmark: Any) -> bool:
    """Whether the stream was loaded anew since an earlier bookmark, or a listing read what an earlier one had lacked.

    Either may be over already.
    """
    moments = [(moment_of(before, field), moment_of(bookmark, field)) for field in ("backfill_started_at", MADE_UP_AT)]
    return any(after is not None and after != earlier for earlier, after in moments)


def may_make_up(bookmark: Any) -> bool:
    """Whether the listing under way may read what an earlier one lacked, which then nobody announces."""
    if not isinstance(bookmark, dict) or bookmark.get("listing_started_at") is None:
        return False
    return bool(bookmark.get("lacked") or bookmark.get("never_used"))


def announces_losses(bookmark: Any) -> bool:
    """Whether the listing under way, or the next one, is there because a deletion took rows of the stream along."""
    return isinstance(bookmark, dict) and bool(bookmark.get("losses_announced") or bookmark.get("listing_due"))


def denied_reason(bookmark: Any) -> str | None:
    """Why Stripe refuses the stream, None if it does not."""
    denied = bookmark.get("denied") if isinstance(bookmark, dict) else None
    return str(denied.get("reason", "")) if isinstance(denied, dict) else None


def stored_identity(connection: psycopg.Connection[Any], schema: str) -> Identity:
    """Whose rows the schema holds; ``polled_at`` is left out, since nothing is compared with it."""
    columns = "account_id, livemode, state_written_at"
    row = connection.execute(f"SELECT {columns} FROM {quoted(schema)}._sync").fetchone()
    return Identity(account_id=row[0], livemode=row[1], written_at=row[2]) if row else Identity()


def stored_progress(connection: psycopg.Connection[Any], schema: str) -> dict[Part, Progress]:
    """How far each stream is."""
    # As JSON, because the table of an earlier version lacks columns; then the bookmark is all there is to know.
    found = connection.execute(
        "SELECT stream, coalesce(to_jsonb(t)->>'stripe_account_id', ''), bookmark, to_jsonb(t)->'furthest' "
        f"FROM {quoted(schema)}._sync_status t"
    )
    return {
        Part(stream, account): Progress(bookmark=None, furthest=moments_of(furthest)).after(bookmark)
        for stream, account, bookmark, furthest in found
    }


def stored_parts(connection: psycopg.Connection[Any], schema: str) -> set[Part]:
    """The streams (of accounts) that have bookmarks, without these."""
    # As JSON for the same reason as above.
    found = connection.execute(
        f"SELECT stream, coalesce(to_jsonb(t)->>'stripe_account_id', '') FROM {quoted(schema)}._sync_status t"
    )
    return {Part(*each) for each in found}


def write_identity(connection: psycopg.Connection[Any], schema: str, incoming: Identity) -> Identity:
    """Record what was not known of the account, and how far the STATE is; returns what is known now."""
    stored = stored_identity(connection, schema)
    check_identity(schema, stored, incoming)
    known = Identity(
        account_id=stored.account_id or incoming.account_id,
        livemode=incoming.livemode if stored.livemode is None else stored.livemode,
        # Several runs, each with a state of its own, may fill one schema: of one account each.
        written_at=max((each for each in (incoming.written_at, stored.written_at) if each is not None), default=None),
    )
    if known != stored or incoming.polled_at is not None:
        connection.execute(
            f"UPDATE {quoted(schema)}._sync SET account_id = %s, livemode = %s, state_written_at = %s, "
            f"polled_at = coalesce(%s, polled_at)",
            (known.account_id, known.livemode, known.written_at, incoming.polled_at),
        )
    return known


def write_progress(connection: psycopg.Connection[Any], schema: str, changed: Mapping[Part, Progress]) -> None:
    """Write the rows of the streams whose bookmark changed."""
    if not changed:
        return
    types = {
        "stream": "text",
        "stripe_account_id": "text",
        "bookmark": "jsonb",
        KEPT_BY: "text",
        "denied": "text",
        "furthest": "jsonb",
    } | dict.fromkeys(MOMENTS, "timestamptz")
    columns = ", ".join(types)
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in (*types, "lag", "updated_at") if name not in PART)
    connection.execute(
        f"INSERT INTO {quoted(schema)}._sync_status ({columns}, lag) SELECT {columns}, {LAG} "
        f"FROM jsonb_to_recordset(%s) AS b({', '.join(f'{name} {kind}' for name, kind in types.items())}) "
        f"ON CONFLICT ({', '.join(PART)}) DO UPDATE SET {changes}",
        (Jsonb([status_row(part, progress) for part, progress in changed.items()]),),
    )


def status_row(part: Part, progress: Progress) -> dict[str, Any]:
    """A stream's row, as JSON."""
    bookmark = progress.bookmark
    return {
        **dict(zip(PART, part, strict=True)),
        "bookmark": bookmark,
        KEPT_BY: bookmark.get(KEPT_BY) if isinstance(bookmark, dict) else None,
        "denied": denied_reason(bookmark),
        "furthest": {field: moment.isoformat() for field, moment in progress.furthest.items()},
        **{field: moment.isoformat() for field, moment in moments_of(bookmark).items()},
    }


def write_polls(
    connection: psycopg.Connection[Any], schema: str, polls: Mapping[str, datetime], parts: Iterable[Part]
) -> None:
    """Record in the rows of streams that the feed brings when it was last read in full, by account."""
    connection.execute(
        f"UPDATE {quoted(schema)}._sync_status t SET polled_at = p.polled_at, lag = {LAG} "
        f"FROM unnest(%s::text[], %s::timestamptz[]) AS p(account, polled_at) "
        f"WHERE stripe_account_id = p.account AND stream = ANY(%s) AND events_as_of IS NOT NULL AND denied IS NULL "
        f"AND t.polled_at IS DISTINCT FROM p.polled_at",
        ([*polls], [*polls.values()], [*{part.stream for part in parts}]),
    )


def uncounted_streams(connection: psycopg.Connection[Any], schema: str) -> list[str]:
    """The streams whose rows were never counted."""
    found = connection.execute(
        f"SELECT DISTINCT stream FROM {quoted(schema)}._sync_status WHERE rows IS NULL"
    ).fetchall()
    return [stream for (stream,) in found]


def write_counts(connection: psycopg.Connection[Any], schema: str, counts: Mapping[Part, int]) -> None:
    """Record how many live rows streams have."""
    connection.execute(
        f"UPDATE {quoted(schema)}._sync_status t SET rows = c.rows, rows_counted_at = now() "
        f"FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS c(stream, account, rows) "
        f"WHERE t.stream = c.stream AND t.stripe_account_id = c.account",
        ([part.stream for part in counts], [part.account for part in counts], [*counts.values()]),
    )
