"""DDL as exact SQL, and tables that change with their streams."""

import pytest
from messages import INTEGER, JSON, MOMENT, TEXT, record, schema, state

from target_postgres_stripe.apply import Relation, Statements
from target_postgres_stripe.columns import table_shape
from target_postgres_stripe.errors import (
    ColumnConflictError,
    ForeignTableError,
    KeyConflictError,
    RoleMissingError,
    TableNameTakenError,
)
from target_postgres_stripe.tables import StoredTable, parent_index, table_changes

COLUMNS = """
SELECT column_name, data_type FROM information_schema.columns
WHERE table_schema = 'stripe' AND table_name = %s AND column_name NOT LIKE '\\_sdc\\_%%' ORDER BY ordinal_position
"""


def shape(message, *, metadata=False):
    return table_shape(message["stream"], message["schema"], message["key_properties"], metadata=metadata)


def test_a_new_table():
    wanted = shape(schema("charge", amount=INTEGER, created=MOMENT, metadata=JSON, **{'odd"name': TEXT}), metadata=True)
    (statement,) = table_changes("stripe", wanted, None)
    assert statement == (
        'CREATE TABLE "stripe"."charge" ("id" text, "amount" bigint, "created" timestamptz, "metadata" jsonb, '
        '"odd""name" text, "_sdc_as_of" timestamptz, "_sdc_deleted_at" timestamptz, "_sdc_table_version" bigint, '
        '"_sdc_extracted_at" timestamptz, "_sdc_received_at" timestamptz, "_sdc_batched_at" timestamptz, '
        '"_sdc_sequence" bigint, "_sdc_hash" bigint, PRIMARY KEY ("id"))'
    )


def test_a_table_without_a_key():
    assert table_changes("s", shape(schema("log", key=(), ordered=False, line=TEXT)), None) == [
        'CREATE TABLE "s"."log" ("line" text)'
    ]


def test_columns_are_added_widened_and_freed_of_not_null_in_one_statement():
    stored = StoredTable(
        types={"id": "text", "amount": "bigint", "mine": "inet"}, required=frozenset({"id", "amount"}), key=("id",)
    )
    wanted = shape(schema("charge", ordered=False, amount={"type": "number"}, note=TEXT))
    (statement,) = table_changes("stripe", wanted, stored)
    assert statement == (
        'ALTER TABLE "stripe"."charge" ALTER COLUMN "amount" TYPE numeric, ADD COLUMN "note" text, '
        'ALTER COLUMN "amount" DROP NOT NULL'
    )


def test_a_table_that_fits_is_left_alone():
    stored = StoredTable(types={"id": "text", "amount": "numeric"}, required=frozenset({"id"}), key=("id",))
    assert table_changes("stripe", shape(schema("charge", ordered=False, amount=INTEGER)), stored) == []


def test_a_conflict_names_table_column_both_types_and_the_way_out():
    stored = StoredTable(types={"id": "text", "amount": "text"}, required=frozenset(), key=("id",))
    with pytest.raises(ColumnConflictError) as caught:
        table_changes("stripe", shape(schema("charge", amount=INTEGER)), stored)
    assert str(caught.value) == (
        'Column \'amount\' of table "stripe"."charge" is text, but its stream\'s schema now says bigint. Convert the '
        "column yourself (ALTER TABLE ... ALTER COLUMN ... TYPE bigint USING ...), rename it so that a new one is "
        "added, or load into another default_target_schema."
    )


def test_another_key_is_refused():
    stored = StoredTable(types={"id": "text"}, required=frozenset(), key=("id",))
    with pytest.raises(KeyConflictError, match=r"primary key \(id\), but .* the key \(account_id, id\)"):
        table_changes("stripe", shape(schema("capability", key=("account_id", "id"))), stored)


def test_children_are_found_by_an_index_unless_their_key_begins_with_the_parent():
    invoice, line = shape(schema("invoice")), shape(schema("line_item", key=("invoice_id", "id")))
    tax_id = shape(schema("tax_id", customer_id=TEXT))
    assert parent_index("stripe", Relation(parent=invoice, child=line)) is None
    assert parent_index("stripe", Relation(parent=shape(schema("customer")), child=tax_id)) == (
        'CREATE INDEX IF NOT EXISTS "tax_id_customer_id_idx" ON "stripe"."tax_id" ("customer_id")'
    )


def test_the_upsert_of_a_plain_stream():
    statements = Statements(
        schema="s", shape=shape(schema("u", ordered=False, n=INTEGER)), stage="stage", hard_delete=False
    )
    assert statements.upsert() == (
        'INSERT INTO "s"."u" AS t ("id", "n") SELECT s."id", s."n" FROM pg_temp."stage" AS s '
        'ON CONFLICT ("id") DO UPDATE SET "n" = EXCLUDED."n" WHERE (t."n") IS DISTINCT FROM (EXCLUDED."n")'
    )


def test_a_table_of_nothing_but_its_key_loads(load, rows):
    for _ in range(2):
        load(schema("u", ordered=False), record("u", id="a"), add_record_metadata=False)
    assert rows("SELECT * FROM stripe.u") == [("a",)]


