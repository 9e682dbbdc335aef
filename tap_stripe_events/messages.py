"""Writing Singer messages: each encoded once, handed on where a reader can use it."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO

import msgspec
from singer_sdk.singerlib.encoding.base import GenericSingerWriter
from singer_sdk.singerlib.messages import ActivateVersionMessage, Message

from tap_stripe_events.background import BackgroundOutput, in_background
from tap_stripe_events.changes import Change

_ENOUGH_BYTES = 65_536  # as much as a pipe holds


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
        self._output: IO[bytes] | BackgroundOutput = output if output is not None else sys.stdout.buffer
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        self._waiting: list[bytes] = []
        self._size = 0  # of the records in it

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Let nobody wait for the reader, until the end: then it has all that was written.

        Raises:
            OSError: It cannot have it, and nothing else has gone wrong.
        """
        output = self._output
        assert not isinstance(output, BackgroundOutput)  # noqa: S101 - once is enough
        try:
            with in_background(output) as self._output:
                yield
        finally:
            self._output = output

    def serialize_message(self, message: Message) -> bytes:
        """Return a message as one line of JSON."""
        return self._encoder.encode(message.to_dict()) + b"\n"

    def write_message(self, message: Message) -> None:
        """Write any message and flush."""
        self._waiting.append(self.serialize_message(message))
        self.flush()

    def write_records(self, stream: str, changes: Iterable[Change], version: int | None) -> None:
        """Write RECORD messages; they are flushed with the next other message, or when there is enough."""
        # What all these records have in common is encoded once.
        head = b'{"type":"RECORD","stream":%b,"record":' % self._encoder.encode(stream)
        suffix = "" if version is None else f',"version":{version}'
        tail = f',"time_extracted":"{datetime.now(UTC).isoformat()}"{suffix}}}\n'.encode()
        encode, waiting = self._encoder.encode, self._waiting
        for change in changes:
            record = encode(change.record)
            waiting += (head, record, tail)
            self._size += len(record)
            if self._size >= _ENOUGH_BYTES:
                self._hand_on()
                waiting = self._waiting

    def flush(self) -> None:
        """Let the reader have all that was written."""
        self._hand_on()
        self._output.flush()

    def _hand_on(self) -> None:
        # Emptied first: what a pipe does not take, since its reader is gone, is not written another time.
        waiting, self._waiting, self._size = self._waiting, [], 0
        if waiting:
            self._output.write(b"".join(waiting))
