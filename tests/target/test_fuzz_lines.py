"""Broken input: any bytes in a line, any line among others. What comes before it is handed over, and kept if a STATE
covers it; the error names the line, and never is it another one than ours."""

import json
import re

import json_texts
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from messages import INTEGER, JSON, TEXT, record, schema, state
from singer_sdk.exceptions import InvalidInputLine, SingerSDKError

from target_postgres_stripe.errors import DatabaseUnavailableError, InputMalformedError, TargetError
from target_postgres_stripe.reader import LineReader

CLEAR_ERRORS = (TargetError, SingerSDKError, InvalidInputLine)
"""What the command prints as one line."""

TYPES = ("SCHEMA", "RECORD", "STATE", "ACTIVATE_VERSION", "BATCH")

odd_values = st.sampled_from([
    "null", "true", "5", "-1", "1.5", "1e400", "1e999999999", "9" * 25, "9" * 5000, '""', '"x"', '"\\u0000"',
    '"\\ud800"', "[]", "[[]]", '["id"]', "{}", '{"properties":{}}', '{"properties":[]}', '{"properties":{"id":5}}',
    "[" * 900 + "]" * 900, "[" * 5000 + "]" * 5000, '{"type":"RECORD"}', "NaN", "Infinity", "01", "",
    "{", '"', "\\", "\x00", "\x01", "\ufeff",
]).map(str.encode)  # fmt: skip
fields = st.sampled_from([
    "type", "stream", "record", "schema", "value", "version", "time_extracted", "key_properties", "bookmarks", "other",
])  # fmt: skip


@st.composite
def messages_with_odd_fields(draw):
    """A JSON object with the fields of messages, each of which may hold anything, be missing, or be there twice."""
    usual = {
        "type": st.sampled_from([json.dumps(each).encode() for each in (*TYPES, "OTHER")]),
        "stream": st.just(b'"t"'),
        "record": st.just(b'{"id":"z"}'),
        "schema": st.just(b'{"type":"object","properties":{"id":{"type":"string"}}}'),
        "value": st.just(b'{"account":{"id":"acct_1","livemode":false},"bookmarks":{}}'),
        "version": st.just(b"5"),
        "key_properties": st.just(b'["id"]'),
    }
    found = [name for name in usual if draw(st.integers(0, 9))] + draw(st.lists(fields, max_size=2))
    members = []
    for name in found:
        likely = usual.get(name, odd_values)
        members.append(b'"%s":%s' % (name.encode(), draw(likely if draw(st.integers(0, 5)) else odd_values)))
    return b"{" + b",".join(members) + b"}"


@st.composite
def damaged(draw, lines):
    """A line with bytes taken out, put in or exchanged, or cut."""
    line = bytearray(draw(lines))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(line)))
        match draw(st.integers(0, 3)):
            case 0:
                del line[place : place + draw(st.integers(1, 5))]
            case 1:
                line[place:place] = draw(st.binary(max_size=4) | odd_values)
            case 2:
                line[place : place + 1] = draw(
                    st.sampled_from([b'"', b"{", b"}", b",", b":", b"\xff", b"\xed\xa0\x80", b"\x00"])
                )
            case _:
                del line[place:]
    return bytes(line).replace(b"\n", b" ")


good_lines = st.sampled_from([
    json.dumps(each).encode()
    for each in (record("t", id="a", j={"a": [1.5, "x\u2028\U0001f600"]}), state(t={"n": 1}), schema("t", v=INTEGER))
])  # fmt: skip
any_lines = st.one_of(
    messages_with_odd_fields(), damaged(messages_with_odd_fields()), damaged(good_lines), st.binary(max_size=40),
    json_texts.ANY.map(lambda text: text.encode("utf-8", "surrogatepass")),
).map(lambda line: line.replace(b"\n", b" "))  # fmt: skip


@examples(300)
@given(st.lists(good_lines | any_lines, max_size=6), st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
def test_any_bytes_are_messages_up_to_the_line_that_is_none(lines, end):
    """The reader alone; what it hands over is what another reader of JSON finds in the line."""
    reader, taken, broken = LineReader(), [], []
    reader.on_broken = lambda: broken.append(len(taken))
    source = [line + end for line in lines]
    stopped = None
    try:
        reader.process_lines(source, dict.fromkeys(TYPES, taken.append))
    except InputMalformedError as error:
        stopped = int(re.match(r"Line (\d+) of the input is not a Singer message: .", str(error))[1]) - 1
        assert broken == [len(taken)]
    whole = [line for line in lines[:stopped] if line.strip(b" \t\r\x0b\x0c")]
    assert len(taken) == len(whole)
    for line, message in zip(whole, taken, strict=True):
        expected = json_texts.read(line.decode(errors="replace"))
        if isinstance(message, dict):
            assert json_texts.identity(exactly(message)) == json_texts.identity(exactly(expected))
        else:
            assert (message.type, message.stream) == ("RECORD", expected["stream"])
            record = json_texts.read(bytes(message.record).decode())
            assert json_texts.identity(record) == json_texts.identity(expected["record"])


def exactly(value):
    """Numbers that went through a float, as one."""
    match value:
        case bool() | str() | None:
            return value
        case list():
            return [exactly(each) for each in value]
        case dict():
            return {name: exactly(each) for name, each in value.items()}
    return float(value)


@examples(25)
@given(line=any_lines, batch_size=st.sampled_from([1, 100]))
def test_what_a_state_covers_is_kept_whatever_comes_after_it(load, connection, line, batch_size):
    """And a whole line is told apart from a broken one: after it, the next is read."""
    if connection.execute("SELECT to_regnamespace('stripe')").fetchone()[0] is not None:
        connection.execute("DROP SCHEMA stripe CASCADE")
    spec = schema("t", v=INTEGER, j=JSON, w=TEXT)
    before = [spec, record("t", id="a", v=1, j={"a": 1}, as_of=1), state(t={"n": 1}), record("t", id="b", v=2, as_of=1)]
    after = [spec, record("t", id="c", v=3, as_of=1), state(t={"n": 2})]
    lines = [json.dumps(each).encode() + b"\n" for each in before]
    lines += [line + b"\n", *(json.dumps(each).encode() + b"\n" for each in after)]
    failed = None
    try:
        load.lines(lines, batch_size_rows=batch_size)
    except CLEAR_ERRORS as error:
        failed = error
    if failed is not None:
        assert not isinstance(failed, DatabaseUnavailableError)
        assert load.printed
    kept = {key for (key,) in connection.execute("SELECT id FROM stripe.t").fetchall()}
    assert kept >= ({"a"} if failed else {"a", "b", "c"})
    assert failed is None or "c" not in kept
