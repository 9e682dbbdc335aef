"""All works by name. A new one is written in a module ``work_…`` and named here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import work_engines, work_follow, work_limits, work_tap, work_target

if TYPE_CHECKING:
    from benchmarks.measure import Work

WORKS: dict[str, Work] = {
    work.name: work
    for work in (*work_target.WORKS, *work_tap.WORKS, *work_follow.WORKS, *work_limits.WORKS, *work_engines.WORKS)
}
