"""A Redis that dies, stalls, forgets, runs full or loses connections: calls stay, effects are not lost (P1, P3, P6)."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.chaos.callers import all_settled
from tests.chaos.figures import calls, report, spread
from tests.chaos.invariants import Findings
from tests.chaos.proxy import Pair, Proxy
from tests.chaos.scene import Scene, nothing_left, own_redis, scene
from tests.cluster_fixture import ClusterFactory
from tests.conditions import until

# Outages last seconds by their nature: these run in `make check`.
pytestmark = pytest.mark.long

AWAY_S = 3.0
# All calls are played by this one process: many of them have to talk less.
EVERY_S = max(0.7, calls(40) / 150)


@asynccontextmanager
async def talking(stage: Scene, count: int) -> AsyncIterator[None]:
    """Have calls talk before, during and after what happens in the block; all must have been answered after it."""
    await stage.crowd.arrive(count)
    async with stage.crowd.talking(EVERY_S):
        numbers = {caller: caller.send() for caller in stage.callers}
        for caller, number in numbers.items():
            assert (await caller.settled(number)).verbs
        yield
        back_at_s = monotonic()
        await all_settled(stage.callers, lambda it: it.answered_after_s(back_at_s) is not None, "an answer again", 20.0)


def tell(title: str, stage: Scene, findings: Findings, back_at_s: float) -> None:
    """Report what was measured."""
    after_s = [after for caller in stage.callers if (after := caller.answered_after_s(back_at_s)) is not None]
    report(f"{title}, {len(stage.callers)} calls", {"first answer afterwards": spread(after_s), **findings.counts})


@pytest.mark.parametrize("is_durable", [True, False], ids=["append_only_file", "empty"])
async def test_killed_redis_loses_no_call(tmp_path: Path, is_durable: bool) -> None:
    """It is back after 3 s, with nearly all or with nothing; what was decided meanwhile is delivered then."""
    async with own_redis(tmp_path, is_durable=is_durable) as (server, cluster), scene(cluster) as stage:
        async with talking(stage, calls(40)):
            server.kill()
            await asyncio.sleep(AWAY_S)
            await asyncio.to_thread(server.restart)
            back_at_s = monotonic()
        findings = await stage.end()
    tell(f"Redis killed for {AWAY_S:g} s, {'AOF everysec' if is_durable else 'empty'}", stage, findings, back_at_s)


async def test_stalled_redis_loses_no_call(tmp_path: Path) -> None:
    """It stands still for 3 s, as under a snapshot of a paused virtual machine."""
    async with own_redis(tmp_path, is_durable=False) as (server, cluster), scene(cluster) as stage:
        async with talking(stage, calls(40)):
            os.kill(server.pid, signal.SIGSTOP)
            await asyncio.sleep(AWAY_S)
            os.kill(server.pid, signal.SIGCONT)
            back_at_s = monotonic()
        findings = await stage.end()
    tell(f"Redis stalled for {AWAY_S:g} s", stage, findings, back_at_s)


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
async def test_killed_connections_lose_nothing(cluster: ClusterFactory, redis_url: str, kind: str) -> None:
    """Links, stream readers and channels of all processes, three times within two seconds."""
    async with scene(cluster) as stage, Redis.from_url(redis_url) as redis:
        async with talking(stage, calls(40)):
            for _ in range(3):
                assert int(await redis.client_kill_filter(_type=kind, skipme=True)) > 1
                await asyncio.sleep(0.7)
            back_at_s = monotonic()
        findings = await stage.end()
    tell(f"all {kind} connections killed", stage, findings, back_at_s)
    assert findings.counts["fallback acks"] == 0


async def test_full_redis_loses_nothing(tmp_path: Path) -> None:
    """``maxmemory`` is hit: every write is refused for 3 s."""
    async with own_redis(tmp_path, is_durable=False) as (server, cluster), scene(cluster) as stage:
        async with talking(stage, calls(40)), Redis.from_url(server.url) as redis:
            await redis.config_set("maxmemory", 1)
            await asyncio.sleep(AWAY_S)
            await redis.config_set("maxmemory", 0)
            back_at_s = monotonic()
        findings = await stage.end()
    tell(f"Redis out of memory for {AWAY_S:g} s", stage, findings, back_at_s)


@asynccontextmanager
async def replica_of_nobody(redis: Redis) -> AsyncIterator[None]:
    """Have Redis take nothing, as the loser of a fail-over does."""
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
    yield
    await redis.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]


@asynccontextmanager
async def without_replicas(redis: Redis) -> AsyncIterator[None]:
    """Have Redis miss a replica that it is told to have."""
    await redis.config_set("min-replicas-to-write", 1)
    yield
    await redis.config_set("min-replicas-to-write", 0)


@asynccontextmanager
async def without_a_place_for_snapshots(redis: Redis) -> AsyncIterator[None]:
    """Have a snapshot fail: its folder has gone. A Redis that is configured to make some takes nothing then."""
    folder = Path(str((await redis.config_get("dir"))["dir"]))
    # Redis stands in the folder, whatever its name; the server's owner will look for its own by name.
    moved = shutil.move(folder, folder.with_name(f"{folder.name}-moved"))
    shutil.copytree(moved, folder)
    shutil.rmtree(moved)
    await redis.config_set("save", "3600 1")
    await redis.bgsave()

    async def has_failed() -> bool:
        return bool((await redis.info("persistence"))["rdb_last_bgsave_status"] == "err")

    await until(has_failed, "the snapshot has failed")
    yield
    await redis.config_set("save", "")


@asynccontextmanager
async def with_a_long_script(redis: Redis) -> AsyncIterator[None]:
    """Have somebody's script run for ever."""
    await redis.config_set("lua-time-limit", 100)
    script = asyncio.create_task(_script_until_killed(redis))
    yield
    await redis.script_kill()
    await script


