"""What is to happen in a simulation: drawn from one seed, as plain values. Pure.

The plan says what goes wrong and when; what comes of it, the account's history included, is drawn as it happens, from
the same seed. Later draws must not move earlier ones: a new kind of trouble gets a random number generator of its own,
so that old seeds keep their meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from stripe_sandbox.products import PRODUCTS
from tap_stripe_events.families import asks_of
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import CUSTOMER_PREVIEW, PREVIEWS

ACCOUNTS = 4
"""How many accounts there are to begin with."""

OF_FULL_SIZE = 3
"""The one with lists of several pages; the others are small, so that many can be tried."""

WITH_TEST_CLOCKS = 2
"""The one with test clocks; each costs some requests."""

TEST_CLOCK = "test_helpers.test_clock"

POPULAR = (
    "balance_transaction", "charge", "checkout.session", "coupon", "credit_note", "customer", "discount",
    "invoice", "invoiceitem", "line_item", "payment_intent", "payment_method", "payout", "plan", "price", "product",
    "promotion_code", "refund", "subscription", "subscription_item", "subscription_schedule", "tax_id",
)  # fmt: skip
"""What most people look at."""

HOUR = 3_600
DAY = 24 * HOUR
WIRE_KINDS = (
    "rate_limit", "lock_timeout", "server_error", "bad_gateway", "unavailable", "html_ok", "reset_before",
    "reset_after", "truncated", "slow",
)  # fmt: skip
MUST_BE_READ = frozenset({"account", "event"})

BILLED = frozenset(
    {
        "coupon", "customer", "discount", "invoice", "invoiceitem", "price", "subscription", "subscription_item",
        "subscription_schedule", "tax_id", "tax_rate",
    }
)  # fmt: skip
"""What upcoming invoices are computed from."""

NAMED_BY_PREVIEWS = BILLED | {"event", "plan", "product", TEST_CLOCK}
"""What has to be readable, so that one knows whose upcoming invoices there are, and when they change."""


@dataclass(frozen=True, kw_only=True)
class WireFault:
    """What goes wrong on the way to Stripe; the fields are those of the sandbox's faults."""

    kind: str
    path: str
    probability: float
    seconds: float
    retry_after_seconds: int | None


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One run of the pipe, and what happens meanwhile. Moments are seconds from its beginning.

    Attributes:
        follow_seconds: For how long it follows; None: it ends when it has caught up.
        changes_before: How many moves the account makes before it.
        changes_a_second: How many while it runs, on average.
        wire_faults: What goes wrong on the way to Stripe.
        wire_from: When that begins.
        wire_until: When that ends.
        refused: The types that the key may not read meanwhile.
        not_set_up: The products that the account does not use meanwhile.
        statement_faults: What goes wrong before which statement of the target's.
        commit_faults: What goes wrong with which commit.
        database_away: The database does not answer.
        kill_tap_at: SIGKILL of the tap.
        kill_tap_at_preview: The same, soon after it has asked for so many upcoming invoices.
        kill_target_at: SIGKILL of the target.
        kill_all_at: SIGKILL of both and of what keeps the state, which loses the last states.
        states_lost: How many.
        terminate_at: SIGTERM of the tap.
        machine_error: How far the machine's clock is off, in seconds.
        list_everything: All lists are read, whatever the feed says.
        quiet_seconds: How long nothing happens afterwards.
    """

    follow_seconds: float | None = None
    changes_before: int = 0
    changes_a_second: float = 0.0
    wire_faults: tuple[WireFault, ...] = ()
    wire_from: float = 0.0
    wire_until: float = 0.0
    refused: frozenset[str] = frozenset()
    not_set_up: frozenset[str] = frozenset()
    statement_faults: dict[int, str] = field(default_factory=dict)
    commit_faults: dict[int, str] = field(default_factory=dict)
    database_away: bool = False
    kill_tap_at: float | None = None
    kill_tap_at_preview: int | None = None
    kill_target_at: float | None = None
    kill_all_at: float | None = None
    states_lost: int = 0
    terminate_at: float | None = None
    machine_error: float = 0.0
    list_everything: bool = False
    quiet_seconds: float = 0.0

    @property
    def is_troubled(self) -> bool:
        """Whether something may make the run fail, or end it otherwise than by itself."""
        kills = (
            self.kill_tap_at, self.kill_tap_at_preview, self.kill_target_at, self.kill_all_at, self.terminate_at,
            self.follow_seconds,
        )  # fmt: skip
        return bool(self.wire_faults or self.statement_faults or self.commit_faults or self.database_away) or kills != (
            None,
        ) * len(kills)


@dataclass(frozen=True, kw_only=True)
class ProxyPhase:
    """What goes wrong with the proxy in a run. Moments are seconds from its beginning.

    Attributes:
        statement_faults: What goes wrong before which statement of the proxy's.
        commit_faults: What goes wrong with which commit.
        away_from: When the database stops answering it.
        away_seconds: For how long.
        kill_at: SIGKILL.
        down_seconds: How long it is down then.
    """

    statement_faults: dict[int, str] = field(default_factory=dict)
    commit_faults: dict[int, str] = field(default_factory=dict)
    away_from: float = 0.0
    away_seconds: float = 0.0
    kill_at: float | None = None
    down_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ProxyPlan:
    """A proxy, and what passes through it.

    Attributes:
        calls: How many requests of callers there are for each move of the account.
        reading: The share of these that only read.
        past: The share that goes past the proxy.
        old: The share that asks for an old API version.
        repeated: The share that is sent once more, later, with the same idempotency key.
        unknown: The share of a key that may not say whose it is.
        same: The share that is about an object that a request was about just before.
        has_key: The proxy has a key of its own, to read again.
        gather_seconds: How long it takes from an answer to the transaction, on average.
        commit_seconds: How long it takes to get one, on average.
        kill_share: The share of answers after which it is killed before they are stored.
        wait_every: How often somebody waits until all is in, in seconds, on average; 0: never.
        phases: What goes wrong with it, for each run.
    """

    calls: float
    reading: float
    past: float
    old: float
    repeated: float
    unknown: float
    same: float
    has_key: bool
    gather_seconds: float
    commit_seconds: float
    kill_share: float
    wait_every: float
    phases: tuple[ProxyPhase, ...]


@dataclass(frozen=True, kw_only=True)
class PreviewPlan:
    """Upcoming invoices, which Stripe computes on request.

    Attributes:
        selected: The kinds whose streams are selected.
        tap_settings: How they are asked for.
        usage: How many reports of usage, of which nothing tells, there are for each move of the account.
        refused: The share of them that Stripe refuses with 400, for each run.
    """

    selected: frozenset[str]
    tap_settings: dict[str, Any]
    usage: float
    refused: tuple[float, ...]

    @property
    def readable(self) -> frozenset[str]:
        """The kinds that can be asked for in the way that the settings say."""
        none, by_subscription = frozenset[str](), self.selected - {CUSTOMER_PREVIEW}
        return {"upcoming": self.selected, "create_preview": by_subscription, "off": none}[
            self.tap_settings["upcoming_api"]
        ]

    @property
    def refresh_seconds(self) -> int:
        """After how long each has been computed anew."""
        return int(self.tap_settings["upcoming_refresh_seconds"])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole simulation.

    Attributes:
        seed: Where it comes from.
        account: Which account it begins with.
        selected: The object types whose streams are selected.
        changing: The object types in which things happen.
        silent: Whether things change that Stripe does not announce.
        feed: How the feed treats events: the sandbox's settings.
        tap_settings: The tap's.
        target_settings: The target's.
        way_seconds: How long a request is on its way, on average, each way.
        phases: One after another; then everything has to converge.
        proxy: The proxy; None: there is none.
        previews: Upcoming invoices; None: their streams are not selected.
    """

    seed: int
    account: int
    selected: frozenset[str]
    changing: frozenset[str]
    silent: bool
    feed: dict[str, Any]
    tap_settings: dict[str, Any]
    target_settings: dict[str, Any]
    way_seconds: float
    phases: tuple[Phase, ...]
    proxy: ProxyPlan | None = None
    previews: PreviewPlan | None = None

    @property
    def is_refused_at_times(self) -> bool:
        """Whether some types cannot be read for a while."""
        return any(each.refused or each.not_set_up for each in self.phases)

    @property
    def refuses_previews(self) -> bool:
        """Whether upcoming invoices, or what they are computed from, cannot be read for a while."""
        denied = any(each.refused & NAMED_BY_PREVIEWS for each in self.phases)
        return denied or (self.previews is not None and any(self.previews.refused))

    @property
    def has_gaps(self) -> bool:
        """Whether the pipe stands still for longer than the feed remembers."""
        return any(each.quiet_seconds > 25 * DAY for each in self.phases)


