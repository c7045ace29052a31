"""Metrics of a worker: names, sentences and units in one place."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from jambonz_workers.tally import BUCKETS_S, Tally

_PREFIX = "jambonz_worker_"

DROPPED = "dropped"
"""Label ``reason`` of Envelopes skipped because too much waited."""


class _TallyCollector(Collector):
    """Makes metrics of a Tally; not the Tally itself, whose attributes would be in a dictionary then (ADR 0013)."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        events = CounterMetricFamily(f"{_PREFIX}events", "Events handled, by kind.", labels=["kind"])
        for kind, count in self._tally.events.items():
            events.add_metric([kind], count)
        yield events
        commits = CounterMetricFamily(f"{_PREFIX}commits", "Commits by what became of them.", labels=["result"])
        for result, count in self._tally.commits.items():
            commits.add_metric([result], count)
        yield commits
        yield self._histogram()

    def _histogram(self) -> Metric:
        name = f"{_PREFIX}handler_seconds"
        metric = HistogramMetricFamily(name, "Time from the start of a handler to its commit, in seconds.")
        sums, total = [], 0
        for limit, count in zip((*map(str, BUCKETS_S), "+Inf"), self._tally.handlers, strict=True):
            total += count
            sums.append((limit, float(total)))
        metric.add_metric([], sums, self._tally.handlers_s)
        return metric


class WorkerMetrics:
    """What a worker counts; each in its own registry, so that several fit into one process.

    Attributes:
        tally: What is counted for every event.
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        prefix = _PREFIX
        self.tally = Tally()
        registry.register(_TallyCollector(self.tally))
        self.handler_failures = Counter(prefix + "handler_failures", "Handlers that raised.", registry=registry)
        self.failures = Counter(
            prefix + "failures", "Errors of our own that were caught at an edge.", registry=registry
        )
        self.blocked = Counter(prefix + "blocked", "Times a handler held up the event loop.", registry=registry)
        self.unhandled = Counter(
            prefix + "unhandled", "Events that no handler takes, by kind.", ["kind"], registry=registry
        )
        self.skipped = Counter(
            prefix + "skipped",
            "Envelopes not handled: duplicate, gone (call over), transferred, undecodable, dropped (too much waits).",
            ["reason"],
            registry=registry,
        )
        # Shown from the start: what appears with its first loss is no increase to Prometheus.
        self.skipped.labels(DROPPED)
        self.forwarded = Counter(prefix + "forwarded", "Envelopes handed to another worker.", registry=registry)
        self.gaps = Counter(prefix + "gaps", "Event numbers given up as lost after waiting.", registry=registry)
        self.claims = Counter(prefix + "claims", "Claims by result.", ["result"], registry=registry)
        self.refused = Counter(prefix + "refused", "Commands that a gateway refused.", registry=registry)
        self.adoptions = Counter(prefix + "adoptions", "Dead processes adopted by this one.", registry=registry)
        self.quarantined = Counter(
            prefix + "quarantined", "Events set aside because their handler killed workers.", registry=registry
        )
        self.calls = Gauge(prefix + "calls", "Calls owned now.", registry=registry)
        self.tasks = Gauge(prefix + "tasks", "Tasks of the event loop.", registry=registry)
        self.works = Gauge(prefix + "spawned", "Background work running now.", registry=registry)
        self.waiting = Gauge(
            prefix + "waiting_bytes", "Events that wait for the handlers of their calls, in bytes.", registry=registry
        )
        self.held = Gauge(prefix + "held_commands", "Commands that wait for Redis to come back.", registry=registry)
