"""What a gateway counts: plain integers on the hot path, Prometheus families when somebody asks."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jambonz_gateway.tally import Tally

SESSION_EVENTS: Final = {
    "bad_batch": "batches in a call log that this version cannot read",
    "bad_frame": "messages jambonz never sends",
    "bounced": "sockets closed once more to make jambonz release its queue",
    "call_dropped": "calls that were over before Redis heard of them, dropped because too many such waited for it",
    "command_refused": "commands and answers not sent: too big, a bad close code, behind a close, or the call is over",
    "duplicate_ack": "acks of hooks that had been answered before",
    "event_dropped": "events dropped because too much was held",
    "fallback_ack": "hooks answered by the gateway at the deadline",
    "foreign_call": "connections about a call of another app",
    "hook_died": "hooks whose socket closed before the answer",
    "late_ack": "answers that came after the deadline or for a socket that is gone",
    "replaced": "half-open sockets closed because jambonz has reconnected",
}
"""Every name a Session may ``Count``, with its meaning."""

# Redis says these of a command or script that can never succeed; all others of its memory, disk, role or rights.
_CODES_OF_MISTAKES: Final = frozenset({"ERR", "WRONGTYPE"})


def close_label(code: int) -> int:
    """Return a close code; of those that anybody may make up (RFC 6455 7.4.2) the thousand: labels have few values."""
    return code if code < 3000 else code // 1000 * 1000


class Metrics(Collector):
    """Counters of one gateway process.

    Attributes:
        sessions: By name of ``SESSION_EVENTS``.
        handshakes: By HTTP status answered.
        closes: By ``close_label``.
        tally: What is counted with every event.
        returned: Envelopes whose inbox was gone.
        slow_sockets: Connections cut because their peer did not read.
        silent_sockets: Connections cut because their peer did not answer pings.
        throttled: Times a call that sent too many messages was not listened to for a while.
        unproved_logins: Connections reset because too many logins waited for a slow hash.
        throttled_accounts: Times a call was not listened to for a while because of all calls of its account.
        failed_reloads: Times a changed file of credentials or certificates could not be used.
        redis_refusals: Commands that Redis has refused; they are repeated until it takes them.
        failures: Errors of our own that were caught at an edge.
    """

    def __init__(self) -> None:
        self.sessions: Counter[str] = Counter()
        self.handshakes: Counter[int] = Counter()
        self.closes: Counter[int] = Counter()
        self.tally: Final = Tally()
        self.returned = 0
        self.slow_sockets = 0
        self.silent_sockets = 0
        self.throttled = 0
        self.unproved_logins = 0
        self.throttled_accounts = 0
        self.failed_reloads = 0
        self.redis_refusals = 0
        self.failures = 0
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def count_failure(self) -> None:
        """Count an error of our own that was caught elsewhere."""
        self.failures += 1

    def count_refusal(self, error: Exception) -> None:
        """Count a command that Redis has refused; one that is wrong in itself is an error of our own."""
        if getattr(error, "code", "") in _CODES_OF_MISTAKES:
            self.failures += 1
        else:
            self.redis_refusals += 1

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Show what ``read`` returns at each scrape as ``jambonz_gateway_<name>``."""
        self._gauges[name] = meaning, read

    def collect(self) -> Iterator[Metric]:
        """Yield all families."""
        yield _labelled("session_events", "Things that happened to sessions", "event", self.sessions, SESSION_EVENTS)
        yield _labelled("handshakes", "Requests on the websocket port", "status", self.handshakes)
        yield _labelled("closes", "Websockets closed", "code", self.closes)
        for counts, meanings in ((self.tally, _TALLIED), (self, _PLAIN)):
            for name, meaning in meanings.items():
                family = CounterMetricFamily(f"jambonz_gateway_{name}", meaning)
                family.add_metric([], getattr(counts, name))
                yield family
        for name, (meaning, read) in self._gauges.items():
            gauge = GaugeMetricFamily(f"jambonz_gateway_{name}", meaning)
            gauge.add_metric([], read())
            yield gauge


_TALLIED: Final = {
    "events": "Messages from jambonz",
    "sends": "Messages to jambonz",
    "published": "Envelopes appended to streams",
}

_PLAIN: Final = {
    "returned": "Envelopes whose inbox was gone",
    "slow_sockets": "Connections cut because their peer did not read",
    "silent_sockets": "Connections cut because their peer did not answer pings",
    "throttled": "Times a call that sent too many messages was not listened to for a while",
    "unproved_logins": "Connections reset because too many logins waited for a slow hash",
    "throttled_accounts": "Times a call was not listened to for a while because of all calls of its account",
    "failed_reloads": "Times a changed file of credentials or certificates could not be used",
    "redis_refusals": "Commands that Redis has refused; they are repeated until it takes them",
    "failures": "Errors of our own that were caught at an edge",
}


def _labelled(
    name: str, meaning: str, label: str, counts: Mapping[str, int] | Mapping[int, int], always: Iterable[str] = ()
) -> CounterMetricFamily:
    """Return a family with one label; the values in ``always`` are shown before they have happened."""
    family = CounterMetricFamily(f"jambonz_gateway_{name}", meaning, labels=[label])
    shown = dict.fromkeys(always, 0) | {str(value): count for value, count in counts.items()}
    for value, count in shown.items():
        family.add_metric([value], count)
    return family
