"""Where an account's objects are kept, and in which order and by which links they are found.

Rules of the store:

* A body is the object as the API would render it, except that references are ids even where Stripe always embeds the
  whole object, and embedded lists are absent: they are the records that link to the object.
* Nested values are never changed in place. A change puts new ones, so a snapshot may share them.
* Every change goes through ``put`` or ``remove``; they keep the order, the links and the rendered bytes right.
* Order is (created, sequence), oldest first; objects of a bulk are older than all stored ones. The sequence is that of
  coming in, unless a record brings one of its own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_RARE: Final = 10  # rare is one of so many, or fewer
Body = dict[str, Any]
Position = tuple[int, int, str]


class Record:
    """One stored object.

    ``key`` finds it within its type: its id, or what stands in for it. ``facts`` are what the sandbox knows beside
    the object: parents it does not name, and why a list may hide it.
    """

    __slots__ = ("body", "created", "facts", "generation", "key", "links", "object", "page_bytes", "sequence")

    def __init__(self, object_type: str, key: str, body: Body, *, created: int, facts: dict[str, Any]) -> None:
        self.object = object_type
        self.key = key
        self.body = body
        self.created = created
        self.facts = facts
        self.sequence = 0
        self.links: tuple[tuple[str, str], ...] = ()
        self.page_bytes = b""
        self.generation = -1

    @property
    def position(self) -> Position:
        """Where it stands in the order of its type."""
        return (self.created, self.sequence, self.key)

    def link(self, name: str) -> Any:
        """The value of a field of the object, or of a fact beside it."""
        return self.body[name] if name in self.body else self.facts.get(name)


class VirtualObjects(Protocol):
    """Objects that are made when asked for; see ``bulk``."""

    count: int

    def created(self, index: int) -> int:
        """When object ``index`` was created; never decreases with the index."""

    def first_created_from(self, moment: int) -> int:
        """The lowest index with ``created >= moment``."""

    def index_of(self, key: str) -> int | None:
        """The index of the object with this id."""

    def record(self, index: int) -> Record:
        """The object, as a record that is not stored."""

    def page_bytes(self, index: int) -> bytes:
        """The object as it stands on a page of a list."""

    def indexes_linked(self, name: str, value: str) -> range:
        """The indexes of the objects of which field ``name`` is ``value``."""


@dataclass(kw_only=True)
class Table:
    """All objects of one type."""

    object: str
    link_names: frozenset[str]
    records: dict[str, Record] = field(default_factory=dict)
    gone: dict[str, Record] = field(default_factory=dict)
    order: list[Position] = field(default_factory=list)
    by_link: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    bulk: VirtualObjects | None = None
    overridden: dict[int, Record | None] = field(default_factory=dict)

    def get(self, key: str) -> Record | None:
        """The record with this key, stored or virtual."""
        record = self.records.get(key)
        if record is None and self.bulk is not None:
            index = self.bulk.index_of(key)
            if index is not None:
                return self.overridden[index] if index in self.overridden else self.bulk.record(index)
        return record

    def __iter__(self) -> Iterator[Record]:
        """Every live record, oldest first; virtual ones are made one by one."""
        if self.bulk is not None:
            for index in range(self.bulk.count):
                record = self.overridden[index] if index in self.overridden else self.bulk.record(index)
                if record is not None:
                    yield record
        for _, _, key in tuple(self.order):
            record = self.records.get(key)
            if record is not None:
                yield record

    def __len__(self) -> int:
        return len(self.records) + (self.bulk.count if self.bulk is not None else 0)


class Candidates:
    """Objects in one order: what a list endpoint picks its page from.

    Positions count from the oldest object, 0, to the newest, ``len - 1``: first those of a bulk, then stored ones.
    """

    def __init__(
        self,
        stored: Sequence[Position],
        lookup: Callable[[str], Record],
        *,
        bulk: VirtualObjects | None = None,
        virtual: range = range(0),
        overridden: Mapping[int, Record | None] = MappingProxyType({}),
    ) -> None:
        self._stored = stored
        self._lookup = lookup
        self._bulk = bulk
        self._virtual = virtual if bulk is not None else range(0)
        self._overridden = overridden

    def __len__(self) -> int:
        return len(self._virtual) + len(self._stored)

    def record(self, position: int) -> Record | None:
        """The object at a position; None for one of a bulk that was deleted."""
        if self._bulk is None or position >= len(self._virtual):
            return self._lookup(self._stored[position - len(self._virtual)][2])
        index = self._virtual[position]
        return self._overridden[index] if index in self._overridden else self._bulk.record(index)

    def untouched_bytes(self, position: int) -> bytes | None:
        """The bytes of an object of a bulk that nobody has changed; None for any other."""
        if self._bulk is None or position >= len(self._virtual):
            return None
        index = self._virtual[position]
        return None if index in self._overridden else self._bulk.page_bytes(index)

    def first_created_from(self, moment: int) -> int:
        """The lowest position with ``created >= moment``."""
        virtual = len(self._virtual)
        if self._bulk is not None and virtual:
            position = bisect_left(self._virtual, self._bulk.first_created_from(moment))
            if position < virtual:
                return position
        return virtual + bisect_left(self._stored, (moment, -1, ""))

    def position_of(self, record: Record) -> int | None:
        """Where a record stands among the candidates; None if it is not one."""
        index = self._bulk.index_of(record.key) if self._bulk is not None else None
        if index is not None:
            return self._virtual.index(index) if index in self._virtual else None
        offset = bisect_left(self._stored, record.position)
        if offset < len(self._stored) and self._stored[offset] == record.position:
            return len(self._virtual) + offset
        return None


class Store:
    """All tables of an account.

    ``embedded_types`` are the types that appear whole inside others; a change to one of them makes all rendered
    bytes stale, which ``generation`` tells.
    """

    def __init__(self, link_names: Callable[[str], frozenset[str]], embedded_types: frozenset[str]) -> None:
        self._link_names = link_names
        self._embedded_types = embedded_types
        self._tables: dict[str, Table] = {}
        self._sequence = 0
        self.generation = 0

    def table(self, object_type: str) -> Table:
        """The table of a type, empty if there is nothing yet."""
        table = self._tables.get(object_type)
        if table is None:
            table = Table(object=object_type, link_names=self._link_names(object_type))
            self._tables[object_type] = table
        return table

    def tables(self) -> list[Table]:
        """All tables, by name of the type."""
        return [self._tables[name] for name in sorted(self._tables)]

    def get(self, object_type: str, key: str) -> Record | None:
        """The record of a type with this key."""
        return self.table(object_type).get(key)

    def last_known(self, object_type: str, key: str) -> Record | None:
        """The record, or what it was when it was removed."""
        return self.get(object_type, key) or self.table(object_type).gone.get(key)

    def put(self, record: Record) -> Record:
        """Add a record, or take note that its body changed."""
        table = self.table(record.object)
        index = table.bulk.index_of(record.key) if table.bulk is not None else None
        if index is not None:
            table.overridden[index] = record
        elif record.key not in table.records:
            self._sequence += 1
            record.sequence = record.sequence or self._sequence
            table.records[record.key] = record
            table.gone.pop(record.key, None)
            insort(table.order, record.position)
            self._link(table, record)
        else:
            table.records[record.key] = record
            self._unlink(table, record)
            self._link(table, record)
        self._touch(record)
        return record

    def remove(self, record: Record) -> None:
        """Take a record away. What refers to it goes on naming it."""
        table = self.table(record.object)
        index = table.bulk.index_of(record.key) if table.bulk is not None else None
        if index is not None:
            table.overridden[index] = None
        else:
            del table.records[record.key]
            del table.order[bisect_left(table.order, record.position)]
            self._unlink(table, record)
        table.gone[record.key] = record
        self._touch(record)

    def forget(self, record: Record) -> None:
        """Drop a record for good; the caller takes it out of its table's order."""
        table = self.table(record.object)
        del table.records[record.key]
        self._unlink(table, record)

    def linked(self, object_type: str, name: str, value: str) -> list[Record]:
        """The stored records of which field or fact ``name`` is ``value``, oldest first."""
        table = self.table(object_type)
        found = [table.records[key] for key in table.by_link.get((name, value), ())]
        found.sort(key=lambda record: record.position)
        return found

    def candidates(self, object_type: str, links: Sequence[tuple[str, str]] = ()) -> Candidates:
        """The objects of a type that a list picks from, narrowed by links (the first one narrows those of a bulk)."""
        table = self.table(object_type)
        stored: Sequence[Position] = table.order
        virtual = range(table.bulk.count if table.bulk is not None else 0)
        if links:
            keys = min((table.by_link.get(link, {}) for link in links), key=len)
            stored = sorted(table.records[key].position for key in keys)
            virtual = table.bulk.indexes_linked(*links[0]) if table.bulk is not None else range(0)
        return Candidates(
            stored, table.records.__getitem__, bulk=table.bulk, virtual=virtual, overridden=table.overridden
        )

    def rare_candidates(self, object_type: str, name: str, values: Sequence[str]) -> Candidates | None:
        """The stored objects of which a link is one of the values; None where they are many and a walk finds some."""
        table = self.table(object_type)
        found = [table.by_link.get((name, value), {}) for value in values]
        if table.bulk is not None or sum(map(len, found)) * _RARE > len(table.order):
            return None
        positions = sorted(table.records[key].position for keys in found for key in keys)
        return Candidates(positions, table.records.__getitem__)

    def candidates_of_types(self, object_types: Sequence[str], link: tuple[str, str]) -> Candidates:
        """The stored objects of several types that name the same parent."""
        found = {record.key: record for name in object_types for record in self.linked(name, *link)}
        return Candidates(sorted(record.position for record in found.values()), found.__getitem__)

    def _link(self, table: Table, record: Record) -> None:
        links = [(name, value) for name in table.link_names if isinstance(value := record.link(name), str)]
        record.links = tuple(links)
        for link in links:
            table.by_link.setdefault(link, {})[record.key] = None

    def _unlink(self, table: Table, record: Record) -> None:
        for link in record.links:
            keys = table.by_link[link]
            keys.pop(record.key, None)
            if not keys:
                del table.by_link[link]

    def _touch(self, record: Record) -> None:
        record.generation = -1
        if record.object in self._embedded_types:
            self.generation += 1
