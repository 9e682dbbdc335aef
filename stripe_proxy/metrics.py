"""A snapshot in Prometheus' text format.

Each scrape has a registry of its own: what is shown is one look at the tables, and nothing is counted here. The one
counter, drift, is kept in the database; setting it back there looks like a restart, which is what Prometheus expects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stripe_proxy.snapshot import Snapshot, StreamState, StreamStatus, age, behind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta

    from stripe_proxy.follow import SyncProcess

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What ``render`` returns."""

_REFUSED = {StreamState.DENIED, StreamState.NOT_IN_USE}


def render(snapshot: Snapshot, sync_process: SyncProcess | None = None) -> bytes:
    """What Prometheus scrapes. What is not known has no sample, rather than one that lies."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(snapshot=snapshot, sync_process=sync_process))
    return generate_latest(registry)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shown(Collector):
    """Shows a snapshot to the registry, which tells its collectors apart by identity."""

    snapshot: Snapshot
    sync_process: SyncProcess | None

    def collect(self) -> Iterator[Metric]:
        if self.sync_process is not None:
            yield from _of_process(self.sync_process)
        yield from _of_sync(self.snapshot)
        yield from _of_streams(self.snapshot)


def _of_process(process: SyncProcess) -> Iterator[Metric]:
    up = GaugeMetricFamily("stripe_sync_process_up", "1 while the sync runs that the proxy keeps running")
    up.add_metric((), float(process.running_since is not None))
    yield up
    starts = CounterMetricFamily("stripe_sync_process_starts", "How many times the proxy has started the sync")
    starts.add_metric((), process.starts)
    yield starts


def _of_sync(snapshot: Snapshot) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "stripe_sync_info", "1 once a sync has written to the schema, 0 before", labels=("schema", "mode", "sync_id")
    )
    mode = {True: "live", False: "test", None: ""}[snapshot.livemode]
    info.add_metric((snapshot.schema, mode, snapshot.sync_id or ""), float(snapshot.sync_id is not None))
    yield info
    yield _seconds("stripe_sync_last_poll_age_seconds", "Since Stripe's events were last read", snapshot.poll_age)
    state_age = age(snapshot.written_at, snapshot.taken_at)
    yield _seconds("stripe_sync_last_state_age_seconds", "Since the sync last said how far it is", state_age)
    yield _seconds("stripe_sync_lag_seconds", "How far the stream that lags most is behind Stripe", behind(snapshot))
    states = GaugeMetricFamily("stripe_sync_streams", "How many streams are in a state", labels=("state",))
    for state in StreamState:
        states.add_metric((state.value,), len(snapshot.having(state)))
    yield states


def _of_streams(snapshot: Snapshot) -> Iterator[Metric]:
    streams = snapshot.streams
    gauge = partial(_gauge, labels=_labels(snapshot))
    yield gauge("rows", "Rows that are not deleted, as last counted", ((s, s.rows) for s in streams))
    yield gauge("lag_seconds", "How far the stream is behind Stripe", ((s, _in_seconds(s.lag)) for s in streams))
    yield gauge(
        "last_poll_age_seconds",
        "Since Stripe's events were last read for the stream",
        ((s, _in_seconds(age(s.polled_at, snapshot.taken_at))) for s in streams),
    )
    yield gauge(
        "last_sweep_age_seconds",
        "Since the last listing in full that was finished began",
        ((s, _in_seconds(age(s.swept_at, snapshot.taken_at))) for s in streams),
    )
    yield gauge(
        "denied",
        "1 if Stripe refuses the stream to the sync's key",
        ((s, s.state is StreamState.DENIED) for s in streams),
    )
    yield gauge(
        "backfill_finished",
        "1 if the table is filled; none where Stripe refuses the stream",
        ((s, s.state is StreamState.LIVE) for s in streams if s.state not in _REFUSED),
    )
    yield gauge(
        "backfill_ratio",
        "How much of the time that the list spans is read, while the table is filled",
        ((s, s.backfill.fraction) for s in streams if s.backfill is not None),
    )
    drift = CounterMetricFamily(
        "stripe_sync_stream_drift_rows",
        "Rows that had to be mended although events tell of them",
        labels=_labels(snapshot),
    )
    for each in streams:
        drift.add_metric(_values(each, _labels(snapshot)), each.drift)
    yield drift


def _labels(snapshot: Snapshot) -> tuple[str, ...]:
    """By what streams are told apart."""
    return ("stream", "account") if any(each.account for each in snapshot.streams) else ("stream",)


def _values(stream: StreamStatus, labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(getattr(stream, label) for label in labels)


def _gauge(
    name: str, meaning: str, samples: Iterable[tuple[StreamStatus, float | None]], *, labels: tuple[str, ...]
) -> GaugeMetricFamily:
    """A figure of each stream, where it is known."""
    gauge = GaugeMetricFamily(f"stripe_sync_stream_{name}", meaning, labels=labels)
    for stream, value in samples:
        if value is not None:
            gauge.add_metric(_values(stream, labels), float(value))
    return gauge


def _seconds(name: str, meaning: str, value: timedelta | None) -> GaugeMetricFamily:
    """A time of the whole sync, if it is known."""
    gauge = GaugeMetricFamily(name, meaning)
    if value is not None:
        gauge.add_metric((), value.total_seconds())
    return gauge


def _in_seconds(value: timedelta | None) -> float | None:
    return None if value is None else value.total_seconds()
