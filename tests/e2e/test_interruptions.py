"""Runs that end in the middle of a backfill, and what the next run makes of it."""

import signal

import pytest

CHARGES = 8_000
PAGES = CHARGES // 100
SLOW = 20  # requests a second, as Stripe's test mode allows: a STATE a second is a STATE every 20 requests
FASTER = 30
CUT_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'target-postgres-stripe'"
)


@pytest.fixture
def account(make_account):
    return make_account(bulk={"charge": CHARGES})


@pytest.fixture
def pipeline(make_pipeline, account):
    return make_pipeline(account)


def limit(pipeline, per_second):
    pipeline.tap_settings |= {"requests_per_second": per_second, "endpoint_requests_per_second": per_second}


def partly_read(state):
    return [each for each in state["bookmarks"].get("charge", {}).get("open_windows", ()) if each["after"]]


def wait_for_mid_backfill(running):
    """Return once the target has printed a STATE with several windows of the charges partly read."""
    found = next((state for state in running.states() if len(partly_read(state)) > 1), None)
    assert found is not None, running.finish().logs


def assert_the_next_run_completes(account, pipeline, assert_true):
    """The next run goes on from the last STATE printed and ends right."""
    assert partly_read(pipeline.state)
    account.let_time_pass()
    again = pipeline.run()
    assert again.succeeded, again.logs
    assert_true(account)


def rows_and_status(connection):
    (rows,) = connection.execute("SELECT count(*) FROM stripe.charge").fetchone()
    return rows, dict(connection.execute("SELECT stream, bookmark FROM stripe._sync_status").fetchall())


@pytest.mark.parametrize("victims", [("tap",), ("target",), ("tap", "target")], ids="-and-".join)
def test_a_backfill_that_was_killed_goes_on_where_it_was(account, pipeline, assert_true, victims):
    limit(pipeline, FASTER)
    with pipeline.start() as running:
        wait_for_mid_backfill(running)
        for victim in victims:
            getattr(running, victim).kill()
        outcome = pipeline.keep(running.finish())
    codes = {"tap": outcome.tap_code, "target": outcome.target_code}
    assert {each: codes[each] for each in victims} == dict.fromkeys(victims, -signal.SIGKILL)
    assert "Traceback" not in outcome.logs
    assert_the_next_run_completes(account, pipeline, assert_true)


def test_a_killed_backfill_asks_for_little_again(account, pipeline):
    limit(pipeline, SLOW)
    with pipeline.start() as running:
        wait_for_mid_backfill(running)
        running.tap.kill()
        running.target.kill()
        pipeline.keep(running.finish())
    again = pipeline.run()
    assert again.succeeded, again.logs
    requests = [each["endpoint"] for each in account.requests()]
    undisturbed = len(set(requests)) + PAGES  # every other list of this account is one page
    assert len(requests) < 1.2 * undisturbed


@pytest.mark.parametrize(
    ("victim", "number"), [("tap", signal.SIGTERM), ("tap", signal.SIGINT), ("target", signal.SIGTERM)]
)
def test_a_signal_ends_the_run_and_the_state_is_what_was_committed(  # noqa: PLR0917 - fixtures
    account, pipeline, connection, assert_true, victim, number
):
    limit(pipeline, FASTER)
    with pipeline.start() as running:
        wait_for_mid_backfill(running)
        getattr(running, victim).send_signal(number)
        outcome = pipeline.keep(running.finish())
    assert {"tap": outcome.tap_code, "target": outcome.target_code}[victim] == 128 + number
    assert "Traceback" not in outcome.logs
    rows, status = rows_and_status(connection)
    assert 0 < rows < CHARGES
    assert status == pipeline.state["bookmarks"]
    assert_the_next_run_completes(account, pipeline, assert_true)


def test_a_lost_database_connection_ends_the_run_and_the_next_one_completes(account, pipeline, connection, assert_true):
    limit(pipeline, FASTER)
    with pipeline.start() as running:
        wait_for_mid_backfill(running)
        connection.execute(CUT_SESSIONS)
        outcome = pipeline.keep(running.finish())
    assert outcome.target_code == 1
    assert "Traceback" not in outcome.logs
    assert "Nothing after the last STATE printed was stored" in outcome.target_log
    assert_the_next_run_completes(account, pipeline, assert_true)
