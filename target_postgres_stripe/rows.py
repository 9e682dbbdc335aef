"""Records → lines of a text COPY. Pure, and the hot path: everything here runs once a record or once a value.

A record is decoded by a ``msgspec`` struct made for its stream, which checks the types on the way; nested values stay
the bytes they were. What does not decode is looked at again field by field: ``1.0`` is the integer 1, an integer
beyond ``bigint`` asks for a wider column, anything else is refused by name and type, never by value.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from target_postgres_stripe.columns import (
    AS_OF,
    BIGINT_MAX,
    BIGINT_MIN,
    CHILDREN_PROPERTY,
    DELETED_AT,
    RESERVED_PROPERTIES,
    ColumnType,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_postgres_stripe.columns import TableShape

GAP_FILLER_YEAR = "0001-01-01"
"""The day of the ``_sdc_as_of`` that marks a copy which only fills a gap."""

NULL = "\0"
"""A field without a value, until its line is written; U+0000 cannot be in a record any more (see text.py)."""

Bigint = Annotated[int, msgspec.Meta(ge=BIGINT_MIN, le=BIGINT_MAX)]

PYTHON_TYPES: dict[ColumnType, Any] = {
    ColumnType.BIGINT: Bigint | None,
    ColumnType.NUMERIC: Decimal | None,
    ColumnType.BOOLEAN: bool | None,
    ColumnType.TEXT: str | None,
    ColumnType.TIMESTAMPTZ: str | None,
    ColumnType.DATE: str | None,
    ColumnType.TIME: str | None,
    ColumnType.JSONB: msgspec.Raw,
}


CHILDREN_TYPE: Any = dict[str, list[str]] | None
JSON_NULL = msgspec.Raw(b"null")


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record that is ready to be staged.

    Attributes:
        line: The line of the text COPY, newline included; columns as in ``Statements.create_stage``.
        key: The values of the key, as text that is equal where Postgres finds the keys equal; empty without a key.
        record: The record's number in its stream, from 1.
        segment: How many STATEs were read before it.
        as_of: ``_sdc_as_of`` as sent.
        deleted: Whether it says that the object is gone.
        version: The sweep (or the table version) it was read by.
        lists: The child streams of which it brings the complete list.
    """

    line: bytes
    key: tuple[str, ...]
    record: int
    segment: int
    as_of: str | None
    deleted: bool
    version: int | None
    lists: frozenset[str]

    @property
    def fills_gap(self) -> bool:
        """Whether it may only be inserted."""
        return self.as_of is not None and self.as_of.startswith(GAP_FILLER_YEAR)


class WrongValueError(Exception):
    """A value that its column cannot hold; the caller knows stream and record, and says so.

    Attributes:
        column: The property's name.
        expected: What was expected, as a Postgres type or in words.
        too_big: Whether it is an integer that a ``numeric`` column could hold.
    """

    def __init__(self, *, column: str, expected: str, too_big: bool = False) -> None:
        super().__init__()
        self.column = column
        self.expected = expected
        self.too_big = too_big


class NullKeyError(WrongValueError):
    """A key without a value."""


