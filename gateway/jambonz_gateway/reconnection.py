"""The ack of ``session:reconnect``: empty, or the application it has inherited (PROTOCOL.md 2.6). Pure."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from jambonz_gateway.delivery import Delivery
from jambonz_gateway.effects import Effect, MarkAcked, Send
from jambonz_gateway.owed import Fallbacks, OwedAck, fallback_count, fallback_data
from jambonz_gateway.policy import NEVER, SessionPolicy
from jambonz_shared import kinds, wire
from jambonz_shared.redis.scripts import Attached


class Reconnection:
    """Decides how one Connection answers ``session:reconnect``.

    The socket before it may have dropped before ``session:new`` was acked; then the ack must carry the application.
    Only Redis knows, so the ack waits for it, but not long: without one in 5 s jambonz hangs up (pitfall 9).
    """

    __slots__ = ("_blind", "_delivery", "_owed", "_policy")

    def __init__(self, delivery: Delivery, policy: SessionPolicy) -> None:
        self._delivery: Final = delivery
        self._policy: Final = policy
        self._owed: OwedAck | None = None
        self._blind: OwedAck | None = None

    @property
    def is_owed(self) -> bool:
        """True while the ack waits for Redis."""
        return self._owed is not None

    @property
    def wake_at_s(self) -> float:
        """When ``tick`` has something to do."""
        return self._owed.deadline_s if self._owed else NEVER

    def received(self, owed: OwedAck, *, may_inherit: bool, now_s: float) -> Iterator[Effect]:
        """Ack at once what cannot have inherited anything; otherwise wait for ``attached``."""
        if may_inherit:
            self._owed = replace(owed, kind=kinds.SESSION_NEW, deadline_s=now_s + self._policy.reconnect_wait_s)
        else:
            yield Send(wire.ack_frame(owed.msgid, b"[]"))

    def attached(self, attachment: Attached) -> Iterator[Effect]:
        """Answer, now that Redis has told whether ``session:new`` was acked.

        Of a Call that Redis does not know nobody can tell: Redis may have lost it, or the gateway of its first socket
        died before Redis heard of it. An empty ack would reject the caller in the second case, so it counts as not
        acked, and its handler gets the ``session:new`` it has never seen (``Route.attached``).
        """
        owed, self._owed = self._owed, None
        blind, self._blind = self._blind, None
        if owed and not attachment.is_acked:
            waited_s = self._policy.ack_deadline_s - self._policy.reconnect_wait_s
            self._delivery.inherit(replace(owed, deadline_s=owed.deadline_s + waited_s))
        elif owed:
            yield from (Send(wire.ack_frame(owed.msgid, b"[]")), MarkAcked(owed.call_sid))
        elif blind:
            self._delivery.is_acked = True
            yield MarkAcked(blind.call_sid)
            if not attachment.is_acked:
                self._delivery.bounce(blind.deadline_s)

    def tick(self, now_s: float, fallbacks: Fallbacks) -> Iterator[Effect]:
        """Ack blindly if Redis does not answer in time.

        If ``session:new`` was acked the content is ignored, if not it must be an application (PROTOCOL.md 2.6.3):
        the fallback verbs are right in both cases.
        """
        if self._owed and now_s >= self._owed.deadline_s:
            yield from (
                fallback_count(self._owed),
                Send(wire.ack_frame(self._owed.msgid, fallback_data(self._owed, fallbacks))),
            )
            # Two statements, because mypyc would take the None for what is to the right of it, too (ADR 0013).
            self._blind = self._owed
            self._owed = None

    def clear(self) -> int:
        """Forget everything, because the socket is gone, and return how many acks died with it."""
        died = int(self.is_owed)
        self._owed = self._blind = None
        return died
