"""What an answer leaves out of the rows' columns is read again, with one request and the caller's own parameters."""

import itertools

import pytest
import requests

OLD_VERSION = "2020-08-27"
TIERS = [{"up_to": 10, "unit_amount": 5}, {"up_to": "inf", "unit_amount": 4}]
TIERED = "SELECT count(*) FROM stripe.price WHERE jsonb_array_length(tiers) = 2 AND currency_options IS NOT NULL"


@pytest.fixture
def prices(sandbox, client):
    """Thirty prices that the proxy has not seen, and a product of their own."""
    product = client.v1.products.create({"name": "Plan"})
    for number in range(30):
        client.v1.prices.create(
            {"product": product.id, "currency": "eur", "billing_scheme": "tiered", "tiers_mode": "volume",
             "tiers": TIERS, "recurring": {"interval": "month"}, "nickname": f"{number}"}
        )  # fmt: skip
    return product.id


def asked(sandbox, path):
    """The paths that were asked of the sandbox and begin so."""
    log = requests.get(f"{sandbox.url}/_sandbox/requests", params={"newest": 1000}, timeout=10).json()["requests"]
    return [each["path"] for each in log if each["path"].startswith(path)]


@pytest.fixture
def make_caller(proxy, make_stripe):
    """Makes clients of a version."""
    return lambda version=None: make_stripe(proxy, stripe_version=version)


@pytest.mark.parametrize("caller", [*itertools.product([None, OLD_VERSION], [[], ["data.product"], ["data.tiers"]])])
def test_a_list_of_prices_is_read_again_as_a_list(sandbox, prices, make_caller, rows, caller):
    version, expand = caller
    listed = make_caller(version).v1.prices.list({"limit": 20, "product": prices, "expand": expand})
    assert len(listed.data) == 20
    assert len(asked(sandbox, "/v1/prices")) == 30 + 2  # made, listed for the caller, listed for the tables
    assert rows(TIERED) == [(20,)]
    if expand == ["data.product"]:
        assert rows("SELECT id FROM stripe.product") == [(prices,)]


@pytest.mark.parametrize("version", [None, OLD_VERSION])
def test_a_price_that_is_read_keeps_its_tiers(sandbox, prices, make_caller, rows, version):
    key = make_caller().v1.prices.list({"limit": 1, "product": prices}).data[0].id
    sandbox.account.clock.advance(1)
    make_caller(version).v1.prices.retrieve(key)
    assert rows(TIERED) == [(1,)]


def test_what_is_expanded_in_many_elements_is_read_again_once(sandbox, prices, client, make_caller, rows):
    price = client.v1.prices.list({"limit": 1, "product": prices}).data[0].id
    customer = client.v1.customers.create({"payment_method": "pm_card_visa"})
    for _ in range(4):
        client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price}]})
    before = len(asked(sandbox, "/v1/prices"))
    make_caller().v1.subscriptions.list({"expand": ["data.items.data.price"]})
    assert len(asked(sandbox, "/v1/prices")) == before + 1
    assert rows(TIERED) == [(1,)]
