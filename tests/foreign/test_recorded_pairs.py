"""Thousands of recorded pairs through the proxy: of all calls and of a business, in this version and in old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from recordings import RecordedWalk
from replay import play

from stripe_sandbox.old_versions import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replay import Replay

pytestmark = pytest.mark.timeout(1_800)  # what is read again in an old version has a small budget of requests


@pytest.fixture
def recorded(
    claim: Callable[..., Any], make_proxy: Callable[..., str], connection: Any, tmp_path: Path
) -> Callable[..., Replay]:
    """Replays what was recorded."""

    def run(walk: RecordedWalk) -> Replay:
        claim(walk.sandbox.account.id)
        return play(walk, make_proxy, connection, tmp_path / "pairs.jsonl")

    return run


def test_every_call_on_one_object_after_another(
    make_sandbox: Callable[..., Any], recorded: Callable[..., Replay]
) -> None:
    walk = RecordedWalk(make_sandbox("full"))
    walk.writes(range(4))
    walk.lists(25)
    walk.retrievals()
    found = recorded(walk)
    assert found.wrong == []
    assert found.count > 2_000
    assert found.compared > 5_000


def test_a_business_page_by_page(make_sandbox: Callable[..., Any], recorded: Callable[..., Replay]) -> None:
    walk = RecordedWalk(make_sandbox("demo"))
    walk.lists(3)
    walk.retrievals()
    found = recorded(walk)
    assert found.wrong == []
    assert found.count > 500
    assert found.compared > 1_500


@pytest.mark.parametrize("version", VERSIONS[::3])
def test_every_call_in_an_old_version(
    make_sandbox: Callable[..., Any], recorded: Callable[..., Replay], version: str
) -> None:
    walk = RecordedWalk(make_sandbox("full", most=6), version=version)
    walk.writes([0, 1])
    walk.lists(4)
    walk.retrievals()
    found = recorded(walk)
    assert found.wrong == []
    assert found.differences_from_truth() == []
    assert found.count > 1_400
