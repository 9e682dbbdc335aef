"""Rows of a table that is filled for the first time go straight into it, and end as those that are compared first."""

import pytest
from messages import FILLER, INTEGER, TEXT, activate, at, millis, record, schema, state

from target_postgres_stripe.errors import DatabaseRefusedError, RecordRefusedError
from target_postgres_stripe.load import Loader

PRICE = schema("price", name=TEXT, amount=INTEGER)
LIVE = "SELECT id, name FROM stripe.price WHERE _sdc_deleted_at IS NULL ORDER BY id"
SWEEP = millis(100)


def price(name, as_of=1, value="x", **more):
    return record("price", id=name, name=value, as_of=as_of, **more)


@pytest.fixture
def straight(monkeypatch):
    """The keys that went straight into their table."""
    keys = []
    insert = Loader._insert_new

    def noting(self, connection, shape, rows):
        done = insert(self, connection, shape, rows)
        keys.extend(row.key[0] for row in rows if done)
        return done

    monkeypatch.setattr(Loader, "_insert_new", noting)
    return keys


VALUES = ["x", None, "tab\t", "back\\slash", "line\nfeed\r", "\\N", "\u00e9\x1f\u2028", ""]


@pytest.mark.parametrize("version", [None, SWEEP])
def test_both_ways_give_the_same_rows(load, rows, straight, monkeypatch, version):
    sent = [price(f"p{number}", 101 + number, value, version=version) for number, value in enumerate(VALUES)]
    sent = [each | {"time_extracted": at(number)} for number, each in enumerate(sent)]
    sent.append(price("amount", 1, amount=-(2**63)))
    load(state(), PRICE, *sent, state())
    assert len(straight) == len(sent)
    columns = "id, name, amount, _sdc_as_of, _sdc_deleted_at, _sdc_table_version, _sdc_extracted_at, _sdc_hash"
    query = f"SELECT {columns} FROM stripe.price ORDER BY id"
    first = rows(query)
    monkeypatch.setattr(Loader, "_insert_new", lambda *_: False)
    load(state(), PRICE, *sent, state(), default_target_schema="other")
    assert rows(query.replace("stripe.", "other.")) == first
    for name in ("stripe", "other"):
        received = "_sdc_received_at = to_timestamp(_sdc_sequence / 1000.0)"
        fresh = "_sdc_batched_at - _sdc_received_at BETWEEN interval '-1 second' AND interval '1 minute'"
        assert rows(f"SELECT DISTINCT {received}, {fresh} FROM {name}.price") == [(True, True)]


def test_a_key_that_is_there_already_ends_it_and_costs_nothing(load, rows, straight):
    """An event has brought a row, or two pages have one, since Stripe's lists move while they are read."""
    batches = [[price("a"), price("b")], [price("b", 2, "newer"), price("c")], [price("a", 0, "older"), price("d")]]
    load(state(), PRICE, *(each for batch in batches for each in batch), state(), batch_size_rows=2)
    assert straight == ["a", "b"]
    assert rows(LIVE) == [("a", "x"), ("b", "newer"), ("c", "x"), ("d", "x")]


@pytest.mark.parametrize("hard_delete", [False, True])
def test_rows_go_on_going_straight_until_one_does_not(load, rows, straight, hard_delete):
    sent = [price("a"), price("b"), price("c"), price("d"), price("e", gone=2), price("f"), price("g"), price("h")]
    load(state(), PRICE, *sent, state(), batch_size_rows=2, hard_delete=hard_delete)
    assert straight[:4] == ["a", "b", "c", "d"]
    assert "f" not in straight
    assert rows(LIVE) == [(name, "x") for name in "abcdfgh"]


@pytest.mark.parametrize("odd", [{"gone": 2}, {"as_of": FILLER}, {"children": {"line": ["l"]}}])
def test_what_says_more_than_its_values_is_staged(load, straight, odd):
    load(state(), PRICE, price("a"), price("b", **({"as_of": 1} | odd)), state())
    assert straight == []


