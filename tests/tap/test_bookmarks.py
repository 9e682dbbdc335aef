"""The state: what a person reads there, and whose it is."""

from collections.abc import Callable
from typing import Any

import pytest

from tap_stripe_events.bookmarks import Bookmarks, Hint, OpenWindow
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


@pytest.mark.parametrize(
    "window",
    [
        OpenWindow(path="/v1/prices", parameters={}),
        OpenWindow(path="/v1/charges", parameters={}, start=0, end=0, after="ch_1", after_created=0),
        OpenWindow(path="/v1/charges", parameters={}, end=START),
    ],
)
def test_a_window_without_bounds_and_one_that_begins_in_1970_are_told_apart(window: OpenWindow) -> None:
    assert OpenWindow.from_json(window.to_json()) == window
    assert ("pass" in window.to_json()) is False


def test_a_window_of_a_list_is_in_the_state_as_it_stands_there() -> None:
    state: dict[str, Any] = {}
    window = OpenWindow(path="/v1/charges", parameters={}, start=START, end=START + 60)
    Bookmarks(state).set_windows("charge", window.path, [window])
    assert state["bookmarks"]["charge"]["open_windows"] == [window.to_json()]
    assert Bookmarks(state).windows("charge", window.path) == (window,)
    assert Bookmarks({}).windows("charge", window.path) == ()


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


def test_a_listing_from_a_start_date_says_so_while_it_lasts_and_after() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    assert (bookmarks.listing_floor("charge"), bookmarks.listed_from("charge")) == (None, None)
    bookmarks.begin_listing("charge", START, START - 500)
    assert (bookmarks.listing_floor("charge"), bookmarks.listed_from("charge")) == (START - 500, None)
    bookmarks.finish_listing("charge", START + 60)
    assert (bookmarks.listing_floor("charge"), bookmarks.listed_from("charge")) == (None, START - 500)
    assert bookmarks.listed_at("charge") == START
    bookmarks.begin_listing("charge", START + 100, anew=False)
    assert state["bookmarks"]["charge"]["listing_from"] is None
    bookmarks.finish_listing("charge", START + 160)
    assert bookmarks.listed_from("charge") is None
    assert bookmarks.listed_at("charge") == START + 100


def test_a_sweep_moves_nothing_but_its_own_times() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    bookmarks.begin_listing("charge", START)
    bookmarks.finish_listing("charge", START + 60)
    bookmarks.move_events(["charge"], START + 100)
    bookmarks.refreshed("charge", START + 70)
    bookmarks.set_pending_from("charge", START - 70)
    bookmarks.begin_listing("charge", START + 3600, anew=False)
    assert bookmarks.listing_since("charge") == START + 3600
    assert bookmarks.backfilled("charge")
    assert bookmarks.events_as_of("charge") == START + 100
    assert bookmarks.refreshed_at("charge") == START + 70
    assert bookmarks.pending_from("charge") == START - 70
    assert "listing_because" not in state["bookmarks"]["charge"]


def test_listings_are_those_under_way() -> None:
    bookmarks = Bookmarks({})
    assert bookmarks.listings() == {}
    bookmarks.begin_listing("charge", START)
    bookmarks.begin_listing("refund", START + 1)
    bookmarks.begin_listing("payout", START + 2)
    bookmarks.finish_listing("refund", START + 3)
    bookmarks.abandon_listing("payout")
    assert bookmarks.listings() == {"charge": START}
    assert bookmarks.listing_since("payout") is None


def test_what_made_a_listing_due_is_done_with_its_end_and_outlives_that_it_is_abandoned() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    assert bookmarks.listing_due("customer") is None
    bookmarks.make_listing_due("customer", "a test clock was deleted")
    assert bookmarks.listing_due("customer") == "a test clock was deleted"
    bookmarks.begin_listing("customer", START, because="a test clock was deleted", anew=False)
    assert bookmarks.listing_due("customer") is None
    assert state["bookmarks"]["customer"]["losses_announced"] is True
    bookmarks.abandon_listing("customer")
    assert bookmarks.listing_due("customer") == "a test clock was deleted"
    bookmarks.begin_listing("customer", START + 5, because="a test clock was deleted", anew=False)
    bookmarks.finish_listing("customer", START + 60)
    assert state["bookmarks"]["customer"] == {"listing_started_at": None, "listed_at": iso(START + 5)} | {
        "backfill_finished_at": iso(START + 60)
    }


def test_a_newer_reason_to_list_is_not_forgotten_with_a_listing_that_is_abandoned() -> None:
    bookmarks = Bookmarks({})
    bookmarks.make_listing_due("customer", "a test clock was deleted")
    bookmarks.begin_listing("customer", START, anew=False)
    bookmarks.make_listing_due("customer", "another one")
    bookmarks.abandon_listing("customer")
    assert bookmarks.listing_due("customer") == "another one"


