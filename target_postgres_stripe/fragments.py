"""What the statements on staged rows are made of. Text only.

Whatever compares staged rows (alias ``s``) with the stream's table (alias ``t``), be it to change it (apply.py), to see
what a sweep mends (drift.py) or only to report (verify.py), says it in these words, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from target_postgres_stripe.columns import (
    ACCOUNT,
    AS_OF,
    BATCHED_AT,
    DELETED_AT,
    EXTRACTED_AT,
    HASH,
    RECEIVED_AT,
    SEQUENCE,
    TABLE_VERSION,
    ColumnType,
    literal,
    quoted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from target_postgres_stripe.columns import Column, TableShape

GAP_FILLER = "timestamptz '0001-01-01T00:00:00Z'"
LONG_AGO = "timestamptz '-infinity'"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A full listing of a stream.

    Attributes:
        version: When it started, in milliseconds since the epoch; the ``version`` of what it brought.
        account: The account that it was of, where the stream has the rows of several.
    """

    version: int
    account: str | None = None

    @property
    def start(self) -> str:
        """When it started, as SQL."""
        return f"to_timestamp({self.version} / 1000.0)"


# How the target's own columns are derived from a staged row. A row's time of receipt is its sequence in milliseconds.
STAGED = {
    AS_OF: 's."_sdc_as_of"',
    DELETED_AT: 's."_sdc_deleted_at"',
    TABLE_VERSION: 's."_sdc_table_version"',
    EXTRACTED_AT: 's."_sdc_extracted_at"',
    RECEIVED_AT: 'to_timestamp(s."_sdc_sequence" / 1000.0)',
    BATCHED_AT: "now()",
    SEQUENCE: 's."_sdc_sequence"',
    HASH: 's."_sdc_hash"',
}


SAME_TEXT = {ColumnType.NUMERIC: "trim_scale({})", ColumnType.JSONB: "jsonb_hash_extended({}, 0)"}
"""What is the same text for values that are equal, of types of which equal values may have different texts."""


