"""We against the bound and the peers, in turn, in one run: ``python -m tests.bench.compare --help``."""

import argparse
import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import psutil

from jambonz_cluster.embedded_redis import find_redis_server, version_of
from jambonz_shared.build import build_text
from tests.bench import drift, plan
from tests.bench.floor import socket_floor_us
from tests.bench.measure import GENERATOR_SHARE_LIMIT, Run, measure
from tests.bench.medians import Medians
from tests.bench.peers import Peer
from tests.bench.plan import Step
from tests.bench.report import goal_table, harm_of, keys_table, redis_table, table, tables
from tests.cluster_fixture import REPO

READING = f"""\
Medians of the rounds; in brackets the least and the most. Ratios are to the first line of a table. An event is a
message that is sent, a hook or a notice; of short calls it is a whole call, and the latencies are those of the whole
call. `generator` is the CPU of the load generator, which is in no other column; `!` marks runs in which it took more
than {GENERATOR_SHARE_LIMIT:.0%} of what it measured. `!rate`: the rate was not kept, the latencies are those of a queue
that grows. Latencies at a fixed rate count from when a hook was due. CPU is what the kernel charges to the processes,
system calls included. Memory is the slope of the resident memory from the first 500 calls to all."""


def available(peers: dict[str, Peer], steps: list[Step]) -> tuple[dict[str, Peer], dict[str, str]]:
    """Return the peers that can be measured here, and why the others cannot."""
    wanted = dict.fromkeys(name for step in steps for name in step.peers if name in peers)
    skipped = {}
    for name in wanted:
        if why := peers[name].missing():
            skipped[name] = why
            print(f"\n*** SKIPPED: {name}: {why} ***\n", flush=True)
    return {name: peers[name] for name in wanted if name not in skipped}, skipped


async def measure_all(steps: list[Step], peers: dict[str, Peer]) -> list[Run]:
    """Measure every peer under every load, in turn, back and forth, so that drift of the machine hits all alike."""
    runs: list[Run] = []
    for step in steps:
        there = [peers[name] for name in step.peers if name in peers]
        for number in range(step.rounds):
            for peer in there if number % 2 == 0 else reversed(there):
                print(f"{step.load.title}, round {number + 1} of {step.rounds}: {peer.name}", flush=True)
                try:
                    runs.append(await measure(peer, step.load))
                except (AssertionError, TimeoutError, OSError, psutil.Error) as error:
                    runs.append(Run(peer.name, step.load.name, {"events": 0}))
                    print(f"*** FAILED: {peer.name}, {step.load.title}: {error} ***", flush=True)
    return runs


def about_machine() -> dict[str, str]:
    """Return what one has to know of the machine to read the figures."""
    models = [line.split(":")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    major, minor = version_of(find_redis_server()) or (0, 0)
    commit = subprocess.run(
        ("git", "rev-parse", "--short", "HEAD"), cwd=REPO, capture_output=True, text=True, check=False
    )
    return {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit.stdout.strip() or "unknown",
        "processor": f"{os.cpu_count()} x {(models or [platform.machine()])[0].strip()}",
        "kernel": platform.release(),
        "jambonz-cluster": build_text(),
        # Builds of one version differ by a fifth in speed.
        "versions": f"Python {platform.python_version()} ({Path(sys.executable).resolve()}), Redis {major}.{minor}",
        "load average before": f"{os.getloadavg()[0]:.2f}",
        "one send and one receive": f"{socket_floor_us():.1f} us of CPU, the least a load generator can take per hook",
    }


def page(title: str, about: dict[str, str], steps: list[Step], found: Medians, skipped: dict[str, str]) -> str:
    """Return the whole report as Markdown."""
    parts = [
        f"# {title}",
        table(("", ""), list(about.items())),
        "## Goals",
        goal_table(found),
        "## Measured",
        READING,
        *(f"SKIPPED: {name}: {why}." for name, why in skipped.items()),
        *(f"WRONG: {harm}." for harm in harm_of(found)),
        tables(steps, found),
        "## Redis",
        redis_table(found),
        "`MEMORY USAGE` per idle call:",
        keys_table(found),
        "## Against the baseline",
        drift.drift_table(found, drift.read_baseline()),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Run from the command line."""
    options = _options()
    steps = plan.quick() if options.quick else plan.full(options.seconds, options.rounds)
    if options.only:
        steps = [step for step in steps if step.load.name in options.only.split(",")]
    if options.peers:
        names = options.peers.split(",")
        steps = [Step(step.load, tuple(name for name in step.peers if name in names), step.rounds) for step in steps]
    about = about_machine()
    folder = Path(tempfile.mkdtemp(prefix="jambonz-cluster-bench-"))
    try:
        peers, skipped = available(plan.peers(folder, options.sources), steps)
        found = Medians(asyncio.run(measure_all(steps, peers)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = page(f"Benchmark: {options.topic}", about, steps, found, skipped)
    print("\n" + text)
    if options.write:
        file = REPO / "docs" / "benchmarks" / f"{datetime.now(UTC):%Y-%m-%d}-{options.topic}.md"
        file.write_text(text)
        file.with_suffix(".json").write_text(json.dumps([asdict(run) for run in found.runs], indent=1) + "\n")
        print(f"written to {file}")
    if options.save_baseline:
        drift.write_baseline(found, about)
    if harm := harm_of(found):
        print("WRONG:", *harm, sep="\n")
    # What other servers lose is in the report; what we lose, or the generator itself, is a bug of ours.
    if any(run.harm for run in found.runs if run.peer in plan.MUST_NOT_LOSE):
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, for CI: only what must never happen fails")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a round")
    parser.add_argument("--only", help="names of loads, with commas: saturation,one,rate-15000,churn,storm,idle ...")
    parser.add_argument("--peers", help="names of peers, with commas")
    parser.add_argument("--sources", metavar="PYTHON", help="measure our sources under this Python, too")
    parser.add_argument("--topic", default="speed", help="for the name of the page")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/DATE-TOPIC.md and .json")
    parser.add_argument(
        "--save-baseline", action="store_true", help="make this run the one that drift is shown against"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
