"""Whatever Stripe's answer holds, the caller gets it byte for byte, and nothing of it can break the proxy."""

import pytest
import requests

from stripe_proxy.written import Writes
from tap_stripe_events.object_table import API_VERSION

ODD = [
    *(b"", b" ", b"null", b"true", b"1", b'"text"', b"[]", b"{}", b"[[[]]]", b"{", b"nonsense"),
    *(b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00"),
    *(b'{"object": null}', b'{"object": 5}', b'{"object": ["customer"]}', b'{"object": {"a": 1}}'),
    *(b'{"object": "balance"}', b'{"object": "capability", "id": "transfers"}', b'{"object": "unheard_of"}'),
    b'{"object": "cash_balance", "customer": null}',
    b'{"object": "customer"}',
    *(b'{"object": "customer", "id": %b}' % key for key in (b"null", b"7", b'["cus_1"]', b'""', b'"cus_\xff"')),
    *(b'{"object": "list"}', b'{"object": "list", "data": null}', b'{"object": "list", "data": {}}'),
    b'{"object": "list", "data": [null, 1, "x", [], {}, {"object": 1}, {"object": [], "id": "x"}]}',
    b'{"object": "customer", "id": "cus_1", "subscriptions": {"object": "list", "data": {}}}',
    b'{"object": "customer", "id": "cus_1", "subscriptions": {"object": "list", "data": [1, {"object": "x"}]}}',
    b'{"object": "customer", "id": "cus_1", "created": 1e400, "balance": 1.5e3, "name": 5, "metadata": []}',
    b'{"object": "customer", "id": "cus_1", "balance": 123456789012345678901234567890, "created": -1}',
    b'{"object": "customer", "id": "cus_1", "name": "\\u0000 \\ud800", "metadata": {"\\u0000": "\\u0000"}}',
    b'{"object": "customer", "id": "cus_1", "id": "cus_2", "name": "twice"}',
    b'{"object": "customer", "id": "cus_1", "name": NaN}',
    b'{"object": "customer", "id": "cus_1", "deleted": true}',
    b'{"object": "customer", "id": "cus_1", "deleted": "yes"}',
    b'{"object": "customer", "id": "cus_1", "deep": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    b'{"object": "customer", "id": "cus_1", "name": "' + b"x" * 2_000_000 + b'"}',
    b'\r\n {"object" :\t"customer","id":"cus_1","balance":1.0}\n\n',
    *(b'{"error": null}', b'{"error": []}', b'{"error": {"payment_intent": {"object": "payment_intent"}}}'),
    b'{"error": {"payment_intent": {"object": ["payment_intent"], "id": "pi_1"}, "code": "card_declined"}}',
]
EXPANDED = (
    "?expand[]=object&expand[]=a..b&expand[]=&expand[0]=subscriptions.data.items&expand[]=data.customer&expand[x]=y"
)


@pytest.fixture
def proxy(upstream, sandbox, claim, make_proxy):
    claim(sandbox.account.id)
    return make_proxy(upstream, api_key="sk_test_x")


def ask(upstream, proxy, body, *, method="GET", status=200, version=None):
    head = b"HTTP/1.1 %d Odd\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % (status, len(body))
    told = b"" if version is None else b"Stripe-Version: %b\r\n" % version.encode()
    upstream.answer = head + told + b"Connection: close\r\n\r\n" + body
    url = f"{proxy}/api.stripe.com/v1/customers{EXPANDED}"
    return requests.request(method, url, auth=("sk_test_x", ""), timeout=20)


@pytest.mark.parametrize("status", [200, 402])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_odd_answer_comes_back_as_it_is(upstream, proxy, method, status):
    wrong = []
    for body in ODD:
        for version in ("2020-08-27", API_VERSION, None):
            answer = ask(upstream, proxy, body, method=method, status=status, version=version)
            if (answer.status_code, answer.content) != (status, body):
                wrong.append((body[:100], version, answer.status_code, answer.content[:100]))
    assert wrong == []


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("body", [b'{"object": "unheard_of", "id": "x"}', b"{}", b'{"object": "list", "data": []}'])
def test_an_answer_that_holds_nothing_for_the_tables_is_none_that_was_not_stored(upstream, proxy, method, body):
    answer = ask(upstream, proxy, body, method=method, version=API_VERSION)
    assert (answer.content, answer.headers.get("Stripe-Proxy-Applied")) == (body, None)


def test_the_log_says_where_something_went_wrong_and_not_what_it_was_about(upstream, proxy, caplog, monkeypatch):
    def go_wrong(_, found):
        raise TypeError(found.body["name"])

    monkeypatch.setattr(Writes, "changes", go_wrong)
    body = b'{"object": "customer", "id": "cus_1", "name": "Jane"}'
    answer = ask(upstream, proxy, body, version=API_VERSION)
    assert (answer.content, answer.headers["Stripe-Proxy-Applied"]) == (body, "false")
    assert "TypeError in go_wrong" in caplog.text
    assert "Jane" not in caplog.text


def test_what_a_search_finds_is_stored(upstream, proxy, rows):
    found = b'{"object": "search_result", "data": [{"object": "customer", "id": "cus_s", "email": "s@example.com"}]}'
    assert ask(upstream, proxy, found, version=API_VERSION).content == found
    assert rows("SELECT id, email FROM stripe.customer") == [("cus_s", "s@example.com")]
