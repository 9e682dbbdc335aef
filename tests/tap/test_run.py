"""Runs that read the feed and then what is due: which lists are read when, and that nothing falls between the two."""

import copy
import logging
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replica import DAY, EVERY_RUN, SELDOM, Replica
from stand_in import EVENTS, NO_PERMISSION, NOT_SET_UP, NOW, MovingClock, StandInStripe

from tap_stripe_events.clock import iso
from tap_stripe_events.listing import Activate
from tap_stripe_events.sync import Checkpoint, Delivery

OLD_VERSION = "2020-08-27"
ALL = ("charge", "coupon", "product", "event")


def account(count: int = 250) -> dict[str, Any]:
    """Return an account of some age; what happened in it is no event any more."""
    return {
        f"/v1/{name}s": [
            {"id": f"{name}_{number}", "object": name, "created": NOW - 100 * DAY - number} for number in range(count)
        ]
        for name in ("charge", "coupon", "product")
    }


class Account(StandInStripe):
    """An account in which things happen, that is known to a replica, run after run."""

    def at(self, second: int) -> "Account":
        self.stripe_clock.now = NOW + second
        self.requests.clear()
        return self

    def change(self, kind: str, number: int, **fields: Any) -> dict[str, Any]:
        """Change an object, or add it, and announce that."""
        path, identifier = f"/v1/{kind}s", f"{kind}_{number}"
        known = next((each for each in self.lists[path] if each["id"] == identifier), None)
        if known is None:
            known = {"id": identifier, "object": kind, "created": self.stripe_clock.second()}
            self.lists[path].append(known)
        known.update(fields)
        self.announce(f"{kind}.updated", known)
        return known

    def remove(self, name: str, number: int, *, announced: bool = True) -> None:
        path = f"/v1/{name}s"
        known = next(each for each in self.lists[path] if each["id"] == f"{name}_{number}")
        self.lists[path] = [each for each in self.lists[path] if each is not known]
        if announced:
            self.announce(f"{name}.deleted", known)

    def listed(self) -> set[str]:
        """Return the paths that were asked for, the feed's left out."""
        return {each.path for each in self.requests} - {EVENTS}


def read_once(*selected: str, livemode: bool = True, **lists: Any) -> tuple[Replica, Account]:
    """Return a replica of an account that was listed once."""
    stripe = Account({**account(), **lists})
    replica = Replica(livemode=livemode)
    assert replica.run(stripe.at(0), *(selected or ALL), pace=SELDOM)
    return replica, stripe


# The feed and the lists


def test_the_first_run_lists_and_the_next_reads_only_the_feed() -> None:
    replica, stripe = read_once()
    assert len(replica.ids("product")) == 250
    stripe.at(3600).change("product", 7, name="new")
    stripe.change("coupon", 999)
    stripe.remove("coupon", 1)
    stripe.stripe_clock.now += 1
    assert replica.run(stripe, *ALL, pace=SELDOM)
    assert stripe.listed() == set()
    assert replica.values("product", "name")["product_7"] == "new"
    assert replica.ids("coupon") == {f"coupon_{each}" for each in range(250) if each != 1} | {"coupon_999"}
    assert len(replica.ids("event")) == 3
    assert replica.bookmark("coupon")["events_as_of"] == iso(NOW + 3601)


def test_a_run_in_which_nothing_happened_costs_one_request() -> None:
    replica, stripe = read_once()
    assert replica.run(stripe.at(3600), *ALL, pace=SELDOM)
    assert [each.path for each in stripe.requests] == [EVENTS]


@pytest.mark.parametrize("after", [0, 3, 5, 7])
def test_what_changes_while_it_is_listed_arrives(after: int) -> None:
    stripe = Account(account())

    def meanwhile(_: Any) -> None:
        if len(stripe.requests) == after + 1:
            for name in ("product", "coupon"):
                stripe.change(name, 5, name="new")
                stripe.change(name, 999)
            stripe.remove("coupon", 100)
        stripe.stripe_clock.now += 1

    stripe.before_answer = meanwhile
    replica = Replica()
    assert replica.run(stripe.at(0), *ALL, pace=SELDOM)
    for name in ("product", "coupon"):
        assert replica.values(name, "name")[f"{name}_5"] == "new"
        assert f"{name}_999" in replica.ids(name)
    assert "coupon_100" not in replica.ids("coupon")


