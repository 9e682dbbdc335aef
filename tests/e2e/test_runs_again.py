"""A second run: of an account that stayed as it was, and of one that changed while nobody announced it."""

import pytest
from pipeline import LIST_AGAIN
from tables import checksums


@pytest.fixture
def account(make_account):
    return make_account("full")


@pytest.fixture
def pipeline(make_pipeline, account):
    return make_pipeline(account)


def run(pipeline):
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    return outcome


def list_again(pipeline):
    """Run, and read all lists; the feed has nothing to say."""
    pipeline.tap_settings |= LIST_AGAIN
    return run(pipeline)


@pytest.mark.parametrize("settings", [{}, LIST_AGAIN], ids=["by the feed", "with all lists read again"])
def test_a_run_with_nothing_changed_leaves_every_table_as_it_was(account, pipeline, connection, assert_true, settings):
    run(pipeline)
    before = checksums(connection)
    account.let_time_pass()
    account.forget_requests()
    pipeline.tap_settings |= settings
    run(pipeline)
    asked = {each["endpoint"] for each in account.requests()}
    assert ("GET /v1/customers" in asked) == bool(settings)
    assert checksums(connection) == before
    assert len(before) >= 112
    assert_true(account)


def test_what_changed_unannounced_is_right_after_the_next_run(account, pipeline, connection, assert_true):
    gone = change_unannounced(account, pipeline)
    list_again(pipeline)
    assert_true(account)
    for table, key in gone:
        row = connection.execute(
            f"SELECT _sdc_deleted_at IS NOT NULL, object FROM stripe.{table} WHERE id = %s", (key,)
        ).fetchone()
        assert (table, row) == (table, (True, table))


def test_with_hard_delete_what_vanished_is_removed(account, pipeline, connection, assert_true):
    pipeline.target_settings["hard_delete"] = True
    gone = change_unannounced(account, pipeline)
    list_again(pipeline)
    assert_true(account)
    for table, key in gone:
        found = connection.execute(f"SELECT count(*) FROM stripe.{table} WHERE id = %s", (key,)).fetchone()
        assert (table, *found) == (table, 0)


def change_unannounced(account, pipeline):
    """Load, then change, create and delete things without events; returns the tables and keys of what is gone."""
    run(pipeline)
    account.let_time_pass()
    account.change(
        "customer", account.first("customer", test_clock=None).key, name="Renamed", metadata={"tier": "gold"}
    )
    account.change("charge", account.first("charge").key, amount=424_242, description=None)
    account.change("tax_rate", account.first("tax_rate").key, percentage=19.5, active=False)
    account.create("/v1/customers", name="New", email="new@example.com")
    product = account.create("/v1/products", name="New")
    account.create("/v1/prices", product=product["id"], currency="eur", unit_amount=1_234)
    gone = [
        (name, account.first(name).key)
        for name in ("coupon", "webhook_endpoint", "invoiceitem", "subscription_schedule", "payout")
    ]
    for table, key in gone:
        account.vanish(table, key)
    account.let_time_pass()
    return gone


def test_a_child_that_vanished_from_its_parents_list_is_deleted(account, pipeline, connection, assert_true):
    run(pipeline)
    invoice = account.first("invoice").key
    lines = [each.key for each in account.all("line_item") if each.body["invoice"] == invoice]
    account.let_time_pass()
    account.vanish("line_item", lines[0])
    list_again(pipeline)
    found = connection.execute(
        "SELECT id, _sdc_deleted_at IS NOT NULL FROM stripe.line_item WHERE invoice_id = %s", (invoice,)
    ).fetchall()
    assert dict(found) == {each: each == lines[0] for each in lines}
    assert_true(account)
