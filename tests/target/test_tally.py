"""The line at the end of a run: what became of the rows that came."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from messages import TEXT, activate, millis, record, schema, state

CUSTOMER = schema("customer", name=TEXT)
TAX_ID = schema("tax_id", customer_id=TEXT)
TARGET = Path(sys.executable).parent / "target-postgres-stripe"


@pytest.fixture
def told(load, caplog):
    """Loads messages, and returns the line at the end without the time that it took."""

    def told(*messages, **settings):
        caplog.clear()
        caplog.set_level("INFO")
        load(*messages, **settings)
        [line] = [each.getMessage() for each in caplog.records if " rows of " in each.getMessage()]
        return line.rpartition(" in ")[0]

    return told


@pytest.mark.parametrize("hard_delete", [False, True])
def test_rows_are_counted_by_what_became_of_them(told, hard_delete):
    three = [record("customer", id=key, name="x", as_of=1) for key in "abc"]
    assert told(CUSTOMER, *three, state(), hard_delete=hard_delete) == (
        "Finished: 3 created, 0 updated, 0 deleted, 0 unchanged rows of 1 streams"
    )
    changed = [record("customer", id="a", name="y", as_of=2), record("customer", id="b", name="x", as_of=2)]
    older = record("customer", id="c", name="z", as_of=0)
    gone = record("customer", id="c", gone=3)
    assert told(CUSTOMER, *changed, older, gone, state(), hard_delete=hard_delete) == (
        "Finished: 0 created, 1 updated, 1 deleted, 2 unchanged rows of 1 streams"
    )
    assert told(CUSTOMER, *changed, gone, state(), hard_delete=hard_delete) == (
        "Finished: 0 created, 0 updated, 0 deleted, 3 unchanged rows of 1 streams"
    )


@pytest.mark.parametrize("hard_delete", [False, True])
def test_what_a_list_or_a_sweep_leaves_out_is_counted_as_deleted(told, hard_delete):
    parent = record("customer", id="a", as_of=1, children={"tax_id": ["t", "u"]})
    children = [record("tax_id", id=key, customer_id="a", as_of=1) for key in "tu"]
    before = [record("customer", id="b", as_of=1), parent, *children]
    assert told(CUSTOMER, TAX_ID, *before, state(), hard_delete=hard_delete) == (
        "Finished: 4 created, 0 updated, 0 deleted, 0 unchanged rows of 2 streams"
    )
    swept = record("customer", id="a", as_of=9, version=millis(9), children={"tax_id": ["u"]})
    assert told(CUSTOMER, TAX_ID, swept, activate("customer", millis(9)), state(), hard_delete=hard_delete) == (
        "Finished: 0 created, 0 updated, 2 deleted, 1 unchanged rows of 2 streams"
    )


@pytest.mark.parametrize("key", [("id",), ()])
def test_rows_of_other_taps_are_counted_too(told, key):
    plain = schema("plain", key=key, ordered=False, id=TEXT, name=TEXT)
    messages = [plain, record("plain", id="a", name="x"), record("plain", id="b", name="x")]
    assert told(*messages) == "Finished: 2 created, 0 updated, 0 deleted, 0 unchanged rows of 1 streams"
    again = [plain, record("plain", id="a", name="y"), record("plain", id="b", name="x")]
    changed = "0 created, 1 updated, 0 deleted, 1 unchanged" if key else "2 created, 0 updated, 0 deleted, 0 unchanged"
    assert told(*again) == f"Finished: {changed} rows of 1 streams"


def test_a_copy_that_fills_a_gap_is_created_once(told):
    copy = record("customer", id="a", name="x", as_of="0001-01-01T00:00:00Z")
    assert "1 created, 0 updated, 0 deleted, 0 unchanged" in told(CUSTOMER, copy, state())
    assert "0 created, 0 updated, 0 deleted, 1 unchanged" in told(CUSTOMER, copy, state())


def process(database, tmp_path, *messages):
    """The command's exit code, and what it logged, as JSON."""
    logging = tmp_path / "logging.json"
    formatter = {"()": "singer_sdk.logging.StructuredFormatter"}
    logging.write_text(
        json.dumps(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"json": formatter},
                "handlers": {
                    "err": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
                },
                "root": {"level": "INFO", "handlers": ["err"]},
            }
        )
    )
    done = subprocess.run(
        [TARGET, "--config", "ENV"],
        input="".join(json.dumps(each) + "\n" for each in messages),
        env={"SINGER_SDK_LOG_CONFIG": str(logging), "TARGET_POSTGRES_STRIPE_DATABASE_URL": database},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]


def test_a_run_that_fails_tells_what_was_committed_before(database, tmp_path):
    good = [CUSTOMER, record("customer", id="a", name="x", as_of=1), state(customer={"n": 1})]
    bad = record("customer", id="b", name=["no text"], as_of=1)
    code, logged = process(database, tmp_path, *good, record("customer", id="c", as_of=1), bad, state())
    assert code == 1
    [line] = [each["message"] for each in logged if " rows of " in each["message"]]
    assert line.startswith("Failed: 1 created, 0 updated, 0 deleted, 0 unchanged rows of 1 streams in ")
    [duration] = [each["metric_info"] for each in logged if each.get("metric_info", {}).get("type") == "timer"]
    assert duration["tags"]["status"] == "failed"


def test_the_same_figures_are_metrics_of_the_sdk(database, tmp_path):
    messages = [CUSTOMER, record("customer", id="a", name="x", as_of=1), record("customer", id="a", as_of=0), state()]
    code, logged = process(database, tmp_path, *messages)
    assert code == 0
    metrics = [each["metric_info"] for each in logged if "metric_info" in each]
    counts = {
        (each["tags"]["stream"], each["tags"]["change"]): each["value"] for each in metrics if each["type"] == "counter"
    }
    assert counts == {("customer", "created"): 1, ("customer", "unchanged"): 1}
    assert {each["metric"] for each in metrics if each["type"] == "counter"} == {"record_count"}
    [duration] = [each for each in metrics if each["type"] == "timer"]
    assert (duration["metric"], duration["tags"]["status"]) == ("job_duration", "succeeded")
    assert duration["value"] > 0
