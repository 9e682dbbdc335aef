"""What the tap decides about answers, time, state and events, whatever comes: always something, and within bounds."""

import json
from typing import Any

import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from tap_stripe_events.announced import announcement, carried, gone_after, retrieval
from tap_stripe_events.bookmarks import Bookmarks, Hint, OpenWindow
from tap_stripe_events.clock import Clock, StripeClock, iso, moment, unix
from tap_stripe_events.fold import Announcement, Lookback
from tap_stripe_events.limits import Refusal, Verdict, retry_seconds, verdict
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import KeptBy
from tap_stripe_events.plan import Rhythm, Standing, Task, due

NOW = 1_790_000_000
LAST_SECOND = 253_402_300_799
HOUR = 3_600

texts = st.text(max_size=12)
header_texts = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=8)  # what HTTP can carry

# Answers.

answers = st.tuples(
    st.integers(100, 599),
    st.dictionaries(
        st.sampled_from(["Stripe-Should-Retry", "stripe-should-retry", "Retry-After", "X"]),
        st.sampled_from(["true", "false", "7", "0", "-1", "1e9"]) | header_texts,
    ).map(CaseInsensitiveDict),
    st.none()
    | st.builds(
        Refusal,
        status=st.integers(100, 599),
        code=st.sampled_from(["resource_missing", "rate_limit"]) | texts,
        parameter=st.sampled_from(["starting_after", "customer"]) | texts,
        message=st.sampled_from(["cannot be expanded", "not set up to use", "No such object", "'rak_x_read'"]) | texts,
        request=texts,
    ),
)


@examples(150)
@given(answers)
def test_every_answer_means_something_and_only_a_whole_one_is_taken(answer: Any) -> None:
    status, headers, refusal = answer
    found = verdict(status, headers, refusal)
    assert (found is Verdict.TAKE) == (status == 200 and refusal is None)
    if found is Verdict.RETRY:
        assert headers.get("Stripe-Should-Retry") != "false" or (status < 500 and status not in {409, 429})
    if status in {429, 500, 502, 503} and headers.get("Stripe-Should-Retry") != "false":
        assert found is Verdict.RETRY
    # What closes one list only, or leaves one object out, needs Stripe's own word for it.
    if refusal is None:
        assert found in {Verdict.TAKE, Verdict.RETRY, Verdict.KEY_REFUSED, Verdict.REFUSED}


@examples(150)
@given(st.integers(1, 1000), answers, st.floats(0, 1))
def test_a_wait_is_never_negative_nor_longer_than_two_minutes_and_a_second(
    attempt: int, answer: Any, chance: float
) -> None:
    _, headers, _ = answer
    assert 0 <= retry_seconds(attempt, headers, chance) <= 121


@pytest.mark.parametrize("after", ["\xb2", "\u0665", "1\xb9", "\xbd"])
def test_a_digit_that_is_no_number_says_nothing_about_when_to_retry(after: str) -> None:
    """Python calls a superscript a digit, and makes no number of it; the run ended with that."""
    assert retry_seconds(1, {"Retry-After": after}, 1.0) == 0.5


# Time.


class StandingClock(Clock):
    """A machine's clock that stands."""

    def now(self) -> float:
        return float(NOW)

    def monotonic(self) -> float:
        return 1.0


dates = st.builds(
    "{}, {:02} {} {:04} {:02}:{:02}:{:02} {}".format,
    st.sampled_from(["Tue", "", "x"]), st.integers(0, 32), st.sampled_from(["Sep", "Feb", "Foo"]),
    st.integers(0, 10_000),
    st.integers(0, 25), st.integers(0, 61), st.integers(0, 61), st.sampled_from(["GMT", "-0000", "+9999", "EST", ""]),
)  # fmt: skip


@examples(150)
@given(st.lists(dates | header_texts | st.none(), max_size=5))
def test_stripes_clock_never_goes_back_whatever_an_answer_is_dated(heard: list[str | None]) -> None:
    clock, before = StripeClock(StandingClock()), None
    for date in heard:
        told = clock.heard(date)
        if told is not None:
            before = told if before is None else max(before, told)
        assert clock.second() == (NOW if before is None else before)


@examples(150)
@given(st.integers(0, LAST_SECOND), st.integers(0, 999), st.integers(0, LAST_SECOND))
def test_moments_survive_being_written_and_are_ordered_as_texts_are(second: int, thousandths: int, other: int) -> None:
    assert unix(iso(second)) == second
    assert (iso(second) < iso(other)) == (second < other)
    assert unix(moment(second * 1000 + thousandths)) == second


