"""The state: what a person reads there, and whose it is."""

from typing import Any

import pytest

from tap_stripe_events.bookmarks import Bookmarks, OpenWindow
from tap_stripe_events.clock import iso
from tap_stripe_events.errors import OtherAccountError, OtherModeError

START = 1_790_000_000


def test_a_window_survives_the_state() -> None:
    window = OpenWindow(
        path="/v1/prices", parameters={"active": "true"}, start=5, end=None, after="price_1", after_created=9
    )
    assert window.to_json() == {
        "list": "/v1/prices",
        "pass": {"active": "true"},
        "from": "1970-01-01T00:00:05Z",
        "to": None,
        "after": "price_1",
        "after_created": "1970-01-01T00:00:09Z",
    }
    assert OpenWindow.from_json(window.to_json()) == window


def test_a_listing_leaves_its_times() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    bookmarks.begin_listing("charge", START)
    assert bookmarks.listing_since("charge") == START
    assert state["bookmarks"]["charge"]["backfill_finished_at"] is None
    bookmarks.finish_listing("charge", START + 60)
    bookmarks.begin_listing("charge", START + 3600, because="of a sweep", anew=False)
    assert state["bookmarks"]["charge"]["listing_because"] == "of a sweep"
    bookmarks.finish_listing("charge", START + 3700)
    assert state["bookmarks"]["charge"] == {
        "backfill_started_at": iso(START),
        "backfill_finished_at": iso(START + 60),
        "events_as_of": iso(START),
        "listing_started_at": None,
        "listed_at": iso(START + 3600),
    }


def test_a_backfill_forgets_what_was_in_before() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    bookmarks.begin_listing("charge", START)
    bookmarks.finish_listing("charge", START + 60)
    bookmarks.refreshed("charge", START + 70)
    bookmarks.set_pending_from("charge", START - 70)
    bookmarks.begin_listing("charge", START + 3600)
    assert not bookmarks.backfilled("charge")
    assert bookmarks.events_as_of("charge") == START + 3600
    assert bookmarks.refreshed_at("charge") is None
    assert bookmarks.pending_from("charge") is None


def test_the_windows_of_one_list_do_not_touch_anothers() -> None:
    bookmarks = Bookmarks({})
    one, two = OpenWindow(path="/v1/account", parameters={}), OpenWindow(path="/v1/accounts", parameters={})
    bookmarks.set_windows("account", one.path, [one])
    bookmarks.set_windows("account", two.path, [two])
    bookmarks.set_windows("account", one.path, [])
    assert bookmarks.windows("account", one.path) == ()
    assert bookmarks.windows("account", two.path) == (two,)


def test_a_refusal_keeps_its_first_moment_and_goes_when_access_is_back() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    bookmarks.begin_listing("charge", START)
    bookmarks.deny("charge", "the key lacks the permission rak_charge_read", START)
    bookmarks.deny("charge", "still", START + 60)
    assert state["bookmarks"]["charge"]["denied"] == {
        "since": iso(START),
        "tried_at": iso(START + 60),
        "reason": "still",
    }
    assert bookmarks.listing_since("charge") is None
    bookmarks.allow("charge")
    assert bookmarks.denied("charge") is None


def test_a_state_belongs_to_one_account_and_mode() -> None:
    state: dict[str, Any] = {}
    Bookmarks(state).claim("acct_1", livemode=False)
    Bookmarks(state).claim(None, livemode=False)  # a key that may not read the account
    assert state["account"] == {"id": "acct_1", "livemode": False}
    with pytest.raises(OtherAccountError, match="belongs to account acct_1 and the API key to account acct_2"):
        Bookmarks(state).claim("acct_2", livemode=False)
    with pytest.raises(OtherModeError, match="belongs to test mode and the API key is a live key"):
        Bookmarks(state).claim("acct_1", livemode=True)
    assert state["account"] == {"id": "acct_1", "livemode": False}


def test_an_account_that_becomes_known_later_is_noted() -> None:
    state: dict[str, Any] = {}
    Bookmarks(state).claim(None, livemode=True)
    assert Bookmarks(state).account_id is None
    Bookmarks(state).claim("acct_1", livemode=True)
    assert Bookmarks(state).account_id == "acct_1"


def test_the_state_says_when_it_was_written_and_only_if_it_changed() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    assert bookmarks.stamp(START + 0.25)
    assert state["written_at"] == iso(START)[:-1] + ".250Z"
    assert not bookmarks.stamp(START + 1)
    bookmarks.begin_listing("charge", START)
    assert bookmarks.stamp(START - 3600)  # the clock was set back
    assert state["written_at"] == iso(START)[:-1] + ".251Z"
