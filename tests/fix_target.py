"""A target that loads lists of messages into the test's database."""

import contextlib
import io
import json

import pytest

from target_postgres_stripe.load import Loader
from target_postgres_stripe.sinks import PostgresSink
from target_postgres_stripe.target import TargetPostgresStripe


class Load:
    """Runs targets on messages; the STATEs that were printed are in ``printed``."""

    def __init__(self, database):
        self.settings = {"database_url": database}
        self.printed = []

    def __call__(self, *messages, **settings):
        encoder = json.JSONEncoder(separators=(",", ":"))  # as the tap writes them
        return self.lines((m if isinstance(m, str) else encoder.encode(m) + "\n" for m in messages), **settings)

    def lines(self, lines, **settings):
        """Load lines as they come, text or bytes."""
        target = TargetPostgresStripe(config=self.settings | settings)
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                target.listen(lines)
        finally:
            target.close()
            self.printed = [json.loads(line) for line in output.getvalue().splitlines()]
        return self.printed


@pytest.fixture
def load(database):
    return Load(database)


@pytest.fixture(params=[False, True], ids=["as it is", "expecting the same"])
def each_expectation(request, monkeypatch):
    """Once as it is, once with the loader looking for known rows before it stores any."""
    if request.param:
        monkeypatch.setattr(PostgresSink, "expects_the_same", True)
        monkeypatch.setattr(Loader, "expects_the_same", lambda _, shape: shape.ordered)
        monkeypatch.setattr(Loader, "_are_likely_the_same", lambda _, __, shape, ___: shape.ordered)


@pytest.fixture
def rows(connection):
    """Query, and get rows as tuples."""

    def query(text, *parameters):
        return connection.execute(text, parameters or None).fetchall()

    return query
