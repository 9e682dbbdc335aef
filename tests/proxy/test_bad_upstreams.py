"""Whatever Stripe, or what stands between, sends or fails to send: the caller learns the truth, in bounded time."""

import gzip
import json
import re
import time
from pathlib import Path

import pytest
from fix_upstream import talk

from tap_stripe_events.object_table import API_VERSION

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CSV = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n"
GET = b"GET /api.stripe.com/v1/x HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n"
MEGABYTE = 1_000_000


@pytest.fixture
def proxy(upstream, make_proxy):
    return make_proxy(upstream, upstream_timeout_seconds=1, apply_timeout_seconds=2)


def parts(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return int(first.split()[1]), {k.lower(): v for k, _, v in (line.partition(b": ") for line in lines)}, body


def test_an_answer_in_drops_arrives_whole(upstream, proxy):
    whole = JSON + b'Content-Length: 20\r\n\r\n{"object": "a", "b"}'
    upstream.answer, upstream.pause_seconds = [whole[i : i + 4] for i in range(0, len(whole), 4)], 0.005
    status, headers, body = parts(talk(proxy, GET))
    assert (status, body) == (200, whole[-20:])
    assert headers[b"stripe-proxy-applied"] == b"false"  # it is no JSON


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Type: appl",
        b"HTTP/1.1 200 OK\r\nX: y\r\n",
        JSON + b"Content-Length: 9\r\n\r\n{",
    ],
)
def test_an_answer_that_stops_is_a_504(upstream, proxy, begun):
    upstream.answer, upstream.pause_seconds = [begun, b""], 2
    began = time.monotonic()
    status, headers, _ = parts(talk(proxy, GET))
    assert (status, headers[b"stripe-proxy-error"]) == (504, b"stripe_timeout")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n",
        JSON + b"Content-Length: -4\r\n\r\n{}",
        JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        JSON + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"id"\r\n',
        JSON + b'Content-Length: 50\r\n\r\n{"id": ',
    ],
)
def test_what_is_no_whole_answer_is_a_502(upstream, proxy, answer):
    upstream.answer = answer
    status, headers, _ = parts(talk(proxy, GET))
    assert (status, headers[b"stripe-proxy-error"]) == (502, b"stripe_unreachable")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 90\r\n\r\na,b\n", b"Transfer-Encoding: chunked\r\n\r\n4\r\na,b\n\r\n"]
)
def test_a_stream_that_breaks_off_does_so_for_the_caller_too(upstream, proxy, framing):
    upstream.answer = CSV + framing
    status, headers, body = parts(talk(proxy, GET))
    assert status == 200
    assert body == (b"4\r\na,b\n\r\n" if b"chunked" in framing else b"a,b\n")  # no last chunk, or fewer than announced
    assert b"stripe-proxy-error" not in headers


def test_large_headers_arrive(upstream, proxy):
    policy = b"default-src 'none'; " * 5_000
    many = b"".join(b"X-Number-%d: %d\r\n" % (number, number) for number in range(300))
    upstream.answer = JSON + b"Content-Security-Policy: " + policy + b"\r\n" + many + b"Content-Length: 2\r\n\r\n{}"
    status, headers, body = parts(talk(proxy, GET))
    assert (status, body) == (200, b"{}")
    assert headers[b"content-security-policy"].strip() == policy.strip()
    assert headers[b"x-number-299"] == b"299"


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"]
)
def test_what_comes_before_the_answer_is_not_the_answer(upstream, proxy, interim):
    upstream.answer = interim * 2 + JSON + b"Content-Length: 2\r\n\r\n{}"
    status, headers, body = parts(talk(proxy, GET))
    assert (status, body) == (200, b"{}")
    assert b"link" not in headers


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_never_has_a_body_ends_with_its_head(upstream, proxy, status):
    upstream.answer = b"HTTP/1.1 %d Odd\r\nContent-Length: 12\r\nRequest-Id: req_1\r\n\r\n" % status
    upstream.takes = 2
    answers = talk(proxy, GET.replace(b"Connection: close\r\n", b"") + GET)
    assert answers.count(b"HTTP/1.1 %d" % status) == 2
    assert answers.count(b"req_1") == 2
    assert b"500" not in answers


