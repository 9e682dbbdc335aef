"""An upstream that costs next to nothing: ``canned_upstream.py ANSWERS PORT_FILE``. Not a test.

It answers by the header `X-Kind` what was recorded for that kind, dated now. What creates an object gives it another id
each time, of the same length. The proxy itself, which has no such header, reads again what was updated.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httptools

AGAIN = "update customer"


class Canned(asyncio.Protocol):
    """A connection.

    Args:
        answers: By kind: `head`, the headers but for the date; `body`; `id`, that of what is created, or nothing.
    """

    _kind = AGAIN
    _numbers = itertools.count(int(time.time() * 1000) % 10**9 * 10**5)

    def __init__(self, answers: dict[str, dict[str, Any]]) -> None:
        self._answers = answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-kind":
            self._kind = value.decode()

    def on_message_complete(self) -> None:
        answer = self._answers[self._kind]
        self._kind = AGAIN
        body: str = answer["body"]
        if identifier := answer["id"]:
            prefix = identifier.partition("_")[0] + "_" if "_" in identifier else ""
            body = body.replace(identifier, f"{prefix}{next(self._numbers):0{len(identifier) - len(prefix)}}")
        content = body.encode()
        head = f"{answer['head']}Date: {formatdate(usegmt=True)}\r\nContent-Length: {len(content)}\r\n\r\n"
        self._transport.write(head.encode() + content)


async def serve(listening: socket.socket, answers: dict[str, dict[str, Any]]) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(lambda: Canned(answers), sock=listening)
    await server.serve_forever()


def main(answers_file: str, port_file: str) -> None:
    """Listen, tell the port, and serve."""
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        Path(port_file).write_text(str(listening.getsockname()[1]))
        asyncio.run(serve(listening, json.loads(Path(answers_file).read_text())))


if __name__ == "__main__":
    main(*sys.argv[1:])
