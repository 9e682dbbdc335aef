"""The budget and the meaning of answers: pure decisions."""

from collections import deque
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_stripe_events.limits import Budget, Refusal, Start, Trips, Verdict, retry_seconds, verdict

LONGEST_WAY_SECONDS = 0.25  # the guarantee is for ways to Stripe up to this


def refusal(status: int = 400, **fields: Any) -> Refusal:
    return Refusal(
        status=status,
        code=fields.get("code", "none"),
        parameter=fields.get("parameter", "none"),
        message=fields.get("message", "no"),
        request="req_1",
    )


@pytest.mark.parametrize(
    ("status", "headers", "error", "expected"),
    [
        (200, {}, None, Verdict.TAKE),
        (200, {}, refusal(), Verdict.REFUSED),
        (429, {}, refusal(429, code="rate_limit"), Verdict.RETRY),
        (429, {}, refusal(429, code="lock_timeout"), Verdict.RETRY),
        (429, {"Stripe-Should-Retry": "false"}, refusal(429), Verdict.REFUSED),
        (409, {}, refusal(409), Verdict.RETRY),
        (500, {}, None, Verdict.RETRY),
        (503, {}, refusal(503), Verdict.RETRY),
        (400, {"Stripe-Should-Retry": "true"}, refusal(), Verdict.RETRY),
        (401, {}, refusal(401), Verdict.KEY_REFUSED),
        (403, {}, refusal(403, message="Having the 'rak_charge_read' permission …"), Verdict.DENIED),
        (403, {}, None, Verdict.RETRY),
        (404, {}, None, Verdict.REFUSED),
        (404, {}, refusal(404, code="resource_missing", parameter="id"), Verdict.GONE),
        (400, {}, refusal(code="resource_missing", parameter="starting_after"), Verdict.CURSOR_GONE),
        (400, {}, refusal(code="resource_missing", parameter="customer"), Verdict.GONE),
        (400, {}, refusal(message="Could not find line items for this Checkout Session"), Verdict.GONE),
        (400, {}, refusal(message="This property cannot be expanded (tiers)."), Verdict.NOT_EXPANDABLE),
        (400, {}, refusal(code="parameter_unknown", parameter="x"), Verdict.REFUSED),
        (402, {}, refusal(402), Verdict.REFUSED),
    ],
)
def test_an_answer_means_one_thing(
    status: int, headers: dict[str, str], error: Refusal | None, expected: Verdict
) -> None:
    assert verdict(status, headers, error) is expected


@pytest.mark.parametrize(
    "message",
    [
        "Your account is not set up to use Issuing. Please visit the dashboard to get started.",
        "Your account is not set up to use Identity. Please have an account admin visit …",
        "Unrecognized request URL (GET: /v1/treasury/financial_accounts). (Hint: Have you onboarded to Treasury?)",
        "This endpoint is only available in testmode. Try using your test keys instead.",
        "This API surface is not enabled for testmode usage.",
        "Your account is not authorized to send Forwarding requests in livemode.",
    ],
)
@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_product_that_is_not_set_up_is_known_by_stripes_words(message: str, status: int) -> None:
    assert verdict(status, {}, refusal(status, message=message)) is Verdict.NOT_SET_UP


def test_a_missing_permission_is_named() -> None:
    message = "The provided key does not have access. Having the 'rak_customer_read' permission would allow this."
    assert refusal(403, message=message).permission == "rak_customer_read"
    assert refusal(403, message="no").permission is None


@pytest.mark.parametrize(("attempt", "least", "most"), [(1, 0.25, 0.5), (2, 0.5, 1), (5, 4, 8), (9, 15, 30)])
def test_waits_double_with_jitter_up_to_half_a_minute(attempt: int, least: float, most: float) -> None:
    assert retry_seconds(attempt, {}, 0.0) == least
    assert retry_seconds(attempt, {}, 1.0) == most


def test_who_follows_waits_less() -> None:
    assert retry_seconds(9, {}, 1.0, longest=2.0) == 2.0
    assert retry_seconds(600, {}, 0.0, longest=2.0) == 1.0
    assert retry_seconds(600, {"Retry-After": "7"}, 0.0, longest=2.0) == 7


def test_stripes_own_word_on_when_to_retry_is_followed() -> None:
    assert 7 <= retry_seconds(1, {"Retry-After": "7"}, 0.5) <= 8
    assert retry_seconds(1, {"Retry-After": "99999"}, 0.0) == 120
    assert retry_seconds(1, {"Retry-After": "soon"}, 1.0) == 0.5


