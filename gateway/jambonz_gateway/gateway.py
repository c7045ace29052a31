"""One gateway process: its connections, its apps, and the carrying out of every effect."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from websockets.http11 import Request

from jambonz_gateway.apps import ANY_PATH, Apps, KnownApp, read_manifest
from jambonz_gateway.connection import Connection, Cut
from jambonz_gateway.downlink import Downlink, Identity
from jambonz_gateway.effects import (
    Attach,
    CloseSocket,
    Count,
    Delivered,
    Detach,
    Effect,
    Forget,
    MarkAcked,
    Publish,
    ReadLog,
    Report,
    Send,
)
from jambonz_gateway.handshake import HEADERS, Answer, Credentials, UnknownPath, Welcome, decide, not_found
from jambonz_gateway.leftovers import Leftovers
from jambonz_gateway.metrics import Metrics
from jambonz_gateway.policy import SessionPolicy
from jambonz_gateway.session import Session
from jambonz_gateway.uplink import Uplink
from jambonz_gateway.wheel import Wheel
from jambonz_shared.config import GatewaySettings
from jambonz_shared.errors import BadFormat
from jambonz_shared.redis.channels import Channels
from jambonz_shared.redis.errors import LinkError, ResponseError
from jambonz_shared.redis.link import Link

log = logging.getLogger(__name__)

# The handshake must be answered in 1.5 s (PROTOCOL.md 1.1); newer manifests are waited for this long.
_MANIFEST_LIMIT_S: Final = 0.5


class Gateway:
    """The switchboard of a process. ``link`` and ``channels`` are run by the composition root.

    Attributes:
        identity: Who this process is in Redis.
        metrics: What it counts.
        wheel: The timer of all connections.
        apps: The manifests known now.
        connections: Sockets that are open, handshakes included.
        sessions: Connections whose Session has not finished, those with a closed socket included.
        is_draining: No new calls are wanted.
    """

    def __init__(self, settings: GatewaySettings, identity: Identity, link: Link, channels: Channels) -> None:
        loop = asyncio.get_running_loop()
        self.identity: Final = identity
        self.metrics: Final = Metrics()
        self.wheel = Wheel(loop, on_error=self._timer_failed)
        self.ping_interval_s = settings.ping_interval_s
        self.max_event_bytes = settings.max_event_bytes
        self.max_call_event_rate = settings.max_call_event_rate
        self.uplink: Final = Uplink(link, identity.keys, self.metrics, limit_bytes=settings.max_held_bytes)
        self.downlink: Final = Downlink(link, channels, self.metrics, identity)
        self._leftovers: Final = Leftovers(link, identity, self.downlink.epochs_of)
        self.apps = Apps()
        self.connections: Final[set[Connection]] = set()
        self.sessions: Final[set[Connection]] = set()
        self.is_draining = False
        self.on_gone: Callable[[], None] = _nothing
        self._link: Final = link
        self._loop: Final = loop
        self._credentials: Final = _credentials(settings)
        self._policy: Final = SessionPolicy(
            max_held_bytes=settings.max_held_call_bytes, ack_deadline_s=settings.ack_deadline_s
        )
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._perform: Final[dict[type[Any], Callable[[Connection, Any], None]]] = {
            Send: self._send,
            CloseSocket: self._close_socket,
            Publish: lambda connection, effect: self.uplink.publish(connection, effect.worker_id, effect.envelope),
            Attach: self.downlink.attach,
            ReadLog: self.downlink.read_log,
            Delivered: lambda _, effect: self.downlink.delivered(effect.call_sid, effect.seq),
            MarkAcked: lambda _, effect: self.downlink.mark_acked(effect.call_sid),
            Report: lambda _, effect: self.downlink.report(effect),
            Detach: self.downlink.detach,
            Forget: self._forget,
            Count: self._count,
        }
        link.on_up(self._link_up)

    def connection(self) -> Connection:
        """Return the protocol of a socket that has just been accepted."""
        connection = Connection(self, self._loop)
        self.connections.add(connection)
        return connection

    # What a Connection asks for (connection.Switchboard).

    def requested(self, connection: Connection, request: Request) -> None:
        """Decide on an HTTP request; an unknown path waits for newer manifests first."""
        decision = self._decide(request, self.apps)
        if isinstance(decision, UnknownPath):
            task = self._loop.create_task(self._decide_again(connection, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._carry_out(connection, request, decision)

    def opened(self, connection: Connection, welcome: Welcome) -> Session:
        """Give the Connection its Session."""
        self.sessions.add(connection)
        return Session(
            self.identity.gateway_id,
            now_s=self._loop.time(),
            policy=self._policy,
            fallbacks=welcome.app.fallbacks,
            call_sid=welcome.call_sid,
        )

    def perform(self, connection: Connection, effects: list[Effect]) -> None:
        """Carry out effects in order."""
        perform = self._perform
        for effect in effects:
            perform[effect.__class__](connection, effect)

    def heard(self, connection: Connection) -> None:
        """Count a message."""
        del connection
        self.metrics.events += 1

    def throttled(self, connection: Connection) -> None:
        """Count and log a call that floods."""
        self.metrics.throttled += 1
        call_sid = connection.session.primary if connection.session else ""
        log.warning("call throttled: too many messages", extra={"call_sid": call_sid})

    def gone(self, connection: Connection, code: int | None) -> None:
        """Forget a socket; its Session stays until Redis has taken what is left."""
        self.connections.discard(connection)
        if code is not None:
            self.metrics.closes[code] += 1
        self._drop_if_finished(connection)
        self.on_gone()

    def cut(self, connection: Connection, why: Cut) -> None:
        """Count a peer that is cut off."""
        if why is Cut.SLOW:
            self.metrics.slow_sockets += 1
        else:
            self.metrics.silent_sockets += 1
        call_sid = connection.session.primary if connection.session else ""
        log.warning("socket cut", extra={"call_sid": call_sid, "why": why.value})

    def failed(self, connection: Connection, error: Exception) -> None:
        """Log an error of our own with its traceback; the payload is not in it."""
        self.metrics.failures += 1
        call_sid = connection.session.primary if connection.session else ""
        log.error("connection failed", exc_info=error, extra={"call_sid": call_sid})

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return time.time_ns() // 1_000_000

    # What the composition root asks for.

    async def refresh_apps(self) -> None:
        """Read all manifests from Redis; the last known ones stay if it is away."""
        keys = self.identity.keys
        try:
            names = await self._link.call(b"SMEMBERS", keys.apps)
            assert isinstance(names, list)
            raws = await self._link.call(b"MGET", *(keys.app(name.decode()) for name in names)) if names else []
        except (LinkError, ResponseError):
            return
        assert isinstance(raws, list)
        # One that cannot be read, by a worker of a newer version perhaps, leaves its app as it was.
        read = ((name.decode(), self._read(raw)) for name, raw in zip(names, raws, strict=True) if raw is not None)
        known = [app or self.apps.named(name) for name, app in read if app or name in self.apps]
        if known:
            self.apps = Apps(known)
            for connection in self.sessions:
                if connection.session and connection.app_name in self.apps:
                    connection.session.fallbacks = self.apps.named(connection.app_name).fallbacks

    @property
    def calls(self) -> int:
        """Connections that carry a call."""
        return sum(1 for connection in self.sessions if connection in self.connections)

    def held_bytes(self) -> int:
        """Return the bytes of events that wait for an owner."""
        return sum(connection.session.held_bytes for connection in self.sessions if connection.session)

    def owed_acks(self) -> int:
        """Return how many hooks jambonz waits for."""
        return sum(connection.session.owed_count for connection in self.sessions if connection.session)

    # Inside.

    def _decide(self, request: Request, apps: Apps) -> Welcome | Answer | UnknownPath:
        # A header that comes several times is one list (RFC 9110 5.3).
        headers = {name: ", ".join(request.headers.get_all(name)) for name in HEADERS}
        return decide(request.method, request.path, headers, apps=apps, credentials=self._credentials)

    async def _decide_again(self, connection: Connection, request: Request) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MANIFEST_LIMIT_S):
                await self.refresh_apps()
        decision = self._decide(request, self.apps or ANY_PATH)
        self._carry_out(
            connection, request, not_found(decision.path) if isinstance(decision, UnknownPath) else decision
        )

    def _carry_out(self, connection: Connection, request: Request, decision: Welcome | Answer) -> None:
        if isinstance(decision, Welcome):
            self.metrics.handshakes[connection.welcome(decision, request)] += 1
        else:
            connection.answer(decision)
            self.metrics.handshakes[decision.status] += 1

    def _send(self, connection: Connection, effect: Send) -> None:
        self.metrics.sends += 1
        connection.send(effect.frame)

    def _close_socket(self, connection: Connection, effect: CloseSocket) -> None:
        session = connection.session
        log.info(
            "closing websocket",
            extra={"call_sid": session.primary if session else "", "code": effect.code, "why": effect.reason},
        )
        connection.close(effect.code, effect.reason)

    def _forget(self, connection: Connection, effect: Forget) -> None:
        self.downlink.forget(connection, effect.call_sid)
        self._loop.call_soon(self._drop_if_finished, connection)

    def _count(self, connection: Connection, effect: Count) -> None:
        del connection
        self.metrics.sessions[effect.name] += 1

    def _drop_if_finished(self, connection: Connection) -> None:
        if connection.session is not None and connection.session.is_finished:
            self.sessions.discard(connection)

    def _read(self, raw: bytes) -> KnownApp | None:
        try:
            return read_manifest(raw)
        except BadFormat as error:
            self.metrics.failures += 1
            log.error("manifest cannot be read", extra={"why": str(error)})
            return None

    def _link_up(self) -> None:
        self.downlink.attach_again()
        self.uplink.resume()
        self._leftovers.look()

    def _timer_failed(self, error: Exception) -> None:
        self.metrics.failures += 1
        log.error("timer of a connection failed", exc_info=error)


def _credentials(settings: GatewaySettings) -> Credentials | None:
    if settings.basic_auth is None:
        return None
    user, _, password = settings.basic_auth.get_secret_value().partition(":")
    return Credentials(user, password)


def _nothing() -> None:
    """Stand in for a listener nobody has set."""
