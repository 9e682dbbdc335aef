"""The lines that a credit note for an invoice would have: ``GET /v1/credit_notes/preview/lines``. Nothing is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stripe_sandbox.catalog import named
from stripe_sandbox.errors import no_such_reference
from stripe_sandbox.forms import as_str
from stripe_sandbox.lists import check_params, limit_of, page_json
from stripe_sandbox.rendering import at_page_depth, ordered
from stripe_sandbox.shapes import minimal

if TYPE_CHECKING:
    from stripe_sandbox.account import Account
    from stripe_sandbox.forms import Params
    from stripe_sandbox.spec import ListEndpoint
    from stripe_sandbox.store import Record

PREVIEW_LINES_PATH: Final = "/v1/credit_notes/preview/lines"


def preview_lines(account: Account, endpoint: ListEndpoint, params: Params) -> bytes:
    """A page of lines, one for each line of the invoice.

    Raises:
        StripeError: 400 for an unknown invoice or wrong parameters.
    """
    check_params(endpoint, params)
    limit = limit_of(params)
    invoice = named(account, "invoice", params["invoice"], "invoice")
    lines, has_more = _page(account.store.linked("line_item", "invoice", invoice.key)[::-1], params, limit)
    blank = minimal(account.spec.fields("credit_note_line_item"), livemode=account.livemode)
    bodies = [
        ordered(
            {
                **blank,
                "id": _line_id(line),
                "object": "credit_note_line_item",
                "amount": line.body["amount"],
                "description": line.body["description"],
                "invoice_line_item": line.key,
                "quantity": line.body["quantity"],
                "type": "invoice_line_item",
            }
        )
        for line in lines
    ]
    return page_json([at_page_depth(body) for body in bodies], has_more=has_more, url=PREVIEW_LINES_PATH)


def _page(lines: list[Record], params: Params, limit: int) -> tuple[list[Record], bool]:
    """The lines next to the cursor, and whether there are more beyond them."""
    if "ending_before" in params:
        before = lines[: _cursor(lines, params, "ending_before")]
        return before[-limit:], len(before) > limit
    after = lines[_cursor(lines, params, "starting_after") + 1 :] if "starting_after" in params else lines
    return after[:limit], len(after) > limit


def _cursor(lines: list[Record], params: Params, name: str) -> int:
    wanted = as_str(name, params[name])
    for position, line in enumerate(lines):
        if _line_id(line) == wanted:
            return position
    raise no_such_reference("credit_note_line_item", wanted, name)


def _line_id(line: Record) -> str:
    return f"cnli_tmp_{line.key}"
