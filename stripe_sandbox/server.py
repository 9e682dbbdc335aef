"""HTTP/1.1 over asyncio: bytes in, :class:`~stripe_sandbox.messages.Request` out, and the answer's bytes back.

Parsing is ``httptools``. One loop in one thread answers everything, so nothing behind it needs a lock. The protocol is
our own rather than an ASGI server's because answers must be cut short and connections reset on demand.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, cast

import httptools

from stripe_sandbox.messages import Delivery, Exchange, Request, Response

PAUSE_SECONDS: Final = 0.5
BUSY_PAUSE_SECONDS: Final = 0.02
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}

logger = logging.getLogger(__name__)

Handle = Callable[[Request], Exchange]
Beat = Callable[[], bool]


class HttpProtocol(asyncio.Protocol):
    """One connection. Requests on it are answered one after another."""

    def __init__(self, handle: Handle, now: Callable[[], int], connections: set[HttpProtocol]) -> None:
        self._connections = connections
        self._handle = handle
        self._now = now
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._busy = False
        self._stream: Iterator[bytes] | None = None
        self._keep_alive = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop what was still to be answered."""
        del exc
        self._connections.discard(self)
        self._transport = None
        self._stream = None
        self._waiting.clear()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what came in; complete requests are answered by the callbacks below."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            logger.warning("A request could not be parsed: %s", error)
            self.abort()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url, self._headers, self._body = b"", {}, []

    def on_url(self, url: bytes) -> None:
        """Part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._body.append(body)
        if sum(map(len, self._body)) > MAX_BODY_BYTES:
            self.abort()

    def on_message_complete(self) -> None:
        """The request is complete: answer it when those before it are."""
        target = self._url.decode("latin-1")
        path, _, query = target.partition("?")
        request = Request(
            method=self._parser.get_method().decode(),
            path=path,
            query=query,
            headers=self._headers,
            body=b"".join(self._body),
        )
        self._waiting.append((request, self._parser.should_keep_alive()))
        if not self._busy:
            self._next()

    def resume_writing(self) -> None:
        """The client took what was sent: go on with a streamed answer."""
        self._pump()

    def _next(self) -> None:
        if not self._waiting or self._transport is None:
            self._busy = False
            return
        self._busy = True
        request, self._keep_alive = self._waiting.popleft()
        exchange = self._handle(request)
        if exchange.delay_seconds > 0:
            asyncio.get_running_loop().call_later(exchange.delay_seconds, self._deliver, exchange)
        else:
            self._deliver(exchange)

    def _deliver(self, exchange: Exchange) -> None:
        transport = self._transport
        if transport is None:
            return
        match exchange.delivery:
            case Delivery.RESET:
                _reset(transport)
            case Delivery.TRUNCATED:
                body = exchange.response.body
                transport.write(self._head(exchange.response, len(body)) + body[: len(body) // 2])
                transport.close()
            case Delivery.WHOLE if exchange.response.chunks is not None:
                transport.write(self._head(exchange.response, None))
                self._stream = exchange.response.chunks
                self._pump()
            case Delivery.WHOLE:
                body = exchange.response.body
                transport.writelines((self._head(exchange.response, len(body)), body))
                self._finish()

    def _pump(self) -> None:
        """Send a chunk, and the next one when others had their turn and the client takes it."""
        if self._stream is not None and self._transport is not None:
            chunk = next(self._stream, None)
            if chunk is None:
                self._stream = None
                self._transport.write(b"0\r\n\r\n")
                self._finish()
                return
            self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            if self._transport.get_write_buffer_size() <= self._transport.get_write_buffer_limits()[1]:
                asyncio.get_running_loop().call_soon(self._pump)
            return

    def _finish(self) -> None:
        if not self._keep_alive and self._transport is not None:
            self._transport.close()
            return
        self._next()

    def _head(self, response: Response, length: int | None) -> bytes:
        lines = [
            b"HTTP/1.1 %d %b" % (response.status, _REASONS.get(response.status, b"")),
            b"Server: stripe-sandbox",
            b"Date: " + formatdate(self._now(), usegmt=True).encode(),
            b"Content-Type: " + response.content_type.encode(),
            b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length,
            b"Connection: " + (b"keep-alive" if self._keep_alive else b"close"),
        ]
        lines += [f"{name}: {value}".encode("latin-1", "replace") for name, value in response.headers]
        return b"\r\n".join(lines) + b"\r\n\r\n"


def _reset(transport: asyncio.Transport) -> None:
    """Close so that the client sees a reset rather than an end."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Listener:
    """A listening socket, its connections, and the beat that goes on while nobody asks anything."""

    def __init__(self, server: asyncio.Server, connections: set[HttpProtocol], beat: Beat | None) -> None:
        self._server = server
        self._connections = connections
        self._beat = beat
        self._next_beat: asyncio.TimerHandle | None = None
        self.beat()

    def beat(self) -> None:
        """Do what is to be done in between, and again soon: sooner where there is more."""
        if self._beat is not None:
            pause = PAUSE_SECONDS if self._beat() else BUSY_PAUSE_SECONDS
            self._next_beat = asyncio.get_running_loop().call_later(pause, self.beat)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Stop to listen and drop all connections. To be called in the loop, which must run once more after it."""
        self._server.close()
        if self._next_beat is not None:
            self._next_beat.cancel()
        for connection in tuple(self._connections):
            connection.abort()


async def listen(handle: Handle, now: Callable[[], int], *, host: str, port: int, beat: Beat | None = None) -> Listener:
    """Start to listen; ``port`` 0 takes any free one.

    Args:
        handle: Answers a request, without waiting.
        now: The time that ``Date`` headers tell, in seconds since the epoch.
        host: The address to bind.
        port: The port to bind.
        beat: Called again and again, twice a second, more often while it answers that there is more to do.
    """
    connections: set[HttpProtocol] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: HttpProtocol(handle, now, connections), host, port, backlog=512
    )
    return Listener(server, connections, beat)