def test_a_stream_that_grows_keeps_its_rows(load, rows):
    load(schema("c", a=INTEGER), record("c", id="1", a=1, as_of=1), state())
    load(
        schema("c", a=INTEGER), record("c", id="2", a=2, as_of=1),
        schema("c", a={"type": "number"}, b=TEXT), record("c", id="3", a=1.5, b="x", as_of=1), state(),
    )  # fmt: skip
    load(schema("c", a=INTEGER), record("c", id="4", a=4, as_of=1), state())
    assert [(i, float(a), b) for i, a, b in rows("SELECT id, a, b FROM stripe.c ORDER BY id")] == [
        ("1", 1.0, None), ("2", 2.0, None), ("3", 1.5, "x"), ("4", 4.0, None),
    ]  # fmt: skip
    assert rows(COLUMNS, "c") == [("id", "text"), ("a", "numeric"), ("b", "text")]


def test_an_integer_beyond_bigint_widens_its_column_and_loses_nothing(load, rows):
    big = 2**63
    load(schema("c", a=INTEGER), record("c", id="1", a=5, as_of=1), record("c", id="2", a=big, as_of=1), state())
    load(schema("c", a=INTEGER), record("c", id="3", a=-big - 1, as_of=1), record("c", id="4", a=7, as_of=1), state())
    assert [int(a) for (a,) in rows("SELECT a FROM stripe.c ORDER BY id")] == [5, big, -big - 1, 7]
    assert rows(COLUMNS, "c") == [("id", "text"), ("a", "numeric")]


def test_a_table_that_is_not_ours_is_not_touched(load, rows, connection):
    connection.execute("CREATE SCHEMA stripe")
    connection.execute("CREATE TABLE stripe.customer (id text PRIMARY KEY, mine text)")
    with pytest.raises(ForeignTableError, match=r"Table stripe\.customer exists but was not created by this target"):
        load(schema("customer"), record("customer", id="c", as_of=1), state())
    assert rows("SELECT * FROM stripe.customer") == []
    assert rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'stripe'") == [("customer",)]


def test_a_view_in_the_way_is_not_touched(load, connection):
    connection.execute("CREATE SCHEMA stripe")
    connection.execute("CREATE VIEW stripe._sync AS SELECT 1 AS id")
    with pytest.raises(ForeignTableError, match=r"stripe\._sync"):
        load(schema("customer"), state())


def test_two_streams_of_one_table_name_are_refused(load):
    with pytest.raises(TableNameTakenError, match="'a-b' and 'a_b' would both be table 'a_b'"):
        load(schema("a-b"), schema("a_b"), state())


def test_columns_that_somebody_added_do_not_disturb(load, rows, connection):
    load(schema("c", a=INTEGER), record("c", id="1", a=1, as_of=1), state())
    connection.execute("ALTER TABLE stripe.c ADD COLUMN mine inet NOT NULL DEFAULT '::1'")
    load(schema("c", a=INTEGER), record("c", id="1", a=2, as_of=2), record("c", id="2", as_of=1), state())
    assert rows("SELECT id, a, mine::text FROM stripe.c ORDER BY id") == [("1", 2, "::1/128"), ("2", None, "::1/128")]


def test_a_stream_without_records_has_a_table(load, rows):
    load(schema("empty"), state())
    assert rows("SELECT count(*) FROM stripe.empty") == [(0,)]


def test_the_reader_role_reads_everything_now_and_later(load, rows, connection):
    connection.execute("DROP ROLE IF EXISTS reporting")
    connection.execute("CREATE ROLE reporting")
    try:
        load(schema("a"), record("a", id="1", as_of=1), state(), reader_role="reporting")
        load(schema("a"), schema("b"), state())
        connection.execute("SET ROLE reporting")
        assert rows("SELECT count(*) FROM stripe.a UNION ALL SELECT count(*) FROM stripe.b") == [(1,), (0,)]
        assert rows("SELECT count(*) FROM stripe._sync_status") == [(0,)]
    finally:
        connection.execute("RESET ROLE")
        connection.execute("DROP OWNED BY reporting")
        connection.execute("DROP ROLE reporting")


def test_a_reader_role_that_does_not_exist_is_named(load):
    with pytest.raises(RoleMissingError, match="reader_role 'nobody_here' does not exist"):
        load(schema("a"), state(), reader_role="nobody_here")


def test_a_user_without_the_right_to_create_schemas_can_use_one(load, rows, connection, database):
    connection.execute("DROP ROLE IF EXISTS loader")
    connection.execute("CREATE ROLE loader LOGIN")
    connection.execute("CREATE SCHEMA stripe AUTHORIZATION loader")
    try:
        load(schema("a"), record("a", id="1", as_of=1), state(), database_url=database.replace("postgres@", "loader@"))
        assert rows("SELECT id FROM stripe.a") == [("1",)]
    finally:
        connection.execute("DROP OWNED BY loader")
        connection.execute("DROP ROLE loader")
