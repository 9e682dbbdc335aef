"""The command: signals, kills, a database that is away, settings."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest
from messages import TEXT, record, schema, state

from target_postgres_stripe.reader import IDLE_SECONDS
from target_postgres_stripe.target import COMMIT_INTERVAL_SECONDS, PENDING_SECONDS_MAX

COMMAND = Path(sys.executable).with_name("target-postgres-stripe")
CUSTOMER = schema("customer", name=TEXT)
TIMEOUT_SECONDS = 60


@pytest.fixture
def start(tmp_path, database):
    """Start the command with settings; it is killed at the end of the test if it still runs."""
    started = []

    def run(**settings):
        config = tmp_path / f"config{len(started)}.json"
        config.write_text(json.dumps({"database_url": database} | settings))
        process = subprocess.Popen(
            [COMMAND, "--config", config],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=TIMEOUT_SECONDS)


def sent(*messages):
    return "".join(json.dumps(message) + "\n" for message in messages).encode()


def customers(first, last):
    return [record("customer", id=f"c{n}", name="x", as_of=1) for n in range(first, last)]


def feed(process, *messages):
    process.stdin.write(sent(*messages))
    process.stdin.flush()


def printed(process):
    """The next STATE, which must come although the input goes on: the tap is silent."""
    return json.loads(process.stdout.readline())


def test_a_silent_tap_does_not_keep_its_state_waiting(start, rows):
    process = start()
    feed(process, state(), CUSTOMER, *customers(0, 3), state(customer={"n": 1}))
    assert printed(process)["bookmarks"] == {"customer": {"n": 1}}
    assert rows("SELECT count(*) FROM stripe.customer") == [(3,)]
    output, _ = process.communicate(sent(*customers(3, 5), state(customer={"n": 2})), timeout=TIMEOUT_SECONDS)
    assert json.loads(output)["bookmarks"] == {"customer": {"n": 2}}
    assert process.returncode == 0


def test_a_change_is_visible_milliseconds_after_its_state_when_the_tap_is_silent(start, connection):
    """Measured: 16 ms at the median, 20 ms at the 99th percentile; the limit leaves room for a busy machine."""
    process = start()
    feed(process, state(), CUSTOMER, *customers(0, 3), state(customer={"n": 0}))
    printed(process)
    waits = []
    for number in range(1, 31):
        feed(process, record("customer", id="c0", name=f"n{number}", as_of=number + 1), state(customer={"n": number}))
        began = time.monotonic()
        while connection.execute("SELECT name FROM stripe.customer WHERE id = 'c0'").fetchone() != (f"n{number}",):
            continue
        waits.append(time.monotonic() - began)
        printed(process)
    # The commits before were less than COMMIT_INTERVAL_SECONDS ago, so this is the slower case.
    assert statistics.median(waits) < COMMIT_INTERVAL_SECONDS + IDLE_SECONDS + 0.05


def test_a_tap_that_never_falls_silent_waits_half_a_second_at_most(start, connection):
    """Rows without a pause after a STATE; no other STATE follows."""
    process = start()
    feed(process, state(), CUSTOMER, *customers(0, 3), state(customer={"n": 1}))
    printed(process)
    feed(process, record("customer", id="c0", name="late", as_of=5), state(customer={"n": 2}))
    began, number = time.monotonic(), 0
    while connection.execute("SELECT name FROM stripe.customer WHERE id = 'c0'").fetchone() != ("late",):
        feed(process, *customers(number, number + 20))
        number += 20
    assert time.monotonic() - began < PENDING_SECONDS_MAX + COMMIT_INTERVAL_SECONDS + 0.3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_prints_nothing_that_is_not_committed(start, rows, connection, number):
    """The signal comes while rows of the next STATE are being stored: a lock holds the statement up."""
    process = start()
    feed(process, state(), CUSTOMER, *customers(0, 3), state(customer={"n": 1}))
    assert printed(process)["bookmarks"] == {"customer": {"n": 1}}
    with connection.transaction():
        connection.execute("LOCK TABLE stripe.customer IN SHARE MODE")
        feed(process, *customers(3, 6), state(customer={"n": 2}))
        await_blocked(connection)
        process.send_signal(number)
        output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert output == b""
    assert b"Traceback" not in errors
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    again = start()
    again.communicate(sent(state(customer={"n": 1}), CUSTOMER, *customers(3, 6), state()), timeout=TIMEOUT_SECONDS)
    assert again.returncode == 0
    assert rows("SELECT id FROM stripe.customer ORDER BY id") == [(f"c{n}",) for n in range(6)]


def await_blocked(connection):
    """Return once another session waits for a lock of ours; the test's timeout bounds it."""
    while not connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    ).fetchall():
        continue


