"""Counters of the hot path: plain numbers, turned into metrics only when somebody asks for them.

A counter of prometheus_client takes a lock and five calls each time; three of them per event would cost as much
as decoding the event.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from jambonz_shared.kinds import CLUSTER_PREFIX, KINDS

# A hook must be answered in 4 s (kinds.ACK_DEADLINE_S); what matters lies below.
_BUCKETS_S: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 4.0, 10.0)


def kind_label(kind: str) -> str:
    """Return the kind, or ``other`` for one we do not know: labels have few values."""
    return kind if kind in KINDS or kind.startswith(CLUSTER_PREFIX) else "other"


class Tally(Collector):
    """Counts events, commits and the time of handlers. For one thread.

    Attributes:
        commits: Commits by what became of them.
    """

    def __init__(self, prefix: str) -> None:
        self.commits: defaultdict[str, int] = defaultdict(int)
        self._prefix = prefix
        self._events: defaultdict[str, int] = defaultdict(int)
        # One more than there are limits: the last takes what is above them all.
        self._handlers = [0] * (len(_BUCKETS_S) + 1)
        self._handlers_s = 0.0

    def event(self, kind: str) -> None:
        """Count an event that is about to be handled."""
        self._events[kind if kind in KINDS else kind_label(kind)] += 1

    def handler(self, took_s: float) -> None:
        """Count a handler's run."""
        self._handlers[bisect_left(_BUCKETS_S, took_s)] += 1
        self._handlers_s += took_s

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        events = CounterMetricFamily(f"{self._prefix}events", "Events handled, by kind.", labels=["kind"])
        for kind, count in self._events.items():
            events.add_metric([kind], count)
        yield events
        commits = CounterMetricFamily(f"{self._prefix}commits", "Commits by what became of them.", labels=["result"])
        for result, count in self.commits.items():
            commits.add_metric([result], count)
        yield commits
        yield self._histogram()

    def _histogram(self) -> Metric:
        name = f"{self._prefix}handler_seconds"
        metric = HistogramMetricFamily(name, "Time from the start of a handler to its commit, in seconds.")
        sums, total = [], 0
        for limit, count in zip((*map(str, _BUCKETS_S), "+Inf"), self._handlers, strict=True):
            total += count
            sums.append((limit, float(total)))
        metric.add_metric([], sums, self._handlers_s)
        return metric
