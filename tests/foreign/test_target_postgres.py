"""MeltanoLabs' target-postgres and ours, fed the Singer files of its tests: the same tables, but for what is listed.

What is listed differs on purpose; docs/interoperability.md has the reasons.
"""

from __future__ import annotations

import itertools
import json
import os
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pipeline import TARGET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COLUMNS = {
    # file: column: its type here and there. Arrays stay JSON, as whatever has no type of its own; a text that may
    # also be a time stays a text.
    "array_data": {"fruits": ("jsonb", "_text")},
    "camelcase_complex_schema": dict.fromkeys(
        ("CreatedDate", "LastModifiedDate", "SystemModstamp"), ("text", "timestamp without time zone")
    ),
    "commits": {"legacy_id": ("jsonb", "text"), "parent_ids": ("jsonb", "_text")},
    "encoded_strings": {"strings": ("jsonb", "_text")},
    "schema_updates": {"a5": ("jsonb", "_text")},
    "tap_countries": {"languages": ("jsonb", "_jsonb")},
    "test_no_type": {
        "CreatedDate": ("text", "timestamp without time zone"),
        "NewValue": ("jsonb", "text"),
        "OldValue": ("jsonb", "text"),
    },
}
NO_TABLE_OF_A_FAILED_RUN = {"record_missing_key_property", "record_missing_required_property"}
REFUSED = {"uppercase_stream_name_with_column_alter"}
OTHER_TABLE_NAME = {
    "special_chars_in_attributes": ("test_SpecialChars_in_attributes", "test:SpecialChars!in?attributes")
}

FILES = (
    "array_data", "base16_content_encoding_interpreted", "base16_content_encoding_not_interpreted", "camelcase",
    "camelcase_complex_schema", "commits", "duplicate_records", "encoded_strings", "invalid_schema", "jsonb_data",
    "large_int", "large_numeric_primary_key", "missing_value", "multiple_schema_messages", "multiple_state_messages",
    "new_array_column", "optional_attributes", "record_before_schema", "record_missing_key_property",
    "record_missing_required_property", "reserved_keywords", "schema_no_properties", "schema_updates",
    "special_chars_in_attributes", "tap_aapl", "tap_countries", "test_no_type",
    "uppercase_stream_name_with_column_alter", "user_location_data+user_location_upsert_data",
    "test_no_pk+test_no_pk_append",
)  # fmt: skip
VERSIONED = (
    "test_activate_version_deletes_data_properly+test_activate_version_deletes_data_properly_2",
    "test_activate_version_hard", "test_activate_version_soft", "test_activate_version_soft_with_delete",
    "test_activate_version_uppercase_stream_name",
)  # fmt: skip
METADATA = {
    # There times are without a zone, and one more column says since when the target has been running.
    "_sdc_batched_at": ("timestamp with time zone", "timestamp without time zone"),
    "_sdc_deleted_at": ("timestamp with time zone", "timestamp without time zone"),
    "_sdc_extracted_at": ("timestamp with time zone", "timestamp without time zone"),
    "_sdc_hash": ("bigint", None),
    "_sdc_received_at": ("timestamp with time zone", "timestamp without time zone"),
    "_sdc_sync_started_at": (None, "bigint"),
}

_numbers = itertools.count()


@pytest.fixture
def make_database(postgres_server: Any) -> Iterator[Callable[[], str]]:
    """Makes databases of the test's own."""
    made: list[str] = []
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:

        def make() -> str:
            name = f"foreign_{os.getpid()}_{next(_numbers)}"
            admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
            made.append(name)
            return postgres_server.url.replace("/postgres?", f"/{name}?")

        yield make
        for name in made:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def through_both(
    other_target: Path, make_database: Callable[[], str], tmp_path: Path, load: Callable[..., Any]
) -> Callable[..., tuple[Any, Any]]:
    """Feeds files of the other target's own tests to ours and to it; what each left behind."""
    [folder] = other_target.parents[1].glob("lib/python*/site-packages/target_postgres/tests/data_files")

    def run(names: str, **settings: Any) -> tuple[Any, Any]:
        files = [folder / f"{name}.singer" for name in names.split("+")]
        ours, theirs = make_database(), make_database()
        dialect = theirs.replace("postgresql://", "postgresql+psycopg://")
        return (
            load(TARGET, files, ours, tmp_path, database_url=ours, **settings),
            load(other_target, files, theirs, tmp_path, sqlalchemy_url=dialect, **settings),
        )

    return run


