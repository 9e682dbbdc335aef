"""The wait endpoint: says that Postgres is up to date, and never too early.

A call at a moment is answered once every stream that is followed is in up to a later second. The tap writes the second
in which a reading of the feed's whole lookback began, so that reading began after the call. Only Stripe's clock counts,
since the tap, Postgres and this service may run on three machines; `StripeBound` knows how late it is there at most.

All waiters share one look at the status, and one wish for the tap to read at once.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import psycopg

from target_postgres_stripe.columns import quoted

_LOOK_SECONDS = 0.05
_DRIFT = 1.0001  # how much faster than this machine's Stripe's clock may run
_NAMED = 3
NOT_RUNNING_SECONDS = 60


class StripeBound:
    """How late it can be at Stripe's at the most, by the `Date` headers of answers. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bound: tuple[float, float] | None = None  # a moment here, and the latest that it may be there

    def heard(self, date: str | None, asked_at: float) -> None:
        """Take in that an answer is dated so, to a request that left at a moment of the monotonic clock.

        Stripe dated it in a second that begins with its `Date`, when the request had left already: so when it left, it
        was not later there than the end of that second.
        """
        try:
            told = parsedate_to_datetime(date) if date else None
        except ValueError:
            return
        if told is None:
            return
        latest = told.replace(tzinfo=told.tzinfo or UTC).timestamp() + 1
        with self._lock:
            if self._bound is None or latest < self._at(asked_at):
                self._bound = (asked_at, latest)

    def latest(self, now: float) -> float | None:
        """Return the latest Unix time that it may be there; None if nothing was heard yet."""
        with self._lock:
            return None if self._bound is None else self._at(now)

    def _at(self, now: float) -> float:
        assert self._bound is not None  # noqa: S101 - asked by the two above only
        at, latest = self._bound
        return latest + (now - at) * (_DRIFT if now > at else 1)


