"""One gateway process: its connections, its apps, and the carrying out of every effect."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, assert_never

from jambonz_gateway.accounts import Accounts
from jambonz_gateway.apps import Apps
from jambonz_gateway.bucket import Bucket
from jambonz_gateway.connection import Connection
from jambonz_gateway.downlink import Downlink, Identity
from jambonz_gateway.effects import (
    Attach,
    CloseSocket,
    Count,
    Delivered,
    Detach,
    Effect,
    Forget,
    LeftToAnother,
    MarkAcked,
    Ping,
    Publish,
    ReadLog,
    Report,
    Seldom,
    Send,
)
from jambonz_gateway.handshake import Welcome
from jambonz_gateway.holding import Pools
from jambonz_gateway.leftovers import Leftovers
from jambonz_gateway.metrics import Metrics, close_label
from jambonz_gateway.policy import SessionPolicy
from jambonz_gateway.reception import Reception
from jambonz_gateway.session import Session
from jambonz_gateway.switchboard import Cut
from jambonz_gateway.turns import Turns
from jambonz_gateway.upgrade import Asked
from jambonz_gateway.uplink import Uplink
from jambonz_gateway.wheel import Wheel
from jambonz_shared.config import GatewaySettings
from jambonz_shared.paths import shown_hook
from jambonz_shared.redis.channels import Channels
from jambonz_shared.redis.link import Link

log = logging.getLogger(__name__)


class Gateway:
    """The switchboard of a process. ``link`` and ``channels`` are run by the composition root.

    Attributes:
        identity: Who this process is in Redis.
        metrics: What it counts.
        tally: What of it is counted with every message.
        wheel: The timer of all connections.
        turns: The queue of handshakes.
        reception: Who answers HTTP requests; knows the apps and the credentials.
        pools: How many bytes of events and hooks are kept.
        connections: Sockets that are open, handshakes included.
        sessions: Connections whose Session has not finished, those with a closed socket included.
        calls: How many sockets carry a call.
        is_draining: No new calls are wanted.
    """

    def __init__(self, settings: GatewaySettings, identity: Identity, link: Link, channels: Channels) -> None:
        loop = asyncio.get_running_loop()
        self.identity: Final = identity
        self.metrics: Final = Metrics()
        self.tally = self.metrics.tally
        self.wheel = Wheel(loop, on_error=self._timer_failed)
        self.turns = Turns(loop)
        self.ping_interval_s = settings.ping_interval_s
        self.max_event_bytes = settings.max_event_bytes
        self.accounts = Accounts(call_rate=settings.max_call_event_rate, account_rate=settings.max_account_event_rate)
        self.pools: Final = Pools(settings.max_held_bytes, settings.max_calls)
        self.uplink: Final = Uplink(link, identity.keys, self.metrics, pool=self.pools.held)
        self.downlink: Final = Downlink(link, channels, self.metrics, identity)
        self._leftovers: Final = Leftovers(link, identity, self.downlink.epochs_of)
        self.reception: Final = Reception(settings, identity.keys, link, self.metrics, on_apps=self._apps_changed)
        self.connections: Final[set[Connection]] = set()
        self.sessions: Final[set[Connection]] = set()
        self.calls = 0
        self.is_draining = False
        self.on_gone: Callable[[], None] = _nothing
        self._loop: Final = loop
        # Closed before Redis had heard of their call; the oldest first.
        self._unheard: Final[dict[Connection, None]] = {}
        self._max_unheard: Final = settings.max_calls
        self._drops_told: Final = Bucket(0.1, 10, loop.time())
        self._throttling_told: Final = Bucket(1, 10, loop.time())
        self._fallbacks_told: Final = Bucket(1, 10, loop.time())
        self._policy: Final = SessionPolicy(
            max_held_bytes=settings.max_held_call_bytes, ack_deadline_s=settings.ack_deadline_s
        )
        link.on_up(self._link_up)

    def connection(self, address: str = "") -> Connection:
        """Return the protocol of a socket that has just been accepted; its transport knows an empty address."""
        connection = Connection(self, self._loop, address)
        self.connections.add(connection)
        return connection

    # What a Connection asks for (switchboard.Switchboard).

    def requested(self, connection: Connection, asked: Asked) -> None:
        """See ``Reception.requested``."""
        self.reception.requested(connection, asked)

    def unusual(self, connection: Connection, data: bytes) -> None:
        """See ``Reception.unusual``."""
        self.reception.unusual(connection, data)

    def opened(self, connection: Connection, welcome: Welcome) -> Session:
        """Give the Connection its Session."""
        self.sessions.add(connection)
        self.calls += 1
        return Session(
            self.identity.gateway_id,
            now_s=self._loop.time(),
            policy=self._policy,
            fallbacks=welcome.app.fallbacks,
            call_sid=welcome.call_sid,
            pools=self.pools,
        )

    def perform(self, connection: Connection, effects: list[Effect]) -> None:
        """Carry out effects in order."""
        for effect in effects:
            # No match here: it is compiled to calls, this to comparisons.
            if isinstance(effect, Send):
                self.tally.sends += 1
                connection.send(effect.frame)
            elif isinstance(effect, Publish):
                self.uplink.publish(connection, effect.worker_id, effect.envelope)
            elif isinstance(effect, Delivered):
                self.downlink.delivered(effect.call_sid, effect.seq)
            else:
                self._perform(connection, effect)

    def throttled(self, connection: Connection) -> None:
        """Count a call that floods, or whose account does; log it, once per second at most after the first ten."""
        is_account = connection.pace.is_account_over
        self.metrics.throttled += not is_account
        self.metrics.throttled_accounts += is_account
        if self._throttling_told.take(self._loop.time()) > 0:
            # Each flood is told of several times a second; the counters tell how often.
            self._throttling_told.give_back()
            return
        call_sid = connection.session.primary if connection.session else ""
        log.warning("call throttled: too many messages", extra={"call_sid": call_sid, "address": connection.address})

    def gone(self, connection: Connection, code: int | None) -> None:
        """Forget a socket; its Session stays until Redis has taken what is left."""
        self.connections.discard(connection)
        if code is not None:
            self.calls -= 1
            self.metrics.closes[close_label(code)] += 1
        self._drop_if_finished(connection)
        if _is_unheard(connection):
            self._unheard[connection] = None
            self._bound_unheard()
        self.on_gone()

    def cut(self, connection: Connection, why: Cut) -> None:
        """Count a peer that is cut off."""
        if why is Cut.SLOW:
            self.metrics.slow_sockets += 1
        else:
            self.metrics.silent_sockets += 1
        call_sid = connection.session.primary if connection.session else ""
        log.warning("socket cut", extra={"call_sid": call_sid, "why": why.value, "address": connection.address})

    def failed(self, connection: Connection, error: Exception) -> None:
        """Log an error of our own with its traceback; the payload is not in it."""
        self.metrics.failures += 1
        call_sid = connection.session.primary if connection.session else ""
        log.error("connection failed", exc_info=error, extra={"call_sid": call_sid})

    # What the composition root asks for.

    def held_bytes(self) -> int:
        """Return the bytes of events that wait for an owner."""
        return self.pools.held.used_bytes - self.uplink.backlog_bytes

    def owed_acks(self) -> int:
        """Return how many hooks jambonz waits for."""
        return sum(connection.session.owed_count for connection in self.sessions if connection.session)

    # Inside.

    def _perform(self, connection: Connection, effect: Seldom) -> None:
        match effect:
            case Ping(number):
                connection.ping(number)
            case CloseSocket():
                self._close_socket(connection, effect)
            case Attach():
                self.downlink.attach(connection, effect)
            case ReadLog():
                self.downlink.read_log(connection, effect)
            case LeftToAnother(call_sid, seq):
                self.downlink.left_to_another(call_sid, seq)
            case MarkAcked():
                self.downlink.mark_acked(effect)
            case Report():
                self.downlink.report(effect)
            case Detach():
                self.downlink.detach(connection, effect)
            case Forget():
                self.downlink.forget(connection, effect.call_sid)
                self._loop.call_soon(self._drop_if_finished, connection)
            case Count():
                self.metrics.sessions[effect.name] += 1
                if effect.kind:
                    self._tell_fallback(connection, effect)
            case _:
                assert_never(effect)

    def _tell_fallback(self, connection: Connection, count: Count) -> None:
        """Log a hook that no worker has answered, once per second at most after the first ten."""
        if self._fallbacks_told.take(self._loop.time()) > 0:
            self._fallbacks_told.give_back()
            return
        call_sid = connection.session.primary if connection.session else ""
        log.warning(
            "no worker has answered a hook: it got the fallback",
            extra={"call_sid": call_sid, "kind": count.kind, "hook": shown_hook(count.hook)},
        )

    def _apps_changed(self, apps: Apps) -> None:
        for connection in self.sessions:
            if connection.session and connection.app_name in apps:
                connection.session.fallbacks = apps.named(connection.app_name).fallbacks

    def _close_socket(self, connection: Connection, effect: CloseSocket) -> None:
        session = connection.session
        log.info(
            "closing websocket",
            extra={"call_sid": session.primary if session else "", "code": effect.code, "why": effect.reason},
        )
        connection.close(effect.code, effect.reason)

    def _drop_if_finished(self, connection: Connection) -> None:
        if connection.session is not None and connection.session.is_finished:
            self.sessions.discard(connection)
            self._unheard.pop(connection, None)

    def _bound_unheard(self) -> None:
        """Drop the oldest call that Redis has not heard of once there are more such than there may be sockets.

        While Redis is away each caller that hangs up leaves one. Workers never hear of those that go.
        """
        while len(self._unheard) > self._max_unheard:
            oldest = next(iter(self._unheard))
            del self._unheard[oldest]
            if _is_unheard(oldest):
                self._drop(oldest)

    def _drop(self, connection: Connection) -> None:
        session = connection.session
        assert session is not None, "it has a call"
        self.metrics.sessions["call_dropped"] += 1
        if self._drops_told.take(self._loop.time()) > 0:
            self._drops_told.give_back()
        else:
            extra = {"call_sid": session.primary, "waiting": self._max_unheard}
            log.warning("call dropped: it is over, redis has not heard of it, and too many such wait", extra=extra)
        for call_sid, route in session.routes.items():
            while route.may_drop:
                self.perform(connection, [route.drop_oldest()])
            self.downlink.forget(connection, call_sid)
        session.routes.clear()
        self._drop_if_finished(connection)

    def _link_up(self) -> None:
        self.downlink.attach_again()
        self.uplink.resume()
        self._leftovers.look()

    def _timer_failed(self, error: Exception) -> None:
        self.metrics.failures += 1
        log.error("timer of a connection failed", exc_info=error)


def _is_unheard(connection: Connection) -> bool:
    """Tell whether a socket that is closed has left a call that Redis has not attached."""
    session = connection.session
    return session is not None and not session.is_finished and all(not it.epoch for it in session.routes.values())


def _nothing() -> None:
    """Stand in for a listener nobody has set."""
