"""Which of two changes wins, in every order of arrival."""

import itertools

import pytest
from messages import FILLER, INTEGER, TEXT, activate, at, millis, record, schema, state

CUSTOMER = schema("customer", name=TEXT, balance=INTEGER)
LIVE = "SELECT id, name FROM stripe.customer WHERE _sdc_deleted_at IS NULL ORDER BY id"


def in_one_batch(messages):
    return [[CUSTOMER, *messages, state()]]


def in_batches_of_one(messages):
    return [[CUSTOMER, message, state()] for message in messages]


batched = pytest.mark.parametrize("batches", [in_one_batch, in_batches_of_one])


def in_every_order(changes):
    """The changes in every order of arrival, each order for a customer of its own, all arriving side by side."""
    orders = list(itertools.permutations(changes))
    for step in range(len(changes)):
        yield [record("customer", order[step], id=f"cus_{number:02}") for number, order in enumerate(orders)]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("hard_delete", [False, True])
def test_the_newest_change_wins_in_every_order_of_arrival(load, rows, together, hard_delete):
    changes = [
        {"name": "first", "_sdc_as_of": at(1)},
        {"name": "second", "_sdc_as_of": at(2)},
        {"_sdc_deleted_at": at(3), "_sdc_as_of": at(3)},
        {"name": "again", "_sdc_as_of": at(4)},
    ]
    batches = list(in_every_order(changes))
    for messages in [itertools.chain(*batches)] if together else batches:
        load(CUSTOMER, *messages, state(), hard_delete=hard_delete)
    assert rows(LIVE) == [(f"cus_{number:02}", "again") for number in range(24)]
    assert rows("SELECT DISTINCT _sdc_as_of::text FROM stripe.customer") == [("2026-01-01 00:00:04+00",)]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("hard_delete", [False, True])
def test_an_older_change_never_revives_what_is_gone(load, rows, together, hard_delete):
    changes = [
        {"name": "first", "_sdc_as_of": at(1)},
        {"_sdc_deleted_at": at(3), "_sdc_as_of": at(3)},
        {"name": "late", "_sdc_as_of": at(2)},
    ]
    batches = list(in_every_order(changes))
    for messages in [itertools.chain(*batches)] if together else batches:
        load(CUSTOMER, *messages, state(), hard_delete=hard_delete)
    assert rows(LIVE) == []
    assert rows("SELECT count(*) FROM stripe.customer") == [(0 if hard_delete else 6,)]


@batched
@pytest.mark.parametrize("first", ["a", "b"])
def test_of_two_changes_of_one_moment_the_later_to_arrive_wins(load, rows, batches, first):
    second = {"a": "b", "b": "a"}[first]
    for messages in batches([record("customer", id="cus_1", name=name, as_of=5) for name in (first, second)]):
        load(*messages)
    assert rows(LIVE) == [("cus_1", second)]


@batched
@pytest.mark.parametrize("hard_delete", [False, True])
def test_an_id_that_is_used_again_in_the_second_of_its_deletion_lives(load, rows, batches, hard_delete):
    for messages in batches([record("customer", id="c", gone=5), record("customer", id="c", name="new", as_of=5)]):
        load(*messages, hard_delete=hard_delete)
    assert rows(LIVE) == [("c", "new")]


@batched
def test_a_soft_delete_keeps_the_last_values(load, rows, batches):
    for messages in batches(
        [record("customer", id="c", name="Ada", balance=7, as_of=1), record("customer", id="c", gone=2)]
    ):
        load(*messages)
    assert rows("SELECT name, balance, _sdc_deleted_at::text FROM stripe.customer") == [
        ("Ada", 7, "2026-01-01 00:00:02+00")
    ]


def test_deleting_what_was_never_seen_leaves_a_tombstone(load, rows):
    load(CUSTOMER, record("customer", id="c", gone=2), state())
    assert rows("SELECT id, name, _sdc_as_of = _sdc_deleted_at FROM stripe.customer") == [("c", None, True)]


def test_a_hard_delete_leaves_a_tombstone_outside_the_table(load, rows):
    load(CUSTOMER, record("customer", id="c", gone=2), state(), hard_delete=True)
    assert rows("SELECT count(*) FROM stripe.customer") == [(0,)]
    assert rows("SELECT stream, key, as_of::text FROM stripe._tombstones") == [
        ("customer", ["c"], "2026-01-01 00:00:02+00")
    ]


def test_a_hard_delete_that_is_older_than_the_row_does_nothing(load, rows):
    load(
        CUSTOMER,
        record("customer", id="c", name="x", as_of=9),
        record("customer", id="c", gone=2),
        state(),
        hard_delete=True,
    )
    assert rows(LIVE) == [("c", "x")]
    assert rows("SELECT count(*) FROM stripe._tombstones") == [(0,)]


