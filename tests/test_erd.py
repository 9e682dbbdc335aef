"""`make erd`: what is in a database is in its drawing, and nothing else."""

import importlib
import itertools
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import INTEGER, TEXT, record, schema, state

from tap_stripe_events.changes import singer_schema
from tap_stripe_events.object_table import STRIPE_OBJECTS

SCRIPTS = str(Path(__file__).resolve().parent.parent / "scripts")


def script(name):
    """One of the scripts, which find each other in their own folder."""
    sys.path.insert(0, SCRIPTS)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(SCRIPTS)


erd, erd_drawing = script("erd"), script("erd_drawing")


@pytest.fixture
def read(connection):
    def tables(name="stripe"):
        return {each.name: each for each in erd.read(connection, name)}

    return tables


def found(table, column):
    return next(each.found for each in table.columns if each.name == column)


CHARGE = schema("charge", amount=INTEGER, customer_id=TEXT, payment_method=TEXT, source_id=TEXT, review_id=TEXT)


def test_tables_with_rows_and_references_that_hold_are_found(load, read):
    load(
        schema("customer"), schema("card"), schema("bank_account"), schema("refund", charge_id=TEXT), CHARGE,
        record("customer", id="cus_1", as_of=1),
        record("card", id="card_1", as_of=1),
        record("bank_account", id="ba_1", as_of=1),
        record("charge", id="ch_1", customer_id="cus_1", source_id="card_1", as_of=1),
        record("charge", id="ch_2", customer_id="cus_gone", source_id="ba_1", as_of=1),
        record("charge", id="ch_3", source_id="src_gone", review_id="prv_1", as_of=1),
        state(),
    )  # fmt: skip
    tables = read()
    assert set(tables) == {"customer", "card", "bank_account", "charge"}  # none of refund, and none of ours
    charge = tables["charge"]
    assert (charge.area, charge.rows) == ("Payments", "3")
    assert [each.name for each in charge.columns][:3] == ["id", "amount", "customer_id"]
    assert [each.name for each in charge.columns if each.is_key] == ["id"]
    assert found(charge, "customer_id") == erd_drawing.Found(tables=("customer",), values=2, held=1)
    assert found(charge, "source_id") == erd_drawing.Found(tables=("bank_account", "card"), values=3, held=2)
    assert found(charge, "payment_method") is None  # without values
    assert found(charge, "review_id") is None  # of a table that is not there
    svg = erd_drawing.drawing("stripe", list(tables.values()))
    assert "→ customer 1 missing" in svg
    assert "→ bank_account +1 1 missing" in svg
    assert not re.search(r"cus_1|card_1|ch_1", svg)  # no values


def test_streams_of_other_taps_are_drawn_without_references(load, read):
    odd = {"a, b": TEXT, "x" * 60: TEXT, "<y> & 'z'": TEXT}
    load(schema("Odd <Things>", customer_id=TEXT, **odd), record("Odd <Things>", id="1", as_of=1), state())
    (table,) = read().values()
    assert ET.fromstring(erd_drawing.drawing("stripe", [table])) is not None  # noqa: S314 - our own
    assert (table.name, table.area) == ("Odd__Things_", erd_drawing.OTHERS)
    assert found(table, "customer_id") is None


def test_a_database_without_tables_or_rows_is_told_what_to_do(load, read):
    with pytest.raises(SystemExit, match="make demo"):
        read()
    load(schema("charge"), state())
    with pytest.raises(SystemExit, match="no rows yet"):
        read()


# The drawing

EVERY = [each.stream for each in STRIPE_OBJECTS.values()]


def a_table(name, refers_to=(), *, held=1, area="Payments", others=0):
    columns = [erd_drawing.Column(name="id", type="text", is_key=True, description="It's <the> id.", found=None)]
    for other in refers_to:
        what = erd_drawing.Found(tables=(other,), values=1, held=held)
        columns.append(erd_drawing.Column(name=f"{other}_id", type="text", is_key=False, description="", found=what))
    for number in range(others):
        text = erd_drawing.Column(name=f"field_{number}", type="text", is_key=False, description="", found=None)
        columns.append(text)
    return erd_drawing.Table(name=name, area=area, description="<&>", rows="1,234,567", columns=tuple(columns))


