"""The seam to the SDK: what a catalog, a stream map and a signal may change in the messages, and what not."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tap_stripe_events.errors import NothingSelectedError
from tap_stripe_events.tap import TapStripeEvents

SELECTED = ("customer", "invoice", "line_item", "tax_id")
Messages = list[dict[str, Any]]


@pytest.fixture
def messages(full_sandbox: Any, capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Messages]:
    """Runs the tap against a full account and returns what it wrote."""

    def run(*, catalog: dict[str, Any] | None = None, state: dict[str, Any] | None = None, **config: Any) -> Messages:
        settings = {"api_key": "sk_test_sandbox", "api_url": full_sandbox.url, "requests_per_second": 1000} | config
        TapStripeEvents(config=settings, catalog=catalog or selection(), state=state).sync_all()
        return [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]

    return run


def selection(*, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a catalog in which a few streams are selected, without some of their properties."""
    catalog = copy.deepcopy(dict(TapStripeEvents(config={"api_key": "sk_test_1"}).catalog_dict))
    for stream in catalog["streams"]:
        for each in stream["metadata"]:
            if not each["breadcrumb"]:
                each["metadata"]["selected"] = stream["tap_stream_id"] in SELECTED
            elif each["breadcrumb"][-1] in without:
                each["metadata"]["selected"] = False
                each["metadata"]["inclusion"] = "available"  # as in a catalog of an older version
    return catalog


def records(found: Messages, stream: str) -> dict[str, dict[str, Any]]:
    return {
        each["record"]["id"]: each["record"] for each in found if each["type"] == "RECORD" and each["stream"] == stream
    }


def schema(found: Messages, stream: str) -> dict[str, Any]:
    (only,) = [each for each in found if each["type"] == "SCHEMA" and each["stream"] == stream]
    return dict(only)


def test_a_run_is_schema_records_what_is_gone_and_a_last_state(messages: Callable[..., Messages]) -> None:
    found = messages()
    kinds = [(each["type"], each.get("stream")) for each in found]
    for stream in SELECTED:
        assert kinds.index(("SCHEMA", stream)) < kinds.index(("RECORD", stream))
        assert kinds.count(("SCHEMA", stream)) == 1
        last_record = len(kinds) - 1 - kinds[::-1].index(("RECORD", stream))
        assert kinds.index(("ACTIVATE_VERSION", stream)) > last_record
    assert {each.get("stream") for each in found if each["type"] != "STATE"} == set(SELECTED)
    assert (kinds[0], kinds[-1]) == (("STATE", None), ("STATE", None))
    bookmarks = found[-1]["value"]["bookmarks"]
    assert all(bookmarks[each]["listing_started_at"] is None for each in SELECTED)
    assert all(bookmarks[each]["listed_at"] for each in SELECTED)


def test_a_stream_alone_ends_with_a_state_that_says_so(messages: Callable[..., Messages]) -> None:
    catalog = selection()
    for stream in catalog["streams"]:
        stream["metadata"][-1]["metadata"]["selected"] = stream["tap_stream_id"] == "coupon"
    assert [each["breadcrumb"] for each in catalog["streams"][0]["metadata"]][-1] == []
    found = messages(catalog=catalog)
    assert found[-1]["type"] == "STATE"
    assert found[-1]["value"]["bookmarks"]["coupon"]["listed_at"]


def test_what_a_record_means_cannot_be_deselected(messages: Callable[..., Messages]) -> None:
    whole = messages()
    ours = ("_sdc_as_of", "_sdc_children", "_sdc_deleted_at")
    found = messages(catalog=selection(without=(*ours, "id", "description", "metadata")))
    properties = schema(found, "invoice")["schema"]["properties"]
    assert set(ours) <= set(properties)
    assert not {"description", "metadata"} & set(properties)
    for identifier, record in records(whole, "invoice").items():
        del record["description"], record["metadata"]
        assert records(found, "invoice")[identifier] == record
    assert records(whole, "invoice")


