"""A write past the proxy, then the wait endpoint, then a query: it is there, however late the feed is."""

import threading
import time

import pytest
import requests
from following import FOLLOW, Following
from proxy_service import serving

from stripe_proxy.settings import Settings
from stripe_sandbox.sandbox import TEST_KEY

LONG_SECONDS = 20


@pytest.fixture
def account(make_account):
    return make_account(now=None)


@pytest.fixture
def pipeline(account, make_pipeline, tmp_path):
    pipeline = make_pipeline(account)
    assert (outcome := pipeline.run()).succeeded, outcome.logs
    pipeline.tap_settings |= FOLLOW | {"wake_socket": str(tmp_path / "wake")}
    return pipeline


@pytest.fixture
def proxy(account, database, tmp_path):
    settings = Settings(
        database_url=database, api_url=account.url, files_url=account.url, api_key=TEST_KEY,
        wake_socket=str(tmp_path / "wake"),
    )  # fmt: skip
    with serving(settings) as url:
        yield url


@pytest.fixture
def wait(proxy, connection):
    """Calls the wait endpoint; returns the answer, and how many seconds it took."""
    connection.autocommit = True
    (identifier,) = connection.execute("SELECT id FROM stripe._sync").fetchone()

    def wait(*, sync=identifier, **query):
        began = time.monotonic()
        answer = requests.get(f"{proxy}/api/wait/{sync}", params=query, timeout=LONG_SECONDS * 2)
        return answer, time.monotonic() - began

    return wait


def names(connection):
    return {name for (name,) in connection.execute("SELECT name FROM stripe.customer")}


def test_what_was_written_before_the_call_is_there_after_it(account, pipeline, wait, connection):
    with Following(pipeline.start()) as following:
        following.wait_until_caught_up()
        for number in range(5):
            account.create("/v1/customers", name=f"number {number}")
            answer, seconds = wait(timeout=LONG_SECONDS)
            assert (answer.status_code, answer.json()) == (200, {"ok": True})
            assert f"number {number}" in names(connection)
            assert seconds < 6  # far from the ten that the tap takes when nobody waits
        following.stop()


def test_the_events_of_one_request_are_waited_for(account, pipeline, wait, connection):
    account.control("events", late_share=1.0, late_seconds=4)
    with Following(pipeline.start()) as following:
        following.wait_until_caught_up()
        written = requests.post(
            f"{account.url}/v1/customers", auth=(TEST_KEY, ""), data={"name": "late"}, timeout=LONG_SECONDS
        )
        answer, _ = wait(timeout=LONG_SECONDS, request=written.headers["Request-Id"])
        assert (answer.status_code, answer.json()) == (200, {"ok": True})
        assert "late" in names(connection)
        following.stop()


def test_many_waiters_cost_no_more_readings_than_one(account, pipeline, wait):
    with Following(pipeline.start()) as following:
        following.wait_until_caught_up()
        account.forget_requests()
        answers = []
        together = [threading.Thread(target=lambda: answers.append(wait(timeout=LONG_SECONDS))) for _ in range(30)]
        for each in together:
            each.start()
        for each in together:
            each.join()
        assert [answer.status_code for answer, _ in answers] == [200] * 30
        longest = max(seconds for _, seconds in answers)
        # A poll each half second and what it leads to, with some to spare until all threads have had their answers.
        # A reading for each of the waiters would be thirty more, at least.
        assert len(account.requests()) <= 2 * longest / 0.5 + 15
        following.stop()


@pytest.mark.parametrize("sync", ["00000000-0000-0000-0000-000000000000", "x", "%27"])
def test_an_unknown_id_is_a_404(pipeline, wait, sync):
    answer, _ = wait(sync=sync)
    assert answer.status_code == 404
    assert "no sync with this id" in answer.json()["reason"]


def test_with_no_sync_running_the_answer_is_a_504_that_says_so_in_time(pipeline, wait):
    answer, seconds = wait(timeout=1)
    assert answer.status_code == 504
    assert answer.json()["ok"] is False
    assert "in up to" in answer.json()["reason"] or "does not seem to run" in answer.json()["reason"]
    assert seconds < 5


@pytest.mark.parametrize("timeout", ["soon", "-1", "1e9", "nan"])
def test_a_timeout_that_is_none_is_refused(pipeline, wait, timeout):
    answer, _ = wait(timeout=timeout)
    assert answer.status_code == 400
    assert "timeout" in answer.json()["reason"]
