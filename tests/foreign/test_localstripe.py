"""localstripe, a Stripe of 2017 for other people's tests, as a hostile one: the right rows, or the reason why not.

It lists oldest first, has no account, few of today's lists, and events of some types only, in a version that nobody
reads any more. Where the account is needed, a gateway in front of it adds one, so that there is more to see than that
it is missing.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import requests
from pipeline import TAP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "sk_test_12345678901234567890"
TIMEOUT_SECONDS = 60
START_SECONDS = 30
MANY = 205
MOST_REQUESTS = MANY + 60  # each customer may have to be read again, for its event is in an old version


class Localstripe:
    """The server, and a gateway that adds an account to it and counts requests."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.session = requests.Session()
        self.session.auth = (KEY, "")
        self.requests: list[str] = []
        self._gateway = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.gateway_url = f"http://127.0.0.1:{self._gateway.server_address[1]}"
        threading.Thread(target=self._gateway.serve_forever, daemon=True).start()

    def post(self, path: str, **values: Any) -> dict[str, Any]:
        answer = self.session.post(self.url + path, data=values, timeout=TIMEOUT_SECONDS)
        assert answer.ok, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def close(self) -> None:
        self.session.close()
        self._gateway.shutdown()
        self._gateway.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        localstripe = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                localstripe.requests.append(path)
                answer = requests.get(localstripe.url + self.path, auth=(KEY, ""), timeout=TIMEOUT_SECONDS)
                content, status = answer.content, answer.status_code
                if path == "/v1/account":
                    content, status = b'{"id": "acct_local", "object": "account"}', 200
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture(scope="session")
def localstripe(localstripe_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Localstripe]:
    """A running one, with a few objects of some types and more customers than two pages hold."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [localstripe_program, "--port", str(port), "--from-scratch"]
    home = tmp_path_factory.mktemp("localstripe")  # it keeps its data below the folder for temporary files
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=home, env={"TMPDIR": str(home)})
    started = Localstripe(port)
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert time.monotonic() < deadline, (home / "log").read_text()
    customers = [started.post("/v1/customers", name=f"Customer {number}") for number in range(MANY)]
    product = started.post("/v1/products", name="Box", type="service")
    plan = started.post("/v1/plans", product=product["id"], amount=900, currency="eur", interval="month", nickname="m")
    card = {"card[number]": "4242424242424242", "card[exp_month]": 12, "card[exp_year]": 2030, "card[cvc]": "123"}
    method = started.post("/v1/payment_methods", type="card", **card)
    started.post(f"/v1/payment_methods/{method['id']}/attach", customer=customers[0]["id"])
    default = {"invoice_settings[default_payment_method]": method["id"]}
    started.post(f"/v1/customers/{customers[0]['id']}", **default)
    started.post("/v1/subscriptions", customer=customers[0]["id"], **{"items[0][plan]": plan["id"]})
    started.post("/v1/coupons", id="TEN", percent_off=10, duration="once")
    yield started
    started.close()
    server.terminate()
    server.wait(TIMEOUT_SECONDS)


class Run:
    """What one run of the tap wrote."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        messages = [json.loads(line) for line in done.stdout.splitlines()]
        self.code, self.log = done.returncode, done.stderr
        self.records = [(each["stream"], each["record"]) for each in messages if each["type"] == "RECORD"]
        self.state = [each["value"] for each in messages if each["type"] == "STATE"][-1:]

    def ids(self, stream: str) -> set[str]:
        return {record["id"] for name, record in self.records if name == stream}

    @property
    def why(self) -> str:
        return self.log.strip().rpartition("CRITICAL")[2]


@pytest.fixture
def run(tmp_path: Path, localstripe: Localstripe) -> Any:
    """Runs the tap for some streams, or for all."""

    def start(*streams: str, url: str = localstripe.gateway_url, state: list[Any] = [], **settings: Any) -> Run:  # noqa: B006
        config = tmp_path / "tap.json"
        config.write_text(json.dumps({"api_key": KEY, "api_url": url, **settings}))
        command = [TAP, "--config", config]
        found = subprocess.run([*command, "--discover"], capture_output=True, check=True, timeout=TIMEOUT_SECONDS)
        catalog = json.loads(found.stdout)
        for stream in catalog["streams"]:
            for each in stream["metadata"]:
                if not each["breadcrumb"]:
                    each["metadata"]["selected"] = not streams or stream["tap_stream_id"] in streams
        (tmp_path / "catalog.json").write_text(json.dumps(catalog))
        command += ["--catalog", tmp_path / "catalog.json"]
        if state:
            (tmp_path / "state.json").write_text(json.dumps(state[0]))
            command += ["--state", tmp_path / "state.json"]
        localstripe.requests.clear()
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
        assert len(localstripe.requests) <= MOST_REQUESTS, localstripe.requests
        return Run(done)

    return start


@pytest.fixture
def there(localstripe: Localstripe) -> Any:
    """The ids that localstripe has of a list."""

    def ids(path: str) -> set[str]:
        found: list[str] = []
        while True:
            more = {"starting_after": found[-1]} if found else {}
            params = {"limit": 100, **more}
            page = localstripe.session.get(localstripe.url + path, params=params, timeout=TIMEOUT_SECONDS).json()
            found += [each["id"] for each in page["data"]]
            if not page["has_more"]:
                return set(found)

    return ids


def test_a_stripe_without_an_account_is_told_from_a_key_without_the_permission(run: Any, localstripe: Any) -> None:
    bare = run("coupon", url=localstripe.url)
    assert (bare.code, bare.records) == (1, [])
    assert "GET /v1/account answered HTTP 404 with a body that is not Stripe's" in bare.why
    assert localstripe.url in bare.why


@pytest.mark.parametrize("stream", ["balance_transaction", "charge", "coupon", "event", "invoice", "plan", "product"])
def test_what_it_lists_is_read_whole_although_it_comes_oldest_first(run: Any, there: Any, stream: str) -> None:
    done = run(stream)
    assert done.code == 0, done.log
    assert done.ids(stream) == there(f"/v1/{stream}s")
    assert done.ids(stream)


def test_what_happens_next_is_read_from_a_feed_that_is_oldest_first(
    run: Any, there: Any, localstripe: Localstripe
) -> None:
    first = run("product", "event")
    made = localstripe.post("/v1/products", name="Crate", type="service")
    second = run("product", "event", state=first.state)
    assert second.code == 0, second.log
    assert second.ids("product") >= {made["id"]}
    assert first.ids("product") | second.ids("product") == there("/v1/products")
    assert first.ids("event") | second.ids("event") == there("/v1/events")


@pytest.mark.parametrize(
    ("streams", "reason"),
    [
        (("customer",), "GET /v1/test_helpers/test_clocks answered HTTP 404"),
        (("customer", "event"), "GET /v1/test_helpers/test_clocks answered HTTP 404"),
        (("subscription",), "GET /v1/test_helpers/test_clocks answered HTTP 404"),
        (("payment_method",), "refused GET /v1/payment_methods \\(HTTP 400|clocks answered HTTP 404"),
        (("price",), "GET /v1/prices answered HTTP 404"),
        ((), "Stripe refused GET |answered HTTP 404 with a body that is not Stripe's"),
    ],
)
def test_what_it_does_not_have_ends_the_run_with_the_reason(run: Any, streams: tuple[str, ...], reason: str) -> None:
    done = run(*streams)
    assert done.code == 1
    assert re.search(reason, done.why)
    assert "Nothing was lost" in done.why
