"""What an answer shows, and whether Postgres has it, computed apart from the proxy's own code.

The row that is expected is the one of the answer's object, by the rules of the tables that ``oracle`` knows. Whose
child it is and what is only shown on request the sandbox's truth says.
"""

from __future__ import annotations

import json
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from oracle import KEYS, Oracle, StripeObject, key_of, same, table
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads
from stripe_account import SHOWN_ON_REQUEST

from stripe_sandbox.rendering import parse_expand
from tap_stripe_events.object_table import STRIPE_OBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from stripe_sandbox.sandbox import Sandbox
    from stripe_sandbox.store import Record

LISTS = {"list", "search_result"}
UNTOLD = {("entitlements_active_entitlement", "customer_id")}
"""What an object that is retrieved alone does not say, nor its address: a parent that only its list names."""


def shown(body: Any, *, expanded: frozenset[str] = frozenset()) -> Iterator[dict[str, Any]]:
    """Yield the objects that an answer says are so: its own, list elements, and those in the fields ``expanded``."""
    if body.get("object") in LISTS:
        for each in body["data"]:
            yield from shown(each, expanded=expanded)
        return
    if body.get("object") in STRIPE_OBJECTS:
        yield body
    for name, value in body.items():
        if isinstance(value, dict) and value.get("object") == "list":
            yield from shown(value)
        elif name in expanded and isinstance(value, dict) and value.get("object") in STRIPE_OBJECTS and "id" in value:
            yield value


class Tables:
    """Compares rows with a sandbox's truth."""

    def __init__(self, sandbox: Sandbox, connection: psycopg.Connection[Any]) -> None:
        self._sandbox = sandbox
        self._connection = connection
        self._oracle = Oracle(sandbox.account.id)
        set_json_loads(partial(json.loads, parse_float=Decimal), connection)

    def differences(self, body: dict[str, Any]) -> Iterator[str]:
        """Name what the row of an object that an answer shows has other than it should have."""
        name = table(body["object"])
        if body.get("deleted"):
            yield from self._still_there(name, body)
            return
        found = self._sandbox.run(lambda: self._told(body))
        cells = self._oracle.row(found)
        key = key_of(name, cells)
        stored = self._row(name, dict(zip(KEYS.get(name, ("id",)), key, strict=True)))
        if stored is None or stored["_sdc_deleted_at"] is not None:
            yield f"{name} {key}: no row"
            return
        for column, value in cells.items():
            if (name, column) in UNTOLD and stored[column] is None:
                continue
            if column not in stored or not same(value, stored[column]):
                yield f"{name} {key} {column}: expected {value!r}, found {stored.get(column, 'no column')!r}"

    def differences_from_truth(self, body: dict[str, Any]) -> Iterator[str]:
        """Name what the row of an object has other than the sandbox really holds now, whatever an answer said."""
        record = self._sandbox.run(lambda: self._record(body))
        if record is None:
            yield from self._still_there(table(body["object"]), body)
            return
        text = self._sandbox.run(lambda: json.dumps(self._sandbox.account.renderer.body(record)))
        yield from self.differences(json.loads(text, parse_float=Decimal))

    def _still_there(self, name: str, body: dict[str, Any]) -> Iterator[str]:
        stored = self._row(name, {"id": body["id"]}) if "id" in body else None
        if stored is not None and stored["_sdc_deleted_at"] is None:
            yield f"{name} {body['id']}: a row of what is gone"

    def _row(self, name: str, key: dict[str, Any]) -> dict[str, Any] | None:
        if self._connection.execute("SELECT to_regclass(%s)", (f"stripe.{name}",)).fetchone() == (None,):
            return None
        condition = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in key)
        query = sql.SQL("SELECT * FROM {} WHERE {}").format(sql.Identifier("stripe", name), condition)
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, tuple(key.values())).fetchone()

    def _told(self, body: dict[str, Any]) -> StripeObject:
        """In the sandbox's thread: the object with what the answer does not say of it."""
        account, record = self._sandbox.account, self._record(body)
        shapes = account.spec.fields(body["object"])
        body = {
            name: value["id"]
            if isinstance(value, dict) and name in shapes and shapes[name].type == "expandable"
            else value
            for name, value in body.items()
        }
        if record is None:
            return StripeObject(object=body["object"], key=body.get("id", ""), facts={}, body=body)
        fields = SHOWN_ON_REQUEST.get(record.object, ())
        whole = account.renderer.body(record, parse_expand(fields, account.spec, [record.object], listed=False))
        more = {name: whole[name] for name in fields if name in whole}
        facts, more = json.loads(json.dumps([record.facts, more]), parse_float=Decimal)
        return StripeObject(object=record.object, key=record.key, facts=facts, body={**body, **more})

    def _record(self, body: dict[str, Any]) -> Record | None:
        store, name = self._sandbox.account.store, body["object"]
        if name == "capability":
            owner = body["account"]
            return store.get(name, f"{owner['id'] if isinstance(owner, dict) else owner}:{body['id']}")
        if name == "cash_balance":
            return store.get(name, body["customer"])
        return store.get(name, body.get("id", name))
