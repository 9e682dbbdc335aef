"""Children follow the complete lists of their parents."""

import itertools

import pytest
from messages import FILLER, TEXT, activate, millis, record, schema, state

INVOICE = schema("invoice", number=TEXT)
LISTING = schema("invoice", number=TEXT, _sdc_children={"type": "object", "patternProperties": {"^line_item$": {}}})
LINE = schema("line_item", key=("invoice_id", "id"), description=TEXT)
LIVE = "SELECT invoice_id, id FROM stripe.line_item WHERE _sdc_deleted_at IS NULL ORDER BY 1, 2"

EVERY = "SELECT id, _sdc_deleted_at::text FROM stripe.line_item"


def invoice(lines, as_of, **more):
    children = None if lines is None else {"line_item": lines}
    return record("invoice", id="in_1", as_of=as_of, children=children, **more)


def line(name, as_of, invoice_id="in_1"):
    return record("line_item", invoice_id=invoice_id, id=name, as_of=as_of)


@pytest.mark.parametrize("hard_delete", [False, True])
def test_a_child_that_is_missing_from_a_complete_list_is_deleted_as_of_the_list(load, rows, hard_delete):
    load(INVOICE, LINE, invoice(["a", "b"], 1), line("a", 1), line("b", 1), line("x", 1, "in_2"), state())
    load(INVOICE, LINE, invoice(["a"], 5), line("a", 5), state(), hard_delete=hard_delete)
    assert rows(LIVE) == [("in_1", "a"), ("in_2", "x")]
    if hard_delete:
        assert rows("SELECT key, as_of::text FROM stripe._tombstones") == [(["in_1", "b"], "2026-01-01 00:00:05+00")]
    else:
        assert rows(f"{EVERY} WHERE _sdc_deleted_at = _sdc_as_of") == [("b", "2026-01-01 00:00:05+00")]


@pytest.mark.parametrize("hard_delete", [False, True])
@pytest.mark.parametrize("together", [True, False])
def test_a_child_that_a_newer_list_left_out_does_not_come_back_in_any_order(load, rows, hard_delete, together):
    """Each order of arrival for an invoice of its own, all arriving side by side."""

    def family(parent):
        return [
            record("invoice", id=parent, as_of=1, children={"line_item": ["a", "b"]}),
            line("a", 1, parent),
            line("b", 1, parent),
            record("invoice", id=parent, as_of=2, children={"line_item": ["a"]}),
        ]

    orders = [[family(f"in_{n:02}")[i] for i in order] for n, order in enumerate(itertools.permutations(range(4)))]
    batches = list(zip(*orders, strict=True))
    for messages in [itertools.chain(*batches)] if together else batches:
        load(INVOICE, LINE, *messages, state(), hard_delete=hard_delete)
    assert rows(LIVE) == [(f"in_{n:02}", "a") for n in range(24)]


@pytest.mark.parametrize("hard_delete", [False, True])
def test_the_lists_of_two_parents_do_not_touch_each_others_children(load, rows, hard_delete):
    lists = [record("invoice", id=f"in_{n}", as_of=1, children={"line_item": [f"line_{n}"]}) for n in (1, 2)]
    lines = [line(f"line_{n}", 1, f"in_{n}") for n in (1, 2)]
    load(INVOICE, LINE, *lists, *lines, state(), hard_delete=hard_delete)
    load(INVOICE, LINE, *lists, state(), hard_delete=hard_delete)
    load(INVOICE, LINE, *lines, state(), hard_delete=hard_delete)
    assert rows(LIVE) == [("in_1", "line_1"), ("in_2", "line_2")]


def test_a_list_of_another_stream_with_the_same_id_is_no_concern(load, rows):
    """A plan and a price share their id; only one of them has a list of tiers."""
    plan, price = schema("plan"), schema("price")
    tier = schema("tier", plan_id=TEXT, price_id=TEXT)
    tiers = [record("tier", id=name, plan_id="p", price_id="p", as_of=1) for name in ("a", "b")]
    load(plan, price, tier, record("plan", id="p", as_of=2, children={"tier": ["a"]}), state())
    load(plan, price, tier, record("price", id="p", as_of=2, children={"tier": ["a", "b"]}), state())
    load(plan, price, tier, *tiers, state())
    assert rows("SELECT id FROM stripe.tier WHERE _sdc_deleted_at IS NULL") == [("a",)]


