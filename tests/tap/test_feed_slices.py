"""The feed after a long time without a poll: read in slices, oldest first, each small enough for memory."""

import random
from typing import Any

import pytest
from replica import Reader
from stand_in import EVENTS, NOW, StandInStripe

from tap_stripe_events.feed import UpTo

DAY = 86_400
HOUR = 3_600
LAST = NOW + 3 * DAY


def stripe_with(seconds: list[int], *, now: int = LAST, name: str = "customer") -> StandInStripe:
    """Return a Stripe with an event about an object of its own in each of some seconds."""
    stripe = StandInStripe({})
    stripe.stripe_clock.now = now
    for number, second in enumerate(sorted(seconds)):
        stripe.announce(f"{name}.updated", {"id": f"x_{number}", "object": name}, created=second)
    return stripe


def watched(stripe: StandInStripe, reader: Reader) -> dict[str, int]:
    """Return the most that a reader ever holds; filled while it reads."""
    most = {"announcements": 0, "remembered": 0}

    def look(_: Any) -> None:
        stretch = reader.feed._poll
        most["announcements"] = max(most["announcements"], len(stretch.new) if stretch else 0)
        most["remembered"] = max(most["remembered"], len(reader.feed._lookback))

    stripe.before_answer = look
    return most


def busy_days() -> list[int]:
    """Return three days with 2,000 events spread over them, and 9,000 within one hour."""
    rng = random.Random(1)
    spread = [NOW + rng.randrange(3 * DAY) for _ in range(2_000)]
    return spread + [NOW + DAY + rng.randrange(HOUR) for _ in range(9_000)]


def test_days_of_a_busy_account_arrive_whole_and_never_fill_the_memory() -> None:
    seconds = busy_days()
    stripe = stripe_with(seconds)
    reader = Reader(stripe, "customer")
    most = watched(stripe, reader)
    reader.poll()
    assert len(reader.ids("customer")) == len(seconds)
    assert 3_000 < most["announcements"] <= 6_100
    assert most["remembered"] <= 6_100
    assert reader.up_to == sorted(reader.up_to)
    assert reader.up_to[-1] == LAST
    assert all(type(second) is int for second in reader.up_to)
    # What was read of a slice that turned out too full is read again.
    assert len(stripe.requests) < 4 * len(seconds) / 100


def test_days_of_a_quiet_account_take_a_few_requests() -> None:
    stripe = stripe_with([NOW + HOUR * each for each in range(72)])
    reader = Reader(stripe, "customer")
    reader.poll()
    assert len(reader.ids("customer")) == 72
    assert len(stripe.requests) == 1


def test_a_short_time_is_read_in_one_piece() -> None:
    stripe = stripe_with([NOW + each for each in range(800)], now=NOW + 800)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert reader.up_to == [NOW + 800]
    assert len(stripe.requests) == 8


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_a_reader_that_is_killed_between_slices_goes_on_from_there(fraction: float) -> None:
    seconds = [NOW + 20 * each for each in range(12_900)]
    stripe = stripe_with(seconds)
    whole = Reader(stripe, "customer")
    whole.poll()
    ends = [position for position, each in enumerate(whole.items) if isinstance(each, UpTo)][:-1]
    assert len(ends) > 3
    cut = ends[int(len(ends) * fraction)]
    reader = Reader(stripe, "customer", since=whole.items[cut].second)
    reader.apply(whole.items[: cut + 1])
    assert 0 < len(reader.ids("customer")) < len(seconds)
    reader.poll()
    assert reader.ids("customer") == whole.ids("customer")
    assert len(whole.ids("customer")) == len(seconds)


def test_what_a_slice_says_is_in_is_in() -> None:
    stripe = stripe_with([NOW + 30 * each for each in range(8_000)])
    reader = Reader(stripe, "customer")
    reader.poll()
    assert len(reader.up_to) > 3
    second_of = {each["data"]["object"]["id"]: each["created"] for each in stripe.lists[EVENTS]}
    delivered: set[str] = set()
    for item in reader.items:
        if isinstance(item, UpTo):
            before = {each for each, second in second_of.items() if second < item.second}
            assert before <= delivered
        elif hasattr(item, "record"):
            delivered.add(item.record["id"])


