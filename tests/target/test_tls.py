"""The URI's TLS settings are libpq's, and are honoured; a certificate that is not trusted ends the run at once."""

import time

import pytest
from messages import record, schema, state

from target_postgres_stripe.errors import DatabaseUnavailableError

MESSAGES = (schema("a"), record("a", id="1", as_of=1), state())


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
def test_a_load_over_tls(load, rows, database, tls_postgres, mode):
    trusted = {"sslrootcert": tls_postgres.authority} if mode.startswith("verify") else {}
    load(*MESSAGES, database_url=tls_postgres.url(database, sslmode=mode, **trusted))
    assert rows("SELECT id FROM stripe.a") == [("1",)]


def test_a_database_named_by_its_parts_takes_the_modes_from_libpqs_environment(
    load, rows, database, tls_postgres, monkeypatch
):
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(tls_postgres.authority))
    name = database.rpartition("/")[2].partition("?")[0]
    parts = {"host": "localhost", "port": tls_postgres.port, "user": "postgres", "database": name}
    load(*MESSAGES, database_url=None, **parts)
    assert rows("SELECT id FROM stripe.a") == [("1",)]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"sslmode": "disable"}, "no encryption"),
        ({"sslmode": "verify-full", "sslrootcert": "other"}, "certificate verify failed"),
        ({"sslmode": "verify-full", "sslrootcert": "own", "host": "127.0.0.1"}, "does not match host name"),
        ({"sslmode": "verify-ca", "sslrootcert": "/nowhere/ca.pem"}, r"root certificate file .* does not exist"),
    ],
)
def test_what_the_settings_do_not_allow_is_told_at_once(load, database, tls_postgres, parameters, told):
    files = {"own": tls_postgres.authority, "other": tls_postgres.other_authority}
    given = {name: files.get(value, value) for name, value in parameters.items()}
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailableError, match=told):
        load(*MESSAGES, database_url=tls_postgres.url(database, **given))
    assert time.monotonic() - began < 5
