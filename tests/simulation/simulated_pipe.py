"""``tap | target`` in one thread: the real tap and the real target, a pipe in memory, and Postgres.

The tap runs until it waits for Stripe; then the agenda lets the target look at the pipe, things happen in the account,
and processes die. A killed tap leaves what the pipe holds, maybe with half a line at its end. A killed target leaves
its transaction to Postgres, which rolls it back.
"""

from __future__ import annotations

import io
import json
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from later import Later
from psycopg import errors as postgres_errors
from simulated_stripe import URL, SimulatedClient
from singer_sdk.exceptions import InvalidInputLine, SingerSDKError

from stripe_sandbox.sandbox import TEST_KEY
from tap_stripe_events.errors import TapError
from tap_stripe_events.messages import MessageWriter
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import PREVIEWS
from tap_stripe_events.streams import StripeStream
from tap_stripe_events.tap import TapStripeEvents
from target_postgres_stripe.connection import SESSION_SETTINGS
from target_postgres_stripe.errors import DatabaseUnavailableError, TargetError
from target_postgres_stripe.target import TargetPostgresStripe

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from agenda import Agenda
    from simulated_stripe import SimulatedStripe

BUFFER_BYTES = 8192  # of a Python process' standard output
LOOK_SECONDS = 0.002
IDLE_SECONDS = 0.01
STORING_SECONDS = (0.001, 0.03, 0.2, 0.004)  # until a job is run that nobody waits for
KILLED = -9
TERMINATED = 143


class Killed(BaseException):
    """A process was killed. Nothing of it runs any more, so nothing may catch it."""


class Pipe(io.RawIOBase):
    """Between the tap's standard output and the target's standard input.

    Attributes:
        on_data: Called when there is something to read.
        on_line: Called with every line that is written.
        broken: Nobody reads any more.
        ended: Nobody writes any more.
    """

    def __init__(self, on_data: Callable[[], None]) -> None:
        super().__init__()
        self.on_data = on_data
        self.on_line: Callable[[bytes], None] = lambda _: None
        self.broken = self.ended = False
        self._buffer: list[bytes] = []
        self._buffered = 0
        self.content = b""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Take lines that the tap writes, as a buffered stream does."""
        for line in data.splitlines(keepends=True):
            self.on_line(line)
        if self._buffered + len(data) > BUFFER_BYTES:
            self.flush()
        self._buffer.append(data)
        self._buffered += len(data)
        if self._buffered > BUFFER_BYTES:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Put what is buffered into the pipe.

        Raises:
            BrokenPipeError: Nobody reads.
        """
        if self.broken and self._buffer:
            self._buffer.clear()
            raise BrokenPipeError
        self.content += b"".join(self._buffer)
        self._buffer.clear()
        self._buffered = 0
        self.on_data()

    def lose_writer(self, random: Random) -> None:
        """The writer is dead: what it had buffered is lost, save perhaps for the beginning of it."""
        rest = b"".join(self._buffer)
        self.content += rest[: random.randrange(len(rest) + 1)] if random.random() < 0.5 else b""
        self._buffer.clear()
        self.end()

    def end(self) -> None:
        """There is no more to come."""
        self.ended = True
        self.on_data()

    def take(self, most: int) -> bytes:
        """Read what is there, at most so many bytes."""
        taken, self.content = self.content[:most], self.content[most:]
        return taken


class SimulatedTap(TapStripeEvents):
    """The tap on a simulated network and clock, with only those streams that are selected."""

    def __init__(self, stripe: SimulatedStripe, pipe: Pipe, selected: frozenset[str], **options: Any) -> None:
        self._types = selected
        self.clock = stripe.agenda
        self.client_class = lambda **settings: SimulatedClient(stripe, **settings)  # type: ignore[assignment]
        super().__init__(message_writer=MessageWriter(pipe), **options)

    def discover_streams(self) -> list[StripeStream]:
        """Those that are selected: the others only cost time."""
        known = {**STRIPE_OBJECTS, **PREVIEWS}
        return [StripeStream(self, known[name]) for name in sorted(self._types)]

    def _setup_signal_handlers(self) -> None:
        """None: the simulation calls what a signal would."""

    def terminate(self) -> None:
        """What SIGTERM does; before the run has begun, and the second time, it ends the process at once."""
        if self._run is None or self._run.exit_code is not None:
            raise Killed
        self._handle_termination(TERMINATED - 128, None)


