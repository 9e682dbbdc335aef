"""Requests to ``/v1``: who asks, for what, and the answer in Stripe's form."""

from __future__ import annotations

import logging
import re
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from stripe_sandbox.account import Account, Cause
from stripe_sandbox.credit_preview import PREVIEW_LINES_PATH, preview_lines
from stripe_sandbox.errors import StripeError, missing_parameter, no_such, unknown_parameter, unrecognized_url
from stripe_sandbox.families import EMBEDDED, LIST_ALIASES
from stripe_sandbox.filters import event_shows
from stripe_sandbox.forms import Params, as_list, parse_params
from stripe_sandbox.ids import token
from stripe_sandbox.keys import Key, authenticate, masked
from stripe_sandbox.messages import Request, Response
from stripe_sandbox.products import demand_product
from stripe_sandbox.rendering import parse_expand, pretty
from stripe_sandbox.replays import Replays, Scope
from stripe_sandbox.routes import Routes
from stripe_sandbox.spec import ListEndpoint, Retrieve, Spec, Write
from stripe_sandbox.store import Body, Record
from stripe_sandbox.upcoming import (
    CREATE_PREVIEW_PATH,
    UPCOMING_LINES_PATH,
    UPCOMING_PATH,
    created_preview,
    upcoming_invoice,
    upcoming_lines,
)
from stripe_sandbox.uploads import body_params
from stripe_sandbox.writes import write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stripe_sandbox.platforms import Platform

_VERSION: Final = re.compile(r"20\d\d-\d\d-\d\d(\.[a-z]+)?")
_SINGLETONS: Final = frozenset({"/v1/balance", "/v1/balance_settings", "/v1/tax/settings"})
_COMPUTED: Final = frozenset(
    {
        # What Stripe computes when it is asked and keeps nowhere.
        "/v1/billing/credit_balance_summary",
        "/v1/credit_notes/preview",
        "/v1/treasury/financial_accounts/{financial_account}/features",
    }
)
_STUBBED: Final = frozenset({"customer"})  # types that are answered as {id, object, deleted} once they are deleted

_NO_PLATFORM: Final = (
    "Only Stripe Connect platforms can work with other accounts. If you specified a client_id parameter, make sure "
    "it's correct. If you need to setup a Stripe Connect platform, you can do so at "
    "https://dashboard.stripe.com/account/applications/settings."
)

logger = logging.getLogger(__name__)

Operation = ListEndpoint | Retrieve | Write


