"""Protocol state of one Connection: every message in, every Directive out, all decided here. Pure.

The shell carries out the effects that each call returns, in order. Times are monotonic seconds given by the caller.
It calls ``receive``, ``pong`` and ``bad_frame`` for what jambonz sends; ``tick`` at ``wake_at_s``; ``drain`` when the
process is to end; ``closed`` once, when the socket is gone. For what Redis says, also after ``closed``: ``attached`` or
``refused`` after an ``Attach``, ``log_read`` after a ``ReadLog``, ``detached`` after a ``Detach``, ``returned`` for an
event whose inbox is gone, ``channel`` and ``resubscribed`` in between, and ``known`` before it attaches once more.
"""

from collections.abc import Iterable
from typing import Final, assert_never

from jambonz_gateway.delivery import Delivery
from jambonz_gateway.effects import Attach, CloseSocket, Count, Detach, Effect, Forget, Publish, ReadLog, Send
from jambonz_gateway.holding import Pools, Stock
from jambonz_gateway.owed import Fallbacks, OwedAck, OwedAcks
from jambonz_gateway.policy import NEVER, SessionPolicy
from jambonz_gateway.reaping import GOING_AWAY, Reaping
from jambonz_gateway.reconnection import Reconnection
from jambonz_gateway.route import Event, Known, Route, shrink
from jambonz_gateway.unbound import Unbound
from jambonz_shared import kinds, wire
from jambonz_shared.directive import (
    AppChanged,
    BatchSent,
    CallEnded,
    ChannelMessage,
    ConnectionAttached,
    ConnectionLeft,
    OwnerChanged,
)
from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import BadFrame
from jambonz_shared.redis.scripts import Attached

_DRAIN_CODE: Final = 1012
# A peer that keeps sending what jambonz never sends is not jambonz.
_BAD_FRAMES_TOLERATED: Final = 10
# A dial rings tens of targets at most; beyond that somebody invents calls.
_LEGS_MAX: Final = 64


