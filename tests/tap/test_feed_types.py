"""Every event type: what it carries becomes a row of that object's table, or is gone from it."""

import json
import logging
from itertools import count
from typing import Any

import pytest
from replica import Reader
from stand_in import NOW, StandInStripe
from test_object_table import FACTS

from tap_stripe_events.changes import AS_OF
from tap_stripe_events.clock import moment
from tap_stripe_events.object_table import REFRESHES, STRIPE_OBJECTS
from tap_stripe_events.objects import stream_name

COUNT = count(1)
NO_ROW = {"billing.alert_triggered", *REFRESHES}  # such an object is a message: the alert itself has a table


def event_types() -> list[tuple[str, str]]:
    """Return every event type with an object that it carries: as the facts say, where they are at hand."""
    if not FACTS.exists():
        return [(kind, name) for name, each in STRIPE_OBJECTS.items() for kind in each.events]
    known = json.loads((FACTS / "events.json").read_text(encoding="utf-8"))["v1_snapshot"]
    return [(kind, name) for kind, fact in known.items() for name in fact["object"]]


def json_object(name: str) -> dict[str, Any]:
    """Return the least that an object of a type is: what its key is made of."""
    own = STRIPE_OBJECTS[name].key == ("account_id",)  # the account's own objects do not say whose they are
    has_id = "id" in STRIPE_OBJECTS[name].key
    named = {} if own else {"account": "acct_2", "customer": "cus_1"}
    return {"object": name, **({"id": f"x_{next(COUNT)}"} if has_id else {}), **named}


def key(name: str, carried: dict[str, Any]) -> str:
    if "id" in STRIPE_OBJECTS[name].key:
        return str(carried["id"])
    return "cus_1" if "customer_id" in STRIPE_OBJECTS[name].key else "acct_1"


@pytest.mark.parametrize(("kind", "name"), [each for each in event_types() if each[1] not in NO_ROW])
def test_an_event_goes_to_the_table_of_the_object_that_it_carries(kind: str, name: str) -> None:
    carried = json_object(name)
    stripe = StandInStripe({f"{name}/everything": []})
    stripe.announce(kind, carried, created=NOW)
    # What events do not hold is read again; here all that there is to read is what the event holds.
    stripe._found = _also(stripe, carried)  # type: ignore[method-assign]
    reader = Reader(stripe)
    assert reader.poll() == 1
    stream = stream_name(name)
    if kind in STRIPE_OBJECTS[name].deleted_by:
        assert reader.tombstones[stream, key(name, carried)] == moment(NOW * 1000 + 999)
        assert not reader.ids(stream)
    else:
        assert reader.values(stream, AS_OF) == {key(name, carried): moment(NOW * 1000 + 999)}
        assert not reader.tombstones
    assert reader.ids("event")


def _also(stripe: StandInStripe, carried: dict[str, Any]) -> Any:
    def found(path: str) -> Any:
        there = StandInStripe._found(stripe, path)
        if there is None and carried.get("id") and path.endswith(str(carried["id"])):
            return carried
        return [] if there is None else there

    return found


def test_there_are_275_event_types_and_14_of_them_delete() -> None:
    kinds = {kind for kind, _ in event_types()}
    deleting = {kind for each in STRIPE_OBJECTS.values() for kind in each.deleted_by}
    assert len(kinds | {"billing.alert.triggered", "entitlements.active_entitlement_summary.updated"}) == 275
    assert len(deleting) == 14
    assert deleting <= kinds


def test_an_invoice_that_is_only_to_come_is_no_row_of_invoice() -> None:
    stripe = StandInStripe({})
    lines = {"object": "list", "data": [{"id": "il_1", "object": "line_item"}], "has_more": True}
    stripe.announce("invoice.upcoming", {"object": "invoice", "customer": "cus_1", "lines": lines})
    reader = Reader(stripe)
    assert reader.poll() == 1
    assert set(reader.rows) == {"event"}
    assert stripe.asked() == []


@pytest.mark.parametrize(
    "carried",
    [
        {"id": "x_1", "object": "hologram"},
        {"id": "x_1"},
        {},
        None,
        "text",
        {"object": "customer"},
        {"id": None, "object": "customer"},
        {"id": {"a": 1}, "object": "customer"},
    ],
)
def test_what_an_event_carries_may_be_unknown_or_odd(carried: Any) -> None:
    stripe = StandInStripe({})
    stripe.announce("hologram.created", carried)
    stripe.announce("customer.created", {"id": "cus_1", "object": "customer"})
    reader = Reader(stripe)
    assert reader.poll() == 2
    assert reader.ids("customer") == {"cus_1"}
    assert len(reader.ids("event")) == 2


def test_an_event_without_anything_in_it_is_a_row_of_event() -> None:
    stripe = StandInStripe({})
    stripe.lists["/v1/events"] = [{"id": "evt_1", "object": "event", "created": NOW, "type": "a", "data": None}]
    reader = Reader(stripe)
    assert reader.poll() == 1
    assert reader.ids("event") == {"evt_1"}


def test_an_unknown_type_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stripe = StandInStripe({})
    reader = Reader(stripe)
    for second in range(5):
        stripe.announce("hologram.created", {"id": f"x_{second}", "object": "hologram"}, created=NOW - second)
        reader.poll()
    stripe.announce("hologram.renamed", {"id": "x_9", "object": "hologram"})
    reader.poll()
    said = [each.getMessage() for each in caplog.records if "hologram" in each.getMessage()]
    assert len(said) == 2
    assert "hologram.created (hologram)" in said[0]


def test_a_message_without_a_table_still_says_what_it_is_about() -> None:
    stripe = StandInStripe({})
    stripe.announce("billing.alert.triggered", {"object": "billing.alert_triggered", "customer": "cus_1"})
    reader = Reader(stripe)
    reader.poll()
    (polled,) = (each for each in reader.items if type(each).__name__ == "Polled")
    assert polled.names == {"billing.alert_triggered"}
