"""The official Node library against the sandbox: every list and retrieve call, types by the compiler, forms, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from addresses import Address, list_address, operation, retrieve_address

from stripe_sandbox.spec import load_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from fix_sandbox import Http

    from stripe_sandbox.sandbox import Sandbox

SPEC = load_spec()
RETRIEVES = [each for each in SPEC.retrieves if not each.path.endswith("/search")]
COMPUTED = {"GET /v1/billing/credit_balance_summary", "GET /v1/credit_notes/preview"}
FEATURES = "GET /v1/treasury/financial_accounts/{}/features"
CUSTOMERS = ("POST", "/v1/customers")
CUSTOMER = ("POST", "/v1/customers/{}")
MANY = 400


@pytest.fixture(scope="session")
def node(make_node_library: Callable[..., Any], full_sandbox: Sandbox) -> Any:
    return make_node_library(full_sandbox)


@pytest.fixture
def fresh(make_node_library: Callable[..., Any], sandbox: Sandbox) -> Any:
    return make_node_library(sandbox)


def test_the_library_and_the_sandbox_know_the_same_operations(node: Any) -> None:
    ours = {" ".join(operation("GET", each.path)) for each in (*SPEC.lists, *SPEC.retrieves)}
    ours |= {" ".join(operation(each.method, each.path)) for each in SPEC.writes}
    # These two methods cannot be called without what they send: a version, a file.
    assert ours - set(node.known) == {"POST /v1/ephemeral_keys", "POST /v1/files"}
    assert set(node.known) - ours == {"GET /v1/quotes/{}/pdf", "POST /oauth/token"}


@pytest.mark.parametrize("endpoint", SPEC.lists, ids=lambda each: each.path)
def test_iterating_walks_a_list_to_its_end_whatever_the_page(node: Any, full_sandbox: Sandbox, endpoint: Any) -> None:
    pages = [{}, {"limit": 100}] if "limit" in endpoint.params else [{}]
    answer = node.call(operation("GET", endpoint.path), list_address(full_sandbox.account, endpoint), pages=pages)
    assert "error" not in answer, answer
    assert answer["body"]["object"] == "list"
    assert 0 < len(answer["walks"][0]) < MANY
    assert [walk == answer["walks"][0] for walk in answer["walks"]] == [True] * len(pages)


@pytest.mark.parametrize("retrieve", RETRIEVES, ids=lambda each: each.path)
def test_an_object_is_retrieved_or_refused_by_name(node: Any, full_sandbox: Sandbox, retrieve: Any) -> None:
    asked = operation("GET", retrieve.path)
    if " ".join(asked) in COMPUTED or " ".join(asked) == FEATURES:
        address = Address(values=("fa_1",) if " ".join(asked) == FEATURES else ())
        assert node.call(asked, address)["error"]["code"] == "sandbox_unsupported"
        return
    address = retrieve_address(full_sandbox.account, retrieve)
    answer = node.call(asked, address)
    record = full_sandbox.account.store.get(retrieve.object, address.values[-1]) if address.values else None
    if record is not None and record.body.get("error"):
        assert answer["error"]["statusCode"] == 200  # the library takes an object's own error for that of the request
        return
    assert "error" not in answer, answer
    assert answer["body"]["object"] in {retrieve.object, "bank_account", "card", "source"}


def test_search_is_refused_by_name(node: Any) -> None:
    searches = [each for each in SPEC.retrieves if each.path.endswith("/search")]
    codes = [node.call(operation("GET", each.path), Address(), query="x:'1'")["error"]["code"] for each in searches]
    assert codes == ["sandbox_unsupported"] * 7


def source_of(node: Any, sandbox: Sandbox) -> str:
    """TypeScript that gives every listed object the type that the method which listed it has for it."""
    lines = [
        'import type Stripe from "stripe";',
        "declare const decimal: (text: string) => Stripe.Decimal;",
        "type Lists = (...given: any) => Promise<{data: any[]}>;",
        'type Item<Method extends Lists> = Awaited<ReturnType<Method>>["data"][number];',
    ]
    for endpoint in SPEC.lists:
        # An event is one of 275 types, of which the compiler only says that none fits.
        has_any = any(sandbox.account.store.table(name).records for name in endpoint.objects)
        if endpoint.path == "/v1/events" or not has_any:
            continue
        try:
            address = list_address(sandbox.account, endpoint)
        except IndexError:  # none with a parent
            continue
        answer = node.call(operation("GET", endpoint.path), address)
        if "error" in answer:
            continue  # products that the demo account does not use
        method = "".join(f'["{name}"]' for name in answer["name"].split("."))
        lines += [f"const {answer['name'].replace('.', '_')}_{n}: Item<Stripe{method}> = {text};"
                  for n, text in enumerate(answer["source"])]  # fmt: skip
    return "\n".join([*lines, "export {};"])


@pytest.mark.parametrize("kind", ["full", "demo"])
def test_every_listed_object_is_of_its_type_to_the_compiler(
    make_node_library: Callable[..., Any],
    request: pytest.FixtureRequest,
    type_errors: Callable[[str], list[str]],
    kind: str,
) -> None:
    sandbox = request.getfixturevalue(f"{kind}_sandbox")
    source = source_of(make_node_library(sandbox), sandbox)
    assert source.count("\n") > 140
    errors = [
        each
        for each in type_errors(source)
        if "'\"total_count\"' does not exist in type 'ApiList<" not in each  # sent, though the types lack it
        and "Type 'string' is not assignable to type 'Decimal'" not in each  # deep within, the library leaves texts
    ]
    assert errors == []


def test_the_compiler_finds_what_is_wrong(type_errors: Callable[[str], list[str]]) -> None:
    source = 'import type Stripe from "stripe"; export const wrong: Stripe.Coupon = {id: 5, object: "coupon"};'
    assert len(type_errors(source)) > 0


def test_forms_have_arrays_hashes_and_empty_values_as_the_library_writes_them(fresh: Any) -> None:
    made = fresh.call(CUSTOMERS, Address(), name="Zoë & Søn", metadata={"a.b": "1", "ü": "2 + 2"},
                      address={"city": "Wien"}, preferred_locales=["de", "en"])["body"]  # fmt: skip
    assert made["metadata"] == {"a.b": "1", "ü": "2 + 2"}
    assert made["preferred_locales"] == ["de", "en"]
    changed = fresh.call(CUSTOMER, Address(values=(made["id"],)), metadata={"a.b": ""}, name="", address="")["body"]
    assert (changed["metadata"], changed["name"], changed["address"]) == ({"ü": "2 + 2"}, None, None)
    emptied = fresh.call(CUSTOMER, Address(values=(made["id"],)), metadata="", preferred_locales=[])["body"]
    assert emptied["metadata"] == {}
    gone = fresh.call(("DELETE", "/v1/customers/{}"), Address(values=(made["id"],)))["body"]
    assert gone["deleted"] is True


def test_a_subscription_is_made_with_items_and_expanded(fresh: Any) -> None:
    settings = {"default_payment_method": "pm_card_visa"}
    customer = fresh.call(CUSTOMERS, Address(), payment_method="pm_card_visa", invoice_settings=settings)["body"]
    price = fresh.call(("POST", "/v1/prices"), Address(), currency="eur", unit_amount=900,
                       recurring={"interval": "month"}, product_data={"name": "Box"})["body"]  # fmt: skip
    subscription = fresh.call(
        ("POST", "/v1/subscriptions"), Address(), customer=customer["id"],
        items=[{"price": price["id"], "quantity": 2}], expand=["latest_invoice", "customer"],
    )["body"]  # fmt: skip
    assert (subscription["status"], subscription["latest_invoice"]["amount_paid"]) == ("active", 1800)
    assert subscription["customer"]["object"] == "customer"


def test_refusals_are_the_librarys_errors(fresh: Any, http: Http) -> None:
    def error(asked: tuple[str, str], address: Address, **params: Any) -> tuple[str, int, str | None]:
        told = fresh.call(asked, address, **params)["error"]
        return told["type"], told["statusCode"], told.get("code")

    retrieve = ("GET", "/v1/customers/{}")
    assert error(retrieve, Address(values=("cus_none",))) == ("StripeInvalidRequestError", 404, "resource_missing")
    assert error(CUSTOMERS, Address(), nonsense=1) == ("StripeInvalidRequestError", 400, "parameter_unknown")
    declined = {"amount": 5, "currency": "eur", "confirm": True, "payment_method": "pm_card_chargeDeclined"}
    assert error(("POST", "/v1/payment_intents"), Address(), **declined) == ("StripeCardError", 402, "card_declined")
    other_account = {"stripeAccount": "acct_other"}
    assert error(CUSTOMERS, Address(), options=other_account) == ("StripePermissionError", 403, "account_invalid")
    once = {"idempotencyKey": "once"}
    first = fresh.call(CUSTOMERS, Address(), options=once, name="A")
    again = fresh.call(CUSTOMERS, Address(), options=once, name="A")
    assert again["body"]["id"] == first["body"]["id"]
    assert again["headers"]["idempotent-replayed"] == "true"
    assert error(CUSTOMERS, Address(), options=once, name="B")[:2] == ("StripeIdempotencyError", 400)
    http.control("faults", kind="rate_limit", count=1)
    assert error(CUSTOMERS, Address()) == ("StripeRateLimitError", 429, "rate_limit")
    http.control("faults", kind="server_error", count=1)
    assert error(CUSTOMERS, Address())[:2] == ("StripeAPIError", 500)
    http.control("faults", kind="html_ok", count=1)
    assert fresh.call(CUSTOMERS, Address())["error"]["type"] == "StripeAPIError"
    http.control("faults", kind="reset_before")  # one such is tried again in any case
    assert fresh.call(CUSTOMERS, Address())["error"]["type"] == "StripeConnectionError"


@pytest.mark.parametrize("kind", ["server_error", "lock_timeout", "reset_after"])
def test_the_librarys_own_retry_creates_one_object(fresh: Any, http: Http, kind: str) -> None:
    http.control("faults", kind=kind, method="POST", count=1)
    made = fresh.call(CUSTOMERS, Address(), options={"maxNetworkRetries": 2}, name="A")["body"]
    assert [each["id"] for each in http.get("/v1/customers").json()["data"]] == [made["id"]]


def test_a_wrong_key_is_the_librarys_authentication_error(
    make_node_library: Callable[..., Any], full_sandbox: Sandbox
) -> None:
    wrong = make_node_library(full_sandbox, "sk_test_wrong")
    assert wrong.call(("GET", "/v1/customers"), Address())["error"]["type"] == "StripeAuthenticationError"
