"""Who comes with whom: which lists feed a stream, which child lists an object leads to. Read off the object table."""

from collections.abc import Collection, Iterator
from functools import cache

from tap_stripe_events.object_table import STRIPE_LISTS, STRIPE_OBJECTS
from tap_stripe_events.objects import Ask, KeptBy, StripeList, stream_name


@cache
def root_lists() -> tuple[StripeList, ...]:
    """Return the lists that are read without a parent, and the objects that are read by themselves."""
    return tuple(each for each in STRIPE_LISTS if each.parent is None and each.passes)


@cache
def list_paths() -> frozenset[str]:
    """Return the paths that answer a list."""
    return frozenset(each.path for each in STRIPE_LISTS if not each.single)


@cache
def asks_of(name: str, *, after_event: bool = False) -> tuple[tuple[Ask, StripeList], ...]:
    """Return the child lists that a record of this type may lead to, each with the rule.

    Args:
        name: The type.
        after_event: An event brought the record, so that there are child lists to ask for that a listing reads anyway.
    """
    return tuple(
        (ask, each)
        for each in STRIPE_LISTS
        if each.passes
        for ask in each.asks
        if ask.of == name and (after_event or not ask.only_events)
    )


@cache
def asked_if_used() -> frozenset[str]:
    """Return the types that are asked for after events only once the account has had rows of them."""
    return frozenset(name for each in STRIPE_LISTS for ask in each.asks if ask.event_if_used for name in each.objects)


@cache
def owned_child_types(name: str) -> tuple[str, ...]:
    """Return the types whose rows belong to a record of this type: missing from its complete list, they are gone."""
    found = set()
    for ask, each in asks_of(name):
        if each.owned and each.parent == name and ask.by == "id" and not ask.only_sampled:
            found |= {child for child in each.objects if not STRIPE_OBJECTS[child].independent}
    return tuple(sorted(found))


@cache
def owning_lists(name: str, child: str) -> tuple[str, ...]:
    """Return the paths of the lists that together hold a parent's children of a type."""
    return tuple(
        each.path
        for ask, each in asks_of(name)
        if each.owned and each.parent == name and ask.by == "id" and child in each.objects
    )


@cache
def names_by_stream() -> dict[str, str]:
    """Return stream → object type."""
    return {stream_name(name): name for name in STRIPE_OBJECTS}


@cache
def roots_of(name: str, *, optional: bool = False) -> frozenset[StripeList]:
    """Return the root lists that rows of this type come from.

    Args:
        name: The type.
        optional: Also those that add rows if they are read anyway.
    """
    return frozenset(_roots_of(name, (), optional=optional))


def _roots_of(name: str, path: tuple[str, ...], *, optional: bool) -> Iterator[StripeList]:
    if name in path:
        return
    for each in STRIPE_LISTS:
        if name not in each.objects or not each.passes:
            continue
        if each.parent is None and not (each.single and path):  # an account's own objects lead nowhere
            yield each
        for ask in each.asks:
            if (optional or not ask.optional) and not ask.only_events:
                yield from _roots_of(ask.of, (*path, name), optional=optional)
    for owner, each_object in STRIPE_OBJECTS.items():
        if name in each_object.dependents.values():
            yield from _roots_of(owner, (*path, name), optional=optional)


@cache
def only_of_connected() -> frozenset[str]:
    """Return the object types that are listed of connected accounts, and not of one's own."""
    return frozenset(name for each in STRIPE_LISTS if each.parent == "account" for name in each.objects)


def needed_roots(names: Collection[str]) -> tuple[StripeList, ...]:
    """Return the root lists to read for these object types, in the order of the table."""
    needed = {each for name in names for each in roots_of(name)}
    return tuple(each for each in root_lists() if each in needed)


def shows_test_clocks(name: str, roots: frozenset[StripeList], *, livemode: bool) -> bool:
    """Whether reading these root lists brings rows of a type that hang on a test clock; live accounts have none."""
    return livemode or roots_of(name, optional=True) <= roots


@cache
def leads_to(a_list: StripeList) -> frozenset[str]:
    """Return the object types that reading a list can bring: its own, and their children's."""
    return frozenset(_leads_to(a_list, frozenset()))


def _leads_to(a_list: StripeList, seen: frozenset[str]) -> Iterator[str]:
    for name in a_list.objects:
        if name in seen:
            continue
        yield name
        if a_list.single and a_list.parent is None:
            continue  # an account's own objects lead nowhere
        yield from STRIPE_OBJECTS[name].dependents.values()
        for embedded in STRIPE_OBJECTS[name].embedded:
            yield from embedded.objects
        for _, child in asks_of(name):
            yield from _leads_to(child, seen | {name})


@cache
def own_lists(name: str) -> tuple[StripeList, ...]:
    """Return the root lists whose elements are of this type."""
    return tuple(each for each in root_lists() if name in each.objects)


@cache
def unlisted() -> frozenset[str]:
    """Return the types that no list leads to: they arrive inside others, and in events."""
    return frozenset(name for name in STRIPE_OBJECTS if not roots_of(name))


@cache
def brought_unannounced(name: str) -> frozenset[str]:
    """Return the types that events of their own do not keep right, but what comes with an object of this type."""
    asked = {child for ask, each in asks_of(name) if ask.on_event and not ask.optional for child in each.objects}
    brought = {*owned_child_types(name), *STRIPE_OBJECTS[name].dependents.values(), *asked} - {name}
    return frozenset(each for each in brought if STRIPE_OBJECTS[each].kept_by is not KeptBy.EVENTS)


@cache
def brought_by_only(name: str) -> frozenset[str]:
    """Return those of them that come with nothing else."""
    return frozenset(each for each in brought_unannounced(name) if roots_of(each) <= roots_of(name))


@cache
def hung_on(name: str) -> frozenset[str]:
    """Return the types whose rows can be gone with an object of this type, though only listings tell which."""
    lists = [each for each in STRIPE_LISTS if each.parent == name and each.passes]
    return frozenset({name}.union(*(leads_to(each) for each in lists)))


@cache
def hinted_lists(name: str) -> frozenset[StripeList]:
    """Return the root lists that an event about this type makes worth reading again."""
    return frozenset(each for each in STRIPE_LISTS if name in each.hints)


@cache
def asked_with(name: str, path: str) -> frozenset[str]:
    """Return the types whose child lists look at a dotted field of this type's record to save requests."""
    return frozenset(
        brought
        for ask, child in asks_of(name)
        if any(signal == path or signal.startswith(path + ".") for signal in ask.signals)
        for brought in child.objects
    )


@cache
def retrieved_by_id() -> dict[str, StripeList]:
    """Return object type → how one of it is read when only a reference to it is known and no list shows it."""
    return {
        each.objects[0]: each for each in STRIPE_LISTS if each.single and any(not ask.only_events for ask in each.asks)
    }
