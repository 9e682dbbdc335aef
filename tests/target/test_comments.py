"""What a stream's SCHEMA says of its table and columns is in the database's comments, and other people's stay."""

import time

import psycopg
import pytest
from messages import TEXT, record, schema, state

from target_postgres_stripe.columns import table_shape
from target_postgres_stripe.comments import comment_statements, describe, stored_comments

TABLE = '"stripe"."charge"'


def described(stream, text=None, **columns):
    """A SCHEMA with descriptions."""
    message = schema(stream, **{name: {**TEXT, "description": what} for name, what in columns.items()})
    if text is not None:
        message["schema"]["description"] = text
    return message


@pytest.fixture
def comments(connection):
    def read(table="charge"):
        texts = stored_comments(connection, "stripe", table).texts
        return {name: text for name, text in texts.items() if not name.startswith("_sdc_")}

    return read


def test_a_comment_is_written_where_there_is_none_and_nothing_where_it_is_there():
    wanted = {"": "A payment.", "amount": "How much."}
    assert comment_statements(TABLE, wanted, {}, {}) == [
        f"COMMENT ON COLUMN {TABLE}.\"amount\" IS 'How much.'",
        f"COMMENT ON TABLE {TABLE} IS 'A payment.'",
    ]
    assert comment_statements(TABLE, wanted, {}, wanted) == []


@pytest.mark.parametrize(
    ("wanted", "described", "stored", "expected"),
    [
        ("new", "old", "old", "'new'"),
        ("new", "old", "theirs", None),
        ("new", None, "theirs", None),
        ("new", "old", None, "'new'"),
        (None, "old", "old", "NULL"),
        (None, "old", "theirs", None),
        (None, "old", None, None),
    ],
)
def test_only_a_comment_that_says_what_was_described_last_is_ours(wanted, described, stored, expected):
    maps = [{} if text is None else {"amount": text} for text in (wanted, described, stored)]
    found = comment_statements(TABLE, *maps)
    assert found == ([] if expected is None else [f'COMMENT ON COLUMN {TABLE}."amount" IS {expected}'])


def test_comments_are_there_after_a_run_and_change_with_the_descriptions(load, comments):
    load(described("charge", "A payment.", amount="How much.", note="For people."), record("charge", id="1", as_of=1))
    assert comments() == {"": "A payment.", "amount": "How much.", "note": "For people."}
    load(described("charge", "A try to pay.", amount="How much."), record("charge", id="1", as_of=2))
    assert comments() == {"": "A try to pay.", "amount": "How much."}


def test_a_description_that_changes_within_a_run_counts(load, comments):
    load(described("charge", amount="How much."), record("charge", id="1", as_of=1), described("charge", amount="Sum."))
    assert comments() == {"amount": "Sum."}


def test_a_new_column_of_an_old_table_gets_its_comment(load, comments):
    load(described("charge", amount="How much."), state())
    load(described("charge", amount="How much.", note="For people."), state())
    assert comments() == {"amount": "How much.", "note": "For people."}


def test_a_column_that_was_dropped_comes_back_with_its_comment(load, comments, connection):
    load(described("charge", amount="How much."), state())
    connection.execute("ALTER TABLE stripe.charge DROP COLUMN amount")
    load(described("charge", amount="How much."), state())
    assert comments() == {"amount": "How much."}


def test_a_table_of_an_earlier_version_gets_comments(load, comments, connection):
    load(schema("charge", amount=TEXT), record("charge", id="1", as_of=1), state())
    connection.execute("ALTER TABLE stripe._streams DROP COLUMN comments")
    load(described("charge", amount="How much."), state())
    assert comments() == {"amount": "How much."}


def test_a_comment_that_somebody_else_wrote_stays(load, comments, connection):
    load(described("charge", amount="How much.", note="For people."), state())
    connection.execute("COMMENT ON COLUMN stripe.charge.amount IS 'In cents!'")
    connection.execute("COMMENT ON TABLE stripe.charge IS 'Ours'")
    load(described("charge", "A payment.", amount="Sum.", note="For you."), state())
    assert comments() == {"": "Ours", "amount": "In cents!", "note": "For you."}


def test_a_comment_that_somebody_took_away_comes_back_only_when_its_description_changes(load, comments, connection):
    load(described("charge", amount="How much."), state())
    connection.execute("COMMENT ON COLUMN stripe.charge.amount IS NULL")
    load(described("charge", amount="How much."), state())
    assert comments() == {}
    load(described("charge", amount="Sum."), state())
    assert comments() == {"amount": "Sum."}


