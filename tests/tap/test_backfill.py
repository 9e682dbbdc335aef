"""The backfill against lists in memory: what is delivered, in how many requests, and from where it goes on."""

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in import NOW, StandInStripe, drive

from tap_stripe_events.backfill import Backfill, ListClosed, WindowsMoved
from tap_stripe_events.bookmarks import OpenWindow
from tap_stripe_events.changes import CHILDREN, Change
from tap_stripe_events.client import Answer, Request
from tap_stripe_events.errors import EndlessListError, NotAListError, RequestRefusedError, UnfinishedListError
from tap_stripe_events.families import root_lists
from tap_stripe_events.gather import ChildListDenied
from tap_stripe_events.objects import StripeList

CHARGES = "/v1/charges"


def root(path: str) -> StripeList:
    return next(each for each in root_lists() if each.path == path)


def whole(path: str) -> dict[StripeList, list[OpenWindow]]:
    a_list = root(path)
    return {a_list: [OpenWindow(path=path, parameters=dict(each)) for each in a_list.passes]}


def charges(times: list[int]) -> list[dict[str, Any]]:
    return [{"id": f"ch_{position}", "object": "charge", "created": time} for position, time in enumerate(times)]


def backfill(
    stripe: StandInStripe, windows: dict[StripeList, list[OpenWindow]], *selected: str, **how: Any
) -> Backfill:
    return Backfill(client=stripe, windows=windows, selected=selected, account_id="acct_1", **how)


def read(stripe: StandInStripe, windows: dict[StripeList, list[OpenWindow]], *selected: str, **how: Any) -> list[Any]:
    return list(drive(stripe, backfill(stripe, windows, *selected, **how)))


def records(items: list[Any], stream: str) -> list[dict[str, Any]]:
    return [dict(each.record) for each in items if isinstance(each, Change) and each.stream == stream]


def ids(items: list[Any], stream: str) -> list[str]:
    return [each["id"] for each in records(items, stream)]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 201, 5000])
def test_every_object_of_a_list_is_delivered_once(count: int) -> None:
    stripe = StandInStripe({CHARGES: charges([NOW - 60 * each for each in range(count)])})
    items = read(stripe, whole(CHARGES), "charge")
    assert sorted(ids(items, "charge")) == sorted(f"ch_{each}" for each in range(count))
    assert items[-1] == ListClosed(root=root(CHARGES))


def test_a_crowd_in_one_second_is_delivered_once() -> None:
    stripe = StandInStripe({CHARGES: charges([NOW] * 5000)})
    items = read(stripe, whole(CHARGES), "charge")
    assert len(ids(items, "charge")) == len(set(ids(items, "charge"))) == 5000
    assert len(stripe.requests) <= 50 + 5  # five looks into seconds that turn out empty


def test_a_long_list_is_split_and_costs_few_requests_more_than_its_pages() -> None:
    rng = random.Random(7)
    times = [NOW - int(rng.expovariate(1 / 5_000_000)) for _ in range(100_000)]
    stripe = StandInStripe({CHARGES: charges(times)}, in_flight=16)
    items = read(stripe, whole(CHARGES), "charge")
    assert len(set(ids(items, "charge"))) == 100_000
    assert len(stripe.requests) <= 1000 * 1.05
    widest = max(len(each.windows) for each in items if isinstance(each, WindowsMoved))
    assert widest >= 8


@settings(max_examples=60)
@given(
    times=st.lists(st.integers(NOW - 400_000_000, NOW), min_size=0, max_size=1200),
    crowd=st.integers(0, 400),
    seed=st.integers(0, 1000),
)
def test_windows_tile_whatever_the_times(times: list[int], crowd: int, seed: int) -> None:
    all_times = times + [NOW - 1000] * crowd
    stripe = StandInStripe({CHARGES: charges(all_times)}, in_flight=6, seed=seed)
    items = read(stripe, whole(CHARGES), "charge")
    assert len(ids(items, "charge")) == len(set(ids(items, "charge"))) == len(all_times)


@settings(max_examples=60)
@given(stop=st.integers(0, 3000), seed=st.integers(0, 1000), count=st.integers(100, 2500))
def test_a_killed_backfill_goes_on_where_its_bookmark_is(stop: int, seed: int, count: int) -> None:
    rng = random.Random(seed)
    lists = {CHARGES: charges([NOW - rng.randrange(1_000_000) for _ in range(count)])}
    first, second = StandInStripe(lists, seed=seed), StandInStripe(lists, seed=seed + 1)
    windows: Any = whole(CHARGES)
    delivered: list[Any] = []
    for item in itertools.islice(drive(first, backfill(first, windows, "charge")), stop):
        delivered.append(item)
        if isinstance(item, WindowsMoved):
            stored = [each.to_json() for each in item.windows]  # as the state holds it
            windows = {item.root: [OpenWindow.from_json(each) for each in stored]}
    rest = read(second, windows, "charge")
    assert set(ids(delivered, "charge")) | set(ids(rest, "charge")) == {f"ch_{each}" for each in range(count)}


