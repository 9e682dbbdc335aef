"""One run over several accounts: what one brings, is refused or fails at is its own, and all share one budget."""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from replica import DAY
from stand_in import EVENTS, NOW, MovingStripe

from tap_stripe_events.accounts import AccountsRun, Wanted, wanted_accounts
from tap_stripe_events.bookmarks import AccountsBookmarks, Bookmarks, check_kind
from tap_stripe_events.changes import ACCOUNT_ID
from tap_stripe_events.client import Answer, Request
from tap_stripe_events.clock import iso
from tap_stripe_events.errors import (
    AccountsFailedError,
    AccountsUnknownError,
    KeyRefusedError,
    OtherKindOfStateError,
    RetriesSpentError,
    TapError,
    WrongSettingError,
)
from tap_stripe_events.limits import Verdict
from tap_stripe_events.listing import Activate
from tap_stripe_events.plan import Rhythm
from tap_stripe_events.sync import Checkpoint, Delivery, Pace, Run

if TYPE_CHECKING:
    from tap_stripe_events.flight import Flight

OWN = "acct_own"
SELDOM = Rhythm(sweep_seconds=30 * DAY, full_sweep_seconds=30 * DAY)
LINES = [{"id": f"il_{each}", "object": "line_item"} for each in range(150)]


def coupons(account: str, count: int = 3) -> list[dict[str, Any]]:
    return [
        {"id": f"c{each}", "object": "coupon", "created": NOW - 100 - each, "name": account} for each in range(count)
    ]


class PlatformStripe(MovingStripe):
    """A Stripe in which a request is about the account that it names."""

    def __init__(self, *accounts: str, in_flight: int = 16, **options: Any) -> None:
        super().__init__({}, in_flight=in_flight, **options)
        self.of: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.failures: dict[tuple[str, str], TapError] = {}  # account and path → how a request ends
        self.closed: set[str] = set()
        for account in (OWN, *accounts):
            self.open(account)

    def open(self, account: str) -> None:
        self.of[account] = {"/v1/coupons": coupons(account), "/v1/test_helpers/test_clocks": [], EVENTS: []}

    @property
    def connected(self) -> list[str]:
        return [each for each in self.of if each not in {OWN, *self.closed}]

    def about(self, account: str) -> PlatformStripe:
        """Turn to an account, to change it."""
        self.lists = self.of[account]
        return self

    def take(self, timeout: float) -> Answer | None:
        answer = super().take(timeout)
        failure = answer and self.failures.pop((answer.request.account or OWN, answer.request.path), None)
        if answer is not None and failure is not None:
            failure.request = answer.request
            raise failure
        return answer

    def get(self, request: Request) -> Answer:
        return self._answer(request)

    def _answer(self, request: Request) -> Answer:
        self._began = self.stripe_clock.second()
        account = request.account or OWN
        if account not in self.of or account in self.closed:
            message = f"The provided key does not have access to account '{account}'."
            return self._refused(request, 403, code="account_invalid", message=message)
        if request.path == "/v1/account":
            return self._taken(request, {"id": account, "object": "account"})
        if account == OWN:
            listed = [{"id": each, "object": "account", "created": NOW - 10} for each in self.connected]
            self.of[OWN]["/v1/accounts"] = listed
        self.lists = self.of[account]
        return super()._answer(request)

    def _found(self, path: str) -> Any:
        found = super()._found(path)
        return [] if found is None and path.count("/") == 2 else found  # an empty list, where none was made


