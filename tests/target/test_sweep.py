"""A sweep says what is still there; what it did not bring is gone as of its start."""

import pytest
from messages import FILLER, INTEGER, JSON, TEXT, activate, at, millis, record, schema, state

from target_postgres_stripe.errors import RecordRefusedError
from target_postgres_stripe.load import Loader

COUPON = schema("coupon", name=TEXT)
LIVE = "SELECT id, name FROM stripe.coupon WHERE _sdc_deleted_at IS NULL ORDER BY id"
SWEEP = millis(100)


def coupon(name, as_of, value="x", **more):
    return record("coupon", id=name, name=value, as_of=as_of, **more)


def swept(name, as_of=101, value="x"):
    return coupon(name, as_of, value, version=SWEEP)


@pytest.fixture
def loaded(load, each_expectation):
    load(COUPON, *(coupon(name, 1) for name in ("a", "b", "c")), state())
    return load


@pytest.mark.parametrize("hard_delete", [False, True])
def test_what_a_sweep_did_not_bring_is_gone_as_of_its_start(loaded, rows, hard_delete):
    loaded(COUPON, swept("a"), swept("b"), activate("coupon", SWEEP), state(), hard_delete=hard_delete)
    assert rows(LIVE) == [("a", "x"), ("b", "x")]
    gone = (
        "SELECT key->>0, as_of::text FROM stripe._tombstones"
        if hard_delete
        else ("SELECT id, _sdc_deleted_at::text FROM stripe.coupon WHERE _sdc_deleted_at = _sdc_as_of")
    )
    assert rows(gone) == [("c", "2026-01-01 00:01:40+00")]


@pytest.mark.parametrize(("as_of", "lives"), [(99, False), (100, False), (101, True)])
@pytest.mark.parametrize("hard_delete", [False, True])
def test_what_was_known_until_the_start_of_a_sweep_is_gone_and_what_was_later_is_not(
    load, rows, as_of, lives, hard_delete
):
    load(COUPON, coupon("a", as_of), activate("coupon", SWEEP), state(), hard_delete=hard_delete)
    assert rows(LIVE) == [("a", "x")] * lives


def test_what_a_sweep_brought_in_the_second_of_its_start_is_still_there(loaded, rows):
    loaded(COUPON, swept("a", 100), swept("b", 100, "new"), activate("coupon", SWEEP), state())
    assert rows(LIVE) == [("a", "x"), ("b", "new")]


@pytest.mark.parametrize(("as_of", "lives"), [(99, False), (100, False), (101, True)])
def test_what_an_abandoned_sweep_saw_counts_if_it_was_later_than_the_start_of_the_next(loaded, rows, as_of, lives):
    loaded(COUPON, coupon("a", as_of, version=millis(50)), activate("coupon", SWEEP), state())
    assert rows(LIVE) == [("a", "x")] * lives


@pytest.mark.parametrize("hard_delete", [False, True])
def test_a_sweep_of_a_stream_whose_ids_are_anothers_too_says_nothing_of_that(load, rows, hard_delete):
    plan = schema("plan", name=TEXT)
    both = [each(name, 1) for name in "ab" for each in (coupon, lambda *of: coupon(*of) | {"stream": "plan"})]
    load(COUPON, plan, *both, state(), hard_delete=hard_delete)
    seen = swept("a") | {"stream": "plan"}, swept("b")
    load(COUPON, plan, *seen, activate("coupon", SWEEP), state(), hard_delete=hard_delete)
    assert rows(LIVE) == [("b", "x")]
    assert rows(LIVE.replace("coupon", "plan")) == [("a", "x"), ("b", "x")]
    load(COUPON, plan, activate("plan", SWEEP), state(), hard_delete=hard_delete)
    assert rows(LIVE.replace("coupon", "plan")) == [("a", "x")]


def test_rows_of_a_sweep_and_of_the_feed_come_in_one_batch(loaded, rows):
    loaded(COUPON, swept("a"), coupon("b", 50), coupon("d", 102), activate("coupon", SWEEP), state())
    assert rows(LIVE) == [("a", "x"), ("d", "x")]


def test_a_row_of_the_very_moment_in_which_the_sweep_began_is_seen_all_the_same(load, rows):
    load(COUPON, coupon("a", 100), state())
    load(COUPON, swept("a", 100), activate("coupon", SWEEP), state())
    assert rows(LIVE) == [("a", "x")]


