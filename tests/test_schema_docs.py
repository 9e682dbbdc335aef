"""The map of the tables, docs/schema.md and docs/schema.dbml, is of all tables, and what it names is there."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from tap_stripe_events.changes import schema, singer_schema, table_entry
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import PREVIEWS, stream_name

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "schema.md").read_text(encoding="utf-8")
DBML = (DOCS / "schema.dbml").read_text(encoding="utf-8")
STREAMS = {stream_name(name): name for name in (*STRIPE_OBJECTS, *PREVIEWS)}


def areas() -> dict[str, tuple[str, str]]:
    """Each area's diagram, and its table of tables."""
    found = re.findall(r"^## ([^\n]+)\n\n```mermaid\n(.*?)^```\n\n((?:\|[^\n]*\n)+)", PAGE, re.DOTALL | re.MULTILINE)
    return {name: (diagram, table) for name, diagram, table in found}


AREAS = areas()


def boxes(diagram: str) -> dict[str, list[list[str]]]:
    """The columns of each box of a diagram: kind, name, keys."""
    found = re.findall(r"^    (\w+) \{\n(.*?)^    \}", diagram, re.DOTALL | re.MULTILINE)
    return {name: [line.split(maxsplit=2) for line in text.splitlines()] for name, text in found}


def relations(diagram: str) -> set[tuple[str, str]]:
    """Which table is named by which in a diagram."""
    return set(re.findall(r'^    (\w+) \|o(?:--|\.\.)o\{ (\w+) : ""$', diagram, re.MULTILINE))


def test_every_stream_is_told_once_in_its_area_and_in_the_list_of_areas():
    told = [stream for _, table in AREAS.values() for stream in re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)]
    assert sorted(told) == sorted(STREAMS)
    for area, (_, table) in AREAS.items():
        listed = re.search(rf"^\| \[{re.escape(area)}\]\(#[\w-]+\) \| (.*) \|$", PAGE, re.MULTILINE)
        assert listed
        assert re.findall(r"`(\w+)`", listed[1]) == re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


@pytest.mark.parametrize("area", AREAS)
def test_a_diagram_is_small_enough_to_read_and_what_it_joins_is_in_it(area):
    diagram, _ = AREAS[area]
    drawn = boxes(diagram)
    assert 1 < len(drawn) <= 15
    assert {name for pair in relations(diagram) for name in pair} <= set(drawn)
    for stream, columns in drawn.items():
        properties = schema(STREAMS[stream])["properties"]
        for kind, column, keys in columns:
            assert ("PK" in keys) == (column in table_entry(STREAMS[stream]).key)
            assert ("FK" in keys) == ("x-references" in properties[column])
            of = properties[column].get("x-references", [])
            assert kind == "text" or kind in of or kind == f"one_of_{len(of)}"


@pytest.mark.parametrize("area", AREAS)
def test_a_table_that_is_not_drawn_has_its_references_beside_it(area):
    diagram, table = AREAS[area]
    joined = {name for one, other in relations(diagram) if one != other for name in (one, other)}
    assert set(boxes(diagram)) == joined
    for stream, text in re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE):
        if stream not in joined:
            for column, each in schema(STREAMS[stream])["properties"].items():
                for of in each.get("x-references", ()):
                    assert re.search(rf"`{column}` → [^→]*`{of}`", text), (stream, column)


@pytest.mark.parametrize("area", AREAS)
def test_every_reference_within_an_area_is_drawn(area):
    diagram, table = AREAS[area]
    inside = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    wanted = {
        (of, stream)
        for stream in inside
        for each in schema(STREAMS[stream])["properties"].values()
        for of in each.get("x-references", ())
        if of in inside
    }
    assert relations(diagram) == wanted


def test_the_file_for_tools_has_every_column_of_every_stream():
    tables = dict(re.findall(r"^Table stripe\.(\w+) \{\n(.*?)^\}", DBML, re.DOTALL | re.MULTILINE))
    assert sorted(tables) == sorted(STREAMS)
    for stream, text in tables.items():
        columns = set(re.findall(r'^  "(\w+)" \w+ \[', text, re.MULTILINE))
        assert set(singer_schema(STREAMS[stream])["properties"]) - {"_sdc_children"} <= columns, stream
        assert len(re.findall(r"\[pk[,\]]", text)) == 1, stream


def test_every_reference_of_the_file_for_tools_is_of_a_table_that_has_such_a_key():
    columns = defaultdict(set)
    for stream, text in re.findall(r"^Table stripe\.(\w+) \{\n(.*?)^\}", DBML, re.DOTALL | re.MULTILINE):
        columns[stream] = set(re.findall(r'^  "(\w+)"', text, re.MULTILINE))
    found = re.findall(r'^Ref: stripe\.(\w+)\."(\w+)" > stripe\.(\w+)\.id$', DBML, re.MULTILINE)
    assert len(found) == DBML.count("\nRef: ") > 200
    for stream, column, of in found:
        assert column in columns[stream]
        assert table_entry(STREAMS[of]).key == ("id",)
    assert ("charge", "customer_id", "customer") in found
    assert not [each for each in found if each[:2] == ("balance_transaction", "source_id")]  # one of many: in its note


def test_every_table_is_in_one_group_of_the_file_for_tools():
    groups = dict(re.findall(r'^TableGroup "([^"]+)" \{\n(.*?)^\}', DBML, re.DOTALL | re.MULTILINE))
    assert set(groups) == set(AREAS)
    assert sorted(re.findall(r"stripe\.(\w+)", "".join(groups.values()))) == sorted(STREAMS)


def test_the_queries_of_the_page_run(load, connection):
    schemas = [
        {"type": "SCHEMA", "stream": stream, "schema": singer_schema(name), "key_properties": table_entry(name).key}
        for stream, name in STREAMS.items()
    ]
    load(*(json.dumps(each) + "\n" for each in schemas))
    queries = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(queries) > 1
    for query in queries:
        connection.execute(query)
    # The comments are what psql shows.
    shown = connection.execute(
        "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute "
        "WHERE attrelid = 'stripe.charge'::regclass AND attnum > 0"
    ).fetchall()
    assert [name for name, text in shown if not text] == []
    assert dict(shown)["customer_id"] == "References customer.id."
