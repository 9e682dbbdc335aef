"""Connecting to Postgres: from settings to an open session, with patience and without leaking the password."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import backoff
import psycopg
from psycopg import conninfo

from target_postgres_stripe import embedded
from target_postgres_stripe.errors import DatabaseUnavailableError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_TIMEOUT_SECONDS = 10
RETRY_SECONDS = 30
"""How long a database that is away is waited for: a restart, not an outage."""

FILE_BYTES_MAX = 65_536
"""No URI is nearly as long, and a wrong name may be that of an endless file."""

PARTS = {"host": "host", "port": "port", "user": "user", "password": "password", "database": "dbname"}
"""Settings by which the database can be named instead of ``database_url``, and what libpq calls them."""

SESSION = {
    "application_name": "target-postgres-stripe",
    "connect_timeout": str(CONNECT_TIMEOUT_SECONDS),
    # A server that has vanished without a word is given up after half a minute; by default that takes hours.
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""What a session is opened with, where the URI says nothing else."""

SESSION_SETTINGS = (
    "SET TIME ZONE 'UTC'",  # a timestamp without offset is UTC
    "SET standard_conforming_strings = on",
    "SET client_min_messages = warning",
    "SET temp_buffers = '64MB'",  # a batch
    "SET random_page_cost = 1.1",  # a batch's keys are probed for, not joined with a scan of the table,
    "SET enable_seqscan = off",  # whatever is believed about a new table: where there is an index it is used
    "SET jit = off",
    "SET datestyle = 'ISO, YMD'",
)

logger = logging.getLogger("target-postgres-stripe")


def connection_string(settings: Mapping[str, Any]) -> str:
    """The libpq connection string that the settings name; starts the embedded Postgres if they name none.

    ``database_url``, or the file ``database_url_file`` that holds it, goes before ``host``, ``port``, ``user``,
    ``password`` and ``database``. What all leave out, libpq takes from its environment (``PGPASSWORD``, ``PGSSLMODE``,
    ...).

    Raises:
        SettingsError: ``database_url`` is not a libpq connection string, its file cannot be read, or both are set.
        EmbeddedError: The embedded Postgres is wanted and cannot be had.
    """
    url, path = settings.get("database_url"), settings.get("database_url_file")
    if url and path:
        raise SettingsError("database_url and database_url_file are both set. Set one of them.")
    if path:
        url = url_in_file(path)
    if url:
        try:
            return conninfo.make_conninfo(url)
        except psycopg.Error:
            # libpq's message may quote the URI, and so the password.
            raise SettingsError(
                f"{'What database_url_file holds' if path else 'database_url'} is not a libpq URI. "
                "Write postgresql://user:password@host:5432/database, with special characters in the password "
                "percent-encoded."
            ) from None
    parts = {libpq: settings[name] for name, libpq in PARTS.items() if settings.get(name) not in {None, ""}}
    for name in ("host", "user", "database"):
        if "://" in str(settings.get(name) or ""):  # with a password in it, that a message would tell
            raise SettingsError(f"{name} is a URI. Set it as database_url.")
    if parts:
        return conninfo.make_conninfo("", **parts)
    return embedded.database_url()


def url_in_file(path: str) -> str:
    """The URI that a file holds.

    Raises:
        SettingsError: There is none.
    """
    # Somebody may have set the URI itself, with its password.
    shown = "what it names" if "://" in path or "=" in path else repr(path)
    way_out = "Name a file that this process may read and that holds a libpq URI and nothing else."
    try:
        with Path(path).open("rb") as file:
            url = file.read(FILE_BYTES_MAX).decode().strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text, or no file can have that name"
        raise SettingsError(f"database_url_file: {shown} cannot be read: {reason}. {way_out}") from None
    if not url:
        raise SettingsError(f"database_url_file: {shown} is empty. {way_out}")
    return url


def connect(connection_text: str, *, patient: bool = True) -> psycopg.Connection[Any]:
    """Open a session.

    Args:
        connection_text: As `connection_string` makes it.
        patient: A database that cannot be reached is tried again for half a minute.

    Raises:
        DatabaseUnavailableError: It could not be opened.
    """
    parameters = SESSION | {name: str(value) for name, value in conninfo.conninfo_to_dict(connection_text).items()}
    try:
        connection = open_session(parameters) if patient else open_once(parameters)
        for statement in SESSION_SETTINGS:
            connection.execute(statement)
        connection.commit()
    except psycopg.Error as error:
        raise DatabaseUnavailableError(
            f"Cannot connect to {place(parameters)}: {said(error, parameters)} "
            f"Check database_url (or host, port, user, password, database), and that the database is up."
        ) from None
    return connection


def is_refusal(error: Exception) -> bool:
    """Whether it would be the same again: a wrong password, no such database, a certificate that is not trusted."""
    text = str(error)
    if re.search(r"certificate|does not support SSL", text):
        return True
    return "FATAL" in text and not re.search(r"starting up|shutting down|recovery|too many|remaining connection", text)


def tell_waiting(details: Mapping[str, Any]) -> None:
    """Say once that the database is waited for."""
    if details["tries"] == 1:
        logger.warning("The %s does not answer; waiting up to %d s for it.", place(details["args"][0]), RETRY_SECONDS)


@backoff.on_exception(
    backoff.expo,
    psycopg.OperationalError,
    max_time=RETRY_SECONDS,
    max_value=5,
    giveup=is_refusal,
    on_backoff=tell_waiting,
    logger=None,
)
def open_session(parameters: Mapping[str, Any]) -> psycopg.Connection[Any]:
    """Open a session, with retries."""
    return open_once(parameters)


def open_once(parameters: Mapping[str, Any]) -> psycopg.Connection[Any]:
    """Open a session, or fail at once."""
    return psycopg.connect(**parameters)


def place(parameters: Mapping[str, Any]) -> str:
    """Where the database is, for a message."""
    host = parameters.get("host") or parameters.get("hostaddr") or "localhost"
    return f"database {parameters.get('dbname') or 'default'!r} at {host}:{parameters.get('port') or 5432}"


def said(error: psycopg.Error, parameters: Mapping[str, Any]) -> str:
    """What the server or libpq said, on one line, with the password taken out should it be in it."""
    text = " ".join(str(error).split())
    password = parameters.get("password")
    text = text.replace(password, "***") if password else text
    return text if text.endswith((".", "?")) else f"{text}."


def cut(session: psycopg.Connection[Any] | None) -> None:
    """From another thread: end a session's connection, so that whoever waits for the server there is told so.

    Closing the session would not do: the other thread may be waiting on its descriptor.
    """
    if session is None or session.closed:
        return
    with (
        contextlib.suppress(OSError, psycopg.OperationalError),  # it has ended meanwhile
        socket.socket(fileno=os.dup(session.fileno())) as connection,
    ):
        connection.shutdown(socket.SHUT_RDWR)
