"""What belongs to an object that an event tells: complete lists, lists in doubt, and what else is worth a request."""

from typing import Any

import pytest
from replica import Reader
from stand_in import NO_PERMISSION, NOW, StandInStripe

from tap_stripe_events.changes import AS_OF, CHILDREN
from tap_stripe_events.clock import moment

OLD_VERSION = "2020-08-27"
AT = moment(NOW * 1000 + 999)


def listed(elements: list[dict[str, Any]], *, more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": elements, "has_more": more}


def lines(count: int, *, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": f"il_{number}", "object": "line_item"} for number in range(first, first + count)]


def invoice(elements: list[dict[str, Any]], *, more: bool = False, **fields: Any) -> dict[str, Any]:
    return {"id": "in_1", "object": "invoice", "created": NOW, "lines": listed(elements, more=more), **fields}


def at(second: int, **lists: Any) -> StandInStripe:
    stripe = StandInStripe(lists)
    stripe.stripe_clock.now = second
    return stripe


# Lists


def test_a_complete_list_in_an_event_is_all_there_is() -> None:
    stripe = at(NOW)
    stripe.announce("invoice.updated", invoice(lines(3)))
    reader = Reader(stripe, "invoice", "line_item")
    reader.poll()
    assert reader.ids("line_item") == {"il_0", "il_1", "il_2"}
    assert set(reader.values("line_item", "invoice_id").values()) == {"in_1"}
    assert reader.records("invoice")[0][CHILDREN] == {"line_item": ["il_0", "il_1", "il_2"]}
    assert stripe.asked() == []


@pytest.mark.parametrize(("shown", "asked"), [(9, []), (10, ["/v1/invoices/in_1/lines"])])
def test_a_list_that_does_not_say_whether_there_is_more_is_complete_only_if_it_is_not_full(
    shown: int, asked: list[str]
) -> None:
    stripe = at(NOW, **{"/v1/invoices/in_1/lines": lines(12)})
    told = invoice(lines(shown))
    del told["lines"]["has_more"]
    stripe.announce("invoice.updated", told)
    reader = Reader(stripe, "invoice", "line_item")
    reader.poll()
    assert stripe.asked() == asked
    assert len(reader.records("invoice")[0][CHILDREN]["line_item"]) == (12 if asked else 9)


def test_children_come_after_their_parent() -> None:
    stripe = at(NOW, **{"/v1/invoices/in_1/lines": lines(25)})
    stripe.announce("invoice.updated", invoice(lines(10), more=True))
    reader = Reader(stripe, "invoice", "line_item")
    reader.poll()
    streams = [each.stream for each in reader.items if hasattr(each, "stream")]
    assert streams == ["invoice"] + ["line_item"] * 35  # the ten that the event showed are read again with the rest


def test_an_invoice_of_25_lines_is_there_with_all_of_them() -> None:
    stripe = at(NOW, **{"/v1/invoices/in_1/lines": lines(25)})
    stripe.announce("invoice.updated", invoice(lines(10), more=True))
    reader = Reader(stripe, "invoice", "line_item")
    reader.poll()
    assert len(reader.ids("line_item")) == 25
    assert len(reader.records("invoice")[0][CHILDREN]["line_item"]) == 25
    assert stripe.asked() == ["/v1/invoices/in_1/lines"]


def test_a_list_of_more_than_a_page_is_read_to_its_end() -> None:
    stripe = at(NOW, **{"/v1/invoices/in_1/lines": lines(250)})
    stripe.announce("invoice.updated", invoice(lines(10), more=True))
    reader = Reader(stripe, "invoice", "line_item")
    reader.poll()
    assert len(reader.ids("line_item")) == 250
    assert len(reader.records("invoice")[0][CHILDREN]["line_item"]) == 250


def test_what_an_event_showed_of_a_list_does_not_count_if_the_list_has_changed_since() -> None:
    stripe = at(NOW, **{"/v1/invoices/in_1/lines": lines(11, first=5)})
    stripe.announce("invoice.updated", invoice(lines(10), more=True))
    reader = Reader(stripe, "invoice", "line_item")
    reader.poll()
    assert reader.records("invoice")[0][CHILDREN]["line_item"] == [f"il_{each}" for each in range(5, 16)]
    assert reader.ids("line_item") == {f"il_{each}" for each in range(5, 16)}


def test_a_subscription_of_21_items_is_there_with_all_of_them() -> None:
    items = [
        {"id": f"si_{number}", "object": "subscription_item", "subscription": "sub_1", "created": NOW}
        for number in range(21)
    ]
    stripe = at(NOW, **{"/v1/subscription_items": items})
    subscription = {"id": "sub_1", "object": "subscription", "items": listed(items[:10], more=True)}
    stripe.announce("customer.subscription.created", subscription)
    reader = Reader(stripe, "subscription", "subscription_item")
    reader.poll()
    assert len(reader.ids("subscription_item")) == 21
    assert [each.parameters["subscription"] for each in stripe.requests[1:]] == ["sub_1"]


@pytest.mark.parametrize("refusal", [NO_PERMISSION, (404, "No such invoice")])
def test_a_list_that_could_not_be_completed_is_not_mentioned(refusal: tuple[int, str]) -> None:
    stripe = at(NOW)
    stripe.announce("invoice.updated", invoice(lines(10), more=True))
    stripe.refusals["/v1/invoices/in_1/lines"] = refusal
    reader = Reader(stripe, "invoice", "line_item")
    reader.poll()
    assert len(reader.records("invoice")) == 1
    assert CHILDREN not in reader.records("invoice")[0]


def test_children_leave_with_a_later_complete_list() -> None:
    stripe = at(NOW)
    stripe.announce("invoice.updated", invoice(lines(3)), created=NOW - 1)
    reader = Reader(stripe, "invoice", "line_item")
    reader.poll()
    stripe.announce("invoice.updated", invoice(lines(2, first=1)))
    reader.poll()
    assert reader.ids("line_item") == {"il_1", "il_2"}


def test_children_are_read_although_their_parents_are_not_wanted() -> None:
    stripe = at(NOW, **{"/v1/invoices/in_1/lines": lines(25)})
    stripe.announce("invoice.updated", invoice(lines(10), more=True))
    reader = Reader(stripe, "line_item")
    reader.poll()
    assert set(reader.rows) == {"line_item"}
    assert len(reader.ids("line_item")) == 25


def test_parents_are_read_alone_if_their_children_are_not_wanted() -> None:
    stripe = at(NOW)
    stripe.announce("invoice.updated", invoice(lines(10), more=True))
    reader = Reader(stripe, "invoice")
    reader.poll()
    assert set(reader.rows) == {"invoice"}
    assert CHILDREN not in reader.records("invoice")[0]
    assert stripe.asked() == []


def test_what_is_read_again_brings_its_list_as_it_is() -> None:
    stripe = at(NOW, **{"/v1/invoices": [invoice(lines(2))]})
    stripe.announce("invoice.updated", invoice(lines(1), more=True), version=OLD_VERSION)
    reader = Reader(stripe, "invoice", "line_item")
    reader.poll()
    assert reader.ids("line_item") == {"il_0", "il_1"}
    assert stripe.asked() == ["/v1/invoices/in_1"]


def test_a_deleted_invoice_takes_its_lines_along() -> None:
    stripe = at(NOW)
    stripe.announce("invoice.created", invoice(lines(3)), created=NOW - 1)
    stripe.announce("invoice.deleted", invoice(lines(3)))
    reader = Reader(stripe, "invoice", "line_item")
    reader.poll()
    assert (reader.ids("invoice"), reader.ids("line_item")) == (set(), set())


# A child with events of its own, in the second of its parent's


def account(banks: list[str]) -> dict[str, Any]:
    accounts = [{"id": each, "object": "bank_account", "account": "acct_2"} for each in banks]
    return {"id": "acct_2", "object": "account", "external_accounts": listed(accounts)}


BANKS = "/v1/accounts/acct_2/external_accounts"


def told_account(banks: list[str], *, there: list[str]) -> StandInStripe:
    """Return a Stripe that announces an account with some bank accounts, and in truth has others."""
    truth = account(there)
    return at(NOW + 5, **{"/v1/accounts/acct_2": truth, BANKS: truth["external_accounts"]["data"]})


@pytest.mark.parametrize("in_two_polls", [False, True])
@pytest.mark.parametrize("child_first", [False, True])
def test_a_list_told_in_the_second_of_a_childs_event_is_read_again(in_two_polls: bool, child_first: bool) -> None:
    stripe = told_account(["ba_1"], there=["ba_1", "ba_2"])
    reader = Reader(stripe, "account", "bank_account")
    new = {"id": "ba_2", "object": "bank_account", "account": "acct_2"}
    events = [("account.updated", account(["ba_1"])), ("account.external_account.created", new)]
    for kind, carried in reversed(events) if child_first else events:
        stripe.announce(kind, carried, created=NOW)
        if in_two_polls:
            reader.poll()
    reader.poll()
    assert reader.ids("bank_account") == {"ba_1", "ba_2"}
    assert BANKS in stripe.asked()


def test_a_parent_that_is_read_again_in_the_second_of_its_childs_event_counts_as_that_event() -> None:
    stripe = told_account(["ba_1"], there=["ba_1", "ba_2"])
    stripe.stripe_clock.now = NOW
    reader = Reader(stripe, "account", "bank_account")
    stripe.announce("account.updated", account(["ba_1"]), created=NOW)
    reader.poll()
    new = {"id": "ba_2", "object": "bank_account", "account": "acct_2"}
    stripe.announce("account.external_account.created", new, created=NOW)
    reader.poll()
    assert reader.ids("bank_account") == {"ba_1", "ba_2"}
    assert reader.values("account", AS_OF) == {"acct_2": AT}
    assert "/v1/accounts/acct_2" in stripe.asked(reason="ties")


def test_a_child_that_is_deleted_in_the_second_of_its_parents_list_does_not_come_back() -> None:
    stripe = told_account(["ba_1", "ba_2"], there=["ba_1"])
    reader = Reader(stripe, "account", "bank_account")
    stripe.announce("account.updated", account(["ba_1", "ba_2"]), created=NOW)
    gone = {"id": "ba_2", "object": "bank_account", "account": "acct_2"}
    stripe.announce("account.external_account.deleted", gone, created=NOW)
    reader.poll()
    assert reader.ids("bank_account") == {"ba_1"}


def test_a_list_in_doubt_is_all_that_is_read_of_what_an_event_tells() -> None:
    stripe = told_account(["ba_1"], there=["ba_1", "ba_2"])
    stripe.announce("account.updated", account(["ba_1"]), created=NOW)
    new = {"id": "ba_2", "object": "bank_account", "account": "acct_2"}
    stripe.announce("account.external_account.created", new, created=NOW)
    Reader(stripe, "account", "bank_account").poll()
    assert stripe.asked() == [BANKS]


def test_a_childs_event_counts_while_its_second_is_in_the_lookback() -> None:
    stripe = told_account(["ba_1"], there=["ba_1", "ba_2"])
    reader = Reader(stripe, "account", "bank_account")
    new = {"id": "ba_2", "object": "bank_account", "account": "acct_2"}
    stripe.announce("account.external_account.created", new, created=NOW)
    for second in (NOW, NOW + 60):
        stripe.stripe_clock.now = second
        reader.poll()
    stripe.announce("account.updated", account(["ba_1"]), created=NOW)  # it shows late
    reader.poll()
    assert reader.ids("bank_account") == {"ba_1", "ba_2"}
    assert stripe.asked() == [BANKS]


@pytest.mark.parametrize("in_two_polls", [False, True])
def test_two_lists_in_doubt_are_both_read_again(in_two_polls: bool) -> None:
    paths = {each: f"/v1/customers/cus_1/{each}" for each in ("sources", "tax_ids")}
    there = {path: [{"id": f"{each}_2", "customer": "cus_1"}] for each, path in paths.items()}
    there[paths["sources"]][0]["object"], there[paths["tax_ids"]][0]["object"] = "card", "tax_id"
    stripe = at(NOW + 5, **there, **{"/v1/customers": [customer(sources=listed([]), tax_ids=listed([]))]})
    reader = Reader(stripe, "customer", "card", "tax_id")
    stripe.announce("customer.updated", customer(sources=listed([]), tax_ids=listed([])), created=NOW)
    if in_two_polls:
        reader.poll()
    for kind, child in (("source", there[paths["sources"]][0]), ("tax_id", there[paths["tax_ids"]][0])):
        stripe.announce(f"customer.{kind}.created", child, created=NOW)
    reader.poll()
    assert (reader.ids("card"), reader.ids("tax_id")) == ({"sources_2"}, {"tax_ids_2"})
    assert set(paths.values()) <= set(stripe.asked())


@pytest.mark.parametrize("in_two_polls", [False, True])
def test_a_childs_event_in_another_second_leaves_the_list_alone(in_two_polls: bool) -> None:
    stripe = told_account(["ba_1"], there=["ba_1", "ba_2"])
    reader = Reader(stripe, "account", "bank_account")
    stripe.announce("account.updated", account(["ba_1"]), created=NOW)
    new = {"id": "ba_2", "object": "bank_account", "account": "acct_2"}
    if in_two_polls:
        reader.poll()
    stripe.announce("account.external_account.created", new, created=NOW + 1)
    reader.poll()
    assert reader.ids("bank_account") == {"ba_1", "ba_2"}
    assert stripe.asked() == []


# What else is worth a request


def customer(**fields: Any) -> dict[str, Any]:
    return {"id": "cus_1", "object": "customer", "balance": 0, **fields}


BALANCE = "/v1/customers/cus_1/balance_transactions"
MOVES = [
    {"id": f"cbtxn_{second}", "object": "customer_balance_transaction", "customer": "cus_1", "created": NOW - second}
    for second in (0, 30, 500)
]


@pytest.mark.parametrize(
    ("balance", "previous", "asked"),
    [
        (0, {"name": "b"}, False),
        (500, {"name": "b"}, False),
        (500, {"balance": 0}, True),
        (0, {"balance": 500}, True),
        (500, None, True),
        (0, None, False),
    ],
)
def test_moves_of_a_balance_are_asked_for_if_it_has_moved(
    balance: int, previous: dict[str, Any] | None, asked: bool
) -> None:
    stripe = at(NOW, **{BALANCE: MOVES})
    stripe.announce("customer.updated", customer(balance=balance), previous=previous)
    reader = Reader(stripe, "customer", "customer_balance_transaction")
    reader.poll()
    assert stripe.asked() == [BALANCE] * asked
    # What is older than the event by more than the lookback is no news.
    assert reader.ids("customer_balance_transaction") == ({"cbtxn_0", "cbtxn_30"} if asked else set())


def test_of_moves_before_the_start_date_nothing_is_read() -> None:
    stripe = at(NOW, **{BALANCE: MOVES})
    stripe.announce("customer.updated", customer(balance=5), previous={"balance": 0})
    reader = Reader(stripe, "customer", "customer_balance_transaction", floor=NOW - 10)
    reader.poll()
    assert reader.ids("customer_balance_transaction") == {"cbtxn_0"}


@pytest.mark.parametrize(("used", "asked"), [((), False), (("payment_intent_amount_details_line_item",), True)])
def test_line_items_of_a_payment_are_asked_for_where_the_account_has_had_any(
    used: tuple[str, ...], asked: bool
) -> None:
    path = "/v1/payment_intents/pi_1/amount_details_line_items"
    stripe = at(NOW, **{path: [{"id": "li_1", "object": "payment_intent_amount_details_line_item"}]})
    stripe.announce("payment_intent.created", {"id": "pi_1", "object": "payment_intent", "amount": 5})
    reader = Reader(stripe, "payment_intent", "payment_intent_amount_details_line_item", used=used)
    reader.poll()
    assert stripe.asked() == [path] * asked


def test_that_a_product_is_not_in_use_is_believed_for_a_minute() -> None:
    features = "/v1/entitlements/features"
    stripe = at(NOW, **{features: []})
    reader = Reader(stripe, "product", "product_feature")
    asked = []
    for second in (NOW, NOW + 59, NOW + 60):
        stripe.stripe_clock.now = second
        stripe.announce("product.updated", {"id": "prod_1", "object": "product"}, created=second)
        reader.poll()
        asked.append(stripe.asked())
    assert asked == [[features], [], [features]]


def test_a_late_event_that_says_that_a_balance_moved_has_it_looked_at() -> None:
    stripe = at(NOW + 5, **{BALANCE: MOVES, "/v1/customers": [customer()]})
    stripe.announce("customer.updated", customer(balance=5), created=NOW, late_by=30, previous={"balance": 0})
    stripe.announce("customer.updated", customer(name="x"), created=NOW + 5, previous={"name": "y"})
    reader = Reader(stripe, "customer", "customer_balance_transaction")
    reader.poll()
    assert stripe.asked() == []
    stripe.stripe_clock.now = NOW + 40
    reader.poll()
    assert reader.ids("customer_balance_transaction") == {"cbtxn_0", "cbtxn_30"}


def test_a_customer_that_two_objects_name_is_asked_about_once_and_from_the_older_ones_time() -> None:
    stripe = at(NOW + 900, **{BALANCE: MOVES})
    common = {"object": "invoice", "customer": "cus_1", "starting_balance": -5, "ending_balance": 0}
    stripe.announce("invoice.created", {"id": "in_2", **common}, created=NOW)
    stripe.announce("invoice.finalized", {"id": "in_1", **common}, created=NOW + 700)
    stripe.announce("invoice.updated", {"id": "in_2", **common}, created=NOW + 800)
    reader = Reader(stripe, "invoice", "customer_balance_transaction", since=NOW + 55)
    reader.poll()
    assert stripe.asked() == [BALANCE]
    assert reader.ids("customer_balance_transaction") == {"cbtxn_0", "cbtxn_30"}


def test_a_summary_of_entitlements_has_the_customers_list_read() -> None:
    path = "/v1/entitlements/active_entitlements"
    entitlements = [{"id": "ent_1", "object": "entitlements.active_entitlement", "customer": "cus_1", "feature": "f"}]
    stripe = at(NOW, **{path: entitlements, "/v1/customers": [customer()]})
    stripe.lists["/v1/entitlements/features"] = [{"id": "feat_1", "object": "entitlements.feature"}]
    summary = {"object": "entitlements.active_entitlement_summary", "customer": "cus_1", "entitlements": listed([])}
    stripe.announce("entitlements.active_entitlement_summary.updated", summary, created=NOW - 1)
    reader = Reader(stripe, "customer", "entitlements.active_entitlement")
    reader.poll()
    assert reader.ids("entitlements_active_entitlement") == {"ent_1"}
    entitlements.clear()
    stripe.announce("entitlements.active_entitlement_summary.updated", summary)
    reader.poll()
    assert reader.ids("entitlements_active_entitlement") == set()


def test_a_summary_of_entitlements_that_nobody_selected_asks_for_nothing() -> None:
    stripe = at(NOW)
    summary = {"object": "entitlements.active_entitlement_summary", "customer": "cus_1", "entitlements": listed([])}
    stripe.announce("entitlements.active_entitlement_summary.updated", summary)
    Reader(stripe, "coupon").poll()
    assert stripe.asked() == []


@pytest.mark.parametrize("selected", [("treasury.outbound_payment", "treasury.transaction"), ("treasury.transaction",)])
def test_a_flow_of_money_has_its_transaction_read_by_reference(selected: tuple[str, ...]) -> None:
    path = "/v1/treasury/transactions/trxn_1"
    stripe = at(NOW, **{path: {"id": "trxn_1", "object": "treasury.transaction", "amount": 7}})
    flow = {"id": "obp_1", "object": "treasury.outbound_payment", "transaction": "trxn_1"}
    stripe.announce("treasury.outbound_payment.posted", flow)
    reader = Reader(stripe, *selected)
    reader.poll()
    assert reader.values("treasury_transaction", "amount") == {"trxn_1": 7}
    assert reader.values("treasury_transaction", AS_OF) == {"trxn_1": AT}


def test_a_move_of_a_cash_balance_has_the_balance_read() -> None:
    cash = {"object": "cash_balance", "customer": "cus_1", "available": {"eur": 3}}
    stripe = at(NOW, **{"/v1/customers/cus_1/cash_balance": cash})
    for number in (1, 2):
        move = {"id": f"ccsbtxn_{number}", "object": "customer_cash_balance_transaction", "customer": "cus_1"}
        stripe.announce("customer_cash_balance_transaction.created", move)
    reader = Reader(stripe, "cash_balance", "customer_cash_balance_transaction")
    reader.poll()
    assert reader.values("cash_balance", "available") == {"cus_1": {"eur": 3}}
    assert stripe.asked() == ["/v1/customers/cus_1/cash_balance"]


def test_what_was_asked_for_by_reference_is_asked_for_again_in_the_next_poll() -> None:
    stripe = at(NOW, **{BALANCE: MOVES})
    reader = Reader(stripe, "invoice", "customer_balance_transaction")
    for second in (NOW - 5, NOW):
        carried = {"id": f"in_{second}", "object": "invoice", "customer": "cus_1", "ending_balance": 3}
        stripe.announce("invoice.finalized", carried, created=second)
        reader.poll()
        assert stripe.asked() == [BALANCE]


def price(number: int, nickname: str) -> dict[str, Any]:
    return {"id": f"price_{number}", "object": "price", "nickname": nickname}


def test_a_copy_inside_an_event_fills_a_gap_and_undoes_nothing() -> None:
    stripe = at(NOW)
    stripe.announce("price.updated", {**price(1, "new"), "tiers": [], "currency_options": {}})
    items = [
        {"id": f"si_{number}", "object": "subscription_item", "price": price(number, "copied")} for number in (1, 2)
    ]
    subscription = {"id": "sub_1", "object": "subscription", "items": listed(items)}
    stripe.announce("customer.subscription.updated", subscription)
    reader = Reader(stripe, "price", "subscription", "subscription_item")
    reader.poll()
    assert reader.values("price", "nickname") == {"price_1": "new", "price_2": "copied"}


def test_the_account_itself_leads_nowhere_and_a_connected_one_to_its_capabilities() -> None:
    stripe = at(NOW, **{"/v1/accounts/acct_2/capabilities": []})
    for name in ("acct_1", "acct_2"):
        stripe.announce("account.updated", {"id": name, "object": "account"})
    reader = Reader(stripe, "account", "capability", account_id="acct_1")
    reader.poll()
    assert reader.ids("account") == {"acct_1", "acct_2"}
    assert stripe.asked() == ["/v1/accounts/acct_2/capabilities"]