class Platform:
    """The rows of several accounts, and runs that fill them."""

    def __init__(self, stripe: PlatformStripe, *selected: str, per_second: int = 100, follow: bool = False) -> None:
        self.stripe = stripe
        self.selected = selected or ("coupon",)
        self.per_second, self.follow = per_second, follow
        self.state: dict[str, Any] = {}
        self.rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.activated: list[tuple[str, str | None]] = []
        self.checkpoints: list[float] = []
        self.pieces: list[list[tuple[str, str]]] = [[]]  # between two checkpoints, account and stream of each record

    def begin(self, wanted: Wanted | None = None) -> AccountsRun:
        self.bookmarks = AccountsBookmarks(self.state, livemode=True)
        self.run = AccountsRun(
            client=self.stripe,  # type: ignore[arg-type]
            bookmarks=self.bookmarks,
            own_id=OWN,
            wanted=wanted or Wanted(ids=None),
            streams=self.selected,
            make_run=self._run,
            requests_per_second=self.per_second,
            follows=self.follow,
            clock=self.stripe.clock,
        )
        return self.run

    def _run(self, bookmarks: Bookmarks, flight: Flight, poll_seconds: float) -> Run:
        pace = Pace(poll_seconds=max(0.5, poll_seconds) if self.follow else None, rhythm=SELDOM, quiet=True)
        return Run(
            client=self.stripe, bookmarks=bookmarks, selected=self.selected, floor=None, pace=pace, flight=flight,
            clock=self.stripe.clock,
        )  # type: ignore[arg-type]  # fmt: skip

    def read(self, wanted: Wanted | None = None) -> None:
        """Run once."""
        for item in self.begin(wanted).until_caught_up():
            self.take(item)

    def take(self, item: Any) -> None:
        match item:
            case Checkpoint():
                self.checkpoints.append(self.stripe.clock.seconds)
                self.pieces.append([])
            case Activate():
                self.activated.append((item.stream, item.account))
            case Delivery():
                for record in (each.record for each in item.changes):
                    self.rows[record[ACCOUNT_ID], item.stream, record["id"]] = record
                    self.pieces[-1].append((record[ACCOUNT_ID], item.stream))

    def follow_for(self, seconds: float) -> None:
        self.stripe.at(self.stripe.clock.seconds + seconds, lambda: self.run.stop(0))
        for item in self.run.follow():
            self.take(item)

    def accounts(self) -> Counter[str]:
        """How many rows each account has."""
        return Counter(account for account, *_ in self.rows)


def test_every_account_is_read_with_bookmarks_of_its_own() -> None:
    stripe = PlatformStripe("acct_1", "acct_2")
    platform = Platform(stripe)
    platform.read()
    assert platform.accounts() == {OWN: 3, "acct_1": 3, "acct_2": 3}
    assert all(record["name"] == account for (account, *_), record in platform.rows.items())
    assert sorted(platform.activated) == [("coupon", each) for each in ("acct_1", "acct_2", OWN)]
    assert {*platform.state["accounts"]} == {OWN, "acct_1", "acct_2"}
    assert all(each["bookmarks"]["coupon"]["listed_at"] for each in platform.state["accounts"].values())


def test_the_next_run_reads_the_feed_of_each_and_no_list() -> None:
    stripe = PlatformStripe("acct_1")
    platform = Platform(stripe)
    platform.read()
    stripe.clock.sleep(100)
    changed = {**coupons("acct_1")[0], "name": "changed"}
    stripe.about("acct_1").announce("coupon.updated", changed)
    stripe.requests.clear()
    platform.read()
    assert platform.rows["acct_1", "coupon", "c0"]["name"] == "changed"
    assert platform.rows[OWN, "coupon", "c0"]["name"] == OWN
    assert {each.path for each in stripe.requests} == {"/v1/account", EVENTS}


def test_only_some_accounts_catch_up_at_once() -> None:
    stripe = PlatformStripe(*(f"acct_{each}" for each in range(60)), in_flight=4)
    platform = Platform(stripe)
    listed: list[str] = []
    open_at_once: list[int] = []

    def look(request: Request) -> None:
        if request.path == "/v1/coupons":
            listed.append(request.account or OWN)
        under_way = {*listed} - {account for _, account in platform.activated}
        open_at_once.append(len(under_way))

    stripe.before_answer = look
    platform.read()
    assert len(platform.accounts()) == 61
    assert max(open_at_once) <= 16


def test_no_account_waits_until_another_has_had_all_places_in_flight() -> None:
    """One with many pages does not hold up one with a single page."""
    stripe = PlatformStripe("acct_long", "acct_short", in_flight=1)
    stripe.of["acct_long"]["/v1/coupons"] = coupons("acct_long", 3_000)
    platform = Platform(stripe)
    platform.read()
    pages = [each.account or OWN for each in stripe.requests if each.path == "/v1/coupons"]
    assert pages.index("acct_short") < 8
    assert platform.accounts()["acct_long"] == 3_000


