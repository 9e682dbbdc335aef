"""The statements that change rows. Text only; ``load.py`` runs them.

Every statement takes staged rows (alias ``s``) to the stream's table (alias ``t``). The rules they keep, for streams
whose records say as of when they are:

* A row changes only if the incoming as-of is not older than the newest moment known for its key: the row's own as-of,
  its sighting in an unfinished sweep, its tombstone, or the start of the stream's last finished sweep (the floor).
* A gap filler (as of year 1) is inserted where there is neither row nor tombstone, and changes nothing else.
* A delete keeps the row's last values and sets ``_sdc_deleted_at``; with ``hard_delete`` it removes the row and leaves
  a tombstone.
* A row that would not change is not written, save its as-of; if a sweep brings it, not even that: its sighting is.
* A table with the rows of several accounts has a floor for each: a sweep is of one account, and about its rows alone.
* A child that its parent's list, as of the same moment or later, does not name is deleted; so are the children of a row
  that a sweep did not bring.

Lookups in other tables are scalar subqueries on purpose: they can only be index probes, whatever the planner believes
about the size of a table that was empty a second ago.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from target_postgres_stripe.columns import (
    ACCOUNT,
    AS_OF,
    DELETED_AT,
    HASH_BITS,
    LINE_COLUMNS,
    NEW_COLUMNS,
    SIGHTING_COLUMNS,
    TABLE_VERSION,
    column_definitions,
    literal,
    quoted,
)
from target_postgres_stripe.fragments import GAP_FILLER, LONG_AGO, Fragments, Sweep, json_array, names

if TYPE_CHECKING:
    from target_postgres_stripe.columns import TableShape


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A parent and a child stream of which the parent's records bring complete lists.

    A child's row names its parent in the column ``<parent table>_id``, or ``<parent table>`` if it has no such. The
    elements of a list are values of the last column of the child's key. What else the parent's key has (an account),
    the child has under the same name.
    """

    parent: TableShape
    child: TableShape

    @property
    def reference(self) -> str:
        """The child's column that holds the parent's id."""
        name = f"{self.parent.table}_id"
        return name if any(column.name == name for column in self.child.columns) else self.parent.table

    @property
    def is_complete(self) -> bool:
        """Whether the tables have the columns that the rule needs."""
        types = {column.name: column.type for column in self.child.columns}
        referred = zip(self.parent_columns, self.parent.key, strict=True)
        return (
            self.parent.ordered
            and self.child.ordered
            and all(types.get(name) == column.type for name, column in referred)
        )

    @property
    def parent_columns(self) -> tuple[str, ...]:
        """The child's columns that hold the parent's key."""
        return (*(column.name for column in self.parent.key[:-1]), self.reference)


def counted(statement: str) -> str:
    """An upsert of rows ``t`` that returns how many it has inserted and how many it has updated."""
    returning = f"{statement} RETURNING t.xmax = 0 AS is_new"  # a row that replaces another one has its xmax
    return (
        f"WITH written AS ({returning}) "
        "SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM written"
    )


