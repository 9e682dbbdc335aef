"""Airflow as a user runs it, and a stand-in for the Meltano that it runs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "orchestrate" / "dags"
AIRFLOW = ROOT / ".venvs" / "airflow" / "bin" / "airflow"
DAG = "stripe-sync-hourly"
TIMEOUT_SECONDS = 600


class Airflow:
    """Airflow with a database of its own, and a copy of the project's DAG files."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home = home
        self.dags = home / "dags"
        self.environment = environment | {
            "AIRFLOW_HOME": str(home),
            "PATH": f"{environment['PATH']}:{AIRFLOW.parent}",  # its services are started by name
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONWARNINGS": "ignore",  # of a package for pictures, on standard output
        }

    def __call__(self, *arguments: str, timeout: float = TIMEOUT_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        how: Any = {"env": self.environment, "cwd": self.home, "capture_output": True, "text": True}
        return subprocess.run([AIRFLOW, *arguments], check=False, timeout=timeout, **how)

    def json(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        done = self(*arguments, "--output", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def states(self, run_id: str) -> dict[str, str]:
        """The state of each task of a run; of one that is mapped, by its place."""
        found = self.json("tasks", "states-for-dag-run", DAG, run_id)
        return {f"{each['task_id']}[{each['map_index']}]".removesuffix("[]"): each["state"] for each in found}

    def change(self, name: str, value: str) -> None:
        """Give one of the DAG file's constants another value."""
        path = self.dags / "meltano_dags.py"
        text, changed = re.subn(rf"^{name} = .*$", f"{name} = {value}", path.read_text(), flags=re.MULTILINE)
        assert changed == 1
        path.write_text(text)

    @contextmanager
    def services(self):
        """Airflow's own processes: scheduler, DAG processor, API server, triggerer."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        self.environment["AIRFLOW__API__PORT"] = port
        self.environment["AIRFLOW__API__HOST"] = "127.0.0.1"
        self.environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"http://127.0.0.1:{port}/execution/"
        self.environment["AIRFLOW__API__WORKERS"] = "1"
        self.environment["AIRFLOW__CORE__PARALLELISM"] = "4"
        self.environment["AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL"] = "2"
        with (self.home / "services.log").open("wb") as log:
            process = subprocess.Popen(
                [AIRFLOW, "standalone"], env=self.environment, cwd=self.home, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):  # else some of the group outlive their parent
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


class StandIn:
    """In Meltano's place: answers what the real one answers, and does what a test says when told to ``run``."""

    def __init__(self, directory: Path, meltano: Path, run: str) -> None:
        self.directory = directory
        self.executable = directory / "meltano"
        self._log = directory / "runs"
        directory.mkdir()
        self._log.touch()
        self.executable.write_text(
            "#!/bin/bash\n"
            f'if [ "$1" != run ]; then exec {meltano} "$@"; fi\n'
            f"log={self._log}\n"
            f'note() {{ echo "$1 $$ $(date +%s.%N) ${{MELTANO_RUN_STATE_ID_SUFFIX:--}} '
            f'${{TAP_STRIPE_EVENTS_CONNECTED_ACCOUNTS:--}}" >> $log; }}\n'
            f"note began\n{run}\n"
        )
        self.executable.chmod(0o755)

    def noted(self, what: str) -> list[list[str]]:
        """What was noted, without the word: process, moment, suffix, accounts."""
        return [line.split()[1:] for line in self._log.read_text().splitlines() if line.startswith(what)]


def wait_until(holds: Any, seconds: float = TIMEOUT_SECONDS) -> None:
    """Look every now and then, for so long."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds} s"
        pause.wait(0.3)
