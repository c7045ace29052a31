"""A TCP proxy that does what networks do: spreads, delays, resets, swallows. It stands before gateways or Redis."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self


class Proxy:
    """Passes connections on to one of the backends in turn, as a TCP load balancer does.

    A backend that refuses is left out for that connection; with none left the peer's connection is reset.

    Attributes:
        backends: Ports on loopback that get new connections; change it at any time.
        delay_s: How much later each direction's bytes arrive; their order stays.
        port: Where it listens.
        pairs: Connections that are open now.
    """

    def __init__(self, backends: Sequence[int]) -> None:
        self.backends = list(backends)
        self.delay_s = 0.0
        self.port = 0
        self.pairs: set[Pair] = set()
        self._turn = 0
        self._dialling: set[asyncio.Task[None]] = set()
        self._loop: Final = asyncio.get_running_loop()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Listen while the block runs."""
        server = await self._loop.create_server(self._accepted, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.reset()
            for task in list(self._dialling):
                task.cancel()

    def reset(self, which: "Callable[[Pair], bool]" = lambda _: True) -> int:
        """Reset connections at both ends, as a firewall that restarts does; return how many."""
        chosen = [pair for pair in self.pairs if which(pair)]
        for pair in chosen:
            pair.reset()
        return len(chosen)

    def swallow(self, which: "Callable[[Pair], bool]" = lambda _: True) -> int:
        """Lose all that either end says from now on, its closing included, as a dead NAT does; return how many."""
        chosen = [pair for pair in self.pairs if which(pair)]
        for pair in chosen:
            pair.is_swallowing = True
        return len(chosen)

    def _accepted(self) -> "End":
        pair = Pair(self)
        self.pairs.add(pair)
        return pair.near

    def dial(self, pair: "Pair") -> None:
        """Find a backend for a connection that has been accepted."""
        task = self._loop.create_task(self._dial(pair))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _dial(self, pair: "Pair") -> None:
        self._turn += 1
        ports = self.backends[self._turn % max(1, len(self.backends)) :] + self.backends
        for port in ports[: len(self.backends)]:
            try:
                await self._loop.create_connection(lambda: pair.far, "127.0.0.1", port)
            except OSError:
                continue
            pair.backend = port
            pair.near.flow()
            return
        pair.reset()


class Pair:
    """A connection through the proxy.

    Attributes:
        backend: Port of the backend; 0 until there is one.
        client_port: Port of the peer that has connected.
        is_swallowing: Nothing comes through any more, and nobody is told.
    """

    def __init__(self, proxy: Proxy) -> None:
        self.proxy: Final = proxy
        self.backend = 0
        self.client_port = 0
        self.is_swallowing = False
        self.near: Final = End(self)
        self.far: Final = End(self)

    def reset(self) -> None:
        """Reset both ends."""
        self.is_swallowing = True
        self.proxy.pairs.discard(self)
        for end in (self.near, self.far):
            if end.transport:
                end.transport.abort()

    def lost(self, end: "End", error: Exception | None) -> None:
        """Close the other end as this one was closed, behind what is still on its way."""
        self.proxy.pairs.discard(self)
        if not self.is_swallowing:
            other = self.far if end is self.near else self.near
            other.end(is_reset=error is not None)


class End(asyncio.Protocol):
    """One end of a Pair; what it is sent waits in ``_queue`` while it is not connected or not due."""

    def __init__(self, pair: Pair) -> None:
        self.transport: asyncio.Transport | None = None
        self._pair: Final = pair
        self._loop: Final = asyncio.get_running_loop()
        # (due at, bytes; None: close after the rest).
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_reset = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Dial on when a client has come."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self is self._pair.near:
            self._pair.client_port = transport.get_extra_info("peername")[1]
            self._pair.proxy.dial(self._pair)
        else:
            self.flow()

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        if not self._pair.is_swallowing:
            self._other.put(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the end on."""
        self.transport = None
        self._pair.lost(self, exc)

    def put(self, data: bytes | None) -> None:
        """Take bytes for this end, or its end."""
        delay_s = self._pair.proxy.delay_s
        if data and not delay_s and not self._queue and self.transport:
            self.transport.write(data)
            return
        latest_s = self._queue[-1][0] if self._queue else 0.0
        self._queue.append((max(latest_s, self._loop.time() + delay_s), data))
        self.flow()

    def end(self, *, is_reset: bool) -> None:
        """Close this end behind what waits for it."""
        self._is_reset = is_reset
        self.put(None)

    def flow(self) -> None:
        """Write what is due."""
        if self._timer:
            self._timer.cancel()
        self._timer = None
        while self._queue and self.transport:
            due_s, data = self._queue[0]
            if due_s > self._loop.time() + 0.0005:
                self._timer = self._loop.call_at(due_s, self.flow)
                return
            self._queue.popleft()
            if self._pair.is_swallowing:
                continue
            if data is not None:
                self.transport.write(data)
            elif self._is_reset:
                self.transport.abort()
            else:
                self.transport.close()

    @property
    def _other(self) -> "End":
        return self._pair.far if self is self._pair.near else self._pair.near
