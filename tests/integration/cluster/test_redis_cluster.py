"""Whole calls over a real Redis Cluster, and the death of one of its masters."""

import asyncio
from time import monotonic

import pytest

from jambonz_shared.errors import CallGone
from jambonz_simulator.client import CallOptions, live_call
from jambonz_simulator.core.script import Press, Script, StaySilent
from jambonz_simulator.fleet import Load, run_fleet
from jambonz_workers import Calls
from tests.chaos.callers import all_settled
from tests.chaos.fail_over import play
from tests.chaos.figures import calls, report
from tests.chaos.scene import nothing_left, scene
from tests.cluster_fixture import ClusterFactory
from tests.redis_cluster import RedisCluster, Server, can_run, move_slot

# Outages last seconds by their nature: these run in `make check`.
pytestmark = [pytest.mark.long, pytest.mark.skipif(not can_run(), reason="needs redis-server 7.0 on PATH")]

FAST = CallOptions(speed=20)
THROUGH_THE_MENU = Script(steps=(StaySilent(), Press("1"), Press("2")))


@pytest.fixture
def redis_server(redis_cluster: RedisCluster) -> RedisCluster:
    """What all fixtures take for Redis here."""
    return redis_cluster


async def test_calls_are_answered_in_order_and_leave_nothing(cluster: ClusterFactory) -> None:
    """P1, P2, P8: 200 calls through 2 gateways and 2 workers, their keys on three masters."""
    running = await cluster("examples.ivr:app", gateways=2, workers=2)
    loads = [run_fleet(f"{g.url}/ivr", THROUGH_THE_MENU, Load(100, 25.0), FAST) for g in running.gateways]
    for summary in await asyncio.gather(*loads):
        assert summary.is_good, summary.failures
        assert summary.outcomes == {"completed": 100}
        assert (summary.out_of_order, summary.duplicate_acks, summary.late_acks) == (0, 0, 0)
    await nothing_left(running.redis_url)


async def test_any_process_commands_calls_on_every_master(cluster: ClusterFactory, redis_cluster: RedisCluster) -> None:
    """P4, P5: a third process lists calls of all masters and takes each over; then it is told that they are gone."""
    running = await cluster("examples.conformance:app")
    async with Calls.connect(running.redis_url) as remote_calls:
        lives = [live_call(f"{running.url}/conformance", Script(), FAST) for _ in range(40)]
        opened = [await one.__aenter__() for one in lives]
        for call in opened:
            await call.wait_for_verb("gather")
        masters = {redis_cluster.master_of(f"jc:call:{{{call.call_sid}}}").port for call in opened}
        assert len(masters) == 3, "forty calls at random miss a master once in a million times"
        remotes = await remote_calls.list()
        assert {remote.sid for remote in remotes} == {call.call_sid for call in opened}
        outcomes = await asyncio.gather(*(one.redirect([{"verb": "say", "text": "somebody else"}]) for one in remotes))
        assert {outcome.kind.value for outcome in outcomes} == {"sent"}
        for call in opened:
            await call.wait_for_command("redirect")
            call.hang_up()
            await call.wait_for_end()
        await nothing_left(running.redis_url)
        with pytest.raises(CallGone):
            await remotes[0].redirect([{"verb": "say", "text": "too late"}])
        for one in lives:
            await one.__aexit__(None, None, None)


def busiest(redis_cluster: RedisCluster) -> Server:
    """Return the master with the most calls."""
    return max(redis_cluster.masters(), key=lambda server: len(server.client.keys("jc:call:*")))


@pytest.mark.timeout(120)
async def test_killed_master_loses_no_call(cluster: ClusterFactory, redis_cluster: RedisCluster) -> None:
    """P1-P6: kill -9 under calls; its replica takes over, commands given in the gap are delivered."""
    await play(cluster, lambda: busiest(redis_cluster).kill(), "Redis Cluster: master killed")


async def test_slots_of_live_calls_move_to_another_master(cluster: ClusterFactory, redis_cluster: RedisCluster) -> None:
    """Resharding: hash, log and channel of each call change servers while it talks."""
    async with scene(cluster) as stage:
        await stage.crowd.arrive(calls(10))
        async with stage.crowd.talking(0.7):
            await asyncio.to_thread(reshard, redis_cluster, [caller.sid for caller in stage.callers])
            moved_at_s = monotonic()
            await all_settled(stage.callers, lambda it: it.answered_after_s(moved_at_s) is not None, "answered", 20.0)
        findings = await stage.end()
    report("Redis Cluster: slots of all calls moved", findings.counts)


def reshard(redis_cluster: RedisCluster, call_sids: list[str]) -> None:
    """Move the slots of calls to the next master."""
    for call_sid in call_sids:
        key = f"jc:call:{{{call_sid}}}"
        masters = redis_cluster.masters()
        target = masters[(masters.index(redis_cluster.master_of(key)) + 1) % len(masters)]
        for _ in move_slot(redis_cluster, key, target):
            pass
