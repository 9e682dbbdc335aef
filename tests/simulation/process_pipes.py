"""``tap | target`` as processes, started by hand or by Meltano, that can be killed: one run at a time.

Both ways of starting offer the same: ``start(settings)`` yields a run, which is killed or asked to end from without,
and whose ``finish()`` says how it ended. Started by hand, what the tap wrote is kept, and so are the STATEs that the
target printed; Meltano keeps the state itself, and tells one exit code for both.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline import BIN, Pipeline
from simulated_pipe import TERMINATED, Ended

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline import Outcome, Running

ROOT = Path(__file__).parents[2]
STATE_ID = "dev:tap-stripe-events-to-target-postgres-stripe"
LONGEST_END_SECONDS = 60.0
"""How long what Meltano has started may live on without it: the target waits half a minute for its database."""


class ProcessFailedError(Exception):
    """What a process said before it ended with an exit code other than 0."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has ended. ``lines``: what the tap wrote, whole lines only, or None if nobody kept it."""

    ended: Ended
    logs: str
    lines: list[bytes] | None


class Started(Protocol):
    """A run, started."""

    def kill(self, *names: str) -> None:
        """SIGKILL the tap, the target, or everything (``all``)."""

    def terminate(self) -> None:
        """Ask it to end in good order."""

    def finish(self) -> Run:
        """Wait until all has ended."""


class Pipe(Protocol):
    """A way to run the pipe."""

    def start(self, settings: Mapping[str, Any]) -> Any:
        """Start a run with these settings of the tap besides the usual ones; a context that yields a ``Started``."""

    def lose_states(self, count: int) -> None:
        """What keeps the state died with the run, before it kept the last states."""

    def state(self) -> dict[str, Any] | None:
        """The state that is kept."""


class PlainPipe:
    """As a shell starts it.

    Args:
        pipeline: Settings, catalog and the state that is carried over.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._before: dict[str, Any] | None = None
        self._printed: list[dict[str, Any]] = []

    @contextmanager
    def start(self, settings: Mapping[str, Any]) -> Iterator[Started]:
        """Start both."""
        usual = self._pipeline.tap_settings
        self._pipeline.tap_settings = {**usual, **settings}
        self._before = self._pipeline.state
        try:
            with self._pipeline.start() as running:
                yield _PlainRun(self, running)
        finally:
            self._pipeline.tap_settings = usual

    def keep(self, outcome: Outcome) -> Run:
        """Keep what a run left."""
        self._pipeline.keep(outcome)
        self._printed = outcome.states
        lines = self._pipeline.messages.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        written = [line for line in whole if line.startswith(b'{"type":"STATE"')]
        # A tap whose reader is gone ends without a word, as in any pipe: the reader has said why.
        broken = BrokenPipeError() if outcome.target_code else None
        ended = Ended(
            tap_code=outcome.tap_code, target_code=outcome.target_code,
            tap_error=_failure(outcome.tap_log) or broken, target_error=_failure(outcome.target_log),
            written=json.loads(written[-1])["value"] if written else None, printed=outcome.states, requests=0,
        )  # fmt: skip
        return Run(ended=ended, logs=outcome.logs, lines=whole)

    def lose_states(self, count: int) -> None:
        """Go back to an earlier STATE, or to that of the run before."""
        kept = self._printed[: max(0, len(self._printed) - count)]
        self._pipeline.state = kept[-1] if kept else self._before

    def state(self) -> dict[str, Any] | None:
        """The last STATE that was printed."""
        return self._pipeline.state


class _PlainRun:
    def __init__(self, pipe: PlainPipe, running: Running) -> None:
        self._pipe = pipe
        self._running = running

    def kill(self, *names: str) -> None:
        everything = "all" in names
        if everything or "tap" in names:
            self._running.tap.kill()
        if everything or "target" in names:
            self._running.target.kill()

    def terminate(self) -> None:
        self._running.tap.send_signal(signal.SIGTERM)

    def finish(self) -> Run:
        return self._pipe.keep(self._running.finish())


class MeltanoPipe:
    """``meltano run`` in a project of its own.

    Args:
        pipeline: Settings and a directory; its catalog says what is selected.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._directory = pipeline.directory / "project"
        self._directory.mkdir()
        shutil.copy(ROOT / "meltano.yml", self._directory)
        (self._directory / ".venv").symlink_to(BIN.parent)
        self._environment = {
            **{name: value for name, value in pipeline.environment.items() if not name.startswith("MELTANO_")},
            "MELTANO_PROJECT_ROOT": str(self._directory),
            "MELTANO_DATABASE_URI": f"sqlite:///{self._directory}/meltano.db",
            **_variables("TAP_STRIPE_EVENTS", pipeline.tap_settings),
            **_variables("TARGET_POSTGRES_STRIPE", pipeline.target_settings),
            "TAP_STRIPE_EVENTS__SELECT": json.dumps([f"{name}.*" for name in _selected(pipeline.catalog or {})]),
        }

    @contextmanager
    def start(self, settings: Mapping[str, Any]) -> Iterator[Started]:
        """Start Meltano, which starts both."""
        log = self._directory / "run.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [BIN / "meltano", "run", "tap-stripe-events", "target-postgres-stripe"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._directory,
                env=self._environment | _variables("TAP_STRIPE_EVENTS", settings), start_new_session=True,
            )  # fmt: skip
        try:
            yield _MeltanoRun(process, log)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def lose_states(self, count: int) -> None:
        """It keeps each STATE at once: what it has lost when it is killed, it has lost by itself."""

    def state(self) -> dict[str, Any] | None:
        """The state that Meltano shows."""
        shown = subprocess.run(
            [BIN / "meltano", "state", "get", STATE_ID],
            capture_output=True, text=True, check=False, cwd=self._directory, env=self._environment,
        )  # fmt: skip
        state: dict[str, Any] | None = json.loads(shown.stdout).get("singer_state") if shown.returncode == 0 else None
        return state


