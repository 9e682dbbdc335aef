"""A record's values → a line of a text COPY. Pure, and hotter than anything else in the target.

A stream's function is generated when its SCHEMA arrives, with an expression for each column: a loop over the columns
takes three times as long, most of it for calling a function a value. What the function does is in ``EXPRESSIONS``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from target_postgres_stripe.columns import ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NULL = "\0"
"""A field without a value, until its line is written; U+0000 cannot be in a record any more (see text.py)."""

EXPRESSIONS: dict[ColumnType, str] = {
    ColumnType.BIGINT: "str(v)",
    ColumnType.NUMERIC: "str(v)",
    ColumnType.BOOLEAN: "'t' if v else 'f'",
    ColumnType.TEXT: "v",
    ColumnType.TIMESTAMPTZ: "moment(v)",
    ColumnType.DATE: "day(v)",
    ColumnType.TIME: "time_of_day(v)",
    ColumnType.JSONB: "NULL if (json := str(v, 'utf-8')) == 'null' else json",
}
"""What each type's values become; ``v`` is never None. JSON's null is SQL's NULL."""


def fields_function(types: Sequence[ColumnType]) -> Callable[[Sequence[Any]], list[str]]:
    """The function from values, one for each of ``types``, to the fields of a line.

    The function raises ``NotAMomentError``.
    """
    fields = [f"NULL if (v := values[{place}]) is None else {EXPRESSIONS[kind]}" for place, kind in enumerate(types)]
    names = {"NULL": NULL, "moment": moment, "day": day, "time_of_day": time_of_day}
    made: Callable[[Sequence[Any]], list[str]] = eval(  # noqa: S307 - made of the expressions above and nothing else
        f"lambda values: [{', '.join(fields)}]", names
    )
    return made


def copy_line(fields: Sequence[str]) -> bytes:
    """A line of a text COPY: joined first, and escaped as a whole where no field has a tab, which is nearly always."""
    line = "\t".join(fields)
    if line.count("\t") != len(fields) - 1:
        line = "\t".join([escaped(field).replace("\t", "\\t") for field in fields])
    elif "\\" in line or "\n" in line or "\r" in line:
        line = escaped(line)
    return (line.replace(NULL, "\\N") + "\n").encode()


def escaped(text: str) -> str:
    """Text with what COPY gives a meaning to escaped, save tabs."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def moment(text: str) -> str:
    """A date or date-time; Postgres would also take ``now`` or ``yesterday`` and store something else tomorrow."""
    if text[4:5] == "-" and text[:4].isdigit():
        return text
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
