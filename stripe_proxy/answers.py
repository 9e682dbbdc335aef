"""What an answer of Stripe's says: which objects it holds, and as of when. Pure.

A write counts as the end of the second in which Stripe dated its answer, so that no event of an earlier second undoes
it; a read as the beginning of the second in which it was asked for. A list that was read proves nothing about what is
not in it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote

import msgspec

from stripe_proxy.errors import NotAppliedError
from tap_stripe_events import previews
from tap_stripe_events.changes import may_hold_secrets
from tap_stripe_events.object_table import STRIPE_LISTS, STRIPE_OBJECTS
from tap_stripe_events.objects import parent_column

Json: TypeAlias = dict[str, Any]

_LISTS = frozenset({"list", "search_result"})
_PAYMENT_REQUIRED = 402
_EXPAND = re.compile(r"expand\[\d*\]")
_PREVIEWS = frozenset(
    {
        *(previews.PATH, previews.LINES_PATH, previews.CREATE_PATH),
        *("/v1/credit_notes/preview", "/v1/credit_notes/preview/lines"),
    }
)
_PLACEHOLDER = re.compile(r"\{\w+\}")

_decoder = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A request and Stripe's answer to it.

    Attributes:
        method: The request's method.
        path: Its path at Stripe, such as `/v1/customers`.
        parameters: Those of its query and of its form, in order.
        status: The answer's status.
        version: The API version that it is rendered in; None if it does not say.
        replayed: Stripe performed the request earlier, and repeats what it answered then.
        dated: The second of its `Date`, in Unix time.
        began: The second in which the request began, on Stripe's clock.
        body: Its JSON; floats are `Decimal`.
        secrets: It may hold what must not be stored.
        account_id: The account that it is about; None if that is not known.
    """

    method: str
    path: str
    parameters: tuple[tuple[str, str], ...] = ()
    status: int
    version: str | None = None
    replayed: bool = False
    dated: int
    began: int
    body: Any
    secrets: bool = True
    account_id: str | None = None

    @property
    def is_read(self) -> bool:
        """Whether the request changed nothing."""
        return self.method in {"GET", "HEAD"}

    @property
    def is_list(self) -> bool:
        """Whether it is a list or a search result."""
        name = self.body.get("object") if isinstance(self.body, dict) else None
        return isinstance(name, str) and name in _LISTS

    @property
    def as_of(self) -> int:
        """The moment that its objects are known to reflect, in milliseconds since the epoch."""
        return self.began * 1000 if self.is_read else self.dated * 1000 + 999


@dataclass(frozen=True, kw_only=True)
class Told:
    """An object that an answer holds.

    Attributes:
        name: Its type, which has a table.
        json: The object.
        columns: Key and parent columns that only the request's path says.
        is_own: It is the answer's object or an element of its list, and not in one of these.
    """

    name: str
    json: Json
    columns: Mapping[str, str] = field(default_factory=dict)
    is_own: bool = False


def may_hold_objects(method: str, path: str, status: int, content_type: str) -> bool:
    """Whether an answer is JSON of `/v1` that says how things are."""
    good = 200 <= status < 300 or status == _PAYMENT_REQUIRED  # noqa: PLR2004 - success
    is_json = content_type.split(";", maxsplit=1)[0].strip().lower() == "application/json"
    return good and is_json and path.startswith("/v1/") and method != "HEAD"


