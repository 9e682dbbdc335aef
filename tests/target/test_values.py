"""Values: stored as sent, or replaced or refused as the documentation says."""

import decimal
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import INTEGER, JSON, MOMENT, TEXT, record, schema

from target_postgres_stripe.errors import MissingKeyError, RecordRefusedError

U = "\ufffd"
ODD_KEYS = {'q"': 1, " ": 2, ".": 3, "A": 4, "a": 5, "k" * 100: 6}
NUMBER = {"type": ["number", "null"]}
BOOLEAN = {"type": ["boolean", "null"]}
DATE = {"type": ["string", "null"], "format": "date"}
TIME = {"type": ["string", "null"], "format": "time"}


def stored(load, rows, spec, value, expression="v", **settings):
    """Load one value, or JSON text, and read it back."""
    body = value if isinstance(value, str) and value.startswith("json:") else "json:" + json.dumps(value)
    line = f'{{"type": "RECORD", "stream": "t", "record": {{"id": "1", "v": {body[5:]}}}}}\n'
    load(schema("t", ordered=False, v=spec), line, **settings)
    return rows(f"SELECT {expression} FROM stripe.t")[0][0]


@pytest.mark.parametrize(
    ("spec", "sent", "expected"),
    [
        (TEXT, "", ""),
        (TEXT, "NULL", "NULL"),
        (TEXT, "\\N", "\\N"),
        (TEXT, "\\.", "\\."),
        (TEXT, "a\tb\nc\rd\\e\x01\x7f", "a\tb\nc\rd\\e\x01\x7f"),
        (TEXT, "a\x00b", f"a{U}b"),
        (TEXT, "\\u0000", "\\u0000"),
        (TEXT, r'json:"\ud800"', U),
        (TEXT, "USD", "USD"),
        (INTEGER, 0, 0),
        (INTEGER, "json:1.0", 1),
        (INTEGER, "json:1e3", 1000),
        (INTEGER, 2**63 - 1, 2**63 - 1),
        (INTEGER, -(2**63), -(2**63)),
        (INTEGER, 2**53 + 1, 2**53 + 1),
        (INTEGER, 10**30, decimal.Decimal(10**30)),
        (NUMBER, "json:0.123456789012", decimal.Decimal("0.123456789012")),
        (NUMBER, "json:1e-7", decimal.Decimal("1e-7")),
        (NUMBER, "json:123456789012345678901234567890.123", decimal.Decimal("123456789012345678901234567890.123")),
        (NUMBER, "12.50", decimal.Decimal("12.50")),
        (NUMBER, 0, decimal.Decimal(0)),
        (BOOLEAN, True, True),
        (BOOLEAN, None, None),
        (JSON, None, None),
        (JSON, {"a": None}, {"a": None}),
        (JSON, ODD_KEYS, ODD_KEYS),
        (JSON, {"\x00": "\x00"}, {U: U}),
        (JSON, {"t": "\t\n\\", "n": 2**70}, {"t": "\t\n\\", "n": 2**70}),
        (JSON, 'json:{"a":\t1}', {"a": 1}),
        ({}, "text", "text"),
        ({}, 5, 5),
        ({"type": ["string", "integer"]}, "x", "x"),
    ],
)  # fmt: skip
def test_a_value_comes_back_as_sent(load, rows, spec, sent, expected):
    value = stored(load, rows, spec, sent)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("spec", "sent", "expected"),
    [
        (MOMENT, "2026-01-01T01:00:00+01:00", "2026-01-01 00:00:00+00"),
        (MOMENT, "2026-01-01T00:00:00", "2026-01-01 00:00:00+00"),
        (MOMENT, "2026-01-01 00:00:00.123456Z", "2026-01-01 00:00:00.123456+00"),
        (MOMENT, "2026-01-01", "2026-01-01 00:00:00+00"),
        (MOMENT, "0001-01-01T00:00:00Z", "0001-01-01 00:00:00+00"),
        (DATE, "2026-02-28", "2026-02-28"),
        (TIME, "23:59:59.5", "23:59:59.5"),
        (JSON, "json:[1.10, 1e-7, 12345678901234567890]", "[1.10, 0.0000001, 12345678901234567890]"),
    ],
)
def test_a_value_reads_as(load, rows, spec, sent, expected):
    assert stored(load, rows, spec, sent, "v::text") == expected


def test_invalid_utf8_is_replaced(load, rows):
    message = schema("t", ordered=False, v=TEXT)
    load.lines(
        [json.dumps(message).encode() + b"\n", b'{"type":"RECORD","stream":"t","record":{"id":"1","v":"a\xffb"}}\n']
    )
    assert rows("SELECT v FROM stripe.t") == [(f"a{U}b",)]


def test_replacements_are_counted_and_said_twice_a_stream(load, caplog):
    load(schema("t", ordered=False, v=TEXT), *(record("t", id=str(n), v="\x00") for n in range(5)))
    said = [entry.getMessage() for entry in caplog.records if "U+FFFD" in entry.getMessage()]
    assert len(said) == 2
    assert said[-1] == "Stream 't': 5 characters were replaced by U+FFFD."


def test_an_object_of_eight_megabytes_is_stored(load, rows):
    big = {"text": "x" * 4_000_000, "list": [{"n": n} for n in range(400_000)]}
    assert stored(load, rows, JSON, big, "jsonb_array_length(v->'list')") == 400_000


def test_odd_property_names_are_columns(load, rows):
    names = ['q"uote', "sp ace", "do.t", "Twin", "twin", "back\\slash", "new\nline", "%s", "x" * 70, "x" * 71, "xmin"]
    properties = dict.fromkeys(names, INTEGER)
    values = {name: number for number, name in enumerate(names)}
    load(schema("t", ordered=False, **properties), record("t", values, id="1"), add_record_metadata=False)
    assert rows("SELECT * FROM stripe.t") == [("1", *range(len(names)))]


