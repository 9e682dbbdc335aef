"""Answers to requests with an idempotency key, kept to be given again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from stripe_sandbox.errors import StripeError

if TYPE_CHECKING:
    from stripe_sandbox.messages import Request, Response

KEPT: Final = 10_000
HEADER: Final = "idempotency-key"
Scope = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class _Kept:
    digest: bytes
    request_id: str
    response: Response


class Replays:
    """The newest answers by scope (an API key and the account it acts for) and idempotency key."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Scope, str], _Kept] = {}

    def find(self, scope: Scope, request: Request) -> Response | None:
        """The answer that the same request got before: its bytes as they were then, however old they are by now.

        Raises:
            StripeError: 400 where the idempotency key came with other parameters then.
        """
        name = request.headers.get(HEADER)
        kept = self._kept.get((scope, name)) if name is not None else None
        if kept is None:
            return None
        if kept.digest != _digest(request):
            raise StripeError(
                400,
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{name}' if you meant to execute a different request.",
                type="idempotency_error",
            )
        headers = (("Idempotent-Replayed", "true"), ("Original-Request", kept.request_id))
        return replace(kept.response, headers=headers)

    def keep(self, scope: Scope, request: Request, request_id: str, response: Response) -> Response:
        """Keep an answer, if its request wants it, and tell the client under which request it is known."""
        name = request.headers.get(HEADER)
        if name is None:
            return response
        self._kept[scope, name] = _Kept(digest=_digest(request), request_id=request_id, response=response)
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return replace(response, headers=(*response.headers, ("Original-Request", request_id)))


def _digest(request: Request) -> bytes:
    return hashlib.blake2b(f"{request.method} {request.path}\n".encode() + request.body).digest()
