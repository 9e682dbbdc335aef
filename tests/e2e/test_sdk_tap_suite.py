"""The Singer SDK's own tests of a tap, in full, in this process, against a sandbox."""

import pytest
from pipeline import FAST
from singer_sdk.testing import SuiteConfig, get_tap_test_class
from singer_sdk.testing.runners import TapTestRunner
from stripe_account import stripe_account

from tap_stripe_events.tap import TapStripeEvents

CONFIG = {"api_key": "sk_test_sandbox", **FAST}
UNLISTED = [
    "application", "billing_meter_event_summary", "billing_portal_session", "connect_collection_transfer",
    "financial_connections_account_ownership", "financial_connections_authorization", "mandate",
    "radar_payment_evaluation", "reserve_hold", "reserve_plan", "reserve_release", "reserve_transaction",
    "source_mandate_notification", "tax_association", "tax_calculation", "tax_calculation_line_item",
    "tax_deducted_at_source", "tax_transaction", "tax_transaction_line_item",
]  # fmt: skip
"""In no list: they arrive in events and inside others only."""

SUITE = SuiteConfig(max_records_limit=None, ignore_no_records_for_streams=UNLISTED)


# The suite warns of optional fields that no object of the account happens to have.
@pytest.mark.filterwarnings("ignore:Fields in transformed catalog but not in records:UserWarning")
@pytest.mark.filterwarnings("ignore:No records were available to test:UserWarning")
class TestTapStripeEvents(get_tap_test_class(TapStripeEvents, config=CONFIG, suite_config=SUITE)):
    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls):
        with stripe_account("full") as account:
            runner = TapTestRunner(TapStripeEvents, config=CONFIG | {"api_url": account.url}, suite_config=SUITE)
            runner.sync_all()
            yield runner
