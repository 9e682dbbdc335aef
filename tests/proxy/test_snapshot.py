"""How a sync stands, read from tables that the target has written."""

import contextlib
import io
import json
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from messages import TEXT, at, record, schema, state

from stripe_proxy.snapshot import (
    Backfill,
    Denial,
    Reference,
    Snapshot,
    StreamState,
    StreamStatus,
    behind,
    left_behind,
    lists_not_read,
    part_read,
    read,
)
from stripe_proxy.snapshot import references as references_of
from tap_stripe_events.client import Answer, Request
from tap_stripe_events.gather import refusal_reason
from tap_stripe_events.limits import Refusal, Verdict
from target_postgres_stripe.target import TargetPostgresStripe

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMER = schema("customer", name=TEXT)
CHARGE = schema("charge", customer_id=TEXT, source_id=TEXT)
LOADED = {"kept_by": "events", "backfill_started_at": at(1), "backfill_finished_at": at(2), "events_as_of": at(5)}


@pytest.fixture
def load(database):
    """Loads messages with the target."""

    def run(*messages):
        target = TargetPostgresStripe(config={"database_url": database})
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                target.listen(json.dumps(each) + "\n" for each in messages)
        finally:
            target.close()

    return run


@pytest.fixture
def status(load, connection):
    """How a stream stands by its bookmark."""

    def look(**bookmark):
        load(state(), CUSTOMER, state(customer=bookmark))
        (found,) = read(connection, "stripe").streams
        return found

    return look


def minutes_ago(minutes):
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


