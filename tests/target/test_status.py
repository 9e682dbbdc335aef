"""``_sync_status``: how far each stream is, as SQL."""

import itertools
import json

import pytest
from messages import TEXT, activate, at, millis, record, schema, state

from target_postgres_stripe.columns import table_shape
from target_postgres_stripe.counts import COUNTED_ROWS_MAX, CountingRounds, live_rows
from target_postgres_stripe.status import Part

CUSTOMER = schema("customer", name=TEXT)
CHARGE = schema("charge", name=TEXT)
LOADED = {"kept_by": "events", "backfill_finished_at": at(2), "events_as_of": at(5)}


def customer(key, as_of=1):
    return record("customer", id=key, name="x", as_of=as_of)


def polled(second, **bookmarks):
    value = state(**bookmarks)["value"] | {"polled_at": at(second), "written_at": at(second)}
    return {"type": "STATE", "value": value}


def test_kept_by_and_lag_are_told(load, rows):
    load(state(), CUSTOMER, state(customer=LOADED, charge={"kept_by": "sweeps"}))
    found = rows("SELECT stream, kept_by, lag = updated_at - events_as_of FROM stripe._sync_status ORDER BY 1")
    assert found == [("charge", "sweeps", None), ("customer", "events", True)]


def test_nothing_lags_where_stripes_clock_is_ahead_and_nothing_is_said_where_no_feed_was_read(load, rows):
    ahead = LOADED | {"events_as_of": "2999-01-01T00:00:00Z"}
    load(state(), CUSTOMER, state(customer=ahead, charge={"kept_by": "sweeps"}))
    found = rows("SELECT stream, extract(epoch FROM lag) FROM stripe._sync_status ORDER BY 1")
    assert found == [("charge", None), ("customer", 0)]


def test_live_rows_are_counted_at_the_end_of_a_run(load, rows):
    counts = "SELECT stream, rows, rows_counted_at IS NOT NULL FROM stripe._sync_status ORDER BY 1"
    marks = {"customer": LOADED, "charge": LOADED}
    load(state(), CUSTOMER, CHARGE, *(customer(key) for key in "abc"), state(**marks))
    assert rows(counts) == [("charge", 0, True), ("customer", 3, True)]
    load(state(), CUSTOMER, record("customer", id="a", gone=5), state(**marks))
    assert rows(counts) == [("charge", 0, True), ("customer", 2, True)]
    load(state(), CUSTOMER, activate("customer", millis(9)), state(**marks))
    assert rows(counts) == [("charge", 0, True), ("customer", 0, True)]


def test_children_that_a_list_took_away_are_not_counted(load, rows):
    card = schema("card", customer_id=TEXT)
    load(state(), CUSTOMER, card, record("card", id="c", customer_id="a", as_of=1), state(customer={}, card={}))
    load(state(), CUSTOMER, record("customer", id="a", as_of=5, children={"card": []}), state(customer={}, card={}))
    assert rows("SELECT rows FROM stripe._sync_status WHERE stream = 'card'") == [(0,)]


def test_a_table_without_the_column_of_deletes_is_counted_whole(load, rows):
    load(schema("u", ordered=False), record("u", id="a"), state({"u": 1}), add_record_metadata=False)
    assert rows("SELECT rows FROM stripe._sync_status") == [(1,)]


def test_a_large_table_is_estimated(connection, load):
    load(state(), CUSTOMER, state())
    connection.execute("INSERT INTO stripe.customer (id) SELECT n::text FROM generate_series(1, 2000) n")
    connection.execute("UPDATE stripe.customer SET _sdc_deleted_at = now() WHERE id::int % 2 = 0")
    connection.execute("ANALYZE stripe.customer")
    shape = table_shape("customer", CUSTOMER["schema"], ["id"], metadata=True)
    assert live_rows(connection, "stripe", shape, [""]) == {"": 1000}
    # The planner takes its count of rows from here, and Postgres lets its owner pretend.
    pages = "SELECT relpages FROM pg_class WHERE oid = 'stripe.customer'::regclass"
    connection.execute(
        f"UPDATE pg_class SET reltuples = {COUNTED_ROWS_MAX * 10}, relpages = ({pages}) "
        "WHERE oid = 'stripe.customer'::regclass"
    )
    assert live_rows(connection, "stripe", shape, [""])[""] == pytest.approx(COUNTED_ROWS_MAX * 5, rel=0.2)


def test_a_round_of_counting_begins_once_a_minute_and_takes_each_changed_table_once():
    rounds = CountingRounds()
    rounds.touch(["b", "a", "b"])
    assert rounds.next_stream() is None
    assert [rounds.next_stream(at_once=True), rounds.next_stream()] == ["b", "a"]
    assert rounds.next_stream(at_once=True) is None
    eager = CountingRounds(round_seconds=0)
    eager.touch(["a", "b"])
    eager.note(eager.next_stream(), {"": 1})
    assert eager.take() == {}
    eager.note(eager.next_stream(), {"": 2})
    assert eager.take() == {Part("a"): 2, Part("b"): 1}
    assert (eager.take(), eager.next_stream()) == ({}, None)


