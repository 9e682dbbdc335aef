"""Stripe object → record: the column rules of the contract, in one place for every source.

A *change* says what an object was as of a moment. `read` makes the record of one object and finds what else is in it:
copies of other objects, embedded lists, and objects without an id that get a row of their own.

How each field is treated is compiled once per object type from its JSON Schema (`schemas/`). A value that does not fit
its column leaves the column null and goes to `_extra` as it was sent; so does a field that the schema does not know.
A new type of column belongs in `_converter`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from tap_stripe_events.clock import iso
from tap_stripe_events.families import owned_child_types
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import PREVIEWS, EmbeddedList, StripeObject, stream_name

AS_OF = "_sdc_as_of"
DELETED_AT = "_sdc_deleted_at"
CHILDREN = "_sdc_children"
EXTRA = "_extra"
ACCOUNT_ID = "stripe_account_id"  # whose a record is, where a stream has those of several accounts; it leads every key

# The as-of of a copy that may be the older one: it only fills a gap.
GAP_FILLER = "0001-01-01T00:00:00Z"

_BIGINT = 2**63
_BIGINT_DIGITS = 19
_LAST_SECOND = 253_402_300_799  # the end of the year 9999; milliseconds in a field of seconds lie beyond it
_NUMERIC_DIGITS = 1000  # what a numeric column takes without thinking; more goes to _extra
_DECIMAL = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,6})?", re.ASCII)

Record: TypeAlias = dict[str, Any]
StripeJson: TypeAlias = dict[str, Any]


class _Misfit:
    """What a converter returns for a value that does not fit."""


_MISFIT = _Misfit()


@dataclass(kw_only=True, slots=True)  # not frozen, which would take three times as long to make
class Change:
    """A record for a stream: an object as of a moment, or that it was gone.

    Attributes:
        stream: The stream's name.
        record: Columns and values, ready for JSON.
    """

    stream: str
    record: Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An object found inside another one: a copy, or an element that has its own row."""

    name: str
    json: StripeJson


