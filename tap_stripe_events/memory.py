"""Memory: what the garbage collector need not look at, and what was freed and not given back.

Hardly anything of a run is ever part of a cycle. What was made at the start stays to the end, and a page is gone as
soon as it is written; so the collector looks seldom, and never at the former. That saves one part in thirty.

A page is a block of some hundred kilobytes that one thread makes and another frees, of a size that hardly comes again.
glibc keeps what is left between such blocks: up to 200 MB for a run that needs 20 at a time. A fixed threshold above
which blocks are mapped one by one would do too (`mallopt`), but maps each page anew, which costs 3 µs an object; this
costs 1 to 2. Other C libraries give back by themselves.
"""

import ctypes
import gc
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_RECORDS = 10_000  # between two times that memory is given back

_NEW_OBJECTS = 20_000  # that may hold others, until the collector looks for cycles; Python's own number is 700


def collect_seldom() -> None:
    """Have the garbage collector look seldom, and not at what there is by now."""
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


class FreedMemory:
    """Gives freed memory back to the system from time to time, where that has to be said."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim: Callable[[int], Any] | None = getattr(library, "malloc_trim", None)
        self._records = 0

    def used(self, records: int) -> None:
        """Take in that so many records were made and written."""
        self._records += records
        if self._records >= _RECORDS:
            self._records = 0
            if self._trim is not None:
                self._trim(0)
