"""What an application asks of Stripe: requests drawn from what the account holds, through its HTTP API.

A request changes what the plan lets change, in a way that Stripe announces (or, where things change in silence, does
not). It may be refused: that is an answer too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from stripe_sandbox.announcements import (
    BORN_SILENTLY,
    DIES_SILENTLY,
    IMMUTABLE,
    NEVER_BORN,
    NEVER_DIES_ALONE,
    PARTLY_SILENT,
    SILENT,
    kinds_of,
)
from stripe_sandbox.due import due_at
from stripe_sandbox.families import event_type
from stripe_sandbox.moves import takes_held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from random import Random

    from stripe_sandbox.histories import History
    from stripe_sandbox.spec import Write
    from stripe_sandbox.store import Record

_PLACEHOLDER = re.compile(r"{(\w+)}")
_TRIED = 12
_AGE_IN_SILENCE = frozenset({"coupon", "file_link", "promotion_code"})

Form = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request of a caller's.

    Attributes:
        method: Its method.
        path: Its path.
        query: Its query.
        form: The form in its body.
        about: The type and the id of the object that it is about, if it is about one.
    """

    method: str
    path: str
    query: str = ""
    form: str = ""
    about: tuple[str, str] | None = None


class Callers:
    """Draws requests.

    Args:
        history: The account, and what may happen in it.
        random: Draws.
    """

    def __init__(self, history: History, random: Random) -> None:
        self._history = history
        self._account = history.account
        self._random = random
        spec = self._account.spec
        self._paths = {each.path: each.object for each in spec.retrieves if "{" in each.path}
        lists = {each.path: each.objects[0] for each in spec.lists if not each.required}
        self._lists = [path for path, name in lists.items() if "{" not in path and history.wants(name)]
        wanted = [each for each in spec.writes if each.object is not None and history.wants(each.object)]
        self._changes = [each for each in wanted if each.method == "post" and self._paths.get(each.path) == each.object]
        self._deletes = [each for each in wanted if each.method == "delete" and each.path in self._paths]
        made = {each.path for each in wanted if each.method == "post"}
        self._creates = [
            path for path in sorted(made & lists.keys() | made & _MADE_OF.keys()) if path in _MADE_OF or "{" not in path
        ]
        self._acts = [each for each in _ACTS if history.wants(each[2])]
        self._kinds = {each.path: each.object for each in wanted}

    def write(self, near: tuple[str, str] | None) -> Asked | None:
        """A request that changes something, about an object that is named if possible; None if nothing fits."""
        draw = self._random.choice((self._change, self._change, self._change, self._create, self._create, self._delete,
                                    self._act))  # fmt: skip
        asked = draw(near)
        if asked is not None and self._random.random() < 0.2:
            fields = self._expandable(self._kinds.get(_form_of(asked), ""))
            if fields and asked.method == "POST":
                more = urlencode([("expand[]", self._random.choice(fields))])
                return replace(asked, form="&".join(filter(None, (asked.form, more))))
        return asked

    def read(self, near: tuple[str, str] | None) -> Asked | None:
        """A request that only reads: an object, one that is gone, or a list."""
        if self._random.random() < 0.4 and self._lists:
            path = self._random.choice(self._lists)
            limit = self._random.choice((1, 3, 10, 100))
            return Asked(method="GET", path=path, query=f"limit={limit}")
        paths = [each for each, name in self._paths.items() if self._history.wants(name)]
        path = self._random.choice(paths) if paths else ""
        record = self._record(self._paths.get(path, ""), near, loose=False)
        if self._random.random() < 0.1 and record is not None:
            gone = list(self._account.store.table(record.object).gone.values())
            record = self._random.choice(gone) if gone else record
        filled = _filled(path, record)
        if record is None or filled is None:
            return None
        fields = self._expandable(record.object)
        query = urlencode([("expand[]", self._random.choice(fields))]) if fields and self._random.random() < 0.3 else ""
        return Asked(method="GET", path=filled, query=query, about=(record.object, record.key))

    # Kinds of writes

    def _change(self, near: tuple[str, str] | None) -> Asked | None:
        fit = [each for each in self._changes if near is None or each.object == near[0]] or self._changes
        operation = self._random.choice(fit) if fit else None
        record = self._record(operation.object or "", near) if operation is not None else None
        path = _filled(operation.path, record) if operation is not None else None
        if record is None or path is None or not self._tells(record, "updated"):
            return None
        form: Form = []
        if "metadata" in self._account.spec.fields(record.object) and self._random.random() < 0.7:
            form.append((f"metadata[{self._random.choice('abc')}]", str(self._random.randrange(1_000))))
        if not form or self._random.random() < 0.3:
            fresh = self._history.variations.values(record, self._random)
            form += [(name, _text(value)) for name, value in fresh.items() if isinstance(value, str | int)]
        about = (record.object, record.key)
        return Asked(method="POST", path=path, form=urlencode(form), about=about) if form else None

    def _create(self, near: tuple[str, str] | None) -> Asked | None:  # noqa: ARG002 - what is new is near nothing
        if not self._creates:
            return None
        path = self._random.choice(self._creates)
        name = self._kinds[path] or ""
        silent = name in BORN_SILENTLY or event_type(name, "created") not in self._account.spec.events
        if path not in _MADE_OF and (name in NEVER_BORN or (silent and not self._silent(name))):
            return None
        form = _MADE_OF[path](self) if path in _MADE_OF else []
        if form is None:
            return None
        values = dict(form)
        filled = _PLACEHOLDER.sub(lambda found: quote(values.pop(found[1], "none"), safe=""), path)
        if "metadata" in self._account.spec.fields(name) and self._random.random() < 0.3:
            values["metadata[made]"] = str(self._random.randrange(1_000))
        return Asked(method="POST", path=filled, form=urlencode(list(values.items())))

    def _delete(self, near: tuple[str, str] | None) -> Asked | None:
        operation: Write | None = self._random.choice(self._deletes) if self._deletes else None
        record = self._record(operation.object or "", near) if operation is not None else None
        path = _filled(operation.path, record) if operation is not None else None
        if record is None or path is None or record.object in NEVER_DIES_ALONE - {"customer"}:
            return None
        if record.object == "customer" and (record.body["test_clock"] is not None or self._random.random() < 0.7):
            return None  # what one on a test clock leaves behind no list shows
        if record.object == "customer" and takes_held(self._history, record):
            return None
        if not (self._tells(record, "deleted") or (record.object in DIES_SILENTLY and self._history.silent)):
            return None
        return Asked(method="DELETE", path=path, about=(record.object, record.key))

    def _act(self, near: tuple[str, str] | None) -> Asked | None:
        if not self._acts:
            return None
        method, path, name, form = self._random.choice(self._acts)
        record = self._record(name, near)
        filled = _filled(path, record)
        values = form(self)
        if record is None or filled is None or values is None:
            return None
        return Asked(method=method, path=filled, form=urlencode(values), about=(name, record.key))

    # Choosing

    def _record(self, object_type: str, near: tuple[str, str] | None, *, loose: bool = True) -> Record | None:
        """The object that is named if it is of a type, else another one."""
        table = self._account.store.table(object_type)
        if near is not None and near[0] == object_type and near[1] in table.records:
            record = table.records[near[1]]
            return None if loose and not self._is_free(record) else record
        keys = self._random.sample(list(table.records), min(len(table.records), _TRIED))
        fit = (each for each in map(table.records.__getitem__, keys) if not loose or self._is_free(each))
        return next(fit, None)

    def _is_free(self, record: Record) -> bool:
        """Whether it may change: none holds it, and a request would not have its time pass, in silence or at once."""
        due = due_at(record)
        ages = due is not None and (record.object in _AGE_IN_SILENCE or due <= self._account.now())
        return not ages and not self._history.variations.is_held(record)

    def key(self, object_type: str, fits: Callable[[Record], bool] = lambda _: True) -> str:
        """The id of an object of a type, ``none`` if there is none that fits."""
        table = self._account.store.table(object_type)
        keys = self._random.sample(list(table.records), min(len(table.records), _TRIED))
        return next((each for each in keys if fits(table.records[each])), "none")

    def number(self) -> str:
        """An amount."""
        return str(self._random.randint(100, 9_999))

    def one_of(self, *choices: str) -> str:
        """One of them."""
        return self._random.choice(choices)

    def _tells(self, record: Record, verb: str) -> bool:
        """Whether Stripe tells of a change, or may keep silent."""
        kinds = kinds_of(self._account.spec, record)
        owner = "customer" if record.body.get("customer") is not None else "account"
        said = kinds.deleted if verb == "deleted" else kinds.updated
        return event_type(record.object, verb, owner=owner) in said or (
            verb == "updated" and self._silent(record.object)
        )

    def _silent(self, object_type: str) -> bool:
        return self._history.silent and object_type in (SILENT | PARTLY_SILENT) - IMMUTABLE

    def _expandable(self, object_type: str) -> list[str]:
        if object_type not in self._account.spec.objects:
            return []
        fields = self._account.spec.fields(object_type)
        return [name for name, each in fields.items() if each.type == "expandable" and self._lives(each.objects)]

    def _lives(self, types: Iterable[str]) -> bool:
        """Whether what is expanded is there, or a stub says that it is not: else the sandbox shows it as it was."""
        account = self._account
        return not any(account.store.table(each).gone and "deleted" not in account.spec.fields(each) for each in types)


