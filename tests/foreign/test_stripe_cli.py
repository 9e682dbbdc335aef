"""The official Stripe CLI against the sandbox: requests, resource commands, and the fixtures behind ``trigger``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from fix_sandbox import Http

    from stripe_sandbox.sandbox import Sandbox

TRIGGERED = (
    "account.updated", "charge.captured", "charge.failed", "charge.refunded", "charge.succeeded",
    "coupon.created", "coupon.deleted", "credit_note.voided",
    "customer.created", "customer.deleted", "customer.source.created", "customer.subscription.created",
    "customer.subscription.deleted", "customer.updated", "invoice.created", "invoice.finalized",
    "invoice.marked_uncollectible", "invoice.paid", "invoice.payment_failed", "invoice.voided",
    "invoiceitem.created", "payment_intent.canceled", "payment_intent.payment_failed", "payment_intent.succeeded",
    "payment_link.created", "payment_method.attached", "payment_method.detached", "plan.deleted", "price.updated",
    "product.deleted", "quote.accepted", "setup_intent.succeeded", "subscription_schedule.canceled",
    "subscription_schedule.released", "tax_rate.updated",
)  # fmt: skip
"""Events that the CLI's fixtures bring about in the sandbox; as many again are alike."""


REFUSED = {
    # What the sandbox's payments, identity checks and cards cannot do, or what the API has given up since.
    "balance.available": "No such payment method",
    "billing_portal.session.created": "does not perform",
    "charge.dispute.created": "No such payment method",
    "checkout.session.completed": "unknown parameter: payment_intent_data",
    "customer.discount.updated": "unknown parameter: coupon",
    "identity.verification_session.created": "unknown parameter: return_url",
    "issuing_authorization.request": "Unrecognized request URL",
    "issuing_transaction.created": "does not perform",
    "payment_intent.processing": "unknown parameter",
    "promotion_code.created": "Missing required param: promotion",
    "setup_intent.requires_action": "No such payment method",
}


@pytest.fixture
def cli(stripe_cli: Callable[..., Any], sandbox: Sandbox) -> Callable[..., Any]:
    """Runs the CLI against the empty account; what it prints as JSON."""

    def run(*arguments: str) -> Any:
        done = stripe_cli(sandbox.url, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


def test_objects_are_posted_got_listed_and_deleted(cli: Callable[..., Any]) -> None:
    made = [cli("post", "/v1/customers", "-d", f"name=Zoë {n}", "-d", "metadata[a]=1") for n in range(3)]
    ids = [each["id"] for each in made]
    first = cli("get", "/v1/customers", "--limit", "2")
    assert ([each["id"] for each in first["data"]], first["has_more"]) == ([ids[2], ids[1]], True)
    rest = cli("get", "/v1/customers", "--limit", "2", "--starting-after", ids[1])
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == ([ids[0]], False)
    assert cli("get", ids[0]) == made[0]
    assert cli("delete", f"/v1/customers/{ids[0]}", "--confirm")["deleted"] is True
    assert cli("get", f"/v1/customers/{ids[0]}")["deleted"] is True


def test_resource_commands_and_expansions(cli: Callable[..., Any]) -> None:
    customer = cli("customers", "create", "--name", "A", "--payment-method", "pm_card_visa")
    arguments = ("--amount", "900", "--currency", "eur", "--customer", customer["id"])
    intent = cli("payment_intents", "create", *arguments, "-d", "confirm=true", "-d", "payment_method=pm_card_visa")
    assert intent["status"] == "succeeded"
    charge = cli("charges", "list", "--limit", "1", "-e", "data.customer")["data"][0]
    assert charge["customer"]["id"] == customer["id"]
    kinds = [each["type"] for each in cli("events", "list", "--limit", "100")["data"]]
    assert {"customer.created", "charge.succeeded", "payment_intent.succeeded"} <= set(kinds)


def test_an_idempotency_key_creates_one_object(cli: Callable[..., Any]) -> None:
    made = [cli("post", "/v1/customers", "-d", "name=A", "-i", "once") for _ in range(2)]
    assert made[0] == made[1]
    assert len(cli("get", "/v1/customers")["data"]) == 1


def test_an_error_is_shown_in_stripes_form(cli: Callable[..., Any]) -> None:
    assert cli("get", "/v1/customers/cus_none")["error"]["code"] == "resource_missing"
    assert cli("get", "/v1/customers/search", "-d", "query=x")["error"]["code"] == "sandbox_unsupported"


@pytest.mark.parametrize("kind", TRIGGERED)
def test_a_fixture_brings_its_event_about(
    stripe_cli: Callable[..., Any], sandbox: Sandbox, http: Http, kind: str
) -> None:
    done = stripe_cli(sandbox.url, "trigger", kind)
    assert done.returncode == 0, done.stdout + done.stderr
    assert kind in {each["type"] for each in http.pages("/v1/events", {"limit": 100})}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_fixture_that_the_sandbox_cannot_follow_is_refused_with_a_reason(
    stripe_cli: Callable[..., Any], sandbox: Sandbox, kind: str
) -> None:
    done = stripe_cli(sandbox.url, "trigger", kind)
    assert done.returncode == 1
    assert REFUSED[kind] in done.stdout + done.stderr
