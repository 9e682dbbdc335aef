"""``/_sandbox``: what tests and people do to the sandbox rather than to Stripe. Bodies and answers are JSON.

| request | does |
| --- | --- |
| ``GET truth[?types=charge,event]`` | all objects, as NDJSON |
| ``GET requests[?newest=N]``, ``POST requests/reset`` | the request log |
| ``GET faults``, ``POST faults`` ``{"kind", "path", "probability", "count", …}``, ``DELETE faults`` | what goes wrong |
| ``POST latency`` ``{"ms"}`` | every answer waits |
| ``POST rate_limit`` ``{"per_second", "per_endpoint"}`` | 429 beyond that |
| ``POST products`` ``{"missing": ["issuing"]}`` | products that are not set up |
| ``POST permissions`` ``{"key", "names"}`` | what a restricted key may from now on, in the words of ``--restricted`` |
| ``POST clock`` ``{"stop_at"}``, ``{"advance"}``, ``{"run": true}``, ``{"speed": N}`` | the account's time; what is due
  by then happens, in order of time, and the answer comes when all of it has |
| ``POST tick`` ``{"days"}`` | business goes on for so many days |
| ``POST vanish`` ``{"object", "id"}`` | an object is gone with what exists only within it, and no event says so |
| ``POST delete`` ``{"object", "id"}`` | the same with the event that there is, as by the dashboard (of a price, say) |
| ``POST change`` ``{"object", "id", "values"}`` | an object changes and no event says so |
| ``POST history`` ``{"seed", "changes", "types", "silent", "seconds"}`` | a random history; answers what happened |
| ``GET connected`` | the connected accounts: ``id`` and ``access``, whether the platform may act for them |
| ``POST connected`` ``{"connect": 1}``, ``{"revoke": "acct_…"}``, ``{"restore": "acct_…"}`` | so many more join, one
  takes the platform's access away, or gives it back; the platform's events tell |
| ``POST events`` ``{"late_share", "late_seconds", "old_share", …}`` | how late events show and in which API versions:
  the fields of :class:`~stripe_sandbox.feed.FeedSettings`, and ``api_version``, the account's own |

``account=acct_…``, in the query or the body, makes ``truth``, ``tick``, ``vanish``, ``delete``, ``change``, ``history``
and ``events`` be about that connected account, also where the platform has no access to it. Without it they are about
the platform's own account, but for ``tick``, which lets business go on in all.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs

import msgspec

from stripe_sandbox import deletions
from stripe_sandbox.errors import SandboxError
from stripe_sandbox.faults import Fault, FaultKind, Faults, RateLimit, fault_kinds
from stripe_sandbox.feed import FeedSettings
from stripe_sandbox.histories import run_history
from stripe_sandbox.keys import Key, masked, restricted
from stripe_sandbox.messages import Request, Response
from stripe_sandbox.products import PRODUCTS
from stripe_sandbox.rendering import pretty
from stripe_sandbox.truth import truth_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.api import Api
    from stripe_sandbox.request_log import RequestLog

PREFIX = "/_sandbox/"


class Controlled(Protocol):
    """What the control endpoints act on."""

    account: Account
    api: Api
    faults: Faults
    keys: dict[str, Key]
    limit: RateLimit
    requests: RequestLog

    @property
    def connected(self) -> dict[str, Account]:
        """The connected accounts by id."""

    def pass_time(self) -> bool:
        """Let happen what is due, for a moment; whether all of it has happened."""

    def tick(self, days: int, account_id: str | None = None) -> None:
        """Let business go on for so many days, in one account or in all."""

    def account_of(self, account_id: str | None) -> Account:
        """The platform's account (None) or a connected one."""

    def reaches(self, account_id: str) -> bool:
        """Whether the platform has access to a connected account."""

    def connect(self, count: int = 1) -> list[Account]:
        """So many more accounts join the platform."""

    def revoke(self, account_id: str) -> None:
        """Take the platform's access to an account away."""

    def restore(self, account_id: str) -> None:
        """Give access back that was revoked."""


