"""The hot path to Redis: the commands of a loop tick are gathered and written together, any number in flight."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NoReturn, TypeAlias

import hiredis

from jambonz_shared.redis import script as lua
from jambonz_shared.redis.command import Argument, pack_command, pack_script
from jambonz_shared.redis.endpoint import CONNECT_LIMIT_S, Endpoint
from jambonz_shared.redis.errors import LinkDown, LinkError, LinkFull, ResponseError, WireLost, code_of
from jambonz_shared.redis.script import Script
from jambonz_shared.redis.wire import FAILURES_PER_LINE, INCOMPLETE, Reply, Wire, keep_connected

log = logging.getLogger(__name__)

OnReply: TypeAlias = Callable[[Reply], object]

# While Redis is stalled at most this much is held for it; the watchdog gives the connection up after 1.5 s anyway,
# and 32 MiB are more than a second of the fastest gateway measured (docs/benchmarks).
LIMIT_BYTES: Final = 32 * 1024 * 1024

# A Redis that has lost its last second learns within this time from gateways and owners what it has forgotten: they are
# back a second after it at most (redis.wire), and so are slow ones.
_YOUNG_S: Final = 10.0

# Times it comes up young that are told each; then about one a minute, as for failures.
_FLAPS_TOLD: Final = 5

# Below zero, so that every command is over it: one comparison in the hot path tells both "down" and "full".
_NO_ROOM: Final = -1

# What is gathered goes out at the end of the loop tick, or when it is this much: a tick may handle hundreds of events,
# and Redis and those it tells should not stand still meanwhile (docs/benchmarks/2026-11-21-hot-path.md).
_GATHERED_MAX: Final = 64

_PING: Final = pack_command((b"PING",))


class Link:
    """A connection to Redis for commands, kept up by ``run``. Make it inside the running loop.

    Replies and failures alike go to plain callbacks, in the order of the commands: the reply value, or an instance of
    ``ResponseError`` (Redis refused the command), ``LinkDown`` or ``LinkFull`` (no reply; see ``sent``). A callback
    is never called from inside ``send``. One that raises is logged and told, and stops nobody else. No blocking
    commands, please: they would hold up everybody, and after 1.5 s the connection is given up.

    Attributes:
        is_up: Whether commands are taken now.
        last_reply_at_s: Loop time of the last bytes from Redis; minus infinity before the first. Redis is asked
            every 0.25 s when nothing else is.
        on_failure: Called when a callback has raised, of this link or of channels and readers beside it, to be counted.
            Set it before ``run``.
        connects: Times the link came up.
        refusal: The word with which Redis has refused the newest try to come up, such as ``NOAUTH``, or for which the
            link went down (``READONLY``); empty once it is up, and if Redis was not reached.
        linger_s: Least time between two writes: while many commands come, they wait so long for others (64), which
            spares wake-ups of both sides; one that comes after a pause does not. Whole milliseconds; 0 never waits.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        name: str = "link",
        scripts: Sequence[Script] = lua.ALL,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self.is_up = False
        self.last_reply_at_s = float("-inf")
        self.on_failure: Callable[[], object] = _nobody_counts
        self.connects = 0
        self.refusal = ""
        self._up_at_s = float("-inf")
        self._flaps = 0
        self.linger_s = 0.0
        self._flushed_at_s = float("-inf")
        self._endpoint = endpoint
        self._name = name
        self._scripts = scripts
        self._limit_bytes = limit_bytes
        self._room_bytes = _NO_ROOM
        self._buffered_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        # Callbacks in the order of the commands; of a script (callback, script, packed), so that it can be repeated.
        self._waiting: deque[OnReply | tuple[OnReply, Script, bytes]] = deque()
        self._up_listeners: list[Callable[[], object]] = []
        self._down_listeners: list[Callable[[], object]] = []
        self._up_event = asyncio.Event()

    async def run(self) -> None:
        """Keep the link up until cancelled; reconnects by itself.

        When cancelled, what was sent is written out, and every command without a reply gets ``LinkDown``.
        """
        await keep_connected(self._endpoint, self._name, self._on_data, self._serve, self._not_up)

    async def wait_up(self) -> None:
        """Return as soon as the link is up."""
        await self._up_event.wait()

    def on_up(self, listener: Callable[[], object]) -> None:
        """Call the listener each time the link has come up."""
        self._up_listeners.append(listener)

    def on_down(self, listener: Callable[[], object]) -> None:
        """Call the listener each time the link has gone down, after the callbacks of lost commands."""
        self._down_listeners.append(listener)

    @property
    def is_young(self) -> bool:
        """True for 10 s after the link has come up: Redis may have lost its last second, and not know of it yet."""
        return self._loop.time() - self._up_at_s < _YOUNG_S

    @property
    def in_flight(self) -> int:
        """Commands whose reply has not come yet."""
        return len(self._waiting)

    @property
    def nodes(self) -> "Sequence[Link]":
        """The links to single servers that this one is made of; itself, unless it is one to a Redis Cluster."""
        return (self,)

    def node_of(self, key: str) -> "Link":
        """Return the link to the server that has a key, for what is to be said to that server."""
        del key
        return self

    def send(self, on_reply: OnReply, *args: Argument) -> None:
        """Send a command with the others of this loop tick; the callback gets what became of it.

        Raises:
            TypeError: If an argument is none of bytes, str, int, float. Nothing was sent.
        """
        self._enqueue(on_reply, pack_command(args))

    def script(self, on_reply: OnReply, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> None:
        """Run a script; otherwise as ``send``.

        If Redis has forgotten the script (SCRIPT FLUSH), it is loaded and the command repeated, behind those sent
        in the meantime; the order of the repeated ones among themselves stays.
        """
        packed = pack_script(script.sha, keys, args)
        self._enqueue((on_reply, script, packed), packed)

    def call(self, *args: Argument) -> "asyncio.Future[Reply]":
        """Send a command and return its reply to be awaited.

        Awaiting raises ``ResponseError``, ``LinkDown`` or ``LinkFull``. Cancelling forgets the reply, not the command.
        """
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.send(partial(_settle, future), *args)
        return future

    def script_call(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> "asyncio.Future[Reply]":
        """Run a script and return its reply to be awaited; otherwise as ``call``."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.script(partial(_settle, future), script, keys, args)
        return future

    # The hot path: send -> _enqueue, _flush at the end of the tick or when it is much; _on_data -> callbacks.

    def _enqueue(self, waiting: OnReply | tuple[OnReply, Script, bytes], packed: bytes) -> None:
        buffered_bytes = self._buffered_bytes + len(packed)
        if buffered_bytes > self._room_bytes and not self._has_room(len(packed)):
            self._refuse(waiting, len(packed))
            return
        self._buffered_bytes = buffered_bytes
        out = self._out
        if not out:
            self._flush_soon()
        out.append(packed)
        self._waiting.append(waiting)
        if len(out) >= _GATHERED_MAX:
            self._flush()

    def _flush_soon(self) -> None:
        due_s = self._flushed_at_s + self.linger_s
        # The second question only if there is something to gain by it.
        if self.linger_s and due_s > self._loop.time():
            self._loop.call_at(due_s, self._flush)
        else:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        out = self._out
        transport = self._transport
        # Empty if the connection was lost between the command and this call.
        if not out or transport is None:
            return
        self._out = []
        self._flushed_at_s = self._loop.time()
        transport.write(b"".join(out))
        self._buffered_bytes = transport.get_write_buffer_size()

    def _on_data(self, reader: hiredis.Reader) -> None:
        self.last_reply_at_s = self._loop.time()
        gets = reader.gets
        popleft = self._waiting.popleft
        while (reply := gets()) is not INCOMPLETE:
            waiting = popleft()
            if reply.__class__ is ResponseError and self._is_answered_here(waiting, reply):
                continue
            on_reply = waiting[0] if isinstance(waiting, tuple) else waiting
            try:
                on_reply(reply)
            except Exception:  # noqa: BLE001 a callback's fault must not cost the others their replies
                self._callback_failed()

    # Off the hot path.

    def _has_room(self, size_bytes: int) -> bool:
        """Count again: the transport sends on its own, and nobody tells us."""
        if self._room_bytes == _NO_ROOM or self._transport is None:
            return False
        gathered_bytes = sum(map(len, self._out))
        self._buffered_bytes = gathered_bytes + self._transport.get_write_buffer_size()
        return self._buffered_bytes + size_bytes <= self._room_bytes

    def _refuse(self, waiting: OnReply | tuple[OnReply, Script, bytes], size_bytes: int) -> None:
        error: LinkError = LinkDown(sent=False)
        if self.is_up:
            error = LinkFull(self._buffered_bytes + size_bytes, self._limit_bytes)
        self._loop.call_soon(self._deliver, waiting, error)

    def _deliver(self, waiting: OnReply | tuple[OnReply, Script, bytes], reply: Reply) -> None:
        on_reply = waiting[0] if isinstance(waiting, tuple) else waiting
        try:
            on_reply(reply)
        except Exception:  # noqa: BLE001 as in _on_data
            self._callback_failed()

    def _callback_failed(self) -> None:
        self.on_failure()
        # Called from an except clause. The traceback shows code, never the reply.
        log.exception("callback of a redis reply failed", extra={"connection": self._name})  # noqa: LOG004

    def _is_answered_here(self, waiting: OnReply | tuple[OnReply, Script, bytes], error: ResponseError) -> bool:
        """Load and repeat an unknown script; leave a server that has become a replica."""
        if error.code == "NOSCRIPT" and isinstance(waiting, tuple):
            _, script, packed = waiting
            self._enqueue(self._ignore, _load_command(script))
            self._enqueue(waiting, packed)
            return True
        if error.code == "READONLY" and self._wire is not None:
            # A fail-over has made this server a replica: a new connection may reach the new primary.
            self.refusal = error.code
            self._loop.call_soon(self._wire.drop, "the server has become a replica")
        return False

    def _ignore(self, reply: Reply) -> None:
        if isinstance(reply, ResponseError):
            log.warning("redis refused a command of the link", extra={"connection": self._name, "code": reply.code})

    # The life of a connection.

    async def _serve(self, wire: Wire) -> NoReturn:
        self._wire = wire
        self._transport = wire.transport
        wire.on_lost(self._wire_lost)
        async with asyncio.timeout(CONNECT_LIMIT_S):
            await self._load_scripts(wire.transport)
        wire.must_stand()
        self._room_bytes = self._limit_bytes
        self._flaps = self._flaps + 1 if self.is_young else 0
        self.is_up = True
        self.refusal = ""
        self._up_at_s = self._loop.time()
        self.connects += 1
        self._up_event.set()
        # A replica takes connections and refuses what is written, again and again.
        if self._flaps < _FLAPS_TOLD or self._flaps % FAILURES_PER_LINE == 0:
            log.info("redis link is up", extra={"connection": self._name, "connects": self.connects})
        self._tell(self._up_listeners)
        try:
            await wire.watch(self._tick)
        finally:
            self._flush()

    def _not_up(self, error: Exception) -> None:
        if not isinstance(error, WireLost):
            self.refusal = code_of(error)

    async def _load_scripts(self, transport: asyncio.Transport) -> None:
        # PING even if there are no scripts: a server that still loads its data answers LOADING, and is no use yet.
        commands = [_PING, *(_load_command(script) for script in self._scripts)]
        replies: list[asyncio.Future[Reply]] = [self._loop.create_future() for _ in commands]
        self._waiting.extend(partial(_settle, reply) for reply in replies)
        transport.write(b"".join(commands))
        await asyncio.gather(*replies)

    def _tick(self) -> None:
        assert self._wire is not None
        # Only into silence: a Redis that has just spoken is there.
        if not self._waiting and self._wire.silent_ticks:
            self._enqueue(self._ignore, _PING)
        self._wire.count_silence()

    def _wire_lost(self) -> None:
        was_up, self.is_up = self.is_up, False
        self._up_event.clear()
        self._room_bytes = _NO_ROOM
        self._buffered_bytes = 0
        self._wire = self._transport = None
        waiting, self._waiting = self._waiting, deque()
        unsent, self._out = len(self._out), []
        sent = len(waiting) - unsent
        for position, entry in enumerate(waiting):
            self._deliver(entry, LinkDown(sent=position < sent))
        if was_up:
            self._tell(self._down_listeners)

    def _tell(self, listeners: Sequence[Callable[[], object]]) -> None:
        for listener in listeners:
            try:
                listener()
            except Exception:  # noqa: BLE001 as in _on_data
                self._callback_failed()


def _load_command(script: Script) -> bytes:
    return pack_command((b"SCRIPT", b"LOAD", script.source))


def _nobody_counts() -> None:
    """A command line has no metrics."""


def _settle(future: "asyncio.Future[Reply]", reply: Reply) -> None:
    if future.done():
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)
