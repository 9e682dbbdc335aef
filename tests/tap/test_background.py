"""Output that is written in the background: all of it, in order, and whoever writes waits only where it is too much."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tap_stripe_events.background import in_background
from tap_stripe_events.messages import MessageWriter

LINE = b"x" * 65_535 + b"\n"
LIMIT_LINES = 256  # 16 MiB of them


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Both ends of a pipe: to read from, to write to."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as source, os.fdopen(writing, "wb") as output:
        yield source, output


def read_after(source: IO[bytes], output: IO[bytes], seconds: float) -> tuple[threading.Thread, list[bytes]]:
    """Read all, in a thread that begins after so many seconds; close the output to end it."""
    found: list[bytes] = []

    def read() -> None:
        time.sleep(seconds)
        while piece := source.read(1_000_000):
            found.append(piece)

    thread = threading.Thread(target=read)
    thread.start()
    return thread, found


def test_who_writes_does_not_wait_for_a_reader_who_is_late(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    source, output = pipe
    thread, found = read_after(source, output, 1.0)
    began = time.monotonic()
    numbers = [b"%d\n" % number for number in range(20_000)]
    with in_background(output) as background:
        for number, line in enumerate(numbers):
            background.write(line)
            if number % 200 == 0:
                background.write(LINE)  # 6 MB of them, of which the pipe holds 64 KB
        written = time.monotonic() - began
    assert written < 0.9
    assert time.monotonic() - began >= 1.0  # at the end all is read
    output.close()
    thread.join()
    assert b"".join(found).replace(LINE, b"") == b"".join(numbers)


def test_who_writes_too_much_waits(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    source, output = pipe
    with in_background(output) as background:
        for _ in range(LIMIT_LINES):
            background.write(LINE)
        began = time.monotonic()
        thread, found = read_after(source, output, 0.5)
        background.write(LINE)
        background.write(LINE)
        assert time.monotonic() - began >= 0.4
    output.close()
    thread.join()
    assert b"".join(found) == LINE * (LIMIT_LINES + 2)


def write(output: IO[bytes], lines: int, failure: Exception | None = None) -> None:
    with in_background(output) as background:
        for _ in range(lines):
            background.write(LINE)
        if failure is not None:
            raise failure


@pytest.mark.parametrize("lines", [1, 10 * LIMIT_LINES])
def test_a_reader_who_has_gone_is_told_of_at_the_end_at_the_latest(
    pipe: tuple[IO[bytes], IO[bytes]], lines: int
) -> None:
    source, output = pipe
    source.close()
    with pytest.raises(BrokenPipeError):
        write(output, lines)


def test_who_waits_for_a_reader_who_goes_is_told(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    source, output = pipe
    threading.Timer(0.3, source.close).start()
    with pytest.raises(BrokenPipeError):
        write(output, 10 * LIMIT_LINES)


@pytest.mark.parametrize("has_gone", [False, True])
def test_what_went_wrong_before_is_what_is_told_and_what_was_written_arrives(
    pipe: tuple[IO[bytes], IO[bytes]], has_gone: bool
) -> None:
    source, output = pipe
    if has_gone:
        source.close()
        found = None
    else:
        thread, found = read_after(source, output, 0.0)
    with pytest.raises(KeyError):
        write(output, 20, KeyError("something else"))
    if found is not None:
        output.close()
        thread.join()
        assert b"".join(found) == LINE * 20


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_is_told_of() -> None:
    with Path("/dev/full").open("wb", buffering=0) as output, pytest.raises(OSError, match="No space left"):
        write(output, 1)


def test_a_pipe_that_does_not_block_is_waited_for(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    source, output = pipe
    os.set_blocking(output.fileno(), False)
    thread, found = read_after(source, output, 0.3)
    used = time.process_time()
    write(output, 100)
    assert time.process_time() - used < 0.2
    output.close()
    thread.join()
    assert b"".join(found) == LINE * 100


def test_an_output_that_somebody_has_closed_is_told_of(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    _, output = pipe
    with pytest.raises(ValueError, match="closed file"):
        write_to_closed(output)


def write_to_closed(output: IO[bytes]) -> None:
    with in_background(output) as background:
        output.close()
        background.write(LINE)


def test_what_the_output_held_back_comes_first(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    source, output = pipe
    output.write(b"first\n")
    with in_background(output) as background:
        background.write(b"second\n")
    assert source.read(100) == b"first\nsecond\n"


def test_a_writer_of_messages_writes_at_once_again_afterwards(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    source, output = pipe
    writer = MessageWriter(output)
    with pytest.raises(KeyError), writer.in_background():
        raise KeyError
    writer.write_records("charge", [], version=None)
    writer.flush()
    with writer.in_background():
        pass
    assert "output" not in {each.name for each in threading.enumerate()}
    output.write(b"still open\n")
    output.flush()
    assert source.read(100) == b"still open\n"
