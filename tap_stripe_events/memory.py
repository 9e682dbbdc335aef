"""Memory that was freed and not given back.

A page is a block of some hundred kilobytes that one thread makes and another frees, of a size that hardly comes again.
glibc keeps what is left between such blocks: up to 200 MB for a run that needs 20 at a time. A fixed threshold above
which blocks are mapped one by one would do too (`mallopt`), but maps each page anew, which costs 3 µs an object; this
costs 1 to 2. Other C libraries give back by themselves.
"""

import ctypes
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_RECORDS = 10_000  # between two times that memory is given back


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