def make_plan(seed: int) -> Plan:
    """Draw a plan."""
    random = Random(f"plan {seed}")
    account = random.choices(range(ACCOUNTS), (6, 6, 5, 1))[0]
    # Without them, what hangs on test clocks is not found, and so no listing in test mode proves what is gone.
    selected = _selected(random) | ({TEST_CLOCK, "customer"} if account == WITH_TEST_CLOCKS else {TEST_CLOCK})
    others = set(random.sample(sorted(STRIPE_OBJECTS), random.randrange(8)))
    plan = Plan(
        seed=seed,
        account=account,
        selected=selected,
        changing=selected | others if account == WITH_TEST_CLOCKS else (selected | others) - {TEST_CLOCK},
        silent=random.random() < 0.5,
        feed=_feed(random),
        tap_settings=_tap_settings(random),
        target_settings={
            "hard_delete": random.random() < 0.5,
            "batch_size_rows": random.choice((1, 7, 100, 10_000, 10_000, 10_000)),
        },
        way_seconds=random.choice((0.001, 0.01, 0.05, 0.15)),
        phases=_in_use(tuple(_phase(random, selected) for _ in range(random.choice((1, 2, 2, 3, 4))))),
    )
    random = Random(f"proxy {seed}")
    proxy = _proxy(random, len(plan.phases))
    # Waits for a request need the events.
    events = {"event"} if proxy is not None and random.random() < 0.4 else frozenset[str]()
    plan = replace(plan, proxy=proxy, selected=plan.selected | events)
    return _with_previews(Random(f"previews {seed}"), plan)


