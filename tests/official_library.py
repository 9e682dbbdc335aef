"""Every call that the official Python library can make, found by making it with a transport that sends nothing.

So what is tested against the sandbox is what the library asks, not what the sandbox's spec says it would.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote, urlsplit

import stripe
from addresses import operation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from addresses import Address


@dataclass(frozen=True, kw_only=True)
class Call:
    """One method of the library: ``v1.customers.retrieve`` gets ``/v1/customers/{customer}``."""

    name: str
    verb: str
    path: str

    @property
    def operation(self) -> tuple[str, str]:
        """What it asks, whatever the arguments are called."""
        return operation(self.verb, self.path)

    def make(
        self, client: stripe.StripeClient, address: Address, /, *, options: dict[str, Any] | None = None, **params: Any
    ) -> Any:
        """Make the call, with more parameters than those of the address."""
        return attrgetter(self.name)(client)(*address.values, {**address.params, **params}, options or {})


class _Noted(Exception):  # noqa: N818 - no error
    def __init__(self, verb: str, url: str) -> None:
        super().__init__(verb, url)
        self.verb = verb
        self.path = unquote(urlsplit(url).path)


class _Notes(stripe.HTTPClient):
    """A transport that tells what it was to send."""

    name = "notes"

    def request(self, method: str, url: str, *_: Any, **__: Any) -> NoReturn:
        raise _Noted(method, url)

    request_stream = request

    def close(self) -> None:
        """Nothing is open."""


@cache
def calls() -> tuple[Call, ...]:
    """Every method of ``StripeClient.v1`` that asks for something."""
    client = stripe.StripeClient("sk_test_none", http_client=_Notes())
    return tuple(_call(name, method) for name, method in _methods("v1", client.v1))


def _methods(name: str, service: Any) -> Iterator[tuple[str, Any]]:
    for each, member in vars(type(service)).items():
        if inspect.isfunction(member) and not each.startswith("_") and not each.endswith("_async"):
            yield f"{name}.{each}", getattr(service, each)
    for each in vars(sys.modules[type(service).__module__]).get("_subservices", {}):
        yield from _methods(f"{name}.{each}", getattr(service, each))


def _call(name: str, method: Any) -> Call:
    names = [each for each in inspect.signature(method).parameters if each != "options"]
    try:
        method(*({} if each == "params" else f"{{{each}}}" for each in names))
    except _Noted as noted:
        return Call(name=name, verb=noted.verb, path=noted.path)
    raise AssertionError(f"{name} asked for nothing")
