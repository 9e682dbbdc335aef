"""What an event says: which object it is about, and what can be done about that.

Functions of one event, read off the object table; `fold` weighs several, `feed` reads them.
"""

import re
from collections.abc import Collection
from functools import cache
from urllib.parse import quote

from tap_stripe_events import changes
from tap_stripe_events.families import asks_of
from tap_stripe_events.fold import Announcement
from tap_stripe_events.object_table import REFRESHES, STRIPE_OBJECTS
from tap_stripe_events.objects import StripeObject
from tap_stripe_events.shapes import StripeJson, reference_id

_PLACEHOLDER = re.compile(r"{(\w+)}")


def carried(event: StripeJson) -> tuple[str, StripeJson] | None:
    """Return the type of the object that an event carries, and the object; None if it carries none."""
    wrapped = event.get("data")
    json_object = wrapped.get("object") if isinstance(wrapped, dict) else None
    name = json_object.get("object") if isinstance(json_object, dict) else None
    return (name, json_object) if isinstance(json_object, dict) and isinstance(name, str) else None


def announcement(event: StripeJson, name: str, json_object: StripeJson) -> Announcement | None:
    """Return what an event announces; None if its object has no id, such as an invoice that is only to come."""
    if name in REFRESHES:
        key: tuple[str, ...] | None = (reference_id(json_object.get(REFRESHES[name].by)) or "",)
    else:
        key = changes.key_values(name, json_object)
    if key is None:
        return None
    before = event["data"].get("previous_attributes")
    version = event.get("api_version")
    return Announcement(
        id=event["id"],
        type=str(event.get("type")),
        created=event["created"],
        version=version if isinstance(version, str) else None,
        identity=(name, *key),
        json=json_object,
        changed=frozenset(before) if isinstance(before, dict) else None,
    )


def gone_after(announced: Announcement) -> Collection[str]:
    """Return the event types after which an object is gone."""
    stripe_object = STRIPE_OBJECTS.get(announced.identity[0])
    if stripe_object is None:
        return ()
    identifier = announced.identity[-1]
    return (
        *stripe_object.deleted_by,
        *(event for event, begins in stripe_object.gone_after.items() if identifier.startswith(begins)),
    )


def retrieval(stripe_object: StripeObject, json_object: StripeJson) -> tuple[str, str] | None:
    """Return the path that answers an object, and the path's form; None if none does."""
    if str(json_object.get("id", "")).startswith(stripe_object.not_retrieved):
        return None
    for form in stripe_object.retrieve:
        names = _PLACEHOLDER.findall(form)
        values = {name: reference_id(json_object.get(name)) for name in names}
        if None not in values.values():
            path = _PLACEHOLDER.sub(lambda match: quote(values[match[1]] or "", safe=""), form)  # noqa: B023 - used at once
            return path, form
    return None


@cache
def brought_by(name: str) -> frozenset[str]:
    """Return the types of which an object of this type can bring rows when an event tells of it."""
    stripe_object = STRIPE_OBJECTS[name]
    return frozenset(
        {
            name,
            *stripe_object.dependents.values(),
            *(child for each in stripe_object.embedded for child in each.objects),
            *(child for _, each in asks_of(name, after_event=True) for child in each.objects),
        }
    )


@cache
def only_expanded(name: str) -> tuple[str, ...]:
    """Return the fields that become columns, and are there only when they are asked for."""
    stripe_object = STRIPE_OBJECTS[name]
    lists = {each.field for each in stripe_object.embedded}
    return tuple(each for each in stripe_object.expand if each not in lists and each not in stripe_object.dependents)


def told_lists(announced: Announcement) -> frozenset[str]:
    """Return the paths of the lists that an event's payload holds."""
    stripe_object = STRIPE_OBJECTS.get(announced.identity[0])
    embedded = stripe_object.embedded if stripe_object is not None else ()
    return frozenset(each.completed_by for each in embedded if each.completed_by and each.field in announced.json)


@cache
def owners(name: str) -> tuple[tuple[str, str], ...]:
    """Return the types that hold a list of this type, if it has events of its own, and the path of the list."""
    if name not in STRIPE_OBJECTS or not STRIPE_OBJECTS[name].events:
        return ()
    return tuple(
        (owner, each.completed_by)
        for owner, stripe_object in STRIPE_OBJECTS.items()
        for each in stripe_object.embedded
        if name in each.objects and each.completed_by
    )


def brings_children(name: str, changed: frozenset[str] | None) -> bool:
    """Whether what an event says has changed is a reason to read child lists, though the object itself is known."""
    return changed is not None and any(
        ask.on_event and not changed.isdisjoint(ask.changed) for ask, _ in asks_of(name, after_event=True)
    )
