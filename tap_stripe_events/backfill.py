"""Source 1: lists → changes.

Every root list is read newest first, page by page, in all its passes. A page of objects is one *unit*: it is delivered
when everything that belongs to its objects has been read too (the rest of embedded lists, child lists), and only then
does the window's bookmark move past it. So a killed backfill repeats at most the units that were under way.

Many requests are in flight: those of all lists together, and where these leave places free, those of one long list that
is split into windows of `created` (`windows`). `gather` takes the objects apart; `sync` sends the requests and hands
over the answers.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tap_stripe_events.bookmarks import OpenWindow
from tap_stripe_events.changes import Change
from tap_stripe_events.client import Answer, Request, StripeClient, list_elements, refused
from tap_stripe_events.errors import UnfinishedListError
from tap_stripe_events.gather import ChildListDenied, Gather, Source, endless, refusal_reason
from tap_stripe_events.limits import Verdict
from tap_stripe_events.objects import StripeList
from tap_stripe_events.request_queue import RequestQueue
from tap_stripe_events.units import PagePurpose, Unit, Window
from tap_stripe_events.windows import SPLIT_PAGES, move_cursor, page_parameters, pages_left, split, step_back

_MOST_WINDOWS = 20  # of a list: at half a second a page, these are more pages than Stripe gives in a second
_UNITS_AHEAD = 2  # pages of one window whose children are still being read

_logger = logging.getLogger("tap-stripe-events.backfill")


@dataclass(frozen=True, kw_only=True)
class WindowsMoved:
    """The open windows of a list have changed, and everything before that has been delivered."""

    root: StripeList
    windows: tuple[OpenWindow, ...]


@dataclass(frozen=True, kw_only=True)
class ListClosed:
    """A root list has been read to its end, or Stripe refuses it.

    Attributes:
        root: The list.
        refused: Stripe's reason; None if the list was read.
        not_set_up: The account does not use the product, so that there is nothing in the list.
    """

    root: StripeList
    refused: str | None = None
    not_set_up: bool = False


Item: TypeAlias = Change | WindowsMoved | ListClosed | ChildListDenied


class Backfill:
    """One reading of a set of root lists.

    Args:
        client: The way to Stripe; nothing is sent from here.
        windows: What is still to be read of each list.
        selected: The object types whose rows are wanted.
        copied: Those that are wanted where others hold them whole.
        account_id: The account's id, for objects that are keyed by it; None if the key may not know it.
        floor: Nothing created before this Unix time is wanted, where a list can say so.
        reason: What the requests for pages are for, in the log.
    """

    def __init__(
        self,
        *,
        client: StripeClient,
        windows: Mapping[StripeList, Collection[OpenWindow]],
        selected: Collection[str],
        account_id: str | None,
        floor: int | None = None,
        copied: Collection[str] = (),
        reason: str = "lists",
    ) -> None:
        self._client = client
        self._floor = floor
        self._reason = reason
        self._windows = {root: [Window.resumed(root, each) for each in rest] for root, rest in windows.items()}
        self._pages = RequestQueue()
        self._long: set[StripeList] = set()  # the lists of which there is more to come than one window's worth
        self._begun = False
        being_listed = {name for root, rest in windows.items() for name in root.objects if rest}
        self._gather = Gather(
            client=client,
            selected=selected,
            account_id=account_id,
            floor=floor,
            being_listed=being_listed,
            copied=copied,
        )

    @property
    def skipped(self) -> Mapping[StripeList, int]:
        """How many child lists of each kind could not be read, because their parents had vanished meanwhile."""
        return self._gather.skipped

    @property
    def queues(self) -> tuple[RequestQueue, ...]:
        """What is to be asked for, most urgent first: children before the next page of parents."""
        return (self._gather.requests, self._pages)

    def begin(self) -> Iterator[Item]:
        """Put the first requests into the queues, and yield the lists of which nothing is left to read. Once."""
        if self._begun:
            return
        self._begun = True
        for root, windows in list(self._windows.items()):
            for window in windows:
                self._request_page(window)
            if not windows:
                yield ListClosed(root=root)

    def check_finished(self) -> None:
        """Make sure that nothing was left out, when nothing is asked for any more.

        Raises:
            UnfinishedListError: A list was not read to its end.
        """
        if unfinished := [root.path for root, windows in self._windows.items() if windows]:
            raise UnfinishedListError(paths=", ".join(unfinished))

    def _request_page(self, window: Window) -> None:
        parameters = page_parameters(window, self._floor)
        if expand := self._gather.children.expand(window.root):
            parameters["expand[]"] = expand
        window.requested = True
        root, purpose = window.root, PagePurpose(window=window)
        self._pages.append(
            Request(
                path=root.path,
                endpoint=root.path,
                parameters=parameters,
                element=root.element,
                purpose=purpose,
                reason=self._reason,
            ),
            to_follow=pages_left(window),
        )

    # Answers

    def take(self, answer: Answer) -> Iterator[Item]:
        """Take an answer, and yield what can be delivered with it.

        Raises:
            TapError: The run cannot go on.
        """
        if isinstance(answer.request.purpose, PagePurpose):
            yield from self._take_page(answer.request.purpose.window, answer)
            return
        taken = self._gather.take(answer)
        yield from taken.items
        yield from self._deliver(taken.units)

    def _take_page(self, window: Window, answer: Answer) -> Iterator[Item]:
        window.requested = False
        root = window.root
        if window not in self._windows[root]:
            return  # the list was closed while this page was on its way
        match answer.verdict:
            case Verdict.TAKE:
                self._take_unit(window, answer)
                self._expect(root)
                if not window.exhausted:
                    self._split(window)
                yield from self._deliver_window(window)
            case Verdict.DENIED | Verdict.NOT_EXPANDABLE if "expand[]" in answer.request.parameters:
                yield from self._gather.stop_expanding(root, answer)
                self._request_page(window)
            case Verdict.DENIED | Verdict.NOT_SET_UP:
                yield from self._refuse(root, answer)
            case Verdict.GONE if root.single:
                yield from self._refuse(root, answer)
            case Verdict.CURSOR_GONE if step_back(window):
                self._request_page(window)
            case _:
                raise refused(answer.request, answer.refusal)

    def _refuse(self, root: StripeList, answer: Answer) -> Iterator[Item]:
        self._windows[root] = []
        self._expect(root)
        nothing_there = answer.verdict is not Verdict.DENIED
        yield from self._closed(ListClosed(root=root, refused=refusal_reason(answer), not_set_up=nothing_there))

    def _closed(self, closed: ListClosed) -> Iterator[Item]:
        yield closed
        for name in closed.root.objects:
            if not any(self._windows[root] for root in self._windows if name in root.objects):
                yield from self._deliver(self._gather.children.listed(name))

    def _take_unit(self, window: Window, answer: Answer) -> None:
        root, gather = window.root, self._gather
        unit = Unit(window=window)
        source = Source(as_of=unit.as_of(answer.as_of), secrets=answer.secrets)
        if root.single:
            window.units.append(unit)
            window.exhausted = True
            name = root.objects[0]
            gather.take_object(unit, name, answer.body, source, gather.own_key(name))
            return
        found, more = list_elements(answer, self._client.api_url)
        last = found[-1] if found else {}
        last_id, last_created = last.get("id"), last.get("created")
        unit.last_id = last_id if isinstance(last_id, str) else None
        unit.last_created = last_created if isinstance(last_created, int) else None
        window.units.append(unit)
        for each in found:
            gather.take_object(unit, gather.type_of(root, each), each, source, {})
        if not more or not root.paged:
            window.exhausted = True
            return
        if problem := move_cursor(window, unit, found):
            raise endless(answer, problem, self._client.api_url)

    def _split(self, window: Window) -> None:
        """Hand the older part of a long window to places in flight that are free, or are this list's share.

        A window's last page is half a page on average, so there are no more windows than the list can be asked for
        pages in a second, and where that is not limited, no more than are of use.
        """
        client, windows = self._client, self._windows[window.root]
        places = client.max_concurrent_requests - len(self._gather.requests)
        free, share = places - client.in_flight - len(self._pages), places // max(1, len(self._long))
        most = min(client.endpoint_requests_per_second, _MOST_WINDOWS)
        for _ in range(min(max(free - 1, share - len(windows)), most - len(windows))):
            older = split(window, self._floor)
            if older is None:
                return
            windows.append(older)
            self._request_page(older)

    def _expect(self, root: StripeList) -> None:
        """Take in how many pages there are still to come of a list."""
        left = sum(1 + pages_left(each) for each in self._windows[root] if not each.exhausted)
        self._pages.expect(root.path, left)
        if left > SPLIT_PAGES:
            self._long.add(root)
        else:
            self._long.discard(root)

    # Delivery

    def _deliver(self, units: Collection[Unit]) -> Iterator[Item]:
        """Yield the units at the heads of these units' windows that are complete, then where the windows stand."""
        for window in dict.fromkeys(unit.window for unit in units):
            if window is not None and window in self._windows[window.root]:
                yield from self._deliver_window(window)

    def _deliver_window(self, window: Window) -> Iterator[Item]:
        open_windows = self._windows[window.root]
        moved = False
        while window.units and window.units[0].open == 0:
            unit = window.units.popleft()
            yield from self._gather.contents(unit)
            if unit.last_id is not None:
                window.after, window.after_created = unit.last_id, unit.last_created
            moved = True
        if window.exhausted and not window.units:
            open_windows.remove(window)
        elif not window.exhausted and not window.requested and len(window.units) < _UNITS_AHEAD:
            self._request_page(window)
        if moved:
            yield WindowsMoved(root=window.root, windows=tuple(each.bookmark() for each in open_windows))
        if not open_windows:
            yield from self._closed(ListClosed(root=window.root))
