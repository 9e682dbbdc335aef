"""What is found by several lists of parents, one of which the key may not read for a while."""

from typing import Any

import pytest
from replica import DAY, SELDOM, Replica
from stand_in import NO_PERMISSION, NOW, StandInStripe

LISTS: dict[str, Any] = {
    "/v1/account": {"id": "acct_own", "object": "account"},
    "/v1/accounts": [{"id": "acct_1", "object": "account", "created": NOW}],
    "/v1/accounts/acct_1/capabilities": [{"id": "transfers", "object": "capability", "account": "acct_1"}],
    "/v1/customers": [{"id": "cus_1", "object": "customer", "created": NOW}],
    "/v1/test_helpers/test_clocks": [],
}
SELECTED = ("account", "capability", "customer")


def stripe_on(day: int, *, refusing: str | None = None) -> StandInStripe:
    stripe = StandInStripe(LISTS)
    stripe.stripe_clock.now = NOW + DAY * day
    if refusing is not None:
        stripe.refusals[refusing] = NO_PERMISSION
    return stripe


def test_what_a_refused_list_leads_to_is_read_once_it_may_be() -> None:
    replica = Replica()
    assert replica.run(stripe_on(0, refusing="/v1/accounts"), *SELECTED, pace=SELDOM)
    assert replica.ids("capability") == set()
    assert replica.run(stripe_on(1), *SELECTED, pace=SELDOM)
    assert replica.ids("capability") == {"transfers"}
    assert "not_read" not in replica.bookmark("capability")


@pytest.mark.parametrize("cut", range(1, 8))
def test_so_it_is_when_the_refused_run_was_cut_short(cut: int) -> None:
    """The run after it ends what was under way, as refused as it was; the next one begins anew."""
    replica = Replica()
    replica.run(stripe_on(0, refusing="/v1/accounts"), *SELECTED, most_items=cut, pace=SELDOM)
    for day in (1, 2):
        assert replica.run(stripe_on(day), *SELECTED, pace=SELDOM)
    assert replica.ids("capability") == {"transfers"}


def test_it_is_read_once_and_not_over_and_over() -> None:
    replica = Replica()
    for day, refused in enumerate(["/v1/accounts", "/v1/accounts", None]):
        assert replica.run(stripe_on(day, refusing=refused), *SELECTED, pace=SELDOM)
    again = stripe_on(3)
    assert replica.run(again, *SELECTED, pace=SELDOM)
    assert {request.path for request in again.requests}.isdisjoint({"/v1/accounts", "/v1/customers"})
