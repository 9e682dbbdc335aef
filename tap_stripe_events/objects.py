"""The kinds of facts in the table of Stripe objects, and questions about it.

The table itself, `object_table`, is generated: `make generate` joins what the official `stripe` package says
(`scripts/stripe_library.py`) with what it does not say (`scripts/stripe_facts.py`). No other module of the tap names a
Stripe object; what one of them needs and another does not is a column here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

Parameters: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A rule of when a child list is asked for: with every record of `of`, unless the record says there is nothing.

    Attributes:
        of: The object whose record may lead to a request.
        by: The dotted field of that record which holds the id to ask with. Without a value nothing is asked.
        signals: Dotted fields; all there and all empty means there is nothing to ask for.
        absent_is_empty: A signal that is not there counts as empty.
        sampled: The signals are a habit of Stripe, not a promise: a few records are asked for in spite of them.
        only_sampled: The record says nothing at all: only those few are asked for.
        optional: It adds rows when the tap reads `of` anyway; it is no reason to read `of`.
        needs: An object type of which the account must have at least one.
        on_event: It is asked for again when an event brings a record of `of`.
        only_events: It is asked for then alone.
        changed: Top-level fields; after an event that says what it changed, only if that is one of them.
        added: Rows are only added: after an event, those that are as new as the event are asked for.
        event_signals: The signals to look at in an event's record, where nothing can be expanded.
        event_if_used: These say little: once there was any such row, it is asked for after every event.
    """

    of: str
    by: str = "id"
    signals: tuple[str, ...] = ()
    absent_is_empty: bool = False
    sampled: bool = False
    only_sampled: bool = False
    optional: bool = False
    needs: str | None = None
    on_event: bool = True
    only_events: bool = False
    changed: tuple[str, ...] = ()
    added: bool = False
    event_signals: tuple[str, ...] = ()
    event_if_used: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class StripeList:
    """One list endpoint (or an object that is read by itself) as the tap reads it.

    Attributes:
        path: With the parent's id as `{parameter}` where the path holds it.
        objects: The object types its elements can have.
        passes: Query parameters of each reading that full coverage takes. None at all: the list is not read.
        created: Takes the `created` range filter, so that it can be split into windows of time.
        paged: Takes `limit` and `starting_after`.
        single: Answers one object instead of a list.
        parent: The object type that `parameter` names; None for a top-level list.
        parameter: The path or query parameter that takes the parent's id.
        parameters: Further query parameters and the dotted fields of the asking record that they come from.
        asks: When a child list is asked for.
        owned: The rows get the parent's id as a column, and a complete list is the whole truth about that parent.
        hints: Object types whose events say that the list has probably changed.
        permission: What a restricted key needs to read it, such as `charge_read`; empty if that is not known.
        guessed: Stripe's documentation names none for it: this is that of what it belongs to, or one called alike.
    """

    path: str
    objects: tuple[str, ...]
    passes: tuple[Parameters, ...] = (MappingProxyType({}),)
    created: bool = False
    paged: bool = True
    single: bool = False
    parent: str | None = None
    parameter: str | None = None
    parameters: Parameters = field(default_factory=lambda: MappingProxyType({}))
    asks: tuple[Ask, ...] = ()
    owned: bool = False
    hints: tuple[str, ...] = ()
    permission: str = ""
    guessed: bool = False

    @property
    def element(self) -> str | None:
        """The type of its elements, if it is a list and they are all of one."""
        return self.objects[0] if len(self.objects) == 1 and not self.single else None


@dataclass(frozen=True, kw_only=True)
class EmbeddedList:
    """A Stripe list inside an object: its first ten elements and whether there are more.

    Attributes:
        field: The dotted field that holds it.
        objects: The object types its elements can have.
        on_request: It is there only if asked for with `expand[]`.
        completed_by: The path of the list that has all elements; None where the child type has a list of its own.
    """

    field: str
    objects: tuple[str, ...]
    on_request: bool = False
    completed_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Pending:
    """Rows that change once more, and nobody says of which.

    Attributes:
        field: The field that tells them.
        value: Its value while that is to come.
        hints: Object types whose events say that it has come, for some.
    """

    field: str
    value: str
    hints: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """What an event without a table of its own says: a child list of another object has changed.

    Attributes:
        of: The type of that object.
        by: The field that names it.
        path: The child list.
    """

    of: str
    by: str
    path: str