class _MeltanoRun:
    def __init__(self, process: subprocess.Popen[Any], log: Path) -> None:
        self._process = process
        self._log = log

    def kill(self, *names: str) -> None:
        """``all`` is Meltano alone: what it has started finds out that it is gone."""
        if "all" in names:
            self._process.kill()
        for name, process in self._children():
            if name in names:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def finish(self) -> Run:
        code = self._process.wait()
        code = TERMINATED if code == -signal.SIGTERM else code  # it has no exit code of its own for that
        logs = self._log.read_text(errors="replace")
        error = ProcessFailedError(logs[-1_500:]) if code else None
        if not self._wait_for_the_rest():
            error = ProcessFailedError(f"what Meltano has started ran on for {LONGEST_END_SECONDS:.0f} s without it")
            code = 255
        ended = Ended(
            tap_code=code, target_code=0, tap_error=error, target_error=None, written=None, printed=[], requests=0
        )
        return Run(ended=ended, logs=self._log.read_text(errors="replace"), lines=None)

    def _wait_for_the_rest(self) -> bool:
        """Whether everything in Meltano's session has ended, after a while."""
        deadline = time.monotonic() + LONGEST_END_SECONDS
        while time.monotonic() < deadline:
            if not any(session == self._process.pid for _, session, _ in _processes()):
                return True
            time.sleep(0.05)
        return False

    def _children(self) -> Iterator[tuple[str, int]]:
        """Tap and target, by their commands."""
        for process, session, command in _processes():
            if session == self._process.pid and process != session and "--discover" not in command:
                for name in ("tap", "target"):
                    if f"/{name}-" in command:
                        yield name, process


def _processes() -> Iterator[tuple[int, int, str]]:
    """Every process that is not dead: its number, its session's, and its command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if state != "Z":
                    yield int(entry.name), int(session), (entry / "cmdline").read_text().replace("\0", " ")


def _failure(log: str) -> ProcessFailedError | None:
    """The end of a log that tells of a failure."""
    lines = [line for line in log.splitlines() if "ERROR" in line or "CRITICAL" in line or "Traceback" in line]
    return ProcessFailedError(log[-1_500:]) if lines else None


def _variables(prefix: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as environment variables."""
    return {f"{prefix}_{name.upper()}": str(value) for name, value in settings.items()}


def _selected(catalog: Mapping[str, Any]) -> list[str]:
    return [
        stream["stream"]
        for stream in catalog["streams"]
        if any(not each["breadcrumb"] and each["metadata"]["selected"] for each in stream["metadata"])
    ]
