"""JSON Schema → columns. Pure.

Rules of the file: a column's type is the narrowest that holds every value its schema allows; where the schema allows
values of more than one kind, that is ``jsonb``. Names are kept as they are, so ``Id`` and ``id`` are two columns,
unless Postgres cannot have such a name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BIGINT_MIN = -(2**63)
BIGINT_MAX = 2**63 - 1

NAME_BYTES_MAX = 63
"""NAMEDATALEN - 1; a longer identifier would be cut in silence, and two of them might become one."""

SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})


class ColumnType(StrEnum):
    """The Postgres types this target uses."""

    BIGINT = "bigint"
    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    TEXT = "text"
    TIMESTAMPTZ = "timestamptz"
    DATE = "date"
    TIME = "time"
    JSONB = "jsonb"


STRING_FORMATS = {
    "date-time": ColumnType.TIMESTAMPTZ,
    "date": ColumnType.DATE,
    "time": ColumnType.TIME,
    "decimal": ColumnType.NUMERIC,
    "singer.decimal": ColumnType.NUMERIC,
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        property: The name of the property in the stream's records.
        name: The name of the column; differs where Postgres cannot have the property's.
        type: Its type.
    """

    property: str
    name: str
    type: ColumnType


# What the target adds. Neither compared nor taken from the stream's schema.
AS_OF = Column(property="_sdc_as_of", name="_sdc_as_of", type=ColumnType.TIMESTAMPTZ)
DELETED_AT = Column(property="_sdc_deleted_at", name="_sdc_deleted_at", type=ColumnType.TIMESTAMPTZ)
TABLE_VERSION = Column(property="_sdc_table_version", name="_sdc_table_version", type=ColumnType.BIGINT)
EXTRACTED_AT = Column(property="_sdc_extracted_at", name="_sdc_extracted_at", type=ColumnType.TIMESTAMPTZ)
RECEIVED_AT = Column(property="_sdc_received_at", name="_sdc_received_at", type=ColumnType.TIMESTAMPTZ)
BATCHED_AT = Column(property="_sdc_batched_at", name="_sdc_batched_at", type=ColumnType.TIMESTAMPTZ)
SEQUENCE = Column(property="_sdc_sequence", name="_sdc_sequence", type=ColumnType.BIGINT)
HASH = Column(property="_sdc_hash", name="_sdc_hash", type=ColumnType.BIGINT)

HASH_BITS = 56
"""How much of a hash is of the row's values; the eight bits above are of the columns that they are values of."""

DESCRIPTIONS = {
    AS_OF.name: "The latest moment that the row is known to reflect; nothing older overwrites it.",
    DELETED_AT.name: "When the row was gone from its source; null if it is there.",
    TABLE_VERSION.name: "The version of the table, as the tap counts full listings, that the row was last written in.",
    EXTRACTED_AT.name: "When the tap read the row.",
    RECEIVED_AT.name: "When the target read the row from the tap.",
    BATCHED_AT.name: "When the transaction began that the target wrote the row in.",
    SEQUENCE.name: "When the target read the row from the tap, in milliseconds since 1970.",
    HASH.name: "A hash of what the row was last written from, by which the same is recognised when it is listed again.",
}
"""What the target's own columns are, where the stream's schema does not say it."""

CHILDREN_PROPERTY = "_sdc_children"

LINE_COLUMNS = (
    AS_OF,
    TABLE_VERSION,
    HASH,
    DELETED_AT,
    EXTRACTED_AT,
    SEQUENCE,
    Column(property=CHILDREN_PROPERTY, name=CHILDREN_PROPERTY, type=ColumnType.JSONB),
)
"""What a line of a staging table begins with; the stream's own columns follow, key first."""

SIGHTING_COLUMNS = LINE_COLUMNS[:3]
"""What the line of a sighting begins with; the key and a position follow."""

NEW_COLUMNS = (AS_OF, TABLE_VERSION, HASH, EXTRACTED_AT, SEQUENCE, RECEIVED_AT, BATCHED_AT)
"""What the line of a row that goes straight into its table begins with; those of the stream follow."""

