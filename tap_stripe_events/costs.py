"""What keeps each stream fresh and what it costs in requests, in words: for the README and for people who deselect.

Everything is read off the object table, so that the README says what the tap does. A new way of keeping rows fresh
(`KeptBy`) or of asking (`Ask`) needs words here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tap_stripe_events import previews
from tap_stripe_events.families import asks_of, own_lists, owned_child_types, roots_of
from tap_stripe_events.object_table import REFRESHES, STRIPE_LISTS, STRIPE_OBJECTS
from tap_stripe_events.objects import PREVIEWS, Ask, KeptBy, StripeList, StripeObject, stream_name
from tap_stripe_events.previews import CAUSES

_SWEEP = "`sweep_interval_hours`"
_FULL_SWEEP = "`full_sweep_interval_days`"


@dataclass(frozen=True, kw_only=True)
class StreamCost:
    """How a stream is read and kept fresh.

    Attributes:
        stream: The stream.
        announced: What brings its changes at the next poll.
        silent: How changes get in that nothing announces.
        read_by: The lists it comes from.
        requests: What reading these costs.
        gone: How it is found out that rows are gone, and why a listing does not tell, if it does not.
    """

    stream: str
    announced: str
    silent: str
    read_by: str
    requests: str
    gone: str


def stream_costs() -> list[StreamCost]:
    """Return the cost of every stream, by name."""
    return [*(_cost(each) for each in STRIPE_OBJECTS.values()), *(_preview_cost(each) for each in PREVIEWS.values())]


def _preview_cost(preview: StripeObject) -> StreamCost:
    whose = preview.key[0].removesuffix("_id")
    return StreamCost(
        stream=preview.stream,
        announced=f"events of what is billed: {_named(CAUSES)}",
        silent="computed anew every `upcoming_refresh_seconds`; every hour where usage is metered",
        read_by=f"`{previews.PATH}`",
        requests=f"one per `{whose}` that is billed next, and one per 100 `subscription` to know these",
        gone="its own answer, and a day in which it was not there",
    )


def _cost(stripe_object: StripeObject) -> StreamCost:
    name = stripe_object.name
    inside = [
        (owner, each)
        for owner in STRIPE_OBJECTS.values()
        for each in owner.embedded
        if name in each.objects and each.completed_by
    ]
    completing = {each.completed_by: (owner, each) for owner, each in inside}
    paths, costs = [], []
    for each in _lists_of(name):
        paths.append(f"`{each.path}`")
        if each.path in completing:
            owner, embedded = completing[each.path]
            costs.append(f"none where the `{owner.stream}` holds all ({embedded.field}), else one per 100 more")
        else:
            costs.extend(_list_cost(each))
    for owner in _owners_of_dependent(name):
        paths.append(f"inside `{owner.stream}`")
        costs.append("none")
    if not paths:
        paths, costs = ["inside other objects, events"], ["none"]
    return StreamCost(
        stream=stripe_object.stream,
        announced=", ".join(_announced(stripe_object)) or "-",
        silent=_silent(stripe_object),
        read_by=", ".join(dict.fromkeys(paths)),
        requests="; ".join(dict.fromkeys(costs)),
        gone=_gone(stripe_object),
    )


def _lists_of(name: str) -> list[StripeList]:
    return [each for each in STRIPE_LISTS if name in each.objects and each.passes]


def _owners_of_dependent(name: str) -> list[StripeObject]:
    return [each for each in STRIPE_OBJECTS.values() if name in each.dependents.values()]


# What keeps it fresh


def _announced(stripe_object: StripeObject) -> Iterator[str]:
    """Yield what brings changes of a type at the next poll."""
    name = stripe_object.name
    if stripe_object.kept_by is KeptBy.FEED:
        yield "all: they are the events"
    if stripe_object.events:
        yield f"events ({stripe_object.partly})" if stripe_object.partly else "events"
    asks = [ask for each in _lists_of(name) for ask in each.asks if ask.on_event and _comes_with_polls(ask.of)]
    for changed in dict.fromkeys(ask.changed for ask in asks):
        condition = f" when its {_named(changed)} changes" if changed else ""
        yield f"with {_named(ask.of for ask in asks if ask.changed == changed)}{condition}"
    if any(each.path == refresh.path for refresh in REFRESHES.values() for each in _lists_of(name)):
        yield "events that say that its list has changed"
    if hinting := [hint for each in _lists_of(name) for hint in each.hints]:
        yield f"read again after events of {_named(hinting)}"


def _comes_with_polls(name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a poll can bring an object of a type: it has events, or comes with what has."""
    if STRIPE_OBJECTS[name].events:
        return True
    asks = [ask for each in _lists_of(name) for ask in each.asks if ask.on_event and ask.of not in seen]
    return any(_comes_with_polls(ask.of, seen | {name}) for ask in asks)