def _form_of(asked: Asked) -> str:
    return asked.path if asked.about is None else ""


def _filled(path: str, record: Record | None) -> str | None:
    """A path with the ids of an object and of whose it is."""
    if record is None:
        return None
    names = _PLACEHOLDER.findall(path)
    if not names:
        return path
    values: dict[str, Any] = {name: record.link(name) for name in names[:-1]}
    values[names[-1]] = record.body.get("id", record.key)
    if not all(isinstance(each, str) for each in values.values()):
        return None
    return _PLACEHOLDER.sub(lambda found: quote(values[found[1]], safe=""), path)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _loose_customer(callers: Callers) -> str:
    return callers.key("customer", lambda each: each.body["test_clock"] is None)


def _of_customer(*names: str) -> Callable[[Callers], Form]:
    return lambda callers: [("customer", _loose_customer(callers)), *((name, callers.number()) for name in names)]


def _payment(callers: Callers) -> Form:
    form = [("amount", callers.number()), ("currency", "eur"), ("customer", _loose_customer(callers))]
    match callers.one_of("open", "paid", "declined"):
        case "open":
            return form
        case "paid":
            method = "pm_card_visa"
        case _:
            method = "pm_card_chargeDeclined"
    return [*form, ("payment_method", method), ("confirm", "true"), ("automatic_payment_methods[enabled]", "true"),
            ("automatic_payment_methods[allow_redirects]", "never")]  # fmt: skip


