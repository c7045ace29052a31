"""A process that is told to end does so, whatever its connections are doing at that moment."""

import asyncio
import random

from redis.asyncio.connection import AbstractConnection

from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from tests.conditions import until


class Stubborn:
    """An Endpoint that swallows its first cancellation, as libraries do now and then, and then gets its connection."""

    def __init__(self, url: str) -> None:
        self._endpoint = UrlEndpoint(url)
        self.is_waiting = False
        self.tries = 0
        self.connections: list[AbstractConnection] = []

    @property
    def name(self) -> str:
        return self._endpoint.name

    async def connect(self) -> AbstractConnection:
        self.tries += 1
        try:
            self.is_waiting = True
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        connection = await self._endpoint.connect()
        self.connections.append(connection)
        return connection

    def has_closed_all(self) -> bool:
        """Whether each try has had its connection, and none is open."""
        return len(self.connections) == self.tries and not any(it.is_connected for it in self.connections)


async def test_link_ends_at_any_moment_of_its_connecting(redis_url: str) -> None:
    """redis-py was seen to swallow a cancellation in a fifth of such moments (Python 3.11, gh-86296)."""
    for _ in range(100):
        task = asyncio.create_task(Link(UrlEndpoint(redis_url)).run())
        # Any moment will do; which one is a matter of microseconds.
        for _ in range(random.randrange(40)):
            await asyncio.sleep(0)
        task.cancel()
        _, pending = await asyncio.wait((task,), timeout=10)
        assert not pending


async def test_connection_that_comes_after_the_end_is_closed(redis_url: str) -> None:
    """Nothing is left behind, neither a task nor a socket."""
    stubborn = Stubborn(redis_url)
    task = asyncio.create_task(Link(stubborn).run())
    await until(lambda: stubborn.is_waiting, "it connects")
    task.cancel()
    _, pending = await asyncio.wait((task,), timeout=10)
    assert not pending
    await until(stubborn.has_closed_all, "it is closed")


async def test_endpoint_that_takes_too_long_is_tried_again(redis_url: str) -> None:
    """A name server that does not answer must not hold up the next try."""
    stubborn = Stubborn(redis_url)
    task = asyncio.create_task(Link(stubborn).run())
    await until(lambda: stubborn.is_waiting, "it connects")
    stubborn.is_waiting = False
    await until(lambda: stubborn.is_waiting, "it connects again")
    task.cancel()
    await asyncio.wait((task,))
    await until(stubborn.has_closed_all, "both are closed")
