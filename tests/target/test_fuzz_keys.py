"""Keys of any type, in any spelling: in one batch or one by one, what Postgres finds equal is one row and no more.

A batch must know by itself which keys are equal, since one statement may touch a row only once; and it must not take
two keys for one, since a row would be lost.
"""

import json
import re
from decimal import Decimal

import json_texts
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from messages import INTEGER, JSON, MOMENT, TEXT, schema, state

from target_postgres_stripe.errors import RecordRefusedError
from target_postgres_stripe.rows import KEY_BYTES_MAX, same_json
from target_postgres_stripe.text import storable

NUMBER = {"type": ["number", "null"]}
DATE = {"type": ["string", "null"], "format": "date"}
TIME = {"type": ["string", "null"], "format": "time"}

LONG = "123456789012345678901234567890"
SPELLINGS = {
    "integer": (INTEGER, ["1", "1.0", "1e0", "10", "1E+1", "0", "-0", "9223372036854775807", "9223372036854775808"]),
    "number": (
        NUMBER,
        ["1", "1.0", "10", "1e1", '"10"', "0", "-0.0", "1e-3", "0.001", f"{LONG}1", f"{LONG}2", f"0.{LONG}1",
         f"0.{LONG}2", "1e1001", "1e-1001", "1" + "0" * 1001],
    ),
    "moment": (
        MOMENT,
        ['"2026-01-01"', '"2026-01-01T00:00:00Z"', '"2026-01-01T01:00:00+01:00"', '"2026-01-01 00:00:00.0"',
         '"2026-01-01T00:00:00.1234561Z"', '"2026-01-01T00:00:00.1234569Z"', '"2026-01-01T00:00:00.123456Z"',
         '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"'],
    ),
    "date": (DATE, ['"2026-01-01"', '"2026-01-01T00:00:00Z"', '"2026-01-01 00:00"', '"2026-01-02"']),
    "time": (
        TIME,
        ['"12:00"', '"12:00:00"', '"12:00:00.000"', '"12:00Z"', '"12:00:00+00:00"', '"12:00:01"', '"24:00:00"',
         '"12:00:00.1234561"', '"12:00:00.123456"', '"23:59:59.9999999"'],
    ),
    "text": (
        TEXT,
        ['"a"', '"A"', '"a "', '"\\u0061"', '"\\u0000"', '"\\ufffd"', '""', '"\\\\N"', '"e\\u0301"', '"\\u00e9"'],
    ),
    "json": (
        JSON,
        ["[1.5]", '["1.5"]', '[["1.5"]]', "[1.50]", '{"a":1,"b":2}', '{"b":2.0,"a":1e0}', "[100]", "[1e2]", "[-0.0]",
         "[0]", f"[{LONG}.1]", f"[{LONG}.2]", f"[{LONG}]", "[1e2000]", '["1E+2000"]', "[1" + "0" * 900 + "]",
         "[1e900]",         '{"a":1,"a":2}', '{"a":2}', "[]", "[null]"],
    ),
}  # fmt: skip


@st.composite
def spelled_keys(draw):
    """The types of a key of one or two columns, and keys."""
    kinds = draw(st.lists(st.sampled_from(sorted(SPELLINGS)), min_size=1, max_size=2))
    keys = draw(st.lists(st.tuples(*(st.sampled_from(SPELLINGS[kind][1]) for kind in kinds)), min_size=2, max_size=8))
    return kinds, keys


@examples(60)
@given(spelled=spelled_keys(), ordered=st.booleans(), batch_size=st.sampled_from([2, 100]))
def test_of_the_records_of_a_key_the_last_is_stored_and_no_other_keys(load, connection, spelled, ordered, batch_size):
    kinds, keys = spelled
    # A table for each type of key: to drop a schema takes longer than all the rest.
    stream = f"{'_'.join(kinds)}_{ordered}".lower()
    connection.prepare_threshold = None  # a column may be widened
    if connection.execute("SELECT to_regclass(%s)", (f"stripe.{stream}",)).fetchone()[0] is not None:
        connection.execute(f"TRUNCATE stripe.{stream}")
    columns = {f"k{place}": SPELLINGS[kind][0] for place, kind in enumerate(kinds)}
    message = schema(stream, key=tuple(columns), ordered=ordered, n=INTEGER)
    message["schema"]["properties"] |= columns
    load(message, *lines_of(stream, keys, ordered=ordered), state(), batch_size_rows=batch_size)
    found = connection.execute(f"SELECT n FROM stripe.{stream} ORDER BY n").fetchall()
    assert [n for (n,) in found] == last_of_each_key(connection, kinds, keys)


