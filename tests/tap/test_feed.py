"""The feed, read a poll at a time: which events are read and how often, what they bring, how many requests it takes."""

import math
from typing import Any

import pytest
from replica import Reader
from stand_in import EVENTS, NO_PERMISSION, NOT_EXPANDABLE, NOT_SET_UP, NOW, StandInStripe, poll

from tap_stripe_events.changes import AS_OF
from tap_stripe_events.clock import moment
from tap_stripe_events.errors import EndlessListError, NotAListError, RequestRefusedError
from tap_stripe_events.feed import Feed, FeedDenied, UpTo
from tap_stripe_events.flight import Flight
from tap_stripe_events.object_table import API_VERSION
from tap_stripe_events.plan import RETENTION_SECONDS

OLD_VERSION = "2020-08-27"


def customer(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {"id": f"cus_{number}", "object": "customer", "created": NOW - 1000, "name": "a", **fields}


def quiet_stripe(**lists: Any) -> StandInStripe:
    stripe = StandInStripe(lists)
    stripe.stripe_clock.now = NOW + 10
    return stripe


def announce_changes(stripe: StandInStripe, count: int, *, first: int = 0, created: int | None = None) -> None:
    for number in range(first, first + count):
        stripe.announce(
            "customer.updated", customer(number), created=created or NOW + number % 7, previous={"name": ""}
        )


# How many requests


def test_an_idle_poll_is_one_request() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 250)
    reader = Reader(stripe, "customer")
    reader.poll()
    stripe.requests.clear()
    assert reader.poll(whole=False) == 0
    assert [(each.path, each.reason) for each in stripe.requests] == [(EVENTS, "polls")]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 201, 450])
def test_changed_objects_take_one_request_a_hundred(count: int) -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, count)
    reader = Reader(stripe, "customer")
    assert reader.poll(whole=False) == count
    assert len(reader.ids("customer")) == count
    assert len(stripe.requests) == max(1, math.ceil(count / 100))


def test_a_short_poll_ends_with_a_page_that_holds_nothing_new() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 300)
    reader = Reader(stripe, "customer")
    reader.poll()
    announce_changes(stripe, 150, first=300, created=NOW + 8)
    stripe.requests.clear()
    assert reader.poll(whole=False) == 150
    assert len(stripe.requests) == 3  # a page of news, one with the rest of them, one to see that there are no more


def test_a_whole_poll_reads_the_whole_lookback() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 300)
    reader = Reader(stripe, "customer")
    reader.poll()
    stripe.requests.clear()
    assert reader.poll() == 0
    assert [each.reason for each in stripe.requests] == ["lookback"] * 3


def test_only_the_lookback_is_read_again() -> None:
    stripe = quiet_stripe()
    stripe.announce("customer.updated", customer(1), created=NOW - 61)
    stripe.announce("customer.updated", customer(2), created=NOW - 60)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert reader.ids("customer") == {"cus_2"}


def test_a_poll_says_how_far_it_got_only_if_it_got_to_the_end() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 150)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert reader.up_to == [NOW + 10]
    stripe.stripe_clock.now = NOW + 11
    reader.poll(whole=False)
    assert reader.up_to == []  # the second page was not looked at
    reader.poll()
    assert reader.up_to == [NOW + 11]


def test_events_that_show_while_a_poll_reads_do_not_count_as_read() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 150)
    reader = Reader(stripe, "customer")

    def later(_: Any) -> None:
        stripe.stripe_clock.now += 1

    stripe.before_answer = later
    reader.poll()
    assert reader.up_to == [NOW + 10]


# Which events


def test_an_event_that_shows_after_newer_ones_is_still_applied() -> None:
    stripe = quiet_stripe()
    stripe.announce("customer.updated", customer(1), created=NOW + 1, late_by=40)
    stripe.announce("customer.updated", customer(2), created=NOW + 9)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert reader.ids("customer") == {"cus_2"}
    stripe.stripe_clock.now = NOW + 45
    reader.poll()
    assert reader.ids("customer") == {"cus_1", "cus_2"}


