"""Lines on standard input → messages.

Driven by the SDK (``process_lines``), which hands over the callback of each message type. Of a RECORD only the envelope
is decoded; the record stays the bytes it was. Odd: reading is done in large pieces straight from the file descriptor,
because only so can it be told that the tap has nothing more to say for now (``on_pause``).
"""

from __future__ import annotations

import os
import select
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from singer_sdk.io_base import GenericSingerReader, SingerMessageType

from target_postgres_stripe.errors import InputMalformedError
from target_postgres_stripe.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from typing import IO

CHUNK_BYTES = 1024 * 1024
IDLE_SECONDS = 0.01
"""How long nothing must come until the tap counts as idle. A change waits for it, so it is short."""


class RecordMessage(msgspec.Struct, gc=False):
    """The envelope of a RECORD, or of any message as far as it has these."""

    type: str
    stream: str | None = None
    record: msgspec.Raw = msgspec.Raw()
    version: int | None = None
    time_extracted: str | None = None


class LineReader(GenericSingerReader[bytes]):
    """The SDK's reader, for bytes.

    Attributes:
        on_pause: Called when no more comes for now, again and again as long as it says that there is more to do.
        on_broken: Called when no more comes because the input is not what it should be.
        replaced: How many characters of the current line were replaced (see text.py).
    """

    def __init__(self) -> None:
        super().__init__()
        self.on_pause: Callable[[], bool] | None = None
        self.on_broken: Callable[[], None] | None = None
        self.replaced = 0
        self._decoder = msgspec.json.Decoder(RecordMessage)

    @property
    def default_input(self) -> IO[bytes]:
        """Standard input, as bytes."""
        return sys.stdin.buffer

    def deserialize_json(self, line: bytes) -> dict[str, Any]:
        """Decode a message that is not a RECORD."""
        return msgspec.json.decode(line, type=dict[str, Any])

    def process_lines(self, file_input: IO[Any] | None, callbacks: dict[str, Callable[[Any], None]]) -> Counter[str]:
        """Hand each message to its callback: a RECORD as ``RecordMessage``, any other as a dictionary.

        Returns:
            The number of messages of each type.

        Raises:
            InputMalformedError: A line is not a Singer message.
        """
        stats: Counter[str] = Counter()
        lines = self._read_lines() if file_input is None else encoded_lines(file_input)
        for number, raw_line in enumerate(lines, start=1):
            if not raw_line or raw_line.isspace():
                continue
            line, self.replaced = storable(raw_line)
            try:
                message = decoded(self._decoder, line, callbacks.keys())
            except ValueError as error:
                if self.on_broken is not None:
                    self.on_broken()
                raise InputMalformedError(line=number, problem=str(error)) from None
            if message.type == SingerMessageType.RECORD:
                callbacks[message.type](message)
            else:
                callbacks[message.type](self.deserialize_json(line))
            stats[message.type] += 1
        return stats

    def _read_lines(self) -> Iterator[bytes]:
        """The lines of standard input."""
        source = self.default_input.fileno()
        unfinished: list[bytes] = []
        while chunk := self._read_chunk(source):
            first, *others = chunk.split(b"\n")
            unfinished.append(first)
            if others:
                yield b"".join(unfinished)
                yield from others[:-1]
                unfinished = [others[-1]]
        yield b"".join(unfinished)

    def _read_chunk(self, source: int) -> bytes:
        """Wait for input and take what there is; empty at its end."""
        while self.on_pause is not None and not select.select([source], [], [], IDLE_SECONDS)[0]:
            if not self.on_pause():
                break
        return os.read(source, CHUNK_BYTES)


def decoded(decoder: msgspec.json.Decoder[RecordMessage], line: bytes, types: Collection[str]) -> RecordMessage:
    """The envelope of a message of one of ``types``.

    Raises:
        ValueError: It is not a message; says why without quoting it.
    """
    try:
        message = decoder.decode(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if message.type not in types:
        raise ValueError(f"unknown type {message.type!r}")
    if message.type == SingerMessageType.RECORD and (message.stream is None or not bytes(message.record)):
        raise ValueError("a RECORD needs stream and record")
    return message


def encoded_lines(source: IO[Any]) -> Iterable[bytes]:
    """The lines of a file as bytes, whether it was opened for text or not."""
    binary: Iterable[bytes] | None = getattr(source, "buffer", None)
    if binary is not None:
        return binary
    return (line.encode(errors="surrogatepass") if isinstance(line, str) else line for line in source)