@pytest.mark.parametrize("first", ["x", "written by the sweep"])
@pytest.mark.parametrize("moments", [(101, 105), (105, 101)])
def test_what_a_sweep_brought_twice_is_as_new_as_the_newest(loaded, rows, first, moments):
    for as_of in moments:
        loaded(COUPON, swept("a", as_of, first), state())
    loaded(COUPON, coupon("a", 104, "an event that came late"), state())
    assert ("a", first) in rows(LIVE)
    loaded(COUPON, coupon("a", 106, "an event"), state())
    assert ("a", "an event") in rows(LIVE)


@pytest.mark.parametrize("hard_delete", [False, True])
@pytest.mark.parametrize(("gone", "lives"), [(104, True), (105, False), (106, False)])
def test_a_delete_that_is_older_than_what_a_sweep_saw_does_nothing(loaded, rows, gone, lives, hard_delete):
    loaded(COUPON, swept("a", 105), state(), hard_delete=hard_delete)
    loaded(COUPON, record("coupon", id="a", gone=gone), state(), hard_delete=hard_delete)
    assert (("a", "x") in rows(LIVE)) is lives


@pytest.mark.parametrize("hard_delete", [False, True])
@pytest.mark.parametrize(("gone", "lives"), [(99, True), (100, False), (101, False)])
def test_a_delete_that_is_older_than_a_finished_sweep_that_brought_the_row_does_nothing(
    loaded, rows, gone, lives, hard_delete
):
    loaded(COUPON, swept("a"), activate("coupon", SWEEP), state(), hard_delete=hard_delete)
    loaded(COUPON, record("coupon", id="a", gone=gone), state(), hard_delete=hard_delete)
    assert rows(LIVE) == [("a", "x")] * lives


@pytest.mark.parametrize("hard_delete", [False, True])
def test_the_late_end_of_an_older_sweep_changes_nothing_for_a_newer_one(loaded, rows, hard_delete):
    loaded(COUPON, *(swept(name) for name in "abc"), state(), hard_delete=hard_delete)
    loaded(COUPON, activate("coupon", millis(50)), activate("coupon", SWEEP), state(), hard_delete=hard_delete)
    assert rows(LIVE) == [("a", "x"), ("b", "x"), ("c", "x")]
    loaded(COUPON, activate("coupon", millis(50)), coupon("stale", 70), state(), hard_delete=hard_delete)
    assert rows(LIVE) == [("a", "x"), ("b", "x"), ("c", "x")]


def test_what_two_sweeps_saw_was_seen_by_the_newer_one(loaded, rows):
    for version in (millis(90), SWEEP):
        loaded(COUPON, coupon("a", 100, version=version), state())
    loaded(COUPON, activate("coupon", SWEEP), state())
    assert rows(LIVE) == [("a", "x")]


def test_a_sweep_writes_no_row_that_is_unchanged(loaded, rows, connection):
    before = rows("SELECT ctid, xmin, * FROM stripe.coupon ORDER BY id")
    loaded(COUPON, *(swept(name) for name in "abc"), state())
    loaded(COUPON, activate("coupon", SWEEP), state())
    assert rows("SELECT ctid, xmin, * FROM stripe.coupon ORDER BY id") == before
    assert rows("SELECT count(*) FROM stripe._sweep_seen") == [(0,)]


def test_what_was_seen_before_a_kill_counts_after_the_resumption(loaded, rows):
    loaded(COUPON, swept("a"), state())
    loaded(COUPON, swept("b"), state())
    loaded(COUPON, swept("c"), activate("coupon", SWEEP), state())
    assert rows(LIVE) == [("a", "x"), ("b", "x"), ("c", "x")]


def test_a_sweep_that_did_not_finish_deletes_nothing(loaded, rows):
    loaded(COUPON, swept("a"), state())
    assert rows(LIVE) == [("a", "x"), ("b", "x"), ("c", "x")]


def test_a_sweep_that_was_activated_before_its_state_was_saved_deletes_nothing_when_it_is_resumed(loaded, rows):
    """The commit was the last thing that happened; the next run starts with the STATE from before the last page."""
    loaded(COUPON, swept("a"), swept("b"), swept("c"), activate("coupon", SWEEP), state())
    loaded(COUPON, swept("c"), activate("coupon", SWEEP), state())
    assert rows(LIVE) == [("a", "x"), ("b", "x"), ("c", "x")]
    assert rows("SELECT count(*) FROM stripe._sweep_seen") == [(0,)]


