"""Upcoming invoices: who is asked for when, and what becomes of a row. The real sandbox, on a virtual clock."""

import json
import logging
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from agenda import Agenda
from replica import Replica
from simulated_stripe import URL, SimulatedClient, SimulatedStripe

from stripe_sandbox import upcoming
from stripe_sandbox.keys import restricted
from stripe_sandbox.messages import Request as HttpRequest
from stripe_sandbox.sandbox import TEST_KEY, Service
from tap_stripe_events.errors import EndlessListError
from tap_stripe_events.object_table import API_VERSION
from tap_stripe_events.objects import CUSTOMER_PREVIEW, PREVIEWS, SUBSCRIPTION_PREVIEW
from tap_stripe_events.plan import Rhythm
from tap_stripe_events.sync import Pace, PreviewSettings

START = 1_790_000_000
HOUR, DAY = 3_600, 86_400
SELDOM = Pace(rhythm=Rhythm(sweep_seconds=365 * DAY, full_sweep_seconds=365 * DAY))
LATER_SECONDS = 120


class Account:
    """A sandbox account, the way to it, and a replica of its previews."""

    def __init__(self) -> None:
        self.service = Service(account="empty", now=START)
        self.agenda = Agenda(START)
        self.stripe = SimulatedStripe(self.service, self.agenda, Random(1))
        self.replica = Replica(livemode=False)
        self.names: tuple[str, ...] = tuple(PREVIEWS)
        self.refresh_seconds, self.create = DAY, False
        self.client: SimulatedClient | None = None

    @property
    def account(self) -> Any:
        return self.service.account

    def write(self, method: str, path: str, **values: Any) -> dict[str, Any]:
        """Call the API as the account's owner does."""
        headers = {"authorization": f"Bearer {TEST_KEY}", "content-type": "application/x-www-form-urlencoded"}
        request = HttpRequest(method=method, path=path, headers=headers, body=urlencode(values).encode())
        response = self.stripe.answer(request, of_the_tap=False).response
        assert response.status == 200, response.body
        body: dict[str, Any] = json.loads(response.body)
        return body

    def post(self, path: str, **values: Any) -> dict[str, Any]:
        return self.write("POST", path, **values)

    def price(self, **more: Any) -> str:
        product = self.post("/v1/products", name="Box")["id"]
        values = {"currency": "eur", "unit_amount": 1000, "recurring[interval]": "month", "product": product, **more}
        return str(self.post("/v1/prices", **values)["id"])

    def customer(self) -> str:
        """A customer who can pay."""
        customer = self.post("/v1/customers", payment_method="pm_card_visa", name="Somebody")["id"]
        self.pay_with_the_first_card(customer)
        return str(customer)

    def pay_with_the_first_card(self, customer: str) -> None:
        method = self.account.store.linked("payment_method", "customer", customer)[0].key
        self.post(f"/v1/customers/{customer}", **{"invoice_settings[default_payment_method]": method})

    def subscription(self, price: str | None = None, customer: str | None = None, **more: Any) -> tuple[str, str]:
        """A subscription; returns its id and the customer's."""
        customer = customer or self.customer()
        values = {"customer": customer, "items[0][price]": price or self.price(), **more}
        return str(self.post("/v1/subscriptions", **values)["id"]), customer

    def run(self, *selected: str, pace: Pace = SELDOM, **how: Any) -> bool:
        """Run once; what was asked for is in `asked` then."""
        self.agenda.sleep(LATER_SECONDS)
        self.stripe.arrivals.clear()
        self.client = SimulatedClient(
            self.stripe, api_key=TEST_KEY, api_url=URL, api_version=API_VERSION, requests_per_second=100,
            endpoint_requests_per_second=100, max_concurrent_requests=8, clock=self.agenda,
        )  # fmt: skip
        self.stripe.pass_time()
        self.client.stripe_clock.heard(self.stripe.date())
        previews = PreviewSettings(names=self.names, refresh_seconds=self.refresh_seconds, create=self.create)
        return self.replica.run(
            self.client, *selected, pace=pace, clock=self.agenda, previews=previews if self.names else None, **how
        )

    def asked(self, path: str = upcoming.UPCOMING_PATH) -> int:
        """How many requests there were on a path in the last run."""
        return sum(endpoint.endswith(f" {path}") for _, endpoint in self.stripe.arrivals)

    def rows(self, name: str = SUBSCRIPTION_PREVIEW) -> dict[str, dict[str, Any]]:
        return self.replica.rows.get(name, {})

    def truth(self, name: str = SUBSCRIPTION_PREVIEW) -> dict[str, dict[str, Any]]:
        """What Stripe would say now, by key."""
        kind, tell = {
            SUBSCRIPTION_PREVIEW: ("subscription", upcoming.next_of_subscription),
            CUSTOMER_PREVIEW: ("customer", upcoming.next_of_customer),
        }[name]
        records = list(self.account.store.table(kind).records.values())
        found = {record.key: tell(self.account, record) for record in records}
        return {key: body for key, body in found.items() if body is not None}

    def assert_true(self) -> None:
        """Every row is what Stripe would say now, and there is no other."""
        for name in self.names:
            rows, truth = self.rows(name), self.truth(name)
            assert rows.keys() == truth.keys(), name
            for key, body in truth.items():
                for column in (
                    "amount_due",
                    "total",
                    "currency",
                    "subtotal",
                    "billing_reason",
                    "total_taxes",
                    "parent",
                ):
                    assert plain(rows[key][column], column) == plain(body[column], column), (name, key, column)
                assert [line["id"] for line in rows[key]["lines"]["data"]] == [x["id"] for x in body["lines"]["data"]]


