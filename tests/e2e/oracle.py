"""What Postgres must hold, computed from what Stripe holds, and every difference.

Independent on purpose: it knows the rules of the tables (a scalar keeps its name, a reference becomes ``<field>_id``,
an embedded list becomes rows, anything else is ``jsonb``) and the types of the API's fields, and nothing of the tap or
the target. ``differences`` compares every cell of every table.

Odd: two kinds of rows may be there and need not. What no list shows (detached payment methods, prices made inline,
closed reviews) can still arrive inside another object. A row that only fills a gap (``_sdc_as_of`` of the year 1) was
copied from another object, so it may equal any copy rather than the object itself.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg.types.json import set_json_loads

import stripe_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import psycopg

GAP_FILLER = datetime(1, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_10000 = 253_402_300_800
BIGINT_MAX = 2**63 - 1
OWN_SCHEMA_PREFIX = "_"  # the target's own tables
EXTRA = "_extra"

KEYS: Mapping[str, tuple[str, ...]] = {
    "balance": ("account_id",),
    "balance_settings": ("account_id",),
    "capability": ("account_id", "id"),
    "cash_balance": ("customer_id",),
    "line_item": ("invoice_id", "id"),
    "tax_settings": ("account_id",),
    "upcoming_customer_invoice": ("customer_id",),
    "upcoming_subscription_invoice": ("subscription_id",),
}
"""Tables whose key is not ``id``."""

FORGOTTEN = frozenset({"event"})
"""Tables whose rows stay when Stripe no longer knows of them."""

SECRET_ANYWHERE = frozenset({"client_secret", "confirmation_secret"})
SECRET_OF_TYPE: Mapping[str, frozenset[str]] = {
    "apps.secret": frozenset({"payload"}),
    "issuing.card": frozenset({"number", "cvc"}),
    "webhook_endpoint": frozenset({"secret"}),
}
REFERENCES = frozenset({"expandable", "ref", "union"})
COLUMN_TYPES: Mapping[tuple[str, str | None], str] = {
    ("string", None): "text",
    ("string", "currency"): "text",
    ("string", "decimal"): "numeric",
    ("integer", None): "bigint",
    ("integer", "amount"): "bigint",
    ("integer", "unix-time"): "timestamp with time zone",
    ("integer", "unix-time-ms"): "timestamp with time zone",
    ("number", None): "numeric",
    ("boolean", None): "boolean",
    ("object", None): "jsonb",
    ("map", None): "jsonb",
    ("array", None): "jsonb",
}

Key = tuple[str, ...]


class MisfitError(ValueError):
    """A value that its column cannot hold; it stays, as sent, in ``_extra``."""


@dataclass(frozen=True, kw_only=True)
class StripeObject:
    """A line of the sandbox's truth."""

    object: str
    key: str
    facts: Mapping[str, Any]
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row that is expected. ``required``: some list shows it."""

    cells: Mapping[str, Any]
    required: bool


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One cell (or, with column ``*``, one row) that is not as it should be."""

    table: str
    key: Key
    column: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        key = "/".join(map(str, self.key))
        return f"{self.table} {key} {self.column}: expected {_short(self.expected)}, found {_short(self.found)}"


