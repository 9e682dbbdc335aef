"""Files that are sent to Stripe: multipart bodies, and what becomes of them. Their contents are not kept."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stripe_sandbox.catalog import demand
from stripe_sandbox.coercion import values_from_params
from stripe_sandbox.errors import StripeError, invalid_parameter, unknown_parameter
from stripe_sandbox.forms import Params, nest, parse_params

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stripe_sandbox.account import Account
    from stripe_sandbox.messages import Request
    from stripe_sandbox.store import Body, Record

_BOUNDARY: Final = re.compile(r'boundary="?([^";]+)')
_DISPOSITION: Final = re.compile(r'[; ](name|filename)="([^"]*)"')


def body_params(request: Request) -> Params:
    """The parameters in a request's body; that of a file is ``{"filename": …, "size": …}``.

    Raises:
        StripeError: 400 for what is neither a form nor multipart.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        return _multipart(content_type, request.body)
    try:
        return parse_params(request.body.decode())
    except UnicodeDecodeError:
        raise StripeError(400, "Invalid request: the body is not valid UTF-8.") from None


def _multipart(content_type: str, body: bytes) -> Params:
    boundary = _BOUNDARY.search(content_type)
    if boundary is None or b"--" + boundary[1].encode() not in body:
        raise StripeError(400, "Invalid request: the boundary of the multipart body is missing.")
    pairs = []
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        said = dict(_DISPOSITION.findall(head.decode(errors="replace")))
        if "name" not in said:
            raise StripeError(400, "Invalid request: a part of the multipart body has no name.")
        if "filename" in said:
            name = said["name"]
            pairs += [(f"{name}[filename]", said["filename"]), (f"{name}[size]", str(len(content)))]
        else:
            pairs.append((said["name"], content.decode(errors="replace")))
    return nest(pairs)


def create_file(account: Account, _path: Mapping[str, str], params: Params) -> Record:
    """``POST /v1/files``."""
    demand(params, "file", "purpose")
    upload = params.pop("file")
    if not isinstance(upload, dict) or upload.keys() != {"filename", "size"}:
        raise invalid_parameter("file", "Invalid file: it is to be sent as a part of a multipart/form-data request.")
    values = values_from_params(account, "file", {"purpose": params.pop("purpose")})
    for name in params:
        raise unknown_parameter(name)
    key = account.ids.next("file")
    return account.create(
        "file",
        {
            **values,
            "id": key,
            "filename": upload["filename"],
            "size": int(upload["size"]),
            "type": upload["filename"].rpartition(".")[2].lower() or None,
            "url": f"https://files.stripe.com/v1/files/{key}/contents",
        },
    )


RULES: Final[Mapping[tuple[str, str], Callable[[Account, Mapping[str, str], Params], Record | Body]]] = (
    MappingProxyType({("POST", "/v1/files"): create_file})
)
