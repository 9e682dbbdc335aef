"""Whether what the official library made of an answer is what its own type annotations say it is.

Odd: a name of another class is a forward reference that cannot be evaluated, since its module imports it for type
checkers only. It is compared with the name of the value's class. Enumerations may grow, so a text outside one is no
difference; neither is a hash that the library leaves untyped.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, ForwardRef, Literal, Union, get_args, get_origin

import stripe
from stripe._stripe_object import UntypedStripeObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def differences(value: Any, path: str = "") -> Iterator[str]:
    """Name every field of an object, at any depth, that its class does not have or has as something else."""
    hints = _hints(type(value))
    fields = value.to_dict(recursive=False)
    for name, item in fields.items():
        if name not in hints:
            yield f"{path}{name}: not a field of {type(value).__qualname__}"
        elif not _fits(item, hints[name]):
            yield f"{path}{name}: {type(item).__qualname__} is not {hints[name]}"
        else:
            yield from _within(item, f"{path}{name}")
    if not fields.get("deleted"):
        for name in hints.keys() - fields.keys():
            if not _fits(None, hints[name]):
                yield f"{path}{name}: missing"


def _within(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, stripe.ListObject):
        yield from _within(value.data, f"{path}.data")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _within(item, f"{path}[{index}]")
    elif isinstance(value, stripe.StripeObject) and type(value) is not stripe.StripeObject:
        yield from differences(value, f"{path}.")


def _hints(cls: type) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for each in reversed(cls.__mro__):
        if each.__module__.startswith("stripe.") and issubclass(each, stripe.StripeObject):
            found |= {
                name.rstrip("_"): hint
                for name, hint in vars(each).get("__annotations__", {}).items()
                if get_origin(hint) is not ClassVar and not name.startswith("_")
            }
    return found


def _fits(value: Any, hint: Any) -> bool:  # noqa: PLR0911 - one per kind
    if hint is Any:
        return True
    if isinstance(hint, (str, ForwardRef)):
        name = hint if isinstance(hint, str) else hint.__forward_arg__
        return name.removesuffix("Resource").endswith(type(value).__name__)
    origin = get_origin(hint)
    if origin is Union:
        return any(_fits(value, each) for each in get_args(hint))
    if origin is Literal:
        return type(value) in {type(each) for each in get_args(hint)}
    if origin is list:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    if origin is stripe.ListObject:
        return isinstance(value, stripe.ListObject) and all(_fits(each, get_args(hint)[0]) for each in value.data)
    if origin in (dict, UntypedStripeObject):
        inner = value.to_dict(recursive=False) if isinstance(value, stripe.StripeObject) else value
        return isinstance(inner, dict) and all(_fits(each, get_args(hint)[-1]) for each in inner.values())
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is Decimal:
        return isinstance(value, Decimal)
    return type(value) is hint
