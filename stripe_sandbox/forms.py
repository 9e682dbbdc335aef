"""Parameters as Stripe reads them: ``a[b][c]=v``, ``a[]=v`` and ``a[0][b]=v`` become nested values of strings."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from stripe_sandbox.errors import StripeError, invalid_parameter

if TYPE_CHECKING:
    from collections.abc import Iterable

Params = dict[str, Any]
MAX_DEPTH: Final = 16
_BRACKETS: Final = re.compile(r"\[([^\[\]]*)\]")


def parse_params(text: str) -> Params:
    """Decode a query string or a form body.

    Raises:
        StripeError: 400 where brackets do not match, or a name is both a value and a hash.
    """
    return nest(parse_qsl(text, keep_blank_values=True, max_num_fields=10_000))


def nest(pairs: Iterable[tuple[str, str]]) -> Params:
    """Nest names with brackets; ``a[]`` appends, and ``a[0]``, ``a[1]`` make a list where all names are numbers."""
    params: Params = {}
    for name, value in pairs:
        first, _, rest = name.partition("[")
        path = [first, *_BRACKETS.findall("[" + rest if rest else "")]
        if "".join([first, *(f"[{segment}]" for segment in path[1:])]) != name or len(path) > MAX_DEPTH:
            raise StripeError(400, f"Invalid parameter name: {name}", param=name)
        _insert(params, path, value, name)
    return {name: _with_lists(value) for name, value in params.items()}


def _insert(params: Params, path: list[str], value: str, name: str) -> None:
    for segment, following in pairwise(path):
        if segment == "":
            # a[][b]=1&a[][b]=2: a name that the last element has already begins the next one.
            last = params.get(str(len(params) - 1)) if params else None
            fresh = not isinstance(last, dict) or (following in last and following != "")
            key = str(len(params) if fresh else len(params) - 1)
        else:
            key = segment
        inner = params.setdefault(key, {})
        if not isinstance(inner, dict):
            raise invalid_parameter(name, f"Invalid hash: {name} is given as a value too")
        params = inner
    key = path[-1] or str(len(params))
    if isinstance(params.get(key), dict):
        raise invalid_parameter(name, f"Invalid value: {name} is given as a hash too")
    params[key] = value


def _with_lists(value: Any) -> Any:
    """Hashes of which all names are 0, 1, 2, … become lists."""
    if not isinstance(value, dict):
        return value
    inner = {name: _with_lists(item) for name, item in value.items()}
    if inner and all(name.isdigit() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


def as_bool(name: str, value: Any) -> bool:
    """A boolean parameter. In capitals, too: older Python libraries write ``True``."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise invalid_parameter(name, f"Invalid boolean: {value}", code="parameter_invalid_boolean")


def as_int(name: str, value: Any) -> int:
    """An integer parameter."""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise invalid_parameter(name, f"Invalid integer: {value}", code="parameter_invalid_integer") from None


def as_str(name: str, value: Any) -> str:
    """A string parameter."""
    if isinstance(value, str):
        return value
    raise invalid_parameter(name, f"Invalid string: {value}", code="parameter_invalid_string")


def as_list(name: str, value: Any) -> list[Any]:
    """A list parameter; the empty string is the empty list."""
    if isinstance(value, list):
        return value
    if value == "":
        return []
    raise invalid_parameter(name, "Invalid array", code="parameter_invalid_array")


def as_dict(name: str, value: Any) -> dict[str, Any]:
    """A hash parameter; the empty string is the empty hash."""
    if isinstance(value, dict):
        return value
    if value == "":
        return {}
    raise invalid_parameter(name, "Invalid object", code="parameter_invalid_hash")