class UnknownFieldsError(Exception):
    """The record has fields that the stream's schema lacks, which asks for a warning and a laxer decoder."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names


class RowReader:
    """Turns the records of one stream into rows."""

    def __init__(self, shape: TableShape) -> None:
        self._shape = shape
        self._formats = tuple(FORMATS[column.type] for column in shape.columns)
        self._key_formats = tuple(KEY_FORMATS.get(column.type) for column in shape.key)
        self._decoder = record_decoder(shape, forbid_unknown_fields=True)
        self._ignores_unknown = False

    def ignore_unknown_fields(self) -> None:
        """From now on, take records with fields that the schema lacks, and leave those out."""
        self._ignores_unknown = True
        self._decoder = record_decoder(self._shape, forbid_unknown_fields=False)

    def read(
        self,
        record: msgspec.Raw,
        *,
        number: int,
        segment: int,
        version: int | None,
        extracted_at: str | None,
        sequence: int,
    ) -> Row:
        """Decode, check and render one record.

        Args:
            record: The record's JSON.
            number: Its number in its stream.
            segment: How many STATEs were read before it.
            version: The message's ``version``.
            extracted_at: The message's ``time_extracted``.
            sequence: Milliseconds since the epoch at which it was read.

        Raises:
            WrongValueError: A value does not fit its column.
            NullKeyError: The key has no value.
            UnknownFieldsError: It has fields without a column, and nobody has said to ignore them.
        """
        *own, as_of, deleted_at, children = self._values(record)
        if self._shape.ordered and as_of is None:
            raise WrongValueError(column=AS_OF.property, expected="a date-time in every record")
        try:
            fields = [NULL if v is None else v if f is None else f(v) for f, v in zip(self._formats, own, strict=True)]
            fields += [NULL if v is None else moment(v) for v in (as_of, deleted_at, extracted_at)]
        except NotAMomentError as error:
            raise WrongValueError(
                column=self._column_of(error, own), expected="a date or time as in ISO 8601"
            ) from None
        *own_fields, as_of_field, deleted_at_field, extracted_at_field = fields
        key = own_fields[: len(self._key_formats)]
        if NULL in key:
            raise NullKeyError(column=self._shape.key[key.index(NULL)].property, expected="a value")
        return Row(
            line=copy_line(
                [
                    *own_fields,
                    as_of_field,
                    deleted_at_field,
                    NULL if version is None else str(version),
                    extracted_at_field,
                    str(sequence),
                    NULL if children is None else msgspec.json.encode(children).decode(),
                ]
            ),
            key=tuple(text if f is None else f(text) for f, text in zip(self._key_formats, key, strict=True)),
            record=number,
            segment=segment,
            as_of=as_of,
            deleted=deleted_at is not None,
            version=version,
            lists=frozenset(children or ()),
        )

    def _values(self, record: msgspec.Raw) -> tuple[Any, ...]:
        """The values of the stream's columns, then as-of, deleted-at and the children's lists."""
        if self._decoder is None:
            return self._values_one_by_one(record)
        try:
            return msgspec.structs.astuple(self._decoder.decode(record))
        except msgspec.ValidationError:
            return self._values_one_by_one(record)

    def _values_one_by_one(self, record: msgspec.Raw) -> tuple[Any, ...]:
        """The same for a record that does not decode as a whole: forgive what can be forgiven, name what cannot."""
        try:
            fields = msgspec.json.decode(record, type=dict[str, msgspec.Raw])
        except msgspec.ValidationError:
            raise WrongValueError(column="record", expected="an object") from None
        unknown = fields.keys() - {column.property for column in self._shape.columns}
        if unknown and not self._ignores_unknown:
            if unknown - RESERVED_PROPERTIES:
                raise UnknownFieldsError(sorted(unknown - RESERVED_PROPERTIES))
            self.ignore_unknown_fields()
        return (
            *(value_of(fields, column.property, column.type) for column in self._shape.columns),
            value_of(fields, AS_OF.property, ColumnType.TIMESTAMPTZ),
            value_of(fields, DELETED_AT.property, ColumnType.TIMESTAMPTZ),
            children_of(fields),
        )

    def _column_of(self, error: NotAMomentError, own: list[Any]) -> str:
        """The property that is not the date or time it should be."""
        refused = error.args[0]
        named = zip(self._shape.columns, own, strict=True)
        others = f"{AS_OF.property}, {DELETED_AT.property} or time_extracted"
        return next((column.property for column, value in named if value is refused), others)


def record_decoder(shape: TableShape, *, forbid_unknown_fields: bool) -> msgspec.json.Decoder[Any] | None:
    """The decoder of a stream's records: its columns in order, then as-of, deleted-at and the children's lists.

    None if a property has a name that a struct cannot have; such a stream is read field by field.
    """
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    for column in shape.columns:
        name = f"f{len(fields)}"
        names[name] = column.property
        fields.append((name, PYTHON_TYPES[column.type], JSON_NULL if column.type is ColumnType.JSONB else None))
    names |= {"as_of": AS_OF.property, "deleted_at": DELETED_AT.property, "children": CHILDREN_PROPERTY}
    fields += [("as_of", str | None, None), ("deleted_at", str | None, None), ("children", CHILDREN_TYPE, None)]
    try:
        struct = msgspec.defstruct(
            "Record", fields, rename=names, forbid_unknown_fields=forbid_unknown_fields, gc=False
        )
    except ValueError:
        return None
    return msgspec.json.Decoder(struct)


def copy_line(fields: list[str]) -> bytes:
    """A line of a text COPY; most rows have nothing to escape, which is found out for all fields at once."""
    line = "\t".join(fields)
    if "\\" in line or "\n" in line or "\r" in line or line.count("\t") != len(fields) - 1:
        line = "\t".join([escaped(field) for field in fields])
    return (line.replace(NULL, "\\N") + "\n").encode()


def escaped(field: str) -> str:
    """A field with what COPY gives a meaning to escaped."""
    if "\\" in field:
        field = field.replace("\\", "\\\\")
    return field.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def value_of(fields: dict[str, msgspec.Raw], name: str, column_type: ColumnType) -> Any:
    """One value as its column's Python type.

    Raises:
        WrongValueError: It has another type, or is an integer beyond ``bigint``.
    """
    value = fields.get(name, JSON_NULL)
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.json.decode(value, type=PYTHON_TYPES[column_type])
    if column_type is ColumnType.BIGINT and not bytes(value).startswith(b'"'):
        with contextlib.suppress(msgspec.ValidationError):
            number = msgspec.json.decode(value, type=Decimal)
            if number == number.to_integral_value():
                if not BIGINT_MIN <= number <= BIGINT_MAX:
                    raise WrongValueError(column=name, expected=column_type, too_big=True)
                return int(number)
    raise WrongValueError(column=name, expected=column_type)


def children_of(fields: dict[str, msgspec.Raw]) -> dict[str, list[str]] | None:
    """The children's lists of a record; a tap that flattens its records sends them as a text.

    Raises:
        WrongValueError: It is not an object of lists of ids.
    """
    sent: msgspec.Raw | str = fields.get(CHILDREN_PROPERTY, JSON_NULL)
    with contextlib.suppress(msgspec.ValidationError):
        sent = msgspec.json.decode(sent, type=str)
    try:
        found: dict[str, list[str]] | None = msgspec.json.decode(sent, type=CHILDREN_TYPE)
    except msgspec.ValidationError:
        raise WrongValueError(column=CHILDREN_PROPERTY, expected="an object of lists of ids") from None
    return found


def moment(text: str) -> str:
    """A date or date-time; Postgres would also take ``now`` or ``yesterday`` and store something else tomorrow."""
    if text[4:5] == "-" and text[:4].isdigit():
        return text
    raise NotAMomentError(text)


def time_of_day(text: str) -> str:
    """A time of day, for the same reason."""
    if text[:1].isdigit():
        return text
    raise NotAMomentError(text)


class NotAMomentError(ValueError):
    """A text where a date, date-time or time was expected."""


def nested(value: msgspec.Raw) -> str:
    """A nested value as JSON text; JSON's null is SQL's NULL."""
    text = str(value, "utf-8")
    return NULL if text == "null" else text


def same_number(text: str) -> str:
    """A number so that 1, 1.0 and 1E0 are equal."""
    return str(Decimal(text).normalize())


def same_moment(text: str) -> str:
    """A date-time so that one moment in two zones is equal; without a zone it is UTC, as in Postgres' session."""
    with contextlib.suppress(ValueError):
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    return text


