"""``--verify``, as processes: an account against the tables, and neither is changed."""

import subprocess

import pytest
from pipeline import TAP, TARGET, TIMEOUT_SECONDS


@pytest.fixture
def account(make_account):
    return make_account("full")


@pytest.fixture
def pipeline(make_pipeline, account):
    pipeline = make_pipeline(account)
    assert (outcome := pipeline.run()).succeeded, outcome.logs
    account.let_time_pass()
    return pipeline


def verify(pipeline, *, most_lines=None):
    """Run ``tap-stripe-events --verify | target-postgres-stripe --verify``; return how the target ended.

    Args:
        pipeline: Whose settings they have.
        most_lines: The target gets no more than that.
    """
    pipeline.write_settings()
    given = {"env": pipeline.environment, "cwd": pipeline.directory, "timeout": TIMEOUT_SECONDS}
    tap = subprocess.run([TAP, "--config", "tap.json", "--verify"], capture_output=True, check=False, **given)
    assert tap.returncode == 0, tap.stderr.decode()
    messages = b"".join(tap.stdout.splitlines(keepends=True)[:most_lines])
    target = [TARGET, "--config", "target.json", "--verify"]
    done = subprocess.run(target, input=messages, capture_output=True, check=False, **given)
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def line_of(report, stream):
    """What the report says of a stream, by heading."""
    lines = [line.split() for line in report.splitlines()]
    heading, found = (next(line for line in lines if line[:1] == [first]) for first in ("stream", stream))
    return dict(zip(heading[1:], found[1:], strict=True))


def everything(connection):
    """A checksum of each table, the target's own included."""
    names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'stripe' ORDER BY 1").fetchall()
    return {
        name: connection.execute(
            f"SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM stripe.{name} AS t"
        ).fetchone()
        for (name,) in names
    }


def test_after_a_run_every_row_is_equal_and_nothing_is_written(pipeline, account, connection):
    before = everything(connection)
    code, report, log = verify(pipeline)
    assert code == 0, report + log
    for stream in ("customer", "charge", "invoice", "line_item", "subscription"):
        counted = line_of(report, stream)
        assert (stream, counted["equal"]) == (stream, str(len(account.all(stream))))
        assert counted["compared"] == counted["equal"]
    assert everything(connection) == before


def test_what_is_different_missing_or_too_much_is_counted_and_named_without_values(pipeline, account, connection):
    charge, coupon = account.first("charge").key, account.first("coupon").key
    account.change("charge", charge, amount=987_654_321, description="Nobody said so")
    account.vanish("coupon", coupon)
    customer = account.first("customer", test_clock=None).key
    connection.execute("DELETE FROM stripe.customer WHERE id = %s", (customer,))
    before = everything(connection)
    code, report, log = verify(pipeline)
    assert code == 1
    found = [line_of(report, "charge")["different"], line_of(report, "coupon")["surplus"]]
    assert [*found, line_of(report, "customer")["missing"]] == ["1", "1", "1"]
    for each in (charge, coupon, customer, "amount", "description"):
        assert each in report
    for each in ("987654321", "Nobody said so"):
        assert each not in report + log
    assert everything(connection) == before


def test_a_tap_that_was_cut_short_proves_nothing_absent(pipeline, account):
    account.vanish("coupon", account.first("coupon").key)
    code, report, _ = verify(pipeline, most_lines=400)
    assert code == 1
    lines = [line.split() for line in report.splitlines()]
    assert "The input ended before its last STATE" in report
    told = {line[0]: line[5] for line in lines if len(line) == 7 and line[1].isdigit()}
    # The list of coupons may have been there whole before the rest was cut off; then it has proved what it could.
    proved = {stream: surplus for stream, surplus in told.items() if surplus not in {"-", "0"}}
    assert proved in ({}, {"coupon": "1"})
    assert told["customer"] == "-"


def test_a_database_that_was_never_filled_is_one_clear_line(make_account, make_pipeline):
    code, _, log = verify(make_pipeline(make_account()))
    assert code == 1
    assert len([line for line in log.splitlines() if "| CRITICAL" in line or "| ERROR" in line]) == 1
