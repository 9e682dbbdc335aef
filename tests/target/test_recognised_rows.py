"""Of what is most likely as stored only what it is recognised by is read; the rest of it must not get lost for that."""

import pytest
from messages import FILLER, INTEGER, JSON, TEXT, activate, at, millis, record, schema, state

from target_postgres_stripe import target
from target_postgres_stripe.errors import MissingKeyError, RecordRefusedError
from target_postgres_stripe.load import Loader
from target_postgres_stripe.rows import RowReader
from target_postgres_stripe.sinks import PostgresSink

PRICE = schema("price", name=TEXT, amount=INTEGER)
LIVE = "SELECT id, name, amount FROM stripe.price WHERE _sdc_deleted_at IS NULL ORDER BY id"
SWEEP = millis(100)


def price(name, as_of=1, value="x", amount=1, **more):
    return record("price", id=name, name=value, amount=amount, as_of=as_of, **more)


def swept(name, *, as_of=101, version=SWEEP, **values):
    return price(name, as_of, version=version, **values)


@pytest.fixture
def expecting(monkeypatch):
    """Every stream is expected to be as stored, from its first row on."""
    monkeypatch.setattr(PostgresSink, "expects_the_same", True)
    monkeypatch.setattr(Loader, "expects_the_same", lambda _, shape: shape.ordered)


@pytest.fixture
def read_whole(monkeypatch):
    """The numbers of the records that were read whole."""
    numbers = []
    read = RowReader.read
    monkeypatch.setattr(
        RowReader, "read", lambda self, record, origin: numbers.append(origin.number) or read(self, record, origin)
    )
    return numbers


@pytest.fixture
def loaded(load, expecting):
    load(state(), PRICE, *(price(name) for name in "abc"), state())
    return load


def test_only_what_changed_is_read_whole(loaded, rows, read_whole):
    read_whole.clear()
    loaded(state(), PRICE, swept("a"), swept("b", value="y"), swept("c"), swept("d"), activate("price", SWEEP), state())
    assert sorted(read_whole) == [2, 4]
    assert rows(LIVE) == [("a", "x", 1), ("b", "y", 1), ("c", "x", 1), ("d", "x", 1)]


@pytest.mark.parametrize("batch_size_rows", [1, 2, 100])
def test_a_value_beyond_bigint_widens_the_column_in_the_midst_of_a_sweep(loaded, rows, caplog, batch_size_rows):
    sent = [swept("a"), swept("b", amount=2**70), swept("c", amount=2**71), swept("d", amount=2**72)]
    loaded(state(), PRICE, *sent, activate("price", SWEEP), state(), batch_size_rows=batch_size_rows)
    assert rows(LIVE) == [("a", "x", 1), ("b", "x", 2**70), ("c", "x", 2**71), ("d", "x", 2**72)]
    assert len([each for each in caplog.messages if "exceeds bigint" in each]) == 1


@pytest.mark.parametrize("batch_size_rows", [1, 2, 100])
def test_fields_without_a_column_are_left_out_and_said_once(loaded, rows, caplog, batch_size_rows):
    sent = [swept(name, value="y", other=1) for name in "abc"]
    loaded(state(), PRICE, *sent, activate("price", SWEEP), state(), batch_size_rows=batch_size_rows)
    assert rows(LIVE) == [("a", "y", 1), ("b", "y", 1), ("c", "y", 1)]
    assert len([each for each in caplog.messages if "not in the schema" in each]) == 1


@pytest.mark.parametrize("batch_size_rows", [1, 2, 100])
def test_a_changed_row_that_cannot_be_stored_is_refused_by_number_after_what_came_before(loaded, rows, batch_size_rows):
    covering = state(price={"n": 1})
    with pytest.raises(RecordRefusedError, match=r"Record 3 of stream 'price'.*'name' is not text"):
        loaded(
            state(), PRICE, swept("a"), swept("b", value="y"), covering, swept("c", value=5), swept("d"), state(),
            batch_size_rows=batch_size_rows,
        )  # fmt: skip
    assert loaded.printed[-1] == covering["value"]
    assert rows(LIVE) == [("a", "x", 1), ("b", "y", 1), ("c", "x", 1)]


def test_a_record_without_its_key_is_refused(loaded):
    with pytest.raises(MissingKeyError, match=r"2 of stream 'price'"):
        loaded(state(), PRICE, swept("a"), swept(None), state())


@pytest.mark.parametrize("name", ["tab\t", "back\\slash", "line\n", "\u00e9\u2028", "\x1f", '"'])
def test_keys_of_any_text_are_recognised(loaded, rows, name):
    loaded(state(), PRICE, price(name), state())
    before = rows("SELECT ctid, xmin, * FROM stripe.price ORDER BY id")
    loaded(state(), PRICE, *(swept(each) for each in ("a", "b", "c", name)), activate("price", SWEEP), state())
    assert rows("SELECT ctid, xmin, * FROM stripe.price ORDER BY id") == before