def test_a_listing_due_without_a_reason_is_due_again_when_it_is_abandoned() -> None:
    bookmarks = Bookmarks({})
    bookmarks.make_listing_due("customer", "a test clock was deleted")
    bookmarks.begin_listing("customer", START, anew=False)
    bookmarks.abandon_listing("customer")
    assert bookmarks.listing_due("customer") == ""


def test_a_listing_that_was_due_for_no_loss_is_not_due_again_when_it_is_abandoned() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    bookmarks.begin_listing("customer", START, because="of a sweep")
    assert "losses_announced" not in state["bookmarks"]["customer"]
    bookmarks.leave_out("customer", "/v1/customers", "no permission")
    bookmarks.abandon_listing("customer")
    assert bookmarks.listing_due("customer") is None
    assert bookmarks.not_read("customer") == {}
    assert "listing_because" not in state["bookmarks"]["customer"]


def test_what_a_listing_lacks_is_known_until_the_next_one_begins() -> None:
    bookmarks = Bookmarks({})
    assert bookmarks.not_read("balance_transaction") == {}
    assert bookmarks.lacking("/v1/charges") == []
    bookmarks.begin_listing("charge", START)
    bookmarks.begin_listing("refund", START)
    bookmarks.leave_out("charge", "/v1/charges", "the key lacks a permission")
    bookmarks.leave_out("charge", "/v1/other", "so it does there")
    bookmarks.leave_out("refund", "/v1/refunds", "the same")
    bookmarks.finish_listing("charge", START + 60)
    assert bookmarks.not_read("charge") == {
        "/v1/charges": "the key lacks a permission",
        "/v1/other": "so it does there",
    }
    assert bookmarks.lacking("/v1/charges") == ["charge"]
    bookmarks.begin_listing("charge", START + 100)
    assert bookmarks.not_read("charge") == {}
    assert bookmarks.lacking("/v1/charges") == []
    bookmarks.deny("refund", "no permission", START)
    assert bookmarks.not_read("refund") == {}


def test_a_listing_that_reads_what_the_last_one_was_refused_has_made_up_for_it() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    bookmarks.begin_listing("charge", START)
    bookmarks.leave_out("charge", "/v1/charges", "no permission")
    bookmarks.finish_listing("charge", START + 1)
    for second in (100, 200):  # the first is refused as well
        bookmarks.begin_listing("charge", START + second, anew=False)
        assert state["bookmarks"]["charge"]["lacked"] == ["/v1/charges"]
        if second == 100:
            bookmarks.leave_out("charge", "/v1/charges", "no permission")
        bookmarks.finish_listing("charge", START + second + 1)
        assert "lacked" not in state["bookmarks"]["charge"]
        assert state["bookmarks"]["charge"].get("made_up_at") == (None if second == 100 else iso(START + 200))


def test_the_list_of_a_product_that_was_never_used_is_missed_once_it_was_read() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    for second in (0, 100):
        bookmarks.begin_listing("card", START + second)
        assert bookmarks.leave_unused("card", "/v1/accounts")
        bookmarks.finish_listing("card", START + second + 1)
        assert bookmarks.lacking("/v1/accounts") == ["card"]
    assert "made_up_at" not in state["bookmarks"]["card"]
    bookmarks.begin_listing("card", START + 200)
    bookmarks.use_list("card", "/v1/customers")
    bookmarks.use_list("card", "/v1/accounts")
    bookmarks.finish_listing("card", START + 201)
    assert bookmarks.lacking("/v1/accounts") == []
    assert state["bookmarks"]["card"]["made_up_at"] == iso(START + 200)
    bookmarks.begin_listing("card", START + 300)
    assert not bookmarks.leave_unused("card", "/v1/accounts")


def test_an_empty_state_lacks_nothing_and_refuses_nothing() -> None:
    bookmarks = Bookmarks({})
    assert bookmarks.lacking("/v1/charges") == []
    assert bookmarks.streams_denied() == set()
    assert bookmarks.listings() == {}
    bookmarks.allow("charge")
    assert bookmarks.denied("charge") is None


def test_a_reason_to_list_that_is_no_text_is_none() -> None:
    assert Bookmarks({"bookmarks": {"charge": {"listing_due": True}}}).listing_due("charge") is None


def test_a_stream_of_which_more_is_wanted_is_not_backfilled() -> None:
    bookmarks = Bookmarks({})
    assert not bookmarks.backfilled("charge")
    bookmarks.begin_listing("charge", START)
    assert not bookmarks.backfilled("charge")
    bookmarks.finish_listing("charge", START + 60)
    assert bookmarks.backfilled("charge")
    bookmarks.want_backfill("charge")
    assert not bookmarks.backfilled("charge")