@dataclass(kw_only=True)
class Expectation:
    """The rows of every table, and the copies of objects that other objects carry."""

    rows: dict[str, dict[Key, Row]] = field(default_factory=lambda: defaultdict(dict))
    copies: dict[str, dict[Key, list[Mapping[str, Any]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    carried: set[tuple[str, Key]] = field(default_factory=set)  # whole in a field of a row that is required
    parents: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by table, the columns that name a parent


class Oracle:
    """Knows the API's fields, from the sandbox's specification, and the account."""

    def __init__(self, account_id: str) -> None:
        spec = json.loads(Path(stripe_sandbox.__file__).with_name("spec.json").read_text())
        self.account_id = account_id
        self.fields: dict[str, dict[str, Any]] = {name: each["fields"] for name, each in spec["objects"].items()}
        preview = {name: each for name, each in self.fields["invoice"].items() if name != "id"}
        self.fields |= dict.fromkeys(PREVIEWS, preview | {"lines": {"type": "object"}})
        self.listed: set[str] = {name for each in spec["lists"] for name in each["objects"]}
        self.with_id = {name for name, fields in self.fields.items() if "id" in fields}

    def expect(self, objects: Iterable[StripeObject]) -> Expectation:
        """Compute the rows that these objects are."""
        everything = list(objects)
        by_key = {(each.object, each.key): each for each in everything}
        expectation = Expectation(parents={table(name): frozenset(columns) for name, columns in PARENTS.items()})
        for each in everything:
            name = table(each.object)
            cells = self.row(each)
            row = Row(cells=cells, required=self._is_listed(each, by_key))
            expectation.rows[name][key_of(name, cells)] = row
            for copy, in_a_field in self._copies(each.object, each.body):
                kind, copied = table(copy["object"]), self.cells(copy["object"], copy, {})
                key = key_of(kind, copied)
                expectation.copies[kind][key].append(copied)
                if in_a_field and row.required and each.object != "event" and not copy.get("deleted"):
                    expectation.carried.add((kind, key))
        return expectation

    def row(self, each: StripeObject) -> dict[str, Any]:
        """Return the value of each column of an object's row, with those that name its parents."""
        return self.cells(each.object, each.body, self._parents(each))

    def columns(self, object_type: str) -> dict[str, str]:
        """Return the columns that the fields of an object become, with their Postgres types."""
        columns = {}
        for name, spec in self.fields[object_type].items():
            if spec["type"] == "list" or name in _secrets(object_type):
                continue
            if self._has_own_row(spec):
                if not self._without_key(spec):
                    columns[f"{name}_id"] = "text"
            elif spec["type"] in REFERENCES:
                columns[name] = "jsonb"
            else:
                columns[name] = COLUMN_TYPES[spec["type"], spec.get("format")]
        return columns

    def cells(self, object_type: str, body: Mapping[str, Any], parents: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of each column of an object's row."""
        fields = self.fields[object_type]
        cells: dict[str, Any] = dict.fromkeys(self.columns(object_type))
        extra = {}
        for name, value in _without_secrets(body, object_type).items():
            spec = fields.get(name)
            if spec is None:
                extra[name] = value
            elif spec["type"] == "list":
                continue
            elif self._has_own_row(spec):
                if not self._without_key(spec):
                    try:
                        cells[f"{name}_id"] = _reference(value)
                    except MisfitError:
                        extra[name] = value
            else:
                try:
                    cells[name] = _stored(spec, value)
                except MisfitError:
                    extra[name] = value
        cells.update(parents)
        cells[EXTRA] = _storable(extra) or None
        return cells

    def _has_own_row(self, spec: Mapping[str, Any]) -> bool:
        """Whether a field refers to objects that have tables; others, such as features, are plain values."""
        if spec["type"] not in REFERENCES:
            return False
        return any(name in self.with_id or table(name) in KEYS for name in spec["objects"]) or not spec["objects"]

    def _without_key(self, spec: Mapping[str, Any]) -> bool:
        """Whether the objects that a field refers to have no id to refer to: their rows name this one."""
        return bool(spec["objects"]) and not any(name in self.with_id for name in spec["objects"])

    def _parents(self, each: StripeObject) -> dict[str, Any]:
        """Return the columns that name the parents of an object, beyond its own fields."""
        known = {**each.body, **each.facts}
        return {
            column: next(filter(None, map(known.get, names)), None) if names else self.account_id
            for column, names in PARENTS.get(each.object, {}).items()
        }

    def _copies(self, object_type: str, body: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], bool]]:
        """Yield the whole objects inside an object, and whether one is the value of a field of its own."""
        for name, value in body.items():
            spec = self.fields[object_type].get(name, {})
            own = spec.get("type") in REFERENCES
            for found in _whole_objects(value):
                if found["object"] in self.fields and found["object"] in self.with_id:
                    yield found, own and found is value

    def _is_listed(self, each: StripeObject, by_key: Mapping[tuple[str, str], StripeObject]) -> bool:
        """Whether a list shows the object, so that it must be there."""
        if each.object not in self.listed and each.object not in SINGLE:
            return False
        hidden = HIDDEN.get(each.object)
        return not (hidden and hidden(each, by_key, self.account_id))


PREVIEWS = frozenset({"upcoming_customer_invoice", "upcoming_subscription_invoice"})
"""Invoices that are only to come."""

SINGLE = PREVIEWS | {"balance", "balance_settings", "cash_balance", "tax.settings"}
"""Retrieved one by one, or inside their customer."""


def _never(*_: Any) -> bool:
    return True


def _unattached(each: StripeObject, *_: Any) -> bool:
    return bool(each.facts.get("detached")) or not each.body.get("customer")


def _of_nobody(each: StripeObject, _: Any, own: str) -> bool:
    """Of no customer, and of no account but one's own, whose external accounts are not listed."""
    return not each.body.get("customer") and each.body.get("account") in {None, own}


def _of_oneself(each: StripeObject, _: Any, own: str) -> bool:
    """Of one's own account, of which that is not listed; of a connected one it is, in the platform's lists."""
    return bool(each.body["account"] == own)


def _closed_and_unnamed(each: StripeObject, everything: Mapping[tuple[str, str], StripeObject], _: str) -> bool:
    named = {other.body.get("review") for other in everything.values() if other.object == "charge"}
    return not each.body["open"] and each.key not in named


def _of_an_unattached_source(each: StripeObject, everything: Mapping[tuple[str, str], StripeObject], _: str) -> bool:
    return _unattached(everything["source", each.body["source"]])


HIDDEN: Mapping[str, Callable[[StripeObject, Mapping[tuple[str, str], StripeObject], str], bool]] = {
    "apps.secret": lambda each, *_: each.body["scope"]["type"] == "user",
    "bank_account": _of_nobody,
    "billing.meter_event_summary": _never,
    "capability": _of_oneself,
    "card": _of_nobody,
    "payment_method": _unattached,
    "person": _of_oneself,
    "price": lambda each, *_: bool(each.facts.get("inline")),
    "review": _closed_and_unnamed,
    "source": _unattached,
    "source_transaction": _of_an_unattached_source,
    "tax.calculation_line_item": _never,
    "tax.transaction_line_item": _never,
}
"""Why an object of a type that has a list is in none."""

PARENTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "account": {"customer_id": ("customer",)},
    "balance": {"account_id": ()},
    "balance_settings": {"account_id": ()},
    "cash_balance": {"customer_id": ("key", "customer")},
    "credit_note_line_item": {"credit_note_id": ("credit_note",)},
    "entitlements.active_entitlement": {"customer_id": ("customer",)},
    "fee_refund": {"application_fee_id": ("fee",)},
    "item": {
        "checkout_session_id": ("checkout_session",),
        "payment_link_id": ("payment_link",),
        "quote_id": ("quote", "quote_upfront"),
    },
    "line_item": {"invoice_id": ("invoice",)},
    "payment_intent_amount_details_line_item": {"payment_intent_id": ("payment_intent",)},
    "person": {"account_id": ("account",)},
    "product_feature": {"product_id": ("product",)},
    "radar.value_list_item": {"radar_value_list_id": ("value_list",)},
    "source": {"customer_id": ("customer",)},
    "subscription_item": {"subscription_id": ("subscription",)},
    "tax.settings": {"account_id": ()},
    **{name: {"subscription_id": ("subscription",)} for name in PREVIEWS},
    "treasury.transaction_entry": {"treasury_transaction_id": ("transaction",)},
}
"""The columns that name a child's parent where no reference of its own does, and the fact or field that holds the id.

Without one it is the account itself.
"""


def table(object_type: str) -> str:
    """Return the table of an object type."""
    return object_type.replace(".", "_")


def key_of(name: str, cells: Mapping[str, Any]) -> Key:
    """Return the primary key of a row."""
    return tuple(cells.get(column) for column in KEYS.get(name, ("id",)))


def parse_truth(lines: Iterable[str | bytes]) -> Iterator[StripeObject]:
    """Read the sandbox's truth, numbers as the decimals they are."""
    for line in lines:
        each = json.loads(line, parse_float=Decimal)
        yield StripeObject(object=each["object"], key=each["key"], facts=each["facts"], body=each["data"])


def differences(
    connection: psycopg.Connection[Any],
    expectation: Expectation,
    *,
    schema: str = "stripe",
    tables: Iterable[str] | None = None,
) -> list[Difference]:
    """Compare every cell of every table (or of some); empty if all is right.

    A row that is marked as deleted must not be expected; one that is not expected must not be there.
    """
    set_json_loads(partial(json.loads, parse_float=Decimal), connection)
    there = table_names(connection, schema)
    wanted = set(tables) if tables is not None else there | set(expectation.rows)
    found: list[Difference] = []
    for name in sorted(wanted):
        rows = _rows(connection, schema, name) if name in there else {}
        found += _table_differences(name, rows, expectation)
    return found


def table_names(connection: psycopg.Connection[Any], schema: str = "stripe") -> set[str]:
    """Return the tables that hold Stripe objects."""
    names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)).fetchall()
    return {name for (name,) in names if not name.startswith(OWN_SCHEMA_PREFIX)}


