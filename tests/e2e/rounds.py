"""Rounds of history and run: what happens to an account, part of it during the run, and what must hold after each.

Knows the contract, not the tap. ``Rounds`` moves the account's clock and runs ``tap | target`` with the state carried
over. After every run it looks at each row: ``_sdc_as_of`` never goes back, and what was gone stays gone unless somebody
created it again.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import requests
from oracle import GAP_FILLER, KEYS, Difference, Oracle, differences, key_of, parse_truth, table, table_names
from pipeline import TIMEOUT_SECONDS
from stripe_account import SHOWN_ON_REQUEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from oracle import StripeObject
    from pipeline import Outcome, Pipeline
    from stripe_account import StripeAccount

LATENESS_SECONDS = 60  # Stripe's at most
LONGER_THAN_LATE = 2 * LATENESS_SECONDS + 10
MARKER = "events_as_of"
ONLY_IN_EVENTS = frozenset({
    "application", "billing_portal_session", "discount", "financial_connections_authorization", "reserve_hold",
    "reserve_plan", "reserve_release", "source_mandate_notification",
})  # fmt: skip
"""Tables of what can neither be listed nor retrieved: what an event in an older version shows of it is all there is."""

_numbers = itertools.count()

Seen = dict[tuple[str, tuple[Any, ...]], tuple[datetime, bool]]


def seeds(*usual: int) -> list[int]:
    """The seeds to try: the usual ones, or those of the environment (``FEED_SEEDS=1,5,100-200``)."""
    text = os.environ.get("FEED_SEEDS", "")
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found or list(usual)


@contextmanager
def new_database(postgres_server: Any, *, like: str | None = None) -> Iterator[str]:
    """The libpq URI of a database: an empty one, or a copy of the one with this URI."""
    name = f"feed_{os.getpid()}_{next(_numbers)}"
    template = _name(like) if like is not None else "template0"
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield postgres_server.url.replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _name(url: str) -> str:
    found = re.search(r"/(feed_\w+)\?", url)
    assert found
    return found[1]


class Rounds:
    """One account, its database and what was seen there after the last run."""

    def __init__(self, account: StripeAccount, pipeline: Pipeline, connection: psycopg.Connection[Any]) -> None:
        self.account = account
        self.pipeline = pipeline
        self.connection = connection
        self.made: set[str] = set()  # ids that histories created
        self.happened: list[dict[str, Any]] = []
        self._seen: Seen = {}
        self._gone: set[tuple[str, tuple[Any, ...]]] = set()
        self._part = 0

    def happen(self, seed: int, changes: int, *, seconds: int = 30, **options: Any) -> None:
        """Let a part of a history happen."""
        self._part += 1
        answer = self.account.control(
            "history", seed=seed * 1_000 + self._part, changes=changes, seconds=seconds, **options
        )
        self.happened += answer["changes"]
        self.made.update(each["id"] for each in answer["changes"] if each["verb"] == "created")

    def run(self) -> Outcome:
        """Run, while nothing happens."""
        return self._checked(self.pipeline.run())

    def run_meanwhile(self, seed: int, parts: int, **options: Any) -> Outcome:
        """Run, while parts of a history happen between the run's requests."""
        self.account.forget_requests()
        with self.pipeline.start() as running, ThreadPoolExecutor() as pool:
            ending = pool.submit(running.finish)  # it reads what the target prints, so that the target goes on
            for _ in self._moments(ending, parts):
                self.happen(seed, 4, seconds=1, **options)
            return self._checked(self.pipeline.keep(ending.result()))

    def quiet(self) -> None:
        """Let nothing happen for longer than events are late."""
        self.account.let_time_pass(LONGER_THAN_LATE)

    def sweep(self, **more: Any) -> Outcome:
        """Run, and list everything that events cannot keep fresh."""
        settings = self.pipeline.tap_settings
        self.pipeline.tap_settings = {**settings, "sweep_interval_hours": 0, **more}
        outcome = self.run()
        self.pipeline.tap_settings = settings
        return outcome

    def drift(self) -> list[tuple[str, int]]:
        """The streams of which a sweep had to mend rows that events should have kept right, and how many."""
        return self.connection.execute("SELECT stream, drift FROM stripe._sync_status WHERE drift > 0").fetchall()

    def rewind(self, seconds: int) -> None:
        """Set back, in every bookmark, up to when everything is known to be in."""
        self.pipeline.state = _set_back(self.pipeline.state, timedelta(seconds=seconds))

    def wrong(self, *, without: frozenset[str] = frozenset()) -> list[Difference]:
        """Return every cell that is not what Stripe has."""
        truth = self.account.truth()
        tables = ({table(each.object) for each in truth} | table_names(self.connection)) - without
        oracle = Oracle(self.account.id)
        expectation = oracle.expect(truth)
        for each in parse_truth(self.account.lines(*SHOWN_ON_REQUEST)):  # a copy may lack what is shown on request
            cells = oracle.cells(each.object, each.body, {})
            expectation.copies[each.object][key_of(each.object, cells)].append(cells)
        found = differences(self.connection, expectation, tables=tables)
        return found + [each for each in self._not_there(truth) if each.table in tables]

    def _not_there(self, truth: list[StripeObject]) -> Iterator[Difference]:
        """Yield what no list shows, but an event did, and what is missing all the same."""
        alive = {(each.object, each.key) for each in truth}
        keys = {key for change in self.happened for key in change["events"]}
        rows = {name: _rows_of(self.connection, name) for name in ONLY_IN_EVENTS}
        for event in truth:
            if event.object != "event" or event.key not in keys:
                continue
            body = event.body["data"]["object"]
            name, key = table(body["object"]), str(body.get("id"))
            if name in ONLY_IN_EVENTS and (body["object"], key) in alive:
                stored = rows[name].get((key,))
                if stored is None or stored[1]:
                    yield Difference(table=name, key=(key,), column="*", expected="a row", found=stored)

    def explain(self, wrong: list[Difference]) -> str:
        """What is wrong, with what happened to it and the events that name it."""
        lines = list(map(bytes.decode, self.account.lines("event")))
        return "\n".join(f"{each}\n    {self._history_of(each)}\n    {_naming(each, lines)}" for each in wrong[:20])

    def _history_of(self, difference: Difference) -> list[str]:
        ids = set(map(str, difference.key))
        return [f"{each['at']} {each['type']} {each['verb']}" for each in self.happened if each["id"] in ids]

    def _moments(self, ending: Future[Outcome], parts: int) -> Iterator[int]:
        """Yield after some more requests of the run, as long as it asks."""
        answered = 0
        with requests.Session() as session:
            for part in range(parts):
                while (total := self._answered(session)) <= answered:
                    if ending.done():
                        return
                answered = total
                yield part

    def _answered(self, session: requests.Session) -> int:
        """How many requests came in since the log was reset."""
        answer = session.get(f"{self.account.url}/_sandbox/requests", params={"newest": 0}, timeout=TIMEOUT_SECONDS)
        total: int = answer.json()["total"]
        return total

    def _checked(self, outcome: Outcome) -> Outcome:
        assert outcome.succeeded, outcome.logs
        now = _rows(self.connection)
        gone = {key for key, (_, deleted) in now.items() if deleted} | (self._seen.keys() - now.keys())
        back = [
            (name, key, before, now[name, key][0])
            for (name, key), (before, _) in self._seen.items()
            if (name, key) in now and now[name, key][0] < before and before != GAP_FILLER
        ]
        assert not back, f"_sdc_as_of went back: {back[:5]}"
        alive = {each for each, (_, deleted) in now.items() if not deleted}
        risen = [(name, key) for name, key in self._gone & alive if not self.made.intersection(map(str, key))]
        assert not risen, f"gone and there again: {risen[:5]}"
        self._gone = (self._gone | gone) - alive
        self._seen = now
        return outcome


