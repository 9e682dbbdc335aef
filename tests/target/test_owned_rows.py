"""Rows that exist only as long as the row of another stream that they name, as its SCHEMA says."""

import pytest
from messages import TEXT, activate, millis, record, schema, state

SWEEP = millis(100)
ACCOUNTS = ("acct_a", "acct_b")


def owning(message, child):
    patterns = {f"^{child}$": {"type": "array", "items": TEXT}}
    message["schema"]["properties"]["_sdc_children"] = {"type": "object", "patternProperties": patterns}
    return message


CUSTOMER, CARD = owning(schema("customer", name=TEXT), "card"), schema("card", customer_id=TEXT)
LIVE_CARDS = "SELECT id FROM stripe.card WHERE _sdc_deleted_at IS NULL ORDER BY id"


def card(as_of, **more):
    return record("card", id="card_1", customer_id="cus_1", as_of=as_of, **more)


@pytest.mark.parametrize(("as_of", "lives"), [(99, False), (100, False), (101, True)])
@pytest.mark.parametrize("hard_delete", [False, True])
def test_they_are_gone_with_it_unless_they_are_newer_than_the_start_of_the_sweep(load, rows, as_of, lives, hard_delete):
    load(CUSTOMER, CARD, record("customer", id="cus_1", as_of=1), card(as_of), state(), hard_delete=hard_delete)
    load(CUSTOMER, CARD, activate("customer", SWEEP), state(), hard_delete=hard_delete)
    assert rows(LIVE_CARDS) == [("card_1",)] * lives


@pytest.mark.parametrize(("seen", "lives"), [(99, False), (100, False), (101, True)])
def test_a_later_sweep_of_theirs_that_saw_them_keeps_them(load, rows, seen, lives):
    load(CUSTOMER, CARD, record("customer", id="cus_1", as_of=1), card(1), state())
    load(CUSTOMER, CARD, card(seen, version=millis(50)), activate("customer", SWEEP), state())
    assert rows(LIVE_CARDS) == [("card_1",)] * lives


@pytest.mark.parametrize("hard_delete", [False, True])
def test_the_end_of_a_sweep_that_comes_twice_takes_nothing_along(load, rows, hard_delete):
    load(CUSTOMER, CARD, record("customer", id="cus_1", name="x", as_of=1), card(1), state(), hard_delete=hard_delete)
    swept = record("customer", id="cus_1", name="x", as_of=101, version=SWEEP)
    load(CUSTOMER, CARD, swept, activate("customer", SWEEP), state(), hard_delete=hard_delete)
    load(CUSTOMER, CARD, activate("customer", SWEEP), state(), hard_delete=hard_delete)
    assert rows(LIVE_CARDS) == [("card_1",)]


def in_accounts(stream, **more):
    return [record(stream, stripe_account_id=account, as_of=1, **more) for account in ACCOUNTS]


@pytest.mark.parametrize("hard_delete", [False, True])
def test_they_go_within_their_account(load, rows, hard_delete):
    key = ("stripe_account_id", "id")
    schemas = owning(schema("customer", key=key), "card"), schema("card", key=key, customer_id=TEXT)
    load(
        *schemas, *in_accounts("customer", id="cus_1"), *in_accounts("card", id="c", customer_id="cus_1"),
        *in_accounts("customer", id="cus_2"), *in_accounts("card", id="d", customer_id="cus_2"), state(),
        hard_delete=hard_delete,
    )  # fmt: skip
    still = [("acct_a", "cus_2"), ("acct_b", "cus_1"), ("acct_b", "cus_2")]
    swept = record("customer", stripe_account_id="acct_a", id="cus_2", as_of=101, version=SWEEP)
    load(*schemas, swept, activate("customer", SWEEP, "acct_a"), state(), hard_delete=hard_delete)
    live = "SELECT stripe_account_id, customer_id FROM stripe.card WHERE _sdc_deleted_at IS NULL ORDER BY 1, 2"
    assert rows(live) == still


@pytest.mark.parametrize("hard_delete", [False, True])
def test_what_goes_with_its_parent_takes_along_only_what_is_its_own(load, rows, hard_delete):
    """Of the other account, of another row, and of a row that has its id from another stream, nothing goes."""
    key = ("stripe_account_id", "id")
    schemas = (
        owning(schema("customer", key=key), "source"),
        owning(schema("source", key=key, customer_id=TEXT), "source_transaction"),
        schema("source_transaction", key=key, source_id=TEXT),
        schema("coupon", key=key),
    )
    load(
        *schemas, *in_accounts("customer", id="cus_1"), *in_accounts("coupon", id="src_2"),
        *in_accounts("source", id="src_1", customer_id="cus_1"),
        *in_accounts("source", id="src_2", customer_id="cus_1"),
        *in_accounts("source_transaction", id="srctxn_1", source_id="src_1"),
        *in_accounts("source_transaction", id="srctxn_2", source_id="src_2"), state(), hard_delete=hard_delete,
    )  # fmt: skip
    load(*schemas, record("coupon", stripe_account_id="acct_a", id="src_2", gone=4), state(), hard_delete=hard_delete)
    left = record("customer", stripe_account_id="acct_a", id="cus_1", as_of=5, children={"source": ["src_2"]})
    load(*schemas, left, state(), hard_delete=hard_delete)
    live = "SELECT stripe_account_id, id FROM stripe.source_transaction WHERE _sdc_deleted_at IS NULL ORDER BY 1, 2"
    assert rows(live) == [("acct_a", "srctxn_2"), ("acct_b", "srctxn_1"), ("acct_b", "srctxn_2")]


@pytest.mark.parametrize("hard_delete", [False, True])
def test_what_a_sweep_did_not_bring_takes_along_what_its_own_rows_own(load, rows, hard_delete):
    schemas = (
        owning(schema("customer"), "source"),
        owning(schema("source", customer_id=TEXT), "source_transaction"),
        schema("source_transaction", source_id=TEXT),
    )
    for number in (1, 2):
        load(
            *schemas, record("customer", id=f"cus_{number}", as_of=1),
            record("source", id=f"src_{number}", customer_id=f"cus_{number}", as_of=1),
            record("source_transaction", id=f"srctxn_{number}", source_id=f"src_{number}", as_of=1), state(),
            hard_delete=hard_delete,
        )  # fmt: skip
    swept = record("customer", id="cus_2", as_of=101, version=SWEEP)
    load(*schemas, swept, activate("customer", SWEEP), state(), hard_delete=hard_delete)
    for stream, left in (("customer", "cus_2"), ("source", "src_2"), ("source_transaction", "srctxn_2")):
        assert rows(f"SELECT id FROM stripe.{stream} WHERE _sdc_deleted_at IS NULL") == [(left,)]
