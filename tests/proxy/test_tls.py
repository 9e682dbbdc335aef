"""The proxy's sessions honour the TLS settings of the database's URI."""

import pytest
import requests


def created(proxy):
    """Whether the proxy has stored what it was told."""
    answer = requests.post(f"{proxy}/api.stripe.com/v1/customers", auth=("sk_test_sandbox", ""), timeout=20)
    assert answer.status_code == 200
    return answer.headers.get("Stripe-Proxy-Applied") != "false"


@pytest.fixture
def make_proxy_over_tls(sandbox, claim, make_proxy, database, tls_postgres):
    """Starts proxies whose sessions go over TLS, or should."""
    claim(sandbox.account.id)
    return lambda **parameters: make_proxy(sandbox, database_url=tls_postgres.url(database, **parameters))


def test_what_was_written_is_stored_over_tls(make_proxy_over_tls, rows, tls_postgres):
    assert created(make_proxy_over_tls(sslmode="verify-full", sslrootcert=tls_postgres.authority))
    assert rows("SELECT count(*) FROM stripe.customer") == [(1,)]


@pytest.mark.parametrize("mode", ["disable", "verify-full"])
def test_a_server_that_the_uri_does_not_allow_is_not_talked_to(make_proxy_over_tls, rows, tls_postgres, mode):
    root = {"sslrootcert": tls_postgres.other_authority} if mode == "verify-full" else {}
    assert not created(make_proxy_over_tls(sslmode=mode, **root))
    assert rows("SELECT to_regclass('stripe.customer')") == [(None,)]
