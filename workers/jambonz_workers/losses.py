"""Lets events go that a worker has no room for, and tells it."""

import logging
from collections.abc import Callable
from typing import Final

from jambonz_workers.dispatcher import Shed
from jambonz_workers.metrics import DROPPED, WorkerMetrics
from jambonz_workers.sweeper import Sweeper

log = logging.getLogger(__name__)

# Peers decide how often there is a loss; they must not fill the log instead of the memory. The metric counts them all.
_TOLD_EVERY_S: Final = 1.0


class Losses:
    """Deletes events that are not handled; of a hook among them the gateway gives the answer, at its deadline."""

    def __init__(self, sweeper: Sweeper, metrics: WorkerMetrics, now_s: Callable[[], float]) -> None:
        """``now_s`` tells the time on any one clock."""
        self._sweeper: Final = sweeper
        self._metrics: Final = metrics
        self._now_s: Final = now_s
        self._told_at_s = float("-inf")

    def let_go(self, shed: Shed) -> None:
        """Drop events of a call; log it, once per second at most."""
        for delivery in shed.deliveries:
            self._sweeper.settle(delivery)
        self._metrics.skipped.labels(DROPPED).inc(len(shed.deliveries))
        now_s = self._now_s()
        if now_s - self._told_at_s < _TOLD_EVERY_S:
            return
        self._told_at_s = now_s
        log.warning(
            "events dropped: too much waits for the handlers of a call",
            extra={"call_sid": shed.call_sid, "events": len(shed.deliveries)},
        )
