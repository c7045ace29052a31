"""A cluster on this machine under load, watched: ``python loadtest/local.py --calls-per-second 20 --minutes 2``.

Starts a Redis, gateways and workers of its own, runs locust from .venv-deploy against them, looks at every process and
at Redis each two seconds, and writes what it saw. Exits with 1 if locust's limits were broken or, with ``--soak``,
if something grew.
"""

import contextlib
import csv
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import psutil
import redis
from jambonz_load import costs, ramp
from jambonz_load.scenarios import SCENARIOS
from jambonz_load.shapes import SHAPES
from jambonz_load.tally import Limits

from jambonz_cluster.embedded_redis import EmbeddedRedis, free_port, free_ports
from jambonz_shared.runtime.lifeline import die_with_parent

REPO: Final = Path(__file__).resolve().parents[1]
LOCUST: Final = REPO / ".venv-deploy/bin/locust"

SAMPLE_EVERY_S: Final = 2.0
READY_LIMIT_S: Final = 30.0
END_LIMIT_S: Final = 120.0

# Growth from the second quarter of a soak to its last one. Allocators and caches settle in the first.
GROWTH_LIMITS: Final = {"rss_mib": 1.10, "fds": 1.10, "tasks": 1.10, "keys": 1.25, "stream_entries": 1.50}
# Below this a share says nothing: a few keys more or less are the calls of this moment.
GROWTH_IGNORED: Final = {"rss_mib": 8.0, "fds": 30.0, "tasks": 20.0, "keys": 100.0, "stream_entries": 100.0}
_TASKS: Final = re.compile(r"^jambonz_(?:gateway|worker)_tasks (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one moment, all gateways and workers together.

    Attributes:
        tasks: Of all event loops.
        waiting: Entries that no worker has taken yet.
        stream_entries: Entries of all inboxes, and batches of calls that are not delivered yet.
    """

    at_s: float
    usage: costs.Usage
    rss_mib: float
    fds: int
    tasks: int
    keys: int
    waiting: int
    stream_entries: int
    redis_mib: float


class Local:
    """Redis, gateways and workers on loopback."""

    def __init__(self, gateways: int, workers: int, folder: Path) -> None:
        self._redis = EmbeddedRedis(appendfsync="everysec")
        self._folder = folder
        self._counts = {"gateway": gateways, "worker": workers}
        self.port = free_port()
        self._internal_ports: list[int] = []
        self._parts: list[psutil.Popen] = []
        self.client: redis.Redis | None = None

    def start(self) -> None:
        """Start everything; return when gateways and workers say that they live."""
        self._redis.start()
        self.client = redis.Redis.from_url(self._redis.url)
        environ = {**os.environ, "JAMBONZ_CLUSTER_REDIS_URL": self._redis.url, "PYTHONPATH": str(REPO / "loadtest")}
        environ |= {"JAMBONZ_CLUSTER_DRAIN_TIMEOUT": "2s"}
        for role, arguments in (
            ("worker", ["application:app"]),
            ("gateway", ["--host", "127.0.0.1", "--port", str(self.port)]),
        ):
            count = self._counts[role]
            # The processes of one role count up from the first one's port.
            internal_port = free_ports(count)
            self._internal_ports += range(internal_port, internal_port + count)
            processes = ["--processes", str(count), "--internal-port", str(internal_port)]
            self._start(role, [*arguments, *processes], environ)
            self._until(f"{role}s", count)

    def sample(self, started_s: float, load_pid: int) -> Sample:
        """Look at all processes and at Redis; ``load_pid`` is the process that makes the calls, or starts those."""
        assert self.client is not None, "start() comes first"
        processes = [one for part in self._parts for one in _family(part)]
        rss = sum(one.memory_info().rss for one in processes)
        fds = sum(one.num_fds() for one in processes)
        info = self.client.info()
        return Sample(
            at_s=time.monotonic() - started_s,
            usage=costs.Usage(
                at_s=time.time(),
                cluster_s=_cpu_s(processes),
                redis_s=info["used_cpu_user"] + info["used_cpu_sys"],
                load_s=_cpu_s(_family(psutil.Process(load_pid))),
                machine_s=_machine_s(),
            ),
            rss_mib=rss / 2**20,
            fds=fds,
            tasks=sum(map(_tasks_of, self._internal_ports)),
            keys=self.client.dbsize(),
            waiting=self._entries("jc:dispatch:*"),
            stream_entries=self._entries("jc:inbox:*") + self._undelivered(),
            redis_mib=info["used_memory"] / 2**20,
        )

    def stop(self) -> None:
        """End everything, gateways first."""
        for part in reversed(self._parts):
            part.terminate()
        for part in reversed(self._parts):
            try:
                part.wait(20)
            except psutil.TimeoutExpired:
                part.kill()
        self._redis.stop()

    def _entries(self, pattern: str) -> int:
        assert self.client is not None, "start() comes first"
        keys = list(self.client.scan_iter(pattern, count=1000, _type="stream"))
        pipeline = self.client.pipeline(transaction=False)
        for key in keys:
            pipeline.xlen(key)
        return sum(pipeline.execute())

    def _undelivered(self) -> int:
        assert self.client is not None, "start() comes first"
        pipeline = self.client.pipeline(transaction=False)
        for key in self.client.scan_iter("jc:call:*", count=1000):
            pipeline.hkeys(key)
        return sum(name.startswith(b"b:") for names in pipeline.execute() for name in names)

    def _start(self, role: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        with (self._folder / f"{role}.log").open("wb") as log:
            self._parts.append(
                psutil.Popen(
                    [sys.executable, "-m", "jambonz_cluster", role, *arguments],
                    cwd=self._folder,
                    env=dict(environ),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=die_with_parent(15),
                )
            )

    def _until(self, registry: str, count: int) -> None:
        assert self.client is not None, "start() comes first"
        give_up_at_s = time.monotonic() + READY_LIMIT_S
        while self.client.zcard(f"jc:{registry}") < count:
            if time.monotonic() > give_up_at_s:
                raise TimeoutError(f"not {count} {registry} after {READY_LIMIT_S:g} s; see {self._folder}")
            time.sleep(0.1)


def _family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all that it has started; none if it has just ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    used_s = 0.0
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            used_s += times.user + times.system
    return used_s


def _machine_s() -> float:
    times = psutil.cpu_times()
    # guest is part of user, iowait is idle.
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _tasks_of(internal_port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{internal_port}/metrics", timeout=10) as response:
        shown = _TASKS.search(response.read().decode())
    assert shown is not None, "every gateway and worker shows its tasks"
    return int(float(shown[1]))


def slope_mib_per_hour(samples: Sequence[Sample]) -> float:
    """Return how fast memory grew over the last half; of a short run this is mostly noise."""
    last = samples[len(samples) // 2 :]
    if len(last) < 3:
        return 0.0
    return 3600 * statistics.linear_regression([it.at_s for it in last], [it.rss_mib for it in last]).slope


def growth(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    """Return the medians of the second and of the last quarter."""
    quarter = max(1, len(samples) // 4)
    values = [float(getattr(sample, name)) for sample in samples]
    return statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])


def grown(samples: Sequence[Sample]) -> list[str]:
    """Return a sentence for everything that grew too much."""
    found = []
    for name, limit in GROWTH_LIMITS.items():
        before, after = growth(samples, name)
        if after > before * limit and after - before > GROWTH_IGNORED[name]:
            found.append(f"{name} grew from {before:.0f} to {after:.0f}")
    return found


def report(samples: Sequence[Sample], per_s: float) -> str:
    """Return what was seen as a Markdown table; ``per_s`` is the rate of calls, 0 if it was not one."""
    names = ("rss_mib", "fds", "tasks", "keys", "stream_entries", "waiting", "redis_mib")
    lines = ["| | second quarter | last quarter | most |", "|---|---|---|---|"]
    for name in names:
        before, after = growth(samples, name)
        lines.append(f"| {name} | {before:.0f} | {after:.0f} | {max(getattr(s, name) for s in samples):.0f} |")
    first, last = samples[0].usage, samples[-1].usage
    cores = costs.between([first, last], first.at_s, last.at_s).cluster_s
    per_core = f"{per_s / cores:.0f} calls/s per core"
    lines.append(f"\nMemory grew by {slope_mib_per_hour(samples):.1f} MiB an hour over the last half.")
    if per_s:
        lines.append(f"Gateways and workers used {cores:.2f} cores for {per_s:.1f} calls/s: {per_core}.")
    return "\n".join(lines)


def started_per_s(table: Path) -> float:
    """Return how many calls per second the generators have started; they may be fewer, or more, than were asked for."""
    (row,) = csv.DictReader(table.read_text().splitlines())
    return float(row["started_per_s"])


def run_locust(port: int, environ: Mapping[str, str], folder: Path, processes: int) -> "subprocess.Popen[bytes]":
    """Start locust without its page; its HTML report and its tables go to the folder."""
    command = [str(LOCUST), "-f", str(REPO / "loadtest/locustfile.py"), "--headless", "--only-summary"]
    command += ["--host", f"ws://127.0.0.1:{port}"]
    command += ["--html", str(folder / "report.html"), "--csv", str(folder / "calls")]
    if processes > 1:
        port_of_master = str(free_port())
        command += ["--processes", str(processes)]
        command += ["--master-bind-port", port_of_master, "--master-port", port_of_master]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(REPO / "loadtest"), **environ},
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent(15),  # noqa: PLW1509  two system calls, no lock
    )


def refuse_short_ramp(minutes: float, scenario: str) -> None:
    """Raise what click shows if a ramp has no time for a step, as locust would only find out later."""
    try:
        ramp.Ramp(1.0, 60 * minutes, SCENARIOS[scenario].hold_s / float(os.environ.get("SPEED", "1")), Limits())
    except ValueError as error:
        raise click.UsageError(str(error)) from None


POSITIVE: Final = click.FloatRange(min=0, min_open=True)


@click.command()
@click.option("--calls-per-second", "per_s", type=POSITIVE, default=20.0, show_default=True)
@click.option("--minutes", type=POSITIVE, default=1.0, show_default=True)
@click.option("--scenario", type=click.Choice([*SCENARIOS]), default="ivr", show_default=True)
@click.option("--shape", type=click.Choice([*SHAPES, "ramp"]), default="steady", show_default=True)
@click.option("--gateways", type=int, default=2, show_default=True)
@click.option("--workers", type=int, default=2, show_default=True)
@click.option("--generators", type=int, default=1, show_default=True, help="Processes that make the calls.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("build/load"), show_default=True)
@click.option("--soak", "is_soak", is_flag=True, help="Fail if something grows.")
def main(  # noqa: PLR0913  one parameter for each option
    *,
    per_s: float,
    minutes: float,
    scenario: str,
    shape: str,
    gateways: int,
    workers: int,
    generators: int,
    folder: Path,
    is_soak: bool,
) -> None:
    """Run a cluster on this machine under load."""
    if shape == "ramp":
        refuse_short_ramp(minutes, scenario)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    local = Local(gateways, workers, folder)
    samples: list[Sample] = []
    environ = {"CALLS_PER_SECOND": f"{per_s:g}", "MINUTES": f"{minutes:g}", "SCENARIO": scenario, "SHAPE": shape}
    try:
        local.start()
        locust = run_locust(local.port, environ, folder, generators)
        started_s = time.monotonic()
        while locust.poll() is None and time.monotonic() - started_s < 60 * minutes + END_LIMIT_S:
            if time.monotonic() - started_s < 60 * minutes:
                samples.append(local.sample(started_s, locust.pid))
            time.sleep(SAMPLE_EVERY_S)
        locust.terminate()
        code = locust.wait(20)
    finally:
        local.stop()
    if len(samples) < 2:
        click.echo(f"no report: locust ended with {code} before there was anything to see", err=True)
        sys.exit(code or 1)
    text = report(samples, 0.0 if shape == "ramp" else started_per_s(folder / "calls_jambonz.csv"))
    if shape == "ramp":
        steps = ramp.from_csv((folder / "calls_ramp.csv").read_text())
        text = f"{costs.table(steps, [sample.usage for sample in samples])}\n\n{text}"
    leaks = grown(samples) if is_soak else []
    click.echo("\n".join([text, *(f"GROWN: {leak}" for leak in leaks)]))
    (folder / "report.md").write_text(text + "\n")
    sys.exit(code or (1 if leaks else 0))


if __name__ == "__main__":
    main()
