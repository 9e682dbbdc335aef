"""Records → rows. Pure, and the hot path, together with copy_text.py: everything here runs once a record.

A record is decoded by a ``msgspec`` struct made for its stream, which checks the types on the way; nested values stay
the bytes they were. What does not decode is looked at again field by field: ``1.0`` is the integer 1, an integer
beyond ``bigint`` asks for a wider column, anything else is refused by name and type, never by value.
"""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

import msgspec

from target_postgres_stripe.columns import (
    AS_OF,
    BIGINT_MAX,
    BIGINT_MIN,
    CHILDREN_PROPERTY,
    DELETED_AT,
    HASH_BITS,
    LINE_COLUMNS,
    RESERVED_PROPERTIES,
    SIGHTING_COLUMNS,
    ColumnType,
)
from target_postgres_stripe.copy_text import (
    JSON_NULL,
    NULL,
    NULL_TO_ESCAPE,
    NotAMomentError,
    escaped_line,
    fields_function,
    is_plain,
    plain_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_postgres_stripe.columns import TableShape

GAP_FILLER_DAY, GAP_FILLER = "0001-01-01", "0001-01-01T00:00:00+00:00"
"""The ``_sdc_as_of`` that marks a copy which only fills a gap."""

KEY_BYTES_MAX = 2000
"""Postgres has room for 2,704 bytes in an entry of an index; with a stream's name the key is in other indexes too."""

PLAIN_DIGITS_MAX = 4300
"""What has more digits is written with an exponent, lest 1E+999999999 become a gigabyte; Python's own limit."""

EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
"""Arithmetic that rounds nothing and raises nothing."""

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


HASHED = "the record's JSON"
"""What hashes are of; they are renewed where it was something else."""

CHILDREN_TYPE: Any = dict[str, list[str]] | None
NO_LISTS: frozenset[str] = frozenset()

*ADDED_COLUMNS, _ = LINE_COLUMNS
"""What a line begins with, save the children's lists."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a record comes from: what is known of it besides its JSON.

    Attributes:
        number: Its number in its stream, from 1.
        segment: How many STATEs were read before it.
        version: The message's ``version``: the sweep (or the table version) that it was read by.
        extracted_at: The message's ``time_extracted``.
        sequence: Milliseconds since the epoch at which it was read.
    """

    number: int
    segment: int
    version: int | None
    extracted_at: str | None
    sequence: int


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record that is ready to be staged.

    Attributes:
        added: The part of a line of the text COPY that is not the record's: ``LINE_COLUMNS``, without a tab at its end.
        own: The part with the stream's columns, newline included.
        key: The values of the key, as text that is equal where Postgres finds the keys equal; empty without a key.
        record: The record's number in its stream, from 1.
        segment: How many STATEs were read before it.
        as_of: ``_sdc_as_of`` as sent.
        deleted: Whether it says that the object is gone.
        version: The sweep (or the table version) it was read by.
        lists: The child streams of which it brings the complete list.
    """

    added: bytes
    own: bytes
    key: tuple[str, ...]
    record: int
    segment: int
    as_of: str | None
    deleted: bool
    version: int | None
    lists: frozenset[str]

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.added) + len(self.own)

    @property
    def is_sighting(self) -> bool:
        """Whether a sweep brought it and it says nothing but its values."""
        return self.version is not None and self.has_only_values

    def sighting(self, position: int) -> bytes:
        """The line by which a row that is as it was is recognised: as-of, version, hash, key, and its position."""
        added = self.added.split(b"\t", len(SIGHTING_COLUMNS))[: len(SIGHTING_COLUMNS)]
        key = self.own[:-1].split(b"\t", len(self.key))[: len(self.key)]  # the key may be all there is
        return b"\t".join([*added, *key, b"%d\n" % position])

    @property
    def has_only_values(self) -> bool:
        """Whether there is nothing to it but its values."""
        return not (self.deleted or self.lists or self.fills_gap)

    def straight(self, batched_at: bytes) -> bytes:
        """The line of a COPY straight into the table: ``NEW_COLUMNS`` and those of the stream."""
        as_of, version, digest, _, extracted_at, sequence, _ = self.added.split(b"\t")
        moment = moment_of(sequence)
        return b"\t".join((as_of, version, digest, extracted_at, sequence, moment, batched_at, self.own))

    @property
    def fills_gap(self) -> bool:
        """Whether it may only be inserted."""
        return (
            self.as_of is not None and self.as_of.startswith(GAP_FILLER_DAY) and same_moment(self.as_of) == GAP_FILLER
        )


class Sighting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record of a sweep that most likely is as it is stored: of it, only what it is recognised by was read.

    Attributes:
        source: The record's JSON, to read it whole if it is not.
        origin: Where it comes from, for the same.
        digest: What the row is recognised by.
    """

    source: msgspec.Raw
    origin: Origin
    digest: int
    # As of a row, which see.
    key: tuple[str, ...]
    record: int
    segment: int
    as_of: str
    version: int
    deleted: ClassVar[bool] = False
    fills_gap: ClassVar[bool] = False
    lists: ClassVar[frozenset[str]] = NO_LISTS
    is_sighting: ClassVar[bool] = True

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.source)

    def sighting(self, position: int) -> bytes:
        """The line by which it is recognised, as a row's."""
        key = "\t".join(self.key)  # without anything that needs an escape, as the as-of
        return f"{self.as_of}\t{self.version}\t{self.digest}\t{key}\t{position}\n".encode()


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
        self._fields = fields_function([column.type for column in shape.columns])
        self._added_fields = fields_function([column.type for column in ADDED_COLUMNS])
        columns = repr((HASHED, [(column.name, column.type) for column in shape.columns])).encode()
        self._hash_of_columns = int.from_bytes(blake2b(columns, digest_size=1).digest(), signed=True) << HASH_BITS
        self._has_text_key = all(column.type is ColumnType.TEXT for column in shape.key)
        self._key_formats = tuple(KEY_FORMATS.get(column.type) for column in shape.key)
        self._decoder = record_decoder(shape, forbid_unknown_fields=True)
        self._sighting_decoder = sighting_decoder(shape)
        self._ignores_unknown = False

    @property
    def ignores_unknown_fields(self) -> bool:
        """Whether it does."""
        return self._ignores_unknown

    def ignore_unknown_fields(self) -> None:
        """From now on, take records with fields that the schema lacks, and leave those out."""
        self._ignores_unknown = True
        self._decoder = record_decoder(self._shape, forbid_unknown_fields=False)

    def sight(self, record: msgspec.Raw, origin: Origin) -> Sighting | None:
        """Of a record that a sweep brought, read what it is recognised by.

        Returns:
            None if it says more than its values, or is not as plain as nearly all are: it is to be read whole.
        """
        if self._sighting_decoder is None or origin.version is None:
            return None
        try:
            *key, as_of, deleted_at, children = msgspec.structs.astuple(self._sighting_decoder.decode(record))
        except msgspec.ValidationError:
            return None
        if deleted_at is not None or children or as_of.startswith(GAP_FILLER_DAY) or is_long(key):
            return None
        texts = as_of.join(key) + as_of
        if "\\" in texts or not texts.isprintable():
            return None
        return Sighting(
            source=record,
            origin=origin,
            digest=self._hash(bytes(record), as_of),
            key=tuple(key),
            record=origin.number,
            segment=origin.segment,
            as_of=as_of,
            version=origin.version,
        )

    def read(self, record: msgspec.Raw, origin: Origin) -> Row:
        """Decode, check and render one record.

        Args:
            record: The record's JSON.
            origin: Where it comes from.

        Raises:
            WrongValueError: A value does not fit its column.
            NullKeyError: The key has no value.
            UnknownFieldsError: It has fields without a column, and nobody has said to ignore them.
        """
        values = self._values(record)
        as_of, deleted_at, children = values[-3:]
        if as_of is None and self._shape.ordered:
            raise WrongValueError(column=AS_OF.property, expected="a date-time in every record")
        source, version, extracted_at = bytes(record), origin.version, origin.extracted_at
        plain = is_plain(source) and (extracted_at is None or extracted_at.isprintable())
        null, line = (NULL, plain_line) if plain else (NULL_TO_ESCAPE, escaped_line)
        try:
            fields = self._fields(values, null)
            digest = self._hash(source, as_of) if as_of is not None and self._shape.ordered else None
            added = self._added_fields((as_of, version, digest, deleted_at, extracted_at, origin.sequence), null)
        except NotAMomentError as error:
            raise WrongValueError(column=self._column_of(error, values), expected=error.expected) from None
        added.append(null if children is None else msgspec.json.encode(children))
        return Row(
            added=line(added)[:-1],
            own=line(fields),
            key=self._key(
                list(values[: len(self._key_formats)])
                if self._has_text_key
                else [None if part is null else str(part, "utf-8") for part in fields[: len(self._key_formats)]]
            ),
            record=origin.number,
            segment=origin.segment,
            as_of=as_of,
            deleted=deleted_at is not None,
            version=version,
            lists=frozenset(children) if children else NO_LISTS,
        )

    def _hash(self, record: bytes, as_of: str) -> int:
        """What the row is recognised by, as it fits a ``bigint``: the record's JSON save its as-of, which must be last.

        Where it is not, this is never the same again, and the row is compared value by value.
        """
        end = f',"{AS_OF.property}":"{as_of}"}}'.encode()
        values = record.removesuffix(end)
        return self._hash_of_columns | int.from_bytes(blake2b(values, digest_size=HASH_BITS // 8).digest())

    def _key(self, parts: Sequence[str | None]) -> tuple[str, ...]:
        """A key of its values.

        Raises:
            NullKeyError, WrongValueError: A part of it has no value; it is too long.
        """
        if None in parts:
            raise NullKeyError(column=self._shape.key[parts.index(None)].property, expected="a value")
        key = cast("Sequence[str]", parts)
        if is_long(key):
            longest = max(range(len(key)), key=lambda place: len(key[place]))
            raise WrongValueError(
                column=self._shape.key[longest].property,
                expected=f"short enough for a key of at most {KEY_BYTES_MAX} bytes",
            )
        if self._has_text_key:
            return tuple(key)
        return tuple([text if f is None else f(text) for f, text in zip(self._key_formats, key, strict=True)])

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

    def _column_of(self, error: NotAMomentError, values: Sequence[Any]) -> str:
        """The property that is not the date or time it should be."""
        refused = error.text
        named = zip(self._shape.columns, values, strict=False)
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


def sighting_decoder(shape: TableShape) -> msgspec.json.Decoder[Any] | None:
    """The decoder of what a record is recognised by: its key, then as-of, deleted-at and the children's lists.

    None for a stream without an as-of, and for keys whose texts may differ though they are equal.
    """
    if not shape.ordered or any(column.type is not ColumnType.TEXT for column in shape.key):
        return None
    fields: list[tuple[str, Any, Any]] = [(f"f{place}", str, msgspec.NODEFAULT) for place in range(len(shape.key))]
    names = {f"f{place}": column.property for place, column in enumerate(shape.key)}
    names |= {"as_of": AS_OF.property, "deleted_at": DELETED_AT.property, "children": CHILDREN_PROPERTY}
    fields += [("as_of", str, msgspec.NODEFAULT), ("deleted_at", str | None, None), ("children", CHILDREN_TYPE, None)]
    try:
        struct = msgspec.defstruct("Sighted", fields, rename=names, gc=False)
    except ValueError:
        return None
    return msgspec.json.Decoder(struct)


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


def is_long(key: Sequence[str]) -> bool:
    """Whether a key may be too long for an index."""
    return 4 * sum(map(len, key)) > KEY_BYTES_MAX and sum(len(part.encode()) for part in key) > KEY_BYTES_MAX


def same_number(text: str) -> str:
    """A number so that 1, 1.0 and 1E0 are equal, and equal to the integer 1."""
    number = EXACT.normalize(Decimal(text))
    if not number:
        return "0"
    return f"{number:f}" if abs(number.adjusted()) < PLAIN_DIGITS_MAX else str(number)


def same_moment(text: str) -> str:
    """A date-time so that one moment in two zones is equal; without a zone it is UTC, as in Postgres' session."""
    found = instant(text)
    return text if found is None else found.isoformat()


def instant(text: str) -> datetime | None:
    """The moment in UTC that a date-time means to Postgres, None if Python does not know it."""
    with contextlib.suppress(ValueError, OverflowError):
        found = datetime.fromisoformat(text)
        if (finer := FINER_THAN_MICROSECONDS.search(text)) is not None:
            found = found.replace(microsecond=0) + timedelta(microseconds=rounded_microseconds(finer[0]))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    return None


def same_time(text: str) -> str:
    """A time of day so that 12:00 and 12:00:00.0 are equal; a day may end at 24:00, which Python does not know."""
    if text.startswith("24"):
        return END_OF_DAY
    with contextlib.suppress(ValueError):
        found = datetime.combine(date.min, time.fromisoformat(text))
        if (finer := FINER_THAN_MICROSECONDS.search(text)) is not None:
            found = found.replace(microsecond=0) + timedelta(microseconds=rounded_microseconds(finer[0]))
        return found.time().isoformat() if found.date() == date.min else END_OF_DAY
    return text


@lru_cache(maxsize=1000)
def moment_of(sequence: bytes) -> bytes:
    """The moment of so many milliseconds since the epoch; many rows are read in each."""
    return datetime.fromtimestamp(int(sequence) / 1000, UTC).isoformat().encode()


END_OF_DAY = "24:00:00"

FINER_THAN_MICROSECONDS = re.compile(r"\.\d{7,}")


def rounded_microseconds(fraction: str) -> int:
    """A fraction of a second as Postgres rounds it, while Python would cut it."""
    return round(float(fraction) * 1_000_000)


def same_json(text: str) -> str:
    """A JSON value so that the order of members and the spelling of numbers do not count."""
    try:
        return SAME_JSON_ENCODER.encode(SAME_JSON_DECODER.decode(text)).decode()
    except (msgspec.ValidationError, ValueError, RecursionError):
        # A long integer, a number beyond `Decimal`, or nested deeply: spelled in one way, most likely.
        return text


def same_json_number(text: str) -> int | Decimal:
    """A number with a fraction or an exponent, as the integer it is if it is one."""
    number = EXACT.normalize(EXACT.create_decimal(text))
    is_plain = number.is_finite() and number.adjusted() < PLAIN_DIGITS_MAX
    return int(number) if is_plain and number == number.to_integral_value() else number


SAME_JSON_DECODER = msgspec.json.Decoder(float_hook=same_json_number)
SAME_JSON_ENCODER = msgspec.json.Encoder(order="deterministic", decimal_format="number")

KEY_FORMATS: dict[ColumnType, Callable[[str], str]] = {
    ColumnType.NUMERIC: same_number,
    ColumnType.TIMESTAMPTZ: same_moment,
    ColumnType.TIME: same_time,
    ColumnType.JSONB: same_json,
}
"""Key values that Postgres may find equal although their texts differ."""
