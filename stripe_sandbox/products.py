"""Stripe products that an account may not use, and what Stripe answers then."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from stripe_sandbox.errors import StripeError

_ISSUING: Final = (
    "Your account is not set up to use Issuing. Please visit "
    "https://dashboard.stripe.com/issuing/overview to get started."
)
_IDENTITY: Final = (
    "Your account is not set up to use Identity. Please have an account admin visit "
    "https://dashboard.stripe.com/identity/application to get started."
)
_FORWARDING: Final = (
    "Your account is not authorized to send Forwarding requests in livemode. "
    "To enable access, please contact us via https://support.stripe.com/contact."
)

_TREASURY: Final = (
    "Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
    "https://support.stripe.com/. (Hint: Have you onboarded to Treasury? You can learn more about the steps "
    "needed at https://stripe.com/docs/treasury/access)"
)
_CONNECT: Final = (
    "You can only create new accounts if you've signed up for Connect, which you can do at "
    "https://dashboard.stripe.com/connect."
)

PRODUCTS: Final = MappingProxyType(
    {
        # name: path prefix, status, text ({method} and {path} are the request's)
        "issuing": ("/v1/issuing/", 400, _ISSUING),
        "identity": ("/v1/identity/", 400, _IDENTITY),
        "sigma": ("/v1/sigma/", 400, "This API surface is not enabled for testmode usage."),
        "forwarding": ("/v1/forwarding/", 400, _FORWARDING),
        "treasury": (
            "/v1/treasury/",
            400,
            _TREASURY,
        ),
        "connect": (
            "/v1/accounts",
            400,
            _CONNECT,
        ),
        "climate": ("/v1/climate/", 400, "Your account is not set up to use Climate Orders."),
    }
)

_TESTMODE_ONLY: Final = "This endpoint is only available in testmode. Try using your test keys instead."


def demand_product(missing: frozenset[str], method: str, path: str, *, livemode: bool) -> None:
    """Refuse a request for a product that is not set up, or for a test helper in live mode.

    Raises:
        StripeError: Stripe's answer.
    """
    if livemode and path.startswith("/v1/test_helpers/"):
        raise StripeError(400, _TESTMODE_ONLY)
    for name in sorted(missing):
        prefix, status, text = PRODUCTS[name]
        if path.startswith(prefix):
            raise StripeError(status, text.format(method=method, path=path))
