"""What the benchmark has to show, and whether it does. No I/O."""

from dataclasses import dataclass

from tests.bench.medians import Medians, divided, minus
from tests.bench.plan import (
    BARE,
    CHANNELS,
    CLUSTER,
    FOUR_AND_FOUR,
    LINGERING,
    NODE_SDK,
    PYTHON_SDK,
    RATES,
    TWO_AND_TWO,
)


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table of goals.

    Attributes:
        found: What was measured; ``None`` if a peer or a load was left out.
        bound: The most there may be; the least if ``is_floor``.
        note: What one has to know to read it.
    """

    measure: str
    found: float | None
    bound: float
    unit: str = ""
    is_floor: bool = False
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the bound holds; ``None`` if it was not measured."""
        if self.found is None:
            return None
        return self.found >= self.bound if self.is_floor else self.found <= self.bound


def goals(found: Medians) -> list[Goal]:
    """Return every goal with what was measured."""
    return [*_saturation(found), *_latency(found), *_idle(found), *_scale(found)]


def _saturation(found: Medians) -> list[Goal]:
    def cpu(peer: str) -> float | None:
        return found.ratio("saturation", "cpu_us", CLUSTER, peer)

    return [
        Goal("events/s / bare", found.ratio("saturation", "events_per_s", CLUSTER, BARE), 1.0, is_floor=True),
        Goal("CPU per event / bare", cpu(BARE), 1.3, note="aim 1.0"),
        Goal("CPU per event / Python SDK", cpu(PYTHON_SDK), 0.6),
        Goal("CPU per event / Node SDK", cpu(NODE_SDK), 0.3),
        Goal("events/s / Channels", found.ratio("saturation", "events_per_s", CLUSTER, CHANNELS), 40, is_floor=True),
    ]


def _latency(found: Medians) -> list[Goal]:
    load = f"rate-{RATES[0]}"
    at = f"{RATES[0]:,} events/s"
    bare_ms = found.get(load, BARE, "p50_ms")

    def kept(peer: str) -> str:
        part = found.get(load, peer, "kept_rate")
        return "" if part is None or part > 0.99 else f"the machine took {part:.0%} of the rate"

    return [
        Goal("p50, one call at a time / bare", found.ratio("one", "p50_ms", CLUSTER, BARE), 2.2),
        Goal(f"added p50 at {at}", minus(found.get(load, CLUSTER, "p50_ms"), bare_ms), 0.3, " ms", note=kept(CLUSTER)),
        Goal(f"p99 at {at}", found.get(load, CLUSTER, "p99_ms"), 2.0, " ms", note=kept(CLUSTER)),
        Goal(
            f"linger on: CPU per event at {at} / bare",
            found.ratio(load, "cpu_us", LINGERING, BARE),
            1.1,
            note=kept(LINGERING),
        ),
        Goal(
            f"linger on: added p50 at {at}",
            minus(found.get(load, LINGERING, "p50_ms"), bare_ms),
            1.5,
            " ms",
            note=kept(LINGERING),
        ),
    ]


def _idle(found: Medians) -> list[Goal]:
    memory = found.get("storm", CLUSTER, "memory_bytes.gateway")
    set_up = found.get("storm", CLUSTER, "set_up_cpu_us.gateway")
    idle = found.get("idle", CLUSTER, "idle_cpu_share.gateway")
    late = ("storm_late_handshakes", "storm_broken", "storm_late_acks", "storm_not_back", "unanswered")
    broken = [found.get("storm", CLUSTER, name) for name in late]
    return [
        Goal("memory per idle call, gateway", divided(memory, 1000), 10, " kB"),
        Goal(
            "memory per idle call, gateway / bare",
            divided(memory, found.get("storm", BARE, "memory_bytes.server")),
            0.4,
        ),
        Goal(
            "set-up CPU of a call, gateway / bare",
            divided(set_up, found.get("storm", BARE, "set_up_cpu_us.server")),
            0.7,
            note="handshake and first ack",
        ),
        Goal("CPU of 10,000 idle calls with pings, gateway", divided(idle, 0.01), 1.0, " % of a core"),
        Goal(
            "all sockets break at once: late or lost",
            None if None in broken else sum(value or 0 for value in broken),
            0,
            " calls",
            note="handshakes over 1.5 s, acks over 5 s, broken again",
        ),
    ]


def _scale(found: Medians) -> list[Goal]:
    return [
        Goal("CPU per event, 2+2 / 1+1", found.ratio("saturation", "cpu_us", TWO_AND_TWO, CLUSTER), 1.2),
        Goal(
            "CPU per event, 4+4 / 1+1", found.ratio("saturation", "cpu_us", FOUR_AND_FOUR, CLUSTER), 1.2, note="to know"
        ),
        Goal(
            "CPU per event, 10,000 live calls / 100",
            divided(found.get("live-10000", CLUSTER, "cpu_us"), found.get("live-100", CLUSTER, "cpu_us")),
            1.1,
        ),
    ]
