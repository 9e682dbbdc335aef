"""An account's state as a file, so that a sandbox goes on where it was."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
    from stripe_sandbox.platforms import Platform

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
    """All objects, oldest first within their type, how many ids were made, and what is due when.

    A platform has its connected accounts in it, and of those whose access was revoked what it had of them.
    """

    format: int
    kind: str
    seed: int
    ids_made: int
    saved_at: int
    records: list[SavedRecord]
    agenda: list[tuple[int, str, str]] = field(default_factory=list)
    test_agendas: dict[str, tuple[int, list[tuple[int, str, str]]]] = field(default_factory=dict)
    connected: list[SavedAccount] = field(default_factory=list)
    left: dict[str, list[SavedRecord]] = field(default_factory=dict)
    id: str | None = None  # of a connected account


def save(platform: Platform, path: Path, *, kind: str) -> None:
    """Write the account and those connected to it to a file, all or nothing.

    ``kind`` is how they were first filled: demo, full or empty.
    """
    saved = replace(
        _saved(platform.account, kind),
        connected=[replace(_saved(each, kind), id=key) for key, each in platform.connected.items()],
        left={account_id: [_saved_record(each) for each in records] for account_id, records in platform.left.items()},
    )
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(msgspec.json.encode(saved))
    temporary.replace(path)


def _saved(account: Account, kind: str) -> SavedAccount:
    return SavedAccount(
        format=FORMAT,
        kind=kind,
        seed=account.seed,
        ids_made=account.ids.made,
        saved_at=account.now(),
        records=[_saved_record(table.records[key]) for table in account.store.tables() for _, _, key in table.order],
        agenda=account.agenda.entries(),
        test_agendas={clock: (agenda.moment, agenda.entries()) for clock, agenda in account.test_agendas.items()},
    )


def _saved_record(record: Record) -> SavedRecord:
    return SavedRecord(
        object=record.object,
        key=record.key,
        created=record.created,
        sequence=record.sequence,
        body=record.body,
        facts=record.facts,
    )


def load(platform: Platform, path: Path, *, kind: str) -> SavedAccount:
    """Fill an empty account from a file, and add the connected accounts that are in it.

    Raises:
        SandboxError: The file is of another format, another kind of account or another seed.
    """
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=SavedAccount)
    except msgspec.MsgspecError as error:
        raise SandboxError(f"The state file {path} cannot be read ({error}). Delete it to start anew.") from error
    wanted, found = (FORMAT, kind, platform.account.seed), (saved.format, saved.kind, saved.seed)
    if wanted != found:
        raise SandboxError(
            f"The state file {path} holds (format, account, seed) {found}, but {wanted} was asked for. "
            "Delete it to start anew, or ask for what it holds."
        )
    _fill(platform.account, saved)
    for each in saved.connected:
        _fill(platform.add(each.id), each)
    platform.left = {account_id: [_record(each) for each in records] for account_id, records in saved.left.items()}
    return saved


def _fill(account: Account, saved: SavedAccount) -> None:
    for item in sorted(saved.records, key=lambda record: record.sequence):
        account.store.put(_record(item))
    account.ids.made = saved.ids_made
    account.random = Random(token(account.seed, saved.ids_made))
    account.ledger.rebuild(account.store.table("balance_transaction"))
    account.agenda = _agenda(saved.saved_at, saved.agenda)
    account.test_agendas = {clock: _agenda(*kept) for clock, kept in saved.test_agendas.items()}


def _record(item: SavedRecord) -> Record:
    record = Record(item.object, item.key, item.body, created=item.created, facts=item.facts)
    record.sequence = item.sequence if item.object == "event" else 0  # its place in its second is no matter of age
    return record


def _agenda(moment: int, entries: list[tuple[int, str, str]]) -> Agenda:
    agenda = Agenda(moment)
    for entry in entries:
        agenda.note(*entry)
    return agenda
