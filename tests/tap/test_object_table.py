"""The object table and the schemas: invariants always, and the facts about Stripe where they are at hand."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tap_stripe_events.changes import schema, singer_schema
from tap_stripe_events.families import names_by_stream, needed_roots, owned_child_types, owning_lists, roots_of
from tap_stripe_events.object_table import API_VERSION, STRIPE_LISTS, STRIPE_OBJECTS
from tap_stripe_events.objects import parent_column

FACTS = Path(__file__).resolve().parents[3] / "shared" / "stripe"
facts_at_hand = pytest.mark.skipif(not FACTS.exists(), reason="the facts about Stripe are not beside this checkout")


def facts(name: str) -> Any:
    return json.loads((FACTS / f"{name}.json").read_text(encoding="utf-8"))


def test_streams_have_distinct_names() -> None:
    assert len(names_by_stream()) == len(STRIPE_OBJECTS)


@pytest.mark.parametrize("name", sorted(STRIPE_OBJECTS))
def test_a_schema_holds_its_key_and_the_columns_of_its_parents(name: str) -> None:
    properties = singer_schema(name)["properties"]
    for column in STRIPE_OBJECTS[name].key:
        assert properties[column]["type"] == "string"
    for each in STRIPE_LISTS:
        if each.owned and each.parent and name in each.objects:
            assert parent_column(each.parent) in properties
    assert not any(len(column.encode()) > 63 for column in properties)
    assert {"_extra", "_sdc_as_of", "_sdc_deleted_at"} <= set(properties)


@pytest.mark.parametrize("name", sorted(STRIPE_OBJECTS))
def test_no_schema_has_a_column_for_a_secret(name: str) -> None:
    columns = set(singer_schema(name)["properties"])
    assert not columns & {"client_secret", "confirmation_secret"}
    assert name != "issuing.card" or not columns & {"number", "cvc"}
    assert name != "webhook_endpoint" or "secret" not in columns
    assert name != "apps.secret" or "payload" not in columns


def test_money_is_never_a_float() -> None:
    for name in STRIPE_OBJECTS:
        for column, each in schema(name)["properties"].items():
            if "amount" in column and "number" in each["type"]:
                assert column.endswith("_decimal"), (name, column)


def test_what_refers_to_a_table_refers_to_one_that_there_is_and_that_has_ids() -> None:
    names = names_by_stream()
    found = [
        (name, column, table, each["description"])
        for name in STRIPE_OBJECTS
        for column, each in schema(name)["properties"].items()
        for table in each.get("x-references", ())
    ]
    for name, column, table, description in found:
        assert "id" in STRIPE_OBJECTS[names[table]].key, (name, column)
        assert f"{table}.id" in description, (name, column)
    pairs = {(name, column, table) for name, column, table, _ in found}
    assert {
        ("charge", "customer_id", "customer"),
        ("charge", "payment_method", "payment_method"),  # a text, called like the type
        ("charge", "source_id", "bank_account"),  # one of several
        ("charge", "source_id", "card"),
        ("credit_note_line_item", "credit_note_id", "credit_note"),  # the parent, which the object does not name
        ("issuing.card", "financial_account", "treasury_financial_account"),  # a text of another name
        ("financial_connections.transaction", "account", "financial_connections_account"),  # not Connect's
        ("invoice", "test_clock_id", "test_helpers_test_clock"),
        ("balance", "account_id", "account"),
    } <= pairs
    assert not any(column in {"customer_account", "client_reference_id", "object"} for _, column, _ in pairs)


def test_every_column_that_is_named_as_a_reference_says_of_what() -> None:
    silent = {
        column
        for name in STRIPE_OBJECTS
        for column, each in schema(name)["properties"].items()
        if column.endswith("_id") and "x-references" not in each
    }
    assert silent == {"client_reference_id", "trace_id"}


def test_every_table_has_an_area_of_few_enough_tables_for_a_diagram() -> None:
    areas = Counter(schema(name)["x-area"] for name in STRIPE_OBJECTS)
    assert max(areas.values()) <= 16
    assert len(areas) > 8


def test_an_amount_whose_table_has_no_currency_names_its_parents() -> None:
    assert "credit_note.currency" in schema("credit_note_line_item")["properties"]["amount"]["description"]
    assert "column merchant_currency" in schema("issuing.transaction")["properties"]["merchant_amount"]["description"]


def test_every_object_type_in_a_list_has_a_table() -> None:
    for each in STRIPE_LISTS:
        assert set(each.objects) <= set(STRIPE_OBJECTS), each.path
        assert all(ask.of in STRIPE_OBJECTS for ask in each.asks)


def test_an_embedded_list_is_completed_by_a_list_of_the_same_types() -> None:
    paths = {each.path: each for each in STRIPE_LISTS}
    for name, each in STRIPE_OBJECTS.items():
        for embedded in each.embedded:
            if embedded.completed_by:
                completing = paths[embedded.completed_by]
                assert completing.parent == name
                assert set(completing.objects) == set(embedded.objects)
                assert len(completing.passes) == 1


def test_a_parents_children_are_known_by_lists_that_are_asked_with_its_id() -> None:
    for name in STRIPE_OBJECTS:
        for child in owned_child_types(name):
            assert owning_lists(name, child)
            assert parent_column(name) in singer_schema(child)["properties"]


def test_what_is_expanded_lies_at_most_four_levels_deep() -> None:
    for each in STRIPE_OBJECTS.values():
        for path in each.expand:
            assert len(f"data.{path}".split(".")) <= 4


def test_reading_everything_reads_every_root_list() -> None:
    assert set(needed_roots(list(STRIPE_OBJECTS))) == {
        each for each in STRIPE_LISTS if each.parent is None and each.passes
    }


def test_a_deletion_is_an_event_of_the_object() -> None:
    for each in STRIPE_OBJECTS.values():
        assert set(each.deleted_by) <= set(each.events)


@facts_at_hand
def test_every_list_endpoint_is_in_the_table_as_the_facts_say() -> None:
    known = facts("endpoints")
    assert known["_meta"]["api_version"] == API_VERSION
    ours = {each.path: each for each in reversed(STRIPE_LISTS)}  # a path's first row is its ordinary reading
    for fact in known["v1"]:
        row = ours[fact["path"]]
        assert sorted(row.objects) == sorted(fact["object_types"])
        assert row.created == fact["created_filter"]
        assert row.paged == ("starting_after" in fact["pagination"])
        if row.passes and "customer" not in fact["required_query"] and row.parent is None:
            expected = fact["full_coverage"]["passes"]
            assert sorted(map(sorted, (each.items() for each in row.passes))) == sorted(
                map(sorted, (each.items() for each in expected))
            )
        assert bool(row.passes) == bool(fact["full_coverage"]["passes"]), fact["path"]
        if fact["parent"] and fact["parent"].get("object"):
            assert row.parent == fact["parent"]["object"]


@facts_at_hand
def test_every_event_type_is_carried_by_the_object_that_the_facts_say() -> None:
    known = facts("events")
    for event, fact in known["v1_snapshot"].items():
        for name in fact["object"]:
            if name in STRIPE_OBJECTS:
                assert event in STRIPE_OBJECTS[name].events, (event, name)
    for event, fact in known["deletions"].items():
        for name in fact["object"]:
            assert event in {*STRIPE_OBJECTS[name].deleted_by, *STRIPE_OBJECTS[name].doubtful_after}
    deletions = {event for each in STRIPE_OBJECTS.values() for event in each.deleted_by}
    assert deletions == set(known["deletions"])


@facts_at_hand
def test_every_object_that_has_an_id_and_reaches_us_has_a_table() -> None:
    known = facts("objects")
    for name, fact in known["objects"].items():
        if fact["api"] == "v1":
            assert name in STRIPE_OBJECTS, name
    events = facts("events")
    for name in events["event_objects_not_listable"]:
        if known["non_listable_objects"][name]["has_id"]:
            assert name in STRIPE_OBJECTS, name


@facts_at_hand
def test_every_field_has_the_column_that_the_facts_say() -> None:
    known = facts("objects")
    kinds = {"timestamptz": "date-time", "bigint": "integer", "boolean": "boolean", "numeric": "number"}
    kinds |= {"double precision": "number", "text": "string"}
    hidden = {"client_secret", "confirmation_secret", "secret", "payload", "number", "cvc"}
    for name in STRIPE_OBJECTS:
        fact = known["objects"].get(name) or known["non_listable_objects"][name]
        properties = singer_schema(name)["properties"]
        for field, shape in fact["fields"].items():
            if shape["type"] == "list_object" or (field in hidden and field not in properties):
                continue
            if shape["type"] in {"expandable", "ref", "union"} and f"{field}_id" in properties:
                continue
            if (name, field) == ("customer", "cash_balance"):
                continue  # a row of its own
            column = properties[field]
            kind = kinds.get(shape["pg"], "jsonb")
            if kind == "date-time":
                assert column.get("format") == "date-time", (name, field)
            elif kind == "jsonb":
                assert {"object", "array"} & set(column["type"]), (name, field)
            else:
                assert kind in column["type"], (name, field)


def test_a_stream_that_no_list_feeds_says_why() -> None:
    for name, each in STRIPE_OBJECTS.items():
        if not roots_of(name):
            assert each.incomplete_because, name
