"""Other people's software, where ``make foreign`` has installed it; without it these tests are skipped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest
from psycopg import sql

from stripe_sandbox.sandbox import TEST_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from addresses import Address

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".venvs" / "foreign"
NODE_HOME = HOME / "node"
TIMEOUT_SECONDS = 60


def installed(path: Path) -> Path:
    """The path, if it is there."""
    if not path.exists():
        pytest.skip("needs other people's software, which only 'make foreign' installs")
    return path


def node_environment() -> dict[str, str]:
    """Where Node.js is: the machine's or a wheel's. The CLI keeps its settings away from the user's."""
    path = os.pathsep.join([os.environ["PATH"], str(HOME / "nodejs" / "bin")])
    if shutil.which("node", path=path) is None:
        pytest.skip("needs Node.js, which 'make foreign' installs")
    return {"PATH": path, "HOME": str(NODE_HOME), "XDG_CONFIG_HOME": str(NODE_HOME)}


class NodeLibrary:
    """The official Node library in a process of its own, which makes one call after another."""

    def __init__(self, key: str, **where: str) -> None:
        script = NODE_HOME / "official_library.mjs"  # where its imports are found
        shutil.copy(HERE / script.name, script)
        self._process = subprocess.Popen(
            ["node", script],  # noqa: S607 - wherever it is
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=NODE_HOME,
            env=node_environment(),
        )
        self.known: list[str] = self._exchange({"key": key, **where})["known"]

    def call(
        self,
        operation: tuple[str, str],
        address: Address,
        /,
        *,
        pages: list[dict[str, Any]] | None = None,
        options: dict[str, str] | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """Make a call; its ``body`` and ``source``, or its ``error``. ``pages``: walk the list by each of these."""
        given = {"params": {**address.params, **params}, "options": options or {}}
        if pages is not None:
            given["pages"] = pages
        return self._exchange({"operation": " ".join(operation), "values": address.values, **given})

    def _exchange(self, line: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=TIMEOUT_SECONDS)


@pytest.fixture(scope="session")
def make_node_library() -> Iterator[Callable[..., NodeLibrary]]:
    """Starts the Node library for a sandbox, or for a proxy's address."""
    installed(NODE_HOME / "node_modules" / "stripe")
    with ExitStack() as stack:

        def make(sandbox: Any, key: str = TEST_KEY, *, proxy: str | None = None) -> NodeLibrary:
            where = {"url": sandbox.url} if proxy is None else {"proxy": proxy}
            return stack.enter_context(NodeLibrary(key, **where))

        yield make


@pytest.fixture(scope="session")
def run_node() -> Callable[[str], str]:
    """Runs a module of JavaScript; what it prints."""
    installed(NODE_HOME / "node_modules" / "stripe")

    def run(code: str) -> str:
        path = NODE_HOME / "block.mjs"
        path.write_text(code, encoding="utf-8")
        done = subprocess.run(
            ["node", path],  # noqa: S607 - wherever it is
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=TIMEOUT_SECONDS,
            cwd=NODE_HOME,
            env={**node_environment(), "STRIPE_API_KEY": TEST_KEY},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def page() -> Callable[[str], str]:
    """The one block of code in a language on the page about the proxy."""

    def block(language: str) -> str:
        text = (HERE.parents[1] / "docs" / "proxy.md").read_text(encoding="utf-8")
        return text.partition(f"```{language}\n")[2].partition("```")[0]

    return block


@pytest.fixture(scope="session")
def type_errors() -> Callable[[str], list[str]]:
    """What the TypeScript compiler has against a source that may use the Node library's types.

    Null counts as any type: the library tells fields that are null from such as are absent, but the Python library,
    which the sandbox's shapes come from, does not.
    """
    compiler = installed(NODE_HOME / "node_modules" / ".bin" / "tsc")
    settings = ["--noEmit", "--strict", "--strictNullChecks", "false", "--skipLibCheck", "--module", "nodenext"]

    def check(source: str) -> list[str]:
        path = NODE_HOME / "check.ts"
        path.write_text(source)
        done = subprocess.run(
            [compiler, *settings, "--target", "es2022", path.name],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS * 4,
            cwd=NODE_HOME,
            env=node_environment(),
            check=False,
        )
        return [line for line in done.stdout.splitlines() if "error TS" in line]

    return check


@pytest.fixture(scope="session")
def stripe_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the Stripe CLI against a sandbox."""
    program = installed(NODE_HOME / "node_modules" / ".bin" / "stripe")

    def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments, "--api-base", url],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env={**node_environment(), "STRIPE_API_KEY": TEST_KEY},
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def old_library() -> Callable[[str], tuple[Path, Path]]:
    """The interpreter that has a version of the official Python library, and the program that is for all of them."""
    return lambda version: (installed(HOME / f"stripe-{version}" / "bin" / "python"), HERE / "old_python_library.py")


@pytest.fixture(scope="session")
def localstripe_program() -> Path:
    """The command that starts localstripe."""
    return installed(HOME / "localstripe" / "bin" / "localstripe")


@pytest.fixture(scope="session")
def other_target() -> Path:
    """The command of MeltanoLabs' target-postgres."""
    return installed(HOME / "target-postgres" / "bin" / "target-postgres")


SCHEMA = "melty"
_COLUMNS = """
    SELECT table_name, column_name,
           CASE data_type WHEN 'ARRAY' THEN udt_name ELSE data_type END
    FROM information_schema.columns
    WHERE table_schema = %s AND table_name NOT LIKE %s ESCAPE '='
    ORDER BY table_name, column_name
"""


@dataclass(frozen=True, kw_only=True)
class Left:
    """What a target left behind: the exit code of each run, the columns of each table, its rows."""

    codes: list[int]
    columns: dict[str, dict[str, str]]
    rows: dict[str, list[str]]

    def table(self, name: str) -> tuple[dict[str, str], list[str]]:
        return self.columns[name], self.rows[name]


def load_files(command: Path, files: Sequence[Path], database: str, directory: Path, **settings: Any) -> Left:
    """Feed files to a target, one after another."""
    config = directory / f"{command.name}.json"
    config.write_text(json.dumps({"default_target_schema": SCHEMA, **settings}))
    codes = []
    for path in files:
        with path.open("rb") as messages:
            done = subprocess.run(
                [command, "--config", config],
                stdin=messages,
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
                cwd=directory,
                check=False,
            )
        codes.append(min(done.returncode, 1))
    return Left(codes=codes, **_read(database))


def _read(database: str) -> dict[str, Any]:
    columns: dict[str, dict[str, str]] = {}
    rows: dict[str, list[str]] = {}
    with psycopg.connect(database, autocommit=True, options="-c timezone=UTC") as session:
        for table, column, kind in session.execute(_COLUMNS, (SCHEMA, "=_%")):
            columns.setdefault(table, {})[column] = kind
        for table, types in columns.items():
            names = [name for name in types if not name.startswith("_sdc_") or name == "_sdc_deleted_at"]
            wanted = [
                sql.SQL("{} IS NOT NULL AS {}").format(sql.Identifier(each), sql.Identifier(each))
                if each == "_sdc_deleted_at"
                else sql.Identifier(each)
                for each in names
            ]
            query = sql.SQL("SELECT to_jsonb(t)::text FROM (SELECT {} FROM {}) AS t ORDER BY 1").format(
                sql.SQL(", ").join(wanted), sql.Identifier(SCHEMA, table)
            )
            rows[table] = [row[0] for row in session.execute(query)]
    return {"columns": columns, "rows": rows}


@pytest.fixture(scope="session")
def load() -> Callable[..., Left]:
    """Feeds files to a target and reads what it left behind."""
    return load_files
