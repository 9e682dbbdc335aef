"""`make demo`: a made-up account into the embedded Postgres, through Meltano. No key, no network.

Starts the sandbox Stripe with the account of a small business, syncs, and shows what is in the database. Then a
customer is created through the proxy with Stripe's own library, and selected at once. Run again, three days have
passed: the feed brings what changed, the daily listings what no event tells.
"""

import fcntl
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import requests
import run
import stripe
from psycopg import sql

from target_postgres_stripe.connection import connection_string

HOME = run.ROOT / ".stripe-sync"
KEY = "sk_test_sandbox"
_START_SECONDS = 60


def sandbox(port_file: Path) -> subprocess.Popen[bytes]:
    """Start the sandbox on a free port, with the account where the last demo left it."""
    command = [
        sys.executable,
        *("-m", "stripe_sandbox", "--account", "demo", "--port", "0"),
        *("--port-file", str(port_file), "--state", str(HOME / "demo-account.json")),
    ]
    return subprocess.Popen(command, cwd=run.ROOT, stdout=subprocess.DEVNULL)


def wait_for(port_file: Path, process: subprocess.Popen[bytes]) -> int:
    """Return the port once the sandbox has written it."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.exists() and (text := port_file.read_text(encoding="utf-8").strip()):
            return int(text)
        time.sleep(0.05)
    sys.exit(f"The sandbox did not start within {_START_SECONDS} s (exit code {process.poll()})")


def write_through(stripe_url: str) -> None:
    """Create a customer through the proxy with Stripe's own library, and select it at once."""
    found = run.settings(run.TARGET)
    database, schema = connection_string(found), str(found["default_target_schema"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    proxy = f"http://127.0.0.1:{port}"
    environment = {
        "STRIPE_PROXY_DATABASE_URL": database,
        "STRIPE_PROXY_DEFAULT_TARGET_SCHEMA": schema,
        "STRIPE_PROXY_API_KEY": KEY,
        "STRIPE_PROXY_API_URL": stripe_url,
        "STRIPE_PROXY_PORT": str(port),
    }
    process = subprocess.Popen([run.BIN / "stripe-proxy"], env={**os.environ, **environment})
    try:
        wait_until_healthy(proxy, process)
        client = stripe.StripeClient(KEY, base_addresses={"api": f"{proxy}/api.stripe.com"})
        customer = client.v1.customers.create({"name": "Made through stripe-proxy"})
        statement = sql.SQL("SELECT id, name, created FROM {} WHERE id = %s").format(sql.Identifier(schema, "customer"))
        with psycopg.connect(database) as connection:
            row = connection.execute(statement, (customer.id,)).fetchone()
        if row is None:
            sys.exit(f"Customer {customer.id} was created through the proxy and is not in Postgres.")
        print(
            f"\nWritten through stripe-proxy with Stripe's own library, and selected at once:\n"
            f"  client.v1.customers.create(…)              →  {customer.id}\n"
            f"  SELECT … FROM {schema}.customer WHERE id = …  →  {row[1]}, {row[2]:%Y-%m-%d %H:%M:%S}"
        )
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until_healthy(proxy: str, process: subprocess.Popen[bytes]) -> None:
    """Return once the proxy says that it can do its work."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(f"{proxy}/healthz", timeout=5).ok:
                return
        except requests.ConnectionError:
            pass  # it does not listen yet
        time.sleep(0.05)
    sys.exit(f"The proxy did not start within {_START_SECONDS} s (exit code {process.poll()})")


def main() -> None:
    """Run the demo."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "demo-lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("Another make demo is running here; one at a time.")
        demo()


def demo() -> None:
    """Start the sandbox, let three days pass if it has been here before, sync and show."""
    port_file = HOME / "demo-port"
    port_file.unlink(missing_ok=True)
    again = (HOME / "demo-account.json").exists()
    print("The account of the last demo, three days later …" if again else "Making the account of a small business …")
    process = sandbox(port_file)
    try:
        port = wait_for(port_file, process)
        if again:
            tick = requests.post(f"http://127.0.0.1:{port}/_sandbox/tick", json={"days": 3}, timeout=_START_SECONDS)
            tick.raise_for_status()
        print(f"Sandbox Stripe on http://127.0.0.1:{port}; meltano run tap-stripe-events target-postgres-stripe\n")
        code = run.sync(
            {
                "TAP_STRIPE_EVENTS_API_KEY": KEY,
                "TAP_STRIPE_EVENTS_API_URL": f"http://127.0.0.1:{port}",
                "TAP_STRIPE_EVENTS_REQUESTS_PER_SECOND": "100",
                "TAP_STRIPE_EVENTS_ENDPOINT_REQUESTS_PER_SECOND": "100",
            },
        )
        if code:
            sys.exit(code)
        run.show()
        write_through(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=30)


if __name__ == "__main__":
    main()
