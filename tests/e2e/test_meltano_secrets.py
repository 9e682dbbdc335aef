"""What Meltano writes: its log, its database and its run files, in which no key and no person is to be."""

import threading
import time
from pathlib import Path

import pytest
from oracle import parse_truth
from pipeline import TIMEOUT_SECONDS

KEY = "rk_test_planted_in_a_file"
PASSWORD = "planted-password"  # noqa: S105 - the test server asks for none


@pytest.fixture
def account(make_account):
    return make_account("demo", restricted_keys={KEY: "customer,event"})


@pytest.fixture
def database(database):
    return database.replace("postgres@", f"postgres:{PASSWORD}@")


def holding(directory, *words):
    """The files below a directory that hold one of these words, and which."""
    found = {}
    for path in directory.rglob("*"):
        if path.is_file() and ".venv" not in path.parts:
            content = path.read_bytes()
            if here := [word for word in words if word.encode() in content]:
                found[path.relative_to(directory).parts] = here
    return found


def argument_lists(word):
    """The command lines of the processes of this machine that hold a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue  # it has ended
        if word.encode() in line:
            found.append(line)
    return found


def test_a_run_leaves_no_key_no_password_and_nobody_behind(meltano, account, tmp_path):
    customers = [each.body for each in parse_truth(account.lines("customer"))]
    people = sorted({body[field] for body in customers for field in ("name", "email") if body.get(field)})
    assert len(people) > 20
    done = meltano("run", "tap-stripe-events", "target-postgres-stripe", TAP_STRIPE_EVENTS_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    assert holding(tmp_path / "project", KEY, PASSWORD, *people) == {}
    assert [each for each in (KEY, PASSWORD, *people) if each in done.stdout + done.stderr] == []


@pytest.mark.parametrize("in_files", [True, False])
def test_while_a_run_lasts_meltano_has_the_key_on_disk_only_if_it_is_not_in_a_file(
    meltano, account, database, tmp_path, in_files
):
    log = tmp_path / "run.log"
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "url").write_text(f"{database}\n")
    given = {"TAP_STRIPE_EVENTS_API_KEY": KEY}
    if in_files:
        given = {
            "TAP_STRIPE_EVENTS_API_KEY": "",
            "TAP_STRIPE_EVENTS_API_KEY_FILE": str(tmp_path / "key"),
            "TARGET_POSTGRES_STRIPE_DATABASE_URL": "",
            "TARGET_POSTGRES_STRIPE_DATABASE_URL_FILE": str(tmp_path / "url"),
        }
    pause, deadline = threading.Event(), time.monotonic() + TIMEOUT_SECONDS
    with meltano.start("run", "stripe-sync", log=log, TAP_STRIPE_EVENTS_FOLLOW="true", **given):
        while "Following the feed" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()[-2_000:]
            pause.wait(0.2)
        found = holding(tmp_path / "project", KEY, PASSWORD)
        assert argument_lists(KEY) == argument_lists(PASSWORD) == []
    if in_files:
        assert found == {}
    else:
        assert {parts[:3] for parts in found} == {
            (".meltano", "run", "tap-stripe-events"), (".meltano", "run", "target-postgres-stripe"),
        }  # fmt: skip
    assert [each for each in (KEY, PASSWORD) if each in log.read_text()] == []
