"""We against the bounds and the peers, in turn, in one run: ``python -m tests.bench.compare --help``."""

import argparse
import asyncio
import json
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from rich.console import Console
from rich.table import Table

from tests.bench.peers import Running, WholeCluster, bare

GENERATOR: Final = (sys.executable, "-m", "tests.bench.generator")
RUN_LIMIT_S: Final = 180.0


class Peer(Protocol):
    """Something to measure."""

    name: str

    async def start(self) -> Running:
        """Start it."""

    async def stop(self) -> None:
        """Stop it."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the generator does; ``rate`` 0 is the closed loop."""

    name: str
    calls: int
    seconds: float
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """One run of one peer.

    Attributes:
        events_per_s: Hooks acked per second.
        cpu_us: CPU per event of all its processes, microseconds; ``by_role`` splits it.
        generator_cpu_us: CPU per event of the generator; not part of the above.
    """

    peer: str
    load: str
    events_per_s: float
    cpu_us: float
    by_role: dict[str, float]
    generator_cpu_us: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    lost_calls: int


async def measure(peer: Peer, load: Load) -> Figures:
    """Start the peer, put the load on it, read what its processes used in the measured window, stop it."""
    running = await peer.start()
    try:
        options = ["--calls", str(load.calls), "--seconds", str(load.seconds), "--rate", str(load.rate)]
        generator = await asyncio.create_subprocess_exec(
            *GENERATOR, running.url, *options, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert generator.stdin is not None
        assert generator.stdout is not None
        async with asyncio.timeout(RUN_LIMIT_S):
            await _line(generator.stdout, b"measuring")
            before = running.cpu_s()
            await _line(generator.stdout, b"measured")
            after = running.cpu_s()
            generator.stdin.write(b"\n")
            raw = json.loads(await generator.stdout.readline())
            await generator.wait()
    finally:
        await peer.stop()
    events = max(1, raw["events"])
    by_role = {role: (after[role] - before[role]) / events * 1e6 for role in after}
    return Figures(
        peer.name,
        load.name,
        raw["events"] / raw["seconds"],
        sum(by_role.values()),
        by_role,
        raw["generator_cpu_s"] / events * 1e6,
        raw["p50"] * 1e3,
        raw["p99"] * 1e3,
        raw["p999"] * 1e3,
        raw["lost_calls"],
    )


async def _line(stream: asyncio.StreamReader, wanted: bytes) -> None:
    while (line := await stream.readline()).strip() != wanted:
        assert line, f"the generator ended before it said {wanted.decode()!r}"


async def compare(peers: list[Peer], loads: list[Load], rounds: int, console: Console) -> list[Figures]:
    """Measure every peer under every load, ``rounds`` times in turn, so that drift of the machine hits all alike."""
    found: list[Figures] = []
    for load in loads:
        for number in range(rounds):
            for peer in peers:
                console.print(f"{load.name}, round {number + 1} of {rounds}: {peer.name} ...", style="dim")
                found.append(await measure(peer, load))
    return found


def median(values: list[float]) -> float:
    """Return the middle value (the lower one of two)."""
    return sorted(values)[(len(values) - 1) // 2]


def table(found: list[Figures], load: Load) -> Table:
    """Return medians and ratios to the first peer."""
    shown = Table(title=load.name)
    for column in ("peer", "events/s", "ratio", "CPU us/event", "ratio", "p50 ms", "p99 ms", "p99.9 ms", "by role"):
        shown.add_column(column, justify="left" if column in ("peer", "by role") else "right")
    names = list(dict.fromkeys(figures.peer for figures in found))
    first: tuple[float, float] | None = None
    for name in names:
        runs = [figures for figures in found if figures.peer == name and figures.load == load.name]
        events, cpu = median([run.events_per_s for run in runs]), median([run.cpu_us for run in runs])
        first = first or (events, cpu)
        roles = {role: median([run.by_role[role] for run in runs]) for role in runs[0].by_role}
        shown.add_row(
            name,
            f"{events:,.0f}",
            f"{events / first[0]:.2f}",
            f"{cpu:.1f}",
            f"{cpu / first[1]:.2f}",
            *(f"{median([getattr(run, part) for run in runs]):.2f}" for part in ("p50_ms", "p99_ms", "p999_ms")),
            ", ".join(f"{role} {value:.1f}" for role, value in roles.items()),
        )
    return shown


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, for a look or for CI")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--markdown", type=Path, help="write the tables to this file, too")
    options = parser.parse_args()
    seconds, rounds = (3.0, 1) if options.quick else (options.seconds, options.rounds)
    loads = [
        Load("saturation, 256 calls, one hook in flight each", 256, seconds),
        Load("one call at a time", 1, seconds),
        Load("5,000 hooks per second over 256 calls", 256, seconds, rate=5000),
    ]
    console = Console(record=True, width=150)
    folder = Path(tempfile.mkdtemp(prefix="jambonz-cluster-bench-"))
    peers: list[Peer] = [bare(), WholeCluster(folder / "one")]
    machine = platform.processor() or platform.machine()
    console.print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}, Python {platform.python_version()}")
    try:
        found = asyncio.run(compare(peers, loads, rounds, console))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for load in loads:
        console.print(table(found, load))
    if options.markdown:
        options.markdown.write_text(f"```\n{console.export_text()}```\n")
    if lost := sum(figures.lost_calls for figures in found):
        sys.exit(f"{lost} calls were lost")


if __name__ == "__main__":
    main()
