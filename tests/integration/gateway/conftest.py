"""Fixtures for gateways that run in the test's own process."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.integration.gateway.gateways import Worker


@pytest.fixture
async def worker(redis_url: str) -> AsyncIterator[Worker]:
    """The worker's side by hand, with an inbox."""
    async with Redis.from_url(redis_url) as client:
        played = Worker(client)
        await played.opens_inbox()
        yield played