def test_another_taps_descriptions_are_taken_as_they_are(load, comments):
    odd = "It's \"quoted\", 100% \\n: \\'; DROP TABLE x; --\nand a {second} line\twith ünïcödé 漢字 🦆 $$ $1 %s"
    message = described("Odd Things", odd, **{'a "b" c': odd, "Größe": odd, "x" * 80: odd})
    message["schema"]["properties"]["id"] = {"type": "string", "description": "\u0000 and \ud800"}
    message["schema"]["properties"]["anything"] = True
    message["schema"]["properties"]["wrong"] = {"type": "string", "description": {"en": "not a text"}}
    message["schema"]["properties"]["empty"] = {"type": "string", "description": "  "}
    load(message, record("Odd Things", id="1", as_of=1))
    found = comments("Odd_Things")
    (long_name,) = [name for name in found if name.startswith("xxx")]
    assert found == {"": odd, 'a "b" c': odd, "Größe": odd, long_name: odd, "id": "\ufffd and \ufffd"}


def test_the_columns_that_the_target_adds_are_described_unless_the_schema_does_it(load, connection):
    message = schema("charge")
    message["schema"]["properties"]["_sdc_as_of"]["description"] = "By Stripe's clock."
    load(message, state())
    texts = stored_comments(connection, "stripe", "charge").texts
    assert texts["_sdc_as_of"] == "By Stripe's clock."
    assert set(texts) == {
        *("_sdc_as_of", "_sdc_deleted_at", "_sdc_table_version", "_sdc_extracted_at"),
        *("_sdc_received_at", "_sdc_batched_at", "_sdc_sequence", "_sdc_hash"),
    }


def test_a_run_with_the_same_descriptions_writes_none(load, connection):
    load(described("charge", "A payment.", amount="How much."), record("charge", id="1", as_of=1), state())
    written = "SELECT objsubid, xmin::text FROM pg_description WHERE objoid = 'stripe.charge'::regclass ORDER BY 1"
    remembered = "SELECT xmin::text, comments FROM stripe._streams"
    before = [connection.execute(query).fetchall() for query in (written, remembered)]
    load(described("charge", "A payment.", amount="How much."), record("charge", id="1", as_of=2), state())
    assert [connection.execute(query).fetchall() for query in (written, remembered)] == before


def test_a_table_of_another_role_is_loaded_and_keeps_its_comments(load, comments, rows, connection, database):
    connection.execute("DROP ROLE IF EXISTS loader")
    connection.execute("CREATE ROLE loader LOGIN")
    load(described("charge", amount="How much."), record("charge", id="1", as_of=1), state())
    connection.execute("GRANT USAGE, CREATE ON SCHEMA stripe TO loader")
    connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA stripe TO loader")
    try:
        changed = described("charge", amount="Sum."), record("charge", id="2", as_of=2), state()
        load(*changed, database_url=database.replace("postgres@", "loader@"))
        assert rows("SELECT id FROM stripe.charge ORDER BY id") == [("1",), ("2",)]
        assert comments() == {"amount": "How much."}
        load(*changed)  # by its owner
        assert comments() == {"amount": "Sum."}
    finally:
        connection.execute("DROP OWNED BY loader")
        connection.execute("DROP ROLE loader")


def test_a_table_that_somebody_has_locked_is_loaded_and_described_later(load, comments, rows, database):
    load(described("charge", amount="How much."), record("charge", id="1", as_of=1), state())
    changed = described("charge", amount="Sum."), record("charge", id="2", as_of=2), state()
    with psycopg.connect(database) as somebody:
        somebody.execute("LOCK TABLE stripe.charge IN SHARE UPDATE EXCLUSIVE MODE")  # as VACUUM does
        began = time.monotonic()
        load(*changed)
        assert time.monotonic() - began < 20
    assert rows("SELECT id FROM stripe.charge ORDER BY id") == [("1",), ("2",)]
    assert comments() == {"amount": "How much."}
    load(*changed)
    assert comments() == {"amount": "Sum."}


def test_the_sessions_patience_is_as_it_was(load, comments, database):
    load(described("charge", amount="How much."), state())
    message = described("charge", amount="Sum.")
    wanted = table_shape("charge", message["schema"], ["id"], metadata=True)
    with psycopg.connect(database, options="-c lock_timeout=77s") as session:
        describe(session, "stripe", wanted, {"amount": "How much."})
        assert session.execute("SHOW lock_timeout").fetchone() == ("77s",)
    assert comments() == {"amount": "Sum."}


def test_a_view_in_the_place_of_a_table_is_left_alone(load, connection):
    load(described("charge", amount="How much."), state())
    connection.execute("ALTER TABLE stripe.charge RENAME TO moved")
    connection.execute("CREATE VIEW stripe.charge AS SELECT * FROM stripe.moved")
    message = described("charge", "A payment.", amount="Sum.")
    describe(connection, "stripe", table_shape("charge", message["schema"], ["id"], metadata=True), {})
    assert stored_comments(connection, "stripe", "charge").texts == {}
