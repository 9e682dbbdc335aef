"""What the official Python library sends and how it takes refusals: forms, idempotency, retries, typed errors."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import stripe
from addresses import operation, write_address
from library_types import differences
from official_library import calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from fix_sandbox import Http

    from stripe_sandbox.sandbox import Sandbox

    Client = stripe.StripeClient


def test_every_write_of_the_library_is_answered_with_an_object_of_its_types_or_a_refusal(
    make_sandbox: Callable[..., Sandbox], make_client: Callable[..., Client]
) -> None:
    sandbox = make_sandbox("full")
    client = make_client(sandbox)
    writes = {operation(each.method, each.path): each for each in sandbox.account.spec.writes}
    done, unsupported, wrong = 0, 0, []
    for call in calls():
        if call.operation not in writes:
            continue
        write = writes[call.operation]
        address = sandbox.run(lambda write=write: write_address(sandbox.account, write, 0))
        try:
            body = call.make(client, address)
        except stripe.InvalidRequestError as refusal:
            unsupported += refusal.code == "sandbox_unsupported"
            continue
        done += 1
        if "deleted" not in body:
            wrong += [f"{call.name}: {each}" for each in differences(body)]
    assert wrong == []
    assert done > 150
    assert unsupported < 80


def test_a_form_has_arrays_hashes_and_empty_values_as_the_library_writes_them(client: Client) -> None:
    product = client.v1.products.create({"name": "Box", "images": ["https://example.com/1", "https://example.com/2"]})
    assert product.images == ["https://example.com/1", "https://example.com/2"]
    assert client.v1.products.update(product.id, {"images": ""}).images == []
    tiers: Any = [
        {"up_to": 10, "unit_amount_decimal": Decimal("0.000000000001")},
        {"up_to": "inf", "flat_amount": 5},
    ]
    price = client.v1.prices.create(
        {
            "product": product.id,
            "currency": "EUR",
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": tiers,
            "recurring": {"interval": "month"},
            "expand": ["tiers", "product"],
        }
    )
    assert price.currency == "eur"
    assert [(tier.up_to, tier.unit_amount_decimal, tier.flat_amount) for tier in price.tiers] == [
        (10, Decimal("0.000000000001"), None),
        (None, None, 5),
    ]
    assert isinstance(price.product, stripe.Product)
    plan = client.v1.plans.retrieve(price.id, {"expand": ["tiers"]})
    assert [tier.up_to for tier in plan.tiers] == [10, None]
    assert list(differences(price)) == list(differences(plan)) == []


def test_a_plan_with_tiers_is_a_price_with_tiers(client: Client) -> None:
    product: Any = {"name": "Box"}
    tiers: Any = [{"up_to": "inf", "unit_amount": 7}]
    plan = client.v1.plans.create(
        {
            "product": product,
            "currency": "eur",
            "interval": "month",
            "billing_scheme": "tiered",
            "tiers_mode": "volume",
            "tiers": tiers,
        }
    )
    price = client.v1.prices.retrieve(plan.id, {"expand": ["tiers"]})
    assert (price.unit_amount, price.unit_amount_decimal, price.tiers_mode) == (None, None, "volume")
    assert [(tier.up_to, tier.unit_amount_decimal) for tier in price.tiers] == [(None, Decimal(7))]


def test_metadata_is_merged_key_by_key_and_emptied_as_a_whole(client: Client) -> None:
    made = client.v1.customers.create({"name": "A", "metadata": {"a": "1", "b.c": "2", "ü & =": "3 + 4"}})
    assert made.metadata.to_dict() == {"a": "1", "b.c": "2", "ü & =": "3 + 4"}
    assert client.v1.customers.update(made.id, {"metadata": {"a": ""}}).metadata.to_dict() == {
        "b.c": "2",
        "ü & =": "3 + 4",
    }
    assert client.v1.customers.update(made.id, {"metadata": ""}).metadata.to_dict() == {}
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.update(made.id, {"metadata": {"b[0]": "1"}})  # Stripe takes no brackets in a name


def test_what_is_null_in_python_empties_a_value(client: Client) -> None:
    made = client.v1.customers.create({"name": "A", "phone": "1", "address": {"city": "Wien", "country": "AT"}})
    changed = client.v1.customers.update(made.id, {"phone": "", "address": ""})
    assert (changed.name, changed.phone, changed.address) == ("A", None, None)


@pytest.mark.parametrize(("wanted", "total"), [({}, 0), ({"pending_invoice_items_behavior": "include"}, 2000)])
def test_an_invoice_takes_pending_items_if_it_is_to_and_is_in_their_currency(
    client: Client, wanted: Any, total: int
) -> None:
    customer = client.v1.customers.create({"name": "A"})
    item = client.v1.invoice_items.create({"customer": customer.id, "amount": 2000, "currency": "usd"})
    invoice = client.v1.invoices.create({"customer": customer.id, **wanted})
    assert invoice.total == total
    if total:
        assert invoice.currency == "usd"
    assert client.v1.invoice_items.retrieve(item.id).invoice == (invoice.id if total else None)
    assert client.v1.invoices.finalize_invoice(invoice.id).status == ("open" if total else "paid")


def test_a_test_card_is_attached_and_the_default_at_once(client: Client) -> None:
    settings: Any = {"default_payment_method": "pm_card_visa"}
    customer = client.v1.customers.create({"payment_method": "pm_card_visa", "invoice_settings": settings})
    attached = client.v1.customers.payment_methods.list(customer.id).data
    assert [method.id for method in attached] == [customer.invoice_settings.default_payment_method]


def test_a_one_time_price_has_no_recurrence_and_says_so(full_sandbox: Sandbox) -> None:
    prices = list(full_sandbox.account.store.table("price"))
    assert {price.body["recurring"] is None for price in prices if price.body["type"] == "one_time"} == {True}


def test_expansions_of_a_write_and_of_a_list_bring_objects_of_the_librarys_types(client: Client) -> None:
    customer = client.v1.customers.create({"payment_method": "pm_card_visa"})
    intent = client.v1.payment_intents.create(
        {
            "amount": 900,
            "currency": "eur",
            "customer": customer.id,
            "confirm": True,
            "payment_method": "pm_card_visa",
            "expand": ["customer", "latest_charge.balance_transaction"],
        }
    )
    assert isinstance(intent.customer, stripe.Customer)
    assert isinstance(intent.latest_charge.balance_transaction, stripe.BalanceTransaction)
    listed = client.v1.charges.list({"expand": ["data.customer", "data.payment_intent"]}).data[0]
    assert isinstance(listed.customer, stripe.Customer)
    assert listed.payment_intent.to_dict() == client.v1.payment_intents.retrieve(intent.id).to_dict()
    assert list(differences(listed)) == []


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("rate_limit", stripe.RateLimitError),
        ("lock_timeout", stripe.RateLimitError),
        ("server_error", stripe.APIError),
        ("bad_gateway", stripe.APIError),
        ("unavailable", stripe.APIError),
        ("html_ok", stripe.APIError),
        ("reset_before", stripe.APIConnectionError),
        ("truncated", stripe.APIConnectionError),
    ],
)
def test_a_fault_is_the_error_that_the_library_has_for_it(
    client: Client, http: Http, kind: str, error: type[stripe.StripeError]
) -> None:
    http.control("faults", kind=kind, path="/v1/customers", count=1)
    with pytest.raises(error) as caught:
        client.v1.customers.list()
    assert type(caught.value) is error
    assert client.v1.customers.list().data == []


@pytest.mark.parametrize("kind", ["server_error", "lock_timeout", "reset_before", "reset_after"])
def test_the_librarys_own_retry_creates_one_object(
    sandbox: Sandbox, http: Http, make_client: Callable[..., Client], kind: str
) -> None:
    client = make_client(sandbox, retries=2)
    http.control("faults", kind=kind, method="POST", count=1)
    made = client.v1.customers.create({"name": "A"})
    assert [each.id for each in client.v1.customers.list().data] == [made.id]
    replayed = made.last_response.headers.get("Idempotent-Replayed")
    assert replayed == ("true" if kind == "reset_after" else None)


def test_an_idempotency_key_with_other_parameters_is_the_librarys_idempotency_error(client: Client) -> None:
    client.v1.customers.create({"name": "A"}, {"idempotency_key": "once"})
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"name": "B"}, {"idempotency_key": "once"})
    assert len(client.v1.customers.list().data) == 1


def test_a_deletion_an_old_version_and_an_account_are_asked_for_by_options(client: Client, sandbox: Sandbox) -> None:
    coupon = client.v1.coupons.create({"percent_off": 5, "duration": "once"})
    assert client.v1.coupons.delete(coupon.id, {}, {"idempotency_key": "gone"}).deleted is True
    old = client.v1.customers.list({}, {"stripe_version": "2025-02-24.acacia"})
    assert old.last_response.headers["Stripe-Version"] == "2025-02-24.acacia"
    assert client.v1.customers.list({}, {"stripe_account": sandbox.account.id}).data == []
    with pytest.raises(stripe.PermissionError):
        client.v1.customers.list({}, {"stripe_account": "acct_other"})


def named(content: bytes) -> Any:
    """An open file with a name."""
    file = io.BytesIO(content)
    file.name = "Beleg ü.PNG"
    return file


@pytest.mark.parametrize("content", [b"", b"\x89PNG\xff\x00", b"a\r\n\r\n--b\n\r", bytes(range(256)) * 40])
def test_a_file_is_uploaded_and_listed(client: Client, content: bytes) -> None:
    made = client.v1.files.create({"purpose": "dispute_evidence", "file": named(content)})
    assert (made.filename, made.purpose, made.size, made.type) == (
        "Beleg ü.PNG",
        "dispute_evidence",
        len(content),
        "png",
    )
    assert client.v1.files.retrieve(made.id).to_dict() == made.to_dict()
    assert client.v1.events.list().data[0].type == "file.created"


def test_a_file_without_contents_or_with_more_than_the_sandbox_can_is_refused(client: Client, http: Http) -> None:
    assert http.post("/v1/files", {"purpose": "dispute_evidence", "file": "x"}).json()["error"]["param"] == "file"
    assert http.post("/v1/files", {"purpose": "dispute_evidence"}).json()["error"]["code"] == "parameter_missing"
    with pytest.raises(stripe.InvalidRequestError, match="unknown parameter: file_link_data"):
        client.v1.files.create({"purpose": "dispute_evidence", "file": named(b"x"), "file_link_data": {"create": True}})
    assert http.post("/v1/files", b"purpose=%FF\xff").status_code == 400
    broken = {"Content-Type": "multipart/form-data"}
    assert http.post("/v1/files", b"--x\r\n\r\n", headers=broken).status_code == 400
    assert client.v1.files.list().data == []


def test_what_the_library_posts_is_in_the_feed_as_it_was_answered(client: Client) -> None:
    made = client.v1.customers.create({"name": "A", "address": {"city": "Wien"}})
    event = client.v1.events.list({"types": ["customer.created"]}).data[0]
    assert isinstance(event.data.object, stripe.Customer)
    assert event.data.object.to_dict() == made.to_dict()
    assert client.v1.events.retrieve(event.id).to_dict() == event.to_dict()