def _silent(stripe_object: StripeObject) -> str:
    """Return how changes get in that nothing announces: what `plan` and `refresh` do about a type."""
    match stripe_object.kept_by:
        case KeptBy.EVENTS | KeptBy.FEED:
            return "nothing"
        case KeptBy.OTHERS:
            return "not read: it arrives inside other objects"
        case KeptBy.WINDOWS:
            pending = stripe_object.pending
            back = f", back to the oldest whose `{pending.field}` is `{pending.value}`" if pending else ""
            return f"what was created since is read every {_SWEEP}{back}"
        case KeptBy.SWEEPS if not stripe_object.complete and (own := own_lists(stripe_object.name)):
            return f"{', '.join(f'`{each.path}`' for each in own)} read again every {_SWEEP}"
        case KeptBy.SWEEPS:
            return f"listed again every {_SWEEP}"
        case _:
            return f"listed again every {_FULL_SWEEP}"


# How what is gone is found


def _gone(stripe_object: StripeObject) -> str:
    found = list(dict.fromkeys(_ways_to_go(stripe_object)))
    if stripe_object.complete and roots_of(stripe_object.name):
        return ", ".join([*found, "listings"])
    return f"{', '.join(found) or 'nothing'}; not listings: {stripe_object.incomplete_because}"


def _ways_to_go(stripe_object: StripeObject) -> Iterator[str]:
    name = stripe_object.name
    if stripe_object.deleted_by:
        yield "events"
    for begins in stripe_object.gone_after.values():
        yield f"events where its id begins with `{begins}`"
    for owner in STRIPE_OBJECTS.values():
        if name in owner.takes_along or name in owner.dependents.values():
            yield f"with its `{owner.stream}`"
        if name in owned_child_types(owner.name) or _owned_after_events(owner.name, name):
            yield f"the list of its `{owner.stream}`"


def _owned_after_events(owner: str, name: str) -> bool:
    """Whether an event of another type leads to the complete list of an owner's children."""
    paths = {each.path for each in REFRESHES.values() if each.of == owner}
    return any(
        each.path in paths and each.owned and name in each.objects for _, each in asks_of(owner, after_event=True)
    )


# What it costs


def _list_cost(a_list: StripeList) -> Iterator[str]:
    if a_list.parent is None:
        if a_list.single or not a_list.paged:
            yield "one"
        else:
            passes = f", in {len(a_list.passes)} passes" if len(a_list.passes) > 1 else ""
            yield f"one per 100 rows{passes}"
    for ask in a_list.asks:
        yield _ask_cost(ask)


def _ask_cost(ask: Ask) -> str:
    if ask.only_sampled:
        return "up to 25 to make sure"
    whose = f"`{stream_name(ask.of)}`"
    each = f"one per {whose}" if ask.by == "id" else f"one per different `{ask.by}` of {whose}"
    if ask.signals:
        each += f" with {' or '.join(f'`{signal}`' for signal in ask.signals)}"
    if ask.sampled:
        each += ", and up to 25 to make sure"
    if ask.needs:
        each += f", if the account has any `{stream_name(ask.needs)}`"
    if ask.only_events:
        each += " that events tell of"
    return each


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"`{stream_name(name)}`" for name in dict.fromkeys(names))
