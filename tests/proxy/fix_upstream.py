"""An upstream made of a socket: keeps every byte that it was sent, and answers the bytes that it is told."""

import contextlib
import socket
import threading
import time

LONGEST_SECONDS = 5


class RawUpstream:
    """Listens on a port of its own.

    Attributes:
        answer: What it sends, in bytes or in an iterable of pieces.
        delay_seconds: How long it takes before it does.
        pause_seconds: How long it waits between two pieces.
        takes: How many requests it takes on one connection before it closes it.
        requests: What it was sent.
        connections: How many there were.
        closed: How many of them it has closed again.
    """

    def __init__(self):
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        self.requests = []
        self.connections = 0
        self.closed = 0
        self.delay_seconds = 0.0
        self.pause_seconds = 0.0
        self.takes = 1
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        self.connections += 1
        self._answer(connection)
        self.closed += 1

    def _answer(self, connection):
        with connection, contextlib.suppress(ConnectionError):
            connection.settimeout(LONGEST_SECONDS)
            for _ in range(self.takes):
                received = b""
                while not complete(received):
                    chunk = connection.recv(65536)
                    if not chunk:
                        break
                    received += chunk
                if not received:
                    return
                self.requests.append(received)
                time.sleep(self.delay_seconds)
                for piece in [self.answer] if isinstance(self.answer, bytes) else self.answer:
                    connection.sendall(piece)
                    time.sleep(self.pause_seconds)

    def close(self):
        """Stop listening; may be called again."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # else it takes one more connection
        self._socket.close()


def complete(received):
    """Whether a request is there whole: by its length, or its last chunk."""
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
        if line.startswith(b"transfer-encoding: chunked"):
            return body.endswith(b"0\r\n\r\n")
    return True


def talk(url, request, *, wait_seconds=LONGEST_SECONDS):
    """Send the bytes of a request and return those of the answer."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), wait_seconds) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received
