"""Callers that go away, dawdle, or send what nobody should; many at once; and the proxy being told to stop."""

import contextlib
import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fix_upstream import LONGEST_SECONDS, talk
from proxy_service import proxy_process

from tap_stripe_events.object_table import API_VERSION

GET = b"GET /api.stripe.com/v1/x HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\nAuthorization: Bearer sk_test_sandbox\r\n"
MEGABYTE = 1_000_000


def customer(identifier):
    """Stripe's answer to a customer's creation."""
    body = json.dumps({"id": identifier, "object": "customer", "livemode": False}).encode()
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Tue, 24 Nov 2026 10:00:00 GMT\r\n"
        b"Stripe-Version: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (API_VERSION.encode(), len(body))
    ) + body


@pytest.fixture
def upstream(upstream):
    upstream.answer = OK
    return upstream


@pytest.fixture
def proxy(upstream, claim, make_proxy):
    claim("acct_1")
    return make_proxy(upstream)


def connected(proxy):
    parts = urlsplit(proxy)
    return socket.create_connection((parts.hostname, parts.port), LONGEST_SECONDS)


def until(connection, end):
    """Read an answer up to its end."""
    received = b""
    while not received.endswith(end):
        chunk = connection.recv(1000)
        assert chunk, received
        received += chunk
    return received


def eventually(holds):
    deadline = time.monotonic() + LONGEST_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Going away


def test_a_request_that_is_not_there_whole_is_not_performed(upstream, proxy):
    head = b"POST /api.stripe.com/v1/customers HTTP/1.1\r\nHost: p\r\n" + FORM + b"Content-Length: 100\r\n\r\nname="
    with connected(proxy) as connection:
        connection.sendall(head)
    talk(proxy, GET)
    assert [each.split()[1] for each in upstream.requests] == [b"/v1/x"]


def test_a_write_is_stored_although_its_caller_has_gone(upstream, proxy, rows):
    head = b"POST /api.stripe.com/v1/customers HTTP/1.1\r\nHost: p\r\nConnection: close\r\n" + FORM
    upstream.answer = customer("cus_there")
    talk(proxy, head + b"Content-Length: 0\r\n\r\n")
    upstream.answer, upstream.delay_seconds = customer("cus_gone"), 0.3
    with connected(proxy) as connection:
        connection.sendall(head + b"Content-Length: 0\r\n\r\n")
        eventually(lambda: len(upstream.requests) == 2)
    eventually(lambda: {("cus_there",), ("cus_gone",)} == {*rows("SELECT id FROM stripe.customer")})


def test_an_upload_that_is_given_up_breaks_off_at_stripe_too(upstream, proxy):
    head = b"POST /files.stripe.com/v1/files HTTP/1.1\r\nHost: p\r\nContent-Type: multipart/form-data\r\n"
    with connected(proxy) as connection:
        connection.sendall(head + b"Content-Length: 3000000\r\n\r\n" + b"a" * MEGABYTE)
        eventually(lambda: upstream.connections)
    eventually(lambda: upstream.requests)  # its connection has ended
    (received,) = upstream.requests
    assert len(received) < 2 * MEGABYTE


def test_a_caller_that_goes_while_he_is_answered_harms_nobody(upstream, proxy):
    upstream.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + b"a" * 50 * MEGABYTE
    with connected(proxy) as connection:
        connection.sendall(GET)
        connection.recv(1000)
    upstream.answer = OK
    assert talk(proxy, GET).endswith(b"ok")


# Dawdling


def test_a_request_in_drops_arrives_whole(upstream, proxy):
    request = b"POST /api.stripe.com/v1/customers HTTP/1.1\r\nHost: p\r\n" + FORM + b"Content-Length: 6\r\n\r\nname=x"
    with connected(proxy) as connection:
        for begin in range(0, len(request), 9):
            connection.sendall(request[begin : begin + 9])
            time.sleep(0.01)
        assert until(connection, b"ok")
    assert upstream.requests[0].endswith(b"\r\n\r\nname=x")


