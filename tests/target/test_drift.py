"""Drift is what a sweep had to mend in a stream that events should have kept right, and no event announced."""

import pytest
from messages import FILLER, TEXT, activate, at, millis, record, schema, state

CUSTOMER = schema("customer", name=TEXT)
LOADED = {"kept_by": "events", "backfill_finished_at": at(2)}
SWEEP = millis(100)
SEEN_IN_TIME, TOO_LATE = 220, 222
"""Repairs as of the seconds 100 and 101 are judged once the feed is known to more than two minutes later."""


def customer(key, as_of, name="x", **more):
    return record("customer", id=key, name=name, as_of=as_of, **more)


def swept(key, name="x", as_of=101):
    return customer(key, as_of, name, version=SWEEP)


def known_to(second, **more):
    """The STATE that says up to when events are in."""
    return state(customer=LOADED | {"events_as_of": at(second)} | more)


@pytest.fixture
def run(load):
    """A run of the tap, which begins with a STATE and its schemas."""

    def run(*messages, **settings):
        return load(state(), CUSTOMER, *messages, **settings)

    return run


@pytest.fixture
def loaded(run):
    run(*(customer(key, 1) for key in ("a", "b", "c")), known_to(3))
    return run


@pytest.fixture
def drift(rows):
    return lambda: rows("SELECT drift, drift_found_at IS NOT NULL FROM stripe._sync_status WHERE stream = 'customer'")[
        0
    ]


@pytest.fixture
def waiting(rows):
    return lambda: [key for (key,) in rows("SELECT key->>0 FROM stripe._sweep_mended ORDER BY 1")]


MEND = (swept("a", "changed"), swept("b"), swept("new"), activate("customer", SWEEP))
"""A sweep that changes a, leaves b alone, brings a new row and not c."""


def test_a_sweep_that_finds_everything_right_notes_nothing(loaded, drift, waiting):
    loaded(swept("a"), swept("b"), swept("c"), activate("customer", SWEEP), known_to(150))
    assert waiting() == []
    loaded(known_to(9999))
    assert drift() == (0, False)


@pytest.mark.parametrize("hard_delete", [False, True])
def test_what_a_sweep_changed_inserted_and_deleted_is_drift_if_no_event_comes(
    loaded, drift, waiting, caplog, hard_delete
):
    loaded(*MEND, known_to(150), hard_delete=hard_delete)
    assert waiting() == ["a", "c", "new"]
    assert drift() == (0, False)
    loaded(known_to(TOO_LATE), hard_delete=hard_delete)
    assert drift() == (3, True)
    assert waiting() == []
    (warning,) = [each.getMessage() for each in caplog.records if "mended" in each.getMessage()]
    assert warning.startswith("3 rows of stream 'customer' had to be mended by a sweep that no event announced")
    assert '["a"]' in warning
    assert "changed" not in warning


def test_the_total_grows_and_each_repair_counts_once(loaded, drift):
    loaded(*MEND, known_to(TOO_LATE))
    loaded(known_to(TOO_LATE + 1))
    assert drift() == (3, True)
    later = millis(1000)
    loaded(customer("a", 1001, "silently", version=later), known_to(2000))
    assert drift() == (4, True)


@pytest.mark.parametrize("separate", [False, True], ids=["same batch", "later run"])
def test_an_event_within_two_minutes_announces_the_repair(loaded, drift, waiting, separate):
    announced = [customer("a", 99, "changed"), customer("new", 98), record("customer", id="c", gone=97)]
    between = [known_to(SEEN_IN_TIME)] if separate else []
    loaded(*MEND, *between, *announced, known_to(TOO_LATE))
    assert waiting() == []
    assert drift() == (0, False)


def test_an_event_after_two_minutes_is_too_late(loaded, drift):
    loaded(swept("a", "changed"), swept("b"), swept("c"), activate("customer", SWEEP), known_to(TOO_LATE))
    loaded(customer("a", 99, "changed"), known_to(TOO_LATE + 1))
    assert drift() == (1, True)


def test_a_gap_filler_and_another_sweep_announce_nothing(loaded, waiting):
    later = millis(120)
    loaded(*MEND, known_to(150))
    loaded(customer("a", FILLER), customer("new", FILLER), customer("a", 121, "changed", version=later), known_to(151))
    assert waiting() == ["a", "c", "new"]