@dataclass(frozen=True, kw_only=True)
class Fragments:
    """The parts of the statements of one stream.

    Attributes:
        schema: The schema's name.
        shape: The stream as a table.
        stage: The name of the staging table.
        hard_delete: Whether deleted rows are removed.
    """

    schema: str
    shape: TableShape
    stage: str
    hard_delete: bool

    def _not_outdated(self) -> str:
        """The staged row is not older than what is known of its key outside its row."""
        return (
            f'{self._not_below_floor} AND s."_sdc_as_of" >= {self._sighting("s")} '
            f'AND s."_sdc_as_of" >= {self._tombstone("s")}'
        )

    def _delete_not_outdated(self) -> str:
        """The staged delete is not older than what is known of its key outside its row.

        That a finished sweep started later is no objection where it brought nothing: there is no row, or one that only
        filled a gap. Else the delete of what the sweep rightly did not see would be forgotten, and a stale copy live.
        """
        known = f'EXISTS (SELECT FROM {self._table} AS t WHERE {self._same_key()} AND t."_sdc_as_of" <> {GAP_FILLER})'
        return (
            f'(s."_sdc_as_of" >= {self._floor("s")} OR NOT {known}) AND s."_sdc_as_of" >= {self._sighting("s")} '
            f'AND s."_sdc_as_of" >= {self._tombstone("s")}'
        )

    def _absent_from_sweep(self, sweep: Sweep) -> str:
        """The sweep did not bring the row ``t``, and nothing newer than its start has touched it."""
        seen = f"SELECT FROM {self._own('_sweep_seen')} k WHERE {self._was_seen(sweep)}"
        return f"{self._in_sweep('t', sweep)}{self._is_older(sweep)} AND NOT EXISTS ({seen})"

    def _is_older(self, sweep: Sweep) -> str:
        """The row ``t`` itself does not say that the sweep, or anything later, has seen it."""
        return f't."_sdc_as_of" <= {sweep.start} AND t."_sdc_table_version" IS DISTINCT FROM {sweep.version}'

    def _was_seen(self, sweep: Sweep) -> str:
        """The sighting ``k`` is of the row ``t``, in the sweep or later."""
        return (
            f"k.stream = {self._stream} AND k.key = {self._key_text('t')} "
            f"AND (k.version = {sweep.version} OR k.as_of > {sweep.start})"
        )

    def _in_sweep(self, alias: str, sweep: Sweep) -> str:
        """The row is of the account that was listed, with ``AND``; empty where there is but one."""
        if self.shape.account is None or sweep.account is None:
            return ""
        return f"{alias}.{quoted(self.shape.account.name)} = {literal(sweep.account)} AND "

    def _sweep_is_unfinished(self, sweep: Sweep) -> str:
        floor = self._floor_of(None if sweep.account is None else literal(sweep.account))
        return f"{floor} < {sweep.start}"

    @property
    def _not_below_floor(self) -> str:
        return f'(s."_sdc_as_of" >= {self._floor("s")} OR s."_sdc_as_of" = {GAP_FILLER})'

    def _floor(self, alias: str) -> str:
        """The start of the last finished sweep of the stream (of the row's account)."""
        account = self.shape.account
        return self._floor_of(None if account is None else f"{alias}.{quoted(account.name)}")

    def _floor_of(self, account: str | None) -> str:
        if account is None:
            found = f"SELECT floor FROM {self._own('_streams')} WHERE stream = {self._stream}"
        else:
            found = (
                f"SELECT floor FROM {self._own('_account_sweeps')} "
                f"WHERE stream = {self._stream} AND {quoted(ACCOUNT)} = {account}"
            )
        return f"coalesce(({found}), {LONG_AGO})"

    def _sighting(self, alias: str) -> str:
        """The as-of of a key's sighting in an unfinished sweep."""
        return self._remembered("_sweep_seen", self._key_text(alias))

    def _tombstone(self, alias: str) -> str:
        """The as-of of a key's tombstone."""
        return self._remembered("_tombstones", self._key_json(alias))

    def _remembered(self, table: str, key: str) -> str:
        """The as-of that a bookkeeping table has for a key; the outer test spares the probes where it has none."""
        own = self._own(table)
        return (
            f"CASE WHEN EXISTS (SELECT FROM {own} WHERE stream = {self._stream}) THEN "
            f"coalesce((SELECT k.as_of FROM {own} k WHERE k.stream = {self._stream} AND k.key = {key}), {LONG_AGO}) "
            f"ELSE {LONG_AGO} END"
        )

    def _update(self, written: Iterable[Column], compared: Iterable[Column]) -> str:
        """``UPDATE`` of a conflicting row to what was to be inserted, if any of ``compared`` differs."""
        assignments = ", ".join(f"{quoted(c.name)} = {new_value(c)}" for c in written)
        columns = list(compared)
        if not columns:
            # A table of nothing but its key.
            return f"UPDATE SET {assignments or self._nothing} WHERE false"
        return f"UPDATE SET {assignments} WHERE {self._difference(columns, new_value)}"

    def _difference(self, columns: Iterable[Column], incoming: Callable[[Column], str]) -> str:
        """Whether the row ``t`` would change by what comes in."""
        columns = list(columns)
        stored = ", ".join(self._stored(c) for c in columns)
        return f"({stored}) IS DISTINCT FROM ({', '.join(incoming(c) for c in columns)})"

    @property
    def _would_change(self) -> str:
        """Whether the row ``t`` would change by the staged one."""
        return self._difference([*self.shape.values, DELETED_AT], staged_value)

    def _stored(self, column: Column) -> str:
        """What the row ``t`` has for a column."""
        return f"t.{quoted(column.name)}"

    @property
    def _nothing(self) -> str:
        key = quoted(self.shape.key[0].name)
        return f"{key} = EXCLUDED.{key}"

    @property
    def _written(self) -> tuple[Column, ...]:
        return self.shape.values + self.shape.added

    @property
    def _not_older_than_row(self) -> str:
        return f'coalesce(t."_sdc_as_of", {LONG_AGO}) <= EXCLUDED."_sdc_as_of"'

    @property
    def _table(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.shape.table)}"

    @property
    def _source(self) -> str:
        return f"pg_temp.{quoted(self.stage)} AS s"

    @property
    def _stream(self) -> str:
        return literal(self.shape.stream)

    def _own(self, table: str) -> str:
        return f"{quoted(self.schema)}.{quoted(table)}"

    def _staged(self, columns: Iterable[Column]) -> str:
        return ", ".join(staged_value(column) for column in columns)

    def _same_key(self) -> str:
        return " AND ".join(f"t.{quoted(c.name)} = s.{quoted(c.name)}" for c in self.shape.key)

    def _key_json(self, alias: str) -> str:
        return json_array(f"{alias}.{quoted(c.name)}" for c in self.shape.key)

    def _key_text(self, alias: str) -> str:
        """The same as text, as sightings have it: there are many, and an index of ``jsonb`` takes twice the time."""
        parts = (SAME_TEXT.get(c.type, "{}").format(f"{alias}.{quoted(c.name)}") for c in self.shape.key)
        return f"{json_array(parts)}::text"

    def _known_key(self, table: str) -> str:
        return f"{table}.stream = {self._stream} AND {table}.key = {self._key_json('s')}"


def staged_value(column: Column) -> str:
    """What a staged row has for a column of the table."""
    return STAGED.get(column, f"s.{quoted(column.name)}")


def new_value(column: Column) -> str:
    """What an update writes; an event between two pages of a sweep does not make the row unseen."""
    incoming = f"EXCLUDED.{quoted(column.name)}"
    if column == TABLE_VERSION:
        return f"coalesce({incoming}, t.{quoted(column.name)})"
    return incoming


def names(columns: Iterable[Column]) -> str:
    """Column names for a column list."""
    return ", ".join(quoted(column.name) for column in columns)


def json_array(expressions: Iterable[str]) -> str:
    """A key as ``jsonb``, the form in which the bookkeeping tables hold keys of any table."""
    return f"jsonb_build_array({', '.join(expressions)})"
