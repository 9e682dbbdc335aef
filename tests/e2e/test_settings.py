"""Settings that are wrong: one clear line, exit code 1, no traceback, nothing secret in the output."""

import psycopg
import pytest

PASSWORD = "correct-horse"  # noqa: S105 - of a role that only these tests make
TYPED_KEY = "sk_test_typed_wrong_1234"


@pytest.fixture
def pipeline(make_account, make_pipeline):
    return make_pipeline(make_account())


def trouble(log):
    """The lines that tell of trouble, without the SDK's closing line after it has said what is wrong."""
    lines = [line for line in log.splitlines() if "| ERROR" in line or "| CRITICAL" in line]
    return [line for line in lines if not line.endswith("Config validation failed")]


def assert_one_clear_line(log, *expected, but=()):
    lines = trouble(log)
    assert len(lines) == 1, log
    for each in expected:
        assert each in lines[0]
    assert "Traceback" not in log
    for each in but:
        assert each not in log


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("api_key", TYPED_KEY, ("refused the API key", "1234")),
        ("api_key", "pk_test_typed_wrong_1234", ("api_key", "publishable")),
        ("api_key", "", ("api_key", "empty")),
        ("start_date", "yesterday", ("start_date", "yesterday")),
        ("api_url", "stripe.example", ("api_url", "stripe.example")),
        ("requests_per_second", 0, ("requests_per_second", "minimum")),
        ("max_concurrent_requests", "many", ("max_concurrent_requests", "integer")),
    ],
)
def test_a_wrong_setting_of_the_tap_is_one_clear_line(pipeline, connection, setting, value, expected):
    pipeline.tap_settings[setting] = value
    outcome = pipeline.run()
    assert outcome.tap_code == 1
    assert_one_clear_line(outcome.tap_log, *expected, but=(TYPED_KEY, "sk_test_sandbox", "pk_test_typed_wrong"))
    assert "Traceback" not in outcome.target_log
    assert outcome.states == []


def test_a_missing_key_is_one_clear_line(pipeline):
    del pipeline.tap_settings["api_key"]
    outcome = pipeline.run()
    assert outcome.tap_code == 1
    assert_one_clear_line(outcome.tap_log, "api_key")


@pytest.fixture(scope="module")
def locked(postgres_server):
    """A role whose password the server asks for."""
    access = postgres_server.data / "pg_hba.conf"
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE locked LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
        access.write_text(f"local all locked scram-sha-256\n{access.read_text()}")
        admin.execute("SELECT pg_reload_conf()")
    return "locked"


def test_a_wrong_password_is_one_clear_line(pipeline, locked, database):
    pipeline.target_settings["database_url"] = database.replace("postgres@", f"{locked}:wrong-horse@")
    outcome = pipeline.run()
    assert outcome.target_code == 1
    assert_one_clear_line(outcome.target_log, "password authentication failed", "database_url", but=("wrong-horse",))
    assert "Traceback" not in outcome.tap_log


def test_the_right_password_is_taken(pipeline, locked, database):
    pipeline.target_settings["database_url"] = database.replace("postgres@", f"{locked}:{PASSWORD}@")
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    assert PASSWORD not in outcome.logs


def test_an_unknown_database_is_one_clear_line(pipeline, database):
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    pipeline.target_settings["database_url"] = database.replace(name, "nowhere")
    outcome = pipeline.run()
    assert outcome.target_code == 1
    assert_one_clear_line(outcome.target_log, '"nowhere" does not exist', "database_url")
    assert "Traceback" not in outcome.tap_log
