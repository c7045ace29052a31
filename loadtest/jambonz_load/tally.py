"""What a load test comes to, on one machine or many: counts that add up, limits, a verdict. Pure."""

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final

from jambonz_simulator.core.records import CallResult
from jambonz_simulator.summary import overtaken_acks

# jambonz gives up on a hook after 5 s.
ACK_DEADLINE_MS: Final = 5000.0


@dataclass(slots=True)
class Tally:
    """Counts of finished calls; those of several processes are added.

    Attributes:
        started: Calls begun, finished or not.
        failed: Calls that did not end as they should, or met something a well-behaved server never causes.
        failed_connects: Websockets that could not be opened; jambonz tries again, and the caller waits.
        unanswered_hooks: Hooks that got no ack before their call ended or lost its socket.
        worst_ack_ms: The slowest ack that was in time.
        looks: How often the processes that make calls have looked at their clocks.
        late_looks: How often they came late to that (``lateness.py``).
        watched_s: How long they did, all together.
    """

    started: int = 0
    calls: int = 0
    failed: int = 0
    hooks: int = 0
    deadline_misses: int = 0
    unanswered_hooks: int = 0
    out_of_order: int = 0
    late_acks: int = 0
    duplicate_acks: int = 0
    commands: int = 0
    lost_commands: int = 0
    reconnects: int = 0
    failed_connects: int = 0
    worst_ack_ms: float = 0.0
    looks: int = 0
    late_looks: int = 0
    watched_s: float = 0.0

    def add(self, result: CallResult) -> None:
        """Count a finished call."""
        self.calls += 1
        self.failed += not result.is_good
        self.hooks += len(result.hooks)
        self.deadline_misses += result.deadline_misses
        self.unanswered_hooks += result.unanswered_hooks
        self.out_of_order += overtaken_acks(result.hooks)
        self.late_acks += sum(len(hook.late_acks) for hook in result.hooks)
        self.duplicate_acks += sum(hook.duplicate_acks for hook in result.hooks)
        self.commands += len(result.commands)
        self.lost_commands += sum(command.verdict == "lost" for command in result.commands)
        self.reconnects += result.reconnects
        self.failed_connects += result.failed_connects
        latencies_s = [hook.latency_s for hook in result.hooks if hook.latency_s is not None]
        self.worst_ack_ms = max([self.worst_ack_ms, *(1000 * latency_s for latency_s in latencies_s)])

    def merge(self, other: dict[str, float]) -> None:
        """Add what another process has counted, as ``taken`` gave it."""
        for field in fields(self):
            value = other[field.name]
            mine = getattr(self, field.name)
            setattr(self, field.name, max(mine, value) if field.name == "worst_ack_ms" else mine + value)

    def taken(self) -> dict[str, float]:
        """Return the counts and begin again at zero."""
        counts = asdict(self)
        for field in fields(self):
            setattr(self, field.name, field.default)
        return counts

    def since(self, before: "Tally") -> "Tally":
        """Return what was counted after ``before``; the worst ack is that of all the time."""
        counts = {field.name: getattr(self, field.name) - getattr(before, field.name) for field in fields(self)}
        return Tally(**counts | {"worst_ack_ms": self.worst_ack_ms})

    @property
    def late_share(self) -> float:
        """Share of the looks at their clocks at which the processes that make calls were late."""
        return self.late_looks / max(1, self.looks)

    @property
    def margin_ms(self) -> float:
        """How far the slowest ack stayed from jambonz's deadline."""
        return ACK_DEADLINE_MS - self.worst_ack_ms


