"""A worker in this process, a real Redis, and a double of the gateway."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from jambonz_shared.config import WorkerSettings
from jambonz_shared.runtime.signals import Shutdown
from jambonz_workers import App
from jambonz_workers.worker import Worker
from tests.integration.worker.gateway_double import GatewayDouble


@dataclass(eq=False)
class Running:
    """A worker that runs, and the way to end it."""

    worker: Worker
    shutdown: Shutdown
    stop: Callable[[], Awaitable[None]]


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(redis_url, client_name="test")
    yield client
    await client.aclose()


@pytest.fixture
async def gateway(redis: Redis) -> AsyncIterator[GatewayDouble]:
    double = GatewayDouble(redis)
    yield double
    await double.close()


@pytest.fixture
async def start(redis_url: str) -> AsyncIterator[Start]:
    """Start workers of an app; they are drained when the test has ended."""
    async with AsyncExitStack() as stack:

        async def start_one(app: App, **options: object) -> Running:
            terms: dict[str, object] = {"internal_port": 0, "drain_timeout_s": 0, **options}
            settings = WorkerSettings.model_validate({"redis_url": redis_url, **terms})
            return await stack.enter_async_context(_running(app, settings))

        yield start_one


@asynccontextmanager
async def _running(app: App, settings: WorkerSettings) -> AsyncIterator[Running]:
    shutdown, ready = Shutdown(), asyncio.Event()
    worker = Worker(app, settings)

    async def live() -> None:
        async with worker.connected(shutdown.drain), worker.reading(shutdown.drain):
            ready.set()
            await shutdown.drain.wait()
            await worker.drain(shutdown)

    task = asyncio.create_task(live())
    task.add_done_callback(lambda _: ready.set())
    await ready.wait()

    async def stop() -> None:
        shutdown.drain.set()
        await task

    yield Running(worker, shutdown, stop)
    await stop()
