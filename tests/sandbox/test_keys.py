"""Who may ask, and for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import stripe

from stripe_sandbox.errors import SandboxError
from stripe_sandbox.sandbox import LIVE_KEY, Sandbox, Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from fix_sandbox import Http


def test_a_restricted_key_reads_what_it_may_and_is_told_what_it_lacks(full: Http) -> None:
    assert full.get("/v1/customers", key="rk_test_some").status_code == 200
    assert full.get("/v1/events", key="rk_test_some").status_code == 200
    refused = full.get("/v1/charges", key="rk_test_some")
    assert refused.status_code == 403
    message = refused.json()["error"]["message"]
    assert "Having the 'rak_charge_read' permission would allow this request to continue." in message
    assert "rk_test_some" not in message


def test_permissions_are_called_as_stripe_calls_them(full: Http) -> None:
    for path, permission in (
        ("/v1/account", "rak_connected_account_read"),
        ("/v1/refunds", "rak_charge_read"),
        ("/v1/test_helpers/test_clocks", "rak_billing_clock_read"),
        ("/v1/webhook_endpoints", "rak_webhook_read"),
    ):
        assert f"Having the '{permission}' permission" in full.get(path, key="rk_test_some").json()["error"]["message"]


def test_a_restricted_key_does_not_write_unless_it_may(
    make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http]
) -> None:
    sandbox = make_sandbox(restricted_keys={"rk_test_r": "customer", "rk_test_w": "customer:write"})
    http = connect(sandbox)
    assert http.post("/v1/customers", {"name": "A"}, key="rk_test_r").status_code == 403
    assert http.post("/v1/customers", {"name": "A"}, key="rk_test_w").status_code == 200
    assert http.get("/v1/customers", key="rk_test_w").status_code == 403


def test_permissions_are_taken_and_given_back(
    make_sandbox: Callable[..., Sandbox], connect: Callable[[Sandbox], Http]
) -> None:
    http = connect(make_sandbox(restricted_keys={"rk_test_r": "customer,charge"}))
    http.control("permissions", key="rk_test_r", names="customer")
    assert http.get("/v1/charges", key="rk_test_r").status_code == 403
    assert http.get("/v1/customers", key="rk_test_r").status_code == 200
    http.control("permissions", key="rk_test_r", names="customer,charge")
    assert http.get("/v1/charges", key="rk_test_r").status_code == 200
    for unrestricted in ("sk_test_sandbox", "rk_test_nobody"):
        refused = http.request("POST", "/_sandbox/permissions", json={"key": unrestricted, "names": "customer"})
        assert refused.status_code == 400
        assert "There is no restricted key" in refused.json()["error"]


def test_a_restricted_key_for_an_unknown_type_is_refused_at_the_start() -> None:
    with pytest.raises(SandboxError, match="'nonsense', which is no object type"):
        Service(account="empty", restricted_keys={"rk_test_x": "nonsense"})


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer sk_test_wrong", "Basic !!!", "Digest x"])
def test_a_request_without_a_valid_key_is_401(full: Http, header: str) -> None:
    answer = full.get("/v1/customers", headers={"Authorization": header})
    assert answer.status_code == 401
    assert "sk_test_wrong" not in answer.text


def test_a_key_may_come_as_the_user_of_basic_authentication(full: Http) -> None:
    answer = full.get("/v1/customers", headers={"Authorization": "Basic c2tfdGVzdF9zYW5kYm94Og=="})
    assert answer.status_code == 200


def test_a_live_key_sees_another_mode_of_the_same_account(full: Http, full_sandbox: Sandbox) -> None:
    assert full.get("/v1/customers", key=LIVE_KEY).json()["data"] == []
    assert full.get("/v1/account", key=LIVE_KEY).json()["id"] == full_sandbox.account.id
    assert full.get("/v1/balance", key=LIVE_KEY).json()["livemode"] is True
    refused = full.get("/v1/test_helpers/test_clocks", key=LIVE_KEY)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith("This endpoint is only available in testmode.")


def test_the_official_library_raises_the_right_classes(
    full_sandbox: Sandbox, make_client: Callable[..., stripe.StripeClient]
) -> None:
    with pytest.raises(stripe.AuthenticationError):
        make_client(full_sandbox, "sk_test_wrong").v1.customers.list()
    with pytest.raises(stripe.PermissionError):
        make_client(full_sandbox, "rk_test_some").v1.charges.list()
    client = make_client(full_sandbox)
    with pytest.raises(stripe.InvalidRequestError, match="No such customer: 'cus_none'") as caught:
        client.v1.customers.retrieve("cus_none")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")


def test_another_account_is_out_of_reach(full: Http) -> None:
    answer = full.get("/v1/customers", headers={"Stripe-Account": "acct_other"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "account_invalid")
