"""Metrics of a worker: names, sentences and units in one place."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from jambonz_workers.tally import Tally


class WorkerMetrics:
    """What a worker counts; each in its own registry, so that several fit into one process.

    Attributes:
        tally: What is counted for every event.
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        prefix = "jambonz_worker_"
        self.tally = Tally(prefix)
        registry.register(self.tally)
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
        self.tasks = Gauge(prefix + "tasks", "Tasks of the event loop.", registry=registry)
        self.works = Gauge(prefix + "spawned", "Background work running now.", registry=registry)
        self.held = Gauge(prefix + "held_commands", "Commands that wait for Redis to come back.", registry=registry)
