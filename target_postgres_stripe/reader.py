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
from singer_sdk.exceptions import SingerSDKError
from singer_sdk.io_base import GenericSingerReader, SingerMessageType

from target_postgres_stripe.errors import InputMalformedError
from target_postgres_stripe.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from typing import IO

RECORD = "RECORD"
"""The type of nearly all messages; the member of an enumeration takes longer to get at than to compare."""

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


class PropertySchema(msgspec.Struct, gc=False):
    """As much of a JSON Schema as decides about a column."""

    type: str | list[str] | None = "anything"
    format: str | None = None
    stripe_format: str | None = msgspec.field(name="x-stripe-format", default=None)
    any_of: list[PropertySchema | bool] = msgspec.field(name="anyOf", default_factory=list)
    one_of: list[PropertySchema | bool] = msgspec.field(name="oneOf", default_factory=list)
    all_of: list[PropertySchema | bool] = msgspec.field(name="allOf", default_factory=list)
    properties: dict[str, PropertySchema | bool] | None = None
    patterns: dict[str, Any] = msgspec.field(name="patternProperties", default_factory=dict)


class StreamSchema(msgspec.Struct, gc=False):
    """The schema of a stream's records."""

    properties: dict[str, PropertySchema | bool]


class SchemaMessage(msgspec.Struct, gc=False):
    """A SCHEMA, for its types."""

    stream: str
    schema: StreamSchema
    key_properties: list[str] | None = None


class StateMessage(msgspec.Struct, gc=False):
    """A STATE, for its types."""

    value: msgspec.Raw


class ActivateVersionMessage(msgspec.Struct, gc=False):
    """An ACTIVATE_VERSION, for its types."""

    stream: str
    version: int
    stripe_account_id: str | None = None


EXPECTED_TYPES = {
    SingerMessageType.SCHEMA: SchemaMessage,
    SingerMessageType.STATE: StateMessage,
    SingerMessageType.ACTIVATE_VERSION: ActivateVersionMessage,
}
"""What a message must hold so that nothing that takes it meets a surprise; what else it holds is not looked at."""


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

    def _message(self, line: bytes, types: Collection[str]) -> RecordMessage | dict[str, Any]:
        """Decode a message of one of ``types``.

        Raises:
            ValueError: It is not such a message; says why without quoting it.
        """
        try:
            message = decoded(self._decoder, line, types)
            if message.type == RECORD:
                return message
            if message.type in EXPECTED_TYPES:
                msgspec.json.decode(line, type=EXPECTED_TYPES[SingerMessageType(message.type)])
            return self.deserialize_json(line)
        except RecursionError:
            raise ValueError("nested too deeply") from None

    def process_lines(self, file_input: IO[Any] | None, callbacks: dict[str, Callable[[Any], None]]) -> Counter[str]:
        """Hand each message to its callback: a RECORD as ``RecordMessage``, any other as a dictionary.

        Returns:
            The number of messages of each type.

        Raises:
            InputMalformedError: A line is not a Singer message.
            SingerSDKError: A message does not fit those before it.
        """
        stats: Counter[str] = Counter()
        lines = self._read_lines() if file_input is None else encoded_lines(file_input)
        for number, raw_line in enumerate(lines, start=1):
            if not raw_line or raw_line.isspace():
                continue
            line, self.replaced = storable(raw_line)
            try:
                message = self._message(line, callbacks.keys())
            except ValueError as error:
                self._tell_broken()
                raise InputMalformedError(line=number, problem=str(error)) from None
            message_type = message["type"] if isinstance(message, dict) else message.type
            try:
                callbacks[message_type](message)
            except SingerSDKError:
                self._tell_broken()
                raise
            stats[message_type] += 1
        return stats

    def _tell_broken(self) -> None:
        if self.on_broken is not None:
            self.on_broken()

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
    message = decoder.decode(line)
    if message.type not in types:
        raise ValueError(f"unknown type {message.type!r}")
    if message.type == RECORD and (message.stream is None or not len(message.record)):
        raise ValueError("a RECORD needs stream and record")
    return message


def encoded_lines(source: IO[Any]) -> Iterable[bytes]:
    """The lines of a file as bytes, whether it was opened for text or not."""
    binary: Iterable[bytes] | None = getattr(source, "buffer", None)
    if binary is not None:
        return binary
    return (line.encode(errors="surrogatepass") if isinstance(line, str) else line for line in source)
