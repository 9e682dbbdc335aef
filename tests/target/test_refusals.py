"""What cannot be stored as it was sent is refused, with the record's number, and never costs what came before it."""

import json
import random
import re

import pytest
from messages import INTEGER, TEXT, record, schema, state
from singer_sdk.exceptions import RecordsWithoutSchemaException

from target_postgres_stripe.errors import (
    DatabaseRefusedError,
    InputMalformedError,
    KeyConflictError,
    RecordRefusedError,
    SettingsError,
)

DATE = {"type": ["string", "null"], "format": "date"}
TIME = {"type": ["string", "null"], "format": "time"}


@pytest.mark.parametrize(
    ("spec", "sent", "expected"),
    [
        (DATE, "2026-01-01", "2026-01-01"),
        (DATE, "2026-01-01T00:00:00.000000Z", "2026-01-01"),
        (DATE, "2026-01-01 00:00+02:00", "2026-01-01"),
        (TIME, "23:59:59.5", "23:59:59.5"),
        (TIME, "23:59Z", "23:59:00"),
        (TIME, "23:59:59+00:00", "23:59:59"),
    ],
)
def test_what_a_date_or_a_time_says_besides_nothing_may_be_left_out(load, rows, spec, sent, expected):
    load(schema("t", ordered=False, v=spec), record("t", id="1", v=sent))
    assert rows("SELECT v::text FROM stripe.t") == [(expected,)]


@pytest.mark.parametrize(
    ("spec", "sent", "words"),
    [
        (DATE, "2026-01-01T12:00:00Z", "a date as in ISO 8601, without a time"),
        (DATE, "2026-1-1", "a date as in ISO 8601, without a time"),
        (DATE, "2026-01-01 BC", "a date as in ISO 8601, without a time"),
        (TIME, "12:00:00+02:00", "a time of day as in ISO 8601, without an offset from UTC"),
        (TIME, "1 PM", "a time of day as in ISO 8601, without an offset from UTC"),
    ],
)
def test_what_postgres_would_cut_off_in_silence_is_refused(load, spec, sent, words):
    """A column of days kept the day of a moment, one of times forgot the offset."""
    with pytest.raises(RecordRefusedError, match=re.escape(f"field 'v' is not {words}.")):
        load(schema("t", ordered=False, v=spec), record("t", id="1", v=sent))


def test_of_several_records_that_postgres_refuses_the_earliest_counts(load, rows):
    """Two streams, and the one that is stored first has its bad record last: the other's was met in the second try."""
    too_long = "2026-13-01"
    moment = {"type": ["string", "null"], "format": "date-time"}
    with pytest.raises(RecordRefusedError, match=r"Record 2 of stream 'second'"):
        load(
            schema("first", ordered=False, v=moment), schema("second", ordered=False, v=moment),
            record("first", id="1"), record("second", id="1"), state(x={"at": 1}),
            record("second", id="2", v=too_long), state(x={"at": 2}),
            record("first", id="2", v=too_long), state(x={"at": 3}),
        )  # fmt: skip
    assert [each["bookmarks"]["x"]["at"] for each in load.printed] == [1]
    assert rows("SELECT id FROM stripe.first UNION ALL SELECT id FROM stripe.second") == [("1",), ("1",)]


