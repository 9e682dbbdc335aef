"""A key with one permission alone ends well, and fills what that opens; `single_permissions.py` tries them all."""

import pytest
from single_permissions import KEY, forget_test_clocks, names, troubles
from stripe_account import stripe_account


@pytest.fixture(scope="module")
def stripe():
    with stripe_account("full", restricted_keys={KEY: "customer"}) as account:
        forget_test_clocks(account)
        yield account


@pytest.fixture(scope="module")
def truth(stripe):
    return stripe.expectation()


@pytest.mark.parametrize("name", ["customer", "event", "account"])
def test_a_key_with_one_permission_fills_what_that_opens(stripe, truth, make_pipeline, name):
    assert name in names()
    assert list(troubles(name, stripe, truth, make_pipeline(stripe))) == []
