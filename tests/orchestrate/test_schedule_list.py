"""What the DAG file asks Meltano, and what it makes of the answer. Without Airflow."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MELTANO = Path(sys.executable).parent / "meltano"
sys.path.append(str(ROOT / "orchestrate" / "dags"))

from schedule_list import MeltanoError, MeltanoProject, Step, variables_by_account  # noqa: E402

TAP, TARGET = "tap-stripe-events", "target-postgres-stripe"


@pytest.fixture
def directory(tmp_path):
    """A copy of the project."""
    shutil.copy(ROOT / "meltano.yml", tmp_path)
    return tmp_path


@pytest.fixture
def change(directory):
    """Changes the copy's ``meltano.yml``."""

    def change(edit):
        path = directory / "meltano.yml"
        project = yaml.safe_load(path.read_text())
        edit(project)
        path.write_text(yaml.safe_dump(project, sort_keys=False))

    return change


@pytest.fixture
def project(directory):
    """The copy; takes variables to be set for it, and another Meltano."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TAP_", "MELTANO_"))}

    def project(executable=MELTANO, **variables):
        return MeltanoProject(root=directory, executable=str(executable), environ=inherited | variables)

    return project


class Asked:
    """A stand-in for Meltano, which notes what it is asked."""

    def __init__(self, directory):
        self._log = directory / "asked"
        self.executable = directory / "stand-in"
        self._answer = directory / "answer.json"
        self.executable.write_text(f'#!/bin/sh\necho "$*" >> {self._log}\ncat {self._answer}\n')
        self.executable.chmod(0o755)

    def answer(self, name):
        """Have one schedule of this name, and no settings."""
        job = {"name": "job", "tasks": [f"{TAP} {TARGET}"]}
        schedule = {"name": name, "interval": "@daily", "cron_interval": "0 0 * * *", "env": {}, "job": job}
        self._answer.write_text(json.dumps({"schedules": {"job": [schedule], "elt": []}}))

    def __len__(self):
        return len(self._log.read_text().splitlines()) if self._log.exists() else 0


@pytest.fixture
def asked(directory):
    asked = Asked(directory)
    asked.answer("first")
    return asked


def with_accounts(accounts, environment=None):
    """An edit: the tap has the setting, with this value."""

    def edit(project):
        tap = project["plugins"]["extractors"][0]
        if environment is None:
            tap["config"] = {"connected_accounts": accounts}
        else:
            own = {"name": TAP, "config": {"connected_accounts": accounts}}
            [found] = [each for each in project["environments"] if each["name"] == environment]
            found["config"] = {"plugins": {"extractors": [own]}}

    return edit


def test_a_schedule_of_a_job_is_a_step_for_each_task(project, change):
    def edit(project):
        project["jobs"].append({"name": "both", "tasks": [f"{TAP} {TARGET}", "stripe-proxy:follow"]})
        project["schedules"][0] |= {"job": "both", "env": {"SET": "for it"}}

    change(edit)
    [schedule] = project().schedules()
    assert (schedule.name, schedule.interval, schedule.env) == ("stripe-sync-hourly", "0 * * * *", {"SET": "for it"})
    assert schedule.steps == (
        Step(name="both-1", command=f"{MELTANO} run {TAP} {TARGET}"),
        Step(name="both-2", command=f"{MELTANO} run stripe-proxy:follow"),
    )


def test_the_other_kinds_of_schedules_are_run_too(project, change):
    def edit(project):
        project["schedules"] = [
            {"name": "once", "interval": "@once", "job": "stripe-sync"},
            {"name": "by hand", "interval": "@manual", "job": "stripe-sync"},
            {"name": "old", "interval": "*/5 * * * *", "extractor": TAP, "loader": TARGET, "transform": "skip"},
        ]

    change(edit)
    once, manual, old = project().schedules()
    assert [each.interval for each in (once, manual, old)] == ["@once", None, "*/5 * * * *"]
    assert old.steps == (Step(name="elt", command=f"{MELTANO} schedule run old"),)


def test_meltano_is_asked_once_for_as_long_as_nothing_changes(project, asked, change, directory):
    def names(**variables):
        return [each.name for each in project(asked.executable, **variables).schedules()]

    assert names() == names() == ["first"]
    assert len(asked) == 2  # for the schedules, and for the accounts of the extractor
    asked.answer("second")
    change(lambda project: project.update(include_paths=["more.yml"]))
    assert names() == names() == ["second"]
    for number, name in enumerate(("more.yml", ".env"), start=3):
        asked.answer(str(number))
        (directory / name).write_text("# changed")
        assert names() == names() == [str(number)]
    for number, variable in enumerate(("MELTANO_ENVIRONMENT", "TAP_STRIPE_EVENTS_CONNECTED_ACCOUNTS"), start=5):
        asked.answer(str(number))
        assert names(**{variable: "x"}) == names(**{variable: "x"}) == [str(number)]
    assert len(asked) == 12


def test_a_cache_that_is_broken_is_written_anew(project, asked, directory):
    first = project(asked.executable).schedules()
    [kept] = (directory / ".meltano" / "run").glob("airflow-*.json")
    kept.write_text(kept.read_text()[:20])
    before = len(asked)
    assert project(asked.executable).schedules() == first
    assert len(asked) > before
    assert json.loads(kept.read_text())


def test_the_cache_holds_no_secret(project, asked, directory):
    (directory / ".env").write_text("TAP_STRIPE_EVENTS_API_KEY=sk_test_from_file\n")
    secrets = {"TAP_STRIPE_EVENTS_API_KEY": "sk_test_given", "MELTANO_DATABASE_URI": f"sqlite:///{directory}/secret.db"}
    given = project(asked.executable, **secrets)
    given.schedules()
    [kept] = (directory / ".meltano" / "run").glob("airflow-*.json")
    for secret in ("sk_test", "secret.db"):
        assert secret not in kept.read_text() + repr(given)


def test_what_meltano_has_against_the_project_is_told(project, directory):
    (directory / "meltano.yml").write_text("schedules: [{name: nothing}]\n")
    with pytest.raises(MeltanoError, match="schedule list --format=json ended with 1"):
        project().schedules()


def test_a_list_of_accounts_is_found_where_the_environment_has_it(project, change):
    assert [step.by_account for each in project().schedules() for step in each.steps] == [None]
    change(with_accounts(["acct_1", "acct_2"], environment="dev"))
    [schedule] = project().schedules()
    assert [step.by_account for step in schedule.steps] == [TAP]
    assert project().accounts(TAP, {}) == ["acct_1", "acct_2"]
    assert project(MELTANO_ENVIRONMENT="prod").accounts(TAP, {}) is None
    variable = {"TAP_STRIPE_EVENTS_CONNECTED_ACCOUNTS": '["acct_3"]'}
    assert project(**variable).accounts(TAP, {}) == ["acct_3"]
    assert project().accounts(TAP, variable) == ["acct_3"]
    assert [each.get("MELTANO_RUN_STATE_ID_SUFFIX") for each in project().variables(TAP, variable)] == [None, "acct_3"]
    others = {**variable, "TAP_STRIPE_EVENTS_OWN_ACCOUNT": "false"}
    assert [each.get("MELTANO_RUN_STATE_ID_SUFFIX") for each in project().variables(TAP, others)] == ["acct_3"]
    assert project(TAP_STRIPE_EVENTS_CONNECTED_ACCOUNTS="acct_1,acct_2").accounts(TAP, {}) == ["acct_1", "acct_2"]


def test_accounts_that_are_not_told_one_by_one_are_read_in_one_run(project, change):
    for value in (True, False):
        change(with_accounts(value))
        assert [step.by_account for each in project().schedules() for step in each.steps] == [None]


def test_each_account_is_read_with_a_state_of_its_own():
    named, own = "TAP_STRIPE_EVENTS_CONNECTED_ACCOUNTS", "TAP_STRIPE_EVENTS_OWN_ACCOUNT"
    first, *others = variables_by_account(TAP, ["acct_1", "acct_2"])
    assert first == {named: "[]", own: "true"}
    assert others == [
        {named: f'["{each}"]', own: "false", "MELTANO_RUN_STATE_ID_SUFFIX": each} for each in ("acct_1", "acct_2")
    ]
    assert variables_by_account(TAP, ["acct_1", "acct_2"], own=False) == others
    assert variables_by_account(TAP, None) == [{}]


def test_the_project_is_the_one_that_the_file_lies_in(monkeypatch, directory):
    monkeypatch.delenv("MELTANO_PROJECT_ROOT", raising=False)
    monkeypatch.setenv("MELTANO_EXECUTABLE", str(MELTANO))
    assert MeltanoProject.around(str(ROOT / "orchestrate" / "dags" / "x.py")).root == ROOT
    monkeypatch.setenv("MELTANO_PROJECT_ROOT", str(directory))
    assert MeltanoProject.around(__file__).root == directory
    monkeypatch.setenv("MELTANO_PROJECT_ROOT", "/nowhere")
    with pytest.raises(MeltanoError, match=r"No meltano\.yml in /nowhere"):
        MeltanoProject.around(__file__)
    monkeypatch.setenv("MELTANO_PROJECT_ROOT", str(directory))
    monkeypatch.setenv("MELTANO_EXECUTABLE", "no-such-meltano")
    with pytest.raises(MeltanoError, match="There is no no-such-meltano"):
        MeltanoProject.around(__file__)
