"""API keys: whose they are, and what they may."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stripe_sandbox.errors import SandboxError, StripeError
from stripe_sandbox.families import own_permission, permission

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.spec import Spec


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of an account. ``permissions`` is None for a key that may do everything."""

    secret: str
    account: Account
    permissions: frozenset[str] | None = None

    def demand(self, object_type: str, kind: str, account: Account) -> None:
        """Refuse what the key may not, in its own account or in a connected one.

        Raises:
            StripeError: 403 that names the permission.
        """
        name = permission(object_type, kind)
        if self.permissions is not None and name not in self.permissions:
            raise StripeError(
                403,
                f"The provided key '{masked(self.secret)}' does not have the required permissions for this endpoint "
                f"on account '{account.id}'. Having the '{name}' permission would allow this request to continue.",
            )


def restricted(secret: str, names: str, account: Account) -> Key:
    """A restricted key from its ``names``: ``customer,event,charge:write`` (without a suffix: read).

    Raises:
        SandboxError: A name is no object type of the API.
    """
    granted: set[str] = set()
    for name in filter(None, (part.strip() for part in names.split(","))):
        object_name, _, kind = name.partition(":")
        granted.add(own_permission(_known(account.spec, object_name), kind or "read"))
    return Key(secret=secret, account=account, permissions=frozenset(granted))


def _known(spec: Spec, name: str) -> str:
    dotted = name if name in spec.objects else name.replace("_", ".", 1)
    if dotted not in spec.objects:
        raise SandboxError(f"A restricted key is to read '{name}', which is no object type of the API. Try 'customer'.")
    return dotted


def masked(secret: str) -> str:
    """A key as error messages show it."""
    kind = "_".join(secret.split("_")[:2]) if secret.count("_") > 1 else secret[:3]
    return f"{kind}_{'*' * 8}{secret[-4:]}"


def authenticate(keys: Mapping[str, Key], headers: Mapping[str, str]) -> Key:
    """The key that a request carries, as a bearer token or as the user of basic authentication.

    Raises:
        StripeError: 401 where there is none, or nobody's.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    secret = credentials.strip()
    if scheme.lower() == "basic":
        try:
            secret = base64.b64decode(secret, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            secret = ""
    elif scheme.lower() != "bearer":
        secret = ""
    if not secret:
        raise StripeError(
            401,
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See "
            "https://stripe.com/docs/api#authentication for details, or we can help at https://support.stripe.com/.",
            headers=(("WWW-Authenticate", 'Bearer realm="Stripe"'),),
        )
    key = keys.get(secret)
    if key is None:
        raise StripeError(401, f"Invalid API Key provided: {masked(secret)}")
    return key
