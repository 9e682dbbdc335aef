"""One Stripe account: its objects, its clock, its events. All state is here and in its store.

Whoever changes an object says so here: ``create``, ``change`` and ``delete`` keep the store and announce the event
that Stripe would. Only the server's loop touches an account.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.agenda import Agenda
from stripe_sandbox.clock import Clock
from stripe_sandbox.due import due_at
from stripe_sandbox.families import CHILD_LISTS, EMBEDDED, event_type
from stripe_sandbox.feed import FeedSettings, passage
from stripe_sandbox.filters import EVENT_RETENTION_SECONDS
from stripe_sandbox.ids import IdSource, token
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.lists import Lists
from stripe_sandbox.old_versions import as_of_version
from stripe_sandbox.rendering import Renderer, embedded_types, ordered
from stripe_sandbox.shapes import minimal
from stripe_sandbox.store import Body, Record, Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stripe_sandbox.spec import Spec

_OWNERS: Final = ("customer", "subscription", "invoice", "charge", "payment_intent")
_SCOPED: Final = {"capability": "account"}  # ids that are unique only within a parent


@dataclass(frozen=True, kw_only=True)
class Cause:
    """The request that a change comes from; both None where Stripe itself is the cause."""

    request_id: str | None = None
    idempotency_key: str | None = None


class Account:
    """An account in one mode.

    Args:
        spec: The API.
        account_id: ``acct_…``.
        seed: Decides ids and everything random.
        livemode: Whether objects are live.
        clock: The account's time.
        api_version: The account's default version, in which its events are rendered.
        is_connected: Whether it is a platform's connected account. Its events say so, and it is no platform itself.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        account_id: str,
        seed: int = 1,
        livemode: bool = False,
        clock: Clock | None = None,
        api_version: str | None = None,
        is_connected: bool = False,
    ) -> None:
        self.spec = spec
        self.id = account_id
        self.seed = seed
        self.livemode = livemode
        self.is_connected = is_connected
        self.clock = clock or Clock()
        self.api_version = api_version or spec.api_version
        self.random = Random(token(seed, account_id))
        self.ids = IdSource(seed)
        self.store = Store(lambda name: link_names(spec, name), embedded_types(spec))
        self.renderer = Renderer(spec, self.store)
        self.lists = Lists(spec, self.store, self.renderer, own_account=account_id, now=self.clock.now)
        self.ledger = Ledger()
        self.agenda = Agenda(self.clock.now())
        self.test_agendas: dict[str, Agenda] = {}
        self.cause = Cause()
        self.feed = FeedSettings()
        self.announces_from = 0  # history before this moment leaves no events

    def now(self) -> int:
        """Seconds since the epoch, on the account's clock."""
        return self.clock.now()

    def schedule(self, record: Record) -> None:
        """Note when something is due for an object next. Rules and requests do; what nobody notes stays as it is."""
        moment = due_at(record)
        if moment is not None:
            self.agenda_of(record).note(moment, record.object, record.key)

    def agenda_of(self, record: Record) -> Agenda:
        """The agenda that an object's time is on: a test clock's where it belongs to one."""
        clock = self.test_clock_of(record)
        return self.agenda if clock is None else self.test_agenda(clock)

    def test_agenda(self, clock: str) -> Agenda:
        """The agenda of a test clock."""
        if clock not in self.test_agendas:
            found = self.store.last_known("test_helpers.test_clock", clock)
            self.test_agendas[clock] = Agenda(found.body["frozen_time"] if found is not None else self.now())
        return self.test_agendas[clock]

    def moment_of(self, record: Record) -> int:
        """What time it is for an object: the test clock's where it belongs to one."""
        agenda = self.agenda_of(record)
        return self.now() if agenda is self.agenda else agenda.moment

    def add(self, object_type: str, body: Body, *, facts: Mapping[str, Any] | None = None) -> Record:
        """Store an object without announcing it. ``created`` is taken from the body, else it is now."""
        record = self.new_record(object_type, ordered(body), facts=facts)
        self._inherit_test_clock(record)
        return self.store.put(record)

    def new_record(self, object_type: str, body: Body, *, facts: Mapping[str, Any] | None = None) -> Record:
        """A record that is not stored yet."""
        known = dict(facts or {})
        created = body.get("created")
        return Record(
            object_type,
            record_key(object_type, body, known),
            body,
            created=created if isinstance(created, int) else self.now(),
            facts=known,
        )

    def create(
        self,
        object_type: str,
        values: Mapping[str, Any],
        *,
        facts: Mapping[str, Any] | None = None,
        verb: str | None = "created",
    ) -> Record:
        """Store a new object: the emptiest one of its type with ``values`` put in, and announce it.

        ``verb`` names the event (created, attached, …); None announces nothing.
        """
        fields = self.spec.fields(object_type)
        body = minimal(fields, livemode=self.livemode)
        if "id" in fields and "id" not in values:
            body["id"] = self.ids.next(object_type)
        if "created" in fields:
            body["created"] = self.now()
        body["object"] = object_type
        body.update(values)
        record = self.add(object_type, body, facts=facts)
        if verb is not None:
            self.announce(record, verb)
        return record

    def change(self, record: Record, values: Mapping[str, Any], *, verb: str | None = "updated") -> Record:
        """Put new values into an object and announce it; nothing happens where nothing changes."""
        previous = {name: record.body.get(name) for name, value in values.items() if record.body.get(name) != value}
        if not previous:
            return record
        known = previous.keys() <= record.body.keys()
        body = {**record.body, **{name: values[name] for name in previous}}
        record.body = body if known else ordered(body)
        self.store.put(record)
        if verb is not None:
            self.announce(record, verb, previous=previous)
        return record

    def delete(self, record: Record, *, verb: str | None = "deleted") -> None:
        """Remove an object and announce it with its last values."""
        snapshot = self.renderer.body(record)
        self.store.remove(record)
        if verb is not None:
            self.announce(record, verb, snapshot=snapshot)

    def announce(
        self,
        record: Record,
        verb: str,
        *,
        previous: Mapping[str, Any] | None = None,
        snapshot: Body | None = None,
        name: str | None = None,
        about: str | None = None,
    ) -> None:
        """Append an event, if Stripe has one of that name; ``name`` overrides what the type and verb say.

        ``about`` is the connected account that the event comes from, where it is not this one.
        """
        owner = "customer" if record.body.get("customer") is not None else "account"
        kind = name or event_type(record.object, verb, owner=owner)
        if kind not in self.spec.events or self.now() < self.announces_from:
            return
        event_id = f"evt_{self.ids.token()}"
        way = passage(self.feed, seed=self.seed, number=self.ids.made)
        version = way.api_version or self.api_version
        data: Body = {"object": snapshot if snapshot is not None else self.renderer.body(record)}
        if previous is not None:
            data["previous_attributes"] = self._previous(record.object, data["object"], previous)
        origin = about or (self.id if self.is_connected else None)
        body = {
            "id": event_id,
            "object": "event",
            **({"account": origin} if origin is not None else {}),
            "api_version": version,
            "created": self.now(),
            "data": data if version == self.spec.api_version else self._in_version(data, version),
            "livemode": self.livemode,
            "pending_webhooks": 0,
            "request": {"id": self.cause.request_id, "idempotency_key": self.cause.idempotency_key},
            "type": kind,
        }
        facts = {"number": self.ids.made}  # tells the true order, which the feed does not
        if way.late_seconds:
            facts["visible_at"] = self.now() + way.late_seconds
        event = self.new_record("event", body, facts=facts)
        event.sequence = way.place
        self.store.put(event)

    def forget_old_events(self) -> None:
        """Drop the events that are older than Stripe keeps them."""
        table = self.store.table("event")
        aged = bisect_left(table.order, (self.now() - EVENT_RETENTION_SECONDS, -1, ""))
        for _, _, key in table.order[:aged]:
            self.store.forget(table.records[key])
        del table.order[:aged]

    def _previous(self, object_type: str, rendered: Body, previous: Mapping[str, Any]) -> Body:
        """The old values of what changed; of hashes only the members that changed."""
        changed: Body = {}
        for name, old in self.renderer.values(object_type, previous).items():
            new = rendered.get(name)
            if isinstance(old, dict) and isinstance(new, dict) and new and "id" not in new and "object" not in new:
                changed[name] = {key: old.get(key) for key in {**old, **new} if old.get(key) != new.get(key)}
            else:
                changed[name] = old
        return changed

    def _in_version(self, data: Body, version: str) -> Body:
        """An event's data as an older version has it."""
        body = as_of_version(data["object"], version, self._whole)
        if "previous_attributes" not in data:
            return {"object": body}
        return {
            "object": body,
            "previous_attributes": {k: v for k, v in data["previous_attributes"].items() if k in body},
        }

    def _whole(self, object_type: str, key: Any) -> Body | None:
        """An object by id, also one that is gone."""
        record = self.store.last_known(object_type, key) if isinstance(key, str) else None
        return self.renderer.body(record) if record is not None else None

    def test_clock_of(self, record: Record) -> str | None:
        """The test clock that an object belongs to, by itself or by what it belongs to."""
        clock = record.link("test_clock")
        for name in _OWNERS if clock is None else ():
            key = record.link(name)
            owner = self.store.get(name, key) if isinstance(key, str) else None
            if owner is not None:
                clock = owner.link("test_clock")
                break
        return clock if isinstance(clock, str) else None

    def _inherit_test_clock(self, record: Record) -> None:
        """What belongs to a customer on a test clock belongs to the clock."""
        customer = record.link("customer")
        if record.link("test_clock") is None and isinstance(customer, str):
            owner = self.store.get("customer", customer)
            clock = owner.link("test_clock") if owner is not None else None
            if clock is not None and "test_clock" in record.body:
                record.body["test_clock"] = clock
            elif clock is not None:
                record.facts["test_clock"] = clock


