"""Pairs of a request and Stripe's answer: recorded from a sandbox, kept as lines of JSON, and played back.

``Recorder`` is a transport of the official library that keeps what goes over the wire. ``Replayer`` is a Stripe that
answers the recorded bytes; what it is asked beside the pair that is due (the proxy reads again) a sandbox answers.
``send`` makes the recorded request again. Bodies are as on the wire, so maybe compressed; a sandbox never compresses,
so the recorder does it in turns, and cuts some bodies into chunks.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import threading
import zlib
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlsplit

import stripe
from library_walk import Outcome, Walk, outcome

from stripe_sandbox.old_versions import as_of_version
from stripe_sandbox.rendering import pretty

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from addresses import Address
    from official_library import Call

    from stripe_sandbox.sandbox import Sandbox

TIMEOUT_SECONDS = 20
CHUNK_SIZES = (333, 65_536)
OF_THE_LIBRARY = "x-stripe-client-user-agent"
"""A header that only the official libraries send: what comes without it the proxy asks for itself."""

PER_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "host"}

Headers = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A request and its answer.

    Attributes:
        method: The request's method.
        target: Its path and query, as sent.
        headers: Its headers, in order.
        sent: Its body.
        status: The answer's status.
        answer_headers: Its headers, in order, without those of the connection.
        answer: Its body, as on the wire.
        chunk_size: How the body is cut into chunks; 0: it is not, and its length is told.
    """

    method: str
    target: str
    headers: Headers
    sent: bytes
    status: int
    answer_headers: Headers
    answer: bytes
    chunk_size: int = 0

    @property
    def body(self) -> Any:
        """The answer's JSON."""
        named = {name.lower(): value for name, value in self.answer_headers}
        plain = zlib.decompress(self.answer, zlib.MAX_WBITS | 32) if "content-encoding" in named else self.answer
        return json.loads(plain, parse_float=Decimal)

    @property
    def expanded(self) -> frozenset[str]:
        """The fields that the request had expanded, without ``data.``."""
        pairs = [*parse_qsl(urlsplit(self.target).query), *parse_qsl(self.sent.decode("latin-1"))]
        return frozenset(value.removeprefix("data.") for name, value in pairs if name.startswith("expand["))


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Keep pairs in a file."""
    with path.open("w", encoding="utf-8") as file:
        for pair in pairs:
            texts = {name: base64.b64encode(getattr(pair, name)).decode() for name in ("sent", "answer")}
            file.write(json.dumps(asdict(pair) | texts) + "\n")


def read_pairs(path: Path) -> Iterator[Pair]:
    """Read them from there."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            told = json.loads(line)
            told |= {name: base64.b64decode(told[name]) for name in ("sent", "answer")}
            told |= {name: [(one, other) for one, other in told[name]] for name in ("headers", "answer_headers")}
            yield Pair(**told)


class Recorder(stripe.HTTPClient):
    """A transport that keeps what is sent and answered in ``pairs``."""

    name = "recorder"

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[Pair] = []

    def request(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None, **_: Any
    ) -> tuple[str, int, Any]:
        """Send a request, keep the pair, and give the library its answer."""
        at = urlsplit(url)
        target = at.path + (f"?{at.query}" if at.query else "")
        body = (post_data or "").encode() if isinstance(post_data, (str, type(None))) else post_data
        sent = [(name, str(value)) for name, value in headers.items()]
        if body or method.upper() != "GET":
            sent.append(("Content-Length", str(len(body))))
        status, answered, content = exchange(at.netloc, method.upper(), target, sent, body)
        self.pairs.append(
            Pair(method=method.upper(), target=target, headers=sent, sent=body, status=status,
                 answer_headers=[each for each in answered if each[0].lower() not in PER_CONNECTION], answer=content)
        )  # fmt: skip
        return content.decode(), status, {name.title(): value for name, value in answered}

    def close(self) -> None:
        """Each request has a connection of its own."""


class RecordedWalk(Walk):
    """Goes through the library's calls and records them."""

    def __init__(self, sandbox: Sandbox, *, version: str | None = None, key: str = "sk_test_sandbox") -> None:
        self._sandbox = sandbox
        self._recorder = Recorder()
        self.version = version
        self._client = stripe.StripeClient(
            key, base_addresses={"api": sandbox.url, "files": sandbox.url}, http_client=self._recorder,
            max_network_retries=0, stripe_version=version,
        )  # fmt: skip

    @property
    def sandbox(self) -> Sandbox:
        """The account."""
        return self._sandbox

    def let_a_second_pass(self) -> None:
        """On the account's clock."""
        self._sandbox.run(lambda: self._sandbox.account.clock.advance(1))

    def call(self, call: Call, address: Address, /, *, options: dict[str, Any] | None = None, **params: Any) -> Outcome:
        """Make a call."""
        return outcome(call, self._client, address, params, options or {})

    def pairs(self) -> list[Pair]:
        """What was recorded: bodies of an old version as it would have them, and in all kinds of coding."""
        found = self._recorder.pairs
        if self.version is not None:
            found = [_older(pair, self.version) for pair in found]
        return [_coded(pair, number) for number, pair in enumerate(found)]


