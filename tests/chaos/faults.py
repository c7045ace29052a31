"""What can go wrong, one thing after the other, chosen by a seed. Each fault says how realistic it is."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Final

from jambonz_cluster.embedded_redis import EmbeddedRedis
from tests.chaos.proxy import Pair, Proxy
from tests.cluster_fixture import Cluster, Member

# A gateway that stands still can ack nothing. Its guard acks at 4 s and jambonz gives up at 5 s (PROTOCOL.md 2.3);
# what a freeze and the network add must stay below that second, on a noisy machine well below.
GATEWAY_FROZEN_MAX_S: Final = 0.5
NETWORK_DELAY_MAX_S: Final = 0.1


class Faults:
    """Does harm to a cluster. One gateway and one worker are always left running and serving.

    Attributes:
        done: How often each fault was done.
    """

    def __init__(
        self, cluster: Cluster, balancer: Proxy, redis: EmbeddedRedis, redis_proxy: Proxy, dice: random.Random
    ) -> None:
        self.done: Final[Counter[str]] = Counter()
        self._cluster: Final = cluster
        self._balancer: Final = balancer
        self._redis: Final = redis
        self._redis_proxy: Final = redis_proxy
        self._dice: Final = dice
        self._leaving: Final[list[asyncio.Task[int]]] = []
        self._faults: list[Callable[[], Awaitable[None]]] = [
            self.kill_worker,
            self.freeze_worker,
            self.roll_worker,
            self.kill_gateway,
            self.freeze_gateway,
            self.roll_gateway,
            self.reset_sockets,
            self.slow_sockets,
            self.kill_redis,
            self.freeze_redis,
            self.reset_redis_connections,
            self.swallow_redis_connections,
            self.slow_redis,
        ]

    def choose_from(self, names: Collection[str]) -> None:
        """Do only the faults of these names from now on; no names leave all of them.

        Raises:
            ValueError: If a name is no fault.
        """
        known = {fault.__name__: fault for fault in self._faults}
        if unknown := set(names) - known.keys():
            raise ValueError(f"expected faults among {', '.join(known)}, got {', '.join(sorted(unknown))}")
        self._faults = [known[name] for name in names] or self._faults

    async def one(self) -> str:
        """Do one fault and return its name; what it takes down is up again, or its successor is."""
        fault = self._dice.choice(self._faults)
        self.done[fault.__name__] += 1
        await fault()
        return fault.__name__

    async def exit_codes(self) -> list[int]:
        """Return how those that were asked to leave have left; 0 is in peace."""
        return await asyncio.gather(*self._leaving)

    async def kill_worker(self) -> None:
        """As the kernel does when memory runs out."""
        await self._replaced(self._one_of(self._cluster.workers), self._cluster.add_worker, Member.kill)

    async def freeze_worker(self) -> None:
        """As a long garbage collection or a paused virtual machine; often longer than the lease."""
        await self._frozen(self._one_of(self._cluster.workers), 0.3, 4.0)

    async def roll_worker(self) -> None:
        """As a deploy does: the new one first."""
        await self._rolled(self._one_of(self._cluster.workers), self._cluster.add_worker)

    async def kill_gateway(self) -> None:
        """As ``kill_worker``. The load balancer sees the closed port at once."""
        await self._replaced(self._one_of(self._cluster.gateways), self._cluster.add_gateway, Member.kill)

    async def freeze_gateway(self) -> None:
        """As ``freeze_worker``, but no longer than a hook at its deadline survives."""
        await self._frozen(self._one_of(self._cluster.gateways), 0.1, GATEWAY_FROZEN_MAX_S)

    async def roll_gateway(self) -> None:
        """As ``roll_worker``."""
        await self._rolled(self._one_of(self._cluster.gateways), self._cluster.add_gateway)

    async def reset_sockets(self) -> None:
        """As a load balancer that restarts: a third of the calls lose their socket."""
        self._balancer.reset(self._some(0.3))

    async def slow_sockets(self) -> None:
        """As a congested network."""
        await self._slowed(self._balancer, NETWORK_DELAY_MAX_S)

    async def kill_redis(self) -> None:
        """As a crash of its host; what its append-only file has not seen is lost."""
        self._redis.kill()
        await self._pause(0.3, 2.0)
        await asyncio.to_thread(self._redis.restart)

    async def freeze_redis(self) -> None:
        """As a fork of a large heap or a paused virtual machine."""
        os.kill(self._redis.pid, signal.SIGSTOP)
        await self._pause(0.3, 2.5)
        os.kill(self._redis.pid, signal.SIGCONT)

    async def reset_redis_connections(self) -> None:
        """As a proxy before Redis that restarts."""
        self._redis_proxy.reset(self._some(0.5))

    async def swallow_redis_connections(self) -> None:
        """As a NAT that forgets some connections: nobody is told."""
        self._redis_proxy.swallow(self._some(0.2))

    async def slow_redis(self) -> None:
        """As a congested network between the processes and Redis."""
        await self._slowed(self._redis_proxy, NETWORK_DELAY_MAX_S)

    async def _replaced(self, victim: Member, add: Callable[[], Member], end: Callable[[Member], None]) -> None:
        end(victim)
        new = add()
        await new.wait_ready(limit_s=60.0)
        self._serve_by_running()

    async def _rolled(self, old: Member, add: Callable[[], Member]) -> None:
        await add().wait_ready(limit_s=60.0)
        self._serve_by_running(besides=old)
        old.terminate()
        ending = asyncio.create_task(old.wait_ended())
        self._leaving.append(ending)
        await asyncio.wait([ending])

    async def _frozen(self, member: Member, least_s: float, most_s: float) -> None:
        member.freeze()
        await self._pause(least_s, most_s)
        member.thaw()

    async def _slowed(self, proxy: Proxy, most_s: float) -> None:
        proxy.delay_s = self._dice.uniform(0.01, most_s)
        await self._pause(0.5, 2.0)
        proxy.delay_s = 0.0

    def _serve_by_running(self, besides: Member | None = None) -> None:
        serving = [member for member in self._cluster.gateways if member.is_running and member is not besides]
        self._balancer.backends = [member.port for member in serving]

    def _one_of(self, members: list[Member]) -> Member:
        return self._dice.choice([member for member in members if member.is_running])

    def _some(self, share: float) -> Callable[[Pair], bool]:
        return lambda _: self._dice.random() < share

    def _pause(self, least_s: float, most_s: float) -> Coroutine[None, None, None]:
        return asyncio.sleep(self._dice.uniform(least_s, most_s))
