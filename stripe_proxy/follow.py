"""The sync beside the proxy, with ``--follow``: `meltano run` with a tap that follows, and again whenever it ends.

Meltano runs it, since the bookmarks are Meltano's. Its process is a child of the proxy's in the same process group, so
that whatever ends or kills the group has both. A sync that ends at once is started again after 1, 2, 4 … seconds, a
minute at the most.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import backoff

from stripe_proxy.errors import NoMeltanoError
from stripe_proxy.settings import Settings
from target_postgres_stripe.connection import PARTS, connection_string

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TAP, TARGET = "tap-stripe-events", "target-postgres-stripe"

# The proxy's settings that are also the tap's or the target's.
_SHARED = {
    TAP: ("api_key", "api_key_file", "api_url", "api_version", "wake_socket"),
    TARGET: ("database_url", "database_url_file", "default_target_schema", "hard_delete"),
}
_LONGEST_PAUSE_SECONDS = 60.0
_STEADY_SECONDS = 60.0  # a sync that has run for so long has begun well: what ends it then is something new
_END_SECONDS = 15.0  # what a sync takes at the most to end after SIGTERM: its last state is committed meanwhile

logger = logging.getLogger("stripe-proxy")


@dataclass(frozen=True, kw_only=True)
class SyncProcess:
    """How the sync's process is.

    Attributes:
        running_since: When it was started; None if it does not run.
        ended_at: When it last ended; None if it never did.
        exit_code: How, as a process does; negative: by that signal.
        failures: How many times in a row it ended within a minute of its start.
        next_at: When it is started again, if it does not run.
        starts: How many times it was started.
    """

    running_since: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    failures: int = 0
    next_at: datetime | None = None
    starts: int = 0


class Following:
    """Keeps a sync running. `open` and `close` frame its use, in one event loop.

    Args:
        command: What runs the sync.
        environment: Its environment.
        ending: Whether this process has been told to end, so that nothing is started any more.
    """

    def __init__(
        self, *, command: Sequence[str], environment: Mapping[str, str], ending: Callable[[], bool] = lambda: False
    ) -> None:
        self._command, self._environment, self._ending = tuple(command), dict(environment), ending
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.state = SyncProcess()

    async def open(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._keep_running())

    async def close(self) -> None:
        """End: the sync has time to commit its last state."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except TimeoutError:
            logger.warning("The sync has not ended within %g s, and is killed", _END_SECONDS)
            process.kill()
            await process.wait()

    async def _keep_running(self) -> None:
        pauses = _pauses()
        while not self._ending():
            began = time.monotonic()
            code = await self._run()
            if time.monotonic() - began >= _STEADY_SECONDS:
                pauses = _pauses()
                self.state = replace(self.state, failures=0)
            pause = next(pauses)
            now = datetime.now(UTC)
            self.state = replace(
                self.state, running_since=None, ended_at=now, exit_code=code, failures=self.state.failures + 1,
                next_at=now + timedelta(seconds=pause),
            )  # fmt: skip
            if self._ending():
                return
            logger.warning("The sync ended with exit code %s; it is started again in %g s", code, pause)
            await asyncio.sleep(pause)

    async def _run(self) -> int:
        """Run the sync to its end; return its exit code."""
        self.state = replace(
            self.state, running_since=datetime.now(UTC), next_at=None, starts=self.state.starts + 1
        )  # fmt: skip
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=self._environment, stdin=asyncio.subprocess.DEVNULL
        )
        return await self._process.wait()


def sync_environment(environment: Mapping[str, str], settings: Settings, *, directory: str) -> dict[str, str]:
    """Return the environment of a sync that follows: what is set for the proxy is set for the tap and the target too.

    Args:
        environment: The proxy's own.
        settings: The proxy's settings.
        directory: Where the socket can be, if no other place is set.
    """
    found = {**environment, "TAP_STRIPE_EVENTS_FOLLOW": "true"}
    if not environment.get(_variable(TAP, "wake_socket")):
        found[_variable(TAP, "wake_socket")] = str(Path(directory) / "wake")
    for plugin, names in _SHARED.items():
        for name in names:
            value = getattr(settings, name)
            if value != getattr(Settings, name):
                found[_variable(plugin, name)] = value if isinstance(value, str) else json.dumps(value)
    return found


def settings_of_sync(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """Return the settings with those that are the sync's own as Meltano finds them: there is one truth about them.

    Raises:
        NoMeltanoError: Meltano cannot tell.
        TargetError: The database's settings contradict each other.
    """
    tap, target = (meltano_settings(plugin, environment) for plugin in (TAP, TARGET))
    found = {name: tap[name] for name in _SHARED[TAP] if tap.get(name)}
    found |= {name: target[name] for name in _SHARED[TARGET] if target.get(name)}
    if any(target.get(name) for name in PARTS):
        found |= {"database_url": connection_string(target), "database_url_file": ""}
    return replace(settings, **found)


def meltano_settings(plugin: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return a plugin's settings as Meltano finds them: in the environment, `.env` and `meltano.yml`.

    Raises:
        NoMeltanoError: Meltano cannot tell.
    """
    done = subprocess.run(  # noqa: S603 - the command is Meltano's, the arguments are ours
        [meltano(), "config", "--unsafe", "print", plugin],
        env=dict(environment), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].rstrip(".") if lines else f"exit code {done.returncode}"
        raise NoMeltanoError(problem=f"it cannot read the settings of {plugin} ({reason})")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def sync_command() -> tuple[str, ...]:
    """Return the command that runs the sync. This process sees to it that there is one only, hence ``--force``.

    Raises:
        NoMeltanoError: There is no Meltano.
    """
    return (meltano(), "run", "--force", TAP, TARGET)


def meltano() -> str:
    """Return the path of Meltano: in this environment, or else wherever the shell finds it.

    Raises:
        NoMeltanoError: There is none.
    """
    beside = str(Path(sys.executable).parent)
    path = shutil.which("meltano", path=beside) or shutil.which("meltano")
    if path is None:
        raise NoMeltanoError(problem="there is no command of that name")
    return path


def _variable(plugin: str, name: str) -> str:
    return f"{plugin.replace('-', '_')}_{name}".upper()


def _pauses() -> Any:
    pauses = backoff.expo(max_value=_LONGEST_PAUSE_SECONDS)
    next(pauses)  # the library's generators wait for a first send
    return pauses
