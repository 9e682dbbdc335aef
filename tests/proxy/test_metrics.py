"""A snapshot as Prometheus reads it."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stripe_proxy import metrics
from stripe_proxy.snapshot import Backfill, Denial, Snapshot, StreamState, StreamStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SNAPSHOT = Snapshot(
    schema="stripe",
    taken_at=NOW,
    sync_id="6c2f",
    livemode=True,
    polled_at=NOW - timedelta(seconds=2),
    written_at=NOW - timedelta(seconds=1),
    streams=(
        StreamStatus(
            stream="charge", state=StreamState.LIVE, rows=7, lag=timedelta(seconds=4.5), drift=3, swept_at=NOW - HOUR,
            polled_at=NOW - timedelta(seconds=3),
        ),
        StreamStatus(stream="file", state=StreamState.BACKFILLING, backfill=Backfill(started_at=NOW, fraction=0.25)),
        StreamStatus(stream="payout", state=StreamState.DENIED, rows=5, denial=Denial(reason="no")),
        StreamStatus(stream="topup", state=StreamState.NOT_IN_USE, denial=Denial(reason="no")),
    ),
)  # fmt: skip


def families(snapshot):
    return {each.name: each for each in text_string_to_metric_families(metrics.render(snapshot).decode())}


def by_label(snapshot, name, label="stream"):
    return {sample.labels.get(label): sample.value for sample in families(snapshot)[name].samples}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rows", {"charge": 7, "payout": 5}),
        ("lag_seconds", {"charge": 4.5}),
        ("last_poll_age_seconds", {"charge": 3}),
        ("last_sweep_age_seconds", {"charge": 3600}),
        ("denied", {"charge": 0, "file": 0, "payout": 1, "topup": 0}),
        ("backfill_finished", {"charge": 1, "file": 0}),
        ("backfill_ratio", {"file": 0.25}),
        ("drift_rows", {"charge": 3, "file": 0, "payout": 0, "topup": 0}),
    ],
)
def test_what_is_known_of_a_stream_has_a_sample_and_nothing_else_has(name, expected):
    assert by_label(SNAPSHOT, f"stripe_sync_stream_{name}") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("last_poll_age_seconds", 2), ("last_state_age_seconds", 1), ("lag_seconds", 4.5), ("info", 1)],
)
def test_the_whole_sync_is_told_too(name, expected):
    (sample,) = families(SNAPSHOT)[f"stripe_sync_{name}"].samples
    assert sample.value == expected


def test_streams_are_counted_by_state():
    assert by_label(SNAPSHOT, "stripe_sync_streams", "state") == {
        "live": 1, "backfilling": 1, "denied": 1, "not in use": 1, "waiting": 0,
    }  # fmt: skip


def test_nothing_is_claimed_of_a_sync_that_never_ran():
    found = families(Snapshot(schema="stripe", taken_at=NOW))
    (info,) = found["stripe_sync_info"].samples
    assert (info.value, info.labels) == (0, {"schema": "stripe", "mode": "", "sync_id": ""})
    known = {name for name, each in found.items() if each.samples}
    assert known == {"stripe_sync_info", "stripe_sync_streams"}


def test_each_scrape_shows_its_own_look():
    metrics.render(SNAPSHOT)
    assert metrics.render(SNAPSHOT) == metrics.render(SNAPSHOT)
    assert b"charge" not in metrics.render(Snapshot(schema="stripe", taken_at=NOW))


def test_names_are_as_prometheus_wants_them():
    for family in families(SNAPSHOT).values():
        assert family.documentation
        assert family.type == ("counter" if family.name.endswith("drift_rows") else "gauge")
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")


def test_a_name_that_breaks_the_format_is_escaped():
    odd = StreamStatus(stream='a"b\\c\nd', state=StreamState.LIVE, rows=1)
    assert by_label(Snapshot(schema="s", taken_at=NOW, streams=(odd,)), "stripe_sync_stream_rows") == {odd.stream: 1}


def test_streams_of_several_accounts_are_told_apart():
    """The same labels twice, and Prometheus takes nothing of the answer."""
    streams = [
        StreamStatus(stream="coupon", account=account, state=StreamState.LIVE, rows=rows, drift=0)
        for account, rows in (("acct_1", 3), ("acct_2", 5))
    ]
    text = metrics.render(Snapshot(schema="stripe", taken_at=NOW, streams=tuple(streams))).decode()
    assert 'stripe_sync_stream_rows{account="acct_1",stream="coupon"} 3.0' in text
    assert 'stripe_sync_stream_rows{account="acct_2",stream="coupon"} 5.0' in text
    samples = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(samples) == len(set(samples))
