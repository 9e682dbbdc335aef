"""Recorded answers come back byte for byte, whatever their coding, and the tables hold what they say."""

import pytest
from official_library import calls
from recordings import RecordedWalk
from replay import play

from stripe_sandbox.old_versions import VERSIONS


@pytest.fixture
def recorded(claim, make_proxy, connection, tmp_path):
    """Replays what was recorded."""

    def run(walk):
        claim(walk.sandbox.account.id)
        return play(walk, make_proxy, connection, tmp_path / "pairs.jsonl")

    return run


def test_what_was_recorded_comes_back_and_is_in_the_tables(make_sandbox, recorded):
    walk = RecordedWalk(make_sandbox("full", most=6))
    walk.writes([0], of=calls()[::2])
    walk.lists(4, of=calls()[1::2])
    found = recorded(walk)
    assert found.wrong == []
    assert found.count > 250
    assert found.compared > 400


def test_what_was_recorded_in_an_old_version_comes_back_and_the_tables_are_of_todays(make_sandbox, recorded):
    walk = RecordedWalk(make_sandbox("full", most=6), version=VERSIONS[2])
    walk.writes([0], of=calls()[::8])
    walk.lists(4, of=calls()[::8])
    found = recorded(walk)
    assert (found.wrong, found.differences_from_truth()) == ([], [])
    assert found.count > 70
    assert found.asked_again > 20
