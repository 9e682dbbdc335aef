"""The proxy in a thread of the tests."""

import contextlib
import socket
import threading

import requests

from stripe_proxy.__main__ import make_app
from stripe_proxy.server import make_server

START_SECONDS = 20


@contextlib.contextmanager
def serving(settings):
    """Serve the application as the command does, in a thread; yields its URL."""
    # Of a protocol by name: else asyncio does not set TCP_NODELAY, and each answer waits for 40 ms.
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = make_server(make_app(settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            requests.get(url, timeout=START_SECONDS)
            yield url
        finally:
            server.should_exit = True
            thread.join(START_SECONDS)
