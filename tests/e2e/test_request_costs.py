"""Requests are money: what a plain account of customers who pay may cost."""

CUSTOMERS = 3_000


def test_three_thousand_customers_with_payments_cost_less_than_1_3_requests_each(
    make_account, make_pipeline, assert_true
):
    account = make_account(bulk={"customer": CUSTOMERS, "payment_intent": CUSTOMERS, "charge": CUSTOMERS})
    outcome = make_pipeline(account).run()
    assert outcome.succeeded, outcome.logs
    assert len(account.requests()) < 1.3 * CUSTOMERS
    assert_true(account)
