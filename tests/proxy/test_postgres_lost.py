"""Postgres is killed, ends sessions or is locked while many write: each gets Stripe's answer, in time and honestly.

A caller who is not told `Stripe-Proxy-Applied: false` finds his row. One who is told so does not, unless the server
died between its commit and its word that it had.
"""

import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import requests
from fix_sandbox import Http
from oracle import Oracle, differences
from pipeline import Pipeline
from stripe_account import StripeAccount

from target_postgres_stripe import embedded

CALLERS = 6
PATIENCE_SECONDS = 1.0
RECOVERY_SECONDS = 2.0


@pytest.fixture
def server():
    """A server that can be killed; its cluster."""
    root = Path(tempfile.mkdtemp(prefix="pg-"))
    root.chmod(0o711)
    cluster = embedded.cluster_at(root)
    embedded.start(cluster)
    yield cluster
    embedded.stop(cluster)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def account(make_sandbox):
    sandbox = make_sandbox(now=None)
    http = Http(sandbox.url)
    yield StripeAccount(sandbox, http)
    http.close()


@pytest.fixture
def pipeline(account, server, tmp_path):
    """A sync that has run once."""
    pipeline = Pipeline(tmp_path, stripe_url=account.url, database_url=server.url)
    assert (outcome := pipeline.run()).succeeded, outcome.logs
    return pipeline


@dataclass(frozen=True, kw_only=True)
class Written:
    """A write: the customer, whether it is said to be in Postgres, when it was sent, and how long the answer took."""

    id: str
    applied: bool
    at: float
    seconds: float


class Writing:
    """Callers who write one customer after the other."""

    def __init__(self, proxy):
        self._url = f"{proxy}/api.stripe.com/v1/customers"
        self._end = threading.Event()
        self.written = []
        self._pool = ThreadPoolExecutor(CALLERS)

    def __enter__(self):
        self._callers = [self._pool.submit(self._write) for _ in range(CALLERS)]
        self.wait_until_applied(time.monotonic())
        return self

    def __exit__(self, *_):
        self._end.set()
        for caller in self._callers:
            caller.result()
        self._pool.shutdown()

    def _write(self):
        with requests.Session() as session:
            while not self._end.is_set():
                began = time.monotonic()
                answer = session.post(self._url, auth=("sk_test_sandbox", ""), data={"name": "one"}, timeout=20)
                assert answer.status_code == 200, answer.text
                self.written.append(
                    Written(
                        id=answer.json()["id"],
                        applied="Stripe-Proxy-Applied" not in answer.headers,
                        at=began,
                        seconds=time.monotonic() - began,
                    )
                )

    def wait_until_applied(self, since):
        """Wait for a write that began after a moment and is in Postgres; return how long after the moment it began."""
        while True:
            found = [each.at - since for each in self.written if each.at > since and each.applied]
            if found:
                return min(found)
            assert time.monotonic() - since < 20
            time.sleep(0.02)

    def judge(self, connection):
        """Return how many were not applied, and how many of those are there all the same; all others have to be."""
        rows = {key for (key,) in connection.execute("SELECT id FROM stripe.customer")}
        assert [each for each in self.written if each.applied and each.id not in rows] == []
        refused = [each for each in self.written if not each.applied]
        assert max(each.seconds for each in self.written) < PATIENCE_SECONDS + 1.5
        return len(refused), sum(each.id in rows for each in refused)


def heals(pipeline, account, url):
    """The feed brings what is missing."""
    assert (outcome := pipeline.run()).succeeded, outcome.logs
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        expected = Oracle(account.id).expect(account.truth())
        found = differences(connection, expected, tables=["customer"])  # what else they have, a later sweep finds
    assert found == [], "\n".join(map(str, found[:10]))


@pytest.fixture
def proxy(account, server, pipeline, make_proxy):
    return make_proxy(account, database_url=server.url, apply_timeout_seconds=PATIENCE_SECONDS)


def test_a_server_that_is_killed_and_comes_back(account, server, pipeline, proxy):
    with Writing(proxy) as writing:
        os.kill(embedded.server_pid(server), signal.SIGKILL)
        killed_at = time.monotonic()
        time.sleep(1.5)
        embedded.start(server)
        back_at = time.monotonic()
        assert writing.wait_until_applied(back_at) < RECOVERY_SECONDS
    with psycopg.connect(server.url) as connection:
        refused, there = writing.judge(connection)
    assert refused > CALLERS
    assert there <= CALLERS
    assert [each for each in writing.written if killed_at + 0.5 < each.at < back_at - 1.0 and each.applied] == []
    heals(pipeline, account, server.url)


def test_sessions_that_are_ended_again_and_again_cost_nobody_his_row(account, server, pipeline, proxy):
    with Writing(proxy) as writing, psycopg.connect(server.url, autocommit=True) as admin:
        ended = 0
        for _ in range(8):
            time.sleep(0.3)
            ended += admin.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND backend_start < now() - interval '0.2 seconds' "
                "AND pid <> pg_backend_pid()"  # not while one is opened: then Postgres counts as away for a second
            ).fetchone()[0]
        assert writing.wait_until_applied(time.monotonic()) < RECOVERY_SECONDS
        refused, _ = writing.judge(admin)
    assert ended >= 8
    assert refused < ended / 2  # those that were hit twice, or waited too long on a busy machine
    heals(pipeline, account, server.url)


def test_a_table_that_somebody_locks(account, server, pipeline, proxy):
    """Longer than a statement may take."""
    with Writing(proxy) as writing, psycopg.connect(server.url) as another:
        another.execute("LOCK TABLE stripe.customer")
        time.sleep(5)
        another.rollback()
        assert writing.wait_until_applied(time.monotonic()) < RECOVERY_SECONDS
        refused, _ = writing.judge(another)  # one that waited may have been stored after its answer
    assert refused > CALLERS
    heals(pipeline, account, server.url)


def test_a_server_that_stands_still(account, server, pipeline, proxy):
    """Its connections are there, and nothing comes."""
    with Writing(proxy) as writing, psycopg.connect(server.url, autocommit=True) as admin:
        pids = admin.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchall()
        try:
            for (pid,) in pids:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(4)
        finally:
            for (pid,) in pids:
                os.kill(pid, signal.SIGCONT)
        assert writing.wait_until_applied(time.monotonic()) < RECOVERY_SECONDS
        refused, _ = writing.judge(admin)
    assert refused > CALLERS
    heals(pipeline, account, server.url)


def test_a_place_where_no_server_answers(account, make_proxy):
    """All get their answers, also those who come while it is not even known whose the tables are."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none?connect_timeout=3"
        proxy = make_proxy(account, database_url=url, apply_timeout_seconds=PATIENCE_SECONDS)

        def write(_):
            began = time.monotonic()
            answer = requests.post(f"{proxy}/api.stripe.com/v1/customers", auth=("sk_test_sandbox", ""), timeout=20)
            assert (answer.status_code, answer.headers["Stripe-Proxy-Applied"]) == (200, "false")
            return time.monotonic() - began

        with ThreadPoolExecutor(40) as pool:
            assert max(pool.map(write, range(80))) < PATIENCE_SECONDS + 1.5
