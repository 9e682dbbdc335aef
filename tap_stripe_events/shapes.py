"""The hot path: what Stripe sends of an object, what is written of it, and the way from one to the other.

Most of a run's time goes into this for each object. So each object type has a *shape*, compiled once from the columns
of its JSON Schema: a struct for the fields as sent, a struct for the columns, and a function that makes the second of
the first. A page of a list is decoded straight into the first (`pages`). What becomes a column as it is, such as
`metadata`, is never looked into: it stays the bytes that Stripe sent. What comes as a dict, such as the object inside
an event, goes the same way.

The function is made of one expression for each column. Where the decoder has seen to the type of a field already, it
asks nothing more; a page with a field that does not fit is decoded as dicts. A new type of column belongs in `_RULES`.
"""

import re
from collections.abc import Callable, Collection, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import repeat
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Raw

from tap_stripe_events.clock import iso
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import EmbeddedList, StripeObject

StripeJson: TypeAlias = dict[str, Any]

_BIGINT = 2**63
_BIGINT_DIGITS = 19
_LAST_SECOND = 253_402_300_799  # the end of the year 9999; milliseconds in a field of seconds lie beyond it
_NUMERIC_DIGITS = 1000  # what a numeric column takes without thinking; more goes to _extra
_DECIMAL = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,6})?", re.ASCII)

_MARK = "c_"  # before the names of fields and columns, which may be those of methods, such as `items`
ID_FIELD = f"{_MARK}id"  # of a struct
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


class Fields(msgspec.Struct, gc=False, eq=False, omit_defaults=False):
    """A struct that reads like a dict: what is unset is not there, and what was left as bytes is decoded."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field's value, or a default if it is not there."""
        value = getattr(self, _MARK + name, UNSET)
        if value is UNSET:
            return default
        return _decode(value) if value.__class__ is Raw else value

    def __getitem__(self, name: str) -> Any:
        value = self.get(name, UNSET)
        if value is UNSET:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, _MARK + name, value)

    def as_sent(self) -> Iterator[tuple[str, Any]]:
        """Yield the names and values of what is there; what was left as bytes is `Raw`."""
        start = len(_MARK)
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value is not UNSET:
                yield field[start:], value

    def keys(self) -> KeysView[str]:
        """Return the names of what is there."""
        there = (each for each in self.__struct_fields__ if getattr(self, each) is not UNSET)
        return dict.fromkeys(each.removeprefix(_MARK) for each in there).keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return getattr(self, f"{_MARK}{name}", UNSET) is not UNSET


class Sent(Fields, gc=False, eq=False):
    """An object as Stripe sent it, of one type: each type has a subclass, which knows its shape."""

    shape: ClassVar["Shape"]


class Row(Fields, gc=False, eq=False):
    """A record, of one object type: each type has a subclass. Encoded, it has the columns that are set."""


Record: TypeAlias = dict[str, Any] | Row


