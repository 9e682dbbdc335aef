"""How a window of a list is read: which page comes next, where to split, what to do when the cursor has vanished.

Functions of a window; none of them asks for anything.
"""

from math import inf
from typing import Any

from tap_stripe_events.shapes import StripeJson, values
from tap_stripe_events.units import Unit, Window

PAGE = 100  # Stripe's largest
SPLIT_PAGES = 16  # a window is split if about so many are left in it; each half ends with half a page for nothing
CURSOR_TRIES = 5  # cursors that may vanish one after another, before a window is read by time again
_MOST_RESTARTS = 30


def page_parameters(window: Window, floor: int | None) -> dict[str, Any]:
    """Return the query for the next page.

    Args:
        window: The window.
        floor: Nothing created before this Unix time is wanted.
    """
    root = window.root
    parameters: dict[str, Any] = dict(window.parameters)
    if root.paged:
        parameters["limit"] = PAGE
        if window.cursor is not None:
            parameters["starting_after"] = window.cursor
    if root.created:
        bounds = [each for each in (window.start, floor) if each is not None]
        if bounds:
            parameters["created[gte]"] = max(bounds)
        if window.end is not None:
            parameters["created[lt]"] = window.end
    return parameters


def move_cursor(window: Window, unit: Unit, found: list[StripeJson]) -> str | None:
    """Move behind a page that is not the last one.

    Returns:
        What is wrong with the page, if one cannot go on after it.
    """
    cursor = unit.last_id
    if cursor is None:
        return "no object with an id"
    if cursor in window.cursors:
        return f"the same page again, ending with {cursor}"
    window.cursors.add(cursor)
    window.cursor = cursor
    window.fallbacks = [each for each in values(found[:-1], "id") if isinstance(each, str)][-CURSOR_TRIES:]
    times = [each for each in values(found, "created") if isinstance(each, int)]
    newest_first = len(times) == len(found) and times == sorted(times, reverse=True)
    inside = all(
        (window.start is None or each >= window.start) and (window.end is None or each < window.end) for each in times
    )
    # A server that does not filter by time would answer every part of a split window with the whole list.
    if not newest_first or not inside or (window.oldest is not None and times[0] > window.oldest):
        window.ordered = False
    window.oldest = unit.last_created
    if window.oldest is not None and times:
        window.page_seconds = max(1, times[0] - window.oldest)
    return None


def pages_left(window: Window) -> float:
    """Return about how many pages are left of a window; 0 if nothing tells.

    One without a lower bound may go on for ever.
    """
    newest = window.oldest if window.oldest is not None else window.end
    if window.page_seconds is None or newest is None or not window.ordered:
        return 0.0
    return inf if window.start is None else (newest - window.start) / window.page_seconds


def split(window: Window, floor: int | None) -> Window | None:
    """Cut the older part off a window that has just moved its cursor, if enough seems left of it.

    A window without a lower bound keeps `reach` pages of the present density, and its older part twice as many when it
    is split in turn; a window with one is halved.

    Returns:
        The older part; None if the window stays whole.
    """
    if not window.root.created or not window.ordered or window.oldest is None or window.page_seconds is None:
        return None
    if window.start is None:
        middle = window.oldest - window.page_seconds * window.reach
        if middle <= (floor or 0):
            return None  # nothing is older than the floor, or than Unix time
    elif pages_left(window) < SPLIT_PAGES:
        return None
    else:
        middle = window.start + (window.oldest - window.start) // 2
    older = Window(
        root=window.root,
        parameters=window.parameters,
        start=window.start,
        end=middle,
        reach=window.reach * 2,
        page_seconds=window.page_seconds,
    )
    window.start = middle
    return older


def step_back(window: Window) -> bool:
    """Choose where to go on when the object under the cursor has vanished.

    That is after one of the objects before it; when these have vanished too, at the same moment of `created` once more,
    or for a list without that filter at its beginning. What comes twice does no harm.

    Returns:
        Whether to go on; False after too many tries.
    """
    window.restarts += 1
    if window.restarts > _MOST_RESTARTS:
        return False
    if window.fallbacks:
        window.cursor = window.fallbacks.pop()
        return True
    window.cursor = None
    window.cursors.clear()
    moment = window.oldest if window.oldest is not None else window.after_created
    if window.root.created and window.ordered and moment is not None:
        window.end = moment + 1 if window.end is None else min(window.end, moment + 1)
    return True
