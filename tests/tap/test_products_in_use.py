"""Products that the account is said not to use, and what events tell of them all the same."""

from typing import Any

from replica import DAY, EVERY_RUN, Replica
from stand_in import EVENTS, NO_PERMISSION, NOT_SET_UP, NOW, StandInStripe

from tap_stripe_events.plan import Rhythm
from tap_stripe_events.sync import Pace

TOPUPS = "/v1/topups"
SELDOM = Pace(rhythm=Rhythm(sweep_seconds=7 * DAY, full_sweep_seconds=30 * DAY, not_set_up_seconds=DAY))


def topup(number: int) -> dict[str, object]:
    return {"id": f"tu_{number}", "object": "topup", "created": NOW - 1000 + number, "amount": number}


def stripe_at(second: int, *, in_use: bool) -> StandInStripe:
    lists = {path: [] for path in ("/v1/customers", "/v1/events", "/v1/test_helpers/test_clocks", "/v1/balance")}
    lists[TOPUPS] = [topup(1), topup(2)]
    stripe = StandInStripe(lists)
    stripe.stripe_clock.now = NOW + second
    if not in_use:
        stripe.refusals[TOPUPS] = NOT_SET_UP
    return stripe


def replica_without_topups() -> Replica:
    replica = Replica()
    assert replica.run(stripe_at(0, in_use=False), "customer", "topup", pace=SELDOM)
    assert replica.bookmark("topup")["denied"]["not_set_up"]
    return replica


def test_the_first_event_about_a_product_has_its_list_read() -> None:
    replica = replica_without_topups()
    stripe = stripe_at(100, in_use=True)
    stripe.announce("topup.created", topup(2))
    assert replica.run(stripe, "customer", "topup", pace=SELDOM)
    assert replica.ids("topup") == {"tu_1", "tu_2"}
    assert "denied" not in replica.bookmark("topup")


def test_what_events_tell_is_there_even_if_its_list_is_still_refused() -> None:
    replica = replica_without_topups()
    stripe = stripe_at(100, in_use=False)
    stripe.announce("topup.created", topup(2))
    assert replica.run(stripe, "customer", "topup", pace=SELDOM)
    assert replica.values("topup", "amount") == {"tu_2": 2}
    assert replica.bookmark("topup")["denied"]["not_set_up"]


def test_a_list_that_was_just_refused_is_not_asked_for_again_at_every_event() -> None:
    replica = replica_without_topups()
    for second in (100, 110):
        stripe = stripe_at(second, in_use=False)
        stripe.announce("topup.updated", topup(2))
        assert replica.run(stripe, "customer", "topup", pace=SELDOM)
        assert (TOPUPS in stripe.asked()) is (second == 100)


# Types that have several lists

ACCOUNTS: dict[str, Any] = {
    "/v1/account": {"id": "acct_own", "object": "account"},
    "/v1/accounts": [{"id": "acct_1", "object": "account", "created": NOW}],
    "/v1/test_helpers/test_clocks": [],
    "/v1/customers": [],
}


def accounts_at(second: int, **refusals: tuple[int, str]) -> StandInStripe:
    stripe = StandInStripe(ACCOUNTS)
    stripe.stripe_clock.now = NOW + second
    stripe.refusals |= {f"/v1/{name}": refusal for name, refusal in refusals.items()}
    return stripe


def test_without_connected_accounts_the_account_itself_is_all_there_is() -> None:
    replica = Replica()
    assert replica.run(accounts_at(0, accounts=NOT_SET_UP), "account", pace=SELDOM)
    assert replica.ids("account") == {"acct_own"}
    assert "denied" not in replica.bookmark("account")
    again = accounts_at(100, accounts=NOT_SET_UP)
    assert replica.run(again, "account", pace=SELDOM)
    assert [each.path for each in again.requests] == [EVENTS]


def test_rows_of_a_product_that_is_not_in_use_any_more_stay() -> None:
    replica = Replica()
    assert replica.run(accounts_at(0), "account", pace=EVERY_RUN)
    assert replica.run(accounts_at(100, accounts=NOT_SET_UP), "account", pace=EVERY_RUN)
    assert replica.ids("account") == {"acct_own", "acct_1"}


def test_so_do_rows_that_its_objects_led_to() -> None:
    capabilities = [{"id": "transfers", "object": "capability", "account": "acct_2"}]
    lists: dict[str, Any] = ACCOUNTS | {
        "/v1/accounts": [{"id": "acct_2", "object": "account", "created": NOW}],
        "/v1/accounts/acct_2/capabilities": capabilities,
    }
    stripe, replica = StandInStripe(lists), Replica()
    assert replica.run(stripe, "capability", "customer", pace=EVERY_RUN)
    for _ in range(2):
        stripe.stripe_clock.now += DAY
        stripe.refusals["/v1/accounts"] = NOT_SET_UP
        assert replica.run(stripe, "capability", "customer", pace=EVERY_RUN)
        assert replica.ids("capability") == {"transfers"}
    stripe.stripe_clock.now += DAY
    stripe.refusals.clear()
    capabilities.clear()
    assert replica.run(stripe, "capability", "customer", pace=EVERY_RUN)
    assert replica.ids("capability") == set()


def test_a_type_is_refused_if_one_of_its_lists_is_and_the_other_is_not_set_up() -> None:
    replica = Replica()
    stripe = accounts_at(0, accounts=NOT_SET_UP, account=NO_PERMISSION)
    assert replica.run(stripe, "account", pace=SELDOM)
    assert "not_set_up" not in replica.bookmark("account")["denied"]