def _with_previews(random: Random, plan: Plan) -> Plan:
    """Three in ten simulations read upcoming invoices, and something happens in what these are computed from."""
    if random.random() < 0.7:
        return plan
    refuses = random.random() < 0.4
    previews = PreviewPlan(
        selected=frozenset(random.choice((sorted(PREVIEWS), sorted(PREVIEWS), *([each] for each in PREVIEWS)))),
        tap_settings={
            "upcoming_api": random.choice(("upcoming",) * 6 + ("create_preview",) * 3 + ("off",)),
            "upcoming_refresh_seconds": random.choice((60, 600, HOUR, DAY, DAY)),
        },
        usage=random.choice((0.0, 0.0, 0.3)),
        refused=tuple(random.choice((0.0, 0.0, 0.3, 1.0)) * refuses for _ in plan.phases),
    )
    denied = [random.random() < 0.2 * refuses for _ in plan.phases]  # the permission is that of invoices
    kills = [random.randint(1, 30) if random.random() < 0.3 else None for _ in plan.phases]
    return replace(
        plan,
        changing=plan.changing | BILLED,
        silent=plan.silent and previews.usage > 0,  # else events tell of all that upcoming invoices are computed from
        previews=previews,
        phases=tuple(
            replace(phase, refused=phase.refused | ({"invoice"} if refused else set()), kill_tap_at_preview=kill)
            for phase, refused, kill in zip(plan.phases, denied, kills, strict=True)
        ),
    )


def _selected(random: Random) -> frozenset[str]:
    """Mostly some types that people look at and some others, seldom all."""
    if random.random() < 0.004:
        return frozenset(STRIPE_OBJECTS)
    popular = random.sample(POPULAR, random.randint(0, 6))
    others = random.sample(sorted(STRIPE_OBJECTS), random.randint(1, 6))
    return _with_parents({*popular, *others})


def _children(name: str) -> frozenset[str]:
    """The types of which an object has lists of its own, and a customer's discount, which no list shows."""
    lists = (each for _, each in asks_of(name) if each.owned and each.parent == name)
    discounts = {"discount"} if name == "customer" else set()
    return frozenset(child for each in lists for child in each.objects) | discounts


def _with_parents(selected: set[str]) -> frozenset[str]:
    """With those whose lists, or whose end, say which children are gone: without them, only sweeps do, if any."""
    while True:
        owners = {name for name in STRIPE_OBJECTS if selected & _children(name)}
        if owners <= selected:
            return frozenset(selected)
        selected = selected | owners


def _feed(random: Random) -> dict[str, Any]:
    """Half of the feeds are well-behaved."""
    if random.random() < 0.5:
        return {}
    return {
        "late_share": random.choice((0.0, 0.1, 0.4)),
        "late_seconds": random.choice((2, 20, 55)),
        "old_share": random.choice((0.0, 0.0, 0.2, 1.0)),
    }


def _tap_settings(random: Random) -> dict[str, Any]:
    return {
        "sweep_interval_hours": random.choice((0, 1, 24, 24)),
        "full_sweep_interval_days": random.choice((0, 1, 7, 7)),
        "requests_per_second": random.choice((5, 20, 100, 1_000)),
        "endpoint_requests_per_second": random.choice((5, 25, 1_000)),
        "max_concurrent_requests": random.choice((1, 4, 16)),
        "poll_interval_ms": random.choice((100, 500, 2_000)),
    }


