"""From an object with something odd in it to its rows: the tap's records, through the target, into Postgres."""

import json
from collections import Counter

import json_texts
import msgspec
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from messages import state
from odd_objects import changes_of, objects

from tap_stripe_events.changes import DELETED_AT, singer_schema
from tap_stripe_events.families import names_by_stream
from tap_stripe_events.object_table import STRIPE_OBJECTS

ENCODER = msgspec.json.Encoder(decimal_format="number")


def key_of(change):
    return tuple(change.record[column] for column in STRIPE_OBJECTS[names_by_stream()[change.stream]].key)


def schema_message(stream):
    name = names_by_stream()[stream]
    key = list(STRIPE_OBJECTS[name].key)
    return {"type": "SCHEMA", "stream": stream, "schema": singer_schema(name), "key_properties": key}


def columns_of(stream):
    """What is compared: what is nested, and what fitted no column."""
    properties = singer_schema(names_by_stream()[stream])["properties"]
    return [name for name, each in properties.items() if "object" in each["type"] and name != "_sdc_children"]


@examples(15)
@given(st.lists(objects(), min_size=1, max_size=4))
def test_whatever_stripe_sends_is_in_postgres_as_it_was_sent(load, connection, found):
    changes = [change for name, body in found for change in changes_of(name, body)]
    streams = sorted({change.stream for change in changes})
    lines = [ENCODER.encode({"type": "RECORD", "stream": each.stream, "record": each.record}) for each in changes]
    # A table that is there holds the rows of other examples.
    for stream in streams:
        if connection.execute("SELECT to_regclass(%s)", (f"stripe.{stream}",)).fetchone()[0] is not None:
            connection.execute(f'TRUNCATE stripe."{stream}"')
    messages = [state(), *map(schema_message, streams)]
    load.lines([*(json.dumps(each).encode() + b"\n" for each in messages), *(line + b"\n" for line in lines),
                json.dumps(state()).encode()])  # fmt: skip
    times = Counter((change.stream, json_texts.storable(list(key_of(change)))[-1]) for change in changes)
    for change, line in zip(changes, lines, strict=True):
        columns, key = columns_of(change.stream), json_texts.storable(list(key_of(change)))
        names = STRIPE_OBJECTS[names_by_stream()[change.stream]].key
        condition = " AND ".join(f'"{name}" = %s' for name in names)
        listed = ", ".join(f'"{column}"::text' for column in columns)
        row = connection.execute(f'SELECT {listed} FROM stripe."{change.stream}" WHERE {condition}', key).fetchone()
        assert row is not None
        if times[change.stream, key[-1]] == 1 and DELETED_AT not in change.record:
            sent = json_texts.read(line.decode())["record"]
            for column, value in zip(columns, row, strict=True):
                stored = None if value is None else json_texts.read(value)
                assert json_texts.identity(stored) == json_texts.identity(sent.get(column)), column
