"""What can happen in a history: one function a move, and how often each is made.

A move picks what it is about, and changes it by the rules that hold for requests where there are some. It makes nothing
happen where it finds nothing fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox import billing, customers, deletions, payment_methods, sources
from stripe_sandbox.announcements import (
    BORN_OF_A_STATE,
    BORN_SILENTLY,
    DIES_SILENTLY,
    FAMILIES,
    IMMUTABLE,
    NEVER_BORN,
    NEVER_DIES_ALONE,
    PARTLY_SILENT,
    SILENT,
    Kinds,
    evented,
    kinds_of,
)
from stripe_sandbox.entitlements import summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from stripe_sandbox.histories import History
    from stripe_sandbox.store import Record

_REUSED: Final = ("coupon", "plan", "product")  # ids that their owner chooses


def update(history: History) -> None:
    """An object changes."""
    object_type = history.type_of(evented(history.account))
    record = history.loose(object_type) if object_type is not None else None
    kinds = kinds_of(history.account.spec, record).updated if record is not None else ()
    if record is not None and kinds:
        history.update(record, history.usual_kind(kinds))


def update_often(history: History) -> None:
    """An object changes several times in one second."""
    object_type = history.type_of(evented(history.account))
    record = history.loose(object_type) if object_type is not None else None
    kinds = kinds_of(history.account.spec, record).updated if record is not None else ()
    for _ in range(history.random.choice((2, 2, 3, 5)) if kinds else 0):
        history.update(record, history.usual_kind(kinds))  # type: ignore[arg-type]


def update_silently(history: History) -> None:
    """An object changes where Stripe has no event for it."""
    object_type = history.type_of((SILENT | PARTLY_SILENT) - IMMUTABLE) if history.silent else None
    record = history.loose(object_type) if object_type is not None else None
    if record is not None:
        history.update(record, None)


def create(history: History) -> Record | None:
    """A new object appears."""
    object_type = history.type_of(evented(history.account) - NEVER_BORN)
    original = history.any(object_type) if object_type is not None else None
    if original is None:
        return None
    kinds = kinds_of(history.account.spec, original)
    born = kinds.updated if original.object in BORN_OF_A_STATE else kinds.created
    if not born:
        return None
    if original.object == "coupon" and history.random.random() < 0.5:  # noqa: PLR2004
        return history.add(original, born[0], links={}, key=f"MADE-{history.account.ids.token(6)}")
    return history.add(original, history.random.choice(born), links={})


def create_silently(history: History) -> None:
    """A new object appears, and nobody says so."""
    object_type = history.type_of(BORN_SILENTLY) if history.silent else None
    original = history.any(object_type) if object_type is not None else None
    if original is not None:
        history.add(original, None, links={})


def delete(history: History) -> None:
    """An object is deleted."""
    object_type = history.type_of(evented(history.account) - NEVER_DIES_ALONE)
    record = history.loose(object_type) if object_type is not None else None
    kinds = kinds_of(history.account.spec, record).deleted if record is not None else ()
    if record is not None and kinds and _may_go(history, record):
        history.remove(record)


def delete_silently(history: History) -> None:
    """An object is deleted, and nobody says so."""
    object_type = history.type_of(DIES_SILENTLY) if history.silent else None
    record = history.loose(object_type) if object_type is not None else None
    if record is not None:
        history.remove(record)


def live_and_die(history: History) -> None:
    """An object is created, changed and deleted, all in one second."""
    record = create(history)
    kinds = kinds_of(history.account.spec, record) if record is not None else Kinds()
    if record is not None and kinds.updated:
        history.update(record, history.usual_kind(kinds.updated))
    if record is not None and kinds.deleted and record.object not in NEVER_DIES_ALONE and _may_go(history, record):
        history.remove(record)


def reuse(history: History) -> None:
    """An id that was deleted is used again: in the same second, or one that was deleted before."""
    object_type = history.random.choice(_REUSED)
    if not history.wants(object_type):
        return
    record = history.loose(object_type)
    if record is None or not _may_go(history, record):
        return
    gone = [each for each in history.account.store.table(object_type).gone.values() if _is_free(history, each)]
    if gone and history.random.random() < 0.5:  # noqa: PLR2004
        record = history.random.choice(gone)
    else:
        history.remove(record)
    history.add(record, f"{object_type}.created", links={}, key=record.key)


def change_children(history: History) -> None:
    """Children come, change and go; their parent tells."""
    families = [each for each in FAMILIES if history.wants(each.child) or history.wants(each.parent)]
    if not families:
        return
    family = history.random.choice(families)
    parent = history.loose(family.parent)
    if parent is None:
        return
    children = history.account.store.linked(family.child, family.link, parent.key)
    loose = [each for each in children if not history.variations.is_held(each)]
    wish = history.random.random()

    def act() -> None:
        if family.goes and loose and wish < 0.4:  # noqa: PLR2004
            for child in history.random.sample(loose, history.random.randint(1, len(loose))):
                history.account.delete(child, verb=None)
        elif loose and wish < 0.6:  # noqa: PLR2004
            child = loose[-1] if family.names is not None else history.random.choice(loose)  # older ones are final
            history.account.change(child, history.variations.values(child, history.random), verb=None)
            history.variations.hold(child)
        else:
            history.add_children(family, parent, history.random.choice((1, 1, 2, 12)))
        history.account_for(family, parent)
        kind = history.random.choice(family.kinds)
        history.account.announce(parent, "", name=kind, previous={} if kind.endswith(".updated") else None)

    history.note(parent, f"{family.child} changed", act)


def pay(history: History) -> None:
    """A movement of the balance comes with what moved it."""
    object_type = history.random.choice(("charge", "payout", "refund", "topup", "transfer"))
    like = history.any("balance_transaction")
    record = history.any(object_type)
    if record is None or like is None or not history.wants(object_type):
        return
    kinds = kinds_of(history.account.spec, record)
    kind = history.random.choice(kinds.updated if object_type in BORN_OF_A_STATE else kinds.created)
    movement = history.variations.copy(like, history.random, {})
    history.add(record, kind, links={"balance_transaction": movement.key})


def receive_credit(history: History) -> None:
    """A financial account's transaction and its entries come with what caused them."""
    like, entry = history.any("treasury.transaction"), history.any("treasury.transaction_entry")
    record = history.any("treasury.received_credit")
    if record is None or like is None or entry is None or not history.wants(record.object):
        return
    place = {"financial_account": str(record.body["financial_account"])}
    transaction = history.variations.copy(like, history.random, place)
    history.variations.copy(entry, history.random, {**place, "transaction": transaction.key})
    history.add(record, "treasury.received_credit.created", links={"transaction": transaction.key})