class Api:
    """Answers requests for the accounts that keys belong to, and for those connected to them.

    Args:
        spec: The API.
        keys: The keys by their secrets.
        platform: Knows the accounts that keys may act for. A key reaches those of which its own account has an
            ``account`` object.
    """

    def __init__(self, spec: Spec, keys: Mapping[str, Key], platform: Platform) -> None:
        self._spec = spec
        self._keys = keys
        self._platform = platform
        self._routes: Routes[Operation] = Routes()
        self._replays = Replays()
        self._requests = 0
        self.missing_products: frozenset[str] = frozenset()
        by_path = {endpoint.path: endpoint for endpoint in spec.lists}
        for endpoint in spec.lists:
            self._routes.add("GET", endpoint.path, endpoint)
        for alias, path in LIST_ALIASES.items():
            source = by_path[path]
            self._routes.add("GET", alias, ListEndpoint(path=alias, objects=source.objects, params=source.params))
        for retrieve in spec.retrieves:
            self._routes.add("GET", retrieve.path, retrieve)
        for path in (UPCOMING_PATH, UPCOMING_LINES_PATH):
            self._routes.add("GET", path, Retrieve(path=path, object="invoice"))
        for operation in spec.writes:
            self._routes.add(operation.method.upper(), operation.path, operation)

    def endpoint(self, request: Request) -> str:
        """The operation that a request is for, such as ``GET /v1/customers/{customer}``; unknown ones share a name."""
        found = self._routes.find(request.method, unquote(request.path))
        return f"{request.method} {found[0].path if found is not None else '(unknown)'}"

    def answer(self, request: Request) -> Response:
        """Answer one request. Never raises; what goes wrong is an answer too."""
        self._requests += 1
        request_id = f"req_{token('request', self._requests, length=14)}"
        headers = [("Request-Id", request_id)]
        version = request.headers.get("stripe-version")
        key: Key | None = None
        try:
            key = authenticate(self._keys, request.headers)
            _check_version(version)
            headers.append(("Stripe-Version", version or key.account.api_version))
            if "stripe-account" in request.headers:
                headers.append(("Stripe-Account", request.headers["stripe-account"]))
            if "idempotency-key" in request.headers:
                headers.append(("Idempotency-Key", request.headers["idempotency-key"]))
            response = self._answer(key, request, request_id)
        except Exception as failure:  # noqa: BLE001 - the rim: whatever fails is answered
            error = failure if isinstance(failure, StripeError) else _own_failure(request)
            mode = "/test" if key is None or not key.account.livemode else ""
            url = f"https://dashboard.stripe.com{mode}/workbench/logs?object={request_id}"
            response = Response(status=error.status, body=pretty(error.body(url)), headers=error.headers)
            if key is not None and request.method == "POST" and error.status == HTTPStatus.PAYMENT_REQUIRED:
                response = self._replays.keep(_scope(key, request), request, request_id, response)
        return Response(status=response.status, body=response.body, headers=(*headers, *response.headers))

    def _answer(self, key: Key, request: Request, request_id: str) -> Response:
        found = self._routes.find(request.method, unquote(request.path))
        if found is None:
            raise unrecognized_url(request.method, request.path)
        operation, values = found
        account = self._account(key, request.headers.get("stripe-account"))
        self._demand_platform(key, account, operation.path, values)
        demand_product(self.missing_products, request.method, request.path, livemode=account.livemode)
        version = request.headers.get("stripe-version") or key.account.api_version
        if isinstance(operation, Write) and operation.path == CREATE_PREVIEW_PATH:
            key.demand("invoice", "write", account)
            return Response(status=200, body=pretty(created_preview(account, body_params(request), version)))
        if isinstance(operation, Write):
            key.demand(operation.object or request.path.split("/")[2], "write", account)
            replayed = self._replays.find(_scope(key, request), request)
            if replayed is not None:
                return replayed
            account.cause = Cause(request_id=request_id, idempotency_key=request.headers.get("idempotency-key"))
            try:
                response = self._write(account, operation, values, request)
            finally:
                account.cause = Cause()
            return self._replays.keep(_scope(key, request), request, request_id, response)
        params = parse_params(request.query)
        key.demand(operation.objects[0] if isinstance(operation, ListEndpoint) else operation.object, "read", account)
        if operation.path == UPCOMING_LINES_PATH:
            return Response(status=200, body=upcoming_lines(account, params, version))
        if isinstance(operation, ListEndpoint):
            computed = operation.path == PREVIEW_LINES_PATH
            lines = preview_lines(account, operation, params) if computed else None
            return Response(status=200, body=lines or account.lists.page(operation, request.path, values, params))
        return Response(status=200, body=pretty(self._retrieve(account, operation, values, params, version)))

    def _account(self, key: Key, connected: str | None) -> Account:
        """The account that a request is about."""
        if connected is None or connected == key.account.id:
            return key.account
        account = self._platform.connected.get(connected)
        if account is None or key.account.store.get("account", connected) is None:
            raise _no_access(key, connected)
        return account

    def _demand_platform(self, key: Key, account: Account, path: str, values: Mapping[str, str]) -> None:
        """Refuse what only a platform may, and what even a platform may of the accounts that it has only."""
        if path.partition("{")[0].rstrip("/") != "/v1/accounts":
            return
        other = values.get("account")
        if account.is_connected and other is None:
            raise StripeError(403, _NO_PLATFORM, code="platform_account_required")
        if account.is_connected and other != account.id:
            raise _no_access(key, str(other))
        if other in self._platform.connected and key.account.store.get("account", str(other)) is None:
            raise _no_access(key, str(other))

    def _retrieve(
        self, account: Account, operation: Retrieve, values: Mapping[str, str], params: Params, version: str
    ) -> Body:
        if operation.path == UPCOMING_PATH:
            return upcoming_invoice(account, params, version)
        if operation.path in _COMPUTED:
            raise StripeError(400, f"The sandbox does not answer GET {operation.path}.", code="sandbox_unsupported")
        for name in params:
            if name not in operation.params and name != "expand":
                raise unknown_parameter(name)
        record = self._record(account, operation, values, params)
        if account.store.get(record.object, record.key) is None:
            return account.renderer.stub(record)
        paths = as_list("expand", params.get("expand", ""))
        return account.renderer.body(record, parse_expand(paths, self._spec, [record.object], listed=False))

    def _record(self, account: Account, operation: Retrieve, values: Mapping[str, str], params: Params) -> Record:
        """The object that a path names, or the deleted one that is still told of."""
        object_type = operation.object
        if operation.path == "/v1/account":
            return _existing(account, ("account",), account.id, "id")
        if operation.path in _SINGLETONS:
            return _existing(account, (object_type,), object_type, "id")
        if not values:
            return _found_by_params(account, operation, params)
        *parents, (name, key) = values.items()
        if object_type == "capability":
            key = f"{parents[0][1]}:{key}"
        types = next(
            (e.children for e in EMBEDDED if object_type in e.children and len(e.children) > 1), (object_type,)
        )
        if len(values) == 1 and object_type not in ("cash_balance", "treasury.financial_account_features"):
            types = (object_type,)
        record = account.store.get(object_type, key)
        if record is None and object_type in _STUBBED and (gone := account.store.last_known(object_type, key)):
            return gone
        record = _existing(account, types, key, name)
        if _is_withheld(account, record):
            raise no_such(object_type, key, param=name)
        for parent_name, parent in parents:
            linked = (record.link(parent_name), record.link("fee"), record.facts.get(parent_name))
            if object_type != "capability" and parent not in linked:
                raise no_such(object_type, key, param=name)
        return record

    def _write(self, account: Account, operation: Write, values: Mapping[str, str], request: Request) -> Response:
        params = parse_params(request.query) | body_params(request)
        paths = as_list("expand", params.pop("expand", ""))
        expand = parse_expand(paths, self._spec, [operation.object] if operation.object else [], listed=False)
        result = write(account, operation, values, params)
        if isinstance(result, Record):
            account.schedule(result)
            if operation.path == "/v1/accounts" and account is self._platform.account:
                self._platform.adopt(result)
        body = account.renderer.body(result, expand) if isinstance(result, Record) else result
        return Response(status=200, body=pretty(body))


