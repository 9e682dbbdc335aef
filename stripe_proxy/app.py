"""The ASGI application: what is passed on to Stripe and stored, and the proxy's own pages.

An answer that may hold objects is read whole, stored, and only then sent; everything else streams. Whatever goes wrong
beside Stripe's answer, the caller gets Stripe's answer: a payment is not made twice because of a proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg

from stripe_proxy.answers import answered, may_hold_objects
from stripe_proxy.callers import Account, Callers
from stripe_proxy.errors import ForwardError, NotAppliedError, UnknownHostError
from stripe_proxy.forward import Upstream, error_body, header, plain, to_caller
from stripe_proxy.pages import Pages, Reply
from stripe_proxy.wait import StripeBound
from stripe_proxy.written import Writes, stored_types
from tap_stripe_events.clock import Clock, StripeClock
from tap_stripe_events.errors import TapError
from target_postgres_stripe.errors import TargetError

if TYPE_CHECKING:
    import aiohttp

    from stripe_proxy.database import Database, Sync
    from stripe_proxy.follow import Following, SyncProcess
    from stripe_proxy.settings import Settings
    from stripe_proxy.writer import Writer
    from tap_stripe_events.client import StripeClient

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

APPLIED = b"stripe-proxy-applied"
_ERROR = "Stripe-Proxy-Error"
_FORM_BYTES_MAX = 1_000_000
_MAY_NOT_KNOW = frozenset({401, 403, 404})  # the statuses that a key is refused with
_SYNC_SECONDS = 10.0  # how long it is believed whose tables these are
_PIECE = 50  # changes of a read that are stored at a time, so that a write does not wait for a long list

logger = logging.getLogger("stripe-proxy")


@dataclass(frozen=True, kw_only=True)
class Passed:
    """A request that is passed on.

    Attributes:
        method: Its method.
        path: Its path at Stripe, as it was sent.
        query: Its query, as it was sent.
        headers: Its headers.
    """

    method: str
    path: str
    query: str
    headers: list[tuple[bytes, bytes]]


class App:
    """The application. `open` and `close` frame its use, in the event loop that serves it.

    Args:
        settings: The settings.
        database: Reads Postgres.
        writer: Writes it.
        client: The way to Stripe with the sync's own key; None if there is none.
        following: Keeps the sync running; None if somebody else does.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        writer: Writer,
        client: StripeClient | None,
        following: Following | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._writer = writer
        self._client = client
        self._following = following
        self._stripe_clock = StripeClock(Clock())
        self._bound = StripeBound()
        self._pages = Pages(
            settings=settings,
            database=database,
            bound=self._bound,
            ask_stripe=self._ask_stripe,
            sync_process=self._sync_process,
        )
        self._callers = Callers(api_key=settings.api_key, ask=self._ask_account)
        self._sync: Sync | None = None
        self._sync_read_at = float("-inf")

    async def open(self) -> None:
        """Begin."""
        self._upstream = Upstream(timeout_seconds=self._settings.upstream_timeout_seconds)
        self._writer.start()
        if self._following is not None:
            await self._following.open()

    async def close(self) -> None:
        """End, when what was answered is stored."""
        if self._following is not None:
            await self._following.close()
        await self._upstream.close()
        self._pages.close()
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._database.close)
        if self._client is not None:
            self._client.close()

    def _sync_process(self) -> SyncProcess | None:
        return None if self._following is None else self._following.state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "lifespan.startup":
            await self.open()
            await send({"type": "lifespan.startup.complete"})
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in {"GET", "HEAD"} and self._pages.has(scope["path"]):
            query = scope["query_string"].decode("latin-1")
            reply = await self._pages.reply(scope["path"], query, scope["headers"])
            await _answer(send, reply, bodiless=scope["method"] == "HEAD")
            return
        first, _, rest = scope["raw_path"].decode("latin-1").removeprefix("/").partition("/")
        base = self._settings.hosts.get(first)
        try:
            if base is None:
                raise UnknownHostError(host=first or "no host", known="api.stripe.com")
            passed = Passed(
                method=scope["method"],
                path=f"/{rest}",
                query=scope["query_string"].decode("latin-1"),
                headers=scope["headers"],
            )
            await self._pass_on(base, passed, receive, send)
        except ForwardError as error:
            await _answer_error(send, error)

    # To Stripe and back

    async def _pass_on(self, base: str, passed: Passed, receive: Receive, send: Send) -> None:
        began, asked_at = self._stripe_clock.estimate(), time.monotonic()
        body, form = await _body(passed, receive)
        url = f"{base}{passed.path}" + (f"?{passed.query}" if passed.query else "")
        async with self._upstream.request(passed.method, url, passed.headers, body) as response:
            date = self._heard(response, asked_at)
            headers = to_caller(response.raw_headers)
            kind = response.headers.get("Content-Type", "")
            if not may_hold_objects(passed.method, passed.path, response.status, kind):
                await send({"type": "http.response.start", "status": response.status, "headers": headers})
                async for chunk in response.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body"})
                return
            content = await response.read()
        try:
            await self._store(passed, form, response.status, headers, content, began=began, dated=date)
        except Exception as error:  # noqa: BLE001 - whatever it was, Stripe has answered, and the caller gets that
            known = isinstance(error, (NotAppliedError, TapError, ForwardError))
            what = str(error) if known else f"{type(error).__name__} {_place(error)}"
            logger.warning("%s %s: %s", passed.method, passed.path.split("/")[1:3], what)
            headers.append((APPLIED, b"false"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if passed.method == "HEAD" else content})

    async def _store(
        self,
        passed: Passed,
        form: str,
        status: int,
        headers: list[tuple[bytes, bytes]],
        content: bytes,
        *,
        began: int,
        dated: int | None,
    ) -> None:
        """Have in Postgres what an answer holds.

        Raises:
            NotAppliedError, TapError, ForwardError: It is not there.
        """
        text = plain(content, header(headers, b"content-encoding"))
        sync = await self._whose()
        try:
            async with asyncio.timeout(self._settings.apply_timeout_seconds):
                whose = await self._callers.account(passed.headers, sync)
        except TimeoutError:
            raise NotAppliedError(reason="Stripe does not say in time whose key it is") from None
        if whose is Account.OTHER:
            return
        found = answered(
            text,
            method=passed.method,
            path=passed.path,
            query=passed.query,
            form=form,
            status=status,
            version=header(headers, b"stripe-version"),
            replayed=header(headers, b"idempotent-replayed") == "true" or whose is Account.UNKNOWN,
            dated=dated if dated is not None else self._stripe_clock.second(),
            began=began,
        )
        writes = Writes(
            client=self._client,
            api_version=self._settings.api_version,
            account_id=sync.account_id or "self",
            selected=stored_types(sync.streams),
        )
        try:
            async with asyncio.timeout(self._settings.apply_timeout_seconds):
                changes = await asyncio.to_thread(writes.changes, found)
                size = _PIECE if found.is_read else max(len(changes), 1)
                for begin in range(0, len(changes), size):
                    await asyncio.wrap_future(self._writer.store(changes[begin : begin + size]))
        except TimeoutError:
            raise NotAppliedError(reason="Postgres or Stripe takes too long") from None

    async def _whose(self) -> Sync:
        """Return whose tables these are.

        Raises:
            NotAppliedError: Nobody's yet, or it cannot be read.
        """
        now = asyncio.get_running_loop().time()
        if self._sync is None or now - self._sync_read_at >= _SYNC_SECONDS:
            try:
                self._sync = await asyncio.to_thread(self._database.sync)
            except (psycopg.Error, TargetError) as error:
                if self._sync is None:
                    raise NotAppliedError(reason=f"Postgres is away ({type(error).__name__})") from None
            self._sync_read_at = now
        if self._sync is None:
            raise NotAppliedError(reason="no sync has run into this schema yet, so that it is nobody's")
        return self._sync

    def _heard(self, response: aiohttp.ClientResponse, asked_at: float) -> int | None:
        """Take in when Stripe dated an answer; only a good one is Stripe's for certain."""
        if not response.ok:
            return None
        self._bound.heard(response.headers.get("Date"), asked_at)
        return self._stripe_clock.heard(response.headers.get("Date"))

    async def _ask_stripe(self) -> None:
        """Have Stripe date an answer, with the sync's own key."""
        if not self._settings.api_key:
            return
        asked_at = time.monotonic()
        headers = [(b"authorization", f"Bearer {self._settings.api_key}".encode())]
        with contextlib.suppress(ForwardError):
            async with self._upstream.request(
                "GET", f"{self._settings.api_url}/v1/events?limit=1", headers, None
            ) as response:
                self._heard(response, asked_at)
                await response.read()

    async def _ask_account(self, authorization: str) -> str | None:
        """Ask Stripe whose key it is; None if it may not know.

        Raises:
            NotAppliedError, ForwardError: Stripe does not say.
        """
        headers = [(b"authorization", authorization.encode("latin-1"))]
        async with self._upstream.request("GET", f"{self._settings.api_url}/v1/account", headers, None) as response:
            content = plain(await response.read(), response.headers.get("Content-Encoding"))
        if response.status in _MAY_NOT_KNOW:
            return None
        try:
            found = json.loads(content or b"") if response.ok else None
        except ValueError:
            found = None
        identifier = found.get("id") if isinstance(found, dict) else None
        if not isinstance(identifier, str):
            raise NotAppliedError(reason=f"Stripe does not say whose key it is (status {response.status})")
        return identifier


