"""A million objects that take no time and no memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_sandbox.bulk import bulk_id, bulk_index
from stripe_sandbox.errors import SandboxError
from stripe_sandbox.messages import Request
from stripe_sandbox.sandbox import TEST_KEY, Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from fix_sandbox import Http

    from stripe_sandbox.sandbox import Sandbox

MILLION = 1_000_000


@pytest.fixture
def bulk(make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http]) -> Http:
    return connect(make_sandbox(bulk={"charge": MILLION, "customer": 3000, "payment_intent": 3000}))


@given(st.integers(0, 2**40 - 1))
def test_an_id_can_be_turned_back_into_its_number(index: int) -> None:
    assert bulk_index("ch", bulk_id("ch", index)) == index
    assert bulk_index("cus", bulk_id("ch", index)) is None


def test_pages_of_a_bulk_go_on_where_they_ended(bulk: Http) -> None:
    first = bulk.get("/v1/charges", {"limit": 100}).json()
    second = bulk.get("/v1/charges", {"limit": 100, "starting_after": first["data"][-1]["id"]}).json()
    both = [charge["id"] for charge in first["data"] + second["data"]]
    assert both == [bulk_id("ch", MILLION - 1 - number) for number in range(200)]
    moments = [charge["created"] for charge in first["data"] + second["data"]]
    assert moments == sorted(moments, reverse=True)
    last = bulk.get("/v1/charges", {"limit": 100, "starting_after": bulk_id("ch", 50)}).json()
    assert (len(last["data"]), last["has_more"]) == (50, False)


def test_windows_of_a_bulk_tile_exactly(bulk: Http) -> None:
    oldest = bulk.get("/v1/charges", {"limit": 1, "starting_after": bulk_id("ch", 1)}).json()["data"][0]["created"]
    windows = [(oldest + 1000 * n, oldest + 1000 * (n + 1)) for n in range(5)]
    tiled = [
        charge["id"]
        for start, end in reversed(windows)
        for charge in bulk.pages("/v1/charges", {"limit": 100, "created[gte]": start, "created[lt]": end})
    ]
    assert tiled
    assert tiled == [bulk_id("ch", number) for number in range(len(tiled) - 1, -1, -1)]


def test_objects_of_a_bulk_refer_to_each_other(bulk: Http) -> None:
    intent = bulk.get("/v1/payment_intents", {"limit": 1}).json()["data"][0]
    charge = bulk.get(f"/v1/charges/{intent['latest_charge']}").json()
    assert charge["payment_intent"] == intent["id"]
    assert bulk.get(f"/v1/customers/{charge['customer']}").status_code == 200
    of_customer = bulk.get("/v1/charges", {"customer": charge["customer"], "limit": 100}).json()
    assert {c["customer"] for c in of_customer["data"]} == {charge["customer"]}
    assert of_customer["has_more"] is True
    expanded = bulk.get("/v1/charges", {"limit": 1, "expand[]": "data.customer"}).json()["data"][0]
    assert expanded["customer"]["object"] == "customer"
    assert bulk.get(f"/v1/customers/{charge['customer']}/payment_methods").json()["data"] == []


def test_what_is_included_on_request_is_there_for_a_bulk_too(bulk: Http) -> None:
    expand = [("expand[]", f"data.{name}") for name in ("cash_balance", "sources", "tax_ids")]
    plain = bulk.get("/v1/customers", {"limit": 1}).json()["data"][0]
    expanded = bulk.get("/v1/customers", [*expand, ("limit", "1")]).json()["data"][0]
    assert expanded.keys() - plain.keys() == {"cash_balance", "sources", "tax_ids"}
    assert expanded["cash_balance"] == bulk.get(f"/v1/customers/{plain['id']}/cash_balance").json()
    assert expanded["cash_balance"]["customer"] == plain["id"]
    assert expanded["sources"]["data"] == []
    assert {name: expanded[name] for name in plain} == plain


def test_an_object_of_a_bulk_can_be_changed_and_deleted_in_its_place(bulk: Http) -> None:
    page = [c["id"] for c in bulk.get("/v1/customers", {"limit": 5}).json()["data"]]
    changed = bulk.post(f"/v1/customers/{page[1]}", {"description": "changed"})
    assert changed.status_code == 200, changed.text
    bulk.request("DELETE", f"/v1/customers/{page[2]}")
    again = bulk.get("/v1/customers", {"limit": 4}).json()["data"]
    assert [c["id"] for c in again] == [page[0], page[1], page[3], page[4]]
    assert again[1]["description"] == "changed"
    events = [(e["type"], e["data"]["object"]["id"]) for e in bulk.get("/v1/events").json()["data"]]
    assert events == [("customer.deleted", page[2]), ("customer.updated", page[1])]


def test_new_objects_come_before_a_bulk(bulk: Http) -> None:
    made = bulk.post("/v1/customers", {"name": "New"}).json()["id"]
    listed = [c["id"] for c in bulk.get("/v1/customers", {"limit": 2}).json()["data"]]
    assert listed == [made, bulk_id("cus", 2999)]
    following = bulk.get("/v1/customers", {"limit": 1, "starting_after": made}).json()["data"]
    assert following[0]["id"] == bulk_id("cus", 2999)


def test_a_bulk_of_nothing_known_is_refused() -> None:
    with pytest.raises(SandboxError, match="no bulk of 'nonsense'"):
        Service(account="empty", bulk={"nonsense": 5})


def test_pages_are_made_faster_than_any_reader_takes_them(record_property: Any) -> None:
    service = Service(account="empty", bulk={"charge": MILLION})
    headers = {"authorization": f"Bearer {TEST_KEY}"}
    started, made, cursor = time.process_time(), 0, ""
    for _ in range(300):
        request = Request(method="GET", path="/v1/charges", query=f"limit=100{cursor}", headers=headers)
        body = service.handle(request).response.body
        made += body.count(b'"object": "charge"')
        cursor = f"&starting_after={bulk_id('ch', MILLION - made)}"
    seconds = time.process_time() - started
    record_property("pages_a_cpu_second", round(300 / seconds))
    assert made == 30_000
    assert seconds < 3
