"""From a stored body to what the API answers: embedded objects and lists put in, expansions made, bytes pretty-printed.

Expansions come as a tree: ``{"customer": {"sources": {}}}`` for ``expand[]=customer.sources``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from stripe_sandbox.errors import StripeError
from stripe_sandbox.families import EMBEDDED, INCLUDABLE, NEVER_SHOWN, Embedded
from stripe_sandbox.filters import default_tests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stripe_sandbox.spec import Shape, Spec
    from stripe_sandbox.store import Body, Record, Store

EMBEDDED_LIMIT: Final = 10
MAX_EXPAND_LEVELS: Final = 4

_NEVER_SHOWN: Final = {owner: [name for o, name in NEVER_SHOWN if o == owner] for owner, _ in NEVER_SHOWN}

Expand = dict[str, "Expand"]


def pretty(value: Any) -> bytes:
    """JSON as Stripe prints it: two spaces a level, UTF-8 as it is."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def at_page_depth(body: Body) -> bytes:
    """An object as it stands within a list's ``data``."""
    return pretty(body).replace(b"\n", b"\n    ")


def ordered(body: Body) -> Body:
    """The body with its members in Stripe's order: id, object, then by name."""
    first = {name: body[name] for name in ("id", "object") if name in body}
    return first | {name: body[name] for name in sorted(body)}


def parse_expand(paths: Iterable[str], spec: Spec, object_types: Sequence[str], *, listed: bool) -> Expand:
    """Check ``expand[]`` and make a tree of it.

    Raises:
        StripeError: 400 for more than four levels, or a path that leads nowhere for any of the types.
    """
    tree: Expand = {}
    for path in paths:
        segments = path.split(".")
        if len(segments) > MAX_EXPAND_LEVELS:
            raise StripeError(
                400,
                f"You cannot expand more than {MAX_EXPAND_LEVELS} levels of a property. Property: {path}",
                code="property_expansion_max_depth",
                param="expand",
            )
        inner = segments[1:] if listed and segments[0] == "data" else segments
        hint = f" You may want to try expanding 'data.{path}' instead." if listed and inner == segments else ""
        if hint or not _any_expandable(spec, object_types, inner):
            raise StripeError(400, f"This property cannot be expanded ({path}).{hint}", param="expand")
        branch = tree
        for segment in inner:
            branch = branch.setdefault(segment, {})
    return tree


def _any_expandable(spec: Spec, object_types: Sequence[str], segments: Sequence[str]) -> bool:
    if not segments:
        return True
    return any(
        _expandable(spec, spec.fields(name), name, "", segments) for name in object_types if name in spec.objects
    )


def _expandable(spec: Spec, fields: Mapping[str, Shape], owner: str, above: str, segments: Sequence[str]) -> bool:
    """Whether a path below an object (``owner``, or its nested object ``above``) leads to something to expand."""
    shape = fields.get(segments[0])
    if shape is None:
        return False
    path = f"{above}{segments[0]}"
    rest = segments[1:]
    while shape.type in ("array", "map") and (inner := shape.items or shape.values) is not None:
        if not rest and (owner, path) in INCLUDABLE:
            return True
        shape = inner
    if not rest:
        return shape.type in ("expandable", "ref", "list", "union") or (owner, path) in INCLUDABLE
    if shape.type == "list":
        return rest[0] == "data" and _any_expandable(spec, shape.objects, rest[1:])
    if shape.type == "object":
        return _expandable(spec, shape.fields, owner, f"{path}.", rest)
    return _any_expandable(spec, shape.objects, rest)


