"""JSON Schema → columns."""

import pytest

from target_postgres_stripe.columns import ColumnType, column_name, column_type, table_name, table_shape


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer"}, "bigint"),
        ({"type": ["integer", "null"]}, "bigint"),
        ({"type": "integer", "maximum": 2**63 - 1}, "bigint"),
        ({"type": "integer", "maximum": 2**63}, "numeric"),
        ({"type": "integer", "minimum": -(2**63) - 1}, "numeric"),
        ({"type": "number"}, "numeric"),
        ({"type": ["integer", "number", "null"]}, "numeric"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "date-time"}, "timestamptz"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "time"}, "time"),
        ({"type": "string", "format": "decimal"}, "numeric"),
        ({"type": ["string", "null"], "x-stripe-format": "decimal"}, "numeric"),
        ({"type": ["number", "string"], "format": "decimal"}, "numeric"),
        ({"type": "string", "format": "singer.decimal"}, "numeric"),
        ({"type": "string", "format": "uuid"}, "text"),
        ({"type": "object"}, "jsonb"),
        ({"type": "array"}, "jsonb"),
        ({"type": ["string", "integer"]}, "jsonb"),
        ({"type": ["string", "object", "null"]}, "jsonb"),
        ({"type": "null"}, "jsonb"),
        ({}, "jsonb"),
        (True, "jsonb"),
        ({"enum": ["a", "b"]}, "jsonb"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "bigint"),
        ({"oneOf": [{"type": "string", "format": "date-time"}, {"type": ["string", "null"]}]}, "text"),
        ({"anyOf": [{"type": "object"}, {"type": "string"}]}, "jsonb"),
    ],
)
def test_a_column_holds_every_value_its_schema_allows(schema, expected):
    assert column_type(schema) is ColumnType(expected)


def test_a_name_that_postgres_can_have_is_kept():
    assert [column_name(name) for name in ('a"b', "a b", "a.b", "Id", "id", "é")] == [
        'a"b',
        "a b",
        "a.b",
        "Id",
        "id",
        "é",
    ]


def test_long_names_that_share_their_beginning_stay_distinct_and_stable():
    names = [column_name("x" * 70 + end) for end in ("a", "b")]
    assert names == ["x" * 54 + "_6e42a575", "x" * 54 + "_d6fc6fd3"]
    assert max(len(name.encode()) for name in (*names, column_name("é" * 60))) <= 63


def test_a_property_named_like_a_system_column_gets_another_name():
    assert column_name("xmin") == "xmin_eafb2f50"
    assert column_name("") == "_e3b0c442"


def test_stream_names_become_safe_table_names():
    assert [table_name(name) for name in ("public-users", "a.b", "line_item", "Case")] == [
        "public_users",
        "a_b",
        "line_item",
        "Case",
    ]


def test_a_stream_cannot_take_the_name_of_a_bookkeeping_table():
    assert table_name("_sync") == "_sync_c01dc5d6"


def test_the_key_comes_first_and_the_targets_own_columns_last():
    schema = {"properties": {"amount": {"type": "integer"}, "id": {"type": "string"}, "_sdc_as_of": {"type": "string"}}}
    shape = table_shape("charge", schema, ["id"], metadata=False)
    assert [(c.name, c.type.value) for c in shape.all_columns] == [
        ("id", "text"), ("amount", "bigint"),
        ("_sdc_as_of", "timestamptz"), ("_sdc_deleted_at", "timestamptz"), ("_sdc_table_version", "bigint"),
    ]  # fmt: skip
    assert shape.ordered