@dataclass(kw_only=True, slots=True)  # not frozen, for the same reason
class Read:
    """One object taken apart.

    Attributes:
        object: Its type.
        id: Its id; empty if it has none.
        change: Its own record.
        copies: Whole objects with an id inside it.
        dependents: Objects without an id that are keyed by it.
        lists: Its embedded lists, as Stripe sent them.
    """

    object: StripeObject
    id: str
    change: Change
    copies: tuple[Found, ...] = ()
    dependents: tuple[Found, ...] = ()
    lists: tuple[tuple[EmbeddedList, StripeJson], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """How the fields of one object type become columns."""

    object: StripeObject
    fields: Mapping[str, tuple[str, Callable[[Any], Any] | None]]  # None: as it was sent
    references: Mapping[str, str]
    parents: tuple[tuple[str, str], ...]  # (column, field that names the parent)
    nested: tuple[tuple[str, ...], ...]
    hashes_with_lists: Mapping[str, tuple[EmbeddedList, ...]]
    top_lists: Mapping[str, EmbeddedList]
    key: tuple[str, ...]


def read(
    json_object: StripeJson,
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
    plan = _plan(name)
    if secrets:
        json_object = without_secrets(json_object, name)
    if json_object.get("deleted") is True:
        return _deletion(plan, json_object, as_of, columns)
    parts = _Parts()
    record = parts.record
    for key, value in json_object.items():
        rule = plan.fields.get(key)
        if rule is None:
            parts.take(plan, key, value)
            continue
        column, convert = rule
        if value is None:
            record[column] = None
        elif convert is None:
            lists = plan.hashes_with_lists.get(key)
            record[column] = value if lists is None else parts.take_lists(key, value, lists)
        else:
            converted = convert(value)
            if converted is _MISFIT:
                record[column] = None
                parts.extra[key] = value
            else:
                record[column] = converted
    for path in plan.nested:
        parts.copies.extend(_nested(json_object, path))
    _name_parents(record, json_object, plan, columns)
    record[EXTRA] = parts.extra or None
    record[AS_OF] = as_of
    identifier = record.get("id")
    return Read(
        object=plan.object,
        id=identifier if isinstance(identifier, str) else "",
        change=Change(stream=plan.object.stream, record=record),
        copies=tuple(parts.copies),
        dependents=tuple(parts.dependents),
        lists=tuple(parts.lists),
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


def field_value(json_object: StripeJson, path: str) -> tuple[bool, Any]:
    """Return whether a dotted field is there, and its value."""
    value: Any = json_object
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return value is None, None  # below a null there is nothing: the field is there, and empty
        value = value[part]
    return True, value


def reference_id(value: Any) -> str | None:
    """Return the id of a reference, whether Stripe sent the id or the whole object."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


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


def _deletion(plan: _Plan, json_object: StripeJson, as_of: str, columns: Mapping[str, str] | None) -> Read | None:
    known = {**(columns or {}), **({"id": json_object["id"]} if isinstance(json_object.get("id"), str) else {})}
    if any(column not in known for column in plan.key):
        return None
    change = gone(plan.object.name, {column: known[column] for column in plan.key}, as_of=as_of)
    return Read(object=plan.object, id=known.get("id", ""), change=change)


@dataclass(kw_only=True, slots=True)
class _Parts:
    """What an object falls into while it is taken apart."""

    record: Record = field(default_factory=dict)
    extra: StripeJson = field(default_factory=dict)
    copies: list[Found] = field(default_factory=list)
    dependents: list[Found] = field(default_factory=list)
    lists: list[tuple[EmbeddedList, StripeJson]] = field(default_factory=list)

    def take(self, plan: "_Plan", key: str, value: Any) -> None:
        """Take a field that is not a column of its own name."""
        if key in plan.references:
            self._reference(key, value, plan.references[key])
        elif key in plan.top_lists and _is_list(value):
            self.lists.append((plan.top_lists[key], value))
        elif key in plan.object.dependents and isinstance(value, dict):
            self.dependents.append(Found(name=plan.object.dependents[key], json=value))
        elif value is not None or not (key in plan.top_lists or key in plan.object.dependents):
            self.extra[key] = value

    def take_lists(self, key: str, value: Any, embedded: tuple[EmbeddedList, ...]) -> Any:
        """Take the lists out of a hash: they are rows of the child's table, not part of the column."""
        for each in embedded:
            found, inner = field_value({key: value}, each.field)
            if found and _is_list(inner):
                self.lists.append((each, inner))
                value = _without_path(value, each.field.split(".")[1:])
        return value

    def _reference(self, key: str, value: Any, column: str) -> None:
        if value is None or isinstance(value, str):
            self.record[column] = value
            return
        identifier = value.get("id") if isinstance(value, dict) else None
        if not isinstance(identifier, str):
            self.record[column] = None
            self.extra[key] = value
            return
        self.record[column] = identifier
        if value.get("deleted") is True:
            return  # a stub says nothing of the object but its id, and must not empty its row
        if _has_table(value):
            self.copies.append(Found(name=value["object"], json=value))
        else:
            self.extra[key] = value  # an object of a type without a table: kept whole


def _name_parents(record: Record, json_object: StripeJson, plan: "_Plan", columns: Mapping[str, str] | None) -> None:
    """Fill the columns that name parents: by what the object says itself, else by where it was found."""
    for column, source in plan.parents:
        if (named := reference_id(json_object.get(source))) is not None:
            record[column] = named
    for column, named in (columns or {}).items():
        if record.get(column) is None:
            record[column] = named


def _nested(value: Any, path: tuple[str, ...]) -> Iterator[Found]:
    for part in path[:-1]:
        value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, list):
            position = path.index(part)
            for each in value:
                yield from _nested(each, path[position + 1 :])
            return
    found = value.get(path[-1]) if isinstance(value, dict) else None
    for each in found if isinstance(found, list) else [found]:
        if isinstance(each, dict) and isinstance(each.get("id"), str) and _has_table(each):
            yield Found(name=each["object"], json=each)


def _has_table(value: StripeJson) -> bool:
    """Whether an object is of a type that has one."""
    name = value.get("object")
    return isinstance(name, str) and name in STRIPE_OBJECTS


def _is_list(value: Any) -> bool:
    return isinstance(value, dict) and value.get("object") == "list"


def _without_path(value: StripeJson, path: list[str]) -> StripeJson:
    if len(path) == 1:
        return {key: each for key, each in value.items() if key != path[0]}
    return {**value, path[0]: _without_path(value[path[0]], path[1:])}


def table_entry(name: str) -> StripeObject:
    """Return what is known of an object type or a kind of preview."""
    return PREVIEWS.get(name) or STRIPE_OBJECTS[name]


@cache
def _plan(name: str) -> _Plan:
    stripe_object = table_entry(name)
    fields: dict[str, tuple[str, Callable[[Any], Any] | None]] = {}
    references: dict[str, str] = {}
    parents: list[tuple[str, str]] = []
    properties = schema(name)["properties"]
    for column, each in properties.items():
        source = each.get("x-field")
        if column == EXTRA:
            continue
        if source is None:
            fields[column] = (column, _converter(each))
        elif source in properties or source in references:
            parents.append((column, source))  # the field has a column already, and names the parent too
        else:
            references[source] = column
    top = {each.field: each for each in stripe_object.embedded if "." not in each.field}
    hashes: dict[str, tuple[EmbeddedList, ...]] = {}
    for each_list in stripe_object.embedded:
        if "." in each_list.field:
            first = each_list.field.split(".", maxsplit=1)[0]
            hashes[first] = (*hashes.get(first, ()), each_list)
    return _Plan(
        object=stripe_object,
        fields=fields,
        references=references,
        parents=tuple(parents),
        nested=tuple(tuple(path.replace("[]", "").split(".")) for path in stripe_object.nested),
        hashes_with_lists=hashes,
        top_lists=top,
        key=stripe_object.key,
    )


def _converter(column: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """Return the function that makes a column's value of a field's, or says that it does not fit.

    None: the column takes whatever was sent.
    """
    types = column["type"] if isinstance(column["type"], list) else [column["type"]]
    kind = types[0]
    if column.get("format") == "date-time":
        return _milliseconds if column.get("x-kind") == "milliseconds" else _time
    if column.get("x-kind") == "currency":
        return _currency
    return {"string": _text, "integer": _integer, "number": _number, "boolean": _boolean}.get(kind)


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else _MISFIT


def _currency(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else _MISFIT


def _boolean(value: Any) -> Any:
    return value if isinstance(value, bool) else _MISFIT


def _integer(value: Any) -> Any:
    if type(value) is int and -_BIGINT <= value < _BIGINT:  # nearly always, and not a boolean
        return value
    # 1E+999999999 is an integer too, but not one to write out.
    if isinstance(value, Decimal) and value.adjusted() < _BIGINT_DIGITS and value == value.to_integral_value():
        value = int(value)
        if -_BIGINT <= value < _BIGINT:
            return value
    return _MISFIT


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return _MISFIT
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value):
            return _MISFIT  # `Decimal` would take more: 1_000, NaN, white space around it
        value = Decimal(value)
    if isinstance(value, int):
        value = Decimal(value)
    if isinstance(value, Decimal) and abs(value.adjusted()) < _NUMERIC_DIGITS:
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent > -_NUMERIC_DIGITS:
            return value
    return _MISFIT


def _time(value: Any) -> Any:
    if type(value) is int and 0 <= value <= _LAST_SECOND:  # not a boolean
        return iso(value)
    return _MISFIT


def _milliseconds(value: Any) -> Any:
    if type(value) is int and 0 <= value <= _LAST_SECOND * 1000:  # not a boolean
        return f"{iso(value // 1000)[:-1]}.{value % 1000:03d}Z"
    return _MISFIT