def _phase(random: Random, selected: frozenset[str]) -> Phase:
    follows = random.random() < 0.35
    trouble = random.choice(("none", "wire", "database", "kill", "kill", "refusal", "clock", "all"))

    def has(kind: str) -> bool:
        return trouble == kind or (trouble == "all" and random.random() < 0.4)

    values: dict[str, Any] = {
        "follow_seconds": random.choice((5.0, 20.0, 60.0)) if follows else None,
        "changes_before": random.choice((0, 3, 15, 40)),
        "changes_a_second": random.choice((0.0, 1.0, 4.0)),
        "list_everything": random.random() < 0.15,
        "quiet_seconds": random.choice((0, 0, 1, 10, 130, HOUR, 26 * HOUR, 8 * DAY)),
    }
    if random.random() < 0.04:
        values["quiet_seconds"] = 32 * DAY
    if has("wire"):
        values |= _wire(random)
    if has("database"):
        values |= _database(random)
    if has("kill"):
        values |= _kill(random)
    if has("refusal"):
        values |= _refusal(random, selected)
    if has("clock"):
        values["machine_error"] = random.choice((-7_200.0, -3.0, 0.7, 90.0, 7_200.0))
    return Phase(**values)


def _in_use(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Products of which there are objects and events have been in use at first."""
    return (replace(phases[0], not_set_up=frozenset()), *phases[1:])


def _moment(random: Random) -> float:
    """Some moment of a run: at its beginning as often as much later."""
    return float(10 ** random.uniform(-2, 1.5))


def _wire(random: Random) -> dict[str, Any]:
    faults = tuple(
        WireFault(
            kind=kind,
            path=random.choice(("/v1/", "/v1/", "/v1/events", "/v1/c", "/v1/i", "/v1/s")),
            probability=random.choice((0.05, 0.3, 1.0)),
            seconds=random.choice((1.0, 20.0, 100.0)),
            retry_after_seconds=random.choice((None, 1, 5)) if kind == "rate_limit" else None,
        )
        for kind in random.sample(WIRE_KINDS, random.randint(1, 3))
    )
    begin = random.choice((0.0, _moment(random)))
    return {
        "wire_faults": faults,
        "wire_from": begin,
        "wire_until": begin + random.choice((1.0, 10.0, 40.0, 600.0)),
    }


def _database(random: Random) -> dict[str, Any]:
    kind = random.choice(("statement", "statement", "commit", "commit", "away"))
    number = int(10 ** random.uniform(0, 2.3))
    if kind == "statement":
        return {"statement_faults": {number: random.choice(("lost", "killed", "disk_full", "deadlock"))}}
    if kind == "commit":
        return {"commit_faults": {random.choice((1, 2, 3, number)): random.choice(("lost", "killed", "disk_full"))}}
    return {"database_away": True}


def _kill(random: Random) -> dict[str, Any]:
    which = random.choice(("kill_tap_at", "kill_target_at", "kill_all_at", "terminate_at"))
    return {which: _moment(random), "states_lost": random.choice((0, 0, 1, 3, 100)) if which == "kill_all_at" else 0}


def _refusal(random: Random, selected: frozenset[str]) -> dict[str, Any]:
    types = sorted(selected - MUST_BE_READ)
    refused = frozenset(random.sample(types, random.randint(1, min(3, len(types))))) if types else frozenset()
    if random.random() < 0.3:
        return {"not_set_up": frozenset(random.sample(sorted(PRODUCTS), 2))}
    if random.random() < 0.2:
        refused |= {"event"}
    return {"refused": refused}


def _proxy(random: Random, phases: int) -> ProxyPlan | None:
    """Half of the simulations have one."""
    if random.random() < 0.5:
        return None
    return ProxyPlan(
        calls=random.choice((0.1, 0.5, 1.0, 2.0)),
        reading=random.choice((0.0, 0.2, 0.5)),
        past=random.choice((0.0, 0.2)),
        old=random.choice((0.0, 0.0, 0.2, 1.0)),
        repeated=random.choice((0.0, 0.1, 0.3)),
        unknown=random.choice((0.0, 0.0, 0.1)),
        same=random.choice((0.0, 0.3, 0.7)),
        has_key=random.random() < 0.85,
        gather_seconds=random.choice((0.001, 0.001, 0.02, 0.3)),
        commit_seconds=random.choice((0.001, 0.01, 0.2, 1.5)),
        kill_share=random.choice((0.0, 0.0, 0.02)),
        wait_every=random.choice((0.0, 1.0, 5.0)),
        phases=tuple(_proxy_phase(random) for _ in range(phases)),
    )


def _proxy_phase(random: Random) -> ProxyPhase:
    match random.choice(("none", "none", "statement", "commit", "away", "kill")):
        case "statement":
            kinds = ("lost", "killed", "disk_full", "deadlock")
            return ProxyPhase(statement_faults={int(10 ** random.uniform(0, 2.3)): random.choice(kinds)})
        case "commit":
            kind = random.choice(("lost", "killed", "disk_full"))
            return ProxyPhase(commit_faults={int(10 ** random.uniform(0, 1.3)): kind})
        case "away":
            return ProxyPhase(away_from=_moment(random), away_seconds=random.choice((0.5, 5.0, 1_000.0)))
        case "kill":
            return ProxyPhase(kill_at=_moment(random), down_seconds=random.choice((0.5, 5.0)))
    return ProxyPhase()
