"""What is under way: windows of root lists, pages of them, single objects, and the children that these wait for."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from tap_stripe_events.bookmarks import OpenWindow
from tap_stripe_events.changes import Change, Read
from tap_stripe_events.client import Request
from tap_stripe_events.clock import moment
from tap_stripe_events.objects import StripeList, stream_name
from tap_stripe_events.shapes import StripeJson


@dataclass(kw_only=True, eq=False)
class Window:
    """A stretch of a root list, as it is being read.

    Attributes:
        root: The list.
        parameters: The pass.
        start: The first second of `created` in it; None: no lower bound.
        end: The second after the last one; None: no upper bound.
        after: The last object that was delivered, as in the bookmark.
        after_created: That object's `created`.
        cursor: The last object that was received.
        oldest: That object's `created`.
        ordered: What came so far was newest first.
        page_seconds: The stretch of `created` that a page covers, by the last one.
        reach: How many pages to keep when it is split and has no lower bound.
        exhausted: The last page has been received.
        requested: The next page is on its way.
        units: Pages that were received and not yet delivered.
        cursors: All cursors so far, to notice a list that repeats itself.
        fallbacks: Ids before the cursor, nearest last.
        restarts: How often the object under the cursor had vanished.
    """

    root: StripeList
    parameters: dict[str, str]
    start: int | None = None
    end: int | None = None
    after: str | None = None
    after_created: int | None = None
    cursor: str | None = None
    oldest: int | None = None
    ordered: bool = True
    page_seconds: int | None = None
    reach: int = 32
    exhausted: bool = False
    requested: bool = False
    units: deque["Unit"] = field(default_factory=deque)
    cursors: set[str] = field(default_factory=set)
    fallbacks: list[str] = field(default_factory=list)
    restarts: int = 0

    @classmethod
    def resumed(cls, root: StripeList, bookmark: OpenWindow) -> "Window":
        """Return the window that a bookmark tells of."""
        return cls(
            root=root,
            parameters=dict(bookmark.parameters),
            start=bookmark.start,
            end=bookmark.end,
            after=bookmark.after,
            after_created=bookmark.after_created,
            cursor=bookmark.after,
            oldest=bookmark.after_created,
        )

    def bookmark(self) -> OpenWindow:
        """Return what is still to be delivered of it."""
        return OpenWindow(
            path=self.root.path,
            parameters=self.parameters,
            start=self.start,
            end=self.end,
            after=self.after,
            after_created=self.after_created,
        )


class Parent(msgspec.Struct, kw_only=True, eq=False):
    """An object whose children are awaited.

    Attributes:
        read: The object taken apart.
        json: The object as Stripe sent it.
        children: (list path, child type) → the ids found there.
        complete: The list paths that were read to their end.
    """

    read: Read
    json: StripeJson
    children: dict[tuple[str, str], list[str]] = msgspec.field(default_factory=dict)
    complete: set[str] = msgspec.field(default_factory=set)

    def found(self, path: str, read: Read) -> None:
        """Note a child that was found in a list."""
        if not read.object.independent:
            self.children.setdefault((path, read.object.name), []).append(read.id)

    def forget(self, path: str) -> None:
        """Forget what was found in a list, which is read from its beginning again."""
        for key in [each for each in self.children if each[0] == path]:
            del self.children[key]


@dataclass(frozen=True, kw_only=True)
class Cause:
    """The events that are the reason to read an object outside its lists.

    Attributes:
        as_of: The moment that the newest of them counts as, in milliseconds: the end of its second.
        since: The second of the oldest event read with them, less the lookback: no child that is news is older.
        changed: The top-level fields that they say have changed; None if one of them does not say.
        also: The child lists to ask for, whatever the record says.
        again: Child lists whose embedded copy is in doubt: they are read from the beginning.
    """

    as_of: int
    since: int
    changed: frozenset[str] | None = None
    also: frozenset[str] = frozenset()
    again: frozenset[str] = frozenset()


@dataclass(kw_only=True, eq=False)
class Unit:
    """A page of a root list, or an object that events brought up, with all that belongs to it: delivered together.

    Attributes:
        window: Where a page comes from; None for an object.
        cause: Why an object is read; None for a page.
        last_id: The id of the page's last object.
        last_created: That object's `created`.
        open: Requests that are not answered yet.
        held: Changes to deliver with the parents.
        parents: The objects, and those of child lists that have children themselves; innermost last. Only the changes
            of those of whose children none is wanted.
    """

    window: Window | None = None
    cause: Cause | None = None
    last_id: str | None = None
    last_created: int | None = None
    open: int = 0
    held: list[Change] = field(default_factory=list)
    parents: list[Parent | Change] = field(default_factory=list)

    def as_of(self, second: int) -> str:
        """Return the as-of of what was read in a second: a read that events caused counts at least as they do."""
        return moment(max(second * 1000, self.cause.as_of if self.cause else 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class PagePurpose:
    """The next page of a window."""

    window: Window

    @property
    def stream(self) -> str:
        """The stream to name in an error."""
        return stream_name(self.window.root.objects[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class ChildPurpose:
    """A page of a child list, or an object that a record names.

    Attributes:
        child: The list.
        unit: What the answer belongs to.
        path: The list's path with the ids filled in.
        parameters: The query, without the cursor.
        columns: Parent columns for the rows.
        parent: The object whose complete list this is, if it is one's.
        sample: It shows whether the signals of its kind can be trusted.
        cursors: All cursors so far.
        restarts: How often the object under the cursor had vanished.
    """

    child: StripeList
    unit: Unit
    path: str
    parameters: dict[str, Any]
    columns: Mapping[str, str]
    parent: Parent | None
    sample: bool
    cursors: set[str] = field(default_factory=set)
    restarts: int = 0

    @property
    def stream(self) -> str:
        """The stream to name in an error."""
        return stream_name(self.child.objects[0])

    def restarted(self) -> "ChildPurpose":
        """Return the purpose of reading the list from its beginning again."""
        if self.parent is not None:
            self.parent.forget(self.child.path)
        return replace(self, cursors=set(), restarts=self.restarts + 1)

    def request(self, after: str | None = None) -> Request:
        """Return the request for the page after an object."""
        parameters = dict(self.parameters)
        if after is not None:
            parameters["starting_after"] = after
        reason = "child lists" if self.unit.cause is None else "child lists after events"
        return Request(
            path=self.path,
            endpoint=self.child.path,
            parameters=parameters,
            element=self.child.element,
            purpose=self,
            reason=reason,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class NeedPurpose:
    """Whether the account has any object of a type."""

    name: str

    @property
    def stream(self) -> str:
        """The stream to name in an error."""
        return stream_name(self.name)