def answer(target: Controlled, request: Request) -> Response:
    """Answer a control request: 404 for an unknown one, 400 with a reason for a wrong one."""
    action = _ACTIONS.get((request.method, request.path.removeprefix(PREFIX)))
    if action is None:
        known = ", ".join(f"{method} {PREFIX}{name}" for method, name in sorted(_ACTIONS))
        return Response(status=404, body=pretty({"error": f"No {request.method} {request.path} here, but: {known}"}))
    query = {name: values[-1] for name, values in parse_qs(request.query).items()}
    try:
        given = msgspec.json.decode(request.body, type=dict[str, Any]) if request.body else {}
        result = action(target, {**query, **given})
    except (SandboxError, msgspec.MsgspecError) as error:
        return Response(status=400, body=pretty({"error": str(error)}))
    return result if isinstance(result, Response) else Response(status=200, body=pretty(result))


def _truth(target: Controlled, given: Mapping[str, Any]) -> Response:
    types = [name for name in given.get("types", "").split(",") if name]
    return Response(status=200, content_type="application/x-ndjson", chunks=truth_lines(_account(target, given), types))


def _requests(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    return target.requests.summary(newest=int(given.get("newest", 100)))


def _reset_requests(target: Controlled, _given: Mapping[str, Any]) -> dict[str, Any]:
    target.requests.reset()
    return {"ok": True}


def _show_faults(target: Controlled, _given: Mapping[str, Any]) -> dict[str, Any]:
    return {"faults": [{**asdict(fault), "kind": fault.kind.value} for fault in target.faults.active]}


def _add_fault(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    if given.get("kind") not in fault_kinds():
        raise SandboxError(f"There is no fault '{given.get('kind')}', but: {', '.join(fault_kinds())}.")
    try:
        fault = Fault(**{**given, "kind": FaultKind(given["kind"])})
    except TypeError as error:
        names = ", ".join(Fault.__dataclass_fields__)
        raise SandboxError(f"A fault is described by {names} ({error}).") from error
    target.faults.active.append(fault)
    return _show_faults(target, given)


def _clear_faults(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    target.faults.active.clear()
    return _show_faults(target, given)


def _latency(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    target.faults.latency_seconds = float(_needed(given, "ms")) / 1000
    return {"latency_ms": target.faults.latency_seconds * 1000}


def _rate_limit(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    target.limit = RateLimit(per_second=given.get("per_second"), per_endpoint=given.get("per_endpoint"))
    return {"per_second": target.limit.per_second, "per_endpoint": target.limit.per_endpoint}


def _products(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    missing = frozenset(_needed(given, "missing"))
    if not missing <= PRODUCTS.keys():
        raise SandboxError(
            f"There is no product {sorted(missing - PRODUCTS.keys())}, but: {', '.join(sorted(PRODUCTS))}."
        )
    target.api.missing_products = missing
    return {"missing": sorted(missing)}


def _permissions(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    key = target.keys.get(_needed(given, "key"))
    if key is None or key.permissions is None:
        raise SandboxError(f"There is no restricted key {masked(given['key'])}. Start with --restricted KEY=NAMES.")
    target.keys[key.secret] = changed = restricted(key.secret, _needed(given, "names"), key.account)
    return {"permissions": sorted(changed.permissions or ())}


def _clock(target: Controlled, given: Mapping[str, Any]) -> Response | dict[str, Any]:
    clock = target.account.clock
    if "stop_at" in given:
        clock.stop_at(int(given["stop_at"]))
    if "advance" in given:
        clock.advance(int(given["advance"]))
    if given.get("run"):
        clock.run()
    if "speed" in given:
        clock.run_at(float(given["speed"]))
    if target.pass_time():
        return {"now": clock.now()}
    return Response(status=200, chunks=_until_caught_up(target))


def _until_caught_up(target: Controlled) -> Iterator[bytes]:
    """Blanks while there is still something to happen, then the answer; others are served in between."""
    while not target.pass_time():
        yield b" "
    yield pretty({"now": target.account.now()})


def _tick(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    target.tick(int(given.get("days", 1)), given.get("account"))
    return {"now": target.account.now()}


def _vanish(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    account = _account(target, given)
    record = account.store.get(_needed(given, "object"), _needed(given, "id"))
    if record is None:
        raise SandboxError(f"There is no {given['object']} {given['id']} that could vanish.")
    deletions.vanish(account, record)
    return {"vanished": record.key}


def _delete(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    account = _account(target, given)
    record = account.store.get(_needed(given, "object"), _needed(given, "id"))
    if record is None:
        raise SandboxError(f"There is no {given['object']} {given['id']} to delete.")
    return deletions.delete(account, record)


def _change(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    account = _account(target, given)
    record = account.store.get(_needed(given, "object"), _needed(given, "id"))
    if record is None:
        raise SandboxError(f"There is no {given['object']} {given['id']} to change.")
    account.change(record, _needed(given, "values"), verb=None)
    return account.renderer.body(record)


def _history(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    changes = run_history(
        _account(target, given),
        seed=int(_needed(given, "seed")),
        changes=int(given.get("changes", 100)),
        types=given.get("types", ()),
        silent=bool(given.get("silent", True)),
        seconds=int(given.get("seconds", 30)),
    )
    return {"now": target.account.now(), "changes": [asdict(each) for each in changes]}


def _events(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    account = _account(target, given)
    account.api_version = str(given.get("api_version", account.api_version))
    wanted = {name: value for name, value in given.items() if name not in ("api_version", "account")}
    account.feed = msgspec.convert({**asdict(account.feed), **wanted}, type=FeedSettings)
    unknown = wanted.keys() - asdict(account.feed).keys()
    if unknown:
        raise SandboxError(f"The feed has no {sorted(unknown)}, but: {', '.join(asdict(account.feed))}.")
    return {"api_version": account.api_version, **asdict(account.feed)}


def _show_connected(target: Controlled, _given: Mapping[str, Any]) -> dict[str, Any]:
    return {"accounts": [{"id": key, "access": target.reaches(key)} for key in target.connected]}


def _change_connected(target: Controlled, given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = given.keys() - {"connect", "revoke", "restore"}
    if unknown or not given:
        raise SandboxError("The request has 'connect' (how many), 'revoke' or 'restore' (an id of an account).")
    if "revoke" in given:
        target.revoke(str(given["revoke"]))
    if "restore" in given:
        target.restore(str(given["restore"]))
    joined = target.connect(int(given.get("connect", 0)))
    return {"connected": [account.id for account in joined], **_show_connected(target, given)}


def _account(target: Controlled, given: Mapping[str, Any]) -> Account:
    return target.account_of(given.get("account"))


def _needed(given: Mapping[str, Any], name: str) -> Any:
    if name not in given:
        raise SandboxError(f"The request lacks '{name}'.")
    return given[name]


_ACTIONS: Mapping[tuple[str, str], Callable[[Controlled, Mapping[str, Any]], Response | dict[str, Any]]] = {
    ("GET", "truth"): _truth,
    ("GET", "requests"): _requests,
    ("POST", "requests/reset"): _reset_requests,
    ("GET", "faults"): _show_faults,
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _clear_faults,
    ("POST", "latency"): _latency,
    ("POST", "rate_limit"): _rate_limit,
    ("POST", "products"): _products,
    ("POST", "permissions"): _permissions,
    ("POST", "clock"): _clock,
    ("POST", "tick"): _tick,
    ("POST", "vanish"): _vanish,
    ("POST", "delete"): _delete,
    ("POST", "change"): _change,
    ("POST", "history"): _history,
    ("POST", "events"): _events,
    ("GET", "connected"): _show_connected,
    ("POST", "connected"): _change_connected,
}
