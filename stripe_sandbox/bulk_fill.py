"""Puts bulks into an account: ``{"charge": 1_000_000}`` becomes a million charges before anything else it has."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from stripe_sandbox.bulk import ID_MARK, Bulk, Link
from stripe_sandbox.customers import cash_balance
from stripe_sandbox.errors import SandboxError
from stripe_sandbox.families import id_prefix
from stripe_sandbox.ids import token
from stripe_sandbox.rendering import at_page_depth
from stripe_sandbox.shapes import Generator
from stripe_sandbox.store import Body, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stripe_sandbox.account import Account

VARIANTS: Final = 16
_FIRST_CREATED: Final = 1_317_427_200  # October 2011, when the oldest accounts began
_DAY: Final = 86_400
_AMOUNTS: Final = ("amount", "amount_captured", "amount_received", "amount_due")


def add_bulks(account: Account, counts: Mapping[str, int]) -> None:
    """Add bulks. Objects refer to each other where both types are bulks, else to nothing.

    Raises:
        SandboxError: A type that the API does not list by itself, or that is too many for its ids.
    """
    oldest = min((table.order[0][0] for table in account.store.tables() if table.order), default=account.now())
    span = (_FIRST_CREATED, max(oldest - _DAY, _FIRST_CREATED + _DAY))
    for name, count in counts.items():
        if name not in account.spec.objects or "id" not in account.spec.fields(name):
            raise SandboxError(f"There can be no bulk of '{name}': no object type with an id. Try charge=1000000.")
        account.store.table(name).bulk = _bulk(account, name, count, counts, span)
        if name == "customer":
            account.store.table("cash_balance").bulk = _cash_balances(account, count, span)


def _bulk(account: Account, name: str, count: int, counts: Mapping[str, int], span: tuple[int, int]) -> Bulk:
    fields = account.spec.fields(name)
    links = [
        Link(field=field, prefix=id_prefix(shape.objects[0]), count=counts[shape.objects[0]])
        for field, shape in fields.items()
        if shape.type == "expandable" and shape.objects[0] in counts and shape.objects[0] != name
    ]
    random = Random(token(account.seed, "bulk", name))
    generator = Generator(lambda _types, _random: None, now=span[1], livemode=account.livemode)
    bodies = [generator.body(name, fields, random) for _ in range(VARIANTS)]
    for body in bodies:
        body.update({"test_clock": None} if "test_clock" in fields else {})
        # Nothing more belongs to a virtual customer, so that it must not say that there is.
        body.update({"cash_balance": ID_MARK, "balance": 0} if name == "customer" else {})
    return Bulk(
        object_type=name,
        prefix=id_prefix(name),
        count=count,
        span=span,
        bodies=bodies,
        shown=[account.renderer.body(Record(name, "", body, created=0, facts={})) for body in bodies],
        render=at_page_depth,
        links=links,
        amounts=[field for field in _AMOUNTS if field in fields],
    )


def _cash_balances(account: Account, count: int, span: tuple[int, int]) -> Bulk:
    """The cash balances of a bulk of customers, found by the customers' ids."""
    body: Body = {**cash_balance(account, ""), "customer": ID_MARK}
    return Bulk(
        object_type="cash_balance",
        prefix=id_prefix("customer"),
        count=count,
        span=span,
        bodies=[body],
        shown=[body],
        render=at_page_depth,
    )