def differing_columns(ours: Any, theirs: Any) -> dict[str, tuple[Any, Any]]:
    """The columns of which name or type differs, over all tables; times may have a zone or none."""
    found: dict[str, tuple[Any, Any]] = {}
    for table, columns in ours.columns.items():
        for name in columns.keys() | theirs.columns[table].keys():
            pair = columns.get(name), theirs.columns[table].get(name)
            zones = ("timestamp with time zone", "timestamp without time zone")
            if pair[0] != pair[1] and (name.startswith("_sdc_") or pair != zones):
                found[name] = pair
    return found


def comparable(rows: list[str], without: set[str]) -> list[dict[str, Any]]:
    """Rows without some columns, and times without their zone."""
    return sorted(
        (
            {
                name: value.removesuffix("+00:00") if isinstance(value, str) else value
                for name, value in json.loads(row).items()
                if name not in without
            }
            for row in rows
        ),
        key=json.dumps,
    )


def assert_same_rows(ours: Any, theirs: Any, without: set[str]) -> None:
    assert ours.rows.keys() == theirs.rows.keys()
    for table, rows in ours.rows.items():
        assert comparable(rows, without) == comparable(theirs.rows[table], without)


@pytest.mark.parametrize("names", FILES)
def test_the_same_messages_leave_the_same_tables(through_both: Callable[..., tuple[Any, Any]], names: str) -> None:
    ours, theirs = through_both(names)
    if names in REFUSED:
        assert (ours.codes, theirs.codes) == ([1], [0])
        return
    assert ours.codes == theirs.codes
    if names in NO_TABLE_OF_A_FAILED_RUN:
        assert (ours.codes, ours.rows, [len(each) for each in theirs.rows.values()]) == ([1], {}, [0])
        return
    if names in OTHER_TABLE_NAME:
        here, there = OTHER_TABLE_NAME[names]
        assert comparable(ours.rows[here], set()) == comparable(theirs.rows[there], set())
        return
    differing = differing_columns(ours, theirs)
    assert {name: pair for name, pair in differing.items() if name not in METADATA} == COLUMNS.get(names, {})
    assert not ours.rows or {name: differing[name] for name in METADATA} == METADATA
    assert_same_rows(ours, theirs, set(COLUMNS.get(names, {})))


@pytest.mark.parametrize("hard_delete", [False, True])
@pytest.mark.parametrize("names", VERSIONED)
def test_a_version_that_is_activated_deletes_the_same_rows(
    through_both: Callable[..., tuple[Any, Any]], names: str, hard_delete: bool
) -> None:
    ours, theirs = through_both(names, hard_delete=hard_delete)
    assert ours.codes == theirs.codes == [0] * len(ours.codes)
    assert ours.rows
    assert_same_rows(ours, theirs, set())


@pytest.mark.parametrize(
    "settings", [{"activate_version": False}, {"activate_version": False, "add_record_metadata": False}]
)
def test_settings_of_the_same_names_mean_the_same(
    through_both: Callable[..., tuple[Any, Any]], settings: dict[str, bool]
) -> None:
    ours, theirs = through_both("test_activate_version_soft", **settings)
    assert ours.codes == theirs.codes == [0]
    assert set(differing_columns(ours, theirs)) == (set(METADATA) if len(settings) == 1 else set())
    assert_same_rows(ours, theirs, set())
