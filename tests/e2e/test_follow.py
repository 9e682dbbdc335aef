"""Runs that follow, as processes: how soon a change is there, what they cost, and how they end."""

import json
import signal
import threading
import time
from contextlib import contextmanager

import psycopg
import pytest
from following import FOLLOW, Changes, Following, sandbox_process, usage
from pipeline import FAST

ANNOUNCED = ("coupon", "customer", "price", "product")
"""Streams that a sweep must not put right: then nobody would see that the feed lost something."""

CHARGES = 20_000
END_SECONDS = 5
CUT_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'target-postgres-stripe'"
)


@pytest.fixture
def account(make_account):
    """An account with next to nothing in it, on a clock that runs."""
    return make_account(now=None)


@pytest.fixture
def make_following(make_pipeline):
    """Starts a run that follows, of an account that was read once."""
    started = []

    def make(account, *, on_state=None):
        pipeline = make_pipeline(account)
        assert (outcome := pipeline.run()).succeeded, outcome.logs
        return start(pipeline, on_state=on_state)

    def start(pipeline, *, on_state=None):
        pipeline.tap_settings |= FOLLOW
        following = Following(pipeline.start(), on_state)
        started.append(following)
        following.wait_until_caught_up()
        return pipeline, following

    make.again = start
    yield make
    for following in started:
        following.__exit__()


@pytest.fixture
def make_changes(database):
    made = []

    def make(account, **options):
        made.append(Changes(account, database, **options))
        return made[-1]

    yield make
    for changes in made:
        changes.close()


def has(connection, table, key):
    """Whether a row is there and alive."""
    query = f"SELECT 1 FROM stripe.{table} WHERE id = %s AND _sdc_deleted_at IS NULL"
    return connection.execute(query, (key,)).fetchone() is not None


def rows(connection, table):
    """How many rows a table has; none if there is no such table yet."""
    if connection.execute("SELECT to_regclass(%s)", (f"stripe.{table}",)).fetchone() == (None,):
        return 0
    (count,) = connection.execute(f"SELECT count(*) FROM stripe.{table}").fetchone()
    return count


def wait_for_state(following):
    """Wait for the next STATE; return for how many seconds."""
    known = len(following.states)
    return following.wait_until(lambda: len(following.states) > known)


@contextmanager
def meanwhile(changes):
    """Make 20 changes a second until the block ends."""
    ended = threading.Event()

    def make():
        while not ended.wait(0.05):
            changes.make()

    maker = threading.Thread(target=make)
    maker.start()
    try:
        yield
    finally:
        ended.set()
        maker.join()


def new_customer(account):
    return account.create("/v1/customers", email="new@example.com")["id"]


def listed_anew(pipeline):
    """The streams of which the last run has sent records of a listing."""
    messages = map(json.loads, pipeline.messages.read_text().splitlines())
    return {each["stream"] for each in messages if each["type"] == "RECORD" and "version" in each}


def finish_and_compare(account, pipeline, assert_true):
    """Run once more to the end: then every cell is right. It lists only what events cannot keep fresh."""
    account.control("clock", stop_at=int(time.time()))
    pipeline.tap_settings |= {"follow": False, "sweep_interval_hours": 0, **FAST}
    assert (outcome := pipeline.run()).succeeded, outcome.logs
    assert not listed_anew(pipeline).intersection(ANNOUNCED)
    assert_true(account)


# How soon


def test_a_change_is_readable_within_seconds(account, make_following, make_changes):
    changes = make_changes(account)
    _, following = make_following(account, on_state=changes.look)
    for _ in range(12):
        changes.make()
        following.wait_until(changes.all_there, 5)
    print(f"lag of single changes: p50 {changes.percentile(50):.2f} s, p95 {changes.percentile(95):.2f} s")  # noqa: T201 - for a person who runs it with -s


def test_deletes_and_what_hangs_on_them_are_readable_within_seconds(account, make_following, connection):
    _, following = make_following(account)
    customer = new_customer(account)
    following.wait_until(lambda: has(connection, "customer", customer), 5)
    account.control("delete", object="customer", id=customer)
    following.wait_until(lambda: not has(connection, "customer", customer), 5)


def test_with_fifty_changes_a_second_nothing_is_lost_and_nothing_lags_behind(
    tmp_path, make_following, make_changes, assert_true
):
    with sandbox_process(tmp_path) as account:
        changes = make_changes(account)
        pipeline, following = make_following(account, on_state=changes.look)
        changes.make_at(50, 10)
        following.wait_until(changes.all_there, 10)
        busy = [changes.percentile(each) for each in (50, 95, 99)]
        changes.lags.clear()
        changes.make()
        following.wait_until(changes.all_there, 1.5)
        pipeline.keep(following.stop()[0])
        finish_and_compare(account, pipeline, assert_true)
    print("lag at 50 changes a second: p50 {:.2f} s, p95 {:.2f} s, p99 {:.2f} s".format(*busy))  # noqa: T201 - for a person who runs it with -s