def lines_of(stream, keys, *, ordered):
    for number, key in enumerate(keys):
        fields = "".join(f', "k{place}": {text}' for place, text in enumerate(key))
        as_of = ', "_sdc_as_of": "2026-01-01T00:00:00Z"' if ordered else ""
        yield f'{{"type": "RECORD", "stream": "{stream}", "record": {{"n": {number}{fields}{as_of}}}}}\n'


def last_of_each_key(connection, kinds, keys):
    """Postgres' own opinion on which keys are equal."""
    values = [f"({', '.join([VALUE[kind] for kind in kinds])}, {n})" for n in range(len(keys))]
    texts = [f"[{storable(text.encode())[0].decode()}]" for key in keys for text in key]
    names = ["k", "l"][: len(kinds)]
    found = connection.execute(
        f"SELECT max(n) FROM (VALUES {', '.join(values)}) AS v ({', '.join(names)}, n) "
        f"GROUP BY {', '.join(names)} ORDER BY 1",
        texts,
    )
    return [n for (n,) in found.fetchall()]


VALUE = {
    "integer": "(%s::jsonb->>0)::numeric",
    "number": "(%s::jsonb->>0)::numeric",
    "moment": "(%s::jsonb->>0)::timestamptz",
    "date": "(%s::jsonb->>0)::date",
    "time": "(%s::jsonb->>0)::time",
    "text": "%s::jsonb->>0",
    "json": "%s::jsonb->0",
}
"""A value in an array of one element, as a column's type."""


@pytest.mark.parametrize(
    ("kind", "spelled"),
    [
        # Rounded to 28 digits they were one key, and a row was lost.
        ("number", [f"{LONG}1", f"{LONG}2"]),
        ("json", [f"[{LONG}.1]", f"[{LONG}.2]"]),
        # A number was told apart from a string by what another value can be, too.
        ("json", ["[1.5]", '[["1.5"]]']),
        # Cut to microseconds they were one, while Postgres rounds.
        ("moment", ['"2026-01-01T00:00:00.1234561Z"', '"2026-01-01T00:00:00.1234569Z"']),
        # Beyond the years that Python has in UTC.
        ("moment", ['"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"']),
        ("number", ["1e130000", "1e-16000"]),
        ("json", ["[1e130000]", "[2e130000]"]),
        ("json", ["[" + "7" * 1900 + "]", "[" + "7" * 1899 + "8]"]),
    ],
)
def test_keys_that_differ_are_rows_of_their_own(load, rows, kind, spelled):
    lines = [f'{{"type": "RECORD", "stream": "t", "record": {{"id": {each}}}}}\n' for each in spelled]
    message = schema("t", ordered=False)
    message["schema"]["properties"]["id"] = SPELLINGS[kind][0]
    load(message, *lines, state())
    assert rows("SELECT count(*) FROM stripe.t") == [(len(spelled),)]


@pytest.mark.parametrize(
    ("kind", "spelled"),
    [
        ("number", ["0", "-0", "0.00", "-0e5"]),
        ("date", ['"2026-01-01"', '"2026-01-01T00:00:00Z"', '"2026-01-01 00:00"']),
        ("time", ['"12:00"', '"12:00:00"', '"12:00:00.0"', '"12:00:00Z"', '"11:59:59.9999999"']),
        ("time", ['"24:00"', '"24:00:00"', '"23:59:59.9999999"']),
    ],
)
def test_keys_that_are_equal_to_postgres_are_one_row(load, rows, kind, spelled):
    lines = [f'{{"type": "RECORD", "stream": "t", "record": {{"id": {each}}}}}\n' for each in spelled]
    message = schema("t", ordered=False)
    message["schema"]["properties"]["id"] = SPELLINGS[kind][0]
    load(message, *lines, state())
    assert rows("SELECT count(*) FROM stripe.t") == [(1,)]