@given(
    per_second=st.integers(1, 30),
    per_endpoint=st.integers(1, 30),
    common=st.sampled_from([0.0, 0.3, 2.0]),
    asks=st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 0.2), st.floats(0, 0.9), st.floats(0, 1)), max_size=60
    ),
)
def test_no_second_at_stripe_holds_more_than_the_budget(
    per_second: int, per_endpoint: int, common: float, asks: list[Any]
) -> None:
    """Of what a round trip takes beyond what all of them take, any part may be on the way to Stripe."""
    budget = Budget(per_second=per_second, per_endpoint_second=per_endpoint)
    now, arrivals, under_way = 0.0, [], []
    for number, (endpoint, pause, beyond, part_of_it) in enumerate(asks):
        now += pause
        while True:
            for each in [each for each in under_way if each[1] <= now]:
                budget.end(each[0], each[1], answered=True)
                under_way.remove(each)
            if budget.delay(endpoint, now) <= 0:
                break
            now += min(budget.delay(endpoint, now), 0.05)
        rest = beyond if number % 10 else 0.0  # one in ten meets with nothing
        under_way.append((budget.reserve(endpoint, now), now + common + rest))
        way = min(rest * part_of_it, LONGEST_WAY_SECONDS)
        arrivals.append((now + way, endpoint))
    for begin, _ in arrivals:
        within = [endpoint for arrival, endpoint in arrivals if begin <= arrival < begin + 0.999_999]
        assert len(within) <= per_second
        assert all(within.count(each) <= per_endpoint for each in "abc")


def test_where_all_round_trips_take_as_long_the_whole_budget_is_used() -> None:
    budget = Budget(per_second=10, per_endpoint_second=10)
    now, sent = 0.0, 0
    under_way: deque[tuple[Start, float]] = deque()
    while now < 60:
        while under_way and under_way[0][1] <= now:
            budget.end(*under_way.popleft(), answered=True)
        if budget.delay("a", now) <= 0:
            under_way.append((budget.reserve("a", now), now + 0.3))
            sent += now >= 20  # by then that is known
        now += 0.001
    assert sent >= 10 * 39


def test_a_quick_way_back_is_not_taken_for_what_all_ways_take() -> None:
    """One that took long to get there and no time to come back, after few that took long both ways (seed 1000050)."""
    random = Random(1)
    for _ in range(300):
        budget = Budget(per_second=5, per_endpoint_second=5)
        now, arrivals = 0.0, []
        for _ in range(60):
            now += budget.delay("a", now) + 1e-6
            start = budget.reserve("a", now)
            there, back = (min(0.2, random.expovariate(20)) for _ in range(2))
            arrivals.append(now + there)
            now += there + back
            budget.end(start, now, answered=True)
        assert all(sixth - first > 1 - 1e-5 for first, sixth in zip(arrivals, arrivals[5:], strict=False))


def test_where_round_trips_differ_the_shortest_tells_nothing() -> None:
    trips = Trips()
    for number in range(100):
        trips.add(0.3 + number % 10 / 40)
    assert trips.common() == pytest.approx(0.175)
    for number in range(100):
        trips.add(0.1 + number % 10 / 10)
    assert trips.common() == 0


def test_what_few_round_trips_take_is_not_what_all_take() -> None:
    trips = Trips()
    for _ in range(29):
        trips.add(0.3)
    assert trips.common() == 0
    trips.add(0.3)
    assert trips.common() == pytest.approx(0.3)


def test_a_failed_connection_says_nothing_about_round_trips() -> None:
    budget = Budget(per_second=100, per_endpoint_second=1)
    for number in range(100):
        budget.end(budget.reserve("a", 2.0 * number), 2.0 * number + 0.3, answered=True)
    budget.end(budget.reserve("a", 300.0), 300.001, answered=False)
    budget.end(budget.reserve("a", 400.0), 400.4, answered=True)
    assert budget.delay("a", 400.4) == pytest.approx(0.7)  # it may have been there 0.1 s later than others


def test_an_idle_budget_lets_a_burst_through_at_once() -> None:
    budget = Budget(per_second=10, per_endpoint_second=5)
    for position in range(10):
        endpoint = "ab"[position % 2]
        assert budget.delay(endpoint, 100.0) == 0.0
        budget.reserve(endpoint, 100.0)
    assert budget.delay("c", 100.0) >= 1.0


def test_a_request_counts_from_when_its_answer_came() -> None:
    budget = Budget(per_second=1, per_endpoint_second=1)
    start = budget.reserve("a", 100.0)
    assert budget.delay("b", 100.1) == pytest.approx(1.0)  # it may be arriving just now
    budget.end(start, 100.2, answered=True)
    assert budget.delay("b", 100.9) == pytest.approx(0.3)


def test_a_request_that_is_never_answered_holds_nobody_up_for_long() -> None:
    budget = Budget(per_second=1, per_endpoint_second=1)
    budget.reserve("a", 100.0)
    assert budget.delay("b", 102.0) == 0.0


def test_an_endpoint_is_one_whatever_its_parameters_are_called() -> None:
    budget = Budget(per_second=100, per_endpoint_second=1)
    budget.end(budget.reserve("/v1/prices/{price}", 0.0), 0.0, answered=True)
    assert budget.delay("/v1/prices/{id}", 0.5) == 0.5
    assert budget.delay("/v1/prices", 0.5) == 0.0
