"""Every call of the official Python library, made for real: what it asks, it gets, as objects of its own types."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
import stripe
from addresses import Address, list_address, operation, retrieve_address
from library_types import differences
from official_library import Call, calls

from stripe_sandbox.spec import ListEndpoint, Retrieve, load_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from fix_sandbox import Http

    from stripe_sandbox.sandbox import Sandbox

    Client = stripe.StripeClient
    MakeClient = Callable[..., Client]

SPEC = load_spec()
LISTS = {operation("GET", each.path): each for each in SPEC.lists}
RETRIEVES = {operation("GET", each.path): each for each in SPEC.retrieves}
WRITES = {operation(each.method, each.path): each for each in SPEC.writes}
BY_NAME = {call.name: call for call in calls()}
LIST_CALLS = [call for call in calls() if call.operation in LISTS]
COMPUTED = {
    "v1.billing.credit_balance_summary.retrieve",
    "v1.credit_notes.preview",
    "v1.treasury.financial_accounts.features.retrieve",
}
SEARCHES = [call for call in calls() if call.name.endswith(".search")]
RETRIEVE_CALLS = [
    call for call in calls() if call.operation in RETRIEVES and call not in SEARCHES and call.name not in COMPUTED
]
ONE_PAGE = 100
MANY = 400
"""More than any list of the full account has, so that a list without an end is noticed."""


@pytest.fixture
def full_client(full_sandbox: Sandbox, make_client: MakeClient) -> Client:
    return make_client(full_sandbox)


def by_name(call: Call) -> str:
    return call.name


def endpoint_of(call: Call) -> ListEndpoint:
    return LISTS[call.operation]


def retrieve_of(call: Call) -> Retrieve:
    return RETRIEVES[call.operation]


def wrong_types(body: Any) -> list[str]:
    # The library takes this map of hashes for one hash.
    return [each for each in differences(body) if "current_prices_per_metric_ton" not in each]


def test_the_sandbox_knows_every_call_of_the_library_and_no_others() -> None:
    assert {call.operation for call in calls()} - {*LISTS, *RETRIEVES, *WRITES} == {("GET", "/v1/quotes/{}/pdf")}
    assert {*LISTS, *RETRIEVES, *WRITES} <= {call.operation for call in calls()}
    assert (len(LIST_CALLS), len(RETRIEVE_CALLS), len(SEARCHES), len(WRITES)) == (120, 119, 7, 307)


@pytest.mark.parametrize("call", LIST_CALLS, ids=by_name)
def test_paging_by_itself_walks_a_list_from_both_ends_whatever_the_page(
    full_client: Client, full_sandbox: Sandbox, call: Call
) -> None:
    endpoint = endpoint_of(call)
    address = list_address(full_sandbox.account, endpoint)

    def walk(**params: Any) -> list[Any]:
        pages = call.make(full_client, address, **params).auto_paging_iter()
        return [each.id for each in islice(pages, MANY)]

    first = call.make(full_client, address)
    assert type(first) is stripe.ListObject
    assert first.url == address.path(endpoint.path)
    every = walk()
    assert every
    assert len(every) < MANY
    if {"limit", "starting_after", "ending_before"} <= endpoint.params.keys():
        assert walk(limit=ONE_PAGE) == every
        if len(every) > 1:
            few = len(every) // 3 + 1
            assert walk(limit=few, starting_after=every[0]) == every[1:]
            assert walk(limit=few, ending_before=every[-1]) == every[-2::-1]


@pytest.mark.parametrize("call", LIST_CALLS, ids=by_name)
def test_what_is_listed_is_of_the_librarys_types_and_retrieved_as_it_is_listed(
    full_client: Client, full_sandbox: Sandbox, call: Call
) -> None:
    endpoint = endpoint_of(call)
    address = list_address(full_sandbox.account, endpoint)
    page = call.make(full_client, address, **({"limit": ONE_PAGE} if "limit" in endpoint.params else {}))
    for body in page.data:
        assert body.object in endpoint.objects
        assert wrong_types(body) == []
    one = next((each for each in RETRIEVE_CALLS if each.operation == ("GET", f"{call.operation[1]}/{{}}")), None)
    for body in page.data[:2] if one is not None else ():
        again = one.make(full_client, address.below(body["id"]))
        assert type(again) is type(body)
        assert again.to_dict() == body.to_dict()


@pytest.mark.parametrize("call", RETRIEVE_CALLS, ids=by_name)
def test_what_can_be_retrieved_is_of_the_librarys_types(full_client: Client, full_sandbox: Sandbox, call: Call) -> None:
    body = call.make(full_client, retrieve_address(full_sandbox.account, retrieve_of(call)))
    assert body.last_response.code == 200
    assert type(body) is not stripe.StripeObject
    assert wrong_types(body) == []


def test_the_demo_accounts_objects_are_of_the_librarys_types_too(
    demo_sandbox: Sandbox, make_client: MakeClient
) -> None:
    client = make_client(demo_sandbox)
    seen = 0
    for call in LIST_CALLS:
        endpoint = endpoint_of(call)
        has_any = any(demo_sandbox.account.store.table(name).records for name in endpoint.objects)
        if not has_any or "{" in endpoint.path or endpoint.required or "limit" not in endpoint.params:
            continue
        page = call.make(client, Address(), limit=ONE_PAGE)
        for body in page.data:
            seen += 1
            assert [each for each in wrong_types(body) if not is_upcoming(body)] == []
    assert seen > 1_000


def is_upcoming(body: Any) -> bool:
    """An invoice that is only to come has no id, unlike the type says."""
    return body.object == "event" and body.type == "invoice.upcoming"


@pytest.mark.parametrize("call", SEARCHES, ids=by_name)
def test_search_is_refused_by_name(full_client: Client, call: Call) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="The sandbox has no search") as caught:
        call.make(full_client, Address(), query="name:'A'")
    assert caught.value.code == "sandbox_unsupported"


@pytest.mark.parametrize("name", sorted(COMPUTED))
def test_what_stripe_computes_on_request_is_refused_by_name(full: Http, name: str) -> None:
    path = BY_NAME[name].path.replace("{financial_account}", "fa_1")
    answer = full.get(path, {"invoice": "in_1"} if name.endswith("preview") else None)
    assert answer.json()["error"]["code"] == "sandbox_unsupported"
    assert f"does not answer GET {BY_NAME[name].path}" in answer.json()["error"]["message"]
