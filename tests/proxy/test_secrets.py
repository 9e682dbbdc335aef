"""What the proxy says: no key, no password, no token, nobody's name, whatever goes wrong."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import requests

CALLERS_KEY = "sk_test_sandbox"
OWN_KEY = "rk_test_planted_own"
SECRETS = {"password": "planted-password", "token": "planted-token", "client": "_secret_", "own": OWN_KEY}
PERSON = {"name": "Planted Person", "email": "planted.person@people.example", "phone": "+49301234567"}
SECONDS = 30


@pytest.fixture
def upstream(make_sandbox):
    return make_sandbox("empty", restricted_keys={OWN_KEY: "customer,payment_intent"})


@contextlib.contextmanager
def process(tmp_path, **settings):
    """The proxy as a process, with its log in a file; yields where it is."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STRIPE_PROXY_")}
    environment |= {f"STRIPE_PROXY_{name.upper()}": str(value) for name, value in settings.items()}
    with (tmp_path / "proxy.log").open("ab") as log:
        started = subprocess.Popen(
            [Path(sys.executable).parent / "stripe-proxy"], env=environment | {"STRIPE_PROXY_PORT": str(port)},
            stdout=log, stderr=log, cwd=tmp_path,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            assert started.poll() is None, (tmp_path / "proxy.log").read_text()
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        started.terminate()
        started.wait(SECONDS)


def post(proxy, path, key=CALLERS_KEY, **data):
    return requests.post(f"{proxy}/api.stripe.com{path}", auth=(key, ""), data=data, timeout=SECONDS)


def pages(proxy, sync_id):
    """What can be looked at, with the token and without."""
    for path in ("/", "/status", "/metrics", "/healthz", f"/api/wait/{sync_id}?timeout=1", "/api/wait/unknown"):
        for headers in ({}, {"Authorization": f"Bearer {SECRETS['token']}"}):
            yield requests.get(proxy + path, headers=headers, timeout=SECONDS).text


def test_nothing_that_the_proxy_says_holds_a_secret_or_a_person(upstream, claim, database, connection, tmp_path):
    claim(upstream.account.id)
    url = database.replace("postgres@", f"postgres:{SECRETS['password']}@")
    (tmp_path / "key").write_text(OWN_KEY)
    said = []
    settings = {
        "database_url": url, "api_url": upstream.url, "files_url": upstream.url, "api_key_file": tmp_path / "key",
        "token": SECRETS["token"], "apply_timeout_seconds": 2,
    }  # fmt: skip
    with process(tmp_path, **settings) as proxy:
        created = post(proxy, "/v1/customers", **PERSON)
        assert created.headers.get("Stripe-Proxy-Applied") != "false"
        intent = post(proxy, "/v1/payment_intents", amount=100, currency="eur", customer=created.json()["id"])
        assert SECRETS["client"] in intent.json()["client_secret"]  # the caller gets it, of course
        assert post(proxy, "/v1/customers", key="sk_test_mistyped", **PERSON).status_code == 401
        # A row that Postgres refuses, in words that quote it.
        connection.execute("ALTER TABLE stripe.customer ADD CHECK (name <> 'Planted Person') NOT VALID")
        with pytest.raises(psycopg.errors.CheckViolation, match="Planted Person"):
            connection.execute("INSERT INTO stripe.customer (id, name) VALUES ('cus_x', 'Planted Person')")
        refused = post(proxy, "/v1/customers", **PERSON)
        assert (refused.status_code, refused.headers["Stripe-Proxy-Applied"]) == (200, "false")
        # A row that cannot be found again by its key.
        connection.execute("ALTER TABLE stripe.payment_intent DROP CONSTRAINT payment_intent_pkey")
        post(proxy, "/v1/payment_intents", amount=100, currency="eur", description=PERSON["name"])
        said += pages(proxy, connection.execute("SELECT id FROM stripe._sync").fetchone()[0])
    nowhere = {"database_url": "postgresql://u:planted-password@127.0.0.1:9/x", "api_url": "http://127.0.0.1:9"}
    with process(tmp_path, **settings | nowhere) as proxy:
        said += pages(proxy, "unknown")
        assert post(proxy, "/v1/customers", **PERSON).status_code == 502
    log = (tmp_path / "proxy.log").read_text()
    assert "CheckViolation" in log
    assert "Traceback" not in log
    told = json.dumps([log, *said])
    assert [
        each for each in (*SECRETS.values(), CALLERS_KEY, "sk_test_mistyped", *PERSON.values()) if each in told
    ] == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"api_key_file": OWN_KEY}, "api_key_file"),
        ({"api_key": OWN_KEY, "api_key_file": "/run/secrets/key"}, "api_key is set too"),
        ({"database_url": "mysql://u:planted-password@db/x"}, "not a libpq URI"),
        ({"database_url_file": "postgresql://u:planted-password@db/x"}, "database_url_file"),
        ({"port": OWN_KEY}, "port"),
        ({"api_url": OWN_KEY}, "api_url"),
        ({"hard_delete": "planted-password"}, "hard_delete"),
    ],
)
def test_a_setting_that_is_wrong_is_told_without_its_value(tmp_path, settings, told):
    environment = {f"STRIPE_PROXY_{name.upper()}": value for name, value in settings.items()}
    done = subprocess.run(
        [Path(sys.executable).parent / "stripe-proxy"], env=os.environ | environment, cwd=tmp_path,
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert told in said
    assert "Traceback" not in said
    assert "planted" not in said
