"""A Stripe that has bad moments: the run goes on and nothing is lost."""

import pytest

CHARGES = 3_000


@pytest.fixture
def account(make_account):
    return make_account("full", bulk={"charge": CHARGES})


@pytest.fixture
def pipeline(make_pipeline, account):
    return make_pipeline(account)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([{"kind": "rate_limit"}], id="429 without Retry-After"),
        pytest.param([{"kind": "rate_limit", "retry_after_seconds": 1, "reason": "global-rate"}], id="429 with it"),
        pytest.param([{"kind": "lock_timeout"}, {"kind": "server_error"}], id="lock_timeout and 500"),
        pytest.param([{"kind": "bad_gateway"}, {"kind": "unavailable"}], id="502 and 503"),
        pytest.param([{"kind": "reset_before"}, {"kind": "reset_after"}], id="resets"),
        pytest.param([{"kind": "truncated"}, {"kind": "html_ok"}], id="truncated bodies and HTML with 200"),
    ],
)
def test_faults_that_end_leave_right_tables(account, pipeline, assert_true, faults):
    for fault in faults:
        account.fault(**{"path": "/v1/", "probability": 0.1, "count": 12, **fault})
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    assert account.clear_faults() == [0] * len(faults)
    assert_true(account)


def test_a_limit_that_is_lower_than_the_settings_only_slows_the_run(account, pipeline, assert_true):
    account.control("rate_limit", per_second=200, per_endpoint=100)
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    assert 429 in {each["status"] for each in account.requests()}
    account.control("rate_limit")
    assert_true(account)


def test_a_fault_that_never_ends_says_how_to_go_on_and_the_next_run_completes(account, pipeline, assert_true):
    """Takes the minute for which the tap tries. What was read before is kept."""
    account.fault("server_error", path="/v1/charges")
    outcome = pipeline.run()
    assert outcome.tap_code == 1
    assert "Traceback" not in outcome.logs
    last = outcome.tap_log.splitlines()[-1]
    assert "/v1/charges" in last
    assert "Run again" in last
    account.clear_faults()
    account.let_time_pass()
    again = pipeline.run()
    assert again.succeeded, again.logs
    assert_true(account)
