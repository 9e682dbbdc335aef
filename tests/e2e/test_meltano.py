"""The main job, as people run it: ``meltano run tap-stripe-events target-postgres-stripe``."""

import json
import signal
import threading
import time
from datetime import datetime, timedelta

import pytest
from meltano_project import STATE_ID
from pipeline import LIST_AGAIN, TIMEOUT_SECONDS
from tables import checksums


@pytest.fixture
def account(make_account):
    return make_account("demo")


def test_meltano_run_fills_the_tables_and_keeps_a_state_that_a_person_can_read(
    meltano, account, connection, assert_true
):
    done = meltano("run", "tap-stripe-events", "target-postgres-stripe")
    assert done.returncode == 0, done.stderr
    assert_true(account)
    shown = meltano("state", "get", STATE_ID)
    assert shown.returncode == 0, shown.stderr
    state = json.loads(shown.stdout)["singer_state"]
    assert (state["account"]["id"], state["account"]["livemode"]) == (account.id, False)
    charge = state["bookmarks"]["charge"]
    assert charge["open_windows"] == []
    assert charge["backfill_started_at"] <= charge["backfill_finished_at"]
    stored = dict(connection.execute("SELECT stream, bookmark FROM stripe._sync_status").fetchall())
    assert stored == state["bookmarks"]
    for secret in ("sk_test_sandbox", "_secret_"):
        assert secret not in done.stdout + done.stderr + shown.stdout


def test_the_job_runs_again_and_the_feed_brings_what_changed(meltano, account, assert_true):
    assert meltano("run", "stripe-sync").returncode == 0
    before = meltano.state()["bookmarks"]["customer"]
    account.control("tick", days=2)
    done = meltano("run", "stripe-sync", TAP_STRIPE_EVENTS_SWEEP_INTERVAL_HOURS="0")
    assert done.returncode == 0, done.stderr
    assert_true(account)
    after = meltano.state()["bookmarks"]["customer"]
    assert moment(after["events_as_of"]) >= moment(before["events_as_of"]) + timedelta(days=2)
    assert after["listed_at"] == before["listed_at"]


def test_what_nobody_announced_is_found_by_a_full_sweep(meltano, account, assert_true):
    assert meltano("run", "stripe-sync").returncode == 0
    account.vanish("coupon", account.create("/v1/coupons", percent_off=10, duration="once")["id"])
    account.let_time_pass()
    every_run = {f"TAP_STRIPE_EVENTS_{name.upper()}": str(value) for name, value in LIST_AGAIN.items()}
    done = meltano("run", "stripe-sync", **every_run)
    assert done.returncode == 0, done.stderr
    assert_true(account)


def test_a_state_that_was_edited_back_a_day_replays_to_the_same_tables(meltano, account, connection):
    assert meltano("run", "stripe-sync").returncode == 0
    account.control("tick", days=1)
    assert meltano("run", "stripe-sync").returncode == 0
    before, state = checksums(connection), meltano.state()
    for bookmark in state["bookmarks"].values():
        bookmark["events_as_of"] = (moment(bookmark["events_as_of"]) - timedelta(days=1)).isoformat()
    assert meltano("state", "set", "--force", STATE_ID, json.dumps({"singer_state": state})).returncode == 0
    account.forget_requests()
    done = meltano("run", "stripe-sync")
    assert done.returncode == 0, done.stderr
    assert "GET /v1/events" in {each["endpoint"] for each in account.requests()}
    assert checksums(connection) == before
    assert moment(meltano.state()["bookmarks"]["charge"]["events_as_of"]) > moment("2026-09-21T00:00:00Z")


def moment(text):
    return datetime.fromisoformat(text)


def wait_until(holds, seconds=60):
    """Look every now and then, for so long."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds} s"
        pause.wait(0.1)


def test_a_run_that_follows_saves_its_state_and_ends_within_seconds(meltano, account, connection, tmp_path):
    account.control("clock", run=True)
    log = tmp_path / "run.log"

    def arrived(key):
        there = connection.execute("SELECT to_regclass('stripe.customer')").fetchone() != (None,)
        query = "SELECT 1 FROM stripe.customer WHERE id = %s"
        return there and connection.execute(query, (key,)).fetchone() is not None

    with meltano.start("run", "stripe-sync", log=log, TAP_STRIPE_EVENTS_FOLLOW="true") as run:
        wait_until(lambda: "Following the feed" in log.read_text(), TIMEOUT_SECONDS)
        early = account.create("/v1/customers", name="Early")["id"]
        wait_until(lambda: arrived(early), 5)
        shown = meltano.state()["bookmarks"]["customer"]["events_as_of"]
        wait_until(lambda: moment(meltano.state()["bookmarks"]["customer"]["events_as_of"]) > moment(shown), 30)
        began = time.monotonic()
        run.send_signal(signal.SIGTERM)
        run.wait(TIMEOUT_SECONDS)
        assert time.monotonic() - began < 5, log.read_text()[-3_000:]
    stored = dict(connection.execute("SELECT stream, bookmark FROM stripe._sync_status").fetchall())
    assert meltano.state()["bookmarks"] == stored
    late = account.create("/v1/customers", name="Late")["id"]
    account.forget_requests()
    done = meltano("run", "stripe-sync")
    assert done.returncode == 0, done.stderr
    assert arrived(late)
    assert "GET /v1/customers" not in {each["endpoint"] for each in account.requests()}


def test_the_tables_are_verified_through_meltano_too(meltano, account):
    assert meltano("run", "stripe-sync").returncode == 0
    account.let_time_pass()
    for code, change in ((0, None), (1, {"description": "Nobody said so"})):
        if change:
            account.change("charge", account.first("charge").key, **change)
        sent = meltano("invoke", "tap-stripe-events", "--verify")
        assert sent.returncode == 0, sent.stderr
        done = meltano("invoke", "target-postgres-stripe", "--verify", given=sent.stdout)
        assert done.returncode == code, done.stdout + done.stderr
        assert ("description" in done.stdout) == bool(change)


def test_a_wrong_key_fails_the_run_and_is_not_shown(meltano):
    wrong = {"TAP_STRIPE_EVENTS_API_KEY": "sk_test_mistyped_9876"}
    done = meltano("run", "tap-stripe-events", "target-postgres-stripe", **wrong)
    assert done.returncode == 1
    assert "refused the API key ending in …9876" in done.stdout + done.stderr
    assert "mistyped" not in done.stdout + done.stderr
