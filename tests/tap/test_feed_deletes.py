"""What an event says is gone, what goes with it, and what only sounds so."""

from typing import Any

import pytest
from replica import Reader
from stand_in import NOW, StandInStripe

from tap_stripe_events.changes import AS_OF, CHILDREN, DELETED_AT
from tap_stripe_events.clock import moment

AT = moment(NOW * 1000 + 999)
OLD_VERSION = "2020-08-27"


def read(stripe: StandInStripe, *selected: str) -> Reader:
    reader = Reader(stripe, *selected)
    reader.poll()
    return reader


@pytest.mark.parametrize("version", [OLD_VERSION, None])
def test_a_deletion_needs_no_reading_whatever_its_version(version: str | None) -> None:
    stripe = StandInStripe({})
    stripe.announce("coupon.deleted", {"id": "c", "object": "coupon"}, version=version)
    reader = read(stripe)
    assert reader.records("coupon") == [{"id": "c", AS_OF: AT, DELETED_AT: AT}]
    assert stripe.asked() == []


def test_a_late_older_event_does_not_bring_back_what_was_deleted() -> None:
    stripe = StandInStripe({})
    stripe.announce("coupon.updated", {"id": "c", "object": "coupon"}, created=NOW - 5, late_by=30)
    stripe.announce("coupon.deleted", {"id": "c", "object": "coupon"})
    reader = read(stripe)
    stripe.stripe_clock.now += 40
    assert reader.poll() == 1
    assert reader.ids("coupon") == set()


def test_a_late_deletion_deletes_nothing_that_is_newer() -> None:
    stripe = StandInStripe({})
    stripe.announce("coupon.deleted", {"id": "c", "object": "coupon"}, created=NOW - 5, late_by=30)
    stripe.announce("coupon.created", {"id": "c", "object": "coupon"})
    reader = read(stripe)
    stripe.stripe_clock.now += 40
    assert reader.poll() == 1
    assert reader.ids("coupon") == {"c"}


@pytest.mark.parametrize("deleted_last", [False, True])
@pytest.mark.parametrize("in_two_polls", [False, True])
def test_an_id_that_is_used_again_within_a_second_is_there_if_stripe_has_it(
    deleted_last: bool, in_two_polls: bool
) -> None:
    coupon = {"id": "c", "object": "coupon", "name": "second"}
    stripe = StandInStripe({} if deleted_last else {"/v1/coupons": [coupon]})
    kinds = ["coupon.deleted", "coupon.created"]
    reader = Reader(stripe)
    for kind in reversed(kinds) if deleted_last else kinds:
        stripe.announce(kind, {**coupon, "name": "first"}, last_of_second=deleted_last)
        if in_two_polls:
            reader.poll()
    reader.poll()
    assert reader.values("coupon", "name") == ({} if deleted_last else {"c": "second"})


def test_a_canceled_subscription_is_not_gone() -> None:
    stripe = StandInStripe({})
    items = {"object": "list", "data": [{"id": "si_1", "object": "subscription_item"}], "has_more": False}
    subscription = {"id": "sub_1", "object": "subscription", "status": "canceled", "items": items}
    stripe.announce("customer.subscription.deleted", subscription)
    reader = read(stripe)
    assert reader.values("subscription", "status") == {"sub_1": "canceled"}
    assert reader.ids("subscription_item") == {"si_1"}
    assert not reader.tombstones


@pytest.mark.parametrize(
    ("identifier", "version", "remains"), [("pm_1", None, True), ("card_1", None, False), ("src_1", OLD_VERSION, True)]
)
def test_a_detached_payment_method_is_gone_only_if_it_is_a_card(
    identifier: str, version: str | None, remains: bool
) -> None:
    method = {"id": identifier, "object": "payment_method", "customer": None, "type": "card"}
    stripe = StandInStripe({"/v1/payment_methods": [method] if identifier.startswith("pm_") else []})
    stripe.announce("payment_method.detached", method, version=version, previous={"customer": "cus_1"})
    reader = read(stripe)
    assert reader.values("payment_method", "customer_id") == ({identifier: None} if remains else {})
    assert reader.tombstones == ({} if remains else {("payment_method", identifier): AT})


def test_a_deleted_customer_takes_along_what_only_it_had() -> None:
    stripe = StandInStripe({})
    stripe.announce("customer.deleted", {"id": "cus_1", "object": "customer"})
    reader = read(stripe)
    (record,) = reader.records("customer")
    lost = {"bank_account", "card", "discount", "entitlements_active_entitlement", "source", "tax_id"}
    assert {stream: ids for stream, ids in record[CHILDREN].items() if stream in lost} == {
        stream: [] for stream in lost
    }
    assert set(record) == {"id", AS_OF, DELETED_AT, CHILDREN}
    assert reader.tombstones["customer", "cus_1"] == reader.tombstones["cash_balance", "cus_1"] == AT