def test_what_was_read_again_last_is_covered_by_a_state() -> None:
    replica, stripe = read_once("coupon")
    for name in ("first", "second"):
        stripe.change("coupon", 1, name=name)  # a tie: the poll brings nothing, and what is read again comes after it
    replica.run(stripe, "coupon", pace=SELDOM, clock=MovingClock())  # too quick for a STATE in between
    assert replica.values("coupon", "name")["coupon_1"] == "second"


def test_a_newly_selected_stream_is_listed_alone() -> None:
    replica, stripe = read_once("charge", "coupon")
    stripe.at(3600).change("product", 999)
    assert replica.run(stripe, "charge", "coupon", "product", pace=SELDOM)
    assert stripe.listed() == {"/v1/products"}
    assert len(replica.ids("product")) == 251


def test_a_stream_that_was_left_out_for_a_while_goes_on_where_it_was() -> None:
    replica, stripe = read_once()
    stripe.at(DAY).change("product", 999)
    assert replica.run(stripe, "charge", "coupon", pace=SELDOM)
    assert "product_999" not in replica.ids("product")
    assert replica.run(stripe.at(2 * DAY), *ALL, pace=SELDOM)
    assert "product_999" in replica.ids("product")
    assert stripe.listed() == set()


def test_an_earlier_start_date_has_read_what_was_left_out_and_no_more_than_once() -> None:
    stripe, replica = Account(account()), Replica()
    floor = NOW - 100 * DAY - 99
    assert replica.run(stripe.at(0), *ALL, pace=SELDOM, floor=floor)
    assert len(replica.ids("charge")) == 100
    for second, start, listed in ((60, floor + 10, set()), (120, None, set(account())), (180, None, set())):
        assert replica.run(stripe.at(second), *ALL, pace=SELDOM, floor=start)
        assert stripe.listed() == listed
    assert len(replica.ids("charge")) == 250


def test_in_another_api_version_everything_is_listed_again_once() -> None:
    replica, stripe = read_once()
    assert replica.run(stripe.at(3600), *ALL, pace=SELDOM, api_version="2030-01-01.other")
    assert stripe.listed() == {"/v1/charges", "/v1/coupons", "/v1/products"}
    assert replica.run(stripe.at(7200), *ALL, pace=SELDOM, api_version="2030-01-01.other")
    assert stripe.listed() == set()


def test_a_reason_to_list_a_stream_outlives_a_run_that_leaves_the_stream_out() -> None:
    replica, stripe = read_once()
    replica.state["bookmarks"]["coupon"]["listing_due"] = "somebody wants it"
    stripe.at(60).remove("coupon", 3, announced=False)
    assert not replica.run(stripe, *ALL, pace=SELDOM, until=lambda each: each["coupon"]["listing_started_at"])
    assert replica.run(stripe.at(120), "charge", pace=SELDOM)
    assert stripe.listed() == set()
    assert replica.run(stripe.at(180), *ALL, pace=SELDOM)
    assert stripe.listed() == {"/v1/coupons"}
    assert len(replica.ids("coupon")) == 249
    assert "listing_due" not in replica.bookmark("coupon")


def test_a_gap_in_one_stream_has_that_stream_listed_again_and_what_is_gone_removed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    replica, stripe = read_once()
    replica.state["bookmarks"]["coupon"]["events_as_of"] = iso(NOW - 40 * DAY)
    stripe.at(60).remove("coupon", 3, announced=False)
    stripe.remove("charge", 3, announced=False)
    assert replica.run(stripe, *ALL, pace=SELDOM)
    assert stripe.listed() == {"/v1/coupons"}
    assert len(replica.ids("coupon")) == 249
    assert len(replica.ids("charge")) == 250
    assert "because its bookmark is older than the feed reaches back: coupon" in caplog.text


def test_after_more_than_the_feed_remembers_everything_is_listed_again() -> None:
    replica, stripe = read_once()
    stripe.at(10).change("product", 5, name="new")
    stripe.remove("coupon", 3)
    assert replica.run(stripe.at(40 * DAY), *ALL, pace=SELDOM)
    assert stripe.listed() == {"/v1/charges", "/v1/coupons", "/v1/products"}
    assert replica.values("product", "name")["product_5"] == "new"
    assert len(replica.ids("coupon")) == 249


def prices() -> list[dict[str, Any]]:
    """Two prices; of a price that is not listed nobody knows whether it is gone, or was made inline."""
    return [{"id": f"price_{n}", "object": "price", "active": True, "created": NOW - DAY - n} for n in (1, 2)]


