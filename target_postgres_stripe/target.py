"""The Singer target: what is read when, and when it is committed.

The promise: a STATE is printed only after everything before it was committed together with the STATE itself, and
nothing is committed between two STATEs. So rows wait in their sinks until a STATE covers them; several STATEs share a
commit while rows keep coming, and the tap falling silent ends the wait. While a commit runs, the next rows are read
(see storing.py). If more comes without a STATE than memory should hold, it is staged in the open transaction and stays
uncommitted.

Odd: the SDK's ``drain_all`` is not used. On SIGTERM it would print a STATE whose rows are not committed, and it drains
sink by sink.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

import click
import msgspec
from singer_sdk import typing as th
from singer_sdk.exceptions import ConfigValidationError, InvalidInputLine, SingerSDKError
from singer_sdk.helpers.capabilities import PluginCapabilities, TargetCapabilities
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.target_base import Target

from target_postgres_stripe import status
from target_postgres_stripe.columns import ACCOUNT, NAME_BYTES_MAX, TABLE_VERSION
from target_postgres_stripe.connection import connect, connection_string
from target_postgres_stripe.errors import RecordRefusedError, SettingsError, TargetError
from target_postgres_stripe.fragments import Sweep
from target_postgres_stripe.load import Loader
from target_postgres_stripe.measures import Measures
from target_postgres_stripe.reader import LineReader
from target_postgres_stripe.sinks import PostgresSink
from target_postgres_stripe.storing import Job, Storing
from target_postgres_stripe.text import storable
from target_postgres_stripe.verify import Verification

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import IO

    import psycopg

    from target_postgres_stripe.reader import RecordMessage
    from target_postgres_stripe.storing import Part

PENDING_BYTES_MAX = 32 * 1024 * 1024
"""Rows in memory, rendered or as they came."""

PROBE_ROWS = 1000
"""How many rows of a stream are handed over first, to know whether they are as stored; the others are read so."""

PENDING_STATES_MAX = 100
"""A STATE can be large too."""

PENDING_SECONDS_MAX = 0.3
"""How long rows that a STATE covers wait for more while the tap keeps talking."""

COMMIT_INTERVAL_SECONDS = 0.1
"""How far commits are apart at least if the tap falls silent again and again, as it does between two pages."""

SWITCH_SECONDS = 0.0001
"""How long the thread that reads may keep the one that stores from going on. Python's own 5 ms, for each piece of rows
that Postgres has taken, are more than Postgres needs for the piece."""

NEW_OBJECTS_MAX = 20_000
"""How many objects that may hold others are made until Python looks for cycles among them. There are hardly any, and
its own number, 700, is a few dozen rows."""

SECRETS = ("database_url", "password")


class TargetPostgresStripe(Target):
    """Loads Singer streams into Postgres: upserts by key, undoes nothing newer, commits rows and state together."""

    name = "target-postgres-stripe"
    package_name = "stripe-postgres-sync"
    default_sink_class = PostgresSink
    message_reader_class = LineReader
    monotonic = staticmethod(time.monotonic)
    executor = staticmethod(partial(ThreadPoolExecutor, 1))
    capabilities: ClassVar[list[Any]] = [
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.ACTIVATE_VERSION,
        PluginCapabilities.STRUCTURED_LOGGING,
        TargetCapabilities.SOFT_DELETE,
        TargetCapabilities.HARD_DELETE,
        TargetCapabilities.TARGET_SCHEMA,
    ]

    config_jsonschema = th.PropertiesList(
        th.Property(
            "database_url", th.StringType, secret=True, title="Database URL",
            description="libpq URI of the database: postgresql://user:password@host:5432/database?sslmode=require. "
            "If neither this nor database_url_file, host, user or database is set, the embedded Postgres is used.",
        ),
        th.Property(
            "database_url_file", th.StringType, title="Database URL file",
            description="A file that holds the database URL, in place of database_url: a secret of Docker or "
            "Kubernetes, say.",
        ),
        th.Property(
            "host", th.StringType, title="Host",
            description="Another way to say database_url, with port, user, password and database. "
            "Not used where database_url is set.",
        ),
        th.Property("port", th.IntegerType, title="Port", description="The server's port."),
        th.Property("user", th.StringType, title="User", description="The database user."),
        th.Property("password", th.StringType, secret=True, title="Password", description="The user's password."),
        th.Property("database", th.StringType, title="Database", description="The name of the database."),
        th.Property(
            "default_target_schema", th.StringType, default="stripe", title="Schema",
            description="The schema that holds the tables; it is created if it is missing.",
        ),
        th.Property(
            "hard_delete", th.BooleanType, default=False, title="Hard delete",
            description="Remove deleted rows. By default they keep their last values and get _sdc_deleted_at.",
        ),
        th.Property(
            "activate_version", th.BooleanType, default=True, title="Process ACTIVATE_VERSION",
            description="Whether ACTIVATE_VERSION deletes the rows that a full listing of a stream did not bring.",
        ),
        th.Property(
            "add_record_metadata", th.BooleanType, default=True, title="Add record metadata",
            description="Whether to add the SDK's columns _sdc_extracted_at, _sdc_received_at, _sdc_batched_at, "
            "_sdc_deleted_at, _sdc_sequence and _sdc_table_version.",
        ),
        th.Property(
            "reader_role", th.StringType, title="Reader role",
            description="An existing role that is granted SELECT on every table of the schema, now and later.",
        ),
        th.Property(
            "batch_size_rows", th.IntegerType(minimum=1), default=10_000, title="Batch size",
            description="How many rows are gathered before they are written, if a STATE does not come late.",
        ),
    ).to_dict()  # fmt: skip

    def __init__(self, *, config: dict[str, Any] | None = None, verify: bool = False, **options: Any) -> None:
        self._reader = LineReader()
        # A setting that is null is one that is not set, so that its default counts.
        settings = {name: value for name, value in (config or {}).items() if value is not None}
        super().__init__(config=settings, message_reader=self._reader, **options)
        self._measures = Measures(self.metrics_logger)
        common: Any = {
            "connect": self.connect,
            "schema": schema_name(self.config["default_target_schema"]),
            "hard_delete": self.config["hard_delete"],
        }
        self.verification = Verification(**common) if verify else None
        self.loader = self.verification or Loader(**common, reader_role=self.config.get("reader_role") or None)
        self._storing = Storing(loader=self.loader, executor=self.executor(), on_committed=self._write_state_message)
        self._reader.on_pause = self._use_pause
        self._reader.on_broken = self._commit_covered
        # How many STATEs were read; rows carry the number at which they were read, so STATE n covers rows up to n.
        self._segment = 0
        # The STATEs read and not yet committed, by number.
        self._states: dict[int, dict[str, Any]] = {}
        # How many rows may be pending.
        self._pending_rows_max: int = self.config["batch_size_rows"]
        self._pending_rows = 0
        self._pending_bytes = 0
        # Monotonic: since when something is pending, and when a commit last began.
        self._pending_since: float | None = None
        self._handed_over_at = float("-inf")
        # Whether the open transaction holds rows that no STATE covers yet.
        self._staged = False
        # The streams whose records go to a sink as they are.
        self._direct: dict[str, PostgresSink] = {}
        self._tap_promises_state = False
        # For stream maps, which want whole records; decimals keep all their digits.
        self._record_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
        self._record_encoder = msgspec.json.Encoder(decimal_format="number")
        # How many records of each stream went there.
        self._mapped: Counter[str] = Counter()
        self._began_at = self.monotonic()
        self._told = False

    @classmethod
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        """Add the settings for stream maps and flattening.

        Not the others that the SDK offers every target: load_method and validate_records would have no effect here, and
        process_activate_version_messages is ``activate_version``.
        """
        super(Target, cls).append_builtin_config(config_jsonschema)

    # Messages.

    def _process_schema_message(self, message_dict: dict[str, Any]) -> None:
        """Take a schema in. Should no table fit it, the rows that came before are not to suffer."""
        if self._pending_rows:
            self._hand_over()
        self._storing.settle()
        super()._process_schema_message(message_dict)
        for stream_map in self.mapper.stream_maps.get(message_dict["stream"], ()):
            if self.sink_exists(stream_map.stream_alias):
                self.loader.announce(self._sink(stream_map.stream_alias).shape)
        self._direct.pop(message_dict["stream"], None)

    def _process_record_message(self, message_dict: RecordMessage) -> None:  # type: ignore[override]
        """Take a record: as it is where possible, else through the SDK's stream maps."""
        message = message_dict
        stream = message.stream or ""
        try:
            sink = self._direct.get(stream) or self._route(stream)
            if sink is not None:
                self._add(sink, message, message.record)
            else:
                self._process_mapped(stream, message)
        except RecordRefusedError:
            self._commit_covered()
            self.loader.rollback()  # what no STATE covers may have been staged
            raise
        if self._is_full:
            self._make_room()
        elif self._states and self._has_waited_enough():
            self._hand_over_if_idle()

    def _process_mapped(self, stream: str, message: RecordMessage) -> None:
        """Take a record through the stream's maps."""
        self._mapped[stream] += 1
        try:
            record = self._record_decoder.decode(message.record)
        except (msgspec.ValidationError, InvalidOperation):
            raise RecordRefusedError(
                stream=stream,
                record=self._mapped[stream],
                problem="it is not an object, or a number in it has too many digits for stream_maps",
                segment=self._segment,
            ) from None
        for stream_map in self.mapper.stream_maps[stream]:
            transformed = stream_map.transform(dict(record))
            if transformed is not None:
                self._assert_sink_exists(stream_map.stream_alias)
                sink = self._sink(stream_map.stream_alias)
                encoded, _ = storable(self._record_encoder.encode(transformed))
                self._add(sink, message, msgspec.Raw(encoded))

    def _route(self, stream: str) -> PostgresSink | None:
        """The sink that a stream's records go to as they are, None if the SDK has to map them."""
        if stream not in self.mapper.stream_maps:
            self._assert_sink_exists(stream)
        maps = self.mapper.stream_maps[stream]
        if len(maps) == 1 and type(maps[0]) is SameRecordTransform and not maps[0].flattening_enabled:
            self._direct[stream] = self._sink(maps[0].stream_alias)
            self._pending_rows_max = min(self._pending_rows_max, self._pending_rows + PROBE_ROWS)
        return self._direct.get(stream)

    def _add(self, sink: PostgresSink, message: RecordMessage, record: msgspec.Raw) -> None:
        self._pending_bytes += sink.add(
            record,
            version=message.version,
            extracted_at=message.time_extracted,
            segment=self._segment,
            replaced=self._reader.replaced,
        )
        self._pending_rows += 1
        if self._pending_since is None:
            self._pending_since = self.monotonic()

    def _process_state_message(self, message_dict: dict[str, Any]) -> None:
        """Take a STATE, and commit what it covers unless more is to share the commit."""
        self._assert_line_requires(message_dict, requires={"value"})
        state = message_dict["value"]
        if self._latest_state is None:
            self._storing.settle()
            self.loader.check_first_state(state)
        else:
            self.loader.check_identity(state)
        self._latest_state = state
        self._tap_promises_state = status.identity_of(state) is not None
        self._states[self._segment] = state
        self._segment += 1
        if self._pending_since is None:
            self._pending_since = self.monotonic()
        if len(self._states) >= PENDING_STATES_MAX:
            self._hand_over()
        elif self._staged or self._has_waited_enough():
            self._hand_over_if_idle()

    def _has_waited_enough(self) -> bool:
        return self._pending_since is not None and self.monotonic() - self._pending_since >= PENDING_SECONDS_MAX

    def _use_pause(self) -> bool:
        """In a silence of the tap, commit what a STATE covers, else count rows; returns whether there is more to do."""
        if self._storing.is_busy or self._states:
            if self.monotonic() - self._handed_over_at >= COMMIT_INTERVAL_SECONDS:
                self._hand_over_if_idle()
            elif self._storing.is_done:
                self._storing.settle()
            return True
        # What is staged and not covered must neither be committed nor counted.
        return not self._staged and self.loader.count_a_table()

    def _process_activate_version_message(self, message_dict: dict[str, Any]) -> None:
        """Store everything before it, then end the sweep (or version), in one transaction."""
        self._assert_line_requires(message_dict, requires={"stream", "version"})
        stream, version = message_dict["stream"], int(message_dict["version"])
        account = message_dict.get(ACCOUNT)
        if not self.config["activate_version"]:
            return
        self._hand_over()
        sweeps: list[tuple[PostgresSink, Sweep]] = []
        for stream_map in self.mapper.stream_maps.get(stream, ()):
            if not self.sink_exists(stream_map.stream_alias):
                continue
            sink = self._sink(stream_map.stream_alias)
            if not sink.shape.adds(TABLE_VERSION):
                self.logger.warning("ACTIVATE_VERSION of stream '%s' needs add_record_metadata; ignored.", stream)
                continue
            if sink.shape.account is not None and account is None:
                self.logger.warning(
                    "ACTIVATE_VERSION of stream '%s' does not say of which account the listing was; ignored.", stream
                )
                continue
            sweeps.append((sink, Sweep(version=version, account=account if sink.shape.account else None)))
        self._stage_all(sweeps)

    def _process_batch_message(self, message_dict: dict[str, Any]) -> NoReturn:
        """Refuse files of records: they would go past the rule that a STATE covers what came before it."""
        self._commit_covered()
        raise SettingsError(
            f"The tap sends stream {message_dict.get('stream')!r} as BATCH files, which this target does not read. "
            f"Unset the tap's batch_config so that it sends records."
        )

    def process_endofpipe(self) -> None:
        """Commit what is left.

        What came after the last STATE is committed too, unless it is this project's tap that spoke: it always ends with
        a STATE, so it was cut off, perhaps between a parent and its children, and will send the same again.
        """
        self._commit_covered()
        if self._tap_promises_state and (self._staged or self._pending_rows):
            self.logger.warning("The tap stopped before its last STATE; what it sent after the last one is not stored.")
            self.loader.rollback()
        elif self._sinks:
            self._stage_all()  # also the tables of streams that had no rows
            self._storing.settle()
            self.loader.commit(None)
        self.loader.finish()
        self.tell("Finished")
        for sink in self._sinks:
            sink.clean_up()
        self.close()

    def _write_state_message(self, state: dict[str, Any]) -> None:
        """Print a STATE, unless nothing was stored up to it."""
        if self.verification is None:
            super()._write_state_message(state)

    # Storing.

    @property
    def _sinks(self) -> list[PostgresSink]:
        """All sinks; one whose schema has been replaced comes before its successor."""
        return cast("list[PostgresSink]", [*self._sinks_to_clear, *self._sinks_active.values()])

    def _sink(self, name: str) -> PostgresSink:
        return cast("PostgresSink", self._sinks_active[name])

    def _make_room(self) -> None:
        """Get rows out of memory: committed if a STATE covers them, else staged."""
        self._hand_over()
        if self._is_full:
            self._stage_all()

    @property
    def _is_full(self) -> bool:
        return self._pending_rows >= self._pending_rows_max or self._pending_bytes >= PENDING_BYTES_MAX

    def _commit_covered(self) -> None:
        """Commit the rows that the last STATE covers, and print it."""
        self._hand_over()
        self._storing.settle()

    def _hand_over_if_idle(self) -> None:
        """Begin to commit what a STATE covers, unless the last commit still runs."""
        if self._storing.is_done:
            self._storing.settle()
        if not self._storing.is_busy:
            self._hand_over()

    def _hand_over(self) -> None:
        """Begin to commit the rows that the last STATE covers, after those that were handed over before."""
        if not self._states or self._storing.has_failed:
            return
        parts, later = self._split(self._segment)
        job = Job(parts=parts, states=self._states, follows=self._staged)
        self._states = {}
        self._keep(later)
        self._handed_over_at = self.monotonic()
        self._storing.begin(job)

    def _stage_all(self, sweeps: Sequence[tuple[PostgresSink, Sweep]] = ()) -> None:
        """Begin to store all pending rows in the open transaction, and to end sweeps, without a commit."""
        parts, later = self._split(self._segment + 1)
        job = Job(parts=parts, sweeps=sweeps, states={}, follows=self._staged)
        self._keep(later)
        self._staged = True
        self._storing.begin(job)

    def _split(self, segment: int) -> tuple[list[Part], list[Part]]:
        """Each sink with the rows that arrived before STATE ``segment``, and with those that did not.

        Parents come first: a list decides about rows as of the same moment, so it must be the last one when they come.
        """
        parts, later = [], []
        for sink in parents_first(self._sinks):
            covered, rest = sink.batch.split(segment)
            parts.append((sink, covered))
            later.append((sink, rest))
        return parts, later

    def _keep(self, later: list[Part]) -> None:
        """Keep only what was neither handed over nor staged."""
        for sink, rest in later:
            sink.batch = rest
        emptied = {id(sink) for sink, rest in later if not rest.rows}
        self._sinks_to_clear = [sink for sink in self._sinks_to_clear if id(sink) not in emptied]
        self._pending_rows = sum(rest.rows for _, rest in later)
        self._pending_bytes = sum(rest.bytes for _, rest in later)
        if not self._pending_rows:
            self._pending_rows_max = self.config["batch_size_rows"]
        self._pending_since = self.monotonic() if self._pending_rows else None
        self._staged = False

    # The process.

    def connect(self) -> psycopg.Connection[Any]:
        """Open a session in the database that the settings name."""
        return connect(connection_string(self.config))

    def tell(self, how: str) -> None:
        """Log in one line what was committed, once, however the run ends.

        Args:
            how: How it ends.
        """
        if self._told or isinstance(self.loader, Verification):
            return
        self._told = True
        seconds = self.monotonic() - self._began_at
        self.logger.info("%s: %s in %.1f s", how, self.loader.tally, seconds)
        self._measures.tell(self.loader.tally, seconds=seconds, succeeded=how == "Finished")

    def close(self) -> None:
        """End the session; what was not committed is undone."""
        self._storing.close()
        self.loader.close()

    def _handle_termination(self, signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG002
        """Stop at once: the transaction is rolled back, and nothing that is not committed was printed."""
        raise SystemExit(128 + signum)

    @classmethod
    def get_singer_command(cls) -> click.Command:
        """The command line, with the option that is ours."""
        command = super().get_singer_command()
        command.params.append(
            click.Option(
                ["--verify"],
                is_flag=True,
                help="Compare what a tap sends (tap-stripe-events --verify) with the tables and change nothing. "
                "Prints a table; exit code 1 if anything differs.",
            )
        )
        return command

    @classmethod
    def invoke(  # type: ignore[override]
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        config: Any = None,
        file_input: IO[str] | None = None,
        verify: bool = False,
    ) -> None:
        """Run the target; what a person can do something about is one line and exit code 1."""
        super(Target, cls).invoke(about=about, about_format=about_format)
        cls.print_version(print_fn=cls.logger.info)
        settings = config.config if config else {}
        try:
            target = cls(config=settings, parse_env_config=bool(config and config.parse_env), verify=verify)
        except ConfigValidationError as error:
            raise without_secrets(error, settings) from None
        except TargetError as error:
            cls.logger.error("%s", error)  # noqa: TRY400 - a message for people, not for us
            sys.exit(1)
        try:
            sys.setswitchinterval(SWITCH_SECONDS)
            gc.freeze()  # what there is by now stays to the end
            gc.set_threshold(NEW_OBJECTS_MAX, *gc.get_threshold()[1:])
            target.loader.open()
            target.listen(file_input)
            if target.verification is not None and (report := target.verification.report) is not None:
                click.echo(report)
                sys.exit(0 if report.is_clean else 1)
        except (TargetError, SingerSDKError, InvalidInputLine) as error:
            target.tell("Failed")  # first, so that the reason is what the log ends with
            cls.logger.error("%s", error)  # noqa: TRY400 - the same
            sys.exit(1)
        except BrokenPipeError:
            target.tell("Failed")
            cls.logger.error("Nobody reads the STATE that is printed, so nothing more is stored.")  # noqa: TRY400 - the same
            # What is still buffered would fail again when the interpreter flushes it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        finally:
            target.tell("Ended early")
            target.close()


def parents_first(sinks: Sequence[PostgresSink]) -> list[PostgresSink]:
    """The sinks in an order in which each stream comes after those whose records bring lists of it."""
    parents = defaultdict(set)
    for sink in sinks:
        for child in sink.shape.owns:
            parents[child].add(sink.shape.stream)

    def generation(stream: str, below: frozenset[str] = frozenset()) -> int:
        above = parents[stream] - below - {stream}
        return 1 + max((generation(each, below | {stream}) for each in above), default=0)

    generations = {sink.shape.stream: generation(sink.shape.stream) for sink in sinks}
    return sorted(sinks, key=lambda sink: generations[sink.shape.stream])


def schema_name(name: str) -> str:
    """The setting ``default_target_schema``, checked.

    Raises:
        SettingsError: Postgres, or this target's statements, cannot take it.
    """
    if not name or len(name.encode()) > NAME_BYTES_MAX or "%" in name or "\0" in name:
        raise SettingsError(
            f"default_target_schema {name!r} cannot be a schema's name here. "
            f"Use 1 to {NAME_BYTES_MAX} bytes without '%'."
        )
    return name


def without_secrets(error: ConfigValidationError, settings: dict[str, Any]) -> ConfigValidationError:
    """The SDK's error about settings, which quotes the values it is about, with secrets taken out."""
    secrets = [str(settings[name]) for name in SECRETS if settings.get(name)]
    errors = error.errors
    for secret in secrets:
        errors = [text.replace(secret, "***") for text in errors]
    return ConfigValidationError(str(error), errors=errors, schema=error.schema)
