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
        )

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


def to_caller(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers as they are sent back."""
    return list(_without_connection(list(headers)))


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return the first value of a header, whatever the case of its name."""
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), None)


def plain(content: bytes, encoding: str | None) -> bytes | None:
    """Return a body without its content encoding; None if that is not known, or not right."""
    match (encoding or "identity").strip().lower():
        case "identity":
            return content
        case "gzip" | "x-gzip" | "deflate":
            try:
                return zlib.decompress(content, zlib.MAX_WBITS | 32)
            except zlib.error:
                return None
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
