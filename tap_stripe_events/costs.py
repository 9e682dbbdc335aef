"""What each stream costs in requests, read off the object table: for the README and for people who deselect."""

from collections.abc import Iterator
from dataclasses import dataclass

from tap_stripe_events.families import roots_of
from tap_stripe_events.object_table import STRIPE_LISTS, STRIPE_OBJECTS
from tap_stripe_events.objects import Ask, StripeList, StripeObject


@dataclass(frozen=True, kw_only=True)
class StreamCost:
    """How a stream is read.

    Attributes:
        stream: The stream.
        read_by: The lists it comes from.
        requests: What that costs, in words.
        absence: Whether a finished listing tells what is gone; if not, why.
    """

    stream: str
    read_by: str
    requests: str
    absence: str


def stream_costs() -> list[StreamCost]:
    """Return the cost of every stream, by name."""
    return [_cost(each) for each in STRIPE_OBJECTS.values()]


def _cost(stripe_object: StripeObject) -> StreamCost:
    name = stripe_object.name
    lists = [each for each in STRIPE_LISTS if name in each.objects and each.passes]
    inside = [
        (owner, each)
        for owner in STRIPE_OBJECTS.values()
        for each in owner.embedded
        if name in each.objects and each.completed_by
    ]
    completing = {each.completed_by: (owner, each) for owner, each in inside}
    paths, costs = [], []
    for each in lists:
        paths.append(f"`{each.path}`")
        if each.path in completing:
            owner, embedded = completing[each.path]
            costs.append(f"none where the `{owner.stream}` holds all ({embedded.field}), else one per 100 more")
        else:
            costs.extend(_list_cost(each))
    for owner in STRIPE_OBJECTS.values():
        if name in owner.dependents.values():
            paths.append(f"inside `{owner.stream}`")
            costs.append("none")
    if not paths:
        paths, costs = ["inside other objects, events"], ["none"]
    absence = "yes" if stripe_object.complete and roots_of(name) else f"no: {stripe_object.incomplete_because}"
    return StreamCost(
        stream=stripe_object.stream,
        read_by=", ".join(dict.fromkeys(paths)),
        requests="; ".join(dict.fromkeys(costs)),
        absence=absence,
    )


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
    whose = f"`{ask.of.replace('.', '_')}`"
    each = f"one per {whose}" if ask.by == "id" else f"one per different `{ask.by}` of {whose}"
    if ask.signals:
        each += f" with {' or '.join(f'`{signal}`' for signal in ask.signals)}"
    if ask.sampled:
        each += ", and up to 25 to make sure"
    if ask.needs:
        each += f", if the account has any `{ask.needs.replace('.', '_')}`"
    return each