def plain(value: Any, column: str) -> Any:
    if column == "total_taxes":  # the older version says less
        return [(each["amount"], each["tax_behavior"], each["tax_rate_details"]["tax_rate"]) for each in value]
    return value


@pytest.fixture
def account() -> Account:
    return Account()


def test_a_preview_has_the_columns_of_an_invoice_in_our_version_and_all_lines(account: Account) -> None:
    rate = account.post("/v1/tax_rates", display_name="VAT", percentage="19", inclusive="false")["id"]
    prices = [account.price(unit_amount=100 + number) for number in range(12)]
    items = {f"items[{number}][price]": price for number, price in enumerate(prices)}
    subscription, customer = account.subscription(**items, **{"default_tax_rates[0]": rate})
    account.post("/v1/invoiceitems", customer=customer, amount=250, currency="eur", description="Extra")
    assert account.run()
    account.assert_true()
    row = account.rows()[subscription]
    assert (row["customer_id"], row["subscription_id"]) == (customer, subscription)
    assert row["parent"]["subscription_details"]["subscription"] == subscription
    assert row["subtotal"] == sum(range(100, 112)) + 250
    assert row["amount_due"] == row["total"] == row["subtotal"] + row["total_taxes"][0]["amount"]
    assert len(row["lines"]["data"]) == 13
    assert row["lines"]["has_more"] is False
    assert "id" not in row
    assert row["_extra"].keys() <= {"paid", "tax", "discount", "charge", "payment_intent"}
    assert account.rows(CUSTOMER_PREVIEW)[customer]["subscription_id"] == subscription


Move = Any


def change_quantity(account: Account, subscription: str, customer: str) -> None:
    item = account.account.store.linked("subscription_item", "subscription", subscription)[0].key
    account.post(f"/v1/subscriptions/{subscription}", **{"items[0][id]": item, "items[0][quantity]": 5,
                                                         "proration_behavior": "none"})  # fmt: skip


def change_item(account: Account, subscription: str, customer: str) -> None:
    item = account.account.store.linked("subscription_item", "subscription", subscription)[0].key
    account.post(f"/v1/subscription_items/{item}", quantity=7, proration_behavior="none")


def add_waiting_item(account: Account, subscription: str, customer: str) -> None:
    account.post("/v1/invoiceitems", customer=customer, amount=333, currency="eur")


def take_waiting_item_away(account: Account, subscription: str, customer: str) -> None:
    (item,) = account.account.store.linked("invoiceitem", "customer", customer)
    account.write("DELETE", f"/v1/invoiceitems/{item.key}")


def invoice_waiting_item(account: Account, subscription: str, customer: str) -> None:
    account.post("/v1/invoices", customer=customer, pending_invoice_items_behavior="include")


def discount_customer(account: Account, subscription: str, customer: str) -> None:
    coupon = account.post("/v1/coupons", percent_off="25", duration="forever")["id"]
    account.post(f"/v1/customers/{customer}", **{"discounts[0][coupon]": coupon, "coupon": coupon})