def test_a_catalog_without_descriptions_does_not_hide_them(messages: Callable[..., Messages]) -> None:
    catalog = selection()
    for stream in catalog["streams"]:
        stream["schema"].pop("description")
        for each in stream["schema"]["properties"].values():
            each.pop("description", None)
        if stream["tap_stream_id"] == "customer":
            stream["schema"]["properties"]["email"]["description"] = "Somebody's own."
    found = messages(catalog=catalog)
    shown = {each["stream"]: each["schema"] for each in found if each["type"] == "SCHEMA"}
    assert "Stripe's object customer" in shown["customer"]["description"]
    assert shown["customer"]["properties"]["id"]["description"] == "Stripe's id of the object."
    assert shown["customer"]["properties"]["email"]["description"] == "Somebody's own."


def test_a_catalog_that_is_older_than_the_tap_hides_no_column(messages: Callable[..., Messages]) -> None:
    catalog = selection()
    for stream in catalog["streams"]:
        for column in ("description", "_sdc_as_of", "_sdc_children"):
            stream["schema"]["properties"].pop(column, None)
            stream["metadata"] = [each for each in stream["metadata"] if each["breadcrumb"][-1:] != [column]]
        stream["key_properties"] = []
    found = messages(catalog=catalog)
    assert {"description", "_sdc_as_of", "_sdc_children"} <= set(schema(found, "invoice")["schema"]["properties"])
    assert schema(found, "line_item")["key_properties"] == ["invoice_id", "id"]
    assert all("_sdc_as_of" in each for each in records(found, "invoice").values())


def test_stream_maps_leave_values_as_they_are(messages: Callable[..., Messages]) -> None:
    whole = messages()
    maps = {"invoice": {"__alias__": "bill", "copied_id": "id"}, "tax_id": {"__filter__": "type == 'eu_vat'"}}
    found = messages(stream_maps=maps)
    mapped = records(found, "bill")
    assert mapped == {key: each | {"copied_id": key} for key, each in records(whole, "invoice").items()}
    kept = {key: each for key, each in records(whole, "tax_id").items() if each["type"] == "eu_vat"}
    assert records(found, "tax_id") == kept
    versions = {each["version"] for each in found if each.get("stream") == "bill" and "version" in each}
    assert len(versions) == 1
    assert "invoice" not in {each.get("stream") for each in found}


@pytest.mark.parametrize(
    "state",
    [
        {"bookmarks": {}},
        {"bookmarks": {"charges": {"replication_key_value": 3}, "invoice": {}}},
        {"bookmarks": {"invoice": {"listing_started_at": None, "open_windows": []}}, "unknown": 1},
    ],
)
def test_a_state_of_another_shape_is_taken_as_a_beginning(
    messages: Callable[..., Messages], state: dict[str, Any]
) -> None:
    assert len(records(messages(state=state), "invoice")) == len(records(messages(), "invoice")) > 0


def test_flattening_makes_texts_of_hashes_in_schema_and_records_alike(messages: Callable[..., Messages]) -> None:
    found = messages(flattening_enabled=True, flattening_max_depth=1)
    assert schema(found, "customer")["schema"]["properties"]["metadata"]["type"] == ["string", "null"]
    for each in records(found, "customer").values():
        assert isinstance(each["metadata"], str | None)
        assert isinstance(json.loads(each["_sdc_children"]), dict)


def test_every_schema_comes_before_the_first_record(messages: Callable[..., Messages]) -> None:
    kinds = [each["type"] for each in messages()]
    assert kinds[0] == "STATE"
    assert kinds[1 : 1 + len(SELECTED)] == ["SCHEMA"] * len(SELECTED)
    assert "SCHEMA" not in kinds[1 + len(SELECTED) :]


def test_a_run_in_which_nothing_is_selected_says_so(messages: Callable[..., Messages]) -> None:
    catalog = selection()
    for stream in catalog["streams"]:
        for each in stream["metadata"]:
            each["metadata"]["selected"] = False
    with pytest.raises(NothingSelectedError, match="No stream is selected"):
        messages(catalog=catalog)