def test_a_run_that_is_cut_off_goes_on_in_every_account_where_it_was() -> None:
    """As after a kill: what the last STATE covers is kept, and the rest read again."""
    accounts = [f"acct_{each}" for each in range(4)]

    def stripe() -> PlatformStripe:
        made = PlatformStripe(*accounts, in_flight=4, latency=0.1)
        for account, lists in made.of.items():
            lists["/v1/coupons"] = coupons(account, 1_500)
        return made

    undisturbed, killed = Platform(stripe()), Platform(stripe())
    undisturbed.read()
    kept: dict[str, Any] = {}
    for item in killed.begin().until_caught_up():
        killed.take(item)
        if isinstance(item, Checkpoint):
            kept = copy.deepcopy(killed.state)
            rows = dict(killed.rows)
            if len(rows) > 3_000:
                break
    assert len(rows) < 5 * 1_500
    killed.state, killed.rows = kept, rows
    killed.read()
    assert killed.accounts() == undisturbed.accounts() == dict.fromkeys((OWN, *accounts), 1_500)
    # Their answers to whose they are come again, and what was in flight.
    assert len(killed.stripe.requests) < 1.2 * len(undisturbed.stripe.requests) + 2 * len(accounts)


def test_an_account_that_fails_is_named_and_stops_no_other() -> None:
    stripe = PlatformStripe("acct_1", "acct_2")
    stripe.failures["acct_1", "/v1/coupons"] = TapError()
    platform = Platform(stripe)
    with pytest.raises(AccountsFailedError, match=r"1 of 3 accounts.*acct_1: "):
        platform.read()
    assert platform.accounts() == {OWN: 3, "acct_2": 3}
    platform.read()
    assert platform.accounts() == {OWN: 3, "acct_1": 3, "acct_2": 3}


def test_a_key_that_is_refused_ends_the_run() -> None:
    stripe = PlatformStripe("acct_1")
    refused = KeyRefusedError(key="sk", status=401, code="x", request="req_1")
    stripe.failures["acct_1", "/v1/coupons"] = refused
    with pytest.raises(KeyRefusedError):
        Platform(stripe).read()


def test_a_stripe_that_answers_nobody_is_not_asked_for_every_account() -> None:
    accounts = [f"acct_{each}" for each in range(40)]
    stripe = PlatformStripe(*accounts, in_flight=1)
    for each in accounts:
        silent = RetriesSpentError(api_url="x", path="/", tries=9, seconds=70.0, reason="x")
        stripe.failures[each, "/v1/account"] = silent
    with pytest.raises(RetriesSpentError):
        Platform(stripe).read(Wanted(ids=tuple(accounts), own=False))
    assert len(stripe.failures) == len(accounts) - 3


def test_an_account_without_access_is_noted_and_goes_on_where_it_was() -> None:
    stripe = PlatformStripe("acct_1", "acct_2")
    platform = Platform(stripe, "coupon", "event")
    wanted = Wanted(ids=("acct_1", "acct_2"))
    platform.read(wanted)
    since = platform.state["accounts"]["acct_1"]["bookmarks"]["coupon"]["events_as_of"]
    stripe.closed.add("acct_1")
    stripe.clock.sleep(1_000)
    stripe.about("acct_1").announce("coupon.updated", {**coupons("x")[0], "name": "meanwhile"})
    platform.read(wanted)
    bookmark = platform.state["accounts"]["acct_1"]["bookmarks"]["coupon"]
    assert "does not have access" in bookmark["denied"]["reason"]
    assert bookmark["events_as_of"] == since
    assert "denied" not in platform.state["accounts"]["acct_2"]["bookmarks"]["coupon"]
    stripe.closed.clear()
    stripe.clock.sleep(1_000)
    stripe.requests.clear()
    platform.read(wanted)
    assert "denied" not in platform.state["accounts"]["acct_1"]["bookmarks"]["coupon"]
    assert "closed" not in platform.state["accounts"]["acct_1"]["account"]
    assert platform.rows["acct_1", "coupon", "c0"]["name"] == "meanwhile"
    assert "/v1/coupons" not in {each.path for each in stripe.requests}


