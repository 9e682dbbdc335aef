"""What the database's users need and get: the loader few rights, the reader only to look."""

import contextlib
import uuid

import psycopg
import pytest
from messages import INTEGER, TEXT, activate, millis, record, schema, state
from psycopg import sql

READER_MAY_NOT = (
    "INSERT INTO stripe.a (id) VALUES ('x')",
    "UPDATE stripe.a SET id = 'x'",
    "DELETE FROM stripe.a",
    "TRUNCATE stripe.a",
    "ALTER TABLE stripe.a ADD COLUMN x text",
    "DROP TABLE stripe.a",
    "CREATE TABLE stripe.mine ()",
    "UPDATE stripe._sync_status SET drift = 0",
    "DELETE FROM stripe._sync",
    "SELECT count(*) FROM stripe.somebodys",
    "GRANT SELECT ON stripe.a TO PUBLIC",
)


@contextlib.contextmanager
def role(connection, name, options="LOGIN"):
    """A role of a name of its own, which is gone afterwards."""
    name = f"{name}_{uuid.uuid4().hex[:8]}"
    connection.execute(f"CREATE ROLE {name} {options}")
    try:
        yield name
    finally:
        connection.execute(f"DROP OWNED BY {name} CASCADE")
        connection.execute(f"DROP ROLE {name}")


@pytest.fixture
def bare(connection):
    """The database's name; nobody may do anything in it who is not told so."""
    name = connection.info.dbname
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
    connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    return name


@pytest.fixture
def loader(connection, bare):
    """A user with the rights that the README names, and nothing else."""
    with role(connection, "loader", "LOGIN NOSUPERUSER NOINHERIT NOCREATEDB NOCREATEROLE") as name:
        rights = sql.SQL("GRANT CONNECT, TEMPORARY, CREATE ON DATABASE {} TO {}")
        connection.execute(rights.format(sql.Identifier(bare), sql.Identifier(name)))
        yield name


@pytest.fixture
def as_user(database):
    """The database's URI, for another user."""
    return lambda name: database.replace("postgres@", f"{name}@")


def load_twice(load, **settings):
    """What loading consists of: tables, rows, children that are gone, a further column, a sweep's end, state."""
    load(
        schema("a"), schema("line", a_id=TEXT),
        record("a", id="1", as_of=1, children={"line": ["l1"]}), record("line", id="l1", a_id="1", as_of=1),
        record("a", id="2", as_of=1), state(), **settings,
    )  # fmt: skip
    load(
        schema("a", n=INTEGER), schema("line", a_id=TEXT),
        record("a", id="1", n=1, as_of=5, version=millis(5), children={"line": []}), activate("a", millis(5)), state(),
        **settings,
    )  # fmt: skip


def test_a_loader_needs_to_connect_and_to_create_and_nothing_else(load, rows, loader, as_user, connection):
    load_twice(load, database_url=as_user(loader))
    assert rows("SELECT id, n, _sdc_deleted_at IS NULL FROM stripe.a ORDER BY id") == [
        ("1", 1, True),
        ("2", None, False),
    ]
    assert rows("SELECT id, _sdc_deleted_at IS NULL FROM stripe.line") == [("l1", False)]
    owners = rows("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'stripe'")
    assert owners == [(loader,)]


def test_in_a_schema_that_is_there_it_need_not_create_any(load, rows, connection, bare, as_user):
    with role(connection, "loader") as name:
        connection.execute("CREATE SCHEMA stripe")
        connection.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {bare} TO {name}")
        connection.execute(f"GRANT USAGE, CREATE ON SCHEMA stripe TO {name}")
        load_twice(load, database_url=as_user(name))
        assert rows("SELECT count(*) FROM stripe.a") == [(2,)]


@pytest.fixture
def reader(connection, bare):
    with role(connection, "reader") as name:
        connection.execute(f"GRANT CONNECT ON DATABASE {bare} TO {name}")
        yield name


def test_a_reader_reads_everything_that_is_loaded_now_and_later(load, loader, reader, as_user, connection):
    settings = {"database_url": as_user(loader), "reader_role": reader}
    load_twice(load, **settings)
    load(schema("later"), record("later", id="1", as_of=1), state(), **settings)
    load(schema("without_the_setting"), state(), database_url=as_user(loader))
    with psycopg.connect(as_user(loader), autocommit=True) as owner:
        owner.execute("CREATE VIEW stripe.seen AS SELECT id FROM stripe.a")
    with psycopg.connect(as_user(reader), autocommit=True) as session:
        found = session.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'stripe'::regnamespace AND relkind IN ('r', 'v')"
        )
        tables = [name for (name,) in found]
        assert {"a", "line", "later", "without_the_setting", "seen", "_sync", "_sync_status", "_streams"} <= set(tables)
        for name in tables:
            session.execute(sql.SQL("SELECT count(*) FROM stripe.{}").format(sql.Identifier(name)))
        assert session.execute("SELECT count(*) FROM stripe.seen").fetchone() == (2,)


@pytest.fixture
def read(load, loader, reader, as_user):
    """The reader's URI, after a load."""
    load_twice(load, database_url=as_user(loader), reader_role=reader)
    return as_user(reader)


@pytest.mark.parametrize("statement", READER_MAY_NOT)
def test_a_reader_changes_nothing_and_sees_nothing_of_others(read, connection, statement):
    connection.execute("CREATE TABLE stripe.somebodys ()")  # another user's, in the same schema
    with psycopg.connect(read, autocommit=True) as session:
        if statement.startswith("GRANT"):  # no error: Postgres only warns that nothing was granted
            session.execute(statement)
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)
    assert connection.execute("SELECT count(*) FROM stripe.a").fetchone() == (2,)
    granted = connection.execute("SELECT has_table_privilege('public', 'stripe.a', 'SELECT')").fetchone()
    assert granted == (False,)