def test_slices_tile_the_time_in_whole_seconds() -> None:
    stripe = stripe_with([NOW + 30 * each for each in range(8_000)])
    Reader(stripe, "customer").poll()
    stretches: list[tuple[int, int | None]] = []
    for request in stripe.requests:
        stretch = request.parameters["created[gte]"], request.parameters.get("created[lt]")
        if stretch not in stretches:
            stretches.append(stretch)
    assert stretches[0] == (NOW - 60, None)  # it turned out to hold too much
    begins, ends = zip(*stretches[1:], strict=True)
    assert begins == (NOW - 60, *ends[:-1])
    assert ends[-1] is None
    assert all(type(each) is int for each in begins)


def test_an_event_that_shows_late_behind_a_page_of_known_ones_is_found_in_a_slice() -> None:
    stripe = stripe_with([NOW + 1] * 250, now=NOW + 2)
    stripe.announce("customer.updated", {"id": "late", "object": "customer"}, created=NOW, late_by=30)
    reader = Reader(stripe, "customer")
    reader.poll(whole=False)
    for number in range(6_500):
        stripe.announce("customer.updated", {"id": f"y_{number}", "object": "customer"}, created=NOW + HOUR + number)
    stripe.stripe_clock.now = NOW + DAY
    reader.poll()
    assert any("created[lt]" in each.parameters for each in stripe.requests)
    assert reader.ids("customer") >= {"late", "x_0", "y_0", "y_6499"}
    assert reader.up_to[-1] == NOW + DAY


def test_a_second_that_is_too_full_for_memory_is_read_all_the_same() -> None:
    stripe = stripe_with([NOW + DAY] * 6_500)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert len(reader.ids("customer")) == 6_500


def test_an_object_that_changed_in_many_slices_ends_as_the_last_says() -> None:
    stripe = StandInStripe({})
    stripe.stripe_clock.now = LAST
    for each in range(70):
        carried = {"id": "cus_1", "object": "customer", "name": str(each)}
        stripe.announce("customer.updated", carried, created=NOW + HOUR * each)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert reader.values("customer", "name") == {"cus_1": "69"}


def test_a_customer_is_asked_about_anew_in_every_slice() -> None:
    """While the slices are read time goes by: what was not there when it was first asked for is there later."""
    path = "/v1/customers/cus_1/balance_transactions"
    stripe = stripe_with([NOW + 10 * each for each in range(DAY // 10)], now=NOW + DAY, name="coupon")
    stripe.lists[path] = []
    common = {"object": "invoice", "customer": "cus_1", "ending_balance": 5}
    stripe.announce("invoice.created", {"id": "in_1", **common}, created=NOW + HOUR // 2)

    def asked_before(request: Any) -> None:
        if request.path == EVENTS and not stripe.lists[path] and path in {each.path for each in stripe.requests}:
            move = {"id": "cbtxn_1", "object": "customer_balance_transaction", "created": NOW + DAY}
            stripe.lists[path].append({**move, "customer": "cus_1"})
            stripe.announce("invoice.created", {"id": "in_2", **common}, created=NOW + DAY)

    stripe.before_answer = asked_before
    reader = Reader(stripe, "invoice", "customer_balance_transaction")
    reader.poll()
    assert len(reader.up_to) > 3
    assert reader.ids("invoice") == {"in_1", "in_2"}
    assert reader.ids("customer_balance_transaction") == {"cbtxn_1"}


def test_events_older_than_the_feed_reaches_back_are_not_waited_for() -> None:
    stripe = stripe_with([NOW + 60 * DAY - 5], now=NOW + 60 * DAY)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert len(reader.ids("customer")) == 1
    assert min(each.parameters["created[gte]"] for each in stripe.requests) == NOW + 30 * DAY
