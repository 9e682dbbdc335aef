"""Rules for subscriptions: their items, renewals, trials, changes and ends; and for schedules and quotes."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.catalog import demand, existing, line_items, line_price, named
from stripe_sandbox.coercion import values_from_params
from stripe_sandbox.customers import give_discount
from stripe_sandbox.entitlements import entitle
from stripe_sandbox.errors import StripeError, wrong_state
from stripe_sandbox.forms import Params, as_dict, as_int, as_list
from stripe_sandbox.invoices import (
    DRAFT_SECONDS,
    add_line,
    add_pending_items,
    draft,
    finalize,
    new_item,
    pay_invoice,
    subscription_parent,
    total_up,
    void_invoice,
)
from stripe_sandbox.payment_methods import payment_method
from stripe_sandbox.periods import add_interval, nth_period

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Body, Record

ENDED: Final = frozenset({"canceled", "incomplete_expired"})
AT_REST: Final = ENDED | {"incomplete", "paused"}  # their periods do not go on
_EXTRAS: Final = frozenset(
    {
        "coupon",
        "default_payment_method",
        "discounts",
        "items",
        "off_session",
        "payment_behavior",
        "promotion_code",
        "proration_behavior",
        "proration_date",
        "trial_end",
        "trial_period_days",
    }
)


def create_subscription(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/subscriptions``: items, the first invoice, and its payment.

    Raises:
        StripeError: 402 where the first payment fails and ``payment_behavior`` is ``error_if_incomplete``.
    """
    demand(params, "customer", "items")
    customer = named(account, "customer", params["customer"], "customer")
    extras = {name: params.pop(name) for name in list(params) if name in _EXTRAS}
    values = values_from_params(account, "subscription", params)
    if "default_payment_method" in extras:
        values["default_payment_method"] = payment_method(
            account, extras["default_payment_method"], "default_payment_method"
        ).key
    wanted = [dict(as_dict("items", item)) for item in as_list("items", extras["items"])]
    prices = [line_price(account, item, f"items[{number}]") for number, item in enumerate(wanted)]
    if any(price.body["recurring"] is None for price in prices):
        raise wrong_state(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`."
        )
    now = account.moment_of(customer)
    trial_end = _trial_end(extras, now)
    subscription = account.create(
        "subscription",
        {
            "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
            "billing_cycle_anchor": trial_end or now,
            "billing_mode": {"flexible": None, "type": "classic", "updated_at": None},
            "cancellation_details": {"comment": None, "feedback": None, "feedback_option": None, "reason": None},
            "collection_method": "charge_automatically",
            "currency": prices[0].body["currency"],
            "customer": customer.key,
            "default_tax_rates": [],
            "metadata": {},
            "start_date": now,
            "status": "trialing" if trial_end else "active",
            "trial_end": trial_end,
            "trial_start": now if trial_end else None,
            **values,
        },
        facts={"prices": [price.key for price in prices]},
        verb=None,
    )
    period = (now, trial_end) if trial_end else nth_period(now, *_interval(prices[0]), now)
    for item, price in zip(wanted, prices, strict=True):
        _new_item(account, subscription, price, item, period)
    _discounts(account, subscription, extras)
    invoice = bill(account, subscription, "subscription_create", period)
    account.announce(subscription, "created")  # it names its first invoice
    if subscription.body["collection_method"] == "charge_automatically" and invoice.body["status"] == "open":
        _first_payment(account, subscription, invoice, extras)
    account.schedule(subscription)
    entitle(account, customer.key)
    return subscription


def bill(account: Account, subscription: Record, reason: str, period: tuple[int, int]) -> Record:
    """Invoice a period of a subscription: a finalised invoice, free while the trial lasts."""
    customer = existing(account, "customer", subscription.body["customer"])
    discounts = [*subscription.body["discounts"], *filter(None, [customer.body["discount"]])]
    sending = subscription.body["collection_method"] == "send_invoice"
    days = subscription.body["days_until_due"] or 0
    now = account.moment_of(subscription)
    waits = reason == "subscription_cycle"
    invoice = draft(
        account,
        customer,
        {
            "auto_advance": waits,
            "automatically_finalizes_at": now + DRAFT_SECONDS if waits else None,
            "billing_reason": reason,
            "collection_method": subscription.body["collection_method"],
            "currency": subscription.body["currency"],
            "default_tax_rates": subscription.body["default_tax_rates"] or [],
            "discounts": [key for key in discounts if _applies(account, key, reason)],
            "due_date": now + days * 86_400 if sending else None,
            "parent": subscription_parent(subscription),
            "period_end": period[0] if waits else now,
            "period_start": now if reason == "subscription_create" else period[0],
        },
    )
    trialing = subscription.body["status"] == "trialing"
    for item in account.store.linked("subscription_item", "subscription", subscription.key):
        _bill_item(account, invoice, item, period, free=trialing)
    add_pending_items(account, invoice)
    total_up(account, invoice)
    account.announce(invoice, "created")
    if reason == "subscription_create":
        finalize(account, invoice)
    account.change(subscription, {"latest_invoice": invoice.key}, verb=None)
    account.schedule(invoice)
    return invoice


def renew(account: Account, subscription: Record) -> None:
    """The current period is over: end, or begin the next one and make a draft for it, which is open in an hour."""
    if subscription.body["cancel_at_period_end"]:
        end_subscription(account, subscription)
        return
    items = account.store.linked("subscription_item", "subscription", subscription.key)
    boundary = items[0].body["current_period_end"]
    interval = interval_of(account, subscription)
    period = nth_period(subscription.body["billing_cycle_anchor"], *interval, boundary)
    previous = {
        "items": account.renderer.body(subscription)["items"],
        "latest_invoice": subscription.body["latest_invoice"],
    }
    for item in items:
        account.change(item, {"current_period_end": period[1], "current_period_start": period[0]}, verb=None)
        account.schedule(item)
    if subscription.body["status"] == "trialing":
        previous["status"] = "trialing"
        account.change(subscription, {"status": "active"}, verb=None)
    bill(account, subscription, "subscription_cycle", period)
    account.announce(subscription, "updated", previous=previous)


def interval_of(account: Account, subscription: Record) -> tuple[str, int]:
    """How long a subscription's periods are: of its first item, in days, weeks, months or years."""
    items = account.store.linked("subscription_item", "subscription", subscription.key)
    price = account.store.last_known("price", items[0].body["price"]) if items else None
    return _interval(price) if price is not None else ("month", 1)


def give_up(account: Account, subscription: Record) -> None:
    """Nobody made the first payment in time: its invoice is void and the subscription has expired."""
    invoice = account.store.get("invoice", subscription.body["latest_invoice"] or "")
    if invoice is not None and invoice.body["status"] == "open":
        void_invoice(account, {"invoice": invoice.key}, {})
    account.change(subscription, {"ended_at": account.moment_of(subscription), "status": "incomplete_expired"})
    entitle(account, subscription.body["customer"])


def period_end(account: Account, subscription: Record) -> int | None:
    """When the current period ends, seconds since the epoch; None for a subscription without items."""
    items = account.store.linked("subscription_item", "subscription", subscription.key)
    return items[0].body["current_period_end"] if items else None


def end_subscription(account: Account, subscription: Record, details: Body | None = None) -> Record:
    """Cancel now. The event is called deleted; the subscription stays."""
    if subscription.body["status"] in ENDED:
        raise StripeError(404, f"No such subscription: '{subscription.key}'", code="resource_missing", param="id")
    now = account.moment_of(subscription)
    reason = {**subscription.body["cancellation_details"], "reason": "cancellation_requested", **(details or {})}
    values = {
        "cancel_at_period_end": False,
        "canceled_at": subscription.body["canceled_at"] or now,
        "cancellation_details": reason,
        "ended_at": now,
        "status": "canceled",
    }
    account.change(subscription, values, verb=None)
    account.announce(subscription, "deleted")
    entitle(account, subscription.body["customer"])
    return subscription


def change_subscription(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/subscriptions/{id}``: fields, items (changed, added, deleted), discounts, trial."""
    subscription = existing(account, "subscription", path["subscription_exposed_id"], "id")
    if subscription.body["status"] in ENDED:
        raise wrong_state("A canceled subscription can only update its cancellation_details and metadata.")
    extras = {name: params.pop(name) for name in list(params) if name in _EXTRAS}
    values = values_from_params(account, "subscription", params, subscription.body)
    if "default_payment_method" in extras:
        values["default_payment_method"] = payment_method(
            account, extras["default_payment_method"], "default_payment_method"
        ).key
    if values.get("cancel_at_period_end"):
        values["cancel_at"] = period_end(account, subscription)
        values["canceled_at"] = account.now()
        values["cancellation_details"] = {
            **subscription.body["cancellation_details"],
            "reason": "cancellation_requested",
        }
    elif values.get("cancel_at_period_end") is False:
        values |= {"cancel_at": None, "canceled_at": None}
    before = account.renderer.body(subscription)["items"]
    for number, item in enumerate(as_list("items", extras.get("items", ""))):
        _change_item_by_params(
            account,
            subscription,
            dict(as_dict(f"items[{number}]", item)),
            number,
            prorate=extras.get("proration_behavior") != "none",
        )
    _discounts(account, subscription, extras)
    changed = {name: subscription.body[name] for name, value in values.items() if subscription.body[name] != value}
    account.change(subscription, values, verb=None)
    after = account.renderer.body(subscription)["items"]
    if before != after:
        changed["items"] = before
    if changed:
        account.announce(subscription, "updated", previous=changed)
    entitle(account, subscription.body["customer"])
    return subscription


def cancel_by_request(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``DELETE /v1/subscriptions/{id}``: cancels, deletes nothing."""
    subscription = existing(account, "subscription", path["subscription_exposed_id"], "id")
    details = as_dict("cancellation_details", params.get("cancellation_details", ""))
    return end_subscription(account, subscription, dict(details))


def pause_subscription(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/subscriptions/{subscription}/pause``."""
    subscription = existing(account, "subscription", path["subscription"])
    account.change(subscription, {"status": "paused"}, verb="paused")
    entitle(account, subscription.body["customer"])
    return subscription


def resume_subscription(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/subscriptions/{subscription}/resume``."""
    subscription = existing(account, "subscription", path["subscription"])
    if subscription.body["status"] != "paused":
        raise wrong_state("Only paused subscriptions can be resumed.")
    for item in account.store.linked("subscription_item", "subscription", subscription.key):
        account.schedule(item)
    account.change(subscription, {"status": "active"}, verb="resumed")
    entitle(account, subscription.body["customer"])
    return subscription


def delete_subscription_discount(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/subscriptions/{id}/discount``: all its discounts."""
    subscription = existing(account, "subscription", path["subscription_exposed_id"], "id")
    discounts = [record for key in subscription.body["discounts"] if (record := account.store.get("discount", key))]
    if not discounts:
        raise StripeError(404, f"No active discount for subscription: {subscription.key}", code="resource_missing")
    for discount in discounts:
        account.delete(discount)
    account.change(subscription, {"discounts": []})
    return {**account.renderer.body(discounts[0]), "deleted": True}


def create_subscription_item(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/subscription_items``; announced as an update of the subscription."""
    demand(params, "subscription")
    subscription = named(account, "subscription", params.pop("subscription"), "subscription")
    _without_billing_choices(params)
    price = line_price(account, params, "item")
    items = account.store.linked("subscription_item", "subscription", subscription.key)
    period = (items[0].body["current_period_start"], items[0].body["current_period_end"])
    before = account.renderer.body(subscription)["items"]
    item = _new_item(account, subscription, price, params, period)
    _prices_changed(account, subscription)
    account.announce(subscription, "updated", previous={"items": before})
    entitle(account, subscription.body["customer"])
    return item


def change_subscription_item(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/subscription_items/{item}``."""
    item = existing(account, "subscription_item", path["item"], "item")
    subscription = existing(account, "subscription", item.body["subscription"])
    prorate = params.get("proration_behavior") != "none"
    _without_billing_choices(params)
    before = account.renderer.body(subscription)["items"]
    _change_item(account, subscription, item, params, prorate=prorate)
    account.announce(subscription, "updated", previous={"items": before})
    entitle(account, subscription.body["customer"])
    return item


def delete_subscription_item(account: Account, path: Mapping[str, str], _params: Params) -> Body:
    """``DELETE /v1/subscription_items/{item}``: not the last one."""
    item = existing(account, "subscription_item", path["item"], "item")
    subscription = existing(account, "subscription", item.body["subscription"])
    if len(account.store.linked("subscription_item", "subscription", subscription.key)) == 1:
        raise wrong_state(
            "A subscription must have at least one active plan. "
            "To cancel a subscription, please use the cancel API endpoint."
        )
    before = account.renderer.body(subscription)["items"]
    account.delete(item, verb=None)
    _prices_changed(account, subscription)
    account.announce(subscription, "updated", previous={"items": before})
    entitle(account, subscription.body["customer"])
    return account.renderer.stub(item)


def create_schedule(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/subscription_schedules`` from a subscription, or of phases that begin later."""
    now = account.now()
    if "from_subscription" in params:
        subscription = named(account, "subscription", params["from_subscription"], "from_subscription")
        end = period_end(account, subscription) or now
        phase = {
            "start_date": subscription.body["start_date"],
            "end_date": end,
            "items": _phase_items(account, subscription),
        }
        values: Body = {
            "current_phase": {"end_date": end, "start_date": subscription.body["start_date"]},
            "customer": subscription.body["customer"],
            "phases": [phase],
            "status": "active",
            "subscription": subscription.key,
        }
    else:
        demand(params, "customer", "phases")
        start = as_int("start_date", params["start_date"]) if params.get("start_date", "now") != "now" else now
        phases = [
            {
                "start_date": start,
                "end_date": add_interval(start, "month", 1),
                "items": [
                    {"price": i.get("price"), "quantity": as_int("quantity", i.get("quantity", 1))}
                    for i in as_list("items", phase.get("items", ""))
                ],
            }
            for phase in as_list("phases", params["phases"])
        ]
        customer = named(account, "customer", params["customer"], "customer")
        values = {"customer": customer.key, "phases": phases, "status": "not_started"}
    schedule = account.create(
        "subscription_schedule", {"end_behavior": params.get("end_behavior", "release"), "metadata": {}, **values}
    )
    if values.get("subscription") is not None:
        account.change(existing(account, "subscription", values["subscription"]), {"schedule": schedule.key})
    return schedule


def cancel_schedule(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/subscription_schedules/{schedule}/cancel``: its subscription ends too."""
    schedule = existing(account, "subscription_schedule", path["schedule"], "schedule")
    subscription = account.store.get("subscription", schedule.body["subscription"] or "")
    if subscription is not None and subscription.body["status"] not in ENDED:
        end_subscription(account, subscription)
    return account.change(
        schedule, {"canceled_at": account.now(), "current_phase": None, "status": "canceled"}, verb="canceled"
    )


def release_schedule(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/subscription_schedules/{schedule}/release``: the subscription goes on without it."""
    schedule = existing(account, "subscription_schedule", path["schedule"], "schedule")
    subscription = account.store.get("subscription", schedule.body["subscription"] or "")
    if subscription is not None:
        account.change(subscription, {"schedule": None})
    values = {
        "current_phase": None,
        "released_at": account.now(),
        "released_subscription": schedule.body["subscription"],
        "status": "released",
        "subscription": None,
    }
    return account.change(schedule, values, verb="released")


def create_quote(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/quotes`` with line items."""
    items = params.pop("line_items", "")
    quote_id = account.ids.next("quote")
    total = line_items(account, items, {"quote": quote_id})
    values = values_from_params(account, "quote", params)
    return account.create(
        "quote",
        {
            "id": quote_id,
            "amount_subtotal": total,
            "amount_total": total,
            "expires_at": account.now() + 30 * 86_400,
            "status": "draft",
            **values,
        },
    )


def accept_quote(account: Account, path: Mapping[str, str], _params: Params) -> Record:
    """``POST /v1/quotes/{quote}/accept``."""
    quote = existing(account, "quote", path["quote"], "quote")
    if quote.body["status"] != "open":
        raise wrong_state("You can only accept an open quote.")
    return account.change(quote, {"status": "accepted"}, verb="accepted")


def create_checkout_session(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/checkout/sessions`` with line items, open until somebody pays or it expires."""
    demand(params, "mode")
    items = params.pop("line_items", "")
    session_id = account.ids.next("checkout.session")
    total = line_items(account, items, {"checkout_session": session_id})
    values = values_from_params(account, "checkout.session", params)
    return account.create(
        "checkout.session",
        {
            "id": session_id,
            "amount_subtotal": total,
            "amount_total": total,
            "currency": "eur",
            "expires_at": account.now() + 86_400,
            "metadata": {},
            "payment_method_types": ["card"],
            "payment_status": "unpaid",
            "status": "open",
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
            "ui_mode": "hosted_page",
            "url": f"https://checkout.example.com/{session_id}",
            **values,
        },
        verb=None,
    )


def create_payment_link(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/payment_links`` with line items."""
    demand(params, "line_items")
    items = params.pop("line_items")
    link_id = account.ids.next("payment_link")
    line_items(account, items, {"payment_link": link_id})
    values = values_from_params(account, "payment_link", params)
    return account.create(
        "payment_link",
        {
            "id": link_id,
            "active": True,
            "currency": "eur",
            "metadata": {},
            "url": f"https://buy.example.com/{link_id}",
            **values,
        },
    )


def _new_item(
    account: Account, subscription: Record, price: Record, item: Mapping[str, Any], period: tuple[int, int]
) -> Record:
    given = {name: item[name] for name in ("metadata", "tax_rates", "billing_thresholds") if name in item}
    record = account.create(
        "subscription_item",
        {
            "current_period_end": period[1],
            "current_period_start": period[0],
            "discounts": [],
            "metadata": {},
            "plan": price.key,
            "price": price.key,
            "quantity": as_int("quantity", item.get("quantity", 1)),
            "subscription": subscription.key,
            "tax_rates": [],
            **values_from_params(account, "subscription_item", given),
        },
        verb=None,
    )
    account.schedule(record)
    return record


def _bill_item(account: Account, invoice: Record, item: Record, period: tuple[int, int], *, free: bool) -> None:
    price = account.store.last_known("price", item.body["price"])
    if price is None:
        return
    product = account.store.last_known("product", price.body["product"])
    name = product.body["name"] if product is not None else "Subscription"
    quantity = item.body["quantity"] or 1
    details = {
        "invoice_item": None,
        "proration": False,
        "proration_details": {"credited_items": None},
        "subscription": item.body["subscription"],
        "subscription_item": item.key,
    }
    add_line(
        account,
        invoice,
        amount=0 if free else (price.body["unit_amount"] or 0) * quantity,
        description=f"Trial period for {name}" if free else f"{quantity} x {name}",
        price=price,
        quantity=quantity,
        period=period,
        parent={"subscription_item_details": details, "type": "subscription_item_details"},
    )


def _first_payment(account: Account, subscription: Record, invoice: Record, extras: Mapping[str, Any]) -> None:
    behavior = extras.get("payment_behavior", "allow_incomplete")
    if behavior == "default_incomplete":
        account.change(subscription, {"status": "incomplete"})
        return
    try:
        pay_invoice(account, invoice)
    except StripeError:
        account.change(subscription, {"status": "incomplete"})
        if behavior == "error_if_incomplete":
            raise


def collect(account: Account, invoice: Record) -> None:
    """Charge an open invoice by itself. A failure is the subscription's state, not anybody's error."""
    details = (invoice.body["parent"] or {}).get("subscription_details") or {}
    subscription = account.store.get("subscription", details.get("subscription") or "")
    try:
        pay_invoice(account, invoice)
    except StripeError:
        if subscription is not None and subscription.body["status"] == "active":
            account.change(subscription, {"status": "past_due"})
    else:
        if subscription is not None and subscription.body["status"] == "past_due":
            account.change(subscription, {"status": "active"})


def _change_item_by_params(
    account: Account, subscription: Record, item: dict[str, Any], number: int, *, prorate: bool
) -> None:
    if "id" not in item:
        items = account.store.linked("subscription_item", "subscription", subscription.key)
        period = (items[0].body["current_period_start"], items[0].body["current_period_end"])
        _new_item(account, subscription, line_price(account, item, f"items[{number}]"), item, period)
    else:
        record = named(account, "subscription_item", item.pop("id"), f"items[{number}][id]")
        if item.get("deleted") == "true":
            account.delete(record, verb=None)
        else:
            _change_item(account, subscription, record, item, prorate=prorate)
    _prices_changed(account, subscription)


def _change_item(
    account: Account, subscription: Record, item: Record, given: Mapping[str, Any], *, prorate: bool
) -> None:
    """Change an item's price or quantity; the rest of the period is credited and billed anew with the next invoice."""
    values: Body = values_from_params(
        account,
        "subscription_item",
        {name: given[name] for name in ("metadata", "quantity", "tax_rates") if name in given},
    )
    if {"price", "price_data", "plan"} & given.keys():
        price = line_price(account, given, "item")
        values |= {"price": price.key, "plan": price.key}
    old = _price_of(account, item.body) * (item.body["quantity"] or 0)
    new = _price_of(account, {**item.body, **values}) * (values.get("quantity", item.body["quantity"]) or 0)
    account.change(item, values, verb=None)
    start, end = item.body["current_period_start"], item.body["current_period_end"]
    if not prorate or old == new or end <= start:
        return
    customer = existing(account, "customer", subscription.body["customer"])
    share = (end - account.moment_of(subscription)) / (end - start)
    for amount, text in ((-round(old * share), "Unused time"), (round(new * share), "Remaining time")):
        item_params = {
            "amount": str(amount),
            "currency": subscription.body["currency"],
            "description": f"{text} on subscription",
            "proration": "true",
        }
        new_item(account, customer, item_params, None)


def _price_of(account: Account, item: Mapping[str, Any]) -> int:
    price = account.store.last_known("price", item["price"])
    return (price.body["unit_amount"] or 0) if price is not None else 0


def _prices_changed(account: Account, subscription: Record) -> None:
    items = account.store.linked("subscription_item", "subscription", subscription.key)
    subscription.facts["prices"] = [item.body["price"] for item in items]
    account.store.put(subscription)


def _phase_items(account: Account, subscription: Record) -> Sequence[Body]:
    items = account.store.linked("subscription_item", "subscription", subscription.key)
    return [{"price": item.body["price"], "quantity": item.body["quantity"]} for item in items]


def _discounts(account: Account, subscription: Record, extras: Mapping[str, Any]) -> None:
    given = [dict(as_dict("discounts", item)) for item in as_list("discounts", extras.get("discounts", ""))]
    given += [{name: extras[name]} for name in ("coupon", "promotion_code") if extras.get(name)]
    keys = []
    for number, item in enumerate(given):
        code = (
            named(account, "promotion_code", item["promotion_code"], f"discounts[{number}][promotion_code]")
            if "promotion_code" in item
            else None
        )
        coupon_id = code.body["promotion"]["coupon"] if code is not None else item.get("coupon")
        coupon = named(account, "coupon", coupon_id, f"discounts[{number}][coupon]")
        keys.append(give_discount(account, subscription, coupon, promotion_code=code).key)
    if keys:
        account.change(subscription, {"discounts": keys}, verb=None)


def _applies(account: Account, key: str, reason: str) -> bool:
    """Whether a discount counts for an invoice now: once, for some months, or forever."""
    discount = account.store.get("discount", key)
    coupon = account.store.last_known("coupon", discount.body["source"]["coupon"]) if discount is not None else None
    if discount is None or coupon is None:
        return False
    if coupon.body["duration"] == "once":
        return reason == "subscription_create"
    return discount.body["end"] is None or discount.body["end"] > account.now()


def _trial_end(extras: Mapping[str, Any], now: int) -> int | None:
    if extras.get("trial_period_days"):
        return now + as_int("trial_period_days", extras["trial_period_days"]) * 86_400
    if extras.get("trial_end") not in (None, "now"):
        return as_int("trial_end", extras["trial_end"])
    return None


def _interval(price: Record) -> tuple[str, int]:
    recurring = price.body.get("recurring") or {"interval": "month", "interval_count": 1}
    return recurring["interval"], recurring["interval_count"]


def _without_billing_choices(params: Params) -> None:
    for name in ("payment_behavior", "proration_behavior", "proration_date", "off_session"):
        params.pop(name, None)


RULES: Final[Mapping[tuple[str, str], Callable[[Account, Mapping[str, str], Params], Record | Body]]] = (
    MappingProxyType(
        {
            ("POST", "/v1/subscriptions"): create_subscription,
            ("POST", "/v1/subscriptions/{subscription_exposed_id}"): change_subscription,
            ("DELETE", "/v1/subscriptions/{subscription_exposed_id}"): cancel_by_request,
            ("DELETE", "/v1/subscriptions/{subscription_exposed_id}/discount"): delete_subscription_discount,
            ("POST", "/v1/subscriptions/{subscription}/pause"): pause_subscription,
            ("POST", "/v1/subscriptions/{subscription}/resume"): resume_subscription,
            ("POST", "/v1/subscription_items"): create_subscription_item,
            ("POST", "/v1/subscription_items/{item}"): change_subscription_item,
            ("DELETE", "/v1/subscription_items/{item}"): delete_subscription_item,
            ("POST", "/v1/subscription_schedules"): create_schedule,
            ("POST", "/v1/subscription_schedules/{schedule}/cancel"): cancel_schedule,
            ("POST", "/v1/subscription_schedules/{schedule}/release"): release_schedule,
            ("POST", "/v1/quotes"): create_quote,
            ("POST", "/v1/quotes/{quote}/accept"): accept_quote,
            ("POST", "/v1/checkout/sessions"): create_checkout_session,
            ("POST", "/v1/payment_links"): create_payment_link,
        }
    )
)
