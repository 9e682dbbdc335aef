"""A run's figures as the Singer SDK logs metrics, for whoever collects them.

In place of the SDK's own: it counts and times one stream after another, and ours are read together.
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

from singer_sdk.metrics import Metric, Point, Status, Tag, log

EVERY_SECONDS = 60.0
"""How far two reports of a long run are apart, as the SDK's are."""


class Measures:
    """Logs metrics; counters are of what has come since the last report.

    Args:
        sdk_logger: The logger of the SDK's own metrics; it falls silent.
        now: The moment at which the run begins, on a monotonic clock.
    """

    def __init__(self, sdk_logger: logging.Logger, *, now: float) -> None:
        self._logger = sdk_logger.getChild("run")
        self._logger.setLevel(sdk_logger.level)
        sdk_logger.setLevel(logging.WARNING)
        self._began = self._reported = now
        self._counted: Counter[tuple[Metric, Tag, str]] = Counter()

    def report(self, *, now: float, records: Mapping[str, int], requests: Mapping[str, int]) -> None:
        """Log what has come since the last report.

        Args:
            now: The present moment.
            records: How many records of each stream there were since the run began.
            requests: How many requests were sent to each endpoint.
        """
        self._reported = now
        self._count(Metric.RECORD_COUNT, Tag.STREAM, records)
        self._count(Metric.HTTP_REQUEST_COUNT, Tag.ENDPOINT, requests)

    def is_due(self, now: float) -> bool:
        """Whether it is time for a report."""
        return now - self._reported >= EVERY_SECONDS

    def end(self, *, now: float, succeeded: bool) -> None:
        """Log how long the run took."""
        status = Status.SUCCEEDED if succeeded else Status.FAILED
        self._log("timer", Metric.SYNC_DURATION, round(now - self._began, 3), {Tag.STATUS.value: status.value})

    def _count(self, metric: Metric, tag: Tag, counts: Mapping[str, int]) -> None:
        for name, total in sorted(counts.items()):
            new = total - self._counted[metric, tag, name]
            if new:
                self._counted[metric, tag, name] = total
                self._log("counter", metric, new, {tag.value: name})

    def _log(self, kind: str, metric: Metric, value: float, tags: dict[str, Any]) -> None:
        log(self._logger, Point(kind, metric, value, {**tags, Tag.PID.value: os.getpid()}))
