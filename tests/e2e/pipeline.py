"""``tap-stripe-events | tee messages.ndjson | target-postgres-stripe`` as a shell would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BIN = Path(sys.executable).parent
TAP = BIN / "tap-stripe-events"
TARGET = BIN / "target-postgres-stripe"
TIMEOUT_SECONDS = 120
MESSAGES = "messages.ndjson"
FAST = {"requests_per_second": 1_000, "endpoint_requests_per_second": 1_000}
LIST_AGAIN = {"sweep_interval_hours": 0, "full_sweep_interval_days": 0, "upcoming_refresh_seconds": 60}
"""Settings of a run that lists everything, whatever the feed says."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended. ``states``: what the target printed. Codes are negative for a process that a signal ended."""

    tap_code: int
    target_code: int
    states: list[dict[str, Any]]
    tap_log: str
    target_log: str

    @property
    def logs(self) -> str:
        return self.tap_log + self.target_log

    @property
    def succeeded(self) -> bool:
        return self.tap_code == 0 and self.target_code == 0


class Running:
    """The processes, started. Leaving the block kills what is left of them."""

    def __init__(self, tap: list[str], target: list[str], directory: Path, environment: Mapping[str, str]) -> None:
        self._logs = (directory / "tap.log", directory / "target.log")
        self._states: list[dict[str, Any]] = []
        with ExitStack() as opened:
            tap_log, target_log = (opened.enter_context(path.open("wb")) for path in self._logs)
            shared: dict[str, Any] = {"env": dict(environment), "cwd": directory, "stdout": subprocess.PIPE}
            self.tap = subprocess.Popen(tap, stderr=tap_log, **shared)
            tee = ["tee", str(directory / MESSAGES)]
            self._tee = subprocess.Popen(tee, stdin=self.tap.stdout, **shared)
            self.target = subprocess.Popen(target, stdin=self._tee.stdout, stderr=target_log, text=True, **shared)
            # So that each notices when the next one is gone.
            _there(self.tap.stdout).close()
            _there(self._tee.stdout).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.tap, self._tee, self.target):
            process.kill()
            process.wait(TIMEOUT_SECONDS)
        _there(self.target.stdout).close()

    def states(self) -> Iterator[dict[str, Any]]:
        """Yield each STATE when the target prints it."""
        for line in _there(self.target.stdout):
            self._states.append(json.loads(line))
            yield self._states[-1]

    def logs(self) -> str:
        """What both have logged up to now."""
        return "".join(path.read_text(errors="replace") for path in self._logs)

    def finish(self) -> Outcome:
        """Wait until both have ended."""
        for _ in self.states():
            continue
        codes = [process.wait(TIMEOUT_SECONDS) for process in (self.tap, self.target)]
        tap_log, target_log = (path.read_text() for path in self._logs)
        return Outcome(
            tap_code=codes[0], target_code=codes[1], states=self._states, tap_log=tap_log, target_log=target_log
        )


class Pipeline:
    """Runs from one Stripe into one database, each run with the STATE that the last one printed.

    Args:
        directory: For settings, states, catalogs and logs.
        stripe_url: Where Stripe is.
        database_url: A libpq URI.
        api_key: The key.
    """

    def __init__(
        self, directory: Path, *, stripe_url: str, database_url: str, api_key: str = "sk_test_sandbox"
    ) -> None:
        self.directory = directory
        self.tap_settings: dict[str, Any] = {"api_key": api_key, "api_url": stripe_url, **FAST}
        self.target_settings: dict[str, Any] = {"database_url": database_url}
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("TAP_", "TARGET_"))
        }
        self.state: dict[str, Any] | None = None
        self.catalog: dict[str, Any] | None = None

    def start(self) -> Running:
        """Start a run."""
        tap = [str(TAP), "--config", self._file("tap.json", self.tap_settings)]
        if self.state is not None:
            tap += ["--state", self._file("state.json", self.state)]
        if self.catalog is not None:
            tap += ["--catalog", self._file("catalog.json", self.catalog)]
        target = [str(TARGET), "--config", self._file("target.json", self.target_settings)]
        return Running(tap, target, self.directory, self.environment)

    def write_settings(self) -> None:
        """Write ``tap.json`` and ``target.json`` as a run does."""
        self._file("tap.json", self.tap_settings)
        self._file("target.json", self.target_settings)

    def run(self) -> Outcome:
        """Run to the end, and keep the last STATE for the next run."""
        with self.start() as running:
            return self.keep(running.finish())

    def keep(self, outcome: Outcome) -> Outcome:
        """Keep the last STATE of a run, as Meltano does, however it ended."""
        if outcome.states:
            self.state = outcome.states[-1]
        return outcome

    @property
    def messages(self) -> Path:
        """What the tap wrote in the last run."""
        return self.directory / MESSAGES

    def discover(self) -> dict[str, Any]:
        """Return the catalog."""
        command = [str(TAP), "--config", self._file("tap.json", self.tap_settings), "--discover"]
        done = subprocess.run(
            command, capture_output=True, check=True, timeout=TIMEOUT_SECONDS, env=self.environment, cwd=self.directory
        )
        catalog: dict[str, Any] = json.loads(done.stdout)
        return catalog

    def _file(self, name: str, content: Any) -> str:
        path = self.directory / name
        path.write_text(json.dumps(content))
        return str(path)


def _there(stream: IO[Any] | None) -> IO[Any]:
    assert stream is not None
    return stream