def test_a_late_event_of_an_object_does_not_undo_a_newer_one_nor_ask_for_anything() -> None:
    stripe = quiet_stripe()
    stripe.announce("customer.updated", customer(name="old"), created=NOW + 1, late_by=30, previous={"name": ""})
    stripe.announce("customer.updated", customer(name="new"), created=NOW + 5, previous={"name": ""})
    reader = Reader(stripe, "customer")
    reader.poll()
    stripe.stripe_clock.now = NOW + 40
    assert reader.poll() == 1
    assert reader.records("customer") == []
    assert reader.values("customer", "name") == {"cus_1": "new"}
    assert stripe.asked() == []


def test_of_205_events_in_a_second_over_three_pages_none_is_lost() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 205, created=NOW + 3)
    reader = Reader(stripe, "customer")
    assert reader.poll() == 205
    assert len(reader.ids("customer")) == 205
    assert len(stripe.requests) == 3


def test_a_poll_that_is_cut_after_its_first_page_says_nothing_and_is_read_again() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 205, created=NOW + 3)
    cut = Reader(stripe, "customer", "event")
    asked = len(stripe.requests)

    def cut_off(_: Any) -> None:
        if len(stripe.requests) > asked + 1:
            raise ConnectionError

    stripe.before_answer = cut_off
    with pytest.raises(ConnectionError):
        cut.poll()
    assert cut.since == NOW
    stripe.before_answer = lambda _: None
    reader = Reader(stripe, "customer", "event")
    reader.poll()
    assert len(reader.ids("customer")) == len(reader.ids("event")) == 205


def test_a_cursor_that_ages_out_is_the_end_of_the_list() -> None:
    stripe = quiet_stripe()
    now = NOW + RETENTION_SECONDS
    stripe.stripe_clock.now = now
    announce_changes(stripe, 150, created=NOW + 1)
    reader = Reader(stripe, "customer", since=NOW)

    def time_goes_by(request: Any) -> None:
        if "starting_after" in request.parameters:
            stripe.stripe_clock.now = now + 100

    stripe.before_answer = time_goes_by
    reader.poll()
    assert reader.up_to[-1] >= now
    assert len(reader.ids("customer")) == 100


def test_a_page_that_repeats_ends_with_an_error() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 205)
    answer = stripe._answer

    def same_again(request: Any) -> Any:
        parameters = {key: value for key, value in request.parameters.items() if key != "starting_after"}
        return answer(type(request)(**{**vars(request), "parameters": parameters}))

    stripe._answer = same_again  # type: ignore[method-assign]
    with pytest.raises(EndlessListError, match=r"came the same page again, ending with evt_\w+\..*If memory: is"):
        Reader(stripe, "customer").poll()


def test_a_page_without_events_that_says_there_are_more_ends_with_an_error() -> None:
    stripe = quiet_stripe()
    body = {"object": "list", "data": [], "has_more": True}
    stripe._answer = lambda request: stripe._taken(request, body)  # type: ignore[method-assign]
    with pytest.raises(
        EndlessListError, match=r"/v1/events.* came no event, although there are more\. .*If memory: is"
    ):
        Reader(stripe, "customer").poll()


def test_a_feed_that_is_no_list_ends_with_an_error() -> None:
    stripe = quiet_stripe()
    stripe._answer = lambda request: stripe._taken(request, {"object": "customer"})  # type: ignore[method-assign]
    with pytest.raises(NotAListError, match=r"/v1/events .*\(object: customer\)\. If memory: is"):
        Reader(stripe, "customer").poll()


def by_key(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda each: str(each["id"]))


