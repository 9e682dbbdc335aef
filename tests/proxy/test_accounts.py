"""A platform's connected accounts: what is written for one is a row of that one, and of those only that are read."""

import pytest
import stripe

OLD_VERSION = "2020-08-27"
WHOSE = "SELECT stripe_account_id, id, name FROM stripe.coupon WHERE _sdc_deleted_at IS NULL ORDER BY 1, 2"


@pytest.fixture
def platform(make_sandbox):
    return make_sandbox(connected_accounts=2)


@pytest.fixture
def connected(platform):
    """The accounts: the platform's own, one that the sync reads too, and one that it does not read."""
    return [platform.account.id, *platform.connected]


@pytest.fixture
def reading(platform, claim, make_proxy, make_stripe):
    """Makes a client, through the proxy of a sync that reads some of the accounts."""

    def make(accounts):
        claim(platform.account.id, accounts=accounts)
        return make_stripe(make_proxy(platform))

    return make


@pytest.fixture
def client(reading, connected):
    return reading(connected[:2])


def make_coupon(client, account, key="SAME", **more):
    options = {} if account is None else {"stripe_account": account}
    return client.v1.coupons.create({"id": key, "percent_off": 10, "duration": "once", **more}, options)


def test_what_is_written_for_an_account_is_its_row_at_once(client, connected, rows):
    own, first, _ = connected
    make_coupon(client, None, name="own")
    make_coupon(client, first, name="first")
    assert rows(WHOSE) == sorted([(own, "SAME", "own"), (first, "SAME", "first")])
    client.v1.coupons.delete("SAME", options={"stripe_account": first})
    assert rows(WHOSE) == [(own, "SAME", "own")]
    client.v1.coupons.retrieve("SAME", options={"stripe_account": own})
    assert rows(WHOSE) == [(own, "SAME", "own")]


def test_what_is_written_for_an_account_that_is_not_read_is_nobodys_row(client, connected, rows):
    make_coupon(client, None)
    make_coupon(client, connected[2])
    assert [account for account, *_ in rows(WHOSE)] == [connected[0]]


def test_the_keys_own_account_may_be_the_one_that_is_not_read(reading, connected, rows):
    client = reading(connected[1:2])
    make_coupon(client, None)
    make_coupon(client, connected[1], name="first")
    assert rows(WHOSE) == [(connected[1], "SAME", "first")]


def test_what_has_to_be_read_again_is_read_for_its_account(client, connected, rows):
    """An answer in another version of the API is not what the rows are in."""
    own, first, _ = connected
    make_coupon(client, None, name="own")
    options = {"stripe_account": first, "stripe_version": OLD_VERSION}
    client.v1.coupons.create({"id": "SAME", "percent_off": 25, "duration": "once", "name": "old"}, options)
    assert rows(WHOSE) == sorted([(own, "SAME", "own"), (first, "SAME", "old")])
    assert rows("SELECT percent_off FROM stripe.coupon WHERE stripe_account_id = %s", first) == [(25,)]


def test_lists_of_an_account_are_its_rows(platform, client, connected, rows):
    first = connected[1]
    for name in ("a", "b"):
        platform.run(lambda name=name: platform.connected[first].create("customer", {"name": name}))
    client.v1.customers.list({}, {"stripe_account": first})
    assert {account for (account,) in rows("SELECT stripe_account_id FROM stripe.customer")} == {first}


def test_no_access_is_told_as_stripe_tells_it(client, rows):
    with pytest.raises(stripe.PermissionError, match="does not have access to account"):
        make_coupon(client, "acct_stranger")
    assert rows("SELECT to_regclass('stripe.coupon')") == [(None,)]
