"""The ``full`` account: objects of every type that the API can list, from their shapes and a seed.

First every object gets its id and its parents, then its body: whatever an object points at is there. ``_FAMILIES`` says
how many children parents have (the first one more than an embedded list shows), ``refinements`` what a shape cannot
know. Unlike in the ``demo`` account, amounts here do not add up; they are awkward on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.entitlements import summary
from stripe_sandbox.ids import token
from stripe_sandbox.refinements import Draft, refine
from stripe_sandbox.shapes import Generator, cyclic_types

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Body

_DAY: Final = 86_400
_CLOCK_CUSTOMERS: Final = 3
_POOL: Final = 12  # objects of a type that nothing else says the number of
_POOLS: Final = MappingProxyType(
    {
        "charge": 201,
        "customer": 101,
        "payment_intent": 201,
        "product": 100,
        "price": 101,
        "coupon": 99,
        "invoice": 40,
        "subscription": 30,
        "file": 20,
    }
)
_NATURAL_IDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "capability": ("card_payments", "transfers", "sepa_debit_payments"),
        "country_spec": ("AT", "BR", "DE", "IE", "JP", "US"),
        "exchange_rate": ("brl", "chf", "eur", "gbp", "jpy", "kwd", "usd"),
        "reporting.report_type": ("balance.summary.1", "balance_change_from_activity.itemized.6", "payouts.summary.1"),
        "tax_code": ("txcd_10000000", "txcd_20030000", "txcd_99999999"),
        "climate.product": ("climsku_frontier_offtake_portfolio_2027", "climsku_biomass_2029"),
    }
)


@dataclass(frozen=True, kw_only=True)
class _Family:
    """Children of a type below parents: how many the first parent has, and then in turn up to the ``last`` parent."""

    child: str
    link: str
    parent: str
    first: int = 3
    others: tuple[int, ...] = (0, 1, 2)
    last: int | None = None


_FAMILIES: Final = (
    _Family(child="bank_account", link="account", parent="account", first=2, others=(1, 0)),
    _Family(child="bank_account", link="customer", parent="customer", first=2, others=(0, 0, 0, 1)),
    _Family(child="billing.credit_balance_transaction", link="credit_grant", parent="billing.credit_grant"),
    _Family(child="billing.meter_event_summary", link="meter", parent="billing.meter"),
    _Family(child="capability", link="account", parent="account", others=(3,)),
    _Family(child="card", link="account", parent="account", first=1, others=(0, 1)),
    _Family(child="card", link="customer", parent="customer", first=12, others=(0, 1, 0, 2)),
    _Family(child="credit_note_line_item", link="credit_note", parent="credit_note", first=12, others=(1, 2)),
    _Family(child="customer_balance_transaction", link="customer", parent="customer", first=13, others=(0, 0, 1)),
    _Family(
        child="customer_cash_balance_transaction", link="customer", parent="customer", first=11, others=(0, 0, 0, 1)
    ),
    _Family(
        child="entitlements.active_entitlement", link="customer", parent="customer", first=3, others=(0, 1), last=20
    ),
    _Family(child="fee_refund", link="fee", parent="application_fee", first=12, others=(0, 1)),
    _Family(child="file_link", link="file", parent="file", first=12, others=(0, 1)),
    _Family(
        child="financial_connections.account_owner", link="financial_account", parent="financial_connections.account"
    ),
    _Family(child="financial_connections.transaction", link="account", parent="financial_connections.account"),
    _Family(child="invoice_payment", link="invoice", parent="invoice", first=2, others=(1,)),
    _Family(child="issuing.token", link="card", parent="issuing.card"),
    _Family(child="item", link="checkout_session", parent="checkout.session", first=25, others=(1, 2)),
    _Family(child="item", link="payment_link", parent="payment_link", first=11, others=(1, 2)),
    _Family(child="item", link="quote", parent="quote", first=12, others=(1, 2)),
    _Family(child="item", link="quote_upfront", parent="quote", first=12, others=(0, 1)),
    _Family(child="line_item", link="invoice", parent="invoice", first=25, others=(1, 2, 3)),
    _Family(child="payment_attempt_record", link="payment_record", parent="payment_record"),
    _Family(
        child="payment_intent_amount_details_line_item",
        link="payment_intent",
        parent="payment_intent",
        first=12,
        others=(0, 0, 1),
    ),
    _Family(child="payment_method", link="customer", parent="customer", first=11, others=(1, 0, 2)),
    _Family(child="person", link="account", parent="account"),
    _Family(child="product_feature", link="product", parent="product", first=11, others=(0, 0, 1)),
    _Family(child="radar.value_list_item", link="value_list", parent="radar.value_list", first=12, others=(1, 2)),
    _Family(child="refund", link="charge", parent="charge", first=12, others=(0, 0, 0, 1)),
    _Family(child="setup_attempt", link="setup_intent", parent="setup_intent"),
    _Family(child="source", link="customer", parent="customer", first=1, others=(0, 0, 1)),
    _Family(child="source_transaction", link="source", parent="source"),
    _Family(child="subscription_item", link="subscription", parent="subscription", first=21, others=(1, 1, 2)),
    _Family(child="tax.calculation_line_item", link="calculation", parent="tax.calculation", first=12),
    _Family(child="tax.transaction_line_item", link="transaction", parent="tax.transaction", first=12),
    _Family(child="tax_id", link="customer", parent="customer", first=12, others=(0, 0, 1)),
    _Family(child="transfer_reversal", link="transfer", parent="transfer", first=12, others=(0, 1)),
    _Family(child="treasury.credit_reversal", link="financial_account", parent="treasury.financial_account"),
    _Family(child="treasury.debit_reversal", link="financial_account", parent="treasury.financial_account"),
    _Family(child="treasury.inbound_transfer", link="financial_account", parent="treasury.financial_account"),
    _Family(child="treasury.outbound_payment", link="financial_account", parent="treasury.financial_account"),
    _Family(child="treasury.outbound_transfer", link="financial_account", parent="treasury.financial_account"),
    _Family(child="treasury.received_credit", link="financial_account", parent="treasury.financial_account"),
    _Family(child="treasury.received_debit", link="financial_account", parent="treasury.financial_account"),
    _Family(child="treasury.transaction", link="financial_account", parent="treasury.financial_account"),
    _Family(child="treasury.transaction_entry", link="transaction", parent="treasury.transaction"),
)
_OWN: Final = ("account", "balance", "balance_settings", "tax.settings", "cash_balance", "event")
_MADE_ON_REQUEST: Final = frozenset(
    {
        # Answers to single requests; nothing keeps them.
        "account_link",
        "account_session",
        "billing.alert_triggered",
        "billing.credit_balance_summary",
        "billing.meter_event",
        "billing.meter_event_adjustment",
        "customer_session",
        "entitlements.active_entitlement_summary",
        "ephemeral_key",
        "funding_instructions",
        "login_link",
        "terminal.connection_token",
        "terminal.onboarding_link",
        "treasury.financial_account_features",
    }
)


@dataclass(kw_only=True)
class _Seed:
    """An object to be: its type, id and what is already known of it."""

    object: str
    id: str
    number: int  # its place among those of its type and family
    links: dict[str, str] = field(default_factory=dict)


def seed_full(
    account: Account, *, scale: int = 1, most: int | None = None, accounts: Sequence[str] | None = None
) -> None:
    """Fill an account with objects of every type.

    Args:
        account: An empty one.
        scale: Multiplies the pools that are no one's children.
        most: The most of these of one type; at least 4.
        accounts: The ids of the ``account`` objects, at least one; None makes some up that nobody can act for.
            A connected account, which is no platform, has only itself.
    """
    random = Random(token(account.seed, "full"))
    seeds = _seeds(account, scale, most, (account.id,) if account.is_connected else accounts)
    ids: dict[str, list[str]] = {}
    for seed in seeds:
        ids.setdefault(seed.object, []).append(seed.id)
    clocks = ids["test_helpers.test_clock"]
    clock_customers = [ids["customer"].pop() for _ in range(_CLOCK_CUSTOMERS)]

    def references(types: tuple[str, ...], chooser: Random) -> str | None:
        known = [name for name in types if name in ids]
        return chooser.choice(ids[chooser.choice(known)]) if known else None

    generator = Generator(references, now=account.now(), livemode=account.livemode, cyclic=cyclic_types(account.spec))
    for seed in seeds:
        if seed.id == account.id:
            continue  # itself is among the singletons
        fields = account.spec.fields(seed.object)
        body = generator.body(seed.object, fields, random)
        if "id" in fields:
            body["id"] = seed.id
        if "created" in fields:
            body["created"] = _created(account, seed)
        facts = {name: value for name, value in seed.links.items() if name not in fields}
        body.update({name: value for name, value in seed.links.items() if name in fields})
        if "test_clock" in fields:
            body["test_clock"] = None
        refine(
            Draft(
                account=account,
                object=seed.object,
                id=seed.id,
                number=seed.number,
                links=seed.links,
                body=body,
                facts=facts,
                ids=ids,
                clock_customers=clock_customers,
            )
        )
        if seed.id in clock_customers:
            body["test_clock"] = clocks[seed.number % len(clocks)]
        account.add(seed.object, body, facts=facts)
    add_singletons(account, generator, random)
    _give_discounts(account)
    _reconcile(account)
    _seed_events(account, random)


def own_objects(account: Account) -> None:
    """What even an empty account has: itself, its balance and settings."""
    generator = Generator(
        lambda _types, _random: None, now=account.now(), livemode=account.livemode, cyclic=cyclic_types(account.spec)
    )
    add_singletons(account, generator, account.random)


def add_singletons(account: Account, generator: Generator, random: Random) -> None:
    """The account's own objects: itself, its balance and settings."""
    spec = account.spec
    for name in ("balance", "balance_settings", "tax.settings"):
        account.add(name, generator.body(name, spec.fields(name), random))
    own = generator.body("account", spec.fields("account"), random)
    account.add(
        "account",
        {
            **own,
            "id": account.id,
            "created": account.now() - 3 * 365 * _DAY,
            "type": "standard",
            "country": "DE",
            "default_currency": "eur",
        },
    )


