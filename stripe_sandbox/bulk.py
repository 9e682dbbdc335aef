"""Objects in any number that take no time to make and no memory to keep.

Object number ``i`` of a bulk is a pure function of the seed and ``i``, rendered from a byte template when somebody asks
for it. Ids can be turned back into ``i`` but do not sort like it, ``created`` never decreases with ``i``, so cursors
and ``created`` filters cost the same at any size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from stripe_sandbox.store import Body, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ID_BITS: Final = 40
_MULTIPLIER: Final = 0x9E3779B97F4A7C15 % (1 << _ID_BITS) | 1
_INVERSE: Final = pow(_MULTIPLIER, -1, 1 << _ID_BITS)
_MASK: Final = (1 << _ID_BITS) - 1
ID_MARK: Final = 90_071_992_547_000
"""Stands for the object's own id wherever a body holds it. The next ones stand for other parts that vary."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A field that names an object of another bulk: that of index ``i`` modulo its ``count``."""

    field: str
    prefix: str
    count: int


@dataclass(frozen=True)
class _Template:
    """An object's bytes with ``%b`` and ``%d`` where it varies, and which value goes where, in order."""

    text: bytes
    parts: tuple[str, ...]


def bulk_id(prefix: str, index: int) -> str:
    """The id of object ``index``: distinct for distinct indexes, in no order."""
    return f"{prefix}_1B{(index * _MULTIPLIER + 0x5DEECE66D) & _MASK:010x}"


def bulk_index(prefix: str, key: str) -> int | None:
    """The index that ``bulk_id`` made this id of, or None if it did not."""
    start = len(prefix) + 3
    if len(key) != start + 10 or not key.startswith(f"{prefix}_1B"):
        return None
    try:
        return ((int(key[start:], 16) - 0x5DEECE66D) * _INVERSE) & _MASK
    except ValueError:
        return None


class Bulk:
    """``count`` objects of one type, created evenly between two moments.

    Args:
        object_type: The type.
        prefix: What its ids begin with.
        count: How many.
        span: The first and last moment of creation, seconds since the epoch.
        bodies: A few objects to vary, complete with what is included on request only.
        shown: The same objects as lists show them.
        render: Turns a body into the bytes it has in a list.
        links: References to other bulks.
        amounts: Integer fields that vary from object to object, all alike.
    """

    def __init__(
        self,
        *,
        object_type: str,
        prefix: str,
        count: int,
        span: tuple[int, int],
        bodies: Sequence[Body],
        shown: Sequence[Body],
        render: Callable[[Body], bytes],
        links: Sequence[Link] = (),
        amounts: Sequence[str] = (),
    ) -> None:
        self.object = object_type
        self.count = count
        self._prefix = prefix
        self._start, self._end = span
        self._links = {link.field: link for link in links}
        self._whole = [_template(body, render, tuple(self._links), tuple(amounts)) for body in bodies]
        self._shown = [_template(body, render, tuple(self._links), tuple(amounts)) for body in shown]

    def created(self, index: int) -> int:
        """When object ``index`` was created, in seconds since the epoch."""
        return self._start + index * (self._end - self._start) // max(self.count, 1)

    def first_created_from(self, moment: int) -> int:
        """The lowest index with ``created >= moment``, from 0 to ``count``."""
        if moment <= self._start:
            return 0
        if moment > self._end:
            return self.count
        span = self._end - self._start
        return min(self.count, -(-(moment - self._start) * self.count // span))

    def index_of(self, key: str) -> int | None:
        """The index of the object with this id, or None."""
        index = bulk_index(self._prefix, key)
        return index if index is not None and index < self.count else None

    def page_bytes(self, index: int) -> bytes:
        """The object as pretty-printed JSON at the depth it has in a list."""
        return self._filled(self._shown, index)

    def _filled(self, templates: Sequence[_Template], index: int) -> bytes:
        template = templates[index % len(templates)]
        values: list[bytes | int] = []
        for part in template.parts:
            if part == "id":
                values.append(bulk_id(self._prefix, index).encode())
            elif part == "created":
                values.append(self.created(index))
            elif part in self._links:
                link = self._links[part]
                values.append(bulk_id(link.prefix, index % link.count).encode())
            else:
                values.append(500 + index * 7919 % 99_500)
        return template.text % tuple(values)

    def record(self, index: int) -> Record:
        """The object as a record that is not stored."""
        body = msgspec.json.decode(self._filled(self._whole, index))
        key = bulk_id(self._prefix, index)
        record = Record(self.object, key, body, created=self.created(index), facts={})
        record.sequence = index - self.count
        return record

    def indexes_linked(self, name: str, value: str) -> range:
        """The indexes of the objects that name ``value`` in field ``name``."""
        link = self._links.get(name)
        target = bulk_index(link.prefix, value) if link is not None else None
        if link is None or target is None or target >= link.count:
            return range(0)
        return range(target, self.count, link.count)


def _template(body: Body, render: Callable[[Body], bytes], links: Sequence[str], amounts: Sequence[str]) -> _Template:
    """Render a body with marks where it varies, and turn the marks into format specifiers."""
    varying = sorted({"created", *links, *amounts} & body.keys())
    marks = {name: ID_MARK + number for number, name in enumerate(varying, start=1)}
    names = {str(mark): name for name, mark in [("id", ID_MARK), *marks.items()]}
    text = render({**body, **marks, **({"id": ID_MARK} if "id" in body else {})}).replace(b"%", b"%%")
    parts: list[str] = []

    def specifier(match: re.Match[bytes]) -> bytes:
        name = names[match[0].decode()]
        parts.append(name)
        return b'"%b"' if name == "id" or name in links else b"%d"

    return _Template(re.sub(rb"900719925470\d\d", specifier, text), tuple(parts))
