"""Writing Singer messages: each encoded once, straight to stdout's buffer, flushed where a reader can use it."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

import msgspec
from singer_sdk.singerlib.encoding.base import GenericSingerWriter
from singer_sdk.singerlib.messages import ActivateVersionMessage, Message


@dataclass(slots=True)
class AccountVersionMessage(ActivateVersionMessage):
    """ACTIVATE_VERSION of a stream with the rows of several accounts.

    Attributes:
        stripe_account_id: The account that the listing was of: rows of others are not its business.
    """

    stripe_account_id: str


class MessageWriter(GenericSingerWriter[bytes, Message]):
    """Buffers records and flushes with every other message.

    Decimals are written as JSON numbers with all their digits.

    Args:
        output: Where to; standard output by default.
    """

    def __init__(self, output: IO[bytes] | None = None) -> None:
        self._output = output if output is not None else sys.stdout.buffer
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        self._heads: dict[str, bytes] = {}

    def serialize_message(self, message: Message) -> bytes:
        """Return a message as one line of JSON."""
        return self._encoder.encode(message.to_dict()) + b"\n"

    def write_message(self, message: Message) -> None:
        """Write any message and flush."""
        self._output.write(self.serialize_message(message))
        self._output.flush()

    def write_record(self, stream: str, record: dict[str, Any], version: int | None) -> None:
        """Write a RECORD message; it is flushed with the next other message, or when the buffer is full."""
        head = self._heads.get(stream)
        if head is None:  # what is the same in every record of a stream is encoded once
            head = self._heads[stream] = b'{"type":"RECORD","stream":' + self._encoder.encode(stream) + b',"record":'
        extracted = datetime.now(UTC).isoformat().encode()
        tail = b'"}\n' if version is None else b'","version":%d}\n' % version
        self._output.write(b"".join((head, self._encoder.encode(record), b',"time_extracted":"', extracted, tail)))
