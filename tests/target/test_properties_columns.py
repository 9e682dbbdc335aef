"""Names, types and texts: what every schema and every line keeps to, without a database."""

import json

import json_texts
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from target_postgres_stripe.columns import (
    NAME_BYTES_MAX,
    RESERVED_PROPERTIES,
    SYSTEM_COLUMNS,
    ColumnType,
    column_name,
    column_type,
    common_type,
    table_name,
    table_shape,
)
from target_postgres_stripe.copy_text import NULL, NULL_TO_ESCAPE, escaped_line, is_plain, plain_line
from target_postgres_stripe.status import NO_PROGRESS, bookmarks_of, identity_of, moments_of, status_row
from target_postgres_stripe.tables import BOOKKEEPING
from target_postgres_stripe.text import storable

names = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80),
    st.sampled_from(
        [*sorted(SYSTEM_COLUMNS), *BOOKKEEPING, "x" * 63, "x" * 64, "\u00e9" * 32, "Id", "id", "a-b", "a.b", "a_b"]
    ),
)


@examples(100)
@given(st.sets(names, max_size=8))
def test_column_names_fit_postgres_and_tell_properties_apart(properties):
    found = [column_name(each) for each in properties]
    assert len(set(found)) == len(properties)
    assert all(0 < len(each.encode()) <= NAME_BYTES_MAX for each in found)
    assert SYSTEM_COLUMNS.isdisjoint(found)
    assert all(name == each for name, each in zip(found, properties, strict=True) if may_be_kept(each))


def may_be_kept(name):
    return name not in SYSTEM_COLUMNS and 0 < len(name.encode()) <= NAME_BYTES_MAX


@examples(100)
@given(names)
def test_a_table_name_is_a_word_that_is_not_one_of_the_targets_own(stream):
    found = table_name(stream)
    assert found.replace("_", "a").isalnum()
    assert len(found.encode()) <= NAME_BYTES_MAX
    assert found not in BOOKKEEPING


TYPES = ["null", "integer", "number", "boolean", "string", "object", "array", "else"]
FORMATS = ["date-time", "date", "time", "singer.decimal", "uuid"]
leaf_specs = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), max_size=3),
        "format": st.sampled_from(FORMATS),
        "maximum": st.integers(0, 2**70),
    },
)
specs = st.recursive(
    leaf_specs | st.booleans(),
    lambda inner: st.fixed_dictionaries(
        {}, optional={"anyOf": st.lists(inner, max_size=3), "oneOf": st.lists(inner, max_size=3)}
    ),
    max_leaves=6,
)


@examples(100)
@given(specs, specs)
def test_a_column_for_either_of_two_schemas_is_the_common_one_in_any_order(one, other):
    both = column_type({"anyOf": [one, other]})
    assert both is column_type({"oneOf": [other, one]})
    assert both is column_type({"anyOf": [one, other, {"type": "null"}]})
    known = [column_type(each) for each in (one, other) if each is True or column_type(each) is not ColumnType.JSONB]
    if len(known) == 2:
        assert both is common_type(known)


@examples(100)
@given(st.dictionaries(names, specs, max_size=6), st.lists(names, max_size=3), st.booleans())
def test_a_tables_columns_are_the_key_the_properties_and_the_targets_own_each_once(properties, key, metadata):
    key = [each for each in key if each not in RESERVED_PROPERTIES]
    shape = table_shape("t", {"properties": properties | {"_sdc_as_of": {}}}, key, metadata=metadata)
    assert [each.property for each in shape.key] == list(dict.fromkeys(key))
    assert {each.property for each in shape.columns} == {*properties, *key}
    every = [each.name for each in shape.all_columns]
    assert len(every) == len(set(every))
    assert shape.ordered == bool(key)
    assert shape.columns[: len(shape.key)] == shape.key


@examples(100)
@given(json_texts.ANY, st.binary(max_size=4), st.integers(0, 40))
def test_a_line_is_storable_after_once_and_means_the_same_but_for_what_is_replaced(text, junk, place):
    line = text.encode("utf-8", "surrogatepass")
    whole, replaced = storable(line)
    assert storable(whole) == (whole, 0)
    assert json_texts.identity(json_texts.read(whole.decode())) == json_texts.identity(json_texts.read(text))
    assert (whole == line) == (replaced == 0)
    broken, _ = storable(line[:place] + junk + line[place:])
    broken.decode()


@examples(100)
@given(
    st.lists(
        st.none()
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
        | st.text(st.sampled_from("\\\t\n\r\x1fN."), max_size=4),
        min_size=1,
        max_size=5,
    )
)
def test_a_copy_line_is_read_back_as_its_fields(fields):
    line = escaped_line([NULL_TO_ESCAPE if each is None else each.encode() for each in fields]).decode()
    if is_plain(json.dumps(fields).encode()):
        assert plain_line([NULL if each is None else each.encode() for each in fields]).decode() == line
    assert line.endswith("\n")
    assert line.count("\n") == 1
    read = [None if each == "\\N" else unescaped(each) for each in line[:-1].split("\t")]
    assert read == fields


def unescaped(field):
    """A field of a text COPY, as its documentation says."""
    result, escape = "", False
    for each in field:
        if escape:
            result, escape = result + {"n": "\n", "r": "\r", "t": "\t"}.get(each, each), False
        elif each == "\\":
            escape = True
        else:
            result += each
    assert not escape
    return result


state_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    | st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(
        st.sampled_from(["account", "bookmarks", "id", "livemode", "written_at", "polled_at",
                         "listed_at", "events_as_of", "denied", "reason", "kept_by", "charge"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@examples(100)
@given(state_values)
def test_a_state_of_any_tap_is_read_and_its_moments_only_grow(value):
    identity_of(value)
    progress = NO_PROGRESS
    for part, bookmark in bookmarks_of(value).items():
        before, progress = progress, progress.after(bookmark)
        assert all(progress.furthest[field] >= moment for field, moment in before.furthest.items())
        assert all(progress.furthest[field] >= moment for field, moment in moments_of(bookmark).items())
        assert json.dumps(status_row(part, progress))
