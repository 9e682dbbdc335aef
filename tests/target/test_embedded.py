"""The embedded Postgres: one server per project, whoever starts it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from target_postgres_stripe import embedded
from target_postgres_stripe.errors import EmbeddedError

TIMEOUT_SECONDS = 60


@pytest.fixture
def project():
    """A project's directory; its server is stopped at the end. Not tmp_path, which root's ``nobody`` cannot reach."""
    directory = Path(tempfile.mkdtemp(prefix="project-"))
    directory.chmod(0o755)
    yield directory
    command(directory, "stop")
    shutil.rmtree(directory)


def popen(project, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "STRIPE_SYNC_HOME"}
    return subprocess.Popen(
        [sys.executable, "-m", "target_postgres_stripe.embedded", *arguments],
        cwd=project,
        env=environment | {"MELTANO_PROJECT_ROOT": str(project)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(project, *arguments):
    process = popen(project, *arguments)
    output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, output.strip(), errors


def postmaster(url):
    with psycopg.connect(url) as session:
        return session.execute(
            "SELECT pg_postmaster_start_time(), setting FROM pg_settings WHERE name = 'data_directory'"
        ).fetchone()


def test_many_starters_at_once_make_one_server(project):
    starters = [popen(project, "start") for _ in range(4)]
    results = [(starter.communicate(timeout=TIMEOUT_SECONDS), starter.returncode) for starter in starters]
    assert {code for _, code in results} == {0}, results
    (url,) = {output.strip() for (output, _), _ in results}
    assert Path(postmaster(url)[1]).is_relative_to(project)
    assert (project / ".stripe-sync" / "postgres" / "run").stat().st_mode & 0o777 == 0o700


def test_it_outlives_its_starter_keeps_its_rows_and_stops_when_told(project):
    _, url, _ = command(project, "url")
    with psycopg.connect(url) as session:
        session.execute("CREATE TABLE kept AS SELECT 1 AS n")
    assert command(project, "psql", "-Atc", "SELECT n FROM kept")[:2] == (0, "1")
    assert command(project, "status")[:2] == (0, f"running: {url}")
    assert command(project, "stop")[0] == 0
    assert command(project, "status")[:2] == (3, "not running")
    assert command(project, "psql", "-Atc", "SELECT n FROM kept")[:2] == (0, "1")


def test_a_killed_server_whose_number_is_another_process_now_is_started_again(project):
    _, url, _ = command(project, "url")
    data = Path(postmaster(url)[1])
    lock = data / "postmaster.pid"
    content = lock.read_text()
    server = int(content.split("\n", 1)[0])
    os.kill(server, signal.SIGKILL)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        lock.write_text(content.replace(str(server), str(bystander.pid), 1))
        assert command(project, "psql", "-Atc", "SELECT 1")[:2] == (0, "1")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.communicate(timeout=TIMEOUT_SECONDS)


def test_a_project_with_a_long_path_gets_a_short_socket(project, monkeypatch):
    cluster = embedded.cluster_at(project / ("x" * 100))
    assert len(os.fsencode(cluster.socket / embedded.SOCKET_NAME)) <= embedded.SOCKET_PATH_LIMIT
    assert cluster.socket != embedded.cluster_at(project / ("y" * 100)).socket


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_a_project_that_only_root_can_reach_has_its_cluster_elsewhere(project):
    project.chmod(0o700)
    cluster = embedded.cluster_at(project / ".stripe-sync")
    assert cluster.data.is_relative_to(embedded.SHARED_ROOT)
    assert cluster.user == "nobody"


def test_somebody_elses_directory_is_not_used(project):
    (project / "elsewhere").mkdir()
    (project / "link").symlink_to(project / "elsewhere")
    with pytest.raises(EmbeddedError, match="belongs to another account"):
        embedded.private_directory(project / "link", None)


def test_the_target_uses_it_when_no_database_is_named(project):
    done = subprocess.run(
        [Path(sys.executable).with_name("target-postgres-stripe")],
        input=b'{"type":"SCHEMA","stream":"t","schema":{"properties":{"id":{"type":"integer"}}},"key_properties":["id"]}\n'
        b'{"type":"RECORD","stream":"t","record":{"id":7}}\n',
        env=os.environ | {"STRIPE_SYNC_HOME": str(project / "home")},
        capture_output=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    cluster = embedded.cluster_at(project / "home")
    with psycopg.connect(cluster.url) as session:
        assert session.execute("SELECT id FROM stripe.t").fetchall() == [(7,)]
    embedded.stop(cluster)