def test_what_changed_after_the_sweeps_start_stays(loaded, rows):
    loaded(COUPON, coupon("d", 150), activate("coupon", SWEEP), state())
    assert rows(LIVE) == [("d", "x")]


def test_a_row_that_the_sweep_changed_and_an_event_changed_again_counts_as_seen(loaded, rows):
    loaded(COUPON, swept("a", 101, "y"), coupon("a", 102, "z"), activate("coupon", SWEEP), state())
    assert rows(LIVE) == [("a", "z")]


def test_a_late_change_from_before_a_sighting_does_not_win(loaded, rows):
    """A → B → A again: the sweep's A changes nothing and is only sighted."""
    loaded(COUPON, swept("a"), state())
    loaded(COUPON, coupon("a", 50, "late"), state())
    assert rows(LIVE)[0] == ("a", "x")


def test_a_late_change_from_before_a_finished_sweep_does_not_win(loaded, rows):
    loaded(COUPON, *(swept(name) for name in "abc"), activate("coupon", SWEEP), state())
    loaded(COUPON, coupon("a", 50, "late"), record("coupon", id="b", gone=60), state())
    assert rows(LIVE) == [("a", "x"), ("b", "x"), ("c", "x")]


def test_a_gap_filler_is_taken_after_a_finished_sweep(loaded, rows):
    loaded(COUPON, *(swept(name) for name in "abc"), activate("coupon", SWEEP), coupon("f", FILLER), state())
    assert rows(LIVE)[-1] == ("f", "x")


@pytest.mark.parametrize("hard_delete", [False, True])
@pytest.mark.parametrize("delete_comes_first", [False, True])
def test_a_stale_copy_of_what_was_deleted_before_a_finished_sweep_does_not_live(
    load, rows, hard_delete, delete_comes_first
):
    delete, copy = record("coupon", id="gone", gone=60), coupon("gone", FILLER)
    messages = (delete, copy) if delete_comes_first else (copy, delete)
    load(COUPON, swept("a"), activate("coupon", SWEEP), state(), *messages, state(), hard_delete=hard_delete)
    assert rows(LIVE) == [("a", "x")]


def test_what_is_pending_is_stored_before_a_version_is_activated(load, rows):
    load(COUPON, swept("a"), activate("coupon", SWEEP), coupon("b", 1), state())
    assert rows(LIVE) == [("a", "x")]


def test_a_newer_sweep_takes_the_place_of_an_unfinished_one(loaded, rows):
    later = millis(200)
    loaded(COUPON, swept("a"), swept("b"), state())
    loaded(COUPON, coupon("a", 201, version=later), activate("coupon", later), state())
    assert rows(LIVE) == [("a", "x")]
    assert rows("SELECT count(*) FROM stripe._sweep_seen") == [(0,)]


def test_a_soft_deleted_row_that_a_sweep_brings_lives_again(loaded, rows):
    loaded(COUPON, record("coupon", id="a", gone=50), swept("a"), state())
    assert ("a", "x") in rows(LIVE)


def test_activation_can_be_switched_off(loaded, rows):
    loaded(COUPON, swept("a"), activate("coupon", SWEEP), state(), activate_version=False)
    assert rows(LIVE) == [("a", "x"), ("b", "x"), ("c", "x")]


@pytest.mark.parametrize("hard_delete", [False, True])
def test_a_plain_streams_older_versions_are_deleted(load, rows, hard_delete):
    plain = schema("u", ordered=False, n=INTEGER)
    load(plain, record("u", id="a", version=1), record("u", id="b", version=1), record("u", id="old"))
    load(plain, record("u", id="a", version=2), activate("u", 2), hard_delete=hard_delete)
    assert rows("SELECT id FROM stripe.u WHERE _sdc_deleted_at IS NULL") == [("a",)]
    assert rows("SELECT count(*) FROM stripe.u") == [(1 if hard_delete else 3,)]


def test_a_plain_streams_version_needs_the_metadata_columns(load, rows, caplog):
    load(schema("u", ordered=False), record("u", id="a", version=1), activate("u", 2), add_record_metadata=False)
    assert rows("SELECT * FROM stripe.u") == [("a",)]
    assert "needs add_record_metadata" in caplog.text