class Session:
    """One Connection's protocol. The module's first lines tell what to call when.

    Attributes:
        gateway_id: This process, for Envelopes.
        fallbacks: What the app wants said when nobody answers; may be replaced when a manifest changes.
        primary: The Call this Connection is about; empty until a message has named it.
        line: ``main`` or ``side``; empty as long as ``primary`` is.
        is_over: The primary Call has had its final status.
    """

    __slots__ = (
        "_bad_frames", "_delivery", "_held", "_is_closed", "_is_draining", "_owed", "_policy", "_reaping",
        "_reconnection", "_routes", "_unbound", "fallbacks", "gateway_id", "line", "primary",
    )  # fmt: skip

    def __init__(
        self,
        gateway_id: str,
        *,
        now_s: float,
        policy: SessionPolicy | None = None,
        fallbacks: Fallbacks | None = None,
        call_sid: str = "",
        pools: Pools | None = None,
    ) -> None:
        """Begin with a fresh websocket; ``call_sid`` is the Call if the URL names it (PROTOCOL.md 2.5)."""
        self.gateway_id: Final = gateway_id
        self._policy: Final = policy or SessionPolicy()
        self.fallbacks = fallbacks or Fallbacks()
        self.primary = call_sid
        self.line = ""
        pools = pools or Pools()
        self._held: Final = Stock(pools.held, self._policy.max_held_bytes)
        self._owed: Final = OwedAcks(Stock(pools.unanswered, self._policy.max_held_bytes))
        self._routes: Final[dict[str, Route]] = {}
        self._delivery: Final = Delivery(
            self._owed, self._routes, gate_s=self._policy.gate_s, bounce_s=self._policy.bounce_s
        )
        self._unbound: Final = Unbound(self._held)
        self._reconnection: Final = Reconnection(self._delivery, self._policy)
        self._is_closed = False
        self._is_draining = False
        self._bad_frames = 0
        self._reaping: Final = Reaping(self._policy, now_s)

    @property
    def is_over(self) -> bool:
        """True when the primary Call has had its final status."""
        return self._delivery.is_over

    @property
    def is_finished(self) -> bool:
        """True when the socket is closed and nothing is left to do: the shell may drop the Session."""
        return self._is_closed and not self._routes

    @property
    def _is_deaf(self) -> bool:
        """True when nothing that is written reaches jambonz any more."""
        return self._is_closed or self._delivery.is_closing

    @property
    def owed_count(self) -> int:
        """Hooks jambonz waits for."""
        return len(self._owed) + self._reconnection.is_owed

    @property
    def held_bytes(self) -> int:
        """Bytes of events that wait for an owner, for Redis, or for the name of their call."""
        return self._held.used_bytes

    @property
    def routes(self) -> dict[str, Route]:
        """The Calls on this Connection by call_sid."""
        return self._routes

    @property
    def wake_at_s(self) -> float:
        """When ``tick`` has something to do; ``NEVER`` if nothing is timed."""
        if self._is_deaf:
            return NEVER
        # Of two at a time, which is compiled to a comparison (ADR 0013); this is asked for every message.
        at_s = min(self._owed.next_deadline_s, self._delivery.wake_at_s)
        at_s = min(at_s, self._reaping.at_s)
        return min(at_s, self._reconnection.wake_at_s)

    def receive(self, frame: bytes, now_s: float, now_ms: int) -> list[Effect]:
        """Take one message from jambonz; ``now_ms`` is Unix time, for the Envelope."""
        if self._is_closed:
            return []
        try:
            head = wire.read_head(frame)
            if kinds.is_ours(head.kind):
                raise BadFrame(f"expected a type of jambonz, got one of the reserved {kinds.CLUSTER_PREFIX!r} types")
        except BadFrame as error:
            return self.bad_frame(str(error))
        effects = self._delivery.heard(now_s)
        if self._owed.is_over and not self._is_deaf:
            effects += self._delivery.fall_back(self.fallbacks, now_s)
        call_sid = head.data_call_sid or self.primary or head.top_call_sid
        is_acked = self._answer_or_owe(head, call_sid, frame, now_s, effects)
        event = Event(head.kind, head.msgid, now_ms, is_acked, frame)
        if not call_sid:
            if not self._unbound.keep(event):
                effects += [Count("event_dropped"), self._close(1008, self._reaping.reason)]
            return effects
        if not self.line:
            self._bind(head, now_s, effects)
        route = self._route(call_sid, effects)
        if route is None:
            return effects
        effects += route.add(event, self.gateway_id)
        if route.held_bytes and self._held.is_over:
            effects += shrink(self._routes.values(), self._held)
        if head.is_final:
            self._final(route, now_s, effects)
        return self._settled(effects)

    def pong(self, number: int, now_s: float) -> list[Effect]:
        """Take the answer to a ``Ping``: what was written before has been read; 0 if the ping was none of ours."""
        return self._settled(self._delivery.read(now_s)) if self._delivery.awaits_pong(number) else []

    def bad_frame(self, reason: str) -> list[Effect]:
        """Take note of a message that jambonz never sends; a peer that goes on is shut out."""
        self._bad_frames += 1
        effects: list[Effect] = [Count("bad_frame")]
        if not self._delivery.is_closing and (not self.line or self._bad_frames > _BAD_FRAMES_TOLERATED):
            effects.append(self._close(1008, reason))
        return effects

    def attached(self, call_sid: str, attachment: Attached) -> list[Effect]:
        """Take Redis' answer to ``Attach``; may come again after Redis has lost its data."""
        route = self._routes.get(call_sid)
        if route is None:
            return []
        effects = list(route.attached(attachment, self.gateway_id, may_begin=self._reconnection.is_owed))
        if call_sid == self.primary:
            self._reaping.attached(was_acked=attachment.is_acked and not self._delivery.is_acked)
            effects += self._delivery.attached(call_sid, is_acked=attachment.is_acked)
            effects = [*self._reconnection.attached(attachment), *effects]
        announced, route.announced = route.announced, []
        for notice in announced:
            effects += self._connections_changed(route, notice)
        if self._is_closed or route.is_over:
            self._leave(route, effects)
        return self._settled(effects)

    def refused(self, call_sid: str) -> list[Effect]:
        """The Call belongs to another app: its events are dropped, and a Connection about it is closed."""
        if (route := self._routes.pop(call_sid, None)) is not None:
            route.drop_all()
        effects: list[Effect] = [Count("foreign_call"), Forget(call_sid)]
        if call_sid == self.primary:
            effects.append(self._close(1008, "the call belongs to another application"))
        return effects

    def channel(self, call_sid: str, message: ChannelMessage, now_s: float) -> list[Effect]:
        """Take a message of the Call's channel."""
        route = self._routes.get(call_sid)
        if route is None:
            return []
        match message:
            case BatchSent():
                if self._is_deaf:
                    return []
                if not route.is_next(message.seq):
                    return list(route.read_log())
                return self._settled(self._delivery.batch(route, message.seq, message.raw, now_s))
            case OwnerChanged():
                return list(route.owner_changed(message.worker_id, message.fence, self.gateway_id))
            case ConnectionAttached() | ConnectionLeft():
                return self._connections_changed(route, message)
            case AppChanged() | CallEnded():
                return []
            case _:
                assert_never(message)

    def resubscribed(self, call_sid: str) -> list[Effect]:
        """The channel may have missed messages: read the log, which has not."""
        route = self._routes.get(call_sid)
        return list(route.read_log(is_certain=False)) if route and not self._is_closed else []

    def log_read(self, wanted: ReadLog, entries: Iterable[tuple[int, bytes]], now_s: float) -> list[Effect]:
        """Take what ``wanted`` found: ``(seq, batch)`` in order."""
        route = self._routes.get(wanted.call_sid)
        if route is None or route.is_outdated(wanted):
            return []
        effects: list[Effect] = []
        if not self._is_closed:
            for seq, raw in entries:
                if seq > route.delivered_seq:
                    effects += self._delivery.batch(route, seq, raw, now_s)
        effects += route.log_was_read()
        return self._settled(effects)

    def returned(self, worker_id: str, envelope: Envelope) -> list[Effect]:
        """Take back an event that could not be published: the inbox of ``worker_id`` is gone."""
        route = self._routes.get(envelope.call_sid)
        if route is None:
            return [Publish("", envelope)]
        effects = list(route.returned(worker_id, envelope, self.gateway_id))
        if self._is_closed:
            effects += route.flush(self.gateway_id, everything=True)
        return effects

    def tick(self, now_s: float) -> list[Effect]:
        """Do what is due: fallback acks, the gate, the bounce, the closing of idle sockets."""
        if self._is_deaf:
            return []
        effects = self._delivery.fall_back(self.fallbacks, now_s)
        effects += self._reconnection.tick(now_s, self.fallbacks)
        effects += self._delivery.tick(now_s)
        if self._reaping.is_due(now_s, self._owed.next_deadline_s):
            effects.append(self._close(1000 if self.is_over else 1008, self._reaping.reason))
        return self._settled(effects)

    def drain(self, now_s: float) -> list[Effect]:
        """Move the call to another gateway as soon as nothing is owed on this socket."""
        self._is_draining = True
        return self._settled(self.tick(now_s))

    def closed(self, code: int, *, by_us: bool = False) -> list[Effect]:
        """The websocket is gone; ``code`` is that of the close frame, 1006 without one."""
        if self._is_closed:
            return []
        self._is_closed = True
        self._unbound.release()
        effects: list[Effect] = [Count("hook_died")] * (self._owed.clear() + self._reconnection.clear())
        is_replaced = bool((route := self._routes.get(self.primary)) and route.is_passed_over)
        is_over = self.is_over or self._reaping.is_end(code, by_us=by_us, is_replaced=is_replaced)
        for route in list(self._routes.values()):
            route.is_over = route.is_over or is_over
            self._leave(route, effects)
        return effects

    def detached(self, call_sid: str, connections_left: int, now_ms: int) -> list[Effect]:
        """Take Redis' answer to ``Detach``; -1 connections: the Call's hash is gone."""
        route = self._routes.pop(call_sid, None)
        if route is None:
            return []
        effects = list(route.flush(self.gateway_id, everything=True))
        if connections_left == 0 or (route.is_over and connections_left < 0):
            effects += route.farewell(now_ms, self.gateway_id)
        return [*effects, Forget(call_sid)]

    def known(self, call_sid: str) -> Known:
        """Return what a Redis that has lost the Call must learn of it."""
        route = self._routes.get(call_sid)
        if route is None:
            return Known()
        owner = route.owner or route.last_owner
        return Known(owner, route.fence, is_acked=call_sid == self.primary and self._delivery.is_acked)

    def _answer_or_owe(self, head: wire.Head, call_sid: str, frame: bytes, now_s: float, effects: list[Effect]) -> bool:
        """Return True if the Hook is answered here, whoever handles it later."""
        kind = kinds.kind_of(head.kind)
        if not kind.is_hook:
            return False
        if kind is kinds.SESSION_ADULTING:
            effects.append(Send(wire.ack_frame(head.msgid, b"[]")))
            self._delivery.is_acked = True
            return True
        owed = OwedAck(head.msgid, call_sid, kind, now_s + self._policy.ack_deadline_s, frame)
        if kind is kinds.SESSION_RECONNECT:
            may_inherit = bool(head.top_call_sid and head.data_call_sid) and not self.line
            effects += self._reconnection.received(owed, may_inherit=may_inherit, now_s=now_s)
            if not call_sid:
                self._reaping.anonymous(now_s)
            return True
        if head.msgid not in self._owed:
            self._owed.add(owed)
            if head.is_inbound:
                self._delivery.shut_gate()
        return False

    def _bind(self, head: wire.Head, now_s: float, effects: list[Effect]) -> None:
        """Take the Connection's identity from its first message that names a call."""
        self.primary = self.primary or head.top_call_sid or head.data_call_sid
        is_main = bool(head.top_call_sid) or head.kind in {kinds.SESSION_NEW.name, kinds.CALL_STATUS.name}
        self.line = "main" if is_main else "side"
        self._reaping.named(head, now_s)
        unbound = self._unbound.release()
        was_reconnect = any(event.kind == kinds.SESSION_RECONNECT.name for event in unbound)
        is_reconnect = was_reconnect or head.kind == kinds.SESSION_RECONNECT.name
        route = self._routes[self.primary] = Route(self.primary, self._held, is_side=self.line == "side")
        effects.append(Attach(self.primary, self.line, is_reconnect))
        for event in unbound:
            effects += route.add(event, self.gateway_id)

    def _route(self, call_sid: str, effects: list[Effect]) -> Route | None:
        """Return the Route of a Call on this Connection; a new one is a leg, born where its parent lives."""
        route = self._routes.get(call_sid)
        if route is not None:
            return route
        primary = self._routes.get(self.primary)
        # Without a primary Call the socket is being closed, because the Call is another app's.
        if primary is None or len(self._routes) > _LEGS_MAX:
            effects.append(Count("event_dropped"))
            return None
        route = self._routes[call_sid] = Route(call_sid, self._held, offer_to=primary.owner)
        effects.append(Attach(call_sid, "leg", is_reconnect=True))
        return route

    def _final(self, route: Route, now_s: float, effects: list[Effect]) -> None:
        """A leg is over. The primary's socket is reaped if jambonz does not close it (pitfall 31)."""
        if route.call_sid == self.primary:
            self._delivery.is_over = True
            self._reaping.over(now_s)
        else:
            route.is_over = True
            self._leave(route, effects)

    def _leave(self, route: Route, effects: list[Effect]) -> None:
        """Publish what is left and detach; before the Call is attached this waits for ``attached``."""
        if route.epoch:
            effects += route.flush(self.gateway_id, everything=True)
            effects.append(Detach(route.call_sid, route.epoch))

    def _connections_changed(self, route: Route, notice: ConnectionAttached | ConnectionLeft) -> list[Effect]:
        if not route.epoch:
            # Our own notice comes before the answer that tells our epoch: ``attached`` looks again.
            route.announced.append(notice)
            return []
        if isinstance(notice, ConnectionAttached):
            return self._another_attached(route, notice)
        was_newest = route.is_newest
        route.live_epochs.discard(notice.epoch)
        return list(route.reread_log()) if route.is_newest and not was_newest and not self._is_deaf else []

    def _another_attached(self, route: Route, notice: ConnectionAttached) -> list[Effect]:
        if notice.epoch <= route.epoch:
            return []
        route.live_epochs.add(notice.epoch)
        # jambonz takes commands on its newest side line, and hears no other (PROTOCOL.md 2.5).
        route.is_passed_over = route.is_passed_over or notice.line == "side"
        if not route.is_newest:
            self._delivery.leave_to_newer(route)
        if route.call_sid != self.primary or notice.line != self.line or self._is_closed:
            return []
        # jambonz holds one socket per line, so ours is half-open: it has reconnected elsewhere. A side line may have
        # been left for another url as well; without 1000 jambonz would open it again, against the newer one.
        route.live_epochs.discard(route.epoch)
        code = 1000 if self.line == "side" else GOING_AWAY
        return [Count("replaced"), self._close(code, "jambonz has opened another socket")]

    def _settled(self, effects: list[Effect]) -> list[Effect]:
        """Close a draining socket once nothing is owed, no command waits, and jambonz has read what it must have."""
        # One that is silent yet waits: its session:new is on the way; dropped before the ack, the call is deaf (2.6.3).
        if not self._is_draining or self._is_deaf or self.is_over or not (self.line or self._unbound):
            return effects
        if not self.owed_count and not self._delivery.waiting_count and not self._delivery.is_unconfirmed:
            self._is_draining = False
            effects.append(self._close(_DRAIN_CODE, "this gateway is going away; reconnect to another"))
        return effects

    def _close(self, code: int, reason: str) -> CloseSocket:
        self._delivery.is_closing = True
        return CloseSocket(code, reason)
