"""The proxy's own pages over HTTP."""

import pytest
import requests

TOKEN = "a-long-token"  # noqa: S105 - of this test alone


def get(proxy, path, **options):
    return requests.get(proxy + path, timeout=10, **options)


def test_the_page_is_html_that_may_load_nothing(proxy):
    answer = get(proxy, "/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "/api/wait/" in answer.text


def test_the_metrics_are_in_prometheus_format(proxy):
    answer = get(proxy, "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE" in answer.text


def test_before_any_sync_there_is_a_page_too(sandbox, make_proxy):
    proxy = make_proxy(sandbox)
    assert "There is nothing here yet" in get(proxy, "/").text
    assert get(proxy, "/api/wait/x").status_code == 404


def test_health_tells_of_postgres(sandbox, make_proxy):
    assert get(make_proxy(sandbox), "/healthz").json() == {"ok": True}
    answer = get(make_proxy(sandbox, database_url="postgresql://nobody@127.0.0.1:9/none"), "/healthz")
    assert (answer.status_code, answer.json()["ok"]) == (503, False)


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/wait/x"])
def test_without_postgres_the_pages_say_so(sandbox, make_proxy, path):
    answer = get(make_proxy(sandbox, database_url="postgresql://nobody:secret@127.0.0.1:9/none"), path)
    assert answer.status_code == 503
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/wait/x"])
def test_a_token_is_asked_for_if_there_is_one(sandbox, claim, make_proxy, path):
    claim(sandbox.account.id)
    proxy = make_proxy(sandbox, token=TOKEN)
    assert get(proxy, path).status_code == 401
    assert get(proxy, path, auth=("anybody", "wrong")).status_code == 401
    assert get(proxy, path, headers={"Authorization": "Basic !"}).status_code == 401
    assert get(proxy, path, auth=("anybody", TOKEN)).status_code != 401
    assert get(proxy, path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code != 401
    assert get(proxy, "/healthz").status_code == 200


def test_head_has_no_body(proxy):
    answer = requests.head(f"{proxy}/", timeout=10)
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 1000


@pytest.mark.parametrize(("method", "path"), [("POST", "/"), ("GET", "/api"), ("GET", "/favicon.ico")])
def test_everything_else_is_a_404_in_stripes_form(proxy, method, path):
    answer = requests.request(method, proxy + path, timeout=10)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == answer.headers["Stripe-Proxy-Error"] == "unknown_host"
