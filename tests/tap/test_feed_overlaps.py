"""Polls that go on while objects of earlier ones are still being read: what arrives last need not be the latest."""

from typing import Any

from replica import Reader
from stand_in import NOW, StandInStripe, take_what_comes

from tap_stripe_events.feed import UpTo
from tap_stripe_events.flight import Flight

OLD_VERSION = "2020-08-27"
ACCOUNT = "/v1/accounts/acct_2"
BANKS = f"{ACCOUNT}/external_accounts"
LINES = "/v1/invoices/in_1/lines"


class Polling:
    """A reader whose polls are begun by hand, while some answers are held back."""

    def __init__(self, stripe: StandInStripe, *selected: str) -> None:
        self.stripe = stripe
        self.reader = Reader(stripe, *selected)
        self.flight = Flight(stripe)  # type: ignore[arg-type]

    def poll(self) -> list[Any]:
        self.reader.feed.begin(NOW, whole=True)
        return self.go_on()

    def go_on(self) -> list[Any]:
        items = take_what_comes(self.stripe, self.reader.feed, self.flight)
        self.reader.apply(items)
        return items

    def release(self) -> list[Any]:
        self.stripe.held.clear()
        return self.go_on()


def invoice(count: int) -> dict[str, Any]:
    lines = [{"id": f"il_{each}", "object": "line_item"} for each in range(count)]
    embedded = {"object": "list", "data": lines[:1], "has_more": count > 1}
    return {"id": "in_1", "object": "invoice", "attempt_count": count, "lines": embedded}


def stripe_at(second: int, **lists: Any) -> StandInStripe:
    stripe = StandInStripe(lists)
    stripe.stripe_clock.now = second
    return stripe


def test_a_poll_brings_what_is_new_while_an_earlier_one_waits_for_an_object() -> None:
    stripe = stripe_at(NOW + 5, **{"/v1/coupons": [{"id": "c", "object": "coupon"}]})
    stripe.held.add("/v1/coupons/c")
    polling = Polling(stripe, "coupon", "customer")
    stripe.announce("coupon.updated", {"id": "c", "object": "coupon"}, version=OLD_VERSION)
    polling.poll()
    stripe.announce("customer.created", {"id": "cus_1", "object": "customer"})
    polling.poll()
    assert (polling.reader.ids("customer"), polling.reader.ids("coupon")) == ({"cus_1"}, set())
    polling.release()
    assert polling.reader.ids("coupon") == {"c"}


def test_nothing_is_said_to_be_in_while_an_object_is_awaited_that_came_before() -> None:
    stripe = stripe_at(NOW + 5, **{"/v1/coupons": [{"id": "c", "object": "coupon"}]})
    stripe.held.add("/v1/coupons/c")
    polling = Polling(stripe, "coupon", "customer")
    stripe.announce("coupon.updated", {"id": "c", "object": "coupon"}, version=OLD_VERSION)
    items = polling.poll()
    stripe.stripe_clock.now = NOW + 8
    items += polling.poll()
    assert not any(isinstance(each, UpTo) for each in items)
    stripe.held.clear()
    assert [each.second for each in polling.go_on() if isinstance(each, UpTo)] == [NOW + 5, NOW + 8]


def test_what_waits_for_its_lines_does_not_undo_what_was_read_of_it_later() -> None:
    """Both count as the end of the second of their events: so the one that was begun first must come first."""
    stripe = stripe_at(
        NOW + 5, **{LINES: [{"id": "il_0", "object": "line_item"}, {"id": "il_1", "object": "line_item"}]}
    )
    stripe.held.add(LINES)
    polling = Polling(stripe, "invoice", "line_item")
    stripe.announce("invoice.updated", invoice(2))
    polling.poll()
    stripe.lists["/v1/invoices"] = [invoice(1)]
    stripe.announce("invoice.updated", invoice(1))
    polling.poll()
    polling.release()
    assert polling.reader.values("invoice", "attempt_count") == {"in_1": 1}
    assert polling.reader.ids("line_item") == {"il_0"}


