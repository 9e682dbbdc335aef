"""Servers that are not quite Stripe: the tap reads the right rows or ends with a clear error, in bounded requests.

Each hostility spoils the answers of the stand-in. Which of the two outcomes it has is written down, so that neither a
silent gap nor a needless failure creeps in.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from replica import Reader
from stand_in import EVENTS, NOW, StandInStripe, drive

from tap_stripe_events.backfill import Backfill, ListClosed
from tap_stripe_events.bookmarks import OpenWindow
from tap_stripe_events.changes import CHILDREN, Change
from tap_stripe_events.errors import EndlessListError, NotAListError, RequestRefusedError, TapError
from tap_stripe_events.families import root_lists
from tap_stripe_events.limits import Refusal, Verdict, verdict

if TYPE_CHECKING:
    from tap_stripe_events.client import Answer, Request

CHARGES = "/v1/charges"
INVOICES = "/v1/invoices"
LINES = "/v1/invoices/in_1/lines"
COUNT = 450
MOST_REQUESTS = 100
"""For a list of five pages, however the server behaves; each answer beyond that fails the test."""


class HostileStripe(StandInStripe):
    """A stand-in that answers the requests for one path in a way of its own."""

    def __init__(self, lists: dict[str, Any], path: str, spoil: Any, *, seed: int = 0) -> None:
        super().__init__(lists, seed=seed)
        self.path = path
        self.spoil = spoil
        self.stripe_clock.now = NOW + 10

    def _answer(self, request: Request) -> Answer:
        assert len(self.requests) <= MOST_REQUESTS, "the tap goes on and on"
        if request.path != self.path:
            return super()._answer(request)
        answer = self.spoil(self, request)
        return self._taken(request, answer.body) if isinstance(answer.body, dict) else answer

    def right(self, request: Request, *without: str, **changed: Any) -> Answer:
        """What Stripe would answer, if some parameters were not given and others were different."""
        kept = {name: value for name, value in request.parameters.items() if not name.startswith(without or ("-",))}
        answer = super()._answer(replace(request, parameters={**kept, **changed}, element=None))
        return replace(answer, request=request)


def with_body(answer: Answer, **changed: Any) -> Answer:
    """The answer with other members in its body; ``...`` takes one out."""
    body = {**answer.body, **changed}
    return replace(answer, body={name: value for name, value in body.items() if value is not ...})


def same_page(stripe: HostileStripe, request: Request) -> Answer:
    return with_body(stripe.right(request, "starting_after"), has_more=True)


def oldest_first(stripe: HostileStripe, request: Request) -> Answer:
    """Pages from the other end, forwards from the cursor."""
    found = sorted(copy.deepcopy(stripe.lists[request.path]), key=lambda each: each["created"])
    after = request.parameters.get("starting_after")
    start = 0 if after is None else 1 + [each["id"] for each in found].index(after)
    page = found[start : start + 100]
    return stripe._taken(request, {"object": "list", "data": page, "has_more": start + 100 < len(found)})


def there_and_back(stripe: HostileStripe, request: Request) -> Answer:
    """After the third page comes the second one again, and again."""
    ids = [each["id"] for each in stripe.lists[request.path]]
    after = request.parameters.get("starting_after")
    if after is not None and ids.index(after) >= 299:
        return with_body(stripe.right(request, starting_after=ids[99]), has_more=True)
    return stripe.right(request)


def overlapping(stripe: HostileStripe, request: Request) -> Answer:
    """A page begins with the last thirty objects of the one before."""
    after = request.parameters.get("starting_after")
    ids = [each["id"] for each in stripe.lists[request.path]]
    if after is None or ids.index(after) < 30:
        return stripe.right(request, "starting_after")
    return stripe.right(request, starting_after=ids[ids.index(after) - 30])


def null_data(stripe: HostileStripe, request: Request) -> Answer:
    return with_body(stripe.right(request), data=None)


def data_of_nulls(stripe: HostileStripe, request: Request) -> Answer:
    return with_body(stripe.right(request), data=[None])


def no_has_more(stripe: HostileStripe, request: Request) -> Answer:
    return with_body(stripe.right(request), has_more=...)


def null_has_more(stripe: HostileStripe, request: Request) -> Answer:
    return with_body(stripe.right(request), has_more=None)


def more_of_nothing(stripe: HostileStripe, request: Request) -> Answer:
    """There is said to be more after a page without anything on it."""
    if "starting_after" in request.parameters:
        return with_body(stripe.right(request), data=[], has_more=True)
    return stripe.right(request)


def always_more(stripe: HostileStripe, request: Request) -> Answer:
    """The last page says that there is more, and after it come empty ones."""
    return with_body(stripe.right(request), has_more=True)


def small_pages(stripe: HostileStripe, request: Request) -> Answer:
    """No page is longer than twenty, whatever was asked for."""
    return stripe.right(request, limit=20)


def no_ids(stripe: HostileStripe, request: Request) -> Answer:
    answer = stripe.right(request)
    return with_body(answer, data=[{k: v for k, v in each.items() if k != "id"} for each in answer.body["data"]])


def unfiltered(stripe: HostileStripe, request: Request) -> Answer:
    return stripe.right(request, "created")


def error_with_200(stripe: HostileStripe, request: Request) -> Answer:
    refusal = Refusal(status=200, code="api_error", parameter="none", message="Something broke", request="req_1")
    return replace(stripe.right(request), body=None, verdict=verdict(200, {}, refusal), refusal=refusal)


def single_object(stripe: HostileStripe, request: Request) -> Answer:
    return stripe._taken(request, {"object": "charge", "id": "ch_1"})


def charges() -> list[dict[str, Any]]:
    return [{"id": f"ch_{each}", "object": "charge", "created": NOW - 60 * each} for each in range(COUNT)]


def read(stripe: StandInStripe, path: str, *selected: str) -> list[Any]:
    root = next(each for each in root_lists() if each.path == path)
    windows = {root: [OpenWindow(path=path, parameters=dict(each)) for each in root.passes]}
    source = Backfill(client=stripe, windows=windows, selected=selected, account_id="acct_1")
    return list(drive(stripe, source))


RIGHT_LISTS = [oldest_first, overlapping, small_pages, unfiltered]
WRONG_LISTS = [
    (same_page, EndlessListError),
    (there_and_back, EndlessListError),
    (more_of_nothing, EndlessListError),
    (always_more, EndlessListError),
    (no_ids, EndlessListError),
    (null_data, NotAListError),
    (data_of_nulls, NotAListError),
    (no_has_more, NotAListError),
    (null_has_more, NotAListError),
    (single_object, NotAListError),
    (error_with_200, RequestRefusedError),
]


def name(value: Any) -> str:
    return str(value.__name__)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spoil", RIGHT_LISTS, ids=name)
def test_a_list_that_pages_in_a_way_of_its_own_is_read_whole(spoil: Any, seed: int) -> None:
    stripe = HostileStripe({CHARGES: charges()}, CHARGES, spoil, seed=seed)
    items = read(stripe, CHARGES, "charge")
    assert {each.record["id"] for each in items if isinstance(each, Change)} == {each["id"] for each in charges()}
    assert isinstance(items[-1], ListClosed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("spoil", "error"), WRONG_LISTS, ids=name)
def test_a_list_that_cannot_be_read_whole_ends_the_run(spoil: Any, error: type[TapError], seed: int) -> None:
    stripe = HostileStripe({CHARGES: charges()}, CHARGES, spoil, seed=seed)
    with pytest.raises(error) as caught:
        read(stripe, CHARGES, "charge")
    assert CHARGES in str(caught.value)


def invoice(lines: list[dict[str, Any]]) -> dict[str, Any]:
    embedded = {"object": "list", "data": lines[:10], "has_more": True, "url": LINES}
    return {"id": "in_1", "object": "invoice", "created": NOW - 99, "lines": embedded}


def lines() -> list[dict[str, Any]]:
    return [
        {"id": f"il_{each}", "object": "line_item", "created": NOW - each, "invoice": "in_1"} for each in range(COUNT)
    ]


@pytest.mark.parametrize("spoil", [oldest_first, overlapping, small_pages], ids=name)
def test_a_child_list_that_pages_in_a_way_of_its_own_is_read_whole(spoil: Any) -> None:
    embedded = lines()[::-1] if spoil is oldest_first else lines()
    stripe = HostileStripe({INVOICES: [invoice(embedded)], LINES: lines()}, LINES, spoil)
    items = read(stripe, INVOICES, "invoice", "line_item")
    [parent] = [each.record for each in items if isinstance(each, Change) and each.stream == "invoice"]
    assert set(parent[CHILDREN]["line_item"]) == {each["id"] for each in lines()}


@pytest.mark.parametrize(("spoil", "error"), [each for each in WRONG_LISTS if each[0] is not single_object], ids=name)
def test_a_child_list_that_cannot_be_read_whole_ends_the_run(spoil: Any, error: type[TapError]) -> None:
    stripe = HostileStripe({INVOICES: [invoice(lines())], LINES: lines()}, LINES, spoil)
    with pytest.raises(error):
        read(stripe, INVOICES, "invoice", "line_item")


def busy_feed(spoil: Any) -> tuple[HostileStripe, list[dict[str, Any]]]:
    """A feed of more events than two pages hold, and what they make of their customers."""
    stripe = HostileStripe({}, EVENTS, spoil)
    customers = []
    for number in range(COUNT):
        body = {"id": f"cus_{number % 200}", "object": "customer", "created": NOW - 1000, "name": f"name {number}"}
        stripe.announce("customer.updated", body, created=NOW - COUNT + number, previous={"name": ""})
        customers.append(body)
    return stripe, customers[-200:]


def names(reader: Reader) -> dict[str, Any]:
    return {row["id"]: row["name"] for row in reader.rows["customer"].values()}


@pytest.mark.parametrize("spoil", [oldest_first, overlapping, small_pages, unfiltered], ids=name)
def test_a_feed_that_pages_in_a_way_of_its_own_brings_every_change(spoil: Any) -> None:
    stripe, customers = busy_feed(spoil)
    reader = Reader(stripe, "customer", since=NOW - COUNT, lookback=COUNT)
    reader.poll()
    assert names(reader) == {each["id"]: each["name"] for each in customers}
    stripe.announce(
        "customer.updated", {**customers[0], "name": "newest"}, created=NOW + 5, previous={"name": "name 250"}
    )
    reader.poll()
    assert names(reader)[customers[0]["id"]] == "newest"


@pytest.mark.parametrize(("spoil", "error"), WRONG_LISTS, ids=name)
def test_a_feed_that_cannot_be_read_whole_ends_the_run_and_says_nothing_is_in(
    spoil: Any, error: type[TapError]
) -> None:
    stripe, _ = busy_feed(spoil)
    reader = Reader(stripe, "customer", since=NOW - COUNT, lookback=COUNT)
    with pytest.raises(error):
        reader.poll()
    assert reader.up_to == []


def test_an_error_in_the_body_of_a_200_is_a_refusal() -> None:
    refusal = Refusal(status=200, code="api_error", parameter="none", message="Something broke", request="req_1")
    assert verdict(200, {}, refusal) is Verdict.REFUSED
