"""``--verify``: compare what a tap sends with the tables, and change neither.

``Verification`` stands where the loader stands, so the messages take the same way in, and a record becomes the same
values. Instead of applying staged rows, it says of each what applying it would do, in the words of fragments.py. Only
temporary tables of its session are written, every statement is a transaction of its own, and no advisory lock is taken:
a sync may run meanwhile, and may even alter a table.

Because a sync may run, a difference only counts if it is still there at the end of the input: a row that an event
changed just before the tap listed it may not have been stored yet. What differs is kept until then, and compared again.

Memory: keys and outcomes are in temporary tables, and so are the records that differ; here are only counters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from target_postgres_stripe import status, tables
from target_postgres_stripe.apply import Statements
from target_postgres_stripe.columns import AS_OF, DELETED_AT, literal, quoted
from target_postgres_stripe.connection import cut
from target_postgres_stripe.errors import NothingStoredError
from target_postgres_stripe.fragments import GAP_FILLER, LONG_AGO, Fragments, staged_value
from target_postgres_stripe.refusals import failures
from target_postgres_stripe.report import (
    DIFFERENT,
    EQUAL,
    EXAMPLES_MAX,
    MISSING,
    NEWER,
    SURPLUS,
    Example,
    Report,
    StreamReport,
)
from target_postgres_stripe.staging import copy_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import psycopg

    from target_postgres_stripe.batch import Batch, Whole
    from target_postgres_stripe.columns import Column, TableShape
    from target_postgres_stripe.fragments import Sweep
    from target_postgres_stripe.tables import StoredTable


@dataclass(frozen=True, kw_only=True)
class Comparison(Fragments):
    """The statements that compare staged records of a stream with its table.

    Attributes:
        heard: The name of the temporary table of keys and outcomes.
        stored: The stream's table as it is, None if there is none.
    """

    heard: str
    stored: StoredTable | None

    def create_stage(self) -> str:
        """Create the staging table."""
        statements = Statements(schema=self.schema, shape=self.shape, stage=self.stage, hard_delete=self.hard_delete)
        return statements.create_stage()

    def index_stage(self) -> str:
        """Find staged records by key, where many gather."""
        key = ", ".join(quoted(column.name) for column in self.shape.key)
        return f"CREATE INDEX ON pg_temp.{quoted(self.stage)} ({key})"

    def create_heard(self) -> str:
        """Create the table of keys and outcomes, which all comparisons of a stream share."""
        return f"CREATE TEMPORARY TABLE IF NOT EXISTS {quoted(self.heard)} (key jsonb PRIMARY KEY, outcome text)"

    def copy(self) -> str:
        """Fill the staging table."""
        return f"COPY pg_temp.{quoted(self.stage)} FROM STDIN"

    def note_outcomes(self) -> str:
        """Note what each staged record is compared with its row; what only fills a gap is no statement on the row."""
        return (
            f"INSERT INTO {self._heard} AS h (key, outcome) SELECT {self._key_json('s')}, {self._outcome} "
            f"FROM {self._source} LEFT JOIN {self._rows} AS t ON {self._same_key()} WHERE {self._tells} "
            f"ON CONFLICT (key) DO UPDATE SET outcome = EXCLUDED.outcome"
        )

    def keep_unequal(self, kept: Comparison) -> list[str]:
        """Move the staged records that are not equal to their rows to another staging table, and forget the others."""
        same = " AND ".join(f"k.{quoted(c.name)} = s.{quoted(c.name)}" for c in self.shape.key)
        move = (
            f"INSERT INTO pg_temp.{quoted(kept.stage)} SELECT s.* FROM {self._source} "
            f"JOIN {self._heard} h ON h.key = {self._key_json('s')} WHERE {self._tells} AND {self._is_unequal}"
        )
        return [
            f"DELETE FROM pg_temp.{quoted(kept.stage)} k USING {self._source} WHERE {same} AND {self._tells}",
            move,
            f"TRUNCATE pg_temp.{quoted(self.stage)}",
        ]

    def examples(self) -> str:
        """Some of the staged records that are not equal to their rows: key, outcome, and the columns that differ."""
        differing = ", ".join(
            f"CASE WHEN {self._difference([c], staged_value)} THEN {literal(c.name)} END" for c in self.shape.values
        )
        return (
            f"SELECT h.key::text, h.outcome, CASE WHEN h.outcome = {literal(DIFFERENT)} "
            f"THEN array_remove(ARRAY[{differing}]::text[], NULL) ELSE '{{}}' END "
            f"FROM {self._source} JOIN {self._heard} h ON h.key = {self._key_json('s')} "
            f"LEFT JOIN {self._rows} AS t ON {self._same_key()} WHERE {self._is_unequal} "
            f"ORDER BY 1 LIMIT {EXAMPLES_MAX}"
        )

    def count_absent(self, sweep: Sweep) -> str:
        """Count the live rows that a finished sweep did not bring and should have."""
        return f"SELECT count(*) {self._absent(sweep)}"

    def absent_keys(self, sweep: Sweep) -> str:
        """Some of their keys."""
        return f"SELECT {self._key_json('t')}::text {self._absent(sweep)} ORDER BY 1 LIMIT {EXAMPLES_MAX}"

    # Parts.

    def _absent(self, sweep: Sweep) -> str:
        start = sweep.start
        conditions = [
            f"{self._in_sweep('t', sweep)}{self._stored(DELETED_AT)} IS NULL",
            f"NOT EXISTS (SELECT FROM {self._heard} h WHERE h.key = {self._key_json('t')})",
        ]
        if self.shape.ordered:
            # As the end of a sweep does, which also spares what another one has seen since.
            conditions += [f"{self._stored(AS_OF)} <= {start}", f"{self._sighting('t')} <= {start}"]
        return f"FROM {self._rows} AS t WHERE {' AND '.join(conditions)}"

    @property
    def _outcome(self) -> str:
        is_there = f"t.{quoted(self.shape.key[0].name)} IS NOT NULL"
        lives = f"({is_there} AND {self._stored(DELETED_AT)} IS NULL)"
        cases = [
            (f's."_sdc_deleted_at" IS NOT NULL AND {lives}', SURPLUS),
            ('s."_sdc_deleted_at" IS NOT NULL', EQUAL),
            (f"NOT {lives}", MISSING),
        ]
        if self.shape.values:
            cases.append((self._difference(self.shape.values, staged_value), DIFFERENT))
        if self.shape.ordered:
            row_is_newer = f'coalesce({self._stored(AS_OF)}, {LONG_AGO}) > s."_sdc_as_of"'
            cases.insert(0, (f"NOT ({self._not_outdated()}) OR {row_is_newer}", NEWER))
        whens = " ".join(f"WHEN {condition} THEN {literal(outcome)}" for condition, outcome in cases)
        return f"CASE {whens} ELSE {literal(EQUAL)} END"

    @property
    def _tells(self) -> str:
        return f's."_sdc_as_of" <> {GAP_FILLER}' if self.shape.ordered else "true"

    @property
    def _is_unequal(self) -> str:
        return f"h.outcome IN ({', '.join(map(literal, (DIFFERENT, MISSING, SURPLUS)))})"

    @property
    def _heard(self) -> str:
        return f"pg_temp.{quoted(self.heard)}"

    @property
    def _rows(self) -> str:
        """The stream's table; where there is none, one without rows."""
        if self.stored is not None:
            return self._table
        columns = {*self.shape.all_columns, AS_OF, DELETED_AT}
        return f"(SELECT {', '.join(f'NULL::{c.type} AS {quoted(c.name)}' for c in columns)} WHERE false)"

    def _stored(self, column: Column) -> str:
        """What the row ``t`` has for a column, which the table of an older schema may lack."""
        lacks = self.stored is not None and column.name not in self.stored.types
        return f"NULL::{column.type}" if lacks else super()._stored(column)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two staging tables of a stream, of one schema: for what just came, and for what differs."""

    arrived: Comparison
    kept: Comparison


class Verification:
    """Takes the place of the loader, and only compares.

    Mutable state: the session with its temporary tables, and which of them there are. One thread.

    Attributes:
        report: What it came to, once the input has ended.
    """

    def __init__(self, *, connect: Callable[[], psycopg.Connection[Any]], schema: str, hard_delete: bool) -> None:
        self._connect = connect
        self._schema = schema
        self._hard_delete = hard_delete
        self._opened: psycopg.Connection[Any] | None = None
        # By stream: its tables, the newest last, and its finished sweeps, one for each account.
        self._pairs: dict[str, list[Pair]] = {}
        self._swept: dict[str, list[Sweep]] = {}
        self._is_whole = True
        # Whose rows there are; read once, since the session is a job's when later STATEs are checked.
        self._identity: status.Identity | None = None
        self.report: Report | None = None

    def open(self) -> None:
        """Open the session.

        Raises:
            NothingStoredError: There is nothing to compare with.
        """
        with failures():
            if not tables.has_bookkeeping(self._session, self._schema):
                raise NothingStoredError(schema=self._schema)

    def check_first_state(self, state: Mapping[str, Any]) -> None:
        """Refuse another account's messages; how far the state is does not matter, since nothing is stored."""
        self.check_identity(state)

    def announce(self, shape: TableShape) -> None:
        """Nothing: who owns whom only matters to what is changed."""

    def check_identity(self, state: Mapping[str, Any]) -> None:
        """Refuse another account's messages."""
        if (incoming := status.identity_of(state)) is not None:
            if self._identity is None:
                with failures():
                    self._identity = status.stored_identity(self._session, self._schema)
            status.check_identity(self._schema, self._identity, incoming)

    def ensure(self, shape: TableShape) -> None:
        """Prepare to compare a stream; its table stays as it is. Rows without a key cannot be compared.

        Raises:
            KeyConflictError, ColumnConflictError: The table could not hold such rows.
        """
        pairs = self._pairs.setdefault(shape.stream, [])
        if not shape.key or (pairs and pairs[-1].arrived.shape == shape):
            return
        number = sum(map(len, self._pairs.values()))
        heard = f"heard_{list(self._pairs).index(shape.stream)}"
        with failures():
            stored = tables.table_of_stream(self._session, self._schema, shape)
            tables.table_changes(self._schema, shape, stored)
            arrived, kept = (
                Comparison(
                    schema=self._schema, shape=shape, stage=stage, hard_delete=self._hard_delete,
                    heard=heard, stored=stored,
                )
                for stage in (f"arrived_{number}", f"kept_{number}")
            )  # fmt: skip
            for statement in (
                arrived.create_stage(),
                kept.create_stage(),
                kept.index_stage(),
                arrived.create_heard(),
            ):
                self._session.execute(statement)
        pairs.append(Pair(arrived=arrived, kept=kept))

    def expects_the_same(self, shape: TableShape) -> bool:  # noqa: ARG002 - as the loader has it
        """Every value is looked at."""
        return False

    def stage(self, shape: TableShape, batch: Batch, whole: Whole) -> None:
        """Compare rows.

        Raises:
            RecordRefusedError: Postgres could not store one of them.
        """
        self.ensure(shape)
        pair = next((each for each in self._pairs[shape.stream] if each.arrived.shape == shape), None)
        if pair is None:
            return
        with failures():
            for added in batch.rounds():
                _, rows = whole(added)
                copy_rows(self._session, pair.arrived.copy(), shape, rows)
                for statement in (pair.arrived.note_outcomes(), *pair.arrived.keep_unequal(pair.kept)):
                    self._session.execute(statement)

    def activate(self, shape: TableShape, sweep: Sweep) -> None:
        """Note that a sweep has brought everything there is."""
        self.ensure(shape)
        self._swept[shape.stream] = [
            *(each for each in self._swept.get(shape.stream, ()) if each.account != sweep.account),
            sweep,
        ]

    def commit(self, state: Mapping[str, Any] | None) -> None:
        """Nothing is to be committed."""

    def rollback(self) -> None:
        """Note that not all of the input counts."""
        self._is_whole = False

    def count_a_table(self, *, at_once: bool = False) -> bool:  # noqa: ARG002 - as the loader has it
        """No table changes."""
        return False

    def finish(self) -> None:
        """Compare once more what differed, and report."""
        with failures():
            for pairs in self._pairs.values():
                for pair in pairs:
                    self._session.execute(pair.kept.note_outcomes())
            streams = tuple(self._report_on(stream) for stream, pairs in sorted(self._pairs.items()) if pairs)
        self.report = Report(streams=streams, is_whole=self._is_whole)

    def abort(self) -> None:
        """From another thread: have what is running fail; ``close`` comes after that."""
        cut(self._opened)

    def close(self) -> None:
        """End the session, and with it the temporary tables."""
        if self._opened is not None:
            self._opened.close()

    def _report_on(self, stream: str) -> StreamReport:
        pairs = self._pairs[stream]
        last = pairs[-1].arrived
        heard = f"pg_temp.{quoted(last.heard)}"
        self._session.execute(f"ANALYZE {heard}")
        found = self._session.execute(f"SELECT outcome, count(*) FROM {heard} GROUP BY outcome").fetchall()
        counts: dict[str, int] = dict(found)
        examples = [
            Example(key=key, outcome=outcome, columns=tuple(columns))
            for pair in pairs
            for key, outcome, columns in self._session.execute(pair.kept.examples())
        ]
        for sweep in self._swept.get(stream, ()):
            (absent,) = self._session.execute(last.count_absent(sweep)).fetchone() or (0,)
            counts[SURPLUS] = counts.get(SURPLUS, 0) + absent
            keys = self._session.execute(last.absent_keys(sweep)).fetchall()
            examples += [Example(key=key, outcome=SURPLUS) for (key,) in keys]
        return StreamReport(
            stream=stream, counts=counts, examples=tuple(examples[:EXAMPLES_MAX]), is_swept=stream in self._swept
        )

    @property
    def _session(self) -> psycopg.Connection[Any]:
        if self._opened is None:
            self._opened = self._connect()
            # Each statement is a transaction, so no lock outlives it.
            self._opened.autocommit = True
        return self._opened
