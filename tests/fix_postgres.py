"""Postgres for tests: one server a session, which dies with it, and one database a test.

``postgres_server`` is the session's server; ``database`` a fresh database's libpq URI; ``connection`` a session in it.
Many short sessions can share a server that somebody else has started, and named in ``TEST_POSTGRES_URL``.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from target_postgres_stripe import embedded

SHARED_SERVER = "TEST_POSTGRES_URL"
START_SECONDS = 30
PR_SET_PDEATHSIG = 1

DURABILITY_OFF = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "shared_buffers": "64MB"}
"""The cluster does not outlive the session."""


def die_with_parent():
    """In the child, before it becomes the server: have the kernel stop it when the test session is gone, however."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


@contextlib.contextmanager
def running_server():
    """A server of our own, and its cluster."""
    # Not under tmp_path: as root, the server's account could not get there.
    root = Path(tempfile.mkdtemp(prefix="pg-"))
    root.chmod(0o711)
    cluster = embedded.cluster_at(root)
    embedded.private_directory(cluster.data.parent, cluster.user)
    embedded.private_directory(cluster.socket, cluster.user)
    cluster = embedded.with_reachable_binaries(cluster)
    embedded.initialize(cluster)
    settings = embedded.server_settings(cluster) | DURABILITY_OFF
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    with cluster.log.open("wb") as log:
        server = subprocess.Popen(
            [cluster.binaries / "postgres", "-D", cluster.data, *options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd="/",
            user=cluster.user, extra_groups=[] if cluster.user else None, preexec_fn=die_with_parent,  # noqa: PLW1509 - before any thread
        )  # fmt: skip
    deadline = time.monotonic() + START_SECONDS
    while not embedded.accepts_connections(cluster):
        assert server.poll() is None, cluster.log.read_text()
        assert time.monotonic() < deadline, "the test server did not start"
    try:
        yield cluster
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=START_SECONDS)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server():
    """A running server: its cluster, or no more than its URL if it is a shared one."""
    if url := os.environ.get(SHARED_SERVER):
        yield SimpleNamespace(url=url)
        return
    with running_server() as cluster:
        yield cluster


@pytest.fixture
def database(postgres_server, request):
    """The libpq URI of a database of the test's own."""
    name = f"test_{os.getpid()}_{abs(hash(request.node.nodeid)) % 10**12}"
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name}")
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")  # a tenth of the time
    yield postgres_server.url.replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def connection(database):
    """A session in the test's database."""
    with psycopg.connect(database, autocommit=True, options="-c timezone=UTC") as session:
        yield session
