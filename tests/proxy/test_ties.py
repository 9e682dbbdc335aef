"""Where Stripe's whole seconds do not tell whether a write or what is there is newer, Stripe is asked once more."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest
import stripe

from stripe_proxy.answers import Answered
from stripe_proxy.ties import SECONDS, TRIES, Ties

LONGEST_SECONDS = 20


def written(key="cus_1", method="POST", second=1):
    body = {"object": "customer", "id": key}
    return Answered(method=method, path="/v1/customers", status=200, dated=second, began=second, body=body)


def test_an_answer_is_due_when_its_second_has_passed_for_certain_and_is_not_believed_then():
    ties = Ties()
    ties.note(written(), 100.0)
    assert list(ties.due(100.0 + SECONDS - 0.01)) == []
    ((again, tries),) = ties.due(100.0 + SECONDS)
    assert (again.replayed, again.body["id"], tries) == (True, "cus_1", 1)
    assert len(ties) == 0


def test_of_several_answers_about_an_object_the_last_one_counts():
    ties = Ties()
    ties.note(written(second=1), 100.0)
    ties.note(written(second=2), 101.0)
    assert list(ties.due(100.0 + SECONDS)) == []
    assert [each.dated for each, _ in ties.due(101.0 + SECONDS)] == [2]


@pytest.mark.parametrize("answered", [written(method="GET"), written(key=None, method="GET")])
def test_a_read_is_not_worth_another_one(answered):
    ties = Ties()
    ties.note(answered, 100.0)
    assert len(ties) == 0


def test_nothing_is_tried_forever():
    ties = Ties()
    ties.note(written(), 100.0, tries=TRIES)
    assert len(ties) == 0


NAME = "SELECT name, _sdc_deleted_at IS NOT NULL FROM stripe.customer WHERE id = %s"


@pytest.fixture
def race(sandbox, proxy, make_stripe, database):
    """Has a write wait for Postgres until something past the proxy has happened, and the feed has told; then time."""

    def race(happens, told):
        client = make_stripe(proxy)
        past = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": sandbox.url})
        key = client.v1.customers.create({"name": "first"}).id
        second = datetime.fromtimestamp(sandbox.account.now(), UTC).replace(microsecond=999_000)
        with ThreadPoolExecutor(1) as pool, psycopg.connect(database) as feed:
            feed.execute("LOCK TABLE stripe.customer")
            writing = pool.submit(client.v1.customers.update, key, {"name": "older"})
            deadline = time.monotonic() + LONGEST_SECONDS
            while past.v1.customers.retrieve(key).name != "older" and time.monotonic() < deadline:
                time.sleep(0.01)
            happens(past, key)
            feed.execute(f"UPDATE stripe.customer SET {told}, _sdc_as_of = %s", (second,))
            feed.commit()
            writing.result()
        yield key
        sandbox.account.clock.advance(2)
        yield key

    return race


@pytest.mark.parametrize(
    ("happens", "told", "expected"),
    [
        (lambda past, key: past.v1.customers.update(key, {"name": "newer"}), "name = 'newer'", ("newer", False)),
        (lambda past, key: past.v1.customers.delete(key), "_sdc_deleted_at = _sdc_as_of", ("older", True)),
    ],
)
def test_a_write_that_is_stored_after_the_feed_has_told_more_of_its_second_does_not_stay(
    race, rows, happens, told, expected
):
    raced = race(happens, told)
    assert rows(NAME, next(raced)) == [("older", False)]  # its caller finds it
    key = next(raced)
    deadline = time.monotonic() + LONGEST_SECONDS
    while (found := rows(NAME, key)) != [expected] and time.monotonic() < deadline:
        rows("SELECT pg_sleep(0.1)")
    assert found == [expected]