ACCOUNT = "stripe_account_id"
"""The column that leads the key of a table with the rows of several Stripe accounts."""

RESERVED_PROPERTIES = frozenset(
    {
        CHILDREN_PROPERTY,
        "_sdc_sync_started_at",
        *(c.property for c in (AS_OF, DELETED_AT, TABLE_VERSION, EXTRACTED_AT, RECEIVED_AT, BATCHED_AT, SEQUENCE)),
        HASH.property,
    }
)


@dataclass(frozen=True, kw_only=True)
class TableShape:
    """A stream as a table.

    Attributes:
        stream: The stream's name.
        table: The table's name.
        key: The columns of the primary key, none if the stream only appends.
        columns: The stream's own columns, key first.
        added: The columns that the target adds.
        ordered: Whether the stream's records say as of when they are (``_sdc_as_of``), so that an older one cannot
            overwrite a newer one. Otherwise the last to arrive wins.
        owns: The streams whose rows exist only as long as the row of this stream that they name.
        comments: What the columns are, by name; what the table is, by ``""``.
    """

    stream: str
    table: str
    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    added: tuple[Column, ...]
    ordered: bool
    owns: tuple[str, ...] = ()
    comments: tuple[tuple[str, str], ...] = ()

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Every column of the table that this target writes."""
        return self.columns + self.added

    @property
    def values(self) -> tuple[Column, ...]:
        """The stream's columns outside the key."""
        return tuple(column for column in self.columns if column not in self.key)

    @property
    def account(self) -> Column | None:
        """The column that says whose a row is, None where all rows are one account's."""
        return self.key[0] if len(self.key) > 1 and self.key[0].name == ACCOUNT else None

    def adds(self, column: Column) -> bool:
        """Whether the table has one of the target's own columns."""
        return column in self.added


def table_shape(
    stream: str, schema: Mapping[str, Any], key_properties: Sequence[str] | None, *, metadata: bool
) -> TableShape:
    """Decide how a stream becomes a table.

    Args:
        stream: The stream's name.
        schema: Its JSON Schema, with ``properties``.
        key_properties: Its key; a key property that the schema lacks is taken as ``text``.
        metadata: Whether the SDK's metadata columns are wanted (``add_record_metadata``).
    """
    properties = {name: spec for name, spec in schema["properties"].items() if name not in RESERVED_PROPERTIES}
    keys = tuple(dict.fromkeys(key_properties or ()))
    key = tuple(column_for(name, properties.get(name, {"type": "string"})) for name in keys)
    others = tuple(column_for(name, spec) for name, spec in properties.items() if name not in keys)
    ordered = AS_OF.property in schema["properties"] and bool(key)
    added: list[Column] = []
    if AS_OF.property in schema["properties"]:
        added.append(AS_OF)
    if ordered or metadata:
        added += [DELETED_AT, TABLE_VERSION]
    if metadata:
        added += [EXTRACTED_AT, RECEIVED_AT, BATCHED_AT, SEQUENCE]
    if ordered:
        added.append(HASH)
    return TableShape(
        stream=stream,
        table=table_name(stream),
        key=key,
        columns=key + others,
        added=tuple(added),
        ordered=ordered,
        owns=owned_streams(schema),
        comments=tuple(comments_of(schema, (*key, *others, *added)).items()),
    )


def comments_of(schema: Mapping[str, Any], columns: Iterable[Column]) -> dict[str, str]:
    """What a stream's schema says of these columns, and of itself by ``""``, where that is a text."""
    texts = {"": description_of(schema)}
    for column in columns:
        said = description_of(schema["properties"].get(column.property, {}))
        texts[column.name] = said or DESCRIPTIONS.get(column.name, "")
    return {name: text for name, text in texts.items() if text}


def description_of(spec: Mapping[str, Any] | bool) -> str:
    """The description in a JSON Schema, empty if it has none."""
    found = None if isinstance(spec, bool) else spec.get("description")
    return found.strip() if isinstance(found, str) else ""