def discount_subscription(account: Account, subscription: str, customer: str) -> None:
    coupon = account.post("/v1/coupons", percent_off="25", duration="forever")["id"]
    account.post(f"/v1/subscriptions/{subscription}", **{"discounts[0][coupon]": coupon})


def change_balance(account: Account, subscription: str, customer: str) -> None:
    account.post(f"/v1/customers/{customer}", balance=-400)


def cancel(account: Account, subscription: str, customer: str) -> None:
    account.write("DELETE", f"/v1/subscriptions/{subscription}")


def cancel_at_period_end(account: Account, subscription: str, customer: str) -> None:
    account.post(f"/v1/subscriptions/{subscription}", cancel_at_period_end="true")


def delete_customer(account: Account, subscription: str, customer: str) -> None:
    account.write("DELETE", f"/v1/customers/{customer}")


MOVES = [
    change_quantity, change_item, add_waiting_item, take_waiting_item_away, invoice_waiting_item, discount_subscription,
    change_balance, cancel, cancel_at_period_end, delete_customer,
]  # fmt: skip


@pytest.mark.parametrize("move", MOVES)
def test_what_an_event_changes_is_asked_for_in_the_same_poll_once_a_key(account: Account, move: Move) -> None:
    price = account.price()
    others = [account.subscription(price) for _ in range(3)]
    subscription, customer = account.subscription(price)
    if move in {take_waiting_item_away, invoice_waiting_item}:
        add_waiting_item(account, subscription, customer)
    assert account.run()
    account.assert_true()
    before = {name: dict(account.rows(name)) for name in PREVIEWS}
    move(account, subscription, customer)
    assert account.run()
    account.assert_true()
    assert before != {name: account.rows(name) for name in PREVIEWS}
    assert 1 <= account.asked() <= 2
    for other, whose in others:
        assert account.rows()[other] is before[SUBSCRIPTION_PREVIEW][other]
        assert account.rows(CUSTOMER_PREVIEW)[whose] is before[CUSTOMER_PREVIEW][whose]


def test_what_a_price_or_a_tax_rate_is_used_by_is_asked_for(account: Account) -> None:
    rate = account.post("/v1/tax_rates", display_name="VAT", percentage="19", inclusive="false")["id"]
    taxed, _ = account.subscription(**{"default_tax_rates[0]": rate})
    price = account.price()
    uses, _ = account.subscription(price)
    account.subscription()
    assert account.run()
    account.post(f"/v1/tax_rates/{rate}", display_name="USt")
    assert account.run()
    assert account.asked() == 2
    account.post(f"/v1/prices/{price}", nickname="Large")
    assert account.run()
    assert account.asked() == 2
    account.assert_true()
    assert {taxed, uses} < account.rows().keys()


def test_nothing_new_costs_nothing_for_a_quarter_of_an_hour(account: Account) -> None:
    account.subscription()
    assert account.run("customer")
    assert account.run("customer")
    assert [endpoint for _, endpoint in account.stripe.arrivals] == ["GET /v1/events"] * len(account.stripe.arrivals)


def test_in_a_day_of_hourly_runs_each_has_its_turn_once_and_the_requests_are_spread(account: Account) -> None:
    price = account.price()
    for _ in range(60):
        account.subscription(price)
    assert account.run()
    counts = []
    for _ in range(24):
        account.agenda.sleep(HOUR - LATER_SECONDS)
        assert account.run()
        counts.append(account.asked())
    assert 120 <= sum(counts) <= 124  # a run takes some seconds itself
    assert max(counts) <= 15
    account.assert_true()


def test_usage_that_nothing_tells_of_is_in_within_an_hour(account: Account) -> None:
    metered = account.price(**{"recurring[usage_type]": "metered", "recurring[meter]": "mtr_1"})
    subscription, _ = account.subscription(metered)
    other, _ = account.subscription()
    assert account.run()
    assert account.rows()[subscription]["amount_due"] == 0
    item = account.account.store.linked("subscription_item", "subscription", subscription)[0]
    item.facts["usage"] = 42
    account.agenda.sleep(HOUR)
    before = account.rows()[other]
    assert account.run()
    assert account.rows()[subscription]["amount_due"] == 42_000
    assert account.rows()[other] is before or account.asked() > 2