def _seeds(account: Account, scale: int, most: int | None, accounts: Sequence[str] | None) -> list[_Seed]:
    """Every object's id and links, parents before children."""
    seeds: dict[str, list[_Seed]] = {}
    children = {family.child for family in _FAMILIES}
    for name in sorted(account.spec.objects):
        has_id = "id" in account.spec.fields(name)
        if name in _OWN[1:] or name in _MADE_ON_REQUEST or not has_id:
            continue
        if name in _NATURAL_IDS and name not in children:
            seeds[name] = [_Seed(object=name, id=key, number=number) for number, key in enumerate(_NATURAL_IDS[name])]
        elif name == "account" and accounts is not None:
            seeds[name] = [_Seed(object=name, id=key, number=number) for number, key in enumerate(accounts)]
        elif name not in children or name in ("payment_method", "source", "tax_id"):
            count = 4 if name in children else _POOLS.get(name, _POOL) * scale
            count = count if most is None else min(count, most)
            seeds[name] = [_Seed(object=name, id=_new_id(account, name, n), number=n) for n in range(count)]
    for family in sorted(_FAMILIES, key=lambda f: (f.parent in children, f.child, f.link)):
        for position, parent in enumerate(seeds[family.parent][: family.last]):
            for number in range(family.first if position == 0 else family.others[position % len(family.others)]):
                natural = _NATURAL_IDS.get(family.child, ())
                key = natural[number] if number < len(natural) else _new_id(account, family.child, number)
                links = {family.link: parent.id}
                if family.child == "treasury.transaction_entry":
                    links["financial_account"] = parent.links["financial_account"]
                seeds.setdefault(family.child, []).append(
                    _Seed(object=family.child, id=key, number=number, links=links)
                )
    return [seed for group in seeds.values() for seed in group]


