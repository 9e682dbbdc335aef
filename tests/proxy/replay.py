"""Plays recorded pairs back through a proxy; compares what comes with what was recorded, and the tables with both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recordings import Pair, RecordedWalk, Replayer, of_the_message, read_pairs, send, write_pairs
from shown import Tables, shown

from tap_stripe_events.object_table import STRIPE_OBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def play(walk: RecordedWalk, make_proxy: Callable[..., str], connection: Any, path: Path) -> Replay:
    """Keep what a walk recorded in a file, and play it from there."""
    write_pairs(path, walk.pairs())
    found = Replay(walk, connection)
    with Replayer(walk.sandbox.url) as replayer:
        found.run(path, replayer, make_proxy(walk.sandbox, api_url=replayer.url))
        found.asked_again = replayer.asked_again
    return found


class Replay:
    """Pairs from a file through a proxy: how many, what was not as recorded, and what the tables lacked then.

    Of answers in an old version the tables do not hold what they say: ``differences_from_truth`` looks at these.
    """

    def __init__(self, walk: RecordedWalk, connection: Any) -> None:
        self._tables = Tables(walk.sandbox, connection)
        self._is_old = walk.version is not None
        self._told: dict[tuple[str, Any], dict[str, Any]] = {}
        self.wrong: list[str] = []
        self.count = self.compared = self.asked_again = 0

    def run(self, path: Path, replayer: Replayer, proxy: str) -> None:
        """Send every request again."""
        for pair in read_pairs(path):
            self.count += 1
            self.wrong += _unlike(pair, replayer, proxy)
            if pair.status != 200 or "preview" in pair.target:
                continue
            for each in shown(pair.body, expanded=pair.expanded):
                self._told[each["object"], each.get("id")] = each
                if not self._is_old:
                    self.compared += 1
                    self.wrong += self._tables.differences(each)

    def differences_from_truth(self) -> list[str]:
        """What the tables lack of what the sandbox holds now; what cannot be retrieved by itself is not read again."""
        told = [each for each in self._told.values() if STRIPE_OBJECTS[each["object"]].retrieve]
        return [found for each in told for found in self._tables.differences_from_truth(each)]


def _unlike(pair: Pair, replayer: Replayer, proxy: str) -> Iterator[str]:
    replayer.due = pair
    status, headers, content = send(proxy, pair)
    method, target, arrived, body = replayer.arrived[-1]
    for name, expected, found in (
        ("request", (pair.method, pair.target, pair.sent), (method, target, body)),
        ("request headers", of_the_message(pair.headers), of_the_message(arrived)),
        ("status", pair.status, status),
        ("headers", of_the_message(pair.answer_headers), of_the_message(headers)),
        ("body", pair.answer, content),
    ):
        if expected != found:
            yield f"{pair.method} {pair.target} {name}: expected {str(expected)[:300]}, found {str(found)[:300]}"