def test_an_account_that_has_left_is_not_waited_for() -> None:
    stripe = PlatformStripe("acct_1")
    platform = Platform(stripe)
    platform.read()
    stripe.closed.add("acct_1")
    platform.read()
    assert platform.state["accounts"]["acct_1"]["bookmarks"]["coupon"]["selected"] is False
    stripe.closed.clear()
    platform.read()
    assert "selected" not in platform.state["accounts"]["acct_1"]["bookmarks"]["coupon"]


def test_the_own_account_can_be_left_out_later() -> None:
    stripe = PlatformStripe(*(f"acct_{each}" for each in range(150)))
    platform = Platform(stripe)
    platform.read()
    assert len(platform.accounts()) == 151
    platform.read(Wanted(ids=None, own=False))
    bookmarks = {account: each["bookmarks"]["coupon"] for account, each in platform.state["accounts"].items()}
    assert [account for account, each in bookmarks.items() if each.get("selected") is False] == [OWN]


def test_an_account_is_waited_for_before_it_is_its_turn() -> None:
    stripe = PlatformStripe(*(f"acct_{each}" for each in range(40)))
    platform = Platform(stripe)
    items = platform.begin().until_caught_up()
    assert isinstance(next(items), Checkpoint)
    kept = [each["bookmarks"]["coupon"]["kept_by"] for each in platform.state["accounts"].values()]
    assert kept == ["events"] * 41


def test_what_a_state_covers_are_whole_answers_of_every_account() -> None:
    accounts = [f"acct_{each}" for each in range(3)]
    stripe = PlatformStripe(*accounts)
    platform = Platform(stripe, "invoice", "line_item")
    for each in stripe.of.values():
        embedded = {"object": "list", "data": LINES[:10], "has_more": True}
        each["/v1/invoices"] = [
            {"id": f"in_{number}", "object": "invoice", "created": NOW - number, "lines": embedded}
            for number in range(40)
        ]
        each |= {f"/v1/invoices/in_{number}/lines": LINES for number in range(40)}
    platform.read()
    for piece in platform.pieces:
        counted = Counter(piece)
        for account in (OWN, *accounts):
            assert counted[account, "line_item"] == len(LINES) * counted[account, "invoice"]
    assert len(platform.pieces) > 2


def test_states_are_the_rarer_the_more_accounts_they_hold() -> None:
    stripe = PlatformStripe(*(f"acct_{each}" for each in range(200)), latency=0.01)
    platform = Platform(stripe)
    platform.read()
    gaps = [
        after - before for before, after in zip(platform.checkpoints[1:-1], platform.checkpoints[2:-1], strict=False)
    ]
    assert gaps
    assert min(gaps) >= 2.0


def test_all_accounts_are_followed_within_the_budget() -> None:
    stripe = PlatformStripe(*(f"acct_{each}" for each in range(29)), latency=0.001)
    platform = Platform(stripe, per_second=20, follow=True)
    platform.read()
    began = stripe.clock.seconds
    stripe.asked_at.clear()
    stripe.about("acct_7").at(began + 5, lambda: stripe.about("acct_7").announce("coupon.deleted", coupons("x")[1]))
    platform.follow_for(60)
    polls = Counter(request.account or OWN for _, request in stripe.asked_at if request.path == EVENTS)
    assert len(polls) == 30
    assert sum(polls.values()) <= 60 * 10 * 1.1  # half of the budget
    assert min(polls.values()) >= 15
    assert "_sdc_deleted_at" in platform.rows["acct_7", "coupon", "c1"]


def test_an_account_that_joins_is_read_once_it_is_heard_of() -> None:
    stripe = PlatformStripe("acct_1")
    platform = Platform(stripe, "account", "coupon", follow=True)
    platform.read()

    def join() -> None:
        stripe.open("acct_new")
        news = {"id": "acct_new", "object": "account", "created": NOW - 5}
        stripe.about(OWN).announce("account.updated", news)

    stripe.at(stripe.clock.seconds + 5, join)
    platform.follow_for(30)
    assert platform.rows["acct_new", "coupon", "c0"]["name"] == "acct_new"


