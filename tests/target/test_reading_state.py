"""What a STATE says, whoever wrote it, and whether it may follow what is stored. No database."""

from datetime import UTC, datetime

import pytest

from target_postgres_stripe.errors import OtherAccountError, OtherModeError, StateAheadError
from target_postgres_stripe.status import (
    NO_PROGRESS,
    Identity,
    Part,
    announces_losses,
    begins_anew,
    bookmarks_of,
    check_identity,
    check_not_ahead,
    denied_reason,
    identity_of,
    is_kept_by_events,
    latest_moments,
    may_make_up,
    moment_of,
    moments_of,
    status_row,
)

EARLY, LATE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
OURS = {"account": {"id": "acct_1", "livemode": False}}
EARLY_TEXT, LATE_TEXT = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def test_a_state_says_whose_it_is_and_how_far():
    state = {"account": {"id": "acct_1", "livemode": True}, "written_at": EARLY_TEXT, "polled_at": LATE_TEXT}
    assert identity_of(state) == Identity(account_id="acct_1", livemode=True, written_at=EARLY, polled_at=LATE)
    for identifier in (None, 5):
        assert identity_of({"account": {"id": identifier, "livemode": False}}) == Identity(livemode=False)


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        "text",
        {},
        {"bookmarks": {}},
        *({"account": account} for account in (None, "acct_1", {}, {"id": "acct_1"}, {"id": "a", "livemode": "no"})),
    ],
)
def test_a_state_of_another_tap_says_nothing_of_an_account(state):
    assert identity_of(state) is None


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"bookmarks": {"charge": {"x": 1}}, "other": 1}, {Part("charge"): {"x": 1}}),
        ({"charge": {"x": 1}}, {Part("charge"): {"x": 1}}),
        ({"accounts": {"x": 1}}, {Part("accounts"): {"x": 1}}),
        (
            {**OURS, "accounts": {"acct_1": {"bookmarks": {"charge": {"x": 1}}}, "acct_2": {"bookmarks": None}}},
            {Part("charge", "acct_1"): {"x": 1}},
        ),
        ({"bookmarks": None}, {}),
        ({"bookmarks": ["charge"]}, {}),
        ({}, {}),
        ([], {}),
        (None, {}),
        ("text", {}),
    ],
)
def test_bookmarks_are_found_in_whatever_a_tap_keeps(state, expected):
    assert bookmarks_of(state) == expected


@pytest.mark.parametrize(
    ("stored", "incoming"),
    [
        (Identity(), Identity(account_id="acct_1", livemode=True)),
        (Identity(account_id="acct_1", livemode=False), Identity()),
        (Identity(account_id="acct_1", livemode=False), Identity(account_id="acct_1", livemode=False)),
        (Identity(account_id="acct_1"), Identity(livemode=True)),
        (Identity(account_id="", livemode=False), Identity(account_id="acct_1", livemode=False)),
    ],
)
def test_what_is_not_known_of_an_account_fits(stored, incoming):
    check_identity("stripe", stored, incoming)


@pytest.mark.parametrize("live", [True, False])
def test_another_mode_does_not_fit_nor_does_another_account(live):
    with pytest.raises(OtherModeError) as refused:
        check_identity("mine", Identity(livemode=live), Identity(livemode=not live))
    names = {True: "live", False: "test"}
    assert f"'mine' holds {names[live]} mode rows, but the tap reads with a {names[not live]} mode" in str(
        refused.value
    )
    with pytest.raises(OtherAccountError, match="'mine' holds Stripe account acct_1, but the tap reads account acct_2"):
        check_identity("mine", Identity(account_id="acct_1"), Identity(account_id="acct_2"))


def progress(**moments):
    return {Part("charge"): NO_PROGRESS.after(moments)}


@pytest.mark.parametrize(
    ("stored", "incoming"),
    [
        ({"listed_at": LATE_TEXT}, {"listed_at": LATE_TEXT}),
        ({"listed_at": LATE_TEXT}, {"listed_at": EARLY_TEXT}),
        ({"listed_at": LATE_TEXT}, {"listed_at": None}),
        ({"listed_at": LATE_TEXT}, {}),
        ({}, {"listed_at": "soon", "anything": LATE_TEXT}),
    ],
)
def test_a_state_that_was_set_back_is_behind_and_behind_is_fine(stored, incoming):
    check_not_ahead("stripe", Identity(), progress(**stored), {"bookmarks": {"charge": incoming}})


@pytest.mark.parametrize("field", ["backfill_started_at", "backfill_finished_at", "listed_at", "events_as_of"])
@pytest.mark.parametrize(
    ("stored", "told"),
    [({}, "none"), (None, "none"), (EARLY_TEXT, "2026-01-01T00:00:00+00:00")],
)
def test_a_moment_that_is_later_than_any_that_was_stored_is_ahead(field, stored, told):
    recorded = {} if stored == {} else progress(**{field: stored})
    with pytest.raises(StateAheadError) as refused:
        check_not_ahead("mine", Identity(), recorded, {"bookmarks": {"charge": {field: LATE_TEXT}}})
    for fact in ("'mine'", f"stream 'charge' says {field} = 2026-01-02T00:00:00+00:00", f"recorded {told}."):
        assert fact in str(refused.value)


