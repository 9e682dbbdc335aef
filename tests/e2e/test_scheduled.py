"""Runs that nobody watches: from cron, and after a kill -9."""

import fcntl
import os
import re
import shlex
import signal
import sqlite3
import subprocess

import pytest
from meltano_project import ROOT
from pipeline import TIMEOUT_SECONDS

OPERATING = (ROOT / "docs" / "operating.md").read_text()
CRON = {"HOME": "/nonexistent", "LOGNAME": "nobody", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
"""All that cron gives a command."""


@pytest.fixture
def account(make_account):
    return make_account("demo")


@pytest.fixture
def project(meltano):
    """The project's folder; what Meltano needs is in `.env`, as the page says."""
    directory = meltano._how["cwd"]
    given = {name: value for name, value in meltano._environment.items() if name.startswith(("TAP_", "TARGET_"))}
    (directory / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in given.items()))
    return directory


@pytest.fixture
def cron(project):
    """Runs the page's line as cron does, and returns what would be mailed."""
    [line] = re.findall(r"^0 \* \* \* \* (.*)$", OPERATING, re.MULTILINE)
    assert "%" not in line  # which cron takes for the end of the line
    command = line.strip().replace("/srv/stripe-sync", shlex.quote(str(project)))

    def cron():
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=CRON, cwd="/", capture_output=True, text=True,
            timeout=TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    return cron


def test_the_cron_line_syncs_and_mails_nothing(cron, project, account, assert_true):
    assert cron() == ""
    log = (project / "sync.log").read_text()
    assert " Finished: " in log
    assert "sk_test_sandbox" not in log
    assert_true(account)


def test_a_run_from_cron_that_fails_is_mailed(cron, project):
    with (project / ".env").open("a") as file:
        file.write("TAP_STRIPE_EVENTS_API_KEY=sk_test_mistyped_9876\n")
    assert re.fullmatch(r"stripe-sync failed with exit code 1: .*sync\.log\n", cron())
    assert "refused the API key ending in …9876" in (project / "sync.log").read_text()


def test_cron_starts_no_second_run_beside_one_that_goes_on(cron, project):
    lock = os.open(project, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cron() == ""
    finally:
        os.close(lock)
    assert (project / "sync.log").read_text() == ""
    assert cron() == ""
    assert " Finished: " in (project / "sync.log").read_text()


def test_after_a_kill_meltano_refuses_for_five_minutes_unless_forced(
    meltano, account, connection, tmp_path, assert_true
):
    log = tmp_path / "run.log"
    follow = {"TAP_STRIPE_EVENTS_FOLLOW": "true"}
    with meltano.start("run", "stripe-sync", log=log, **follow) as run:
        connection.execute("SET statement_timeout = '100s'")
        while "Following the feed" not in log.read_text():
            assert run.poll() is None, log.read_text()
            connection.execute("SELECT pg_sleep(0.2)")
        os.kill(run.pid, signal.SIGKILL)
        run.wait(TIMEOUT_SECONDS)
        os.killpg(run.pid, signal.SIGKILL)  # as systemd does with what is left
    refused = meltano("run", "stripe-sync")
    assert refused.returncode == 1
    assert "already running" in refused.stdout + refused.stderr
    account.control("tick", days=1)
    forced = meltano("run", "--force", "stripe-sync", TAP_STRIPE_EVENTS_SWEEP_INTERVAL_HOURS="0")
    assert forced.returncode == 0, forced.stderr
    assert_true(account)


@pytest.mark.parametrize(("minutes", "code"), [(4, 1), (6, 0)])
def test_a_killed_run_is_let_go_after_five_minutes(meltano, project, account, minutes, code):
    assert meltano("run", "stripe-sync").returncode == 0
    with sqlite3.connect(project / "meltano.db") as database:
        # As a run that was killed leaves it.
        database.execute(
            "UPDATE runs SET state = 'RUNNING', ended_at = NULL, last_heartbeat_at = datetime('now', ?)",
            (f"-{minutes} minutes",),
        )
    assert meltano("run", "stripe-sync").returncode == code
