"""The tap: settings, discovery, `--test`, and the shared run that its streams pull from."""

import copy
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from types import FrameType
from typing import IO, Any, NoReturn, cast

import click
from singer_sdk import Tap
from singer_sdk import typing as th
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers._util import load_json
from singer_sdk.helpers.capabilities import PluginCapabilities, TapCapabilities
from singer_sdk.singerlib.messages import StateMessage

from tap_stripe_events.access import access_table, check_access
from tap_stripe_events.accounts import AccountsRun, Wanted, wanted_accounts
from tap_stripe_events.bookmarks import AccountsBookmarks, Bookmarks, check_kind
from tap_stripe_events.client import TRIES, StripeClient, is_live
from tap_stripe_events.clock import Clock
from tap_stripe_events.errors import NothingSelectedError, TapError, WrongSettingError
from tap_stripe_events.families import names_by_stream
from tap_stripe_events.flight import Flight
from tap_stripe_events.identity import identify
from tap_stripe_events.keys import api_key, without_keys
from tap_stripe_events.limits import LONGEST_WAIT_SECONDS
from tap_stripe_events.listing import Activate
from tap_stripe_events.measures import Measures
from tap_stripe_events.memory import FreedMemory, collect_seldom
from tap_stripe_events.messages import MessageWriter
from tap_stripe_events.object_table import API_VERSION, STRIPE_OBJECTS
from tap_stripe_events.objects import PREVIEWS
from tap_stripe_events.plan import Rhythm
from tap_stripe_events.streams import StripeStream, complete
from tap_stripe_events.sync import Checkpoint, Delivery, Pace, PreviewSettings, Run
from tap_stripe_events.wake import Wake, Wishes

_LIVE_REQUESTS_PER_SECOND = 50  # half of what Stripe allows, so that the account's own application keeps its share
_TEST_REQUESTS_PER_SECOND = 20  # of 25
# A run that follows outlasts a bad moment of Stripe, and is back soon after it: no wait is longer than a few polls.
_FOLLOWING_LONGEST_WAIT_SECONDS = 2.0
_FOLLOWING_TRIES = 600  # a quarter of an hour
_DENIED_SECONDS = 600  # how often a run that follows tries what the key may not read; others do in every run
_NOT_SET_UP_SECONDS = 3600  # the same for products that the account does not use


