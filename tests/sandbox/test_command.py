"""The command: a process with a port, a state, and an end."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import requests

from stripe_sandbox.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "stripe_sandbox", "--port", "0"]
TIMEOUT_SECONDS = 30


def test_it_says_where_it_listens_and_saves_its_state_at_the_end(tmp_path: Path) -> None:
    port_file, state_file = tmp_path / "port", tmp_path / "state.json"
    arguments = ["--account", "empty", "--port-file", str(port_file), "--state", str(state_file)]
    headers = {"Authorization": "Bearer sk_test_sandbox"}
    names = []
    for name in ("A", "B"):
        with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            url = f"http://127.0.0.1:{port_file.read_text().strip()}"
            assert url in line
            made = requests.post(f"{url}/v1/customers", {"name": name}, headers=headers, timeout=TIMEOUT_SECONDS)
            assert made.status_code == 200
            listed = requests.get(f"{url}/v1/customers", headers=headers, timeout=TIMEOUT_SECONDS).json()["data"]
            names.append([customer["name"] for customer in listed])
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT_SECONDS) == 0
    assert names == [["A"], ["B", "A"]]


def test_it_connects_as_many_accounts_as_it_is_told(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    arguments = ["--account", "empty", "--connected-accounts", "3", "--port-file", str(port_file)]
    headers = {"Authorization": "Bearer sk_test_sandbox"}
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        url = f"http://127.0.0.1:{port_file.read_text().strip()}"
        listed = requests.get(f"{url}/v1/accounts", headers=headers, timeout=TIMEOUT_SECONDS).json()["data"]
        acting = headers | {"Stripe-Account": listed[0]["id"]}
        own = requests.get(f"{url}/v1/account", headers=acting, timeout=TIMEOUT_SECONDS).json()
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_SECONDS) == 0
    assert (len(listed), own["id"]) == (3, listed[0]["id"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bulk", "charge"], "'charge' is not of the form NAME=VALUE."),
        (["--bulk", "charge=many"], "is to be a whole number"),
        (["--restricted", "rk_test_x=nonsense"], "'nonsense', which is no object type"),
        (["--connected-accounts", "-1"], "connected accounts, not -1"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["--account", "empty", "--port", "0", *arguments]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_a_state_of_another_account_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state_file = tmp_path / "state.json"
    state_file.write_text('{"format":1,"kind":"demo","seed":1,"ids_made":0,"saved_at":0,"records":[]}')
    assert main(["--account", "empty", "--port", "0", "--state", str(state_file)]) == 1
    assert "Delete it to start anew" in capsys.readouterr().err