def test_only_what_is_selected_is_taken_along() -> None:
    stripe = StandInStripe({})
    stripe.announce("customer.deleted", {"id": "cus_1", "object": "customer"})
    (record,) = read(stripe, "customer", "tax_id").records("customer")
    assert record[CHILDREN] == {"tax_id": []}
    assert read(stripe, "customer").records("customer") == [{"id": "cus_1", AS_OF: AT, DELETED_AT: AT}]


def test_what_a_deleted_customer_had_goes_from_the_tables_and_that_of_others_stays() -> None:
    stripe = StandInStripe({})
    stripe.stripe_clock.now = NOW + 5
    for number in (1, 2):
        tax_id = {"id": f"txi_{number}", "object": "tax_id", "customer": f"cus_{number}"}
        stripe.announce("customer.tax_id.created", tax_id, created=NOW)
    stripe.announce("customer.deleted", {"id": "cus_1", "object": "customer"}, created=NOW + 1)
    reader = read(stripe)
    assert reader.ids("tax_id") == {"txi_2"}


def test_a_stub_that_is_read_again_is_a_deletion_with_all_that_goes_along() -> None:
    stub = {"id": "cus_1", "object": "customer", "deleted": True}
    stripe = StandInStripe({"/v1/customers": [stub]})
    stripe.announce("customer.updated", {"id": "cus_1", "object": "customer"}, version=OLD_VERSION)
    reader = read(stripe)
    assert reader.tombstones["customer", "cus_1"] == AT
    (record,) = reader.records("customer")
    assert record[CHILDREN]["tax_id"] == []


def test_a_deleted_stub_as_a_payload_is_a_deletion_too() -> None:
    stripe = StandInStripe({})
    stripe.announce("product.updated", {"id": "prod_1", "object": "product", "deleted": True})
    assert read(stripe).tombstones == {("product", "prod_1"): AT}


def test_a_deleted_test_clock_is_told_so_that_what_hung_on_it_is_looked_for() -> None:
    stripe = StandInStripe({})
    clock = {"id": "clock_1", "object": "test_helpers.test_clock"}
    stripe.announce("test_helpers.test_clock.created", clock)
    reader = Reader(stripe)
    reader.poll()
    assert [each.deleted for each in reader.items if hasattr(each, "deleted")] == [frozenset()]
    stripe.stripe_clock.now += 2
    stripe.announce("test_helpers.test_clock.deleted", clock)
    reader.poll()
    assert {name for each in reader.items for name in getattr(each, "deleted", ())} == {"test_helpers.test_clock"}


@pytest.mark.parametrize(
    ("parent", "path"),
    [
        ({"customer": "cus_1"}, "/v1/customers/cus_1/sources/ba_1"),
        ({"account": "acct_2"}, "/v1/accounts/acct_2/external_accounts/ba_1"),
    ],
)
def test_a_bank_account_is_read_again_where_it_belongs(parent: dict[str, Any], path: str) -> None:
    bank_account = {"id": "ba_1", "object": "bank_account", **parent}
    stripe = StandInStripe({path: {**bank_account, "bank_name": "now"}})
    stripe.announce("customer.source.updated", bank_account, version=OLD_VERSION)
    assert read(stripe).values("bank_account", "bank_name") == {"ba_1": "now"}


def test_a_bank_account_of_nobody_is_taken_from_the_payload() -> None:
    stripe = StandInStripe({})
    bank_account = {"id": "ba_1", "object": "bank_account", "customer": None, "account": None, "bank_name": "told"}
    stripe.announce("customer.source.updated", bank_account, version=OLD_VERSION)
    assert read(stripe).values("bank_account", "bank_name") == {"ba_1": "told"}


def test_a_detached_card_needs_no_reading() -> None:
    stripe = StandInStripe({})
    stripe.announce("payment_method.detached", {"id": "card_1", "object": "payment_method"})
    assert read(stripe).tombstones == {("payment_method", "card_1"): AT}
    assert stripe.asked() == []


def test_an_id_that_somebody_chose_is_one_part_of_a_path() -> None:
    stripe = StandInStripe({})
    stripe.announce("coupon.updated", {"id": "50% off/a?b", "object": "coupon"}, version=OLD_VERSION)
    read(stripe)
    assert stripe.asked() == ["/v1/coupons/50%25%20off%2Fa%3Fb"]
