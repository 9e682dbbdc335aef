"""What Stripe's API consists of: object shapes, list endpoints, other operations, event types.

Read once from ``spec.json``, which a script of this project generates from the official Python library. Nothing here
decides anything; the tables of behaviour that the library does not know are in ``families``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import msgspec


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of one value.

    ``type`` is one of string, integer, number, boolean, object, array, map, expandable (an id, or the object when
    expanded), ref (always the whole object), list (a Stripe list), union (one of several objects) or any.
    """

    type: str
    nullable: bool = False
    optional: bool = False
    format: str | None = None
    enum: tuple[Any, ...] = ()
    fields: dict[str, Shape] = field(default_factory=dict)
    items: Shape | None = None
    values: Shape | None = None
    objects: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ObjectShape:
    """The fields of one object type."""

    fields: dict[str, Shape]


@dataclass(frozen=True, kw_only=True)
class Param:
    """A query parameter of a list endpoint."""

    type: str
    enum: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ListEndpoint:
    """``GET path`` that answers a list of ``objects``; ``required`` names the parameters it cannot do without."""

    path: str
    objects: tuple[str, ...]
    params: dict[str, Param]
    required: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Retrieve:
    """``GET path`` that answers one object."""

    path: str
    object: str
    params: dict[str, Param] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Write:
    """An operation other than reading; ``object`` is what it answers."""

    method: str
    path: str
    object: str | None = None


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The whole of it, as generated."""

    api_version: str
    objects: dict[str, ObjectShape]
    lists: tuple[ListEndpoint, ...]
    retrieves: tuple[Retrieve, ...]
    writes: tuple[Write, ...]
    events: dict[str, tuple[str, ...]]

    def fields(self, object_type: str) -> dict[str, Shape]:
        """The fields of an object type, by name."""
        return self.objects[object_type].fields


@cache
def load_spec() -> Spec:
    """The spec that ships with the package. It is immutable, so one copy serves every account in the process."""
    text = resources.files("stripe_sandbox").joinpath("spec.json").read_bytes()
    return msgspec.json.decode(text, type=Spec)
