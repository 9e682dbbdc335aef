"""Stage with COPY, apply, in one transaction.

A ``Loader`` holds one session and at most one open transaction. ``stage`` and ``activate`` work in it; ``commit`` ends
it, together with the STATE that covers what was done. Nothing else commits, and whoever fails calls ``rollback``. A
transaction holds an advisory lock of its schema, so of several writers one writes at a time: their tables may be
created at once, and their rows locked in any order.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import psycopg

from target_postgres_stripe import drift, status, tables
from target_postgres_stripe.apply import Relation, Statements, counted
from target_postgres_stripe.columns import NEW_COLUMNS, quoted
from target_postgres_stripe.connection import cut
from target_postgres_stripe.counts import CountingRounds, live_rows
from target_postgres_stripe.drift import DriftStatements
from target_postgres_stripe.errors import RoleMissingError
from target_postgres_stripe.refusals import failures
from target_postgres_stripe.staging import copy_new, copy_rows, copy_sightings
from target_postgres_stripe.tally import Kind, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from target_postgres_stripe.batch import Batch, Whole
    from target_postgres_stripe.columns import TableShape
    from target_postgres_stripe.fragments import Sweep
    from target_postgres_stripe.rows import Row, Sighting

DELETED_FROM_STAGE_MAX = 5000
"""How many rows are deleted from a staging table until it is truncated: seldom, for a tap that follows for days."""

POLL_WRITTEN_EVERY = timedelta(seconds=10)
"""How far the polls are apart that are recorded in the rows of streams whose bookmarks did not change."""

logger = logging.getLogger("target-postgres-stripe")


class Loader:
    """Writes the rows of all streams of a run.

    Mutable state: the session, whether a transaction is open, and what this run knows of the schema's tables. One
    thread at a time. With ``writes`` the rows are not what a sync has found but what writes were answered.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], psycopg.Connection[Any]],
        schema: str,
        hard_delete: bool,
        reader_role: str | None,
        writes: bool = False,
    ) -> None:
        self._connect = connect
        self._schema = schema
        self._hard_delete = hard_delete
        self._reader_role = reader_role
        self._writes = writes
        # The session, whether a transaction that may write is open, and what the last commit recorded.
        self._session: psycopg.Connection[Any] | None = None
        self._in_transaction = False
        self._prepared = False
        self._identity: status.Identity | None = None
        self._has_committed = False
        # The last poll that a STATE told of, and the last one recorded in the streams' rows.
        self._polled_at: datetime | None = None
        self._polls: dict[str, datetime] = {}
        self._polled_at_written: datetime | None = None
        self._counting = CountingRounds()
        # The streams whose last rows were mostly as stored already.
        self._mostly_same: dict[str, bool] = {}
        # By stream: whether its table had no rows when they were first looked for, and has none since but new ones.
        self._fresh: dict[str, bool] = {}
        self.tally = Tally()
        # The streams whose rows exist only as long as those of a stream, as its SCHEMA said.
        self._owns: dict[str, tuple[str, ...]] = {}
        self._forget()

    def _forget(self) -> None:
        """Forget what a rollback may have undone."""
        self._shapes: dict[str, TableShape] = {}
        self._children: dict[str, set[str]] = {}
        self._current: dict[str, TableShape] = {}
        # By stream: the statements on its staging tables, by whether these are of sightings.
        self._stages: dict[str, dict[bool, Statements]] = {}
        # How many rows each staging table has had since it was truncated.
        self._staged_rows: dict[str, int] = {}
        # How far each stream is as committed, and the streams with repairs that no event announced yet.
        self._progress: dict[status.Part, status.Progress] = {}
        self._mended: set[status.Part] = set()
        self._prepared = False

    def open(self) -> None:
        """Open the session now rather than when it is first needed, so that wrong settings show at once."""
        self._connection()

    # State.

    def check_first_state(self, state: Mapping[str, Any]) -> None:
        """Compare a run's first STATE with what the schema holds; writes nothing.

        Raises:
            OtherAccountError, OtherModeError, StateAheadError: It does not fit.
        """
        incoming = status.identity_of(state)
        if incoming is None:
            return
        with failures():
            connection = self._connection()
            stored = status.Identity()
            progress: dict[status.Part, status.Progress] = {}
            if tables.has_bookkeeping(connection, self._schema):
                stored = status.stored_identity(connection, self._schema)
                progress = status.stored_progress(connection, self._schema)
            if not self._in_transaction:
                connection.rollback()
        status.check_identity(self._schema, stored, incoming)
        status.check_not_ahead(self._schema, stored, progress, state)
        self._identity = stored

    def check_identity(self, state: Mapping[str, Any]) -> None:
        """Refuse a later STATE of the run that is about another account."""
        incoming = status.identity_of(state)
        if incoming is not None and self._identity is not None:
            status.check_identity(self._schema, self._identity, incoming)

    # Rows.

    def announce(self, shape: TableShape) -> None:
        """Take in a stream's SCHEMA; nothing is written before its first row."""
        self._owns[shape.stream] = shape.owns

    def ensure(self, shape: TableShape) -> None:
        """Bring a stream's table to its columns, in the open transaction."""
        if self._current.get(shape.stream) == shape:
            return
        with failures():
            connection = self._begin()
            tables.ensure_table(connection, self._schema, shape)
            self._drop_stages(connection, shape.stream)
            self._current[shape.stream] = shape
            self._shapes[shape.stream] = shape
            for relation in self._relations_of_child(shape):
                self._ensure_index(connection, relation)

    def expects_the_same(self, shape: TableShape) -> bool:
        """Whether what a sweep brings next is likely to be as stored, since what came last was."""
        return shape.ordered and self._mostly_same.get(shape.stream, False)

    def stage(self, shape: TableShape, batch: Batch, whole: Whole | None = None) -> None:
        """Store rows in the open transaction.

        Args:
            shape: Their stream.
            batch: The rows.
            whole: Reads sightings whole; not needed where there are none.

        Raises:
            MissingKeyError, RecordRefusedError: One of them cannot be stored. The transaction is spoilt.
        """
        self.ensure(shape)
        if batch.rows:
            self._counting.touch([shape.stream])
        for rows in batch.rounds():
            shape = self._apply_round(shape, rows, whole)

    def tied(self, shape: TableShape, rows: Sequence[Row]) -> frozenset[tuple[str, ...]]:
        """Return the keys of the rows that are as of the very moment of what is stored, or was deleted.

        Which of the two is newer is not known. For a stream with a key, whose rows say as of when they are.
        """
        self.ensure(shape)
        moments = [row.as_of for row in rows]
        with failures():
            keys = [list(values) for values in zip(*(row.key for row in rows), strict=True)]
            found = self._begin().execute(self._statements(shape).tied(), [*keys, moments]).fetchall()
        return frozenset(found)

    def activate(self, shape: TableShape, sweep: Sweep) -> None:
        """End a sweep, or a table version, in the open transaction."""
        self.ensure(shape)
        statements = self._statements(shape)
        self._counting.touch([shape.stream])
        with failures():
            connection = self._begin()
            if shape.ordered:
                # Sightings come and go too fast for the planner's statistics: it would look each row up among a few.
                connection.execute("SET LOCAL enable_nestloop = off")
                absent, live = connection.execute(statements.count_absent(sweep)).fetchone() or (0, 0)
                connection.execute("SET LOCAL enable_nestloop = DEFAULT")
                if absent:
                    self._delete_absent(connection, statements, sweep)
                if shape.account is None:
                    status.write_counts(connection, self._schema, {status.Part(shape.stream): live})
                    self._counting.spare(shape.stream)
                for statement in statements.finish_sweep(sweep):
                    connection.execute(statement)
            else:
                self._delete(connection, shape, statements.activate_version(sweep))

    def commit(self, state: Mapping[str, Any] | None) -> None:
        """Commit everything that was staged, with the STATE that covers it."""
        with failures():
            connection = self._begin()
            changed = {} if state is None else self._changed(state)
            if state is not None:
                self._write_state(connection, state, changed)
            found = self._judge_repairs(connection, changed)
            self._commit(connection)
        self._progress |= changed
        for each in found:
            logger.warning(
                "%d rows of %s had to be mended by a sweep that no event announced, such as %s. "
                "They are right now; the number is in drift of _sync_status.",
                each.rows, each.part, ", ".join(each.keys),
            )  # fmt: skip

    def count_a_table(self, *, at_once: bool = False) -> bool:
        """Count the live rows of a table if one is due; for when there is nothing else to do.

        Args:
            at_once: Whether to count what changed without waiting for its turn.

        Returns:
            Whether there may be another one to count.
        """
        if (
            self._in_transaction
            or not self._prepared
            or (stream := self._counting.next_stream(at_once=at_once)) is None
        ):
            return False
        with failures():
            connection = self._connection()
            if shape := self._shapes.get(stream):
                accounts = [part.account for part in self._progress if part.stream == stream]
                self._counting.note(stream, live_rows(connection, self._schema, shape, accounts))
                connection.rollback()  # it only read; its locks are in nobody's way for longer
            if counts := self._counting.take():
                status.write_counts(self._begin(), self._schema, counts)
                self._commit(connection)
        return True

    def finish(self) -> None:
        """At the end of a run, bring what is in the status only now and then up to date."""
        if not self._has_committed:
            return
        with failures():
            connection = self._begin()
            if self._polled_at is not None and self._polled_at != self._polled_at_written:
                status.write_polls(connection, self._schema, self._polls, self._progress)
            self._counting.touch(status.uncounted_streams(connection, self._schema))
            self._commit(connection)
        while self.count_a_table(at_once=True):
            continue

    @property
    def is_lost(self) -> bool:
        """Whether the session has ended, by itself or by the server."""
        return self._session is not None and self._session.closed

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        if self._session is not None and not self._session.closed:
            with contextlib.suppress(psycopg.OperationalError):  # the session is lost, and with it the transaction
                self._session.rollback()
        self._in_transaction = False
        self.tally.rollback()
        self._forget()

    def abort(self) -> None:
        """From another thread: have what is running fail; ``close`` comes after that."""
        cut(self._session)

    def close(self) -> None:
        """End the session; what was not committed is undone."""
        if self._session is not None:
            self._session.close()

    # Parts.

    def _delete_absent(self, connection: psycopg.Connection[Any], statements: Statements, sweep: Sweep) -> None:
        """Delete the rows that a sweep did not bring, with those that exist only as long as they do."""
        shape = statements.shape
        part = status.Part(shape.stream, sweep.account or "")
        bookmark = self._progress.get(part, status.NO_PROGRESS).bookmark
        if status.is_kept_by_events(bookmark) and not status.announces_losses(bookmark):
            self._note_repairs(connection, [part], drift_statements(statements).note_absent(sweep))
        for relation in self._owned_by(shape):
            self._counting.touch([relation.child.stream])
            if self._delete(connection, relation.child, statements.take_along(relation, sweep)):
                self._take_along_too(connection, relation.child)
        self._delete(connection, shape, statements.delete_absent(sweep))

    def _connection(self) -> psycopg.Connection[Any]:
        if self._session is None:
            self._session = self._connect()
        return self._session

    def _begin(self) -> psycopg.Connection[Any]:
        """The session, in a transaction that may write."""
        connection = self._connection()
        if not self._in_transaction:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(self._schema),))
            self._in_transaction = True
        if not self._prepared:
            tables.ensure_bookkeeping(connection, self._schema)
            if self._reader_role:
                self._grant_reading(connection, self._reader_role)
            self._shapes = tables.known_streams(connection, self._schema)
            self._children = tables.child_streams(connection, self._schema)
            self._progress = status.stored_progress(connection, self._schema)
            self._mended = drift.parts_mended(connection, self._schema)
            self._prepared = True
        return connection

    def _commit(self, connection: psycopg.Connection[Any]) -> None:
        connection.commit()
        self.tally.commit()
        self._in_transaction = False
        self._has_committed = True

    def _changed(self, state: Mapping[str, Any]) -> dict[status.Part, status.Progress]:
        """The streams whose bookmark is another one than the stored one."""
        return {
            part: self._progress.get(part, status.NO_PROGRESS).after(bookmark)
            for part, bookmark in status.bookmarks_of(state).items()
            if part not in self._progress or self._progress[part].bookmark != bookmark
        }

    def _write_state(
        self,
        connection: psycopg.Connection[Any],
        state: Mapping[str, Any],
        changed: Mapping[status.Part, status.Progress],
    ) -> None:
        """Write what a STATE says, in as few rows as may be (see status.py)."""
        status.write_progress(connection, self._schema, changed)
        if (identity := status.identity_of(state)) is None:
            return
        self._identity = status.write_identity(connection, self._schema, identity)
        if (polled_at := identity.polled_at) is None:
            return
        self._polled_at, self._polls = polled_at, status.polls_of(state)
        if self._polled_at_written is None or polled_at - self._polled_at_written >= POLL_WRITTEN_EVERY:
            status.write_polls(connection, self._schema, self._polls, status.bookmarks_of(state))
            self._polled_at_written = polled_at

    def _judge_repairs(
        self, connection: psycopg.Connection[Any], changed: Mapping[status.Part, status.Progress]
    ) -> list[drift.Drift]:
        """Which repairs are drift, now that the streams' bookmarks have changed (see drift.py)."""
        waiting = {each for each in self._mended & changed.keys() if not status.may_make_up(changed[each].bookmark)}
        if not waiting:
            return []
        lapsed = {
            part
            for part in waiting
            if not status.is_kept_by_events(changed[part].bookmark)
            or status.begins_anew(self._progress.get(part, status.NO_PROGRESS).bookmark, changed[part].bookmark)
        }
        if lapsed:
            drift.forget(connection, self._schema, lapsed)
        found = drift.find(connection, self._schema, waiting - lapsed)
        if lapsed or found:
            self._mended = drift.parts_mended(connection, self._schema)
        return found

    def _proven(self, shape: TableShape, rows: Sequence[Row]) -> list[status.Part]:
        """Of which parts of a stream a sweep is a proof that some of the rows are of, by the bookmarks as committed."""
        whose = {row.key[0] if shape.account is not None else "" for row in rows if row.version is not None}
        parts = [status.Part(shape.stream, account) for account in whose]
        return [
            part for part in parts if status.is_kept_by_events(self._progress.get(part, status.NO_PROGRESS).bookmark)
        ]

    def _note_repairs(self, connection: psycopg.Connection[Any], parts: Sequence[status.Part], statement: str) -> None:
        if connection.execute(statement).rowcount:
            self._mended.update(parts)

    def _grant_reading(self, connection: psycopg.Connection[Any], role: str) -> None:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
            raise RoleMissingError(role=role)
        tables.grant_reading(connection, self._schema, role)

    def _statements(self, shape: TableShape, *, prefix: str = "stage") -> Statements:
        name = f"{prefix}_{hashlib.sha256(shape.stream.encode()).hexdigest()[:16]}"
        return Statements(schema=self._schema, shape=shape, stage=name, hard_delete=self._hard_delete)

    def _drop_stages(self, connection: psycopg.Connection[Any], stream: str) -> None:
        """Drop a stream's staging tables, since its columns are about to change."""
        for statements in self._stages.pop(stream, {}).values():
            connection.execute(f"DROP TABLE pg_temp.{quoted(statements.stage)}")

    def _stage_of(
        self, connection: psycopg.Connection[Any], shape: TableShape, *, of_sightings: bool = False
    ) -> Statements:
        """The statements on the staged rows of a stream, or on its staged sightings, with a table for them."""
        stages = self._stages.setdefault(shape.stream, {})
        if of_sightings not in stages:
            statements = self._statements(shape, prefix="seen" if of_sightings else "stage")
            connection.execute(f"DROP TABLE IF EXISTS pg_temp.{quoted(statements.stage)}")
            connection.execute(statements.create_sightings() if of_sightings else statements.create_stage())
            stages[of_sightings] = statements
        return stages[of_sightings]

    def _apply_round(self, shape: TableShape, rows: Sequence[Row | Sighting], whole: Whole | None) -> TableShape:
        """Apply rows of distinct keys; return their stream's shape, which a value may have made wider."""
        with failures():
            connection = self._begin()
            mostly_same = self._are_likely_the_same(connection, shape, rows)
            unknown = self._unknown(connection, shape, rows) if mostly_same else rows
        self.tally.add(shape.stream, Kind.UNCHANGED, len(rows) - len(unknown))
        read = cast("Sequence[Row]", unknown)
        if whole is not None:
            shape, read = whole(unknown)
            self.ensure(shape)
        with failures():
            connection = self._begin()
            if self._insert_new(connection, shape, read):
                written = len(read)
            else:
                written = self._apply_staged(connection, shape, read, mostly_same=mostly_same) if read else 0
        self._mostly_same[shape.stream] = 2 * written < len(rows)
        return shape

    def _are_likely_the_same(
        self, connection: psycopg.Connection[Any], shape: TableShape, rows: Sequence[Row | Sighting]
    ) -> bool:
        """Whether most rows are likely to be as stored: the last ones were, or a table that has rows is listed."""
        if not shape.ordered or shape.stream in self._mostly_same:
            return self.expects_the_same(shape)
        return any(row.version is not None for row in rows) and not self._is_fresh(connection, shape)

    def _is_fresh(self, connection: psycopg.Connection[Any], shape: TableShape) -> bool:
        if shape.stream not in self._fresh:
            found = connection.execute(self._statements(shape).has_rows()).fetchone()
            self._fresh[shape.stream] = not (found and found[0])
        return self._fresh[shape.stream]

    def _unknown(
        self, connection: psycopg.Connection[Any], shape: TableShape, rows: Sequence[Row | Sighting]
    ) -> Sequence[Row | Sighting]:
        """Of rows of distinct keys, those of which more is to be done than to note that a sweep has seen them.

        The others are recognised by their keys and hashes, and are not sent at all.
        """
        sighted = [row for row in rows if row.is_sighting]
        if not sighted:
            return rows
        statements = self._stage_of(connection, shape, of_sightings=True)
        copy_sightings(connection, statements.copy(), shape, sighted)
        found = connection.execute(statements.note_known()).fetchone()
        self._empty(connection, statements, len(sighted))
        unknown = {sighted[position].key for position in (found and found[0]) or ()}
        return [row for row in rows if not row.is_sighting or row.key in unknown]

    def _insert_new(self, connection: psycopg.Connection[Any], shape: TableShape, rows: Sequence[Row]) -> bool:
        """Copy rows of distinct keys straight into a table that is filled for the first time, if they are all new.

        Staged rows are written twice. Here there is nothing to compare them with: nothing is known of deleted rows, no
        parent's list names them, and that they are not there yet is the key's to tell.
        """
        if not (rows and self._takes_new(shape) and self._is_fresh(connection, shape)):
            return False
        if not all(row.has_only_values for row in rows):
            return False
        statements = self._statements(shape)
        if (found := connection.execute(statements.now_if_nothing_is_known()).fetchone()) is None:
            self._fresh[shape.stream] = False
            return False
        try:
            with connection.transaction():
                copy_new(connection, statements.copy_new(), shape, rows, found[0])
        except (psycopg.IntegrityError, psycopg.NotSupportedError):
            self._fresh[shape.stream] = False
            return False
        self.tally.add(shape.stream, Kind.CREATED, len(rows))
        return True

    def _takes_new(self, shape: TableShape) -> bool:
        """Whether rows of a stream may go straight into its table, as long as that has only what came so."""
        return (
            shape.ordered
            and bool(shape.key)
            and all(shape.adds(column) for column in NEW_COLUMNS)
            and next(self._relations_of_child(shape), None) is None
            and not any(part.stream == shape.stream for part in self._mended)
        )

    def _apply_staged(
        self, connection: psycopg.Connection[Any], shape: TableShape, rows: Sequence[Row], *, mostly_same: bool = False
    ) -> int:
        """Stage rows of distinct keys and apply them; return how many were written."""
        statements = self._stage_of(connection, shape)
        copy_rows(connection, statements.copy(), shape, rows)
        if not shape.key:
            written = connection.execute(statements.append()).rowcount
            self.tally.add(shape.stream, Kind.CREATED, written)
        elif not shape.ordered:
            written = self._write(connection, shape, statements.upsert())
            self.tally.add(shape.stream, Kind.UNCHANGED, len(rows) - written)
            if self._hard_delete and any(row.deleted for row in rows):
                self._delete(connection, shape, statements.remove_deleted())
        else:
            written = self._apply_ordered(connection, statements, rows, mostly_same=mostly_same)
        self._empty(connection, statements, len(rows))
        return written

    def _empty(self, connection: psycopg.Connection[Any], statements: Statements, rows: int) -> None:
        """Empty a staging table of so many rows."""
        staged = self._staged_rows.get(statements.stage, 0) + rows
        few = staged <= DELETED_FROM_STAGE_MAX
        connection.execute(statements.delete_from_stage() if few else statements.truncate_stage())
        self._staged_rows[statements.stage] = staged if few else 0

    def _apply_ordered(
        self, connection: psycopg.Connection[Any], statements: Statements, rows: Sequence[Row], *, mostly_same: bool
    ) -> int:
        """Apply staged rows that say as of when they are; each statement only if some row needs it."""
        shape = statements.shape
        swept = any(row.version is not None for row in rows)
        if swept and (proven := self._proven(shape, rows)):
            noted = drift_statements(statements).note_mended([part.account for part in proven])
            self._note_repairs(connection, proven, noted)
        if any(part.stream == shape.stream for part in self._mended) and any(
            row.version is None and not row.fills_gap for row in rows
        ):
            connection.execute(drift_statements(statements).forget_announced())
        changes = sum(not row.deleted and not row.fills_gap for row in rows)
        written = 0
        if changes:
            written = self._write(connection, shape, statements.apply_changes(spares=mostly_same))
            if written < changes:
                connection.execute(statements.advance_as_of())
                if swept:
                    connection.execute(statements.renew_hashes())
        if any(row.fills_gap and not row.deleted for row in rows):
            written += self._write(connection, shape, statements.fill_gaps())
        if any(row.deleted for row in rows):
            if self._hard_delete:
                written += self._delete(connection, shape, statements.remove())
                connection.execute(statements.leave_tombstones())
            else:
                written += self._delete(connection, shape, statements.mark_deleted())
        self.tally.add(shape.stream, Kind.UNCHANGED, len(rows) - written)
        if swept and written < len(rows):  # what is written has its version and as-of in its row
            connection.execute(statements.note_sightings())
        self._apply_lists(connection, statements, rows)
        return written

    def _apply_lists(self, connection: psycopg.Connection[Any], statements: Statements, rows: Sequence[Row]) -> None:
        """Apply what the staged rows and their parents say about who is whose child."""
        shape = statements.shape
        brought = {child for row in rows for child in row.lists}
        if brought:
            self._register_children(connection, shape, brought)
            connection.execute(statements.store_lists())
            for relation in self._relations_of_parent(shape):
                if relation.child.stream in brought:
                    self._counting.touch([relation.child.stream])
                    if self._delete(connection, relation.child, statements.enforce_lists_on_children(relation)):
                        self._take_along_too(connection, relation.child)
        for relation in self._relations_of_child(shape):
            self._delete(connection, shape, statements.enforce_lists_on_staged(relation, writes=self._writes))

    def _take_along_too(self, connection: psycopg.Connection[Any], shape: TableShape) -> None:
        """After rows of a stream have gone with their parents, let their own children go."""
        for relation in self._owned_by(shape):
            self._counting.touch([relation.child.stream])
            self._delete(connection, relation.child, self._statements(shape).take_along_too(relation))

    def _write(self, connection: psycopg.Connection[Any], shape: TableShape, statement: str) -> int:
        """Run a statement that inserts or updates rows of a stream; return how many."""
        created, updated = connection.execute(counted(statement)).fetchone() or (0, 0)
        self.tally.add(shape.stream, Kind.CREATED, created)
        self.tally.add(shape.stream, Kind.UPDATED, updated)
        return int(created + updated)

    def _delete(self, connection: psycopg.Connection[Any], shape: TableShape, statement: str) -> int:
        """Run a statement that deletes rows of a stream, or marks them as deleted; return how many."""
        deleted = connection.execute(statement).rowcount
        self.tally.add(shape.stream, Kind.DELETED, deleted)
        return deleted

    def _register_children(self, connection: psycopg.Connection[Any], shape: TableShape, brought: set[str]) -> None:
        known = self._children.get(shape.stream, set())
        if brought <= known:
            return
        self._children[shape.stream] = known | brought
        tables.add_child_streams(connection, self._schema, shape.stream, known | brought)
        for relation in self._relations_of_parent(shape):
            if relation.child.stream not in known:
                self._ensure_index(connection, relation)

    def _ensure_index(self, connection: psycopg.Connection[Any], relation: Relation) -> None:
        if statement := tables.parent_index(self._schema, relation):
            connection.execute(statement)

    def _owned_by(self, parent: TableShape) -> Iterator[Relation]:
        """The streams whose rows exist only as long as those of a stream, where their tables have what that takes."""
        for stream in self._owns.get(parent.stream, ()):
            if (child := self._shapes.get(stream)) is not None:
                relation = Relation(parent=parent, child=child)
                if relation.is_complete:
                    yield relation

    def _relations_of_parent(self, parent: TableShape) -> Iterator[Relation]:
        """The child streams of a stream whose tables exist and can be told by parent."""
        for stream in sorted(self._children.get(parent.stream, ())):
            if (child := self._shapes.get(stream)) is not None:
                relation = Relation(parent=parent, child=child)
                if relation.is_complete:
                    yield relation

    def _relations_of_child(self, child: TableShape) -> Iterator[Relation]:
        """The parent streams of a stream, in the same manner."""
        for stream, children in sorted(self._children.items()):
            if child.stream in children and (parent := self._shapes.get(stream)) is not None:
                relation = Relation(parent=parent, child=child)
                if relation.is_complete:
                    yield relation


def drift_statements(statements: Statements) -> DriftStatements:
    """The statements on the repairs of a stream, by those on its rows."""
    return DriftStatements(
        schema=statements.schema, shape=statements.shape, stage=statements.stage, hard_delete=statements.hard_delete
    )


def lock_number(schema: str) -> int:
    """The advisory lock of a schema's writers."""
    return int.from_bytes(hashlib.sha256(f"target-postgres-stripe {schema}".encode()).digest()[:8], signed=True)