@pytest.mark.parametrize("hard_delete", [False, True])
def test_what_exists_only_within_a_row_is_gone_with_it(load, rows, hard_delete):
    """A test clock was deleted: its customers are missing from the next listing, and nobody lists their cards."""
    customer = schema("customer", name=TEXT)
    owned = {"type": "array", "items": {"type": "string"}}
    customer["schema"]["properties"]["_sdc_children"] = {"type": "object", "patternProperties": {"^card$": owned}}
    card = schema("card", customer_id=TEXT)
    schemas = (customer, card)
    load(
        *schemas,
        record("customer", id="cus_1", as_of=1),
        record("customer", id="cus_2", as_of=1),
        *(record("card", id=f"card_{owner}_{number}", customer_id=owner, as_of=number)
          for owner in ("cus_1", "cus_2") for number in (1, 200)),
        state(),
    )  # fmt: skip
    load(
        *schemas,
        record("customer", id="cus_1", as_of=101, version=SWEEP),
        activate("customer", SWEEP),
        state(),
        hard_delete=hard_delete,
    )
    live = "SELECT id FROM stripe.card WHERE _sdc_deleted_at IS NULL ORDER BY id"
    assert rows(live) == [
        ("card_cus_1_1",),
        ("card_cus_1_200",),
        ("card_cus_2_200",),
    ]  # the last one is newer than the sweep
    load(*schemas, record("card", id="card_cus_2_1", customer_id="cus_2", as_of=99), state(), hard_delete=hard_delete)
    assert ("card_cus_2_1",) not in rows(live)


def test_rows_that_a_sweep_finds_as_they_are_are_not_even_locked(load, rows):
    """A lock is written into the row, and so into the log from which a standby is fed."""
    filled = state(coupon={"backfill_finished_at": at(2)})
    load(state(), COUPON, *(coupon(name, 1) for name in ("a", "b", "c")), filled)
    before = rows("SELECT ctid, xmin FROM stripe.coupon ORDER BY id")
    load(state(), COUPON, swept("a"), swept("b"), swept("c", value="changed"), activate("coupon", SWEEP), filled)
    assert rows("SELECT ctid, xmin FROM stripe.coupon ORDER BY id")[:2] == before[:2]
    assert rows("SELECT id FROM stripe.coupon WHERE xmax <> 0 AND id <> 'c'") == []
    assert rows(LIVE) == [("a", "x"), ("b", "x"), ("c", "changed")]


def test_once_rows_come_unchanged_the_next_ones_are_looked_at_before(load, rows):
    load(COUPON, *(coupon(name, 1) for name in ("a", "b", "c", "d")), state())
    same = [coupon(name, 1) for name in ("a", "b", "c", "d")]
    load(COUPON, *same[:2], state(), *same[2:], state(), batch_size_rows=2)
    assert rows("SELECT id FROM stripe.coupon WHERE xmax <> 0 ORDER BY id") == [("a",), ("b",)]


FILLED = state(coupon={"backfill_finished_at": at(2)})
ALL = "SELECT ctid, xmin, * FROM stripe.coupon ORDER BY id"


def test_rows_that_are_listed_again_are_recognised_and_not_sent(load, rows, monkeypatch):
    load(state(), COUPON, coupon("a", 1), coupon("b", 1), FILLED)
    before = rows(ALL)
    sent = []
    copied = Loader._apply_staged
    monkeypatch.setattr(
        Loader, "_apply_staged", lambda *args, **more: sent.extend(row.key for row in args[3]) or copied(*args, **more)
    )
    load(state(), COUPON, swept("a"), swept("b", value="changed"), swept("c"), FILLED)
    assert sent == [("b",), ("c",)]
    assert rows("SELECT key::jsonb FROM stripe._sweep_seen") == [(["a"],)]
    load(state(), COUPON, swept("a"), swept("b", value="changed"), swept("c"), activate("coupon", SWEEP), FILLED)
    assert sent == [("b",), ("c",)]
    assert rows(ALL)[0] == before[0]
    assert rows(LIVE) == [("a", "x"), ("b", "changed"), ("c", "x")]


@pytest.mark.parametrize("text", ["a\tb\\c\nd", "", "\\N", "\u00e9\x1f"])
def test_keys_and_values_of_any_text_are_recognised(load, rows, text):
    load(state(), COUPON, coupon(f"k{text}", 1, text), coupon("other", 1, text), FILLED)
    before = rows(ALL)
    again = [swept(f"k{text}", value=text), swept("other", value=text)]
    load(state(), COUPON, *again, activate("coupon", SWEEP), FILLED)
    assert rows(ALL) == before