@pytest.mark.parametrize(("as_of", "lives"), [(99, True), (100, False), (101, False)])
@pytest.mark.parametrize("hard_delete", [False, True])
def test_a_list_that_is_older_than_the_start_of_a_finished_sweep_of_the_children_deletes_none(
    load, rows, as_of, lives, hard_delete
):
    swept = line("a", 1) | {"version": millis(100)}
    load(INVOICE, LINE, line("a", 1), swept, activate("line_item", millis(100)), state(), hard_delete=hard_delete)
    load(INVOICE, LINE, invoice([], as_of), state(), hard_delete=hard_delete)
    assert rows(LIVE) == [("in_1", "a")] * lives


@pytest.mark.parametrize(("as_of", "lives"), [(59, True), (60, False), (61, False)])
def test_a_list_that_is_older_than_what_an_unfinished_sweep_saw_of_a_child_spares_it(load, rows, as_of, lives):
    load(INVOICE, LINE, line("a", 1), state())
    load(INVOICE, LINE, line("a", 60) | {"version": millis(50)}, state())
    load(INVOICE, LINE, invoice([], as_of), state())
    assert rows(LIVE) == [("in_1", "a")] * lives


def test_a_parent_without_a_list_comes_with_one_that_has_one(load, rows):
    bare = record("invoice", id="in_2", as_of=5)
    load(INVOICE, LINE, line("a", 1), line("b", 1, "in_2"), state())
    load(INVOICE, LINE, invoice([], 5), bare, state())
    assert rows(LIVE) == [("in_2", "b")]
    assert rows("SELECT key FROM stripe._children") == [(["in_1"],)]


def test_a_list_counts_although_its_parents_have_brought_other_lists_since(load, rows):
    discount = schema("discount", invoice_id=TEXT)
    load(INVOICE, LINE, discount, invoice(["a"], 5), state())
    load(INVOICE, LINE, discount, record("invoice", id="in_1", as_of=6, children={"discount": []}), state())
    load(INVOICE, LINE, discount, line("a", 4), line("b", 4), record("discount", id="di_1", invoice_id="in_1", as_of=4))
    assert rows(LIVE) == [("in_1", "a")]
    assert rows("SELECT id FROM stripe.discount WHERE _sdc_deleted_at IS NULL") == []


def test_children_are_found_by_their_parent_through_an_index(load, rows):
    discount = schema("discount", invoice_id=TEXT)
    load(INVOICE, discount, record("discount", id="di_1", invoice_id="in_1", as_of=1), state())
    load(INVOICE, discount, record("invoice", id="in_1", as_of=2, children={"discount": []}), state())
    found = rows("SELECT indexdef FROM pg_indexes WHERE schemaname = 'stripe' AND tablename = 'discount'")
    assert any("(invoice_id)" in definition for (definition,) in found)


def test_a_stale_list_deletes_nothing(load, rows):
    load(INVOICE, LINE, invoice(["a", "b"], 5), line("a", 1), line("b", 1), state())
    load(INVOICE, LINE, invoice(["a"], 4), state())
    assert rows(LIVE) == [("in_1", "a"), ("in_1", "b")]


def test_a_list_leaves_a_child_alone_that_is_newer(load, rows):
    load(INVOICE, LINE, line("b", 9), invoice([], 5), state())
    assert rows(LIVE) == [("in_1", "b")]


def test_a_tie_does_not_bring_a_child_back(load, rows):
    load(INVOICE, LINE, invoice([], 5), state())
    load(INVOICE, LINE, line("b", 5), state())
    assert rows(LIVE) == []


def test_a_newer_child_comes_back(load, rows):
    load(INVOICE, LINE, line("b", 1), invoice([], 5), state())
    load(INVOICE, LINE, invoice(["b"], 6), line("b", 6), state())
    assert rows(LIVE) == [("in_1", "b")]


