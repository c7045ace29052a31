"""What is measured against what: each peer is processes that serve one websocket URL."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import psutil

from jambonz_cluster.embedded_redis import EmbeddedRedis, free_port
from jambonz_shared.config import GatewaySettings, WorkerSettings
from jambonz_shared.environment import variable_of
from jambonz_shared.redis.admin import connect
from tests.bench import installs
from tests.cluster_fixture import REPO, Cluster
from tests.redis_cluster import RedisCluster, can_run

READY_LIMIT_S: Final = 30.0
SERVERS: Final = REPO / "tests" / "bench" / "servers"
REQUIREMENTS: Final = REPO / "tests" / "bench" / "requirements"
BUILD: Final = REPO / "build" / "bench"
# One call of a benchmark says more in a second than any real one, and one worker has all of them.
CLUSTER_SETTINGS: Final = {
    "JAMBONZ_CLUSTER_MAX_CALLS": "20000",
    "JAMBONZ_CLUSTER_MAX_CALL_EVENT_RATE": "1000000",
}
_REDIS_COUNTERS: Final = {
    "commands": "total_commands_processed",
    "bytes_in": "total_net_input_bytes",
    "bytes_out": "total_net_output_bytes",
    "memory": "used_memory",
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a peer has used so far, by role: CPU, user and system, and memory; ``redis`` are Redis's own counters."""

    cpu_s: dict[str, float]
    rss_bytes: dict[str, int]
    redis: dict[str, float]


@dataclass(slots=True)
class Running:
    """A peer that serves.

    Attributes:
        url: Where the generator goes.
        pids: Its processes by role.
        redis_url: Its Redis, if it has one.
    """

    url: str
    pids: dict[str, list[int]]
    redis_url: str | None = None

    async def snapshot(self) -> Snapshot:
        """Look at all processes."""
        cpu_s, rss_bytes = {}, {}
        for role, pids in self.pids.items():
            processes = [psutil.Process(pid) for pid in pids]
            cpu_s[role] = sum(sum(process.cpu_times()[:2]) for process in processes)
            rss_bytes[role] = sum(process.memory_info().rss for process in processes)
        return Snapshot(cpu_s, rss_bytes, await self._redis_counters())

    async def _redis_counters(self) -> dict[str, float]:
        if self.redis_url is None:
            return {}
        async with contextlib.aclosing(connect(self.redis_url)) as client:
            info = await client.info()
        return {name: float(info[key]) for name, key in _REDIS_COUNTERS.items()}


class Peer(Protocol):
    """Something to measure."""

    name: str

    def missing(self) -> str | None:
        """Install what it needs; return why it cannot be measured here, or ``None``."""

    async def start(self) -> Running:
        """Start it."""

    async def stop(self) -> None:
        """Stop it."""


@dataclass(slots=True)
class OneProcess:
    """A peer that answers in the process which holds the sockets.

    ``command`` gets the port as its last argument and prints ``ready`` when it listens.
    """

    name: str
    command: Sequence[str]
    folder: Path = REPO
    _process: asyncio.subprocess.Process | None = None

    def missing(self) -> str | None:
        """It needs nothing that is not there."""
        return None

    async def start(self) -> Running:
        """Start it and return when it listens."""
        port = free_port()
        self._process = await start_until_ready(self.name, (*self.command, str(port)), folder=self.folder)
        return Running(f"ws://127.0.0.1:{port}/bench", {"server": [self._process.pid]})

    async def stop(self) -> None:
        """Kill it."""
        await kill(self._process)


class NodeSdk(OneProcess):
    """The official Node SDK's server, installed by npm."""

    def missing(self) -> str | None:
        """Install it."""
        programs = installs.node(BUILD / "node", REQUIREMENTS / "node.lock")
        if isinstance(programs, str):
            return programs
        program, npm = programs
        self.command = (program, "server.mjs")
        return installs.node_sdk(self.folder, SERVERS / "node_sdk", npm)


