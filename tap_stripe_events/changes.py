"""Stripe object → record: the column rules of the contract, in one place for every source.

A *change* says what an object was as of a moment. `read` makes the record of one object and finds what else is in it:
copies of other objects, embedded lists, and objects without an id that get a row of their own.

How each field is treated is compiled once per object type from its JSON Schema (`schemas/`), in `shapes`. A value that
does not fit its column leaves the column null and goes to `_extra` as it was sent; so does a field that the schema does
not know.
"""

import json
from collections.abc import Mapping
from copy import copy
from functools import cache
from importlib.resources import files
from typing import Any

from msgspec import UNSET, Raw, Struct

from tap_stripe_events.families import owned_child_types
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import PREVIEWS, EmbeddedList, StripeObject, stream_name
from tap_stripe_events.shapes import (
    ID_FIELD,
    Found,
    Parts,
    Record,
    Sent,
    Shape,
    StripeJson,
    compile_shape,
    reference_id,
)

AS_OF = "_sdc_as_of"
DELETED_AT = "_sdc_deleted_at"
CHILDREN = "_sdc_children"
EXTRA = "_extra"
ACCOUNT_ID = "stripe_account_id"  # whose a record is, where a stream has those of several accounts; it leads every key

# The as-of of a copy that may be the older one: it only fills a gap.
GAP_FILLER = "0001-01-01T00:00:00Z"


class Change(Struct, kw_only=True, gc=False):  # a dataclass takes three times as long to make
    """A record for a stream: an object as of a moment, or that it was gone.

    Attributes:
        stream: The stream's name.
        record: Columns and values, ready for JSON.
        fills_gap: It is a copy that may be the older one.
    """

    stream: str
    record: Record
    fills_gap: bool = False


class Read(Struct, kw_only=True, gc=False):
    """One object taken apart.

    Attributes:
        object: Its type.
        id: Its id; empty if it has none.
        change: Its own record.
        copies: Whole objects with an id inside it.
        dependents: Objects without an id that are keyed by it.
        lists: Its embedded lists, as Stripe sent them.
        gone: All that is said of it is that it was deleted.
    """

    object: StripeObject
    id: str
    change: Change
    copies: tuple[Found, ...] = ()
    dependents: tuple[Found, ...] = ()
    lists: tuple[tuple[EmbeddedList, StripeJson], ...] = ()
    gone: bool = False


def read(
    json_object: StripeJson | Sent,
    name: str,
    *,
    as_of: str,
    columns: Mapping[str, str] | None = None,
    secrets: bool = True,
) -> Read | None:
    """Take one object apart.

    Args:
        json_object: The object as Stripe sent it; not changed.
        name: Its type, which must be in the table.
        as_of: The moment it is known to reflect, a date-time string.
        columns: Key and parent columns that the object itself does not hold.
        secrets: It may hold what must not be stored.

    Returns:
        None if the object is only a stub that says it was deleted, without an id to delete by.
    """
    if secrets:
        if isinstance(json_object, Sent):
            json_object = _without_secrets(json_object)
        else:
            json_object = without_secrets(json_object, name)
    parts = Parts()
    if isinstance(json_object, Sent):
        shape = json_object.shape
        if shape.deletable and json_object.get("deleted") is True:
            return _deletion(shape.object, json_object, as_of, columns)
        row = shape.build(json_object, as_of, parts)
    else:
        shape = shape_of(name)
        if json_object.get("deleted") is True:
            return _deletion(shape.object, json_object, as_of, columns)
        row = shape.build_of_dict(json_object, as_of, parts)
    if parts.extra is not None:
        row[EXTRA] = parts.extra
    if columns:
        for column, named in columns.items():  # what the object says itself comes first
            if row.get(column) is None:
                row[column] = named
    identifier = getattr(row, ID_FIELD, None)
    return Read(
        object=shape.object,
        id=identifier if isinstance(identifier, str) else "",
        change=Change(stream=shape.stream, record=row, fills_gap=as_of == GAP_FILLER),
        copies=parts.copies,
        dependents=parts.dependents,
        lists=parts.lists,
    )


