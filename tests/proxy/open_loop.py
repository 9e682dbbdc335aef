"""Sends requests at fixed times over kept-alive connections, in a process of its own. Not a test.

It is told what to do in lines of JSON on its standard input, and answers each with a line: the seconds that each
request took from the moment at which it was due, whenever it really left. So what waits behind something slow counts.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request.

    Attributes:
        kind: What it is counted as.
        method: Its method.
        target: Its path and query.
        form: Its body.
    """

    kind: str
    method: str
    target: str
    form: str = ""


@dataclass(frozen=True, kw_only=True)
class Block:
    """So many requests a second.

    Attributes:
        url: What goes before their targets.
        key: The API key.
        per_second: How many begin in a second.
        calls: The requests, in order.
    """

    url: str
    key: str
    per_second: float
    calls: Sequence[Call]


@dataclass(frozen=True, kw_only=True)
class Took:
    """How a request went.

    Attributes:
        kind: As in `Call`.
        seconds: From when it was due until the answer was there whole.
        status: The answer's status.
        applied: Whether the proxy does not deny that the answer is in Postgres.
    """

    kind: str
    seconds: float
    status: int
    applied: bool


class Connections:
    """Connections to one place. One that is in use serves nobody else, so there are as many as requests at once."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, request: bytes) -> tuple[bytes, bytes]:
        """Send a request; return the head and the body of the answer."""
        while self._idle and self._idle[-1][0].at_eof():
            self._idle.pop()[1].close()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await _body(reader, head.lower())
        self._idle.append((reader, writer))
        return head, body


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"\r\ntransfer-encoding: chunked" in head:
        pieces = []
        while size := int(await reader.readline(), 16):
            pieces.append((await reader.readexactly(size + 2))[:-2])
        await reader.readline()
        return b"".join(pieces)
    _, _, rest = head.partition(b"\r\ncontent-length:")
    return await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))


def request_of(call: Call, block: Block) -> bytes:
    """Return a request's bytes; the kind is told in a header, for an upstream that knows no more than kinds."""
    parts = urlsplit(block.url)
    form = call.form.encode()
    head = (
        f"{call.method} {parts.path}{call.target} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {block.key}\r\nAccept: */*\r\nX-Kind: {call.kind}\r\n"
    )
    if call.method == "POST":
        head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n"
    return f"{head}\r\n".encode() + form


async def run(block: Block, connections: Connections) -> list[Took]:
    """Send the requests of a block, each when it is due, and wait for all answers."""
    loop = asyncio.get_running_loop()
    began = loop.time() + 0.01

    async def one(number: int, call: Call) -> Took:
        due = began + number / block.per_second
        await asyncio.sleep(due - loop.time())
        head, _ = await connections.send(request_of(call, block))
        took = loop.time() - due
        applied = b"\r\nstripe-proxy-applied: false" not in head.lower()
        return Took(kind=call.kind, seconds=took, status=int(head.split(maxsplit=2)[1]), applied=applied)

    return await asyncio.gather(*(one(number, call) for number, call in enumerate(block.calls)))


async def main() -> None:
    """Serve the standard input."""
    places: dict[str, Connections] = {}
    for line in iter(sys.stdin.readline, ""):
        given = json.loads(line)
        block = Block(**{**given, "calls": [Call(**each) for each in given["calls"]]})
        took = await run(block, places.setdefault(block.url, Connections(block.url)))
        sys.stdout.write(json.dumps([asdict(each) for each in took]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
