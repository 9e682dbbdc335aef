"""Rules for what Stripe offers for tests (clocks that can be moved), and for a few small things beside money."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stripe_sandbox.catalog import demand, existing, named
from stripe_sandbox.coercion import values_from_params
from stripe_sandbox.errors import wrong_state
from stripe_sandbox.forms import Params, as_int
from stripe_sandbox.occurrences import catch_up_test_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.store import Body, Record


def create_test_clock(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/test_helpers/test_clocks``."""
    demand(params, "frozen_time")
    values = values_from_params(account, "test_helpers.test_clock", params)
    deletes_after = account.now() + 30 * 86_400
    return account.create(
        "test_helpers.test_clock", {"deletes_after": deletes_after, "status": "ready", "status_details": {}, **values}
    )


def advance_test_clock(account: Account, path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/test_helpers/test_clocks/{test_clock}/advance``: what is due until then happens at once."""
    clock = existing(account, "test_helpers.test_clock", path["test_clock"], "test_clock")
    demand(params, "frozen_time")
    target = as_int("frozen_time", params["frozen_time"])
    if target < clock.body["frozen_time"]:
        raise wrong_state("You cannot move a test clock to a time in the past.")
    account.change(
        clock,
        {"status": "advancing", "status_details": {"advancing": {"target_frozen_time": target}}},
        verb="advancing",
    )
    catch_up_test_clock(account, account.test_agenda(clock.key), target)
    return account.change(clock, {"frozen_time": target, "status": "ready", "status_details": {}}, verb="ready")


def create_value_list_item(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/radar/value_list_items``."""
    demand(params, "value", "value_list")
    value_list = named(account, "radar.value_list", params["value_list"], "value_list")
    item = account.create(
        "radar.value_list_item",
        {"created_by": "sandbox", **values_from_params(account, "radar.value_list_item", params)},
    )
    value_list.facts["values"] = [*value_list.facts.get("values", ()), item.body["value"]]
    account.store.put(value_list)
    return item


def create_webhook_endpoint(account: Account, _path: Mapping[str, str], params: Params) -> Body:
    """``POST /v1/webhook_endpoints``: the secret comes with this answer and never again."""
    demand(params, "enabled_events", "url")
    params.pop("connect", None)
    values = values_from_params(account, "webhook_endpoint", params)
    endpoint = account.create("webhook_endpoint", {"metadata": {}, "status": "enabled", **values})
    return {**account.renderer.body(endpoint), "secret": f"whsec_{account.ids.token(32)}"}


RULES: Final[Mapping[tuple[str, str], Callable[[Account, Mapping[str, str], Params], Record | Body]]] = (
    MappingProxyType(
        {
            ("POST", "/v1/test_helpers/test_clocks"): create_test_clock,
            ("POST", "/v1/test_helpers/test_clocks/{test_clock}/advance"): advance_test_clock,
            ("POST", "/v1/radar/value_list_items"): create_value_list_item,
            ("POST", "/v1/webhook_endpoints"): create_webhook_endpoint,
        }
    )
)