def _naming(difference: Difference, lines: list[str]) -> list[str]:
    """The events that name the object of a difference."""
    found = [json.loads(line) for line in lines if any(f'"{key}"' in line for key in difference.key)]
    return [
        f"{each['data']['created']} {each['data']['type']} {each['data']['data']['object'].get('id')}"
        f" {each['data']['api_version']} {each['facts']}"
        for each in found[-8:]
    ]


def _rows(connection: psycopg.Connection[Any]) -> Seen:
    """Every row's age, and whether it is marked as deleted."""
    return {(name, key): row for name in table_names(connection) for key, row in _rows_of(connection, name).items()}


def _rows_of(connection: psycopg.Connection[Any], name: str) -> dict[tuple[Any, ...], tuple[datetime, bool]]:
    """The same of one table; none where there is no table."""
    if name not in table_names(connection):
        return {}
    listed = ", ".join(f'"{column}"' for column in KEYS.get(name, ("id",)))
    rows = connection.execute(f'SELECT {listed}, _sdc_as_of, _sdc_deleted_at IS NOT NULL FROM stripe."{name}"')
    return {tuple(key): (as_of, deleted) for *key, as_of, deleted in rows}


def _set_back(state: Any, by: timedelta) -> Any:
    if isinstance(state, dict):
        return {
            name: (datetime.fromisoformat(value) - by).isoformat().replace("+00:00", "Z")
            if name == MARKER and isinstance(value, str)
            else _set_back(value, by)
            for name, value in state.items()
        }
    return [_set_back(each, by) for each in state] if isinstance(state, list) else state