def _scope(key: Key, request: Request) -> Scope:
    """Within what idempotency keys are unique."""
    return key.secret, request.headers.get("stripe-account", key.account.id)


def _no_access(key: Key, account_id: str) -> StripeError:
    return StripeError(
        403,
        f"The provided key '{masked(key.secret)}' does not have access to account '{account_id}' "
        "(or that account does not exist). Application access may have been revoked.",
        code="account_invalid",
    )


def _is_withheld(account: Account, record: Record) -> bool:
    """Whether an object is there but cannot be retrieved: an event out of its time, a source as a payment method."""
    if record.object == "event":
        return not event_shows(record, account.now())
    return record.object == "payment_method" and record.key.startswith("src_")


def _check_version(version: str | None) -> None:
    if version is not None and not _VERSION.fullmatch(version):
        raise StripeError(400, f"Invalid Stripe API version: {version}")


def _own_failure(request: Request) -> StripeError:
    """Called while a fault of the sandbox's own is handled: the log has it, the client gets a 500."""
    logger.error("The sandbox failed at %s %s:\n%s", request.method, request.path, traceback.format_exc())
    return StripeError(500, "The sandbox failed. Its log says why.", type="api_error")


def _existing(account: Account, types: tuple[str, ...], key: str, param: str) -> Record:
    for object_type in types:
        record = account.store.get(object_type, key)
        if record is not None:
            return record
    raise no_such(types[0], key, param=param)


def _found_by_params(account: Account, operation: Retrieve, params: Mapping[str, Any]) -> Record:
    """An object that is found by what it says rather than by an id, such as a secret by name and scope."""
    if operation.path.endswith("/search"):
        raise StripeError(400, "The sandbox has no search. List the objects instead.", code="sandbox_unsupported")
    wanted = {name: value for name, value in params.items() if name != "expand"}
    if not wanted:
        raise missing_parameter(min(set(operation.params) - {"expand"}, default="id"))
    for record in account.store.table(operation.object):
        if all(record.link(name) == value for name, value in wanted.items()):
            return record
    raise no_such(operation.object, str(wanted))
