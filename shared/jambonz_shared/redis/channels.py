"""Pub/sub: one connection, any number of channels, each with its own plain callback."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import ClassVar, Final, NoReturn

import hiredis

from jambonz_shared.redis.command import pack_command
from jambonz_shared.redis.endpoint import Endpoint
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.wire import INCOMPLETE, TICK_S, Reply, Wire, keep_connected

log = logging.getLogger(__name__)

OnMessage = Callable[[bytes], object]
OnReady = Callable[[], object]

# A connection can be dead without an error: a proxy or a NAT that has forgotten it, a server that has. A message of
# our own every second shows that messages come through; two seconds are two of them, or a Redis fail-over.
CANARY_TICKS: Final = round(1.0 / TICK_S)
CANARY_LATE_TICKS: Final = round(2.0 / TICK_S)

# Redis handles a command at one go: thousands of channels after a reconnect must not stall everybody else.
CHANNELS_PER_COMMAND: Final = 1000


class Channels:
    """Subscriptions, kept up by ``run``. Make it inside the running loop.

    Messages may be lost while the connection is down, which nobody can see but from the log of what was said:
    ``on_resubscribed`` is called once after each reconnect, when all channels are subscribed again. Handlers may
    subscribe and unsubscribe. One that raises is logged and told the ``link``, and stops nobody else.

    Attributes:
        is_up: Whether the connection stands; False also before the first.
        connects: Times the connection came up.
    """

    # The words of plain channels; a Redis Cluster has others (cluster/channels.py).
    _SUBSCRIBE: ClassVar = b"SUBSCRIBE"
    _UNSUBSCRIBE: ClassVar = b"UNSUBSCRIBE"
    _PUBLISH: ClassVar = b"PUBLISH"
    _MESSAGE: ClassVar = b"message"
    _per_command: ClassVar = CHANNELS_PER_COMMAND

    def __init__(
        self,
        endpoint: Endpoint,
        link: Link,
        canary: str,
        on_resubscribed: Callable[[], object] | None = None,
        *,
        name: str = "channels",
    ) -> None:
        """Publish the canary on the ``link``, into the channel ``canary``, which nobody else may use."""
        self.is_up = False
        self.connects = 0
        self._endpoint = endpoint
        self._link = link
        self._on_resubscribed = on_resubscribed
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._handlers: dict[bytes, OnMessage] = {}
        self._ready: dict[bytes, OnReady] = {}
        # Channel -> whether it is wanted: the last word of this loop tick.
        self._pending: dict[bytes, bool] = {}
        # Channel -> commands that Redis has not confirmed. Only the last confirmation tells how things are.
        self._unconfirmed: dict[bytes, int] = {}
        self._is_resubscribing = False
        self._canary = canary.encode()
        self._canary_ticks = 0
        self._canary_sent = 0
        self._canary_seen = 0
        self._canary_late_ticks = 0

    async def run(self) -> None:
        """Keep the subscriptions up until cancelled; reconnects by itself."""
        await keep_connected(self._endpoint, self._name, self._on_data, self._serve)

    def subscribe(self, channel: bytes, on_message: OnMessage, on_ready: OnReady | None = None) -> None:
        """Hand each message of the channel to ``on_message``; a channel has one handler, the last one given.

        ``on_ready`` is called once, when Redis has confirmed the subscription: from then on messages come.
        """
        self._handlers[channel] = on_message
        if on_ready is None:
            self._ready.pop(channel, None)
        else:
            self._ready[channel] = on_ready
        self._want(channel, is_wanted=True)

    def unsubscribe(self, channel: bytes) -> None:
        """Hand on no more messages of the channel, from now on."""
        if self._handlers.pop(channel, None) is None:
            return
        self._ready.pop(channel, None)
        self._want(channel, is_wanted=False)

    def _want(self, channel: bytes, *, is_wanted: bool) -> None:
        # While the connection is down nothing is noted: the next one subscribes to all that has a handler.
        if self._wire is None:
            return
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending[channel] = is_wanted

    def _flush(self) -> None:
        wire, pending = self._wire, self._pending
        if wire is None or not pending:
            return
        self._pending = {}
        self._write(wire, self._SUBSCRIBE, [channel for channel, is_wanted in pending.items() if is_wanted])
        self._write(wire, self._UNSUBSCRIBE, [channel for channel, is_wanted in pending.items() if not is_wanted])

    def _write(self, wire: Wire, command: bytes, channels: Iterable[bytes]) -> None:
        for some in _slices(channels, self._per_command):
            for channel in some:
                self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
            wire.transport.write(pack_command((command, *some)))

    def _on_data(self, reader: hiredis.Reader) -> None:
        gets = reader.gets
        handlers = self._handlers
        message = self._MESSAGE
        while (reply := gets()) is not INCOMPLETE:
            if isinstance(reply, list) and reply[0] == message:
                on_message = handlers.get(reply[1])
                # None: unsubscribed, and Redis did not know it yet.
                if on_message is None:
                    continue
                try:
                    on_message(reply[2])
                except Exception:  # noqa: BLE001 one handler's fault must not silence a whole gateway
                    self._callback_failed()
            else:
                self._on_other(reply)

    def _on_other(self, reply: Reply) -> None:
        match reply:
            case [b"subscribe" | b"unsubscribe" | b"ssubscribe" | b"sunsubscribe", bytes(channel), int()]:
                self._confirmed(channel)
            case Exception():
                assert self._wire is not None
                self._loop.call_soon(self._wire.drop, f"subscription refused: {getattr(reply, 'code', '')}")
            case _:
                log.warning("unexpected message on a pub/sub connection", extra={"connection": self._name})

    def _confirmed(self, channel: bytes) -> None:
        left = self._unconfirmed.get(channel, 1) - 1
        if left > 0:
            self._unconfirmed[channel] = left
            return
        self._unconfirmed.pop(channel, None)
        # With a word pending, an unsubscribe may be on its way: the confirmation of that one counts.
        on_ready = None if channel in self._pending else self._ready.pop(channel, None)
        if on_ready is not None:
            self._call(on_ready)
        if self._is_resubscribing and not self._unconfirmed:
            self._is_resubscribing = False
            self._resubscribed()

    def _resubscribed(self) -> None:
        self.is_up = True
        self.connects += 1
        if self.connects > 1:
            log.info("channels subscribed again", extra={"connection": self._name, "channels": len(self._handlers)})
            if self._on_resubscribed is not None:
                self._call(self._on_resubscribed)

    def _call(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001 as in _on_data
            self._callback_failed()

    def _callback_failed(self) -> None:
        # Called from an except clause. The traceback shows code, never the payload, which may hold speech of callers.
        self._link.on_failure()
        log.exception("handler of a pub/sub message failed", extra={"connection": self._name})  # noqa: LOG004

    async def _serve(self, wire: Wire) -> NoReturn:
        self._wire = wire
        self._unconfirmed = {}
        self._pending = {}
        self._canary_late_ticks = 0
        self._canary_seen = self._canary_sent
        self._handlers[self._canary] = self._canary_came
        wire.on_lost(self._wire_lost)
        self._is_resubscribing = True
        self._write(wire, self._SUBSCRIBE, self._handlers)
        await wire.watch(self._tick)

    def _wire_lost(self) -> None:
        self._wire = None
        self.is_up = False

    def _tick(self) -> None:
        assert self._wire is not None
        if self._canary_seen < self._canary_sent or self._is_resubscribing:
            self._canary_late_ticks += 1
            if self._canary_late_ticks > CANARY_LATE_TICKS:
                self._wire.drop("messages do not come through")
                return
        else:
            self._canary_late_ticks = 0
        self._canary_ticks += 1
        if self._canary_ticks >= CANARY_TICKS and self._link.is_up:
            self._canary_ticks = 0
            self._link.send(self._canary_published, self._PUBLISH, self._canary, self._canary_sent + 1)

    def _canary_published(self, reply: Reply) -> None:
        # Only a canary that Redis has taken is waited for; the Link's troubles are not ours.
        if isinstance(reply, int):
            self._canary_sent += 1

    def _canary_came(self, payload: bytes) -> None:
        self._canary_seen = int(payload)


def _slices(channels: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    iterator = iter(channels)
    while some := list(islice(iterator, size)):
        yield some
