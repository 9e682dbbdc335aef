"""Any schema that a tap may send: what it allows is stored and reads back equal, whatever the fields' names.

And when a stream's schema changes, the rows before it stay, whether the table can follow or the error says that it
cannot.
"""

import json
from datetime import UTC, date, datetime, time

import json_texts
from fuzzing import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from messages import TEXT, state
from psycopg.types.json import set_json_loads

from target_postgres_stripe.errors import ColumnConflictError

moments = st.datetimes().map(lambda moment: json.dumps(moment.isoformat() + "Z"))
days = st.dates().map(lambda day: json.dumps(day.isoformat()))
times = st.times().map(lambda found: json.dumps(found.isoformat()))
small_integers = st.integers(-(2**63), 2**63 - 1).map(str)
fractions = json_texts.FRACTIONS | small_integers

LEAVES = st.sampled_from([
    ({"type": "integer"}, small_integers),
    ({"type": "integer", "minimum": 0, "maximum": 2**64}, st.integers(0, 2**64).map(str)),
    ({"type": "number"}, fractions),
    ({"type": "number", "multipleOf": 0.01}, fractions),
    ({"type": "boolean"}, st.sampled_from(["true", "false"])),
    ({"type": "string"}, json_texts.STRINGS),
    ({"type": "string", "maxLength": 5}, json_texts.STRINGS),
    ({"type": "string", "format": "date-time"}, moments),
    ({"type": "string", "format": "date"}, days),
    ({"type": "string", "format": "time"}, times),
    ({"type": "string", "format": "uuid"}, json_texts.STRINGS),
    ({"type": "string", "format": "singer.decimal"}, json_texts.FRACTIONS.map(json.dumps)),
    ({"type": "string", "enum": ["a", "b"]}, st.sampled_from(['"a"', '"b"'])),
    ({"type": "object"}, json_texts.objects(json_texts.STRINGS)),
    ({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}, st.just('{"a":"x"}')),
    ({"type": "object", "patternProperties": {".+": {}}}, json_texts.objects(json_texts.INTEGERS)),
    ({"type": "array", "items": {"type": "integer"}}, json_texts.arrays(json_texts.INTEGERS)),
    ({"type": "array"}, json_texts.arrays(json_texts.STRINGS)),
    ({"type": "null"}, st.just("null")),
    ({}, json_texts.STRINGS | json_texts.INTEGERS | json_texts.objects(json_texts.STRINGS)),
    ({"enum": ["a", 1, None]}, st.sampled_from(['"a"', "1", "null"])),
    ({"const": 5}, st.just("5")),
    ({"$ref": "#/definitions/x"}, json_texts.STRINGS),
    ({"description": "said, not typed", "default": None}, json_texts.INTEGERS),
])  # fmt: skip


@st.composite
def specs(draw, depth=0):
    """A property's schema, and a JSON text that it allows."""
    match draw(st.integers(0, 5 if depth < 2 else 2)):
        case 0 | 1 | 2:
            spec, texts = draw(LEAVES)
            if isinstance(spec.get("type"), str) and draw(st.booleans()):
                spec = spec | {"type": draw(st.permutations([spec["type"], "null"]))}
                texts = st.just("null") | texts
            return spec, draw(texts)
        case 3:
            (one, one_text), (other, other_text) = draw(LEAVES), draw(LEAVES)
            types = [spec["type"] for spec in (one, other) if isinstance(spec.get("type"), str)]
            assume(len(types) == 2)
            return (one | other | {"type": types}) if "format" not in one | other else {"type": types}, draw(
                st.one_of(one_text, other_text)
            )
        case _:
            options = draw(st.lists(specs(depth=depth + 1), min_size=1, max_size=3))
            word = draw(st.sampled_from(["anyOf", "oneOf"]))
            return {word: [spec for spec, _ in options]}, draw(st.sampled_from([text for _, text in options]))


NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from([
        "a", "A", "a.b", "a b", 'a"b', "a'b", "a\\b", "%s", "%", "{0}", "\n", "\x00", "\ufffd", "select", "user",
        "xmin", "ctid", "tableoid", "oid", "x" * 62 + "\u00e9", "x" * 63, "x" * 64 + "1", "x" * 64 + "2", "\u00e9",
        "e\u0301", "\U0001f600" * 20,
        "type", "record", "f0", "_sdc_other", "__", "1", "$1", "as_of",
    ]),
)  # fmt: skip
tables = st.dictionaries(NAMES.filter(lambda name: name != "id" and not name.startswith("_sdc_")), specs(), max_size=5)


def schema_of(properties):
    specs_by_name = {"id": TEXT} | {name: spec for name, (spec, _) in properties.items()}
    found = {"type": "object", "properties": specs_by_name, "additionalProperties": False}
    return {"type": "SCHEMA", "stream": "t", "schema": found, "key_properties": ["id"]}


def record_of(key, properties):
    fields = "".join(f",{json.dumps(name)}:{text}" for name, (_, text) in properties.items())
    return f'{{"type":"RECORD","stream":"t","record":{{"id":"{key}"{fields}}}}}\n'


def sent(properties):
    """The values as they are to be stored, in the columns' order; of two names that become one the last counts."""
    return list({json_texts.storable(name): json_texts.read(text) for name, (_, text) in properties.items()}.values())


def same(found, value):
    match found:
        case datetime():
            return found == datetime.fromisoformat(value).astimezone(UTC)
        case date():
            return found == date.fromisoformat(value)
        case time():
            return found == time.fromisoformat(value)
    if isinstance(value, str) and not isinstance(found, str | list | dict | None):
        value = json_texts.exact(value)  # a decimal that is sent as a text
    return json_texts.identity(found) == json_texts.identity(value)


def row(connection, key):
    found = connection.execute("SELECT * FROM stripe.t WHERE id = %s", (key,)).fetchone()
    return list(found[1:])


@examples(12)
@given(first=tables, second=tables, names=st.permutations(range(5)))
def test_every_value_that_a_schema_allows_is_stored_and_a_new_schema_costs_no_row(
    load, connection, first, second, names
):
    connection.prepare_threshold = None
    set_json_loads(json_texts.read_bytes, connection)
    connection.execute("DROP SCHEMA IF EXISTS stripe CASCADE")
    expected = sent(first)
    load(schema_of(first), record_of("1", first), state(), add_record_metadata=False)
    found = row(connection, "1")
    assert len(found) == len(expected)
    assert all(map(same, found, expected)), (found, expected)
    # The names of the first schema for the values of the second: some change their type, others are new.
    renamed = dict(zip([*first, *second], [*second.values()], strict=False)) if names[0] else second
    try:
        load(schema_of(renamed), record_of("2", renamed), state(), add_record_metadata=False)
        stored = connection.execute("SELECT to_jsonb(t) FROM stripe.t WHERE id = '2'").fetchone()
        assert stored is not None
    except ColumnConflictError:
        assert renamed.keys() & first.keys()
    assert all(map(same, row(connection, "1"), expected))