@dataclass(slots=True)
class WholeCluster:
    """Gateways, workers and a Redis that writes an append-only file, one flush a second: every promise is on.

    With ``has_masters`` it is a Redis Cluster of three masters and three replicas. ``needs`` names a setting that this
    version may not have. ``python`` runs gateways and workers: compiled or not is a matter of its environment.
    """

    name: str
    folder: Path
    gateways: int = 1
    workers: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""
    has_masters: bool = False
    python: str = sys.executable
    _redis: EmbeddedRedis | RedisCluster | None = None
    _cluster: Cluster | None = None

    def missing(self) -> str | None:
        """Look for what it needs."""
        if self.has_masters and not can_run():
            return "there is no redis-server of at least 7.0 for a Redis Cluster"
        if not self.needs or self.needs in {*GatewaySettings.model_fields, *WorkerSettings.model_fields}:
            return None
        return f"there is no setting {variable_of(self.needs)}"

    async def start(self) -> Running:
        """Start Redis, workers, gateways, in this order, and return when all are ready."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        redis_pids = self._start_redis()
        assert self._redis is not None
        url, settings = self._redis.url, {**CLUSTER_SETTINGS, **self.settings}
        cluster = self._cluster = Cluster("tests.bench.application:app", url, self.folder, settings)
        cluster.python = self.python
        worker = cluster.add_worker("--processes", str(self.workers))
        await cluster.wait_ready()
        gateway = cluster.add_gateway("--processes", str(self.gateways))
        await cluster.wait_ready()
        pids = {"gateway": _family(gateway.pid), "worker": _family(worker.pid), **redis_pids}
        return Running(f"{gateway.url}/bench", pids, None if self.has_masters else url)

    async def stop(self) -> None:
        """End all."""
        if self._cluster is not None:
            await self._cluster.stop()
        if self._redis is not None:
            self._redis.stop()

    def _start_redis(self) -> dict[str, list[int]]:
        if not self.has_masters:
            server = self._redis = EmbeddedRedis(appendfsync="everysec")
            server.start()
            return {"redis": [server.pid]}
        cluster = self._redis = RedisCluster()
        cluster.start()
        masters = cluster.masters()
        for master in masters:
            master.client.config_set("appendonly", "yes")
        replicas = [server for server in cluster.servers if server not in masters]
        return {"redis": [server.pid for server in masters], "replica": [server.pid for server in replicas]}


@dataclass(slots=True)
class Channels:
    """Django Channels with channels_redis: a server process, a worker process, a Redis."""

    name: str
    folder: Path
    _redis: EmbeddedRedis | None = None
    _processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    def missing(self) -> str | None:
        """Install it."""
        return installs.python_environment(self.folder, REQUIREMENTS / "channels.lock")

    async def start(self) -> Running:
        """Start Redis, the worker, the server."""
        redis = self._redis = EmbeddedRedis()
        redis.start()
        port = free_port()
        python = str(self.folder / "bin" / "python")
        serve = ("-m", "uvicorn", "channels_app.asgi:application", "--host", "127.0.0.1", "--port", str(port))
        quiet = ("--log-level", "critical", "--lifespan", "off", "--ws-per-message-deflate", "false")
        environ = {**os.environ, "BENCH_REDIS_URL": redis.url}
        for arguments in (("channels_app/manage.py", "runworker", "hooks"), (*serve, *quiet)):
            self._processes.append(
                await asyncio.create_subprocess_exec(
                    python,
                    *arguments,
                    cwd=SERVERS,
                    env=environ,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                )
            )
        async with asyncio.timeout(READY_LIMIT_S):
            while not await _listens(port):
                await asyncio.sleep(0.05)
        worker, server = self._processes
        pids = {"server": [server.pid], "worker": [worker.pid], "redis": [redis.pid]}
        return Running(f"ws://127.0.0.1:{port}/bench", pids, redis.url)

    async def stop(self) -> None:
        """Kill all."""
        for process in self._processes:
            await kill(process)
        self._processes.clear()
        if self._redis is not None:
            self._redis.stop()


@dataclass(slots=True)
class Relay:
    """A gateway, a Redis and a worker that promise nothing: what the way through Redis costs at the least.

    ``how`` is ``plain``, or ``logged`` if acks are kept in a hash until they are written.
    """

    name: str
    how: str
    _redis: EmbeddedRedis | None = None
    _processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    def missing(self) -> str | None:
        """It needs nothing that is not there."""
        return None

    async def start(self) -> Running:
        """Start Redis, the worker, the gateway."""
        redis = self._redis = EmbeddedRedis(appendfsync="everysec")
        redis.start()
        port, redis_port = free_port(), urlsplit(redis.url).port
        for role in ("worker", "gateway"):
            command = (sys.executable, "-m", "tests.bench.servers.relay", role, self.how, str(redis_port), str(port))
            self._processes.append(await start_until_ready(self.name, command, folder=REPO))
        worker, gateway = self._processes
        pids = {"gateway": [gateway.pid], "worker": [worker.pid], "redis": [redis.pid]}
        return Running(f"ws://127.0.0.1:{port}/bench", pids, redis.url)

    async def stop(self) -> None:
        """Kill all."""
        for process in self._processes:
            await kill(process)
        self._processes.clear()
        if self._redis is not None:
            self._redis.stop()


async def start_until_ready(name: str, command: Sequence[str], *, folder: Path) -> asyncio.subprocess.Process:
    """Start a process and return when it has printed ``ready``."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        # Calls end abruptly at the end of a run, which some servers find worth many lines.
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    async with asyncio.timeout(READY_LIMIT_S):
        while (line := await process.stdout.readline()) and line.strip() != b"ready":
            pass
    assert process.returncode is None, f"{name} ended at its start"
    return process


async def kill(process: asyncio.subprocess.Process | None) -> None:
    """End a process, unless it has ended."""
    if process is not None and process.returncode is None:
        process.kill()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def bare() -> Peer:
    """Return the bound: a plain websockets server."""
    return OneProcess("bare websockets", (sys.executable, "-m", "tests.bench.servers.bare"))


def python_sdk() -> Peer:
    """Return the official Python SDK's server."""
    return OneProcess("Python SDK", (sys.executable, "-m", "tests.bench.servers.python_sdk"))


def node_sdk() -> Peer:
    """Return the official Node SDK's server."""
    return NodeSdk("Node SDK", ("node", "server.mjs"), BUILD / "node_sdk")


def channels() -> Peer:
    """Return Django Channels."""
    return Channels("Channels", BUILD / "channels")