@pytest.mark.parametrize(
    "event", [{"created": NOW}, {"id": "evt_1"}, {"id": 1, "created": NOW}, {"id": "evt_1", "created": ""}]
)
def test_an_event_that_cannot_be_placed_ends_with_an_error(event: dict[str, Any]) -> None:
    stripe = quiet_stripe()
    body = {"object": "list", "data": [{"object": "event", **event}], "has_more": False}
    stripe._answer = lambda request: stripe._taken(request, body)  # type: ignore[method-assign]
    with pytest.raises(EndlessListError, match=r"/v1/events.* came an event without id or time\..*memory:"):
        Reader(stripe, "customer").poll()


def test_the_whole_window_read_twice_gives_the_same_records() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 120)
    stripe.lists["/v1/customers"] = [customer(1, name="read again")]
    stripe.announce("customer.updated", customer(1), created=NOW + 9, version=OLD_VERSION)
    stripe.announce("customer.deleted", customer(2), created=NOW + 9)
    stripe.announce("coupon.created", {"id": "c", "object": "coupon"}, created=NOW + 9)
    first, second = Reader(stripe), Reader(stripe)
    first.poll()
    second.poll()
    for stream in ("customer", "coupon", "event", "bank_account"):
        assert by_key(first.records(stream)) == by_key(second.records(stream))
    rows = dict(first.rows["customer"])
    first.apply(second.items)
    assert first.rows["customer"] == rows


def test_events_of_connected_accounts_are_rows_of_event_only() -> None:
    stripe = quiet_stripe()
    stripe.announce("customer.created", customer(1), account="acct_other")
    stripe.announce("customer.created", customer(2), account="acct_1")
    stripe.announce("customer.created", customer(3))
    reader = Reader(stripe)
    reader.poll()
    assert reader.ids("customer") == {"cus_2", "cus_3"}
    assert len(reader.ids("event")) == 3


# The rows of event


def test_an_event_is_a_row_too_as_of_its_reading_and_without_secrets() -> None:
    stripe = quiet_stripe()
    intent = {"id": "pi_1", "object": "payment_intent", "client_secret": "pi_1_secret_x", "amount": 1}
    stripe.announce("payment_intent.created", intent, created=NOW + 2, request={"id": "req_9"})
    reader = Reader(stripe, "event")
    stripe._taken = lambda request, body: _with_secrets(StandInStripe._taken(stripe, request, body))  # type: ignore[method-assign]
    reader.poll()
    (record,) = reader.records("event")
    assert record[AS_OF] == moment((NOW + 10) * 1000)
    assert record["request"] == {"id": "req_9"}
    assert record["data"]["object"] == {"id": "pi_1", "object": "payment_intent", "amount": 1}


def _with_secrets(answer: Any) -> Any:
    return type(answer)(**{**vars(answer), "secrets": True})


def test_an_event_is_a_row_once_while_it_is_in_the_lookback() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 5)
    reader = Reader(stripe, "event")
    reader.poll()
    assert len(reader.records("event")) == 5
    reader.poll()
    assert reader.records("event") == []


def test_what_is_not_selected_is_not_delivered() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 3)
    stripe.announce("coupon.created", {"id": "c", "object": "coupon"})
    stripe.announce("coupon.updated", {"id": "d", "object": "coupon"}, version=OLD_VERSION)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert set(reader.rows) == {"customer"}
    assert stripe.asked() == []


# What an event does not say itself


def test_the_payload_counts_as_the_end_of_the_events_second() -> None:
    stripe = quiet_stripe()
    stripe.announce("customer.updated", customer(), created=NOW + 3)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert reader.values("customer", AS_OF) == {"cus_1": moment((NOW + 3) * 1000 + 999)}


def test_an_older_version_is_read_again_once_for_all_events_of_an_object() -> None:
    stripe = quiet_stripe(**{"/v1/customers": [customer(name="now")]})
    for second in range(5):
        stripe.announce("customer.updated", customer(name="old"), created=NOW + second, version=OLD_VERSION)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert stripe.asked() == ["/v1/customers/cus_1"]
    assert reader.values("customer", "name") == {"cus_1": "now"}
    assert reader.values("customer", AS_OF) == {"cus_1": moment((NOW + 10) * 1000)}
    stripe.announce("customer.updated", customer(name="old"), created=NOW + 10, version=OLD_VERSION)
    reader.poll()
    assert stripe.asked() == ["/v1/customers/cus_1"]