# What is due.

moments = st.none() | st.integers(NOW - 40 * 86_400, NOW)
standings = st.builds(
    Standing,
    kept_by=st.sampled_from(KeptBy), partial=st.booleans(), backfilled=st.booleans(), events_as_of=moments,
    listed_at=moments, listing_due=st.none() | st.just("why"), refreshed_at=moments, denied=st.booleans(),
    not_set_up=st.booleans(), tried_at=moments,
)  # fmt: skip
rhythms = st.builds(
    Rhythm,
    sweep_seconds=st.integers(0, 100 * HOUR), full_sweep_seconds=st.integers(0, 1000 * HOUR),
    denied_seconds=st.integers(0, HOUR), not_set_up_seconds=st.integers(0, 48 * HOUR),
)  # fmt: skip
URGENCY = [Task.NOTHING, Task.CATCH_UP, Task.REFRESH, Task.SWEEP, Task.BACKFILL]


@examples(150)
@given(standings, rhythms, st.integers(0, 40 * 86_400))
def test_what_is_due_stays_due_and_only_grows_until_it_is_done(standing: Standing, rhythm: Rhythm, later: int) -> None:
    (task, because), (then, _) = due(standing, NOW, rhythm), due(standing, NOW + later, rhythm)
    assert URGENCY.index(task) <= URGENCY.index(then)
    assert bool(because) == (task is not Task.NOTHING)


@examples(150)
@given(standings, rhythms)
def test_nothing_but_a_backfill_is_due_where_the_feed_alone_leaves_a_gap(standing: Standing, rhythm: Rhythm) -> None:
    task, _ = due(standing, NOW, rhythm)
    gap = not standing.backfilled or standing.events_as_of is None or standing.events_as_of < NOW - 29 * 86_400
    if gap:
        assert task is Task.BACKFILL or standing.denied
    elif not standing.denied:
        assert task is not Task.BACKFILL


# State.

seconds = st.integers(NOW - 10**6, NOW + 10**6)
names = st.sampled_from(["charge", "customer"])
windows = st.builds(
    OpenWindow,
    path=st.sampled_from(["/v1/charges", "/v1/customers/{customer}/x"]),
    parameters=st.dictionaries(texts, texts, max_size=2),
    start=st.none() | seconds,
    end=st.none() | seconds,
    after=st.none() | texts,
    after_created=st.none() | seconds,
)
steps = st.one_of(
    st.tuples(st.just("begin_listing"), names, seconds, st.none() | seconds),
    st.tuples(st.just("finish_listing"), names, seconds),
    st.tuples(st.just("abandon_listing"), names),
    st.tuples(st.just("make_listing_due"), names, st.just("why")),
    st.tuples(st.just("leave_out"), names, texts, texts),
    st.tuples(st.just("move_events"), st.lists(names), seconds),
    st.tuples(st.just("refreshed"), names, seconds),
    st.tuples(st.just("set_refresh_due"), names, st.none() | st.sampled_from(Hint)),
    st.tuples(st.just("set_pending_from"), names, st.none() | seconds),
    st.tuples(st.just("deny"), names, texts, seconds),
    st.tuples(st.just("allow"), names),
    st.tuples(st.just("polled"), st.floats(NOW - 1000, NOW + 1000)),
    st.tuples(st.just("set_windows"), names, st.just("/v1/charges"), st.lists(windows, max_size=2)),
    st.tuples(st.just("stamp"), st.floats(NOW - 1000, NOW + 1000)),
)


def answers_of(bookmarks: Bookmarks) -> list[Any]:
    """All that can be asked of a state."""
    found: list[Any] = [bookmarks.listings(), sorted(bookmarks.streams_denied()), bookmarks.lacking("x")]
    for stream in ("charge", "customer"):
        found += [
            bookmarks.listing_since(stream), bookmarks.listing_floor(stream), bookmarks.listed_at(stream),
            bookmarks.listed_from(stream), bookmarks.backfilled(stream), bookmarks.events_as_of(stream),
            bookmarks.refreshed_at(stream), bookmarks.refresh_due(stream), bookmarks.listing_due(stream),
            bookmarks.pending_from(stream), bookmarks.denied(stream), bookmarks.not_read(stream),
            bookmarks.denied_tried_at(stream), bookmarks.windows(stream, "/v1/charges"),
        ]  # fmt: skip
    return found


