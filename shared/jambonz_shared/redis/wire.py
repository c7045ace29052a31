"""One connection to Redis, opened by redis-py and then read and written by ourselves.

redis-py knows URLs, TLS, AUTH and SELECT; once its connection is ready we put our own protocol on its transport. That
is several times cheaper than its own reader (docs/benchmarks: 2 us of CPU per command against 10 in a pipeline).
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeAlias, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from jambonz_shared.redis.endpoint import CONNECT_LIMIT_S, Endpoint
from jambonz_shared.redis.errors import LinkError, ResponseError, WireLost, code_of
from jambonz_shared.runtime.backoff import Backoff
from jambonz_shared.runtime.rhythm import until_next_s

log = logging.getLogger(__name__)

# What RESP2 can say. Errors inside arrays are instances as well.
Reply: TypeAlias = bytes | int | list[Any] | Exception | None

# hiredis.Reader.gets returns this while a reply is incomplete; RESP2 has no booleans, so it is never a reply.
INCOMPLETE: Final = False

# Silence is counted in ticks, not in seconds: after our own process was stopped for a while the first tick finds
# the replies unread, and they must get their chance before the connection is given up.
TICK_S: Final = 0.25
SILENT_TICKS_LIMIT: Final = 6

# A restarted Redis is found within a second, and a hundred processes do not try it more than once a second each.
# One that lived a quarter of a second was no failure to connect: a worker whose subscription is cut again and again
# must be back before its neighbours take it for dead, which is after four polls of 25 ms (ADR 0006).
RECONNECT: Final = Backoff(first_s=0.02, most_s=1.0, healthy_s=0.25)

# How long what was written may take on its way when a connection is closed, and the peer's farewell that TLS waits for.
CLOSE_LIMIT_S: Final = 0.5

# One line for each of its reasons, and about one a minute: a long failure must not fill the disk.
FAILURES_PER_LINE: Final = 60

_NO_REDIS: Final = "bytes that are not the Redis protocol"

# Weather: everything else that is raised while connecting or serving is a bug and ends the task.
WEATHER: Final = (RedisError, ResponseError, LinkError, WireLost, OSError, TimeoutError)


class Wire(asyncio.Protocol):
    """An open connection. ``on_data`` is called with the parser whenever bytes have come.

    Attributes:
        silent_ticks: Ticks since the last bytes; whoever watches the connection counts it up.
    """

    def __init__(self, on_data: Callable[[hiredis.Reader], None]) -> None:
        self.silent_ticks = 0
        self._on_data = on_data
        self._reader = hiredis.Reader(replyError=ResponseError)
        loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[str] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._on_lost: Callable[[], None] | None = None

    def take_over(self, connection: AbstractConnection) -> None:
        """Put this protocol on an open redis-py connection, which then no longer knows of it.

        Raises:
            WireLost: If the connection has ended already.
        """
        # redis-py has no public way to hand over its transport (8.1, asyncio/connection.py). Without its
        # reader and writer the object is a closed connection: it neither warns nor closes anything at its end.
        reader, writer = connection._reader, connection._writer  # noqa: SLF001
        connection._reader = connection._writer = None  # noqa: SLF001
        if reader is None or writer is None:
            raise WireLost("closed after the handshake")
        transport = cast("asyncio.Transport", writer.transport)
        transport.set_protocol(self)
        self._transport = transport
        # Kept only because a StreamWriter closes its transport when it is collected (Python 3.11.4, streams.py).
        self._writer = writer
        # At the end of input a StreamReaderProtocol keeps its half of the connection open, and nobody is told again.
        if reader.at_eof() or transport.is_closing():
            self.drop("closed after the handshake")
            raise WireLost("closed after the handshake")

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, for writing."""
        assert self._transport is not None, "take_over comes first"
        return self._transport

    def on_lost(self, listener: Callable[[], None]) -> None:
        """Call the listener once, at once, when the connection ends. Never from inside ``on_data``."""
        self._on_lost = listener

    def drop(self, reason: str) -> None:
        """End the connection now, whatever is in flight. Not to be called from inside ``on_data``."""
        self._end(reason)
        self.transport.abort()

    def close(self) -> None:
        """End the connection after what was written has been sent."""
        self._end("closed by us")
        self.transport.close()

    async def close_and_wait(self) -> None:
        """End the connection after what was written has been sent, at the latest after ``CLOSE_LIMIT_S``.

        Its socket is closed then. When cancelled, it will be a little later.
        """
        self.close()
        await asyncio.wait((self._ended,), timeout=CLOSE_LIMIT_S)
        if not self._ended.done():
            self.transport.abort()
            await asyncio.wait((self._ended,), timeout=CLOSE_LIMIT_S)

    async def lost_within(self, limit_s: float) -> bool:
        """Wait until the connection ends, or the time is over; return whether it has ended."""
        await asyncio.wait((self._lost,), timeout=limit_s)
        return self._lost.done()

    def must_stand(self) -> None:
        """Ask before the connection is said to be up: its end may come in one step of the loop with the last reply.

        Raises:
            WireLost: If it has ended.
        """
        if self._lost.done():
            raise WireLost(self._lost.result())

    async def watch(self, on_tick: Callable[[], None]) -> NoReturn:
        """Call ``on_tick`` every ``TICK_S`` for as long as the connection lives.

        The connections of a process tick together, and with its heartbeat, so that an idle one is woken once for all.

        Raises:
            WireLost: When it has ended. There is no other way out but cancellation.
        """
        while not await self.lost_within(until_next_s(self._lost.get_loop().time(), TICK_S)):
            on_tick()
        raise WireLost(self._lost.result())

    def count_silence(self, limit: int = SILENT_TICKS_LIMIT) -> None:
        """Note one more tick without bytes; drop the connection if it is one too many."""
        self.silent_ticks += 1
        if self.silent_ticks > limit:
            self.drop("no reply")

    def data_received(self, data: bytes) -> None:
        """Parse and hand on; called by the transport."""
        self.silent_ticks = 0
        self._reader.feed(data)
        try:
            self._on_data(self._reader)
        except hiredis.ProtocolError:
            self.drop(_NO_REDIS)

    def eof_received(self) -> bool:
        """Let the transport close itself; called by the transport."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; called by the transport."""
        self._end("closed by Redis" if exc is None else reason_of(exc))
        self._ended.set_result(None)

    def _end(self, reason: str) -> None:
        if self._lost.done():
            return
        self._lost.set_result(reason)
        if self._on_lost is not None:
            self._on_lost()


