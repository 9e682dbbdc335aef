"""Rows that no list shows, only the objects that hold them: such as prices that were made up for one subscription."""

from typing import Any

from replica import DAY, SELDOM, Reader, Replica
from stand_in import NOW, StandInStripe

from tap_stripe_events.changes import AS_OF, GAP_FILLER

PRICE = {"id": "price_inline", "object": "price", "active": True}
ITEM = {"id": "si_1", "object": "subscription_item", "price": PRICE, "subscription": "sub_1"}
DISCOUNT = {"id": "di_1", "object": "discount", "start": NOW}
LISTS: dict[str, Any] = {
    "/v1/prices": [],
    "/v1/customers": [{"id": "cus_1", "object": "customer", "created": NOW, "discount": DISCOUNT}],
    "/v1/subscriptions": [
        {
            "id": "sub_1",
            "object": "subscription",
            "created": NOW,
            "items": {"object": "list", "data": [ITEM], "has_more": False},
        }
    ],
    "/v1/test_helpers/test_clocks": [],
}


def stripe_on(day: int) -> StandInStripe:
    stripe = StandInStripe(LISTS)
    stripe.stripe_clock.now = NOW + DAY * day
    return stripe


def test_a_stream_that_is_selected_later_brings_the_hidden_rows_of_others() -> None:
    replica = Replica()
    assert replica.run(stripe_on(0), "price", pace=SELDOM)
    assert replica.ids("price") == set()
    assert replica.run(stripe_on(1), "price", "subscription", "subscription_item", pace=SELDOM)
    assert replica.ids("price") == {"price_inline"}


def test_what_has_no_list_at_all_is_found_where_it_is_held() -> None:
    replica = Replica()
    assert replica.run(stripe_on(0), "customer", "discount", pace=SELDOM)
    assert replica.ids("discount") == {"di_1"}


def test_a_copy_that_an_event_holds_only_fills_a_gap() -> None:
    stripe = StandInStripe({})
    stripe.announce("subscription_item.updated", ITEM)
    stripe.announce("customer.subscription.updated", LISTS["/v1/subscriptions"][0])
    reader = Reader(stripe)
    reader.poll()
    assert {each[AS_OF] for each in reader.records("price")} == {GAP_FILLER}
