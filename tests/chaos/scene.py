"""What most scenarios need: a cluster of two and two, a load balancer, a crowd, and Redis to look into."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from redis.asyncio import Redis, RedisCluster

from jambonz_cluster.embedded_redis import EmbeddedRedis
from tests.chaos.callers import Caller, Crowd, crowd
from tests.chaos.invariants import Findings, examine
from tests.chaos.proxy import Proxy
from tests.cluster_fixture import Cluster, ClusterFactory, Member
from tests.conditions import until
from tests.redis_servers import look_into

APP: Final = "tests.chaos.app:app"

# The shortest that is allowed, so that tests see the end of what nobody ends.
GRACE_S: Final = 15.0
SETTINGS: Final = {"JAMBONZ_CLUSTER_CALL_GRACE": f"{GRACE_S:g}s"}


@dataclass(slots=True)
class Scene:
    """A running cluster and the calls it serves."""

    cluster: Cluster
    balancer: Proxy
    crowd: Crowd

    @property
    def callers(self) -> list[Caller]:
        """All calls that ever came."""
        return self.crowd.callers

    def of_worker(self, worker: Member) -> list[Caller]:
        """Return the calls that a worker has answered last."""
        return [caller for caller in self.callers if not caller.is_over and caller.pid == worker.pid]

    def of_gateway(self, gateway: Member) -> list[Caller]:
        """Return the calls whose socket ends at a gateway."""
        ports = {pair.client_port for pair in self.balancer.pairs if pair.backend == gateway.port}
        return [caller for caller in self.callers if _local_port(caller) in ports]

    async def end(self) -> Findings:
        """End all calls, see that nothing of them is left in Redis, and judge them."""
        await self.crowd.leave()
        findings = examine(self.crowd)
        findings.assert_none()
        await nothing_left(self.cluster.redis_url)
        return findings


def _local_port(caller: Caller) -> int:
    sockets = list(caller.live._sockets.values())
    transport = sockets[-1]._transport if sockets else None
    return int(transport.get_extra_info("sockname")[1]) if transport else 0


@asynccontextmanager
async def scene(
    cluster: ClusterFactory, *, settings: Mapping[str, str] | None = None, gateways: int = 2, workers: int = 2
) -> AsyncIterator[Scene]:
    """Give a cluster behind a load balancer, without calls yet."""
    running = await cluster(APP, gateways=gateways, workers=workers, settings={**SETTINGS, **(settings or {})})
    ports = [gateway.port for gateway in running.gateways]
    async with Proxy(ports).listening() as balancer, crowd(f"ws://127.0.0.1:{balancer.port}") as people:
        yield Scene(running, balancer, people)


async def nothing_left(redis_url: str, limit_s: float = 2 * GRACE_S) -> None:
    """P8: wait until no key of any call is in Redis, and no event."""
    async with look_into(redis_url) as redis:

        async def is_clean() -> bool:
            return not [key async for key in leftovers(redis)]

        await until(is_clean, "no key of a call is left", limit_s=limit_s)


async def leftovers(redis: Redis | RedisCluster) -> AsyncIterator[str]:
    """Yield the keys that calls have left."""
    async for key in redis.scan_iter("jc:call:*", count=1000):
        yield key
    async for key in redis.scan_iter("jc:dispatch:*"):
        if await redis.xlen(key):
            yield key


async def metric(member: Member, name: str, **labels: str) -> float:
    """Return a metric of a process, 0 if it has none like it; the sum over labels that are not given."""
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{member.internal_port}/metrics") as got:
        lines = (await got.text()).splitlines()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    found = [
        line for line in lines if line.startswith((f"{name}{{", f"{name} ")) and all(one in line for one in wanted)
    ]
    return sum(float(line.rpartition(" ")[2]) for line in found)


@asynccontextmanager
async def own_redis(folder: Path, *, is_durable: bool) -> AsyncIterator[tuple[EmbeddedRedis, ClusterFactory]]:
    """Give a Redis that may be killed, and a starter of clusters on it. Durable: an append-only file, everysec."""
    with EmbeddedRedis(appendfsync="everysec" if is_durable else None) as server:
        factory = ClusterFactory(server.url, folder)
        try:
            yield server, factory
        finally:
            await factory.stop()
