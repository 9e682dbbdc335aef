"""Accounts, databases and pipelines for tests that run the commands as processes."""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from fix_sandbox import NOW, Http
from oracle import differences
from pipeline import Pipeline
from stripe_account import StripeAccount

from stripe_sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pipeline import Outcome

_numbers = itertools.count()


def pytest_configure(config):
    config.addinivalue_line("markers", "interop: installs other people's taps and targets from PyPI")


@contextmanager
def stripe_account(account: str = "empty", **options: Any) -> Iterator[StripeAccount]:
    """A sandbox on a clock that stands, in a thread."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(account=account, **{"now": NOW, **options}))
        http = Http(sandbox.url)
        stack.callback(http.close)
        yield StripeAccount(sandbox, http)


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

    def make(account: StripeAccount, **options: Any) -> Pipeline:
        return Pipeline(tmp_path, stripe_url=account.url, **{"database_url": database, **options})

    return make


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


PASSWORD = "planted-password"  # noqa: S105 - the test server asks for none
PLANTED_SECRETS = {
    "webhook_endpoint": {"secret": "whsec_planted"},
    "issuing.card": {"number": "4000056655665556", "cvc": "987"},
    "payment_intent": {"client_secret": "pi_planted_secret_value"},
    "apps.secret": {"payload": "app payload planted"},
    "invoice": {"confirmation_secret": {"client_secret": "pi_invoice_secret_value", "type": "payment_intent"}},
}
"""By object type: what must never be stored."""


def plant(account: StripeAccount) -> None:
    """Put values into the account that replicas stumble over, and secrets that they must not keep."""
    for object_type, values in PLANTED_SECRETS.items():
        facts = {"test_clock": None} if object_type in {"payment_intent", "invoice"} else {}
        account.change(object_type, account.first(object_type, **facts).key, **values)
    account.change(
        "customer",
        account.first("customer").key,
        metadata={
            "a.b": "1", "A B": "2", 'quo"te': "'", "Twin": "1", "twin": "2", "back\\slash": "\\u0000",
            "nul\0": "\0", "line": "a\r\n\tb", "k" * 80: "long", "": "empty", "emoji": "🙂", "rtl": "עברית",
        },
        balance=2**53 + 1,
        brand_new_field={"amount": 2**70, "rate": 0.1, "list": [None, True, "\0"], "client_secret": "x_secret_nested"},
    )  # fmt: skip
    account.change(
        "charge",
        account.first("charge").key,
        amount=0,
        currency="USD",
        description={"now": "an object"},
        amount_captured=2**63 + 5,
        receipt_number="",
    )
    account.change(
        "invoice",
        account.first("invoice").key,
        due_date=1_790_000_000_000,
        period_start=-5,
        period_end=0,
        currency="KWD",
        starting_balance=-(2**60),
    )
    account.change("price", account.first("price", inline=None).key, unit_amount_decimal="0.000000000001")