class Found(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An object found inside another one: a copy, or an element that has its own row."""

    name: str
    json: StripeJson


class Parts:
    """What an object holds besides its columns. Nearly always nothing, so that making one must cost nothing."""

    extra: StripeJson | None = None
    copies: tuple[Found, ...] = ()
    dependents: tuple[Found, ...] = ()
    lists: tuple[tuple[EmbeddedList, StripeJson], ...] = ()

    def misfit(self, key: str, value: Any) -> None:
        """Keep a value that its column does not take; what that gets is null."""
        if self.extra is None:
            self.extra = {}
        self.extra[key] = value

    def converted(self, key: str, value: Any, convert: Callable[[Any], Any]) -> Any:
        """Return what a column makes of a value."""
        found = convert(value)
        return self.misfit(key, value) if found is None else found

    def reference(self, key: str, value: Any) -> str | None:
        """Return the id of an object that is there whole."""
        identifier = value.get("id") if isinstance(value, dict) else None
        if not isinstance(identifier, str):
            self.misfit(key, value)
            return None
        if value.get("deleted") is True:
            return identifier  # a stub says nothing of the object but its id, and must not empty its row
        if has_table(value):
            self.copies += (Found(name=value["object"], json=value),)
        else:
            self.misfit(key, value)  # an object of a type without a table: kept whole
        return identifier

    def without_lists(self, key: str, value: Any, embedded: tuple[EmbeddedList, ...]) -> Any:
        """Take the lists out of a hash: they are rows of the child's table, not part of the column."""
        for each in embedded:
            found, inner = field_value({key: value}, each.field)
            if found and is_list(inner):
                self.lists += ((each, inner),)
                value = _without_path(value, each.field.split(".")[1:])
        return value

    def embedded(self, key: str, value: Any, embedded: EmbeddedList) -> None:
        """Take an embedded list."""
        if is_list(value):
            self.lists += ((embedded, value),)
        elif value is not None:
            self.misfit(key, value)

    def dependent(self, key: str, value: Any, name: str) -> None:
        """Take an object without an id, which has a row of its own."""
        if isinstance(value, dict):
            self.dependents += (Found(name=name, json=value),)
        elif value is not None:
            self.misfit(key, value)

    def nested(self, value: Any, path: tuple[str, ...]) -> None:
        """Take the whole objects that are somewhere in a field."""
        self.copies += tuple(_nested({path[0]: value}, path))


Build: TypeAlias = Callable[[Any, str, Parts], Row]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How the fields of one object type become columns.

    Attributes:
        object: The type.
        stream: The name of its stream.
        sent: The struct of the fields, with the types that the columns want.
        build: Makes the row of a struct that the decoder made.
        deletable: The object may say that it was deleted.
    """

    object: StripeObject
    stream: str
    sent: type[Sent]
    build: Build
    deletable: bool
    _names: tuple[str, ...]
    _known: frozenset[str]
    _build_unproved: Build

    def unknown_of(self, objects: Collection[StripeJson]) -> frozenset[str]:
        """Return the fields of objects that the shape does not know, and could.

        That an object was deleted is none: it has no row then.
        """
        found = {key for each in objects for key in each.keys() - self._known}
        return frozenset(key for key in found if key.isidentifier() and key != "deleted")

    def build_of_dict(self, json_object: StripeJson, as_of: str, parts: Parts) -> Row:
        """Make the row of an object that came as a dict."""
        for key in json_object.keys() - self._known:
            parts.misfit(key, json_object[key])
        sent = self.sent(*map(json_object.get, self._names, repeat(UNSET)))
        return self._build_unproved(sent, as_of, parts)


def compile_shape(
    stripe_object: StripeObject, properties: Mapping[str, Any], more: Collection[str], unknown: Collection[str] = ()
) -> Shape:
    """Return the shape of an object type.

    Args:
        stripe_object: The type.
        properties: The columns that objects of the type fill, as its schema has them.
        more: Further columns, of which the first two are what fits none and the row's as-of.
        unknown: Fields that Stripe sends and the schema does not know.
    """
    compiler = _Compiler(stripe_object, properties)
    compiler.add_columns(properties)
    compiler.add_rest(unknown)
    return compiler.shape(more)


class _Compiler:
    """What a shape is made of, while it is put together.

    Attributes:
        fields: Each field as sent, and the type to decode it as.
        columns: Each column, and the expressions for its value: if the decoder has proved the types, and if not.
        rest: The lines for fields without a column.
        names: What expressions and lines refer to.
    """

    def __init__(self, stripe_object: StripeObject, properties: Mapping[str, Any]) -> None:
        self.object = stripe_object
        self.fields: dict[str, Any] = {"object": Literal[stripe_object.name]}
        self.columns: dict[str, tuple[str, str]] = {}
        self.rest: list[str] = []
        self.names: dict[str, Any] = {"UNSET": UNSET, "iso": iso, "reference_id": reference_id, **_CONVERTERS}
        self._references = {each["x-field"] for each in properties.values() if "x-field" in each} - properties.keys()
        self._paths = [tuple(path.replace("[]", "").split(".")) for path in stripe_object.nested]
        self._hashes: dict[str, tuple[EmbeddedList, ...]] = {}
        for each in stripe_object.embedded:
            if "." in each.field:
                first = each.field.split(".", maxsplit=1)[0]
                self._hashes[first] = (*self._hashes.get(first, ()), each)

    def add_columns(self, properties: Mapping[str, Any]) -> None:
        """Add what makes each column."""
        inside = {path[0] for path in self._paths}
        for column, each in properties.items():
            source = each.get("x-field", column)
            if source != column and (source in properties or source in self.fields):
                expressions = _PARENT, _PARENT  # the field has a column already, and names the parent too
            elif source in self._references:
                self.fields[source] = Any
                expressions = _REFERENCE, _REFERENCE
            elif source in self._hashes:
                self.fields[source] = Any
                self.names[f"lists_{source}"] = self._hashes[source]
                expressions = _HASH, _HASH
            else:
                kind, proved, unproved = _rule(each)
                expressions = proved, unproved
                self.fields.setdefault(source, Any if source in inside and kind is Raw else kind)
            proved, unproved = (form.format(value=f"(v := o.{_MARK}{source})", key=source) for form in expressions)
            self.columns[column] = proved, unproved

    def add_rest(self, unknown: Collection[str]) -> None:
        """Add what is done with fields that have no column, and with whole objects inside others."""
        for each in self.object.embedded:
            if "." not in each.field:
                self.names[f"list_{each.field}"] = each
                self._add_field(each.field, Any, f"parts.embedded({each.field!r}, v, list_{each.field})")
        for key, name in self.object.dependents.items():
            self._add_field(key, Any, f"parts.dependent({key!r}, v, {name!r})")
        for key in sorted(unknown):
            self._add_field(key, Raw, f"parts.misfit({key!r}, v)")
        self.rest += [_REST.format(key=f"{_MARK}{path[0]}", line=f"parts.nested(v, {path!r})") for path in self._paths]

    def _add_field(self, key: str, kind: Any, line: str) -> None:
        if key not in self.fields:
            self.fields[key] = kind
            self.rest.append(_REST.format(key=f"{_MARK}{key}", line=line))

    def shape(self, more: Collection[str]) -> Shape:
        """Return the shape."""
        stream = self.object.stream
        columns = [(_MARK + name, Any, UNSET) for name in (*self.columns, *more)]
        fields = [(_MARK + name, kind, UNSET) for name, kind in self.fields.items() if name != "object"]
        self.names["Row"] = _struct(f"Row_{stream}", Row, columns)
        shape = Shape(
            object=self.object,
            stream=stream,
            # Without its type on it an element may be anything.
            sent=_struct(f"Sent_{stream}", Sent, [(_MARK + "object", self.fields["object"]), *fields]),
            build=self._build([proved for proved, _ in self.columns.values()]),
            deletable="deleted" in self.fields,
            _names=tuple(self.fields),
            _known=frozenset(self.fields),
            _build_unproved=self._build([unproved for _, unproved in self.columns.values()]),
        )
        shape.sent.shape = shape
        return shape

    def _build(self, values: Collection[str]) -> Build:
        """Compile the function that makes a row: `values` in the order of its columns, nothing extra, and its as-of."""
        made_of = ", ".join((*values, "None", "as_of"))
        lines = ["def build(o, as_of, parts):", f" row = Row({made_of})", *self.rest, " return row"]
        scope = dict(self.names)
        exec("\n".join(lines), scope)  # noqa: S102 - made of names in our own table and schemas
        build: Build = scope["build"]
        return build


def _struct(name: str, base: type[Any], fields: Collection[Any]) -> type[Any]:
    return msgspec.defstruct(
        name,
        fields,
        bases=(base,),
        rename={field: field.removeprefix(_MARK) for field, *_ in fields},
        forbid_unknown_fields=True,
        gc=False,
        eq=False,
    )


_NOTHING = "v is None or v is UNSET"
_NOTHING_OR_MISFIT = f"v if {_NOTHING} else parts.misfit({{key!r}}, v)"
_AS_IT_IS = "{value}"
_REST = " if (v := o.{key}) is not UNSET: {line}"
_REFERENCE = f"v if {{value}}.__class__ is str or {_NOTHING} else parts.reference({{key!r}}, v)"
_PARENT = "UNSET if {value} is None or v is UNSET else v if v.__class__ is str and v else reference_id(v) or UNSET"
_HASH = "v if {value} is None or v is UNSET else parts.without_lists({key!r}, v, lists_{key})"
_CONVERTED = "v if {value} is None or v is UNSET else parts.converted({key!r}, v, %s)"

_Rule: TypeAlias = tuple[Any, str, str]  # the field's type, and what makes the column if it is proved, and if not

_RULES: Mapping[str, _Rule] = {
    "string": (
        str | None,
        _AS_IT_IS,
        f"v if {{value}}.__class__ is str or {_NOTHING} else parts.misfit({{key!r}}, v)",
    ),
    "currency": (
        str | None,
        "v.lower() if {value} else v",
        f"v.lower() if {{value}}.__class__ is str else v if {_NOTHING} else parts.misfit({{key!r}}, v)",
    ),
    "boolean": (
        bool | None,
        _AS_IT_IS,
        f"v if {{value}}.__class__ is bool or {_NOTHING} else parts.misfit({{key!r}}, v)",
    ),
    "integer": (
        Annotated[int, msgspec.Meta(ge=-_BIGINT, le=_BIGINT - 1)] | None,
        _AS_IT_IS,
        _CONVERTED % "integer",
    ),
    "time": (
        Annotated[int, msgspec.Meta(ge=0, le=_LAST_SECOND)] | None,
        "iso(v) if {value}.__class__ is int else v",
        f"iso(v) if {{value}}.__class__ is int and 0 <= v <= {_LAST_SECOND} else {_NOTHING_OR_MISFIT}",
    ),
    "milliseconds": (Any, *(_CONVERTED % "milliseconds",) * 2),
    "number": (Any, *(_CONVERTED % "number",) * 2),
}


def _rule(column: Mapping[str, Any]) -> _Rule:
    """Return the rule for a column's values. One without takes whatever was sent."""
    kind = column["type"][0] if isinstance(column["type"], list) else column["type"]
    if column.get("format") == "date-time":
        kind = "milliseconds" if column.get("x-kind") == "milliseconds" else "time"
    elif column.get("x-kind") == "currency":
        kind = "currency"
    return _RULES.get(kind, (Raw, _AS_IT_IS, _AS_IT_IS))


def _integer(value: Any) -> int | None:
    if type(value) is int and -_BIGINT <= value < _BIGINT:  # nearly always, and not a boolean
        return value
    # 1E+999999999 is an integer too, but not one to write out.
    if isinstance(value, Decimal) and value.adjusted() < _BIGINT_DIGITS and value == value.to_integral_value():
        value = int(value)
        if -_BIGINT <= value < _BIGINT:
            return int(value)
    return None


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value):
            return None  # `Decimal` would take more: 1_000, NaN, white space around it
        value = Decimal(value)
    if isinstance(value, int):
        value = Decimal(value)
    if isinstance(value, Decimal) and abs(value.adjusted()) < _NUMERIC_DIGITS:
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent > -_NUMERIC_DIGITS:
            return value
    return None


