"""Whom previews are for: subscriptions that are billed again, and customers with items that wait for an invoice.

In memory, of this process: it is listed once when it is needed, and events keep it. About half a kilobyte each.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from zlib import crc32

from tap_stripe_events.objects import CUSTOMER_PREVIEW, SUBSCRIPTION_PREVIEW
from tap_stripe_events.previews import Billed


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class Key:
    """Whom a preview is for.

    Attributes:
        name: The kind of preview.
        id: The customer's or the subscription's id.
    """

    name: str
    id: str


class Roster:
    """Who may be billed next.

    Attributes:
        listed: It was listed, so that who is not in it is not billed.
    """

    def __init__(self) -> None:
        self.listed = False
        self._subscriptions: dict[str, Billed] = {}
        self._of_customer: dict[str, set[str]] = {}
        self._metered: dict[str, int] = {}  # customer → how many of the subscriptions are
        self._waiting: set[str] = set()

    def take(self, told: Billed) -> None:
        """Take in what a subscription says now. What it uses is kept: not every reading shows it.

        An event of an old version shows no items at all; then they are as they were.
        """
        before = self._subscriptions.get(told.id)
        if before is not None and not told.uses:
            told = replace(told, metered=before.metered, ends=told.ends or before.ends)
        self.drop(told.id)
        if not told.live:
            return
        uses = frozenset(sys.intern(each) for each in (told.uses | before.uses if before else told.uses))
        self._subscriptions[told.id] = replace(told, uses=uses)
        self._of_customer.setdefault(told.customer, set()).add(told.id)
        if told.metered:
            self._metered[told.customer] = self._metered.get(told.customer, 0) + 1

    def drop(self, subscription: str) -> None:
        """Take in that a subscription is not billed any more."""
        known = self._subscriptions.pop(subscription, None)
        if known is None:
            return
        others = self._of_customer[known.customer]
        others.discard(subscription)
        if not others:
            del self._of_customer[known.customer]
        if known.metered:
            self._metered[known.customer] -= 1
            if not self._metered[known.customer]:
                del self._metered[known.customer]

    def wait(self, customer: str) -> None:
        """Take in that a customer has items that wait for an invoice."""
        self._waiting.add(customer)

    def customer_of(self, subscription: str) -> str | None:
        """Return whose a subscription is; None if it is not known."""
        known = self._subscriptions.get(subscription)
        return known.customer if known is not None else None

    def of_customer(self, customer: str) -> frozenset[str]:
        """Return the subscriptions of a customer."""
        return frozenset(self._of_customer.get(customer, ()))

    def has(self, customer: str) -> bool:
        """Whether a customer may be billed next."""
        return customer in self._of_customer or customer in self._waiting

    def using(self, used: str) -> list[Billed]:
        """Return the subscriptions that use something."""
        return [each for each in self._subscriptions.values() if used in each.uses]

    def keys(self, names: frozenset[str]) -> Iterator[tuple[Key, bool]]:
        """Yield whom there may be previews for, of these kinds, and whether they are metered."""
        if SUBSCRIPTION_PREVIEW in names:
            for each in self._subscriptions.values():
                yield Key(name=SUBSCRIPTION_PREVIEW, id=each.id), each.metered
        if CUSTOMER_PREVIEW in names:
            for customer in self._of_customer.keys() | self._waiting:
                yield Key(name=CUSTOMER_PREVIEW, id=customer), customer in self._metered

    def ended(self, after: int, until: int) -> list[Billed]:
        """Return the subscriptions with a period that ends after one second, and not after another."""
        return [each for each in self._subscriptions.values() if any(after < end <= until for end in each.ends)]

    def payments(self, seconds: int) -> float:
        """Return about how many payments these subscriptions bring in some time, a month each at the most."""
        return len(self._subscriptions) * seconds / (30 * 86_400)


def slot(key: Key, period: int) -> int:
    """Return the second of each period in which a preview is computed anew: spread evenly, and always the same."""
    return crc32(f"{key.name} {key.id}".encode()) % period


def next_slot(key: Key, after: int, period: int) -> int:
    """Return the first second after another one that is a preview's."""
    return after + 1 + (slot(key, period) - after - 1) % period