def test_a_schema_that_does_not_exist_is_a_state(connection):
    found = read(connection, "no such schema")
    assert found == Snapshot(schema="no such schema", taken_at=found.taken_at)
    assert abs(found.taken_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_schema_that_somebody_else_has_filled_is_empty(connection):
    connection.execute("CREATE SCHEMA stripe CREATE TABLE _sync (a text)")
    assert read(connection, "stripe").sync_id is None


def test_a_sync_that_has_said_nothing_yet_has_an_id_and_no_streams(load, connection):
    load(state())
    found = read(connection, "stripe")
    assert uuid.UUID(found.sync_id)
    assert (found.livemode, found.streams, found.polled_at) == (False, (), None)


def test_what_the_sync_says_of_itself_is_read(load, connection):
    said = state(customer=LOADED)["value"] | {"polled_at": at(60), "written_at": at(61)}
    load(state(), CUSTOMER, {"type": "STATE", "value": said})
    found = read(connection, "stripe")
    assert (found.polled_at.isoformat(), found.written_at.isoformat()) == (
        "2026-01-01T00:01:00+00:00", "2026-01-01T00:01:01+00:00",
    )  # fmt: skip
    assert found.poll_age == found.taken_at - found.polled_at


def test_a_look_changes_nothing_and_leaves_no_transaction(load, database, connection):
    load(state(), CUSTOMER, state(customer=LOADED))
    with psycopg.connect(database) as session:
        for _ in range(2):
            assert read(session, "stripe").streams
            assert session.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
        session.execute("UPDATE stripe._sync_status SET rows = 1")  # and the session may write as before


def test_a_look_is_not_able_to_write(load, connection):
    load(state())
    connection.execute("ALTER TABLE stripe._sync RENAME TO before; CREATE SEQUENCE looks")
    connection.execute("CREATE VIEW stripe._sync AS SELECT *, nextval('looks') FROM stripe.before")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        read(connection, "stripe")


def test_a_filled_table_is_live_with_its_rows_and_its_lag(load, connection):
    load(state(), CUSTOMER, *(record("customer", id=key, as_of=1) for key in "abc"), state(customer=LOADED))
    (found,) = read(connection, "stripe").streams
    assert (found.stream, found.state, found.rows, found.kept_by) == ("customer", StreamState.LIVE, 3, "events")
    assert found.lag > timedelta(days=1)


def test_what_was_never_begun_waits(status):
    assert status(kept_by="sweeps").state is StreamState.WAITING


def test_what_stripe_lists_nowhere_is_live_once_its_events_are_followed(status):
    assert status(kept_by="events", events_as_of=at(5)).state is StreamState.LIVE


def test_nothing_lags_where_stripes_clock_is_ahead(status):
    assert status(**LOADED | {"events_as_of": "2999-01-01T00:00:00Z"}).lag == timedelta(0)


def test_a_missing_permission_is_named_as_the_tap_tells_it(status):
    refusal = Refusal(
        status=403,
        code="more_permissions_required_for_application",
        parameter="",
        message="The provided key 'rk_test_***' does not have the required permissions. Having the "
        "'rak_charge_read' permission would allow this request to continue.",
        request="",
    )
    assert refusal.permission == "rak_charge_read"
    request = Request(path="/v1/charges", endpoint="/v1/charges", parameters={}, purpose=None)
    reason = refusal_reason(Answer(request=request, verdict=Verdict.DENIED, body=None, as_of=0, refusal=refusal))
    found = status(denied={"since": at(1), "tried_at": at(9), "reason": reason}, events_as_of=at(5))
    assert (found.state, found.lag) == (StreamState.DENIED, None)
    assert found.denial == Denial(
        reason=reason,
        permission="rak_charge_read",
        since=NOW + timedelta(seconds=1),
        tried_at=NOW + timedelta(seconds=9),
    )


def test_a_permission_that_its_parents_lack_is_named_too(status):
    reason = "/v1/invoices, which it is found by, is refused: the key lacks the permission rak_invoice_read"
    assert status(denied={"reason": reason}).denial == Denial(reason=reason, permission="rak_invoice_read")


def test_a_product_that_is_not_set_up_is_not_in_use(status):
    found = status(denied={"since": at(1), "reason": "Your account is not set up to use Issuing", "not_set_up": True})
    assert (found.state, found.denial.permission) == (StreamState.NOT_IN_USE, None)
    assert found.denial.reason == "Your account is not set up to use Issuing"


def test_a_listing_a_gap_and_lists_that_were_not_read_are_told(status):
    found = status(
        **LOADED,
        listing_started_at=at(30),
        listing_because="a week has passed",
        listed_at=at(3),
        gap={"from": at(10), "to": at(20)},
        not_read={"/v1/test_clocks": "no"},
    )
    assert (found.listing_since, found.listing_because) == (NOW + timedelta(seconds=30), "a week has passed")
    assert found.swept_at == NOW + timedelta(seconds=3)
    assert found.gap == (NOW + timedelta(seconds=10), NOW + timedelta(seconds=20))
    assert found.not_read == {"/v1/test_clocks": "no"}


@pytest.mark.parametrize("bookmark", ["text", 3, ["a"], {"denied": "x", "gap": 1, "not_read": [], "open_windows": 0}])
def test_a_bookmark_of_another_tap_is_no_error(load, connection, bookmark):
    load(schema("users", ordered=False), {"type": "STATE", "value": {"bookmarks": {"users": bookmark}}})
    (found,) = read(connection, "stripe").streams
    assert found.state is StreamState.WAITING


# Backfill


def filling(status, *windows, **bookmark):
    return status(
        backfill_started_at=bookmark.pop("started", minutes_ago(10)),
        backfill_finished_at=None,
        open_windows=list(windows),
        **bookmark,
    ).backfill


def window(start=None, end=None, reached=None, **more):
    return {
        "list": "/v1/c",
        "from": start,
        "to": end,
        "after": "c" if reached else None,
        "after_created": reached,
    } | more


def days(number):
    return (NOW + timedelta(days=number)).isoformat()


def test_a_backfill_from_the_beginning_of_time_has_no_estimate_and_says_so(status):
    found = filling(status, window(reached=days(-9)), window(start=days(-30), end=days(-20)))
    assert (found.open_windows, found.reached) == (2, NOW - timedelta(days=9))
    assert (found.fraction, found.remaining, found.doubt) == (None, None, "nobody knows how far back its list goes")


def test_a_backfill_with_a_start_date_is_reckoned_by_the_time_that_is_read(load, connection):
    started = datetime.now(UTC) - timedelta(minutes=10)

    def before(number):
        return (started - timedelta(days=number)).isoformat()

    bookmark = {
        "backfill_started_at": started.isoformat(),
        "listing_started_at": started.isoformat(),
        "listing_from": before(100),
        "open_windows": [window(end=before(60), reached=before(70)), window(start=before(50), end=before(20))],
    }
    said = state(customer=bookmark)["value"] | {"written_at": datetime.now(UTC).isoformat()}
    load(state(), CUSTOMER, {"type": "STATE", "value": said})
    found = read(connection, "stripe").streams[0].backfill
    assert found.fraction == pytest.approx(0.4)
    assert found.remaining.total_seconds() == pytest.approx(900, abs=10)
    assert found.doubt == ""


@pytest.mark.parametrize("written", [{}, {"written_at": days(1)}])
def test_a_backfill_that_rests_has_a_part_and_no_end(load, connection, written):
    bookmark = {"backfill_started_at": days(0), "listing_from": days(-100), "open_windows": [window(reached=days(-50))]}
    said = state(customer=bookmark)["value"] | written
    load(state(), CUSTOMER, {"type": "STATE", "value": said})
    found = read(connection, "stripe").streams[0].backfill
    assert (found.fraction, found.remaining) == (0.5, None)
    assert found.doubt == "it does not go on at present"


def test_the_beginning_is_the_accounts_own_where_there_is_no_start_date(load, connection):
    account = schema("account", created={"type": ["string", "null"], "format": "date-time"})
    bookmark = {"backfill_started_at": days(0), "open_windows": [window(reached=days(-25))]}
    load(
        state(), account, record("account", id="acct_1", created=days(-100), as_of=1), CUSTOMER,
        state(customer=bookmark),
    )  # fmt: skip
    assert read(connection, "stripe").streams[0].backfill.fraction == pytest.approx(0.25)


def test_what_is_read_along_with_its_parents_says_so(status):
    assert filling(status, started=days(0)) == Backfill(started_at=NOW, doubt="read along with what it belongs to")


@pytest.mark.parametrize(
    ("windows", "doubt"),
    [
        ([{"list": "/v1/a"}, {"list": "/v1/b"}], "several passes"),
        ([{"list": "/v1/a", "pass": {"active": "false"}}], "several passes"),
        ([{"list": "/v1/a", "after": "a_1"}], "no order of time"),
        ([window(reached=days(-101))], "how far back"),
        ([window(start=days(-150), end=days(-120))], "how far back"),
    ],
)
def test_no_part_is_told_where_it_would_be_a_guess(windows, doubt):
    part, why = part_read(windows, NOW - timedelta(days=100), NOW)
    assert part is None
    assert doubt in why


def test_the_part_that_is_read_is_what_no_window_has_left():
    first = NOW - timedelta(days=100)
    assert part_read([window()], first, NOW) == (0.0, "")
    assert part_read([window(end=days(-80))], first, NOW) == (0.8, "")
    assert part_read([window(start=days(-10), reached=days(-10))], first, NOW) == (1.0, "")


# References


def test_columns_that_name_rows_of_other_tables_are_found(load, connection):
    load(
        state(), CUSTOMER, CHARGE, schema("refund", charge_id=TEXT),
        record("customer", id="cus", as_of=1), record("charge", id="ch", customer_id="cus", as_of=1),
        state(customer=LOADED, charge=LOADED, refund=LOADED),
    )  # fmt: skip
    assert read(connection, "stripe").references == (Reference(stream="charge", column="customer_id", of="customer"),)


def test_what_a_column_refers_to_is_told_by_the_schemas_and_not_by_its_name():
    columns = [
        ("invoice", "test_clock_id"),
        ("charge", "payment_method"),
        ("charge", "source_id"),  # of one of several streams
        ("charge", "review_id"),  # of one without rows
        ("charge", "customer_email_id"),  # of somebody's own
    ]
    streams = {"invoice", "charge", "test_helpers_test_clock", "payment_method", "card", "source", "customer"}
    assert references_of(columns, streams) == (
        Reference(stream="charge", column="payment_method", of="payment_method"),
        Reference(stream="invoice", column="test_clock_id", of="test_helpers_test_clock"),
    )


def test_only_streams_with_rows_refer_and_are_referred_to():
    columns = [("invoice", "customer_id"), ("customer", "default_source_id"), ("charge", "customer_id")]
    assert references_of(columns, {"customer", "charge"}) == (
        Reference(stream="charge", column="customer_id", of="customer"),
    )


# All streams together


def live(stream, lag=0, polled=0, **fields):
    return StreamStatus(
        stream=stream, state=StreamState.LIVE, lag=timedelta(seconds=lag), polled_at=NOW - timedelta(seconds=polled),
        **fields,
    )  # fmt: skip


def test_a_stream_that_nobody_reads_any_more_does_not_make_the_others_late():
    streams = (live("a", lag=3), live("b", lag=5, polled=11), live("c", lag=9999, polled=9000))
    found = Snapshot(schema="s", taken_at=NOW, polled_at=NOW, streams=streams)
    assert [each.stream for each in left_behind(found)] == ["c"]
    assert behind(found) == timedelta(seconds=5)


def test_lists_that_are_not_read_are_told_once_for_all_streams():
    streams = (live("a", not_read={"/v1/x": "no"}), live("b", not_read={"/v1/x": "no", "/v1/y": "never"}))
    assert lists_not_read(streams) == {("/v1/x", "no"): ["a", "b"], ("/v1/y", "never"): ["b"]}