def test_a_resumed_backfill_asks_for_no_page_twice_but_those_under_way() -> None:
    lists = {CHARGES: charges([NOW - 60 * each for each in range(20_000)])}
    first, second = StandInStripe(lists), StandInStripe(lists)
    windows: Any = whole(CHARGES)
    for item in drive(first, backfill(first, windows, "charge")):
        if isinstance(item, WindowsMoved):
            windows = {item.root: list(item.windows)}
            if first.requests_sent >= 100:
                break
    read(second, windows, "charge")
    assert first.requests_sent + second.requests_sent <= 200 * 1.2


def test_the_object_under_the_cursor_vanishes_between_two_pages() -> None:
    stripe = StandInStripe({CHARGES: charges([NOW - each // 3 for each in range(450)])}, in_flight=1)
    vanished: list[str] = []

    def vanish(request: Any) -> None:
        after = request.parameters.get("starting_after")
        if after and len(vanished) < 9:  # several in a row: more than are remembered of a page
            vanished.append(after)
            stripe.lists[CHARGES] = [each for each in stripe.lists[CHARGES] if each["id"] != after]

    stripe.before_answer = vanish
    items = read(stripe, whole(CHARGES), "charge")
    assert set(ids(items, "charge")) >= {each["id"] for each in stripe.lists[CHARGES]}


def test_a_page_that_repeats_ends_with_an_error() -> None:
    stripe = StandInStripe({CHARGES: charges([NOW - each for each in range(300)])})
    answer = stripe._answer

    def stuck(request: Request) -> Answer:
        parameters = {key: value for key, value in request.parameters.items() if key != "starting_after"}
        return answer(replace(request, parameters=parameters))

    stripe._answer = stuck  # type: ignore[method-assign]
    with pytest.raises(EndlessListError, match=r"came the same page again, ending with ch_99\..*If memory: is Stripe"):
        read(stripe, whole(CHARGES), "charge")


def test_a_list_in_an_order_of_its_own_is_read_whole() -> None:
    found = [{"id": f"ch_{each}", "object": "charge"} for each in range(500)]  # without times, in their own order
    items = read(StandInStripe({CHARGES: found}), whole(CHARGES), "charge")
    assert len(set(ids(items, "charge"))) == 500


def test_nothing_before_the_start_date_is_asked_for() -> None:
    stripe = StandInStripe({CHARGES: charges([NOW - 86_400 * each for each in range(1000)])})
    items = read(stripe, whole(CHARGES), "charge", floor=NOW - 86_400 * 300)
    assert len(ids(items, "charge")) == 301
    assert all(each.parameters["created[gte]"] >= NOW - 86_400 * 300 for each in stripe.requests)


def test_a_list_of_which_nothing_is_left_to_read_is_closed_at_once_and_once() -> None:
    source = backfill(StandInStripe({}), {root(CHARGES): []}, "charge")
    assert list(source.begin()) == [ListClosed(root=root(CHARGES))]
    assert list(source.begin()) == []
    assert not any(source.queues)


def test_a_backfill_that_is_begun_twice_asks_once() -> None:
    source = backfill(StandInStripe({}), whole(CHARGES), "charge")
    assert list(source.begin()) == list(source.begin()) == []
    assert sum(len(each) for each in source.queues) == 1


@pytest.mark.parametrize("how", [{}, {"reason": "sweeps"}])
def test_a_page_is_asked_for_for_a_reason(how: dict[str, str]) -> None:
    stripe = StandInStripe({CHARGES: charges([NOW] * 250)})
    read(stripe, whole(CHARGES), "charge", **how)
    assert {(each.endpoint, each.reason) for each in stripe.requests} == {(CHARGES, how.get("reason", "lists"))}


def test_the_lists_that_were_not_read_are_named() -> None:
    source = backfill(StandInStripe({}), whole(CHARGES) | whole("/v1/refunds"), "charge", "refund")
    with pytest.raises(UnfinishedListError, match=r"lists /v1/charges, /v1/refunds were not read"):
        source.check_finished()


def test_of_children_before_the_start_date_nothing_is_read() -> None:
    path = "/v1/customers/cus_1/balance_transactions"
    moves = [
        {"id": f"cbtxn_{age}", "object": "customer_balance_transaction", "customer": "cus_1", "created": NOW - age}
        for age in (0, 60, 61)
    ]
    there = {"id": "cus_1", "object": "customer", "created": NOW, "balance": 5}
    stripe = StandInStripe(customer_lists([there]) | {path: moves})
    items = read(stripe, whole("/v1/customers"), "customer", "customer_balance_transaction", floor=NOW - 60)
    assert ids(items, "customer_balance_transaction") == ["cbtxn_0", "cbtxn_60"]


@pytest.mark.parametrize("copied", [(), ("customer",)])
def test_what_others_hold_whole_is_wanted_if_it_is_said_to_be(copied: tuple[str, ...]) -> None:
    holder = {"id": "ch_1", "object": "charge", "created": NOW, "customer": {"id": "cus_1", "object": "customer"}}
    items = read(StandInStripe({CHARGES: [holder]}), whole(CHARGES), "charge", copied=copied)
    assert ids(items, "customer") == ["cus_1"] * len(copied)


def test_a_long_list_that_is_split_is_not_read_before_the_start_date() -> None:
    floor = NOW - 600_000
    stripe = StandInStripe({CHARGES: charges([NOW - 100 * each for each in range(8_000)])}, in_flight=16)
    items = read(stripe, whole(CHARGES), "charge", floor=floor)
    assert set(ids(items, "charge")) == {f"ch_{each}" for each in range(6_001)}
    assert max(len(each.windows) for each in items if isinstance(each, WindowsMoved)) > 1
    assert all(each.parameters["created[gte]"] >= floor for each in stripe.requests)


@pytest.mark.parametrize("in_flight", [1, 4, 16])
def test_a_list_is_split_into_no_more_windows_than_requests_may_be_in_flight(in_flight: int) -> None:
    stripe = StandInStripe({CHARGES: charges([NOW - 1000 * each for each in range(5_000)])}, in_flight=in_flight)
    items = read(stripe, whole(CHARGES), "charge")
    widest = max(len(each.windows) for each in items if isinstance(each, WindowsMoved))
    assert widest <= in_flight
    assert len(ids(items, "charge")) == 5_000


@pytest.mark.parametrize("seed", range(5))
def test_of_several_long_lists_none_has_to_wait_for_windows_until_others_are_read(seed: int) -> None:
    paths = CHARGES, "/v1/refunds", "/v1/payouts", "/v1/transfers"
    found = charges([NOW - 100 * each for each in range(10_000)])
    kinds = {path: path.removeprefix("/v1/").removesuffix("s") for path in paths}
    stripe = StandInStripe(
        {path: [each | {"object": kinds[path]} for each in found] for path in paths}, in_flight=16, seed=seed
    )
    windows = {each: rest for path in paths for each, rest in whole(path).items()}
    items = read(stripe, windows, *kinds.values())
    first_end = next(place for place, each in enumerate(items) if isinstance(each, ListClosed))
    assert len(stripe.requests) <= 400 * 1.1
    assert first_end >= 0.6 * len(items), first_end / len(items)


def test_what_there_is_one_of_is_the_accounts_own() -> None:
    stripe = StandInStripe({"/v1/balance": {"object": "balance", "available": [{"amount": 7}]}})
    items = read(stripe, whole("/v1/balance"), "balance")
    (record,) = records(items, "balance")
    assert (record["account_id"], record["available"]) == ("acct_1", [{"amount": 7}])
    assert items[-1] == ListClosed(root=root("/v1/balance"))


def test_what_there_is_one_of_and_is_not_there_closes_its_list() -> None:
    items = read(StandInStripe({}), whole("/v1/balance"), "balance")
    (closed,) = items
    assert (closed.root, closed.not_set_up) == (root("/v1/balance"), True)
    assert closed.refused


@pytest.mark.parametrize("path", ["/v1/payment_intents", "/v1/account"])
def test_secrets_of_a_page_are_not_stored(path: str) -> None:
    name = "account" if path == "/v1/account" else "payment_intent"
    there = {"id": "x_1", "object": name, "created": NOW, "client_secret": "x_1_secret_2"}
    items = read(StandInStripe({path: there if name == "account" else [there]}), whole(path), name)
    assert ids(items, name) == ["x_1"]
    assert "x_1_secret_2" not in str(items)


def test_what_is_no_list_ends_the_run() -> None:
    stripe = StandInStripe({CHARGES: {"object": "charge"}})
    with pytest.raises(NotAListError, match=r"/v1/charges .*\(object: charge\)\. If memory: is"):
        read(stripe, whole(CHARGES), "charge")


def test_a_list_that_is_refused_while_more_of_its_pages_are_on_their_way_is_closed_once() -> None:
    """The passes of prices are read side by side."""
    stripe = StandInStripe({"/v1/prices": []})
    stripe.refusals["/v1/prices"] = (403, "Having the 'rak_plan_read' permission would allow this.")
    windows = whole("/v1/prices")
    assert len(windows[root("/v1/prices")]) == 2
    assert read(stripe, windows, "price") == [
        ListClosed(root=root("/v1/prices"), refused="the key lacks the permission rak_plan_read")
    ]


def test_an_invoice_comes_before_its_lines_and_names_all_of_them() -> None:
    lines = [{"id": f"il_{each}", "object": "line_item", "amount": each} for each in range(25)]
    invoice = {
        "id": "in_1",
        "object": "invoice",
        "created": NOW,
        "lines": {"object": "list", "data": lines[:10], "has_more": True, "url": "/v1/invoices/in_1/lines"},
    }
    stripe = StandInStripe({"/v1/invoices": [invoice], "/v1/invoices/in_1/lines": lines})
    items = read(stripe, whole("/v1/invoices"), "invoice", "line_item")
    changes = [each for each in items if isinstance(each, Change)]
    assert [each.stream for each in changes] == ["invoice"] + ["line_item"] * 25
    assert {each.record["invoice_id"] for each in changes[1:]} == {"in_1"}
    assert sorted(changes[0].record[CHILDREN]["line_item"]) == sorted(each["id"] for each in lines)
    rest = next(each for each in stripe.requests if each.path.endswith("/lines"))
    assert rest.parameters["starting_after"] == "il_9"  # what was embedded is not asked for again


def test_a_list_whose_rest_cannot_be_read_is_not_called_complete() -> None:
    line = {"id": "il_1", "object": "line_item"}
    invoice = {
        "id": "in_1",
        "object": "invoice",
        "created": NOW,
        "lines": {"object": "list", "data": [line], "has_more": True, "url": "/v1/invoices/in_1/lines"},
    }
    stripe = StandInStripe({"/v1/invoices": [invoice]})  # the invoice vanished before its lines were asked for
    source = backfill(stripe, whole("/v1/invoices"), "invoice", "line_item")
    items = list(drive(stripe, source))
    assert CHILDREN not in records(items, "invoice")[0]
    assert sum(source.skipped.values()) == 1


def customer(number: int, **fields: Any) -> dict[str, Any]:
    empty = {"object": "list", "data": [], "has_more": False}
    return {
        "id": f"cus_{number}",
        "object": "customer",
        "created": NOW - number,
        "balance": 0,
        "test_clock": None,
        "cash_balance": None,
        "tax_ids": empty,
        "sources": empty,
        **fields,
    }


CUSTOMER_FAMILY = (
    "customer",
    "payment_method",
    "tax_id",
    "card",
    "bank_account",
    "source",
    "cash_balance",
    "customer_balance_transaction",
    "customer_cash_balance_transaction",
    "entitlements.active_entitlement",
)


def customer_lists(customers: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    lists: dict[str, list[dict[str, Any]]] = {"/v1/customers": customers, "/v1/entitlements/features": []}
    for each in customers:
        lists[f"/v1/customers/{each['id']}/payment_methods"] = []
        lists[f"/v1/customers/{each['id']}/balance_transactions"] = []
        lists[f"/v1/customers/{each['id']}/cash_balance_transactions"] = []
    return lists


def test_quiet_customers_cost_one_request_each() -> None:
    stripe = StandInStripe(customer_lists([customer(each) for each in range(1000)]))
    items = read(stripe, whole("/v1/customers"), *CUSTOMER_FAMILY)
    assert len(ids(items, "customer")) == 1000
    # payment methods, pages, the sample of two kinds of list, and the question whether there are features
    assert len(stripe.requests) <= 1000 + 12 + 2 * 25 + 1


def test_signals_lead_to_the_lists_they_speak_of() -> None:
    customers = [customer(each) for each in range(200)]
    customers[150] |= {"balance": -500}
    customers[160] |= {
        "cash_balance": {"object": "cash_balance", "customer": "cus_160", "available": {"eur": 0}, "livemode": False}
    }
    lists = customer_lists(customers)
    lists["/v1/customers/cus_150/balance_transactions"] = [
        {"id": "cbtxn_1", "object": "customer_balance_transaction", "created": NOW, "amount": -500}
    ]
    stripe = StandInStripe(lists)
    items = read(stripe, whole("/v1/customers"), *CUSTOMER_FAMILY)
    assert ids(items, "customer_balance_transaction") == ["cbtxn_1"]
    assert [each["customer_id"] for each in records(items, "cash_balance")] == ["cus_160"]
    assert "cash_balance" not in records(items, "customer")[0]
    asked = {each.path for each in stripe.requests}
    assert "/v1/customers/cus_160/cash_balance_transactions" in asked
    assert "/v1/customers/cus_190/balance_transactions" not in asked


def test_signals_that_a_sample_proves_wrong_are_not_trusted() -> None:
    lists = customer_lists([customer(each) for each in range(300)])
    for number in (3, 250):
        lists[f"/v1/customers/cus_{number}/balance_transactions"] = [
            {"id": f"cbtxn_{number}", "object": "customer_balance_transaction", "created": NOW}
        ]
    items = read(StandInStripe(lists), whole("/v1/customers"), *CUSTOMER_FAMILY)
    assert sorted(ids(items, "customer_balance_transaction")) == ["cbtxn_250", "cbtxn_3"]


def test_what_stripe_does_not_expand_is_asked_for() -> None:
    customers = [customer(each) for each in range(3)]
    for each in customers:
        del each["tax_ids"], each["sources"]
    lists = customer_lists(customers)
    for each in customers:
        lists[f"/v1/customers/{each['id']}/tax_ids"] = [{"id": f"txi_{each['id']}", "object": "tax_id"}]
        lists[f"/v1/customers/{each['id']}/sources"] = []
    items = read(StandInStripe(lists), whole("/v1/customers"), *CUSTOMER_FAMILY)
    assert sorted(ids(items, "tax_id")) == ["txi_cus_0", "txi_cus_1", "txi_cus_2"]
    first = next(each for each in records(items, "customer") if each["id"] == "cus_0")
    assert first[CHILDREN] == {"bank_account": [], "card": [], "tax_id": ["txi_cus_0"]}


def test_only_what_is_selected_is_asked_for() -> None:
    stripe = StandInStripe(customer_lists([customer(each) for each in range(50)]))
    items = read(stripe, whole("/v1/customers"), "customer")
    assert len(ids(items, "customer")) == 50
    assert [each.path for each in stripe.requests] == ["/v1/customers"]
    assert "expand[]" not in stripe.requests[0].parameters


def test_a_refused_list_closes_and_the_others_go_on() -> None:
    stripe = StandInStripe({CHARGES: charges([NOW]), "/v1/refunds": []})
    message = "The provided key lacks permissions. Having the 'rak_refund_read' permission would allow this request."
    stripe.refusals["/v1/refunds"] = (403, message)
    items = read(stripe, whole(CHARGES) | whole("/v1/refunds"), "charge", "refund")
    assert ids(items, "charge") == ["ch_0"]
    refused = ListClosed(root=root("/v1/refunds"), refused="the key lacks the permission rak_refund_read")
    assert refused in items


def test_a_list_that_is_refused_at_a_later_page_is_closed_once_whatever_is_still_under_way() -> None:
    customers = [customer(each, balance=5) for each in range(150)]
    stripe = StandInStripe(customer_lists(customers), in_flight=16)

    def refuse_later_pages(request: Request) -> None:
        if "starting_after" in request.parameters:
            stripe.refusals["/v1/customers"] = (403, "needs 'rak_customer_read'")

    stripe.before_answer = refuse_later_pages
    items = read(stripe, whole("/v1/customers"), *CUSTOMER_FAMILY)
    assert [each.root.path for each in items if isinstance(each, ListClosed)] == ["/v1/customers"]


def test_a_refused_child_list_closes_alone() -> None:
    customers = [customer(each) for each in range(120)]
    stripe = StandInStripe(customer_lists(customers))
    for each in customers:
        stripe.refusals[f"/v1/customers/{each['id']}/payment_methods"] = (403, "needs 'rak_payment_method_read'")
    items = read(stripe, whole("/v1/customers"), *CUSTOMER_FAMILY)
    denied = [each for each in items if isinstance(each, ChildListDenied)]
    assert [each.reason for each in denied] == ["the key lacks the permission rak_payment_method_read"]
    assert len(ids(items, "customer")) == 120
    assert sum("payment_methods" in each.path for each in stripe.requests) <= stripe.max_concurrent_requests


def test_an_unset_up_product_is_an_empty_list_with_a_reason() -> None:
    stripe = StandInStripe({})
    stripe.refusals["/v1/issuing/cards"] = (400, "Your account is not set up to use Issuing. Please visit …")
    closed = read(stripe, whole("/v1/issuing/cards"), "issuing.card")[-1]
    assert closed.not_set_up
    assert closed.refused.startswith("Your account is not set up")


def test_any_other_refusal_ends_the_run() -> None:
    stripe = StandInStripe({})
    stripe.refusals[CHARGES] = (404, "No such list")
    with pytest.raises(RequestRefusedError, match=r"/v1/charges .*HTTP 404.* Deselect the stream charge"):
        read(stripe, whole(CHARGES), "charge")


def test_a_closed_review_is_found_by_its_charge() -> None:
    charge = {"id": "ch_1", "object": "charge", "created": NOW, "review": "prv_1"}
    review = {"id": "prv_1", "object": "review", "created": NOW, "open": False}
    stripe = StandInStripe({CHARGES: [charge], "/v1/reviews": [], "/v1/reviews/prv_1": review})
    items = read(stripe, whole(CHARGES) | whole("/v1/reviews"), "charge", "review")
    assert ids(items, "review") == ["prv_1"]


def test_an_inline_price_is_asked_for_once() -> None:
    def invoice(number: int) -> dict[str, Any]:
        pricing = {"price_details": {"price": "price_inline", "product": "prod_1"}}
        line = {"id": f"il_{number}", "object": "line_item", "pricing": pricing}
        lines = {"object": "list", "data": [line], "has_more": False}
        return {"id": f"in_{number}", "object": "invoice", "created": NOW - number, "lines": lines}

    price = {"id": "price_inline", "object": "price", "active": False, "unit_amount": 5}
    stripe = StandInStripe({"/v1/invoices": [invoice(each) for each in range(30)], "/v1/prices/price_inline": price})
    items = read(stripe, whole("/v1/invoices"), "invoice", "line_item", "price")
    assert ids(items, "price") == ["price_inline"]
    assert sum(each.path == "/v1/prices/price_inline" for each in stripe.requests) == 1


def test_a_test_clocks_customers_are_read_with_their_family() -> None:
    clock = {"id": "clock_1", "object": "test_helpers.test_clock", "created": NOW}
    hidden = customer(1, test_clock="clock_1")
    lists = customer_lists([hidden])
    lists |= {
        "/v1/test_helpers/test_clocks": [clock],
        "/v1/subscription_schedules": [
            {"id": "sub_sched_1", "object": "subscription_schedule", "created": NOW, "customer": "cus_1"}
        ],
        "/v1/customers/cus_1/payment_methods": [{"id": "pm_1", "object": "payment_method", "customer": "cus_1"}],
    }
    selected = (*CUSTOMER_FAMILY, "test_helpers.test_clock", "subscription_schedule")
    items = read(StandInStripe(lists), whole("/v1/test_helpers/test_clocks"), *selected)
    assert ids(items, "customer") == ["cus_1"]
    assert ids(items, "payment_method") == ["pm_1"]
    assert ids(items, "subscription_schedule") == ["sub_sched_1"]


def test_what_its_own_list_brings_is_not_asked_for_by_reference() -> None:
    def invoice(number: int) -> dict[str, Any]:
        pricing = {"price_details": {"price": f"price_{number}", "product": "prod_1"}}
        line = {"id": f"il_{number}", "object": "line_item", "pricing": pricing}
        return {
            "id": f"in_{number}",
            "object": "invoice",
            "created": NOW - number,
            "lines": {"object": "list", "data": [line], "has_more": False},
        }

    prices = [{"id": f"price_{each}", "object": "price", "active": True, "created": NOW - each} for each in range(29)]
    lists = {
        "/v1/invoices": [invoice(each) for each in range(30)],
        "/v1/prices": prices,
        "/v1/prices/price_29": {"id": "price_29", "object": "price", "active": True},
    }
    stripe = StandInStripe(lists, seed=3)
    windows = whole("/v1/invoices") | whole("/v1/prices")
    items = read(stripe, windows, "invoice", "line_item", "price")
    assert sorted(ids(items, "price")) == sorted(f"price_{each}" for each in range(30))
    assert len(ids(items, "invoice")) == 30
    assert [each.path for each in stripe.requests if each.path.startswith("/v1/prices/")] == ["/v1/prices/price_29"]


def closed_lists(items: list[Any]) -> set[str]:
    return {each.root.path for each in items if isinstance(each, ListClosed)}


def refuse_for_every_customer(stripe: StandInStripe, path: str) -> None:
    """Refuse a child list for every customer."""
    for each in range(1000):
        stripe.refusals[path.replace("{customer}", f"cus_{each}")] = (403, "needs 'rak_some_read'")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("in_flight", [2, 8, 40])
def test_a_sampled_list_that_is_refused_holds_nothing_back(seed: int, in_flight: int) -> None:
    stripe = StandInStripe(customer_lists([customer(each) for each in range(250)]), in_flight=in_flight, seed=seed)
    refuse_for_every_customer(stripe, "/v1/customers/{customer}/balance_transactions")
    items = read(stripe, whole("/v1/customers"), *CUSTOMER_FAMILY)
    assert len(ids(items, "customer")) == 250
    assert closed_lists(items) == {"/v1/customers"}


def test_a_refused_list_that_waits_for_a_product_holds_nothing_back() -> None:
    lists = customer_lists([customer(each) for each in range(150)])
    lists["/v1/entitlements/features"] = [{"id": "feat_1", "object": "entitlements.feature"}]
    for answer in ([], [{"id": "feat_1", "object": "entitlements.feature"}]):
        stripe = StandInStripe(lists | {"/v1/entitlements/features": answer})
        stripe.refusals["/v1/entitlements/active_entitlements"] = (403, "needs 'rak_entitlement_read'")
        items = read(stripe, whole("/v1/customers"), *CUSTOMER_FAMILY)
        assert len(ids(items, "customer")) == 150
        assert closed_lists(items) == {"/v1/customers"}


def test_a_unit_that_never_completes_ends_the_run() -> None:
    stripe = StandInStripe(customer_lists([customer(each) for each in range(5)]))
    source = backfill(stripe, whole("/v1/customers"), *CUSTOMER_FAMILY)
    lost: list[Request] = []

    def lose(request: Request) -> None:
        if request.path.endswith("/payment_methods") and not lost:
            lost.append(request)
            request.purpose.unit.open += 1  # as a fault in the counting would

    stripe.before_answer = lose
    with pytest.raises(UnfinishedListError, match="/v1/customers"):
        list(drive(stripe, source))


@pytest.mark.parametrize("vanishes_after", [1, 2, 3])
def test_the_object_under_the_cursor_of_a_child_list_vanishes(vanishes_after: int) -> None:
    lines = [{"id": f"il_{each}", "object": "line_item"} for each in range(450)]
    invoice = {
        "id": "in_1",
        "object": "invoice",
        "created": NOW,
        "lines": {"object": "list", "data": lines[:10], "has_more": True},
    }
    path = "/v1/invoices/in_1/lines"
    stripe = StandInStripe({"/v1/invoices": [invoice], path: lines})

    def vanish(request: Request) -> None:
        if request.path == path and sum(each.path == path for each in stripe.requests) == vanishes_after + 1:
            gone = request.parameters["starting_after"]
            stripe.lists[path] = [each for each in stripe.lists[path] if each["id"] != gone]

    stripe.before_answer = vanish
    items = read(stripe, whole("/v1/invoices"), "invoice", "line_item")
    there = {each["id"] for each in stripe.lists[path]}
    assert len(there) == 449
    assert set(ids(items, "line_item")) >= there
    assert set(records(items, "invoice")[0][CHILDREN]["line_item"]) == there


def test_a_child_list_whose_cursors_keep_vanishing_ends_the_run() -> None:
    lines = [{"id": f"il_{each}", "object": "line_item"} for each in range(4500)]
    invoice = {"id": "in_1", "object": "invoice", "created": NOW}
    path = "/v1/invoices/in_1/lines"
    stripe = StandInStripe({"/v1/invoices": [invoice], path: lines})

    def vanish(request: Request) -> None:
        if gone := request.parameters.get("starting_after"):
            stripe.lists[path] = [each for each in stripe.lists[path] if each["id"] != gone]

    stripe.before_answer = vanish
    with pytest.raises(RequestRefusedError, match="lines"):
        read(stripe, whole("/v1/invoices"), "invoice", "line_item")


@pytest.mark.parametrize("found", [0, 40])
def test_a_signal_that_had_to_be_expanded_says_nothing_when_it_was_not(found: int) -> None:
    intents = [{"id": f"pi_{each}", "object": "payment_intent", "created": NOW - each} for each in range(60)]
    lists: dict[str, Any] = {"/v1/payment_intents": intents}
    for each in intents:
        lists[f"/v1/payment_intents/{each['id']}/amount_details_line_items"] = []
    line = {"id": "uli_1", "object": "payment_intent_amount_details_line_item"}
    lists[f"/v1/payment_intents/pi_{found}/amount_details_line_items"] = [line]
    stripe = StandInStripe(lists)
    answer = stripe._answer

    def without_expansion(request: Request) -> Answer:
        if "expand[]" in request.parameters:
            return stripe._refused(request, 400, message="This property cannot be expanded (amount_details).")
        return answer(request)

    stripe._answer = without_expansion  # type: ignore[method-assign]
    child = "payment_intent_amount_details_line_item"
    items = read(stripe, whole("/v1/payment_intents"), "payment_intent", child)
    assert ids(items, child) == ["uli_1"]
    of_parent = {each["id"]: each.get(CHILDREN) for each in records(items, "payment_intent")}
    assert of_parent[f"pi_{found}"] == {child: ["uli_1"]}


def test_a_list_with_a_few_objects_a_decade_is_not_split_before_time() -> None:
    times = [NOW - 3_000_000 * each for each in range(450)]
    stripe = StandInStripe({CHARGES: charges(times)}, in_flight=16)
    items = read(stripe, whole(CHARGES), "charge")
    assert len(set(ids(items, "charge"))) == 450
    bounds = [
        value for each in stripe.requests for name, value in each.parameters.items() if name.startswith("created")
    ]
    assert all(value >= 0 for value in bounds)


def test_an_embedded_object_of_an_unknown_type_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    sources = {"object": "list", "data": [{"id": "btc_1", "object": "bitcoin_receiver"}], "has_more": False}
    stripe = StandInStripe(customer_lists([customer(1, sources=sources)]))
    items = read(stripe, whole("/v1/customers"), *CUSTOMER_FAMILY)
    assert ids(items, "customer") == ["cus_1"]
    assert "bitcoin_receiver" in caplog.text


@pytest.mark.parametrize("identifier", [None, 7])
def test_an_object_without_a_key_has_no_row(identifier: Any) -> None:
    stripe = StandInStripe({CHARGES: [{"id": identifier, "object": "charge", "created": NOW}]})
    items = read(stripe, whole(CHARGES), "charge")
    assert records(items, "charge") == []


@settings(max_examples=80)
@given(
    seed=st.integers(0, 100_000),
    count=st.integers(1, 260),
    in_flight=st.integers(1, 12),
    refused=st.sets(st.sampled_from(["payment_methods", "balance_transactions", "cash_balance_transactions"])),
)
def test_every_customer_is_delivered_whatever_its_children_answer(
    seed: int, count: int, in_flight: int, refused: set[str]
) -> None:
    rng = random.Random(seed)
    customers = [customer(each, balance=rng.choice([0, 0, 0, 5])) for each in range(count)]
    lists = customer_lists(customers)
    lists["/v1/entitlements/features"] = rng.choice([[], [{"id": "feat_1", "object": "entitlements.feature"}]])
    lists["/v1/entitlements/active_entitlements"] = []
    stripe = StandInStripe(lists, in_flight=in_flight, seed=seed)
    for kind in refused:
        refuse_for_every_customer(stripe, f"/v1/customers/{{customer}}/{kind}")
    for each in range(count):
        if rng.random() < 0.1:  # vanished between its list and its children's
            for kind in ("payment_methods", "balance_transactions"):
                lists.pop(f"/v1/customers/cus_{each}/{kind}")
    items = read(stripe, whole("/v1/customers"), *CUSTOMER_FAMILY)
    assert sorted(ids(items, "customer")) == sorted(each["id"] for each in customers)
    assert closed_lists(items) == {"/v1/customers"}


def test_a_start_date_cuts_no_list_that_is_the_whole_truth_about_its_parent() -> None:
    old = {"id": "rsli_1", "object": "radar.value_list_item", "created": NOW - 900, "value_list": "rsl_1"}
    new = old | {"id": "rsli_2", "created": NOW}
    values = {"id": "rsl_1", "object": "radar.value_list", "created": NOW}
    stripe = StandInStripe({"/v1/radar/value_lists": [values], "/v1/radar/value_list_items": [new, old]})
    selected = ("radar.value_list", "radar.value_list_item")
    items = read(stripe, whole("/v1/radar/value_lists"), *selected, floor=NOW - 60)
    assert records(items, "radar_value_list")[0][CHILDREN] == {"radar_value_list_item": ["rsli_2", "rsli_1"]}


def test_what_comes_only_by_expansion_is_denied_with_it() -> None:
    customers = [customer(each) for each in range(3)]
    for each in customers:
        del each["cash_balance"]
    stripe = StandInStripe(customer_lists(customers))
    answer = stripe._answer

    def without_expansion(request: Request) -> Answer:
        if "expand[]" in request.parameters:
            return stripe._refused(request, 403, message="needs 'rak_cash_balance_read'")
        return answer(request)

    stripe._answer = without_expansion  # type: ignore[method-assign]
    items = read(stripe, whole("/v1/customers"), *CUSTOMER_FAMILY)
    denied = [each for each in items if isinstance(each, ChildListDenied)]
    assert [(each.objects, each.reason) for each in denied] == [
        (("cash_balance",), "the key lacks the permission rak_cash_balance_read")
    ]
    assert len(ids(items, "customer")) == 3