def test_fields_without_a_schema_are_left_out_and_named_once(load, rows, caplog):
    load(schema("t", ordered=False, v=INTEGER), *(record("t", id=str(n), v=n, other="secret") for n in range(3)))
    assert rows("SELECT id, v FROM stripe.t ORDER BY id") == [("0", 0), ("1", 1), ("2", 2)]
    said = [entry.getMessage() for entry in caplog.records if "other" in entry.getMessage()]
    assert len(said) == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("spec", "sent"),
    [
        (INTEGER, "secret"), (INTEGER, "5"), (INTEGER, 1.5), (INTEGER, True), (INTEGER, {}),
        (TEXT, 5), (TEXT, {"secret": 1}), (BOOLEAN, 1), (BOOLEAN, "secret"), (NUMBER, "secret"), (NUMBER, []),
        (MOMENT, "now"), (MOMENT, "secret"), (MOMENT, "2026-99-99T00:00:00Z"), (MOMENT, 5), (DATE, "today"),
        (TIME, "allballs"), (TIME, "99:99"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_refused_by_name_and_not_by_value(load, rows, spec, sent, caplog):
    with pytest.raises(RecordRefusedError, match=r"Record 1 of stream 't' cannot be stored.*'v'") as caught:
        stored(load, rows, spec, sent)
    assert "secret" not in str(caught.value) + caplog.text
    assert "99" not in str(caught.value).replace("22008", "")


@pytest.mark.parametrize("key", [{}, {"id": None}])
def test_a_key_without_a_value_names_stream_and_record(load, key):
    with pytest.raises(MissingKeyError, match=r"Record 2 of stream 't'.*'id' is missing or null"):
        load(schema("t", ordered=False), record("t", id="1"), record("t", key))


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        (NUMBER, ["1", "1.0", "1e0"]),
        (MOMENT, ['"2026-01-01T00:00:00Z"', '"2026-01-01T01:00:00+01:00"', '"2026-01-01T00:00:00"']),
        (JSON, ['{"a":1,"b":2}', '{"b":2,"a":1.0}']),
        (INTEGER, ["1", "1.0"]),
    ],
)
def test_one_key_spelled_in_many_ways_is_one_row(load, rows, spec, same):
    lines = [
        f'{{"type":"RECORD","stream":"t","record":{{"id":{spelled},"n":{n}}}}}\n' for n, spelled in enumerate(same)
    ]
    message = schema("t", ordered=False, n=INTEGER)
    message["schema"]["properties"]["id"] = spec
    load(message, *lines)
    assert rows("SELECT n FROM stripe.t") == [(len(same) - 1,)]


def test_flattening_and_stream_maps_go_through_the_sdk(load, rows):
    load(
        schema("t", ordered=False, a={"type": "object", "properties": {"b": {"type": "number"}}}, name=TEXT),
        '{"type":"RECORD","stream":"t","record":{"id":"1","a":{"b":0.12345678901234567890},"name":"ada"}}\n',
        record("t", id="2", a={"b": 2}, name="drop"),
        flattening_enabled=True,
        flattening_max_depth=1,
        stream_maps={"t": {"name": "name.upper()", "__filter__": "name != 'drop'", "__alias__": "mapped"}},
    )
    assert rows("SELECT id, a__b, name FROM stripe.mapped") == [("1", decimal.Decimal("0.12345678901234567890"), "ADA")]


texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
records = st.fixed_dictionaries(
    {
        "v_text": texts | st.none(),
        "v_integer": st.integers(-(2**63), 2**63 - 1) | st.none(),
        "v_number": st.decimals(allow_nan=False, allow_infinity=False, places=12) | st.none(),
        "v_boolean": st.booleans() | st.none(),
        "v_json": json_values,
    }
)


def without_nul(value):
    """What is stored for a JSON value: U+FFFD for U+0000."""
    match value:
        case str():
            return value.replace("\0", U)
        case list():
            return [without_nul(item) for item in value]
        case dict():
            return {without_nul(key): without_nul(item) for key, item in value.items()}
    return value


def exactly(text):
    """JSON text with numbers as the decimals they are."""
    return json.loads(text, parse_float=decimal.Decimal, parse_int=decimal.Decimal)


def as_line(number, values):
    """A RECORD; ``json`` cannot write decimals, so the amount is spliced in."""
    body = json.dumps({name: value for name, value in values.items() if name != "v_number"} | {"id": str(number)})
    amount = "null" if values["v_number"] is None else str(values["v_number"])
    return f'{{"type": "RECORD", "stream": "t", "record": {{"v_number": {amount}, {body[1:]}}}\n'


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(records, min_size=1, max_size=20))
def test_arbitrary_records_come_back_equal(load, connection, sent):
    connection.execute("DROP SCHEMA IF EXISTS stripe CASCADE")
    spec = schema("t", ordered=False, v_text=TEXT, v_integer=INTEGER, v_number=NUMBER, v_boolean=BOOLEAN, v_json={})
    load(spec, *(as_line(number, values) for number, values in enumerate(sent)))
    found = connection.execute(
        "SELECT v_text, v_integer, v_number, v_boolean, v_json::text FROM stripe.t ORDER BY id::int"
    ).fetchall()
    for (text, integer, number, boolean, nested), values in zip(found, sent, strict=True):
        assert text == without_nul(values["v_text"])
        assert (integer, number, boolean) == (values["v_integer"], values["v_number"], values["v_boolean"])
        assert (None if nested is None else exactly(nested)) == exactly(json.dumps(without_nul(values["v_json"])))
