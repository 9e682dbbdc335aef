"""Who may be billed next, as subscriptions and events tell it."""

from typing import Any

import pytest

from tap_stripe_events.objects import CUSTOMER_PREVIEW, PREVIEWS, SUBSCRIPTION_PREVIEW
from tap_stripe_events.previews import Affected, affected, billed, in_our_version
from tap_stripe_events.roster import Key, Roster, next_slot, slot

DAY = 86_400
KINDS = frozenset(PREVIEWS)


def subscription(number: int = 1, **more: Any) -> dict[str, Any]:
    price = {"id": "price_1", "object": "price", "product": "prod_1", "recurring": {"usage_type": "licensed"}}
    item = {"id": "si_1", "price": price, "current_period_end": 1_000, "tax_rates": [{"id": "txr_1"}]}
    given = {"id": f"sub_{number}", "object": "subscription", "customer": "cus_1", "status": "active"}
    return {**given, "items": {"object": "list", "data": [item]}, **more}


def metered(number: int = 1, **more: Any) -> dict[str, Any]:
    found = subscription(number, **more)
    found["items"]["data"][0]["price"]["recurring"]["usage_type"] = "metered"
    return found


def roster_of(*subscriptions: dict[str, Any]) -> Roster:
    roster = Roster()
    for each in subscriptions:
        told = billed(each)
        assert told is not None
        roster.take(told)
    return roster


def keys(roster: Roster) -> dict[tuple[str, str], bool]:
    return {(key.name, key.id): is_metered for key, is_metered in roster.keys(KINDS)}


def test_a_subscription_and_its_customer_are_billed() -> None:
    assert keys(roster_of(subscription())) == {
        (SUBSCRIPTION_PREVIEW, "sub_1"): False,
        (CUSTOMER_PREVIEW, "cus_1"): False,
    }


def test_who_has_metered_usage_is_metered() -> None:
    roster = roster_of(subscription(1), metered(2), subscription(3, customer="cus_2"))
    assert {key for (_, key), is_metered in keys(roster).items() if is_metered} == {"sub_2", "cus_1"}
    roster.drop("sub_2")
    assert not any(keys(roster).values())


@pytest.mark.parametrize("status", ["canceled", "incomplete_expired"])
def test_what_has_ended_is_billed_no_more(status: str) -> None:
    assert keys(roster_of(subscription(), subscription(status=status))) == {}


def test_a_customer_with_waiting_items_is_billed_without_a_subscription() -> None:
    roster = Roster()
    roster.wait("cus_9")
    assert keys(roster) == {(CUSTOMER_PREVIEW, "cus_9"): False}
    assert roster.has("cus_9")


def test_what_subscriptions_use_is_known_in_whatever_version() -> None:
    discount = {"id": "di_1", "source": {"coupon": "new"}}
    roster = roster_of(
        subscription(1, discounts=[discount], default_tax_rates=[{"id": "txr_2"}]),
        subscription(2, discount={"id": "di_2", "coupon": {"id": "old"}}),
    )
    for used, expected in (("price_1", {1, 2}), ("prod_1", {1, 2}), ("txr_1", {1, 2}), ("txr_2", {1}), ("new", {1}),
                           ("old", {2}), ("other", set())):  # fmt: skip
        assert {each.id for each in roster.using(used)} == {f"sub_{number}" for number in expected}


def test_an_event_that_shows_no_items_leaves_them_as_they_were() -> None:
    told = {name: value for name, value in metered(status="past_due").items() if name != "items"}
    roster = roster_of(metered(), told)
    assert all(keys(roster).values())
    assert [each.id for each in roster.using("price_1")] == ["sub_1"]
    assert [each.id for each in roster.ended(999, 1_000)] == ["sub_1"]


def test_periods_that_end_are_found_once() -> None:
    roster = roster_of(subscription())
    assert [[each.id for each in roster.ended(*between)] for between in ((0, 999), (999, 1_000), (1_000, 2_000))] == [
        [], ["sub_1"], []
    ]  # fmt: skip