def column_types(connection: psycopg.Connection[Any], schema: str = "stripe") -> dict[str, dict[str, str]]:
    """Return each table's columns and their types."""
    types: dict[str, dict[str, str]] = defaultdict(dict)
    for name, column, kind in connection.execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = %s", (schema,)
    ):
        types[name][column] = kind
    return types


def _rows(connection: psycopg.Connection[Any], schema: str, name: str) -> dict[Key, dict[str, Any]]:
    cursor = connection.execute(f'SELECT * FROM "{schema}"."{name}"')
    columns = [each.name for each in cursor.description or ()]
    rows = (dict(zip(columns, values, strict=True)) for values in cursor)
    return {key_of(name, row): row for row in rows}


def _table_differences(
    name: str, rows: Mapping[Key, Mapping[str, Any]], expectation: Expectation
) -> Iterator[Difference]:
    yield from _missing_rows(name, rows, expectation)
    expected, copies = expectation.rows.get(name, {}), expectation.copies.get(name, {})
    for key, stored in rows.items():
        if stored["_sdc_deleted_at"] is not None:
            continue
        choices = [expected[key].cells] if key in expected else []
        if stored["_sdc_as_of"] == GAP_FILLER:
            choices += copies.get(key, [])
        if choices:
            found = [list(_cell_differences(name, key, cells, stored)) for cells in choices]
            # A copy does not say whose child it is; the row may know.
            found[key in expected :] = [
                [each for each in copied if each.column not in expectation.parents.get(name, ())]
                for copied in found[key in expected :]
            ]
            yield from min(found, key=len)
        elif name not in FORGOTTEN:
            yield Difference(table=name, key=key, column="*", expected="no row", found="a row")