@batched
def test_a_gap_filler_fills_a_gap_and_nothing_else(load, rows, batches):
    fillers = [record("customer", id=name, name="filler", as_of=FILLER) for name in ("gap", "known", "gone")]
    known = [record("customer", id="known", name="real", as_of=1), record("customer", id="gone", gone=1)]
    for messages in batches([*known, *fillers]):
        load(*messages)
    assert rows(LIVE) == [("gap", "filler"), ("known", "real")]


@batched
def test_a_gap_filler_does_not_bring_a_removed_row_back(load, rows, batches):
    for messages in batches([record("customer", id="c", gone=1), record("customer", id="c", name="f", as_of=FILLER)]):
        load(*messages, hard_delete=True)
    assert rows("SELECT count(*) FROM stripe.customer") == [(0,)]


@batched
def test_a_real_copy_replaces_a_gap_filler(load, rows, batches):
    changes = [record("customer", id="c", name="f", as_of=FILLER), record("customer", id="c", name="real", as_of=1)]
    for messages in batches(changes):
        load(*messages)
    assert rows(LIVE) == [("c", "real")]


@pytest.mark.parametrize("hard_delete", [False, True])
def test_a_delete_is_of_one_row(load, rows, hard_delete):
    others = [record("customer", id=name, name="x", as_of=1) for name in "abc"]
    load(CUSTOMER, *others, record("customer", id="b", gone=5), state(), hard_delete=hard_delete)
    assert rows(LIVE) == [("a", "x"), ("c", "x")]


def test_an_older_delete_does_not_make_a_tombstone_older(load, rows):
    for moment in (5, 3):
        load(CUSTOMER, record("customer", id="a", gone=moment), state(), hard_delete=True)
    load(CUSTOMER, record("customer", id="a", name="x", as_of=4), state(), hard_delete=True)
    assert rows(LIVE) == []


@pytest.mark.parametrize("batches", [in_one_batch, in_batches_of_one])
def test_of_two_gap_fillers_the_first_stays_whatever_comes_with_the_second(load, rows, batches):
    for messages in batches([record("customer", id="a", name=name, as_of=FILLER) for name in ("first", "second")]):
        load(CUSTOMER, *messages, record("customer", id="b", name="real", as_of=1), state())
    assert rows(LIVE) == [("a", "first"), ("b", "real")]


def test_a_gap_is_filled_although_another_row_was_removed(load, rows):
    load(CUSTOMER, record("customer", id="removed", gone=1), state(), hard_delete=True)
    filler = record("customer", id="gap", name="f", as_of=FILLER)
    load(CUSTOMER, filler, state(), hard_delete=True)
    assert rows(LIVE) == [("gap", "f")]


def test_what_is_too_old_to_be_believed_does_not_come_in_with_a_gap_filler(load, rows):
    load(CUSTOMER, activate("customer", millis(100)), state())
    stale = record("customer", id="stale", name="x", as_of=50)
    load(CUSTOMER, stale, record("customer", id="gap", name="f", as_of=FILLER), state())
    assert rows(LIVE) == [("gap", "f")]


def test_a_late_older_change_does_not_win_after_an_unchanged_newer_one(load, rows):
    """A → B → A: the second A changes nothing, yet B arriving last must not win."""
    for name, second in (("A", 1), ("A", 3), ("B", 2)):
        load(CUSTOMER, record("customer", id="c", name=name, as_of=second), state())
    assert rows(LIVE) == [("c", "A")]
    assert rows("SELECT _sdc_as_of::text FROM stripe.customer") == [("2026-01-01 00:00:03+00",)]


def test_an_unchanged_row_gets_a_newer_as_of_and_keeps_its_other_metadata(load, rows):
    load(CUSTOMER, record("customer", id="c", name="A", as_of=1), state())
    before = rows("SELECT _sdc_sequence, _sdc_batched_at FROM stripe.customer")
    load(CUSTOMER, record("customer", id="c", name="A", as_of=2), state())
    assert rows("SELECT _sdc_sequence, _sdc_batched_at FROM stripe.customer") == before


def test_the_same_window_twice_leaves_identical_tables(load, rows):
    window = [
        CUSTOMER,
        record("customer", id="a", name="x", as_of=1),
        record("customer", id="b", gone=2),
        record("customer", id="a", name="y", as_of=3),
        record("customer", id="f", name="z", as_of=FILLER),
        state(),
    ]
    load(*window)
    before = rows("SELECT *, xmin, ctid FROM stripe.customer ORDER BY id")
    load(*window)
    assert rows("SELECT *, xmin, ctid FROM stripe.customer ORDER BY id") == before


