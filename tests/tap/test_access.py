"""`--test`: what a key can read."""

from typing import Any

import pytest

from tap_stripe_events.access import access_table, check_access
from tap_stripe_events.client import StripeClient
from tap_stripe_events.object_table import API_VERSION, STRIPE_OBJECTS
from tap_stripe_events.objects import PREVIEWS


@pytest.fixture
def found(full_sandbox: Any) -> Any:
    def check(key: str) -> Any:
        with StripeClient(
            api_key=key,
            api_url=full_sandbox.url,
            api_version=API_VERSION,
            requests_per_second=1000,
            endpoint_requests_per_second=1000,
            max_concurrent_requests=8,
        ) as client:
            return check_access(client, STRIPE_OBJECTS)

    return check


def test_a_full_key_reads_every_stream_that_has_a_list(found: Any) -> None:
    by_stream = {each.stream: each for each in found("sk_test_sandbox")}
    assert set(by_stream) == {each.stream for each in STRIPE_OBJECTS.values()} | PREVIEWS.keys()
    assert all(by_stream[name].readable for name in PREVIEWS)
    assert not [each.stream for each in by_stream.values() if each.readable is False]
    assert by_stream["source_transaction"].readable  # two parents down


def test_a_restricted_key_is_told_what_it_lacks(found: Any) -> None:
    by_stream = {each.stream: each for each in found("rk_test_some")}
    assert by_stream["customer"].readable
    assert by_stream["event"].readable
    assert by_stream["charge"].readable is False
    assert "rak_charge_read" in by_stream["charge"].note
    assert by_stream["capability"].readable is False
    assert by_stream["capability"].note == "found through account, which cannot be read"


def test_the_table_is_one_line_a_stream(found: Any) -> None:
    lines = access_table(found("rk_test_some")).splitlines()
    assert len(lines) == len(STRIPE_OBJECTS) + len(PREVIEWS) + 5
    assert "streams can be read" in lines[-2]


def test_the_permissions_that_are_missing_are_listed_once(found: Any) -> None:
    last = access_table(found("rk_test_some")).splitlines()[-1]
    assert last.startswith("Permissions that the key lacks: rak_")
    missing = last.removeprefix("Permissions that the key lacks: ").removesuffix(".").split(", ")
    assert missing == sorted(set(missing))
    assert "rak_charge_read" in missing
    assert "rak_customer_read" not in missing
    assert "lacks" not in access_table(found("sk_test_sandbox"))