def test_rows_of_another_schema_are_recognised_from_the_second_time_on(load, rows):
    """A column is new and empty: no row has changed, but what they are recognised by has."""
    load(state(), COUPON, *(coupon(name, 1) for name in "abc"), FILLED)
    wider = schema("coupon", name=TEXT, added=TEXT)
    tables = []
    for day in range(3):
        version = SWEEP + day * 1000
        load(
            state(), wider, *(coupon(name, 101 + day, version=version) for name in "abc"),
            activate("coupon", version), FILLED,
        )  # fmt: skip
        tables.append(rows(ALL))
    assert [row[2:4] for row in tables[0]] == [("a", "x"), ("b", "x"), ("c", "x")]
    assert tables[0] == tables[1] == tables[2]


def test_other_spellings_of_the_same_values_are_no_reason_to_write_a_row(load, rows):
    shaped = schema("coupon", name=TEXT, metadata=JSON)

    def of(metadata, as_of, **more):
        return record("coupon", id="a", name="x", as_of=as_of, metadata=metadata, **more)

    load(state(), shaped, of({"a": 1, "b": 2}, 1), FILLED)
    before = rows(ALL)
    load(state(), shaped, of({"b": 2, "a": 1}, 101, version=SWEEP), activate("coupon", SWEEP), FILLED)
    assert rows(ALL) == before


def test_a_row_without_a_hash_gets_one_when_it_is_listed(load, rows, connection):
    """Databases of earlier versions have none."""
    load(state(), COUPON, *(coupon(name, 1) for name in "abc"), FILLED)
    hashes = rows("SELECT id, _sdc_hash FROM stripe.coupon ORDER BY id")
    assert all(each for _, each in hashes)
    connection.execute("ALTER TABLE stripe.coupon DROP COLUMN _sdc_hash")
    load(state(), COUPON, *(swept(name) for name in "abc"), activate("coupon", SWEEP), FILLED)
    assert rows("SELECT id, _sdc_hash FROM stripe.coupon ORDER BY id") == hashes
    assert rows("SELECT DISTINCT _sdc_as_of::text FROM stripe.coupon") == [("2026-01-01 00:00:01+00",)]


def test_a_listed_row_that_postgres_cannot_store_is_named_though_rows_are_looked_for_first(load, rows):
    load(state(), COUPON, coupon("a", 1), FILLED)
    bad = record("coupon", id="b", name="x", as_of="2026-13-45T00:00:00Z", version=SWEEP)
    with pytest.raises(RecordRefusedError, match=r"Record 2 of stream 'coupon'.*_sdc_as_of"):
        load(state(), COUPON, swept("a"), bad, FILLED)
    assert rows("SELECT id FROM stripe.coupon") == [("a",)]


def test_a_key_that_needs_a_wider_column_is_looked_for_in_it(load, rows):
    numbered = schema("coupon", id=INTEGER, name=TEXT)
    load(state(), numbered, coupon(1, 1), coupon(2, 1), FILLED)
    listed = [swept(1), swept(2), swept(2**70)]
    for _ in range(2):
        load(state(), numbered, *listed, activate("coupon", SWEEP), FILLED, batch_size_rows=2)
        assert rows("SELECT id::text FROM stripe.coupon WHERE _sdc_deleted_at IS NULL ORDER BY coupon.id") == [
            ("1",), ("2",), (str(2**70),)
        ]  # fmt: skip


def test_rows_of_nothing_but_a_key_are_recognised(load, rows):
    pair = schema("pair", key=("a", "b"))
    listed = [record("pair", a="x\t", b=b, as_of=1) for b in ("1", "2")]
    load(state(), pair, *listed, state())
    before = rows("SELECT ctid, xmin, * FROM stripe.pair ORDER BY b")
    again = [record("pair", a="x\t", b=b, as_of=101, version=SWEEP) for b in ("1", "2", "3")]
    load(state(), pair, *again, activate("pair", SWEEP), state())
    assert rows("SELECT ctid, xmin, * FROM stripe.pair ORDER BY b")[:2] == before
    assert rows("SELECT a, b FROM stripe.pair ORDER BY b") == [("x\t", "1"), ("x\t", "2"), ("x\t", "3")]