def test_what_is_read_again_counts_to_the_requests_of_its_kind() -> None:
    stripe = quiet_stripe(**{"/v1/customers": [customer()]})
    stripe.announce("customer.updated", customer(), version=OLD_VERSION)
    Reader(stripe, "customer").poll()
    assert [(each.endpoint, each.reason) for each in stripe.requests] == [
        (EVENTS, "lookback"),
        ("/v1/customers/{id}", "versions"),
    ]


def test_what_is_read_again_is_stored_without_secrets() -> None:
    intent = {"id": "pi_1", "object": "payment_intent", "amount": 5, "client_secret": "pi_1_secret_2"}
    stripe = quiet_stripe(**{"/v1/payment_intents": [intent]})
    stripe.announce("payment_intent.created", intent, version=OLD_VERSION)
    reader = Reader(stripe, "payment_intent")
    reader.poll()
    assert reader.values("payment_intent", "amount") == {"pi_1": 5}
    assert "pi_1_secret_2" not in str(reader.items)


def test_the_account_itself_is_read_again_by_its_own_path_and_a_connected_one_by_its_id() -> None:
    own, other = ({"id": f"acct_{number}", "object": "account", "email": "now"} for number in (1, 2))
    stripe = quiet_stripe(**{"/v1/account": own, "/v1/accounts": [other]})
    for each in (own, other):
        stripe.announce("account.updated", {**each, "email": "then"}, version=OLD_VERSION)
    reader = Reader(stripe, "account")
    reader.poll()
    assert sorted(stripe.asked()) == ["/v1/account", "/v1/accounts/acct_2"]
    assert reader.values("account", "email") == {"acct_1": "now", "acct_2": "now"}


def test_what_has_no_path_of_its_own_is_read_out_of_its_list() -> None:
    common = {"object": "source_transaction", "source": "src_1"}
    there = [{"id": f"srctxn_{number}", "amount": number, **common} for number in range(12)]
    stripe = quiet_stripe(**{"/v1/sources/src_1/source_transactions": there})
    stripe.announce("source.transaction.updated", {"id": "srctxn_1", **common}, version=OLD_VERSION)
    reader = Reader(stripe, "source_transaction")
    reader.poll()
    assert reader.values("source_transaction", "amount") == {f"srctxn_{number}": number for number in range(12)}


def test_what_has_no_id_is_read_again_as_the_accounts_own() -> None:
    stripe = quiet_stripe(**{"/v1/balance": {"object": "balance", "available": [{"amount": 7}]}})
    stripe.announce("balance.available", {"object": "balance", "available": []}, version=OLD_VERSION)
    reader = Reader(stripe, "balance")
    reader.poll()
    assert reader.values("balance", "available") == {"acct_1": [{"amount": 7}]}
    assert stripe.asked() == ["/v1/balance"]


def test_a_read_in_the_second_of_its_event_counts_as_that_event() -> None:
    stripe = quiet_stripe(**{"/v1/customers": [customer(name="now")]})
    stripe.announce("customer.updated", customer(), created=NOW + 10, version=OLD_VERSION)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert reader.values("customer", AS_OF) == {"cus_1": moment((NOW + 10) * 1000 + 999)}


def test_an_object_that_is_not_there_when_it_is_read_again_is_gone_as_of_its_event() -> None:
    stripe = quiet_stripe()
    stripe.announce("coupon.updated", {"id": "c", "object": "coupon"}, created=NOW + 10, version=OLD_VERSION)
    reader = Reader(stripe, "coupon")
    reader.apply(poll(stripe, Reader(stripe, "coupon").feed, NOW))
    reader.poll()
    assert reader.tombstones == {("coupon", "c"): moment((NOW + 10) * 1000 + 999)}