def test_a_caller_that_asks_first_is_told_to_go_on(upstream, proxy):
    head = b"POST /files.stripe.com/v1/files HTTP/1.1\r\nHost: p\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    with connected(proxy) as connection:
        connection.sendall(head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"body")
        assert until(connection, b"ok")
    assert b"xpect" not in upstream.requests[0]
    assert upstream.requests[0].endswith(b"\r\n\r\nbody")


def test_a_connection_that_rests_for_some_seconds_can_be_used_again(upstream, proxy):
    """Else it is closed when a request is on its way to it, and nobody knows whether Stripe has performed that."""
    request = b"GET /api.stripe.com/v1/x HTTP/1.1\r\nHost: p\r\n\r\n"
    with connected(proxy) as connection:
        connection.sendall(request)
        until(connection, b"ok")
        time.sleep(6)
        connection.sendall(request)
        until(connection, b"ok")


# Many


def test_requests_one_after_the_other_without_waiting_are_answered_in_order(upstream, proxy):
    upstream.takes = 9
    targets = [b"/v1/%d" % number for number in range(8)]
    sent = b"".join(b"GET /api.stripe.com%s HTTP/1.1\r\nHost: p\r\n\r\n" % each for each in targets)
    assert talk(proxy, sent + GET).count(b"HTTP/1.1 200 OK") == 9
    assert [each.split()[1] for each in upstream.requests] == [*targets, b"/v1/x"]


def test_500_at_once_are_answered(upstream, proxy):
    upstream.delay_seconds = 0.2
    with ThreadPoolExecutor(500) as pool:
        answers = list(pool.map(lambda _: talk(proxy, GET, wait_seconds=30), range(500)))
    assert all(each.endswith(b"ok") for each in answers)
    assert len(upstream.requests) == 500


# What nobody should send


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        (b"//v1//x", b"//v1//x"),
        (b"/v1/../../etc/passwd", b"/v1/../../etc/passwd"),
        (b"/v1/%2e%2e%2F%00%zz%", b"/v1/%2e%2e%2F%00%zz%"),
        (b"/v1/x?a=b?c=d&e[]=[f]", b"/v1/x?a=b?c=d&e[]=[f]"),
        (b"/v1/" + b"a" * 60_000, b"/v1/" + b"a" * 60_000),
        (b"/v1/x?" + b"a=b&" * 12_000, b"/v1/x?" + b"a=b&" * 12_000),
        (b"", b"/"),
    ],
)
def test_an_odd_target_arrives_as_it_was_sent(upstream, proxy, target, arrives):
    assert talk(proxy, GET.replace(b"/v1/x", target)).endswith(b"ok")
    assert upstream.requests[0].split(b"\r\n")[0] == b"GET " + arrives + b" HTTP/1.1"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"CONNECT api.stripe.com:443 HTTP/1.1\r\nHost: api.stripe.com:443\r\n\r\n",
        b"GET http://evil.example/x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET /evil.example HTTP/1.1\r\nHost: api.stripe.com\r\nConnection: close\r\n\r\n",
        b"GET /api.stripe.com@evil.example/v1 HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n",
        b"GET /api.stripe.com:80@evil.example/v1 HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n",
        b"GET /api.stripe.com/v1/\xc3\xbc HTTP/1.1\r\nHost: p\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /api.stripe.com/v1/x HTTP/1.1\r\nHost: p\r\nContent-Length: -1\r\n\r\n",
        b"POST /api.stripe.com/v1/x HTTP/1.1\r\nHost: p\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        (
            b"POST /api.stripe.com/v1/x HTTP/1.1\r\nHost: p\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /api.stripe.com/v1/smuggled HTTP/1.1\r\nHost: p\r\n\r\n"
        ),
        b"GET /api.stripe.com/v1/x HTTP/1.1\r\nHost: p\r\nBad Header: x\r\nConnection: close\r\n\r\n",
        b"GET /api.stripe.com/v1/x HTTP/1.1\r\nHost: p\r\nX: a\rb: c\r\nConnection: close\r\n\r\n",
        b"GET /api.stripe.com/v1/x HTTP/1.1\r\nHost: p\r\nX: a\x00b\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_is_no_request_to_stripe_reaches_nobody(upstream, proxy, request_bytes):
    answer = talk(proxy, request_bytes)
    assert answer.split(b" ", 2)[1] in {b"400", b"404"}
    assert upstream.requests == []
    assert b"ok" not in answer