def test_metered_ones_are_computed_less_often_where_stripes_allowance_has_no_room(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    metered = account.price(**{"recurring[usage_type]": "metered", "recurring[meter]": "mtr_1"})
    for _ in range(30):
        account.subscription(metered)
    with caplog.at_level(logging.INFO):
        assert account.run()
    # 60 previews; 30 payments in 30 days, so 15,000 reads, half of them for previews: 125 each, or every 5.76 h.
    assert "60 metered previews are computed every 5.8 h and not every 60 min" in caplog.text


def test_a_period_that_has_ended_is_looked_at_soon_after(account: Account) -> None:
    subscription, _ = account.subscription()
    assert account.run()
    end = account.account.store.linked("subscription_item", "subscription", subscription)[0].body["current_period_end"]
    account.agenda.sleep(end - account.agenda.true_time() - 10)
    assert account.run()
    account.assert_true()
    account.agenda.sleep(120)
    assert account.run()
    account.assert_true()


def test_a_run_that_was_cut_short_goes_on_where_it_was(account: Account) -> None:
    price = account.price()
    for _ in range(40):
        account.subscription(price)
    assert not account.run(most_items=50)
    done = sum(len(account.rows(name)) for name in PREVIEWS)
    assert 0 < done < 80
    assert account.run()
    assert 80 - done <= account.asked() <= 80 - done + 16  # not all came in the order of their turns
    account.assert_true()
    assert account.replica.bookmark(CUSTOMER_PREVIEW)["backfill_finished_at"] is not None


def test_an_event_that_was_read_is_not_lost_with_the_run(account: Account) -> None:
    subscription, customer = account.subscription()
    assert account.run("customer")
    change_quantity(account, subscription, customer)
    for cut in range(1, 8):
        account.run("customer", most_items=cut)
    assert account.run("customer")
    account.assert_true()


def test_a_row_of_what_vanished_unseen_goes_with_the_next_round(account: Account) -> None:
    price = account.price()
    subscriptions = [account.subscription(price) for _ in range(4)]
    assert account.run()
    gone, _ = subscriptions[0]
    account.account.store.get("subscription", gone).body["status"] = "canceled"  # nobody is told
    for _ in range(50):
        account.agenda.sleep(HOUR)
        assert account.run()
    account.assert_true()
    assert gone not in account.rows()


def test_after_a_gap_all_are_asked_for_again(account: Account) -> None:
    subscription, customer = account.subscription()
    assert account.run()
    change_quantity(account, subscription, customer)
    account.agenda.sleep(40 * DAY)
    assert account.run()
    account.assert_true()


def refuse_one(account: Account, key: str, status: int, code: str, message: str) -> None:
    """Have Stripe refuse the previews of one key."""
    answer = account.service.handle

    def handle(request: HttpRequest) -> Any:
        exchange = answer(request)
        if request.path == upcoming.UPCOMING_PATH and key in request.query:
            body = json.dumps({"error": {"type": "invalid_request_error", "code": code, "message": message}})
            object.__setattr__(exchange.response, "status", status)
            object.__setattr__(exchange.response, "body", body.encode())
        return exchange

    account.service.handle = handle  # type: ignore[method-assign]


def test_one_preview_that_is_refused_is_a_warning_and_its_row_stays(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    price = account.price()
    refused, customer = account.subscription(price)
    other, _ = account.subscription(price)
    assert account.run()
    refuse_one(account, refused, 400, "something_new", "This subscription cannot be previewed for Jane Doe.")
    account.agenda.sleep(2 * DAY)
    change_quantity(account, refused, customer)
    change_quantity(account, other, "")
    with caplog.at_level(logging.WARNING):
        assert account.run()
    assert f"upcoming_subscription_invoice of {refused} is not read" in caplog.text
    assert account.rows()[refused]["amount_due"] == 1000
    assert account.rows()[other]["amount_due"] == 5000
    for _ in range(30):
        account.agenda.sleep(HOUR)
        assert account.run()
    assert refused in account.rows()  # a round in which it was refused proves nothing


def test_a_key_that_may_not_read_invoices_has_no_previews_and_all_else_goes_on(account: Account) -> None:
    subscription, customer = account.subscription()
    account.service.keys[TEST_KEY] = restricted(TEST_KEY, "customer,subscription,event", account.account)
    assert account.run("customer")
    assert account.replica.ids("customer") == {customer}
    for name in PREVIEWS:
        assert "rak_" in account.replica.bookmark(name)["denied"]["reason"]
        assert account.rows(name) == {}
    account.service.keys[TEST_KEY] = account.stripe._full_key
    assert account.run("customer")
    assert account.rows().keys() == {subscription}
    assert "denied" not in account.replica.bookmark(SUBSCRIPTION_PREVIEW)
    account.assert_true()


def test_without_subscriptions_there_is_nobody_to_ask_for(account: Account) -> None:
    account.subscription()
    account.service.keys[TEST_KEY] = restricted(TEST_KEY, "customer,invoice,event", account.account)
    assert account.run("customer")
    assert "rak_subscription_read" in account.replica.bookmark(CUSTOMER_PREVIEW)["denied"]["reason"]


def test_create_preview_asks_by_post_and_for_subscriptions_only(account: Account) -> None:
    account.create = True
    subscription, _ = account.subscription()
    assert account.run()
    assert account.asked(upcoming.CREATE_PREVIEW_PATH) == 1
    assert account.asked() == 0
    assert account.rows()[subscription]["amount_due"] == 1000
    assert account.rows()[subscription]["subscription_id"] == subscription
    assert account.rows(CUSTOMER_PREVIEW) == {}
    assert "create_preview" in account.replica.bookmark(CUSTOMER_PREVIEW)["denied"]["reason"]


def test_switched_off_nothing_is_asked_for(account: Account) -> None:
    account.names = ()
    account.subscription()
    assert account.run("customer")
    assert account.asked("/v1/subscriptions") == account.asked() == 0


def test_of_a_kind_that_is_not_wanted_nothing_is_asked_for(account: Account) -> None:
    account.names = (SUBSCRIPTION_PREVIEW,)
    subscription, _ = account.subscription()
    assert account.run()
    assert account.asked() == 1
    assert account.asked("/v1/invoiceitems") == 0
    assert account.rows().keys() == {subscription}


def test_subscriptions_on_test_clocks_have_previews_too(account: Account) -> None:
    clock = account.post("/v1/test_helpers/test_clocks", frozen_time=START)["id"]
    customer = account.post("/v1/customers", payment_method="pm_card_visa", test_clock=clock)["id"]
    account.pay_with_the_first_card(customer)
    subscription, _ = account.subscription(customer=customer)
    assert account.run()
    assert subscription in account.rows()
    account.assert_true()


def test_a_customer_with_items_that_wait_has_a_preview_without_a_subscription(account: Account) -> None:
    customer = account.customer()
    account.post("/v1/invoiceitems", customer=customer, amount=700, currency="eur")
    assert account.run()
    assert account.rows(CUSTOMER_PREVIEW)[customer]["amount_due"] == 700
    assert account.rows(CUSTOMER_PREVIEW)[customer].get("subscription_id") is None
    invoice_waiting_item(account, "", customer)
    assert account.run()
    assert account.rows(CUSTOMER_PREVIEW) == {}


def answer_otherwise(account: Account, path: str, change: Any) -> None:
    """Have what Stripe answers on a path changed on its way: ``change`` is given the body."""
    answer = account.service.handle

    def handle(request: HttpRequest) -> Any:
        exchange = answer(request)
        if request.path == path and exchange.response.status == 200:
            body = json.loads(exchange.response.body)
            change(body)
            object.__setattr__(exchange.response, "body", json.dumps(body).encode())
        return exchange

    account.service.handle = handle  # type: ignore[method-assign]


@pytest.mark.parametrize("path", ["/v1/subscriptions", upcoming.UPCOMING_LINES_PATH])
def test_a_list_that_goes_on_without_end_ends_the_run(account: Account, path: str) -> None:
    prices = [account.price() for _ in range(12)]
    account.subscription(**{f"items[{number}][price]": price for number, price in enumerate(prices)})
    answer_otherwise(account, path, lambda body: body.update(has_more=True))
    with pytest.raises(EndlessListError, match=path):
        account.run()


def test_a_subscription_that_ends_under_the_cursor_ends_no_run(account: Account) -> None:
    price, customer = account.price(), account.customer()
    for _ in range(101):
        account.subscription(price, customer)
    ended: list[str] = []

    def end_the_last(body: dict[str, Any]) -> None:
        if body["has_more"] and not ended:
            ended.append(body["data"][-1]["id"])
            account.write("DELETE", f"/v1/subscriptions/{ended[0]}")

    answer_otherwise(account, "/v1/subscriptions", end_the_last)
    assert account.run()
    assert account.run()
    account.assert_true()
    assert len(account.rows()) == 100
    assert ended[0] not in account.rows()
