"""An account's state as a file, so that a sandbox goes on where it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from stripe_sandbox.agenda import Agenda
from stripe_sandbox.errors import SandboxError
from stripe_sandbox.ids import token
from stripe_sandbox.store import Record

if TYPE_CHECKING:
    from pathlib import Path

    from stripe_sandbox.account import Account

FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True)
class SavedRecord:
    """One object."""

    object: str
    key: str
    created: int
    sequence: int
    body: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SavedAccount:
    """All objects, oldest first within their type, how many ids were made, and what is due when."""

    format: int
    kind: str
    seed: int
    ids_made: int
    saved_at: int
    records: list[SavedRecord]
    agenda: list[tuple[int, str, str]] = field(default_factory=list)
    test_agendas: dict[str, tuple[int, list[tuple[int, str, str]]]] = field(default_factory=dict)


def save(account: Account, path: Path, *, kind: str) -> None:
    """Write the account to a file, all or nothing. ``kind`` is how it was first filled: demo, full or empty."""
    records = [
        SavedRecord(
            object=record.object,
            key=record.key,
            created=record.created,
            sequence=record.sequence,
            body=record.body,
            facts=record.facts,
        )
        for table in account.store.tables()
        for record in (table.records[key] for _, _, key in table.order)
    ]
    saved = SavedAccount(
        format=FORMAT,
        kind=kind,
        seed=account.seed,
        ids_made=account.ids.made,
        saved_at=account.now(),
        records=records,
        agenda=account.agenda.entries(),
        test_agendas={clock: (agenda.moment, agenda.entries()) for clock, agenda in account.test_agendas.items()},
    )
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(msgspec.json.encode(saved))
    temporary.replace(path)


def load(account: Account, path: Path, *, kind: str) -> SavedAccount:
    """Fill an empty account from a file.

    Raises:
        SandboxError: The file is of another format, another kind of account or another seed.
    """
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=SavedAccount)
    except msgspec.MsgspecError as error:
        raise SandboxError(f"The state file {path} cannot be read ({error}). Delete it to start anew.") from error
    wanted, found = (FORMAT, kind, account.seed), (saved.format, saved.kind, saved.seed)
    if wanted != found:
        raise SandboxError(
            f"The state file {path} holds (format, account, seed) {found}, but {wanted} was asked for. "
            "Delete it to start anew, or ask for what it holds."
        )
    for item in sorted(saved.records, key=lambda record: record.sequence):
        record = Record(item.object, item.key, item.body, created=item.created, facts=item.facts)
        record.sequence = item.sequence if item.object == "event" else 0  # its place in its second is no matter of age
        account.store.put(record)
    account.ids.made = saved.ids_made
    account.random = Random(token(account.seed, saved.ids_made))
    account.ledger.rebuild(account.store.table("balance_transaction"))
    account.agenda = _agenda(saved.saved_at, saved.agenda)
    account.test_agendas = {clock: _agenda(*kept) for clock, kept in saved.test_agendas.items()}
    return saved


def _agenda(moment: int, entries: list[tuple[int, str, str]]) -> Agenda:
    agenda = Agenda(moment)
    for entry in entries:
        agenda.note(*entry)
    return agenda
