"""Changes → Postgres, as the target stores them: one session, one thread, one transaction for all that waits.

While one transaction is being committed others gather, so that many callers share a commit and none waits for more than
two. A change that Postgres refuses is stored apart from those that came with it, so that it spoils nothing but itself.
Postgres being away is found out by the caller whose turn it is, and for a second after that by nobody else.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from stripe_proxy.errors import NotAppliedError
from tap_stripe_events import changes
from tap_stripe_events.changes import ACCOUNT_ID
from tap_stripe_events.clock import Clock
from tap_stripe_events.families import names_by_stream
from target_postgres_stripe.batch import Batch
from target_postgres_stripe.columns import TableShape, table_shape
from target_postgres_stripe.errors import TargetError
from target_postgres_stripe.load import Loader
from target_postgres_stripe.rows import Origin, RowReader, WrongValueError
from target_postgres_stripe.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psycopg

    from tap_stripe_events.changes import Change
    from target_postgres_stripe.rows import Row

_TOGETHER_MAX = 100
"""Changes in one transaction."""

_AWAY_SECONDS = 1.0
"""How long Postgres counts as away after it was found to be."""

logger = logging.getLogger("stripe-proxy")


@dataclass(frozen=True, kw_only=True)
class Job:
    """Changes that are stored together, or not at all.

    Attributes:
        changes: The changes.
        on_tie: Called when they are stored, and one of them was as of the very moment of what was there; without it
            nobody looks.
        stored: Done when they are stored. It may be given up before.
    """

    changes: Sequence[Change]
    on_tie: Callable[[], None] | None = None
    stored: Future[None] = field(default_factory=Future)


class Transactions:
    """Stores jobs, all that it is given in one transaction. One thread at a time.

    Args:
        connect: Opens a session.
        schema: The schema with the tables.
        hard_delete: Deleted rows are removed.
        clock: The machine's clock.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], psycopg.Connection[Any]],
        schema: str,
        hard_delete: bool,
        clock: Clock | None = None,
    ) -> None:
        self._connect, self._schema, self._hard_delete = connect, schema, hard_delete
        self._clock = clock or Clock()
        self._loader: Loader | None = None
        self._away_until = float("-inf")

    def close(self) -> None:
        """End the session."""
        if self._loader is not None:
            self._loader.close()

    def store(self, jobs: Sequence[Job], *, again: bool = True) -> None:
        """Store all in one transaction; if one of them cannot be stored or the session was lost, each in its own."""
        try:
            tied = self._commit(jobs)
        except Exception as error:  # noqa: BLE001 - whatever it was, the callers get Stripe's answer, and it is logged
            was_lost = self._loader is not None and self._loader.is_lost
            self._undo()
            if again and (len(jobs) > 1 or was_lost) and self._away_until <= self._clock.monotonic():
                for job in jobs:
                    self.store([job], again=len(jobs) > 1 and not was_lost)
                return
            logger.warning("%s", error if isinstance(error, TargetError) else type(error).__name__)
            for job in jobs:
                if job.stored.running():
                    job.stored.set_exception(NotAppliedError(reason=_in_short(error)))
        else:
            for number, job in enumerate(jobs):
                if number in tied and job.on_tie is not None:
                    job.on_tie()
                if job.stored.running():
                    job.stored.set_result(None)

    def _commit(self, jobs: Sequence[Job]) -> set[int]:
        """Store jobs; return the numbers of those that were tied."""
        if self._away_until > self._clock.monotonic():
            raise NotAppliedError(reason="Postgres is away")
        if self._loader is None:
            try:
                loader = Loader(
                    connect=self._connect, schema=self._schema, hard_delete=self._hard_delete, reader_role=None,
                    writes=True,
                )  # fmt: skip
                loader.open()
            except TargetError:
                self._away_until = self._clock.monotonic() + _AWAY_SECONDS
                raise
            self._loader = loader
        now = int(self._clock.now() * 1000)
        found = [(number, change) for number, job in enumerate(jobs) for change in job.changes]
        rows: dict[str, list[tuple[int, Row]]] = {}
        for number, (job, change) in enumerate(found):
            rows.setdefault(change.stream, []).append((job, _row(change, number, now)))
        tied: set[int] = set()
        several = any(ACCOUNT_ID in change.record for _, change in found)
        for stream, of_stream in rows.items():
            shape = _shape(stream, several=several)
            self._loader.announce(shape)
            dated = [(job, row) for job, row in of_stream if jobs[job].on_tie is not None and not row.fills_gap]
            if dated:
                tied |= self._tied(shape, dated)
            batch = Batch()
            for _, row in of_stream:
                batch.add(row)
            self._loader.stage(shape, batch)
        self._loader.commit(None)
        return tied

    def _tied(self, shape: TableShape, rows: Sequence[tuple[int, Row]]) -> set[int]:
        """Return the jobs with a row that is as of the very moment of what is stored, or of another job's."""
        assert self._loader is not None  # noqa: S101 - called in a transaction
        known = self._loader.tied(shape, [row for _, row in rows])
        of_moment: dict[tuple[tuple[str, ...], str | None], set[int]] = {}
        for job, row in rows:
            of_moment.setdefault((row.key, row.as_of), set()).add(job)
        return {job for (key, _), jobs in of_moment.items() if key in known or len(jobs) > 1 for job in jobs}

    def _undo(self) -> None:
        """Begin with another session the next time: whatever went wrong, this one may be lost."""
        if self._loader is not None:
            self._loader.rollback()
            self._loader.close()
            self._loader = None