class Renderer:
    """Renders records of one store. Bytes of records are kept with them until they or what they embed change."""

    def __init__(self, spec: Spec, store: Store) -> None:
        self._spec = spec
        self._store = store
        self._embedded: dict[str, list[Embedded]] = {}
        for embedded in EMBEDDED:
            self._embedded.setdefault(embedded.parent, []).append(embedded)
        self._includable: dict[str, list[str]] = {}
        for owner, path in sorted(INCLUDABLE):
            self._includable.setdefault(owner, []).append(path)
        self._embedding: dict[int, bool] = {}
        self._fields_embedding: dict[str, tuple[str, ...]] = {}

    def body(self, record: Record, expand: Expand | None = None) -> Body:
        """The object as the API answers it."""
        wanted = expand or {}
        fields = self._spec.fields(record.object)
        body = dict(record.body)
        for name in (*self._embedding_fields(record.object), *wanted):
            if name in body and name in fields:
                body[name] = self._value(record.body[name], fields[name], wanted.get(name))
        for name in _NEVER_SHOWN.get(record.object, ()):
            body.pop(name, None)
        for path in self._includable.get(record.object, ()):
            if not _requested(wanted, path):
                _remove(body, path)
        names = len(body)
        for embedded in self._embedded.get(record.object, ()):
            self._embed(body, record, embedded, wanted)
        return ordered(body) if len(body) != names else body

    def values(self, object_type: str, values: Mapping[str, Any]) -> Body:
        """Some values of an object, as the API answers them."""
        fields = self._spec.fields(object_type)
        return {
            name: self._value(value, fields[name], None) if name in fields else value for name, value in values.items()
        }

    def page_bytes(self, record: Record) -> bytes:
        """The object, unexpanded, as it stands within a list's ``data``."""
        if record.generation != self._store.generation:
            record.page_bytes = at_page_depth(self.body(record))
            record.generation = self._store.generation
        return record.page_bytes

    def stub(self, record: Record) -> Body:
        """What is answered for an object that was deleted and is remembered."""
        return {"id": record.body["id"], "object": record.object, "deleted": True}

    def _embed(self, body: Body, record: Record, embedded: Embedded, wanted: Expand) -> None:
        first, *rest = embedded.field.split(".")
        shape = self._spec.fields(record.object).get(first)
        for segment in rest:
            shape = shape.fields.get(segment) if shape is not None else None
        if shape is None:
            return
        requested = _branch(wanted, embedded.field)
        on_request = shape.optional or "." in embedded.field
        if on_request and requested is None:
            _remove(body, embedded.field)
            return
        _place(body, embedded.field, self.embedded_list(record, embedded, (requested or {}).get("data")))

    def embedded_list(self, record: Record, embedded: Embedded, expand: Expand | None) -> Body:
        """The first ten children of a record as the list that stands within it, newest first."""
        found = self._store.candidates_of_types(embedded.children, (embedded.link, record.key))
        newest_first = (found.record(position) for position in range(len(found) - 1, -1, -1))
        tests = default_tests(embedded.listed_at, {}) if embedded.listed_at is not None else []
        children = [c for c in newest_first if c is not None and all(test(c) for test in tests)]
        return {
            "object": "list",
            "data": [self.body(child, expand) for child in children[:EMBEDDED_LIMIT]],
            "has_more": len(children) > EMBEDDED_LIMIT,
            "total_count": len(children),
            "url": embedded.url.format_map({**record.facts, "id": record.body.get("id", record.key)}),
        }

    def _value(self, value: Any, shape: Shape, expand: Expand | None) -> Any:  # noqa: PLR0911 - one per kind
        if value is None or not (expand is not None or self._embeds(shape)):
            return value
        match shape.type:
            case "expandable":
                return self._referenced(value, shape, expand, stub=True) if expand is not None else value
            case "ref" | "union":
                return self._referenced(value, shape, expand, stub=False)
            case "object" if isinstance(value, dict):
                inner = expand or {}
                return {
                    name: self._value(item, shape.fields[name], inner.get(name)) if name in shape.fields else item
                    for name, item in value.items()
                }
            case "array" if isinstance(value, list) and shape.items is not None:
                return [self._value(item, shape.items, expand) for item in value]
            case "map" if isinstance(value, dict) and shape.values is not None:
                return {name: self._value(item, shape.values, expand) for name, item in value.items()}
        return value

    def _referenced(self, value: Any, shape: Shape, expand: Expand | None, *, stub: bool) -> Any:
        """The object that an id stands for. A deleted one is a stub where expanded, itself where always embedded."""
        if not isinstance(value, str):
            return value
        for name in shape.objects:
            record = self._store.get(name, value)
            if record is not None:
                return self.body(record, expand)
            gone = self._store.last_known(name, value)
            if gone is not None:
                return self.stub(gone) if stub and "deleted" in self._spec.fields(name) else self.body(gone, expand)
        return value

    def _embedding_fields(self, object_type: str) -> tuple[str, ...]:
        """The fields of a type that hold whole objects also without being asked."""
        known = self._fields_embedding.get(object_type)
        if known is None:
            fields = self._spec.fields(object_type)
            known = tuple(name for name, shape in fields.items() if self._embeds(shape))
            self._fields_embedding[object_type] = known
        return known

    def _embeds(self, shape: Shape) -> bool:
        """Whether values of a shape hold whole objects also without being asked."""
        known = self._embedding.get(id(shape))
        if known is None:
            inner = [
                *shape.fields.values(),
                *([shape.items] if shape.items else []),
                *([shape.values] if shape.values else []),
            ]
            known = shape.type in ("ref", "union") or any(self._embeds(item) for item in inner)
            self._embedding[id(shape)] = known
        return known


def embedded_types(spec: Spec) -> frozenset[str]:
    """The types that appear whole inside others without being asked for."""
    found: set[str] = set()

    def visit(shape: Shape) -> None:
        if shape.type in ("ref", "union", "list"):
            found.update(shape.objects)
        for inner in (*shape.fields.values(), shape.items, shape.values):
            if inner is not None:
                visit(inner)

    for object_shape in spec.objects.values():
        for shape in object_shape.fields.values():
            visit(shape)
    return frozenset(found)


def _branch(wanted: Expand, path: str) -> Expand | None:
    branch: Expand | None = wanted
    for segment in path.split("."):
        branch = branch.get(segment) if branch is not None else None
    return branch


def _requested(wanted: Expand, path: str) -> bool:
    return _branch(wanted, path) is not None


def _place(body: Body, path: str, value: Any) -> None:
    """Put a value at a dotted path; nothing happens where a parent on the way is null."""
    *parents, last = path.split(".")
    for segment in parents:
        inner = body.get(segment)
        if not isinstance(inner, dict):
            return
        body[segment] = dict(inner)
        body = body[segment]
    body[last] = value


def _remove(body: Body, path: str) -> None:
    *parents, last = path.split(".")
    for segment in parents:
        inner = body.get(segment)
        if not isinstance(inner, dict):
            return
        body[segment] = dict(inner)
        body = body[segment]
    body.pop(last, None)
