"""A wish from outside that the feed be read at once: a datagram, whatever is in it, to a socket in the file system."""

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

from tap_stripe_events.errors import WrongSettingError


class Wake:
    """Listens for wishes, from the first question on.

    Args:
        path: Where the socket is to be; None: nobody can wish.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def wished(self) -> bool:
        """Return whether anybody has wished since the last question.

        Raises:
            WrongSettingError: There can be no socket.
        """
        if self._path is None:
            return False
        if self._socket is None:
            self._socket = _bound(self._path)
        found = False
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(1)
                found = True
        return found

    def close(self) -> None:
        """Listen no longer."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Wishes:
    """One wake for several runs: each hears of every wish.

    Args:
        wake: The wake.
    """

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._count = 0

    def listener(self) -> Callable[[], bool]:
        """Return what one of the runs asks: whether anybody has wished since its last question."""
        heard = self._count

        def wished() -> bool:
            nonlocal heard
            self._count += self._wake.wished()
            new, heard = heard != self._count, self._count
            return new

        return wished


def _bound(path: str) -> socket.socket:
    """Return a socket at a path, in the place of one that a run before left there."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.setblocking(False)
    try:
        Path(path).unlink(missing_ok=True)
        listening.bind(path)
    except OSError as error:
        listening.close()
        raise WrongSettingError(
            setting="wake_socket",
            problem=f"there can be no socket at {path} ({error.strerror or error})",
            way_out="Name a file in a directory that exists and is yours, in at most 100 characters.",
        ) from None
    return listening
