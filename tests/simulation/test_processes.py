"""A share of ``make simulate PROCESSES=1``, and that what it looks at from without can be seen to be wrong."""

import json
import os
import subprocess
import time

import pytest
from messages import INTEGER, at, record, schema, state
from pipeline import TARGET
from plan import make_plan
from process_troubles import LONGEST_MOMENT_SECONDS, Timeline
from processes import ProcessSimulation, PromiseFromWithout, make_process_world

SEEDS = {
    "events are late, the tap is killed, and answers go wrong": 3_000_067,
    "the target is killed while the tap follows": 3_000_094,
    "a statement fails, and both are killed": 3_000_116,
    "the tap is told to stop": 3_000_059,
    "Meltano runs it, what it may read comes and goes, and a statement fails": 3_000_098,
}
"""By what happens in them; others than those that people try by hand, which begin with 0."""

MARK = {"events_as_of": at(5)}
MESSAGES = [
    schema("charge", amount=INTEGER),
    record("charge", id="ch_1", amount=1, as_of=1),
    state(charge={}),
    record("charge", id="ch_2", amount=2, as_of=2),
    state(charge=MARK),
    record("charge", id="ch_3", amount=3, as_of=3),
]
LINES = [json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in MESSAGES]
FIRST, SECOND = (each["value"] for each in MESSAGES if each["type"] == "STATE")


@pytest.mark.skipif("PROCESSES" not in os.environ, reason="takes minutes on a busy machine: set PROCESSES=1")
@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
def test_after_all_troubles_of_processes_every_table_is_right(seed, database, postgres_server):
    plan = make_plan(seed)
    outcome = ProcessSimulation(plan, make_process_world(plan.account), database, postgres_server.url).run()
    assert not outcome.wrong, "\n".join([f"make simulate PROCESSES=1 SEED={seed}", *outcome.wrong])
    assert outcome.counts["runs"] == len(plan.phases) + 3


@pytest.fixture
def promise(connection, database, tmp_path):
    """What the lines up to the second STATE promise, in a database into which they were loaded."""
    config = tmp_path / "target.json"
    config.write_text(json.dumps({"database_url": database}))
    subprocess.run([TARGET, "--config", config], input=b"".join(LINES[:5]), capture_output=True, check=True)
    return PromiseFromWithout(connection)


@pytest.mark.parametrize("printed", [[], [FIRST], [FIRST, SECOND]])
def test_a_state_that_was_committed_promises_its_rows_whether_or_not_it_was_printed(promise, printed):
    assert list(promise.after(LINES, printed)) == []


@pytest.mark.parametrize("printed", [[], [FIRST], [FIRST, SECOND]])
def test_a_row_that_a_state_covers_and_that_is_not_there_is_seen(promise, connection, printed):
    connection.execute("DELETE FROM stripe.charge WHERE id = 'ch_2'")
    assert "ch_2" in " ".join(promise.after(LINES, printed))


def test_a_state_that_was_printed_before_it_was_committed_is_seen(promise, connection):
    connection.execute("""UPDATE stripe._sync_status SET bookmark = '{"events_as_of": "2025-01-01T00:00:00Z"}'""")
    assert "neither the last STATE" in " ".join(promise.after(LINES, [FIRST, SECOND]))


def test_a_state_that_nobody_wrote_is_seen(promise):
    assert "did not write" in " ".join(promise.after(LINES, [{"bookmarks": {"charge": {"events_as_of": at(9)}}}]))


def test_things_happen_in_their_order_and_none_before_its_time():
    began = time.monotonic()
    timeline, happened = Timeline(), []
    for seconds in (0.02, 0, 0.01):
        timeline.at(seconds, lambda seconds=seconds: happened.append((seconds, time.monotonic() - began)))
    timeline.at(10 * LONGEST_MOMENT_SECONDS, lambda: happened.append(()))
    while len(happened) < 3:
        timeline.happen()
    assert [seconds for seconds, _ in happened] == [0, 0.01, 0.02]
    assert all(passed >= seconds for seconds, passed in happened)
    assert timeline.wait_seconds(60) < LONGEST_MOMENT_SECONDS
