"""``stripe-proxy``: run the service until it is told to stop."""

import argparse
import contextlib
import gc
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import psycopg

from stripe_proxy.app import App
from stripe_proxy.database import Database
from stripe_proxy.errors import ProxyError
from stripe_proxy.follow import Following, settings_of_sync, sync_command, sync_environment
from stripe_proxy.server import make_server
from stripe_proxy.settings import Settings, about, from_environment, with_key_read
from stripe_proxy.writer import Writer
from tap_stripe_events.client import StripeClient
from tap_stripe_events.errors import TapError
from target_postgres_stripe.connection import connect, connection_string
from target_postgres_stripe.errors import TargetError

_REQUESTS_PER_SECOND = 10  # of its own, to read again: the sync has its own budget beside it
_IN_FLIGHT = 4
_TRIES = 2
_STATEMENT_FACTOR = 3  # how much longer than an answer waits a statement may take, before its session is given up


def make_app(settings: Settings, following: Following | None = None) -> App:
    """Return the application that these settings describe, with a sync that it keeps running, if there is to be one.

    Raises:
        TapError: The key cannot be one.
        TargetError: The database cannot be had.
    """
    settings = with_key_read(settings)
    text = connection_string({"database_url": settings.database_url, "database_url_file": settings.database_url_file})

    def session() -> psycopg.Connection[Any]:
        connection = connect(text, patient=False)
        connection.execute(f"SET statement_timeout = {int(settings.apply_timeout_seconds * _STATEMENT_FACTOR * 1000)}")
        connection.commit()
        return connection

    client = None
    if settings.api_key:
        client = StripeClient(
            api_key=settings.api_key,
            api_url=settings.api_url,
            api_version=settings.api_version,
            requests_per_second=_REQUESTS_PER_SECOND,
            endpoint_requests_per_second=_REQUESTS_PER_SECOND,
            max_concurrent_requests=_IN_FLIGHT,
            tries=_TRIES,
        )
    schema = settings.default_target_schema
    return App(
        settings=settings,
        database=Database(connect=session, schema=schema),
        writer=Writer(
            connect=session,
            schema=schema,
            hard_delete=settings.hard_delete,
            patience_seconds=settings.apply_timeout_seconds,
        ),
        client=client,
        following=following,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; return the exit code."""
    options = _parser().parse_args(arguments)
    if options.about:
        print(json.dumps(about(), indent=2))
        return 0
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # the server raises it once more, when all that was begun is done
    with contextlib.ExitStack() as stack:
        following = None
        try:
            settings = from_environment(os.environ)
            if options.follow or settings.follow:
                directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="stripe-proxy-"))
                environment = sync_environment(os.environ, settings, directory=directory)
                settings = settings_of_sync(settings, environment)
                following = Following(
                    command=sync_command(), environment=environment, ending=lambda: server.should_exit
                )
            app = make_app(settings, following)
        except (ProxyError, TapError, TargetError) as error:
            print(f"stripe-proxy: {error}", file=sys.stderr)
            return 1
        server = make_server(app, host=settings.host, port=settings.port)
        gc.collect()
        gc.freeze()  # what is there now stays: else the collector now and then looks at it all, for a tenth of a second
        server.run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stripe-proxy",
        description="Passes requests on to Stripe and has what is answered in Postgres before the answer is passed "
        "back. Its settings are environment variables: STRIPE_PROXY_DATABASE_URL and so on; --about lists them.",
    )
    parser.add_argument("--follow", action="store_true", help="also run the sync, through Meltano, and keep it running")
    parser.add_argument("--about", action="store_true", help="print the settings as JSON, and end")
    parser.add_argument("--format", choices=["json"], help="of --about; JSON is the only one")
    parser.add_argument("--version", action="version", version=f"stripe-proxy {version('stripe-postgres-sync')}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
