"""``tap | target`` that is started again whenever it ends, as a service manager would, with the last STATE printed.

A thread of its own starts the two processes, takes what the target prints, and waits for both to end. Everything it
notes is read by other threads: lists that only grow.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from pipeline import TAP, TARGET

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline import Pipeline

RESTART_SECONDS = 1.0
END_SECONDS = 30.0
"""How long one process may outlive the other: the target waits so long for a database that is away."""

NAMES = ("tap", "target")


@dataclass(kw_only=True)
class Life:
    """A process. ``began`` and ``ended`` are on the monotonic clock; ``code`` as ``subprocess`` has it."""

    name: str
    process: subprocess.Popen[Any]
    log: Path
    began: float
    ended: float | None = None
    code: int | None = None
    hung: bool = False

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A STATE that the target printed: when, and how many bytes."""

    at: float
    size: int


class Supervised:
    """Keeps a pipeline running.

    Args:
        pipeline: Its settings, and the STATE to begin with.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._last_line = json.dumps(pipeline.state)
        self.lives: list[Life] = []
        self.printed: list[Printed] = []

    def start(self) -> None:
        """Start it."""
        self._pipeline.write_settings()
        self._thread.start()

    def alive(self) -> list[Life]:
        """The processes that run now."""
        return [each for each in self.lives[-2:] if each.process.poll() is None]

    def kill(self, *names: str) -> None:
        """Kill the tap, the target or both."""
        for life in self.alive():
            if life.name in names:
                life.process.kill()

    def stop(self) -> None:
        """End it in good order, and keep its STATE. Once is enough."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        for life in self.alive():
            if life.name == "tap":
                life.process.send_signal(signal.SIGTERM)
        self._thread.join(2 * END_SECONDS)
        for life in self.alive():
            life.hung = True
            life.process.kill()
        self._thread.join(END_SECONDS)
        self._pipeline.state = json.loads(self._last_line)

    def watch(self) -> None:
        """Kill the target that does not notice that the tap is gone. To be called from time to time."""
        for tap, target in zip(self.lives[0::2], self.lives[1::2], strict=False):
            gone = tap.process.poll() is not None
            if gone and tap.ended is None:
                tap.ended = time.monotonic()
            if gone and target.process.poll() is None and time.monotonic() - (tap.ended or 0) > 2 * END_SECONDS:
                target.hung = True
                target.process.kill()

    def _supervise(self) -> None:
        while not self._stopping.is_set():
            self._live()
            self._stopping.wait(RESTART_SECONDS)

    def _live(self) -> None:
        directory = self._pipeline.directory
        (directory / "state.json").write_text(self._last_line)
        settings = [str(directory / f"{name}.json") for name in NAMES]
        tap = self._start("tap", [str(TAP), "--config", settings[0], "--state", str(directory / "state.json")], None)
        target = self._start("target", [str(TARGET), "--config", settings[1]], tap.process.stdout)
        tap.process.stdout.close()  # type: ignore[union-attr] # so that the tap notices when the target is gone
        for line in target.process.stdout:  # type: ignore[union-attr]
            self._last_line = line.decode()
            self.printed.append(Printed(at=time.monotonic(), size=len(line)))
        for life in (target, tap):
            self._wait(life)
        target.process.stdout.close()  # type: ignore[union-attr]

    def _start(self, name: str, command: list[str], read: IO[bytes] | None) -> Life:
        log = self._pipeline.directory / f"{name}-{len(self.lives) // 2 + 1}.log"
        with log.open("wb") as opened:
            process = subprocess.Popen(
                command, stdin=read or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=opened,
                env=self._pipeline.environment, cwd=self._pipeline.directory,
            )  # fmt: skip
        self.lives.append(Life(name=name, process=process, log=log, began=time.monotonic()))
        return self.lives[-1]

    def _wait(self, life: Life) -> None:
        try:
            life.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            life.hung = True
            life.process.kill()
            life.process.wait()
        life.code = life.process.returncode
        life.ended = life.ended or time.monotonic()
