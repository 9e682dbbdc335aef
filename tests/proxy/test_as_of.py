"""As of when an answer counts is told by Stripe's clock from the first answer on, however wrong this machine's is."""

import time
from datetime import UTC, datetime

import pytest
import stripe

DECLINED = {
    "amount": 1000, "currency": "eur", "payment_method": "pm_card_chargeDeclined", "confirm": True,
    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
}  # fmt: skip


@pytest.fixture(params=[-7200, 7200])
def off(request, sandbox):
    """Stripe's clock stands that many seconds off this machine's."""
    sandbox.account.clock.stop_at(int(time.time()) + request.param)
    return request.param


def test_a_declined_payment_that_is_the_first_answer_counts_as_the_end_of_its_second(off, proxy, make_stripe, rows):
    with pytest.raises(stripe.CardError) as declined:
        make_stripe(proxy).v1.payment_intents.create(DECLINED)
    created = datetime.fromtimestamp(declined.value.error.payment_intent["created"], UTC)
    ((as_of,),) = rows("SELECT _sdc_as_of FROM stripe.payment_intent")
    assert 0 <= (as_of - created).total_seconds() < 60


def test_a_read_that_is_the_first_answer_is_not_as_of_a_time_to_come(off, sandbox, proxy, make_stripe, rows):
    past = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": sandbox.url})
    key = past.v1.customers.create({}).id
    make_stripe(proxy).v1.customers.retrieve(key)
    ((as_of,),) = rows("SELECT _sdc_as_of FROM stripe.customer")
    assert as_of <= datetime.fromtimestamp(sandbox.account.now(), UTC)