def _older(pair: Pair, version: str) -> Pair:
    if pair.status != 200:
        return pair
    body = json.loads(pair.answer)
    if body.get("object") == "list":
        body["data"] = [as_of_version(each, version, _nothing) for each in body["data"]]
    elif not body.get("deleted"):
        body = as_of_version(body, version, _nothing)
    return _with_answer(pair, pretty(body))


def _nothing(*_: Any) -> None:
    """What an older version held whole is not looked up."""


def _coded(pair: Pair, number: int) -> Pair:
    codings = (None, None, "gzip", "deflate", "gzip")
    coding, sizes = codings[number % len(codings)], (0, *CHUNK_SIZES)
    if coding == "gzip":
        pair = _with_answer(pair, gzip.compress(pair.answer, mtime=0))
    elif coding == "deflate":
        pair = _with_answer(pair, zlib.compress(pair.answer))
    more = [("Content-Encoding", coding)] if coding else []
    accepted = [("Accept-Encoding", "gzip, deflate")] if coding else []
    chunk_size = sizes[number % len(sizes)]
    answered = [each for each in pair.answer_headers if not chunk_size or each[0].lower() != "content-length"]
    return replace(
        pair, headers=[*pair.headers, *accepted], answer_headers=[*answered, *more], chunk_size=chunk_size
    )  # fmt: skip


def _with_answer(pair: Pair, answer: bytes) -> Pair:
    headers = [(name, str(len(answer)) if name.lower() == "content-length" else value)
               for name, value in pair.answer_headers]  # fmt: skip
    return replace(pair, answer=answer, answer_headers=headers)


class Replayer:
    """A Stripe that answers ``due``, once; ``live``, a sandbox's address, answers what else it is asked.

    What arrived for each pair is in ``arrived``, the number of other questions in ``asked_again``.
    """

    def __init__(self, live: str) -> None:
        self.due: Pair | None = None
        self.arrived: list[tuple[str, str, Headers, bytes]] = []
        self.asked_again = 0
        self._live = urlsplit(live).netloc

    def __enter__(self) -> Self:
        replayer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                replayer.answer(self, body)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names that the class looks for

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer a request."""
        headers = list(handler.headers.items())
        pair = self.due
        if pair is not None and OF_THE_LIBRARY in {name.lower() for name, _ in headers}:
            self.due = None
            self.arrived.append((handler.command, handler.path, headers, body))
            status, answered, content, size = pair.status, pair.answer_headers, pair.answer, pair.chunk_size
        else:
            self.asked_again += 1
            passed = [each for each in headers if each[0].lower() not in PER_CONNECTION]
            status, answered, content = exchange(self._live, handler.command, handler.path, passed, body)
            answered = [each for each in answered if each[0].lower() not in PER_CONNECTION]
            size = 0
        lines = [f"{name}: {value}" for name, value in answered]
        if size:
            lines.append("Transfer-Encoding: chunked")
            pieces = [content[start : start + size] for start in range(0, len(content), size)]
            content = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"
        head = "\r\n".join([f"HTTP/1.1 {status} Recorded", *lines]) + "\r\n\r\n"
        handler.wfile.write(head.encode("latin-1") + content)


def send(proxy: str, pair: Pair) -> tuple[int, Headers, bytes]:
    """Make a recorded request through the proxy; the answer's status, headers and body, which is as it came."""
    return exchange(urlsplit(proxy).netloc, pair.method, f"/api.stripe.com{pair.target}", pair.headers, pair.sent)


def exchange(netloc: str, method: str, target: str, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
    """Make a request; the answer's status, headers and body, which is as it came but for chunks."""
    connection = http.client.HTTPConnection(netloc, timeout=TIMEOUT_SECONDS)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


def of_the_message(headers: Headers) -> Headers:
    """Headers with their names in lower case, in order, without those of the connection."""
    return [(name.lower(), value) for name, value in headers if name.lower() not in PER_CONNECTION]
