"""What every work has at hand: a Postgres and a directory of its own, sandboxes, Singer messages, fresh databases."""

# ruff: noqa: S603 - it runs commands of its own

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import psycopg
import requests

from benchmarks.foreign import ROOT
from benchmarks.measure import BenchError, Spent, spent_by
from target_postgres_stripe import embedded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

BIN = ROOT / ".venv" / "bin"
TAP, TARGET = BIN / "tap-stripe-events", BIN / "target-postgres-stripe"
KEY = "sk_test_sandbox"
NOW = 1_790_000_000
_START_SECONDS = 60
_DAY_MILLISECONDS = 86_400_000
_LATER = b'"_sdc_as_of":"2026-09-22T14:13:20Z"'


class Setting:
    """A run of the benchmarks.

    Args:
        scale: By what the sizes of the full table are multiplied.
        rounds: How often contestants take turns.

    Attributes:
        directory: For files; gone at the end.
        postgres: The server's libpq URI.
    """

    def __init__(self, *, scale: float = 1.0, rounds: int = 3) -> None:
        self.scale = scale
        self.rounds = rounds
        self._stack = ExitStack()
        self._numbers = itertools.count()
        self._messages: dict[str, Path] = {}

    def __enter__(self) -> Self:
        """Start Postgres."""
        # Not in the project: as root, the server's account could not get there.
        self.directory = Path(tempfile.mkdtemp(prefix="bench-"))
        self.directory.chmod(0o711)
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.cluster = embedded.cluster_at(self.directory)
        self._stack.callback(embedded.stop, self.cluster)
        self.postgres = embedded.start(self.cluster)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what was started."""
        self._stack.close()

    def size(self, full: int, *, least: int = 100) -> int:
        """How many of what are ``full`` in the full table."""
        return max(int(full * self.scale), least)

    def path(self, name: str) -> Path:
        """A new file's path."""
        return self.directory / f"{next(self._numbers)}-{name}"

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The libpq URI of a fresh database, after a checkpoint, so that nobody pays for those before."""
        name = f"bench_{next(self._numbers)}"
        with psycopg.connect(self.postgres, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
            admin.execute("CHECKPOINT")
        try:
            yield self.postgres.replace("/postgres?", f"/{name}?")
        finally:
            with psycopg.connect(self.postgres, autocommit=True) as admin:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextlib.contextmanager
    def sandbox(self, *arguments: str, bulk: Mapping[str, int] | None = None, account: str = "empty") -> Iterator[str]:
        """The URL of a sandbox in a process of its own."""
        port_file, log = self.path("port"), self.path("sandbox.log")
        options = [f"--bulk={name}={count}" for name, count in (bulk or {}).items()]
        with log.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "stripe_sandbox", "--account", account, "--port", "0",
                 "--port-file", str(port_file), *options, *arguments],
                stdout=said, stderr=said, cwd=ROOT,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not (port_file.exists() and port_file.read_text().strip()):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise BenchError(f"The sandbox did not start: {log.read_text()[-1000:]}")
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port_file.read_text().strip()}"
        finally:
            process.terminate()
            process.wait()

    def config(self, **settings: Any) -> Path:
        """A file of settings."""
        path = self.path("config.json")
        path.write_text(json.dumps(settings))
        return path

    def tap_config(self, url: str, **settings: Any) -> Path:
        """The tap's settings for a sandbox, with no limit on requests unless given."""
        free = {
            "requests_per_second": 100_000,
            "endpoint_requests_per_second": 100_000,
            "max_concurrent_requests": 16,
            "upcoming_api": "off",
        }
        return self.config(**{"api_key": KEY, "api_url": url, **free, **settings})

    def catalog(self, config: Path, streams: Collection[str]) -> Path:
        """The tap's catalog with no streams selected but these."""
        path = self.path("catalog.json")
        spent_by([TAP, "--config", config, "--discover"], output=path, log=self.path("discover.log"))
        catalog = json.loads(path.read_text())
        for stream in catalog["streams"]:
            for entry in stream["metadata"]:
                if not entry["breadcrumb"]:
                    entry["metadata"]["selected"] = stream["tap_stream_id"] in streams
        path.write_text(json.dumps(catalog))
        return path

    def messages(self, count: int) -> Path:
        """A file of what the tap says of ``count`` charges and as many customers."""
        key = f"first-{count}"
        if key not in self._messages:
            path = self.path(f"{key}.jsonl")
            with self.sandbox(f"--now={NOW}", bulk={"charge": count, "customer": count}) as url:
                config = self.tap_config(url)
                catalog = self.catalog(config, {"charge", "customer"})
                spent_by([TAP, "--config", config, "--catalog", catalog], output=path, log=self.path("tap.log"))
            self._messages[key] = path
        return self._messages[key]

    def changed_messages(self, count: int) -> Path:
        """The same a day later, with another description on every object."""
        return self._later_messages(count, description='"changed"')

    def later_messages(self, count: int) -> Path:
        """The same a day later, with nothing changed: another listing finds every object as it was."""
        return self._later_messages(count)

    def _later_messages(self, count: int, **changes: str) -> Path:
        key = f"later-{count}-{changes}"
        if key not in self._messages:
            path = self.path("later.jsonl")
            with self.messages(count).open("rb") as lines, path.open("wb") as output:
                output.writelines(_later(line, **changes) for line in lines)
            self._messages[key] = path
        return self._messages[key]

    def load(self, database: str, messages: Path, **settings: Any) -> Spent:
        """Have our target load a file of messages."""
        config = self.config(database_url=database, default_target_schema="bench", **settings)
        return spent_by([TARGET, "--config", config], source=messages, log=self.path("target.log"))

    def psql(self, database: str, script: str) -> Spent:
        """Have psql run a script."""
        path = self.path("script.sql")
        path.write_text(script)
        cluster = embedded.with_reachable_binaries(self.cluster)
        command: list[str | Path] = [
            cluster.binaries / "psql",
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "-f",
            path,
            database,
        ]
        return spent_by(command, log=self.path("psql.log"))


def control(url: str, name: str, **given: Any) -> Any:
    """POST to a sandbox itself."""
    answer = requests.post(f"{url}/_sandbox/{name}", json=given, timeout=_START_SECONDS)
    answer.raise_for_status()
    return answer.json()


def _later(line: bytes, **changes: str) -> bytes:
    """A message as another listing, a day later, has it; ``changes`` are JSON values of a record's fields."""
    message = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    if "version" in message:
        message["version"] = msgspec.Raw(b"%d" % (int(bytes(message["version"])) + _DAY_MILLISECONDS))
    if bytes(message["type"]) == b'"RECORD"':
        record = msgspec.json.decode(message["record"], type=dict[str, msgspec.Raw])
        record |= {name: msgspec.Raw(value.encode()) for name, value in changes.items()}
        record["_sdc_as_of"] = msgspec.Raw(_LATER.partition(b":")[2])
        message["record"] = msgspec.Raw(msgspec.json.encode(record))
    return msgspec.json.encode(message) + b"\n"
