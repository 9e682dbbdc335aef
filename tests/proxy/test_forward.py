"""Requests go to Stripe and answers come back byte for byte, and to nobody else."""

import gzip
import json

import pytest
from fix_upstream import talk

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@pytest.fixture
def proxy(upstream, make_proxy):
    return make_proxy(upstream, upstream_timeout_seconds=1)


def sent(upstream, proxy, head, body=b""):
    """Send a request through the proxy; return the answer, and what has arrived."""
    answer = talk(proxy, head.replace(b"\n", b"\r\n") + b"Connection: close\r\n\r\n" + body)
    request = upstream.requests[-1] if upstream.requests else b""
    return answer, request


def headers_of(message):
    head, _, body = message.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return first, {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}, body


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/customers?expand[]=a&expand[0]=b&metadata[k]=%C3%BC&x=%2F+%20~",
        b"/v1/customers/cus%2F1//..%2e?q=a%26b&&=",
        b"/v1/charges/search?query=status%3A'succeeded'",
        b"/v2/core/events",
    ],
)
def test_a_path_and_its_query_arrive_as_they_were_sent(upstream, proxy, target):
    upstream.answer = OK
    _, request = sent(upstream, proxy, b"GET /api.stripe.com" + target + b" HTTP/1.1\nHost: proxy\n")
    assert request.split(b"\r\n")[0] == b"GET " + target + b" HTTP/1.1"


@pytest.mark.parametrize("target", [b"/v1/customers/cus%2F1?a[]=1", b"/v2/core/events"])
def test_a_path_of_the_api_alone_goes_there_too(upstream, proxy, target):
    """The Node library and the CLI take a host, but no path before their own."""
    upstream.answer = OK
    _, request = sent(upstream, proxy, b"GET " + target + b" HTTP/1.1\nHost: proxy\n")
    assert request.split(b"\r\n")[0] == b"GET " + target + b" HTTP/1.1"


def test_a_body_arrives_as_it_was_sent(upstream, proxy):
    upstream.answer = OK
    for body, kind in [
        (b"a[b]=1&c=%00%ff&" + "ü".encode() + bytes(range(256)), b"application/x-www-form-urlencoded"),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + bytes(range(256)) * 4000 + b"\r\n--x--\r\n",
         b"multipart/form-data; boundary=x"),
        (b"{}", b"application/json"),
    ]:  # fmt: skip
        head = b"POST /files.stripe.com/v1/files HTTP/1.1\nHost: proxy\nContent-Type: %s\nContent-Length: %d\n" % (
            kind, len(body),
        )  # fmt: skip
        _, request = sent(upstream, proxy, head, body)
        _, headers, received = headers_of(request)
        assert received == body
        assert headers[b"content-type"] == kind
        assert headers[b"content-length"] == str(len(body)).encode()


def test_headers_arrive_but_for_those_of_the_connection(upstream, proxy):
    upstream.answer = OK
    _, request = sent(
        upstream, proxy,
        b"GET /api.stripe.com/v1/x HTTP/1.1\nHost: proxy\nAuthorization: Bearer sk_test_x\nIdempotency-Key: \xc3\xbc\n"
        b'Stripe-Version: 2020-08-27\nStripe-Account: acct_1\nX-Stripe-Client-User-Agent: {"a": 1}\nTE: trailers\n'
        b"Accept-Encoding: gzip, br;q=1.0, zstd\nUser-Agent: Stripe/v1\n",
    )  # fmt: skip
    _, headers, _ = headers_of(request)
    assert headers == {
        b"host": upstream.url.removeprefix("http://").encode(),
        b"authorization": b"Bearer sk_test_x",
        b"idempotency-key": b"\xc3\xbc",
        b"stripe-version": b"2020-08-27",
        b"stripe-account": b"acct_1",
        b"x-stripe-client-user-agent": b'{"a": 1}',
        b"accept-encoding": b"gzip",
        b"user-agent": b"Stripe/v1",
    }