class TapStripeEvents(Tap):
    """Reads every list of a Stripe account, then what its feed of events tells."""

    name = "tap-stripe-events"
    package_name = "stripe-postgres-sync"
    message_writer_class = MessageWriter
    message_writer: MessageWriter
    client_class = StripeClient
    clock = Clock()  # these two, so that a simulation can give its own

    capabilities = [  # noqa: RUF012 - the SDK's own declaration
        TapCapabilities.CATALOG,
        TapCapabilities.STATE,
        TapCapabilities.DISCOVER,
        TapCapabilities.ACTIVATE_VERSION,
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]

    config_jsonschema = th.PropertiesList(
        th.Property(
            "api_key",
            th.StringType,
            secret=True,
            title="API key",
            description="Stripe API key: standard or restricted, test or live. Read permissions are enough. It or "
            "api_key_file has to be set.",
        ),
        th.Property(
            "api_key_file",
            th.StringType,
            title="API key file",
            description="A file that holds the API key, in place of api_key: a secret of Docker or Kubernetes, say. It "
            "is read when a run begins.",
        ),
        th.Property(
            "api_url",
            th.StringType,
            default="https://api.stripe.com",
            title="API URL",
            description="Where Stripe is.",
        ),
        th.Property(
            "api_version",
            th.StringType,
            default=API_VERSION,
            title="API version",
            description="The Stripe API version to read in. The table schemas were made from the default.",
        ),
        th.Property(
            "start_date",
            th.DateTimeType,
            title="Start date",
            description="Read only what was created since, where a list can say so. Default: everything.",
        ),
        th.Property(
            "follow",
            th.BooleanType,
            default=False,
            title="Follow",
            description="Keep reading the feed of events. By default a run ends when it has caught up.",
        ),
        th.Property(
            "poll_interval_ms",
            th.IntegerType(minimum=1),
            default=500,
            title="Poll interval (ms)",
            description="With follow: the time between two readings of the feed. Never two at once.",
        ),
        th.Property(
            "wake_socket",
            th.StringType,
            title="Wake socket",
            description="With follow: a file for a socket. A datagram there has the feed read at once; the wait "
            "endpoint of stripe-proxy sends them.",
        ),
        th.Property(
            "lookback_seconds",
            th.IntegerType(minimum=0),
            default=60,
            title="Lookback (seconds)",
            description="How far behind its bookmark the feed is read again: Stripe shows events up to a minute late.",
        ),
        th.Property(
            "sweep_interval_hours",
            th.IntegerType(minimum=0),
            default=24,
            title="Sweep interval (hours)",
            description="How often lists are read again that events cannot keep fresh. 0: in every run.",
        ),
        th.Property(
            "full_sweep_interval_days",
            th.IntegerType(minimum=0),
            default=7,
            title="Full sweep interval (days)",
            description="The same for all lists: what they find that no event told of is drift. 0: in every run.",
        ),
        th.Property(
            "upcoming_api",
            th.StringType(allowed_values=["upcoming", "create_preview", "off"]),
            default="upcoming",
            title="API of upcoming invoices",
            description="How upcoming invoices are asked for. upcoming: a key with read permissions may, in an older "
            "version of the API. create_preview: the key must be allowed to write invoices, and there are none by "
            "customer. off: not at all.",
        ),
        th.Property(
            "upcoming_refresh_seconds",
            th.IntegerType(minimum=60),
            default=86_400,
            title="Refresh of upcoming invoices (seconds)",
            description="How often each upcoming invoice is computed anew without an event that tells of a change. "
            "Where usage is metered, of which nothing tells, every hour if that is more often.",
        ),
        th.Property(
            "connected_accounts",
            # The environment has texts only. With the type `boolean` the SDK would take every list there for false.
            th.CustomType(
                {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"enum": [True, False]}]}
            ),
            default=False,
            title="Connected accounts",
            description="For Connect platforms: also read the connected accounts. true: all of them; or a list of "
            "their ids. Every key then begins with stripe_account_id, so the tables need a schema of their own.",
        ),
        th.Property(
            "own_account",
            th.BooleanType,
            default=True,
            title="Own account",
            description="With connected_accounts: whether the key's own account is read too.",
        ),
        th.Property(
            "requests_per_second",
            th.IntegerType(minimum=1),
            title="Requests per second",
            description="The most requests in any second, over all streams. Default: 50 with a live key, 20 with a "
            "test key (Stripe allows 100 and 25).",
        ),
        th.Property(
            "endpoint_requests_per_second",
            th.IntegerType(minimum=1),
            default=25,
            title="Requests per second and endpoint",
            description="The most requests to one endpoint in any second (Stripe allows 25).",
        ),
        th.Property(
            "max_concurrent_requests",
            th.IntegerType(minimum=1),
            default=16,
            title="Concurrent requests",
            description="The most requests in flight.",
        ),
    ).to_dict()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._run: Run | AccountsRun | None = None
        self._client: StripeClient | None = None
        self._bookmarks: Bookmarks | AccountsBookmarks | None = None
        self._memory = FreedMemory()
        self.verifies = False  # set before the run begins: list everything, as if nothing had been read before
        try:
            super().__init__(*args, **kwargs)
        except ConfigValidationError as error:
            raise _without_key(error) from None
        self._measures = Measures(self.metrics_logger, now=self.clock.monotonic())

    def discover_streams(self) -> Sequence[StripeStream]:
        """Return a stream for every object type that has a table."""
        return [StripeStream(self, each) for each in (*STRIPE_OBJECTS.values(), *PREVIEWS.values())]

    def setup_mapper(self) -> None:
        """Prepare stream maps, for a catalog that is no older than the tap."""
        for each in self.input_catalog.streams if self.input_catalog else ():
            complete(each, several=self.several_accounts)
        super().setup_mapper()

    @cached_property
    def wanted_accounts(self) -> Wanted | None:
        """Which accounts are read; None if only the key's own is, and no record says so.

        Raises:
            WrongSettingError: The settings do not say it.
        """
        return wanted_accounts(self.config["connected_accounts"], own=self.config["own_account"])

    @property
    def several_accounts(self) -> bool:
        """Whether records say of which account they are."""
        return self.wanted_accounts is not None

    @cached_property
    def api_key(self) -> str:
        """The key.

        Raises:
            WrongSettingError: There is none, or it cannot be one.
        """
        return api_key(self.config.get("api_key"), self.config.get("api_key_file"))

    @property
    def client(self) -> StripeClient:
        """The way to Stripe, made when it is first needed.

        Raises:
            WrongSettingError: The key cannot be one.
        """
        if self._client is None:
            self._client = self.client_class(
                api_key=self.api_key,
                api_url=_checked_url(self.config["api_url"]),
                api_version=self.config["api_version"],
                requests_per_second=self._requests_per_second,
                endpoint_requests_per_second=self.config["endpoint_requests_per_second"],
                max_concurrent_requests=self.config["max_concurrent_requests"],
                tries=_FOLLOWING_TRIES if self.config["follow"] else TRIES,
                longest_wait_seconds=(
                    _FOLLOWING_LONGEST_WAIT_SECONDS if self.config["follow"] else LONGEST_WAIT_SECONDS
                ),
                clock=self.clock,
            )
        return self._client

    @property
    def _requests_per_second(self) -> int:
        default = _LIVE_REQUESTS_PER_SECOND if is_live(self.api_key) else _TEST_REQUESTS_PER_SECOND
        return int(self.config.get("requests_per_second") or default)

    @property
    def _follows(self) -> bool:
        return bool(self.config["follow"]) and not self.verifies

    @property
    def run(self) -> Run | AccountsRun:
        """The run that all streams pull from; it begins when the first one does."""
        if self._run is None:
            state, livemode = cast("dict[str, Any]", self.state), is_live(self.api_key)
            check_kind(state, several=self.several_accounts)
            bookmarks = Bookmarks(state)
            identify(self.client, bookmarks, livemode=livemode)
            wake = Wake(self.config.get("wake_socket") if self._follows else None)
            if self.wanted_accounts is None:
                self._bookmarks = bookmarks
                self._run = self._run_of(bookmarks, wished=wake.wished)
            else:
                wishes = Wishes(wake)
                self._bookmarks = AccountsBookmarks(state, livemode=livemode)
                self._run = AccountsRun(
                    client=self.client,
                    bookmarks=self._bookmarks,
                    own_id=bookmarks.account_id,
                    wanted=self.wanted_accounts,
                    streams=self._selected_streams(),
                    make_run=lambda own, flight, poll_seconds: self._run_of(
                        own, wished=wishes.listener(), flight=flight, poll_seconds=poll_seconds
                    ),
                    requests_per_second=self._requests_per_second,
                    follows=self._follows,
                    clock=self.clock,
                )
        return self._run

    def _selected_streams(self) -> list[str]:
        """Return the selected streams.

        Raises:
            NothingSelectedError: None is.
        """
        selected = [each.name for each in self.streams.values() if each.selected]
        if not selected:
            raise NothingSelectedError
        return selected

    def _run_of(
        self,
        bookmarks: Bookmarks,
        *,
        wished: Callable[[], bool],
        flight: Flight | None = None,
        poll_seconds: float = 0.0,
    ) -> Run:
        """Return the run of one account."""
        streams, selected = names_by_stream(), self._selected_streams()
        return Run(
            client=self.client,
            bookmarks=bookmarks,
            selected=[streams[name] for name in selected if name in streams],
            floor=_start_second(self.config),
            pace=replace(
                _pace(self.config, following=self._follows, least=poll_seconds),
                wished=wished,
                quiet=flight is not None,
            ),
            api_version=self.config["api_version"],
            feed=not self.verifies,
            previews=self._previews([name for name in selected if name in PREVIEWS]),
            flight=flight,
            clock=self.clock,
        )

    def _previews(self, names: Collection[str]) -> PreviewSettings | None:
        """Return what is computed on request; nothing when everything is only compared."""
        api = self.config["upcoming_api"]
        if not names or api == "off" or self.verifies:
            return None
        return PreviewSettings(
            names=names, refresh_seconds=self.config["upcoming_refresh_seconds"], create=api == "create_preview"
        )

    def write_schemas_once(self) -> None:
        """Write all SCHEMAs before the first record: any stream may come across any other's records."""
        for stream in self.streams.values():
            assert isinstance(stream, StripeStream)  # noqa: S101 - discover_streams makes no others
            stream.announce()

    def hand_over(self, item: Delivery | Activate | Checkpoint) -> None:
        """Write what the run brings, or have its stream write it."""
        match item:
            case Checkpoint():
                self.write_state()
                if self._measures.is_due(self.clock.monotonic()):
                    self._report()
            case Delivery():
                self._stripe_stream(item.stream).deliver(item)
                self._memory.used(len(item.changes))
            case Activate():
                self._stripe_stream(item.stream).activate(item.version, item.account)

    def _stripe_stream(self, name: str) -> StripeStream:
        stream = self.streams[name]
        assert isinstance(stream, StripeStream)  # noqa: S101 - discover_streams makes no others
        return stream

    def follow(self) -> None:
        """Go on after the first pass, if the setting says so, until a signal ends it."""
        if not self.config["follow"] or self.verifies:
            return
        self.logger.info("Caught up. Following the feed.")
        try:
            for item in self.run.follow():
                self.hand_over(item)
        except TapError:
            self.fail()
            raise
        finally:
            self.message_writer.flush()
        self.end_if_stopped()

    def fail(self) -> None:
        """Take leave after an error: what the bookmarks say was delivered."""
        self.write_state()
        self.run.tell("Failed")

    def end_if_stopped(self) -> None:
        """End the process if a signal has stopped the run."""
        if self.run.exit_code is not None:
            self.write_state()
            self.run.tell("Stopped")
            raise SystemExit(self.run.exit_code)

    def report(self, *, succeeded: bool) -> None:
        """Log the run's figures, at its end; nothing if none has begun."""
        if self._run is not None:
            self._report()
            self._measures.end(now=self.clock.monotonic(), succeeded=succeeded)

    def _report(self) -> None:
        records, requests = self.run.delivered, self.client.sent_to()
        self._measures.report(now=self.clock.monotonic(), records=records, requests=requests)

    def write_state(self) -> None:
        """Write STATE if it has changed since the last one."""
        bookmarks = self.state.get("bookmarks", {})
        for stream in [each for each, bookmark in bookmarks.items() if not bookmark]:
            del bookmarks[stream]  # the SDK's empty entries for streams that say nothing
        if self._bookmarks is not None and self._bookmarks.stamp(self.clock.now()):
            self.write_message(StateMessage(value=self.state))

    def load_state(self, state: dict[str, Any]) -> None:
        """Take in the state of the last run; the account stands beside the SDK's bookmarks."""
        super().load_state(state)
        for key in ("account", "accounts", "written_at", "polled_at", "api_version"):
            if key in state:
                cast("dict[str, Any]", self.state)[key] = copy.deepcopy(state[key])

    def _reset_state_progress_markers(self) -> None:
        """Begin the run: the SDK calls this first of all, before it writes the first STATE."""
        _ = self.run

    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop after the present record; a second signal stops at once."""
        if self._run is None or self._run.exit_code is not None:
            os._exit(128 + signum)
        self.logger.info("Stopping: the state is saved up to what was written")
        self._run.stop(128 + signum)

    @classmethod
    def get_singer_command(cls) -> click.Command:
        """Return the command, with an option of our own."""
        command = super().get_singer_command()
        command.params.append(
            click.Option(
                ["--verify"],
                is_flag=True,
                help="List everything anew and leave the state alone: for `target-postgres-stripe --verify`.",
            )
        )
        return command

    @classmethod
    def invoke(  # type: ignore[override]
        cls,
        *,
        verify: bool = False,
        about: bool = False,
        about_format: str | None = None,
        config: Any = None,
        state: IO[str] | None = None,
        catalog: IO[str] | None = None,
    ) -> None:
        """Run the tap from the command line: as the SDK does it, then follow. One clear line for what is no defect."""
        super(Tap, cls).invoke(about=about, about_format=about_format)
        cls.print_version(print_fn=cls.logger.info)
        try:
            tap = cls(
                config=config.config if config else None,
                state=load_json(state.read()) if state is not None and not verify else None,
                catalog=load_json(catalog.read()) if catalog is not None else None,
                parse_env_config=config.parse_env if config else False,
                validate_config=True,
            )
            tap.verifies = verify
            collect_seldom()
            succeeded = False
            try:
                with tap.message_writer.in_background():
                    tap.sync_all()
                    tap.follow()
                succeeded = True
            finally:
                tap.report(succeeded=succeeded)
        except TapError as error:
            _fail(cls, error)

    @classmethod
    def cb_test(cls, ctx: click.Context, param: click.Option, value: str) -> None:
        """Answer `--test` with a table of what the key can read."""
        if value != "all":
            super().cb_test(ctx, param, value)
            return
        given = ctx.params.get("config")
        try:
            tap = cls(
                config=given.config if given else None,
                parse_env_config=given.parse_env if given else False,
                validate_config=True,
                setup_mapper=False,
            )
            found = check_access(tap.client, STRIPE_OBJECTS)
        except TapError as error:
            _fail(cls, error)
        click.echo(access_table(found))
        ctx.exit(0 if any(each.readable for each in found) else 1)


def _fail(tap: type[Tap], error: TapError) -> NoReturn:
    tap.logger.critical("%s", error)
    sys.exit(1)


def _without_key(error: ConfigValidationError) -> ConfigValidationError:
    """Return the SDK's error about settings, which quotes the values it is about, without the key."""
    shown = [
        "the value is not of type 'string' in config['api_key']" if "config['api_key']" in each else without_keys(each)
        for each in error.errors
    ]
    return ConfigValidationError(str(error), errors=shown, schema=error.schema)


def _checked_url(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        problem = f"{without_keys(url)!r} is not an http or https URL"
        raise WrongSettingError(setting="api_url", problem=problem, way_out="Leave it out to read from Stripe.")
    return url


def _pace(config: Any, *, following: bool, least: float) -> Pace:
    sweep = config["sweep_interval_hours"] * 3600
    return Pace(
        poll_seconds=max(config["poll_interval_ms"] / 1000, least) if following else None,
        lookback_seconds=config["lookback_seconds"],
        rhythm=Rhythm(
            sweep_seconds=sweep,
            full_sweep_seconds=config["full_sweep_interval_days"] * 86_400,
            denied_seconds=_DENIED_SECONDS if following else 0,
            not_set_up_seconds=min(sweep, _NOT_SET_UP_SECONDS),
        ),
    )


def _start_second(config: Any) -> int | None:
    start = config.get("start_date")
    if not start:
        return None
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        problem = f"{without_keys(start)!r} is not a date-time"
        raise WrongSettingError(
            setting="start_date", problem=problem, way_out="Write it as 2026-01-31T00:00:00Z."
        ) from None
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))
