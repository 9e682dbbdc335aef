"""The ``demo`` account: a coffee roaster that sells subscriptions, over a year and a half, day by day.

Everything happens through the same rules as requests do, on a clock that is moved from day to day, so amounts add up:
an invoice is the sum of its lines, a charge pays an invoice, a payout is the sum of what it pays out. Days go on from
a saved state the same way.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox import billing, catalog, customers, invoices, payment_methods, payments
from stripe_sandbox.filters import EVENT_RETENTION_SECONDS
from stripe_sandbox.occurrences import catch_up, open_books
from stripe_sandbox.seeding import add_singletons
from stripe_sandbox.shapes import Generator, cyclic_types

if TYPE_CHECKING:
    from random import Random

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Body, Record

DAY: Final = 86_400
HISTORY_DAYS: Final = 540
WELCOME_PERCENT: Final = 10
MISSING_PRODUCTS: Final = frozenset({"climate", "forwarding", "identity", "issuing", "sigma", "treasury"})
_OPENING_HOUR: Final = 6 * 3600
_CURRENCY: Final = "eur"
_CITIES: Final = ("Aachen", "Bremen", "Dresden", "Erfurt", "Freiburg", "Graz", "Köln", "Linz", "Lübeck", "Zürich")
_KINDS: Final = ("Bistro", "Büro", "Café", "Espressobar", "Hotel", "Konditorei", "Praxis", "Werkstatt")
_FORMS: Final = ("GmbH", "OHG", "e.K.", "AG", "UG")
_CATALOG: Final = (
    # name, price in cents, interval, how many of a hundred new subscribers take it
    ("Espresso Box, 1 kg", 2_490, "month", 38),
    ("Filter Box, 1 kg", 2_290, "month", 27),
    ("Office Box, 5 kg", 10_900, "month", 25),
    ("Taster Year", 24_900, "year", 10),
)
_SHOP: Final = (("Hand grinder", 8_900), ("Pour-over kettle", 5_400), ("Filter papers", 790))
_PER_MILLE_A_DAY: Final = MappingProxyType(
    {
        "cancel": 1.2,
        "quantity": 1.0,
        "refund": 12,
        "dispute": 2.5,
        "shop": 250,
        "service": 60,
        "credit": 25,
    }
)
_SHARES: Final = MappingProxyType(
    {
        "has_tax_id": 0.3,
        "leaves_at_period_end": 0.7,
        "new_card": 0.15,  # a day, while a payment fails
        "partner_discount": 0.05,
        "refund_is_whole": 0.6,
        "trial": 0.1,
        "visa": 0.6,
        "weak_card": 0.05,  # fails from the second payment on
        "welcome_discount": 0.15,
    }
)
_WORTH_CREDITING: Final = 2_000
_SIGN_UPS: Final = (0.12, 0.75)  # a day, at the beginning and at the end


class Business:
    """Lets days happen in an account, up to a moment that the account's clock does not pass."""

    def __init__(self, account: Account, *, until: int) -> None:
        self._account = account
        self._random: Random = account.random
        self._until = until

    def day(self, *, growth: float = 1.0) -> None:
        """One day's business at the account's present moment; ``growth`` is 0 at the beginning and 1 today."""
        low, high = _SIGN_UPS
        for _ in range(_times(self._random, low + (high - low) * growth)):
            self._sign_up()
        self._change_subscriptions()
        self._sell()
        self._serve()
        self._complain()
        self._collect_again()

    def _happens(self, name: str) -> bool:
        return self._random.random() < _SHARES[name]

    def _pass_time(self) -> None:
        """Not everything happens in one second, and meanwhile what is due happens."""
        clock = self._account.clock
        clock.stop_at(min(clock.now() + self._random.randint(20, 1200), self._until))
        catch_up(self._account)

    def _sign_up(self) -> None:
        account, random = self._account, self._random
        self._pass_time()
        number = len(account.store.table("customer").records) + 1
        city = random.choice(_CITIES)
        params: dict[str, Any] = {
            "name": f"{random.choice(_KINDS)} {number} {random.choice(_FORMS)}",
            "email": f"kunde{number}@example.com",
            "address": {
                "city": city,
                "country": "DE",
                "line1": f"Marktstraße {random.randint(1, 180)}",
                "postal_code": f"{random.randint(10_000, 99_999)}",
            },
            "metadata": {"channel": random.choice(("fair", "search", "word_of_mouth"))},
        }
        customer = customers.create_customer(account, {}, params)
        weak = self._happens("weak_card")
        card = "visa" if weak or self._happens("visa") else "mastercard"
        details = {**_details(customer.body)}
        method = payment_methods.new_card_method(account, card, {"billing_details": details})
        payment_methods.attach(account, method, customer)
        settings = {**customer.body["invoice_settings"], "default_payment_method": method.key}
        account.change(customer, {"invoice_settings": settings})
        if self._happens("has_tax_id"):
            tax = {"type": "eu_vat", "value": f"DE{random.randint(10**8, 10**9 - 1)}"}
            customers.create_tax_id(account, {"customer": customer.key}, tax)
        self._subscribe(customer)
        if weak:
            method.facts["decline_code"] = "insufficient_funds"

    def _subscribe(self, customer: Record) -> None:
        account, random = self._account, self._random
        product = random.choices(range(len(_CATALOG)), weights=[row[3] for row in _CATALOG])[0]
        params: dict[str, Any] = {
            "customer": customer.key,
            "items": [{"price": self._price(f"plan_{product}"), "quantity": str(random.choice((1, 1, 1, 2, 3)))}],
            "default_tax_rates": [self._tax_rate()],
            "metadata": {"grind": random.choice(("beans", "espresso", "filter"))},
        }
        if self._happens("welcome_discount"):
            params["discounts"] = [{"coupon": "WELCOME10"}]
        elif self._happens("partner_discount"):
            params["discounts"] = [{"coupon": "PARTNER15"}]
        elif self._happens("trial"):
            params["trial_period_days"] = "14"
        billing.create_subscription(account, {}, params)

    def _change_subscriptions(self) -> None:
        account, random = self._account, self._random
        for subscription in self._live_subscriptions():
            chance = random.random() * 1000
            if chance < _PER_MILLE_A_DAY["cancel"] + _PER_MILLE_A_DAY["quantity"]:
                self._pass_time()
            if chance < _PER_MILLE_A_DAY["cancel"]:
                path = {"subscription_exposed_id": subscription.key}
                if self._happens("leaves_at_period_end"):
                    billing.change_subscription(account, path, {"cancel_at_period_end": "true"})
                else:
                    billing.cancel_by_request(account, path, {"cancellation_details": {"feedback": "too_expensive"}})
            elif chance < _PER_MILLE_A_DAY["cancel"] + _PER_MILLE_A_DAY["quantity"]:
                item = account.store.linked("subscription_item", "subscription", subscription.key)[0]
                params = {"quantity": str((item.body["quantity"] or 1) + 1), "proration_behavior": "none"}
                billing.change_subscription_item(account, {"item": item.key}, params)

    def _sell(self) -> None:
        """Now and then a customer buys a thing from the shop, once."""
        account, random = self._account, self._random
        methods = list(account.store.table("payment_method").records.values())
        for _ in range(_times(random, _PER_MILLE_A_DAY["shop"] / 1000)):
            if not methods:
                return
            method = random.choice(methods)
            if method.body["customer"] is None or method.facts.get("decline_code"):
                continue
            self._pass_time()
            name, amount = random.choice(_SHOP)
            values = {"amount": amount, "currency": _CURRENCY, "customer": method.body["customer"], "description": name}
            payments.pay(account, payments.new_intent(account, values, method))

    def _serve(self) -> None:
        """Machines are serviced, and billed with the next invoice; now and then a paid invoice is credited in part."""
        account, random = self._account, self._random
        for _ in range(_times(random, _PER_MILLE_A_DAY["service"] / 1000)):
            live = self._live_subscriptions()
            if live:
                self._pass_time()
                customer = catalog.existing(account, "customer", random.choice(live).body["customer"])
                item = {"amount": "4900", "currency": _CURRENCY, "description": "Machine service"}
                invoices.new_item(account, customer, item, None)
        for _ in range(_times(random, _PER_MILLE_A_DAY["credit"] / 1000)):
            paid = [
                i for i in account.store.table("invoice").records.values() if i.body["amount_paid"] >= _WORTH_CREDITING
            ]
            if paid:
                self._pass_time()
                credit = {
                    "invoice": random.choice(paid).key,
                    "amount": "500",
                    "credit_amount": "500",
                    "reason": "order_change",
                }
                invoices.create_credit_note(account, {}, credit)

    def _complain(self) -> None:
        """Refunds and disputes of what was charged lately."""
        account, random = self._account, self._random
        recent = self._recent_charges()
        for charge in recent:
            chance = random.random() * 1000 * 10  # each charge is looked at on about ten days
            if chance < _PER_MILLE_A_DAY["refund"]:
                part = charge.body["amount"] if self._happens("refund_is_whole") else charge.body["amount"] // 2
                payments.refund(account, charge, part, {"reason": "requested_by_customer"})
            elif chance < _PER_MILLE_A_DAY["refund"] + _PER_MILLE_A_DAY["dispute"]:
                payments.open_dispute(account, charge, random.choice(("fraudulent", "product_not_received")))
        for dispute in account.store.table("dispute").records.values():
            if dispute.body["status"] == "needs_response" and dispute.created < account.now() - 21 * DAY:
                payments.close_dispute(account, {"dispute": dispute.key}, {})

    def _collect_again(self) -> None:
        """Invoices whose payment failed are tried again; some customers bring a new card, some are given up."""
        account = self._account
        for subscription in self._live_subscriptions():
            if subscription.body["status"] != "past_due":
                continue
            invoice = account.store.get("invoice", subscription.body["latest_invoice"] or "")
            if invoice is None or invoice.body["status"] != "open":
                continue
            if self._happens("new_card"):
                for method in account.store.linked("payment_method", "customer", subscription.body["customer"]):
                    method.facts.pop("decline_code", None)
                invoices.pay_invoice(account, invoice)
                account.change(subscription, {"status": "active"})
            elif invoice.created < account.now() - 21 * DAY:
                invoices.mark_uncollectible(account, {"invoice": invoice.key}, {})
                billing.end_subscription(account, subscription, {"reason": "payment_failed"})

    def _live_subscriptions(self) -> list[Record]:
        table = self._account.store.table("subscription").records
        return [subscription for subscription in table.values() if subscription.body["status"] not in billing.ENDED]

    def _recent_charges(self) -> list[Record]:
        """Charges of the last ten days that are still whole."""
        store, since = self._account.store, self._account.now() - 10 * DAY
        candidates = store.candidates("charge")
        positions = range(candidates.first_created_from(since), len(candidates))
        charges = [record for position in positions if (record := candidates.record(position)) is not None]
        return [c for c in charges if c.body["paid"] and not c.body["disputed"] and c.body["amount_refunded"] == 0]

    def _price(self, lookup_key: str) -> str:
        table = self._account.store.table("price").records
        return next(price.key for price in table.values() if price.body["lookup_key"] == lookup_key)

    def _tax_rate(self) -> str:
        return next(iter(self._account.store.table("tax_rate").records))


