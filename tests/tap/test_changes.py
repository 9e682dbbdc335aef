"""The column rules: what an object becomes, whatever Stripe sends."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_stripe_events.changes import (
    AS_OF,
    DELETED_AT,
    GAP_FILLER,
    Read,
    copy_as_of,
    elements,
    key_values,
    read,
    singer_schema,
)
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.shapes import field_value

NOW = "2026-11-24T08:00:00Z"


def taken(name: str, **fields: Any) -> Read:
    found = read({"object": name, **fields}, name, as_of=NOW)
    assert found is not None
    return found


def record(name: str, **fields: Any) -> dict[str, Any]:
    return dict(taken(name, **fields).change.record)


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
    inner: Any = {"object": "list", "data": [], "has_more": False}
    found = taken("payment_intent", id="pi_1", amount_details={"tip": {"amount": 5}, "line_items": inner})
    assert found.change.record["amount_details"] == {"tip": {"amount": 5}}
    assert [(each.field, value) for each, value in found.lists] == [("amount_details.line_items", inner)]


@pytest.mark.parametrize("instead", [None, "unknown", {"object": "novelty"}])
def test_what_stripe_sends_instead_of_a_list_inside_a_hash_stays_there(instead: Any) -> None:
    found = taken("payment_intent", id="pi_1", amount_details={"line_items": instead})
    assert found.change.record["amount_details"] == {"line_items": instead}
    assert found.lists == ()


def test_a_list_deep_inside_a_hash_is_taken_out_of_it() -> None:
    inner: Any = {"object": "list", "data": [], "has_more": False}
    computed = {"upfront": {"amount_total": 5, "line_items": inner}, "recurring": {"amount_total": 6}}
    found = taken("quote", id="qt_1", computed=computed)
    assert found.change.record["computed"] == {"upfront": {"amount_total": 5}, "recurring": {"amount_total": 6}}
    assert [(each.field, value) for each, value in found.lists] == [("computed.upfront.line_items", inner)]
    assert computed["upfront"]["line_items"] is inner


def test_what_is_null_is_null_in_its_column() -> None:
    row = record("charge", id="ch_1", amount=None, currency=None, customer=None, metadata=None, paid=None)
    assert [row[each] for each in ("amount", "currency", "customer_id", "metadata", "paid", "_extra")] == [None] * 6


@pytest.mark.parametrize("identifier", [5, None, ["ch_1"]])
def test_an_id_that_is_no_text_is_none(identifier: Any) -> None:
    found = taken("charge", id=identifier)
    assert found.id == ""
    assert found.change.record["id"] is None


@pytest.mark.parametrize("found", [None, "text", {}, 5])
def test_an_embedded_list_without_elements_has_none(found: Any) -> None:
    assert elements({"data": found}) == elements({}) == []
    assert elements({"data": [{"id": "a"}, None, "b"]}) == [{"id": "a"}]


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


@pytest.mark.parametrize(
    ("sent", "stored"),
    [(0, "1970-01-01T00:00:00Z"), (253_402_300_799, "9999-12-31T23:59:59Z"), (253_402_300_800, None)],
)
def test_a_time_is_any_second_from_1970_to_9999(sent: int, stored: str | None) -> None:
    row = record("charge", id="ch_1", created=sent)
    assert row["created"] == stored
    assert row["_extra"] == (None if stored else {"created": sent})


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (253_402_300_799_000, "9999-12-31T23:59:59.000Z"),
        (253_402_300_799_001, None),
        (-1, None),
        (True, None),
        ("1700000000123", None),
    ],
)
def test_milliseconds_are_as_far_as_seconds_or_misfits(sent: Any, stored: str | None) -> None:
    row = record("terminal.reader", id="tmr_1", last_seen_at=sent)
    assert row["last_seen_at"] == stored
    assert row["_extra"] == (None if stored else {"last_seen_at": sent})


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("1e999", Decimal("1e999")),
        ("1e-999", Decimal("1e-999")),
        ("1e1000", None),
        ("1e-1000", None),
        (12, Decimal(12)),
        (True, None),
        ("NaN", None),
        ("Infinity", None),
        ("a dozen", None),
        ({"value": 1}, None),
        ([], None),
    ],
)
def test_a_number_is_a_decimal_that_postgres_can_hold_or_a_misfit(sent: Any, stored: Decimal | None) -> None:
    row = record("coupon", id="c", percent_off=sent)
    assert row["percent_off"] == stored
    assert row["_extra"] == (None if stored is not None else {"percent_off": sent})


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


@pytest.mark.parametrize(("said", "expected"), [(None, "in_by_place"), ("in_said", "in_said")])
def test_what_an_object_says_of_its_parent_counts_before_where_it_was_found(said: str | None, expected: str) -> None:
    found = read(
        {"object": "line_item", "id": "il_1", "invoice": said}, "line_item", as_of=NOW,
        columns={"invoice_id": "in_by_place"},
    )  # fmt: skip
    assert found is not None
    assert found.change.record["invoice_id"] == expected


def test_a_deleted_object_is_a_deletion() -> None:
    found = taken("customer", id="cus_1", deleted=True)
    assert found.id == "cus_1"
    assert dict(found.change.record) == {"id": "cus_1", AS_OF: NOW, DELETED_AT: NOW}


def test_a_deleted_child_is_deleted_by_its_whole_key() -> None:
    stub = {"object": "line_item", "id": "il_1", "deleted": True}
    found = read(stub, "line_item", as_of=NOW, columns={"invoice_id": "in_1"})
    assert found is not None
    assert dict(found.change.record) == {"invoice_id": "in_1", "id": "il_1", AS_OF: NOW, DELETED_AT: NOW}


@pytest.mark.parametrize("stub", [{}, {"id": None}, {"id": 5}])
def test_a_stub_that_does_not_say_what_was_deleted_deletes_nothing(stub: dict[str, Any]) -> None:
    assert read({"object": "customer", "deleted": True, **stub}, "customer", as_of=NOW) is None


def test_what_has_no_id_is_deleted_by_whose_it_is() -> None:
    stub = {"object": "cash_balance", "deleted": True}
    found = read(stub, "cash_balance", as_of=NOW, columns={"customer_id": "cus_1"})
    assert found is not None
    assert found.id == ""
    assert dict(found.change.record) == {"customer_id": "cus_1", AS_OF: NOW, DELETED_AT: NOW}


@pytest.mark.parametrize(
    ("name", "sent", "expected"),
    [
        ("charge", {"id": "ch_1"}, ("ch_1",)),
        ("charge", {}, None),
        ("charge", {"id": ""}, None),
        ("charge", {"id": 5}, None),
        ("line_item", {"id": "il_1", "invoice": "in_1"}, ("in_1", "il_1")),
        ("line_item", {"id": "il_1", "invoice": {"object": "invoice", "id": "in_1"}}, ("in_1", "il_1")),
        ("line_item", {"id": "il_1"}, ("", "il_1")),
        ("line_item", {"invoice": "in_1"}, None),
        ("cash_balance", {"customer": "cus_1"}, ("cus_1",)),
        ("balance", {}, ("",)),
    ],
)
def test_a_key_is_what_the_object_says_of_it(name: str, sent: Any, expected: tuple[str, ...] | None) -> None:
    assert key_values(name, sent) == expected


def test_the_catalog_says_what_every_column_can_hold() -> None:
    said = singer_schema("charge")["properties"]
    properties = {column: {k: v for k, v in each.items() if k != "description"} for column, each in said.items()}
    assert {name: properties[name] for name in ("id", "amount", "currency", "created", "customer_id", "metadata")} == {
        "id": {"type": "string"},
        "amount": {"type": ["integer", "null"]},
        "currency": {"type": ["string", "null"]},
        "created": {"type": ["string", "null"], "format": "date-time"},
        "customer_id": {"type": ["string", "null"]},
        "metadata": {"type": ["object", "null"]},
    }
    assert properties[AS_OF] == {"type": "string", "format": "date-time"}
    assert properties[DELETED_AT] == {"type": ["string", "null"], "format": "date-time"}
    assert "_sdc_children" not in properties


def test_the_catalog_says_what_every_table_and_column_is() -> None:
    for name in STRIPE_OBJECTS:
        shown = singer_schema(name)
        assert name in shown["description"]
        for column, each in shown["properties"].items():
            if column != "_sdc_children":  # a message, not a column
                assert each["description"].endswith((".", "…")), (name, column)
            assert not [keyword for keyword in each if keyword.startswith("x-")]
    properties = singer_schema("charge")["properties"]
    assert "smallest unit (cents, yen) of column currency" in properties["amount"]["description"]
    assert properties["customer_id"]["description"] == "References customer.id."
    assert "unix time" in properties["created"]["description"]
    assert "lower case" in properties["currency"]["description"]
    assert "Known values: failed, pending, succeeded" in properties["status"]["description"]


def test_the_catalog_names_the_streams_whose_rows_go_with_a_row() -> None:
    schema = singer_schema("customer")
    children = schema["properties"]["_sdc_children"]
    assert schema["type"] == "object"
    assert children["type"] == ["object", "null"]
    assert {"^tax_id$", "^entitlements_active_entitlement$", "^discount$"} <= set(children["patternProperties"])
    for pattern, ids in children["patternProperties"].items():
        assert pattern[1:-1].isidentifier()
        assert ids == {"type": ["array", "null"], "items": {"type": "string"}}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("payment_intent", {"client_secret": "pi_secret"}),
        ("invoice", {"confirmation_secret": {"client_secret": "x_secret"}}),
        ("webhook_endpoint", {"secret": "whsec_1"}),
        ("apps.secret", {"payload": "hidden_secret"}),
        ("issuing.card", {"number": "4242424242424242", "cvc": "123"}),
        ("charge", {"description": "whsec_1", "unknown": {"deep": ["kept", {"pasted": "whsec_1"}]}}),
        ("checkout.session", {"unknown": {"deep": [{"client_secret": "cs_secret"}]}}),
        ("issuing.authorization", {"card": {"object": "issuing.card", "id": "ic_1", "number": "4242", "cvc": "9"}}),
    ],
)
def test_secrets_are_never_in_a_record(name: str, fields: dict[str, Any]) -> None:
    found = taken(name, id="x_1", metadata={"note": "kept"}, **fields)
    text = str(dict(found.change.record))
    for hidden in ("_secret", "whsec_1", "4242", "'cvc'", "'number'"):
        assert hidden not in text.replace("apps.secret", "")


def test_secrets_are_known_by_the_type_that_was_asked_for_too() -> None:
    found = read({"id": "ic_1", "number": "4242", "last4": "4242"}, "issuing.card", as_of=NOW)
    assert found is not None
    assert dict(found.change.record) == {"id": "ic_1", "last4": "4242", "_extra": None, AS_OF: NOW}


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


@pytest.mark.parametrize(
    "data",
    [
        None,
        "text",
        {},
        {"object": None, "previous_attributes": {"number": "1"}},
        {"object": {"object": "charge"}, "previous_attributes": None},
        {"object": {"object": "charge", "number": "1"}, "previous_attributes": {"number": "2"}},
        {"object": {"object": "issuing.card"}},
    ],
)
def test_an_event_of_any_shape_is_kept_as_it_is_where_nothing_is_secret(data: Any) -> None:
    row = record("event", id="evt_1", type="charge.updated", data=data)
    assert data in (row["data"], (row["_extra"] or {}).get("data"))


def test_a_payment_method_in_an_error_is_a_copy() -> None:
    error = {"code": "card_declined", "payment_method": {"id": "pm_1", "object": "payment_method"}}
    found = taken("payment_intent", id="pi_1", last_payment_error=error)
    assert [(each.name, each.json["id"]) for each in found.copies] == [("payment_method", "pm_1")]
    assert found.change.record["last_payment_error"] == error


def test_discounts_inside_arrays_of_hashes_are_copies() -> None:
    discounts = [{"amount": 1, "discount": {"id": f"di_{number}", "object": "discount"}} for number in (1, 2)]
    assert [each.json["id"] for each in taken("item", id="li_1", discounts=discounts).copies] == ["di_1", "di_2"]
    details = {"breakdown": {"discounts": discounts}}
    found = taken("checkout.session", id="cs_1", total_details=details)
    assert [each.json["id"] for each in found.copies] == ["di_1", "di_2"]


def test_what_has_a_row_by_whom_it_belongs_to_is_no_column_of_theirs() -> None:
    balance = {"object": "cash_balance", "customer": "cus_1", "available": {"usd": 5}}
    found = taken("customer", id="cus_1", cash_balance=balance)
    assert [(each.name, each.json) for each in found.dependents] == [("cash_balance", balance)]
    assert "cash_balance" not in found.change.record
    assert found.change.record["_extra"] is None


@pytest.mark.parametrize("field", ["sources", "cash_balance"])
def test_that_there_is_no_list_or_dependent_is_no_news(field: str) -> None:
    assert taken("customer", id="cus_1", **{field: None}).change.record["_extra"] is None


@pytest.mark.parametrize(("field", "value"), [("sources", "unknown"), ("sources", {}), ("cash_balance", 5)])
def test_what_stripe_sends_instead_of_a_list_or_dependent_is_kept(field: str, value: Any) -> None:
    found = taken("customer", id="cus_1", **{field: value})
    assert found.change.record["_extra"] == {field: value}
    assert found.lists == ()
    assert found.dependents == ()


def test_an_object_of_a_type_without_a_table_is_kept_whole() -> None:
    whole = {"object": "novelty", "id": "nov_1", "colour": "blue"}
    found = taken("charge", id="ch_1", customer=whole)
    assert found.change.record["customer_id"] == "nov_1"
    assert found.change.record["_extra"] == {"customer": whole}
    assert found.copies == ()


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