@dataclass(frozen=True, kw_only=True)
class Followed:
    """How far a stream is for which the feed is read.

    Attributes:
        stream: Its name.
        backfilling_since: When its backfill began, if it is under way.
        events_as_of: Everything that Stripe announced up to then is in; None if that is not known.
    """

    stream: str
    backfilling_since: datetime | None
    events_as_of: datetime | None


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far the sync is.

    Attributes:
        followed: The streams that are not denied.
        polled_at: When the feed was last read, by the tap's clock.
        requested: The requests, of those that somebody waits for, whose events are in.
    """

    followed: tuple[Followed, ...]
    polled_at: datetime | None
    requested: frozenset[str] = frozenset()


def read_status(connection: psycopg.Connection[Any], schema: str, requests: frozenset[str]) -> Status:
    """Read how far the sync is, and which of these requests' events are in.

    A stream counts from its first bookmark on, which says what keeps its rows up to date before anything else. One that
    was never selected has at most windows of a list that others share; of one that was, the bookmark says so.
    """
    found = connection.execute(
        "SELECT stream, CASE WHEN backfill_finished_at IS NULL THEN backfill_started_at END, events_as_of "
        f"FROM {quoted(schema)}._sync_status WHERE denied IS NULL "
        "AND (backfill_started_at IS NOT NULL OR events_as_of IS NOT NULL OR bookmark ? 'kept_by') "
        "AND bookmark->>'selected' IS DISTINCT FROM 'false'"
    ).fetchall()
    polled = connection.execute(f"SELECT max(polled_at) FROM {quoted(schema)}._sync").fetchone()
    named: frozenset[str] = frozenset()
    if requests and connection.execute("SELECT to_regclass(%s)", (f"{quoted(schema)}.event",)).fetchone() != (None,):
        rows = connection.execute(
            f"SELECT DISTINCT request->>'id' FROM {quoted(schema)}.event WHERE request->>'id' = ANY(%s)",
            (list(requests),),
        ).fetchall()
        named = frozenset(identifier for (identifier,) in rows)
    return Status(
        followed=tuple(
            Followed(stream=stream, backfilling_since=since, events_as_of=as_of) for stream, since, as_of in found
        ),
        polled_at=polled[0] if polled else None,
        requested=named,
    )


def obstacle(status: Status, after: float, now: datetime, request: str | None) -> str | None:
    """Return why a call cannot be answered with yes now; None if it can.

    Args:
        status: How far the sync is.
        after: The latest Unix time that it was at Stripe's when the call came in.
        now: The time here, for what is said of the last poll.
        request: The request whose events must be in.
    """
    if not status.followed:
        return "No stream is followed: no sync has run yet, or Stripe refuses all of them."
    filling = [each for each in status.followed if each.backfilling_since is not None]
    if filling:
        since = min(each.backfilling_since for each in filling if each.backfilling_since is not None)
        names = ", ".join(sorted(each.stream for each in filling)[:_NAMED])
        more = f" and {len(filling) - _NAMED} more" if len(filling) > _NAMED else ""
        return f"The backfill is under way since {since:%Y-%m-%dT%H:%M:%SZ}: {names}{more}."
    behind = [each for each in status.followed if each.events_as_of is None or each.events_as_of.timestamp() <= after]
    if behind:
        if status.polled_at is None or now - status.polled_at > timedelta(seconds=NOT_RUNNING_SECONDS):
            last = f"{status.polled_at:%Y-%m-%dT%H:%M:%SZ}" if status.polled_at else "never"
            return f"The sync does not seem to run: it last read the feed {last}."
        oldest = min((each.events_as_of for each in behind if each.events_as_of is not None), default=None)
        return (
            f"The sync runs; what Stripe announced is in up to {oldest:%Y-%m-%dT%H:%M:%SZ}." if oldest else "None is."
        )
    if request is not None and request not in status.requested:
        return f"No event of request {request} is in. Streams: event has to be selected; a read makes no event."
    return None


class Waits:
    """Those who wait.

    Args:
        look: Reads the status, with the requests that are waited for.
        wake: Has the tap read the feed at once, if it can be reached.
    """

    def __init__(self, *, look: Callable[[frozenset[str]], Awaitable[Status]], wake: Callable[[], None]) -> None:
        self._look = look
        self._wake = wake
        self._waiting: dict[asyncio.Future[None], str | None] = {}
        self._status: Status | None = None
        self._error: Exception | None = None
        self._looking: asyncio.Task[None] | None = None

    async def until(self, after: float, *, request: str | None, timeout_seconds: float) -> str | None:
        """Wait until a call that came in at a moment can be answered with yes.

        Returns:
            None, or after the timeout why not.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while True:
            rest = deadline - asyncio.get_running_loop().time()
            looked = await self._next_look(request, max(rest, 0.0)) if rest > 0 or self._status is None else False
            if self._error is not None:
                reason: str | None = f"Postgres cannot be asked ({type(self._error).__name__})."
            elif self._status is None:
                reason = "Postgres has not answered yet."
            else:
                reason = obstacle(self._status, after, datetime.now(UTC), request)
            if reason is None or not looked:
                return reason

    async def _next_look(self, request: str | None, seconds: float) -> bool:
        """Wait for the next look at the status; return whether there was one in time."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = request
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_while_asked())
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(future, None)
        return True

    async def _look_while_asked(self) -> None:
        while self._waiting:
            asked = dict(self._waiting)
            self._wake()
            try:
                self._status = await self._look(frozenset(each for each in asked.values() if each is not None))
                self._error = None
            except Exception as error:  # noqa: BLE001 - it is told to those who wait
                self._error = error
            for future in asked:
                if not future.done():
                    future.set_result(None)
            await asyncio.sleep(_LOOK_SECONDS)


def answer(reason: str | None) -> tuple[int, Mapping[str, Any]]:
    """Return the status and the body that say so."""
    return (200, {"ok": True}) if reason is None else (504, {"ok": False, "reason": reason})
