"""What is found by several lists of parents, one of which the key may not read for a while."""

from typing import Any

import pytest
from replica import DAY, EVERY_RUN, SELDOM, Replica
from stand_in import NO_PERMISSION, NOW, StandInStripe

from tap_stripe_events.client import Request

LISTS: dict[str, Any] = {
    "/v1/account": {"id": "acct_own", "object": "account"},
    "/v1/accounts": [{"id": "acct_2", "object": "account", "created": NOW}],
    "/v1/accounts/acct_2/capabilities": [{"id": "transfers", "object": "capability", "account": "acct_2"}],
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


# What the key may not read of what events tell


def invoice(lines: int) -> dict[str, Any]:
    data = [{"id": f"il_{number}", "object": "line_item", "invoice": "in_1"} for number in range(lines)]
    return {"id": "in_1", "object": "invoice", "lines": {"object": "list", "data": data, "has_more": False}}


def replica_with_an_invoice_that_changes_while_it_is_refused(*selected: str) -> tuple[Replica, StandInStripe]:
    stripe = StandInStripe({"/v1/invoices": [invoice(1)]})
    replica = Replica()
    assert replica.run(stripe, *selected, pace=SELDOM)
    stripe.stripe_clock.now += 100
    stripe.lists["/v1/invoices"][0] = invoice(3)
    stripe.announce("invoice.updated", invoice(3), version="2020-08-27")
    stripe.refusals |= dict.fromkeys(("/v1/invoices", "/v1/invoices/in_1"), NO_PERMISSION)
    assert replica.run(stripe, *selected, pace=SELDOM)
    assert replica.ids("line_item") == {"il_0"}
    return replica, stripe


def test_children_are_made_up_for_when_their_parents_may_be_read_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    selected = ("invoice", "line_item")
    replica, stripe = replica_with_an_invoice_that_changes_while_it_is_refused(*selected)
    stripe.refusals.clear()
    assert replica.run(stripe, *selected, pace=SELDOM)
    assert replica.ids("line_item") == {"il_0", "il_1", "il_2"}
    assert "listing_due" not in replica.bookmark("line_item")
    assert "Stream invoice may be read again" in caplog.text


def test_children_alone_are_denied_with_the_parents_that_bring_them_and_come_back() -> None:
    replica, stripe = replica_with_an_invoice_that_changes_while_it_is_refused("line_item")
    assert replica.bookmark("line_item")["denied"]
    stripe.refusals.clear()
    assert replica.run(stripe, "line_item", pace=SELDOM)
    assert replica.ids("line_item") == {"il_0", "il_1", "il_2"}
    assert "denied" not in replica.bookmark("line_item")


def test_what_no_list_shows_is_followed_again_from_where_it_was_left() -> None:
    mandate = {"id": "mandate_1", "object": "mandate", "status": "active"}
    stripe = StandInStripe({"/v1/mandates": [mandate]})
    replica = Replica()
    assert replica.run(stripe, "mandate")
    stripe.stripe_clock.now += DAY
    stripe.announce("mandate.updated", mandate, version="2020-08-27")
    stripe.refusals["/v1/mandates/mandate_1"] = NO_PERMISSION
    assert replica.run(stripe, "mandate")
    assert replica.bookmark("mandate")["denied"]
    stripe.stripe_clock.now += DAY
    stripe.refusals.clear()
    assert replica.run(stripe, "mandate", pace=SELDOM)  # it is too soon to read all that again
    assert replica.ids("mandate") == set()
    assert replica.run(stripe, "mandate", pace=EVERY_RUN)
    assert replica.ids("mandate") == {"mandate_1"}
    assert "denied" not in replica.bookmark("mandate")


def test_parents_that_nobody_selected_and_that_may_not_be_read_are_spoken_of(caplog: pytest.LogCaptureFixture) -> None:
    link = {"id": "plink_1", "object": "payment_link"}
    paths = ("payment_links", "checkout/sessions", "quotes", "test_helpers/test_clocks")
    lists: dict[str, Any] = {f"/v1/{path}": [] for path in paths}
    stripe = StandInStripe(lists)
    replica = Replica()
    assert replica.run(stripe, "item", pace=SELDOM)
    stripe.announce("payment_link.updated", link, version="2020-08-27")
    stripe.refusals["/v1/payment_links/plink_1"] = NO_PERMISSION
    assert replica.run(stripe, "item", pace=SELDOM)
    assert "denied" not in replica.bookmark("item")  # it has other parents
    assert [
        each.getMessage() for each in caplog.records if "payment_link, of which the feed tells" in each.getMessage()
    ]


# What is refused while it is listed


def test_a_listing_in_which_an_event_met_a_refusal_too_proves_nothing() -> None:
    charges = [{"id": f"ch_{number}", "object": "charge", "created": NOW - number} for number in range(3)]
    customers = [{"id": f"cus_{number:04}", "object": "customer", "created": NOW - number} for number in range(1_500)]
    lists: dict[str, Any] = {"/v1/charges": charges, "/v1/customers": customers, "/v1/test_helpers/test_clocks": []}
    stripe, replica = StandInStripe(lists, in_flight=2), Replica(livemode=False)
    selected = ("charge", "customer", "test_helpers.test_clock")
    assert replica.run(stripe, *selected)
    stripe.stripe_clock.now += DAY
    stripe.refusals |= dict.fromkeys(("/v1/charges", "/v1/charges/ch_0"), NO_PERMISSION)

    def announce(request: Request) -> None:
        if request.path == "/v1/charges":  # it is refused while customers are still listed, who can lead to charges
            stripe.before_answer = lambda _: None
            stripe.announce("charge.updated", charges[0], version="2020-08-27")  # to be read again

    stripe.before_answer = announce
    assert replica.run(stripe, *selected)
    assert "/v1/charges/ch_0" in {request.path for request in stripe.requests}
    assert replica.ids("charge") == {"ch_0", "ch_1", "ch_2"}
    assert replica.bookmark("charge")["denied"]
    assert replica.bookmark("charge")["listing_started_at"] is None