def record_key(object_type: str, body: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """What finds an object within its type: its id, with its parent's where that alone is not unique."""
    scope = _SCOPED.get(object_type)
    if scope is not None:
        return f"{body.get(scope, facts.get(scope))}:{body['id']}"
    return str(body["id"]) if "id" in body else str(facts.get("key", object_type))


def link_names(spec: Spec, object_type: str) -> frozenset[str]:
    """The fields and facts by which objects of a type are looked up: those that name a parent or filter a list."""
    names = {embedded.link for embedded in EMBEDDED if object_type in embedded.children}
    names.update(_MORE_LINKS.get(object_type, ()))
    for endpoint in spec.lists:
        if object_type in endpoint.objects:
            child = CHILD_LISTS.get(endpoint.path)
            if child is not None:
                names.add(child.link)
            names.update(endpoint.params.keys() & _LINK_PARAMS)
    return frozenset(names)


_MORE_LINKS: Final = {"discount": ("customer",), "event": ("type",), "subscription_item": ("price",)}
_LINK_PARAMS: Final = frozenset(
    {
        "account",
        "card",
        "cardholder",
        "charge",
        "coupon",
        "customer",
        "email",
        "financial_account",
        "invoice",
        "payment_intent",
        "payment_record",
        "payout",
        "product",
        "setup_intent",
        "source",
        "subscription",
        "test_clock",
        "value_list",
    }
)