def test_an_answer_comes_back_as_it_was_sent(upstream, proxy):
    body = gzip.compress(b'{"object": "unknown", "n": 1.50}')
    upstream.answer = (
        b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nRequest-Id: req_1\r\n"
        b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nDate: Tue, 24 Nov 2026 10:00:00 GMT\r\nServer: nginx\r\n"
        b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n" % len(body)
    ) + body
    answer, _ = sent(upstream, proxy, b"POST /api.stripe.com/v1/x HTTP/1.1\nHost: proxy\nContent-Length: 0\n")
    first, headers, received = headers_of(answer)
    assert first == b"HTTP/1.1 201 Created"
    assert received == body
    assert answer.count(b"et-cookie: ") + answer.count(b"et-Cookie: ") == 2
    assert headers[b"request-id"] == b"req_1"
    assert headers[b"server"] == b"nginx"
    assert headers[b"date"] == b"Tue, 24 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 429, 500, 503])
def test_whatever_stripe_answers_the_caller_gets(upstream, proxy, status):
    upstream.answer = (
        b"HTTP/1.1 %d Odd\r\nContent-Type: text/html\r\nLocation: http://elsewhere/\r\nContent-Length: 4\r\n\r\n<b/>"
        % status
    )
    answer, _ = sent(upstream, proxy, b"GET /api.stripe.com/v1/x HTTP/1.1\nHost: proxy\n")
    first, headers, body = headers_of(answer)
    assert first.split()[1] == str(status).encode()
    assert (body, headers[b"location"]) == (b"<b/>", b"http://elsewhere/")
    assert len(upstream.requests) == 1


def test_what_is_no_json_streams(upstream, proxy):
    upstream.answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 3000000\r\n\r\n" + b"a" * 3_000_000
    answer, _ = sent(upstream, proxy, b"GET /files.stripe.com/v1/files/f/contents HTTP/1.1\nHost: proxy\n")
    assert headers_of(answer)[2] == b"a" * 3_000_000


# Errors of the proxy's own


def error_of(answer):
    first, headers, body = headers_of(answer)
    error = json.loads(body)["error"]
    assert headers[b"stripe-proxy-error"] == error["code"].encode()
    assert error["type"] == "api_error"
    return int(first.split()[1]), error


@pytest.mark.parametrize("target", [b"/evil.example/v1/x", b"/api.stripe.com.evil.example/v1", b"/http://evil/"])
def test_it_is_no_open_relay(upstream, proxy, target):
    answer, request = sent(upstream, proxy, b"GET " + target + b" HTTP/1.1\nHost: proxy\n")
    status, error = error_of(answer)
    assert (status, request) == (404, b"")
    assert "api.stripe.com" in error["message"]


def test_a_stripe_that_does_not_answer_in_time_is_a_504(upstream, proxy):
    upstream.delay_seconds = 3
    answer, _ = sent(upstream, proxy, b"GET /api.stripe.com/v1/x HTTP/1.1\nHost: proxy\n")
    status, error = error_of(answer)
    assert status == 504
    assert "Idempotency-Key" in error["message"]


def test_a_stripe_that_cannot_be_reached_is_a_502(make_proxy, upstream):
    upstream.close()
    answer = talk(make_proxy(upstream), b"GET /api.stripe.com/v1/x HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n")
    assert error_of(answer)[0] == 502


def test_an_answer_that_breaks_off_before_it_began_is_a_502(upstream, proxy):
    upstream.answer = b""
    answer, _ = sent(upstream, proxy, b"POST /api.stripe.com/v1/x HTTP/1.1\nHost: proxy\nContent-Length: 0\n")
    assert error_of(answer)[0] == 502
    assert len(upstream.requests) == 1  # it may have been performed, so it is not sent again


def test_json_that_breaks_off_is_a_502_and_not_half_an_answer(upstream, proxy):
    upstream.answer = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"id": '
    answer, _ = sent(upstream, proxy, b"GET /api.stripe.com/v1/x HTTP/1.1\nHost: proxy\n")
    assert error_of(answer)[0] == 502
