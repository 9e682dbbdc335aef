"""A run's figures as the Singer SDK logs metrics, for whoever collects them.

In place of the SDK's own: it counts what its sinks take, and our records go past them.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from singer_sdk.metrics import Metric, Point, Status, Tag, log

if TYPE_CHECKING:
    from target_postgres_stripe.tally import Tally


class Measures:
    """Logs metrics.

    Args:
        sdk_logger: The logger of the SDK's own metrics; it falls silent.
    """

    def __init__(self, sdk_logger: logging.Logger) -> None:
        self._logger = sdk_logger.getChild("run")
        self._logger.setLevel(sdk_logger.level)
        sdk_logger.setLevel(logging.WARNING)

    def tell(self, tally: Tally, *, seconds: float, succeeded: bool) -> None:
        """Log how many rows of each stream became what, and how long the run took."""
        pid = os.getpid()
        for stream, counts in sorted(tally.streams.items()):
            for kind, rows in counts.items():
                tags = {Tag.STREAM.value: stream, "change": kind.value, Tag.PID.value: pid}
                log(self._logger, Point("counter", Metric.RECORD_COUNT, rows, tags))
        status = Status.SUCCEEDED if succeeded else Status.FAILED
        tags = {Tag.STATUS.value: status.value, Tag.PID.value: pid}
        log(self._logger, Point("timer", Metric.JOB_DURATION, round(seconds, 3), tags))
