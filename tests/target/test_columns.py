"""JSON Schema → columns."""

import pytest

from target_postgres_stripe.columns import (
    AS_OF,
    SEQUENCE,
    ColumnType,
    column_name,
    column_type,
    literal,
    owned_streams,
    quoted,
    table_name,
    table_shape,
)


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
        ("_sdc_hash", "bigint"),
    ]  # fmt: skip
    assert shape.ordered


def test_a_stream_and_its_properties_keep_their_names_beside_those_of_the_table():
    schema = {"properties": {"xmin": {"type": "string"}, "_sdc_as_of": {"type": "string"}}}
    shape = table_shape("a.b", schema, ["xmin"], metadata=False)
    assert (shape.stream, shape.table) == ("a.b", "a_b")
    assert [(column.property, column.name) for column in shape.columns] == [("xmin", "xmin_eafb2f50")]
    assert shape.adds(AS_OF)
    assert not shape.adds(SEQUENCE)


def columns_of(schema, key, **settings):
    shape = table_shape("s", {"properties": schema}, key, **({"metadata": False} | settings))
    return {column.name: column.type.value for column in shape.all_columns}, [column.name for column in shape.key]


def test_a_key_that_the_schema_lacks_is_text_and_one_that_is_named_twice_counts_once():
    assert columns_of({"n": {"type": "integer"}}, ["n", "id", "n"]) == ({"n": "bigint", "id": "text"}, ["n", "id"])


@pytest.mark.parametrize("key", [None, [], ()])
def test_a_stream_without_a_key_only_appends_whatever_it_says_of_moments(key):
    schema = {"name": {"type": "string"}, "_sdc_as_of": {"type": "string"}}
    assert columns_of(schema, key) == ({"name": "text", "_sdc_as_of": "timestamptz"}, [])
    assert not table_shape("s", {"properties": schema}, key, metadata=False).ordered


def test_what_the_sdk_adds_to_records_is_added_to_tables_if_it_is_wanted():
    wanted = {
        "_sdc_deleted_at": "timestamptz",
        "_sdc_table_version": "bigint",
        "_sdc_extracted_at": "timestamptz",
        "_sdc_received_at": "timestamptz",
        "_sdc_batched_at": "timestamptz",
        "_sdc_sequence": "bigint",
    }
    assert columns_of({"id": {}}, ["id"], metadata=True) == ({"id": "jsonb"} | wanted, ["id"])
    assert columns_of({"id": {}}, ["id"]) == ({"id": "jsonb"}, ["id"])


def test_what_the_target_derives_itself_is_no_column_of_the_streams_own():
    mine = (
        "children",
        "sync_started_at",
        "extracted_at",
        "received_at",
        "batched_at",
        "sequence",
        "table_version",
        "hash",
    )
    assert columns_of({"id": {"type": "string"}} | {f"_sdc_{name}": {} for name in mine}, ["id"])[0] == {"id": "text"}


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ({"patternProperties": {"^line_item$": {}, "^discount$": {}}}, ("discount", "line_item")),
        ({"patternProperties": {"^a|b$": {}, "line_item": {}, "^line_item": {}, "^.*$": {}, "^two words$": {}}}, ()),
        ({"type": "object"}, ()),
        ({}, ()),
        (True, ()),
        (None, ()),
    ],
)
def test_a_stream_owns_those_that_its_schema_names_one_by_one(children, expected):
    schema = {"properties": {"id": {"type": "string"}, "_sdc_children": children}}
    assert owned_streams(schema) == expected
    assert table_shape("invoice", schema, ["id"], metadata=False).owns == expected


def test_a_stream_that_says_nothing_of_children_owns_none():
    assert owned_streams({"properties": {"id": {}}}) == ()


def test_names_and_texts_in_sql_end_where_they_should():
    assert quoted('a"b') == '"a""b"'
    assert quoted("a'b") == '"a\'b"'
    assert literal("a'b") == "'a''b'"
    assert literal('a"b\\') == "'a\"b\\'"


def test_a_name_is_cut_between_characters():
    names = [column_name("x" * begin + "é" * 60) for begin in range(2)]
    assert [len(name.encode()) for name in names] == [63, 62]
    assert [name[-9:-8] for name in names] == ["_", "_"]


def test_a_name_of_the_longest_kind_is_kept():
    assert column_name("x" * 63) == "x" * 63
    assert column_name("x" * 64) != "x" * 64
    assert table_name("x" * 63) == "x" * 63


@pytest.mark.parametrize("name", ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"])
def test_no_column_takes_the_place_of_a_system_column(name):
    assert column_name(name).startswith(f"{name}_")
    assert table_name(name) == name


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": -(2**63)}, "bigint"),
        ({"type": "integer", "minimum": 0, "maximum": 2**70}, "numeric"),
        ({"type": "integer", "maximum": "unbounded"}, "bigint"),
        ({"type": "integer", "maximum": 1e30}, "numeric"),
        ({"allOf": [{"type": "boolean"}, {"type": ["boolean", "null"]}]}, "boolean"),
        ({"anyOf": [{"type": "string", "format": "date"}], "oneOf": [{"type": "string"}]}, "text"),
        ({"type": "string", "format": "date-time", "x-stripe-format": "decimal"}, "timestamptz"),
        ({"anyOf": [{"type": "boolean"}, {"type": "number"}]}, "jsonb"),
        ({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "time"}]}, "text"),
        ({"anyOf": [{"type": "string", "format": each} for each in ("date", "time", "date-time", "uuid")]}, "text"),
        (False, "jsonb"),
    ],
)
def test_a_column_holds_every_value_its_schema_allows_at_the_edges_too(schema, expected):
    assert column_type(schema) is ColumnType(expected)