def test_a_parent_that_is_read_again_does_not_bring_back_a_child_that_went_in_that_second() -> None:
    banks = [{"id": f"ba_{each}", "object": "bank_account", "account": "acct_2"} for each in (1, 2)]

    def account(*there: dict[str, Any]) -> dict[str, Any]:
        embedded = {"object": "list", "data": list(there), "has_more": False}
        return {"id": "acct_2", "object": "account", "external_accounts": embedded}

    stripe = stripe_at(NOW + 5, **{ACCOUNT: account(*banks), BANKS: banks})
    stripe.held.add(ACCOUNT)
    polling = Polling(stripe, "account", "bank_account")
    stripe.announce("account.updated", {"id": "acct_2", "object": "account"}, version=OLD_VERSION)
    polling.poll()
    stripe.lists |= {ACCOUNT: account(banks[0]), BANKS: banks[:1]}
    stripe.announce("account.external_account.deleted", banks[1])
    polling.poll()
    polling.release()
    assert polling.reader.ids("bank_account") == {"ba_1"}


def test_a_list_that_is_awaited_is_in_doubt_though_its_parent_has_changed_since() -> None:
    """The newer event shows nothing of the list. So the one that was read just before the child came would be right."""
    customer = {"id": "cus_1", "object": "customer"}
    card = {"id": "card_1", "object": "card", "customer": "cus_1"}
    path, sources = "/v1/customers/cus_1", "/v1/customers/cus_1/sources"

    def there(*cards: dict[str, Any]) -> dict[str, Any]:
        listed = {"object": "list", "data": list(cards), "has_more": False}
        return {path: {**customer, "sources": listed}, sources: list(cards)}

    stripe = stripe_at(NOW, **there())
    stripe.held.add(path)
    polling = Polling(stripe, "customer", "card")
    stripe.announce("customer.updated", customer, version=OLD_VERSION)
    polling.poll()
    stripe.lists |= there(card)
    stripe.announce("customer.source.created", card)
    stripe.stripe_clock.now = NOW + 1
    stripe.announce("customer.updated", customer)
    polling.poll()
    polling.release()
    assert polling.reader.ids("card") == {"card_1"}


def test_an_older_read_that_arrives_after_a_newer_event_changes_nothing() -> None:
    stripe = stripe_at(NOW + 5, **{"/v1/coupons": [{"id": "c", "object": "coupon", "name": "old"}]})
    stripe.held.add("/v1/coupons/c")
    polling = Polling(stripe, "coupon")
    stripe.announce("coupon.updated", {"id": "c", "object": "coupon"}, version=OLD_VERSION)
    polling.poll()
    stripe.stripe_clock.now = NOW + 6
    stripe.announce("coupon.updated", {"id": "c", "object": "coupon", "name": "new"})
    polling.poll()
    polling.release()
    assert polling.reader.values("coupon", "name") == {"c": "new"}


def test_the_older_pages_of_a_whole_reading_do_not_keep_the_next_poll_waiting() -> None:
    stripe = stripe_at(NOW + 5)
    for number in range(250):
        stripe.announce("customer.created", {"id": f"cus_{number}", "object": "customer"}, created=NOW)
    polling = Polling(stripe, "customer")
    polling.poll()
    feed, flight = polling.reader.feed, polling.flight
    feed.begin(NOW, whole=True)
    flight.submit([feed])
    taken = flight.take(0.0)  # a page with nothing new: the rest can wait
    assert taken is not None
    assert not any(isinstance(each, UpTo) for each in taken[1])
    assert not feed.polling
    assert feed.busy
    assert [len(each) for each in feed.queues] == [0, 0, 1]
    stripe.announce("customer.created", {"id": "cus_new", "object": "customer"})
    feed.begin(NOW, whole=False)
    items = polling.go_on()
    assert polling.reader.ids("customer") >= {"cus_new"}
    assert [each.second for each in items if isinstance(each, UpTo)] == [NOW + 5]