def corners(svg):
    """Each box's corner on the sheet and its size, and the areas' likewise."""
    root = ET.fromstring(svg)  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    areas, boxes = {}, {}

    def moved(element, x, y):
        shift = re.search(r"translate\((\d+) (\d+)\)", element.get("transform", ""))
        return (x + int(shift[1]), y + int(shift[2])) if shift else (x, y)

    def visit(element, x, y, table):
        x, y = moved(element, x, y)
        table = element.get("id", "").removeprefix("t-") or table
        if element.tag == f"{space}rect" and element.get("class") != "sheet":
            place = (x, y, int(element.get("width")), int(element.get("height")))
            (areas if element.get("class").startswith("area") else boxes)[table or len(areas)] = place
        for each in element:
            visit(each, x, y, table)

    visit(root, 0, 0, "")
    return areas, boxes, [int(each) for each in root.get("viewBox").split()]


def apart(one, other):
    return (
        one[0] + one[2] <= other[0]
        or other[0] + other[2] <= one[0]
        or one[1] + one[3] <= other[1]
        or other[1] + other[3] <= one[1]
    )


@given(
    st.lists(st.tuples(st.integers(0, 13), st.integers(0, 13), st.integers(0, 80)), max_size=25),
    st.lists(st.sampled_from(["Payments", "Tax", "Invoices", erd_drawing.OTHERS]), min_size=14, max_size=14),
)
def test_boxes_and_areas_of_any_drawing_are_apart_and_on_the_sheet(pairs, areas):
    tables = [
        a_table(f"t{one}", [f"t{b}" for a, b, _ in dict.fromkeys(pairs) if a == one],
                area=areas[one], others=max((n for a, _, n in pairs if a == one), default=0))
        for one in range(14)
    ]  # fmt: skip
    found_areas, boxes, (_, _, width, height) = corners(erd_drawing.drawing("stripe", tables))
    assert set(boxes) == {each.name for each in tables}
    assert len(found_areas) == len(set(areas))
    for places in (boxes.values(), found_areas.values()):
        for one, other in itertools.combinations(places, 2):
            assert apart(one, other)
        for x, y, wide, high in places:
            assert x >= 0
            assert y >= 0
            assert x + wide <= width
            assert y + high <= height


def test_what_refers_to_a_table_of_its_area_is_joined_with_it_and_else_names_it():
    tables = [
        a_table("charge", ["customer"]), a_table("refund", ["charge"]), a_table("dispute", ["charge"], held=0),
        a_table("customer", area="Customers and payment methods"),
    ]  # fmt: skip
    svg = erd_drawing.drawing("stripe", tables)
    lines = dict(re.findall(r'<path class="(line[^"]*)" d="[^"]*"><title>([^<]*)</title>', svg))
    assert sorted(lines.values()) == ["dispute.charge_id → charge.id", "refund.charge_id → charge.id"]
    assert [style.endswith(" part") for style, title in sorted(lines.items(), key=lambda each: each[1])] == [
        True,
        False,
    ]
    links = set(re.findall(r'<a href="#t-(\w+)">', svg))
    assert links == {"charge", "customer"}
    assert links <= set(re.findall(r'id="t-(\w+)"', svg))


def test_every_text_of_every_table_fits_into_its_box():
    tables = []
    many = erd_drawing.Found(tables=tuple(EVERY[:20]), values=1000, held=1)
    for name, each in STRIPE_OBJECTS.items():
        columns = [
            erd_drawing.Column(
                name=column, type="text", is_key=column in each.key, description="",
                found=many if column.endswith("_id") else None,
            )
            for column in singer_schema(name)["properties"]
        ]  # fmt: skip
        tables.append(
            erd_drawing.Table(name=each.stream, area="Tax", description="", rows="1,000,000+", columns=tuple(columns))
        )
    svg = erd_drawing.drawing("stripe", tables)
    inner = erd_drawing.BOX - 2 * erd_drawing.INSET
    text = re.sub(r"<title>[^<]*</title>|</?tspan>", "", svg)
    for style, size in (("key", 9.5), ("reference", 9.5), ("of", 9.5), ("other", 8.6)):
        shown = re.findall(rf'<text class="{style}[^"]*"[^>]*>([^<]*)</text>', text)
        assert shown
        assert max(len(each) for each in shown) * size * 0.602 <= inner, style
    names = re.findall(r'<text class="name"[^>]*font-size:([\d.]+)px">([^<]*)</text>', text)
    assert len(names) == len(tables)
    assert all(float(size) * 0.68 * len(name) + 7 * len("1,000,000+") <= inner for size, name in names)