class Writer:
    """Stores changes. Started by `start`, ended by `close`; `store` may be called from any thread.

    Args:
        connect: Opens a session.
        schema: The schema with the tables.
        hard_delete: Deleted rows are removed.
        patience_seconds: While a transaction takes longer, nothing waits behind it.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], psycopg.Connection[Any]],
        schema: str,
        hard_delete: bool,
        patience_seconds: float,
    ) -> None:
        self._transactions = Transactions(connect=connect, schema=schema, hard_delete=hard_delete)
        self._patience_seconds = patience_seconds
        self._busy_since: float | None = None
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, when what was given so far is stored."""
        self._jobs.put(None)
        self._thread.join()
        self._transactions.close()

    def store(self, found: Sequence[Change], on_tie: Callable[[], None] | None = None) -> Future[None]:
        """Store changes; what comes out is an error, if they could not be.

        Args:
            found: The changes.
            on_tie: Called, in the writer's thread, if one of them was as of the very moment of what was there.
        """
        job = Job(changes=found, on_tie=on_tie)
        since = self._busy_since
        if since is not None and time.monotonic() - since > self._patience_seconds:
            job.stored.set_exception(NotAppliedError(reason="Postgres takes too long"))
        else:
            self._jobs.put(job)
        return job.stored

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, ended = self._waiting(first)
            for job in jobs:
                job.stored.set_running_or_notify_cancel()  # what Stripe did is stored, also if nobody waits any more
            self._busy_since = time.monotonic()
            self._transactions.store(jobs)
            self._busy_since = None
            if ended:
                return

    def _waiting(self, first: Job) -> tuple[list[Job], bool]:
        """Return the jobs that wait now, as many as one transaction takes, and whether there will be no more."""
        jobs, count = [first], len(first.changes)
        while count < _TOGETHER_MAX:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
            count += len(job.changes)
        return jobs, False


_encoder = msgspec.json.Encoder(decimal_format="number")


def _row(change: Change, number: int, now: int) -> Row:
    """Return a change as the row that the target makes of its message, in milliseconds since the epoch of its writing.

    Raises:
        NotAppliedError: It has no place in its table.
    """
    text, _ = storable(_encoder.encode(change.record))
    try:
        return _reader(change.stream, several=ACCOUNT_ID in change.record).read(
            msgspec.Raw(text), Origin(number=number, segment=0, version=None, extracted_at=None, sequence=now)
        )
    except WrongValueError as wrong:
        raise NotAppliedError(reason=f"{change.stream}: {wrong.column} is not {wrong.expected}") from None


@cache
def _shape(stream: str, *, several: bool) -> TableShape:
    """Return the table of a stream, as the target makes it of the tap's SCHEMA."""
    name = names_by_stream()[stream]
    schema, key = changes.singer_schema(name, several=several), changes.stream_key(name, several=several)
    return table_shape(stream, schema, key, metadata=True)


@cache
def _reader(stream: str, *, several: bool) -> RowReader:
    return RowReader(_shape(stream, several=several))


def _in_short(error: Exception) -> str:
    return str(error.facts["reason"]) if isinstance(error, NotAppliedError) else type(error).__name__
