"""One run: a peer, a load, and what came of it."""

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Final

from tests.bench.loads import Kind, Load
from tests.bench.peers import Peer, Snapshot
from tests.bench.redis_keys import key_costs

GENERATOR: Final = (sys.executable, "-m", "tests.bench.generator")
RUN_LIMIT_S: Final = 400.0
# A generator that takes more than this part of what it measures has to be seen (issue "As fast through Redis").
GENERATOR_SHARE_LIMIT: Final = 1 / 3

# For so long after a link to Redis has come up claims lift the seq, and each first ack is read from the log
# (architecture.md 6): what a call's set-up costs must not be measured then.
_LINKS_ARE_OLD_S: Final = 10.0

_HARM: Final = {
    "unanswered": "hooks without an ack",
    "guarded": "hooks that the deadline guard had to ack",
    "lost": "sockets lost",
    "strange": "messages nobody expected",
    "storm_not_back": "calls that did not come back",
}
_STORM: Final = {"storm_s", "storm_late_handshakes", "storm_broken", "storm_late_acks", "storm_not_back"}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one peer under one load.

    Attributes:
        figures: By name. ``cpu_us`` is CPU per event of all its processes, microseconds, ``cpu_us.ROLE`` of one role;
            the same with ``set_up_cpu_us`` per call set up, ``storm_cpu_us`` per reconnect, ``idle_cpu_share`` in
            cores, ``memory_bytes`` per idle call. ``p50_ms``, ``p99_ms``, ``p999_ms`` are latencies of acks.
    """

    peer: str
    load: str
    figures: dict[str, float]

    @property
    def harm(self) -> list[str]:
        """What must never happen, whatever the timing; empty if all is well."""
        told = [f"{self.figures[name]:g} {words}" for name, words in _HARM.items() if self.figures.get(name)]
        if not self.figures.get("events", 1):
            told.append("not one hook was acked")
        return told


async def measure(peer: Peer, load: Load) -> Run:
    """Start the peer, put the load on it, look at its processes at each mark, stop it."""
    looks: dict[str, Snapshot] = {}
    keys: dict[str, float] = {}
    try:
        running = await peer.start()
        if running.redis_url and load.kind in {Kind.IDLE, Kind.CHURN}:
            await asyncio.sleep(_LINKS_ARE_OLD_S)
        generator = await asyncio.create_subprocess_exec(
            *GENERATOR, running.url, load.to_json(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert generator.stdin is not None
        assert generator.stdout is not None
        try:
            async with asyncio.timeout(RUN_LIMIT_S):
                while "figures" not in (said := json.loads(await _line(generator.stdout, peer, load))):
                    looks[said["mark"]] = await running.snapshot()
                    if said["mark"] == "many" and running.redis_url:
                        keys = await key_costs(running.redis_url)
                    if said["waits"]:
                        generator.stdin.write(b"\n")
                await generator.wait()
        finally:
            if generator.returncode is None:
                generator.kill()
                await generator.wait()
    finally:
        await peer.stop()
    per_call = {name: value / load.calls for name, value in keys.items()}
    return Run(peer.name, load.name, derived(load, said["figures"], looks) | per_call)


async def _line(stream: asyncio.StreamReader, peer: Peer, load: Load) -> bytes:
    line = await stream.readline()
    assert line, f"the generator ended early: {peer.name}, {load.title}"
    return line


def derived(load: Load, raw: dict[str, float], looks: dict[str, Snapshot]) -> dict[str, float]:
    """Return the figures of a run from what the generator and the looks at the processes say."""
    figures = {name: value for name, value in raw.items() if name in _HARM}
    times = ("p50_s", "p99_s", "p999_s", "max_s")
    figures |= {f"{name[:-2]}_ms": value * 1e3 for name, value in raw.items() if name.endswith(times)}
    if load.kind is Kind.IDLE:
        return figures | _idle(load, raw, looks)
    events = raw["acks"] * (2 if load.has_notices else 1)
    per_event = 1 / max(1, events)
    begin, end = looks["begin"], looks["end"]
    figures |= {
        "events": events,
        "events_per_s": events / raw["seconds"],
        "generator_us": raw["generator_cpu_s"] * per_event * 1e6,
        **_cpu("cpu_us", begin, end, per_event * 1e6),
        **{f"redis_{name}": (end.redis[name] - begin.redis[name]) * per_event for name in end.redis},
    }
    if load.rate:
        figures["kept_rate"] = raw["acks"] / raw["seconds"] / load.rate
    if figures["cpu_us"]:
        figures["generator_share"] = figures["generator_us"] / figures["cpu_us"]
    return figures


def _idle(load: Load, raw: dict[str, float], looks: dict[str, Snapshot]) -> dict[str, float]:
    per_call = 1 / (load.calls - load.few_calls)
    few, many = looks["few"], looks["many"]
    figures = {
        "set_up_per_s": raw["set_up_per_s"],
        **_cpu("set_up_cpu_us", looks["set-up-begin"], looks["set-up-end"], per_call * 1e6),
        **_cpu("idle_cpu_share", looks["begin"], looks["end"], 1 / raw["seconds"]),
        **{f"memory_bytes.{role}": (many.rss_bytes[role] - few.rss_bytes[role]) * per_call for role in many.rss_bytes},
        **{f"base_bytes.{role}": few.rss_bytes[role] for role in few.rss_bytes},
    }
    if "memory" in many.redis:
        figures["redis_memory_bytes"] = (many.redis["memory"] - few.redis["memory"]) * per_call
    if load.storm_calls:
        figures |= _cpu("storm_cpu_us", looks["storm-begin"], looks["storm-end"], 1e6 / load.storm_calls)
        figures |= {name: value for name, value in raw.items() if name in _STORM}
    return figures


def _cpu(name: str, begin: Snapshot, end: Snapshot, factor: float) -> dict[str, float]:
    by_role = {role: (end.cpu_s[role] - begin.cpu_s[role]) * factor for role in end.cpu_s}
    return {name: sum(by_role.values()), **{f"{name}.{role}": value for role, value in by_role.items()}}
