"""STATE as rows: what the schema is a copy of (``_sync``), and how far each stream is (``_sync_status``).

Only this project's tap says which account its STATE is about (``account``); of other taps' STATE the bookmarks are
kept and nothing is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from target_postgres_stripe.columns import quoted
from target_postgres_stripe.errors import OtherAccountError, OtherModeError, StateAheadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

MOMENTS = ("backfill_started_at", "backfill_finished_at", "listed_at", "events_as_of")
"""The parts of this project's bookmarks that only grow, each a column of ``_sync_status``."""


WRITTEN_AT = "written_at"
"""When the tap wrote a STATE: it only grows, so it tells which of two STATEs is the later one."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whose rows these are, and how far they are.

    Attributes:
        account_id: The Stripe account, None if not known (yet).
        livemode: Whether it is live mode, None if not known.
        written_at: When the last STATE was written, None if it does not say.
    """

    account_id: str | None = None
    livemode: bool | None = None
    written_at: datetime | None = None


def identity_of(state: Any) -> Identity | None:
    """The account that a STATE is about, None if it does not say."""
    account = state.get("account") if isinstance(state, dict) else None
    if not isinstance(account, dict):
        return None
    return Identity(
        account_id=account.get("id"), livemode=account.get("livemode"), written_at=moment_of(state, WRITTEN_AT)
    )


def bookmarks_of(state: Any) -> dict[str, Any]:
    """The bookmark of each stream; a STATE without ``bookmarks`` is taken as them."""
    bookmarks = state.get("bookmarks", state) if isinstance(state, dict) else None
    return dict(bookmarks) if isinstance(bookmarks, dict) else {}


def check_identity(schema: str, stored: Identity, incoming: Identity) -> None:
    """Refuse another account's or another mode's STATE; what is not known fits.

    Raises:
        OtherModeError, OtherAccountError: It does not fit.
    """
    if stored.livemode is not None and incoming.livemode is not None and stored.livemode != incoming.livemode:
        raise OtherModeError(schema=schema, stored=stored.livemode, incoming=incoming.livemode)
    if stored.account_id and incoming.account_id and stored.account_id != incoming.account_id:
        raise OtherAccountError(schema=schema, stored=stored.account_id, incoming=incoming.account_id)


def check_not_ahead(
    schema: str, stored: Identity, bookmarks: Mapping[str, Mapping[str, Any]], state: Mapping[str, Any]
) -> None:
    """Refuse a run's first STATE if it says more than the database recorded.

    A STATE is only ever emitted after the same bookmarks were committed, so the database is at least as far, unless it
    was restored or is another one. Ahead is: it was written later than the last one stored, or a moment in a bookmark
    is later than the stored one; a moment that is not stored is the earliest of all.

    Args:
        schema: The schema's name, for the message.
        stored: What ``_sync`` records.
        bookmarks: The bookmark of each stream in ``_sync_status``.
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

    for stream, bookmark in bookmarks_of(state).items():
        recorded = bookmarks.get(stream, {})
        for field in MOMENTS:
            compare(f"stream {stream!r}", field, moment_of(recorded, field), moment_of(bookmark, field))
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


def denied_reason(bookmark: Any) -> str | None:
    """Why Stripe refuses the stream, None if it does not."""
    denied = bookmark.get("denied") if isinstance(bookmark, dict) else None
    return str(denied.get("reason", "")) if isinstance(denied, dict) else None


def stored_identity(connection: psycopg.Connection[Any], schema: str) -> Identity:
    """Whose rows the schema holds."""
    columns = "account_id, livemode, state_written_at"
    row = connection.execute(f"SELECT {columns} FROM {quoted(schema)}._sync").fetchone()
    return Identity(account_id=row[0], livemode=row[1], written_at=row[2]) if row else Identity()


def stored_bookmarks(connection: psycopg.Connection[Any], schema: str) -> dict[str, Any]:
    """The bookmark of each stream."""
    return dict(connection.execute(f"SELECT stream, bookmark FROM {quoted(schema)}._sync_status").fetchall())


def write_identity(connection: psycopg.Connection[Any], schema: str, incoming: Identity) -> Identity:
    """Record what was not known of the account, and how far the STATE is; returns what is known now."""
    stored = stored_identity(connection, schema)
    check_identity(schema, stored, incoming)
    known = Identity(
        account_id=stored.account_id or incoming.account_id,
        livemode=incoming.livemode if stored.livemode is None else stored.livemode,
        written_at=incoming.written_at or stored.written_at,
    )
    if known != stored:
        connection.execute(
            f"UPDATE {quoted(schema)}._sync SET account_id = %s, livemode = %s, state_written_at = %s",
            (known.account_id, known.livemode, known.written_at),
        )
    return known


def write_bookmarks(connection: psycopg.Connection[Any], schema: str, bookmarks: Mapping[str, Any]) -> None:
    """Write a row for each stream."""
    columns = ", ".join(("stream", "bookmark", *MOMENTS, "denied"))
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in ("bookmark", *MOMENTS, "denied", "updated_at"))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {quoted(schema)}._sync_status ({columns}) VALUES (%s, %s, %s, %s, %s, %s, %s) "
            f"ON CONFLICT (stream) DO UPDATE SET {changes}",
            [
                (stream, Jsonb(bookmark), *(moment_of(bookmark, field) for field in MOMENTS), denied_reason(bookmark))
                for stream, bookmark in bookmarks.items()
            ],
        )
