"""A target that loads lists of messages into the test's database."""

import contextlib
import io
import json

import pytest

from target_postgres_stripe.target import TargetPostgresStripe


class Load:
    """Runs targets on messages; the STATEs that were printed are in ``printed``."""

    def __init__(self, database):
        self.settings = {"database_url": database}
        self.printed = []

    def __call__(self, *messages, **settings):
        lines = "".join(message if isinstance(message, str) else json.dumps(message) + "\n" for message in messages)
        return self.lines(lines, **settings)

    def lines(self, lines, **settings):
        target = TargetPostgresStripe(config=self.settings | settings)
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                target.listen(io.BytesIO(lines) if isinstance(lines, bytes) else io.StringIO(lines))
        finally:
            target.close()
            self.printed = [json.loads(line) for line in output.getvalue().splitlines()]
        return self.printed


@pytest.fixture
def load(database):
    return Load(database)


@pytest.fixture
def rows(connection):
    """Query, and get rows as tuples."""

    def query(text, *parameters):
        return connection.execute(text, parameters or None).fetchall()

    return query
