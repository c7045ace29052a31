"""Real gateway and worker processes, started through the command line, for tests that kill, freeze and restart them."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import aiohttp
import psutil

from jambonz_shared.runtime.lifeline import die_with_parent
from tests.ports import free_row

REPO: Final = Path(__file__).resolve().parent.parent

READY_LIMIT_S: Final = 30.0
STOP_LIMIT_S: Final = 10.0
LINES_SHOWN: Final = 200
# Process i of a member listens on the internal port plus i.
MAX_PROCESSES: Final = 4

# aiohttp reads the certificates of the machine when it is imported: a tenth of the start of a process (measured with
# Python 3.11). Nobody here speaks TLS to strangers.
NO_CERTIFICATES: Final = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}

Role = Literal["gateway", "worker"]


class Member:
    """One process of a cluster (or one supervisor with its children). It is killed if the tests are.

    Attributes:
        is_untouched: Whether no signal was ever sent to it.
    """

    def __init__(self, name: str, role: Role, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        """``command`` is the Python and what follows the role."""
        self.name = name
        self.role = role
        self.port = free_row(1) if role == "gateway" else 0
        self.internal_port = free_row(MAX_PROCESSES)
        self._python, *self._arguments = command
        self.is_untouched = True
        self._environ = environ
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; that of the supervisor, if there are several processes."""
        assert self._process is not None, "start() comes first"
        return self._process.pid

    @property
    def child_pids(self) -> list[int]:
        """The process ids below a supervisor."""
        return [child.pid for child in psutil.Process(self.pid).children()]

    @property
    def url(self) -> str:
        """The websocket URL of a gateway, without a path."""
        assert self.role == "gateway", f"{self.name} has no websocket port"
        return f"ws://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_text(self) -> str:
        """All that the process and its predecessors under this name have written."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Start the process; ``wait_ready`` tells when it serves."""
        ports = ["--internal-port", str(self.internal_port)]
        if self.role == "gateway":
            ports += ["--host", "127.0.0.1", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._python, "-m", "jambonz_cluster", self.role, *self._arguments, *ports],
                cwd=REPO,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  two system calls, no lock
            )

    async def wait_ready(self, *, limit_s: float = READY_LIMIT_S) -> None:
        """Wait until /readyz answers 200; fail with the log if the process ends or is not ready in time."""
        try:
            async with asyncio.timeout(limit_s), aiohttp.ClientSession() as client:
                while not await self._is_ready(client):
                    assert self.is_running, f"{self.name} ended at its start:\n{self.log_text}"
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{self.name} was not ready within {limit_s:g} s:\n{self.log_text}") from None

    async def wait_ended(self, *, limit_s: float = READY_LIMIT_S) -> int:
        """Wait until the process has ended and return its exit code (negative: the signal)."""
        assert self._process is not None, "start() comes first"
        try:
            async with asyncio.timeout(limit_s):
                while (code := self._process.poll()) is None:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{self.name} did not end within {limit_s:g} s:\n{self.log_text}") from None
        return code

    def kill(self) -> None:
        """End the process without a word, as the kernel does when memory runs out."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the process where it is, as a long garbage collection or a paused virtual machine would."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask the process to drain; once more to hasten it."""
        self._signal(signal.SIGTERM)

    async def restart(self) -> None:
        """Start the process again on its ports after its end, and wait until it is ready."""
        await self.wait_ended()
        self.start()
        await self.wait_ready()

    def _signal(self, number: signal.Signals) -> None:
        self.is_untouched = False
        if self.is_running:
            os.kill(self.pid, number)

    async def _is_ready(self, client: aiohttp.ClientSession) -> bool:
        try:
            async with client.get(f"http://127.0.0.1:{self.internal_port}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


class Cluster:
    """Gateways and workers for one application around one Redis.

    Attributes:
        gateways: Every gateway ever started, dead ones included, in the order of their start.
        workers: The same for workers.
        python: What runs them.
    """

    def __init__(self, application: str, redis_url: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.python = sys.executable
        self.application = application
        self.redis_url = redis_url
        self.gateways: list[Member] = []
        self.workers: list[Member] = []
        self._folder = folder
        # Tests end when they have seen what they wanted, not when every call has been drained in peace.
        defaults = {"JAMBONZ_CLUSTER_REDIS_URL": redis_url, "JAMBONZ_CLUSTER_DRAIN_TIMEOUT": "1s"}
        self._environ = {**os.environ, **NO_CERTIFICATES, **defaults, "PYTHONUNBUFFERED": "1", **settings}

    @property
    def members(self) -> list[Member]:
        """All processes, gateways first."""
        return [*self.gateways, *self.workers]

    @property
    def url(self) -> str:
        """The websocket URL of the first gateway that runs, without a path."""
        return next(gateway.url for gateway in self.gateways if gateway.is_running)

    def add_gateway(self, *arguments: str) -> Member:
        """Start one more gateway, with more command line arguments; ``wait_ready`` on what is returned."""
        return self._add("gateway", self.gateways, arguments)

    def add_worker(self, *arguments: str) -> Member:
        """Start one more worker, with more command line arguments; ``wait_ready`` on what is returned."""
        return self._add("worker", self.workers, (self.application, *arguments))

    async def wait_ready(self) -> None:
        """Wait until every process that runs is ready."""
        await asyncio.gather(*(member.wait_ready() for member in self.members))

    async def stop(self) -> None:
        """End every process, gateways first, by request and then by force; frozen ones are thawed."""
        for members in (self.gateways, self.workers):
            for member in members:
                member.thaw()
                member.terminate()
            await asyncio.gather(*(self._end(member) for member in members))

    def log_sections(self) -> list[tuple[str, str]]:
        """Return the last lines of each process, with a title, for a test report."""
        return [
            (f"log of {member.name}", "\n".join(member.log_text.splitlines()[-LINES_SHOWN:])) for member in self.members
        ]

    def _add(self, role: Role, members: list[Member], arguments: Sequence[str]) -> Member:
        name = f"{role}-{len(members)}"
        member = Member(name, role, (self.python, *arguments), self._environ, self._folder / f"{name}.log")
        members.append(member)
        member.start()
        return member

    async def _end(self, member: Member) -> None:
        if not member.is_running:
            return
        try:
            await member.wait_ended(limit_s=STOP_LIMIT_S)
        except AssertionError:
            member.kill()
            await member.wait_ended()


class ClusterFactory:
    """Starts clusters and stops all of them at the end."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.clusters: list[Cluster] = []
        self._redis_url = redis_url
        self._folder = folder

    async def __call__(
        self,
        application: str,
        *,
        gateways: int = 1,
        workers: int = 1,
        others: Sequence[str] = (),
        processes: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> Cluster:
        """Return a cluster, all ready.

        Args:
            application: What the workers run.
            gateways: How many.
            workers: How many.
            others: More applications, with a worker each. The last one is what ``add_worker`` starts from then on.
            processes: How many of them each gateway and each worker has.
            settings: Environment variables.
        """
        folder = Path(tempfile.mkdtemp(prefix="cluster-", dir=self._folder))
        cluster = Cluster(application, self._redis_url, folder, settings or {})
        self.clusters.append(cluster)
        more = ("--processes", str(processes)) if processes > 1 else ()
        # All at once: a gateway that is asked for a path before it has read the workers' manifest looks again.
        for cluster.application in (*[application] * workers, *others):
            cluster.add_worker(*more)
        for _ in range(gateways):
            cluster.add_gateway(*more)
        await cluster.wait_ready()
        return cluster

    async def stop(self) -> None:
        """Stop every cluster."""
        for cluster in self.clusters:
            await cluster.stop()