def owned_streams(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The streams that a schema allows as keys of ``_sdc_children``, one pattern each: ``^line_item$``."""
    children = schema["properties"].get(CHILDREN_PROPERTY)
    patterns = children.get("patternProperties", {}) if isinstance(children, dict) else {}
    return tuple(sorted(pattern[1:-1] for pattern in patterns if re.fullmatch(r"\^\w+\$", pattern)))


def column_for(name: str, spec: Mapping[str, Any] | bool) -> Column:
    """The column of one property."""
    return Column(property=name, name=column_name(name), type=column_type(spec))


def column_type(spec: Mapping[str, Any] | bool) -> ColumnType:
    """The type that holds every value a property's schema allows."""
    return common_type(allowed_types(spec))


def common_type(types: Iterable[ColumnType]) -> ColumnType:
    """The narrowest type that holds the values of all of ``types``."""
    distinct = set(types)
    if len(distinct) == 1:
        return distinct.pop()
    if distinct == {ColumnType.BIGINT, ColumnType.NUMERIC}:
        return ColumnType.NUMERIC
    # A string that usually is a date is a string.
    if distinct and distinct <= {ColumnType.TEXT, ColumnType.TIMESTAMPTZ, ColumnType.DATE, ColumnType.TIME}:
        return ColumnType.TEXT
    return ColumnType.JSONB


def allowed_types(spec: Mapping[str, Any] | bool) -> list[ColumnType]:
    """The type of each kind of value that a schema allows, null left out; nothing known means ``jsonb``."""
    if isinstance(spec, bool):
        return [ColumnType.JSONB]
    if alternatives := [option for word in ("anyOf", "oneOf", "allOf") for option in spec.get(word, ())]:
        return [found for option in alternatives for found in allowed_types(option)]
    declared = spec.get("type", "anything")
    names = [declared] if isinstance(declared, str) else list(declared)
    string_format = spec.get("format") or spec.get("x-stripe-format")
    return [scalar_type(name, string_format, spec) for name in names if name != "null"]


def scalar_type(name: str, string_format: str | None, spec: Mapping[str, Any]) -> ColumnType:
    """The type for one JSON type."""
    match name:
        case "integer":
            bounds = [spec[word] for word in ("minimum", "maximum") if isinstance(spec.get(word), int | float)]
            fits = all(BIGINT_MIN <= bound <= BIGINT_MAX for bound in bounds)
            return ColumnType.BIGINT if fits else ColumnType.NUMERIC
        case "number":
            return ColumnType.NUMERIC
        case "boolean":
            return ColumnType.BOOLEAN
        case "string":
            return STRING_FORMATS.get(string_format or "", ColumnType.TEXT)
        case _:
            return ColumnType.JSONB


def column_name(name: str) -> str:
    """The column name for a property: itself, unless Postgres cannot have it."""
    return hashed_name(name) if name in SYSTEM_COLUMNS or not name else fitting_name(name)


def table_name(stream: str) -> str:
    """The table name for a stream: every character but letters, digits and ``_`` becomes ``_`` (``a-b.c``: ``a_b_c``).

    Names that begin with ``_`` are kept for this target's own tables, so such a stream's table gets a suffix.
    """
    name = re.sub(r"\W", "_", stream)
    return hashed_name(name) if name.startswith("_") or not name else fitting_name(name)


def fitting_name(name: str) -> str:
    """The name itself, shortened if it is too long for Postgres."""
    return name if len(name.encode()) <= NAME_BYTES_MAX else hashed_name(name)


def hashed_name(name: str) -> str:
    """The name, cut as need be, with a suffix that keeps it apart from every other."""
    suffix = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name.encode()[: NAME_BYTES_MAX - len(suffix)].decode(errors="ignore") + suffix


def column_definitions(columns: Iterable[Column]) -> str:
    """Columns as ``CREATE TABLE`` takes them."""
    return ", ".join(f"{quoted(column.name)} {column.type}" for column in columns)


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal (with ``standard_conforming_strings``, which this target's sessions set)."""
    return "'" + text.replace("'", "''") + "'"
