"""Whose key a caller's is: Stripe is asked once, and what comes of that never costs the caller Stripe's answer."""

import pytest
import requests

OWN_KEY = "rk_test_own"


@pytest.fixture
def make_other(make_proxy):
    """Makes proxies whose own key is not the callers'."""
    return lambda account, **settings: make_proxy(account, api_key=OWN_KEY, **settings)


@pytest.fixture
def account(make_sandbox, claim):
    sandbox = make_sandbox(restricted_keys={OWN_KEY: "account,customer"})
    claim(sandbox.account.id)
    return sandbox


def fault(sandbox, kind, **more):
    given = {"kind": kind, "path": "/v1/account", "count": 1, **more}
    assert requests.post(f"{sandbox.url}/_sandbox/faults", json=given, timeout=10).ok


def write(proxy):
    """Have the other key create a customer; whether it worked, and whether it is said not to be stored."""
    answer = requests.post(
        f"{proxy}/api.stripe.com/v1/customers", auth=("sk_test_sandbox", ""), data={"name": "x"}, timeout=20
    )
    return answer.status_code, answer.headers.get("Stripe-Proxy-Applied")


def test_another_key_of_the_account_is_asked_about_once_and_so_is_the_proxys_own(account, make_other, rows):
    proxy = make_other(account)
    assert [write(proxy) for _ in range(3)] == [(200, None)] * 3
    log = requests.get(f"{account.url}/_sandbox/requests", timeout=10).json()["requests"]
    asked = [each["key_last4"] for each in log if each["path"] == "/v1/account"]
    assert len(asked) == len(set(asked)) == 2
    assert rows("SELECT count(*) FROM stripe.customer") == [(3,)]


@pytest.mark.parametrize("kind", ["server_error", "rate_limit", "unavailable", "html_ok", "reset_before", "truncated"])
def test_where_stripe_fails_to_say_the_caller_gets_his_answer_and_stripe_is_asked_again(
    account, make_other, rows, kind
):
    proxy = make_other(account)
    fault(account, kind)
    assert write(proxy) == (200, "false")
    assert write(proxy) == (200, None)
    assert rows("SELECT count(*) FROM stripe.customer") == [(1,)]


def test_where_stripe_does_not_say_in_time_the_caller_does_not_wait(account, make_other):
    proxy = make_other(account, apply_timeout_seconds=1)
    fault(account, "slow", seconds=15)
    assert write(proxy) == (200, "false")
