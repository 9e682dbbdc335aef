"""A key with one permission alone, for each: the pipeline ends well, and fills what that opens, and nothing else.

    PYTHONPATH=tests:tests/e2e python tests/e2e/single_permissions.py [NAME ...]

The names are object types, after which the sandbox's permissions are called.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from fix_postgres import running_server
from oracle import differences, table_names
from pipeline import Pipeline
from stripe_account import stripe_account

from stripe_sandbox.families import own_permission, permission
from tap_stripe_events.listing import listable
from tap_stripe_events.object_table import STRIPE_LISTS, STRIPE_OBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oracle import Expectation
    from stripe_account import StripeAccount

    from tap_stripe_events.objects import StripeList

KEY = "rk_test_single"
COPY = "0001-01-01"  # how the as-of of a row begins that is only known from inside another object


def names() -> list[str]:
    """The types after which a permission is called that opens a list."""
    opened = {permission(each.objects[0], "read") for each in STRIPE_LISTS if each.passes}
    return [name for name in STRIPE_OBJECTS if own_permission(name, "read") in opened]


class Opened:
    """What a permission opens."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def lists(self) -> list[StripeList]:
        """The lists."""
        wanted = own_permission(self.name, "read")
        return [each for each in STRIPE_LISTS if each.passes and permission(each.objects[0], "read") == wanted]

    def readable(self, name: str, below: frozenset[str] = frozenset()) -> list[bool]:
        """For each list with objects of a type: whether it can be read, with what it is found through."""
        return [
            each in self.lists and all(self._found(ask.of, below | {name}) for ask in each.asks if not ask.optional)
            for each in STRIPE_LISTS
            if each.passes and name in each.objects and not (each.asks and all(ask.optional for ask in each.asks))
        ]

    def _found(self, name: str, below: frozenset[str]) -> bool:
        return name in below or any(self.readable(name, below))

    @cached_property
    def allowed(self) -> set[str]:
        """The streams of which all lists can be read."""
        return {stream for stream, name in listable().items() if (readable := self.readable(name)) and all(readable)}

    @cached_property
    def whole(self) -> set[str]:
        """Those of them whose lists show every row."""
        return {stream for stream in self.allowed if STRIPE_OBJECTS[listable()[stream]].complete}

    @cached_property
    def partly(self) -> set[str]:
        """The streams of which some list can be read."""
        return {stream for stream, name in listable().items() if any(self.readable(name))}


def account() -> Any:
    """An account with objects of every type, none on a test clock: these would take another permission to be seen."""
    return stripe_account("full", restricted_keys={KEY: "customer"})


def forget_test_clocks(stripe: StripeAccount) -> None:
    """Delete what is on a test clock."""
    for each in stripe.all("test_helpers.test_clock"):
        stripe.delete(f"/v1/test_helpers/test_clocks/{each.key}")


def troubles(name: str, stripe: StripeAccount, truth: Expectation, pipeline: Pipeline) -> Iterator[str]:
    """Run the pipeline with this permission alone, into a schema of its own; yield what is wrong."""
    stripe.control("permissions", key=KEY, names=name)
    schema = pipeline.target_settings["default_target_schema"] = f"only_{name.replace('.', '_')}"
    pipeline.tap_settings["api_key"] = KEY
    outcome = pipeline.run()
    if not outcome.succeeded:
        yield f"exit codes {outcome.tap_code}, {outcome.target_code}: {outcome.logs[-2000:]}"
        return
    with psycopg.connect(pipeline.target_settings["database_url"], options="-c timezone=UTC") as connection:
        yield from _wrong_rows(Opened(name), truth, connection, schema)
    assert pipeline.state is not None
    yield from _wrong_refusals(Opened(name), pipeline.state["bookmarks"])


def _wrong_rows(opened: Opened, truth: Expectation, connection: psycopg.Connection[Any], schema: str) -> Iterator[str]:
    for each in differences(connection, truth, schema=schema):
        if each.expected != "a row" or each.table in opened.whole:
            yield str(each)
    for table in sorted(table_names(connection, schema) - opened.partly - carried()):
        rows = connection.execute(
            f'SELECT count(*) FROM "{schema}"."{table}" WHERE _sdc_as_of >= %s AND _sdc_deleted_at IS NULL',
            (f"{COPY} 00:00:01Z",),
        ).fetchone()
        if rows != (0,):
            yield f"table {table} has rows although the key may not read its lists: {rows}"


def _wrong_refusals(opened: Opened, bookmarks: dict[str, Any]) -> Iterator[str]:
    denied = {stream for stream, bookmark in bookmarks.items() if bookmark.get("denied")}
    lacking = {stream for stream, bookmark in bookmarks.items() if bookmark.get("not_read")}
    if wrong := denied & opened.partly:
        yield f"said to be refused: {sorted(wrong)}"
    if wrong := listable().keys() - opened.allowed - denied - lacking - carried():
        yield f"not said to be refused: {sorted(wrong)}"


def carried() -> set[str]:
    """The streams whose rows come inside others, whole."""
    inside = {name for each in STRIPE_OBJECTS.values() for embedded in each.embedded for name in embedded.objects}
    dependent = {name for each in STRIPE_OBJECTS.values() for name in each.dependents.values()}
    unlisted = STRIPE_OBJECTS.keys() - set(listable().values())
    return {STRIPE_OBJECTS[name].stream for name in (inside | dependent | unlisted) & STRIPE_OBJECTS.keys()}


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Try all permissions, or those that are named."""
    wanted, failed = sys.argv[1:] or names(), 0
    with ExitStack() as stack:
        server = stack.enter_context(running_server())
        stripe = stack.enter_context(account())
        forget_test_clocks(stripe)
        truth = stripe.expectation()
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in wanted:
            pipeline = Pipeline(directory, stripe_url=stripe.url, database_url=server.url)
            found = list(troubles(name, stripe, truth, pipeline))
            failed += bool(found)
            say(f"{name}: {len(Opened(name).partly)} streams, {'; '.join(found[:5]) or 'well'}")
    say(f"{len(wanted)} permissions, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
