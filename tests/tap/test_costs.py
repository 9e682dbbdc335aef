"""What the README says of each stream is what the tap does about it."""

from dataclasses import replace

import pytest

from tap_stripe_events.costs import stream_costs
from tap_stripe_events.families import names_by_stream, own_lists
from tap_stripe_events.listing import listable
from tap_stripe_events.object_table import STRIPE_LISTS, STRIPE_OBJECTS
from tap_stripe_events.objects import PREVIEWS, KeptBy
from tap_stripe_events.plan import Rhythm, Standing, Task, due

HOUR, DAY = 3600, 86_400
NOW = 20_000 * DAY
RHYTHM = Rhythm(sweep_seconds=24 * HOUR, full_sweep_seconds=7 * DAY)
COSTS = {each.stream: each for each in stream_costs()}


def fresh_standing(name):
    """How a stream stands that was listed and polled just now."""
    stripe_object = STRIPE_OBJECTS[name]
    return Standing(
        kept_by=stripe_object.kept_by,
        partial=not stripe_object.complete and bool(own_lists(name)),
        backfilled=True,
        events_as_of=NOW,
        listed_at=NOW,
    )


def task_after(name, seconds):
    """What is due for a stream some time after its last listing."""
    standing = replace(fresh_standing(name), events_as_of=NOW + seconds)
    return due(standing, NOW + seconds, RHYTHM)[0]


def test_every_stream_has_its_line_and_every_cell_says_something():
    assert list(COSTS) == [each.stream for each in (*STRIPE_OBJECTS.values(), *PREVIEWS.values())]
    for each in COSTS.values():
        assert all((each.announced, each.silent, each.read_by, each.requests, each.gone)), each


@pytest.mark.parametrize("stream", sorted(listable()))
def test_what_is_said_to_be_looked_at_daily_is_due_then_and_nothing_else_is(stream):
    said = "`sweep_interval_hours`" in COSTS[stream].silent
    assert (task_after(names_by_stream()[stream], 25 * HOUR) is not Task.NOTHING) == said


@pytest.mark.parametrize("stream", sorted(listable()))
def test_what_is_said_to_be_listed_again_is_listed_and_what_is_said_to_be_read_again_is_read(stream):
    words = {Task.SWEEP: "listed again", Task.REFRESH: "read again", Task.CATCH_UP: "what was created since"}
    task = task_after(names_by_stream()[stream], 25 * HOUR)
    if task is not Task.NOTHING:
        assert words[task] in COSTS[stream].silent


@pytest.mark.parametrize("stream", sorted(listable()))
def test_every_list_is_read_again_once_a_week_save_that_of_events(stream):
    name = names_by_stream()[stream]
    expected = Task.NOTHING if STRIPE_OBJECTS[name].kept_by is KeptBy.FEED else Task.SWEEP
    assert task_after(name, 8 * DAY) is expected


def test_only_what_events_tell_in_full_is_said_to_leave_nothing_out():
    for name, each in STRIPE_OBJECTS.items():
        tells_all = each.kept_by in {KeptBy.EVENTS, KeptBy.FEED}
        assert (COSTS[each.stream].silent == "nothing") == tells_all, name
        assert not (tells_all and each.partly), name


def test_what_events_leave_out_is_named():
    partly = [each for each in STRIPE_OBJECTS.values() if each.partly]
    assert len(partly) >= 30
    for each in partly:
        assert f"events ({each.partly})" in COSTS[each.stream].announced


def test_the_types_whose_events_hint_at_a_list_are_named():
    hinted = [each for each in STRIPE_LISTS if each.hints]
    assert hinted
    for each in hinted:
        for name in each.objects:
            said = COSTS[STRIPE_OBJECTS[name].stream].announced
            assert all(f"`{hint.replace('.', '_')}`" in said for hint in each.hints)


@pytest.mark.parametrize(
    ("stream", "announced", "silent", "gone"),
    [
        ("charge", "events", "nothing", "listings"),
        ("event", "all: they are the events", "nothing", "nothing; not listings: kept for 30 days only"),
        ("line_item", "with `invoice`", "listed again every `full_sweep_interval_days`", "the list of its `invoice`"),
        ("payment_intent", "events (no updated)", "listed again every `sweep_interval_hours`", "listings"),
        ("balance_transaction", "read again after events of", "back to the oldest whose `status` is `pending`", ""),
        ("payment_method", "events", "`/v1/payment_methods` read again every", "begins with `card_`; not listings"),
        ("tax_calculation", "-", "not read: it arrives inside other objects", "nothing; not listings: not listed"),
        ("discount", "events", "nothing", "with its `customer`"),
        ("entitlements_active_entitlement", "its list has changed", "full_sweep", "the list of its `customer`"),
    ],
)
def test_the_words_for_one_stream_of_each_kind(stream, announced, silent, gone):
    found = COSTS[stream]
    assert announced in found.announced
    assert silent in found.silent
    assert gone in found.gone
