"""STATE: what it covers, what it checks, and where it is written."""

import json
import time
from concurrent.futures import Executor
from functools import partial

import pytest
from later import Later
from messages import TEXT, record, schema, state

from target_postgres_stripe.errors import (
    OtherAccountError,
    OtherModeError,
    RecordRefusedError,
    SettingsError,
    StateAheadError,
    TargetError,
)
from target_postgres_stripe.target import TargetPostgresStripe

CUSTOMER = schema("customer", name=TEXT)
STARTED = {"backfill_started_at": "2026-01-01T00:00:00Z"}


def eventually(holds):
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def customer(name, as_of=1):
    return record("customer", id=name, name="x", as_of=as_of)


def test_state_is_printed_as_sent_after_its_rows_are_there(load, rows):
    sent = state(customer=STARTED)
    assert load(state(), CUSTOMER, customer("a"), sent) == [sent["value"]]
    assert rows("SELECT id FROM stripe.customer") == [("a",)]


def test_every_bookmark_is_a_row_that_a_person_can_read(load, rows):
    bookmark = STARTED | {
        "backfill_finished_at": "2026-01-02T00:00:00Z", "listed_at": "2026-01-02T01:00:00+01:00",
        "events_as_of": None, "open_windows": [], "denied": {"since": "2026-01-03T00:00:00Z", "reason": "no"},
    }  # fmt: skip
    load(state(), CUSTOMER, state(customer=bookmark))
    moments = "backfill_started_at::text, backfill_finished_at::text, listed_at::text, events_as_of::text"
    assert rows("SELECT stream, bookmark, denied FROM stripe._sync_status") == [("customer", bookmark, "no")]
    assert rows(f"SELECT {moments} FROM stripe._sync_status") == [
        ("2026-01-01 00:00:00+00", "2026-01-02 00:00:00+00", "2026-01-02 00:00:00+00", None)
    ]


def test_the_sync_has_one_row_that_keeps_its_id(load, rows):
    load(state(account=None), CUSTOMER, state(account=None))
    first = rows("SELECT id, livemode, account_id FROM stripe._sync")
    load(state(), state())
    assert rows("SELECT id, livemode, account_id FROM stripe._sync") == [(first[0][0], False, "acct_1")]
    assert first[0][1:] == (False, None)


def test_another_account_is_refused_before_anything_is_written(load, rows):
    load(state(), CUSTOMER, customer("a"), state())
    before = rows("SELECT *, xmin FROM stripe.customer"), rows("SELECT *, xmin FROM stripe._sync")
    with pytest.raises(OtherAccountError, match="holds Stripe account acct_1, but the tap reads account acct_2"):
        load(state(account="acct_2"), schema("charge"), customer("b"), state(account="acct_2"))
    assert (rows("SELECT *, xmin FROM stripe.customer"), rows("SELECT *, xmin FROM stripe._sync")) == before
    assert rows("SELECT to_regclass('stripe.charge')::text") == [(None,)]
    assert load.printed == []


def test_a_live_key_on_a_test_database_is_refused(load):
    load(state(account=None), state(account=None))
    with pytest.raises(OtherModeError, match="holds test mode rows, but the tap reads with a live mode key"):
        load(state(account=None, livemode=True))


def test_an_account_that_shows_itself_later_in_the_run_is_refused_too(load):
    load(state(), state())
    with pytest.raises(OtherAccountError):
        load(state(account=None), CUSTOMER, state(account="acct_2"))


@pytest.mark.parametrize("field", ["backfill_started_at", "backfill_finished_at", "listed_at", "events_as_of"])
def test_a_state_that_is_ahead_of_the_database_is_refused(load, field):
    load(state(), CUSTOMER, state(customer={field: "2026-01-01T00:00:00Z"}))
    with pytest.raises(StateAheadError, match=f"'customer' says {field} = 2026-01-02.*meltano state clear"):
        load(state(customer={field: "2026-01-02T00:00:00Z"}))


def test_a_state_moved_to_an_empty_database_is_refused(load, rows):
    with pytest.raises(StateAheadError, match="the database recorded none"):
        load(state(customer=STARTED), CUSTOMER)
    assert rows("SELECT to_regnamespace('stripe')::text") == [(None,)]


def test_a_state_that_is_behind_the_database_is_fine(load, rows):
    """Killed after the commit and before the STATE was saved."""
    load(state(), CUSTOMER, state(customer={"events_as_of": "2026-01-02T00:00:00Z"}))
    load(state(customer={"events_as_of": "2026-01-01T00:00:00Z"}), CUSTOMER, customer("a"), state())
    load(state(), CUSTOMER, state(customer=STARTED))
    assert rows("SELECT id FROM stripe.customer") == [("a",)]