def test_nothing_older_than_a_delete_comes_back_into_an_empty_table(load, rows, straight, connection):
    load(state(), PRICE, price("a"), price("a", gone=10), state(), hard_delete=True)
    connection.execute("TRUNCATE stripe.price")  # as a vacuum would
    straight.clear()
    load(state(), PRICE, price("a", 5), price("b", 5), state(), hard_delete=True)
    assert straight == []
    assert rows(LIVE) == [("b", "x")]


def test_nothing_older_than_a_sweep_that_found_nothing_comes_in(load, rows, straight):
    load(state(), PRICE, activate("price", SWEEP), state())
    load(state(), PRICE, price("a", 99), price("b", 101), state())
    assert straight == []
    assert rows(LIVE) == [("b", "x")]


def test_the_rows_of_an_account_that_was_listed_before_stay_out_too(load, rows, straight):
    shaped = schema("price", key=("stripe_account_id", "id"), name=TEXT)

    def of(account, as_of):
        return record("price", stripe_account_id=account, id="p", name="x", as_of=as_of)

    load(state(), shaped, activate("price", SWEEP, "acct_a"), state())
    load(state(), shaped, of("acct_a", 99), of("acct_b", 99), state())
    assert straight == []
    assert rows("SELECT stripe_account_id FROM stripe.price") == [("acct_b",)]


def test_children_that_a_list_does_not_name_stay_out(load, rows, straight):
    """Their parent's list was there first."""
    lines = schema("line", price_id=TEXT)
    load(state(), PRICE, lines, price("p", 10, children={"line": ["l1"]}), state())
    load(state(), lines, *(record("line", id=name, price_id="p", as_of=5) for name in ("l1", "l2")), state())
    assert straight == []
    assert rows("SELECT id FROM stripe.line WHERE _sdc_deleted_at IS NULL") == [("l1",)]


def test_children_that_came_before_their_parents_list_go_with_it(load, rows, straight):
    lines = schema("line", price_id=TEXT)
    load(
        state(), PRICE, lines, *(record("line", id=name, price_id="p", as_of=5) for name in ("l1", "l2")), state(),
        price("p", 10, children={"line": ["l1"]}), state(), batch_size_rows=2,
    )  # fmt: skip
    assert straight == ["l1", "l2"]
    assert rows("SELECT id FROM stripe.line WHERE _sdc_deleted_at IS NULL") == [("l1",)]


def test_a_value_that_postgres_refuses_is_named_by_its_record(load, rows, straight):
    bad = price("c", "2026-13-45T00:00:00Z")
    covering = state(price={"n": 1})
    with pytest.raises(RecordRefusedError, match=r"Record 3 of stream 'price'.*_sdc_as_of") as caught:
        load(state(), PRICE, price("a"), covering, price("b"), bad, price("d"), state())
    assert "2026-13" not in str(caught.value)
    assert rows(LIVE) == [("a", "x")]
    assert load.printed[-1] == covering["value"]


def test_a_column_of_somebodys_own_gets_its_default(load, rows, straight, connection):
    load(state(), PRICE, state())
    connection.execute("ALTER TABLE stripe.price ADD COLUMN noted timestamptz NOT NULL DEFAULT now()")
    load(state(), PRICE, price("a"), state())
    assert straight == ["a"]
    assert rows("SELECT noted IS NOT NULL FROM stripe.price") == [(True,)]


def test_a_constraint_of_somebodys_own_is_reported_as_ever(load, rows, straight, connection):
    load(state(), PRICE, state())
    connection.execute("ALTER TABLE stripe.price ADD CONSTRAINT no_x CHECK (name <> 'x')")
    covering = state(price={"n": 1})
    with pytest.raises(DatabaseRefusedError, match="no_x"):
        load(state(), PRICE, price("a", value="y"), covering, price("b"), state(), batch_size_rows=1)
    assert straight == ["a"]


def test_without_the_columns_of_the_sdk_rows_are_staged(load, rows, straight):
    load(state(), PRICE, price("a"), state(), add_record_metadata=False)
    assert straight == []
    assert rows("SELECT id FROM stripe.price") == [("a",)]