def test_events_only_move_on_and_only_where_the_feed_is_followed() -> None:
    bookmarks = Bookmarks({})
    bookmarks.follow_from("charge", START)
    bookmarks.follow_from("refund", START + 50)
    bookmarks.move_events(["charge", "refund", "payout"], START + 40)
    assert bookmarks.events_as_of("charge") == START + 40
    assert bookmarks.events_as_of("refund") == START + 50
    assert bookmarks.events_as_of("payout") is None


def test_a_gap_says_from_when_to_when() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    bookmarks.follow_from("charge", START)
    bookmarks.note_gap("charge", START + 500)
    assert state["bookmarks"]["charge"] == {
        "events_as_of": iso(START + 500),
        "gap": {"from": iso(START), "to": iso(START + 500)},
    }


def test_hints_of_what_is_new_come_and_go() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    assert bookmarks.refresh_due("transfer") is None
    bookmarks.set_refresh_due("transfer", Hint.CREATED)
    assert state["bookmarks"]["transfer"] == {"refresh_due": "created"}
    bookmarks.set_refresh_due("transfer", Hint.PENDING)
    assert bookmarks.refresh_due("transfer") is Hint.PENDING
    bookmarks.set_refresh_due("transfer", None)
    assert bookmarks.refresh_due("transfer") is None
    assert state["bookmarks"]["transfer"] == {}


def test_pending_rows_are_remembered_until_there_are_none() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    assert bookmarks.pending_from("payout") is None
    bookmarks.set_pending_from("payout", START)
    assert state["bookmarks"]["payout"] == {"pending_from": iso(START)}
    assert bookmarks.pending_from("payout") == START
    bookmarks.set_pending_from("payout", None)
    assert state["bookmarks"]["payout"] == {}


def test_a_product_in_use_is_remembered() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    assert not bookmarks.is_used("issuing_card")
    bookmarks.use("issuing_card")
    assert bookmarks.is_used("issuing_card")
    assert state["bookmarks"]["issuing_card"] == {"used": True}


def test_what_keeps_a_stream_is_said_to_its_reader() -> None:
    state: dict[str, Any] = {}
    Bookmarks(state).kept_by("charge", "events")
    assert state["bookmarks"]["charge"] == {"kept_by": "events"}
    Bookmarks(state).kept_by("charge", "sweeps")
    assert state["bookmarks"]["charge"] == {"kept_by": "sweeps"}


def test_the_version_of_the_rows_changes_only_if_there_was_another() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    assert not bookmarks.changes_version("2026-10-28.endive")
    assert state["api_version"] == "2026-10-28.endive"
    assert not bookmarks.changes_version("2026-10-28.endive")
    assert bookmarks.changes_version("2027-01-01.fig")
    assert state["api_version"] == "2027-01-01.fig"


def test_the_state_says_when_the_feed_was_read() -> None:
    state: dict[str, Any] = {}
    Bookmarks(state).polled(START + 0.9)
    assert state == {"polled_at": iso(START)}


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
    assert bookmarks.denied("charge") == "still"
    assert bookmarks.denied_tried_at("charge") == START + 60
    assert bookmarks.streams_denied() == {"charge"}
    bookmarks.allow("charge")
    assert bookmarks.denied("charge") is None
    assert bookmarks.denied_tried_at("charge") is None
    assert bookmarks.streams_denied() == set()


def test_a_product_that_is_not_set_up_is_refused_in_its_own_way() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    assert not bookmarks.not_set_up("issuing_card")
    bookmarks.deny("issuing_card", "Issuing is not set up", START, not_set_up=True)
    assert bookmarks.not_set_up("issuing_card")
    assert state["bookmarks"]["issuing_card"]["denied"]["not_set_up"] is True
    bookmarks.deny("issuing_card", "no permission", START + 60)
    assert not bookmarks.not_set_up("issuing_card")
    assert bookmarks.denied("issuing_card") == "no permission"


def test_what_is_tried_again_is_still_refused_until_then() -> None:
    bookmarks = Bookmarks({})
    bookmarks.try_again("charge")
    assert bookmarks.denied("charge") is None
    bookmarks.deny("charge", "no permission", START)
    bookmarks.try_again("charge")
    bookmarks.try_again("charge")
    assert bookmarks.denied("charge") == "no permission"
    assert bookmarks.denied_tried_at("charge") is None


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
    assert Bookmarks(state).livemode
    other: dict[str, Any] = {}
    Bookmarks(other).claim("acct_2", livemode=False)
    assert not Bookmarks(other).livemode