def test_a_state_that_a_person_has_set_back_is_fine_and_is_what_the_status_then_says(load, rows):
    """Rewound by a day: the same rows come again, and the moments with them."""
    late = STARTED | {"backfill_finished_at": "2026-01-02T00:00:00Z", "events_as_of": "2026-01-05T00:00:00Z"}
    rewound = late | {"events_as_of": "2026-01-04T00:00:00Z"}
    load(state(), CUSTOMER, customer("a"), state(customer=late))
    load(state(customer=rewound), CUSTOMER, customer("a"), state(customer=rewound))
    assert rows("SELECT events_as_of::text FROM stripe._sync_status") == [("2026-01-04 00:00:00+00",)]
    load(state(customer=late), CUSTOMER, state(customer=late))
    assert rows("SELECT events_as_of::text FROM stripe._sync_status") == [("2026-01-05 00:00:00+00",)]


@pytest.mark.parametrize("anew", [{"backfill_finished_at": None, "events_as_of": None}, {}])
def test_a_stream_that_is_read_anew_sets_its_moments_back(load, rows, anew):
    """Killed before that STATE was saved, the tap comes again with the one before, which once was true: not ahead."""
    done = STARTED | {"backfill_finished_at": "2026-01-02T00:00:00Z", "events_as_of": "2026-01-03T00:00:00Z"}
    load(state(), CUSTOMER, customer("a"), state(customer=done))
    load(state(customer=done), CUSTOMER, state(customer=anew))
    assert rows("SELECT backfill_finished_at, events_as_of FROM stripe._sync_status") == [(None, None)]
    assert load(state(customer=done), CUSTOMER, state(customer=anew)) != []
    with pytest.raises(StateAheadError, match="events_as_of = 2026-01-04"):
        load(state(customer=done | {"events_as_of": "2026-01-04T00:00:00Z"}))


def test_a_database_that_was_restored_from_yesterday_is_refused(load, connection):
    """The same rows, sync and status as yesterday; the state is today's."""
    yesterday, today = (STARTED | {"events_as_of": f"2026-01-0{day}T00:00:00Z"} for day in (4, 5))
    load(state(), CUSTOMER, customer("a"), state(customer=yesterday))
    connection.execute("CREATE TABLE backup AS SELECT * FROM stripe._sync_status")
    load(state(customer=yesterday), CUSTOMER, customer("b"), state(customer=today))
    connection.execute("TRUNCATE stripe._sync_status; INSERT INTO stripe._sync_status SELECT * FROM backup")
    connection.execute("DELETE FROM stripe.customer WHERE id = 'b'")
    with pytest.raises(StateAheadError, match="Restore the newer database, or clear the state"):
        load(state(customer=today), CUSTOMER)


def test_a_state_that_only_says_denied_is_not_ahead(load):
    assert load(state(customer={"denied": {"since": "2026-01-01T00:00:00Z", "reason": "no"}})) != []


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"bookmarks": {"users": {"replication_key_value": 5}}}, [("users", {"replication_key_value": 5})]),
        ({"users": 5}, [("users", 5)]),
        ({}, []),
    ],
)
def test_the_state_of_other_taps_is_kept_and_never_refused(load, rows, value, stored):
    for _ in range(2):
        assert (
            load(state({"bookmarks": {}}), schema("users", ordered=False), {"type": "STATE", "value": value})[-1]
            == value
        )
    assert rows("SELECT stream, bookmark FROM stripe._sync_status") == stored


def test_nothing_that_no_state_covers_is_committed_when_our_tap_is_cut_off(load, rows):
    printed = load(state(), CUSTOMER, customer("a"), state(customer=STARTED), customer("parent"))
    assert rows("SELECT id FROM stripe.customer") == [("a",)]
    assert len(printed) == 1


def test_what_other_taps_send_after_their_last_state_is_committed(load, rows):
    users = schema("users", ordered=False)
    load(users, record("users", id="a"), state({"users": 1}), record("users", id="b"))
    assert rows("SELECT id FROM stripe.users ORDER BY id") == [("a",), ("b",)]


def test_rows_are_invisible_until_the_state_that_covers_them(load, rows):
    """Ten rows a batch and a hundred without a STATE: staged, not committed, until the STATE comes."""
    seen = []

    def lines():
        yield json.dumps(CUSTOMER) + "\n"
        for number in range(100):
            yield json.dumps(customer(f"c{number}")) + "\n"
        seen.append(rows("SELECT to_regclass('stripe.customer')::text"))
        yield json.dumps(state()) + "\n"
        eventually(lambda: rows("SELECT to_regclass('stripe.customer') IS NOT NULL") == [(True,)])
        seen.append(rows("SELECT count(*) FROM stripe.customer"))

    load.lines(lines(), batch_size_rows=10)
    assert seen == [[(None,)], [(100,)]]


BAD = record("customer", id="bad", name=5, as_of=1)
BAD_MOMENT = record("customer", id="bad", name="x", as_of="2026-13-45T00:00:00Z")


