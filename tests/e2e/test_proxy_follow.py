"""One command is a live replica with write-through: ``stripe-proxy --follow``, here as Meltano's utility."""

import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import requests
import stripe
from pipeline import TIMEOUT_SECONDS

PROCESSES = ("tap-stripe-events", "target-postgres-stripe", "stripe-proxy")


@pytest.fixture
def account(make_account):
    return make_account(now=None)


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def members(group):
    """The command lines of a process group's members, by process id."""
    found = {}
    for each in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if os.getpgid(int(each.name)) == group:
                found[int(each.name)] = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def named(group, command):
    """The process of a group that runs a command; None if there is none."""
    return next((number for number, line in members(group).items() if command in line), None)


def until(condition):
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_one_command_is_a_live_replica_with_write_through(meltano, account, connection, free_port, tmp_path):
    """`meltano invoke stripe-proxy:follow`, or `stripe-proxy --follow`, which it runs."""
    connection.autocommit = True
    proxy, log = f"http://127.0.0.1:{free_port}", tmp_path / "log"

    def waited():
        identifier = connection.execute("SELECT id FROM stripe._sync").fetchone()[0]
        return requests.get(f"{proxy}/api/wait/{identifier}?timeout=60", timeout=TIMEOUT_SECONDS).json()

    def names():
        return {name for (name,) in connection.execute("SELECT name FROM stripe.customer")}

    def synced():
        with suppress(psycopg.Error):
            return waited() == {"ok": True}

    with meltano.start("invoke", "stripe-proxy:follow", log=log, STRIPE_PROXY_PORT=str(free_port)) as process:
        group = process.pid
        until(synced)
        assert all(named(group, f"/{each} ") for each in PROCESSES)
        client = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": f"{proxy}/api.stripe.com"})
        client.v1.customers.create({"name": "through the proxy"})
        assert "through the proxy" in names()
        account.create("/v1/customers", name="past the proxy")
        assert waited() == {"ok": True}
        assert "past the proxy" in names()

        tap = named(group, "/tap-stripe-events ")
        os.kill(tap, signal.SIGKILL)
        account.create("/v1/customers", name="while it was down")
        until(lambda: (again := named(group, "/tap-stripe-events ")) is not None and again != tap)
        assert waited() == {"ok": True}
        assert "while it was down" in names()
        assert "It ended with exit code 1" in requests.get(proxy, timeout=TIMEOUT_SECONDS).text

        os.kill(named(group, "/stripe-proxy "), signal.SIGTERM)
        process.wait(TIMEOUT_SECONDS)
        until(lambda: not members(group))
    assert "sk_test_sandbox" not in log.read_text()
