"""What is really there, beside what any list shows: one line of JSON for every object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from stripe_sandbox import upcoming

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from stripe_sandbox.account import Account

PREVIEWS: Final = {"upcoming_customer_invoice": "customer", "upcoming_subscription_invoice": "subscription"}
"""What is computed on request, and for whom. Told only if asked for by name."""

_LINES_A_CHUNK = 200


def truth_lines(account: Account, object_types: Collection[str] = ()) -> Iterator[bytes]:
    """NDJSON chunks: ``{"object", "key", "facts", "data"}``, ``data`` as the API renders it unexpanded.

    Objects that lists hide are among them; ``facts`` says why (``inline``, ``detached``, ``test_clock``) and names
    parents that the object itself does not. Events are those of the last thirty days, also such as do not show yet;
    ``facts`` has their true order (``number``) and since when they show (``visible_at``).
    """
    account.forget_old_events()
    lines: list[bytes] = []
    for kind in PREVIEWS.keys() & set(object_types):
        for record in list(account.store.table(PREVIEWS[kind])):
            if (body := upcoming.told(account, PREVIEWS[kind], record)) is not None:
                subscription = ((body["parent"] or {}).get("subscription_details") or {}).get("subscription")
                line = {"object": kind, "key": record.key, "facts": {"subscription": subscription}, "data": body}
                yield msgspec.json.encode(line) + b"\n"
    for table in account.store.tables():
        if object_types and table.object not in object_types:
            continue
        for record in table:
            line = {
                "object": record.object,
                "key": record.key,
                "facts": record.facts,
                "data": account.renderer.body(record),
            }
            lines.append(msgspec.json.encode(line) + b"\n")
            if len(lines) == _LINES_A_CHUNK:
                yield b"".join(lines)
                lines.clear()
    if lines:
        yield b"".join(lines)
