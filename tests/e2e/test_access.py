"""Keys that may not read everything, and keys of somebody else."""

import pytest
from tables import counts

RESTRICTED = "rk_test_some"
MAY_READ = "customer,event,test_helpers.test_clock"  # no list shows a test clock's customers without the clock


@pytest.fixture
def account(make_account):
    return make_account("full", restricted_keys={RESTRICTED: MAY_READ})


def test_a_restricted_key_fills_what_it_may_and_the_rest_once_it_may(account, make_pipeline, connection, assert_true):
    pipeline = make_pipeline(account, api_key=RESTRICTED)
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    assert_true(account, tables={"customer", "event", "cash_balance"})
    bookmarks = pipeline.state["bookmarks"]
    denied = {stream for stream, bookmark in bookmarks.items() if bookmark.get("denied")}
    assert len(denied) > 80
    assert denied.isdisjoint({"customer", "event"})
    assert {name for name, count in counts(connection).items() if count}.isdisjoint(denied & {"charge", "invoice"})
    assert "rak_charge_read" in bookmarks["charge"]["denied"]["reason"]
    for path in ("/v1/coupons", "/v1/disputes", "/v1/products"):
        warnings = [
            line for line in outcome.tap_log.splitlines() if "WARNING" in line and f"{path} is not read" in line
        ]
        assert (path, len(warnings)) == (path, 1)
    assert "rak_charge_read" in next(line for line in outcome.tap_log.splitlines() if "/v1/charges is" in line)
    reasons = dict(
        connection.execute("SELECT stream, denied FROM stripe._sync_status WHERE denied IS NOT NULL").fetchall()
    )
    assert reasons.keys() == denied

    account.let_time_pass()
    pipeline.tap_settings["api_key"] = "sk_test_sandbox"
    again = pipeline.run()
    assert again.succeeded, again.logs
    assert_true(account)
    assert not any(bookmark.get("denied") for bookmark in pipeline.state["bookmarks"].values())


def test_rows_stay_as_they_are_while_a_key_may_not_read_them(account, make_pipeline, connection, assert_true):
    pipeline = make_pipeline(account)
    assert pipeline.run().succeeded
    before = {name: count for name, count in counts(connection).items() if count}
    account.let_time_pass()
    pipeline.tap_settings["api_key"] = RESTRICTED
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    assert {name: count for name, count in counts(connection).items() if count} == before
    assert_true(account)


def test_a_product_that_is_not_set_up_closes_its_streams_only(account, make_pipeline, assert_true, connection):
    account.control("products", missing=["issuing", "treasury"])
    pipeline = make_pipeline(account)
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    live = counts(connection)
    filled = {name for name in live if not name.startswith(("issuing_", "treasury_"))}
    assert_true(account, tables=filled)
    assert live.get("issuing_transaction", 0) == live.get("treasury_financial_account", 0) == 0


def test_another_account_is_refused_before_anything_is_written(make_account, make_pipeline, connection, tmp_path):
    first, other = make_account(bulk={"charge": 3}), make_account(bulk={"charge": 5}, seed=2)
    assert first.id != other.id
    assert make_pipeline(first).run().succeeded
    before = everything(connection)
    outcome = make_pipeline(other).run()
    assert outcome.target_code == 1
    assert first.id in outcome.target_log.splitlines()[-1]
    assert other.id in outcome.target_log.splitlines()[-1]
    assert "Traceback" not in outcome.logs
    assert everything(connection) == before


def test_another_accounts_key_is_refused_by_the_state_too(make_account, make_pipeline, connection):
    first, other = make_account(bulk={"charge": 3}), make_account(bulk={"charge": 5}, seed=2)
    pipeline = make_pipeline(first)
    assert pipeline.run().succeeded
    before = everything(connection)
    pipeline.tap_settings["api_url"] = other.url
    outcome = pipeline.run()
    assert outcome.tap_code == 1
    assert first.id in outcome.tap_log.splitlines()[-1]
    assert "Traceback" not in outcome.logs
    assert everything(connection) == before


def test_a_key_that_may_not_read_the_account_is_refused_by_another_account_too(make_account, make_pipeline, connection):
    first = make_account(bulk={"charge": 3}, restricted_keys={RESTRICTED: "charge"})
    other = make_account(bulk={"charge": 5}, seed=2, restricted_keys={RESTRICTED: "charge"})
    pipeline = make_pipeline(first, api_key=RESTRICTED)
    assert pipeline.run().succeeded
    assert pipeline.state["account"]["id"] == first.id  # Stripe's refusal names it
    assert pipeline.state["account"]["known_by"].keys() == {"charge"}
    before = everything(connection)
    assert pipeline.run().succeeded
    for with_state in (True, False):
        stranger = make_pipeline(other, api_key=RESTRICTED)
        stranger.state = pipeline.state if with_state else None
        outcome = stranger.run()
        assert (outcome.tap_code if with_state else outcome.target_code) == 1
        assert first.id in outcome.logs
        assert other.id in outcome.logs
        assert "Traceback" not in outcome.logs
    assert everything(connection).keys() == before.keys()
    assert connection.execute("SELECT count(*) FROM stripe.charge").fetchone() == (3,)


@pytest.mark.parametrize("with_state", [True, False])
def test_a_live_key_is_refused_on_a_test_database(make_account, make_pipeline, connection, with_state):
    account = make_account(bulk={"charge": 3})
    pipeline = make_pipeline(account)
    assert pipeline.run().succeeded
    before = everything(connection)
    pipeline.tap_settings["api_key"] = "sk_live_sandbox"
    if not with_state:
        pipeline.state = None
    outcome = pipeline.run()
    assert (outcome.tap_code if with_state else outcome.target_code) == 1
    assert "live" in outcome.logs
    assert "Traceback" not in outcome.logs
    assert everything(connection) == before


def everything(connection):
    """All rows of all tables, the target's own included, with all columns."""
    names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'stripe' ORDER BY 1").fetchall()
    return {
        name: connection.execute(
            f"SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)), count(*) FROM stripe.{name} AS t"
        ).fetchone()
        for (name,) in names
    }