def _place(error: Exception) -> str:
    """Return where in the code an error came up; what it says may be a customer's."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"in {frame.name} ({frame.filename.rpartition('/')[2]}:{frame.lineno})"


async def _body(passed: Passed, receive: Receive) -> tuple[bytes | AsyncIterator[bytes] | None, str]:
    """Return a request's body, as a stream unless it is a small form, and the form."""
    length, coding = header(passed.headers, b"content-length"), header(passed.headers, b"transfer-encoding")
    if coding is None and length in {None, "0"}:
        return (None if length is None else b""), ""
    kind = (header(passed.headers, b"content-type") or "").split(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded" and length is not None and int(length) <= _FORM_BYTES_MAX:
        form = b"".join([chunk async for chunk in _chunks(receive)])
        return form, form.decode("latin-1")
    return _chunks(receive), ""


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _answer_error(send: Send, error: ForwardError) -> None:
    body = json.dumps(error_body(str(error), error.code), indent=2).encode() + b"\n"
    await _answer(send, Reply(status=error.status, body=body, headers={_ERROR: error.code}))


async def _answer(send: Send, reply: Reply, *, bodiless: bool = False) -> None:
    given = {"Content-Type": reply.kind, "Content-Length": str(len(reply.body)), **reply.headers}
    headers = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if bodiless else reply.body})
