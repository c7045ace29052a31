"""A running Link per test, tasks that end with their test, and the rule that every key of a Call expires."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import redis.asyncio

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.admin import connect
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from tests.integration.redis.readers import Heard
from tests.redis_servers import available

Running = Callable[[Coroutine[Any, Any, object]], "asyncio.Task[object]"]


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    """Starter of tasks. At the end they are cancelled, and whatever else ended one of them fails the test."""
    tasks: list[asyncio.Task[object]] = []

    def start(work: Coroutine[Any, Any, object]) -> "asyncio.Task[object]":
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator["redis.asyncio.Redis"]:
    """An ordinary client to look into Redis. At the end everything is deleted, after a look at the times to live."""
    client = connect(redis_url)
    yield client
    keys: list[Any] = await client.keys("jc:*:{*}")
    for key in keys:
        is_stream_of_an_app = key.startswith(b"jc:dispatch:")
        assert is_stream_of_an_app or await client.pttl(key) > 0, f"{key!r} would stay for ever"
    await client.flushall()
    await client.aclose()


@pytest.fixture
async def link(redis_url: str, client: "redis.asyncio.Redis", running: Running) -> Link:
    """A Link that is up."""
    return await up(redis_url, running)


async def up(url: str, running: Running, limit_bytes: int = 1 << 25) -> Link:
    """Return a Link that is up."""
    link = Link(UrlEndpoint(url), limit_bytes=limit_bytes)
    running(link.run())
    await link.wait_up()
    return link


def failures_of(link: Link) -> list[None]:
    """Return what grows by one when a callback raises, of a link or of channels and readers beside it."""
    failures: list[None] = []
    link.on_failure = lambda: failures.append(None)
    return failures


@pytest.fixture
async def own_server() -> AsyncIterator[EmbeddedRedis]:
    """A server for this test alone, to be killed, stopped and emptied. It forgets everything at a restart."""
    server = EmbeddedRedis(available()["newest"])
    await server.start_async()
    yield server
    server.stop()


@pytest.fixture
async def durable_server() -> AsyncIterator[EmbeddedRedis]:
    """A server for this test alone that keeps every write over a kill -9."""
    server = EmbeddedRedis(available()["newest"], appendfsync="always")
    await server.start_async()
    yield server
    server.stop()


@pytest.fixture
def heard() -> Heard:
    return Heard()
