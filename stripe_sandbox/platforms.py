"""A platform's connected accounts: how they come about, join the platform, leave it and come back.

* A connected account is an :class:`~stripe_sandbox.account.Account` of its own, on the platform's clock. Its id and
  seed follow from the platform's seed and its number, so that the same sandbox has the same accounts.
* The platform has access to those of which its own store has an ``account`` object, and to no others. What takes that
  object away (``leave``, a deletion) takes the access away.
* Ids that users choose are the same in many accounts (the coupon ``WELCOME10``) and mean something else in each.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox import business
from stripe_sandbox.account import Account
from stripe_sandbox.deletions import vanish
from stripe_sandbox.errors import SandboxError
from stripe_sandbox.ids import token
from stripe_sandbox.occurrences import open_books
from stripe_sandbox.ownership import owned
from stripe_sandbox.seeding import own_objects, seed_full

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stripe_sandbox.store import Record

MOST_PARENTLESS: Final = 4  # objects of a type in a full connected account that belong to no other object
_BUSINESS_DAYS: Final = 60
_CAPABILITIES: Final = ("card_payments", "transfers")
_BANK: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "country": "DE",
        "currency": "eur",
        "default_for_currency": True,
        "last4": "3000",
        "status": "verified",
        "bank_name": "STRIPE TEST BANK",
    }
)


class Platform:
    """An account and those connected to it.

    Args:
        account: The platform's own account.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.connected: dict[str, Account] = {}
        self.left: dict[str, list[Record]] = {}
        """What the platform's store had of the accounts that left, deepest first."""

    def add(self, account_id: str | None = None) -> Account:
        """One more connected account: empty, and not yet known to the platform's store.

        ``account_id`` is its id where it has one already.
        """
        seed, number = self.account.seed, len(self.connected)
        account = Account(
            self.account.spec,
            account_id=account_id or f"acct_1{token(seed, 'connected', number, length=16)}",
            seed=connected_seed(seed, number),
            clock=self.account.clock,
            is_connected=True,
        )
        self.connected[account.id] = account
        return account

    def reaches(self, account_id: str) -> bool:
        """Whether the platform has access to a connected account."""
        return self.account.store.get("account", account_id) is not None

    def adopt(self, record: Record) -> Account:
        """An account that the platform made by ``POST /v1/accounts``, from the object that its store has of it."""
        account = self.add(record.key)
        own_objects(account)
        own = account.store.get("account", account.id)
        if own is not None:
            account.change(own, record.body, verb=None)
        open_books(account)
        return account

    def fill(self, account: Account, kind: str, *, until: int) -> None:
        """Fill a new connected account as its kind says: demo, full or empty. The clock ends at ``until``."""
        if kind == "demo":
            percent = business.WELCOME_PERCENT + 1 + list(self.connected).index(account.id) % 80
            business.open_business(account, until=until, days=_BUSINESS_DAYS, welcome_percent=percent)
            return
        if kind == "full":
            seed_full(account, most=MOST_PARENTLESS)
        else:
            own_objects(account)
        open_books(account)

    def join(self, account: Account, *, announced: bool) -> None:
        """Put a connected account into the platform's store, with a bank account, a person and capabilities."""
        platform, own = self.account, account.store.get("account", account.id)
        if own is None:
            raise SandboxError(f"The account {account.id} is not filled yet.")
        record = platform.add("account", dict(own.body))
        verbs = {"made": "created", "changed": "updated"} if announced else {"made": None, "changed": None}
        if announced:
            self._announce_access(account.id, "authorized")
            platform.announce(record, "updated")
        platform.create("bank_account", {**_BANK, "account": account.id}, verb=verbs["made"])
        platform.create("person", {"account": account.id, "first_name": "Erika"}, verb=verbs["made"])
        for name in _CAPABILITIES:
            active = {"id": name, "account": account.id, "requested": True, "status": "active"}
            platform.create("capability", {**active, "requested_at": platform.now()}, verb=verbs["changed"])

    def leave(self, account_id: str) -> None:
        """The account takes the platform's access away.

        Raises:
            SandboxError: The platform has no access to such an account.
        """
        record = self.account.store.get("account", account_id) if account_id in self.connected else None
        if record is None:
            raise SandboxError(f"The platform has no access to a connected account {account_id}. {self._known()}")
        self.left[account_id] = [*owned(self.account, record), record]
        vanish(self.account, record)
        self._announce_access(account_id, "deauthorized")

    def come_back(self, account_id: str) -> None:
        """The account gives the platform its access again; all that the platform had of it is there as before.

        Raises:
            SandboxError: No such account has left.
        """
        if account_id not in self.left:
            raise SandboxError(f"No connected account {account_id} has left. {self._known()}")
        for record in reversed(self.left.pop(account_id)):
            self.account.store.put(record)
        self._announce_access(account_id, "authorized")

    def _known(self) -> str:
        known = ", ".join(self.connected)
        return f"There are: {known}." if known else "There are none: start with --connected-accounts N."

    def _announce_access(self, account_id: str, verb: str) -> None:
        application = {"id": f"ca_{token(self.account.id, 'application')}", "object": "application", "name": "Sandbox"}
        record = self.account.new_record("application", application)
        self.account.announce(record, verb, name=f"account.application.{verb}", about=account_id)


def connected_seed(seed: int, number: int) -> int:
    """The seed of a platform's connected account: another one for each, and none that people choose."""
    return int.from_bytes(token(seed, "connected seed", number, length=5).encode(), "big")
