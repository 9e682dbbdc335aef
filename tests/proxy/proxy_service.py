"""The proxy in a thread of the tests, or in a process of its own."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import requests

from stripe_proxy.__main__ import make_app
from stripe_proxy.server import make_server

START_SECONDS = 20
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def serving(settings):
    """Serve the application as the command does, in a thread; yields its URL."""
    # Of a protocol by name: else asyncio does not set TCP_NODELAY, and each answer waits for 40 ms.
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)  # as uvicorn does
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


@contextlib.contextmanager
def proxy_process(*, checkout=ROOT, **settings):
    """Serve as the command does; yields the URL and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STRIPE_PROXY_")}
    environment |= {f"STRIPE_PROXY_{name.upper()}": str(value) for name, value in {**settings, "port": port}.items()}
    environment["PYTHONPATH"] = str(checkout)
    process = subprocess.Popen([sys.executable, "-m", "stripe_proxy"], cwd=checkout, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(url):
            assert process.poll() is None, "the proxy ended"
            assert time.monotonic() < deadline, "the proxy did not start"
            time.sleep(0.05)
        yield url, process
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def answers(url):
    """Whether something answers there."""
    try:
        return requests.get(f"{url}/healthz", timeout=START_SECONDS).status_code > 0
    except requests.ConnectionError:
        return False