def test_a_state_that_was_written_later_than_the_last_one_stored_is_ahead():
    state = {"written_at": LATE_TEXT, "bookmarks": {}}
    check_not_ahead("stripe", Identity(written_at=LATE), {}, state)
    for stored in (Identity(written_at=EARLY), Identity()):
        with pytest.raises(StateAheadError, match="it says written_at = 2026-01-02T00:00:00"):
            check_not_ahead("stripe", stored, {}, state)


def test_furthest_is_the_latest_that_each_moment_ever_was():
    went = NO_PROGRESS.after({"listed_at": LATE_TEXT}).after({"listed_at": EARLY_TEXT, "events_as_of": EARLY_TEXT})
    assert went.furthest == {"listed_at": LATE, "events_as_of": EARLY}
    assert went.bookmark == {"listed_at": EARLY_TEXT, "events_as_of": EARLY_TEXT}
    assert latest_moments({"a": EARLY, "b": LATE}, {"b": EARLY, "c": EARLY}) == {"a": EARLY, "b": LATE, "c": EARLY}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (EARLY_TEXT, EARLY),
        ("2026-01-01T01:00:00+01:00", EARLY),
        ("2026-01-01T00:00:00", EARLY),
        ("soon", None),
        ("", None),
        (None, None),
        (5, None),
    ],
)
def test_a_moment_without_a_zone_is_utc_and_what_is_none_is_none(text, expected):
    assert moment_of({"at": text}, "at") == expected


@pytest.mark.parametrize("bookmark", [None, [], "text", {}])
def test_a_bookmark_of_any_shape_is_read(bookmark):
    assert moment_of(bookmark, "listed_at") is None
    assert moments_of(bookmark) == {}
    assert not is_kept_by_events(bookmark)
    assert not announces_losses(bookmark)
    assert denied_reason(bookmark) is None
    assert status_row(Part("charge"), NO_PROGRESS.after(bookmark)) == {
        "stream": "charge", "stripe_account_id": "", "bookmark": bookmark,
        "kept_by": None, "denied": None, "furthest": {},
    }  # fmt: skip


def test_a_stream_is_kept_by_events_once_it_is_loaded():
    loaded = {"kept_by": "events", "backfill_finished_at": EARLY_TEXT}
    assert is_kept_by_events(loaded)
    assert not is_kept_by_events(loaded | {"kept_by": "sweeps"})
    assert not is_kept_by_events(loaded | {"backfill_finished_at": None})


@pytest.mark.parametrize(
    ("before", "bookmark", "expected"),
    [
        (None, {"backfill_started_at": EARLY_TEXT}, True),
        ({}, {"backfill_started_at": EARLY_TEXT}, True),
        ({"backfill_started_at": EARLY_TEXT}, {"backfill_started_at": LATE_TEXT}, True),
        ({"backfill_started_at": EARLY_TEXT}, {"backfill_started_at": EARLY_TEXT}, False),
        ({"backfill_started_at": EARLY_TEXT}, {}, False),
        ({"backfill_started_at": EARLY_TEXT}, {"backfill_started_at": EARLY_TEXT, "made_up_at": LATE_TEXT}, True),
        ({"made_up_at": LATE_TEXT}, {"made_up_at": LATE_TEXT}, False),
        (None, None, False),
    ],
)
def test_a_stream_begins_anew_with_another_backfill_or_with_what_a_listing_had_lacked(before, bookmark, expected):
    assert begins_anew(before, bookmark) is expected


@pytest.mark.parametrize(
    ("bookmark", "expected"),
    [
        ({"losses_announced": True}, True),
        ({"listing_due": "a test clock was deleted"}, True),
        ({"losses_announced": False, "listing_due": ""}, False),
        ({"listing_because": "a sweep"}, False),
    ],
)
def test_losses_are_announced_by_the_listing_under_way_or_the_next_one(bookmark, expected):
    assert announces_losses(bookmark) is expected


@pytest.mark.parametrize(
    ("denied", "expected"), [({"reason": "no permission"}, "no permission"), ({}, ""), (None, None), ("text", None)]
)
def test_a_stream_is_denied_for_a_reason(denied, expected):
    assert denied_reason({"denied": denied}) == expected


def test_a_row_of_the_status_tells_the_bookmark_in_columns():
    bookmark = {"kept_by": "events", "listed_at": EARLY_TEXT, "denied": {"reason": "no permission"}}
    reached = NO_PROGRESS.after({"listed_at": LATE_TEXT}).after(bookmark)
    assert status_row(Part("charge", "acct_1"), reached) == {
        "stream": "charge",
        "stripe_account_id": "acct_1",
        "bookmark": bookmark,
        "kept_by": "events",
        "denied": "no permission",
        "furthest": {"listed_at": "2026-01-02T00:00:00+00:00"},
        "listed_at": "2026-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("bookmark", "expected"),
    [
        ({"listing_started_at": EARLY_TEXT, "lacked": ["/v1/accounts"]}, True),
        ({"listing_started_at": EARLY_TEXT, "never_used": ["/v1/accounts"]}, True),
        ({"listing_started_at": EARLY_TEXT, "lacked": [], "never_used": []}, False),
        ({"listing_started_at": EARLY_TEXT}, False),
        ({"listing_started_at": None, "lacked": ["/v1/accounts"]}, False),
        ({"never_used": ["/v1/accounts"]}, False),
        (None, False),
    ],
)
def test_only_a_listing_under_way_may_make_up_for_what_was_not_read(bookmark, expected):
    assert may_make_up(bookmark) is expected
