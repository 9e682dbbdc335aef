"""The main job, as people run it: ``meltano run tap-stripe-events target-postgres-stripe``."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from pipeline import BIN, TIMEOUT_SECONDS

ROOT = Path(__file__).parents[2]
STATE_ID = "dev:tap-stripe-events-to-target-postgres-stripe"


@pytest.fixture
def account(make_account):
    return make_account("demo")


@pytest.fixture
def meltano(tmp_path, account, database):
    """Run Meltano on a copy of the project, with a system database of its own."""
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(ROOT / "meltano.yml", project)
    (project / ".venv").symlink_to(BIN.parent)
    ours = ("TAP_", "TARGET_", "MELTANO_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {
        "MELTANO_PROJECT_ROOT": str(project),
        "MELTANO_DATABASE_URI": f"sqlite:///{project}/meltano.db",
        "TAP_STRIPE_EVENTS_API_KEY": "sk_test_sandbox",
        "TAP_STRIPE_EVENTS_API_URL": account.url,
        "TAP_STRIPE_EVENTS_REQUESTS_PER_SECOND": "1000",
        "TAP_STRIPE_EVENTS_ENDPOINT_REQUESTS_PER_SECOND": "1000",
        "TARGET_POSTGRES_STRIPE_DATABASE_URL": database,
    }

    def run(*arguments, **settings):
        return subprocess.run(
            [BIN / "meltano", *arguments],
            cwd=project,
            env=environment | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )

    return run


def test_meltano_run_fills_the_tables_and_keeps_a_state_that_a_person_can_read(
    meltano, account, connection, assert_true
):
    done = meltano("run", "tap-stripe-events", "target-postgres-stripe")
    assert done.returncode == 0, done.stderr
    assert_true(account)
    shown = meltano("state", "get", STATE_ID)
    assert shown.returncode == 0, shown.stderr
    state = json.loads(shown.stdout)["singer_state"]
    assert state["account"] == {"id": account.id, "livemode": False}
    charge = state["bookmarks"]["charge"]
    assert charge["open_windows"] == []
    assert charge["backfill_started_at"] <= charge["backfill_finished_at"]
    stored = dict(connection.execute("SELECT stream, bookmark FROM stripe._sync_status").fetchall())
    assert stored == state["bookmarks"]
    for secret in ("sk_test_sandbox", "_secret_"):
        assert secret not in done.stdout + done.stderr + shown.stdout


def test_the_job_runs_again_with_its_state_and_brings_what_changed(meltano, account, assert_true):
    assert meltano("run", "stripe-sync").returncode == 0
    account.control("tick", days=2)
    account.vanish("coupon", account.create("/v1/coupons", percent_off=10, duration="once")["id"])
    done = meltano("run", "stripe-sync")
    assert done.returncode == 0, done.stderr
    assert_true(account)


def test_a_wrong_key_fails_the_run_and_is_not_shown(meltano):
    wrong = {"TAP_STRIPE_EVENTS_API_KEY": "sk_test_mistyped_9876"}
    done = meltano("run", "tap-stripe-events", "target-postgres-stripe", **wrong)
    assert done.returncode == 1
    assert "refused the API key ending in …9876" in done.stdout + done.stderr
    assert "mistyped" not in done.stdout + done.stderr
