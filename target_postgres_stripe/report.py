"""What a verification came to, as a person reads it. Keys and names of columns are in it, values are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES_MAX = 5
"""How many keys of each stream are named."""

EQUAL, DIFFERENT, MISSING, SURPLUS, NEWER = "equal", "different", "missing", "surplus", "newer"
"""What a record is compared with its row.

``surplus``: the row lives, but the record says that the object is gone. ``newer``: the row is, so no telling.
"""

HEADINGS = ("stream", "compared", EQUAL, DIFFERENT, MISSING, SURPLUS, NEWER)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A row that is not what the tap sends.

    Attributes:
        key: Its key, as a JSON array.
        outcome: ``different``, ``missing`` or ``surplus``.
        columns: The columns that differ.
    """

    key: str
    outcome: str
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        columns = f": {', '.join(self.columns)}" if self.columns else ""
        return f"{self.key} {self.outcome}{columns}"


@dataclass(frozen=True, kw_only=True)
class StreamReport:
    """What the comparison of a stream came to.

    Attributes:
        stream: The stream.
        counts: How many rows had each outcome. Surplus are also the live rows that a finished sweep did not bring.
        examples: Some that are not equal.
        is_swept: Whether a sweep of it was finished; else it cannot be told which rows are surplus.
    """

    stream: str
    counts: Mapping[str, int]
    examples: tuple[Example, ...]
    is_swept: bool

    @property
    def differs(self) -> bool:
        """Whether any row is not what the tap sends."""
        return any(self.counts.get(outcome) for outcome in (DIFFERENT, MISSING, SURPLUS))

    def cells(self) -> tuple[str, ...]:
        """Its line of the table."""
        compared = sum(self.counts.get(outcome, 0) for outcome in (EQUAL, DIFFERENT, MISSING))
        equal, different, missing, surplus, newer = (
            str(self.counts.get(outcome, 0)) for outcome in (EQUAL, DIFFERENT, MISSING, SURPLUS, NEWER)
        )
        if not self.is_swept and surplus == "0":
            surplus = "-"
        return self.stream, str(compared), equal, different, missing, surplus, newer


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a verification came to.

    Attributes:
        streams: Each stream's part.
        is_whole: Whether the input went on to its end; else what was not sent was not compared.
    """

    streams: tuple[StreamReport, ...]
    is_whole: bool

    @property
    def is_clean(self) -> bool:
        """Whether everything was compared, and that is not nothing, and nothing differs."""
        return self.is_whole and bool(self.streams) and not any(each.differs for each in self.streams)

    def __str__(self) -> str:
        lines = [HEADINGS, *(each.cells() for each in self.streams)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(HEADINGS))]
        text = [
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        ]
        differing = [each for each in self.streams if each.differs]
        for each in differing:
            text += ["", f"{each.stream}, for example:", *(f"  {example}" for example in each.examples)]
        if not self.streams:
            text += ["", "Nothing came that could be compared."]
        if not self.is_whole:
            text += ["", "The input ended before its last STATE: what was not sent was not compared."]
        return "\n".join(text)