def open_business(
    account: Account, *, until: int, days: int = HISTORY_DAYS, welcome_percent: int = WELCOME_PERCENT
) -> None:
    """Fill an empty account with the history of some days up to ``until`` (seconds since the epoch).

    Events are kept of the last thirty days only, as at Stripe. ``welcome_percent`` is what new subscribers get off.
    """
    start = until - until % DAY - days * DAY + _OPENING_HOUR
    account.announces_from = until - EVENT_RETENTION_SECONDS
    account.clock.stop_at(start)
    open_books(account)
    _set_up(account, welcome_percent)
    business = Business(account, until=until)
    for number in range(days + 1):
        moment = start + number * DAY
        if moment > until:
            break
        account.clock.stop_at(moment)
        catch_up(account)
        business.day(growth=number / days)
    account.clock.stop_at(until)
    catch_up(account)


def go_on(account: Account, *, since: int, until: int) -> None:
    """The days between two moments, and one day's business at the end in any case, so that something is new."""
    business = Business(account, until=until)
    for moment in range(since + DAY, until, DAY):
        account.clock.stop_at(moment)
        catch_up(account)
        business.day()
    account.clock.stop_at(until)
    catch_up(account)
    business.day()
    account.forget_old_events()


def _set_up(account: Account, welcome_percent: int) -> None:
    generator = Generator(
        lambda _types, _random: None, now=account.now(), livemode=account.livemode, cyclic=cyclic_types(account.spec)
    )
    add_singletons(account, generator, account.random)
    bank = {
        "account": account.id,
        "country": "DE",
        "currency": _CURRENCY,
        "last4": "3000",
        "status": "verified",
        "bank_name": "STRIPE TEST BANK",
    }
    account.create("bank_account", bank, verb=None)
    payments.show_balance(account)
    catalog.create_coupon(
        account,
        {},
        {"id": "WELCOME10", "percent_off": str(welcome_percent), "duration": "once", "name": "Welcome"},
    )
    catalog.create_coupon(
        account, {}, {"id": "PARTNER15", "percent_off": "15", "duration": "forever", "name": "Partners"}
    )
    catalog.create_promotion_code(
        account, {}, {"promotion": {"type": "coupon", "coupon": "WELCOME10"}, "code": "HELLO"}
    )
    account.create(
        "tax_rate",
        {
            "active": True,
            "country": "DE",
            "display_name": "USt.",
            "effective_percentage": 7.0,
            "inclusive": False,
            "metadata": {},
            "percentage": 7.0,
            "rate_type": "percentage",
            "tax_type": "vat",
        },
    )
    for number, (name, amount, interval, _) in enumerate(_CATALOG):
        product = catalog.create_product(account, {}, {"name": name})
        price = {
            "product": product.key,
            "currency": _CURRENCY,
            "unit_amount": str(amount),
            "lookup_key": f"plan_{number}",
            "recurring": {"interval": interval},
        }
        catalog.create_price(account, {}, price)
    for name, amount in _SHOP:
        catalog.create_product(
            account, {}, {"name": name, "default_price_data": {"currency": _CURRENCY, "unit_amount": str(amount)}}
        )


def _details(customer: Body) -> Body:
    return {
        "address": customer["address"],
        "email": customer["email"],
        "name": customer["name"],
        "phone": None,
        "tax_id": None,
    }


def _times(random: Random, expected: float) -> int:
    """How often something happens that happens ``expected`` times on average."""
    return int(expected) + (random.random() < expected % 1)
