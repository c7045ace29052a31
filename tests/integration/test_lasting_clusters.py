"""The clusters that tests of a module share."""

import pytest
from redis.asyncio import Redis

from tests.lasting_clusters import LastingClusters

pytestmark = pytest.mark.lasting_clusters

APP = "tests.apps.waiting:app"


async def test_what_a_test_has_left_as_it_was_is_used_again_and_nothing_else(cluster: LastingClusters) -> None:
    """To start the same processes for each test is most of what the suite takes; a killed one is no start."""
    first = await cluster(APP, gateways=0)
    worker = first.workers[0]
    cluster.begin_test()
    assert await cluster(APP, gateways=0) is first
    assert await cluster(APP, gateways=0) is not first, "a second one within a test is another one"
    cluster.begin_test()
    alone = await cluster(APP, gateways=0)
    assert not worker.is_running, "no test meets processes that it has not asked for"
    worker = alone.workers[0]
    worker.kill()
    await worker.wait_ended()
    async with Redis.from_url(cluster.redis_server.url) as redis:
        await redis.set("left", "behind")
        cluster.begin_test()
        assert (await cluster(APP, gateways=0)).workers[0].is_running
        assert await redis.get("left") is None
