"""HTTP: connections to one host, with the proxies and certificates that the environment names.

`requests` finds these out and makes the connections, once. A request itself goes straight to their pool, `urllib3`:
what `requests` does for each one, such as cookies, redirects and merging settings, took more time than all the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import requote_uri

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 80.0  # between two bytes of the answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer, whole.

    Attributes:
        status: The HTTP status.
        headers: The headers; names in any case.
        content: The body, decompressed.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class NetworkError(Exception):
    """There is no answer: the network failed. The text is the kind of the failure, and tells nothing of the request."""


class Transport:
    """Sends requests to one host. Several threads may use it.

    Args:
        url: Where the host is, with a path that all paths begin with, if there is one.
        headers: What all requests have.
        connections: The most at the same time.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str], connections: int) -> None:
        self._session = requests.Session()
        self._session.mount(url, HTTPAdapter(pool_maxsize=connections, max_retries=0))
        self._session.headers.update(headers)
        self._headers = {name: str(value) for name, value in self._session.headers.items()}
        self._timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
        self._url = url
        self._pool: Any = None
        self._prefix = ""

    def _connect(self) -> Any:
        """Find out how the host is reached, when that is first needed."""
        settings = self._session.merge_environment_settings(self._url, {}, False, None, None)
        adapter = self._session.get_adapter(self._url)
        assert isinstance(adapter, HTTPAdapter)  # noqa: S101 - mounted above
        prepared = requests.Request("GET", self._url).prepare()
        target = adapter.request_url(prepared, settings["proxies"])
        # A proxy for http wants the whole URL, everybody else its path.
        whole = target.startswith("http")
        self._prefix = self._url if whole else urlsplit(self._url).path
        self._pool = adapter.get_connection_with_tls_context(
            prepared, settings["verify"], proxies=settings["proxies"], cert=settings["cert"]
        )
        return self._pool

    def close(self) -> None:
        """Give up all connections."""
        self._session.close()

    def send(
        self, path: str, parameters: Mapping[str, Any], *, post: bool = False, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request and return its answer.

        Args:
            path: The path.
            parameters: The query, or the form of a POST; a list is sent as several values of one name.
            post: It is a POST.
            headers: What it has besides all others'.

        Raises:
            NetworkError: There is no answer.
        """
        target, text = requote_uri(self._prefix + path), urlencode(parameters, doseq=True)
        given = {**self._headers, **(headers or {})}
        body = None
        if post:
            body = text.encode()
            given["Content-Type"] = "application/x-www-form-urlencoded"
        elif text:
            target = f"{target}?{text}"
        try:
            response = (self._pool or self._connect()).urlopen(
                "POST" if post else "GET",
                target,
                body=body,
                headers=given,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
            )
        except (urllib3.exceptions.HTTPError, requests.RequestException, OSError) as error:
            # Its text may hold the URL; its kind says enough.
            raise NetworkError(type(error).__name__) from None
        return Reply(status=response.status, headers=response.headers, content=response.data)
