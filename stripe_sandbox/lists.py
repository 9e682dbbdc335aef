"""List endpoints: parameters checked, objects picked, pages joined from bytes.

A page is newest first. ``starting_after`` and ``ending_before`` are ids of objects that the list shows; an id of one
that has vanished, or that the list hides, is refused, as Stripe does.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.errors import (
    StripeError,
    invalid_parameter,
    missing_parameter,
    no_such,
    no_such_reference,
    unknown_parameter,
)
from stripe_sandbox.families import CHILD_LISTS, LIST_ALIASES, NAMED_PARENTS
from stripe_sandbox.filters import IGNORED, PAGING, Test, bounds, default_tests, hiding_tests, parameter_test
from stripe_sandbox.forms import Params, as_bool, as_dict, as_int, as_list, as_str
from stripe_sandbox.rendering import Expand, Renderer, at_page_depth, parse_expand
from stripe_sandbox.spec import Param

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stripe_sandbox.spec import ListEndpoint, Spec
    from stripe_sandbox.store import Candidates, Record, Store

DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 100


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Which positions of the candidates a page may take, and how many."""

    low: int
    high: int
    limit: int
    backward: bool  # ending_before: the page is the oldest part of what is newer than the cursor


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which candidates a list shows: those that parameters want and that are not hidden."""

    wanted: tuple[Test, ...]
    hiding: tuple[Test, ...]

    def shows(self, record: Record) -> bool:
        """Whether the list shows a record."""
        return all(test(record) for test in self.wanted) and all(test(record) for test in self.hiding)


def page_json(objects: Sequence[bytes], *, has_more: bool, url: str) -> bytes:
    """A list as Stripe prints it. ``objects`` are rendered at the depth they have in ``data``."""
    content = b"[\n    " + b",\n    ".join(objects) + b"\n  ]" if objects else b"[]"
    more = b"true" if has_more else b"false"
    return b'{\n  "object": "list",\n  "data": %b,\n  "has_more": %b,\n  "url": "%b"\n}' % (content, more, url.encode())


def check_params(endpoint: ListEndpoint, params: Mapping[str, Any]) -> None:
    """Refuse what the endpoint does not know and ask for what it requires.

    Raises:
        StripeError: 400 parameter_unknown, parameter_missing, or an enumerated value that is none of those.
    """
    for name in params:
        if name not in endpoint.params and name != "expand":
            raise unknown_parameter(name)
    for name in endpoint.required:
        if params.get(name) in (None, ""):
            raise missing_parameter(name)
    for name, value in params.items():
        param = endpoint.params.get(name, _EXPAND)
        _TYPES.get(param.type, _any_type)(name, value)
        if param.type == "string" and param.enum and isinstance(value, str) and value not in param.enum:
            choices = ", ".join(param.enum)
            raise invalid_parameter(name, f"Invalid {name}: must be one of {choices}", code="parameter_invalid_enum")


def _any_type(_name: str, value: Any) -> Any:
    return value


_EXPAND: Final = Param(type="array")
_TYPES: Final[Mapping[str, Callable[[str, Any], Any]]] = MappingProxyType(
    {"array": as_list, "boolean": as_bool, "integer": as_int, "object": as_dict}
)


def limit_of(params: Mapping[str, Any]) -> int:
    """The page's size.

    Raises:
        StripeError: 400 outside 1..100.
    """
    limit = as_int("limit", params.get("limit", DEFAULT_LIMIT))
    if limit < 1:
        raise invalid_parameter(
            "limit", "This value must be greater than or equal to 1.", code="parameter_invalid_integer"
        )
    if limit > MAX_LIMIT:
        raise invalid_parameter(
            "limit",
            f"This value must be less than or equal to {MAX_LIMIT} (it currently is '{limit}').",
            code="parameter_invalid_integer",
        )
    return limit


class Lists:
    """Answers list endpoints of one account."""

    def __init__(
        self, spec: Spec, store: Store, renderer: Renderer, *, own_account: str, now: Callable[[], int]
    ) -> None:
        self._spec = spec
        self._store = store
        self._renderer = renderer
        self._own_account = own_account
        self._now = now

    def page(self, endpoint: ListEndpoint, url: str, path_values: Mapping[str, str], params: Params) -> bytes:
        """The answer's body for a list request.

        Args:
            endpoint: The endpoint of the spec.
            url: The path that was asked for, which the list carries.
            path_values: The values of the path's placeholders, by name.
            params: The decoded query.
        """
        check_params(endpoint, params)
        limit = limit_of(params)
        expand = parse_expand(as_list("expand", params.get("expand", "")), self._spec, endpoint.objects, listed=True)
        candidates, links = self._candidates(endpoint, path_values, params)
        selection = self._selection(endpoint, params, dealt_with=links)
        cut = self._cut(endpoint, candidates, params, selection, limit)
        picked, has_more = self._pick(candidates, cut, selection, expand)
        return page_json(picked, has_more=has_more, url=url)

    def _candidates(
        self, endpoint: ListEndpoint, path_values: Mapping[str, str], params: Params
    ) -> tuple[Candidates, frozenset[str]]:
        """Where to pick from, and which parameters are dealt with by that."""
        child = CHILD_LISTS.get(endpoint.path)
        if child is not None:
            parent_id = next(iter(path_values.values()))
            if self._store.get(child.parent, parent_id) is None:
                raise no_such(child.parent, parent_id, param=next(iter(path_values)))
            link = (child.link, parent_id)
            if len(endpoint.objects) > 1:
                return self._store.candidates_of_types(endpoint.objects, link), frozenset()
            return self._store.candidates(endpoint.objects[0], [link]), frozenset()
        if len(endpoint.objects) != 1:
            raise StripeError(500, f"A list of several types without a parent: {endpoint.path}", type="api_error")
        known = self._store.table(endpoint.objects[0]).link_names
        self._check_parents(endpoint, params)
        if endpoint.path == _EVENTS:
            return self._event_candidates(params), frozenset()
        path = LIST_ALIASES.get(endpoint.path, endpoint.path)
        links = [
            (name, value)
            for name, value in params.items()
            if name in known and name not in PAGING and isinstance(value, str) and (path, name) not in _NOT_LINKS
        ]
        return self._store.candidates(endpoint.objects[0], links), frozenset(name for name, _ in links[:1])

    def _event_candidates(self, params: Params) -> Candidates:
        """All events, or those of the types that are asked for, where these are few."""
        single = params.get("type")
        types = as_list("types", params.get("types", "")) if single is None else [as_str("type", single)]
        if single is not None and "*" in single:
            types = fnmatch.filter(self._spec.events, single)
        rare = self._store.rare_candidates("event", "type", types) if types else None
        return rare if rare is not None else self._store.candidates("event")

    def _check_parents(self, endpoint: ListEndpoint, params: Params) -> None:
        """Refuse ids that name nothing. What was deleted may still be filtered by, but has no children of its own."""
        for name, value in params.items():
            object_type = NAMED_PARENTS.get(name)
            if object_type is None or not isinstance(value, str):
                continue
            lookup = self._store.get if name in endpoint.required else self._store.last_known
            if lookup(object_type, value) is None:
                raise no_such_reference(object_type, value, name)

    def _selection(self, endpoint: ListEndpoint, params: Params, *, dealt_with: frozenset[str]) -> Selection:
        path = LIST_ALIASES.get(endpoint.path, endpoint.path)
        object_type = endpoint.objects[0]
        wanted = default_tests(path, params)
        for name, value in params.items():
            if name not in PAGING and name not in dealt_with and name != "created" and (path, name) not in IGNORED:
                wanted.append(parameter_test(path, name, value))
        hiding = hiding_tests(path, object_type, params, self._now(), self._own_account)
        return Selection(wanted=tuple(wanted), hiding=tuple(hiding))

    def _cut(
        self, endpoint: ListEndpoint, candidates: Candidates, params: Params, selection: Selection, limit: int
    ) -> Cut:
        low, high = 0, len(candidates)
        if "created" in params:
            start, end = bounds("created", params["created"])
            low = candidates.first_created_from(start) if start is not None else low
            high = candidates.first_created_from(end) if end is not None else high
        if "starting_after" in params and "ending_before" in params:
            raise StripeError(400, "You cannot provide both starting_after and ending_before.")
        if "starting_after" in params:
            high = min(high, self._cursor(endpoint, candidates, params, "starting_after", selection))
        if "ending_before" in params:
            low = max(low, self._cursor(endpoint, candidates, params, "ending_before", selection) + 1)
        return Cut(low=low, high=high, limit=limit, backward="ending_before" in params)

    def _cursor(
        self, endpoint: ListEndpoint, candidates: Candidates, params: Params, name: str, selection: Selection
    ) -> int:
        key = as_str(name, params[name])
        for object_type in endpoint.objects:
            record = self._store.get(object_type, key)
            position = candidates.position_of(record) if record is not None else None
            if record is not None and position is not None and selection.shows(record):
                return position
        raise no_such_reference(endpoint.objects[0], key, name)

    def _pick(self, candidates: Candidates, cut: Cut, selection: Selection, expand: Expand) -> tuple[list[bytes], bool]:
        """The page's objects, newest first, and whether there are more in the direction of the cursor."""
        positions = range(cut.low, cut.high) if cut.backward else range(cut.high - 1, cut.low - 1, -1)
        picked: list[bytes] = []
        for position in positions:
            rendered = self._rendered(candidates, position, selection, expand)
            if rendered is None:
                continue
            if len(picked) == cut.limit:
                return (picked[::-1] if cut.backward else picked), True
            picked.append(rendered)
        return (picked[::-1] if cut.backward else picked), False

    def _rendered(self, candidates: Candidates, position: int, selection: Selection, expand: Expand) -> bytes | None:
        if not expand and not selection.wanted:
            untouched = candidates.untouched_bytes(position)
            if untouched is not None:
                return untouched
        record = candidates.record(position)
        if record is None or not selection.shows(record):
            return None
        if expand:
            return at_page_depth(self._renderer.body(record, expand))
        return self._renderer.page_bytes(record)


_EVENTS: Final = "/v1/events"
_NOT_LINKS: Final = frozenset({("/v1/invoices", "subscription")})
