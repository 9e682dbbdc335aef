"""The client against the sandbox: what goes wrong on the way and is made good, and what ends the run."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tap_stripe_events.changes import may_hold_secrets
from tap_stripe_events.client import Answer, Request, StripeClient, list_elements
from tap_stripe_events.clock import Clock
from tap_stripe_events.errors import (
    KeyRefusedError,
    NotAListError,
    NotStripeError,
    RequestRefusedError,
    RetriesSpentError,
)
from tap_stripe_events.limits import Verdict
from tap_stripe_events.object_table import API_VERSION

Ask = Callable[[StripeClient, Request], Answer]

CUSTOMERS = Request(path="/v1/customers", endpoint="/v1/customers", parameters={"limit": 3})
TAKE_SECONDS = 30


@pytest.fixture
def make_stripe() -> Iterator[Callable[..., StripeClient]]:
    """Makes clients of a sandbox."""
    with ExitStack() as stack:

        def make(url: str, **settings: Any) -> StripeClient:
            given = {
                "api_key": "sk_test_sandbox",
                "api_url": url,
                "api_version": API_VERSION,
                "requests_per_second": 1000,
                "endpoint_requests_per_second": 1000,
                "max_concurrent_requests": 8,
                **settings,
            }
            return stack.enter_context(StripeClient(**given))

        yield make


def taken(stripe: StripeClient, requests: list[Request]) -> list[Answer]:
    for each in requests:
        stripe.submit(each)
    answers = []
    until = time.monotonic() + TAKE_SECONDS
    while stripe.in_flight:
        assert time.monotonic() < until
        if (answer := stripe.take(TAKE_SECONDS)) is not None:
            answers.append(answer)
    return answers


def in_the_background(stripe: StripeClient, request: Request) -> Answer:
    [answer] = taken(stripe, [request])
    return answer


both_ways = pytest.mark.parametrize("ask", [StripeClient.get, in_the_background])


@both_ways
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "rate_limit"},
        {"kind": "rate_limit", "retry_after_seconds": 1},
        {"kind": "lock_timeout"},
        {"kind": "server_error"},
        {"kind": "bad_gateway"},
        {"kind": "unavailable"},
        {"kind": "html_ok"},
        {"kind": "reset_before"},
        {"kind": "reset_after"},
        {"kind": "truncated"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_a_bad_moment_is_got_over(
    ask: Ask, fault: dict[str, Any], make_sandbox: Any, connect: Any, make_stripe: Callable[..., StripeClient]
) -> None:
    sandbox = make_sandbox("full")
    connect(sandbox).control("faults", path="/v1/customers", count=2, **fault)
    stripe = make_stripe(sandbox.url)
    answer = ask(stripe, CUSTOMERS)
    assert (stripe.requests_sent, stripe.sent_again, stripe.in_flight) == (3, 2, 0)
    assert answer.verdict is Verdict.TAKE
    found, more = list_elements(answer, sandbox.url)
    assert len(found) == 3
    assert more


@both_ways
@pytest.mark.parametrize(
    "fault", [("bad_gateway", "HTTP 502"), ("html_ok", "HTTP 200 with a body that is not a JSON object")]
)
def test_a_bad_moment_that_does_not_end_is_a_clear_failure(
    ask: Ask, fault: tuple[str, str], make_sandbox: Any, connect: Any, make_stripe: Callable[..., StripeClient]
) -> None:
    kind, reason = fault
    sandbox = make_sandbox("full")
    connect(sandbox).control("faults", kind=kind, path="/v1/customers")
    stripe = make_stripe(sandbox.url, tries=2)
    said = rf"GET /v1/customers in 2 tries .* {reason}\. .* Run again to go on"
    with pytest.raises(RetriesSpentError, match=said) as failure:
        ask(stripe, CUSTOMERS)
    assert (stripe.requests_sent, stripe.in_flight) == (2, 0)
    assert failure.value.request == (CUSTOMERS if ask is in_the_background else None)


def test_every_try_takes_a_place_of_its_own_in_the_budget(
    make_sandbox: Any, connect: Any, make_stripe: Callable[..., StripeClient]
) -> None:
    sandbox = make_sandbox("full")
    connect(sandbox).control("faults", kind="bad_gateway", path="/v1/customers")
    stripe = make_stripe(sandbox.url, tries=2)
    stripe.submit(CUSTOMERS)
    with pytest.raises(RetriesSpentError):
        stripe.take(TAKE_SECONDS)
    assert stripe.requests_sent == 2


def test_an_unreachable_stripe_is_a_clear_failure(make_stripe: Callable[..., StripeClient]) -> None:
    with pytest.raises(RetriesSpentError, match=r"ConnectionError \(network\)"):
        make_stripe("http://127.0.0.1:9", tries=2).get(CUSTOMERS)


def test_a_failure_in_the_background_reaches_the_one_who_takes(
    make_sandbox: Any, connect: Any, make_stripe: Callable[..., StripeClient]
) -> None:
    sandbox = make_sandbox("full")
    connect(sandbox).control("faults", kind="server_error", path="/v1/customers")
    stripe = make_stripe(sandbox.url, tries=1)
    stripe.submit(CUSTOMERS)
    with pytest.raises(RetriesSpentError):
        stripe.take(TAKE_SECONDS)
    assert stripe.in_flight == 0


def test_a_key_that_stripe_does_not_know_is_named_by_its_last_letters_only(
    full_sandbox: Any, make_stripe: Callable[..., StripeClient]
) -> None:
    with pytest.raises(KeyRefusedError) as error:
        make_stripe(full_sandbox.url, api_key="sk_test_notthisone9876").get(CUSTOMERS)
    assert "ending in …9876" in str(error.value)
    assert "sk_test_notthisone" not in str(error.value)


def test_a_wrong_request_ends_the_run_with_stripes_words(
    full_sandbox: Any, make_stripe: Callable[..., StripeClient]
) -> None:
    wrong = Request(path="/v1/customers", endpoint="/v1/customers", parameters={"limit": 1000})
    with pytest.raises(RequestRefusedError, match=r"GET /v1/customers \(HTTP 400, .* parameter limit, request req_"):
        make_stripe(full_sandbox.url).get(wrong)


def test_an_object_with_an_error_of_its_own_is_no_refusal(
    full_sandbox: Any, make_stripe: Callable[..., StripeClient]
) -> None:
    runs = full_sandbox.account.store.table("scheduled_query_run")
    failed = next(iter(runs.records.values()))
    full_sandbox.run(lambda: full_sandbox.account.change(failed, {"error": {"message": "too long"}}, verb=None))
    path = "/v1/sigma/scheduled_query_runs"
    answer = make_stripe(full_sandbox.url).get(Request(path=f"{path}/{failed.key}", endpoint=f"{path}/{{id}}"))
    assert answer.verdict is Verdict.TAKE
    assert answer.body["error"] == {"message": "too long"}


def test_a_missing_permission_is_an_answer(full_sandbox: Any, make_stripe: Callable[..., StripeClient]) -> None:
    stripe = make_stripe(full_sandbox.url, api_key="rk_test_some")
    answer = stripe.get(Request(path="/v1/charges", endpoint="/v1/charges"))
    assert answer.verdict is Verdict.DENIED
    assert answer.refusal is not None
    assert answer.refusal.permission == "rak_charge_read"


def test_a_single_object_is_not_a_list(full_sandbox: Any, make_stripe: Callable[..., StripeClient]) -> None:
    answer = make_stripe(full_sandbox.url).get(Request(path="/v1/account", endpoint="/v1/account"))
    with pytest.raises(NotAListError, match="object: account"):
        list_elements(answer, full_sandbox.url)


def test_no_second_sees_more_requests_than_the_settings_allow(
    make_sandbox: Any, connect: Any, make_stripe: Callable[..., StripeClient]
) -> None:
    sandbox = make_sandbox("full")
    http = connect(sandbox)
    stripe = make_stripe(sandbox.url, requests_per_second=30, endpoint_requests_per_second=12)
    paths = [f"/v1/{each}" for each in ("customers", "charges", "refunds")] * 25
    waiting = [Request(path=each, endpoint=each, parameters={"limit": 1}) for each in paths]
    while waiting or stripe.in_flight:
        ready = [each for each in waiting if stripe.delay(each.endpoint) <= 0]
        if ready and stripe.in_flight < stripe.max_concurrent_requests:
            waiting.remove(ready[0])
            stripe.submit(ready[0])
        else:
            stripe.take(0.02)
    log = http.get("/_sandbox/requests", {"newest": 1000}).json()["requests"]
    times = sorted((each["at"], each["path"]) for each in log if each["path"].startswith("/v1/"))
    assert len(times) == 75
    for begin, _ in times:
        within = [path for time, path in times if begin <= time < begin + 1]
        assert len(within) <= 30
        assert all(within.count(path) <= 12 for path in set(paths))
    assert times[-1][0] - times[0][0] < 4  # and the budget is used


def test_a_read_counts_as_the_second_in_which_it_started_on_stripes_clock(
    make_sandbox: Any, connect: Any, make_stripe: Callable[..., StripeClient]
) -> None:
    sandbox = make_sandbox("full")  # its clock stands still in 2026-09-21
    stripe = make_stripe(sandbox.url)
    stripe.get(CUSTOMERS)  # the first answer tells the time
    assert abs(stripe.get(CUSTOMERS).as_of - 1_790_000_000) <= 1


def test_a_refusal_tells_the_time_too(make_sandbox: Any, make_stripe: Callable[..., StripeClient]) -> None:
    """A key that may not read the account gets no other answer before it is decided from when the feed is followed."""
    sandbox = make_sandbox(restricted_keys={"rk_test_some": "customer"})
    stripe = make_stripe(sandbox.url, api_key="rk_test_some")
    assert stripe.get(Request(path="/v1/account", endpoint="/v1/account")).verdict is Verdict.DENIED
    assert abs(stripe.stripe_clock.second() - sandbox.account.now()) <= 1


def test_a_read_counts_as_no_later_than_its_answer_says_where_stripes_clock_stands(
    make_sandbox: Any, make_stripe: Callable[..., StripeClient]
) -> None:
    """The first answer set the clock; the machine's time goes on, and Stripe's does not."""

    class Hurried(Clock):
        looks = 0

        def monotonic(self) -> float:
            self.looks += 1
            return super().monotonic() + 10.0 * self.looks

    sandbox = make_sandbox("full")  # it stands still in 2026-09-21
    stripe = make_stripe(sandbox.url, clock=Hurried())
    seconds = {stripe.get(CUSTOMERS).as_of for _ in range(5)}
    assert max(seconds) == stripe.stripe_clock.second()
    assert stripe.stripe_clock.estimate() > max(seconds) + 10


def test_what_is_not_stripe_is_not_asked_twice(full_sandbox: Any, make_stripe: Callable[..., StripeClient]) -> None:
    elsewhere = Request(path="/_sandbox/nothing", endpoint="/_sandbox/nothing")
    stripe = make_stripe(full_sandbox.url)
    with pytest.raises(NotStripeError, match=r"HTTP 404 with a body that is not Stripe's.*Check the setting api_url"):
        stripe.get(elsewhere)
    assert stripe.requests_sent <= 1


def test_requests_that_are_submitted_all_at_once_wait_for_the_budget(
    full_sandbox: Any, make_stripe: Callable[..., StripeClient]
) -> None:
    stripe = make_stripe(full_sandbox.url, requests_per_second=5)
    started = time.monotonic()
    answers = taken(stripe, [CUSTOMERS] * 12)
    assert [each.verdict for each in answers] == [Verdict.TAKE] * 12
    assert stripe.requests_sent == 12
    assert time.monotonic() - started >= 2.0  # five, five, two


def test_a_run_that_ends_waits_for_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        program = f"""if True:
            import time
            from tap_stripe_events.client import Request, StripeClient
            stripe = StripeClient(
                api_key="sk_test_1", api_url="http://127.0.0.1:{silent.getsockname()[1]}", api_version="v",
                requests_per_second=50, endpoint_requests_per_second=50, max_concurrent_requests=4,
            )
            for _ in range(8):
                stripe.submit(Request(path="/v1/charges", endpoint="/v1/charges"))
            assert stripe.take(0.5) is None
            raise SystemExit(7)
        """
        done = subprocess.run([sys.executable, "-c", program], timeout=TAKE_SECONDS, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (7, b"")


@pytest.mark.parametrize(
    "body", [b'{"object": "webhook_endpoint", "secret": "old"}', b'{"object": "issuing.card", "cvc": "123"}']
)
def test_a_body_that_may_hold_a_secret_is_searched(body: bytes) -> None:
    assert may_hold_secrets(body)


def test_a_signal_that_comes_while_nothing_is_on_its_way_ends_the_wait_for_answers() -> None:
    """`queue.SimpleQueue` waits for ever after a signal whose handler outlasts the rest of its timeout."""
    program = """if True:
        import signal
        import time
        from tap_stripe_events.client import StripeClient
        stripe = StripeClient(
            api_key="sk_test_1", api_url="http://127.0.0.1:1", api_version="v",
            requests_per_second=50, endpoint_requests_per_second=50, max_concurrent_requests=4,
        )
        signal.signal(signal.SIGALRM, lambda *_: time.sleep(0.2))
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert stripe.take(0.1) is None
    """
    done = subprocess.run([sys.executable, "-c", program], timeout=TAKE_SECONDS, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
