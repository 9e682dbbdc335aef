"""Objects with something odd in them: nothing is fatal, nothing is lost, and every record fits its table."""

from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from odd_objects import NOW, SOURCE, changes_of, objects

from tap_stripe_events.changes import AS_OF, DELETED_AT, Read, read, schema, singer_schema
from tap_stripe_events.families import names_by_stream
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.units import Cause
from target_postgres_stripe.columns import table_shape
from target_postgres_stripe.rows import Origin, RowReader
from target_postgres_stripe.text import storable


@cache
def reader_of(stream: str) -> RowReader:
    """What the target reads a stream's records with."""
    name = names_by_stream()[stream]
    reader = RowReader(table_shape(stream, singer_schema(name), STRIPE_OBJECTS[name].key, metadata=True))
    reader.ignore_unknown_fields()
    return reader


@examples(300)
@given(objects(), st.booleans())
def test_whatever_is_in_an_object_its_records_fit_their_tables(
    found: tuple[str, dict[str, Any]], by_event: bool
) -> None:
    cause = Cause(as_of=NOW * 1000 + 999, since=NOW - 60) if by_event else None
    encoder = msgspec.json.Encoder(decimal_format="number")
    for number, change in enumerate(changes_of(*found, cause)):
        name = names_by_stream()[change.stream]
        assert change.record.keys() <= singer_schema(name)["properties"].keys()
        assert None not in {change.record.get(column) for column in STRIPE_OBJECTS[name].key}
        line, _ = storable(encoder.encode(change.record))
        row = reader_of(change.stream).read(
            msgspec.Raw(line), Origin(number=number, segment=0, version=None, extracted_at=None, sequence=0)
        )
        assert row.deleted == (DELETED_AT in change.record)
        assert row.as_of == change.record[AS_OF]


def is_kept(record: dict[str, Any], parts: Read, field: str, value: Any) -> bool:
    """Whether what a field held is in its column to the last digit, or as it was in `_extra`, or in rows of its own."""
    extra = record["_extra"] or {}
    if field in extra:
        in_list = isinstance(value, dict) and any(each.field.startswith(f"{field}.") for each, _ in parts.lists)
        return (extra[field] == value or in_list) and record.get(field, record.get(f"{field}_id")) in {
            None,
            value_id(value),
        }
    if any(value is each for _, each in parts.lists) or any(value is each.json for each in parts.dependents):
        return True
    if value is None:
        return record.get(field, record.get(f"{field}_id")) is None
    if f"{field}_id" in record and field not in record:
        has_row = (
            not isinstance(value, dict)
            or value.get("deleted") is True
            or any(value is each.json for each in parts.copies)
        )
        return record[f"{field}_id"] == value_id(value) and has_row
    return record[field] is not None and is_same(field, value, record[field], parts)


def value_id(value: Any) -> Any:
    found = value.get("id") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None


def is_same(field: str, value: Any, stored: Any, parts: Read) -> bool:
    column = schema(parts.object.name)["properties"][field]
    if column.get("format") == "date-time":
        unit = 1000 if column.get("x-kind") == "milliseconds" else 1
        moment = datetime.fromisoformat(stored)
        return bool(round(moment.timestamp() * unit) == value)
    if column.get("x-kind") == "currency":
        return bool(stored == value.lower())
    if "number" in column["type"]:
        return bool(Decimal(stored) == Decimal(value))
    if any(each.field.startswith(f"{field}.") for each, _ in parts.lists):
        return True  # the list in it is taken out; test_changes has that
    return bool(stored == value) and isinstance(stored, bool) == isinstance(value, bool)


@examples(800)
@given(objects())
def test_nothing_that_an_object_holds_is_dropped(found: tuple[str, dict[str, Any]]) -> None:
    name, body = found
    parts = read(body, name, as_of=SOURCE.as_of, secrets=False)
    if parts is None or DELETED_AT in parts.change.record:
        assert body.get("deleted") is True
        return
    lost = [field for field, value in body.items() if not is_kept(parts.change.record, parts, field, value)]
    assert not lost


@pytest.mark.parametrize("number", ["1e999999999", "-1E+400", "9223372036854775808.0"])
def test_an_integer_that_no_column_takes_is_kept_as_it_was_and_not_written_out(number: str) -> None:
    """The first has a billion digits, and took the machine's memory."""
    parts = read({"object": "charge", "id": "ch_1", "amount": Decimal(number)}, "charge", as_of=SOURCE.as_of)
    assert parts is not None
    assert (parts.change.record["amount"], parts.change.record["_extra"]) == (None, {"amount": Decimal(number)})


@pytest.mark.parametrize("odd", [[], {}, ["customer"], {"object": "customer"}])
def test_an_object_whose_type_is_no_text_is_kept_whole(odd: Any) -> None:
    """It was looked up in a table of types, which wants something that can be."""
    customer = {"id": "cus_1", "object": odd}
    parts = read({"object": "charge", "id": "ch_1", "customer": customer}, "charge", as_of=SOURCE.as_of)
    assert parts is not None
    assert (parts.change.record["customer_id"], parts.change.record["_extra"]) == ("cus_1", {"customer": customer})
    error = {"code": "card_declined", "payment_method": {"id": "pm_1", "object": odd}}
    inside = read({"object": "payment_intent", "id": "pi_1", "last_payment_error": error}, "payment_intent", as_of="")
    assert inside is not None
    assert (inside.change.record["last_payment_error"], inside.copies) == (error, ())


@pytest.mark.parametrize("text", ["1_000", " 5", "\u0665", "NaN", "Infinity", "", "0x1", "1" * 1001, "0." + "1" * 1001])
def test_a_decimal_is_one_as_stripe_writes_it_or_kept_as_it_was(text: str) -> None:
    parts = read({"object": "plan", "id": "plan_1", "amount_decimal": text}, "plan", as_of=SOURCE.as_of)
    assert parts is not None
    assert (parts.change.record["amount_decimal"], parts.change.record["_extra"]) == (None, {"amount_decimal": text})