@dataclass(frozen=True, slots=True)
class Limits:
    """What a test has to keep; each broken one makes it fail.

    Attributes:
        failed_share: Share of the calls that may fail.
        ack_p99_ms: Slowest 99th percentile of the acks.
        late_share: Share of the looks at its clock at which the generator may be late. One that is late as often as an
            ack may be slow measures itself, not the cluster.
        started_share: Least share of the calls asked for that it must start.
    """

    failed_share: float = 0.0
    ack_p99_ms: float = 1000.0
    late_share: float = 0.01
    started_share: float = 0.95

    def broken(self, tally: Tally, ack_p99_ms: float) -> list[str]:
        """Return a sentence for each limit that was not kept."""
        found = []
        if not tally.calls:
            found.append("no call has ended")
        if tally.started > tally.calls:
            found.append(f"{tally.started - tally.calls} calls had not ended when the test did")
        if tally.failed > self.failed_share * tally.calls:
            found.append(f"{tally.failed} of {tally.calls} calls failed, allowed are {self.failed_share:.2%}")
        if tally.deadline_misses:
            found.append(f"{tally.deadline_misses} hooks were not answered within {ACK_DEADLINE_MS / 1000:g} s")
        if tally.unanswered_hooks:
            found.append(f"{tally.unanswered_hooks} hooks were not answered before their call ended or lost its socket")
        if tally.out_of_order or tally.duplicate_acks:
            found.append(f"{tally.out_of_order} acks out of order, {tally.duplicate_acks} twice")
        if ack_p99_ms > self.ack_p99_ms:
            found.append(f"99th percentile of the acks is {ack_p99_ms:.0f} ms, allowed are {self.ack_p99_ms:.0f} ms")
        return found

    def too_few(self, tally: Tally, asked_per_s: float, seconds: float) -> list[str]:
        """Return a sentence if the generator started too few calls."""
        if tally.started >= self.started_share * asked_per_s * seconds:
            return []
        return [f"the generator started {tally.started / seconds:.1f} calls/s instead of {asked_per_s:g}"]

    def of_the_generator(self, tally: Tally, asked_per_s: float, seconds: float) -> list[str]:
        """Return a sentence for each way in which the generator, and not the cluster, was at its end."""
        late = f"the generator had no CPU left: it was late at {tally.late_share:.1%} of the looks at its clock"
        return [late] * (tally.late_share > self.late_share) + self.too_few(tally, asked_per_s, seconds)


def judged(tally: Tally, limits: Limits, ack_p99_ms: float, *, asked_per_s: float, seconds: float) -> list[str]:
    """Return a sentence for each limit of a whole test that was not kept, and what the generator had to do with it.

    One that was late has seen acks later than they came, never earlier: what is kept all the same is kept.
    """
    broken = limits.broken(tally, ack_p99_ms)
    if broken or limits.too_few(tally, asked_per_s, seconds):
        return limits.of_the_generator(tally, asked_per_s, seconds) + broken
    return []


def verdict(broken: list[str]) -> str:
    """Return for people what was not kept, or that all was."""
    return "\n".join(f"BROKEN: {sentence}" for sentence in broken) + "\n" if broken else "all limits kept\n"


def report(tally: Tally, ack_p99_ms: float) -> str:
    """Return what was counted for people."""
    return (
        f"{tally.calls} calls ended of {tally.started}, {tally.failed} failed, {tally.hooks} hooks, "
        f"{tally.reconnects} reconnects, {tally.failed_connects} websockets refused\n"
        f"acks: p99 {ack_p99_ms:.0f} ms, worst {tally.worst_ack_ms:.0f} ms, "
        f"margin to the deadline {tally.margin_ms:.0f} ms, "
        f"{tally.deadline_misses} missed, {tally.unanswered_hooks} unanswered, "
        f"{tally.late_acks} late, {tally.duplicate_acks} twice, "
        f"{tally.out_of_order} out of order, {tally.lost_commands} commands lost\n"
    )


def as_csv(tally: Tally, figures: Mapping[str, float]) -> str:
    """Return one line with the given figures, all counts, and the least margin to the deadline."""
    row = {name: f"{value:g}" for name, value in figures.items()}
    row |= {field.name: f"{getattr(tally, field.name):.10g}" for field in fields(tally)}
    row["margin_ms"] = f"{tally.margin_ms:.10g}"
    out = io.StringIO()
    writer = csv.DictWriter(out, list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerow(row)
    return out.getvalue()
