"""A proxy before a sandbox, with a database that a sync has claimed."""

import contextlib

import pytest
import stripe
from fix_target import Load
from fix_upstream import RawUpstream
from proxy_service import serving

from stripe_proxy.settings import Settings

KEY = "sk_test_sandbox"
STREAMS_READ = ("coupon", "customer", "invoiceitem", "price", "product", "tax_id")
"""What a sync of several accounts has bookmarks of."""


@pytest.fixture
def upstream():
    """What stands in for Stripe, byte by byte."""
    raw = RawUpstream()
    yield raw
    raw.close()


@pytest.fixture
def claim(database):
    """Makes the schema that of an account, as the first STATE of a sync does."""

    def claim(account_id, *, livemode=False, accounts=()):
        state = {"account": {"id": account_id, "livemode": livemode}, "bookmarks": {}}
        if accounts:
            bookmarks = {"bookmarks": {stream: {"kept_by": "events"} for stream in STREAMS_READ}}
            state = {**state, "accounts": dict.fromkeys(accounts, bookmarks)}
        Load(database)({"type": "STATE", "value": state})

    return claim


@pytest.fixture
def make_proxy(database):
    """Starts proxies."""
    with contextlib.ExitStack() as stack:

        def make(sandbox, **settings):
            given = {"database_url": database, "api_url": sandbox.url, "files_url": sandbox.url, "api_key": KEY}
            return stack.enter_context(serving(Settings(**{**given, **settings})))

        yield make


@pytest.fixture
def proxy(sandbox, claim, make_proxy):
    """A proxy before an empty account that is the database's."""
    claim(sandbox.account.id)
    return make_proxy(sandbox)


@pytest.fixture
def make_stripe():
    """Makes the official library's client, through a proxy."""

    def make(proxy, *, key=KEY, **options):
        return stripe.StripeClient(
            key, base_addresses={"api": f"{proxy}/api.stripe.com", "files": f"{proxy}/files.stripe.com"},
            max_network_retries=0, **options,
        )  # fmt: skip

    return make
