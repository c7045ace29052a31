"""What the steps of a ramp cost in CPU. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, fields

from jambonz_load.ramp import Step, last_good


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds that were used up to one moment.

    Attributes:
        at_s: Unix seconds.
        cluster_s: By all gateways and workers.
        redis_s: By Redis.
        load_s: By the processes that make the calls.
        machine_s: By everything on this machine, these among it.
    """

    at_s: float
    cluster_s: float
    redis_s: float
    load_s: float
    machine_s: float


def between(usages: Sequence[Usage], begins_at_s: float, ends_at_s: float) -> Usage:
    """Return how many cores were used from one moment to another; ``at_s`` is the length of that time."""
    begin, end = _at(usages, begins_at_s), _at(usages, ends_at_s)
    seconds = ends_at_s - begins_at_s
    cores = {field.name: (getattr(end, field.name) - getattr(begin, field.name)) / seconds for field in fields(Usage)}
    return Usage(**cores | {"at_s": seconds})


def _at(usages: Sequence[Usage], at_s: float) -> Usage:
    """Return what was used at a moment between two looks, as if it had been used evenly."""
    after = min(max(1, bisect_left(usages, at_s, key=lambda usage: usage.at_s)), len(usages) - 1)
    left, right = usages[after - 1], usages[after]
    share = (at_s - left.at_s) / (right.at_s - left.at_s)
    return Usage(
        *(
            getattr(left, field.name) + share * (getattr(right, field.name) - getattr(left, field.name))
            for field in fields(Usage)
        )
    )


def table(steps: Sequence[Step], usages: Sequence[Usage]) -> str:
    """Return the steps with the cores they needed as a Markdown table, then what a core bears at the last good one."""
    names = ("calls/s", "live calls", "hooks/s", "acks p99", "missed", "failed")
    names += ("cores: gateways and workers", "Redis", "load", "whole machine", "limits")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for step in steps:
        cores = between(usages, step.begins_at_s, step.ends_at_s)
        bore = f"{step.calls_per_s:.1f} | {step.live} | {step.hooks_per_s:.0f} | {step.ack_p99_ms:.0f} ms"
        spent = f"{cores.cluster_s:.2f} | {cores.redis_s:.2f} | {cores.load_s:.2f} | {cores.machine_s:.2f}"
        lines.append(f"| {bore} | {step.missed} | {step.failed} | {spent} | {step.broken or 'kept'} |")
    good = last_good(list(steps))
    if good is not None:
        cores = between(usages, good.begins_at_s, good.ends_at_s)
        lines.append(
            f"\nLast good step: {good.calls_per_s / cores.cluster_s:.0f} calls/s and "
            f"{good.live / cores.cluster_s:.0f} live calls per core of gateways and workers."
        )
    return "\n".join(lines)