@pytest.mark.parametrize(
    ("kind", "json_object"),
    [
        ("customer.discount.updated", {"id": "di_1", "object": "discount", "start": NOW}),
        ("payment_method.automatically_updated", {"id": "src_1", "object": "payment_method", "created": NOW}),
        ("account.application.authorized", {"id": "ca_1", "object": "application", "name": "a"}),
    ],
)
def test_what_no_path_answers_is_taken_from_an_older_payload(kind: str, json_object: dict[str, Any]) -> None:
    stripe = quiet_stripe()
    stripe.announce(kind, json_object, version=OLD_VERSION)
    reader = Reader(stripe)
    reader.poll()
    assert reader.ids(json_object["object"]) == {json_object["id"]}
    assert stripe.asked() == []


def test_two_events_of_an_object_in_a_second_have_it_read_again() -> None:
    stripe = quiet_stripe(**{"/v1/customers": [customer(name="now")]})
    stripe.announce("customer.created", customer(name="first"), created=NOW + 2)
    stripe.announce("customer.updated", customer(name="second"), created=NOW + 2, last_of_second=False)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert reader.values("customer", "name") == {"cus_1": "now"}
    assert stripe.asked(reason="ties") == ["/v1/customers/cus_1"]


def test_an_event_in_the_second_of_one_that_an_earlier_poll_read_has_it_read_again() -> None:
    stripe = quiet_stripe(**{"/v1/customers": [customer(name="now")]})
    stripe.announce("customer.created", customer(name="first"), created=NOW + 10)
    reader = Reader(stripe, "customer")
    reader.poll()
    assert stripe.asked() == []
    stripe.announce("customer.updated", customer(name="second"), created=NOW + 10, last_of_second=False)
    reader.poll(whole=False)
    assert reader.values("customer", "name") == {"cus_1": "now"}
    assert stripe.asked(reason="ties") == ["/v1/customers/cus_1"]


@pytest.mark.parametrize("in_two_polls", [False, True])
@pytest.mark.parametrize("shows_first", ["older", "newer"])
def test_where_no_path_answers_the_one_listed_first_in_a_second_counts(in_two_polls: bool, shows_first: str) -> None:
    stripe = quiet_stripe()
    older, newer = ({"id": "di_1", "object": "discount", "end": NOW + each} for each in (1, 2))
    late = {"late_by": 5} if in_two_polls else {}
    stripe.announce("customer.discount.created", older, created=NOW + 10, **(late if shows_first == "newer" else {}))
    stripe.announce("customer.discount.updated", newer, created=NOW + 10, **(late if shows_first == "older" else {}))
    reader = Reader(stripe, "discount")
    reader.poll()
    stripe.stripe_clock.now = NOW + 20
    reader.poll()
    assert reader.values("discount", "end") == {"di_1": moment((NOW + 2) * 1000)}


def test_a_price_is_read_again_for_what_events_leave_out() -> None:
    price = {"id": "price_1", "object": "price", "unit_amount": 5}
    full = {**price, "tiers": [{"up_to": 1}], "currency_options": {"eur": {"unit_amount": 4}}}
    stripe = quiet_stripe(**{"/v1/prices": [full]})
    stripe.announce("price.updated", price)
    reader = Reader(stripe, "price")
    reader.poll()
    assert [each.parameters for each in stripe.requests if each.path == "/v1/prices/price_1"] == [
        {"expand[]": ["tiers", "currency_options"]}
    ]
    assert reader.values("price", "currency_options") == {"price_1": {"eur": {"unit_amount": 4}}}


# What Stripe refuses