def _milliseconds(value: Any) -> str | None:
    if type(value) is int and 0 <= value <= _LAST_SECOND * 1000:  # not a boolean
        return f"{iso(value // 1000)[:-1]}.{value % 1000:03d}Z"
    return None


_CONVERTERS = {"integer": _integer, "number": _number, "milliseconds": _milliseconds}


def field_value(json_object: "StripeJson | Fields", path: str) -> tuple[bool, Any]:
    """Return whether a dotted field is there, and its value."""
    first, *rest = path.split(".")
    if first not in json_object:
        return False, None
    value = json_object[first]
    for part in rest:
        if not isinstance(value, dict) or part not in value:
            return value is None, None  # below a null there is nothing: the field is there, and empty
        value = value[part]
    return True, value


def values(objects: Sequence[StripeJson | Fields], name: str) -> list[Any]:
    """Return what objects have in a field; those that have nothing there are left out."""
    field = _MARK + name
    found = [getattr(each, field, UNSET) if isinstance(each, Fields) else each.get(name, UNSET) for each in objects]
    return [each for each in found if each is not UNSET]


def reference_id(value: Any) -> str | None:
    """Return the id of a reference, whether Stripe sent the id or the whole object."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def has_table(value: StripeJson) -> bool:
    """Whether an object is of a type that has one."""
    name = value.get("object")
    return isinstance(name, str) and name in STRIPE_OBJECTS


def is_list(value: Any) -> bool:
    """Whether a value is one of Stripe's lists."""
    return isinstance(value, dict) and value.get("object") == "list"


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
        if isinstance(each, dict) and isinstance(each.get("id"), str) and has_table(each):
            yield Found(name=each["object"], json=each)


def _without_path(value: StripeJson, path: list[str]) -> StripeJson:
    if len(path) == 1:
        return {key: each for key, each in value.items() if key != path[0]}
    return {**value, path[0]: _without_path(value[path[0]], path[1:])}