def test_an_event_of_the_same_moment_that_came_before_announces_it(loaded, waiting):
    """Whole seconds, on a clock known to a second: the read may have seen what the next event tells."""
    event = customer("a", "2026-01-01T00:01:39.999Z", "event")
    loaded(event, known_to(100))
    loaded(swept("a", "a moment later"), swept("b"), swept("c"), known_to(101))
    assert waiting() == []


def test_an_event_of_long_before_announces_nothing(loaded, waiting):
    loaded(customer("a", 90, "event"), known_to(100))
    loaded(swept("a", "silently"), known_to(101))
    assert waiting() == ["a"]


@pytest.mark.parametrize(
    "bookmark",
    [
        LOADED | {"kept_by": "sweeps"},
        {"backfill_finished_at": at(2)},
        LOADED | {"backfill_finished_at": None},
    ],
    ids=["kept by sweeps", "not said", "not loaded"],
)
def test_only_streams_that_are_loaded_and_kept_by_events_count(run, waiting, bookmark):
    run(customer("a", 1), state(customer=bookmark))
    run(*MEND, state(customer=bookmark))
    assert waiting() == []


def test_the_first_load_mends_nothing(run, waiting):
    run(*MEND, known_to(150))
    assert waiting() == []


def test_a_copy_that_only_filled_a_gap_may_vanish(loaded, waiting):
    loaded(customer("stale", FILLER), swept("a"), swept("b"), swept("c"), activate("customer", SWEEP), known_to(150))
    assert waiting() == []


def test_what_a_sweep_reads_but_may_not_change_is_no_repair(loaded, waiting):
    """The event was faster than the page."""
    loaded(customer("a", 105, "newer"), swept("a", "older"), swept("b"), swept("c"), known_to(150))
    assert waiting() == []


def test_a_stream_that_is_loaded_anew_is_not_judged(loaded, drift, waiting):
    loaded(*MEND, known_to(150))
    loaded(known_to(TOO_LATE, backfill_finished_at=None))
    assert waiting() == []
    assert drift() == (0, False)


def test_a_stream_that_is_loaded_anew_in_one_commit_is_not_judged_either(loaded, drift, waiting):
    """Few rows, such as of a stream that was refused for a while: between two STATEs it begins and ends."""
    loaded(known_to(90, backfill_started_at=at(1)))
    loaded(*MEND, known_to(150, backfill_started_at=at(100), backfill_finished_at=at(101)))
    assert waiting() == []
    loaded(known_to(TOO_LATE, backfill_started_at=at(100), backfill_finished_at=at(101)))
    assert drift() == (0, False)
    loaded(customer("a", 1001, "silently", version=millis(1000)), known_to(2000, backfill_started_at=at(100)))
    assert drift() == (1, True)


def test_what_is_undone_is_no_repair(loaded, waiting):
    """The tap is cut off before the STATE that would have covered the sweep."""
    loaded(known_to(50), *MEND)
    assert waiting() == []


@pytest.mark.parametrize("told", [{"listing_due": "a test clock was deleted"}, {"losses_announced": True}])
def test_what_a_deletion_took_along_is_no_drift(loaded, drift, waiting, told):
    """A test clock was deleted: that its customers are gone with it, only the listing tells that was begun for it."""
    loaded(known_to(90, **told), *MEND, known_to(150))
    assert waiting() == ["a", "new"]
    loaded(known_to(TOO_LATE))
    assert drift() == (2, True)


LISTING = {"listing_started_at": at(100)}


@pytest.mark.parametrize("lacking", [{"lacked": ["/v1/accounts"]}, {"never_used": ["/v1/accounts"]}])
def test_what_a_listing_finds_in_a_list_that_an_earlier_one_lacked_is_no_drift(loaded, drift, waiting, lacking):
    loaded(known_to(90, **LISTING, **lacking), *MEND, known_to(TOO_LATE, **LISTING, **lacking))
    assert waiting() == ["a", "c", "new"]  # a long listing: there is no telling yet
    loaded(known_to(TOO_LATE + 1, listed_at=at(100), made_up_at=at(100)))
    assert waiting() == []
    assert drift() == (0, False)


def test_if_it_had_to_go_without_that_list_again_it_is(loaded, drift):
    loaded(*MEND, known_to(TOO_LATE, **LISTING, lacked=["/v1/accounts"]))
    loaded(known_to(TOO_LATE + 1, listed_at=at(100)))
    assert drift() == (3, True)
