"""`make demo`: a made-up account into the embedded Postgres, through Meltano. No key, no network.

Starts the sandbox Stripe with the account of a small business, syncs, and shows what is in the database. Run again,
three days of business have passed: the feed brings what changed, the daily listings what no event tells.
"""

import fcntl
import subprocess
import sys
import time
from pathlib import Path

import requests
import run

HOME = run.ROOT / ".stripe-sync"
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
                "TAP_STRIPE_EVENTS_API_KEY": "sk_test_sandbox",
                "TAP_STRIPE_EVENTS_API_URL": f"http://127.0.0.1:{port}",
                "TAP_STRIPE_EVENTS_REQUESTS_PER_SECOND": "100",
                "TAP_STRIPE_EVENTS_ENDPOINT_REQUESTS_PER_SECOND": "100",
            },
        )
        if code:
            sys.exit(code)
        run.show()
    finally:
        process.terminate()
        process.wait(timeout=30)


if __name__ == "__main__":
    main()
