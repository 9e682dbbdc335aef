"""Calendar arithmetic for billing periods, on unix times in UTC."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from typing import Final

MONTHS: Final = {"month": 1, "year": 12}


def add_interval(moment: int, interval: str, count: int) -> int:
    """``moment`` and ``count`` days, weeks, months or years; the 31st becomes a month's last day."""
    start = datetime.fromtimestamp(moment, UTC)
    if interval in MONTHS:
        index = start.year * 12 + start.month - 1 + MONTHS[interval] * count
        year, month = divmod(index, 12)
        day = min(start.day, calendar.monthrange(year, month + 1)[1])
        return int(start.replace(year=year, month=month + 1, day=day).timestamp())
    return int((start + timedelta(days=count * (7 if interval == "week" else 1))).timestamp())


def nth_period(anchor: int, interval: str, count: int, moment: int) -> tuple[int, int]:
    """The period that begins at ``moment`` (a boundary), computed from the anchor so that month ends do not drift."""
    periods = 0
    while add_interval(anchor, interval, count * periods) < moment:
        periods += 1
    return moment, add_interval(anchor, interval, count * (periods + 1))
