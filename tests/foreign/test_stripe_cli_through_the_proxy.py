"""The official Stripe CLI, through the proxy and not, prints the same; and what it was shown is in Postgres."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from library_walk import OF_THE_REQUEST
from shown import Tables, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stripe_sandbox.sandbox import Sandbox

TRIGGERED = (
    "charge.failed", "charge.refunded", "coupon.deleted", "credit_note.voided", "customer.created", "customer.deleted",
    "customer.subscription.created", "customer.subscription.deleted", "invoice.paid", "invoice.voided",
    "payment_intent.payment_failed", "payment_link.created", "payment_method.attached", "plan.deleted",
    "price.updated", "product.deleted", "quote.accepted", "subscription_schedule.canceled", "tax_rate.updated",
)  # fmt: skip


class Cli:
    """Runs the CLI at both accounts, whose clocks go on in between, as it takes its time."""

    def __init__(self, run: Callable[..., Any], sandboxes: Sequence[Sandbox], front: str, tables: Tables) -> None:
        self._run, self._sandboxes, self._tables = run, sandboxes, tables
        self._where = (sandboxes[0].url, front)

    def __call__(self, *arguments: str) -> Any:
        for sandbox in self._sandboxes:
            sandbox.run(lambda sandbox=sandbox: sandbox.account.clock.advance(10))
        one, other = (self._run(where, *arguments) for where in self._where)
        printed = [(each.returncode, OF_THE_REQUEST.sub("", each.stdout), each.stderr) for each in (one, other)]
        assert printed[0] == printed[1], arguments
        if not other.stdout.startswith("{"):
            return other.stdout
        body = json.loads(other.stdout, parse_float=Decimal)
        told = [] if "error" in body else list(shown(body))
        assert [found for each in told for found in self._tables.differences(each)] == []
        return body


@pytest.fixture
def front(sandbox: Sandbox, claim: Callable[..., Any], make_proxy: Callable[..., str]) -> str:
    """The proxy's address. The CLI drops the path of what it is given."""
    claim(sandbox.account.id)
    return make_proxy(sandbox)


@pytest.fixture
def cli(
    make_sandbox: Callable[..., Sandbox], sandbox: Sandbox, front: str, stripe_cli: Callable[..., Any], connection: Any
) -> Cli:
    """The CLI at an empty account, and through the proxy at another one."""
    return Cli(stripe_cli, (make_sandbox(), sandbox), front, Tables(sandbox, connection))


def test_requests_and_resource_commands_print_the_same(cli: Cli) -> None:
    made = [cli("post", "/v1/customers", "-d", f"name=Zoë {n}", "-d", "metadata[a]=1", "-i", f"k{n}") for n in range(3)]
    assert cli("post", "/v1/customers", "-d", "name=Zoë 0", "-d", "metadata[a]=1", "-i", "k0") == made[0]
    first = cli("get", "/v1/customers", "--limit", "2")
    assert len(first["data"]) == 2
    assert len(cli("get", "/v1/customers", "--starting-after", first["data"][1]["id"])["data"]) == 1
    assert cli("get", made[0]["id"]) == made[0]
    assert cli("delete", f"/v1/customers/{made[0]['id']}", "--confirm")["deleted"] is True
    assert cli("get", f"/v1/customers/{made[0]['id']}")["deleted"] is True
    customer = cli("customers", "create", "--name", "A", "--payment-method", "pm_card_visa")["id"]
    arguments = ("--amount", "900", "--currency", "eur", "--customer", customer)
    cli("payment_intents", "create", *arguments, "-d", "confirm=true", "-d", "payment_method=pm_card_visa")
    charge = cli("charges", "list", "--limit", "1", "-e", "data.customer")["data"][0]
    assert charge["customer"]["id"] == customer
    cli("refunds", "create", "--charge", charge["id"])
    assert cli("customers", "list", "--limit", "3")["data"][0]["id"] == customer
    assert cli("events", "list", "--limit", "100")["data"]
    declined = ("-d", "confirm=true", "-d", "payment_method=pm_card_chargeDeclined")
    assert cli("payment_intents", "create", *arguments, *declined)["error"]["code"] == "card_declined"
    for refused in (
        ("get", "/v1/customers/cus_none"),
        ("get", "/v1/customers/search", "-d", "query=x"),
        ("post", "/v1/customers", "-d", "nonsense=1"),
        ("customers", "list", "--stripe-account", "acct_other"),
        ("get", "/v1/customers", "--stripe-version", "2020"),
    ):
        assert "error" in cli(*refused)
    assert cli("get", "/v1/customers", "--stripe-version", "2020-08-27")["data"]


@pytest.mark.parametrize("kind", TRIGGERED)
def test_a_fixture_brings_its_event_about_and_what_it_made_are_rows(
    stripe_cli: Callable[..., Any], sandbox: Sandbox, front: str, connection: Any, kind: str
) -> None:
    done = stripe_cli(front, "trigger", kind)
    assert done.returncode == 0, done.stdout + done.stderr
    store = sandbox.account.store
    assert kind in {each.body["type"] for each in store.table("event")}
    for name in ("coupon", "customer", "payment_link", "price", "quote", "subscription", "tax_rate"):
        there = {record.key for record in store.table(name) if not record.facts.get("inline")}
        query = f"SELECT id FROM stripe.{name} WHERE _sdc_deleted_at IS NULL"
        assert not there or {key for (key,) in connection.execute(query)} >= there