def _recurring_price(callers: Callers) -> str:
    return callers.key("price", lambda each: bool(each.body.get("recurring")) and bool(each.body.get("active")))


def _subscription(callers: Callers) -> Form:
    return [
        ("customer", _loose_customer(callers)), ("items[0][price]", _recurring_price(callers)),
        ("collection_method", "send_invoice"), ("days_until_due", "7"),
    ]  # fmt: skip


def _plan(callers: Callers) -> Form:
    return [
        ("product", callers.key("product")), ("amount", callers.number()), ("currency", "eur"),
        ("interval", callers.one_of("month", "year")),
    ]  # fmt: skip


def _coupon(callers: Callers) -> Form:
    own = [("id", f"OWN-{callers.one_of('A', 'B', 'C')}")] if callers.one_of("own", "given") == "own" else []
    return [*own, ("percent_off", "20"), ("duration", "once")]


def _price(callers: Callers) -> Form:
    recurring = [("recurring[interval]", "month")] if callers.one_of("once", "again") == "again" else []
    return [
        ("product", callers.key("product")), ("unit_amount", callers.number()), ("currency", "eur"), *recurring,
    ]  # fmt: skip


_MADE_OF: Mapping[str, Callable[[Callers], Form | None]] = {
    "/v1/charges": lambda c: [("amount", c.number()), ("currency", "eur"), ("source", "tok_visa")],
    "/v1/coupons": _coupon,
    "/v1/credit_notes": lambda c: [("invoice", c.key("invoice")), ("amount", "100")],
    "/v1/customers": lambda c: [("email", f"{c.number()}@example.com"), ("name", "Ü")],
    "/v1/customers/{customer}/balance_transactions": lambda c: [*_of_customer("amount")(c), ("currency", "eur")],
    "/v1/customers/{customer}/sources": lambda c: [*_of_customer()(c), ("source", "tok_visa")],
    "/v1/customers/{customer}/tax_ids": lambda c: [*_of_customer()(c), ("type", "eu_vat"), ("value", "DE123456789")],
    "/v1/invoiceitems": lambda c: [*_of_customer("amount")(c), ("currency", "eur")],
    "/v1/invoices": lambda c: [*_of_customer()(c), ("collection_method", "send_invoice"), ("days_until_due", "7")],
    "/v1/payment_intents": _payment,
    "/v1/payment_methods": lambda _: [("type", "card"), ("card[token]", "tok_visa")],
    "/v1/plans": _plan,
    "/v1/prices": _price,
    "/v1/products": lambda c: [("name", f"Product {c.number()}")],
    "/v1/promotion_codes": lambda c: [("promotion[type]", "coupon"), ("promotion[coupon]", c.key("coupon"))],
    "/v1/refunds": lambda c: [("charge", c.key("charge", lambda each: each.body["status"] == "succeeded"))],
    "/v1/setup_intents": _of_customer(),
    "/v1/subscription_items": lambda c: [("subscription", c.key("subscription")), ("price", _recurring_price(c))],
    "/v1/subscriptions": _subscription,
    "/v1/tax_rates": lambda _: [("display_name", "VAT"), ("inclusive", "false"), ("percentage", "19")],
    "/v1/topups": lambda c: [("amount", c.number()), ("currency", "usd")],
    "/v1/transfers": lambda c: [("amount", "100"), ("currency", "usd"), ("destination", c.key("account"))],
}
"""What is sent to create something, where more than nothing is needed, by the path."""