def test_after_a_gap_events_tell_what_is_gone_where_no_list_can_as_far_as_they_reach() -> None:
    replica, stripe = read_once("price", **{"/v1/prices": prices()})
    stripe.at(35 * DAY).remove("price", 2)
    assert replica.run(stripe.at(40 * DAY), "price", pace=SELDOM)
    assert replica.ids("price") == {"price_1"}


def test_what_is_gone_while_a_stream_is_refused_is_noticed_where_no_list_can_tell() -> None:
    replica, stripe = read_once("price", **{"/v1/prices": prices()})
    for path in ("/v1/prices", "/v1/prices/price_1"):
        stripe.refusals[path] = NO_PERMISSION
    replica.run(stripe.at(DAY), "price", pace=EVERY_RUN)
    stripe.remove("price", 2)
    replica.run(stripe.at(2 * DAY), "price", pace=EVERY_RUN)
    stripe.refusals.clear()
    assert replica.run(stripe.at(3 * DAY), "price", pace=EVERY_RUN)
    assert replica.ids("price") == {"price_1"}


def test_a_bookmark_that_is_set_back_a_day_replays_and_changes_nothing() -> None:
    replica, stripe = read_once()
    for number in range(120):
        stripe.at(number).change("product", number % 9, name=str(number))
    stripe.change("coupon", 999)
    stripe.at(125).remove("coupon", 999)
    assert replica.run(stripe.at(200), *ALL, pace=SELDOM)
    before = copy.deepcopy(replica.rows)
    for each in replica.state["bookmarks"].values():
        each["events_as_of"] = iso(NOW - DAY)
    assert replica.run(stripe.at(300), *ALL, pace=SELDOM)
    assert {stream: rows for stream, rows in replica.rows.items() if stream != "event"} == {
        stream: rows for stream, rows in before.items() if stream != "event"
    }
    assert replica.ids("event") == set(before["event"])
    assert len(stripe.requests) >= 2


def test_what_is_compared_only_is_listed_without_the_feed() -> None:
    stripe = Account(account())
    run, _ = Replica().begin(stripe.at(0), "charge", "coupon", pace=EVERY_RUN, feed=False)
    items = list(run.until_caught_up())
    assert EVENTS not in {each.path for each in stripe.requests}
    assert {each.stream for each in items if isinstance(each, Activate)} == {"charge", "coupon"}
    deliveries = [each for each in items if isinstance(each, Delivery)]
    assert sum(len(each.changes) for each in deliveries) == 500
    assert None not in {each.version for each in deliveries}


def test_no_state_lies_between_a_parent_and_its_children() -> None:
    lines = [{"id": f"il_{each}", "object": "line_item"} for each in range(250)]
    embedded = {"object": "list", "data": lines[:10], "has_more": True}
    invoice = {"id": "in_1", "object": "invoice", "created": NOW, "lines": embedded}
    stripe = Account({"/v1/invoices": [], "/v1/invoices/in_1/lines": lines})
    replica = Replica()
    assert replica.run(stripe.at(0), "invoice", "line_item", pace=SELDOM)
    stripe.at(10).announce("invoice.created", invoice)
    run, _ = replica.begin(stripe.at(11), "invoice", "line_item", pace=SELDOM)
    pieces: list[set[str]] = [set()]
    for item in run.until_caught_up():
        if isinstance(item, Checkpoint):
            pieces.append(set())
        elif isinstance(item, Delivery):
            pieces[-1].add(item.stream)
    assert [each for each in pieces if each] == [{"invoice", "line_item"}]


# Refusals


def test_a_stream_that_is_refused_when_an_event_has_it_read_is_denied_and_comes_back() -> None:
    replica, stripe = read_once()
    stripe.refusals = dict.fromkeys(("/v1/coupons/coupon_5", "/v1/coupons"), NO_PERMISSION)
    known = stripe.at(60).change("coupon", 5, name="new")
    stripe.announce("coupon.updated", known, version=OLD_VERSION)
    stripe.change("product", 5, name="new")
    assert replica.run(stripe, *ALL, pace=SELDOM)
    assert "rak_some_read" in replica.bookmark("coupon")["denied"]["reason"]
    assert replica.values("product", "name")["product_5"] == "new"
    assert len(replica.ids("coupon")) == 250
    stripe.at(120).remove("coupon", 7)
    assert replica.run(stripe, *ALL, pace=SELDOM)
    assert len(replica.ids("coupon")) == 250
    stripe.refusals.clear()
    assert replica.run(stripe.at(180), *ALL, pace=SELDOM)
    assert "denied" not in replica.bookmark("coupon")
    assert replica.values("coupon", "name")["coupon_5"] == "new"
    assert "coupon_7" not in replica.ids("coupon")