class KeptBy(StrEnum):
    """What keeps the rows of a type up to date between full sweeps."""

    EVENTS = "events"  # Stripe announces every change
    FEED = "feed"  # they are the events
    PARENTS = "parents"  # they are read with their parents, whenever these change
    WINDOWS = "windows"  # rows are only added: what was created since is read
    SWEEPS = "sweeps"  # Stripe is silent on some changes or all: they are listed again
    OTHERS = "others"  # they only arrive inside other objects
    PREVIEWS = (
        "previews"  # Stripe computes them on request: when events say that they may differ, and from time to time
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class StripeObject:
    """One object type and every way its rows reach us.

    Attributes:
        name: The `object` value, such as `checkout.session`.
        key: The columns of the primary key.
        retrieve: The paths that answer one object, with names of its fields in braces: the first of which it has all.
        embedded: The lists inside it.
        dependents: Fields that hold an object without an id, and its type: a row keyed by this object.
        expand: Dotted fields that the tap asks for with `expand[]` on this object's list.
        nested: Dotted fields inside hashes that hold whole objects whose own lists do not show them all.
        events: The event types that carry it.
        deleted_by: The event types after which it is gone.
        doubtful_after: The event types after which it may be gone.
        gone_after: Event types after which it is gone if its id begins so.
        not_retrieved: How ids begin that no path answers, although the object lives.
        takes_along: Types whose rows are gone with it, unannounced: those that name it.
        vanishes_with_it: Further types, if it vanishes and nobody says so.
        swept_after: When it is deleted, only listings can tell what else is gone.
        kept_by: What keeps its rows up to date.
        partly: What its events leave out; empty if nothing.
        pending: Which of its rows change once more in silence.
        complete: A finished listing shows every live row, so that what it did not see is gone.
        incomplete_because: Why not.
        announced: Stripe lists it or has events for it, so that a copy inside another object may be the older one.
        independent: It lives on when it leaves a parent's list.
        lasting: Nothing deletes it, or it can be retrieved all the same, and no other account has one of its id.
    """

    name: str
    key: tuple[str, ...] = ("id",)
    retrieve: tuple[str, ...] = ()
    embedded: tuple[EmbeddedList, ...] = ()
    dependents: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    expand: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    deleted_by: tuple[str, ...] = ()
    doubtful_after: tuple[str, ...] = ()
    gone_after: Parameters = field(default_factory=lambda: MappingProxyType({}))
    not_retrieved: tuple[str, ...] = ()
    takes_along: tuple[str, ...] = ()
    vanishes_with_it: tuple[str, ...] = ()
    swept_after: bool = False
    kept_by: KeptBy = KeptBy.EVENTS
    partly: str = ""
    pending: Pending | None = None
    complete: bool = True
    incomplete_because: str | None = None
    announced: bool = True
    independent: bool = False
    lasting: bool = False

    @property
    def stream(self) -> str:
        """The name of its stream and table: dots are underscores."""
        return stream_name(self.name)


CUSTOMER_PREVIEW, SUBSCRIPTION_PREVIEW = "upcoming_customer_invoice", "upcoming_subscription_invoice"

PREVIEWS: Mapping[str, StripeObject] = MappingProxyType(
    {
        name: StripeObject(name=name, key=(key,), kept_by=KeptBy.PREVIEWS, complete=False)
        for name, key in ((CUSTOMER_PREVIEW, "customer_id"), (SUBSCRIPTION_PREVIEW, "subscription_id"))
    }
)
"""What Stripe only computes on request: no object type of its own, a stream and a table all the same."""


def stream_name(object_name: str) -> str:
    """Return the stream of an object type: `checkout.session` → `checkout_session`."""
    return object_name.replace(".", "_")


def parent_column(object_name: str) -> str:
    """Return the column that names a parent of this type in its children's rows: `checkout_session_id`."""
    return f"{stream_name(object_name)}_id"
