"""From the costs of one event and one call to whole installations: ``python -m tests.bench.capacity --help``.

The table in docs/explanation/capacity.md is made here from unit_costs.json; a test holds the two together.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Self

from tests.bench.frames import CallFrames
from tests.bench.measure import Run
from tests.bench.medians import Medians
from tests.bench.plan import CLUSTER, FOUR_AND_FOUR
from tests.bench.report import table
from tests.cluster_fixture import REPO

UNIT_COSTS: Final = REPO / "tests" / "bench" / "unit_costs.json"
PAGE: Final = REPO / "docs" / "explanation" / "capacity.md"
LIVE_CALLS: Final = (1_000, 10_000, 100_000, 1_000_000)
# The frame of an ack with two short verbs.
ACK_BYTES: Final = 230


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """What one of each costs, as measured. Microseconds of CPU and bytes.

    Attributes:
        event_*_us: A hook and its ack.
        call_*_us: A whole short call: handshake, session:new, one hook, the end.
        idle_*_us: An idle call for one second, pings and its part of the heartbeats included.
        memory_*_bytes: An idle call.
        base_*_bytes: A process without calls.
        redis_keys_bytes: The keys of an idle call, by ``MEMORY USAGE``; the rest of its memory is its subscription.
        redis_event_bytes: What goes in and out of Redis per hook, over the network.
        busy_redis_us: CPU of Redis per hook at saturation, the least we have seen: its limit.
        source: The benchmark they come from.
    """

    event_gateway_us: float
    event_worker_us: float
    event_redis_us: float
    call_gateway_us: float
    call_worker_us: float
    call_redis_us: float
    idle_gateway_us: float
    idle_worker_us: float
    idle_redis_us: float
    memory_gateway_bytes: float
    memory_worker_bytes: float
    memory_redis_bytes: float
    base_gateway_bytes: float
    base_worker_bytes: float
    base_redis_bytes: float
    redis_keys_bytes: float
    redis_event_bytes: float
    busy_redis_us: float
    source: str

    @classmethod
    def read(cls, path: Path = UNIT_COSTS) -> Self:
        """Return the committed ones."""
        return cls(**json.loads(path.read_text()))

    @classmethod
    def of(cls, found: Medians, source: str) -> Self:
        """Return what a benchmark has measured.

        The costs of an event are those at 5,000 events a second, where nothing is batched much: a process that has room
        left works like that, and at saturation it is cheaper.

        Raises:
            LookupError: If a load is missing in the benchmark.
        """

        def get(load: str, figure: str, peer: str = CLUSTER) -> float:
            value = found.get(load, peer, figure)
            if value is None:
                raise LookupError(f"the benchmark has no {figure} of {peer} under {load}")
            return value

        busy = [get("saturation", "cpu_us.redis"), get("saturation", "cpu_us.redis", FOUR_AND_FOUR)]
        idle_calls = 10_000
        values: dict[str, float] = {"busy_redis_us": min(busy)}
        for role in ("gateway", "worker", "redis"):
            values |= {
                f"event_{role}_us": get("rate-5000", f"cpu_us.{role}"),
                f"call_{role}_us": get("churn", f"cpu_us.{role}"),
                f"idle_{role}_us": get("idle", f"idle_cpu_share.{role}") * 1e6 / idle_calls,
                f"memory_{role}_bytes": get("storm", f"memory_bytes.{role}"),
                f"base_{role}_bytes": get("storm", f"base_bytes.{role}"),
            }
        keys = {name for run in found.runs for name in run.figures if name.startswith("redis_key_bytes.")}
        values["redis_keys_bytes"] = sum(found.get("storm", CLUSTER, name) or 0.0 for name in keys)
        values["redis_event_bytes"] = get("rate-5000", "redis_bytes_in") + get("rate-5000", "redis_bytes_out")
        return cls(**{name: round(value, 2) for name, value in values.items()}, source=source)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What calls do. Change it to what yours do.

    Attributes:
        events_per_call_s: Hooks a live call sends per second; a notice costs about half of one.
        call_s: How long a call lives.
        fill: How much of a core is used when all is well; the rest is for peaks and for what dies.
        handler_us: CPU of your handler per hook.
        calls_per_process: Calls one gateway or worker process takes at most (``JAMBONZ_CLUSTER_MAX_CALLS``).
    """

    events_per_call_s: float = 0.2
    call_s: float = 180.0
    fill: float = 0.5
    handler_us: float = 200.0
    calls_per_process: float = 10_000


@dataclass(frozen=True, slots=True)
class Installation:
    """What so many live calls need."""

    live_calls: int
    events_per_s: float
    starts_per_s: float
    gateway_cores: float
    gateways: int
    gateway_bytes: float
    worker_cores: float
    workers: int
    worker_bytes: float
    redis_cores: float
    redis_servers: int
    redis_bytes: float
    socket_bits_per_s: float
    redis_bits_per_s: float


