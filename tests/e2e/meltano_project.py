"""Meltano on a copy of the project."""

import json
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

from pipeline import BIN, TIMEOUT_SECONDS

ROOT = Path(__file__).parents[2]
STATE_ID = "dev:tap-stripe-events-to-target-postgres-stripe"


class Meltano:
    """Meltano on a copy of the project, with a system database of its own."""

    def __init__(self, project, environment):
        self._how = {"cwd": project, "text": True}
        self._environment = environment

    def __call__(self, *arguments, given="", **settings):
        """Run a command to its end; ``given`` is its input."""
        how = {**self._how, "env": self._environment | settings, "input": given, "timeout": TIMEOUT_SECONDS}
        return subprocess.run([BIN / "meltano", *arguments], capture_output=True, check=False, **how)

    @contextmanager
    def start(self, *arguments, log, **settings):
        """Start a command; what is left of it at the end is killed."""
        command, environment = [BIN / "meltano", *arguments], self._environment | settings
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, **self._how, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(TIMEOUT_SECONDS)

    def state(self):
        """The state that Meltano keeps."""
        shown = self("state", "get", STATE_ID)
        assert shown.returncode == 0, shown.stderr
        return json.loads(shown.stdout)["singer_state"]


def meltano_project(directory, *, stripe_url, database):
    """Copy the project into a directory, for an account and a database."""
    directory.mkdir()
    shutil.copy(ROOT / "meltano.yml", directory)
    (directory / ".venv").symlink_to(BIN.parent)
    ours = ("TAP_", "TARGET_", "STRIPE_PROXY_", "MELTANO_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {
        "MELTANO_PROJECT_ROOT": str(directory),
        "MELTANO_DATABASE_URI": f"sqlite:///{directory}/meltano.db",
        "TAP_STRIPE_EVENTS_API_KEY": "sk_test_sandbox",
        "TAP_STRIPE_EVENTS_API_URL": stripe_url,
        "TAP_STRIPE_EVENTS_REQUESTS_PER_SECOND": "1000",
        "TAP_STRIPE_EVENTS_ENDPOINT_REQUESTS_PER_SECOND": "1000",
        "TARGET_POSTGRES_STRIPE_DATABASE_URL": database,
    }
    return Meltano(directory, environment)
