"""A record's values → a line of a text COPY. Pure, and hotter than anything else in the target.

A stream's function is generated when its SCHEMA arrives, with an expression for each column: a loop over the columns
takes three times as long, most of it for calling a function a value. What the function does is in ``EXPRESSIONS``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from target_postgres_stripe.columns import ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NULL = b"\\N"
"""A field without a value, in a line that is not escaped any more."""

NULL_TO_ESCAPE = b"\0"
"""The same in a line that is still to be escaped; U+0000 cannot be in a record any more (see text.py)."""

UNIT_SEPARATOR = b"\x1f"
JSON_NULL = msgspec.Raw(b"null")

EXPRESSIONS: dict[ColumnType, str] = {
    ColumnType.BIGINT: "b'%d' % v",
    ColumnType.NUMERIC: "str(v).encode()",
    ColumnType.BOOLEAN: "b't' if v else b'f'",
    ColumnType.TEXT: "v.encode()",
    ColumnType.TIMESTAMPTZ: "(v if v[4:5] == '-' and v[:4].isdigit() else no_moment(v)).encode()",
    ColumnType.DATE: "day(v).encode()",
    ColumnType.TIME: "time_of_day(v).encode()",
    ColumnType.JSONB: "null if v == JSON_NULL else v",
}
"""What each type's values become; ``v`` is never None. JSON's null is SQL's NULL."""

Field = bytes | msgspec.Raw


def fields_function(types: Sequence[ColumnType]) -> Callable[[Sequence[Any], bytes], list[Field]]:
    """The function from values, one for each of ``types``, and what stands for NULL to the fields of a line.

    The function raises ``NotAMomentError``.
    """
    fields = [f"null if (v := values[{place}]) is None else {EXPRESSIONS[kind]}" for place, kind in enumerate(types)]
    names = {"JSON_NULL": JSON_NULL, "no_moment": no_moment, "day": day, "time_of_day": time_of_day}
    made: Callable[[Sequence[Any], bytes], list[Field]] = eval(  # noqa: S307 - of the expressions above and nothing else
        f"lambda values, null: [{', '.join(fields)}]", names
    )
    return made


def is_plain(source: bytes) -> bool:
    """Whether nothing that was decoded from this JSON can need an escape in a COPY.

    In JSON a tab, a line's end or a backslash in a text is itself written with a backslash; between values it is bare.
    """
    return not (b"\\" in source or b"\t" in source or b"\n" in source or b"\r" in source)


def plain_line(fields: Sequence[Field]) -> bytes:
    """A line of a text COPY of fields that need no escape."""
    return b"\t".join(fields) + b"\n"


def escaped_line(fields: Sequence[Field]) -> bytes:
    """A line of a text COPY: joined by what next to no text has, and then escaped as a whole."""
    line = UNIT_SEPARATOR.join(fields)
    if line.count(UNIT_SEPARATOR) == len(fields) - 1:
        line = escaped(line).replace(UNIT_SEPARATOR, b"\t")
    else:
        line = b"\t".join([escaped(bytes(field)) for field in fields])
    return line.replace(NULL_TO_ESCAPE, NULL) + b"\n"


def escaped(text: bytes) -> bytes:
    """Text with what COPY gives a meaning to escaped."""
    text = text.replace(b"\\", b"\\\\").replace(b"\t", b"\\t")
    return text.replace(b"\n", b"\\n").replace(b"\r", b"\\r")


def no_moment(text: str) -> NoReturn:
    """Refuse what is no date or date-time; Postgres would take ``yesterday`` and store something else tomorrow."""
    raise NotAMomentError(text, expected="a date or time as in ISO 8601")


DAY = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ]00:00(?::00(?:\.0*)?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)


def day(text: str) -> str:
    """A date. Some taps write its midnight; any other time would be cut off by Postgres, in silence."""
    if (found := DAY.fullmatch(text)) is not None:
        return found[1]
    raise NotAMomentError(text, expected="a date as in ISO 8601, without a time")


TIME_OF_DAY = re.compile(r"(\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(?:Z|[+-]00:?00)?", re.ASCII)


def time_of_day(text: str) -> str:
    """A time of day, in UTC or of no zone: Postgres would take another offset and forget it."""
    if (found := TIME_OF_DAY.fullmatch(text)) is not None:
        return found[1]
    raise NotAMomentError(text, expected="a time of day as in ISO 8601, without an offset from UTC")


class NotAMomentError(ValueError):
    """A text where a date, date-time or time was expected.

    Attributes:
        text: The text, to find the column by.
        expected: What was expected, in words.
    """

    def __init__(self, text: str, *, expected: str) -> None:
        super().__init__()
        self.text = text
        self.expected = expected