def installation(live_calls: int, costs: UnitCosts, traffic: Traffic) -> Installation:
    """Return what so many live calls need, before anything is doubled for the day a host dies."""
    events_per_s = live_calls * traffic.events_per_call_s
    starts_per_s = live_calls / traffic.call_s

    def cores(event_us: float, call_us: float, idle_us: float) -> float:
        return (events_per_s * event_us + starts_per_s * call_us + live_calls * idle_us) / 1e6

    gateway_cores = cores(costs.event_gateway_us, costs.call_gateway_us, costs.idle_gateway_us)
    worker_us = costs.event_worker_us + traffic.handler_us
    worker_cores = cores(worker_us, costs.call_worker_us + traffic.handler_us, costs.idle_worker_us)
    redis_cores = cores(costs.event_redis_us, costs.call_redis_us, costs.idle_redis_us)
    gateways = _processes(gateway_cores / traffic.fill, live_calls / traffic.calls_per_process)
    workers = _processes(worker_cores / traffic.fill, live_calls / traffic.calls_per_process)
    servers = _processes(redis_cores / traffic.fill, 0)
    hook_bytes = len(CallFrames().hook)
    return Installation(
        live_calls,
        events_per_s,
        starts_per_s,
        gateway_cores,
        gateways,
        live_calls * costs.memory_gateway_bytes + gateways * costs.base_gateway_bytes,
        worker_cores,
        workers,
        live_calls * costs.memory_worker_bytes + workers * costs.base_worker_bytes,
        redis_cores,
        servers,
        live_calls * costs.memory_redis_bytes + servers * costs.base_redis_bytes,
        events_per_s * (hook_bytes + ACK_BYTES) * 8,
        events_per_s * costs.redis_event_bytes * 8,
    )


def redis_limit_per_s(costs: UnitCosts) -> float:
    """Return the rate of hooks at which one Redis uses the whole of the one core it can use."""
    return 1e6 / costs.busy_redis_us


def capacity_table(costs: UnitCosts, traffic: Traffic) -> str:
    """Return the table of installations, a column each."""
    made = [installation(calls, costs, traffic) for calls in LIVE_CALLS]
    rows = [
        ("events/s", *(f"{one.events_per_s:,.0f}" for one in made)),
        ("new calls/s", *(f"{one.starts_per_s:,.0f}" for one in made)),
        ("gateways: cores used", *(f"{one.gateway_cores:,.2f}" for one in made)),
        ("gateways: processes", *(f"{one.gateways:,}" for one in made)),
        ("gateways: memory", *(_bytes(one.gateway_bytes) for one in made)),
        ("workers: cores used", *(f"{one.worker_cores:,.2f}" for one in made)),
        ("workers: processes", *(f"{one.workers:,}" for one in made)),
        ("workers: memory", *(_bytes(one.worker_bytes) for one in made)),
        ("Redis: cores used", *(f"{one.redis_cores:,.2f}" for one in made)),
        ("Redis: primaries", *(f"{one.redis_servers:,}" for one in made)),
        ("Redis: memory", *(_bytes(one.redis_bytes) for one in made)),
        ("websockets, both ways", *(_bits(one.socket_bits_per_s) for one in made)),
        ("Redis, both ways", *(_bits(one.redis_bits_per_s) for one in made)),
    ]
    return table(("live calls", *(f"{calls:,}" for calls in LIVE_CALLS)), rows)


def cost_table(costs: UnitCosts) -> str:
    """Return the unit costs."""
    rows = [
        ("a hook and its ack, us of CPU", *(f"{getattr(costs, f'event_{role}_us'):.1f}" for role in _ROLES)),
        ("a short call with one hook, us of CPU", *(f"{getattr(costs, f'call_{role}_us'):,.0f}" for role in _ROLES)),
        ("an idle call, us of CPU each second", *(f"{getattr(costs, f'idle_{role}_us'):.2f}" for role in _ROLES)),
        ("an idle call, memory", *(_bytes(getattr(costs, f"memory_{role}_bytes")) for role in _ROLES)),
        ("an empty process, memory", *(_bytes(getattr(costs, f"base_{role}_bytes")) for role in _ROLES)),
    ]
    return table(("", *_ROLES), rows)


def written(page: str, costs: UnitCosts, traffic: Traffic) -> str:
    """Return the page with what is computed put in anew; each part stands between two comments."""
    limit = (
        f"One Redis takes {costs.busy_redis_us:.1f} us of CPU per hook at saturation. It has one core for commands, so "
        f"its limit is about **{redis_limit_per_s(costs):,.0f} hooks a second**, or "
        f"{redis_limit_per_s(costs) * traffic.fill:,.0f} at {traffic.fill:.0%} of the core. "
        f"Each hook moves {_bytes(costs.redis_event_bytes)} in and out of it, and a live call keeps keys of "
        f"{_bytes(costs.redis_keys_bytes)} (`MEMORY USAGE`)."
    )
    parts = {
        "costs": cost_table(costs),
        "limit": limit,
        "table": capacity_table(costs, traffic),
        "source": f"Source: {costs.source}.",
    }
    for name, text in parts.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        assert found, f"the page has no place for {name}"
        page = f"{before}{begin}{text}\n{end}{after}"
    return page


_ROLES: Final = ("gateway", "worker", "redis")


def _processes(by_cpu: float, by_calls: float) -> int:
    return max(1, math.ceil(by_cpu), math.ceil(by_calls))


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"


def _bits(value: float) -> str:
    for unit, size in (("Gbit/s", 1e9), ("Mbit/s", 1e6)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value / 1e3:.1f} kbit/s"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs-of", type=Path, help="take the unit costs from this docs/benchmarks/*.json")
    parser.add_argument("--write", action="store_true", help="write unit_costs.json and the page")
    defaults = Traffic()
    for field in fields(Traffic):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=getattr(defaults, field.name))
    options = parser.parse_args()
    if options.costs_of:
        runs = [Run(**run) for run in json.loads(options.costs_of.read_text())]
        costs = UnitCosts.of(Medians(runs), options.costs_of.stem)
    else:
        costs = UnitCosts.read()
    traffic = Traffic(**{field.name: getattr(options, field.name) for field in fields(Traffic)})
    print(cost_table(costs), capacity_table(costs, traffic), sep="\n\n")
    if options.write:
        UNIT_COSTS.write_text(json.dumps(asdict(costs), indent=2) + "\n")
        PAGE.write_text(written(PAGE.read_text(), costs, traffic))


if __name__ == "__main__":
    main()
