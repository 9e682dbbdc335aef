"""A list that is cut into windows, read page by page in any order, killed and resumed: every object of it is delivered,
and the windows share the list out between them without a gap or an overlap.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from tap_stripe_events.bookmarks import OpenWindow
from tap_stripe_events.families import root_lists
from tap_stripe_events.units import Unit, Window
from tap_stripe_events.windows import PAGE, move_cursor, page_parameters, split, step_back

CHARGES = next(each for each in root_lists() if each.path == "/v1/charges")
NOW = 1_790_000_000


@dataclass
class Reading:
    """A list of objects, newest first, and what has been read of it."""

    objects: list[dict[str, Any]]
    floor: int | None
    windows: list[Window] = field(default_factory=list)
    delivered: list[str] = field(default_factory=list)

    def tiles(self) -> list[tuple[int | None, int | None]]:
        """The stretches of the open windows, oldest first."""
        return sorted(((each.start, each.end) for each in self.windows), key=lambda each: each[0] or -1)

    def page(self, window: Window) -> tuple[list[dict[str, Any]], bool] | None:
        """What Stripe answers to a window's next request, and whether there is more; None if the cursor is gone."""
        asked = page_parameters(window, self.floor)
        least, most = asked.get("created[gte]", 0), asked.get("created[lt]", 2 * NOW)
        found = [each for each in self.objects if least <= each["created"] < most]
        if (after := asked.get("starting_after")) is not None:
            ids = [each["id"] for each in found]
            if after not in ids:
                return None
            found = found[ids.index(after) + 1 :]
        return found[:PAGE], len(found) > PAGE

    def read(self, window: Window, *, may_split: bool) -> None:
        """Read and deliver one page of a window."""
        answer = self.page(window)
        if answer is None:
            assert step_back(window)
            return
        found, more = answer
        self.delivered += [each["id"] for each in found]
        if not more:
            self.windows.remove(window)
            return
        unit = Unit(window=window, last_id=found[-1]["id"], last_created=found[-1]["created"])
        assert move_cursor(window, unit, found) is None
        window.after, window.after_created = unit.last_id, unit.last_created
        if may_split and (older := split(window, self.floor)) is not None:
            self.windows.append(older)

    def killed_and_resumed(self) -> None:
        """Go on from what the state says."""
        state = json.dumps([each.bookmark().to_json() for each in self.windows])
        self.windows = [Window.resumed(CHARGES, OpenWindow.from_json(each)) for each in json.loads(state)]


crowds = st.lists(st.tuples(st.integers(0, 10**7), st.sampled_from([1, 1, 2, 30, 99, 100, 101, 250])), max_size=25)


def listed(found: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Objects as crowds in a second, newest first."""
    times = sorted((NOW - ago for ago, count in found for _ in range(count)), reverse=True)
    return [{"id": f"ch_{place}", "created": second} for place, second in enumerate(times)]


@examples(150)
@given(found=crowds, ago=st.none() | st.integers(0, 10**7), data=st.data())
def test_windows_tile_a_list_and_lose_nothing(
    found: list[tuple[int, int]], ago: int | None, data: st.DataObject
) -> None:
    floor = None if ago is None else NOW - ago
    reading = Reading(listed(found), floor, [Window(root=CHARGES, parameters={})])
    interrupted = False
    while reading.windows:
        before = reading.tiles()
        window = data.draw(st.sampled_from(reading.windows))
        place = (window.start, window.end)
        reading.read(window, may_split=data.draw(st.booleans()))
        after = reading.tiles()
        # What was one window is one, two that meet, or read to its end; the others are as they were.
        rest = [each for each in before if each != place]
        own = [each for each in after if each not in rest]
        assert own in ([], [place]) or (own[0][0], own[-1][1], own[0][1]) == (*place, own[1][0])
        assert len(after) - len(rest) == len(own) <= 2
        if data.draw(st.integers(0, 5)) == 5:
            interrupted = True
            reading.killed_and_resumed()
    wanted = [each["id"] for each in reading.objects if floor is None or each["created"] >= floor]
    assert sorted(reading.delivered) == sorted(wanted), interrupted  # once each: what was delivered is in the state


@examples(100)
@given(found=crowds, data=st.data())
def test_objects_that_vanish_under_the_cursor_cost_no_other(found: list[tuple[int, int]], data: st.DataObject) -> None:
    reading = Reading(listed(found), None, [Window(root=CHARGES, parameters={})])
    vanished: set[str] = set()
    while reading.windows:
        window = data.draw(st.sampled_from(reading.windows))
        if window.cursor is not None and window.restarts < 20 and data.draw(st.integers(0, 3)) == 3:
            gone = {window.cursor, *window.fallbacks[data.draw(st.integers(0, len(window.fallbacks))) :]}
            vanished |= gone
            reading.objects = [each for each in reading.objects if each["id"] not in gone]
        if data.draw(st.integers(0, 9)) == 9:
            reading.killed_and_resumed()
            continue
        reading.read(window, may_split=data.draw(st.booleans()))
    assert {each["id"] for each in reading.objects} <= set(reading.delivered)
