"""Postgres quotes rows in its errors; what the target says of them does not."""

import logging

import pytest
from messages import TEXT, record, schema, state

from target_postgres_stripe.errors import TargetError

PERSON = "Planted Person"
CHECK = "ALTER TABLE stripe.a ADD CHECK (name <> 'Planted Person') NOT VALID"  # Failing row contains (...)
INDEX = "CREATE UNIQUE INDEX ON stripe.a (name)"  # Key (name)=(...) already exists
TRIGGER = """
    CREATE FUNCTION stripe.refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE {} 'no %', NEW.name; END$$;
    CREATE TRIGGER refuse BEFORE INSERT ON stripe.a FOR EACH ROW EXECUTE FUNCTION stripe.refuse()
"""
BROKEN = (
    CHECK,
    INDEX,
    TRIGGER.format("EXCEPTION"),
    TRIGGER.replace("{} 'no %', NEW.name", "invalid_parameter_value USING MESSAGE = NEW.name"),
)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_row_that_postgres_refuses_is_not_told(load, connection, caplog, broken):
    people = [record("a", id=str(number), name=PERSON, as_of=number) for number in (1, 2)]
    load(schema("a", name=TEXT), state())
    connection.execute(broken)
    with caplog.at_level(logging.DEBUG), pytest.raises(TargetError) as caught:
        load(schema("a", name=TEXT), *people, state())
    said = [str(caught.value), *(each.getMessage() for each in caplog.records), caplog.text]
    assert [each for each in said if PERSON in each] == []
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__  # a traceback would tell it
