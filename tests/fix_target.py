"""A target that loads lists of messages into the test's database."""

import contextlib
import io
import json

import pytest

from target_postgres_stripe.load import Loader
from target_postgres_stripe.target import TargetPostgresStripe


class Load:
    """Runs targets on messages; the STATEs that were printed are in ``printed``."""

    def __init__(self, database):
        self.settings = {"database_url": database}
        self.printed = []

    def __call__(self, *messages, **settings):
        return self.lines((m if isinstance(m, str) else json.dumps(m) + "\n" for m in messages), **settings)

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
        monkeypatch.setattr(Loader, "_expects_the_same", lambda *_: True)


@pytest.fixture
def rows(connection):
    """Query, and get rows as tuples."""

    def query(text, *parameters):
        return connection.execute(text, parameters or None).fetchall()

    return query