def _missing_rows(name: str, rows: Mapping[Key, Mapping[str, Any]], expectation: Expectation) -> Iterator[Difference]:
    listed = {key for key, row in expectation.rows.get(name, {}).items() if row.required}
    carried = {key for kind, key in expectation.carried if kind == name and key in expectation.rows.get(name, {})}
    for key in listed | carried:
        stored = rows.get(key)
        if stored is None or stored["_sdc_deleted_at"] is not None:
            yield Difference(table=name, key=key, column="*", expected="a row", found=stored and "a deleted row")


def _cell_differences(name: str, key: Key, cells: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[Difference]:
    for column, value in cells.items():
        if column not in stored:
            yield Difference(table=name, key=key, column=column, expected="a column", found=None)
        elif not same(value, stored[column]):
            yield Difference(table=name, key=key, column=column, expected=value, found=stored[column])
    for column in stored.keys() - cells.keys():
        if not column.startswith("_sdc_") and stored[column] is not None and column not in KEYS.get(name, ()):
            yield Difference(table=name, key=key, column=column, expected="no such column", found=stored[column])


def same(expected: Any, found: Any) -> bool:
    """Whether two values are equal, numbers by value, booleans never as numbers."""
    match expected:
        case dict():
            return (
                isinstance(found, dict)
                and expected.keys() == found.keys()
                and all(same(value, found[name]) for name, value in expected.items())
            )
        case list():
            return (
                isinstance(found, list)
                and len(expected) == len(found)
                and all(same(one, other) for one, other in zip(expected, found, strict=True))
            )
    return isinstance(expected, bool) == isinstance(found, bool) and bool(expected == found)


def _stored(spec: Mapping[str, Any], value: Any) -> Any:
    """Return what the column of a field holds for a value; raises MisfitError if it cannot."""
    if value is None:
        return None
    match spec["type"], value:
        case "string", str():
            return _text(spec.get("format"), value)
        case "boolean", bool():
            return value
        case "integer" | "number", int() | Decimal() if not isinstance(value, bool):
            return _number(spec, value)
        case "object" | "map" | "array" | "ref", _:
            return _storable(_without_lists(spec, value))
    raise MisfitError


def _text(form: str | None, value: str) -> Any:
    if form == "decimal":
        try:
            return Decimal(value)
        except InvalidOperation:
            raise MisfitError from None
    return _storable(value).lower() if form == "currency" else _storable(value)


def _number(spec: Mapping[str, Any], value: int | Decimal) -> Any:
    if spec["type"] == "number":
        return Decimal(value)
    if spec.get("format") in {"unix-time", "unix-time-ms"}:
        seconds = value if spec["format"] == "unix-time" else value / 1000
        if not 0 <= seconds < YEAR_10000:
            raise MisfitError
        return EPOCH + timedelta(seconds=float(seconds))
    if isinstance(value, Decimal) or abs(value) > BIGINT_MAX:
        raise MisfitError
    return value


def _reference(value: Any) -> Any:
    match value:
        case None | str():
            return value
        case {"id": str(identifier)}:
            return identifier
    raise MisfitError


def _storable(value: Any) -> Any:
    """Return a value with what Postgres cannot store replaced."""
    match value:
        case str() if value.isascii() and "\0" not in value:
            return value  # nearly all
        case str():
            return "".join("\ufffd" if each == "\0" or "\ud800" <= each <= "\udfff" else each for each in value)
        case dict():
            return {_storable(name): _storable(inner) for name, inner in value.items()}
        case list():
            return [_storable(inner) for inner in value]
    return value


def _without_lists(spec: Mapping[str, Any], value: Any) -> Any:
    """Return a value without the embedded lists that its field declares: they are rows."""
    if isinstance(value, dict) and "fields" in spec:
        inner = spec["fields"]
        return {
            name: _without_lists(inner.get(name, {}), each)
            for name, each in value.items()
            if inner.get(name, {}).get("type") != "list"
        }
    return value


def _secrets(object_type: str) -> frozenset[str]:
    return SECRET_ANYWHERE | SECRET_OF_TYPE.get(object_type, frozenset())


def _without_secrets(value: Any, object_type: str = "") -> Any:
    match value:
        case dict():
            hidden = _secrets(str(value.get("object", object_type)))
            return {name: _without_secrets(each) for name, each in value.items() if name not in hidden}
        case list():
            return [_without_secrets(each) for each in value]
    return value


def _whole_objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the objects with an id in a value, the outermost first."""
    match value:
        case dict():
            if isinstance(value.get("id"), str) and isinstance(value.get("object"), str):
                yield value
            for inner in value.values():
                yield from _whole_objects(inner)
        case list():
            for inner in value:
                yield from _whole_objects(inner)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
