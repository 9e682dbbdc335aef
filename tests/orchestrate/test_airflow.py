"""The DAGs in a real Airflow."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from meltano_project import meltano_project
from oracle import differences
from pipeline import BIN
from running_airflow import DAG, TIMEOUT_SECONDS, StandIn, wait_until
from stripe_account import stripe_account

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(2 * TIMEOUT_SECONDS)]


@pytest.fixture
def account():
    with stripe_account("demo") as account:
        yield account


@pytest.fixture
def meltano(tmp_path, account, database):
    return meltano_project(tmp_path / "project", stripe_url=account.url, database=database)


@pytest.fixture
def airflow(make_airflow, meltano):
    """An Airflow that finds the account and the database in its environment, as Meltano does."""
    return make_airflow(meltano._environment)


@pytest.fixture
def stand_in(make_airflow, tmp_path):
    """Makes an Airflow whose Meltano does something else when told to run, on a copy of the project."""

    def make(run):
        project = meltano_project(tmp_path / "project", stripe_url="http://127.0.0.1:9", database="postgresql://unused")
        there = StandIn(tmp_path / "stand-in", BIN / "meltano", run)
        return make_airflow(project._environment | {"MELTANO_EXECUTABLE": str(there.executable)}), there

    return make


def root_of(airflow):
    return Path(airflow.environment["MELTANO_PROJECT_ROOT"])


def test_each_schedule_is_a_dag_of_its_name(airflow):
    assert airflow("dags", "list-import-errors").stdout.strip() == "No data found"
    assert airflow("dags", "reserialize").returncode == 0
    schedules = yaml.safe_load((root_of(airflow) / "meltano.yml").read_text())["schedules"]
    assert [each["dag_id"] for each in airflow.json("dags", "list")] == [each["name"] for each in schedules]
    [details] = airflow.json("dags", "details", DAG)
    assert (details["max_active_runs"], details["timetable_summary"]) == ("1", "0 * * * *")
    # Nothing is made up for: the next run is of the present.
    assert datetime.fromisoformat(details["next_dagrun_run_after"]) > datetime.now(UTC) - timedelta(hours=2)


def test_the_file_is_read_within_two_seconds_once_meltano_has_answered(airflow):
    def seconds():
        [took] = [each["duration"] for each in airflow.json("dags", "report") if "meltano_dags" in each["file"]]
        hours, minutes, rest = took.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(rest)

    seconds()
    assert seconds() < 2


def test_a_run_fills_the_tables_and_shows_no_secret(airflow, account, connection):
    airflow.change("RETRIES", "0")
    done = airflow("dags", "test", DAG)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    wrong = differences(connection, account.expectation())
    assert not wrong, "\n".join(map(str, wrong[:20]))
    logged = [path.read_text() for path in airflow.home.rglob("*.log")]
    assert "sk_test_sandbox" not in "".join([done.stdout, done.stderr, *logged])


def test_a_run_that_failed_is_tried_again(stand_in):
    airflow, there = stand_in("[ $(wc -l < $log) -ge 3 ]")
    airflow.change("RETRY_DELAY", "timedelta(seconds=1)")
    done = airflow("dags", "test", DAG)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    assert len(there.noted("began")) == 3


def test_a_run_that_goes_on_failing_fails_for_good(stand_in):
    airflow, there = stand_in("exit 1")
    airflow.change("RETRY_DELAY", "timedelta(seconds=0.1)")
    done = airflow("dags", "test", DAG)
    assert len(there.noted("began")) == 5
    assert done.returncode != 0
    assert airflow.json("dags", "list-runs", DAG)[0]["state"] == "failed"


def test_a_run_that_takes_too_long_is_ended_with_all_its_processes(stand_in):
    airflow, there = stand_in("trap 'note ended; kill $(jobs -p); exit 143' TERM\nsleep 600 & wait")
    airflow.change("LONGEST_RUN", "timedelta(seconds=3)")
    airflow.change("RETRIES", "0")
    done = airflow("dags", "test", DAG)
    assert done.returncode != 0
    [[process, *_]] = there.noted("began")
    assert [each[0] for each in there.noted("ended")] == [process]
    assert not Path(f"/proc/{process}").exists()


def test_a_list_of_accounts_becomes_a_task_for_each(stand_in):
    airflow, there = stand_in('[ "$MELTANO_RUN_STATE_ID_SUFFIX" != acct_2 ]')
    path = root_of(airflow) / "meltano.yml"
    project = yaml.safe_load(path.read_text())
    tap = project["plugins"]["extractors"][0]
    tap["config"] = {"connected_accounts": ["acct_1", "acct_2", "acct_3"]}
    path.write_text(yaml.safe_dump(project, sort_keys=False))
    airflow.change("RETRIES", "0")
    done = airflow("dags", "test", DAG)
    assert done.returncode != 0  # one of them failed, and only that one
    given = {suffix: accounts for _, _, suffix, accounts in there.noted("began")}
    assert given == {"-": "[]"} | {each: json.dumps([each]) for each in ("acct_1", "acct_2", "acct_3")}
    [run] = airflow.json("dags", "list-runs", DAG)
    assert airflow.states(run["run_id"]) == {
        "stripe-sync-accounts": "success",
        **{f"stripe-sync[{place}]": "failed" if place == 2 else "success" for place in range(4)},
    }
    with closing(sqlite3.connect(airflow.home / "airflow.db")) as database:
        shown = database.execute("SELECT rendered_map_index FROM task_instance WHERE task_id = 'stripe-sync'")
        assert {label for (label,) in shown} == {"own account", "acct_1", "acct_2", "acct_3"}


def test_two_runs_do_not_overlap(stand_in):
    airflow, there = stand_in("sleep 3; note ended")
    with airflow.services():
        wait_until(lambda: DAG in airflow("dags", "list").stdout)
        assert airflow("dags", "unpause", DAG).returncode == 0
        for number in range(3):
            done = airflow("dags", "trigger", DAG, "--run-id", f"asked-{number}")
            assert done.returncode == 0, done.stderr
        wait_until(lambda: len(there.noted("ended")) >= 3)
    began, ended = ([float(each[1]) for each in there.noted(what)] for what in ("began", "ended"))
    assert all(end <= begin for end, begin in zip(ended, began[1:], strict=False))
    assert all(one < other for one, other in pairwise(began))