def _new_id(account: Account, name: str, number: int) -> str:
    if name == "coupon":
        return f"COUPON-{number:03}"
    return account.ids.next(name)


def _created(account: Account, seed: _Seed) -> int:
    """Spread over years, with crowds in one second: every third object shares its second with its neighbours."""
    spread = seed.number - seed.number % 3
    return account.now() - 40 * _DAY - spread * 5 * _DAY - len(seed.object) * 3600


def _give_discounts(account: Account) -> None:
    """A customer's discount is nobody else's."""
    given: set[str] = set()
    for customer in account.store.table("customer").records.values():
        key = customer.body["discount"]
        discount = account.store.get("discount", key) if key is not None and key not in given else None
        if discount is None:
            account.change(customer, {"discount": None}, verb=None)
        else:
            given.add(discount.key)
            account.change(discount, {"customer": customer.key}, verb=None)


def _reconcile(account: Account) -> None:
    """What parents say of their children: balances, totals, latest ones, prices and values by which they are found."""
    store = account.store
    for customer in store.table("customer").records.values():
        transactions = store.linked("customer_balance_transaction", "customer", customer.key)
        if transactions:
            transactions[-1].body["ending_balance"] = transactions[-1].body["ending_balance"] or -1
            account.change(customer, {"balance": transactions[-1].body["ending_balance"]}, verb=None)
        if store.linked("customer_cash_balance_transaction", "customer", customer.key):
            cash_balance = store.get("cash_balance", customer.key)
            if cash_balance is not None:
                account.change(cash_balance, {"available": {"eur": 4_200}}, verb=None)
    for subscription in store.table("subscription").records.values():
        items = store.linked("subscription_item", "subscription", subscription.key)
        subscription.facts["prices"] = [item.body["price"] for item in items]
    for value_list in store.table("radar.value_list").records.values():
        items = store.linked("radar.value_list_item", "value_list", value_list.key)
        value_list.facts["values"] = [item.body["value"] for item in items]
    for intent in store.table("setup_intent").records.values():
        attempts = store.linked("setup_attempt", "setup_intent", intent.key)
        account.change(intent, {"latest_attempt": attempts[-1].key if attempts else None}, verb=None)
    for transfer in store.table("transfer").records.values():
        reversed_amount = sum(r.body["amount"] for r in store.linked("transfer_reversal", "transfer", transfer.key))
        account.change(transfer, {"amount_reversed": reversed_amount}, verb=None)
    for charge in store.table("charge").records.values():
        refunded = sum(r.body["amount"] for r in store.linked("refund", "charge", charge.key))
        account.change(charge, {"amount_refunded": refunded}, verb=None)


