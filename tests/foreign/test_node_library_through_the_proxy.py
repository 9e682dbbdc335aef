"""The official Node library, through the proxy and not, sees the same Stripe; and what it was shown is in Postgres."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from library_walk import OF_THE_REQUEST, Outcome, Twins, headers_of
from shown import Tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from addresses import Address
    from official_library import Call

OPTIONS = {"idempotency_key": "idempotencyKey", "stripe_account": "stripeAccount", "stripe_version": "apiVersion"}


def ask(call: Call, node: Any, address: Address, params: dict[str, Any], options: dict[str, Any]) -> Outcome:
    """Make a call of the Node library."""
    given = {OPTIONS[name]: value for name, value in options.items()}
    answer = node.call(call.operation, address, options=given, **params)
    if "error" in answer:
        error = answer["error"]
        missing = error.get("param") if error.get("code") == "parameter_missing" else None
        told = OF_THE_REQUEST.sub("", json.dumps(error, sort_keys=True))
        return Outcome(kind=str(error.get("type")), value=told, status=error.get("statusCode"), missing=missing)
    if "missing" in answer:
        return Outcome(kind="no such method", value=str(call.operation))
    headers = answer["headers"]
    return Outcome(
        kind=answer["name"],
        value=OF_THE_REQUEST.sub("", json.dumps(answer["body"])),
        headers=headers_of({name: value for name, value in headers.items() if isinstance(value, str)}),
        status=200,
        body=json.loads(json.dumps(answer["body"]), parse_float=Decimal),
        applied=headers.get("stripe-proxy-applied"),
    )


@pytest.fixture
def make_twins(
    make_sandbox: Callable[..., Any],
    claim: Callable[..., Any],
    make_proxy: Callable[..., str],
    make_node_library: Callable[..., Any],
    connection: Any,
) -> Callable[..., Twins]:
    """Two accounts that are alike, and the library at one of them directly, at the other through a proxy."""

    def make(kind: str = "full", **options: Any) -> Twins:
        one, other = make_sandbox(kind, **options), make_sandbox(kind, **options)
        claim(other.account.id)
        return Twins(
            direct=make_node_library(one),
            proxied=make_node_library(other, proxy=make_proxy(other)),
            sandboxes=(one, other),
            tables=Tables(other, connection),
            ask=ask,
        )

    return make


def assert_alike(walk: Twins) -> None:
    assert (walk.unlike, walk.not_stored) == ([], [])


def test_every_write_has_the_same_outcome_and_its_objects_are_rows(make_twins: Callable[..., Twins]) -> None:
    walk = make_twins()
    walk.writes([0, 1])
    assert_alike(walk)
    assert walk.calls > 700
    assert walk.good > 350
    assert walk.compared > 550


def test_every_list_and_retrieval_is_the_same_and_its_objects_are_rows(make_twins: Callable[..., Twins]) -> None:
    walk = make_twins(most=6)
    walk.lists(4)
    walk.retrievals()
    assert_alike(walk)
    assert walk.calls > 600
    assert walk.good > 450
    assert walk.compared > 900


def test_the_block_of_the_page_creates_a_customer_and_a_file(
    proxy: str, run_node: Callable[[str], str], rows: Callable[..., Any], page: Callable[[str], str]
) -> None:
    upload = """
        const file = { data: Buffer.from([0, 13, 10, 255]), name: "ü.png", type: "image/png" };
        const made = await stripe.files.create({ purpose: "dispute_evidence", file });
        try { await stripe.customers.retrieve("cus_none"); } catch (error) { console.log(error.type, error.code); }
        console.log(customer.id, made.id, made.size);
    """
    refused, made = run_node(page("js").replace("http://127.0.0.1:8787", proxy) + upload).splitlines()
    assert refused == "StripeInvalidRequestError resource_missing"
    customer, file, size = made.split()
    assert size == "4"
    assert rows("SELECT email FROM stripe.customer WHERE id = %s", customer) == [("customer@example.com",)]
    assert rows("SELECT filename, size FROM stripe.file WHERE id = %s", file) == [("ü.png", 4)]


def test_a_host_without_a_path_is_the_api(proxy: str, run_node: Callable[[str], str]) -> None:
    """The library's own `host` leaves no room for a path before its own."""
    code = f"""
        import Stripe from "stripe";
        const port = {proxy.rpartition(":")[2]};
        const stripe = new Stripe("sk_test_sandbox", {{ host: "127.0.0.1", port, protocol: "http" }});
        console.log((await stripe.customers.create({{ name: "Without a path" }})).name);
    """
    assert "Without a path" in run_node(code)
