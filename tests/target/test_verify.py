"""``--verify`` compares what a tap sends with the tables, says where they differ, and changes nothing."""

import json
import subprocess

import pytest
from messages import FILLER, INTEGER, TEXT, activate, at, millis, record, schema, state
from test_process import COMMAND, TIMEOUT_SECONDS

from target_postgres_stripe.errors import KeyConflictError, NothingStoredError, OtherAccountError
from target_postgres_stripe.target import TargetPostgresStripe

COUPON = schema("coupon", name=TEXT, percent={"type": ["number", "null"]}, amount=INTEGER)
SWEEP = millis(100)


def coupon(key, as_of=1, /, *, version=None, **fields):
    return record("coupon", {"name": "x", "percent": 1.5, "amount": 3} | fields, id=key, as_of=as_of, version=version)


def swept(key, as_of=101, /, **fields):
    return coupon(key, as_of, version=SWEEP, **fields)


FINISHED = (activate("coupon", SWEEP), state())


@pytest.fixture
def verify(database):
    """Run a verification, and get its report."""

    def run(*messages, **settings):
        target = TargetPostgresStripe(config={"database_url": database} | settings, verify=True)
        try:
            target.loader.open()
            target.listen(message if callable(message) else json.dumps(message) + "\n" for message in messages)
            return target.verification.report
        finally:
            target.close()

    return run


@pytest.fixture
def loaded(load):
    load(state(), COUPON, *(coupon(name) for name in "abc"), state(coupon={"backfill_finished_at": at(1)}))
    return load


def lines(report):
    return {line.split()[0]: line.split()[1:] for line in str(report).splitlines() if line.startswith("coupon ")}


def test_equal_tables_are_clean(loaded, verify):
    report = verify(state(), COUPON, *(swept(name) for name in "abc"), *FINISHED)
    assert str(report) == (
        "stream  compared  equal  different  missing  surplus  newer\n"
        "coupon         3      3          0        0        0      0"
    )
    assert report.is_clean


def test_every_kind_of_difference_is_counted_and_shown_by_key_and_column_never_by_value(loaded, verify):
    loaded(state(), COUPON, coupon("n", 200), coupon("later", 201), state())
    report = verify(
        state(),
        COUPON,
        swept("a", name="secret", amount=4),
        swept("b"),
        swept("new"),
        swept("n", name="old"),
        *FINISHED,
    )
    assert str(report) == (
        "stream  compared  equal  different  missing  surplus  newer\n"
        "coupon         3      1          1        1        1      1\n"
        "\n"
        "coupon, for example:\n"
        '  ["a"] different: name, amount\n'
        '  ["new"] missing\n'
        '  ["c"] surplus'
    )
    assert not report.is_clean


def test_at_most_five_keys_are_shown(loaded, verify):
    report = verify(state(), COUPON, *(swept(f"n{number}") for number in range(9)), *FINISHED)
    assert str(report).count("missing\n") == 4
    assert str(report).splitlines()[-1] == '  ["n4"] missing'


def test_a_gap_filler_says_nothing(loaded, verify):
    report = verify(state(), COUPON, coupon("a", FILLER, name="stale"), coupon("z", FILLER), state())
    assert lines(report) == {"coupon": ["0", "0", "0", "0", "-", "0"]}
    assert report.is_clean


def test_what_a_sweep_that_did_not_finish_did_not_bring_is_not_surplus(loaded, verify):
    assert lines(verify(state(), COUPON, swept("a"), state())) == {"coupon": ["1", "1", "0", "0", "-", "0"]}


@pytest.mark.parametrize("hard_delete", [False, True])
def test_a_deleted_row_is_missing_if_the_tap_brings_it_and_skipped_if_it_was_deleted_later(load, verify, hard_delete):
    gone = [record("coupon", id="a", gone=50), record("coupon", id="b", gone=150)]
    load(state(), COUPON, *(coupon(name) for name in "abc"), *gone, state(), hard_delete=hard_delete)
    report = verify(state(), COUPON, *(swept(name) for name in "abc"), *FINISHED, hard_delete=hard_delete)
    assert lines(report) == {"coupon": ["2", "1", "0", "1", "0", "1"]}


def test_a_record_that_says_gone_of_a_live_row_is_a_difference(loaded, verify):
    report = verify(state(), COUPON, record("coupon", id="a", gone=101), record("coupon", id="q", gone=101), state())
    assert lines(report) == {"coupon": ["1", "1", "0", "0", "1", "0"]}
    assert not report.is_clean


def test_equality_is_that_of_the_upsert(loaded, verify, rows):
    """1.50 is 1.5, a null is a field left out, and what the upsert would not write is equal."""
    same = record("coupon", id="a", name="x", percent=1.50, amount=3.0, as_of=101, version=SWEEP)
    report = verify(state(), COUPON, same, state())
    assert lines(report) == {"coupon": ["1", "1", "0", "0", "-", "0"]}
    before = rows("SELECT xmin::text FROM stripe.coupon WHERE id = 'a'")
    loaded(state(), COUPON, same, state())
    assert rows("SELECT xmin::text FROM stripe.coupon WHERE id = 'a'") == before