_ENDED: Final = "customer.subscription.deleted"
"""Said of what is still there."""


def _seed_events(account: Account, random: Random) -> None:
    """One event of every type, over the last month, each with an object that exists (or stood for a moment)."""
    moment = account.now()
    for number, (kind, types) in enumerate(sorted(account.spec.events.items())):
        for body in _event_bodies(account, types, random):
            if kind.endswith(".deleted") and kind != _ENDED and "id" in body:
                body["id"] = account.ids.next(body["object"])  # it stood for a moment: what is there is not deleted
            account.store.put(_event_record(account, kind, body, moment - number // 4 * 8_000))
            break


def _event_bodies(account: Account, types: tuple[str, ...], random: Random) -> Iterator[Body]:
    for name in types:
        records = [account.store.table(name).records[key] for _, _, key in account.store.table(name).order]
        if records:
            yield account.renderer.body(random.choice(records))
    for name in types:
        generator = Generator(lambda _types, _random: None, now=account.now(), livemode=account.livemode)
        yield generator.body(name, account.spec.fields(name), random) | _always_whole(account, name)


def _always_whole(account: Account, name: str) -> Body:
    """What an object that nothing keeps has in it: the alert that was triggered, a customer's entitlements."""
    if name == "billing.alert_triggered":
        return {"alert": account.renderer.body(next(iter(account.store.table("billing.alert"))))}
    if name == "entitlements.active_entitlement_summary":
        return summary(account, next(iter(account.store.table(name.removesuffix("_summary")))).facts["customer"])
    return {}


def _event_record(account: Account, kind: str, body: Body, created: int) -> Any:
    event: Body = {
        "id": account.ids.next("event"),
        "object": "event",
        **({"account": account.id} if account.is_connected else {}),
        "api_version": account.api_version,
        "created": created,
        "data": {"object": body},
        "livemode": account.livemode,
        "pending_webhooks": 0,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }
    if kind.endswith(".updated") and "metadata" in body:
        event["data"]["previous_attributes"] = {"metadata": {"key": "before"}}
    return account.new_record("event", event)
