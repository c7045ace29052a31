"""An event whose handler kills its worker: three deaths, then it is answered without being run."""

from functools import partial

from redis.asyncio import Redis

from tests.chaos.figures import report
from tests.chaos.invariants import examine
from tests.chaos.scene import nothing_left, scene
from tests.cluster_fixture import Cluster, ClusterFactory
from tests.conditions import until


def dead(running: Cluster) -> int:
    """Return how many workers have died."""
    return sum(not worker.is_running for worker in running.workers)


async def test_poison_event_is_quarantined_after_three_deaths(cluster: ClusterFactory, redis_url: str) -> None:
    """Its hook is acked by the fourth worker, its call and all others live on."""
    async with scene(cluster, workers=4) as stage:
        running = stage.cluster
        await stage.crowd.arrive(12)
        victim = stage.callers[0]
        async with stage.crowd.talking(1.0):
            poison = victim.send("/poison")
            record = await victim.settled(poison)
            async with Redis.from_url(redis_url) as redis:
                await until(partial(is_quarantined, redis), "the event is in quarantine")
                quarantined = await redis.xrange("jc:quarantine")
        assert len(quarantined or []) == 1
        assert victim.sid in str(quarantined)
        assert record.is_acked
        assert not record.verbs, "the handler was not run"
        assert dead(running) == 3
        await stage.crowd.leave()
        assert victim.report is not None, "the call goes on"
        findings = examine(stage.crowd)
        await nothing_left(redis_url)
    # Its number is the one that no handler has seen.
    [(invariant, sentence)] = findings.violations
    assert (invariant, str(poison) in sentence) == ("nothing lost", True), sentence
    report("poison event, 3 deaths", findings.counts)
    assert findings.counts["events lost in a dying socket"] == 1


async def is_quarantined(redis: Redis) -> bool:
    """Whether something is in quarantine."""
    return await redis.xlen("jc:quarantine") > 0