def verify(history: History) -> None:
    """An identity is verified: a report comes with it."""
    record, like = history.loose("identity.verification_session"), history.any("identity.verification_report")
    if record is not None and like is not None and history.wants(record.object):
        report = history.variations.copy(like, history.random, {})
        history.update(record, "identity.verification_session.verified", {"last_verification_report": report.key})


def join(history: History) -> None:
    """A customer appears, with a cash balance of its own."""
    original = history.any("customer") if history.wants("customer") else None
    if original is None:
        return
    key = history.account.ids.next("customer")
    cash = customers.cash_balance(history.account, key)
    history.account.add("cash_balance", cash, facts={"key": key})
    history.add(original, "customer.created", links={"cash_balance": key}, key=key)


def leave(history: History) -> None:
    """A customer is deleted, with all that only it had.

    Not one on a test clock: what it leaves behind no list shows, and it is gone with the clock in any case.
    """
    customer = history.loose("customer") if history.wants("customer") else None
    if customer is None or customer.body["test_clock"] is not None:
        return
    if not takes_held(history, customer):
        history.note(
            customer,
            "deleted",
            lambda: deletions.delete_customer(history.account, {"customer": customer.key}, {}),
        )


def takes_held(history: History, customer: Record) -> bool:
    """Whether a customer has something that another object holds: with its customer, that would change too."""
    return any(
        history.variations.is_held(each)
        for name in ("payment_method", "subscription", "card", "bank_account", "source", "tax_id")
        for each in history.account.store.linked(name, "customer", customer.key)
    )


def end_clock(history: History) -> None:
    """A test clock is deleted: its customers and all that is theirs vanish."""
    clock = history.any("test_helpers.test_clock") if history.wants("test_helpers.test_clock") else None
    if clock is not None:
        history.note(
            clock, "deleted", lambda: deletions.delete_test_clock(history.account, {"test_clock": clock.key}, {})
        )


def cancel(history: History) -> None:
    """A subscription is canceled. It stays, and its event is called deleted."""
    subscription = history.loose("subscription") if history.wants("subscription") else None
    if subscription is not None and subscription.body["status"] not in billing.ENDED:
        history.note(subscription, "canceled", lambda: billing.end_subscription(history.account, subscription))


def attach(history: History) -> None:
    """A payment method is new, and attached to a customer."""
    original, customer = history.any("payment_method"), history.any("customer")
    if original is not None and customer is not None and history.wants("payment_method"):
        if original.facts.get("detached"):
            return
        history.add(original, "payment_method.attached", links={"customer": customer.key})


