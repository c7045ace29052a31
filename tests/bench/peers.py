"""What is measured against what: each peer is processes that serve one websocket URL."""

import asyncio
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from jambonz_cluster.embedded_redis import EmbeddedRedis, free_port
from tests.cluster_fixture import REPO, Cluster

READY_LIMIT_S: Final = 30.0


@dataclass(slots=True)
class Running:
    """A peer that serves.

    Attributes:
        url: Where the generator goes.
        pids: Its processes by role; children count with their parent.
    """

    url: str
    pids: dict[str, list[int]]

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds, user and system, that each role has used so far."""
        used: dict[str, float] = {}
        for role, pids in self.pids.items():
            for pid in pids:
                times = psutil.Process(pid).cpu_times()
                used[role] = used.get(role, 0.0) + times.user + times.system
        return used

    def rss_bytes(self) -> dict[str, int]:
        """Return the resident memory of each role."""
        return {role: sum(psutil.Process(pid).memory_info().rss for pid in pids) for role, pids in self.pids.items()}


class OneProcess:
    """A peer that answers in the process which holds the sockets."""

    def __init__(self, name: str, command: Sequence[str], *, path: str = "/bench", folder: Path = REPO) -> None:
        """``command`` gets the port as its last argument and prints ``ready`` when it listens."""
        self.name = name
        self._command = command
        self._path = path
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> Running:
        """Start it and return when it listens."""
        port = free_port()
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            str(port),
            cwd=self._folder,
            stdout=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
            # Calls end abruptly at the end of a run, which some servers find worth many lines.
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_LIMIT_S):
            while (line := await self._process.stdout.readline()) and line.strip() != b"ready":
                pass
        assert self._process.returncode is None, f"{self.name} ended at its start"
        return Running(f"ws://127.0.0.1:{port}{self._path}", {"server": [self._process.pid]})

    async def stop(self) -> None:
        """Kill it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class WholeCluster:
    """We: gateways, Redis with AOF everysec, workers; call log, fencing and metrics on."""

    def __init__(self, folder: Path, *, gateways: int = 1, workers: int = 1, name: str = "jambonz-cluster") -> None:
        self.name = name
        self._folder = folder
        self._gateways = gateways
        self._workers = workers
        self._redis: EmbeddedRedis | None = None
        self._cluster: Cluster | None = None

    async def start(self) -> Running:
        """Start Redis, workers, gateways, in this order, and return when all are ready."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        redis = self._redis = EmbeddedRedis(appendfsync="everysec")
        redis.start()
        cluster = self._cluster = Cluster("tests.bench.application:app", redis.url, self._folder, {})
        members = [cluster.add_worker("--processes", str(self._workers))]
        await cluster.wait_ready()
        members.append(cluster.add_gateway("--processes", str(self._gateways)))
        await cluster.wait_ready()
        pids = {
            "gateway": _family(members[1].pid),
            "worker": _family(members[0].pid),
            "redis": [redis.pid],
        }
        return Running(f"{cluster.gateways[0].url}/bench", pids)

    async def stop(self) -> None:
        """End all."""
        if self._cluster is not None:
            await self._cluster.stop()
        if self._redis is not None:
            self._redis.stop()


def _family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def bare(python: str = sys.executable) -> OneProcess:
    """Return the bound: a plain websockets server."""
    return OneProcess("bare websockets", (python, "-m", "tests.bench.bare_server"))
