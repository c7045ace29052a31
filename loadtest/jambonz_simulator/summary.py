"""What many calls come to: counts, ack latencies, findings. Pure.

Results are added one by one and not kept, so that a long run needs little memory.
"""

from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any, Final

from jambonz_simulator.core.records import Anomaly, CallResult, HookRecord

# Enough to see what is wrong without keeping the calls.
FAILURES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Failure:
    """One call that did not go well."""

    call_sid: str
    outcome: str
    reason: str
    anomalies: tuple[Anomaly, ...]


@dataclass(slots=True)
class Summary:
    """The sum of finished calls.

    Attributes:
        failed: Calls that did not end as they should or met an anomaly.
        unanswered_hooks: Hooks that died with their socket, or were open when the call ended.
        dropped_hooks: Those of them that died with their socket; one that is open at the end is nobody's fault.
        out_of_order: Acks that came after the ack of a hook that was sent later in the same call.
        lost_commands: Commands that came before jambonz could listen.
        delayed_calls: Calls that started late because too many were running.
        failures: The first few failed calls.
    """

    calls: int = 0
    failed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    anomalies: Counter[str] = field(default_factory=Counter)
    hooks: int = 0
    acked: int = 0
    deadline_misses: int = 0
    unanswered_hooks: int = 0
    dropped_hooks: int = 0
    late_acks: int = 0
    duplicate_acks: int = 0
    out_of_order: int = 0
    notices: int = 0
    commands: int = 0
    lost_commands: int = 0
    ignored_commands: int = 0
    sockets: int = 0
    reconnects: int = 0
    failed_connects: int = 0
    delayed_calls: int = 0
    duration_s: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    _latencies_s: "array[float]" = field(default_factory=lambda: array("d"), repr=False)

    def add(self, result: CallResult) -> None:
        """Count a finished call."""
        self.calls += 1
        self.outcomes[result.outcome.kind] += 1
        self.anomalies.update(anomaly.kind for anomaly in result.anomalies)
        self.notices += result.notices
        self.sockets += result.sockets
        self.reconnects += result.reconnects
        self.failed_connects += result.failed_connects
        self.commands += len(result.commands)
        self.lost_commands += sum(command.verdict == "lost" for command in result.commands)
        self.ignored_commands += sum(command.verdict == "ignored" for command in result.commands)
        self.out_of_order += overtaken_acks(result.hooks)
        for hook in result.hooks:
            self._add_hook(hook)
        if not result.is_good:
            self.failed += 1
            if len(self.failures) < FAILURES_SHOWN:
                outcome = result.outcome
                self.failures.append(Failure(result.call_sid, outcome.kind, outcome.reason, result.anomalies))

    def _add_hook(self, hook: HookRecord) -> None:
        self.hooks += 1
        self.late_acks += len(hook.late_acks)
        self.duplicate_acks += hook.duplicate_acks
        if hook.latency_s is not None:
            self.acked += 1
            self._latencies_s.append(hook.latency_s)
        elif hook.dead_by == "timeout":
            self.deadline_misses += 1
        else:
            self.unanswered_hooks += 1
            self.dropped_hooks += hook.dead_by == "drop"

    @property
    def is_good(self) -> bool:
        """True if no call failed, no deadline was missed and no hook died with its socket."""
        return self.failed == self.deadline_misses == self.dropped_hooks == 0

    def latency_s(self, share: float) -> float:
        """Give the ack latency that ``share`` of the acked hooks did not exceed, 0 without any."""
        if not self._latencies_s:
            return 0.0
        ordered = sorted(self._latencies_s)
        return ordered[max(0, ceil(share * len(ordered)) - 1)]

    def to_json(self) -> dict[str, Any]:
        """Give the summary as JSON values; latencies in milliseconds."""
        value = {key: member for key, member in asdict(self).items() if not key.startswith("_")}
        value["outcomes"] = dict(self.outcomes)
        value["anomalies"] = dict(self.anomalies)
        value["ack_ms"] = {
            "p50": self.latency_s(0.50) * 1000,
            "p99": self.latency_s(0.99) * 1000,
            "max": self.latency_s(1.0) * 1000,
        }
        value["calls_per_s"] = self.calls / self.duration_s if self.duration_s else 0.0
        return value


def overtaken_acks(hooks: tuple[HookRecord, ...]) -> int:
    """Count acks that came after the ack of a later hook on the same connection."""
    newest_s: dict[int, float] = {}
    overtaken = 0
    for hook in sorted(hooks, key=lambda hook: hook.sent_at_s):
        if hook.acked_at_s is None:
            continue
        if hook.acked_at_s < newest_s.get(hook.connection, 0.0):
            overtaken += 1
        newest_s[hook.connection] = max(hook.acked_at_s, newest_s.get(hook.connection, 0.0))
    return overtaken
