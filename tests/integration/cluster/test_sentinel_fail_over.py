"""Live calls over a Redis that the Sentinels name, when its primary dies (P1-P6)."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.chaos.fail_over import play
from tests.cluster_fixture import ClusterFactory
from tests.redis_sentinel import SentinelRedis

# Outages last seconds by their nature: these run in `make check`.
pytestmark = pytest.mark.long


@pytest.fixture
def redis_with_sentinels() -> Iterator[SentinelRedis]:
    """Primary, replica and three Sentinels for this test alone."""
    with SentinelRedis() as servers:
        yield servers


@pytest.fixture
async def cluster(redis_with_sentinels: SentinelRedis, tmp_path: Path) -> AsyncIterator[ClusterFactory]:
    """Starter of clusters of real processes that know the Sentinels only."""
    factory = ClusterFactory(redis_with_sentinels.url, tmp_path)
    yield factory
    await factory.stop()


@pytest.mark.timeout(120)
async def test_killed_primary_loses_no_call(cluster: ClusterFactory, redis_with_sentinels: SentinelRedis) -> None:
    """Kill -9 of the primary under 30 calls: the replica is promoted, what was said in the gap is delivered."""
    await play(cluster, redis_with_sentinels.primary.kill, "Sentinel: primary killed")
