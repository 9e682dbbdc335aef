"""Which objects a list shows: filters by parameter, and rows that Stripe hides unless they are asked for.

A filter is a pure function of a record, the parameter's value and the time. A parameter that is named like a field of
the object, and is not in the tables here, compares with that field.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from stripe_sandbox.errors import invalid_parameter
from stripe_sandbox.forms import as_bool, as_int, as_list
from stripe_sandbox.store import Record

EVENT_RETENTION_SECONDS: Final = 30 * 86_400
MAX_EVENT_TYPES: Final = 20

Test = Callable[[Record], bool]

PAGING: Final = frozenset({"limit", "starting_after", "ending_before", "expand"})
RANGES: Final = MappingProxyType({"gt": 1, "gte": 0, "lt": 0, "lte": 1})
"""The bounds of a range parameter, and what to add to each to make the range half-open."""

RANGE_FIELDS: Final = frozenset(
    {
        "amount",
        "arrival_date",
        "canceled_at",
        "completed_at",
        "created",
        "current_period_end",
        "current_period_start",
        "due_date",
        "effective_at",
        "released_at",
        "transacted_at",
    }
)
IGNORED: Final = frozenset(
    {
        # They change how something is computed or sorted where the sandbox has one answer only.
        ("/v1/billing/meters/{id}/event_summaries", "value_grouping_window"),
        ("/v1/treasury/transaction_entries", "order_by"),
        ("/v1/treasury/transactions", "order_by"),
    }
)


def bounds(name: str, value: Any) -> tuple[int | None, int | None]:
    """The half-open range ``[from, to)`` of a range parameter: an exact integer or gt, gte, lt, lte.

    Raises:
        StripeError: 400 for anything else.
    """
    if not isinstance(value, dict):
        exact = as_int(name, value)
        return exact, exact + 1
    low: int | None = None
    high: int | None = None
    for key, text in value.items():
        if key not in RANGES:
            raise invalid_parameter(
                f"{name}[{key}]", f"Received unknown parameter: {name}[{key}]", code="parameter_unknown"
            )
        bound = as_int(f"{name}[{key}]", text) + RANGES[key]
        if key in ("gt", "gte"):
            low = bound if low is None else max(low, bound)
        else:
            high = bound if high is None else min(high, bound)
    return low, high


def within(field: str, value: Any) -> Test:
    """Objects of which an integer field lies in a range; null lies in none."""
    low, high = bounds(field, value)

    def test(record: Record) -> bool:
        actual = record.link(field)
        return isinstance(actual, int) and (low is None or actual >= low) and (high is None or actual < high)

    return test


def matches(actual: Any, wanted: Any) -> bool:
    """Whether a value is what a parameter asks for: text compared as such, hashes member by member."""
    if isinstance(wanted, dict):
        return isinstance(actual, dict) and all(matches(actual.get(name), item) for name, item in wanted.items())
    if isinstance(wanted, list):
        return any(matches(actual, item) for item in wanted)
    if isinstance(actual, bool):
        return bool(str(actual).lower() == wanted)
    if isinstance(actual, dict):
        return bool(actual.get("id") == wanted)
    return actual is not None and str(actual) == wanted


def _nested(body: Mapping[str, Any], path: str) -> Any:
    value: Any = body
    for segment in path.split("."):
        value = value.get(segment) if isinstance(value, Mapping) else None
    return value


def _at(path: str) -> Callable[[str, Any], Test]:
    return lambda _name, value: lambda record: matches(_nested(record.body, path), value)


def _opposite(field: str) -> Callable[[str, Any], Test]:
    return lambda name, value: lambda record: record.body.get(field) is not as_bool(name, value)


def _is_null(field: str) -> Callable[[str, Any], Test]:
    return lambda name, value: lambda record: (record.link(field) is None) is as_bool(name, value)


def _any_of(field: str) -> Callable[[str, Any], Test]:
    def make(name: str, value: Any) -> Test:
        wanted = set(as_list(name, value))
        return lambda record: record.body.get(field) in wanted

    return make


def _event_type(name: str, value: Any) -> Test:
    if value.count("*") > 1 or (value != "*" and "*" in value and not value.endswith(".*")):
        raise invalid_parameter(name, f"Invalid event type: {value}")
    return lambda record: fnmatch.fnmatchcase(record.body["type"], value)


def _event_types(name: str, value: Any) -> Test:
    wanted = set(as_list(name, value))
    if len(wanted) > MAX_EVENT_TYPES:
        raise invalid_parameter(name, f"You may pass at most {MAX_EVENT_TYPES} types.")
    return lambda record: record.body["type"] in wanted


def _subscription_status(_name: str, value: Any) -> Test:
    if value == "all":
        return lambda _record: True
    if value == "ended":
        return lambda record: record.body["status"] in ("canceled", "incomplete_expired")
    return lambda record: record.body["status"] == value


def _all_or(field: str) -> Callable[[str, Any], Test]:
    return lambda _name, value: lambda record: value == "all" or record.body[field] == value


def _after_transaction_refresh(_name: str, value: Any) -> Test:
    return lambda record: bool(record.body["transaction_refresh"] > value["after"])


def _posted(name: str, value: Any) -> Test:
    if not isinstance(value, dict) or set(value) != {"posted_at"}:
        raise invalid_parameter(name, "Invalid object")
    low, high = bounds("posted_at", value["posted_at"])

    def test(record: Record) -> bool:
        moment = _nested(record.body, "status_transitions.posted_at")
        return moment is not None and (low is None or moment >= low) and (high is None or moment < high)

    return test


FILTERS: Final[Mapping[tuple[str, str], Callable[[str, Any], Test]]] = MappingProxyType(
    {
        ("/v1/billing/alerts", "meter"): _at("usage_threshold.meter"),
        ("/v1/billing/meters/{id}/event_summaries", "start_time"): lambda n, v: (
            lambda r: r.body["end_time"] > as_int(n, v)
        ),
        ("/v1/billing/meters/{id}/event_summaries", "end_time"): lambda n, v: (
            lambda r: r.body["start_time"] < as_int(n, v)
        ),
        ("/v1/entitlements/features", "archived"): _opposite("active"),
        ("/v1/events", "delivery_success"): lambda n, v: lambda r: (r.body["pending_webhooks"] == 0) is as_bool(n, v),
        ("/v1/events", "type"): _event_type,
        ("/v1/events", "types"): _event_types,
        ("/v1/financial_connections/transactions", "transaction_refresh"): _after_transaction_refresh,
        ("/v1/identity/verification_sessions", "status"): _at("status"),
        ("/v1/invoiceitems", "pending"): _is_null("invoice"),
        ("/v1/invoices", "subscription"): _at("parent.subscription_details.subscription"),
        ("/v1/issuing/personalization_designs", "lookup_keys"): _any_of("lookup_key"),
        ("/v1/payment_records", "created_after"): lambda n, v: lambda r: r.created > as_int(n, v),
        ("/v1/payment_records", "created_before"): lambda n, v: lambda r: r.created < as_int(n, v),
        ("/v1/prices", "lookup_keys"): _any_of("lookup_key"),
        ("/v1/product_catalog/trial_offers", "prices"): lambda n, v: lambda r: r.link("price") in as_list(n, v),
        ("/v1/products", "ids"): _any_of("id"),
        ("/v1/promotion_codes", "coupon"): _at("promotion.coupon"),
        ("/v1/radar/value_lists", "contains"): lambda _n, v: lambda r: v in r.facts.get("values", ()),
        ("/v1/shipping_rates", "currency"): _at("fixed_amount.currency"),
        ("/v1/subscription_schedules", "scheduled"): lambda n, v: (
            lambda r: (r.body["status"] == "not_started") is as_bool(n, v)
        ),
        ("/v1/subscriptions", "plan"): lambda _n, v: lambda r: v in r.facts.get("prices", ()),
        ("/v1/subscriptions", "price"): lambda _n, v: lambda r: v in r.facts.get("prices", ()),
        ("/v1/subscriptions", "status"): _subscription_status,
        ("/v1/tax/registrations", "status"): _all_or("status"),
        ("/v1/treasury/received_credits", "linked_flows"): lambda _n, v: (
            lambda r: matches(_nested(r.body, "linked_flows.source_flow_type"), v.get("source_flow_type"))
        ),
        ("/v1/treasury/transactions", "status_transitions"): _posted,
    }
)
"""The parameters that are no plain comparison with a field, by path and name."""

DEFAULTS: Final[Mapping[tuple[str, str], Callable[[Record], bool]]] = MappingProxyType(
    {
        ("/v1/payment_methods", "type"): lambda record: record.body["type"] != "custom",
        ("/v1/prices", "active"): lambda record: record.body["active"] is True,
        ("/v1/subscriptions", "status"): lambda record: record.body["status"] not in ("canceled", "incomplete_expired"),
        ("/v1/tax/registrations", "status"): lambda record: record.body["status"] == "active",
        ("/v1/tax_ids", "owner"): lambda record: record.link("customer") is None,
    }
)
"""What a list shows where a parameter is not given."""

_BY_CUSTOMER: Final = ("customer", "customer_account")


def default_tests(path: str, params: Mapping[str, Any]) -> list[Test]:
    """What a list leaves out unless a parameter asks for it."""
    return [test for (where, name), test in DEFAULTS.items() if where == path and name not in params]


def hiding_tests(path: str, object_type: str, params: Mapping[str, Any], now: int, own_account: str) -> list[Test]:
    """What a list never shows, or only by a parameter of another name. Objects of a bulk are none of that."""
    tests: list[Test] = []
    if "{" not in path and "test_clock" not in params and not any(name in params for name in _BY_CUSTOMER):
        tests.append(lambda record: record.link("test_clock") is None)
    match object_type:
        case "account":
            tests.append(lambda record: record.key != own_account)
        case "payment_method":
            tests.append(lambda record: not record.facts.get("detached"))
        case "price":
            tests.append(lambda record: not record.facts.get("inline"))
        case "review":
            tests.append(lambda record: record.body["open"] is True)
        case "event":
            tests.append(lambda record: event_shows(record, now))
    return tests


def event_shows(event: Record, now: int) -> bool:
    """Whether the API tells of an event: not before it is visible, and for thirty days."""
    return event.created >= now - EVENT_RETENTION_SECONDS and event.facts.get("visible_at", 0) <= now


def parameter_test(path: str, name: str, value: Any) -> Test:
    """The filter that a parameter of a list stands for."""
    special = FILTERS.get((path, name))
    if special is not None:
        return special(name, value)
    if name in RANGE_FIELDS:
        return within(name, value)
    return lambda record: matches(record.link(name), value)
