"""The first load of an account that has objects of every type."""

from collections import Counter

import pytest
from oracle import Oracle, column_types, differences, table
from stripe_account import busiest_second, busiest_seconds_by_endpoint
from tables import counts

NOT_ASKED_FOR = {"billing.meter_event_summary", "tax.calculation_line_item", "tax.transaction_line_item"}
"""Listed only for parents that no list shows, or for a meter, a customer and a period that the asker must name."""


@pytest.fixture(scope="session")
def oracle(loaded):
    return Oracle(loaded.account.id)


def test_the_run_succeeds(loaded):
    assert loaded.outcome.succeeded, loaded.outcome.logs
    assert "Traceback" not in loaded.outcome.logs


def test_every_cell_of_every_table_is_right(loaded):
    wrong = differences(loaded.connection, loaded.account.expectation())
    assert not wrong, f"{len(wrong)} differences\n" + "\n".join(map(str, wrong[:30]))


def test_every_type_that_has_a_list_has_all_its_rows(loaded, oracle):
    live = counts(loaded.connection)
    required = Counter()
    for name, rows in loaded.account.expectation().rows.items():
        required[name] = sum(row.required for row in rows.values())
    listed = {table(each) for each in oracle.listed - NOT_ASKED_FOR}
    assert len(listed) >= 112
    assert {name for name in listed if not required[name]} == set()
    assert {name: (live.get(name), required[name]) for name in listed if live.get(name, 0) < required[name]} == {}


def test_every_column_has_the_type_of_its_field(loaded, oracle):
    types = column_types(loaded.connection)
    wrong = [
        (table(each), column, kind, types[table(each)].get(column))
        for each in oracle.fields
        if table(each) in types
        for column, kind in oracle.columns(each).items()
        if types[table(each)].get(column) != kind
    ]
    assert wrong == []


def test_no_second_has_more_requests_than_the_settings_allow(loaded):
    settings = loaded.settings
    assert busiest_second(each["at"] for each in loaded.requests) <= settings["requests_per_second"]
    (_, most), *_ = busiest_seconds_by_endpoint(loaded.requests).most_common(1)
    assert most <= settings["endpoint_requests_per_second"]


def test_only_get_is_sent(loaded):
    assert {each["method"] for each in loaded.requests} == {"GET"}
    # A subscription that is not billed any more has no upcoming invoice, and that is an answer.
    assert {each["status"] for each in loaded.requests if each["path"] != "/v1/invoices/upcoming"} == {200}


def test_every_row_says_when_it_was_read(loaded):
    for name in counts(loaded.connection):
        missing = loaded.connection.execute(
            f"SELECT count(*) FROM stripe.{name} WHERE num_nulls(_sdc_as_of, _sdc_extracted_at, _sdc_received_at,"
            f" _sdc_batched_at, _sdc_sequence) > 0"
        ).fetchone()
        assert (name, *missing) == (name, 0)


def test_state_and_status_agree_that_everything_is_backfilled(loaded, oracle):
    bookmarks = loaded.outcome.states[-1]["bookmarks"]
    status = dict(loaded.connection.execute("SELECT stream, bookmark FROM stripe._sync_status").fetchall())
    assert status == bookmarks
    listed = {table(each) for each in oracle.listed - NOT_ASKED_FOR}
    unfinished = {
        stream for stream, bookmark in bookmarks.items() if stream in listed and not bookmark["backfill_finished_at"]
    }
    assert (listed - bookmarks.keys(), unfinished) == (set(), set())
    assert loaded.connection.execute("SELECT account_id, livemode FROM stripe._sync").fetchall() == [
        (loaded.account.id, False)
    ]