def gone(name: str, key: Mapping[str, str], *, as_of: str) -> Change:
    """Return the change that says an object was gone as of a moment."""
    return Change(stream=stream_name(name), record={**key, AS_OF: as_of, DELETED_AT: as_of})


def copy_as_of(name: str, as_of: str) -> str:
    """Return the as-of of a copy that Stripe embeds unasked: stale, maybe, where the type is listed or announced."""
    return GAP_FILLER if STRIPE_OBJECTS[name].announced else as_of


def key_values(name: str, json_object: StripeJson) -> tuple[str, ...] | None:
    """Return the values of a type's key that an object itself holds; None if it has no id where the key wants one.

    What the object does not say, such as whose balance it is, is an empty string.
    """
    values = []
    for column in STRIPE_OBJECTS[name].key:
        value = reference_id(json_object.get(column.removesuffix("_id")))
        if value is None and column == "id":
            return None
        values.append(value or "")
    return tuple(values)


def elements(value: StripeJson) -> list[StripeJson]:
    """Return the elements of an embedded list."""
    found = value.get("data")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


@cache
def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of an object type, with the annotations that are for this module.

    It is stored with the package; that of a preview is an invoice's, with its key in place of the id, and its lines.
    """
    if name in PREVIEWS:
        invoice = {column: each for column, each in schema("invoice")["properties"].items() if column != "id"}
        extra = {EXTRA: invoice.pop(EXTRA)}
        more = {
            "subscription_id": {
                "type": ["string", "null"],
                "x-references": ["subscription"],
                "description": _WHAT_THE_SUBSCRIPTION_IS,
            },
            "lines": {"type": ["object", "null"], "description": _WHAT_THE_LINES_ARE},
        }
        whose = PREVIEWS[name].key[0].removesuffix("_id")
        description = (
            f"The invoice that a {whose} would get next, as Stripe computed it on request; it has no id yet. "
            "Columns are as in table invoice."
        )
        return {**schema("invoice"), "description": description, "properties": {**invoice, **more, **extra}}
    text = files("tap_stripe_events").joinpath("schemas", f"{stream_name(name)}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def stream_key(name: str, *, several: bool) -> list[str]:
    """Return the key of an object's stream.

    Args:
        name: The object's type.
        several: Whether the stream has the records of several accounts.
    """
    key = table_entry(name).key
    return [ACCOUNT_ID, *key] if several else [*key]


def singer_schema(name: str, *, several: bool = False) -> dict[str, Any]:
    """Return the schema of an object's stream as the catalog shows it.

    Args:
        name: The object's type.
        several: Whether the stream has the records of several accounts.
    """
    whose = {"type": "string", "description": "The Stripe account whose row it is. References account.id."}
    properties: dict[str, Any] = {ACCOUNT_ID: whose} if several else {}
    properties |= {
        column: {keyword: value for keyword, value in each.items() if not keyword.startswith("x-")}
        for column, each in schema(name)["properties"].items()
    }
    time = {"type": ["string", "null"], "format": "date-time"}
    properties |= {
        AS_OF: {**time, "type": "string", "description": _WHAT_AS_OF_IS},
        DELETED_AT: {**time, "description": _WHAT_DELETED_AT_IS},
    }
    stripe_object = table_entry(name)
    along = {*owned_child_types(name), *stripe_object.takes_along, *stripe_object.vanishes_with_it}
    if along:
        ids = {"type": ["array", "null"], "items": {"type": "string"}}
        patterns = {f"^{stream_name(each)}$": ids for each in sorted(along)}
        properties[CHILDREN] = {"type": ["object", "null"], "patternProperties": patterns}
    return {"type": "object", "description": schema(name)["description"], "properties": properties}


_WHAT_AS_OF_IS = (
    "The latest moment, on Stripe's clock, that the row is known to reflect; nothing older overwrites it. "
    "0001-01-01: known only from inside another object."
)
_WHAT_THE_SUBSCRIPTION_IS = "The subscription it is for. References subscription.id."
_WHAT_THE_LINES_ARE = "All lines: a Stripe list as JSON, with the lines in its data, as Stripe sent them."
_WHAT_DELETED_AT_IS = "When the object was gone; the other columns keep their last values."


def without_secrets(value: Any, name: str | None = None) -> Any:
    """Return JSON without what must never be stored, at any depth."""
    if isinstance(value, list):
        return [without_secrets(each) for each in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("object") if isinstance(value.get("object"), str) else name
    hidden = _SECRETS.get(kind or "", _SECRETS[""])
    inner = value
    if kind == "event":  # the old values of what an event changed are the object's, without its name on them
        inner = _event_without_secrets(value)
    return {key: without_secrets(each) for key, each in inner.items() if key not in hidden and not _is_secret(each)}


def may_hold_secrets(content: bytes) -> bool:
    """Whether a body holds a word that leads to a secret; most do not, and need no search."""
    return any(content.rfind(each) >= 0 for each in _SECRET_WORDS)  # four times as fast as `in`, on a long text


def _without_secrets(sent: Sent) -> Sent | StripeJson:
    """Return an object that was decoded without what must never be stored; what is left as bytes mostly stays so."""
    name = sent.shape.object.name
    if name == "event":
        return dict(without_secrets(dict(sent)))
    hidden, kept = _SECRETS.get(name, _SECRETS[""]), copy(sent)
    for key, value in sent.as_sent():
        if key in hidden:
            kept[key] = UNSET
        elif isinstance(value, str):
            if _is_secret(value):
                kept[key] = UNSET
        elif isinstance(value, (dict, list)) or (isinstance(value, Raw) and may_hold_secrets(bytes(value))):
            seen = sent[key]
            kept[key] = UNSET if _is_secret(seen) else without_secrets(seen)
    return kept


_SECRET_WORDS = (b"secret", b"whsec_", b"issuing.card")
_ALWAYS_HIDDEN = frozenset({"client_secret", "confirmation_secret", "ephemeral_key_secret"})
_SECRETS: Mapping[str, frozenset[str]] = {
    "": _ALWAYS_HIDDEN,
    "webhook_endpoint": _ALWAYS_HIDDEN | {"secret"},
    "apps.secret": _ALWAYS_HIDDEN | {"payload"},
    "issuing.card": _ALWAYS_HIDDEN | {"number", "cvc"},
}


def _is_secret(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("whsec_")


def _event_without_secrets(event: StripeJson) -> StripeJson:
    match event.get("data"):
        case {"object": {"object": str(kind)}, "previous_attributes": {**before}, **rest} if kind in _SECRETS:
            kept = {key: each for key, each in before.items() if key not in _SECRETS[kind]}
            return {**event, "data": {**rest, "object": event["data"]["object"], "previous_attributes": kept}}
    return event


def _deletion(
    stripe_object: StripeObject, json_object: StripeJson | Sent, as_of: str, columns: Mapping[str, str] | None
) -> Read | None:
    known = {**(columns or {}), **({"id": json_object["id"]} if isinstance(json_object.get("id"), str) else {})}
    if any(column not in known for column in stripe_object.key):
        return None
    change = gone(stripe_object.name, {column: known[column] for column in stripe_object.key}, as_of=as_of)
    return Read(object=stripe_object, id=known.get("id", ""), change=change, gone=True)


def table_entry(name: str) -> StripeObject:
    """Return what is known of an object type or a kind of preview."""
    return PREVIEWS.get(name) or STRIPE_OBJECTS[name]


@cache
def shape_of(name: str, unknown: frozenset[str] = frozenset()) -> Shape:
    """Return the shape of an object type.

    Args:
        name: The type.
        unknown: Fields that Stripe sends and the schema does not know.
    """
    properties = {column: each for column, each in schema(name)["properties"].items() if column != EXTRA}
    more = (EXTRA, AS_OF, ACCOUNT_ID, DELETED_AT, CHILDREN)
    return compile_shape(table_entry(name), properties, more, unknown)
