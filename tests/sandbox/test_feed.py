"""How events show in ``/v1/events``: when, in which order, in which version, and what they carry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fix_sandbox import NOW

from stripe_sandbox.errors import SandboxError
from stripe_sandbox.families import EMBEDDED, INCLUDABLE
from stripe_sandbox.feed import FeedSettings, passage
from stripe_sandbox.old_versions import VERSIONS, as_of_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from fix_sandbox import Http

    from stripe_sandbox.sandbox import Sandbox

DAY = 86_400


def ids(http: Http, **params: Any) -> list[str]:
    return [event["id"] for event in http.pages("/v1/events", {"limit": 100, **params})]


def make_customers(http: Http, count: int) -> None:
    for number in range(count):
        assert http.post("/v1/customers", {"name": f"{number}"}).status_code == 200


def test_events_of_one_second_do_not_stand_in_the_order_in_which_they_happened(http: Http) -> None:
    make_customers(http, 20)
    names = [event["data"]["object"]["name"] for event in http.pages("/v1/events")]
    assert sorted(names, key=int) == [str(number) for number in range(20)]
    assert names not in (sorted(names, key=int), sorted(names, key=int, reverse=True))


def test_the_same_seed_orders_and_delays_events_the_same_way(make_sandbox: Callable[..., Sandbox]) -> None:
    settings = FeedSettings(late_share=0.5, old_share=0.5)
    first, again, other = ([passage(settings, seed=seed, number=n) for n in range(50)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_late_events_show_after_newer_ones_and_within_their_seconds(http: Http) -> None:
    http.control("events", late_share=0.5, late_seconds=20)
    make_customers(http, 40)
    at_once = ids(http)
    assert 5 < len(at_once) < 35
    http.control("clock", advance=1)
    make_customers(http, 5)
    http.control("clock", advance=19)
    later = ids(http, **{"created[lte]": NOW})
    assert len(later) == 40
    assert set(at_once) < set(later)


def test_an_event_that_does_not_show_yet_cannot_be_retrieved_or_paged_from(http: Http, sandbox: Sandbox) -> None:
    http.control("events", delay_seconds=3)
    make_customers(http, 1)
    event = sandbox.run(lambda: next(iter(sandbox.account.store.table("event").records)))
    assert http.get(f"/v1/events/{event}").status_code == 404
    assert http.get("/v1/events", {"starting_after": event}).status_code == 400
    http.control("clock", advance=3)
    assert http.get(f"/v1/events/{event}").json()["id"] == event


def test_events_are_listed_for_thirty_days_and_an_aged_cursor_is_refused(http: Http) -> None:
    make_customers(http, 1)
    (old,) = ids(http)
    http.control("clock", advance=30 * DAY)
    make_customers(http, 1)
    new = next(event for event in ids(http) if event != old)
    assert set(ids(http)) == {old, new}
    assert http.get("/v1/events", {"starting_after": new}).json()["data"][0]["id"] == old
    http.control("clock", advance=1)
    assert ids(http) == [new]
    refused = http.get("/v1/events", {"starting_after": old})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "resource_missing", "starting_after")
    assert http.get(f"/v1/events/{old}").status_code == 404
    assert [json.loads(line)["key"] for line in http.get("/_sandbox/truth?types=event").iter_lines()] == [new]


def test_the_feed_can_be_narrowed_by_type_types_created_and_delivery(http: Http) -> None:
    make_customers(http, 3)
    http.post("/v1/coupons", {"percent_off": "5", "duration": "once"})
    http.control("clock", advance=10)
    http.post("/v1/products", {"name": "P"})

    def kinds(**params: Any) -> list[str]:
        return sorted(event["type"] for event in http.pages("/v1/events", params))

    assert kinds(type="coupon.created") == ["coupon.created"]
    assert kinds(type="customer.*") == ["customer.created"] * 3
    assert kinds(**{"types[]": ["coupon.created", "product.created"]}) == ["coupon.created", "product.created"]
    assert kinds(**{"created[gt]": NOW}) == ["product.created"]
    assert len(kinds(delivery_success="true")) == 5
    assert kinds(delivery_success="false") == []
    assert http.get("/v1/events", {"types[]": [f"a.{n}" for n in range(21)]}).status_code == 400


def test_a_share_of_the_events_comes_in_older_versions(http: Http) -> None:
    http.control("events", old_share=0.5)
    make_customers(http, 60)
    events = http.pages("/v1/events")
    versions = {event["api_version"] for event in events}
    assert versions & set(VERSIONS)
    today = [event for event in events if event["api_version"] not in VERSIONS]
    assert 10 < len(today) < 50
    fields = set(today[0]["data"]["object"])
    assert all(set(e["data"]["object"]) != fields for e in events if e["api_version"] in VERSIONS)


def test_no_object_of_an_older_version_has_the_fields_of_today(full_sandbox: Sandbox) -> None:
    account = full_sandbox.account
    alike = []
    for table in account.store.tables():
        for record in list(table.records.values())[:5]:
            body = account.renderer.body(record)
            for version in VERSIONS:
                older = as_of_version(body, version, lambda _type, _key: None)
                if set(older) == set(body) or older.get("id") != body.get("id"):
                    alike.append((record.key, version))
    assert alike == []


def test_an_older_invoice_names_its_subscription_itself(http: Http) -> None:
    body = {
        "id": "in_1",
        "object": "invoice",
        "status": "paid",
        "currency": "eur",
        "total_taxes": [],
        "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}},
    }
    older = as_of_version(body, "2024-06-20", lambda _type, _key: None)
    assert older["subscription"] == "sub_1"
    assert older["currency"] == "EUR"
    assert "parent" not in older


@pytest.mark.parametrize(
    "wanted", [{"late_share": 2}, {"late_seconds": 61}, {"delay_seconds": -1}, {"old_versions": []}, {"nonsense": 1}]
)
def test_a_feed_that_stripe_does_not_have_is_refused(http: Http, wanted: Any) -> None:
    answer = http.request("POST", "/_sandbox/events", json=wanted)
    assert answer.status_code == 400, answer.text
    assert http.control("events")["late_share"] == 0


def test_settings_of_a_feed_say_what_is_wrong() -> None:
    with pytest.raises(SandboxError, match="late_seconds is 1 to 60, not 90"):
        FeedSettings(late_seconds=90)


def test_what_only_expansion_brings_is_in_no_event_and_lists_hold_ten(make_sandbox: Callable[..., Sandbox]) -> None:
    account = make_sandbox("full").account
    long_lists = set()
    for table in account.store.tables():
        for record in list(table.records.values())[:3] if table.object != "event" else ():
            body = account.renderer.body(record)
            for owner, path in INCLUDABLE:
                if owner == record.object and "." not in path:
                    assert path not in body
            for embedded in EMBEDDED:
                shape = account.spec.fields(record.object).get(embedded.field)
                if embedded.parent != record.object or shape is None:
                    continue
                if shape.optional:
                    assert embedded.field not in body, (record.key, embedded.field)
                else:
                    assert len(body[embedded.field]["data"]) <= 10
                    long_lists |= {embedded.field} if body[embedded.field]["has_more"] else set()
    assert {"lines", "items", "reversals"} <= long_lists


def test_a_discount_that_is_replaced_is_whole_in_previous_attributes(http: Http) -> None:
    http.post("/v1/coupons", {"id": "TEN", "percent_off": "10", "duration": "forever"})
    customer = http.post("/v1/customers", {"coupon": "TEN"}).json()
    http.request("DELETE", f"/v1/customers/{customer['id']}/discount")
    last = max(
        http.pages("/v1/events", {"type": "customer.updated"}),
        key=lambda event: event["data"]["object"]["discount"] is None,
    )
    assert last["data"]["previous_attributes"]["discount"]["source"]["coupon"] == "TEN"