def test_a_head_request_has_the_length_and_no_body(upstream, proxy):
    upstream.answer = JSON + b"Content-Length: 4000\r\n\r\n"
    status, headers, body = parts(talk(proxy, GET.replace(b"GET", b"HEAD")))
    assert (status, headers[b"content-length"], body) == (200, b"4000", b"")


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"POST"])
def test_nothing_is_sent_twice_when_a_connection_that_was_used_closes(upstream, proxy, method):
    """The first answer leaves the connection open; on the second request it is closed without one."""
    upstream.takes = 2
    answers = iter([[JSON + b"Content-Length: 2\r\n\r\n{}"], []])

    class Answers:
        def __iter__(self):
            return iter(next(answers, [JSON + b"Content-Length: 2\r\n\r\n{}"]))

    upstream.answer = Answers()
    assert parts(talk(proxy, GET))[0] == 200
    request = (
        method + b" /api.stripe.com/v1/second HTTP/1.1\r\nHost: p\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert parts(talk(proxy, request))[0] == 502
    assert upstream.connections == 1  # else nothing is tested
    assert sum(b"/v1/second" in each for each in upstream.requests) == 1


def test_a_connection_that_was_closed_while_idle_is_not_used(upstream, proxy):
    upstream.answer = JSON + b"Content-Length: 2\r\n\r\n{}"
    for number in range(1, 4):
        assert parts(talk(proxy, GET))[0] == 200
        deadline = time.monotonic() + 5
        while upstream.closed < number:  # a request that meets the closing halfway is a 502, and rightly
            assert time.monotonic() < deadline
            time.sleep(0.001)
    assert len(upstream.requests) == 3


def test_tls_where_there_is_none_is_a_502(proxy, upstream, make_proxy):
    before_a_plain_port = make_proxy(upstream, api_url=proxy.replace("http:", "https:"))
    status, _, body = parts(talk(before_a_plain_port, GET))
    assert (status, "SSL" in json.loads(body)["error"]["message"]) == (502, True)


def test_a_host_without_an_address_is_a_502(upstream, make_proxy):
    proxy = make_proxy(upstream, api_url="http://stripe.invalid")
    status, _, body = parts(talk(proxy, GET))
    assert status == 502
    assert "stripe.invalid" in json.loads(body)["error"]["message"]


def test_a_compressed_body_that_was_cut_goes_back_as_it_is(upstream, proxy):
    body = gzip.compress(b'{"object": "customer", "id": "cus_1"}' * 100)[:-20]
    upstream.answer = JSON + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    status, headers, received = parts(talk(proxy, GET))
    assert (status, received, headers[b"stripe-proxy-applied"]) == (200, body, b"false")


def test_a_body_that_grows_without_end_is_not_unpacked(upstream, proxy):
    body = gzip.compress(b" " * 300 * MEGABYTE, 1)
    upstream.answer = JSON + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    before = peak_of_this_process()
    status, headers, received = parts(talk(proxy, GET))
    assert (status, headers[b"stripe-proxy-applied"]) == (200, b"false")
    assert received == body
    assert peak_of_this_process() - before < 280 * MEGABYTE


def peak_of_this_process():
    """The most that it has held, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


ODD_BODIES = [
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"7",
    b"NaN",
    b"\xef\xbb\xbf{}",
    b'{"object": "customer"',
    b'{"object": "customer", "id": "cus_1", "name": "\xff\xfe"}',
    b'{"object": ["customer"], "id": "cus_1"}',
    b'{"object": "customer"}',
    b'{"object": "customer", "id": 5}',
    b'{"object": "customer", "id": null, "deleted": true}',
    b'{"object": "customer", "id": {"id": "cus_1"}}',
    b'{"object": "customer", "id": "", "deleted": "yes"}',
    b'{"object": "customer", "id": "cus_1", "deleted": 1, "sources": 7, "tax_ids": {"object": "list"}}',
    b'{"object": "customer", "id": "cus_1", "sources": {"object": "list", "data": [null, 5, "x", {}, [], {"id": 7}]}}',
    b'{"object": "customer", "id": "cus_1", "created": "yesterday", "balance": 1e400, "livemode": "no"}',
    b'{"object": "customer", "id": "cus_1", "balance": 123456789012345678901234567890, "created": -1}',
    b'{"object": "customer", "id": "cus_\\u0000", "name": "\\ud800", "metadata": {"\\u0000": "\\udfff"}}',
    b'{"object": "customer", "id": "cus_1", "metadata": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    b"[" * 200_000,
    b'{"object": "list"}',
    b'{"object": "list", "data": null}',
    b'{"object": "list", "data": {"object": "customer"}}',
    b'{"object": "list", "data": [null, 5, "x", [], {}, {"object": "customer"}, {"object": 7}, {"id": "cus_1"}]}',
    b'{"object": "search_result", "data": [{"object": "list", "data": []}]}',
    b'{"object": "subscription", "id": "sub_1", "items": {"object": "list", "data": [{"object": "x"}], "has_more": 1}}',
    b'{"object": "invoice", "id": "in_1", "lines": [], "customer": ["cus_1"], "charge": {"object": "charge"}}',
    b'{"object": "event", "id": "evt_1", "data": null, "request": "req_1", "type": 5}',
    b'{"object": "account", "id": "acct_1", "external_accounts": {"data": 5}}',
    b'{"object": "balance", "available": {}}',
    b'{"object": "discount", "id": "di_1", "deleted": true, "customer": 5}',
    b'{"object": "' + b"x" * 100_000 + b'", "id": "x"}',
    b'{"object": "customer", "id": "' + b"x" * 100_000 + b'"}',
]


@pytest.mark.parametrize("status", [200, 402])
@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE"])
def test_an_odd_body_goes_back_as_it_is_and_stops_nothing(  # noqa: PLR0917 - fixtures
    upstream, claim, make_proxy, rows, caplog, method, status
):
    """What cannot be stored is said not to be; nothing goes wrong that nobody has thought of."""
    claim("acct_1")
    proxy = make_proxy(upstream)
    head = b"HTTP/1.1 %d Odd\r\nContent-Type: application/json\r\nDate: Tue, 24 Nov 2026 10:00:00 GMT\r\n" % status
    head += b"Connection: close\r\nStripe-Version: %s\r\nContent-Length: " % API_VERSION.encode()
    request = (
        b"%s /api.stripe.com/v1/customers/cus_1?expand[]=sources&expand[]=data.customer&expand[]=charge..x HTTP/1.1\r\n"
        b"Host: p\r\nAuthorization: Bearer sk_test_sandbox\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % method
    )
    for body in ODD_BODIES:
        whole = b'{"error": ' + body + b"}" if status == 402 else body
        for sent in {whole, b'{"error": {"x": ' + body + b"}}" if status == 402 else whole}:
            upstream.answer = head + b"%d\r\n\r\n" % len(sent) + sent
            answered, _, received = parts(talk(proxy, request))
            assert (answered, received) == (status, sent)
    unexpected = [each.getMessage() for each in caplog.records if re.search(r"Error in \w+ \(", each.getMessage())]
    assert unexpected == []
    good = b'{"object": "customer", "id": "cus_good"}'
    upstream.answer = head.replace(b"402", b"200") + b"%d\r\n\r\n" % len(good) + good
    assert b"stripe-proxy-applied" not in parts(talk(proxy, request))[1]
    assert rows("SELECT id FROM stripe.customer WHERE id = 'cus_good'") == [("cus_good",)]
