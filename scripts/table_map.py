"""The map of the tables as values: which tables there are, with which columns, and what refers to what.

Its source are the schemas that `generate_schemas.py` writes; `generate_map.py` makes pages of it, `erd.py` a drawing.
"""

from dataclasses import dataclass
from typing import Any

from stripe_words import TABLES

from tap_stripe_events.changes import schema, singer_schema, table_entry
from tap_stripe_events.objects import stream_name
from tap_stripe_events.references import described_streams
from target_postgres_stripe.columns import table_shape


@dataclass(frozen=True, kw_only=True)
class MapColumn:
    """One column.

    Attributes:
        name: Its name.
        field: The Stripe field that its values come from.
        type: Its Postgres type.
        is_key: Whether it is in the primary key.
        references: The tables of one of which it holds an `id`, if it is a reference.
        description: What it is.
    """

    name: str
    field: str
    type: str
    is_key: bool
    references: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class MapTable:
    """One table.

    Attributes:
        name: Its name.
        area: The area of Stripe's product that it belongs to.
        description: What a row is.
        columns: Its columns, the key first.
    """

    name: str
    area: str
    description: str
    columns: tuple[MapColumn, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key."""
        return tuple(each.name for each in self.columns if each.is_key)

    @property
    def shown(self) -> tuple[MapColumn, ...]:
        """The columns that a diagram shows: key and references, one of each field.

        Where a field names the parent of a row, there may be a column for the field and one for the parent.
        """
        columns = [each for each in self.columns if each.is_key or each.references]
        chosen = {each.field: each for each in columns} | {each.field: each for each in columns if each.is_key}
        return tuple(each for each in columns if chosen[each.field] is each)


def tables() -> tuple[MapTable, ...]:
    """Every table that the tap has a stream for, by name."""
    return tuple(_table(stream, name) for stream, name in sorted(described_streams().items()))


def by_area() -> dict[str, list[MapTable]]:
    """The tables of each area; areas and tables in the order in which `stripe_words.py` tells them."""
    told = [stream_name(name) for names in TABLES.values() for name in names]
    found: dict[str, list[MapTable]] = {area: [] for area in TABLES}
    for each in sorted(tables(), key=lambda table: told.index(table.name) if table.name in told else len(told)):
        found[each.area].append(each)
    return found


def _table(stream: str, name: str) -> MapTable:
    stored = schema(name)
    shape = table_shape(stream, singer_schema(name), table_entry(name).key, metadata=True)
    comments = dict(shape.comments)
    properties: dict[str, dict[str, Any]] = stored["properties"]
    return MapTable(
        name=shape.table,
        area=stored["x-area"],
        description=comments[""],
        columns=tuple(
            MapColumn(
                name=each.name,
                field=properties.get(each.property, {}).get("x-field", each.property),
                type=str(each.type),
                is_key=each in shape.key,
                references=tuple(properties.get(each.property, {}).get("x-references", ())),
                description=comments.get(each.name, ""),
            )
            for each in shape.all_columns
        ),
    )