def test_a_long_listing_does_not_hold_up_changes(make_account, make_pipeline, connection):
    """It takes 200 requests, at 20 a second: a customer that is made meanwhile does not wait for its end."""
    account = make_account("demo", bulk={"charge": CHARGES}, now=None)
    account.control("latency", ms=20)
    pipeline = make_pipeline(account)
    pipeline.tap_settings |= FOLLOW | {"requests_per_second": 100}
    with Following(pipeline.start()) as following:
        following.wait_until(lambda: rows(connection, "charge") > CHARGES // 10)
        for _ in range(3):
            customer = new_customer(account)
            following.wait_until(lambda key=customer: has(connection, "customer", key), 5)
        assert rows(connection, "charge") < CHARGES


# What it costs


def test_in_an_idle_account_a_poll_is_one_request_and_a_state_comes_every_ten_seconds(make_account, make_following):
    account = make_account(now=None)
    _, following = make_following(account)
    wait_for_state(following)
    account.forget_requests()
    cpu = usage(following.running.tap.pid)[0], usage(following.running.target.pid)[0]
    seconds = wait_for_state(following)
    spent = [usage(each.pid)[0] - before for each, before in zip(following.both, cpu, strict=True)]
    asked = [each["endpoint"] for each in account.requests()]
    assert set(asked) == {"GET /v1/events"}
    assert seconds * 1.4 <= len(asked) <= seconds * 2 + 2
    assert 9 <= seconds <= 12
    print("idle: tap {:.1%}, target {:.1%} of a core".format(*(each / seconds for each in spent)))  # noqa: T201 - for a person who runs it with -s


def test_memory_does_not_grow_with_what_was_followed(tmp_path, make_following, make_changes):
    with sandbox_process(tmp_path) as account:
        changes = make_changes(account)
        _, following = make_following(account, on_state=changes.look)
        changes.make_at(100, 4)
        following.wait_until(changes.all_there)
        before = [usage(each.pid)[1] for each in following.both]
        changes.make_at(100, 8)
        following.wait_until(changes.all_there)
        grown = [usage(each.pid)[1] - size for each, size in zip(following.both, before, strict=True)]
    print("800 changes: tap {:+.1f} MB, target {:+.1f} MB".format(*(each / 1e6 for each in grown)))  # noqa: T201 - for a person who runs it with -s
    assert max(grown) < 20e6


# How it ends


@pytest.mark.parametrize("stopped", [("tap",), ("tap", "target")], ids="-and-".join)
def test_sigterm_ends_it_within_seconds_and_the_next_run_goes_on_from_there(
    account, make_following, make_changes, assert_true, stopped
):
    changes = make_changes(account)
    pipeline, following = make_following(account, on_state=changes.look)
    with meanwhile(changes):
        following.wait_until(lambda: len(changes.lags) > 20)
        began = time.monotonic()
        following.signal(signal.SIGTERM, *stopped)
        outcome = pipeline.keep(following.finish())
        assert time.monotonic() - began < END_SECONDS
    assert (outcome.tap_code, outcome.target_code) == (143, 143 if "target" in stopped else 0)
    assert "Traceback" not in outcome.logs
    finish_and_compare(account, pipeline, assert_true)
    assert changes.all_there()


@pytest.mark.parametrize("victims", [("tap",), ("target",), ("tap", "target")], ids="-and-".join)
def test_nothing_is_lost_when_it_is_killed(account, make_following, make_changes, assert_true, victims):
    changes = make_changes(account)
    pipeline, following = make_following(account, on_state=changes.look)
    with meanwhile(changes):
        following.wait_until(lambda: len(changes.lags) > 20)
        following.signal(signal.SIGKILL, *victims)
        outcome = pipeline.keep(following.finish())
    assert "Traceback" not in outcome.logs
    pipeline, following = make_following.again(pipeline, on_state=changes.look)
    following.wait_until(changes.all_there)
    pipeline.keep(following.stop()[0])
    finish_and_compare(account, pipeline, assert_true)


def test_nothing_is_lost_when_the_database_is_away_for_a_while(  # noqa: PLR0917 - fixtures
    account, make_following, make_changes, connection, postgres_server, assert_true
):
    changes = make_changes(account)
    pipeline, following = make_following(account, on_state=changes.look)
    name = connection.info.dbname
    with psycopg.connect(postgres_server.url, autocommit=True) as admin, meanwhile(changes):
        following.wait_until(lambda: len(changes.lags) > 20)
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(CUT_SESSIONS)
        outcome = pipeline.keep(following.finish())
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert outcome.target_code == 1
    assert "Traceback" not in outcome.logs
    assert "Nothing after the last STATE printed was stored" in outcome.target_log
    pipeline, following = make_following.again(pipeline, on_state=changes.look)
    following.wait_until(changes.all_there)
    pipeline.keep(following.stop()[0])
    finish_and_compare(account, pipeline, assert_true)
