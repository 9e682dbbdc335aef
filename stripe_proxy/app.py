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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg

from stripe_proxy.answers import answered, may_hold_objects
from stripe_proxy.callers import Callers, Relation
from stripe_proxy.errors import CallerGoneError, FailedError, ForwardError, NotAppliedError, UnknownHostError
from stripe_proxy.forward import Upstream, beginning, error_body, header, plain, to_caller
from stripe_proxy.pages import Pages, Reply
from stripe_proxy.ties import Ties
from stripe_proxy.wait import StripeBound
from stripe_proxy.written import Writes, stored_types
from tap_stripe_events.clock import Clock, StripeClock
from tap_stripe_events.errors import TapError
from target_postgres_stripe.errors import TargetError

if TYPE_CHECKING:
    import aiohttp

    from stripe_proxy.answers import Answered
    from stripe_proxy.database import Database, Sync
    from stripe_proxy.follow import Following, SyncProcess
    from stripe_proxy.settings import Settings
    from stripe_proxy.writer import Writer
    from tap_stripe_events.client import StripeClient

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

NOT_APPLIED = (b"stripe-proxy-applied", b"false")
_ERROR = "Stripe-Proxy-Error"
_API = "api.stripe.com"
_FORM_BYTES_MAX = 1_000_000
_MAY_NOT_KNOW = frozenset({401, 403, 404})  # the statuses that a key is refused with
_SETTLE_SECONDS = 0.5  # how often what is to be read again is looked for
_SYNC_SECONDS = 10.0  # how long it is believed whose tables these are
_PATIENCE_SECONDS = 1.0  # how long a request waits for it to be read anew
_STORED_BYTES_MAX = 32_000_000  # an answer that is longer passes as a stream
_THREADS = 32  # that make changes of answers, and may have to wait for Stripe
_PIECE = 125  # changes of a read that are stored at a time at most, so that a write does not wait for a long list

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
        self._ties = Ties()
        self._callers = Callers(api_key=settings.api_key, ask=self._ask_account)
        self._sync: Sync | None = None
        self._sync_read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._nobodys = ""
        self._strange_key_told = False
        self._threads = ThreadPoolExecutor(_THREADS, "changes")

    async def open(self) -> None:
        """Begin."""
        self._upstream = Upstream(timeout_seconds=self._settings.upstream_timeout_seconds)
        self._writer.start()
        self._settling = asyncio.create_task(self._settle_ties())
        if self._following is not None:
            await self._following.open()

    async def close(self) -> None:
        """End, when what was answered is stored."""
        if self._following is not None:
            await self._following.close()
        self._settling.cancel()
        await self._upstream.close()
        self._pages.close()
        self._threads.shutdown(wait=False)
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
        host, path = _addressed(scope["raw_path"].decode("latin-1"))
        base = self._settings.hosts.get(host)
        caller = Caller(receive=receive, send=send)
        if base is None:
            await caller.fail(UnknownHostError(host=host or "no host", known=_API))
            return
        try:
            passed = Passed(
                method=scope["method"],
                path=path,
                query=scope["query_string"].decode("latin-1"),
                headers=scope["headers"],
            )
            await self._pass_on(base, passed, caller)
        except ForwardError as error:
            await caller.fail(error)
        except CallerGoneError:
            logger.info("a caller has gone before the request was there whole")
        except Exception as error:  # noqa: BLE001 - the caller is told what that means for the request
            logger.error("%s", place(error))  # noqa: TRY400 - without what it says
            await caller.fail(FailedError(reason=type(error).__name__))

    # To Stripe and back

    async def _pass_on(self, base: str, passed: Passed, caller: Caller) -> None:
        began, asked_at = self._stripe_clock.estimate(), time.monotonic()
        body, form = await _body(passed, caller)
        url = f"{base}{passed.path}" + (f"?{passed.query}" if passed.query else "")
        async with self._upstream.request(passed.method, url, passed.headers, body) as response:
            date = self._heard(response, asked_at)
            headers = to_caller(response.raw_headers, response.status)
            kind = response.headers.get("Content-Type", "")
            may_be_stored = may_hold_objects(passed.method, passed.path, response.status, kind)
            content, is_whole = await beginning(response, _STORED_BYTES_MAX) if may_be_stored else (b"", False)
            if not is_whole:
                if may_be_stored:
                    logger.warning("an answer has more than %d bytes: it is not stored", _STORED_BYTES_MAX)
                    headers.append(NOT_APPLIED)
                await caller.start(response.status, headers)
                await caller.give(content)
                async for chunk in response.content.iter_any():
                    await caller.give(chunk)
                await caller.end()
                return
        if not await self._is_stored(passed, form, response.status, headers, content, began=began, dated=date):
            headers.append(NOT_APPLIED)
        await caller.start(response.status, headers)
        await caller.end(content)

    async def _is_stored(self, passed: Passed, *what: Any, **when: Any) -> bool:
        """Have in Postgres what an answer holds; return whether it is there.

        Whatever goes wrong, Stripe has answered, and the caller gets that.
        """
        try:
            async with asyncio.timeout(self._settings.apply_timeout_seconds):
                await self._store(passed, *what, **when)
        except TimeoutError:
            why = "Postgres or Stripe takes too long"
        except (NotAppliedError, TapError, ForwardError) as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 - see above
            why = place(error)
        else:
            return True
        logger.warning("%s %s: %s", passed.method, passed.path.split("/")[1:3], why)
        return False

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
        subject = await self._callers.subject(passed.headers, sync)
        if subject.relation is Relation.OTHER:
            return
        found = answered(
            text,
            method=passed.method,
            path=passed.path,
            query=passed.query,
            form=form,
            status=status,
            version=header(headers, b"stripe-version"),
            replayed=header(headers, b"idempotent-replayed") == "true" or subject.relation is Relation.UNKNOWN,
            dated=dated if dated is not None else self._stripe_clock.second(),
            began=began,
        )
        await self._apply(replace(found, account_id=subject.account_id), sync)

    async def _apply(self, found: Answered, sync: Sync, *, tries: int = 0) -> None:
        """Have in Postgres what an answer says.

        Raises:
            NotAppliedError, TapError: It is not there.
        """
        account = found.account_id or sync.account_id
        writes = Writes(
            client=await self._own_client(sync),
            api_version=self._settings.api_version,
            account_id=account or "self",
            connected=None if account == sync.account_id else account,
            several=bool(sync.accounts),
            selected=stored_types(sync.streams),
        )
        changes = await asyncio.get_running_loop().run_in_executor(self._threads, writes.changes, found)
        pieces = max(-(-len(changes) // _PIECE), 1) if found.is_read else 1
        size = max(-(-len(changes) // pieces), 1)
        loop = asyncio.get_running_loop()

        def on_tie() -> None:  # also when nobody waits any more
            loop.call_soon_threadsafe(lambda: self._ties.note(found, time.monotonic(), tries=tries))

        may_tie = not found.is_read and self._client is not None  # a read is not worth another one
        for begin in range(0, len(changes), size):
            await asyncio.wrap_future(self._writer.store(changes[begin : begin + size], on_tie if may_tie else None))

    async def _own_client(self, sync: Sync) -> StripeClient | None:
        """Return the way to Stripe with the sync's own key; None if there is none, or it is of another account."""
        if self._client is None:
            return None
        if await self._callers.own_key_fits(sync):
            return self._client
        if not self._strange_key_told:
            self._strange_key_told = True
            logger.warning("api_key is not used: it is a key of another account or mode than the tables are of")
        return None

    async def _settle_ties(self) -> None:
        """Read again what was tied, when its second has passed."""
        while True:
            await asyncio.sleep(_SETTLE_SECONDS)
            for found, tries in list(self._ties.due(time.monotonic())):
                try:
                    async with asyncio.timeout(self._settings.apply_timeout_seconds):
                        await self._apply(found, await self._whose(), tries=tries)
                except Exception as error:  # noqa: BLE001 - nobody waits for it, and it is tried again
                    logger.info("reading again %s: %s", found.path.split("/")[1:3], place(error))
                    self._ties.note(found, time.monotonic(), tries=tries)

    async def _whose(self) -> Sync:
        """Return whose tables these are.

        Raises:
            NotAppliedError: Nobody's yet, or it cannot be read.
        """
        due = asyncio.get_running_loop().time() - self._sync_read_at >= _SYNC_SECONDS
        if self._sync is None or due:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read_sync())
            await asyncio.wait({self._reading}, timeout=None if self._sync is None else _PATIENCE_SECONDS)
        if self._sync is None:
            raise NotAppliedError(reason=self._nobodys)
        return self._sync

    async def _read_sync(self) -> None:
        """Read whose tables these are; while it cannot be read, what was known last is believed."""
        try:
            self._sync = await asyncio.to_thread(self._database.sync)
            self._nobodys = "no sync has run into this schema yet, so that it is nobody's"
        except (psycopg.Error, TargetError) as error:
            self._nobodys = f"Postgres is away ({type(error).__name__})"
        self._sync_read_at = asyncio.get_running_loop().time()

    def _heard(self, response: aiohttp.ClientResponse, asked_at: float) -> int | None:
        """Take in when Stripe dated an answer; what stands in between may have another clock, and no `Request-Id`."""
        if not response.ok and "Request-Id" not in response.headers:
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
        identifier = found.get("id") if isinstance(found, dict) and found.get("object") == "account" else None
        if not isinstance(identifier, str):
            raise NotAppliedError(reason=f"Stripe does not say whose key it is (status {response.status})")
        return identifier


class Caller:
    """The one who sent a request: gives its body, and takes the answer."""

    def __init__(self, *, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._has_started = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the request's body.

        Raises:
            CallerGoneError: It is not there whole, and will not be.
        """
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise CallerGoneError
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the answer's status and headers."""
        self._has_started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def give(self, chunk: bytes) -> None:
        """Send a piece of its body."""
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, chunk: bytes = b"") -> None:
        """Send the last piece."""
        await self._send({"type": "http.response.body", "body": chunk})

    async def fail(self, error: ForwardError) -> None:
        """Send an error of the proxy's own; where an answer has begun, it breaks off instead."""
        if self._has_started:
            logger.warning("an answer broke off: %s", error)
            return
        body = json.dumps(error_body(str(error), error.code), indent=2).encode() + b"\n"
        await _answer(self._send, Reply(status=error.status, body=body, headers={_ERROR: error.code}))


async def _body(passed: Passed, caller: Caller) -> tuple[bytes | AsyncIterator[bytes] | None, str]:
    """Return a request's body, as a stream unless it is a small form, and the form."""
    length, coding = header(passed.headers, b"content-length"), header(passed.headers, b"transfer-encoding")
    if coding is None and length in {None, "0"}:
        return (None if length is None else b""), ""
    kind = (header(passed.headers, b"content-type") or "").split(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded" and length is not None and int(length) <= _FORM_BYTES_MAX:
        form = b"".join([chunk async for chunk in caller.chunks()])
        return form, form.decode("latin-1")
    return caller.chunks(), ""


def place(error: Exception) -> str:
    """Return what an error is and where in the code it came up; what it says may be a customer's."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {frame.name} ({frame.filename.rpartition('/')[2]}:{frame.lineno})"


def _addressed(path: str) -> tuple[str, str]:
    """Return the host that a path names and the path there.

    Some clients take a host, but no path before their own: a path of the API's alone is the API's.
    """
    first, _, rest = path.removeprefix("/").partition("/")
    return (_API, path) if first in {"v1", "v2"} else (first, f"/{rest}")


async def _answer(send: Send, reply: Reply, *, bodiless: bool = False) -> None:
    given = {"Content-Type": reply.kind, "Content-Length": str(len(reply.body)), **reply.headers}
    headers = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if bodiless else reply.body})