def test_the_last_poll_is_told_of_streams_that_the_feed_brings_and_stripe_allows(load, rows):
    denied = LOADED | {"denied": {"since": at(1), "reason": "no"}}
    load(state(), CUSTOMER, polled(60, customer=LOADED, charge=denied, file={"kept_by": "sweeps"}))
    assert rows("SELECT stream, polled_at::text FROM stripe._sync_status ORDER BY 1") == [
        ("charge", None), ("customer", "2026-01-01 00:01:00+00"), ("file", None),
    ]  # fmt: skip
    assert rows("SELECT polled_at::text FROM stripe._sync") == [("2026-01-01 00:01:00+00",)]


def test_the_last_poll_of_a_run_is_told_however_close_to_the_one_before(load, rows):
    load(state(), CUSTOMER, *(polled(second, customer=LOADED) for second in range(60, 64)))
    assert rows("SELECT polled_at::text FROM stripe._sync_status") == [("2026-01-01 00:01:03+00",)]


def test_polls_that_change_no_bookmark_write_no_row_but_one_in_ten_seconds(load, connection):
    """Two hundred STATEs, 0.5 s apart, each committed by itself, since rows come in batches of one."""
    marks = {f"s{number}": LOADED for number in range(117)}
    written = []

    def lines():
        yield json.dumps(state()) + "\n"
        yield json.dumps(CUSTOMER) + "\n"
        for half_second in range(200):
            yield json.dumps(customer("a", at(half_second + 1))) + "\n"
            yield json.dumps(polled(60 + half_second // 2, **marks)) + "\n"
            written.append(
                connection.execute("SELECT xmin::text FROM stripe._sync_status").fetchall()
            ) if half_second else None

    load.lines(lines(), batch_size_rows=1)
    versions = [{xmin for (xmin,) in each} for each in written]
    changes = sum(before != after for before, after in itertools.pairwise(versions))
    assert all(len(each) == 117 for each in written)
    assert changes <= 11
    assert connection.execute("SELECT polled_at::text FROM stripe._sync").fetchall() == [("2026-01-01 00:02:39+00",)]


EARLIER_VERSION = """
CREATE SCHEMA stripe;
CREATE TABLE stripe._streams (stream text PRIMARY KEY, table_name text NOT NULL UNIQUE, floor timestamptz,
    child_streams text[] NOT NULL DEFAULT '{}');
CREATE TABLE stripe._children (stream text, key jsonb, lists jsonb NOT NULL, PRIMARY KEY (stream, key));
CREATE TABLE stripe._sweep_seen (stream text, key jsonb, version bigint NOT NULL, as_of timestamptz NOT NULL,
    PRIMARY KEY (stream, key));
CREATE TABLE stripe._tombstones (stream text, key jsonb, as_of timestamptz NOT NULL, PRIMARY KEY (stream, key));
CREATE TABLE stripe._sync (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), livemode boolean, account_id text,
    state_written_at timestamptz, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE stripe._sync_status (stream text PRIMARY KEY, bookmark jsonb,
    updated_at timestamptz NOT NULL DEFAULT now(), backfill_started_at timestamptz, backfill_finished_at timestamptz,
    listed_at timestamptz, events_as_of timestamptz, denied text);
CREATE TABLE stripe.customer (id text PRIMARY KEY, name text, _sdc_as_of timestamptz, _sdc_deleted_at timestamptz,
    _sdc_table_version bigint, _sdc_extracted_at timestamptz, _sdc_received_at timestamptz,
    _sdc_batched_at timestamptz, _sdc_sequence bigint);
INSERT INTO stripe._sync (livemode, account_id) VALUES (false, 'acct_1');
INSERT INTO stripe._streams VALUES ('customer', 'customer');
INSERT INTO stripe.customer VALUES ('old', 'x', '2026-01-01');
INSERT INTO stripe._sync_status VALUES ('customer', '{"backfill_started_at": "2026-01-01T00:00:00Z"}', now(),
    '2026-01-01');
"""


def test_a_database_of_the_version_before_gets_the_new_columns_and_keeps_its_rows(load, rows, connection):
    connection.execute(EARLIER_VERSION)
    sync = rows("SELECT id FROM stripe._sync")
    load(state(customer={"backfill_started_at": at(0)}), CUSTOMER, customer("new"), polled(60, customer=LOADED))
    assert rows("SELECT kept_by, rows, drift, polled_at IS NOT NULL FROM stripe._sync_status") == [
        ("events", 2, 0, True)
    ]
    assert rows("SELECT id FROM stripe._sync") == sync


def test_a_database_of_the_version_before_still_refuses_a_state_that_is_ahead(load, connection):
    connection.execute(EARLIER_VERSION)
    with pytest.raises(Exception, match="is ahead of schema 'stripe'"):
        load(state(customer={"backfill_started_at": at(1)}))