@pytest.mark.parametrize("after", range(1, 16, 2))
def test_what_changes_while_a_stream_that_was_refused_is_listed_arrives(after: int) -> None:
    replica, stripe = read_once()
    stripe.refusals["/v1/coupons"] = NO_PERMISSION
    replica.state["bookmarks"]["coupon"]["listed_at"] = None
    assert replica.run(stripe.at(60), *ALL, pace=SELDOM)
    assert replica.bookmark("coupon")["denied"]
    stripe.refusals.clear()
    stripe.lists["/v1/coupons"] += [
        {"id": f"coupon_{each}", "object": "coupon", "created": NOW} for each in range(400, 1400)
    ]

    def meanwhile(_: Any) -> None:
        stripe.stripe_clock.now += 1
        if len(stripe.requests) == after:
            stripe.change("coupon", 1399, name="new")
            stripe.change("coupon", 5, name="new")

    stripe.before_answer = meanwhile
    assert replica.run(stripe.at(120), *ALL, pace=SELDOM)
    assert replica.values("coupon", "name")["coupon_5"] == "new"
    assert replica.values("coupon", "name")["coupon_1399"] == "new"


@pytest.mark.parametrize("refusal", [NO_PERMISSION, NOT_SET_UP])
def test_without_the_feed_every_run_lists_everything_and_says_so_once(
    refusal: tuple[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    selected = ("charge", "coupon", "product")
    replica, stripe = read_once(*selected)
    stripe.refusals[EVENTS] = refusal
    for day in (1, 2):
        caplog.clear()
        stripe.at(day * DAY).change("product", 5, name=str(day))
        stripe.remove("coupon", day)
        assert replica.run(stripe, *selected, pace=SELDOM)
        assert stripe.listed() == {"/v1/charges", "/v1/coupons", "/v1/products"}
        assert replica.values("product", "name")["product_5"] == str(day)
        assert len(replica.ids("coupon")) == 250 - day
        assert sum("/v1/events is not read" in each.getMessage() for each in caplog.records) == 1
    stripe.refusals.clear()
    assert replica.run(stripe.at(3 * DAY), *selected, pace=SELDOM)
    assert stripe.listed() == set()


# What was cut short


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000))
def test_whatever_happens_and_whatever_is_cut_short_the_last_run_ends_with_what_is_there(seed: int) -> None:
    rng = random.Random(seed)
    stripe = Account(account(120), seed=seed)
    replica = Replica()
    clock = 0

    def meanwhile(_: Any) -> None:
        stripe.stripe_clock.now += rng.randrange(2)
        if rng.random() < 0.2:
            happen()

    def happen() -> None:
        name = rng.choice(["coupon", "product"])
        there = stripe.lists[f"/v1/{name}s"]
        if name == "coupon" and len(there) > 20 and rng.random() < 0.4:
            stripe.remove(name, int(rng.choice(there)["id"].split("_")[1]))
        else:
            stripe.change(name, rng.randrange(130), name=str(rng.random()))

    stripe.before_answer = meanwhile
    for _ in range(rng.randrange(1, 5)):
        clock += rng.choice([5, 4000, DAY])
        stripe.at(clock)
        for _ in range(rng.randrange(4)):
            happen()
        chosen = [each for each in ALL if rng.random() < 0.8] or ["coupon"]
        pace = rng.choice([SELDOM, EVERY_RUN])
        replica.run(stripe, *chosen, most_items=rng.randrange(1, 900), pace=pace)
        clock = stripe.stripe_clock.now - NOW
    stripe.before_answer = lambda _: None
    for _ in range(2):  # the first of them may have to end a listing that began before
        clock += 100
        assert replica.run(stripe.at(clock), *ALL, pace=SELDOM)
    for name in ("charge", "coupon", "product"):
        assert replica.ids(name) == {each["id"] for each in stripe.lists[f"/v1/{name}s"]}
    for name in ("coupon", "product"):
        truth = {each["id"]: each.get("name") for each in stripe.lists[f"/v1/{name}s"]}
        assert replica.values(name, "name") == truth


def test_why_a_stream_is_listed_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    read_once("coupon")
    assert any("Listing, because it was never read in full: coupon" in each.getMessage() for each in caplog.records)
