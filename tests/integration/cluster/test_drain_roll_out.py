"""A rolling deploy under load: new processes first, then SIGTERM to the old ones (P7)."""

import asyncio
import os
from collections.abc import Callable

import pytest

from tests.chaos.callers import Caller
from tests.chaos.figures import report, spread
from tests.chaos.scene import Scene, scene
from tests.cluster_fixture import ClusterFactory, Member
from tests.conditions import until

# Outages last seconds by their nature: these run in `make check`.
pytestmark = pytest.mark.long

RATE = float(os.environ.get("RATE", "10"))
LIFE_S = 8.0
EVERY_S = 0.7


def latencies_s(callers: list[Caller]) -> list[float]:
    """Return how long each hook of a number waited for its ack."""
    return [r.latency_s for it in callers for r in it.live.hooks if r.kind == "verb:hook" and r.latency_s is not None]


async def replace(stage: Scene, old: list[Member], add: Callable[[], Member]) -> list[Member]:
    """Start as many new processes, wait until they serve, end the old ones by request, and return the new ones."""
    new = [add() for _ in old]
    for member in new:
        await member.wait_ready()
    if old[0].role == "gateway":
        stage.balancer.backends = [member.port for member in new]
    for member in old:
        member.terminate()
    codes = await asyncio.gather(*(member.wait_ended() for member in old))
    assert codes == [0] * len(old), "nothing was cut off"
    return new


@pytest.mark.cluster_too
async def test_rolling_all_gateways_and_all_workers_drops_no_call(cluster: ClusterFactory) -> None:
    """0 calls lost, 0 hooks unanswered, each call moved at most once per roll-out."""
    async with scene(cluster) as stage:
        people, running = stage.crowd, stage.cluster
        async with people.streaming(RATE, LIFE_S, EVERY_S):
            await until(lambda: len(people.callers) >= 3 * RATE, "the load is up")
            await replace(stage, list(running.gateways), running.add_gateway)
            moved = [caller.live.core.world.ledger.sockets - 1 for caller in people.callers]
            at = len(people.callers) + 2 * RATE
            await until(lambda: len(people.callers) >= at, "calls that came to the new gateways")
            await replace(stage, list(running.workers), running.add_worker)
            at = len(people.callers) + 2 * RATE
            await until(lambda: len(people.callers) >= at, "calls that came to the new workers")
        findings = await stage.end()
    fences = [len({tag["fence"] for tag in caller.answers}) for caller in people.callers]
    report(
        f"roll-out of 2 gateways and 2 workers under {RATE:g} calls/s",
        {
            "calls moved to a new gateway": sum(moved),
            "calls moved to a new worker": sum(fences) - len(fences),
            "answers": spread(latencies_s(people.callers)),
            **findings.counts,
        },
    )
    assert sum(moved) > 0, "some calls outlived their gateway"
    assert max(caller.live.core.world.ledger.sockets for caller in people.callers) <= 2
    assert sum(fences) > len(fences), "some calls outlived their worker"
    assert max(fences) <= 2
    # What jambonz says between our close frame and the end of TCP its websocket library drops; whatever the application
    # has seen is answered, by a redirect if it crossed the closing on the wire.
    assert findings.counts["answers lost in a dying socket"] == 0
    assert findings.counts["fallback acks"] == 0
