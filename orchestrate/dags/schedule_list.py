"""What a Meltano project has on its schedules, as Meltano itself tells it. Knows nothing of Airflow.

Airflow reads a DAG file every half minute, and before every task. Meltano takes seconds to answer, so its answer is
kept in ``.meltano/run`` for as long as the files and variables that it may depend on stay the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BY_ACCOUNT = "tap-stripe-events"
"""The extractor (or one whose name goes on after that) that can be run for one connected account at a time."""

ACCOUNTS = "connected_accounts"
"""Its setting: a list of account ids, or whether there are any."""

OWN_ACCOUNT = "own_account"
"""Its setting whether the key's own account is read besides these."""

_ANSWER_SECONDS = 25  # below the 30 that Airflow gives a DAG file


class MeltanoError(Exception):
    """Meltano does not answer."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A task of a job.

    Attributes:
        name: Its place in the job, unique within the schedule.
        command: What to run, for a shell in the project's folder.
        by_account: The extractor that is to be run once for each connected account; None: the command runs once.
    """

    name: str
    command: str
    by_account: str | None = None


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule and what it runs.

    Attributes:
        name: Its name in ``meltano.yml``.
        interval: When: a cron expression, ``@once``, or None for only by hand.
        env: The variables that the project sets for it.
        steps: What is run, one after another.
    """

    name: str
    interval: str | None
    env: Mapping[str, str]
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class MeltanoProject:
    """A Meltano project.

    Attributes:
        root: Its folder.
        executable: The ``meltano`` to be run.
        environ: The variables that Meltano sees.
    """

    root: Path
    executable: str
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)

    @classmethod
    def around(cls, file: str) -> MeltanoProject:
        """The project of ``MELTANO_PROJECT_ROOT``, or the one in whose folders a file lies.

        Meltano is that of ``MELTANO_EXECUTABLE``, of the project's virtual environment, or of the search path.

        Raises:
            MeltanoError: There is none.
        """
        given = os.environ.get("MELTANO_PROJECT_ROOT")
        candidates = [Path(given)] if given else list(Path(file).resolve().parents)
        root = next((each for each in candidates if (each / "meltano.yml").exists()), None)
        if root is None:
            raise MeltanoError(f"No meltano.yml in {given or f'the folders around {file}'}. Set MELTANO_PROJECT_ROOT.")
        environment = root / ".venv" / "bin" / "meltano"
        executable = os.environ.get("MELTANO_EXECUTABLE") or (str(environment) if environment.exists() else "meltano")
        if shutil.which(executable) is None:
            raise MeltanoError(f"There is no {executable}. Set MELTANO_EXECUTABLE.")
        return cls(root=root, executable=executable)

    def schedules(self) -> list[Schedule]:
        """All schedules.

        Raises:
            MeltanoError: Meltano does not tell.
        """
        told = self._told()
        jobs = [self._job_schedule(each, told["by_account"]) for each in told["schedules"]["job"]]
        return jobs + [self._elt_schedule(each) for each in told["schedules"]["elt"]]

    def accounts(self, extractor: str, env: Mapping[str, str]) -> list[str] | None:
        """The connected accounts that an extractor is set to read; None if they are not told one by one.

        Args:
            extractor: The extractor's name.
            env: What is set beside the project's own settings.

        Raises:
            MeltanoError: Meltano does not tell.
        """
        return _listed(self._config(extractor, env).get(ACCOUNTS))

    def variables(self, extractor: str, env: Mapping[str, str]) -> list[dict[str, str]]:
        """What to set for each run of an extractor that is run once for each account.

        Args:
            extractor: The extractor's name.
            env: What is set beside the project's own settings.

        Raises:
            MeltanoError: Meltano does not tell.
        """
        config = self._config(extractor, env)
        return variables_by_account(extractor, _listed(config.get(ACCOUNTS)), own=config.get(OWN_ACCOUNT, True))

    def _config(self, extractor: str, env: Mapping[str, str]) -> dict[str, Any]:
        # What `meltano run` would take by itself: `meltano config` takes no environment unless told.
        chosen = self.environ.get("MELTANO_ENVIRONMENT") or self._definition().get("default_environment")
        arguments = [f"--environment={chosen}"] if chosen else []
        return self._ask(*arguments, "config", "print", extractor, env=env)

    def _job_schedule(self, told: dict[str, Any], by_account: list[str]) -> Schedule:
        tasks = [shlex.split(each) if isinstance(each, str) else each for each in told["job"]["tasks"]]
        steps = [
            Step(
                name=told["job"]["name"] if len(tasks) == 1 else f"{told['job']['name']}-{number}",
                command=self._command("run", *task),
                by_account=next((each for each in task if each in by_account), None),
            )
            for number, task in enumerate(tasks, start=1)
        ]
        return Schedule(name=told["name"], interval=_interval(told), env=told["env"], steps=tuple(steps))

    def _elt_schedule(self, told: dict[str, Any]) -> Schedule:
        step = Step(name="elt", command=self._command("schedule", "run", told["name"]))
        return Schedule(name=told["name"], interval=_interval(told), env=told["env"], steps=(step,))

    def _command(self, *arguments: str) -> str:
        return shlex.join([self.executable, *arguments])

    # What Meltano tells

    def _told(self) -> dict[str, Any]:
        """The schedules, and which of their extractors are set to a list of accounts; from the cache if it holds."""
        path = self.root / ".meltano" / "run" / "airflow-schedules.json"
        depends = self._depends()
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["depends"] == depends:
                return dict(kept["told"])
        told = self._ask("schedule", "list", "--format=json")
        told["by_account"] = sorted(each for each in self._extractors(told) if self.accounts(each, {}) is not None)
        with contextlib.suppress(PermissionError):  # then Meltano is asked every time
            _replace(path, json.dumps({"depends": depends, "told": told}))
        return told

    def _extractors(self, told: dict[str, Any]) -> set[str]:
        tasks = [task for each in told["schedules"]["job"] for task in each["job"]["tasks"]]
        words = {word for task in tasks for word in (task.split() if isinstance(task, str) else task)}
        return {word for word in words if word.startswith(BY_ACCOUNT)}

    def _depends(self) -> list[Any]:
        """What Meltano's answer depends on, as far as can be seen from outside."""
        files = [[str(path), path.stat().st_mtime_ns, path.stat().st_size] for path in self._files()]
        names = sorted(
            name for name in self.environ if name == "MELTANO_ENVIRONMENT" or name.endswith(ACCOUNTS.upper())
        )
        return [self.executable, files, [[name, self.environ[name]] for name in names]]

    def _files(self) -> Iterator[Path]:
        yield self.root / "meltano.yml"
        if (dotenv := self.root / ".env").exists():
            yield dotenv
        for pattern in self._definition().get("include_paths", ()):
            yield from sorted(self.root.glob(pattern))

    def _definition(self) -> dict[str, Any]:
        return yaml.safe_load((self.root / "meltano.yml").read_text(encoding="utf-8")) or {}

    def _ask(self, *arguments: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        command = [self.executable, *arguments]
        variables = {**self.environ, "MELTANO_PROJECT_ROOT": str(self.root), **(env or {})}
        try:
            done = subprocess.run(
                command,
                cwd=self.root,
                env=variables,
                capture_output=True,
                text=True,
                timeout=_ANSWER_SECONDS,
                check=True,
            )
        except subprocess.TimeoutExpired:
            raise MeltanoError(f"{shlex.join(command)} took more than {_ANSWER_SECONDS} s") from None
        except subprocess.CalledProcessError as error:
            raise MeltanoError(f"{shlex.join(command)} ended with {error.returncode}:\n{error.stderr}") from None
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def variables_by_account(extractor: str, accounts: list[str] | None, *, own: bool = True) -> list[dict[str, str]]:
    """What to set for each run of an extractor that is run once for each account.

    The first run is that of the key's own account, if that is read too; no suffix is added to the name of its state.
    Each of the others has a state of its own, with the account's id at the end of its name.
    """
    prefix = extractor.upper().replace("-", "_")
    named, whether_own = f"{prefix}_{ACCOUNTS.upper()}", f"{prefix}_{OWN_ACCOUNT.upper()}"
    if accounts is None:  # meanwhile it is set to something else
        return [{}]
    others = [
        {named: json.dumps([each]), whether_own: "false", "MELTANO_RUN_STATE_ID_SUFFIX": each} for each in accounts
    ]
    return [{named: "[]", whether_own: "true"}, *others] if own else others


def _listed(setting: Any) -> list[str] | None:
    """The accounts in a list; one that comes from the environment is a text. None if it is no list."""
    if isinstance(setting, str):
        try:
            setting = json.loads(setting)
        except ValueError:
            setting = setting.split(",") if "acct_" in setting else None
    return [str(each).strip() for each in setting] if isinstance(setting, list) else None


def _interval(told: dict[str, Any]) -> str | None:
    return "@once" if told["interval"] == "@once" else told["cron_interval"]


def _replace(path: Path, text: str) -> None:
    """Write a file in one step, so that nobody reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).replace(path)
