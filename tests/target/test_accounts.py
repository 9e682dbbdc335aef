"""Streams with the rows of several Stripe accounts: what one account's listing, list or bookmark says is its own."""

import json

import pytest
from messages import TEXT, activate, at, millis, record, schema, state

from target_postgres_stripe.errors import KeyConflictError, StateAheadError
from target_postgres_stripe.target import TargetPostgresStripe

ACCOUNTS = ("acct_a", "acct_b")
COUPON = schema("coupon", key=("stripe_account_id", "id"), name=TEXT)
SWEEP = millis(100)
LOADED = {"kept_by": "events", "backfill_finished_at": at(2)}
LIVE = "SELECT stripe_account_id, id, name FROM stripe.coupon WHERE _sdc_deleted_at IS NULL ORDER BY 1, 2"


def coupon(account, key, as_of=1, name="x", **more):
    return record("coupon", stripe_account_id=account, id=key, name=name, as_of=as_of, **more)


def known(**accounts):
    """The STATE of a run over several accounts: the bookmark of each one's coupons."""
    own = {account: {"bookmarks": {"coupon": bookmark}} for account, bookmark in accounts.items()}
    return state({"account": {"id": "acct_p", "livemode": False}, "accounts": own})


@pytest.fixture
def run(load):
    return lambda *messages, **settings: load(known(), COUPON, *messages, **settings)


@pytest.fixture
def loaded(run):
    """Two accounts with the same two coupons, whose events keep them."""
    run(*(coupon(account, key) for account in ACCOUNTS for key in "xy"), known(acct_a=LOADED, acct_b=LOADED))
    return run


def test_the_same_id_in_two_accounts_is_two_rows(run, rows):
    run(coupon("acct_a", "x", name="a"), coupon("acct_b", "x", name="b"), known())
    assert rows(LIVE) == [("acct_a", "x", "a"), ("acct_b", "x", "b")]


@pytest.mark.parametrize("hard_delete", [False, True])
def test_the_end_of_a_listing_takes_only_rows_of_its_account(loaded, rows, hard_delete):
    swept = coupon("acct_a", "x", 101, version=SWEEP)
    loaded(swept, activate("coupon", SWEEP, "acct_a"), known(), hard_delete=hard_delete)
    assert rows(LIVE) == [("acct_a", "x", "x"), ("acct_b", "x", "x"), ("acct_b", "y", "x")]


def test_an_account_without_any_row_left_has_none(loaded, rows):
    loaded(activate("coupon", SWEEP, "acct_b"), known())
    assert rows(LIVE) == [("acct_a", "x", "x"), ("acct_a", "y", "x")]


def test_a_listing_that_is_finished_does_not_end_that_of_another_account(loaded, rows):
    loaded(coupon("acct_a", "x", 101, version=SWEEP), coupon("acct_b", "x", 101, version=SWEEP), known())
    loaded(activate("coupon", SWEEP, "acct_a"), known())
    assert rows("SELECT DISTINCT key::jsonb->>0 FROM stripe._sweep_seen") == [("acct_b",)]
    loaded(activate("coupon", SWEEP, "acct_b"), known())
    assert rows(LIVE) == [("acct_a", "x", "x"), ("acct_b", "x", "x")]
    assert rows("SELECT * FROM stripe._sweep_seen") == []


@pytest.mark.parametrize("hard_delete", [False, True])
def test_what_is_older_than_the_listing_of_one_account_may_be_news_of_another(loaded, rows, hard_delete):
    """A finished listing of a says that z was not there; of b nothing was said."""
    loaded(activate("coupon", SWEEP, "acct_a"), known(), hard_delete=hard_delete)
    loaded(*(coupon(account, "z", 50) for account in ACCOUNTS), known(), hard_delete=hard_delete)
    assert [row for row in rows(LIVE) if row[1] == "z"] == [("acct_b", "z", "x")]


def test_a_listing_that_was_finished_before_is_left_alone(loaded, rows):
    swept = [coupon("acct_a", key, 101, version=SWEEP) for key in "xy"]
    loaded(*swept, activate("coupon", SWEEP, "acct_a"), known())
    loaded(activate("coupon", SWEEP, "acct_a"), known())
    assert len(rows(LIVE)) == 4


def test_a_listing_of_nobody_in_particular_takes_nothing(loaded, rows, caplog):
    loaded(coupon("acct_a", "x", 101, version=SWEEP), activate("coupon", SWEEP), known())
    assert len(rows(LIVE)) == 4
    assert "does not say of which account" in caplog.text