def test_a_list_counts_although_the_parent_itself_is_older_than_its_row(load, rows):
    load(INVOICE, LINE, line("a", 1), line("b", 1), invoice(None, 9, number="new"), state())
    load(INVOICE, LINE, invoice(["a"], 5, number="old"), state())
    assert rows(LIVE) == [("in_1", "a")]
    assert rows("SELECT number FROM stripe.invoice") == [("new",)]


def test_a_list_counts_although_the_parent_is_unchanged(load, rows):
    load(INVOICE, LINE, invoice(["a", "b"], 1), line("a", 1), line("b", 1), state())
    load(INVOICE, LINE, invoice(["a"], 1), state())
    assert rows(LIVE) == [("in_1", "a")]


def test_a_list_that_is_not_complete_is_not_mentioned_and_deletes_nothing(load, rows):
    load(INVOICE, LINE, invoice(["a"], 1), line("a", 1), state())
    load(INVOICE, LINE, invoice(None, 5), record("invoice", id="in_1", as_of=6, children={}), state())
    assert rows(LIVE) == [("in_1", "a")]


def test_a_list_of_a_replaced_record_of_the_same_batch_counts(load, rows):
    load(INVOICE, LINE, line("a", 1), line("b", 1), invoice(["a"], 2), invoice(None, 3), state())
    assert rows(LIVE) == [("in_1", "a")]


def test_the_list_counts_when_the_parent_comes_long_before_the_childs_schema(load, rows):
    load(INVOICE, LINE, line("a", 1), line("b", 1), state())
    load(INVOICE, invoice(["a"], 2), state(), LINE, line("a", 2), state(), batch_size_rows=1)
    assert rows(LIVE) == [("in_1", "a")]


def test_only_what_the_list_names_of_a_gap_filler_lives(load, rows):
    load(INVOICE, LINE, invoice(["a"], 2), state())
    load(INVOICE, LINE, line("a", FILLER), line("b", FILLER), state())
    assert rows(LIVE) == [("in_1", "a")]


def test_children_with_a_key_of_their_own_are_told_by_parent_and_found_by_index(load, rows):
    item = schema("item", checkout_session_id=TEXT, quote_id=TEXT)
    load(
        schema("checkout.session"), schema("quote"), item,
        record("item", id="li_1", checkout_session_id="cs_1", as_of=1),
        record("item", id="li_2", quote_id="cs_1", as_of=1),
        record("checkout.session", id="cs_1", as_of=2, children={"item": []}),
        record("quote", id="cs_1", as_of=2, children={"item": ["li_2"]}),
        state(),
    )  # fmt: skip
    assert rows("SELECT id FROM stripe.item WHERE _sdc_deleted_at IS NULL") == [("li_2",)]
    assert rows("SELECT indexdef FROM pg_indexes WHERE indexname = 'item_checkout_session_id_idx'") == [
        ("CREATE INDEX item_checkout_session_id_idx ON stripe.item USING btree (checkout_session_id)",)
    ]


def test_with_connected_accounts_a_list_counts_within_its_account(load, rows):
    key = ("stripe_account_id", "id")
    load(
        schema("customer", key=key), schema("tax_id", key=key, customer_id=TEXT),
        record("tax_id", stripe_account_id="acct_a", id="txi_1", customer_id="cus_1", as_of=1),
        record("tax_id", stripe_account_id="acct_b", id="txi_1", customer_id="cus_1", as_of=1),
        record("customer", stripe_account_id="acct_a", id="cus_1", as_of=2, children={"tax_id": []}),
        state(),
    )  # fmt: skip
    assert rows("SELECT stripe_account_id FROM stripe.tax_id WHERE _sdc_deleted_at IS NULL") == [("acct_b",)]


def test_an_old_list_spares_a_child_that_a_sweep_saw_later(load, rows):
    load(INVOICE, LINE, line("a", 1), line("b", 1), state())
    sweep = [record("line_item", invoice_id="in_1", id=name, as_of=11, version=millis(10)) for name in ("a", "b")]
    load(INVOICE, LINE, *sweep, state())
    load(INVOICE, LINE, invoice(["a"], 5), state())
    assert rows(LIVE) == [("in_1", "a"), ("in_1", "b")]


