"""What goes wrong in a soak, one context a kind of fault: it goes wrong in the block, and not after it.

Faults hit what the tap asks (GET requests), never the changes that are made meanwhile.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from soak_schedule import FROZEN_SECONDS, SLOW_SECONDS

from stripe_sandbox.feed import FeedSettings
from stripe_sandbox.spec import load_spec
from target_postgres_stripe import embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from random import Random

    from soak_pipeline import Supervised
    from stripe_account import StripeAccount

    from target_postgres_stripe.embedded import Cluster

KEY = "rk_test_of_the_soak"
LATE_SECONDS = 25
REFUSED = ("charge", "coupon", "product")
"""Types of which one may not be read for a while."""

LOCKED = ("charge", "customer", "event", "product")
"""Tables of which one is locked."""

CUT_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'target-postgres-stripe'"
)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What faults happen to."""

    account: StripeAccount
    cluster: Cluster
    supervised: Supervised
    random: Random


def permissions(*, without: str = "") -> str:
    """The names of all types that a key may read, in the words of the sandbox."""
    return ",".join(name for name in load_spec().objects if name != without)


def _stripe(*faults: dict[str, Any]) -> Callable[[Scene], AbstractContextManager[None]]:
    """Answers go wrong."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        for each in faults:
            scene.account.fault(**{"method": "GET", **each})
        try:
            yield
        finally:
            scene.account.clear_faults()

    return fault


def _events(**settings: Any) -> Callable[[Scene], AbstractContextManager[None]]:
    """Events come otherwise."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        scene.account.control("events", **settings)
        try:
            yield
        finally:
            usual = FeedSettings()
            scene.account.control("events", **{name: getattr(usual, name) for name in settings})

    return fault


@contextmanager
def _locked_table(scene: Scene) -> Iterator[None]:
    """A session of somebody else's lets nobody write into a table."""
    with psycopg.connect(scene.cluster.url) as session:
        session.execute(f"LOCK TABLE stripe.{scene.random.choice(LOCKED)} IN SHARE MODE")
        yield
        session.rollback()


@contextmanager
def _refused(scene: Scene) -> Iterator[None]:
    """The key may not read a type, and some objects must be read because of their events."""
    name = scene.random.choice(REFUSED)
    with _events(old_share=0.3)(scene):
        scene.account.control("permissions", key=KEY, names=permissions(without=name))
        try:
            yield
        finally:
            scene.account.control("permissions", key=KEY, names=permissions())


@contextmanager
def _cut(scene: Scene) -> Iterator[None]:
    with psycopg.connect(scene.cluster.url, autocommit=True) as session:
        session.execute(CUT_SESSIONS)
    yield


def _stopped(mode: str) -> Callable[[Scene], AbstractContextManager[None]]:
    """The database is away."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        cluster = embedded.with_reachable_binaries(scene.cluster)
        embedded.run_as(cluster, "pg_ctl", "stop", "--wait", f"--mode={mode}", f"--pgdata={cluster.data}")
        try:
            yield
        finally:
            embedded.start(scene.cluster)

    return fault


def _killed(*names: str) -> Callable[[Scene], AbstractContextManager[None]]:
    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        scene.supervised.kill(*names)
        yield

    return fault


FAULTS: Mapping[str, Callable[[Scene], AbstractContextManager[None]]] = {
    "429": _stripe({"kind": "rate_limit", "probability": 0.5}),
    "429, Retry-After": _stripe(
        {"kind": "rate_limit", "probability": 0.4, "retry_after_seconds": 1, "reason": "global-rate"}
    ),
    "500, 502, 503": _stripe(
        *({"kind": kind, "probability": 0.2} for kind in ("server_error", "bad_gateway", "unavailable"))
    ),
    "lock timeouts": _stripe({"kind": "lock_timeout", "probability": 0.4}),
    "resets": _stripe(*({"kind": kind, "probability": 0.25} for kind in ("reset_before", "reset_after"))),
    "truncated answers": _stripe({"kind": "truncated", "probability": 0.4}),
    "HTML with 200": _stripe({"kind": "html_ok", "probability": 0.4}),
    "slow answers": _stripe({"kind": "slow", "probability": 0.5, "seconds": SLOW_SECONDS}),
    "answers that hang": _stripe({"kind": "slow", "seconds": FROZEN_SECONDS}),
    "Stripe away": _stripe({"kind": "reset_before"}),
    "Stripe down": _stripe({"kind": "unavailable"}),
    "late events": _events(late_share=0.4, late_seconds=LATE_SECONDS),
    "events of old versions": _events(old_share=0.2),
    "a locked table": _locked_table,
    "a permission refused": _refused,
    "connections cut": _cut,
    "database stopped": _stopped("fast"),
    "database crashed": _stopped("immediate"),
    "tap killed": _killed("tap"),
    "target killed": _killed("target"),
    "both killed": _killed("tap", "target"),
}
"""By the name of their kind."""
