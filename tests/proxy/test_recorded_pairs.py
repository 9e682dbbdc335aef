"""Recorded answers come back byte for byte, whatever their coding, and the tables hold what they say."""

import pytest
from official_library import calls
from recordings import RecordedWalk, Replayer, of_the_message, read_pairs, send, write_pairs
from shown import Tables, shown

from stripe_sandbox.old_versions import VERSIONS
from tap_stripe_events.object_table import STRIPE_OBJECTS


def replay(pairs, replayer, proxy):
    """Send every request again; yields each pair with what was not as recorded."""
    for pair in pairs:
        replayer.due = pair
        status, headers, content = send(proxy, pair)
        method, target, arrived, body = replayer.arrived[-1]
        unlike = [
            f"{pair.method} {pair.target} {name}: expected {str(expected)[:300]}, found {str(found)[:300]}"
            for name, expected, found in (
                ("request", (pair.method, pair.target, pair.sent), (method, target, body)),
                ("request headers", of_the_message(pair.headers), of_the_message(arrived)),
                ("status", pair.status, status),
                ("headers", of_the_message(pair.answer_headers), of_the_message(headers)),
                ("body", pair.answer, content),
            )
            if expected != found
        ]
        yield pair, unlike


class Replay:
    """Pairs from a file through a proxy: how many, what was not as recorded, and what the tables lacked then."""

    def __init__(self, sandbox, connection):
        self.tables = Tables(sandbox, connection)
        self.told = {}
        self.wrong = []
        self.count = self.compared = 0

    def run(self, path, replayer, proxy, *, compare=True):
        for pair, unlike in replay(read_pairs(path), replayer, proxy):
            self.count += 1
            self.wrong += unlike
            if pair.status != 200 or "preview" in pair.target:
                continue
            for each in shown(pair.body, expanded=pair.expanded):
                self.told[each["object"], each.get("id")] = each
                if compare:
                    self.compared += 1
                    self.wrong += self.tables.differences(each)

    def differences_from_truth(self):
        """What the tables lack of what the sandbox holds now; what cannot be retrieved by itself is not read again."""
        told = [each for each in self.told.values() if STRIPE_OBJECTS[each["object"]].retrieve]
        return [found for each in told for found in self.tables.differences_from_truth(each)]


@pytest.fixture
def recorded(claim, make_proxy, connection, tmp_path):
    """Records walks, and replays what was recorded through a proxy."""

    def run(sandbox, walk, *, compare=True):
        write_pairs(tmp_path / "pairs.jsonl", walk.pairs())
        claim(sandbox.account.id)
        found = Replay(sandbox, connection)
        with Replayer(sandbox.url) as replayer:
            proxy = make_proxy(sandbox, api_url=replayer.url)
            found.run(tmp_path / "pairs.jsonl", replayer, proxy, compare=compare)
        return found

    return run


def test_what_was_recorded_comes_back_and_is_in_the_tables(make_sandbox, recorded):
    sandbox = make_sandbox("full", most=6)
    walk = RecordedWalk(sandbox)
    walk.writes([0])
    walk.lists(4)
    walk.retrievals()
    found = recorded(sandbox, walk)
    assert found.wrong == []
    assert found.count > 700
    assert found.compared > 1_000


def test_what_was_recorded_in_an_old_version_comes_back_and_the_tables_are_of_todays(make_sandbox, recorded):
    sandbox = make_sandbox("full", most=6)
    walk = RecordedWalk(sandbox, version=VERSIONS[2])
    walk.writes([0], of=calls()[::8])
    walk.lists(4, of=calls()[::8])
    found = recorded(sandbox, walk, compare=False)
    assert found.wrong == []
    assert found.count > 70
    assert found.differences_from_truth() == []