def test_a_header_cannot_bring_another_one(upstream, proxy):
    """Of a control character that the parser lets pass, nothing comes of it but an error."""
    for value in (b"a\x0bb", b"a\x7fb", b"\xff\xfe", b"a\tb", b"x" * 100_000):
        upstream.requests.clear()
        talk(proxy, b"GET /api.stripe.com/v1/x HTTP/1.1\r\nHost: p\r\nX: " + value + b"\r\nConnection: close\r\n\r\n")
        for request in upstream.requests:
            names = [line.partition(b":")[0].lower() for line in request.split(b"\r\n")[1:] if line]
            assert sorted(names) == [b"host", b"x"]


# A process of its own


class Counting:
    """An upstream that counts what it is sent, keeps nothing, and answers with so many megabytes."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.received = 0
        self.megabytes = 0
        self.kind = b"text/csv"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    self._talk(connection)

    def _talk(self, connection):
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        head, _, body = received.lower().partition(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
        self.received = len(body)
        while self.received < length:
            self.received += len(connection.recv(MEGABYTE))
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: " + self.kind + b"\r\n\r\n")
        for _ in range(self.megabytes):
            connection.sendall(b" " * MEGABYTE)

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def counting():
    upstream = Counting()
    yield upstream
    upstream.close()


def peak_of(process):
    """The most memory that a process has held, in bytes."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def received_of(url, request):
    """How many bytes the answer to a request has."""
    count = 0
    with connected(url) as connection:
        connection.sendall(request)
        while chunk := connection.recv(MEGABYTE):
            count += len(chunk)
    return count


def test_what_streams_takes_no_memory(counting, database):
    """200 MB down, as a file and as JSON that is too long to be stored, and 100 MB up."""
    with proxy_process(database_url=database, api_url=counting.url, files_url=counting.url) as (url, process):
        received_of(url, GET)
        before = peak_of(process)
        counting.megabytes = 200
        assert received_of(url, GET) > 200 * MEGABYTE
        assert peak_of(process) - before < 30 * MEGABYTE
        counting.megabytes = 0
        head = (
            b"POST /files.stripe.com/v1/files HTTP/1.1\r\nHost: p\r\nConnection: close\r\nContent-Length: 100000000\r\n"
        )
        received_of(url, head + b"\r\n" + b"a" * 100 * MEGABYTE)
        assert counting.received == 100 * MEGABYTE
        assert peak_of(process) - before < 30 * MEGABYTE
        counting.megabytes, counting.kind = 200, b"application/json"
        assert received_of(url, GET) > 200 * MEGABYTE
        assert peak_of(process) - before < 150 * MEGABYTE


def test_what_is_under_way_ends_before_the_proxy_does(upstream, claim, database, rows):
    claim("acct_1")
    upstream.answer, upstream.delay_seconds = customer("cus_last"), 1.0
    with (
        proxy_process(database_url=database, api_url=upstream.url, api_key="sk_test_sandbox") as (url, process),
        ThreadPoolExecutor(1) as pool,
    ):
        head = b"POST /api.stripe.com/v1/customers HTTP/1.1\r\nHost: p\r\n" + FORM + b"Content-Length: 0\r\n\r\n"
        answer = pool.submit(talk, url, head)
        eventually(lambda: upstream.requests)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        with pytest.raises(ConnectionRefusedError):
            talk(url, GET)
        assert b"cus_last" in answer.result()
        assert b"stripe-proxy-applied" not in answer.result()
        assert process.wait(LONGEST_SECONDS) in {0, -signal.SIGTERM}
    assert rows("SELECT id FROM stripe.customer") == [("cus_last",)]
