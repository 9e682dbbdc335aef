"""Storing what a STATE covers, in a thread beside the one that reads.

Reading is this process's work and storing is mostly Postgres': one after the other, each waits for the other half of
the time. So a job is handed over, and the next rows are read while it runs. One job at a time: the next one waits for
it, which also bounds what is in memory. Nothing else may use the loader until ``settle`` has returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from target_postgres_stripe.errors import RecordRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor, Future

    from target_postgres_stripe.batch import Batch
    from target_postgres_stripe.columns import TableShape
    from target_postgres_stripe.fragments import Sweep
    from target_postgres_stripe.sinks import PostgresSink


class Store(Protocol):
    """As much of a loader as a job needs."""

    def ensure(self, shape: TableShape) -> None:
        """Bring a stream's table to its columns."""

    def activate(self, shape: TableShape, sweep: Sweep) -> None:
        """End a sweep, or a table version."""

    def commit(self, state: Mapping[str, Any] | None) -> None:
        """Commit what was staged, with the STATE that covers it."""

    def rollback(self) -> None:
        """Undo everything since the last commit."""

    def abort(self) -> None:
        """From another thread: have what is running fail."""


Part = tuple["PostgresSink", "Batch"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is stored in one go.

    Attributes:
        parts: Each sink, parents before their children, with rows: those that the last of the STATEs covers.
        sweeps: What ends after these rows.
        states: The STATEs, by how many were read before each. Without any, the rows are staged, not committed.
        follows: Whether rows of another job were staged before, which are lost with this one if it fails.
    """

    parts: Sequence[Part]
    sweeps: Sequence[tuple[PostgresSink, Sweep]] = ()
    states: Mapping[int, dict[str, Any]]
    follows: bool

    @property
    def state(self) -> dict[str, Any]:
        """The last STATE, which covers everything; there must be one."""
        return self.states[max(self.states)]

    def before(self, segment: int) -> Job | None:
        """What the STATEs before number ``segment`` cover, None if there are none or it is not all here."""
        states = {number: state for number, state in self.states.items() if number < segment}
        if not states or self.follows:
            return None
        parts = [(sink, batch.split(segment)[0]) for sink, batch in self.parts]
        return Job(parts=parts, states=states, follows=False)

    def store(self, loader: Store) -> None:
        """Store the rows in the open transaction, end sweeps, and commit all with the STATE that covers it."""
        for sink, batch in self.parts:
            loader.ensure(sink.shape)
            sink.process_batch({"loader": loader, "batch": batch})
        for sink, sweep in self.sweeps:
            loader.activate(sink.shape, sweep)
        if self.states:
            loader.commit(self.state)


class Storing:
    """The job that runs, if any. Used by the reading thread alone.

    Attributes:
        has_failed: Whether a job could not be stored, so that none after it may be.
    """

    def __init__(self, *, loader: Store, executor: Executor, on_committed: Callable[[dict[str, Any]], None]) -> None:
        self._loader = loader
        self._executor = executor
        self._on_committed = on_committed
        self._job: Job | None = None
        self._running: Future[None] | None = None
        self.has_failed = False

    @property
    def is_busy(self) -> bool:
        """Whether a job was begun and not settled."""
        return self._running is not None

    @property
    def is_done(self) -> bool:
        """Whether a job only has to be settled."""
        return self._running is not None and self._running.done()

    def begin(self, job: Job) -> None:
        """Settle the last job and begin another one."""
        self.settle()
        self._job = job
        self._running = self._executor.submit(job.store, self._loader)

    def settle(self) -> None:
        """Wait until the running job is stored, and tell of its STATE, if it has one.

        Raises:
            RecordRefusedError: One of its records cannot be stored. What a STATE before it covers, is.
            TargetError: It could not be stored.
        """
        job, running = self._job, self._running
        if job is None or running is None:
            return
        try:
            running.result()
        except RecordRefusedError as error:
            self._forget(failed=True)
            self._store_before(job, error.segment)
            raise
        except Exception:
            self._forget(failed=True)
            raise
        self._forget(failed=False)
        self._tell(job)

    def close(self) -> None:
        """End the running job; if it has not committed yet, it never will."""
        if self._running is not None and not self._running.done():
            self._loader.abort()
        self._executor.shutdown(cancel_futures=True)

    def _tell(self, job: Job) -> None:
        if job.states:
            self._on_committed(job.state)

    def _forget(self, *, failed: bool) -> None:
        self._job = self._running = None
        self.has_failed = failed

    def _store_before(self, job: Job, segment: int) -> None:
        """After a record was refused: commit what a STATE before it covers.

        Raises:
            RecordRefusedError: An earlier record has to be refused too; what a STATE before that covers is committed.
        """
        self._loader.rollback()
        if (earlier := job.before(segment)) is None:
            return
        try:
            earlier.store(self._loader)
        except RecordRefusedError as error:
            self._store_before(earlier, error.segment)
            raise
        self._tell(earlier)
