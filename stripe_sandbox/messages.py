"""A request, an answer, and how the answer is to be delivered, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, kw_only=True)
class Request:
    """An HTTP request; header names are in lower case, ``path`` is without the query."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Response:
    """An HTTP answer. The server adds ``Date``, ``Content-Length`` and ``Connection``.

    ``chunks``, where given, are sent instead of ``body``, as fast as the client takes them.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    chunks: Iterator[bytes] | None = None


class Delivery(Enum):
    """What happens to the bytes of an answer."""

    WHOLE = auto()
    TRUNCATED = auto()  # half of the body, then the connection is closed
    RESET = auto()  # nothing: the connection is reset


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """An answer and its delivery, ``delay_seconds`` after the request came in."""

    response: Response
    delivery: Delivery = Delivery.WHOLE
    delay_seconds: float = 0.0