def test_each_account_has_a_row_of_the_status(loaded, rows):
    loaded(coupon("acct_b", "z", 5), known(acct_a=LOADED | {"events_as_of": at(9)}, acct_b=LOADED))
    found = rows("SELECT stream, stripe_account_id, events_as_of IS NOT NULL, rows FROM stripe._sync_status ORDER BY 2")
    assert found == [("coupon", "acct_a", True, 2), ("coupon", "acct_b", False, 3)]


def test_an_account_whose_rows_are_gone_counts_none(run, rows):
    run(coupon("acct_a", "x"), known(acct_a={}, acct_b={}))
    assert rows("SELECT stripe_account_id, rows FROM stripe._sync_status ORDER BY 1") == [("acct_a", 1), ("acct_b", 0)]


def test_when_the_feed_of_each_was_read_is_in_its_rows(run, rows):
    told = known(acct_a=LOADED | {"events_as_of": at(3)}, acct_b=LOADED | {"events_as_of": at(4)})
    told["value"]["polled_at"] = at(8)
    for account, second in (("acct_a", 7), ("acct_b", 8)):
        told["value"]["accounts"][account]["polled_at"] = at(second)
    run(coupon("acct_a", "x"), told)
    found = rows("SELECT stripe_account_id, extract(second FROM polled_at)::int FROM stripe._sync_status ORDER BY 1")
    assert found == [("acct_a", 7), ("acct_b", 8)]
    assert rows("SELECT extract(second FROM polled_at)::int FROM stripe._sync") == [(8,)]


def test_drift_is_that_of_the_account_whose_events_lacked_it(loaded, rows):
    """b is not loaded as far as its bookmark says, so that what its listing finds proves nothing."""
    filling = LOADED | {"backfill_finished_at": None}
    loaded(known(acct_b=filling))
    changed = [coupon(account, "x", 101, "changed", version=SWEEP) for account in ACCOUNTS]
    late = {"events_as_of": at(222)}
    loaded(*changed, known(acct_a=LOADED | late, acct_b=filling | late))
    drift = rows("SELECT stripe_account_id, drift FROM stripe._sync_status ORDER BY 1")
    assert drift == [("acct_a", 1), ("acct_b", 0)]
    assert {name for _, key, name in rows(LIVE) if key == "x"} == {"changed"}


def test_an_announcement_of_one_account_excuses_no_repair_of_another(loaded, rows):
    changed = [coupon(account, "x", 101, "changed", version=SWEEP) for account in ACCOUNTS]
    late = LOADED | {"events_as_of": at(222)}
    loaded(*changed, coupon("acct_b", "x", 102, "changed"), known(acct_a=late, acct_b=late))
    drift = rows("SELECT stripe_account_id, drift FROM stripe._sync_status ORDER BY 1")
    assert drift == [("acct_a", 1), ("acct_b", 0)]


def test_what_a_listing_of_one_account_does_not_bring_is_its_drift(loaded, rows):
    late = LOADED | {"events_as_of": at(222)}
    swept = coupon("acct_a", "x", 101, version=SWEEP)
    loaded(swept, activate("coupon", SWEEP, "acct_a"), known(acct_a=late, acct_b=late))
    drift = rows("SELECT stripe_account_id, drift FROM stripe._sync_status ORDER BY 1")
    assert drift == [("acct_a", 1), ("acct_b", 0)]


def test_a_state_that_is_ahead_in_one_account_is_refused(loaded, load):
    ahead = known(acct_a=LOADED, acct_b=LOADED | {"backfill_finished_at": at(3)})
    with pytest.raises(StateAheadError, match="stream 'coupon' of acct_b"):
        load(ahead, COUPON)


@pytest.mark.parametrize("first", [COUPON, schema("coupon", name=TEXT)])
def test_tables_of_one_account_do_not_become_tables_of_several(load, first):
    other = schema("coupon", name=TEXT) if first is COUPON else COUPON
    load(state(), first, state())
    with pytest.raises(KeyConflictError, match="connected_accounts"):
        load(state(), other, state())


def test_a_verification_compares_each_account_with_its_own_rows(loaded, database):
    target = TargetPostgresStripe(config={"database_url": database}, verify=True)
    messages = [
        known(), COUPON, *(coupon("acct_a", key, 101, version=SWEEP) for key in "xy"),
        coupon("acct_b", "x", 101, version=SWEEP),
        activate("coupon", SWEEP, "acct_a"), activate("coupon", SWEEP, "acct_b"), known(),
    ]  # fmt: skip
    try:
        target.loader.open()
        target.listen(json.dumps(each) + "\n" for each in messages)
        report = str(target.verification.report)
    finally:
        target.close()
    assert [line.split()[1:] for line in report.splitlines() if line.startswith("coupon ")] == [
        ["3", "3", "0", "0", "1", "0"]
    ]
    assert '["acct_b", "y"]' in report
