"""Whose account a caller's request is about: only what is about the sync's own account and mode is stored.

With connected accounts the sync has several, and a request that Stripe answered is about the one that it names.

A key tells its mode, and Stripe tells the account of a key, once. Where a key may not ask for that, it is not known;
then only what the sync's own key finds there too is stored.
"""

import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from stripe_proxy.database import Sync
from stripe_proxy.errors import ProxyError
from stripe_proxy.forward import Headers, header
from tap_stripe_events.client import is_live

_NOT_TOLD = ""  # Stripe was asked, and did not say


class Relation(Enum):
    """How the account that a request is about stands to the sync."""

    OURS = auto()
    OTHER = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a request is about.

    Attributes:
        relation: How its account stands to the sync.
        account_id: The account, if it is one of the sync's.
    """

    relation: Relation
    account_id: str | None = None


OTHER, UNKNOWN = Subject(relation=Relation.OTHER), Subject(relation=Relation.UNKNOWN)

Ask = Callable[[str], Awaitable[str | None]]
"""Asks Stripe for the account of a key, given the `Authorization` header; None if the key may not know."""


class Callers:
    """Remembers, by a hash, which account each key belongs to.

    Args:
        api_key: The sync's own key.
        ask: How to find out about others.
    """

    def __init__(self, *, api_key: str, ask: Ask) -> None:
        self._api_key = api_key
        self._ask = ask
        self._accounts: dict[bytes, str | None] = {}
        self._own_account: str | None = None

    async def subject(self, headers: Headers, sync: Sync) -> Subject:
        """Return what a request with these headers is about."""
        authorization = header(headers, b"authorization") or ""
        key = key_of(authorization)
        if key is None or is_live(key) != sync.livemode:
            return OTHER
        named = header(headers, b"stripe-account")
        if named is not None:
            return _compared(named, sync)
        if self._api_key and key == self._api_key:
            if not await self.own_key_fits(sync):
                return OTHER
            return Subject(relation=Relation.OURS) if sync.account_id is None else _compared(sync.account_id, sync)
        digest = hashlib.sha256(key.encode()).digest()
        if digest not in self._accounts:
            self._accounts[digest] = await self._ask(authorization)
        return _compared(self._accounts[digest], sync)

    async def own_key_fits(self, sync: Sync) -> bool:
        """Whether the sync's own key is one of the tables' account and mode, as far as Stripe tells.

        What another one does not find would seem to be gone.
        """
        if is_live(self._api_key) != sync.livemode:
            return False
        if self._own_account is None:
            try:
                self._own_account = await self._ask(f"Bearer {self._api_key}") or _NOT_TOLD
            except ProxyError:
                self._own_account = _NOT_TOLD
        return self._own_account in {_NOT_TOLD, sync.account_id} or sync.account_id is None


def _compared(account_id: str | None, sync: Sync) -> Subject:
    if account_id is None or sync.account_id is None:
        return replace(UNKNOWN, account_id=sync.account_id)
    if account_id in (sync.accounts or {sync.account_id}):
        return Subject(relation=Relation.OURS, account_id=account_id)
    return OTHER


def key_of(authorization: str) -> str | None:
    """Return the key in an `Authorization` header: a bearer token, or the user name of basic authentication."""
    scheme, _, rest = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip() or None
        case "basic":
            try:
                return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[0] or None
            except (binascii.Error, UnicodeDecodeError):
                return None
    return None
