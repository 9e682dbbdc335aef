"""A Stripe that has bad moments: the run goes on and nothing is lost."""

import re
import socket

import pytest

CHARGES = 1_000


@pytest.fixture
def account(make_account):
    return make_account("full", bulk={"charge": CHARGES})


@pytest.fixture
def pipeline(make_pipeline, account):
    return make_pipeline(account)


@pytest.mark.parametrize(
    "faults",
    [
        [{"kind": "rate_limit"}, {"kind": "rate_limit", "retry_after_seconds": 1, "reason": "global-rate"}],
        [{"kind": "lock_timeout"}, {"kind": "server_error"}, {"kind": "bad_gateway"}, {"kind": "unavailable"}],
        [{"kind": "reset_before"}, {"kind": "reset_after"}, {"kind": "truncated"}, {"kind": "html_ok"}],
    ],
    ids=[
        "429 with and without Retry-After",
        "lock_timeout, 500, 502 and 503",
        "resets, truncated bodies and HTML with 200",
    ],
)
def test_faults_that_end_leave_right_tables(account, pipeline, assert_true, faults):
    for fault in faults:
        account.fault(**{"path": "/v1/", "probability": 0.1, "count": 8, **fault})
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


def test_a_stripe_that_never_answers_ends_the_run_clearly_and_the_next_run_completes(
    account, make_pipeline, tmp_path, assert_true
):
    """Takes the minute for which the tap tries: once for one endpoint that fails, and meanwhile for a closed port."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    failing, unreachable = make_pipeline(account), make_pipeline(account, directory=tmp_path / "unreachable")
    unreachable.tap_settings["api_url"] = nobody
    account.fault("server_error", path="/v1/charges")
    with failing.start() as first, unreachable.start() as second:
        outcomes = {"/v1/charges": failing.keep(first.finish()), "/v1/account": second.finish()}
    for path, outcome in outcomes.items():
        assert outcome.tap_code == 1
        assert "Traceback" not in outcome.logs
        last = outcome.tap_log.splitlines()[-1]
        assert f"GET {path}" in last
        assert "Run again" in last
        assert "sk_test_sandbox" not in outcome.logs
    assert outcomes["/v1/account"].states == []
    [summary] = [each for each in outcomes["/v1/charges"].tap_log.splitlines() if " Failed: " in each]
    assert re.search(r"Failed: [1-9]\d* records of .*, tried again [1-9]", summary)
    assert '"sync_duration"' in outcomes["/v1/charges"].tap_log
    account.clear_faults()
    account.let_time_pass()
    again = failing.run()
    assert again.succeeded, again.logs
    assert_true(account)