def test_a_connection_that_is_lost_ends_the_run_without_a_false_state(start, rows, connection):
    process = start()
    feed(process, state(), CUSTOMER, *customers(0, 3), state(customer={"n": 1}))
    assert printed(process)["bookmarks"] == {"customer": {"n": 1}}
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'target-postgres-stripe'"
    )
    output, errors = process.communicate(sent(*customers(3, 6), state(customer={"n": 2})), timeout=TIMEOUT_SECONDS)
    assert output == b""
    assert process.returncode == 1
    assert b"Nothing after the last STATE printed was stored" in errors
    assert b"Traceback" not in errors
    assert rows("SELECT count(*) FROM stripe.customer") == [(3,)]


def test_a_reader_of_state_that_goes_away_ends_the_run(start):
    process = start()
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate(sent(state(), CUSTOMER, *customers(0, 1), state()), timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert "Nobody reads the STATE" in last_line(errors)
    assert b"Traceback" not in errors


def last_line(errors):
    return errors.decode().strip().splitlines()[-1]


def test_a_database_that_refuses_is_one_clear_line_without_the_password(start, database):
    process = start(database_url=database.replace("postgres@", "nobody_here:hunter2@"))
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert 'role "nobody_here" does not exist' in last_line(errors)
    assert "Check database_url" in last_line(errors)
    assert b"hunter2" not in errors
    assert b"Traceback" not in errors


def test_a_database_that_comes_late_is_waited_for(start, database, rows):
    """A listener that hangs up on the first caller and passes the next on to the server."""
    path = psycopg.conninfo.conninfo_to_dict(database)["host"] + "/.s.PGSQL.5432"
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up_and_then_pass_on, args=(listener, path), daemon=True)
        thread.start()
        process = start(
            database_url="", host="127.0.0.1", port=listener.getsockname()[1], user="postgres", database=name
        )
        process.communicate(sent(state(), CUSTOMER, *customers(0, 1), state()), timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0
    assert rows("SELECT count(*) FROM stripe.customer") == [(1,)]
    thread.join(timeout=TIMEOUT_SECONDS)


def hang_up_and_then_pass_on(listener, path):
    listener.accept()[0].close()
    client, _ = listener.accept()
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    back = threading.Thread(target=pass_on, args=(server, client), daemon=True)
    back.start()
    pass_on(client, server)
    back.join(timeout=TIMEOUT_SECONDS)
    client.close()
    server.close()


def pass_on(source, sink):
    while piece := source.recv(65536):
        sink.sendall(piece)
    sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"database_url": "postgresql//user:hunter2@host"}, "database_url is not a libpq URI"),
        ({"default_target_schema": ""}, "cannot be a schema's name"),
        ({"batch_size_rows": 0}, "Config validation failed"),
        ({"hard_delete": "perhaps"}, "Config validation failed"),
        ({"password": 12345678}, "Config validation failed"),
    ],
)
def test_wrong_settings_are_a_clear_line_and_exit_code_1(start, settings, expected):
    process = start(**settings)
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert expected in last_line(errors)
    assert b"Traceback" not in errors
    assert b"hunter2" not in errors
    assert b"12345678" not in errors


def test_about_lists_every_setting_of_the_contract():
    about = subprocess.run(
        [COMMAND, "--about", "--format=json"], capture_output=True, check=True, timeout=TIMEOUT_SECONDS
    )
    listed = json.loads(about.stdout)["settings"]["properties"]
    assert set(listed) >= {
        "database_url", "host", "port", "user", "password", "database", "default_target_schema", "hard_delete",
        "activate_version", "add_record_metadata", "reader_role", "batch_size_rows", "stream_maps", "stream_map_config",
        "flattening_enabled", "flattening_max_depth",
    }  # fmt: skip
    assert (listed["default_target_schema"]["default"], listed["hard_delete"]["default"]) == ("stripe", False)
    assert {name for name, spec in listed.items() if spec.get("secret")} == {"database_url", "password"}


def test_a_setting_that_is_null_is_its_default(start, rows):
    process = start(default_target_schema=None, batch_size_rows=None, activate_version=None, hard_delete=None)
    process.communicate(sent(state(), CUSTOMER, *customers(0, 1), state()), timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0
    assert rows("SELECT count(*) FROM stripe.customer") == [(1,)]


def test_settings_come_from_the_environment(database, rows):
    done = subprocess.run(
        [COMMAND, "--config", "ENV"],
        input=sent(state(), CUSTOMER, *customers(0, 2), state()),
        env=os.environ | {"TARGET_POSTGRES_STRIPE_DATABASE_URL": database},
        capture_output=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert rows("SELECT count(*) FROM stripe.customer") == [(2,)]


def test_another_account_is_exit_code_1_and_no_traceback(start):
    first, second = start(), None
    first.communicate(sent(state(), state()), timeout=TIMEOUT_SECONDS)
    second = start()
    output, errors = second.communicate(sent(state(account="acct_2")), timeout=TIMEOUT_SECONDS)
    assert (second.returncode, output) == (1, b"")
    assert "holds Stripe account acct_1" in last_line(errors)
    assert b"Traceback" not in errors