@pytest.mark.parametrize("refusal", [NO_PERMISSION, NOT_EXPANDABLE])
def test_what_is_not_expanded_is_read_without(refusal: tuple[int, str]) -> None:
    price = {"id": "price_1", "object": "price", "unit_amount": 5}
    stripe = quiet_stripe(**{"/v1/prices": [price]})
    stripe.expand_refusals["/v1/prices/price_1"] = refusal
    stripe.announce("price.updated", price)
    reader = Reader(stripe, "price")
    reader.poll()
    assert reader.values("price", "unit_amount") == {"price_1": 5}
    stripe.asked()
    stripe.stripe_clock.now = NOW + 20
    stripe.announce("price.updated", price)
    reader.poll()
    assert stripe.asked() == ["/v1/prices/price_1"]  # it is not tried again


def test_an_object_that_may_not_be_read_is_said_to_be_refused_and_the_rest_arrives() -> None:
    stripe = quiet_stripe()
    stripe.refusals["/v1/coupons/c"] = NO_PERMISSION
    stripe.announce("coupon.updated", {"id": "c", "object": "coupon"}, version=OLD_VERSION)
    announce_changes(stripe, 2)
    reader = Reader(stripe, "coupon", "customer")
    assert reader.poll() == 3
    (denied,) = [each for each in reader.items if type(each).__name__ == "StreamDenied"]
    assert (denied.name, denied.not_set_up) == ("coupon", False)
    assert "rak_some_read" in denied.reason
    assert len(reader.ids("customer")) == 2


@pytest.mark.parametrize(("kind", "there"), [("coupon.updated", {"c": "a"}), ("coupon.deleted", {})])
def test_of_what_no_path_answers_the_event_is_all_there_is(kind: str, there: dict[str, str]) -> None:
    stripe = quiet_stripe()
    stripe.refusals["/v1/coupons/c"] = (404, "Unrecognized request URL (GET: /v1/coupons/c).")
    stripe.announce("coupon.created", {"id": "c", "object": "coupon", "name": "a"}, created=NOW)
    stripe.announce(kind, {"id": "c", "object": "coupon", "name": "a"}, created=NOW)
    reader = Reader(stripe, "coupon")
    reader.poll()
    assert stripe.asked() == ["/v1/coupons/c"]
    assert reader.values("coupon", "name") == there


def test_any_other_refusal_ends_the_run_and_says_of_what() -> None:
    stripe = quiet_stripe()
    stripe.refusals["/v1/coupons/c"] = (400, "Something is wrong.")
    stripe.announce("coupon.updated", {"id": "c", "object": "coupon"}, version=OLD_VERSION)
    with pytest.raises(RequestRefusedError, match=r"/v1/coupons/\{id\}.*Something is wrong"):
        Reader(stripe, "coupon").poll()
    stripe.refusals[EVENTS] = (400, "Something else is wrong.")
    with pytest.raises(RequestRefusedError, match=r"/v1/events.*Something else is wrong"):
        Reader(stripe, "coupon").poll()


def test_secrets_of_one_page_are_hidden_although_the_next_page_holds_none() -> None:
    intent = {"id": "pi_1", "object": "payment_intent", "amount": 5, "client_secret": "pi_1_secret_2"}
    stripe = quiet_stripe()
    announce_changes(stripe, 150, created=NOW)
    stripe.announce("payment_intent.created", intent, created=NOW + 5)
    reader = Reader(stripe, "payment_intent")
    reader.poll()
    assert reader.values("payment_intent", "amount") == {"pi_1": 5}
    assert "pi_1_secret_2" not in str(reader.items)


@pytest.mark.parametrize("version", [API_VERSION, OLD_VERSION])
def test_what_only_an_event_tells_is_stored_without_secrets(version: str) -> None:
    intent = {"id": "pi_1", "object": "payment_intent", "amount": 5, "client_secret": "pi_1_secret_2"}
    stripe = quiet_stripe()
    stripe.refusals["/v1/payment_intents/pi_1"] = NOT_SET_UP
    stripe.announce("payment_intent.created", intent, version=version)
    reader = Reader(stripe, "payment_intent")
    reader.poll()
    assert reader.values("payment_intent", "amount") == {"pi_1": 5}
    assert "pi_1_secret_2" not in str(reader.items)