def test_a_list_that_a_flattening_tap_sends_as_text_is_a_list(load, rows):
    load(INVOICE, LINE, invoice(["a", "b"], 1), line("a", 1), line("b", 1), state())
    load(INVOICE, LINE, record("invoice", id="in_1", as_of=5, children='{"line_item": ["a"]}'), state())
    assert rows(LIVE) == [("in_1", "a")]


CUSTOMER = schema("customer", name=TEXT)
TAX_ID = schema("tax_id", customer_id=TEXT, value=TEXT)
CASH = schema("cash_balance", key=("customer_id",), currency=TEXT)
EVERY_CHILD = {"tax_id": [], "cash_balance": []}


def tax_id(name, as_of, customer="cus_1"):
    return record("tax_id", id=name, customer_id=customer, value="v", as_of=as_of)


def cash(as_of, customer="cus_1"):
    return record("cash_balance", customer_id=customer, currency="usd", as_of=as_of)


def customer_gone(second, children=EVERY_CHILD):
    return record("customer", id="cus_1", gone=second, children=children)


LIVE_CHILDREN = """
SELECT id FROM stripe.tax_id WHERE _sdc_deleted_at IS NULL
UNION ALL SELECT customer_id FROM stripe.cash_balance WHERE _sdc_deleted_at IS NULL ORDER BY 1
"""
FAMILY = (CUSTOMER, TAX_ID, CASH)


@pytest.mark.parametrize("hard_delete", [False, True])
@pytest.mark.parametrize("seen", [False, True], ids=["parent never seen", "parent seen"])
@pytest.mark.parametrize("batches", ["before", "after", "together, before", "together, after"])
def test_a_deleted_parent_takes_its_children_along_in_any_order(load, rows, hard_delete, seen, batches):
    parent = [record("customer", id="cus_1", name="x", as_of=1)] if seen else []
    children = [tax_id("t1", 1), tax_id("t2", 5), cash(3), tax_id("other", 1, "cus_2")]
    first, second = (children, [customer_gone(5)]) if batches.endswith("before") else ([customer_gone(5)], children)
    separator = [] if batches.startswith("together") else [state()]
    load(state(), *FAMILY, *parent, *first, *separator, *second, state(), hard_delete=hard_delete)
    assert rows(LIVE_CHILDREN) == [("other",)]
    if not hard_delete:
        gone = "SELECT id, _sdc_deleted_at::text, value FROM stripe.tax_id WHERE customer_id = 'cus_1' ORDER BY 1"
        assert rows(gone) == [("t1", "2026-01-01 00:00:05+00", "v"), ("t2", "2026-01-01 00:00:05+00", "v")]


@pytest.mark.parametrize("hard_delete", [False, True])
def test_children_of_a_deleted_parent_stay_gone_for_what_is_older_and_come_back_with_what_is_newer(
    load, rows, hard_delete
):
    load(state(), *FAMILY, tax_id("t1", 1), customer_gone(5), state(), hard_delete=hard_delete)
    load(state(), *FAMILY, tax_id("t1", 4), tax_id("t3", 5), cash(FILLER), cash(2), state(), hard_delete=hard_delete)
    assert rows(LIVE_CHILDREN) == []
    load(state(), *FAMILY, tax_id("t1", 6), state(), hard_delete=hard_delete)
    assert rows(LIVE_CHILDREN) == [("t1",)]


def test_children_that_are_newer_than_their_parents_delete_stay(load, rows):
    load(state(), *FAMILY, tax_id("t1", 9), customer_gone(5), state())
    assert rows(LIVE_CHILDREN) == [("t1",)]


@pytest.mark.parametrize("hard_delete", [False, True])
def test_a_delete_takes_children_along_although_a_sweep_of_the_parents_was_faster(load, rows, hard_delete):
    load(state(), *FAMILY, record("customer", id="cus_1", name="x", as_of=1), tax_id("t1", 1), cash(1), state())
    load(state(), *FAMILY, activate("customer", millis(10)), state(), hard_delete=hard_delete)
    assert len(rows(LIVE_CHILDREN)) == 2
    load(state(), *FAMILY, customer_gone(5), state(), hard_delete=hard_delete)
    assert rows(LIVE_CHILDREN) == []