@pytest.mark.parametrize("more", [{"children": {"line": ["l"]}}, {"gone": 101}, {"as_of": FILLER}])
def test_a_record_that_says_more_than_its_values_is_heard(loaded, rows, read_whole, more):
    read_whole.clear()
    loaded(state(), PRICE, price("a", version=SWEEP, **({"as_of": 101} | more)), state())
    assert read_whole == [1]
    gone = rows("SELECT _sdc_deleted_at IS NOT NULL FROM stripe.price WHERE id = 'a'")
    assert gone == [("gone" in more,)]


def test_a_record_whose_as_of_is_not_its_end_is_compared_and_not_written(loaded, rows):
    """Stream maps may add a column after it."""
    before = rows("SELECT ctid, xmin, * FROM stripe.price ORDER BY id")
    later = [{"id": name, "name": "x", "_sdc_as_of": at(101), "amount": 1} for name in "abc"]
    sent = [record("price", each, version=SWEEP) for each in later]
    loaded(state(), PRICE, *sent, activate("price", SWEEP), state())
    assert rows("SELECT ctid, xmin, * FROM stripe.price ORDER BY id") == before


def test_an_as_of_that_is_named_in_a_value_too_is_not_mistaken_for_the_records(loaded, rows):
    shaped = schema("note", metadata=JSON)
    odd = {"_sdc_as_of": at(1)}

    def note(as_of, metadata, **more):
        return record("note", id="n", metadata=metadata, as_of=as_of, **more)

    loaded(state(), shaped, note(1, odd), state())
    loaded(state(), shaped, note(101, odd | {"_sdc_as_of": at(101)}, version=SWEEP), state())
    assert rows("SELECT metadata FROM stripe.note") == [({"_sdc_as_of": at(101)},)]


@pytest.mark.parametrize(
    ("kind", "stored", "listed"),
    [
        ({"type": "number"}, "1", "1.0"),
        ({"type": "number"}, "1e2", "100.00"),
        (JSON, '{"a":1,"b":[2]}', '{"b":[2.0],"a":1.00}'),
        ({"type": "string", "format": "date-time"}, '"2026-01-01T00:00:00Z"', '"2026-01-01T01:00:00+01:00"'),
    ],
)
@pytest.mark.usefixtures("expecting")
def test_a_key_that_is_spelled_in_another_way_is_seen_as_the_same(load, rows, kind, stored, listed):
    """A sighting is found by its key's text."""
    shaped = schema("odd", name=TEXT)
    shaped["schema"]["properties"]["id"] = kind

    def line(key, as_of, extra=""):
        return (
            f'{{"type":"RECORD","stream":"odd","record":{{"id":{key},"name":"x","_sdc_as_of":"{at(as_of)}"}}{extra}}}\n'
        )

    load(state(), shaped, line(stored, 1), state())
    load(state(), shaped, line(listed, 101, f',"version":{SWEEP}'), activate("odd", SWEEP), state())
    assert rows("SELECT name, _sdc_deleted_at FROM stripe.odd") == [("x", None)]


@pytest.mark.usefixtures("expecting")
def test_the_sightings_of_an_earlier_version_still_count(load, rows, connection):
    """Their keys were ``jsonb``."""
    load(state(), PRICE, *(price(name) for name in "abc"), state())
    load(state(), PRICE, swept("a"), swept("b"), state())
    connection.execute("ALTER TABLE stripe._sweep_seen ALTER COLUMN key TYPE jsonb USING key::jsonb")
    load(state(), PRICE, activate("price", SWEEP), state())
    assert [id_ for id_, *_ in rows(LIVE)] == ["a", "b"]
    assert rows("SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attname = 'key' "
                "AND attrelid = 'stripe._sweep_seen'::regclass") == [("text",)]  # fmt: skip


@pytest.mark.parametrize("hard_delete", [False, True])
def test_the_end_of_a_sweep_counts_what_lives(loaded, rows, hard_delete):
    loaded(state(), PRICE, price("d"), price("e", gone=2), state(), hard_delete=hard_delete)
    done = state(price={"backfill_finished_at": at(2)})
    loaded(state(), PRICE, swept("a"), swept("b", value="y"), swept("new"), activate("price", SWEEP), done,
           hard_delete=hard_delete)  # fmt: skip
    assert rows("SELECT rows FROM stripe._sync_status") == [(3,)]
    assert len(rows(LIVE)) == 3


def test_the_first_rows_of_a_stream_are_a_probe(load, rows, read_whole, monkeypatch):
    monkeypatch.setattr(target, "PROBE_ROWS", 5)
    names = [f"p{number:03}" for number in range(200)]
    load(state(), PRICE, *(price(name) for name in names), state())
    staged = []
    stage = Loader.stage
    monkeypatch.setattr(
        Loader, "stage", lambda self, *args: (args[1].rows and staged.append(args[1].rows)) or stage(self, *args)
    )
    read_whole.clear()
    load(state(), PRICE, *(swept(name) for name in names), activate("price", SWEEP), state(), batch_size_rows=50)
    assert staged[0] == 5
    assert read_whole == list(range(1, len(read_whole) + 1))
    assert 5 <= len(read_whole) < 200
    assert rows("SELECT count(*) FROM stripe.price WHERE _sdc_table_version IS NULL") == [(200,)]
