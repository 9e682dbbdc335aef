"""Every cell of the selected tables against the truth, as far as a plan lets it be known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from checkers import rows_of
from oracle import GAP_FILLER, differences, key_of, table, table_names
from rounds import ONLY_IN_EVENTS
from stripe_account import SHOWN_ON_REQUEST

from tap_stripe_events.families import names_by_stream, needed_roots, roots_of, shows_test_clocks
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.objects import KeptBy, StripeList

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import psycopg
    from oracle import Difference, Expectation, Oracle, StripeObject
    from plan import Plan


def wanted_types(plan: Plan) -> set[str]:
    """The types whose truth is needed: the selected ones, and what says which rows of theirs are listed."""
    return {*plan.selected, *(("source",) if "source_transaction" in plan.selected else ())}


def told_in_part(plan: Plan) -> frozenset[str]:
    """The tables of which events do not tell everything: where things change in silence, or are refused for a while.

    What was refused is listed when it comes back, and what hangs on it. The rest must be right without.
    """
    # Where so much is billed, an invoice takes items that wait: they say so themselves, and no event does.
    taken = frozenset({"invoiceitem"}) if plan.previews is not None else frozenset[str]()
    if not plan.silent and not plan.is_refused_at_times:
        return taken
    if any(each.not_set_up for each in plan.phases):
        return frozenset(map(table, plan.selected))
    refused = frozenset[str]().union(*(each.refused for each in plan.phases))
    roots = frozenset[StripeList]().union(*(roots_of(name, optional=True) for name in refused))
    return taken | frozenset(
        table(name)
        for name in plan.selected
        if name in refused
        or roots_of(name, optional=True) & roots
        or STRIPE_OBJECTS[name].kept_by is not KeptBy.EVENTS
        or STRIPE_OBJECTS[name].partly
    )


def wrong_cells(
    connection: psycopg.Connection[Any],
    plan: Plan,
    oracle: Oracle,
    truth: Iterable[StripeObject],
    *,
    complete: Callable[[StripeObject], StripeObject],
    without: frozenset[str] = frozenset(),
    begun_anew: bool = False,
) -> list[Difference]:
    """Return every cell that is not what Stripe has.

    Args:
        connection: A session in the database.
        plan: What was selected, and how the feed behaved.
        oracle: Computes cells.
        truth: Every object of the wanted types, without what is shown on request.
        complete: Adds that to an object.
        without: Tables to leave out.
        begun_anew: The state was lost so far back that the feed was followed from a later second than before.
    """
    if plan.feed.get("old_share"):
        without |= ONLY_IN_EVENTS
    plain = list(truth)
    expectation = oracle.expect([complete(each) for each in plain])
    for each in plain:  # a copy may lack what is shown on request
        if each.object in SHOWN_ON_REQUEST:
            cells = oracle.cells(each.object, each.body, {})
            expectation.copies[each.object][key_of(each.object, cells)].append(cells)
    tables = {table(name) for name in plan.selected} - without
    found = differences(connection, expectation, tables=tables)
    # A copy may come from within an object whose type is not selected, of which the truth was not asked.
    rows = rows_of(connection, tables & table_names(connection))
    fillers = {row for row, seen in rows.items() if seen.as_of == GAP_FILLER}
    found = [each for each in found if each.expected != "no row" or (each.table, each.key) not in fillers]
    if plan.has_gaps or begun_anew:  # what no list shows, or proves to be gone, only events tell: some were not read
        read = frozenset(needed_roots(plan.selected))
        found = [each for each in found if _is_listed(each, expectation, read)]
    return found


def forgets_the_feed(connection: psycopg.Connection[Any], state: Mapping[str, Any] | None) -> bool:
    """Whether a state that is kept says less of some stream than that it is followed, though it was."""
    if "_sync_status" not in {name for (name,) in connection.execute("SELECT tablename FROM pg_tables")}:
        return False
    followed = connection.execute("SELECT stream FROM stripe._sync_status WHERE events_as_of IS NOT NULL")
    bookmarks = (state or {}).get("bookmarks", {})
    return any(not bookmarks.get(stream, {}).get("events_as_of") for (stream,) in followed)


def _is_listed(found: Difference, expectation: Expectation, read: frozenset[StripeList]) -> bool:
    """Whether lists tell what the row is, or that there is none."""
    row = expectation.rows.get(found.table, {}).get(found.key)
    name = names_by_stream()[found.table]
    return _proves_absence(name, read) if row is None else row.required


def _proves_absence(name: str, read: frozenset[StripeList]) -> bool:
    """Whether a listing shows every row of a type, given what is read: the account is in test mode."""
    return STRIPE_OBJECTS[name].complete and shows_test_clocks(name, read, livemode=False)