def detach(history: History) -> None:
    """A payment method is let go: it lives on without a customer, as a source does; a card is gone."""
    object_type = history.type_of(("card", "payment_method", "source"))
    record = history.loose(object_type) if object_type is not None else None
    owner = record.body.get("customer") or record.facts.get("customer") if record is not None else None
    if record is None or history.account.store.get("customer", owner or "") is None:
        return
    if record.object == "payment_method":
        history.note(record, "detached", lambda: payment_methods.detach(history.account, record))
    else:
        path = {"customer": str(owner), "id": record.key}
        history.note(record, "detached", lambda: sources.delete_source(history.account, path, {}))


def discount(history: History) -> None:
    """A customer gets a discount or loses it; what it had is gone when it gets another one."""
    customer, coupon = history.loose("customer"), history.loose("coupon")
    if customer is None or coupon is None or not history.wants("discount"):
        return
    present = history.account.store.get("discount", customer.body["discount"] or "")
    if present is not None and present.body["customer"] == customer.key:
        path = {"customer": customer.key}
        history.note(present, "deleted", lambda: customers.delete_discount(history.account, path, {}))
    elif present is None:
        history.note(customer, "discounted", lambda: customers.give_discount(history.account, customer, coupon))


def adjust(history: History) -> None:
    """A customer's balance or cash balance moves, with the transaction that says why."""
    customer = history.loose("customer") if history.wants("customer") else None
    if customer is None or history.account.store.get("cash_balance", customer.key) is None:
        return
    path = {"customer": customer.key}
    params: dict[str, Any] = {"amount": str(history.random.randint(1, 9_999)), "currency": "eur"}
    act = history.random.choice((customers.adjust_balance, customers.fund_cash_balance))
    history.note(customer, act.__name__, lambda: act(history.account, path, params))


def entitle(history: History) -> None:
    """What a customer may use changes: a summary tells."""
    name = "entitlements.active_entitlement"
    customer, like = history.any("customer"), history.any(name)
    if customer is None or like is None or not history.wants(name):
        return
    had = history.account.store.linked(name, "customer", customer.key)

    def act() -> None:
        if had and history.random.random() < 0.5:  # noqa: PLR2004
            history.account.delete(history.random.choice(had), verb=None)
        else:
            for _ in range(history.random.choice((1, 2, 12))):
                history.variations.copy(like, history.random, {"customer": customer.key})
        kind = "entitlements.active_entitlement_summary.updated"
        history.account.announce(customer, "", name=kind, snapshot=summary(history.account, customer.key))

    history.note(customer, f"{name} changed", act)


def remark(history: History) -> None:
    """An event that changes nothing: an invoice that is only to come, an alert."""
    object_type = history.type_of(("invoice", "billing.alert"))
    record = history.loose(object_type) if object_type is not None else None
    if record is None:
        return
    body = history.account.renderer.body(record)
    if record.object == "invoice":
        kind, snapshot = "invoice.upcoming", {name: value for name, value in body.items() if name != "id"}
    else:
        kind = "billing.alert.triggered"
        snapshot = {
            "object": "billing.alert_triggered",
            "alert": body,
            "created": history.account.now(),
            "customer": next(iter(history.account.store.table("customer").records), ""),
            "livemode": history.account.livemode,
            "value": history.random.randrange(1_000),
        }
    history.note(record, "mentioned", lambda: history.account.announce(record, "", name=kind, snapshot=snapshot))


def _may_go(history: History, record: Record) -> bool:
    """Whether Stripe would delete it: drafts without payments, products without features, prices and plans."""
    store = history.account.store
    if record.object == "invoice":
        return not store.linked("invoice_payment", "invoice", record.key)
    if record.object == "product":
        named = [store.table(name).records.values() for name in ("plan", "price", "product_feature")]
        return not any(each.link("product") == record.key for records in named for each in records)
    return True


def _is_free(history: History, gone: Record) -> bool:
    """Whether the id of a deleted object can be used again."""
    return history.account.store.get(gone.object, gone.key) is None and not history.variations.is_held(gone)


MOVES: Final[tuple[tuple[Callable[[History], object], float], ...]] = (
    (update, 30),
    (update_often, 6),
    (update_silently, 8),
    (create, 12),
    (create_silently, 4),
    (delete, 8),
    (delete_silently, 2),
    (live_and_die, 6),
    (reuse, 4),
    (change_children, 18),
    (pay, 3),
    (receive_credit, 1),
    (verify, 1),
    (join, 2),
    (leave, 1),
    (end_clock, 0.3),
    (cancel, 2),
    (attach, 2),
    (detach, 3),
    (discount, 2),
    (adjust, 3),
    (entitle, 2),
    (remark, 1),
)