@examples(100)
@given(st.lists(steps, max_size=15))
def test_a_state_says_the_same_after_it_was_saved(taken: list[Any]) -> None:
    state: dict[str, Any] = {}
    bookmarks, written = Bookmarks(state), ""
    for name, *arguments in taken:
        if name == "finish_listing" and bookmarks.listing_since(arguments[0]) is None:
            continue
        before = {stream: bookmarks.events_as_of(stream) for stream in ("charge", "customer")}
        getattr(bookmarks, name)(*arguments)
        saved = Bookmarks(json.loads(json.dumps(state)))
        assert answers_of(saved) == answers_of(bookmarks)
        if name != "begin_listing":  # a backfill begins anew, maybe by a clock that was set back
            for stream, second in before.items():
                assert second is None or (bookmarks.events_as_of(stream) or 0) >= second
        if name == "stamp":
            assert state["written_at"] >= written  # the target tells the later of two states by it
            written = state["written_at"]


@examples(150)
@given(st.lists(windows, max_size=4))
def test_windows_survive_the_state(found: list[OpenWindow]) -> None:
    bookmarks = Bookmarks({})
    for path in {each.path for each in found}:
        bookmarks.set_windows("charge", path, [each for each in found if each.path == path])
    for path in {each.path for each in found}:
        assert bookmarks.windows("charge", path) == tuple(each for each in found if each.path == path)


# Events.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
odd_objects = st.dictionaries(
    st.sampled_from(["id", "object", "customer", "account", "subscription", "invoice", "billing_credit_balance"]),
    json_values | st.sampled_from([*sorted(STRIPE_OBJECTS), "src_1", "card_1", "pm_1"]),
)
events = st.fixed_dictionaries(
    {"id": texts.map("evt_{}".format), "created": seconds, "type": st.sampled_from(["customer.deleted"]) | texts},
    optional={
        "data": json_values
        | st.fixed_dictionaries({"object": odd_objects | json_values}, optional={"previous_attributes": json_values}),
        "api_version": json_values,
    },
)


@examples(150)
@given(events)
def test_an_event_is_about_an_object_or_it_is_not_whatever_it_holds(event: dict[str, Any]) -> None:
    found = carried(event)
    if found is None:
        return
    name, json_object = found
    if name not in STRIPE_OBJECTS:
        return
    announced = announcement(event, name, json_object)
    assert announced is None or announced.identity[0] == name
    if announced is not None:
        assert all(isinstance(each, str) for each in announced.identity)
        assert all(kind.count(".") for kind in gone_after(announced))
    path = retrieval(STRIPE_OBJECTS[name], json_object)
    assert path is None or ("{" not in path[0] and path[0].count("/") == path[1].count("/"))


@st.composite
def histories(draw: Any) -> tuple[list[Announcement], list[list[str]]]:
    """Events of two objects, and which of them each reading of the feed shows; the last one shows all."""
    placed = draw(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ab")), min_size=1, max_size=8))
    placed.sort(key=lambda each: -each[0])
    listed = [
        Announcement(
            id=f"evt_{place}", type="customer.updated", created=second, version="v", identity=("customer", of),
            json={}, changed=frozenset(),
        )
        for place, (second, of) in enumerate(placed)
    ]  # fmt: skip
    ids = [each.id for each in listed]
    shown = draw(st.lists(st.sets(st.sampled_from(ids)), max_size=3))
    seen: set[str] = set()
    readings = [sorted(seen := seen | each, key=ids.index) for each in shown]
    return listed, [*readings, ids]


@examples(150)
@given(histories())
def test_however_the_feed_is_read_each_event_is_new_once_and_the_newest_speaks_last(found: Any) -> None:
    listed, readings = found
    by_id = {each.id: each for each in listed}
    lookback, new_ids, spoke = Lookback(), [], {}
    for ids in readings:
        new = [by_id[each] for each in ids if lookback.is_new(each)]
        new_ids += [each.id for each in new]
        for folded in lookback.fold(new, ids):
            newest = folded.newest
            assert folded.late == (newest.created < spoke.get(newest.identity, newest).created)
            if not folded.late:
                spoke[newest.identity] = newest
                told = [each for each in ids if by_id[each].identity == newest.identity]
                same = [each for each in told if by_id[each].created == newest.created]
                assert folded.tied == (len(same) > 1)
                assert folded.first == (same[0] == newest.id)
        for each in ids:
            lookback.note(each, by_id[each].created)
    assert sorted(new_ids) == sorted(by_id)
    for identity in {each.identity for each in listed}:
        latest = max(each.created for each in listed if each.identity == identity)
        assert spoke[identity].created == lookback.second_of(identity) == latest
