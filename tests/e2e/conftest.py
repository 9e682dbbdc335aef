"""Accounts, databases and pipelines for tests that run the commands as processes."""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from meltano_project import meltano_project
from oracle import differences
from pipeline import Pipeline
from planted import PASSWORD, plant
from stripe_account import StripeAccount, stripe_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from meltano_project import Meltano
    from pipeline import Outcome

_numbers = itertools.count()


def pytest_configure(config):
    config.addinivalue_line("markers", "interop: installs other people's taps and targets from PyPI")


@contextmanager
def new_database(postgres_server: Any) -> Iterator[str]:
    """The libpq URI of a database of its own."""
    name = f"e2e_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres_server.url.replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def make_account() -> Iterator[Callable[..., StripeAccount]]:
    """Starts sandboxes; takes the arguments of ``Service``."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(stripe_account(*args, **options))


@pytest.fixture
def make_pipeline(tmp_path: Path, database: str) -> Callable[..., Pipeline]:
    """Makes pipelines from an account into the test's database."""

    def make(account: StripeAccount, *, directory: Path = tmp_path, **options: Any) -> Pipeline:
        directory.mkdir(exist_ok=True)
        return Pipeline(directory, stripe_url=account.url, **{"database_url": database, **options})

    return make


@pytest.fixture
def meltano(tmp_path: Path, account: StripeAccount, database: str) -> Meltano:
    """Meltano, with the test's account and database."""
    return meltano_project(tmp_path / "project", stripe_url=account.url, database=database)


@pytest.fixture
def assert_true(connection: psycopg.Connection[Any]) -> Callable[..., None]:
    """Asserts that the tables hold what the account holds, cell by cell."""

    def check(account: StripeAccount, **options: Any) -> None:
        wrong = differences(connection, account.expectation(), **options)
        assert not wrong, "\n".join(map(str, wrong[:20]))

    return check


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A full account, read once into a database. For all tests to look at, for none to change."""

    account: StripeAccount
    connection: psycopg.Connection[Any]
    outcome: Outcome
    requests: list[dict[str, Any]]
    settings: dict[str, Any]
    messages: str
    database_url: str


@pytest.fixture(scope="session")
def loaded(postgres_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    with ExitStack() as stack:
        account = stack.enter_context(stripe_account("full"))
        plant(account)
        database = stack.enter_context(new_database(postgres_server)).replace("postgres@", f"postgres:{PASSWORD}@")
        pipeline = Pipeline(tmp_path_factory.mktemp("loaded"), stripe_url=account.url, database_url=database)
        pipeline.tap_settings |= {"requests_per_second": 150, "endpoint_requests_per_second": 40}
        pipeline.environment["LOGLEVEL"] = "DEBUG"
        outcome = pipeline.run()
        connection = stack.enter_context(psycopg.connect(database, autocommit=True, options="-c timezone=UTC"))
        yield Loaded(
            account=account,
            connection=connection,
            outcome=outcome,
            requests=account.requests(),
            settings=pipeline.tap_settings,
            messages=pipeline.messages.read_text(),
            database_url=database,
        )
