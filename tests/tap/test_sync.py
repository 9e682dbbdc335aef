"""Runs against lists in memory: what is left in a table when runs are cut short or may not read all."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replica import DAY, SELDOM, HurriedClock, Replica
from stand_in import NO_PERMISSION, NOT_SET_UP, NOW, StandInStripe

from tap_stripe_events.bookmarks import Bookmarks
from tap_stripe_events.changes import AS_OF
from tap_stripe_events.sync import Checkpoint, Delivery, Pace, Run


def account(**lists: Any) -> dict[str, Any]:
    """Return an account with 300 invoices of two lines each, some charges and coupons."""
    invoices = []
    for number in range(300):
        lines = [{"id": f"il_{number}_{each}", "object": "line_item"} for each in range(2)]
        rest = {"object": "list", "data": lines, "has_more": False}
        invoices.append({"id": f"in_{number}", "object": "invoice", "created": NOW - DAY * number, "lines": rest})
    return {
        "/v1/invoices": invoices,
        "/v1/charges": [{"id": f"ch_{each}", "object": "charge", "created": NOW - DAY * each} for each in range(350)],
        "/v1/coupons": [{"id": f"coupon_{each}", "object": "coupon", "created": NOW - each} for each in range(30)],
        **lists,
    }


def stripe_at(day: int, lists: dict[str, Any], *, seed: int = 0) -> StandInStripe:
    stripe = StandInStripe(lists, in_flight=2, seed=seed)
    stripe.stripe_clock.now = NOW + DAY * day
    return stripe


ALL = ("charge", "coupon", "invoice", "line_item")


def filled(lists: dict[str, Any], *, livemode: bool = True) -> Replica:
    replica = Replica(livemode=livemode)
    assert replica.run(stripe_at(0, lists), *ALL)
    assert len(replica.ids("line_item")) == 600
    return replica


def cut_in_mid_listing(replica: Replica, lists: dict[str, Any], *selected: str, day: int) -> None:
    """Run until half of the invoices are read."""

    def partly_read(bookmarks: dict[str, Any]) -> bool:
        return any(each["after"] for each in bookmarks["invoice"].get("open_windows", ()))

    assert not replica.run(stripe_at(day, lists), *selected, until=partly_read)


def test_a_run_that_is_cut_short_is_gone_on_with() -> None:
    lists = account()
    replica = filled(lists)
    cut_in_mid_listing(replica, lists, *ALL, day=1)
    stripe = stripe_at(2, lists)
    assert replica.run(stripe, *ALL)
    assert replica.ids("line_item") == {f"il_{number}_{each}" for number in range(300) for each in range(2)}
    assert replica.bookmark("invoice")["listed_at"] == replica.bookmark("line_item")["listed_at"]


def test_what_was_finished_before_a_run_was_cut_short_is_not_listed_again() -> None:
    lists = account()
    replica = Replica()

    streams = "charge", "coupon", "invoice"

    def finished(bookmarks: dict[str, Any]) -> list[str]:
        return [f"/v1/{stream}s" for stream in streams if "listed_at" in bookmarks.get(stream, {})]

    assert not replica.run(stripe_at(0, lists), *ALL, until=finished)
    done = finished({stream: replica.bookmark(stream) for stream in streams})
    assert 0 < len(done) < len(streams)
    stripe = stripe_at(1, lists)
    assert replica.run(stripe, *ALL, pace=SELDOM)
    assert not {each.path for each in stripe.requests}.intersection(done)
    again = stripe_at(2, lists)
    assert replica.run(again, *ALL)  # the next listing is of everything
    assert {each.path for each in again.requests}.issuperset(done)


@pytest.mark.parametrize("cut_again", [False, True])
def test_a_stream_that_missed_a_part_of_its_listing_is_listed_anew(cut_again: bool) -> None:
    lists = account()
    replica = filled(lists)
    cut_in_mid_listing(replica, lists, *ALL, day=1)
    without = [each for each in ALL if each != "line_item"]
    if cut_again:
        cut_in_mid_listing(replica, lists, *without, day=2)
    else:
        assert replica.run(stripe_at(2, lists), *without)
    assert replica.run(stripe_at(3, lists), *ALL)
    assert len(replica.ids("line_item")) == 600


def test_another_start_date_begins_the_listing_anew() -> None:
    lists = account()
    replica = filled(lists)
    halfway = NOW - 200 * DAY
    assert not replica.run(stripe_at(1, lists), *ALL, floor=halfway, most_items=700)
    assert replica.run(stripe_at(2, lists), *ALL)
    assert len(replica.ids("line_item")) == 600
    assert len(replica.ids("charge")) == 350


def test_rows_from_before_the_start_date_stay() -> None:
    lists = account()
    replica = filled(lists)
    assert replica.run(stripe_at(1, lists), *ALL, floor=NOW - 10 * DAY)
    assert len(replica.ids("charge")) == 350


def test_a_sweep_removes_what_is_gone() -> None:
    lists = account()
    replica = filled(lists)
    lists["/v1/invoices"] = lists["/v1/invoices"][1:]
    assert replica.run(stripe_at(1, lists), *ALL)
    assert len(replica.ids("invoice")) == 299
    assert len(replica.ids("line_item")) == 598


def test_another_stream_selected_in_mid_listing_does_not_make_rows_vanish() -> None:
    customers = [
        {"id": f"cus_{each}", "object": "customer", "created": NOW - DAY * each, "test_clock": None}
        for each in range(150)
    ]
    lists = account(**{"/v1/customers": customers, "/v1/test_helpers/test_clocks": []})
    replica = filled(lists, livemode=False)
    cut_in_mid_listing(replica, lists, "charge", "invoice", day=1)
    assert replica.run(stripe_at(2, lists), "charge", "customer", "invoice")
    assert len(replica.ids("charge")) == 350
    assert len(replica.ids("invoice")) == 300


def test_charges_behind_a_test_clock_stay_when_charges_are_selected_in_mid_listing() -> None:
    clock = {"id": "clock_1", "object": "test_helpers.test_clock", "created": NOW}
    hidden = {"id": "cus_hidden", "object": "customer", "created": NOW, "test_clock": "clock_1"}
    its_charge = {"id": "ch_hidden", "object": "charge", "created": NOW, "customer": "cus_hidden"}

    class WithHiddenRows(StandInStripe):
        def _answer(self, request: Any) -> Any:
            parameters, shown = request.parameters, self.lists
            if request.path == "/v1/customers":
                self.lists = {**shown, request.path: [hidden] if "test_clock" in parameters else []}
            elif request.path == "/v1/charges" and "customer" in parameters:
                self.lists = {**shown, request.path: [its_charge]}
            try:
                return super()._answer(request)
            finally:
                self.lists = shown

    lists = account(**{"/v1/test_helpers/test_clocks": [clock]})
    everything = (*ALL, "customer")

    def at(day: int) -> StandInStripe:
        stripe = WithHiddenRows(lists, in_flight=2)
        stripe.stripe_clock.now = NOW + DAY * day
        return stripe

    replica = Replica(livemode=False)
    assert replica.run(at(0), *everything)
    assert "ch_hidden" in replica.ids("charge")

    def between(bookmarks: dict[str, Any]) -> bool:
        return bool(bookmarks["customer"].get("listed_at")) and bookmarks["invoice"]["listing_started_at"] is not None

    without = [each for each in everything if each not in {"charge", "coupon"}]
    assert not replica.run(at(1), *without, until=between)
    assert replica.run(at(2), *everything)
    assert "ch_hidden" in replica.ids("charge")


@pytest.mark.parametrize("refusal", [NO_PERMISSION, NOT_SET_UP])
def test_what_is_found_only_by_a_refused_list_stays(refusal: tuple[int, str]) -> None:
    path = "/v1/treasury/financial_accounts"
    lists = {
        path: [{"id": "fa_1", "object": "treasury.financial_account", "created": NOW}],
        "/v1/treasury/transactions": [
            {"id": "trxn_1", "object": "treasury.transaction", "created": NOW, "financial_account": "fa_1"}
        ],
    }
    replica = Replica()
    selected = ("treasury.financial_account", "treasury.transaction")
    assert replica.run(stripe_at(0, {**lists}), *selected)
    assert replica.ids("treasury_transaction") == {"trxn_1"}
    stripe = stripe_at(1, lists)
    stripe.refusals[path] = refusal
    assert replica.run(stripe, *selected)
    assert replica.ids("treasury_transaction") == {"trxn_1"}
    assert replica.bookmark("treasury_transaction")["denied"]


def customers_with_tax_ids(count: int) -> dict[str, Any]:
    def tax_ids(number: int) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": f"txi_{number}", "object": "tax_id"}], "has_more": number % 2 == 0}

    customers = [
        {"id": f"cus_{each}", "object": "customer", "created": NOW - DAY * each, "tax_ids": tax_ids(each)}
        for each in range(count)
    ]
    own = [{"id": "txi_own", "object": "tax_id", "created": NOW}]
    lists: dict[str, Any] = {"/v1/customers": customers, "/v1/tax_ids": own, "/v1/test_helpers/test_clocks": []}
    for each in range(count):
        more = [{"id": f"txi_{each}", "object": "tax_id"}, {"id": f"txi_{each}_more", "object": "tax_id"}]
        lists[f"/v1/customers/cus_{each}/tax_ids"] = more
    return lists


@pytest.mark.parametrize("refused", ["/v1/tax_ids", "/v1/customers/{customer}/tax_ids"])
@pytest.mark.parametrize("cut", range(50, 500, 90))
def test_a_refusal_is_remembered_when_the_run_is_cut_short(refused: str, cut: int) -> None:
    lists = customers_with_tax_ids(250)
    replica = Replica()
    assert replica.run(stripe_at(0, lists), "customer", "tax_id")
    complete = replica.ids("tax_id")
    assert len(complete) == 250 + 125 + 1
    for day in (1, 2):
        stripe = stripe_at(day, lists)
        for number in range(250):
            stripe.refusals[refused.replace("{customer}", f"cus_{number}")] = NO_PERMISSION
        replica.run(stripe, "customer", "tax_id", most_items=cut if day == 1 else None)
    assert replica.ids("tax_id") == complete


def test_a_refused_detour_denies_nobody_and_proves_nothing() -> None:
    lists = customers_with_tax_ids(5)
    replica = Replica()
    assert replica.run(stripe_at(0, lists), "customer")
    replica.rows["customer"]["cus_hidden"] = {"id": "cus_hidden", AS_OF: "2020-01-01T00:00:00Z"}  # behind a test clock
    stripe = stripe_at(1, lists)
    stripe.refusals["/v1/test_helpers/test_clocks"] = NO_PERMISSION
    assert replica.run(stripe, "customer")
    assert "cus_hidden" in replica.ids("customer")
    assert "denied" not in replica.bookmark("customer")
    assert replica.bookmark("customer")["listed_at"]


def test_access_that_is_back_ends_a_refusal() -> None:
    lists = account()
    replica = Replica()
    stripe = stripe_at(0, lists)
    stripe.refusals["/v1/charges"] = NO_PERMISSION
    assert replica.run(stripe, *ALL)
    assert replica.bookmark("charge")["denied"]
    assert replica.run(stripe_at(1, lists), *ALL)
    assert len(replica.ids("charge")) == 350
    assert "denied" not in replica.bookmark("charge")


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), runs=st.integers(1, 4))
def test_whatever_is_cut_short_or_left_out_the_last_run_ends_with_what_is_there(seed: int, runs: int) -> None:
    rng = random.Random(seed)
    lists = account()
    replica = filled(lists)
    for day in range(1, runs + 1):
        for path, prefix in (("/v1/charges", "ch"), ("/v1/coupons", "coupon")):
            lists[path] = [each for each in lists[path] if rng.random() > 0.02]
            lists[path].append({"id": f"{prefix}_new_{day}", "object": path[4:-1], "created": NOW + DAY * day})
        chosen = [each for each in ALL if rng.random() > 0.25]
        floor = rng.choice([None, None, NOW - 100 * DAY])
        replica.run(stripe_at(day, lists, seed=seed), *chosen, floor=floor, most_items=rng.randrange(1, 1500))
        # What is there all the time is never away.
        assert {each["id"] for each in lists["/v1/charges"][:-1]} - replica.ids("charge") <= {
            f"ch_new_{each}" for each in range(1, day)
        }
        assert len(replica.ids("line_item")) == 600
    for day in (runs + 1, runs + 2):  # the first of them may have to end a listing that began before
        assert replica.run(stripe_at(day, lists, seed=seed), *ALL)
    assert replica.ids("charge") == {each["id"] for each in lists["/v1/charges"]}
    assert replica.ids("coupon") == {each["id"] for each in lists["/v1/coupons"]}
    assert len(replica.ids("line_item")) == 600


def test_only_the_first_stream_pulls_what_there_is_and_following_begins_when_all_have_had_their_turn() -> None:
    bookmarks = Bookmarks({})
    bookmarks.claim("acct_1", livemode=True)
    pace = Pace(rhythm=SELDOM.rhythm, poll_seconds=0.5)
    run = Run(
        client=stripe_at(0, account()), bookmarks=bookmarks, selected=ALL, floor=None, pace=pace, clock=HurriedClock()
    )
    assert [each for each in run.until_caught_up() if isinstance(each, Delivery)]
    assert list(itertools.islice(run.until_caught_up(), 1)) == []
    assert list(itertools.islice(run.follow(), 1)) == [Checkpoint(idle=True)]
