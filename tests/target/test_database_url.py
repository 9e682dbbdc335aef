"""Which database the settings name, and that no message tells its password."""

import pytest
from psycopg import conninfo

from target_postgres_stripe.connection import connect, connection_string
from target_postgres_stripe.errors import SettingsError

URL = "postgresql://user:hunter2@db.example:5433/billing?sslmode=require"


def test_a_url_in_a_file_is_the_url(tmp_path):
    path = tmp_path / "url"
    path.write_text(f"{URL}\n")
    assert connection_string({"database_url_file": str(path)}) == URL
    assert connection_string({"database_url_file": str(path), "host": "elsewhere"}) == URL


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xff\xfehunter2", "cannot be read: it is no text"),
        (b"mysql://user:hunter2@db/x", "What database_url_file holds is not a libpq URI"),
    ],
)
def test_a_file_without_a_url_is_refused_without_telling_what_it_holds(tmp_path, content, told):
    path = tmp_path / "url"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=told) as caught:
        connection_string({"database_url_file": str(path)})
    assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named_unless_it_is_the_url_itself(tmp_path):
    with pytest.raises(SettingsError, match=r"database_url_file: '.*/none' cannot be read: No such file"):
        connection_string({"database_url_file": str(tmp_path / "none")})
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        connection_string({"database_url_file": str(tmp_path)})
    for misplaced in (URL, "host=db password=hunter2"):
        with pytest.raises(SettingsError, match="what it names cannot be read") as caught:
            connection_string({"database_url_file": misplaced})
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("part", ["host", "user", "database"])
def test_a_url_in_place_of_one_of_its_parts_is_not_told(part):
    with pytest.raises(SettingsError, match=f"{part} is a URI.*database_url") as caught:
        connection_string({"host": "db", part: URL})
    assert "hunter2" not in str(caught.value)


def test_a_url_and_a_file_contradict_each_other():
    with pytest.raises(SettingsError, match="both set") as caught:
        connection_string({"database_url": URL, "database_url_file": "/run/secrets/url"})
    assert "hunter2" not in str(caught.value)


def test_a_server_that_has_vanished_is_given_up_and_the_uri_may_say_when(database):
    with connect(database) as session:
        told = session.info.get_parameters()
        assert (told["tcp_user_timeout"], told["keepalives_idle"]) == ("30000", "15")
    with connect(conninfo.make_conninfo(database, tcp_user_timeout=5)) as session:
        assert session.info.get_parameters()["tcp_user_timeout"] == "5"
