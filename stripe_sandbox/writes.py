"""Operations that change something: rules where money moves or things depend on each other, else by their form.

``POST`` on a list's path creates, on an object's path changes, ``DELETE`` deletes, and a last segment such as
``cancel`` moves the status as ``_ACTIONS`` says. What has neither a rule nor such a form is refused, never feigned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox import (
    billing,
    catalog,
    connected,
    customers,
    deletions,
    entitlements,
    invoices,
    payment_methods,
    payments,
    sources,
    testing,
    uploads,
)
from stripe_sandbox.account import Account
from stripe_sandbox.coercion import values_from_params
from stripe_sandbox.errors import StripeError, missing_parameter, no_such
from stripe_sandbox.families import CHILD_LISTS
from stripe_sandbox.forms import Params
from stripe_sandbox.store import Body, Record

if TYPE_CHECKING:
    from stripe_sandbox.spec import Write

Rule = Callable[[Account, Mapping[str, str], Params], Record | Body]

_RULES: Final[Mapping[tuple[str, str], Rule]] = MappingProxyType(
    {
        **catalog.RULES,
        **connected.RULES,
        **customers.RULES,
        **payment_methods.RULES,
        **sources.RULES,
        **payments.RULES,
        **invoices.RULES,
        **billing.RULES,
        **entitlements.RULES,
        **deletions.RULES,
        **testing.RULES,
        **uploads.RULES,
    }
)

_NOW: Final = object()  # stands for the present moment

_ACTIONS: Final[Mapping[str, tuple[dict[str, Any], str]]] = MappingProxyType(
    {
        # the path: what changes, and the event's verb
        "/v1/billing/alerts/{id}/activate": ({"status": "active"}, "updated"),
        "/v1/billing/alerts/{id}/archive": ({"status": "archived"}, "updated"),
        "/v1/billing/alerts/{id}/deactivate": ({"status": "inactive"}, "updated"),
        "/v1/billing/meters/{id}/deactivate": ({"status": "inactive"}, "deactivated"),
        "/v1/billing/meters/{id}/reactivate": ({"status": "active"}, "reactivated"),
        "/v1/checkout/sessions/{session}/expire": ({"status": "expired", "url": None}, "expired"),
        "/v1/climate/orders/{order}/cancel": ({"status": "canceled"}, "canceled"),
        "/v1/identity/verification_sessions/{session}/cancel": ({"status": "canceled"}, "canceled"),
        "/v1/invoice_rendering_templates/{template}/archive": ({"status": "archived"}, "updated"),
        "/v1/invoice_rendering_templates/{template}/unarchive": ({"status": "active"}, "updated"),
        "/v1/issuing/authorizations/{authorization}/approve": ({"approved": True}, "updated"),
        "/v1/issuing/authorizations/{authorization}/decline": ({"approved": False, "status": "closed"}, "updated"),
        "/v1/issuing/disputes/{dispute}/submit": ({"status": "submitted"}, "submitted"),
        "/v1/payouts/{payout}/cancel": ({"status": "canceled"}, "canceled"),
        "/v1/quotes/{quote}/cancel": ({"status": "canceled"}, "canceled"),
        "/v1/quotes/{quote}/finalize": ({"status": "open"}, "finalized"),
        "/v1/reviews/{review}/approve": ({"open": False, "reason": "approved", "closed_reason": "approved"}, "closed"),
        "/v1/three_d_secure/authentications/{authentication}/cancel": ({"status": "canceled"}, "canceled"),
        "/v1/topups/{topup}/cancel": ({"status": "canceled"}, "canceled"),
        "/v1/treasury/financial_accounts/{financial_account}/close": ({"status": "closed"}, "closed"),
        "/v1/treasury/inbound_transfers/{inbound_transfer}/cancel": ({"status": "canceled"}, "canceled"),
        "/v1/treasury/outbound_payments/{id}/cancel": ({"status": "canceled"}, "canceled"),
        "/v1/treasury/outbound_transfers/{outbound_transfer}/cancel": ({"status": "canceled"}, "canceled"),
        "/v1/billing/credit_grants/{id}/expire": ({"expires_at": _NOW}, "updated"),
        "/v1/billing/credit_grants/{id}/void": ({"voided_at": _NOW}, "updated"),
        "/v1/billing/feedback_options/{id}/deactivate": ({"status": "inactive"}, "updated"),
        "/v1/financial_connections/accounts/{account}/disconnect": ({"status": "disconnected"}, "disconnected"),
        "/v1/identity/verification_sessions/{session}/redact": ({"redaction": {"status": "redacted"}}, "redacted"),
        "/v1/refunds/{refund}/cancel": ({"status": "canceled"}, "updated"),
        "/v1/test_helpers/issuing/authorizations/{authorization}/expire": ({"status": "expired"}, "updated"),
        "/v1/test_helpers/issuing/authorizations/{authorization}/reverse": ({"status": "reversed"}, "updated"),
        "/v1/test_helpers/issuing/personalization_designs/{personalization_design}/activate": (
            {"status": "active"},
            "activated",
        ),
        "/v1/test_helpers/issuing/personalization_designs/{personalization_design}/deactivate": (
            {"status": "inactive"},
            "deactivated",
        ),
        "/v1/test_helpers/issuing/personalization_designs/{personalization_design}/reject": (
            {"status": "rejected"},
            "rejected",
        ),
        "/v1/test_helpers/refunds/{refund}/expire": ({"status": "failed"}, "failed"),
        "/v1/test_helpers/treasury/inbound_transfers/{id}/fail": ({"status": "failed"}, "failed"),
        "/v1/test_helpers/treasury/inbound_transfers/{id}/succeed": ({"status": "succeeded"}, "succeeded"),
        "/v1/test_helpers/treasury/outbound_payments/{id}/fail": ({"status": "failed"}, "failed"),
        "/v1/test_helpers/treasury/outbound_payments/{id}/post": ({"status": "posted"}, "posted"),
        "/v1/test_helpers/treasury/outbound_payments/{id}/return": ({"status": "returned"}, "returned"),
        "/v1/test_helpers/treasury/outbound_transfers/{outbound_transfer}/fail": ({"status": "failed"}, "failed"),
        "/v1/test_helpers/treasury/outbound_transfers/{outbound_transfer}/post": ({"status": "posted"}, "posted"),
        "/v1/test_helpers/treasury/outbound_transfers/{outbound_transfer}/return": ({"status": "returned"}, "returned"),
    }
)


def write(account: Account, operation: Write, values: Mapping[str, str], params: Params) -> Record | Body:
    """Perform an operation and answer the object it is about, or the body to answer.

    Raises:
        StripeError: The operation is refused, or the sandbox does not perform it.
    """
    method = operation.method.upper()
    rule = _RULES.get((method, operation.path))
    if rule is not None:
        return rule(account, values, params)
    if operation.path in _ACTIONS:
        changes, verb = _ACTIONS[operation.path]
        changes = {name: account.now() if value is _NOW else value for name, value in changes.items()}
        record = _addressed(account, operation, values)
        return account.change(
            record, {**values_from_params(account, record.object, params, record.body), **changes}, verb=verb
        )
    object_type = operation.object
    if object_type is not None and method == "POST" and operation.path in _list_paths(account, object_type):
        return _create(account, operation.path, object_type, values, params)
    if object_type is not None and operation.path in _object_paths(account, object_type):
        record = _addressed(account, operation, values)
        if method == "DELETE":
            return deletions.delete(account, record)
        return account.change(record, values_from_params(account, object_type, params, record.body))
    raise StripeError(400, f"The sandbox does not perform {method} {operation.path}.", code="sandbox_unsupported")


def _create(account: Account, path: str, object_type: str, values: Mapping[str, str], params: Params) -> Record:
    fields = account.spec.fields(object_type)
    given = values_from_params(account, object_type, params)
    facts: dict[str, Any] = {}
    child = CHILD_LISTS.get(path)
    if child is not None:
        parent = next(iter(values.values()))
        if account.store.get(child.parent, parent) is None:
            raise no_such(child.parent, parent, param=next(iter(values)))
        (given if child.link in fields else facts)[child.link] = parent
    for name, shape in fields.items():
        required = shape.type in ("expandable", "ref") and not shape.nullable and not shape.optional
        if required and name not in given:
            raise missing_parameter(name)
    return account.create(object_type, given, facts=facts)


def _addressed(account: Account, operation: Write, values: Mapping[str, str]) -> Record:
    """The object that a path names by its last placeholder."""
    object_type = operation.object or ""
    if not values:
        record = account.store.get(object_type, object_type)
        key = object_type
    else:
        key = list(values.values())[-1]
        if object_type == "capability":
            key = ":".join(values.values())
        record = account.store.get(object_type, key)
    if record is None:
        raise no_such(object_type, key, param=next(iter(values), "id"))
    return record


def _list_paths(account: Account, object_type: str) -> frozenset[str]:
    return frozenset(endpoint.path for endpoint in account.spec.lists if object_type in endpoint.objects)


def _object_paths(account: Account, object_type: str) -> frozenset[str]:
    return frozenset(retrieve.path for retrieve in account.spec.retrieves if retrieve.object == object_type)