@pytest.mark.parametrize("shows_first", ["older", "newer"])
def test_so_it_is_if_what_no_path_answers_changes_twice_in_a_second(shows_first: str) -> None:
    stripe = quiet_stripe()
    stripe.refusals["/v1/coupons/c"] = (404, "Unrecognized request URL (GET: /v1/coupons/c).")
    for kind, name in (("created", "older"), ("updated", "newer")):
        late_by = 0 if name == shows_first else 5
        coupon = {"id": "c", "object": "coupon", "name": name}
        stripe.announce(f"coupon.{kind}", coupon, created=NOW + 10, version=OLD_VERSION, late_by=late_by)
    reader = Reader(stripe, "coupon")
    reader.poll()
    assert reader.values("coupon", "name") == {"c": shows_first}
    stripe.stripe_clock.now = NOW + 20
    reader.poll()
    assert reader.values("coupon", "name") == {"c": "newer"}


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [(NO_PERMISSION, "the key lacks the permission rak_some_read"), (NOT_SET_UP, NOT_SET_UP[1].rstrip("."))],
)
def test_a_feed_that_may_not_be_read_ends_the_poll_and_says_so(refusal: tuple[int, str], reason: str) -> None:
    stripe = quiet_stripe()
    stripe.refusals[EVENTS] = refusal
    reader = Reader(stripe, "customer")
    assert reader.poll() == 0
    assert reader.items == [FeedDenied(reason=reason)]
    assert not reader.feed.polling


def test_events_are_no_rows_themselves_where_these_may_not_be_read() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 3)
    reader = Reader(stripe, "customer", "event")
    reader.poll(ignored=frozenset({"event"}))
    assert (len(reader.ids("customer")), reader.ids("event")) == (3, set())


def test_events_of_ignored_types_are_left_out_and_come_when_these_are_not_ignored_any_more() -> None:
    stripe = quiet_stripe()
    announce_changes(stripe, 3)
    stripe.announce("coupon.created", {"id": "c", "object": "coupon"})
    reader = Reader(stripe, "coupon", "customer")
    reader.poll(ignored=frozenset({"customer"}))
    assert (reader.ids("coupon"), reader.ids("customer")) == ({"c"}, set())
    reader.poll()
    assert len(reader.ids("customer")) == 3


def test_other_types_are_ignored_only_when_nothing_is_under_way_any_more() -> None:
    stripe = quiet_stripe(**{"/v1/coupons": [{"id": "c", "object": "coupon"}]})
    stripe.announce("coupon.updated", {"id": "c", "object": "coupon"}, version=OLD_VERSION)
    reader = Reader(stripe, "coupon", "customer")
    flight = Flight(stripe)  # type: ignore[arg-type]
    reader.feed.begin(NOW, whole=True)
    while reader.feed.polling:
        flight.submit([reader.feed])
        taken = flight.take(0.0)
        assert taken is not None
        list(taken[1])
    reader.feed.begin(NOW, whole=True, ignored=frozenset({"customer"}))  # the coupon is not read again yet
    assert not reader.feed.polling
    assert reader.feed.ignored == frozenset()
    flight.submit([reader.feed])
    taken = flight.take(0.0)
    assert taken is not None
    assert UpTo(second=NOW + 10) in list(taken[1])
    reader.feed.begin(NOW, whole=True, ignored=frozenset({"customer"}))
    assert reader.feed.polling
    assert reader.feed.ignored == {"customer"}


def test_the_feed_is_asked_for_nothing_before_it_is_told_to_begin() -> None:
    stripe = quiet_stripe()
    reader = Reader(stripe, "customer")
    assert isinstance(reader.feed, Feed)
    assert not any(reader.feed.queues)
    assert not reader.feed.polling
