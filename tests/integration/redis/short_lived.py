"""A connection to Redis that ends in one step of the loop with the last reply to its set-up."""

import asyncio
from types import SimpleNamespace
from typing import cast

from redis.asyncio.connection import AbstractConnection

from jambonz_shared.redis.endpoint import UrlEndpoint


class ShortLived:
    """An Endpoint: its first connection ends so, the others are real.

    Attributes:
        name: For log lines.
        is_away: Set when the second connection is asked for.
        is_back: Set by the test; until then nobody gets that one.
    """

    def __init__(self, url: str, replies: bytes) -> None:
        """``replies`` answer what is written first."""
        self.name = "short-lived"
        self.is_away = asyncio.Event()
        self.is_back = asyncio.Event()
        self._endpoint = UrlEndpoint(url)
        self._replies = replies

    async def connect(self) -> AbstractConnection:
        if not self._replies:
            self.is_away.set()
            await self.is_back.wait()
            return await self._endpoint.connect()
        transport, self._replies = _Transport(self._replies), b""
        reader, writer = SimpleNamespace(at_eof=lambda: False), SimpleNamespace(transport=transport)
        return cast("AbstractConnection", SimpleNamespace(_reader=reader, _writer=writer))


class _Transport(asyncio.Transport):
    def __init__(self, replies: bytes) -> None:
        super().__init__()
        self._replies = replies
        self._protocol: asyncio.Protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        if self._replies:
            replies, self._replies = self._replies, b""
            self._protocol.data_received(replies)
            self._protocol.connection_lost(None)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """It has ended already."""

    abort = close