def same_json(text: str) -> str:
    """A JSON value so that the order of members and the spelling of numbers do not count."""
    # The encoder writes a Decimal as a string, so numbers are told apart from strings by a one-element list.
    decoded = msgspec.json.Decoder(float_hook=lambda number: same_json_number(Decimal(number))).decode(text)
    return msgspec.json.encode(decoded, order="deterministic").decode()


def same_json_number(number: Decimal) -> int | list[str]:
    """A number with a fraction in its spelling as the integer it is, if it is one."""
    return int(number) if number == number.to_integral_value() else [same_number(str(number))]


KEY_FORMATS: dict[ColumnType, Callable[[str], str]] = {
    ColumnType.NUMERIC: same_number,
    ColumnType.TIMESTAMPTZ: same_moment,
    ColumnType.JSONB: same_json,
}
"""Key values that Postgres may find equal although their texts differ."""

FORMATS: dict[ColumnType, Callable[[Any], str] | None] = {
    ColumnType.BIGINT: str,
    ColumnType.NUMERIC: str,
    ColumnType.BOOLEAN: {True: "t", False: "f"}.__getitem__,
    ColumnType.TEXT: None,
    ColumnType.TIMESTAMPTZ: moment,
    ColumnType.DATE: moment,
    ColumnType.TIME: time_of_day,
    ColumnType.JSONB: nested,
}
"""How each type's values are written, None: as they are. Never called with None."""