def test_a_key_that_was_an_integer_is_the_same_after_its_column_was_widened(load, rows):
    """10 and 1E+1 were two keys then, and one statement met a row twice."""
    keys = ["10", "9223372036854775808", "10"]
    lines = [
        f'{{"type": "RECORD", "stream": "t", "record": {{"id": {key}, "n": {n}}}}}\n' for n, key in enumerate(keys)
    ]
    message = schema("t", ordered=False, n=INTEGER)
    message["schema"]["properties"]["id"] = INTEGER
    load(message, *lines, state())
    assert rows("SELECT n FROM stripe.t ORDER BY id") == [(2,), (1,)]


def test_a_key_that_no_index_takes_is_refused_and_what_came_before_is_kept(load, rows):
    fits, longer = "x" * KEY_BYTES_MAX, "\u00e9" * (KEY_BYTES_MAX // 2 + 1)
    message = schema("t", ordered=False, key=("a", "b"))

    def line(key):
        return json.dumps({"type": "RECORD", "stream": "t", "record": {"a": "", "b": key}}) + "\n"

    with pytest.raises(
        RecordRefusedError, match=r"Record 2 of stream 't'.*'b' is not short enough for a key of at most 2000 bytes"
    ):
        load(message, line(fits), state(), line(longer), state())
    assert rows("SELECT b FROM stripe.t") == [(fits,)]


@pytest.mark.parametrize("number", ["1e99999999999999999999", "1e999999999"])
@pytest.mark.parametrize("kind", [JSON, {"type": "number"}, INTEGER], ids=["jsonb", "numeric", "bigint"])
def test_a_key_that_is_too_great_a_number_is_refused_and_what_came_before_is_kept(load, rows, kind, number):
    def line(key):
        return f'{{"type": "RECORD", "stream": "t", "record": {{"id": {key}}}}}\n'

    message = schema("t", ordered=False)
    message["schema"]["properties"]["id"] = kind
    with pytest.raises(RecordRefusedError, match="Record 2 of stream 't'"):
        load(message, line("1"), state(), line(number), state())
    assert rows("SELECT id FROM stripe.t") == [(1,)]


@st.composite
def two_texts(draw):
    """Two JSON texts, half of the time of one value: other spellings of numbers, members in another order."""
    one = draw(json_texts.ANY)
    if draw(st.booleans()):
        return one, draw(json_texts.ANY)
    return one, draw(st.just(json_texts.read(one)).map(spelled_otherwise))


def spelled_otherwise(value):
    match value:
        case Decimal():
            if not value.is_finite() or not value:
                return "0.0"
            sign, digits, exponent = value.as_tuple()
            return f"{'-' * sign}{''.join(map(str, digits))}0E{exponent - 1}"
        case list():
            return f"[ {' , '.join(map(spelled_otherwise, value))} ]"
        case dict():
            members = [f"{json.dumps(key)} : {spelled_otherwise(each)}" for key, each in reversed(value.items())]
            return f"{{ {' , '.join(members)} }}"
    return json.dumps(value, ensure_ascii=False)


@examples(200)
@given(two_texts())
def test_two_json_values_are_one_key_exactly_if_they_are_equal(two):
    stored = [storable(text.encode())[0].decode() for text in two]
    one, other = (json_texts.read(text) for text in two)
    equal = json_texts.identity(one) == json_texts.identity(other)
    spelled_as_one = same_json(stored[0]) == same_json(stored[1])
    # Of integers that Python does not read the spelling counts.
    assert spelled_as_one == equal or (equal and has_long_integer(two))


def has_long_integer(texts):
    return any(re.search(r"\d{4301}", text) for text in texts)