def answered(
    text: bytes | None,
    *,
    method: str,
    path: str,
    query: str,
    form: str,
    status: int,
    version: str | None,
    replayed: bool,
    began: int,
    dated: int,
) -> Answered:
    """Return what a request and its answer are together.

    Args:
        text: The answer's body, without its content encoding; None if that cannot be undone.
        method: The request's method.
        path: Its path, as it was sent.
        query: Its query.
        form: The form in its body.
        status: The answer's status.
        version: Its API version, if it says one.
        replayed: Whether it may be older than the request.
        began: The second in which the request began, as far as this machine knows; no answer is dated before it.
        dated: The second of the answer's `Date`.

    Raises:
        NotAppliedError: It is no JSON.
    """
    try:
        body = _decoder.decode(text or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotAppliedError(reason="it is no JSON that can be read") from None
    return Answered(
        method=method, path=unquote(path), parameters=form_parameters(query, form), status=status, version=version,
        replayed=replayed, dated=dated, began=min(began, dated), body=body, secrets=may_hold_secrets(text or b""),
    )  # fmt: skip


def form_parameters(query: str, form: str) -> tuple[tuple[str, str], ...]:
    """Return the parameters of a query and of a form."""
    return tuple(pair for text in (query, form) for pair in parse_qsl(text, keep_blank_values=True))


def told(answered: Answered) -> Iterator[Told]:
    """Yield the objects that an answer says are so: its own, then those that the request had expanded in them.

    A preview says only what would be.
    """
    if answered.path in _PREVIEWS:
        return
    for json_object in _own(answered):
        name = json_object.get("object")
        if isinstance(name, str) and name in STRIPE_OBJECTS:
            yield Told(name=name, json=json_object, columns=_columns(answered, name), is_own=True)
        else:
            yield from _listed_in(json_object)
        for path in _expanded(answered):
            for found in _at(json_object, path):
                yield Told(name=found["object"], json=found)


def _own(answered: Answered) -> list[Json]:
    """Return the object of an answer, the elements of a list, or the objects that a failed payment left behind."""
    body = answered.body
    if not isinstance(body, dict):
        return []
    if answered.status == _PAYMENT_REQUIRED:
        error = body.get("error")
        values = error.values() if isinstance(error, dict) else ()
        return [each for each in values if isinstance(each, dict) and "object" in each]
    if not 200 <= answered.status < 300:  # noqa: PLR2004 - success
        return []
    if answered.is_list:
        data = body.get("data")
        return [each for each in data if isinstance(each, dict)] if isinstance(data, list) else []
    return [body]


def _listed_in(json_object: Json) -> Iterator[Told]:
    """Yield the elements of the lists in an object without a table, such as a session that connects accounts."""
    for value in json_object.values():
        if isinstance(value, dict) and value.get("object") == "list" and isinstance(value.get("data"), list):
            for each in value["data"]:
                if isinstance(each, dict) and _is_whole(each):
                    yield Told(name=each["object"], json=each)


def is_expand(parameter: str) -> bool:
    """Whether a parameter asks for something to be expanded; some libraries number them."""
    return _EXPAND.fullmatch(parameter) is not None


def _expanded(answered: Answered) -> list[tuple[str, ...]]:
    """Return the fields that the request had expanded, as paths within an object."""
    paths = [value.split(".") for name, value in answered.parameters if is_expand(name)]
    return [tuple(each[1:] if answered.is_list and each[0] == "data" else each) for each in paths]


def _at(value: Any, path: tuple[str, ...]) -> Iterator[Json]:
    """Yield the whole objects on the way along a path, outermost first."""
    for position, part in enumerate(path):
        value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, dict) and value.get("object") == "list":
            value = value.get("data")
            if part == "data":
                continue
        if isinstance(value, list):
            rest = path[position + 1 :]
            for each in value:
                if isinstance(each, dict) and _is_whole(each) and not _owners(each["object"]):
                    yield each  # its owner's own elements come with the owner, which says whose they are
                yield from _at(each, rest[1:] if rest[:1] == ("data",) else rest)
            return
        if isinstance(value, dict) and _is_whole(value):
            yield value


def _is_whole(value: Json) -> bool:
    name = value.get("object")
    return isinstance(value.get("id"), str) and isinstance(name, str) and name in STRIPE_OBJECTS


def is_stray(each: Told) -> bool:
    """Whether an object has a parent that neither it nor its address tells, so that its row would lose it."""
    owners = _owners(each.name)
    return bool(owners) and not each.columns and not any(name in each.json for name in owners)


@cache
def _owners(name: str) -> frozenset[str]:
    """Return the fields that can name the parent of objects of a type which only lists of a parent show."""
    lists = [each for each in STRIPE_LISTS if name in each.objects]
    if not all(each.owned and each.parent for each in lists):
        return frozenset()
    columns = {parent_column(each.parent).removesuffix("_id") for each in lists if each.parent is not None}
    return frozenset(columns | {each.parameter for each in lists if each.parameter is not None})


def _columns(answered: Answered, name: str) -> dict[str, str]:
    """Return the columns that a request tells of an object: whose child it is."""
    for pattern, column, parameter in _owning_paths(name):
        if found := pattern.fullmatch(answered.path):
            parent = found[1] if parameter is None else dict(answered.parameters).get(parameter)
            return {} if parent is None else {column: parent}
    return {}


@cache
def _owning_paths(name: str) -> tuple[tuple[re.Pattern[str], str, str | None], ...]:
    """Return the paths at which objects of a type are a parent's own, and the column that names the parent.

    The parent's id is in the path, or it is a parameter, which then is named too.
    """
    return tuple(
        (
            re.compile(_PLACEHOLDER.sub("([^/]+)", each.path, count=1) + r"(?:/[^/]+)?"),
            parent_column(each.parent),
            None if "{" in each.path else each.parameter,
        )
        for each in STRIPE_LISTS
        if each.owned and each.parent is not None and name in each.objects and each.path.count("{") <= 1
    )