@pytest.mark.parametrize("bad", [BAD, BAD_MOMENT], ids=["refused by us", "refused by Postgres"])
def test_a_refused_record_ends_the_run_after_what_came_before_its_state(load, rows, bad):
    first, second = state(customer=STARTED), state(customer=STARTED | {"n": 2})
    with pytest.raises(RecordRefusedError, match=r"Record 4 of stream 'customer'") as caught:
        load(
            state(),
            CUSTOMER,
            customer("a"),
            first,
            customer("a", 2),
            customer("c"),
            bad,
            second,
            customer("d"),
            state(),
        )
    assert rows("SELECT id, _sdc_as_of::text FROM stripe.customer") == [("a", "2026-01-01 00:00:01+00")]
    assert load.printed == [first["value"]]
    assert "2026-13" not in str(caught.value)


class WhenWaitedFor(Executor):
    """Runs a job when somebody waits for it: a thread that is as slow as can be."""

    def submit(self, job, /, *args):
        return Later(partial(job, *args))


@pytest.mark.parametrize("bad", [BAD, BAD_MOMENT], ids=["refused by us", "refused by Postgres"])
@pytest.mark.parametrize("before", range(5))
def test_what_was_staged_is_committed_with_its_state_before_a_record_is_refused(load, rows, monkeypatch, bad, before):
    """Two rows a batch, and a thread that has stored nothing yet when the next message comes."""
    monkeypatch.setattr(TargetPostgresStripe, "executor", staticmethod(WhenWaitedFor))
    sent = [customer(f"c{number}") for number in range(4)]
    covering = state(customer=STARTED)
    messages = [*sent[:before], bad, *sent[before:], state(customer=STARTED | {"n": 2})]
    with pytest.raises(RecordRefusedError, match=f"Record {5 + before} of stream 'customer'"):
        load(
            state(), CUSTOMER, *(customer(f"s{number}") for number in range(4)), covering, *messages, batch_size_rows=2
        )
    stored = [id_ for (id_,) in rows("SELECT id FROM stripe.customer ORDER BY id")]
    printed = [each["bookmarks"].get("customer") for each in load.printed]
    assert printed[-1:] in ([STARTED], [{}], [None], [])
    assert stored == (["s0", "s1", "s2", "s3"] if STARTED in printed else [])


def test_a_broken_line_ends_the_run_after_what_a_state_covers(load, rows):
    with pytest.raises(TargetError, match="Line 5 of the input is not a Singer message"):
        load(state(), CUSTOMER, customer("a"), state(), '{"type": "RECORD", "stream": "customer", "rec')
    assert rows("SELECT id FROM stripe.customer") == [("a",)]


def test_many_states_share_a_commit_and_the_last_is_printed(load, rows):
    messages = [message for number in range(50) for message in (customer(f"c{number}"), state(customer={"n": number}))]
    printed = load(state(), CUSTOMER, *messages)
    assert printed[-1]["bookmarks"] == {"customer": {"n": 49}}
    assert len(printed) < 10
    assert rows("SELECT count(*), count(DISTINCT xmin::text) FROM stripe.customer") == [(50, 1)]


def test_bookmarks_that_did_not_change_are_not_written_again(load, rows):
    load(state(), state(customer=STARTED), state(customer=STARTED))
    load(state(customer=STARTED), CUSTOMER, customer("a"), state(customer=STARTED | {"n": 1}))
    assert rows("SELECT bookmark FROM stripe._sync_status") == [(STARTED | {"n": 1},)]


def test_a_state_without_a_value_to_read_is_passed_on(load):
    assert load(CUSTOMER, {"type": "STATE", "value": None}) == [None]


def test_files_of_records_are_refused(load):
    message = {"type": "BATCH", "stream": "customer", "encoding": {"format": "jsonl"}, "manifest": []}
    with pytest.raises(SettingsError, match="'customer' as BATCH files"):
        load(CUSTOMER, message)


def test_a_version_of_a_stream_that_never_came_is_no_concern(load):
    assert load(state(), {"type": "ACTIVATE_VERSION", "stream": "other", "version": 1}, state()) != []


def test_a_state_written_later_than_the_last_one_stored_is_ahead(load, rows):
    # In the middle of one backfill the moments in the bookmarks stand still; the state's own moment does not.
    earlier, later = ({**state(customer=STARTED)["value"], "written_at": f"2026-01-01T00:0{n}:00Z"} for n in (1, 2))
    load(state(), CUSTOMER, customer("a"), {"type": "STATE", "value": earlier})
    assert rows("SELECT state_written_at::text FROM stripe._sync") == [("2026-01-01 00:01:00+00",)]
    load({"type": "STATE", "value": earlier})
    with pytest.raises(StateAheadError, match="it says written_at = 2026-01-01T00:02:00"):
        load({"type": "STATE", "value": later})


def test_a_stream_without_rows_has_a_table_too_whatever_comes_last(load, rows):
    load(state(), CUSTOMER, customer("a"), state(), schema("mandate", type=TEXT))
    assert rows("SELECT count(*) FROM stripe.mandate") == [(0,)]