def test_an_account_that_fails_while_it_is_followed_is_tried_again() -> None:
    stripe = PlatformStripe("acct_1")
    platform = Platform(stripe, follow=True)
    platform.read()
    stripe.failures["acct_1", EVENTS] = TapError()
    stripe.at(stripe.clock.seconds + 30, lambda: stripe.about("acct_1").announce("coupon.deleted", coupons("x")[0]))
    platform.follow_for(700)
    assert "_sdc_deleted_at" in platform.rows["acct_1", "coupon", "c0"]
    assert not stripe.failures


def test_the_accounts_have_to_be_known() -> None:
    stripe = PlatformStripe("acct_1")
    stripe.refusals["/v1/accounts"] = (403, "Having the 'rak_accounts_read' permission would allow this.")
    with pytest.raises(AccountsUnknownError, match="rak_accounts_read"):
        Platform(stripe).read()
    named = Platform(stripe)
    named.read(Wanted(ids=("acct_1",)))
    assert named.accounts() == {OWN: 3, "acct_1": 3}


def test_a_key_of_no_platform_has_its_own_account_alone() -> None:
    stripe = PlatformStripe()
    stripe.refusals["/v1/accounts"] = (400, "Only Stripe Connect platforms can work with other accounts.")
    platform = Platform(stripe)
    platform.read()
    assert platform.accounts() == {OWN: 3}
    assert stripe.get(Request(path="/v1/accounts", endpoint="/v1/accounts")).verdict is Verdict.NOT_SET_UP


def test_a_failed_run_leaves_a_state_that_another_goes_on_from() -> None:
    stripe = PlatformStripe("acct_1", "acct_2")
    platform = Platform(stripe)
    platform.read()
    state = copy.deepcopy(platform.state)
    assert platform.bookmarks.stamp(1_000.0)
    assert not platform.bookmarks.stamp(1_001.0)
    platform.bookmarks.of("acct_1").polled(NOW + 9)
    assert platform.bookmarks.stamp(NOW + 9)
    assert platform.state["polled_at"] == iso(NOW + 9)
    assert platform.state["written_at"] > state.get("written_at", "")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (False, None),
        ("false", None),
        ("", None),
        (True, Wanted(ids=None)),
        ("True", Wanted(ids=None)),
        ([], Wanted(ids=())),
        (["acct_1", "acct_1", "acct_2"], Wanted(ids=("acct_1", "acct_2"))),
        ('["acct_1"]', Wanted(ids=("acct_1",))),
        ("acct_1, acct_2", Wanted(ids=("acct_1", "acct_2"))),
    ],
)
def test_the_setting_is_false_true_or_a_list(setting: Any, expected: Wanted | None) -> None:
    assert wanted_accounts(setting, own=True) == expected


@pytest.mark.parametrize("setting", [["cus_1"], "yes", ["acct_1", ""], ["acct_1&x=1"], "{}"])
def test_what_is_no_account_is_said_so(setting: Any) -> None:
    with pytest.raises(WrongSettingError, match="connected_accounts"):
        wanted_accounts(setting, own=True)


def test_nobody_is_read_without_connected_accounts_and_without_the_own_one() -> None:
    with pytest.raises(WrongSettingError, match="own_account"):
        wanted_accounts(False, own=False)


def test_a_state_of_one_account_is_not_one_of_several() -> None:
    one = {"bookmarks": {"coupon": {"listed_at": "x"}}}
    several = {"accounts": {"acct_1": {}}}
    for state, is_several in ((one, False), (several, True), ({}, True), ({"bookmarks": {}}, True)):
        check_kind(state, several=is_several)
    with pytest.raises(OtherKindOfStateError, match="connected_accounts off, and now it is on"):
        check_kind(one, several=True)
    with pytest.raises(OtherKindOfStateError, match="connected_accounts on, and now it is off"):
        check_kind(several, several=False)
