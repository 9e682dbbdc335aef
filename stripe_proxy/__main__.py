"""``stripe-proxy``: run the service until it is told to stop."""

import logging
import os
import sys
from typing import Any

import psycopg

from stripe_proxy.app import App
from stripe_proxy.database import Database
from stripe_proxy.errors import ProxyError
from stripe_proxy.server import make_server
from stripe_proxy.settings import Settings, from_environment
from stripe_proxy.writer import Writer
from tap_stripe_events.client import StripeClient
from target_postgres_stripe.connection import connect, connection_string
from target_postgres_stripe.errors import TargetError

_REQUESTS_PER_SECOND = 10  # of its own, to read again: the sync has its own budget beside it
_IN_FLIGHT = 4
_TRIES = 2
_STATEMENT_FACTOR = 3  # how much longer than an answer waits a statement may take, before its session is given up


def make_app(settings: Settings) -> App:
    """Return the application that these settings describe.

    Raises:
        TargetError: The database cannot be had.
    """
    text = connection_string({"database_url": settings.database_url or None})

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
    )


def main() -> int:
    """Serve."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = from_environment(os.environ)
        app = make_app(settings)
    except (ProxyError, TargetError) as error:
        print(f"stripe-proxy: {error}", file=sys.stderr)
        return 1
    make_server(app, host=settings.host, port=settings.port).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