def test_the_state_says_when_it_was_written_and_only_if_it_changed() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    assert bookmarks.stamp(START + 0.25)
    assert state["written_at"] == iso(START)[:-1] + ".250Z"
    assert not bookmarks.stamp(START + 1)
    bookmarks.begin_listing("charge", START)
    assert bookmarks.stamp(START - 3600)  # the clock was set back
    assert state["written_at"] == iso(START)[:-1] + ".251Z"


def test_a_clock_that_stands_still_does_not_keep_the_state_from_growing() -> None:
    state: dict[str, Any] = {}
    bookmarks = Bookmarks(state)
    written = []
    for _ in range(3):
        bookmarks.delivered()
        assert bookmarks.stamp(START)
        written.append(state["written_at"])
    assert written == [f"{iso(START)[:-1]}.00{each}Z" for each in range(3)]


WINDOW = OpenWindow(path="/v1/charges", parameters={})


@pytest.mark.parametrize(
    "change",
    [
        lambda bookmarks: bookmarks.changes_version("2027-01-01.fig"),
        lambda bookmarks: bookmarks.begin_listing("refund", START),
        lambda bookmarks: bookmarks.abandon_listing("charge"),
        lambda bookmarks: bookmarks.leave_out("charge", "/v1/charges", "no permission"),
        lambda bookmarks: bookmarks.finish_listing("charge", START),
        lambda bookmarks: bookmarks.want_backfill("charge"),
        lambda bookmarks: bookmarks.kept_by("charge", "sweeps"),
        lambda bookmarks: bookmarks.follow_from("charge", START),
        lambda bookmarks: bookmarks.note_gap("charge", START + 1),
        lambda bookmarks: bookmarks.move_events(["charge"], START + 1),
        lambda bookmarks: bookmarks.delivered(),
        lambda bookmarks: bookmarks.polled(START),
        lambda bookmarks: bookmarks.refreshed("charge", START),
        lambda bookmarks: bookmarks.make_listing_due("charge", "because"),
        lambda bookmarks: bookmarks.set_refresh_due("charge", Hint.CREATED),
        lambda bookmarks: bookmarks.set_refresh_due("payout", None),
        lambda bookmarks: bookmarks.use("charge"),
        lambda bookmarks: bookmarks.set_pending_from("charge", START),
        lambda bookmarks: bookmarks.set_pending_from("payout", None),
        lambda bookmarks: bookmarks.set_windows("charge", WINDOW.path, [WINDOW]),
        lambda bookmarks: bookmarks.deny("charge", "no permission", START),
        lambda bookmarks: bookmarks.allow("payout"),
        lambda bookmarks: bookmarks.try_again("payout"),
    ],
)
def test_whatever_changes_the_state_has_it_written(change: Callable[[Bookmarks], object]) -> None:
    bookmarks = Bookmarks({})
    bookmarks.begin_listing("charge", START)
    bookmarks.kept_by("charge", "events")
    bookmarks.set_refresh_due("payout", Hint.CREATED)
    bookmarks.set_pending_from("payout", START)
    bookmarks.deny("payout", "no permission", START)
    bookmarks.stamp(START)
    assert not bookmarks.stamp(START)
    change(bookmarks)
    assert bookmarks.stamp(START)


@pytest.mark.parametrize(
    "question",
    [
        lambda bookmarks: bookmarks.changes_version("2026-10-28.endive"),
        lambda bookmarks: bookmarks.kept_by("charge", "events"),
        lambda bookmarks: bookmarks.move_events(["charge", "payout"], START),
        lambda bookmarks: bookmarks.set_refresh_due("charge", None),
        lambda bookmarks: bookmarks.set_pending_from("charge", None),
        lambda bookmarks: bookmarks.listings(),
        lambda bookmarks: bookmarks.denied("charge"),
    ],
)
def test_what_changes_nothing_has_nothing_written(question: Callable[[Bookmarks], object]) -> None:
    bookmarks = Bookmarks({})
    bookmarks.changes_version("2026-10-28.endive")
    bookmarks.begin_listing("charge", START)
    bookmarks.kept_by("charge", "events")
    bookmarks.stamp(START)
    question(bookmarks)
    assert not bookmarks.stamp(START)


def test_what_is_not_selected_any_more_says_so_until_it_is_selected_again() -> None:
    state: dict[str, Any] = {"bookmarks": {"charge": {"kept_by": "events"}, "customer": {"kept_by": "events"}, "x": {}}}
    bookmarks = Bookmarks(state)
    bookmarks.select({"charge"})
    assert state["bookmarks"] == {
        "charge": {"kept_by": "events"}, "customer": {"kept_by": "events", "selected": False}, "x": {}
    }  # fmt: skip
    bookmarks.stamp(0)
    bookmarks.select({"charge"})
    assert not bookmarks.stamp(1)
    bookmarks.select({"charge", "customer"})
    assert state["bookmarks"]["customer"] == {"kept_by": "events"}
