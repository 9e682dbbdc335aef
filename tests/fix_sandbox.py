"""Sandbox Stripes for tests: each on a port of its own, served from a thread, stopped at the end."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import requests
import stripe

from stripe_sandbox.sandbox import TEST_KEY, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = 1_790_000_000
TIMEOUT_SECONDS = 30


class Http:
    """Plain requests to a sandbox, as a client without a library would make them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()

    def request(self, method: str, path: str, *, key: str = TEST_KEY, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}", **options.pop("headers", {})}
        return self._session.request(method, self.url + path, headers=headers, timeout=TIMEOUT_SECONDS, **options)

    def get(self, path: str, params: Any = None, **options: Any) -> requests.Response:
        return self.request("GET", path, params=params, **options)

    def post(self, path: str, data: Any = None, **options: Any) -> requests.Response:
        return self.request("POST", path, data=data, **options)

    def control(self, name: str, **given: Any) -> Any:
        """POST to the sandbox itself."""
        answer = self.request("POST", f"/_sandbox/{name}", json=given)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pages(self, path: str, params: dict[str, Any] | None = None) -> list[Any]:
        """Every object of a list, following its cursor."""
        found: list[Any] = []
        more: dict[str, Any] = {}
        while True:
            answer = self.get(path, {**(params or {}), **more})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["data"]
            if not page["has_more"]:
                return found
            more = {"starting_after": page["data"][-1]["id"]}

    def close(self) -> None:
        self._session.close()


@pytest.fixture
def make_sandbox() -> Iterator[Callable[..., Sandbox]]:
    """Starts a sandbox; takes the arguments of ``Service``, by default an empty account on a clock that stands."""
    with ExitStack() as stack:

        def make(account: str = "empty", **options: Any) -> Sandbox:
            sandbox = Sandbox(account=account, **{"now": NOW, **options})
            return stack.enter_context(sandbox)

        yield make


@pytest.fixture
def sandbox(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """An empty account, for a test that changes it."""
    return make_sandbox()


@pytest.fixture(scope="session")
def full_sandbox() -> Iterator[Sandbox]:
    """Objects of every type, shared by all tests: read it only."""
    with Sandbox(account="full", now=NOW, restricted_keys={"rk_test_some": "customer,event"}) as started:
        yield started


@pytest.fixture(scope="session")
def demo_sandbox() -> Iterator[Sandbox]:
    """The small business, shared by all tests: read it only."""
    with Sandbox(account="demo", now=NOW) as started:
        yield started


@pytest.fixture
def connect() -> Iterator[Callable[[Sandbox], Http]]:
    """Makes plain HTTP clients."""
    with ExitStack() as stack:

        def make(sandbox: Sandbox) -> Http:
            http = Http(sandbox.url)
            stack.callback(http.close)
            return http

        yield make


@pytest.fixture
def http(sandbox: Sandbox, connect: Callable[[Sandbox], Http]) -> Http:
    """A plain HTTP client of the empty account."""
    return connect(sandbox)


@pytest.fixture
def full(full_sandbox: Sandbox, connect: Callable[[Sandbox], Http]) -> Http:
    """A plain HTTP client of the full account."""
    return connect(full_sandbox)


@pytest.fixture
def make_client() -> Iterator[Callable[..., stripe.StripeClient]]:
    """Makes clients of the official library, without retries of their own unless told."""
    with ExitStack() as stack:

        def make(sandbox: Sandbox, key: str = TEST_KEY, retries: int = 0) -> stripe.StripeClient:
            transport = stripe.RequestsClient()
            stack.callback(transport.close)
            return stripe.StripeClient(
                key,
                base_addresses={"api": sandbox.url, "files": sandbox.url},
                http_client=transport,
                max_network_retries=retries,
            )

        yield make


@pytest.fixture
def client(sandbox: Sandbox, make_client: Callable[..., stripe.StripeClient]) -> stripe.StripeClient:
    """The official library on the empty account."""
    return make_client(sandbox)
