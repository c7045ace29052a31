"""Metrics of a worker: names, sentences and units in one place."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from jambonz_shared.kinds import KINDS

# A hook must be answered in 4 s (kinds.ACK_DEADLINE_S); what matters lies below.
_HANDLER_BUCKETS_S: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 4.0, 10.0)


def kind_label(kind: str) -> str:
    """Return the kind, or ``other`` for one we do not know: labels have few values."""
    return kind if kind in KINDS or kind.startswith("cluster:") else "other"


class WorkerMetrics:
    """What a worker counts; each in its own registry, so that several fit into one process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        prefix = "jambonz_worker_"
        self.events = Counter(prefix + "events", "Events handled, by kind.", ["kind"], registry=registry)
        self.handler_s = Histogram(
            prefix + "handler_seconds",
            "Time from the start of a handler to its commit, in seconds.",
            buckets=_HANDLER_BUCKETS_S,
            registry=registry,
        )
        self.failures = Counter(prefix + "handler_failures", "Handlers that raised.", registry=registry)
        self.commits = Counter(prefix + "commits", "Commits by what became of them.", ["result"], registry=registry)
        self.unhandled = Counter(
            prefix + "unhandled", "Events that no handler takes, by kind.", ["kind"], registry=registry
        )
        self.skipped = Counter(
            prefix + "skipped",
            "Envelopes not handled: duplicate, gone (call over), undecodable.",
            ["reason"],
            registry=registry,
        )
        self.forwarded = Counter(prefix + "forwarded", "Envelopes handed to another worker.", registry=registry)
        self.gaps = Counter(prefix + "gaps", "Event numbers given up as lost after waiting.", registry=registry)
        self.claims = Counter(prefix + "claims", "Claims by result.", ["result"], registry=registry)
        self.refused = Counter(prefix + "refused", "Commands that a gateway refused.", registry=registry)
        self.adoptions = Counter(prefix + "adoptions", "Dead processes adopted by this one.", registry=registry)
        self.quarantined = Counter(
            prefix + "quarantined", "Events set aside because their handler killed workers.", registry=registry
        )
        self.calls = Gauge(prefix + "calls", "Calls owned now.", registry=registry)
        self.works = Gauge(prefix + "spawned", "Background work running now.", registry=registry)
        self.held = Gauge(prefix + "held_commands", "Commands that wait for Redis to come back.", registry=registry)