def test_nothing_is_written(loaded, verify, rows):
    tables = [name for (name,) in rows("SELECT tablename FROM pg_tables WHERE schemaname = 'stripe' ORDER BY 1")]
    before = {name: rows(f"SELECT t.ctid, t.xmin::text, t.* FROM stripe.{name} t ORDER BY 1") for name in tables}
    wider = schema("coupon", name=TEXT, percent={"type": ["number", "null"]}, amount=INTEGER, brand_new=TEXT)
    other = {**state(coupon={"events_as_of": at(500)})["value"], "written_at": at(900)}
    verify(
        state(other), wider, schema("charge"), swept("a", name="y", brand_new="z"), swept("q", amount=2**70),
        record("charge", id="ch", as_of=1), *FINISHED,
    )  # fmt: skip
    after = [name for (name,) in rows("SELECT tablename FROM pg_tables WHERE schemaname = 'stripe' ORDER BY 1")]
    assert after == tables
    assert {
        name: rows(f"SELECT t.ctid, t.xmin::text, t.* FROM stripe.{name} t ORDER BY 1") for name in tables
    } == before


def test_a_column_that_the_table_lacks_differs_where_the_record_has_a_value(loaded, verify):
    wider = schema("coupon", name=TEXT, percent={"type": ["number", "null"]}, amount=INTEGER, brand_new=TEXT)
    report = verify(state(), wider, swept("a", brand_new="z"), swept("b"), swept("c"), *FINISHED)
    assert lines(report) == {"coupon": ["3", "2", "1", "0", "0", "0"]}
    assert '["a"] different: brand_new' in str(report)


def test_a_stream_without_a_table_is_all_missing(loaded, verify):
    report = verify(
        state(), schema("charge"), record("charge", id="ch", as_of=1, version=SWEEP), activate("charge", SWEEP), state()
    )
    assert str(report).splitlines()[1].split() == ["charge", "1", "0", "0", "1", "0", "0"]


def test_a_difference_that_a_sync_mends_meanwhile_does_not_count(loaded, database):
    """The tap lists an object that has just changed; the event is stored before the verification ends."""
    target = TargetPostgresStripe(config={"database_url": database, "batch_size_rows": 1}, verify=True)

    def messages():
        for message in (state(), COUPON, swept("a", name="y"), swept("b"), state(), *[swept("c")] * 2, state()):
            yield json.dumps(message) + "\n"
        loaded(state(), COUPON, coupon("a", 100, name="y"), state())
        yield json.dumps(state()) + "\n"

    target.listen(messages())
    report = target.verification.report
    target.close()
    assert lines(report) == {"coupon": ["3", "3", "0", "0", "-", "0"]}


def test_a_verification_holds_no_lock_while_it_waits(loaded, database, connection):
    target = TargetPostgresStripe(config={"database_url": database, "batch_size_rows": 1}, verify=True)

    def messages():
        for message in (state(), COUPON, *(swept(name, name="y") for name in "abc"), *FINISHED):
            yield json.dumps(message) + "\n"
        held = connection.execute(
            "SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'stripe'"
        ).fetchall()
        assert held == []
        connection.execute("SET lock_timeout = '1s'")
        connection.execute("ALTER TABLE stripe.coupon ADD COLUMN later text")
        yield json.dumps(state()) + "\n"

    target.listen(messages())
    target.close()


def test_a_key_that_is_listed_twice_counts_once_and_as_it_was_last(loaded, verify):
    report = verify(
        state(), COUPON, swept("a", name="y"), state(), swept("a"), swept("b", name="y"), swept("b", name="z"), state()
    )
    assert lines(report) == {"coupon": ["2", "1", "1", "0", "-", "0"]}


def test_another_account_an_empty_database_and_another_key_are_refused(load, verify):
    with pytest.raises(NothingStoredError, match="holds nothing of this target"):
        verify(state(), COUPON)
    load(state(), COUPON, coupon("a"), state())
    with pytest.raises(OtherAccountError):
        verify(state(account="acct_2"), COUPON)
    with pytest.raises(KeyConflictError):
        verify(
            state(),
            schema("coupon", key=("account_id", "id")),
            record("coupon", account_id="b", id="a", as_of=1),
            state(),
        )


def test_a_tap_that_is_cut_off_is_not_a_clean_result(loaded, verify):
    report = verify(state(), COUPON, swept("a"), state(), swept("b"))
    assert "The input ended before its last STATE" in str(report)
    assert not report.is_clean
    assert not verify().is_clean


@pytest.mark.parametrize(("name", "code"), [("x", 0), ("y", 1)])
def test_the_command_prints_the_table_alone_and_its_exit_code_tells(loaded, database, tmp_path, name, code):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"database_url": database}))
    messages = [state(), COUPON, swept("a", name=name), swept("b"), swept("c"), *FINISHED]
    done = subprocess.run(
        [COMMAND, "--config", config, "--verify"],
        input="".join(json.dumps(message) + "\n" for message in messages).encode(),
        capture_output=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith(b"stream  compared")
    assert (b'["a"] different: name' in done.stdout) == bool(code)
