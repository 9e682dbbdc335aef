"""Parameters of a write as values of an object: typed by the shape, merged into what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.errors import invalid_parameter, no_such_reference, unknown_parameter
from stripe_sandbox.forms import Params, as_bool, as_dict, as_int, as_list, as_str

if TYPE_CHECKING:
    from stripe_sandbox.account import Account
    from stripe_sandbox.spec import Shape
    from stripe_sandbox.store import Body

READ_ONLY: Final = frozenset({"created", "deleted", "livemode", "object"})

Exists = Callable[[tuple[str, ...], str], bool]


def values_from_params(
    account: Account, object_type: str, params: Params, current: Mapping[str, Any] | None = None
) -> Body:
    """The new values that parameters stand for; hashes are merged into the ``current`` ones, metadata key by key.

    Raises:
        StripeError: 400 parameter_unknown for what the object has no field for, and for values of a wrong type.
    """
    fields = account.spec.fields(object_type)
    values: Body = {}

    def exists(types: tuple[str, ...], key: str) -> bool:
        return any(account.store.get(name, key) is not None for name in types if name in account.spec.objects)

    for name, value in params.items():
        shape = fields.get(name)
        if shape is None or shape.type == "list" or name in READ_ONLY:
            raise unknown_parameter(name)
        values[name] = _coerce(shape, name, value, (current or {}).get(name), exists)
    return values


def _coerce(shape: Shape, name: str, value: Any, current: Any, exists: Exists) -> Any:  # noqa: C901, PLR0911 - one case per kind
    if value == "" and shape.nullable and shape.type not in ("map", "array"):
        return None
    match shape.type:
        case "string":
            return _text(shape, name, value)
        case "integer":
            return as_int(name, value)
        case "number":
            return _number(name, value)
        case "boolean":
            return as_bool(name, value)
        case "object":
            return _merge_hash(shape, name, as_dict(name, value), current, exists)
        case "map" if shape.values is not None:
            return _merge_map(shape.values, name, value, current, exists)
        case "array" if shape.items is not None:
            items = as_list(name, value)
            return [_coerce(shape.items, f"{name}[{i}]", item, None, exists) for i, item in enumerate(items)]
        case "expandable" | "ref" | "union":
            key = as_str(name, value)
            if not exists(shape.objects, key):
                raise no_such_reference(shape.objects[0], key, name)
            return key
    return value


def _text(shape: Shape, name: str, value: Any) -> str:
    text = as_str(name, value)
    if shape.enum and text not in shape.enum:
        choices = ", ".join(str(choice) for choice in shape.enum)
        raise invalid_parameter(name, f"Invalid {name}: must be one of {choices}", code="parameter_invalid_enum")
    return text.lower() if shape.format == "currency" else text


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise invalid_parameter(name, f"Invalid decimal: {value}") from None


def _merge_hash(shape: Shape, name: str, given: Mapping[str, Any], current: Any, exists: Exists) -> Body:
    present = current if isinstance(current, dict) else {}
    merged = {**{key: _blank(inner) for key, inner in shape.fields.items() if not inner.optional}, **present}
    for key, item in given.items():
        inner = shape.fields.get(key)
        if inner is None:
            raise unknown_parameter(f"{name}[{key}]")
        merged[key] = _coerce(inner, f"{name}[{key}]", item, present.get(key), exists)
    return merged


def _blank(shape: Shape) -> Any:
    if shape.nullable:
        return None
    match shape.type:
        case "boolean":
            return False
        case "integer" | "number":
            return 0
        case "array":
            return []
        case "map" | "object":
            return {}
    return shape.enum[0] if shape.enum else ""


def _merge_map(shape: Shape, name: str, value: Any, current: Any, exists: Exists) -> Body:
    """Names with an empty value are removed; an empty value for the whole empties it."""
    if value == "":
        return {}
    merged = dict(current or {})
    for key, item in as_dict(name, value).items():
        if item == "":
            merged.pop(key, None)
        else:
            merged[key] = _coerce(shape, f"{name}[{key}]", item, merged.get(key), exists)
    return merged
