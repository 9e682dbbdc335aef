"""The proxy's own pages: for people ``/``, for machines ``/healthz``, ``/metrics`` and ``/api/wait/{sync id}``.

Where a token is set they ask for it: ``Authorization: Bearer TOKEN``, or the password of basic authentication, which
browsers ask for by themselves. ``/healthz`` says nothing worth hiding, and never asks.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import json
import logging
import re
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import psycopg

from stripe_proxy import metrics, page, snapshot
from stripe_proxy.forward import Headers, header
from stripe_proxy.wait import Status, StripeBound, Waits, answer, read_status
from target_postgres_stripe import tables
from target_postgres_stripe.columns import quoted
from target_postgres_stripe.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from stripe_proxy.database import Database
    from stripe_proxy.follow import SyncProcess
    from stripe_proxy.settings import Settings

_WAIT = re.compile(r"/api/wait/([^/]+)")
_LONGEST_WAIT_SECONDS = 300.0
_BOUND_SECONDS = 600.0  # how long a bound is relied on that nothing has confirmed
_PATHS = frozenset({"/", "/healthz", "/metrics"})
_DATABASE_ERRORS = (psycopg.Error, TargetError)

logger = logging.getLogger("stripe-proxy")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer of the proxy's own.

    Attributes:
        status: Its HTTP status.
        body: Its body.
        kind: The body's type.
        headers: More headers.
    """

    status: int
    body: bytes
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Pages:
    """Answers what is not for Stripe.

    Args:
        settings: The settings.
        database: Reads Postgres.
        bound: How late it is at Stripe's.
        ask_stripe: Has Stripe answer anything at all, so that the bound is known.
        sync_process: Tells how the sync's process is; None if that is somebody else's.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        bound: StripeBound,
        ask_stripe: Callable[[], Awaitable[None]],
        sync_process: Callable[[], SyncProcess | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._bound = bound
        self._ask_stripe = ask_stripe
        self._sync_process = sync_process
        self._bound_at = float("-inf")
        self._waits = Waits(look=self._look, wake=self._wake)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def close(self) -> None:
        """End."""
        self._socket.close()

    def has(self, path: str) -> bool:
        """Whether a path is one of these."""
        return path in _PATHS or _WAIT.fullmatch(path) is not None

    async def reply(self, path: str, query: str, headers: Headers) -> Reply:
        """Answer a GET request."""
        if path == "/healthz":
            return await self._health()
        if not self._may(headers):
            challenge = {"WWW-Authenticate": 'Basic realm="stripe-proxy", charset="UTF-8"'}
            return _json(401, {"error": "A token is needed: Authorization: Bearer TOKEN."}, challenge)
        try:
            if found := _WAIT.fullmatch(path):
                return await self._wait(found[1], parse_qs(query))
            seen = await asyncio.to_thread(self._database.read, self._snapshot)
        except _DATABASE_ERRORS as error:
            logger.warning("%s: Postgres cannot be asked (%s)", path, type(error).__name__)
            return _json(503, {"error": f"Postgres cannot be asked ({type(error).__name__})."})
        if path == "/metrics":
            return Reply(status=200, body=metrics.render(seen, self._sync_process()), kind=metrics.CONTENT_TYPE)
        wait_path = f"/api/wait/{seen.sync_id}" if seen.sync_id is not None else None
        return Reply(
            status=200,
            body=page.render(seen, wait_path=wait_path, sync_process=self._sync_process()).encode(),
            kind="text/html; charset=utf-8",
            headers={
                "Content-Security-Policy": page.CONTENT_SECURITY_POLICY,
                "Cache-Control": "no-store",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
            },
        )

    def _may(self, headers: Headers) -> bool:
        token = self._settings.token
        if not token:
            return True
        scheme, _, given = (header(headers, b"authorization") or "").partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        return hmac.compare_digest(given.encode(), token.encode())

    async def _health(self) -> Reply:
        """Whether the proxy can do its work; what it passes on goes through without Postgres too."""
        try:
            await asyncio.to_thread(self._database.read, lambda connection: connection.execute("SELECT 1"))
        except _DATABASE_ERRORS as error:
            return _json(503, {"ok": False, "database": type(error).__name__})
        return _json(200, {"ok": True})

    def _snapshot(self, connection: psycopg.Connection[Any]) -> snapshot.Snapshot:
        return snapshot.read(connection, self._settings.default_target_schema)

    # Waiting

    async def _wait(self, sync_id: str, query: Mapping[str, list[str]]) -> Reply:
        asked_at = time.monotonic()
        if sync_id != await asyncio.to_thread(self._database.read, self._sync_id):
            return _json(404, {"ok": False, "reason": "There is no sync with this id here; the page / shows the id."})
        try:
            seconds = float(query.get("timeout", [str(self._settings.wait_timeout_seconds)])[-1])
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= _LONGEST_WAIT_SECONDS:
            reason = f"timeout is to be a number of seconds from 0 to {_LONGEST_WAIT_SECONDS:g}."
            return _json(400, {"ok": False, "reason": reason})
        after = await self._latest(asked_at)
        if after is None:
            return _json(504, {"ok": False, "reason": "Stripe does not answer, so what time it is there is not known."})
        request = query.get("request", [None])[-1]
        status, body = answer(await self._waits.until(after, request=request, timeout_seconds=seconds))
        return _json(status, body)

    async def _latest(self, moment: float) -> float | None:
        """Return the latest Unix time that it may be at Stripe's; Stripe is asked if it has not told for a while."""
        if moment - self._bound_at >= _BOUND_SECONDS:
            await self._ask_stripe()
            if self._bound.latest(moment) is not None:
                self._bound_at = moment
        return self._bound.latest(moment)

    def _sync_id(self, connection: psycopg.Connection[Any]) -> str | None:
        schema = self._settings.default_target_schema
        if not tables.has_bookkeeping(connection, schema):
            return None
        found = connection.execute(f"SELECT id::text FROM {quoted(schema)}._sync").fetchone()
        return found[0] if found else None

    async def _look(self, requests: frozenset[str]) -> Status:
        def look(connection: psycopg.Connection[Any]) -> Status:
            return read_status(connection, self._settings.default_target_schema, requests)

        return await asyncio.to_thread(self._database.read, look)

    def _wake(self) -> None:
        """Have the tap read at once; where it does not listen, it reads when it is its turn."""
        if self._settings.wake_socket:
            with contextlib.suppress(OSError):
                self._socket.sendto(b"!", self._settings.wake_socket)


def _json(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status=status, body=json.dumps(body).encode() + b"\n", headers=headers or {})