def test_moments_in_other_zones_are_compared_as_moments(load, rows):
    load(
        CUSTOMER,
        record("customer", id="c", name="newer", as_of="2026-01-01T02:00:00+01:00"),
        record("customer", id="c", name="older", as_of="2026-01-01T00:59:59Z"),
        state(),
    )
    assert rows(LIVE) == [("c", "newer")]


def test_without_a_key_every_record_is_a_row(load, rows):
    log = schema("log", key=(), ordered=False, line=TEXT, number=INTEGER)
    load(log, *(record("log", line=line, number=1) for line in ("a", "b", "a")), state())
    load(log, record("log", number=2), state())
    assert rows("SELECT line, number FROM stripe.log ORDER BY 2, 1") == [("a", 1), ("a", 1), ("b", 1), (None, 2)]
    assert rows("SELECT count(*) FROM stripe.log WHERE _sdc_batched_at IS NULL") == [(0,)]


def test_without_an_as_of_the_last_to_arrive_wins(load, rows):
    load(
        schema("customer", ordered=False, name=TEXT),
        record("customer", id="c", name="1"), record("customer", id="c", name="2"), state({"x": 1}),
    )  # fmt: skip
    assert rows("SELECT id, name FROM stripe.customer") == [("c", "2")]


def test_a_record_without_an_as_of_in_a_stream_that_has_one_is_refused(load):
    with pytest.raises(Exception, match=r"Record 1 of stream 'customer'.*_sdc_as_of"):
        load(CUSTOMER, record("customer", id="c"), state())


def test_a_plain_stream_may_say_that_a_row_is_deleted(load, rows):
    messages = [schema("u", ordered=False), record("u", id="a"), record("u", {"id": "b", "_sdc_deleted_at": at(1)})]
    load(*messages)
    assert rows("SELECT id, _sdc_deleted_at IS NULL FROM stripe.u ORDER BY id") == [("a", True), ("b", False)]
    load(*messages, hard_delete=True)
    assert rows("SELECT id FROM stripe.u ORDER BY id") == [("a",)]


def test_a_version_does_not_make_a_plain_row_older(load, rows):
    load(
        schema("u", ordered=False, n=INTEGER),
        record("u", id="a", n=1, version=2),
        record("u", id="a", n=2),
        state({"x": 1}),
    )
    assert rows("SELECT n FROM stripe.u") == [(2,)]


TIE = "2026-01-01T12:00:05.999Z"
UPSERT = record("customer", id="a", name="again", as_of=TIE)
DELETE = record("customer", id="a", _sdc_as_of=TIE, _sdc_deleted_at=TIE)


@pytest.mark.parametrize("hard_delete", [False, True])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    ("arrivals", "lives"),
    [
        ((DELETE, UPSERT), True),
        ((UPSERT, DELETE), False),
        ((DELETE, UPSERT, DELETE), False),
        ((UPSERT, DELETE, UPSERT), True),
        ((DELETE, DELETE, UPSERT, UPSERT), True),
    ],
)
def test_of_changes_as_of_the_same_moment_the_last_to_arrive_wins(
    *, load, rows, hard_delete, together, known, arrivals, lives
):
    """An id that is used again within the second in which it was deleted."""
    earlier = [record("customer", id="a", name="first", as_of=1)] if known else []
    messages = [m for arrival in arrivals for m in ([arrival] if together else [arrival, state()])]
    load(state(), schema("customer", name=TEXT), *earlier, *messages, state(), hard_delete=hard_delete)
    found = rows("SELECT name FROM stripe.customer WHERE _sdc_deleted_at IS NULL")
    assert found == ([("again",)] if lives else [])
    older = record("customer", id="a", name="older", as_of="2026-01-01T12:00:05.998Z")
    load(state(), schema("customer", name=TEXT), older, state(), hard_delete=hard_delete)
    assert rows("SELECT name FROM stripe.customer WHERE _sdc_deleted_at IS NULL") == found


def test_a_large_batch_of_what_a_new_table_already_holds_is_quick(load, database, rows):
    """Nothing is known of the table's size yet; a plan that compares each row with each would take minutes."""
    patient = f"{database}&options=-c%20statement_timeout%3D15s"

    def lines(second):
        return (record("customer", id=f"c{number}", name="x", as_of=second) for number in range(20_000))

    for second in (1, 2, 1):
        messages = (state(), schema("customer", name=TEXT), *lines(second), state())
        load(*messages, batch_size_rows=20_000, database_url=patient)
    assert rows("SELECT count(*) FROM stripe.customer WHERE _sdc_as_of = '2026-01-01T00:00:02Z'") == [(20_000,)]
