"""Which columns hold ids of other tables' rows, by the schemas. For what shows tables; the sync itself needs none."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from tap_stripe_events.changes import schema
from tap_stripe_events.families import names_by_stream
from tap_stripe_events.objects import PREVIEWS


@cache
def described_streams() -> Mapping[str, str]:
    """Return every stream, and the object type or kind of preview that its schema is of."""
    return MappingProxyType(dict(names_by_stream()) | {name: name for name in PREVIEWS})


@cache
def references() -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Return the streams whose ids a column holds, by its stream and name: of each id one, if there are several."""
    return MappingProxyType(
        {
            (stream, column): tuple(each["x-references"])
            for stream, name in described_streams().items()
            for column, each in schema(name)["properties"].items()
            if "x-references" in each
        }
    )
