"""Other people's Singer programs, from PyPI: our tap into their target, their tap into our target."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import TAP, TARGET, TIMEOUT_SECONDS

ROOT = Path(__file__).parents[2]
INSTALL_SECONDS = 240
TARGET_JSONL = "target-jsonl==0.1.4"
TAP_JSONL = "tap-jsonl==0.3.1"

pytestmark = [pytest.mark.interop, pytest.mark.timeout(INSTALL_SECONDS + 60)]


def installed(requirement):
    """The folder of the commands of a package, in an environment of its own that is kept between runs."""
    home = ROOT / ".venvs" / requirement
    home.parent.mkdir(exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # for tests that run side by side
        if not (home / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True, timeout=INSTALL_SECONDS)
            pip = [home / "bin" / "pip", "install", "--quiet", requirement]
            subprocess.run(pip, check=True, timeout=INSTALL_SECONDS, capture_output=True)
            (home / "complete").touch()
    return home / "bin"


def through(directory, source, sink):
    """Run ``source | sink``; both must succeed."""
    messages = directory / "messages.ndjson"
    with messages.open("wb") as output:
        subprocess.run(
            source, stdout=output, stderr=subprocess.PIPE, check=True, timeout=TIMEOUT_SECONDS, cwd=directory
        )
    with messages.open("rb") as given:
        return subprocess.run(
            sink, stdin=given, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS, cwd=directory
        ).stdout


def settings(directory, name, **values):
    path = directory / f"{name}.json"
    path.write_text(json.dumps(values))
    return path


def test_our_tap_into_target_jsonl(tmp_path, make_account):
    account = make_account("demo")
    output = tmp_path / "output"
    output.mkdir()
    tap = settings(tmp_path, "tap", api_key="sk_test_sandbox", api_url=account.url, requests_per_second=1000,
                   endpoint_requests_per_second=1000)  # fmt: skip
    target = settings(tmp_path, "target", destination_path=str(output), do_timestamp_file=False)
    printed = through(tmp_path, [TAP, "--config", tap], [installed(TARGET_JSONL) / "target-jsonl", "--config", target])
    state = json.loads(printed.splitlines()[-1])
    assert state["account"]["id"] == account.id
    for name in ("customer", "charge", "invoice", "line_item"):
        lines = [json.loads(line) for line in (output / f"{name}.jsonl").read_text().splitlines()]
        assert {each["id"] for each in lines} == {each.key for each in account.all(name)}
    charges = {each.key: each.body for each in account.all("charge")}
    for line in (output / "charge.jsonl").read_text().splitlines():
        charge = json.loads(line)
        assert charge["amount"] == charges[charge["id"]]["amount"]
        assert charge["customer_id"] == charges[charge["id"]]["customer"]
        assert charge["metadata"] == charges[charge["id"]]["metadata"]


def test_tap_jsonl_into_our_target(tmp_path, database, connection):
    source = tmp_path / "orders.jsonl"
    orders = [
        {
            "id": number,
            "note": f"line {number}\nü",
            "total": number * 1.5,
            "open": number % 2 == 0,
            "tags": ["a", number],
        }
        for number in range(250)
    ]
    source.write_text("".join(json.dumps(each) + "\n" for each in orders))
    tap = settings(tmp_path, "tap", path=str(source), stream_name="orders", primary_keys=["id"])
    target = settings(tmp_path, "target", database_url=database, default_target_schema="shop")
    for _ in range(2):
        through(tmp_path, [installed(TAP_JSONL) / "tap-jsonl", "--config", tap], [TARGET, "--config", target])
    stored = connection.execute('SELECT id, note, total, "open", tags FROM shop.orders ORDER BY id').fetchall()
    assert [(row[0], row[1], float(row[2]), row[3], row[4]) for row in stored] == [
        (each["id"], each["note"], each["total"], each["open"], each["tags"]) for each in orders
    ]
