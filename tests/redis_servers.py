"""Real Redis servers for tests, and the guard that no test leaves keys behind."""

import fnmatch
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import redis
import redis.asyncio

from jambonz_cluster.embedded_redis import (
    EmbeddedRedis,
    bundled_redis_server,
    find_redis_server,
    installed_redis_server,
    version_of,
)
from tests.redis_cluster import client_of

Age = Literal["newest", "oldest"]

# Permanent by name (keys.py); a dispatch stream is permanent too, but has to be empty.
PERMANENT: Final = ("*:app:*", "*:apps", "*:workers", "*:gateways", "*:quarantine")
DISPATCH: Final = "*:dispatch:*"

# A process that was killed cannot tidy up; its keys go by their TTL.
OF_PROCESSES: Final = (
    "*:inbox:*",
    "*:worker:*",
    "*:gateway:*",
    "*:owned:*",
    "*:held:*",
    "*:begun:*",
    "*:adopted:*",
    "*:adopting:*",
)


@asynccontextmanager
async def look_into(redis_url: str) -> "AsyncIterator[redis.asyncio.Redis | redis.asyncio.RedisCluster]":
    """Give a client with texts for answers, for any URL of the settings."""
    async with AsyncExitStack() as stack:
        scheme, _, rest = redis_url.partition("://")
        url = redis_url
        if scheme == "redis+cluster":
            seed = f"redis://{rest.partition(',')[0]}"
            yield await stack.enter_async_context(redis.asyncio.RedisCluster.from_url(seed, decode_responses=True))
            return
        if scheme == "redis+sentinel":
            hosts, _, service = rest.partition("/")
            sentinel = redis.asyncio.Redis.from_url(f"redis://{hosts.partition(',')[0]}", decode_responses=True)
            await stack.enter_async_context(sentinel)
            address: Any = await sentinel.sentinel_get_master_addr_by_name(service)
            url = f"redis://{address[0]}:{address[1]}"
        yield await stack.enter_async_context(redis.asyncio.Redis.from_url(url, decode_responses=True))


def available() -> dict[Age, Path]:
    """Return the servers to test against: the installed one, and the oldest supported one if it is another."""
    newest, oldest = find_redis_server(), bundled_redis_server()
    installed = installed_redis_server()
    if oldest is None or installed is None or version_of(installed) == version_of(oldest):
        return {"newest": newest}
    return {"newest": newest, "oldest": oldest}


def description() -> str:
    """Return one line about the servers for the head of a test report."""
    servers = available()
    texts = [f"{'.'.join(map(str, version_of(path) or ()))} ({path})" for path in servers.values()]
    return "redis: " + ", ".join(texts) + ("" if len(servers) > 1 else "; ONE VERSION ONLY, see `make redis`")


def empty(server: EmbeddedRedis) -> None:
    """Delete every key, and set the statistics to zero."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        client.config_resetstat()


class RedisServers:
    """One server per version, started when first asked for, stopped together."""

    def __init__(self) -> None:
        self._binaries = available()
        self._running: dict[Age, EmbeddedRedis] = {}

    def get(self, age: Age) -> EmbeddedRedis:
        """Return a running, empty server, its statistics at zero; started anew if a test has killed it."""
        if age not in self._running:
            self._running[age] = EmbeddedRedis(self._binaries[age])
            self._running[age].start()
        server = self._running[age]
        if not server.is_running:
            server.restart()
        empty(server)
        return server

    def stop(self) -> None:
        """Stop all servers."""
        for server in self._running.values():
            server.stop()
        self._running.clear()


@dataclass(slots=True)
class KeyLeakGuard:
    """Knows which keys may be left in Redis when a test has ended.

    A test that leaves keys on purpose says which and why: ``key_leak_guard.allow("jc:call:*", because="...")``.
    """

    redis_url: str
    is_active: bool = True
    _allowed: list[str] = field(default_factory=list)

    def allow(self, pattern: str, *, because: str) -> None:
        """Let keys that match the pattern stay, as long as they expire."""
        assert because, "a test that leaves keys says why"
        self._allowed.append(pattern)

    def leaks(self) -> list[str]:
        """Return a sentence for each key that should not be there."""
        return sorted(sentence for url in self._server_urls() for sentence in self._leaks_at(url))

    def _server_urls(self) -> list[str]:
        if not self.redis_url.startswith("redis+cluster:"):
            return [self.redis_url]
        with client_of(self.redis_url) as client:
            return [f"redis://{master.host}:{master.port}" for master in client.get_primaries()]

    def _leaks_at(self, url: str) -> list[str]:
        with redis.Redis.from_url(url, decode_responses=True) as client:
            return [sentence for key in client.scan_iter(count=1000) for sentence in self._judge(client, key)]

    def _judge(self, client: "redis.Redis", key: str) -> Iterator[str]:
        ttl_s = client.ttl(key)
        if _matches(key, PERMANENT):
            return
        if _matches(key, (DISPATCH,)):
            if length := client.xlen(key):
                yield f"{key}: a dispatch stream has to be empty, {length} entries are left"
        elif ttl_s == -1:
            yield f"{key}: neither permanent by name nor expiring"
        elif ttl_s != -2 and not _matches(key, (*OF_PROCESSES, *self._allowed)):
            yield f"{key}: left behind, expires in {ttl_s} s"


def _matches(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)
