"""Catalogs: an older one, a deselected stream, a deselected column."""

import pytest
from oracle import column_types, table_names
from pipeline import LIST_AGAIN

LATER = ("email", "metadata", "balance")


@pytest.fixture
def account(make_account):
    return make_account("demo")


@pytest.fixture
def pipeline(make_pipeline, account):
    return make_pipeline(account)


def stream(catalog, name):
    return next(each for each in catalog["streams"] if each["tap_stream_id"] == name)


def select(entry, selected, *breadcrumb):
    found = next(each for each in entry["metadata"] if each["breadcrumb"] == list(breadcrumb))
    found["metadata"]["selected"] = selected


def test_columns_that_a_table_lacked_are_added_and_filled_by_a_full_sweep(account, pipeline, connection, assert_true):
    pipeline.catalog = pipeline.discover()
    for name in LATER:
        select(stream(pipeline.catalog, "customer"), False, "properties", name)
    first = pipeline.run()
    assert first.succeeded, first.logs
    assert column_types(connection)["customer"].keys().isdisjoint(LATER)
    pipeline.catalog = None
    pipeline.tap_settings |= LIST_AGAIN
    account.let_time_pass()
    second = pipeline.run()
    assert second.succeeded, second.logs
    assert column_types(connection)["customer"].keys() >= set(LATER)
    assert_true(account)


def test_a_catalog_made_by_an_older_version_hides_no_column(account, pipeline, assert_true):
    """Such as the one that Meltano keeps: fields that it does not know were not deselected."""
    pipeline.catalog = pipeline.discover()
    customer = stream(pipeline.catalog, "customer")
    for name in LATER:
        del customer["schema"]["properties"][name]
    unknown = [["properties", name] for name in LATER]
    customer["metadata"] = [each for each in customer["metadata"] if each["breadcrumb"] not in unknown]
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    assert_true(account)


def test_a_deselected_stream_is_neither_read_nor_written(account, pipeline, connection):
    pipeline.catalog = pipeline.discover()
    for name in ("coupon", "payout"):
        select(stream(pipeline.catalog, name), False)
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    asked = {each["endpoint"] for each in account.requests()}
    assert asked >= {"GET /v1/customers", "GET /v1/charges"}
    assert asked.isdisjoint({"GET /v1/coupons", "GET /v1/payouts"})
    assert table_names(connection) >= {"customer", "charge"}
    assert table_names(connection).isdisjoint({"coupon", "payout"})


def test_children_are_read_where_only_their_parent_is_deselected(account, pipeline, connection, assert_true):
    pipeline.catalog = pipeline.discover()
    select(stream(pipeline.catalog, "subscription"), False)
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    assert "subscription" not in table_names(connection)
    assert_true(account, tables={"subscription_item", "line_item", "customer"})


def test_a_deselected_column_is_not_written(account, pipeline, connection, assert_true):
    pipeline.catalog = pipeline.discover()
    customer = stream(pipeline.catalog, "customer")
    for name in LATER:
        select(customer, False, "properties", name)
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    assert column_types(connection)["customer"].keys().isdisjoint(LATER)
    customers = [line for line in pipeline.messages.read_text().splitlines() if '"stream":"customer"' in line]
    assert len(customers) > 10
    assert not any('"email":' in line for line in customers)
    assert_true(account, tables={"charge", "invoice", "subscription"})


def test_a_stream_that_is_selected_later_is_filled_then(account, pipeline, connection, assert_true):
    pipeline.catalog = pipeline.discover()
    select(stream(pipeline.catalog, "invoice"), False)
    assert pipeline.run().succeeded
    assert "invoice" not in table_names(connection)
    pipeline.catalog = None
    account.let_time_pass()
    assert pipeline.run().succeeded
    assert_true(account)
