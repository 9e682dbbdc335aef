"""Following: polls at an interval, and lists between them, on a clock that moves when somebody waits."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from replica import DAY, Replica
from stand_in import EVENTS, NO_PERMISSION, NOW, MovingStripe

from tap_stripe_events.clock import iso
from tap_stripe_events.plan import Rhythm
from tap_stripe_events.sync import Checkpoint, Delivery, Pace

HOUR = 3_600
OLD_VERSION = "2020-08-27"
RARELY = Rhythm(sweep_seconds=365 * DAY, full_sweep_seconds=365 * DAY)
HALF_A_SECOND = Pace(poll_seconds=0.5, rhythm=RARELY)
EVERY_MINUTE = Pace(poll_seconds=60.0, rhythm=RARELY)


class Followed:
    """An account that is followed, and when what came of it."""

    def __init__(
        self,
        lists: dict[str, Any],
        *selected: str,
        pace: Pace = HALF_A_SECOND,
        latency: float = 0.02,
        livemode: bool = True,
        refusals: dict[str, tuple[int, str]] | None = None,
    ) -> None:
        self.stripe = MovingStripe(lists, latency=latency, in_flight=4)
        self.stripe.refusals = refusals or {}
        self.replica = Replica(livemode=livemode)
        self._selected, self._pace = selected, pace
        self.checkpoints: list[float] = []
        self.arrived: dict[tuple[str, str], float] = {}  # stream and id → when it came first
        self._pending: list[Any] = []
        self.begin()
        self.stripe.asked_at.clear()
        self.checkpoints.clear()
        self.arrived.clear()

    def begin(self) -> None:
        """Begin a run with the state of the last one, and let it come to where it follows."""
        self.run, self.state = self.replica.begin(
            self.stripe, *self._selected, pace=self._pace, clock=self.stripe.clock
        )
        for item in self.run.until_caught_up():
            self._take(item)
        self.began = self.stripe.clock.seconds

    def _take(self, item: Any) -> None:
        now = self.stripe.clock.seconds
        if isinstance(item, Checkpoint):
            self.checkpoints.append(now)
            if self.run._bookmarks.stamp(now):  # else no STATE is written, and nothing is covered by it
                self.replica.keep(self._pending, self.state)
            return
        self._pending.append(item)
        if isinstance(item, Delivery):
            for change in item.changes:
                self.arrived.setdefault((item.stream, str(change.record.get("id"))), now)

    def after(self, seconds: float, happens: Callable[[], Any]) -> None:
        self.stripe.at(self.began + seconds, happens)

    def go_on(self, seconds: float) -> None:
        """Follow until so many seconds after the beginning, and end."""
        self.after(seconds, lambda: self.run.stop(0))
        for item in self.run.follow():
            self._take(item)

    def asked(self, path: str) -> list[float]:
        """Return when the first page of a list was asked for, from the beginning of following on."""
        return [
            seconds - self.began
            for seconds, request in self.stripe.asked_at
            if request.path == path and "starting_after" not in request.parameters
        ]


def coupons(count: int) -> list[dict[str, Any]]:
    return [{"id": f"c_{each}", "object": "coupon", "created": NOW - DAY - each} for each in range(count)]


def product(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"prod_{number}", "object": "product", "created": NOW, **fields}


def gaps(moments: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(moments)]


# Polls


def test_an_idle_account_is_polled_at_its_interval_with_one_request_each() -> None:
    followed = Followed({"/v1/products": []}, "product")
    followed.go_on(60.0)
    polls = followed.asked(EVENTS)
    assert 115 <= len(polls) <= 121
    assert all(0.45 < each < 0.6 for each in gaps(polls))
    assert len(followed.stripe.asked_at) == len(polls)


def test_the_interval_is_between_the_beginnings_of_two_polls() -> None:
    followed = Followed({"/v1/products": []}, "product", latency=0.3)
    followed.go_on(30.0)
    assert all(0.45 < each < 0.65 for each in gaps(followed.asked(EVENTS)))


def test_there_are_never_two_polls_at_once() -> None:
    followed = Followed({"/v1/products": []}, "product", latency=1.3)
    most = 0

    def count(_: Any) -> None:
        nonlocal most
        pages = [request for request, *_ in followed.stripe._waiting if request.path == EVENTS]
        most = max(most, len(pages) + 1)

    followed.stripe.before_answer = count
    followed.go_on(60.0)
    assert most == 1
    assert all(each > 1.29 for each in gaps(followed.asked(EVENTS)))


def test_a_change_arrives_with_the_next_poll_and_a_state_right_after_it() -> None:
    followed = Followed({"/v1/products": []}, "product")
    moments = [3.1, 8.72, 20.3, 20.4]
    for number, moment in enumerate(moments):
        followed.after(moment, lambda number=number: followed.stripe.announce("product.created", product(number)))
    followed.go_on(40.0)
    for number, moment in enumerate(moments):
        arrived = followed.arrived["product", f"prod_{number}"]
        assert 0 <= arrived - followed.began - moment <= 0.6
        assert min(each - arrived for each in followed.checkpoints if each >= arrived) < 0.2
    assert len(followed.replica.ids("product")) == 4


def test_an_idle_state_is_written_every_ten_seconds_and_says_how_far_it_got() -> None:
    followed = Followed({"/v1/products": []}, "product")
    followed.go_on(120.0)
    assert 10 <= len(followed.checkpoints) <= 13
    assert all(9.9 <= each <= 11 for each in gaps(followed.checkpoints))
    assert followed.replica.bookmark("product")["events_as_of"] >= iso(NOW + 100)


def test_whoever_wishes_is_told_at_once_how_far_it_is() -> None:
    wishes = [False]

    def wished() -> bool:
        found, wishes[0] = wishes[0], False
        return found

    followed = Followed({"/v1/products": []}, "product", pace=replace(HALF_A_SECOND, wished=wished))
    followed.after(3.1, lambda: wishes.__setitem__(0, True))
    followed.go_on(5.0)
    told = [each for each in followed.checkpoints if each >= followed.began + 3.1]
    assert told
    assert told[0] - followed.began - 3.1 < 0.8
    assert followed.replica.bookmark("product")["events_as_of"] >= iso(NOW + int(followed.began + 3.1))


def test_the_whole_lookback_is_read_every_ten_seconds_for_what_shows_late() -> None:
    followed = Followed({"/v1/products": []}, "product")

    def many() -> None:
        for number in range(250):
            followed.stripe.announce("product.created", product(number))

    def late() -> None:
        """Announce what is listed two pages below the newest events."""
        created = followed.stripe.clock.second() - 10
        followed.stripe.announce("product.created", product(999), created=created)

    followed.after(4.0, lambda: followed.stripe.announce("product.created", product(1000), late_by=20))
    followed.after(8.0, many)
    followed.after(14.0, late)
    followed.go_on(60.0)
    assert {"prod_999", "prod_1000"} <= followed.replica.ids("product")
    assert followed.arrived["product", "prod_999"] - followed.began < 14.0 + 11.0
    assert followed.arrived["product", "prod_1000"] - followed.began < 24.0 + 11.0
    pages = [request for _, request in followed.stripe.asked_at if request.path == EVENTS]
    assert len(pages) < 60 / 0.5 + 3 + 7 * 3 + 5


def test_an_object_that_takes_long_to_read_again_does_not_keep_others_waiting() -> None:
    followed = Followed({"/v1/products": [product(1)]}, "product")
    followed.stripe.held.add("/v1/products/prod_1")
    followed.after(1.0, lambda: followed.stripe.announce("product.updated", product(1), version=OLD_VERSION))
    followed.after(5.0, lambda: followed.stripe.announce("product.created", product(2)))
    followed.after(20.0, followed.stripe.held.clear)
    followed.go_on(35.0)
    assert followed.arrived["product", "prod_2"] - followed.began < 5.7
    assert followed.arrived["product", "prod_1"] - followed.began >= 20.0
    assert followed.replica.bookmark("product")["events_as_of"] >= iso(NOW + 25)


def test_a_thousand_objects_that_must_be_read_again_do_not_keep_the_news_waiting() -> None:
    lists = {"/v1/products": [product(number) for number in range(1000)], "/v1/coupons": []}
    followed = Followed(lists, "product", "coupon", latency=0.05)

    def import_products() -> None:
        for number in range(1000):
            followed.stripe.announce("product.updated", product(number), version=OLD_VERSION)

    followed.after(5.0, import_products)
    followed.after(10.0, lambda: followed.stripe.announce("coupon.created", coupons(1)[0]))
    followed.go_on(90.0)
    assert followed.arrived["coupon", "c_0"] - followed.began < 11.0
    assert max(followed.arrived["product", f"prod_{number}"] for number in range(1000)) - followed.began > 40.0


def test_a_run_that_begins_anew_does_not_keep_the_news_waiting_either() -> None:
    """What happened while it was away is a thousand objects to read again, which takes most of a minute."""
    lists = {"/v1/products": [product(number) for number in range(1000)], "/v1/coupons": []}
    followed = Followed(lists, "product", "coupon", latency=0.05)
    for number in range(1000):
        followed.stripe.announce("product.updated", product(number), version=OLD_VERSION)
    made = followed.stripe.clock.seconds + 5.0
    followed.stripe.at(made, lambda: followed.stripe.announce("coupon.created", coupons(1)[0]))
    followed.begin()
    followed.go_on(90.0)
    assert followed.arrived["coupon", "c_0"] - made < 2.0
    assert max(followed.arrived["product", f"prod_{number}"] for number in range(1000)) - made > 20.0
    assert followed.replica.bookmark("product")["events_as_of"] > iso(int(made))


def test_a_stop_ends_it_within_a_second_and_nothing_more_is_delivered() -> None:
    followed = Followed({"/v1/products": []}, "product")

    def stop() -> None:
        followed.run.stop(143)
        followed.stripe.announce("product.created", product(1))

    followed.after(7.3, stop)
    followed.go_on(1000.0)
    assert 7.3 <= followed.stripe.clock.seconds - followed.began <= 8.3
    assert followed.replica.ids("product") == set()
    assert followed.run.exit_code == 143


def test_a_stop_does_not_part_a_parent_from_its_children() -> None:
    followed = Followed({"/v1/invoices": []}, "invoice", "line_item")
    lines = {"object": "list", "has_more": False, "data": [{"id": "il_1", "object": "line_item"}]}
    invoice = {"id": "in_1", "object": "invoice", "created": NOW, "lines": lines}
    followed.after(5.0, lambda: followed.stripe.announce("invoice.created", invoice))
    for item in followed.run.follow():
        followed._take(item)
        if isinstance(item, Delivery):
            followed.run.stop(143)
    assert set(followed.arrived) == {("line_item", "il_1"), ("invoice", "in_1")}


# Lists between polls


def test_a_listing_under_way_does_not_stop_the_polls() -> None:
    followed = Followed({"/v1/products": [], "/v1/coupons": coupons(10_000)}, "product", "coupon", latency=0.05)
    stream = followed.state["bookmarks"]["coupon"]

    def gap() -> None:
        stream["listing_due"] = "somebody wants it"

    followed.after(10.0, gap)
    followed.after(61.0, lambda: followed.stripe.announce("product.created", product(1)))
    followed.go_on(100.0)
    listed = followed.asked("/v1/coupons")
    pages = [seconds - followed.began for seconds, each in followed.stripe.asked_at if each.path == "/v1/coupons"]
    assert listed
    assert max(pages) - min(pages) > 3
    assert min(pages) < followed.arrived["product", "prod_1"] - followed.began < 62.5 < max(pages)
    during = [each for each in followed.asked(EVENTS) if min(pages) <= each <= max(pages)]
    assert len(during) > 5
    assert all(each < 1.0 for each in gaps(during))


def balance_transaction(number: int, status: str, created: int) -> dict[str, Any]:
    return {"id": f"txn_{number}", "object": "balance_transaction", "status": status, "created": created}


def test_lists_that_events_hint_at_are_read_at_most_every_five_seconds() -> None:
    lists: dict[str, Any] = {"/v1/charges": [], "/v1/balance_transactions": []}
    lists["/v1/balance"] = {"object": "balance", "available": []}
    followed = Followed(lists, "charge", "balance", "balance_transaction")

    def charge(number: int) -> None:
        created = followed.stripe.clock.second()
        lists["/v1/balance_transactions"].append(balance_transaction(number, "pending", created))
        lists["/v1/balance"] = {"object": "balance", "available": [{"amount": number}]}
        followed.stripe.announce("charge.succeeded", {"id": f"ch_{number}", "object": "charge", "created": created})

    for number in range(40):
        followed.after(5.0 + number, lambda number=number: charge(number))
    followed.go_on(60.0)
    for path in ("/v1/balance", "/v1/balance_transactions"):
        asked = followed.asked(path)
        assert 7 <= len(asked) <= 10
        assert all(each >= 4.9 for each in gaps(asked))
    assert len(followed.replica.ids("balance_transaction")) == 40
    assert followed.replica.values("balance", "available") == {"acct_1": [{"amount": 39}]}
    created = [
        each.parameters["created[gte]"] - NOW - int(seconds)
        for seconds, each in followed.stripe.asked_at
        if each.path == "/v1/balance_transactions"
    ]
    assert all(-75 < each <= -60 for each in created[1:])  # what was created since the last look, and the lookback


def test_they_are_read_even_if_a_poll_takes_longer_than_the_interval() -> None:
    lists: dict[str, Any] = {"/v1/charges": [], "/v1/balance_transactions": []}
    followed = Followed(lists, "charge", "balance_transaction", latency=0.7)

    def charge() -> None:
        lists["/v1/balance_transactions"].append(balance_transaction(1, "pending", NOW + 5))
        followed.stripe.announce("charge.succeeded", {"id": "ch_1", "object": "charge", "created": NOW + 5})

    followed.after(5.0, charge)
    followed.go_on(30.0)
    assert followed.arrived["balance_transaction", "txn_1"] - followed.began < 12.0


def test_they_are_read_while_a_sweep_of_the_same_lists_takes_long() -> None:
    old = [balance_transaction(number, "available", NOW - DAY - number) for number in range(20_000)]
    lists: dict[str, Any] = {"/v1/charges": [], "/v1/balance_transactions": old}
    followed = Followed(lists, "charge", "balance_transaction", latency=0.2)
    bookmark = followed.state["bookmarks"]["balance_transaction"]

    def charge() -> None:
        assert bookmark["listing_started_at"] is not None
        created = followed.stripe.clock.second()
        lists["/v1/balance_transactions"].append(balance_transaction(-1, "pending", created))
        followed.stripe.announce("charge.succeeded", {"id": "ch_1", "object": "charge", "created": created})

    followed.after(10.0, lambda: bookmark.update(listing_due="somebody wants it"))
    followed.after(65.0, charge)
    followed.go_on(80.0)
    assert bookmark["listing_started_at"] is not None
    assert followed.arrived["balance_transaction", "txn_-1"] - followed.began < 72.0


def pending_account() -> dict[str, Any]:
    transactions = [balance_transaction(each, "available", NOW - 90 * DAY) for each in range(3)]
    transactions += [balance_transaction(each, "pending", NOW - 5 * DAY + each) for each in range(3, 6)]
    return {"/v1/balance_transactions": transactions}


def settle(lists: dict[str, Any], *numbers: int) -> None:
    for each in lists["/v1/balance_transactions"]:
        if int(each["id"].split("_")[1]) in numbers:
            each["status"] = "available"


def test_what_was_pending_is_read_again_when_something_becomes_available() -> None:
    lists = pending_account()
    followed = Followed(lists, "balance_transaction")
    assert followed.state["bookmarks"]["balance_transaction"]["pending_from"] == iso(NOW - 5 * DAY + 3)
    followed.after(10.0, lambda: settle(lists, 3, 4))
    followed.after(11.0, lambda: followed.stripe.announce("balance.available", {"object": "balance"}))
    followed.go_on(30.0)
    assert list(followed.replica.values("balance_transaction", "status").values()).count("pending") == 1
    asked = [each.parameters for _, each in followed.stripe.asked_at if each.path == "/v1/balance_transactions"]
    assert [each["created[gte]"] for each in asked] == [NOW - 5 * DAY + 3]
    assert followed.replica.bookmark("balance_transaction")["pending_from"] == iso(NOW - 5 * DAY + 5)


def test_a_look_at_what_is_new_does_not_forget_what_is_pending() -> None:
    lists = pending_account()
    followed = Followed(lists, "balance_transaction")
    charge = {"id": "ch_1", "object": "charge", "created": NOW}
    followed.after(10.0, lambda: followed.stripe.announce("charge.succeeded", charge))
    followed.go_on(30.0)
    (asked,) = [each.parameters for _, each in followed.stripe.asked_at if each.path == "/v1/balance_transactions"]
    assert asked["created[gte]"] >= NOW - 61
    assert followed.replica.bookmark("balance_transaction")["pending_from"] == iso(NOW - 5 * DAY + 3)


def test_when_nothing_is_pending_any_more_no_look_goes_back_for_it() -> None:
    lists = pending_account()
    followed = Followed(lists, "balance_transaction")
    followed.after(10.0, lambda: settle(lists, 3, 4, 5))
    followed.after(11.0, lambda: followed.stripe.announce("balance.available", {"object": "balance"}))
    followed.after(40.0, lambda: followed.stripe.announce("balance.available", {"object": "balance"}))
    followed.go_on(60.0)
    asked = [each.parameters for _, each in followed.stripe.asked_at if each.path == "/v1/balance_transactions"]
    assert asked[1]["created[gte]"] >= NOW - 61
    assert "pending_from" not in followed.replica.bookmark("balance_transaction")


def test_what_was_pending_is_read_again_by_and_by_without_a_word() -> None:
    lists = pending_account()
    rhythm = Rhythm(sweep_seconds=6 * HOUR, full_sweep_seconds=365 * DAY)
    followed = Followed(lists, "balance_transaction", pace=replace(EVERY_MINUTE, rhythm=rhythm))
    followed.after(HOUR, lambda: settle(lists, 3, 4, 5))
    followed.go_on(13 * HOUR)
    assert set(followed.replica.values("balance_transaction", "status").values()) == {"available"}
    assert [round(each / HOUR) for each in followed.asked("/v1/balance_transactions")] == [6, 12]


def test_lists_are_swept_in_their_rhythm() -> None:
    domains = [{"id": "apftw_1", "object": "apple_pay_domain", "created": NOW}]
    lists: dict[str, Any] = {"/v1/apple_pay/domains": domains, "/v1/coupons": coupons(2)}
    rhythm = Rhythm(sweep_seconds=6 * HOUR, full_sweep_seconds=15 * HOUR)
    followed = Followed(lists, "apple_pay_domain", "coupon", pace=replace(EVERY_MINUTE, rhythm=rhythm))
    followed.after(HOUR, domains.clear)
    followed.after(2 * HOUR, lists["/v1/coupons"].pop)
    followed.go_on(8 * HOUR)
    assert followed.replica.ids("apple_pay_domain") == set()
    assert len(followed.replica.ids("coupon")) == 2  # nothing was announced, and it is not its turn yet
    assert [round(each / HOUR, 1) for each in followed.asked("/v1/apple_pay/domains")] == [6.0]
    assert followed.asked("/v1/coupons") == []


def test_a_full_sweep_finds_what_nobody_announced() -> None:
    lists: dict[str, Any] = {"/v1/coupons": coupons(2)}
    rhythm = Rhythm(sweep_seconds=6 * HOUR, full_sweep_seconds=15 * HOUR)
    followed = Followed(lists, "coupon", pace=replace(EVERY_MINUTE, rhythm=rhythm))
    followed.after(2 * HOUR, lists["/v1/coupons"].pop)
    followed.go_on(16 * HOUR)
    assert followed.replica.ids("coupon") == {"c_0"}
    assert [round(each / HOUR, 1) for each in followed.asked("/v1/coupons")] == [15.0]


def test_when_a_test_clock_is_deleted_what_hung_on_it_is_looked_for() -> None:
    clock = {"id": "clock_1", "object": "test_helpers.test_clock", "created": NOW}
    lists: dict[str, Any] = {
        "/v1/test_helpers/test_clocks": [clock],
        "/v1/customers": [{"id": "cus_1", "object": "customer", "created": NOW, "test_clock": "clock_1"}],
        "/v1/coupons": coupons(2),
    }
    followed = Followed(lists, "customer", "coupon", "test_helpers.test_clock", livemode=False)
    assert followed.replica.ids("customer") == {"cus_1"}

    def delete() -> None:
        lists.update({"/v1/test_helpers/test_clocks": [], "/v1/customers": []})
        followed.stripe.announce("test_helpers.test_clock.deleted", clock)

    followed.after(5.0, delete)
    followed.go_on(30.0)
    assert followed.replica.ids("customer") == followed.replica.ids("test_helpers_test_clock") == set()
    assert followed.asked("/v1/coupons") == []


# Refusals


def test_a_stream_that_is_refused_comes_back_with_all_that_happened_meanwhile() -> None:
    """It takes longer to list than the lookback is, so that nothing but its own bookmark tells from when to read."""
    lists: dict[str, Any] = {"/v1/coupons": coupons(4000), "/v1/products": []}
    followed = Followed(lists, "coupon", "product", latency=0.02)
    stripe = followed.stripe
    began = followed.began

    def refuse() -> None:
        stripe.refusals.update(dict.fromkeys(("/v1/coupons", "/v1/coupons/c_0"), NO_PERMISSION))
        stripe.announce("coupon.updated", lists["/v1/coupons"][0], version=OLD_VERSION)

    def allow() -> None:
        stripe.refusals.clear()
        stripe.latency = 4.0

    def change() -> None:
        lists["/v1/coupons"][0] = {**lists["/v1/coupons"][0], "name": "new"}
        stripe.announce("coupon.updated", lists["/v1/coupons"][0])

    def newest_is_read(request: Any) -> None:
        if request.path == "/v1/coupons" and "starting_after" in request.parameters and not stripe.refusals:
            stripe.before_answer = lambda _: None
            change()

    followed.after(5.0, refuse)
    followed.after(8.0, lambda: stripe.announce("product.created", product(1)))
    followed.after(10.0, allow)
    stripe.before_answer = newest_is_read
    followed.after(11.0, lambda: stripe.announce("product.created", product(2)))
    followed.go_on(600.0)
    assert began < followed.arrived["product", "prod_1"] < began + 9
    assert followed.replica.values("coupon", "name")["c_0"] == "new"
    assert "denied" not in followed.replica.bookmark("coupon")
    assert len(followed.replica.ids("coupon")) == 4000


def test_a_feed_that_is_refused_is_tried_again_and_lists_tell_meanwhile() -> None:
    lists: dict[str, Any] = {"/v1/coupons": coupons(2)}
    rhythm = Rhythm(sweep_seconds=HOUR, full_sweep_seconds=7 * DAY)
    followed = Followed(lists, "coupon", pace=replace(EVERY_MINUTE, rhythm=rhythm))
    followed.stripe.refusals[EVENTS] = NO_PERMISSION
    followed.after(HOUR / 2, lists["/v1/coupons"].pop)
    followed.go_on(2 * HOUR)
    assert len(followed.replica.ids("coupon")) == 1
    polls = followed.asked(EVENTS)
    assert 8 <= len(polls) <= 13
    assert all(each >= 599 for each in gaps(polls))


@pytest.mark.parametrize("pace", [HALF_A_SECOND, replace(HALF_A_SECOND, lookback_seconds=5)])
def test_days_of_following_do_not_fill_the_memory(pace: Pace) -> None:
    followed = Followed({"/v1/products": []}, "product", pace=pace)
    for second in range(600):
        followed.after(
            float(second), lambda second=second: followed.stripe.announce("product.updated", product(second % 200))
        )
    followed.go_on(600.0)
    feed = followed.run._feed
    assert len(feed._lookback) <= pace.lookback_seconds + 15
    assert not feed._units
    assert not feed._in_order
    assert not feed._ends


@pytest.mark.parametrize("moment", [2.0, 2.2, 2.4, 2.6, 2.8])
def test_what_was_read_again_is_covered_by_a_state_at_once(moment: float) -> None:
    """The poll that told of it was over before, and may have moved the bookmarks as far as they go in this second."""
    lists = {"/v1/coupons": coupons(1)}
    followed = Followed(lists, "coupon", latency=0.1)
    new = {**lists["/v1/coupons"][0], "name": "New"}

    def happens() -> None:
        lists["/v1/coupons"][0] = new
        followed.stripe.announce("coupon.updated", new, version=OLD_VERSION)

    followed.after(moment, happens)
    followed.go_on(moment + 2)
    assert followed.replica.values("coupon", "name") == {"c_0": "New"}


def test_a_run_that_may_follow_nothing_waits_between_its_looks():
    followed = Followed({EVENTS: []}, "coupon", refusals={"/v1/coupons": NO_PERMISSION})
    before = followed.stripe.looks
    followed.go_on(60)
    assert followed.stripe.looks - before < 60 * 10
