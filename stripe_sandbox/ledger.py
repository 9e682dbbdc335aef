"""What an account's balance transactions add up to. Derived from them, so it can be made anew at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stripe_sandbox.store import Record, Table


class Ledger:
    """Sums by status and currency, and which transactions still wait to become available or to be paid out."""

    def __init__(self) -> None:
        self._pending: dict[int, dict[str, None]] = {}  # by when they become available
        self.unpaid: set[str] = set()
        self._sums: dict[tuple[str, str], int] = {}

    def note(self, transaction: Record) -> None:
        """Take a new balance transaction into account."""
        body = transaction.body
        if body["status"] == "pending":
            self._pending.setdefault(body["available_on"], {})[transaction.key] = None
        if body["type"] != "payout" and "payout" not in transaction.facts:
            self.unpaid.add(transaction.key)
        self._move(body["status"], body["currency"], body["net"])

    def settled(self, transaction: Record) -> None:
        """A pending transaction has become available."""
        waiting = self._pending.get(transaction.body["available_on"], {})
        waiting.pop(transaction.key, None)
        if not waiting:
            self._pending.pop(transaction.body["available_on"], None)
        self._move("pending", transaction.body["currency"], -transaction.body["net"])
        self._move("available", transaction.body["currency"], transaction.body["net"])

    def due(self, now: int) -> list[str]:
        """The pending transactions that have become available by now, in that order."""
        return [key for moment in sorted(self._pending) if moment <= now for key in self._pending[moment]]

    def moments(self) -> list[int]:
        """When pending transactions become available."""
        return sorted(self._pending)

    def currencies(self) -> list[str]:
        """All currencies that there are sums of."""
        return sorted({currency for _, currency in self._sums})

    def available(self, currency: str) -> int:
        """What can be paid out, in the currency's smallest unit."""
        return self._sums.get(("available", currency), 0)

    def amounts(self, status: str) -> list[dict[str, object]]:
        """A balance object's ``available`` or ``pending``: one entry a currency."""
        return [
            {"amount": total, "currency": currency, "source_types": {"card": total}}
            for (kind, currency), total in sorted(self._sums.items())
            if kind == status
        ]

    def rebuild(self, transactions: Table) -> None:
        """Start again from the transactions that are stored."""
        self._pending.clear()
        self.unpaid.clear()
        self._sums.clear()
        for record in transactions.records.values():
            self.note(record)

    def _move(self, status: str, currency: str, amount: int) -> None:
        self._sums[status, currency] = self._sums.get((status, currency), 0) + amount