async def _script_until_killed(redis: Redis) -> None:
    with pytest.raises(ResponseError, match="SCRIPT KILL"):
        await redis.eval("while true do end", 0)


@pytest.mark.parametrize(
    ("refusing", "why"),
    [
        (replica_of_nobody, "READONLY"),
        (without_replicas, "NOREPLICAS"),
        (without_a_place_for_snapshots, "MISCONF"),
        (with_a_long_script, "BUSY"),
    ],
)
async def test_redis_that_refuses_loses_nothing(
    tmp_path: Path, refusing: Callable[[Redis], AbstractAsyncContextManager[None]], why: str
) -> None:
    """It answers, and takes nothing: calls go on when it does again, and the log says meanwhile what is wrong."""
    async with own_redis(tmp_path, is_durable=False) as (server, cluster), scene(cluster) as stage:
        members = stage.cluster.members
        async with talking(stage, 6), Redis.from_url(server.url) as redis:
            async with refusing(redis):
                refused = f"redis refuses what is written to it why={why}"
                await until(lambda: all(refused in it.log_text for it in members), "each process says so")
                await asyncio.sleep(AWAY_S)
            back_at_s = monotonic()
        findings = await stage.end()
    tell(f"Redis refuses for {AWAY_S:g} s: {why}", stage, findings, back_at_s)


async def test_redis_without_room_for_another_client_loses_nothing(tmp_path: Path) -> None:
    """``maxclients`` is reached by others when the connections of all processes are cut."""
    async with own_redis(tmp_path, is_durable=False) as (server, cluster), scene(cluster) as stage:
        members = stage.cluster.members
        async with talking(stage, 6), Redis.from_url(server.url) as redis:
            await redis.config_set("maxclients", (await redis.info("clients"))["connected_clients"])
            for kind in ("normal", "pubsub"):
                await redis.client_kill_filter(_type=kind, skipme=True)
            hogs = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(40)]
            refused = "reason='max number of clients reached'"
            await until(lambda: all(refused in it.log_text for it in members), "each process says so")
            await asyncio.sleep(AWAY_S)
            await redis.config_set("maxclients", 1000)
            back_at_s = monotonic()
            for _, hog in hogs:
                hog.close()
        findings = await stage.end()
    tell(f"Redis has no room for a client for {AWAY_S:g} s", stage, findings, back_at_s)


async def test_emptied_redis_loses_no_call(tmp_path: Path) -> None:
    """FLUSHALL, three times: no connection breaks, and nobody is told. An event that waits in a stream may be lost."""
    async with own_redis(tmp_path, is_durable=False) as (server, cluster), scene(cluster) as stage:
        async with talking(stage, calls(40)), Redis.from_url(server.url) as redis:
            for _ in range(3):
                await asyncio.sleep(AWAY_S / 3)
                await redis.flushall()
            back_at_s = monotonic()
        findings = await stage.end()
    tell("Redis emptied three times", stage, findings, back_at_s)


async def test_blackholed_channel_connection_is_noticed(tmp_path: Path) -> None:
    """Nothing comes over pub/sub and nobody is told: the canary tells, and the log has what was missed."""
    async with own_redis(tmp_path, is_durable=False) as (server, _), Proxy([server.port]).listening() as proxy:
        factory = ClusterFactory(f"redis://127.0.0.1:{proxy.port}/0", tmp_path)
        try:
            async with scene(factory) as stage, Redis.from_url(server.url) as redis:
                async with talking(stage, calls(20)):
                    ports = {int(client["addr"].rpartition(":")[2]) for client in await subscribers(redis)}
                    at_s = monotonic()
                    assert proxy.swallow(lambda pair: local_port(pair) in ports) >= 4
                    await until(lambda: not any(pair.is_swallowing for pair in proxy.pairs), "all have been given up")
                    noticed_s = monotonic() - at_s
                findings = await stage.end()
                report("blackholed channels", {"noticed after": f"{noticed_s:.1f} s", **findings.counts})
        finally:
            await factory.stop()


async def subscribers(redis: Redis) -> list[dict[str, Any]]:
    """Return the pub/sub connections."""
    return [client for client in await redis.client_list() if client["flags"].startswith("P")]


def local_port(pair: Pair) -> int:
    """Return the port from which the proxy speaks to Redis."""
    return int(pair.far.transport.get_extra_info("sockname")[1]) if pair.far.transport else 0


async def test_call_that_comes_back_with_an_older_redis_is_let_go(cluster: ClusterFactory, redis_url: str) -> None:
    """P8: an append-only file loses its last second, in which calls have ended; here one is put back by hand."""
    async with scene(cluster) as stage, Redis.from_url(redis_url) as redis:
        [caller] = await stage.crowd.arrive(1)
        key = f"jc:call:{{{caller.sid}}}"
        hash_before, ttl_ms = await redis.dump(key) or b"", await redis.pttl(key)
        [held] = [name async for name in redis.scan_iter("jc:held:*")]
        await stage.crowd.leave()
        await nothing_left(redis_url)
        await redis.restore(key, ttl_ms, hash_before)
        await redis.sadd(held, caller.sid)
        await redis.client_kill_filter(_type="normal", skipme=True)
        await nothing_left(redis_url)