def test_a_limit_of_postgres_is_not_called_a_lost_connection(load):
    letters = random.Random(1)
    name = "".join(letters.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(5000))
    with pytest.raises(DatabaseRefusedError, match=r"ProgramLimitExceeded 54000.*index row size"):
        load(schema(name, ordered=False), record(name, id="1"), state())


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"type": "STATE", "value": 1e400}', InputMalformedError),
        ('{"type": "STATE", "value": ' + "1" * 5000 + "}", InputMalformedError),
        ('{"type": "STATE"}', InputMalformedError),
        ('{"type": "STATE", "value": ' + "[" * 990 + "]" * 990 + "}", InputMalformedError),
        ('{"type": "SCHEMA", "stream": "u", "schema": []}', InputMalformedError),
        ('{"type": "SCHEMA", "stream": "u", "schema": {"properties": {"id": 5}}}', InputMalformedError),
        ('{"type": "SCHEMA", "stream": "u", "schema": {"properties": {"id": {"type": 5}}}}', InputMalformedError),
        ('{"type": "SCHEMA", "stream": "u", "schema": {"properties": {"id": {"anyOf": 5}}}}', InputMalformedError),
        (
            '{"type": "SCHEMA", "stream": "u", "schema": {"properties": {}}, "key_properties": "id"}',
            InputMalformedError,
        ),
        ('{"type": "ACTIVATE_VERSION", "stream": "t", "version": "soon"}', InputMalformedError),
        ('{"type": "RECORD", "stream": "u", "record": {}}', RecordsWithoutSchemaException),
        ('{"type": "BATCH", "stream": "t", "manifest": []}', SettingsError),
        ('{"type": "SCHEMA", "stream": "t", "schema": {"properties": {}}, "key_properties": ["x"]}', KeyConflictError),
    ],
)
def test_a_message_that_nobody_can_take_is_a_clear_error_and_costs_nothing_before_it(load, rows, line, error):
    with pytest.raises(error):
        load(schema("t", ordered=False), record("t", id="1"), state(t={}), record("t", id="2"), f"{line}\n", state())
    assert rows("SELECT id FROM stripe.t") == [("1",)]
    assert load.printed == [state(t={})["value"]]


@pytest.mark.parametrize("account", [{"id": 5}, {"last": "2026-01-01"}, {"id": "x", "livemode": "yes"}, {}])
def test_what_another_tap_calls_an_account_does_not_make_it_ours(load, rows, account):
    """Its last rows were left out, since ours would have ended with a STATE; an id that is a number was an error."""
    load(schema("t", ordered=False), {"type": "STATE", "value": {"account": account}}, record("t", id="1"))
    assert rows("SELECT id FROM stripe.t") == [("1",)]


def test_only_the_first_moment_there_is_marks_a_gap_filler(load, rows):
    """Another one of that day was taken for one by half of the target, and its record vanished."""
    load(
        schema("t", v=INTEGER), record("t", id="1", v=1, as_of="0001-01-01T00:00:01Z"),
        record("t", id="2", v=1, as_of="0001-01-01T00:00:00Z"), record("t", id="2", v=2, as_of="0001-01-01T00:00:00Z"),
        record("t", id="3", v=1, as_of="0001-01-01T01:00:00+01:00"), state(),
    )  # fmt: skip
    assert rows("SELECT id, v FROM stripe.t ORDER BY id") == [("1", 1), ("2", 1), ("3", 1)]


def test_a_record_takes_no_newer_ones_place_however_their_moments_are_written(load, rows):
    """Moments that Python does not read were compared as texts."""
    load(
        schema("t", v=INTEGER), record("t", id="1", v=1, as_of="2026-01-01 10:00:00 PST"),
        record("t", id="1", v=2, as_of="2026-01-01T12:00:00Z"), state(),
    )  # fmt: skip
    assert rows("SELECT v FROM stripe.t") == [(1,)]


def test_as_of_beyond_pythons_years_is_a_moment_too(load, rows):
    load(
        schema("t", name=TEXT), record("t", id="1", name="x", as_of="9999-12-31T23:59:59-01:00"),
        record("t", id="1", name="y", as_of="9999-12-31T23:59:59-02:00"), state(),
    )  # fmt: skip
    assert rows("SELECT name FROM stripe.t") == [("y",)]


def test_a_record_that_is_none_is_refused_by_number_with_stream_maps_too(load, rows):
    """The SDK's maps take objects only, and Python takes no integers of thousands of digits."""
    lines = ["5", '"x"', '{"id": "2", "n": ' + "1" * 5000 + "}", '{"id": "2", "n": 1e99999999999999999999}']
    for broken in lines:
        with pytest.raises(RecordRefusedError, match="Record 2 of stream 't' cannot be stored"):
            load(
                schema("t", ordered=False, n={"type": "number"}), record("t", id="1"), state(),
                f'{{"type": "RECORD", "stream": "t", "record": {broken}}}\n', state(),
                stream_maps={"t": {"__alias__": "mapped"}},
            )  # fmt: skip
        assert rows("SELECT id FROM stripe.mapped") == [("1",)]
    assert json.dumps(load.printed)