async def keep_connected(
    endpoint: Endpoint,
    name: str,
    on_data: Callable[[hiredis.Reader], None],
    serve: Callable[[Wire], Awaitable[NoReturn]],
    on_failure: Callable[[Exception], object] = lambda _: None,
) -> NoReturn:
    """Connect and ``serve``, again and again until cancelled; pauses grow from 20 ms to 1 s.

    ``serve`` never returns: it raises when the connection is lost, as ``Wire.watch`` does. Each time ``on_failure``
    gets the error. Cancelling closes the connection after what was written, and waits for that, ``CLOSE_LIMIT_S`` at
    most.
    """
    loop = asyncio.get_running_loop()
    failures, trouble = 0, _Trouble()
    while True:
        began_s = loop.time()
        opened_s: float | None = None
        try:
            connection = await _connected(endpoint)
            opened_s = loop.time()
            await _served(connection, on_data, serve)
        except WEATHER as error:
            now_s = loop.time()
            lived_s = 0.0 if opened_s is None else now_s - opened_s
            failures = RECONNECT.failures_after(failures, lived_s)
            # It was in use and has ended. A server that only takes its time to refuse (LOADING) is the old trouble.
            if isinstance(error, WireLost) and lived_s >= RECONNECT.healthy_s:
                trouble = _Trouble()
            # Jitter: processes that lost the same Redis must not all come back in the same millisecond.
            jitter = random.uniform(0.5, 1.0)  # noqa: S311
            # Time that was spent on trying has been waited already.
            tried_s = now_s - began_s if opened_s is None else 0.0
            pause_s = max(RECONNECT.first_s, RECONNECT.pause_s(failures) - tried_s) * jitter
            on_failure(error)
            reason = reason_of(error)
            if trouble.is_worth_a_line(reason):
                extra = {"connection": name, "redis": endpoint.name, "reason": reason, "failures": trouble.failures}
                log.warning("redis connection lost", extra=extra)
            await asyncio.sleep(pause_s)


class _Trouble:
    """Failures to connect, one after the other, and which of their reasons have been told.

    Attributes:
        failures: So many.
    """

    def __init__(self) -> None:
        self.failures = 0
        self._told: set[str] = set()

    def is_worth_a_line(self, reason: str) -> bool:
        """Count a failure; return whether to tell it: each reason once, since two may take turns; all now and then."""
        self.failures += 1
        is_news = reason not in self._told
        self._told.add(reason)
        return is_news or self.failures % FAILURES_PER_LINE == 0


async def _served(
    connection: AbstractConnection,
    on_data: Callable[[hiredis.Reader], None],
    serve: Callable[[Wire], Awaitable[NoReturn]],
) -> NoReturn:
    wire = Wire(on_data)
    wire.take_over(connection)
    try:
        await serve(wire)
    finally:
        # A loop that ends before a transport does drops what that has not sent, and leaves the socket to the collector.
        await wire.close_and_wait()


async def _connected(endpoint: Endpoint) -> AbstractConnection:
    """Return an open connection; leave none behind when there is no time for it, or when cancelled.

    A task of its own: libraries below may swallow a cancellation, which must not keep a process from ending.
    """
    opening = asyncio.ensure_future(endpoint.connect())
    try:
        await asyncio.wait((opening,), timeout=CONNECT_LIMIT_S)
    except asyncio.CancelledError:
        _give_up(opening)
        raise
    if not opening.done():
        _give_up(opening)
        raise TimeoutError
    return opening.result()


def _give_up(opening: "asyncio.Future[AbstractConnection]") -> None:
    # It may be done already, at the same moment as we were cancelled; then the callback comes all the same.
    opening.cancel()
    opening.add_done_callback(_close_late)


def _close_late(opening: "asyncio.Future[AbstractConnection]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        wire = Wire(lambda _: None)
        with suppress(WireLost):
            wire.take_over(opening.result())
            wire.close()


def reason_of(error: BaseException, limit_s: float | None = None) -> str:
    """Return in a few words why a connection is not there, or not any more; no words of Redis but its code.

    ``limit_s`` is the time it had, ``CONNECT_LIMIT_S`` if it is not given.
    """
    if code := code_of(error):
        return code
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer within {limit_s or CONNECT_LIMIT_S:g} s"
    if isinstance(error, InvalidResponse):
        return _NO_REDIS
    if isinstance(error, WireLost | OSError | RedisTimeoutError) or type(error) is RedisConnectionError:
        # "Connect call failed", "Name or service not known": what an operator has to know.
        return str(error) or type(error).__name__
    # Other classes carry Redis' own words, which may repeat a password (``ResponseError.code``).
    return type(error).__name__
