"""Histories: random, but nothing happens in them that Stripe would not announce, save where it has no event for it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from fix_sandbox import NOW
from oracle import Oracle

from stripe_sandbox.announcements import BORN_SILENTLY, DIES_SILENTLY, FAMILIES, PARTLY_SILENT, SILENT
from stripe_sandbox.histories import run_history
from stripe_sandbox.sandbox import Service

if TYPE_CHECKING:
    from stripe_sandbox.account import Account

SEEDS = range(4)
FOLLOWS_ANOTHER = {family.child for family in FAMILIES} | {
    "balance_transaction",
    "cash_balance",
    "customer_balance_transaction",
    "entitlements.active_entitlement",
    "identity.verification_report",
    "treasury.transaction",
    "treasury.transaction_entry",
}
"""Types of which rows come, change or go with an event of another object that they name, or that names them."""


@pytest.fixture
def account() -> Account:
    return Service(account="full", now=NOW).account


def bodies(account: Account) -> dict[tuple[str, str], dict]:
    """Every object as its row would show it, by type and key."""
    oracle = Oracle(account.id)
    return {
        (table.object, record.key): oracle.cells(table.object, account.renderer.body(record), {})
        for table in account.store.tables()
        for record in table
        if table.object != "event"
    }


def links(account: Account, object_type: str, key: str) -> set[str]:
    record = account.store.last_known(object_type, key)
    parent = account.store.last_known("source", str(record.link("source")))  # goes with its customer
    named = {each for each in (*record.body.values(), *record.facts.values()) if isinstance(each, str)}
    return named | (links(account, "source", parent.key) if parent is not None else set())


def events_of(account: Account, changes: list) -> list[dict]:
    """The events of a history, in the order in which they happened."""
    table = account.store.table("event")
    return [table.records[key].body for change in changes for key in change.events]


@pytest.mark.parametrize("seed", SEEDS)
def test_without_silence_whatever_changes_is_announced(account, seed):
    before = bodies(account)
    changes = run_history(account, seed=seed, changes=250, silent=False)
    after = bodies(account)
    events = events_of(account, changes)
    announced = {(each["data"]["object"]["object"], object_key(each)) for each in events}
    named = set(re.findall(r'"(\w+)"', json.dumps([each["data"]["object"] for each in events])))
    ended = {object_key(each) for each in events if each["type"].endswith(".deleted")}
    changed = {each for each in before.keys() | after.keys() if before.get(each) != after.get(each)}
    assert len(changed) > 200
    silent = [
        (name, key)
        for name, key in changed - announced
        if not links(account, name, key) & ended
        and not (name in FOLLOWS_ANOTHER and (key in named or links(account, name, key) & named))
    ]
    assert silent == []


@pytest.mark.parametrize("seed", SEEDS)
def test_the_newest_event_of_an_object_carries_it_as_it_is(account, seed):
    changes = run_history(account, seed=seed, changes=250, silent=False)
    let_go = {change.id for change in changes if (change.type, change.verb) == ("source", "detached")}
    ended = {change.id for change in changes if change.verb == "deleted"}
    newest = {
        (each["data"]["object"]["object"], object_key(each)): each
        for each in events_of(account, changes)
        if object_key(each) not in let_go and each["type"] != "invoice.upcoming"
    }
    oracle = Oracle(account.id)
    there = bodies(account)
    for (name, key), event in newest.items():
        if name in {"billing.alert_triggered", "entitlements.active_entitlement_summary"}:
            continue
        card_gone = event["type"] == "payment_method.detached" and key.startswith("card_")
        if card_gone or (event["type"].endswith(".deleted") and name != "subscription"):
            assert (name, key) not in there, event["type"]
        elif not links(account, name, key) & ended:  # what ends with a customer or a test clock has no event
            told = oracle.cells(name, event["data"]["object"], {})
            assert (name, key, told) == (name, key, there[name, key])
    assert len(newest) > 100


def object_key(event: dict) -> str:
    body = event["data"]["object"]
    if body["object"] == "capability":
        return f"{body['account']}:{body['id']}"
    return body.get("id") or body.get("customer") or body["object"]


@pytest.mark.parametrize("seed", SEEDS)
def test_only_what_stripe_has_no_event_for_changes_in_silence(account, seed):
    changes = run_history(account, seed=seed, changes=400)
    silent = [change for change in changes if not change.events]
    assert len(silent) > 10
    allowed = {"created": BORN_SILENTLY, "updated": SILENT | PARTLY_SILENT, "deleted": DIES_SILENTLY}
    assert [each for each in silent if each.type not in allowed[each.verb]] == []


def test_every_event_that_a_history_makes_is_in_the_catalogue_for_its_object(account):
    changes = run_history(account, seed=3, changes=600)
    for event in events_of(account, changes):
        assert event["data"]["object"]["object"] in account.spec.events[event["type"]]


def test_the_values_keep_the_shape_of_their_fields(account):
    changes = run_history(account, seed=5, changes=300, silent=False)
    for event in events_of(account, changes):
        body = event["data"]["object"]
        for name, shape in account.spec.fields(body["object"]).items():
            value = body.get(name)
            if value is None:
                assert shape.nullable or shape.optional or name == "id" or body["object"] in TO_COME, (body, name)
            elif shape.type in {"string", "integer", "boolean"}:
                assert isinstance(value, {"string": str, "integer": int, "boolean": bool}[shape.type]), (body, name)


TO_COME = {"invoice"}  # one that is to come has no id


def test_an_updated_event_tells_the_values_from_before(account):
    before = {record.key: record.body for record in account.store.table("charge").records.values()}
    changes = run_history(account, seed=1, changes=30, types=["charge"], silent=False)
    change, event = next(
        (change, event)
        for change in changes
        for event in events_of(account, [change])
        if event["type"] == "charge.updated" and change.id in before
    )
    previous = event["data"]["previous_attributes"]
    assert previous
    for name, value in previous.items():
        old = before[change.id][name]
        assert value == old or value.items() <= {**dict.fromkeys(value), **old}.items()


def test_the_same_seed_does_the_same(account):
    first = run_history(account, seed=9, changes=150)
    again = Service(account="full", now=NOW).account
    assert run_history(again, seed=9, changes=150) == first
    assert bodies(again) == bodies(account)


def test_a_history_takes_the_seconds_it_is_given(account):
    changes = run_history(account, seed=2, changes=60, seconds=17)
    assert account.now() == NOW + 17
    assert {change.at for change in changes} <= set(range(NOW, NOW + 18))
    assert len({change.at for change in changes}) > 5


def test_in_no_seconds_everything_happens_at_once(account):
    assert {change.at for change in run_history(account, seed=2, changes=60, seconds=0)} == {NOW}


def test_only_objects_of_the_types_asked_for_change(account):
    changes = run_history(account, seed=4, changes=40, types=["customer", "coupon"])
    assert {change.type for change in changes} == {"customer", "coupon"}


def test_histories_hold_what_stripe_is_full_of(account):
    changes = [each for seed in range(6) for each in run_history(account, seed=seed, changes=300)]
    assert {each.type for each in changes} >= set(account.spec.events["customer.source.deleted"]) | {"invoice", "plan"}
    assert len({each.type for each in changes}) > 105
    assert reused(changes) >= {"coupon", "plan", "product"}
    assert any(lived_a_second(changes, change) for change in changes)
    assert any(len(account.store.linked("line_item", "invoice", key)) > 10 for key in made(changes, "invoice", account))


def reused(changes: list) -> set[str]:
    """The types of which an id was deleted and created again."""
    deleted, found = set(), set()
    for each in changes:
        if each.verb == "deleted":
            deleted.add((each.type, each.id))
        elif each.verb == "created" and (each.type, each.id) in deleted:
            found.add(each.type)
    return found


def lived_a_second(changes: list, change) -> bool:
    return change.verb == "created" and any(
        (each.verb, each.type, each.id, each.at) == ("deleted", change.type, change.id, change.at) for each in changes
    )


def made(changes: list, object_type: str, account: Account) -> set[str]:
    there = account.store.table(object_type).records
    return {each.id for each in changes if each.type == object_type and each.verb == "created"} & there.keys()


def test_over_http_a_history_answers_what_happened(make_sandbox, connect):
    http = connect(make_sandbox("full"))
    answer = http.control("history", seed=7, changes=20, silent=False, seconds=5)
    assert answer["now"] == NOW + 5
    assert len(answer["changes"]) >= 20
    kinds = [http.get(f"/v1/events/{key}").json()["type"] for each in answer["changes"] for key in each["events"]]
    assert len(kinds) >= 20


def test_a_type_that_stripe_does_not_have_is_refused(make_sandbox, connect):
    http = connect(make_sandbox("full"))
    answer = http.request("POST", "/_sandbox/history", json={"seed": 1, "types": ["unicorn"]})
    assert (answer.status_code, "unicorn" in answer.text) == (400, True)
