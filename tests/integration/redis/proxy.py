"""A TCP proxy before Redis that can swallow what Redis says, as a NAT or a dead switch does."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from tests.conditions import until


class Proxy:
    """Passes bytes on, until it is told to swallow those from Redis. No realistic loss is kinder: no RST, no FIN."""

    def __init__(self, redis_port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.connections = 0
        self.swallowed_bytes = 0
        self._is_swallowing = False
        self._redis_port = redis_port
        self._tls = tls
        self._writers: list[asyncio.StreamWriter] = []
        self._serving = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self.port}/0"

    def swallow(self) -> None:
        """Lose all that Redis says from now on, on the connections that are open now."""
        self._is_swallowing = True

    def cut(self) -> None:
        """Reset all connections; new ones are passed on again."""
        self._is_swallowing = False
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Listen while the block runs."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await server.wait_closed()
            # `wait_closed` of Python 3.11 does not wait for connections, that of 3.12 does.
            await until(lambda: self._serving == 0, "the proxy's connections have ended")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._serving += 1
        # A new connection takes another way: only those that were open are lost.
        if self._is_swallowing:
            self.cut()
        writers = [writer]
        try:
            redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self._redis_port)
            writers.append(redis_writer)
            self._writers += writers
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, redis_writer, may_swallow=False))
                group.create_task(self._pass(redis_reader, writer, may_swallow=True))
        finally:
            # Also of a client that came at the end, behind the last cut.
            for it in writers:
                it.transport.abort()
            self._serving -= 1

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, may_swallow: bool) -> None:
        try:
            while data := await reader.read(65536):
                if may_swallow and self._is_swallowing:
                    self.swallowed_bytes += len(data)
                else:
                    writer.write(data)
        except OSError:
            pass
        writer.transport.abort()