@pytest.mark.parametrize("hard_delete", [False, True])
def test_within_an_account_a_list_counts_for_its_own_parent(load, rows, hard_delete):
    key = ("stripe_account_id", "id")
    schemas = schema("customer", key=key), schema("tax_id", key=key, customer_id=TEXT)

    def customer(account, number):
        names = {"stripe_account_id": account, "id": f"cus_{number}"}
        return record("customer", **names, as_of=2, children={"tax_id": [f"txi_{number}"]})

    def both(number):
        names = {"id": f"txi_{number}", "customer_id": f"cus_{number}"}
        return [record("tax_id", stripe_account_id=account, **names, as_of=1) for account in ("acct_a", "acct_b")]

    load(*schemas, *both(1), *both(2), customer("acct_a", 1), customer("acct_b", 2), state(), hard_delete=hard_delete)
    live = "SELECT count(*) FROM stripe.tax_id WHERE _sdc_deleted_at IS NULL"
    assert rows(live) == [(4,)]
    load(*schemas, customer("acct_a", 1), customer("acct_b", 2), *both(1), *both(2), state(), hard_delete=hard_delete)
    assert rows(live) == [(4,)]


def test_a_delete_that_names_a_child_stream_without_a_table_or_a_reference_is_no_concern(load, rows):
    lists = {"tax_id": [], "source": [], "discount": []}
    load(
        state(), CUSTOMER, TAX_ID, schema("discount", coupon_id=TEXT), tax_id("t1", 1), customer_gone(5, lists), state()
    )
    assert rows("SELECT id FROM stripe.tax_id WHERE _sdc_deleted_at IS NULL") == []
    source = schema("source", customer_id=TEXT)
    load(state(), CUSTOMER, source, record("source", id="src_1", customer_id="cus_1", as_of=4), state())
    assert rows("SELECT id FROM stripe.source WHERE _sdc_deleted_at IS NULL") == []


@pytest.mark.parametrize("hard_delete", [False, True])
def test_what_goes_with_its_parent_takes_its_own_children_along(load, rows, hard_delete):
    def owning(message, child):
        patterns = {f"^{child}$": {"type": "array", "items": TEXT}}
        message["schema"]["properties"]["_sdc_children"] = {"type": "object", "patternProperties": patterns}
        return message

    schemas = (
        owning(schema("customer", name=TEXT), "source"),
        owning(schema("source", customer_id=TEXT), "source_transaction"),
        schema("source_transaction", source=TEXT),
    )
    load(
        *schemas,
        record("customer", id="cus_1", as_of=1),
        *(record("source", id=f"src_{number}", customer_id=f"cus_{number}", as_of=1) for number in (1, 2)),
        *(record("source_transaction", id=f"srctxn_{number}", source=f"src_{number}", as_of=1) for number in (1, 2)),
        state(),
    )
    load(*schemas, record("customer", id="cus_1", gone=5, children={"source": []}), state(), hard_delete=hard_delete)
    live = "SELECT id FROM stripe.{} WHERE _sdc_deleted_at IS NULL"
    assert rows(live.format("source")) == [("src_2",)]
    assert rows(live.format("source_transaction")) == [("srctxn_2",)]


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize("between", [[], [state()]], ids=["no STATE", "a STATE"])
@pytest.mark.parametrize("apart", [False, True], ids=["in one run", "in two"])
@pytest.mark.parametrize("schemas", [(LISTING, LINE), (LINE, LISTING)], ids=["parents first", "children first"])
def test_a_child_that_is_added_in_the_second_of_an_empty_list_stays(  # noqa: PLR0917 - each is varied
    load, rows, schemas, apart, between, size
):
    """An invoice is made, and gets a line in the same second; the tap reads it again, and sends parents first."""
    before, after = [invoice([], 5), *between], [invoice(["a"], 5), line("a", 5), state()]
    for messages in [[*before, state()], after] if apart else [[*before, *after]]:
        load(*schemas, *messages, batch_size_rows=size)
    assert rows(LIVE) == [("in_1", "a")]
