"""What must be nowhere: keys, passwords, secrets of Stripe objects; and, in logs, people's names and addresses."""

import json
import re

import pytest
from oracle import parse_truth
from planted import PASSWORD, PLANTED_SECRETS
from psycopg import sql

SECRET_SHAPES = (r"whsec_[A-Za-z0-9]", r"[a-z]+_secret_[A-Za-z0-9]")
KEY = "sk_test_sandbox"


def planted():
    for values in PLANTED_SECRETS.values():
        for value in values.values():
            yield value["client_secret"] if isinstance(value, dict) else value
    yield "x_secret_nested"


def cells_like(connection, pattern):
    """Every text or jsonb cell of the schema that matches a pattern."""
    columns = connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'stripe' AND data_type IN ('text', 'jsonb')"
    ).fetchall()
    return [
        (table, column, *row)
        for table, column in columns
        for row in connection.execute(
            sql.SQL("SELECT left(v, 200) FROM (SELECT {}::text AS v FROM stripe.{}) AS t WHERE v ~ %s").format(
                sql.Identifier(column), sql.Identifier(table)
            ),
            (pattern,),
        )
    ]


@pytest.fixture(scope="module")
def artefacts(loaded):
    """Everything in writing, by name."""
    return {
        "tap log": loaded.outcome.tap_log,
        "target log": loaded.outcome.target_log,
        "state": json.dumps(loaded.outcome.states),
        "messages": loaded.messages,
    }


def test_the_search_would_find_a_secret_that_is_stored(loaded):
    assert {table for table, *_ in cells_like(loaded.connection, "brand_new_field")} == {"customer"}


@pytest.mark.parametrize("pattern", SECRET_SHAPES)
def test_no_table_holds_what_looks_like_a_secret(loaded, pattern):
    assert cells_like(loaded.connection, pattern) == []


def test_no_table_holds_a_planted_secret_or_the_key(loaded):
    wanted = "|".join(re.escape(each) for each in (KEY, *planted()) if each != "987")
    assert cells_like(loaded.connection, wanted) == []
    assert cells_like(loaded.connection, r'"(cvc|client_secret|confirmation_secret)":') == []


def test_no_log_state_or_message_holds_a_secret(artefacts):
    for name, text in artefacts.items():
        found = [each for each in (KEY, *planted()) if each != "987" and each in text]
        assert (name, found) == (name, [])
        assert (name, re.findall("|".join(SECRET_SHAPES), text)) == (name, [])


def test_no_log_holds_a_password(loaded, artefacts):
    assert PASSWORD in loaded.database_url
    for name, text in artefacts.items():
        assert (name, PASSWORD in text) == (name, False)


def test_no_log_names_anybody(loaded, artefacts):
    customers = [each.body for each in parse_truth(loaded.account.lines("customer"))]
    people = {body[field] for body in customers for field in ("name", "email", "phone") if body.get(field)}
    assert len(people) >= 50
    for name in ("tap log", "target log", "state"):
        assert (name, [each for each in people if each in artefacts[name]]) == (name, [])
        assert (name, re.findall(r"[\w.]+@[\w-]+\.\w+", artefacts[name])) == (name, [])


def test_debug_logs_were_written(loaded):
    """The searches above looked at logs of the most talkative kind."""
    assert "DEBUG" in loaded.outcome.tap_log
    assert "urllib3" in loaded.outcome.tap_log  # which tells of every request
    assert "DEBUG" in loaded.outcome.target_log
