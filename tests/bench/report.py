"""What was measured, as Markdown that can be read in a terminal. No I/O."""

from collections.abc import Sequence

from tests.bench.goals import goals
from tests.bench.loads import Kind
from tests.bench.measure import GENERATOR_SHARE_LIMIT
from tests.bench.medians import Medians
from tests.bench.plan import Step

_STEADY = ("peer", "events/s", "ratio", "CPU us/event", "ratio", "by role", "p50 ms", "p99 ms", "p99.9 ms", "generator")
_IDLE = (
    "peer",
    "set-up CPU us",
    "memory kB",
    "CPU, % of a core",
    "back after s",
    "handshake p50, p99 ms",
    "ack p99 ms",
)


def tables(steps: Sequence[Step], found: Medians) -> str:
    """Return a table for each load."""
    return "\n\n".join(f"### {step.load.title}\n\n{_table_of(step, found)}" for step in steps)


def goal_table(found: Medians) -> str:
    """Return the goals with what was found beside them."""
    words = {True: "met", False: "NOT MET", None: "not measured"}
    rows = [
        (
            goal.measure,
            _shown(goal.found),
            f"{'>=' if goal.is_floor else '<='} {goal.bound:g}{goal.unit}",
            words[goal.is_met],
            goal.note,
        )
        for goal in goals(found)
    ]
    return table(("measure", "found", "goal", "", "note"), rows)


def redis_table(found: Medians) -> str:
    """Return what Redis does for an event, and the rate at which that fills the one core it has for commands."""
    rows = []
    for load, peer in dict.fromkeys((run.load, run.peer) for run in found.runs):
        cpu_us = found.get(load, peer, "cpu_us.redis")
        if not cpu_us:
            continue
        counts = (found.get(load, peer, f"redis_{name}") for name in ("commands", "bytes_in", "bytes_out"))
        limit = "" if "masters" in peer else f"{1e6 / cpu_us:,.0f}"
        rows.append((load, peer, f"{cpu_us:.1f}", limit, *(_shown(count) for count in counts)))
    head = ("load", "peer", "CPU us/event", "one Redis is full at events/s", "commands", "bytes in", "bytes out")
    return table(head, rows) if rows else "not measured"


def keys_table(found: Medians) -> str:
    """Return what an idle call keeps in Redis."""
    rows = []
    for load, peer in dict.fromkeys((run.load, run.peer) for run in found.runs):
        for family, size_bytes in found.roles(load, peer, "redis_key_bytes").items():
            count = found.get(load, peer, f"redis_keys.{family}") or 0.0
            if size_bytes >= 1:
                rows.append((load, peer, family, f"{count:.4g}", f"{size_bytes:,.0f}"))
    return table(("load", "peer", "keys", "per call", "bytes per call"), rows) if rows else "not measured"


def harm_of(found: Medians) -> list[str]:
    """Return what must not happen, whatever the timing, to whomever it happened."""
    return [f"{run.peer}, {run.load}: {', '.join(run.harm)}" for run in found.runs if run.harm]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _table_of(step: Step, found: Medians) -> str:
    peers = [peer for peer in step.peers if any((run.load, run.peer) == (step.load.name, peer) for run in found.runs)]
    if not peers:
        return "not measured"
    if step.load.kind is Kind.IDLE:
        return table(_IDLE, [_idle_row(step.load.name, peer, found) for peer in peers])
    return table(_STEADY, [_steady_row(step.load.name, peer, peers[0], found) for peer in peers])


def _steady_row(load: str, peer: str, first: str, found: Medians) -> list[str]:
    share = found.get(load, peer, "generator_share") or 0.0
    cpu = found.values(load, peer, "cpu_us")
    spread = f" ({min(cpu):.1f}-{max(cpu):.1f})" if len(cpu) > 1 else ""
    roles = found.roles(load, peer, "cpu_us")
    kept = found.get(load, peer, "kept_rate")
    too_much = " !" if share > GENERATOR_SHARE_LIMIT else ""
    too_slow = " !rate" if kept is not None and kept < 0.99 else ""
    return [
        peer,
        f"{found.get(load, peer, 'events_per_s') or 0:,.0f}{too_slow}",
        _shown(found.ratio(load, "events_per_s", peer, first)),
        f"{found.get(load, peer, 'cpu_us') or 0:.1f}{spread}",
        _shown(found.ratio(load, "cpu_us", peer, first)),
        ", ".join(f"{role} {value:.1f}" for role, value in roles.items()),
        *(_shown(found.get(load, peer, f"{part}_ms")) for part in ("p50", "p99", "p999")),
        f"{found.get(load, peer, 'generator_us') or 0:.1f} us, {share:.0%}{too_much}",
    ]


def _idle_row(load: str, peer: str, found: Medians) -> list[str]:
    def by_role(figure: str, factor: float) -> str:
        values = found.roles(load, peer, figure)
        return ", ".join(f"{role} {value * factor:.3g}" for role, value in values.items())

    given_up = found.get(load, peer, "storm_late_handshakes")
    handshake = [found.get(load, peer, f"storm_handshake_{part}_ms") for part in ("p50", "p99")]
    return [
        peer,
        by_role("set_up_cpu_us", 1.0),
        by_role("memory_bytes", 1e-3),
        by_role("idle_cpu_share", 100.0),
        _shown(found.get(load, peer, "storm_s")) + (f", {given_up:g} handshakes given up" if given_up else ""),
        ", ".join(_shown(value) for value in handshake) if handshake[0] is not None else "-",
        _shown(found.get(load, peer, "storm_ack_p99_ms")),
    ]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
