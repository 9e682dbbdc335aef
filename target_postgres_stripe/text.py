r"""Text that Postgres takes. Pure.

Postgres stores neither U+0000 nor half a surrogate pair nor bytes that are not UTF-8, and JSON can carry all three.
Each becomes U+FFFD, everywhere in a message, keys included. Done once on the whole line, so that nothing after it has
to think of it; the six characters ``\\u0000`` (an escaped backslash) are plain text and stay.
"""

from __future__ import annotations

import re

REPLACEMENT = b"\\ufffd"

SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
"""What a line must contain to need a closer look."""

ESCAPE = re.compile(
    rb"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?P<bad>\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\u0000)"
    rb"|\\."
)
"""One escape. ``\\.`` comes last and eats an escaped backslash together with what it escapes."""


def storable(line: bytes) -> tuple[bytes, int]:
    """A line of JSON without what Postgres refuses, and how many characters were replaced."""
    replaced = 0
    if not line.isascii():
        line, replaced = valid_utf8(line)
    # A search for one byte takes next to nothing, and most lines have no escape at all.
    if (escape := line.find(b"\\")) >= 0 and SUSPECT.search(line, escape):
        line, found = without_bad_escapes(line)
        replaced += found
    return line, replaced


def valid_utf8(line: bytes) -> tuple[bytes, int]:
    """The line with every invalid byte sequence replaced, and their number."""
    try:
        line.decode()
    except UnicodeDecodeError:
        text = line.decode(errors="replace")
        return text.encode(), text.count("\ufffd") - line.count("\ufffd".encode())
    return line, 0


def without_bad_escapes(line: bytes) -> tuple[bytes, int]:
    """The line with every escape of U+0000 and of half a surrogate pair replaced, and their number."""
    replaced = 0

    def replacement(found: re.Match[bytes]) -> bytes:
        nonlocal replaced
        if found["bad"] is None:
            return found[0]
        replaced += 1
        return REPLACEMENT

    return ESCAPE.sub(replacement, line), replaced
