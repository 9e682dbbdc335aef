"""Requests to Stripe and back, byte for byte, as streams.

What belongs to one connection and not to the request (RFC 9110, 7.6.1) is not passed on, nor is `Host`.
`Accept-Encoding` keeps only what the proxy can read too. Nothing is ever sent twice, nor a redirect followed.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from stripe_proxy.errors import TimedOutError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Headers = Sequence[tuple[bytes, bytes]]

_CONNECT_SECONDS = 10.0
_IDLE_SECONDS = 15.0  # a connection that was idle for longer may be closed under the next request
_PER_CONNECTION = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_BODILESS = frozenset({204, 304})
_LINE_BYTES_MAX = 1_000_000  # of an answer's head; Stripe is trusted not to send more
_PLAIN_BYTES_MAX = 128_000_000
_READABLE = (b"gzip", b"deflate", b"identity")


class Upstream:
    """The connections to Stripe.

    Args:
        timeout_seconds: How long Stripe may take between two bytes.
    """

    def __init__(self, *, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=timeout_seconds),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            max_line_size=_LINE_BYTES_MAX,
            max_field_size=_LINE_BYTES_MAX,
            max_headers=1000,
        )
        # It sends a GET or a DELETE again when a connection that it has used before is closed. There is no setting for
        # that; the alternative is a new connection for each request. What the client's own tests set is tested here.
        self._session._retry_connection = False  # noqa: SLF001

    async def close(self) -> None:
        """Close them."""
        await self._session.close()

    @asynccontextmanager
    async def request(
        self, method: str, url: str, headers: Headers, body: bytes | AsyncIterator[bytes] | None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send a request, and give the answer as soon as its headers are there.

        Raises:
            UnreachableError, TimedOutError: There is none, or it broke off.
        """
        host = URL(url).host
        passed = CIMultiDict((name.decode("latin-1"), _text(value)) for name, value in to_stripe(headers))
        try:
            async with self._session.request(
                method, URL(url, encoded=True), headers=passed, data=body, allow_redirects=False
            ) as response:
                yield response
        except (TimeoutError, aiohttp.ServerTimeoutError):
            raise TimedOutError(host=host, seconds=self._timeout_seconds) from None
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(host=host, reason=type(error).__name__) from None


def to_stripe(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return a request's headers as they are sent on."""
    passed = []
    for name, value in _without_connection(headers):
        if name == b"accept-encoding":
            passed.append((name, b", ".join(_readable(value)) or b"identity"))
        elif name not in {b"host", b"expect"}:
            passed.append((name, value))
    return passed


def to_caller(headers: Iterable[tuple[bytes, bytes]], status: int) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers as they are sent back; where there is never a body, its length is not told."""
    passed = _without_connection(list(headers))
    return [each for each in passed if each[0].lower() != b"content-length"] if status in _BODILESS else passed


async def beginning(response: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    """Return an answer's body if it has no more than so many bytes, else about as much of it; and which of both."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            return b"".join(pieces), False
    return b"".join(pieces), True


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return the first value of a header, whatever the case of its name."""
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), None)


def plain(content: bytes, encoding: str | None) -> bytes | None:
    """Return a body without its content encoding; None if that is not known or not right, or the body too long."""
    match (encoding or "identity").strip().lower():
        case "identity":
            return content
        case "gzip" | "x-gzip" | "deflate":
            unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)
            try:
                unpacked = unpacking.decompress(content, _PLAIN_BYTES_MAX)
            except zlib.error:
                return None
            return unpacked if unpacking.eof else None
        case _:
            return None


def _text(value: bytes) -> str:
    """Return what the client, which writes UTF-8, has to be given."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _readable(value: bytes) -> list[bytes]:
    found = [each.strip() for each in value.split(b",")]
    return [each for each in found if each.split(b";")[0].strip().lower() in _READABLE]


def _without_connection(headers: Headers) -> list[tuple[bytes, bytes]]:
    named = {
        each.strip().lower() for name, value in headers if name.lower() == b"connection" for each in value.split(b",")
    }
    return [(name, value) for name, value in headers if name.lower() not in _PER_CONNECTION | named]


def error_body(message: str, code: str) -> dict[str, Any]:
    """Return an error in Stripe's form."""
    return {"error": {"type": "api_error", "code": code, "message": message}}