def test_turns_are_spread_and_each_comes_once_a_period() -> None:
    all_keys = [Key(name=SUBSCRIPTION_PREVIEW, id=f"sub_{number}") for number in range(2_000)]
    hours = [slot(key, DAY) // 3_600 for key in all_keys]
    assert all(40 <= hours.count(hour) <= 130 for hour in range(24))
    for key in all_keys[:50]:
        first = next_slot(key, 1_790_000_000, DAY)
        assert 1_790_000_000 < first <= 1_790_000_000 + DAY
        assert next_slot(key, first - 1, DAY) == first
        assert next_slot(key, first, DAY) == first + DAY


def of(name: str, **fields: Any) -> dict[str, Any]:
    return {"object": name, **fields}


IN_A_HASH = {"subscription_details": {"subscription": "sub_1"}}
BOTH = {"customer": "cus_1", "subscription": "sub_1", "makes": True}


def event(json_object: dict[str, Any], kind: str = "x.updated", created: int = 7) -> dict[str, Any]:
    return {"id": "evt_1", "object": "event", "type": kind, "created": created, "data": {"object": json_object}}


@pytest.mark.parametrize(
    ("json_object", "expected"),
    [
        (subscription(), BOTH),
        (of("invoice", customer="cus_1", subscription="sub_1"), BOTH),
        (of("invoice", customer={"id": "cus_1"}, parent=IN_A_HASH), BOTH),
        (of("invoiceitem", customer="cus_1", parent=None), {"customer": "cus_1", "makes": True}),
        (of("customer", id="cus_1"), {"customer": "cus_1"}),
        (of("tax_id", id="txi_1", customer="cus_1"), {"customer": "cus_1"}),
        (of("price", id="price_1"), {"used": "price_1"}),
        (of("charge", id="ch_1", customer="cus_1"), None),
        (of("invoice", customer=None), None),
        ({"object": 5}, None),
    ],
)
def test_whose_previews_an_event_says_may_differ(json_object: dict[str, Any], expected: dict[str, Any] | None) -> None:
    found = affected(event(json_object))
    assert found == (None if expected is None else Affected(as_of=7_999, **expected))


@pytest.mark.parametrize(
    "odd", [{}, {"data": None}, {"data": {"object": []}}, {"data": {"object": {}}, "created": "x"}]
)
def test_an_odd_event_says_nothing(odd: dict[str, Any]) -> None:
    assert affected(odd) is None


def test_what_is_new_is_in_use_nowhere() -> None:
    assert affected(event({"object": "price", "id": "price_1"}, "price.created")) is None


def test_names_that_have_moved_are_those_of_our_version_and_the_rest_stays() -> None:
    older = {
        "object": "invoice", "customer": "cus_1", "subscription": {"id": "sub_1"}, "paid": False,
        "subscription_details": {"metadata": {"a": "b"}}, "subscription_proration_date": 5, "quote": None,
        "total_tax_amounts": [{"amount": 19, "inclusive": False, "tax_rate": {"id": "txr_1"}, "taxable_amount": 100}],
    }  # fmt: skip
    assert in_our_version(older) == {
        "object": "invoice",
        "customer": "cus_1",
        "paid": False,
        "parent": {
            "quote_details": None,
            "subscription_details": {
                "metadata": {"a": "b"}, "subscription": "sub_1", "subscription_proration_date": 5
            },
            "type": "subscription_details",
        },
        "total_taxes": [
            {
                "amount": 19, "taxable_amount": 100, "tax_behavior": "exclusive",
                "tax_rate_details": {"tax_rate": "txr_1"}, "type": "tax_rate_details",
            }
        ],
    }  # fmt: skip


def test_a_quote_is_a_parent_too_and_nothing_is_none() -> None:
    quoted = in_our_version({"subscription": None, "quote": "qt_1"})
    assert quoted["parent"] == {
        "quote_details": {"quote": "qt_1"},
        "subscription_details": None,
        "type": "quote_details",
    }
    assert in_our_version({"subscription": None})["parent"] is None


def test_what_is_in_our_version_already_stays_as_it_is() -> None:
    ours = {"object": "invoice", "parent": {"type": "subscription_details"}, "total_taxes": []}
    assert in_our_version(ours) == ours
