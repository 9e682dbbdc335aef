"""The column rules: what an object becomes, whatever Stripe sends."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_stripe_events.changes import AS_OF, DELETED_AT, GAP_FILLER, Read, copy_as_of, field_value, read, singer_schema
from tap_stripe_events.object_table import STRIPE_OBJECTS

NOW = "2026-11-24T08:00:00Z"


def taken(name: str, **fields: Any) -> Read:
    found = read({"object": name, **fields}, name, as_of=NOW)
    assert found is not None
    return found


def record(name: str, **fields: Any) -> dict[str, Any]:
    return taken(name, **fields).change.record


def test_scalars_keep_their_names_and_get_types() -> None:
    row = record("charge", id="ch_1", amount=1999, currency="USD", created=1_700_000_000, paid=True, description="café")
    assert row == {
        "object": "charge",
        "id": "ch_1",
        "amount": 1999,
        "currency": "usd",
        "created": "2023-11-14T22:13:20Z",
        "paid": True,
        "description": "café",
        "_extra": None,
        AS_OF: NOW,
    }


@pytest.mark.parametrize(
    ("customer", "expected"),
    [
        ("cus_1", "cus_1"),
        ({"id": "cus_1", "object": "customer", "email": "someone@example.com"}, "cus_1"),
        ({"id": "cus_1", "object": "customer", "deleted": True}, "cus_1"),
        (None, None),
        ("", ""),
    ],
)
def test_a_reference_is_its_id_however_stripe_sends_it(customer: Any, expected: str | None) -> None:
    row = record("charge", id="ch_1", customer=customer)
    assert row["customer_id"] == expected
    assert row["_extra"] is None


def test_a_whole_object_is_a_copy_for_its_own_table_and_a_stub_is_not() -> None:
    whole = taken("charge", id="ch_1", customer={"id": "cus_1", "object": "customer"})
    assert [(each.name, each.json["id"]) for each in whole.copies] == [("customer", "cus_1")]
    stub = taken("charge", id="ch_1", customer={"id": "cus_1", "object": "customer", "deleted": True})
    assert stub.copies == ()


def test_a_copy_only_fills_a_gap_where_stripe_lists_or_announces_the_type() -> None:
    assert copy_as_of("price", NOW) == GAP_FILLER
    assert copy_as_of("discount", NOW) == GAP_FILLER
    assert copy_as_of("tax_deducted_at_source", NOW) == NOW


def test_an_embedded_list_is_not_a_column() -> None:
    lines = {"object": "list", "data": [{"id": "il_1", "object": "line_item"}], "has_more": False, "url": "/x"}
    found = taken("invoice", id="in_1", lines=lines)
    assert "lines" not in found.change.record
    assert found.change.record["_extra"] is None
    assert [(each.field, value) for each, value in found.lists] == [("lines", lines)]


def test_a_list_inside_a_hash_is_taken_out_of_the_column() -> None:
    inner = {"object": "list", "data": [], "has_more": False}
    found = taken("payment_intent", id="pi_1", amount_details={"tip": {"amount": 5}, "line_items": inner})
    assert found.change.record["amount_details"] == {"tip": {"amount": 5}}
    assert [(each.field, value) for each, value in found.lists] == [("amount_details.line_items", inner)]


def test_hashes_and_arrays_are_kept_exactly() -> None:
    metadata = {"a.b": "1", 'quo"te': "2", "A.B": "3", "": "", "x" * 100: "y"}
    row = record("customer", id="cus_1", metadata=metadata, preferred_locales=["de", "en"], address="")
    assert row["metadata"] == metadata
    assert row["preferred_locales"] == ["de", "en"]
    assert row["address"] == ""


def test_what_the_schema_does_not_know_goes_to_extra() -> None:
    assert record("customer", id="cus_1", new_field={"x": [1]}, other=None)["_extra"] == {
        "new_field": {"x": [1]},
        "other": None,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", "12"),
        ("amount", 12.5),
        ("amount", 2**63),
        ("amount", {"value": 1}),
        ("amount", True),
        ("paid", "true"),
        ("currency", 5),
        ("created", 1_700_000_000_000),
        ("created", -1),
        ("created", "2023-11-14T22:13:20Z"),
        ("description", {"text": "x"}),
        ("description", ["x"]),
        ("customer", ["cus_1"]),
        ("customer", {"object": "customer"}),
    ],
)
def test_what_does_not_fit_its_column_is_null_there_and_whole_in_extra(field: str, value: Any) -> None:
    if isinstance(value, float):
        value = Decimal(str(value))
    row = record("charge", id="ch_1", **{field: value})
    assert row[f"{field}_id" if field == "customer" else field] is None
    assert row["_extra"] == {field: value}


@pytest.mark.parametrize(
    ("sent", "stored"),
    [(0, 0), (2**53 + 1, 2**53 + 1), (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63)), (Decimal("1.0"), 1)],
)
def test_integers_are_kept_to_the_last_digit(sent: Any, stored: int) -> None:
    assert record("charge", id="ch_1", amount=sent)["amount"] == stored


@pytest.mark.parametrize("text", ["0.000000000001", "1e-7", "12345678901234567890.123456789012", "0", "-1.50"])
def test_decimals_are_never_floats(text: str) -> None:
    row = record("plan", id="plan_1", amount_decimal=text)
    assert row["amount_decimal"] == Decimal(text)
    line = msgspec.json.Encoder(decimal_format="number").encode(row)
    assert json.loads(line, parse_float=Decimal, parse_int=Decimal)["amount_decimal"] == Decimal(text)


def test_a_percentage_is_a_number_with_its_digits() -> None:
    assert record("coupon", id="c", percent_off=Decimal("12.3400"))["percent_off"] == Decimal("12.3400")


def test_milliseconds_are_read_where_stripe_sends_milliseconds() -> None:
    row = record("terminal.reader", id="tmr_1", last_seen_at=1_700_000_000_123)
    assert row["last_seen_at"] == "2023-11-14T22:13:20.123Z"


def test_a_child_names_its_parent() -> None:
    found = read(
        {"object": "item", "id": "li_1"}, "item", as_of=NOW, columns={"checkout_session_id": "cs_1"}, secrets=False
    )
    assert found is not None
    assert found.change.record["checkout_session_id"] == "cs_1"


def test_a_parent_that_the_object_names_itself_fills_the_parents_column() -> None:
    row = record("line_item", id="il_1", invoice="in_1")
    assert (row["invoice"], row["invoice_id"]) == ("in_1", "in_1")


def test_a_reference_that_names_the_parent_fills_the_parents_column_too() -> None:
    row = record("treasury.transaction_entry", id="trxne_1", transaction="trxn_1")
    assert (row["transaction_id"], row["treasury_transaction_id"]) == ("trxn_1", "trxn_1")


def test_a_deleted_object_is_a_deletion() -> None:
    assert record("customer", id="cus_1", deleted=True) == {"id": "cus_1", AS_OF: NOW, DELETED_AT: NOW}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("payment_intent", {"client_secret": "pi_secret"}),
        ("invoice", {"confirmation_secret": {"client_secret": "x_secret"}}),
        ("webhook_endpoint", {"secret": "whsec_1"}),
        ("apps.secret", {"payload": "hidden_secret"}),
        ("issuing.card", {"number": "4242424242424242", "cvc": "123"}),
        ("checkout.session", {"unknown": {"deep": [{"client_secret": "cs_secret"}]}}),
        ("issuing.authorization", {"card": {"object": "issuing.card", "id": "ic_1", "number": "4242", "cvc": "9"}}),
    ],
)
def test_secrets_are_never_in_a_record(name: str, fields: dict[str, Any]) -> None:
    found = taken(name, id="x_1", metadata={"note": "kept"}, **fields)
    text = str(found.change.record)
    for hidden in ("_secret", "whsec_1", "4242", "'cvc'", "'number'"):
        assert hidden not in text.replace("apps.secret", "")


def test_secrets_are_taken_out_of_events_too() -> None:
    data = {
        "object": {"object": "issuing.card", "id": "ic_1", "number": "4242", "status": "active"},
        "previous_attributes": {"number": "4000", "status": "inactive"},
    }
    row = record("event", id="evt_1", type="issuing_card.updated", data=data)
    assert row["data"] == {
        "object": {"object": "issuing.card", "id": "ic_1", "status": "active"},
        "previous_attributes": {"status": "inactive"},
    }


def test_a_payment_method_in_an_error_is_a_copy() -> None:
    error = {"code": "card_declined", "payment_method": {"id": "pm_1", "object": "payment_method"}}
    found = taken("payment_intent", id="pi_1", last_payment_error=error)
    assert [each.json["id"] for each in found.copies] == ["pm_1"]
    assert found.change.record["last_payment_error"] == error


def test_discounts_inside_arrays_of_hashes_are_copies() -> None:
    discounts = [{"amount": 1, "discount": {"id": "di_1", "object": "discount"}}]
    assert [each.json["id"] for each in taken("item", id="li_1", discounts=discounts).copies] == ["di_1"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", (True, {"b": None})),
        ("a.b", (True, None)),
        ("a.b.c", (True, None)),
        ("z", (False, None)),
        ("a.z", (False, None)),
    ],
)
def test_a_field_is_there_and_empty_below_a_null(path: str, expected: tuple[bool, Any]) -> None:
    assert field_value({"a": {"b": None}}, path) == expected


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=20)
    | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data(), name=st.sampled_from(sorted(STRIPE_OBJECTS)))
def test_any_json_in_any_field_is_stored_somewhere(data: st.DataObject, name: str) -> None:
    columns = [each for each in singer_schema(name)["properties"] if not each.startswith("_")]
    fields = {column.removesuffix("_id"): 1 for column in columns} | dict.fromkeys(columns, 1)
    chosen = data.draw(st.lists(st.sampled_from(sorted(fields)), max_size=5, unique=True))
    sent = {field: data.draw(json_values) for field in chosen if field not in {"deleted", "object"}}
    found = read({"object": name, **sent}, name, as_of=NOW, secrets=False)
    assert found is not None
    row = found.change.record
    assert set(row) <= set(singer_schema(name)["properties"])
    extra = row["_extra"] or {}
    for field, value in sent.items():
        kept = row.get(field, row.get(f"{field}_id"))
        whole = field in extra and extra[field] == value
        copied = isinstance(value, dict) and kept == value.get("id")
        assert whole or copied or value is None or kept is not None
    msgspec.json.encode(row)
