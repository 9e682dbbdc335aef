"""Any JSON in any column: it is stored and reads back equal, or the error says which record and nothing else is lost.

What has to become of a value is said here once more, by column type, in the words of the documentation. Only for texts
in columns of moments it is left open what Postgres makes of those that are not as in ISO 8601.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal

import json_texts
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from messages import MOMENT, TEXT, schema, state

from target_postgres_stripe.errors import RecordRefusedError

INTEGER = {"type": ["null", "integer"]}
NUMBER = {"type": ["number", "null"]}
DECIMAL = {"type": ["string", "null"], "format": "singer.decimal"}
BOOLEAN = {"type": ["boolean", "null"]}
DATE = {"type": ["string", "null"], "format": "date"}
TIME = {"type": ["string", "null"], "format": "time"}
JSON = {"type": ["object", "array", "null"]}
ANYTHING = {}

REFUSED = object()  # the record with it is an error
OPEN = object()  # Postgres may take it or not

INTEGRAL_DIGITS_MAX = 131_072
FRACTIONAL_DIGITS_MAX = 16_383
ISO_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)(?:[T ](?P<time>\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)(?P<zone>Z|[+-]\d\d:\d\d)?)?"
)


def number_of(value):
    """A number as `numeric` holds it, or REFUSED."""
    if isinstance(value, str):
        # A decimal as text; no tap writes it otherwise.
        if not re.fullmatch(r"-?\d+(\.\d+)?", value):
            return OPEN
        value = Decimal(value)
    if not isinstance(value, Decimal):
        return REFUSED
    return value if fits_numeric(value) else REFUSED


def fits_numeric(number):
    """Whether Postgres has room for all digits of a number."""
    if not number.is_finite():
        return False
    if number == 0:
        return number.as_tuple().exponent >= -FRACTIONAL_DIGITS_MAX
    return number.adjusted() < INTEGRAL_DIGITS_MAX and number.as_tuple().exponent >= -FRACTIONAL_DIGITS_MAX


def integer_of(value):
    if not isinstance(value, Decimal) or not value.is_finite() or value != value.to_integral_value():
        return REFUSED
    return number_of(value)


def text_of(value):
    return value if isinstance(value, str) else REFUSED


def boolean_of(value):
    return value if isinstance(value, bool) else REFUSED


def json_of(value):
    """A nested value, or REFUSED if there is a number in it that Postgres has no room for."""
    match value:
        case Decimal():
            return value if fits_numeric(value) else REFUSED
        case list():
            return REFUSED if any(json_of(each) is REFUSED for each in value) else value
        case dict():
            return REFUSED if any(json_of(each) is REFUSED for each in value.values()) else value
    return value


def moment_of(value):
    if not isinstance(value, str):
        return REFUSED
    if not ISO_MOMENT.fullmatch(value):
        return OPEN if re.match(r"\d{4}-", value) else REFUSED
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return OPEN


def date_of(value):
    """A day; a moment in a day is none, unless it is its beginning."""
    moment = moment_of(value)
    if not isinstance(moment, datetime):
        return moment
    return date.fromisoformat(value[:10]) if set(value[11:19]) <= set("0:Z+-") else REFUSED


def time_of(value):
    """A time of day, in UTC or of no zone."""
    if not isinstance(value, str) or not value[:1].isdigit():
        return REFUSED
    found = re.fullmatch(r"(\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)(Z|[+-]\d\d:\d\d)?", value)
    if found is None:
        return OPEN
    if found[2] not in {None, "Z", "+00:00", "-00:00"}:
        return REFUSED
    try:
        return time.fromisoformat(found[1])
    except ValueError:
        return OPEN


def numbers_in(text):
    found = []
    json.loads(text, parse_int=found.append, parse_float=found.append)
    return map(json_texts.exact, found)


KINDS = {
    "text": (TEXT, text_of),
    "integer": (INTEGER, integer_of),
    "number": (NUMBER, number_of),
    "decimal": (DECIMAL, number_of),
    "boolean": (BOOLEAN, boolean_of),
    "moment": (MOMENT, moment_of),
    "date": (DATE, date_of),
    "time": (TIME, time_of),
    "json": (JSON, json_of),
    "anything": (ANYTHING, json_of),
}
"""Columns by name: their schema, and what becomes of a value that is not null."""

quoted = json.dumps
zones = st.sampled_from(["", "Z", "+00:00", "+05:30", "-08:00"])
moments = st.builds(
    lambda moment, zone, between: quoted(moment.isoformat(between) + zone),
    st.datetimes() | st.sampled_from([datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59)]),  # noqa: DTZ001 - see zones
    zones,
    st.sampled_from("T "),
)
times = st.builds(lambda found, zone: quoted(found.isoformat() + zone), st.times(), zones)
days = st.builds(
    lambda day, rest: quoted(day.isoformat() + rest),
    st.dates(),
    st.sampled_from(["", "", "T00:00:00Z", " 00:00", "T12:00:00Z"]),
)
odd_moments = st.sampled_from([
    "now", "today", "2026-01-01 now", "infinity", "epoch", "2026-02-30", "2026-01-01T25:00:00Z", "0000-01-01",
    "2026-1-1", "10000-01-01T00:00:00Z", "2026-01-01T00:00:00.123456789Z", "24:00:00", "12", "12:00 PM", "allballs",
    "-1", "2026-01-01T00:00:00+15:59", "\u0662\u0660\u0662\u0666-01-01", "2026-01-01\u0000",
]).map(quoted)  # fmt: skip

LIKELY = {
    "text": json_texts.STRINGS,
    "integer": json_texts.INTEGERS,
    "number": json_texts.NUMBERS,
    "decimal": json_texts.FRACTIONS.map(quoted) | json_texts.NUMBERS,
    "boolean": st.sampled_from(["true", "false"]),
    "moment": moments | odd_moments,
    "date": days | odd_moments,
    "time": times | odd_moments,
    "json": json_texts.arrays(json_texts.ANY) | json_texts.objects(json_texts.ANY),
    "anything": json_texts.ANY,
}


@dataclass(frozen=True)
class Sent:
    """A RECORD: its key, the texts of its columns, and whether a STATE follows it."""

    key: str
    texts: dict
    state_follows: bool

    @property
    def line(self):
        fields = "".join(f", {quoted(name)}: {text}" for name, text in self.texts.items())
        return f'{{"type": "RECORD", "stream": "t", "record": {{"id": {quoted(self.key)}{fields}}}}}\n'

    @property
    def expected(self):
        return {name: self._stored(name, text) for name, text in self.texts.items()}

    def _stored(self, name, text):
        value = json_texts.read(text)
        stored = None if value is None else KINDS[name][1](value)
        # What a second member of the same name hides, Postgres looks at nevertheless.
        hides = name in {"json", "anything"} and stored is not REFUSED and not all(map(fits_numeric, numbers_in(text)))
        return OPEN if hides else stored


@st.composite
def sent_records(draw):
    """A record with some of the columns, most of them with what belongs there."""
    chosen = draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=4, unique=True))
    texts = {name: draw(LIKELY[name] if draw(st.integers(0, 15)) else json_texts.ANY) for name in chosen}
    return Sent(key=draw(st.sampled_from("abcdefg")), texts=texts, state_follows=draw(st.integers(0, 3)) == 0)


# What Python has no value for is read as null; only what is OPEN can be that.
READ = {
    "moment": "CASE WHEN moment BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999' THEN moment END",
    "date": "CASE WHEN date BETWEEN '0001-01-01' AND '9999-12-31' THEN date END",
    "time": "CASE WHEN time < '24:00' THEN time END",
    "json": "json::text",
    "anything": "anything::text",
}
COLUMNS = ", ".join(f"{READ.get(name, name)} AS {name}" for name in KINDS)


def empty(connection):
    """Empty the table of the example before; to drop the schema takes longer than all the rest."""
    if connection.execute("SELECT to_regclass('stripe.t')").fetchone()[0] is not None:
        connection.execute("TRUNCATE stripe.t")


def rows_by_key(connection):
    found = connection.execute(f"SELECT {COLUMNS}, id FROM stripe.t").fetchall()
    return {key: dict(zip(KINDS, values, strict=True)) for *values, key in found}


def same(name, found, expected):
    if name in {"json", "anything"}:
        found = None if found is None else json_texts.read(found)
    return expected is OPEN or json_texts.identity(found) == json_texts.identity(expected)


@examples(40)
@given(sent=st.lists(sent_records(), min_size=1, max_size=8), batch_size=st.sampled_from([1, 3, 100]))
def test_a_record_is_stored_as_sent_or_refused_by_number_and_what_a_state_covers_is_kept(
    load, connection, sent, batch_size
):
    connection.prepare_threshold = None  # the columns' types change between the examples
    empty(connection)
    columns = {name: spec for name, (spec, _) in KINDS.items()}
    messages = [schema("t", ordered=False, **columns)]
    for number, each in enumerate(sent, start=1):
        messages.append(each.line)
        if each.state_follows:
            messages.append(state(t={"number": number}))
    refused = None
    try:
        load(*messages, state(t={"number": len(sent)}), batch_size_rows=batch_size)
    except RecordRefusedError as error:
        refused = int(re.match(r"Record (\d+) of stream 't' cannot be stored: ", str(error))[1])
    stored_up_to = len(sent)
    if refused is not None:
        assert any(each is REFUSED or each is OPEN for each in sent[refused - 1].expected.values())
        stored_up_to = max((n for n, each in enumerate(sent[: refused - 1], start=1) if each.state_follows), default=0)
    told = [each["bookmarks"]["t"]["number"] for each in load.printed]
    assert told[-1:] == ([stored_up_to] if stored_up_to else [])
    kept = {each.key: each for each in sent[:stored_up_to]}
    found = rows_by_key(connection) if stored_up_to else {}
    assert found.keys() == kept.keys()
    for key, each in kept.items():
        for name, expected in each.expected.items():
            assert expected is not REFUSED, (name, each.texts[name])
            assert same(name, found[key][name], expected), (name, each.texts[name])
