"""A platform with connected accounts: all in one run, each with rows, bookmarks and refusals of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from following import Following
from oracle import differences, table_names
from pipeline import LIST_AGAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import psycopg
    from pipeline import Pipeline
    from stripe_account import StripeAccount


ANNOUNCED = ["coupon", "customer", "product", "tax_rate"]
"""Types of which events tell all changes."""

SILENT = {"cash_balance"}
"""What comes with a customer, and is read with the next listing."""


@pytest.fixture
def platform(make_account: Callable[..., StripeAccount]) -> StripeAccount:
    return make_account("full", connected_accounts=2)


@pytest.fixture
def pipeline(platform: StripeAccount, make_pipeline: Callable[..., Pipeline]) -> Pipeline:
    made = make_pipeline(platform)
    made.tap_settings["connected_accounts"] = True
    return made


@pytest.fixture
def wrong_in(connection: psycopg.Connection[Any]) -> Callable[..., list[str]]:
    """Compares the rows of each account with what it holds, cell by cell."""

    def compare(*accounts: StripeAccount, but: Collection[str] = ()) -> list[str]:
        found: list[str] = []
        for account in accounts:
            schema = f"only_{account.id.lower()}"
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}")
            for table in table_names(connection):
                connection.execute(
                    f"CREATE TABLE {schema}.{table} AS SELECT * FROM stripe.{table} "
                    f"WHERE stripe_account_id = '{account.id}'; "
                    f"ALTER TABLE {schema}.{table} DROP COLUMN stripe_account_id"
                )
            wrong = differences(connection, account.expectation(), schema=schema)
            found += [f"{account.id}: {each}" for each in wrong if each.table not in but]
        strangers = read_accounts(connection) - {account.id for account in accounts}
        return [*found, *(f"rows of {each}" for each in strangers)]

    return compare


@pytest.fixture
def assert_accounts_true(wrong_in: Callable[..., list[str]]) -> Callable[..., None]:
    """Asserts that the rows of these accounts are right, and that there are no others."""

    def check(*accounts: StripeAccount, but: Collection[str] = ()) -> None:
        wrong = wrong_in(*accounts, but=but)
        assert not wrong, "\n".join(wrong[:20])

    return check


def read_accounts(connection: psycopg.Connection[Any]) -> set[str]:
    """The accounts that have rows."""
    rows = connection.execute(
        " UNION ".join(f"SELECT stripe_account_id FROM stripe.{table}" for table in table_names(connection))
    )
    return {account for (account,) in rows}


def test_all_accounts_are_loaded_and_followed_each_on_its_own(
    platform: StripeAccount, pipeline: Pipeline, assert_accounts_true: Callable[..., None], connection: Any
) -> None:
    accounts = [platform, *platform.connected]
    first = pipeline.run()
    assert first.succeeded, first.logs
    assert_accounts_true(*accounts)
    keys = connection.execute(
        "SELECT (SELECT attname FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[0]) "
        "FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE i.indisprimary "
        "AND c.relnamespace = 'stripe'::regnamespace AND c.relname NOT LIKE '\\_%'"
    ).fetchall()
    assert {key for (key,) in keys} == {"stripe_account_id"}
    assert pipeline.state is not None
    assert {*pipeline.state["accounts"]} == {each.id for each in accounts}
    assert not pipeline.state.get("bookmarks")
    assert pipeline.state["account"]["id"] == platform.id

    for number, account in enumerate(accounts):
        account.control("history", seed=number, changes=60, seconds=3_000, types=ANNOUNCED)
    platform.let_time_pass(3_600)
    platform.forget_requests()
    second = pipeline.run()
    assert second.succeeded, second.logs
    assert_accounts_true(*accounts, but=SILENT)
    listed = [each["path"] for each in platform.requests() if each["path"] == "/v1/charges"]
    assert listed == []


def test_a_listing_finds_what_is_gone_in_one_account_alone(
    platform: StripeAccount, pipeline: Pipeline, assert_accounts_true: Callable[..., None]
) -> None:
    first, second = platform.connected
    assert pipeline.run().succeeded
    first.vanish("coupon", first.first("coupon").key)
    first.change("customer", first.first("customer").key, description="changed in silence")
    platform.let_time_pass()
    pipeline.tap_settings |= LIST_AGAIN
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    assert_accounts_true(platform, first, second)


def test_an_account_without_access_stops_no_other(
    platform: StripeAccount, pipeline: Pipeline, assert_accounts_true: Callable[..., None], connection: Any
) -> None:
    first, second = platform.connected
    pipeline.tap_settings["connected_accounts"] = [first.id, second.id]
    assert pipeline.run().succeeded
    for each in (first, second, platform):
        each.create("/v1/customers", name="New")
    platform.control("connected", revoke=first.id)
    platform.let_time_pass()
    refused = pipeline.run()
    assert refused.succeeded, refused.logs
    assert f"{first.id}: Not read: Stripe says: The provided key" in refused.tap_log
    denied = connection.execute(
        "SELECT stripe_account_id, count(*) FROM stripe._sync_status WHERE denied LIKE '%access to account%' GROUP BY 1"
    ).fetchall()
    assert [account for account, _ in denied] == [first.id]

    platform.control("connected", restore=first.id)
    platform.let_time_pass()
    again = pipeline.run()
    assert again.succeeded, again.logs
    assert_accounts_true(platform, first, second, but=SILENT)
    counted = "SELECT count(*) FROM stripe._sync_status WHERE denied LIKE '%access to account%'"
    assert connection.execute(counted).fetchone() == (0,)


def test_the_rows_of_an_account_that_has_left_stay_and_nobody_waits_for_it(
    platform: StripeAccount, pipeline: Pipeline, connection: Any
) -> None:
    first = platform.connected[0]
    assert pipeline.run().succeeded
    platform.control("connected", revoke=first.id)
    platform.let_time_pass()
    assert pipeline.run().succeeded
    assert first.id in read_accounts(connection)
    selected = "SELECT count(*) FROM stripe._sync_status WHERE stripe_account_id = %s AND bookmark->>'selected' IS NULL"
    assert connection.execute(selected, (first.id,)).fetchone() == (0,)


@pytest.mark.parametrize("own", [True, False])
def test_a_list_names_the_accounts_besides_the_own_one_or_alone(
    platform: StripeAccount, pipeline: Pipeline, assert_accounts_true: Callable[..., None], own: bool
) -> None:
    first = platform.connected[0]
    pipeline.tap_settings |= {"connected_accounts": [first.id], "own_account": own}
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    assert_accounts_true(first, *([platform] if own else []))


def test_the_environment_names_accounts_too(
    platform: StripeAccount, pipeline: Pipeline, assert_accounts_true: Callable[..., None]
) -> None:
    first = platform.connected[0]
    pipeline.tap_settings |= {"connected_accounts": f'["{first.id}"]', "own_account": False}
    assert pipeline.run().succeeded
    assert_accounts_true(first)


def test_connected_accounts_are_not_switched_on_in_the_tables_of_one_account(
    platform: StripeAccount, pipeline: Pipeline
) -> None:
    pipeline.tap_settings["connected_accounts"] = False
    assert pipeline.run().succeeded
    pipeline.tap_settings["connected_accounts"] = True
    outcome = pipeline.run()
    assert outcome.tap_code == 1
    assert "default_target_schema" in outcome.tap_log
    pipeline.state = None
    outcome = pipeline.run()
    assert outcome.target_code == 1
    assert "connected_accounts" in outcome.target_log


def test_all_accounts_are_followed_and_one_that_joins_is_loaded(
    platform: StripeAccount, pipeline: Pipeline, wrong_in: Callable[..., list[str]], connection: Any
) -> None:
    def customers() -> dict[str, int]:
        counted = "SELECT stripe_account_id, count(*) FROM stripe.customer WHERE _sdc_deleted_at IS NULL GROUP BY 1"
        return dict(connection.execute(counted).fetchall())

    pipeline.tap_settings |= {"follow": True, "poll_interval_ms": 50}
    with Following(pipeline.start()) as following:
        following.wait_until(lambda: "Caught up: 3 accounts" in following.running.logs())
        accounts = [platform, *platform.connected]
        for each in accounts:
            each.create("/v1/customers", name="New")
        following.wait_until(lambda: customers() == {each.id: len(each.all("customer")) for each in accounts})
        platform.control("connected", connect=1)
        accounts = [platform, *platform.connected]
        # The person of one's own account is known only as a copy, which a listing that ends may take for gone.
        following.wait_until(lambda: not wrong_in(*accounts, but={*SILENT, "person"}))
        outcome, _ = following.stop()
    assert "Stopped: 4 accounts" in outcome.tap_log
