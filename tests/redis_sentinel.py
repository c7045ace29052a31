"""A real primary with a replica and Sentinels that watch them, on loopback."""

import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

import redis
from redis.exceptions import RedisError

from jambonz_cluster.embedded_redis import EmbeddedRedis, find_redis_server
from jambonz_shared.runtime.lifeline import die_with_parent
from tests.ports import free_row

SERVICE: Final = "calls"
# So long a primary is silent until a Sentinel takes it for down; below a second busy test machines cry wolf.
DOWN_AFTER_MS: Final = 1000
START_LIMIT_S: Final = 30.0


class SentinelRedis:
    """Primary, replica and Sentinels; ``start`` first, ``stop`` last."""

    def __init__(self, sentinels: int = 3) -> None:
        self.primary = EmbeddedRedis()
        self.replica = EmbeddedRedis()
        self.ports = [free_row(1) for _ in range(sentinels)]
        self._folder = tempfile.TemporaryDirectory(prefix="jambonz-cluster-sentinels-")
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """What the settings say."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.ports)}/{SERVICE}"

    def start(self) -> None:
        """Start everything and return when every Sentinel knows the replica and the other Sentinels."""
        self.primary.start()
        self.replica.start()
        _ask(self.primary.port, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
        _ask(self.replica.port, "REPLICAOF", "127.0.0.1", self.primary.port)
        for port in self.ports:
            self._processes.append(self._sentinel(port))
        give_up_at_s = time.monotonic() + START_LIMIT_S
        while not all(map(self._knows_all, self.ports)):
            assert time.monotonic() < give_up_at_s, "the Sentinels did not find each other"
            time.sleep(0.02)

    def stop(self) -> None:
        """End everything."""
        for process in self._processes:
            process.kill()
            process.wait()
        self.primary.stop()
        self.replica.stop()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        """Start for the length of a block."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def _sentinel(self, port: int) -> "subprocess.Popen[bytes]":
        settings = Path(self._folder.name) / f"{port}.conf"
        quorum = len(self.ports) // 2 + 1
        settings.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self._folder.name}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.primary.port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\nsentinel failover-timeout {SERVICE} 5000\n"
        )
        return subprocess.Popen(
            [find_redis_server(), settings, "--sentinel"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  two system calls, no lock
        )

    def _knows_all(self, port: int) -> bool:
        try:
            # Names and values in turn.
            facts = [bytes(fact) for fact in _ask(port, "SENTINEL", "MASTER", SERVICE)]
        except RedisError:
            return False
        known = dict(zip(facts[::2], facts[1::2], strict=True))
        return (int(known[b"num-slaves"]), int(known[b"num-other-sentinels"])) == (1, len(self.ports) - 1)


def _ask(port: int, *command: Any) -> Any:
    with redis.Redis("127.0.0.1", port, socket_timeout=5, protocol=2) as client:
        client.response_callbacks.clear()
        return client.execute_command(*command)