@dataclass(frozen=True, kw_only=True)
class Statements(Fragments):
    """The statements of one stream."""

    def create_stage(self) -> str:
        """The staging table, for the lines of rows."""
        return (
            f"CREATE TEMPORARY TABLE {quoted(self.stage)} ({column_definitions((*LINE_COLUMNS, *self.shape.columns))})"
        )

    def create_sightings(self) -> str:
        """Another staging table, for what recognises a row: the lines of ``Row.sighting``."""
        columns = column_definitions((*SIGHTING_COLUMNS, *self.shape.key))
        return f'CREATE TEMPORARY TABLE {quoted(self.stage)} ({columns}, "_sdc_position" integer)'

    def copy(self) -> str:
        """Fill the staging table."""
        return f"COPY pg_temp.{quoted(self.stage)} FROM STDIN"

    def truncate_stage(self) -> str:
        """Empty the staging table; gives its space back, at the price of a new file and a row of ``pg_class``."""
        return f"TRUNCATE pg_temp.{quoted(self.stage)}"

    def delete_from_stage(self) -> str:
        """Empty the staging table; a seventh of the time for few rows, but their space stays taken."""
        return f"DELETE FROM pg_temp.{quoted(self.stage)}"

    # New rows.

    def has_rows(self) -> str:
        """Whether the table has any."""
        return f"SELECT EXISTS (SELECT FROM {self._table})"

    def now_if_nothing_is_known(self) -> str:
        """The transaction's moment; no row if something is known of rows that are not in the table."""
        floors = f"SELECT FROM {self._own('_streams')} WHERE stream = {self._stream} AND floor IS NOT NULL"
        others = [
            f"SELECT FROM {self._own(table)} WHERE stream = {self._stream}"
            for table in ("_account_sweeps", "_sweep_seen", "_tombstones")
        ]
        return f"SELECT now()::text WHERE {' AND '.join(f'NOT EXISTS ({each})' for each in (floors, *others))}"

    def copy_new(self) -> str:
        """Insert rows of ``Row.straight``; one whose key is there is an error."""
        return f"COPY {self._table} ({names((*NEW_COLUMNS, *self.shape.columns))}) FROM STDIN"

    # Streams without an as-of: the last to arrive wins.

    def append(self) -> str:
        """Insert every staged row; for streams without a key."""
        columns = self.shape.all_columns
        return f"INSERT INTO {self._table} ({names(columns)}) SELECT {self._staged(columns)} FROM {self._source}"

    def upsert(self) -> str:
        """Insert or overwrite, unless nothing would change."""
        columns = self.shape.all_columns
        compared = [*self.shape.values, *(c for c in (DELETED_AT, TABLE_VERSION) if self.shape.adds(c))]
        return (
            f"INSERT INTO {self._table} AS t ({names(columns)}) SELECT {self._staged(columns)} FROM {self._source} "
            f"ON CONFLICT ({names(self.shape.key)}) DO {self._update(self._written, compared)}"
        )

    def remove_deleted(self) -> str:
        """Remove the rows whose staged record says that they are deleted."""
        return (
            f"DELETE FROM {self._table} AS t USING {self._source} "
            f'WHERE {self._same_key()} AND s."_sdc_deleted_at" IS NOT NULL'
        )

    # Streams with an as-of.

    def apply_changes(self, *, spares: bool = False) -> str:
        """Insert or overwrite with the staged rows that are not older than what is known.

        Args:
            spares: Rows that would not change are left out beforehand. It costs a look at each row; without it they are
                found at the conflict, where each is locked, which is a write too.
        """
        columns = self.shape.all_columns
        same = f"EXISTS (SELECT FROM {self._table} AS t WHERE {self._same_key()} AND NOT ({self._would_change}))"
        return (
            f"INSERT INTO {self._table} AS t ({names(columns)}) SELECT {self._staged(columns)} FROM {self._source} "
            f'WHERE s."_sdc_deleted_at" IS NULL AND s."_sdc_as_of" <> {GAP_FILLER} AND {self._not_outdated()} '
            f"{f'AND NOT {same} ' if spares else ''}"
            f"ON CONFLICT ({names(self.shape.key)}) DO {self._update(self._written, [*self.shape.values, DELETED_AT])} "
            f"AND {self._not_older_than_row}"
        )

    def tied(self) -> str:
        """Of the given keys and moments, the keys of which the same moment is known; parameters are arrays."""
        given = [*(f"%s::{column.type}[]" for column in self.shape.key), "%s::timestamptz[]"]
        keys = ", ".join(f"s.{quoted(column.name)}::text" for column in self.shape.key)
        is_known = f'{self._known_key("k")} AND k.as_of = s."_sdc_as_of"'
        is_there = f'{self._same_key()} AND t."_sdc_as_of" = s."_sdc_as_of"'
        return (
            f'SELECT {keys} FROM unnest({", ".join(given)}) AS s({names(self.shape.key)}, "_sdc_as_of") '
            f"WHERE EXISTS (SELECT FROM {self._table} AS t WHERE {is_there}) "
            f"OR EXISTS (SELECT FROM {self._own('_tombstones')} k WHERE {is_known})"
        )

    def advance_as_of(self) -> str:
        """Record a newer as-of for rows that did not change; what a sweep brings is recorded as a sighting."""
        return (
            f'UPDATE {self._table} AS t SET "_sdc_as_of" = s."_sdc_as_of" FROM {self._source} '
            f'WHERE {self._same_key()} AND s."_sdc_deleted_at" IS NULL AND s."_sdc_table_version" IS NULL '
            f'AND t."_sdc_deleted_at" IS NULL AND coalesce(t."_sdc_as_of", {LONG_AGO}) < s."_sdc_as_of" '
            f"AND {self._not_outdated()}"
        )

    def fill_gaps(self) -> str:
        """Insert the staged gap fillers of which neither row nor tombstone is known."""
        columns = self.shape.all_columns
        return (
            f"INSERT INTO {self._table} AS t ({names(columns)}) SELECT {self._staged(columns)} FROM {self._source} "
            f'WHERE s."_sdc_deleted_at" IS NULL AND s."_sdc_as_of" = {GAP_FILLER} '
            f"AND NOT EXISTS (SELECT FROM {self._own('_tombstones')} k WHERE {self._known_key('k')}) "
            f"ON CONFLICT ({names(self.shape.key)}) DO NOTHING"
        )

    def mark_deleted(self) -> str:
        """Mark the rows of staged deletes; one that was never seen becomes a row of its key alone."""
        columns = (*self.shape.key, *self.shape.added)
        return (
            f"INSERT INTO {self._table} AS t ({names(columns)}) SELECT {self._staged(columns)} FROM {self._source} "
            f'WHERE s."_sdc_deleted_at" IS NOT NULL AND {self._delete_not_outdated()} '
            f"ON CONFLICT ({names(self.shape.key)}) DO {self._update(self.shape.added, [AS_OF, DELETED_AT])} "
            f"AND {self._not_older_than_row}"
        )

    def remove(self) -> str:
        """Remove the rows of staged deletes."""
        return (
            f"DELETE FROM {self._table} AS t USING {self._source} WHERE {self._same_key()} "
            f'AND s."_sdc_deleted_at" IS NOT NULL AND t."_sdc_as_of" <= s."_sdc_as_of" '
            f"AND {self._delete_not_outdated()}"
        )

    def leave_tombstones(self) -> str:
        """Remember the staged deletes whose rows are gone, so that nothing older brings them back."""
        return (
            f"INSERT INTO {self._own('_tombstones')} AS k (stream, key, as_of) "
            f'SELECT {self._stream}, {self._key_json("s")}, s."_sdc_as_of" FROM {self._source} '
            f'WHERE s."_sdc_deleted_at" IS NOT NULL AND {self._delete_not_outdated()} '
            f"AND NOT EXISTS (SELECT FROM {self._table} AS t WHERE {self._same_key()}) "
            f"ON CONFLICT (stream, key) DO UPDATE SET as_of = EXCLUDED.as_of WHERE k.as_of < EXCLUDED.as_of"
        )

    # Sweeps.

    def note_known(self) -> str:
        """Remember the staged sightings that are of a live row of the same hash; return the others' positions."""
        known = 't."_sdc_hash" = s."_sdc_hash" AND t."_sdc_deleted_at" IS NULL'
        found = f"SELECT CASE WHEN {known} THEN {self._says_seen} END FROM {self._table} AS t WHERE {self._same_key()}"
        return (
            f"WITH looked_up AS MATERIALIZED (SELECT s.*, ({found}) AS is_marked FROM {self._source}), "
            f"noted AS ({self._see('looked_up AS s', 'NOT is_marked')}) "
            'SELECT array_agg("_sdc_position") FROM looked_up WHERE is_marked IS NULL'
        )

    def renew_hashes(self) -> str:
        """Have rows that a sweep found unchanged recognised the next time, if their hash is of other columns."""
        return (
            f'UPDATE {self._table} AS t SET "_sdc_hash" = s."_sdc_hash" FROM {self._source} '
            f'WHERE {self._same_key()} AND s."_sdc_table_version" IS NOT NULL AND s."_sdc_deleted_at" IS NULL '
            f'AND t."_sdc_hash" >> {HASH_BITS} IS DISTINCT FROM s."_sdc_hash" >> {HASH_BITS} '
            f"AND NOT ({self._would_change})"
        )

    def note_sightings(self) -> str:
        """Remember what a sweep brought and was not written."""
        marked = f"SELECT FROM {self._table} AS t WHERE {self._same_key()} AND {self._says_seen}"
        return self._see(self._source, f's."_sdc_table_version" IS NOT NULL AND NOT EXISTS ({marked})')

    @property
    def _says_seen(self) -> str:
        """The row ``t`` itself says that the sweep has seen it as of the staged row's moment, or later."""
        version = 't."_sdc_table_version" IS NOT DISTINCT FROM s."_sdc_table_version"'
        return f'{version} AND t."_sdc_as_of" >= s."_sdc_as_of"'

    def _see(self, source: str, condition: str) -> str:
        """Remember rows ``s`` as seen."""
        newest = "greatest(k.version, EXCLUDED.version), greatest(k.as_of, EXCLUDED.as_of)"
        return (
            f"INSERT INTO {self._own('_sweep_seen')} AS k (stream, key, version, as_of) "
            f'SELECT {self._stream}, {self._key_text("s")}, s."_sdc_table_version", s."_sdc_as_of" FROM {source} '
            f"WHERE {condition} ON CONFLICT (stream, key) DO UPDATE SET (version, as_of) = ({newest}) "
            f"WHERE (k.version, k.as_of) IS DISTINCT FROM ({newest})"
        )

    def count_absent(self, sweep: Sweep) -> str:
        """Count the rows that ``delete_absent`` would delete, mostly none, and the live ones that it would leave."""
        lives = 't."_sdc_deleted_at" IS NULL'
        absent = f"{self._is_older(sweep)} AND k.key IS NULL AND {self._sweep_is_unfinished(sweep)}"
        if not self.hard_delete:
            absent += f" AND {lives}"
        return (
            f"SELECT count(*) FILTER (WHERE {absent}), count(*) FILTER (WHERE {lives} AND ({absent}) IS NOT TRUE) "
            f"FROM {self._table} AS t LEFT JOIN {self._own('_sweep_seen')} AS k ON {self._was_seen(sweep)} "
            f"WHERE {self._in_sweep('t', sweep)}true"
        )

    def delete_absent(self, sweep: Sweep) -> str:
        """Delete the rows that a sweep did not bring.

        They are gone as of its start, unless something newer has touched them. A sweep that was finished before is left
        alone: its sightings are forgotten, so it could no longer tell.
        """
        return self._gone(f"{self._table} AS t", "", self._unseen(sweep), sweep.start)

    def _unseen(self, sweep: Sweep) -> str:
        return f"{self._absent_from_sweep(sweep)} AND {self._sweep_is_unfinished(sweep)}"

    def finish_sweep(self, sweep: Sweep) -> list[str]:
        """End a sweep, after its absent rows were deleted."""
        return [self._forget_sightings(sweep), self._raise_floor(sweep)]

    def _forget_sightings(self, sweep: Sweep) -> str:
        whose = "" if sweep.account is None else f" AND key::jsonb->>0 = {literal(sweep.account)}"
        seen = self._own("_sweep_seen")
        return f"DELETE FROM {seen} WHERE stream = {self._stream} AND version <= {sweep.version}{whose}"

    def _raise_floor(self, sweep: Sweep) -> str:
        unfinished = self._sweep_is_unfinished(sweep)
        if sweep.account is None:
            streams = self._own("_streams")
            return f"UPDATE {streams} SET floor = {sweep.start} WHERE stream = {self._stream} AND {unfinished}"
        return (
            f"INSERT INTO {self._own('_account_sweeps')} (stream, {quoted(ACCOUNT)}, floor) "
            f"SELECT {self._stream}, {literal(sweep.account)}, {sweep.start} WHERE {unfinished} "
            f"ON CONFLICT (stream, {quoted(ACCOUNT)}) DO UPDATE SET floor = EXCLUDED.floor"
        )

    def activate_version(self, sweep: Sweep) -> str:
        """Delete the rows of older versions; for streams without an as-of, as the SDK's SQL targets do."""
        older = (
            f'{self._in_sweep("t", sweep)}(t."_sdc_table_version" IS NULL OR t."_sdc_table_version" < {sweep.version})'
        )
        if self.hard_delete:
            return f"DELETE FROM {self._table} AS t WHERE {older}"
        return f'UPDATE {self._table} AS t SET "_sdc_deleted_at" = now() WHERE {older} AND t."_sdc_deleted_at" IS NULL'

    def take_along(self, relation: Relation, sweep: Sweep) -> str:
        """Delete the children of the rows that a sweep did not bring: they exist only as long as these.

        Children that something newer than its start has touched stay. To be run before ``delete_absent``.
        """
        keys = names(self.shape.key)
        lost = (
            f'(SELECT {keys} FROM {self._table} AS t WHERE t."_sdc_deleted_at" IS NULL AND {self._unseen(sweep)}) AS p'
        )
        reference = " AND ".join(
            f"t.{quoted(column)} = p.{quoted(key.name)}"
            for column, key in zip(relation.parent_columns, self.shape.key, strict=True)
        )
        return self._for(relation.child).lose(lost, reference, sweep.start)

    def take_along_too(self, relation: Relation) -> str:
        """Delete the children of rows of this stream that are gone already, such as those that a list did not name."""
        columns = relation.parent_columns
        if self.hard_delete:
            lost = f"(SELECT key, as_of FROM {self._own('_tombstones')} WHERE stream = {self._stream}) AS p"
            reference = f"{json_array(f't.{quoted(column)}' for column in columns)} = p.key"
        else:
            keys = f'{names(self.shape.key)}, "_sdc_deleted_at" AS as_of'
            lost = f'(SELECT {keys} FROM {self._table} WHERE "_sdc_deleted_at" IS NOT NULL) AS p'
            same = zip(columns, self.shape.key, strict=True)
            reference = " AND ".join(f"t.{quoted(column)} = p.{quoted(key.name)}" for column, key in same)
        return self._for(relation.child).lose(lost, reference, "p.as_of")

    def lose(self, lost: str, reference: str, as_of: str) -> str:
        """Delete the rows ``t`` that refer to lost ones ``p``, unless something newer has touched them."""
        older = f't."_sdc_as_of" <= {as_of} AND {as_of} >= {self._sighting("t")}'
        return self._gone(f"{self._table} AS t", lost, f"{reference} AND {older}", as_of)

    # Children's lists.

    def store_lists(self) -> str:
        """Remember, for each staged parent and child stream, the newest complete list.

        That of a deleted parent counts even if a sweep has found out before that it is gone: its children may not have
        been in that sweep, and whether one is newer is still asked of each.
        """
        staged = (
            """(SELECT jsonb_object_agg(child, jsonb_build_object('as_of', s."_sdc_as_of", 'ids', ids)) """
            """FROM jsonb_each(s."_sdc_children") AS l(child, ids))"""
        )
        newer = "(k.lists->child->>'as_of')::timestamptz > (list->>'as_of')::timestamptz"
        not_older = (
            "(SELECT jsonb_object_agg(child, list) FROM jsonb_each(EXCLUDED.lists) AS l(child, list) "
            f"WHERE NOT coalesce({newer}, false))"
        )
        return (
            f"INSERT INTO {self._own('_children')} AS k (stream, key, lists) "
            f"SELECT {self._stream}, {self._key_json('s')}, {staged} FROM {self._source} "
            f'WHERE s."_sdc_children" <> \'{{}}\' AND (s."_sdc_deleted_at" IS NOT NULL OR {self._not_below_floor}) '
            f"ON CONFLICT (stream, key) DO UPDATE SET lists = k.lists || coalesce({not_older}, '{{}}')"
        )

    def enforce_lists_on_children(self, relation: Relation) -> str:
        """Delete the children that the lists of the staged parents do not name."""
        child = relation.child
        reference = " AND ".join(
            f"t.{quoted(column)} = s.{quoted(key.name)}"
            for column, key in zip(relation.parent_columns, self.shape.key, strict=True)
        )
        return self._for(child).enforce(  # the child's table, driven by the parent's stage
            relation,
            driver=f"{self._source} JOIN {self._own('_children')} l "
            f"ON l.stream = {self._stream} AND l.key = {self._key_json('s')}",
            condition=f's."_sdc_children" ? {literal(child.stream)} AND {reference}',
        )

    def enforce_lists_on_staged(self, relation: Relation, *, writes: bool) -> str:
        """Delete those of the staged children that the list of their parent does not name.

        Args:
            relation: Whose list it is.
            writes: The staged rows are what writes were answered, in their order: one that is as of the list's own
                moment is taken to be the later one. (Two reads of a second have whole seconds; they are not.)
        """
        parent_key = json_array(f"s.{quoted(column)}" for column in relation.parent_columns)
        return self.enforce(
            relation,
            driver=f"{self._source} JOIN {self._own('_children')} l "
            f"ON l.stream = {literal(relation.parent.stream)} AND l.key = {parent_key}",
            condition=f"{self._same_key()} AND "
            + " AND ".join(f"t.{quoted(column)} = s.{quoted(column)}" for column in relation.parent_columns),
            writes=writes,
        )

    def enforce(self, relation: Relation, *, driver: str, condition: str, writes: bool = False) -> str:
        """Delete the children ``t`` that a list ``l`` does not name.

        Args:
            relation: Whose list it is; ``self`` are the child's statements.
            driver: The tables that bring ``l``, as of a FROM clause.
            condition: Which of them belong to which ``t``.
            writes: Rows that are as of the list's own moment stay, unless both were read.
        """
        list_of_child = f"l.lists->{literal(relation.child.stream)}"
        listed_as_of = f"({list_of_child}->>'as_of')::timestamptz"
        element = f"t.{quoted(self.shape.key[-1].name)}::text"
        absent = (
            f"{condition} AND t.\"_sdc_as_of\" <= {listed_as_of} AND NOT {list_of_child}->'ids' ? {element} "
            f"AND {listed_as_of} >= {self._sighting('t')} AND {listed_as_of} >= {self._floor('t')}"
        )
        if writes:
            absent += (
                f' AND (t."_sdc_as_of" < {listed_as_of} OR t."_sdc_as_of" = date_trunc(\'second\', t."_sdc_as_of"))'
            )
        return self._gone(f"{self._table} AS t", driver, absent, listed_as_of)

    # Parts.

    def _gone(self, table: str, driver: str, condition: str, as_of: str) -> str:
        """Delete the live rows ``t`` that meet a condition, as of a moment."""
        if not self.hard_delete:
            source = f" FROM {driver}" if driver else ""
            return (
                f'UPDATE {table} SET "_sdc_deleted_at" = {as_of}, "_sdc_as_of" = {as_of}{source} '
                f'WHERE t."_sdc_deleted_at" IS NULL AND {condition}'
            )
        source = f" USING {driver}" if driver else ""
        return (
            f"WITH gone AS (DELETE FROM {table}{source} WHERE {condition} "
            f"RETURNING {self._key_json('t')} AS key, {as_of} AS as_of) "
            f"INSERT INTO {self._own('_tombstones')} AS k (stream, key, as_of) "
            f"SELECT DISTINCT ON (key) {self._stream}, key, as_of FROM gone ORDER BY key, as_of DESC "
            f"ON CONFLICT (stream, key) DO UPDATE SET as_of = EXCLUDED.as_of WHERE k.as_of < EXCLUDED.as_of"
        )

    def _for(self, shape: TableShape) -> Statements:
        return Statements(schema=self.schema, shape=shape, stage=self.stage, hard_delete=self.hard_delete)