@dataclass(kw_only=True)
class SessionFaults:
    """What goes wrong with the target's session, by the number of the statement or commit at which it does.

    Attributes:
        statements: Number → ``lost``, ``killed``, ``disk_full`` or ``deadlock``.
        commits: Number → ``lost`` or ``killed`` (after it was done), ``disk_full`` (it fails).
        away: The database does not answer at all.
    """

    statements: dict[int, str] = field(default_factory=dict)
    commits: dict[int, str] = field(default_factory=dict)
    away: bool = False
    met: list[str] = field(default_factory=list)
    _statements: int = 0
    _commits: int = 0

    def before_statement(self) -> str | None:
        """Return what goes wrong before the next statement."""
        self._statements += 1
        return self._meet(self.statements.get(self._statements), "statement")

    def at_commit(self) -> str | None:
        """Return what goes wrong with the next commit."""
        self._commits += 1
        return self._meet(self.commits.get(self._commits), "commit")

    def _meet(self, fault: str | None, where: str) -> str | None:
        if fault is not None:
            self.met.append(f"{fault} at {where}")
        return fault


class FaultySession(psycopg.Connection[Any]):
    """A session in which things go wrong on demand."""

    faults: SessionFaults
    admin: str

    def execute(self, *args: Any, **options: Any) -> Any:
        """Execute a statement, if nothing goes wrong."""
        self._may_go_wrong()
        return super().execute(*args, **options)

    def cursor(self, *args: Any, **options: Any) -> Any:
        """Return a cursor, if nothing goes wrong; COPY begins with it."""
        return super().cursor(*args, **options)

    def commit(self) -> None:
        """Commit; the answer may not come."""
        fault = self.faults.at_commit()
        if fault == "disk_full":
            self.rollback()
            raise postgres_errors.DiskFull("could not extend file: No space left on device")
        super().commit()
        if fault == "killed":
            raise Killed
        if fault == "lost":
            self.cut()
            super().execute("SELECT 1")

    def cut(self) -> None:
        """Have the server end the session."""
        with psycopg.connect(self.admin, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", (self.info.backend_pid,))

    def _may_go_wrong(self) -> None:
        match self.faults.before_statement():
            case "killed":
                raise Killed
            case "lost":
                self.cut()
            case "disk_full":
                self._spoil(postgres_errors.DiskFull("could not extend file: No space left on device"))
            case "deadlock":
                self._spoil(postgres_errors.DeadlockDetected("deadlock detected"))

    def _spoil(self, error: psycopg.Error) -> None:
        """Fail as the server does: the transaction can only be rolled back."""
        try:
            super().execute("SELECT 1/0")
        except psycopg.Error:
            raise error from None


class LaterExecutor(Executor):
    """Stands for the thread that stores: what it is given runs some time later, while the target reads on."""

    def __init__(self, agenda: Agenda, on_killed: Callable[[], None]) -> None:
        self._agenda = agenda
        self._on_killed = on_killed
        self._jobs = 0
        self._ended = False

    def submit(self, job: Callable[..., Any], /, *args: Any, **options: Any) -> Later:  # type: ignore[override]
        """Take a job."""
        later = Later(partial(job, *args, **options))
        self._jobs += 1
        self._agenda.after(STORING_SECONDS[self._jobs % len(STORING_SECONDS)], partial(self._run, later))
        return later

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Run nothing any more."""
        self._ended = True

    def _run(self, later: Later) -> None:
        if self._ended:
            return
        try:
            later.run()
        except Killed:
            self._on_killed()


class SimulatedTarget(TargetPostgresStripe):
    """The target on a simulated clock, in a session in which things may go wrong."""

    def __init__(self, agenda: Agenda, faults: SessionFaults, printed: Callable[[dict[str, Any]], None],
                 on_killed: Callable[[], None], **options: Any) -> None:  # fmt: skip
        self.monotonic = agenda.monotonic  # type: ignore[assignment]
        self.executor = partial(LaterExecutor, agenda, on_killed)  # type: ignore[assignment]
        self._faults = faults
        self._printed = printed
        super().__init__(**options)

    def _setup_signal_handlers(self) -> None:
        """None: the simulation calls what a signal would."""

    def connect(self) -> psycopg.Connection[Any]:
        """Open a session, unless the database is away."""
        if self._faults.away:
            raise DatabaseUnavailableError("Cannot connect: it is away.")
        url = self.config["database_url"]
        session = FaultySession.connect(url)
        assert isinstance(session, FaultySession)
        session.faults, session.admin = SessionFaults(), url
        for statement in SESSION_SETTINGS:
            session.execute(statement)
        session.commit()
        session.faults = self._faults
        return session

    def _write_state_message(self, state: dict[str, Any]) -> None:
        """Print a STATE."""
        self._printed(json.loads(json.dumps(state)))

    @property
    def pending_rows(self) -> int:
        """How many rows wait in memory."""
        return self._pending_rows


class TargetProcess:
    """The target as a process that reads the pipe.

    Attributes:
        code: Its exit code, None while it runs.
        error: Why it failed.
    """

    def __init__(self, agenda: Agenda, random: Random, settings: dict[str, Any], faults: SessionFaults,
                 printed: Callable[[dict[str, Any]], None]) -> None:  # fmt: skip
        self._agenda = agenda
        self._random = random
        self.pipe = Pipe(self._wake)
        self.target = SimulatedTarget(agenda, faults, printed, lambda: self._end(KILLED), config=settings)
        self.code: int | None = None
        self.error: Exception | None = None
        self._unfinished = b""
        self._awake = True
        self._look_in(LOOK_SECONDS)
        self._open()

    def kill(self) -> None:
        """SIGKILL."""
        if self.code is None:
            self._end(KILLED)

    def _open(self) -> None:
        try:
            self.target.loader.open()
        except TargetError as error:
            self._fail(error)

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._look_in(LOOK_SECONDS)

    def _look_in(self, seconds: float) -> None:
        self._agenda.after(seconds * (0.5 + self._random.random()), self._look)

    def _look(self) -> None:
        """Read what there is; tell the target of a pause, or of the end."""
        if self.code is not None:
            return
        try:
            chunk = self.pipe.take(self._random.choice((1, 100, 4_096, 65_536, 1_048_576)))
            if chunk:
                self._read(chunk)
                self._look_in(LOOK_SECONDS)
            elif self.pipe.ended:
                self._read(b"\n" if self._unfinished else b"")
                self.target.process_endofpipe()
                self._end(0)
            elif self.target._use_pause():
                self._look_in(IDLE_SECONDS)
            else:
                self._awake = False
        except Killed:
            self._end(KILLED)
        except (TargetError, SingerSDKError, InvalidInputLine) as error:
            self._fail(error)

    def _read(self, chunk: bytes) -> None:
        *lines, self._unfinished = (self._unfinished + chunk).split(b"\n")
        if lines:
            self.target.process_lines(io.BytesIO(b"\n".join(lines) + b"\n"))  # type: ignore[arg-type]

    def _fail(self, error: Exception) -> None:
        self.error = error
        self._end(1)

    def _end(self, code: int) -> None:
        self.code = code
        self.pipe.broken = True
        self.target.close()


@dataclass(kw_only=True)
class Ended:
    """How a run ended.

    Attributes:
        tap_code: The tap's exit code.
        target_code: The target's.
        tap_error: Why the tap failed.
        target_error: Why the target did.
        written: The last STATE that the tap wrote, None if it wrote none.
        printed: The STATEs that the target printed.
    """

    tap_code: int
    target_code: int
    tap_error: BaseException | None
    target_error: BaseException | None
    written: dict[str, Any] | None
    printed: list[dict[str, Any]]
    requests: int

    @property
    def succeeded(self) -> bool:
        """Whether both say that all went well."""
        return self.tap_code == 0 and self.target_code == 0


def tap_settings(**settings: Any) -> dict[str, Any]:
    """The settings of the tap."""
    return {"api_key": TEST_KEY, "api_url": URL, **settings}


def run_tap(tap: SimulatedTap) -> tuple[int, BaseException | None]:
    """Run the tap as its command does; return its exit code, and why it failed."""
    try:
        tap.sync_all()
        tap.follow()
    except SystemExit as stopped:
        return int(stopped.code or 0), None
    except (TapError, BrokenPipeError) as error:
        return 1, error
    except Killed as error:
        return KILLED, error
    return 0, None
