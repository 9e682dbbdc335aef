"""Writing that does not hold up who writes.

While the reader is busy, with a commit for instance, a pipe takes nothing: it holds no more than 64 KB. A tap that
waits for it asks Stripe nothing meanwhile, and what its limits would have let through is lost. So a thread waits.
"""

import select
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

_MOST_BYTES = 16 * 1024 * 1024  # a second of Stripe's limit: longer than that the reader should not hold its breath
_PIECE_BYTES = 1024 * 1024


class BackgroundOutput:
    """Takes bytes at once, up to a limit, and writes them in order.

    Args:
        output: Where to. Nobody else may write there.
    """

    def __init__(self, output: IO[bytes]) -> None:
        output.flush()
        # Without the buffer, whose lock a thread that still writes at the end of the process would hold.
        self._raw: IO[bytes] = getattr(output, "raw", output)
        self._changed = threading.Condition()
        # Guarded by it:
        self._waiting: deque[bytes] = deque()
        self._size = 0  # of what is not written
        self._ends = False
        self._failure: OSError | ValueError | None = None
        self._thread = threading.Thread(target=self._work, name="output", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> int:
        """Have bytes written; wait only while too many others are waiting.

        Raises:
            OSError, ValueError: They cannot be, or others before them could not.
        """
        with self._changed:
            while self._size >= _MOST_BYTES and self._failure is None:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            self._waiting.append(data)
            self._size += len(data)
            self._changed.notify()
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def finish(self) -> None:
        """Wait until all is written.

        Raises:
            OSError, ValueError: It cannot be.
        """
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while piece := self._next_piece():
            try:
                self._write(piece)
            except (OSError, ValueError) as error:  # the latter if somebody has closed it
                with self._changed:
                    self._failure = error
                    self._waiting.clear()
                    self._changed.notify()
                return
            with self._changed:
                self._size -= len(piece)
                self._changed.notify()

    def _write(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            written = self._raw.write(rest)
            if written is None:  # the pipe does not block, and is full
                select.select((), (self._raw,), ())
            else:
                rest = rest[written:]

    def _next_piece(self) -> bytes:
        """Wait for something to write; empty at the end."""
        with self._changed:
            while not self._waiting and not self._ends:
                self._changed.wait()
            piece: list[bytes] = []
            size = 0
            while self._waiting and size < _PIECE_BYTES:
                piece.append(self._waiting.popleft())
                size += len(piece[-1])
        return b"".join(piece)


@contextmanager
def in_background(output: IO[bytes]) -> Iterator[BackgroundOutput]:
    """Write to an output in the background; at the end, wait until all is written.

    Raises:
        OSError, ValueError: It cannot be, and nothing else has gone wrong.
    """
    background = BackgroundOutput(output)
    try:
        yield background
    except BaseException:
        with suppress(OSError, ValueError):
            background.finish()
        raise
    background.finish()