def _nothing(_: Callers) -> Form:
    return []


_ACTS: Iterable[tuple[str, str, str, Callable[[Callers], Form | None]]] = (
    ("DELETE", "/v1/customers/{customer}/discount", "customer", _nothing),
    ("DELETE", "/v1/subscriptions/{subscription_exposed_id}", "subscription", _nothing),
    ("POST", "/v1/checkout/sessions/{session}/expire", "checkout.session", _nothing),
    ("POST", "/v1/credit_notes/{id}/void", "credit_note", _nothing),
    ("POST", "/v1/customers/{customer}", "customer", lambda c: [("coupon", c.key("coupon"))]),
    ("POST", "/v1/disputes/{dispute}/close", "dispute", _nothing),
    ("POST", "/v1/invoices/{invoice}/finalize", "invoice", _nothing),
    ("POST", "/v1/invoices/{invoice}/mark_uncollectible", "invoice", _nothing),
    ("POST", "/v1/invoices/{invoice}/void", "invoice", _nothing),
    ("POST", "/v1/payment_intents/{intent}/cancel", "payment_intent", _nothing),
    ("POST", "/v1/payment_intents/{intent}/confirm", "payment_intent",
     lambda c: [("payment_method", c.one_of("pm_card_visa", "pm_card_chargeDeclined"))]),
    ("POST", "/v1/payment_methods/{payment_method}/attach", "payment_method", _of_customer()),
    ("POST", "/v1/payment_methods/{payment_method}/detach", "payment_method", _nothing),
    ("POST", "/v1/payouts/{payout}/cancel", "payout", _nothing),
    ("POST", "/v1/quotes/{quote}/cancel", "quote", _nothing),
    ("POST", "/v1/reviews/{review}/approve", "review", _nothing),
    ("POST", "/v1/setup_intents/{intent}/cancel", "setup_intent", _nothing),
    ("POST", "/v1/subscription_schedules/{schedule}/cancel", "subscription_schedule", _nothing),
    ("POST", "/v1/subscriptions/{subscription_exposed_id}", "subscription",
     lambda c: [("items[0][price]", _recurring_price(c))]),
)  # fmt: skip
"""What else is done to an object: method, path, the type, and the form."""
