"""Messages that wait for an ack: deadline, drop, late and repeated acks, the initial marker. Pure."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from jambonz_simulator.core.frames import AckFrame
from jambonz_simulator.core.kernel import Promise, Timer
from jambonz_simulator.core.records import HookRecord
from jambonz_simulator.core.world import World


@dataclass(frozen=True, slots=True)
class ReplyAcked:
    """The ack came in time; ``data`` may be anything, ``None`` if missing."""

    data: Any


@dataclass(frozen=True, slots=True)
class ReplyDead:
    """No ack will come: the request is rejected."""

    by: Literal["timeout", "drop", "connect"]
    reason: str


@dataclass(frozen=True, slots=True)
class ReplyNone:
    """Nothing to expect: a notice was sent, or the message was discarded (PROTOCOL.md 1.3)."""


Reply: TypeAlias = ReplyAcked | ReplyDead | ReplyNone


@dataclass(slots=True)
class _Pending:
    record: HookRecord
    timer: Timer
    reply: Promise[Reply]


class Acks:
    """The messages of one requestor that wait for an ack (PROTOCOL.md 2.3)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pending: dict[str, _Pending] = {}
        self._initial_msgid: str | None = None

    def awaits(self, kind: str) -> bool:
        """True if a message of this type waits for its ack."""
        return any(pending.record.kind == kind for pending in self._pending.values())

    def expect(self, connection: int, kind: str, hook: str | None, msgid: str, reply: Promise[Reply]) -> None:
        """Wait for the ack of a message that was just sent."""
        if kind == "session:new":
            self._initial_msgid = msgid
        record = HookRecord(msgid, kind, hook, connection, self._world.elapsed_s)
        self._world.ledger.hooks[msgid] = record
        timer = self._world.kernel.after(self._world.timing.ack_timeout_s, lambda: self._time_out(msgid))
        self._pending[msgid] = _Pending(record, timer, reply)

    def inherit_initial(self, connection: int, msgid: str) -> bool:
        """Let session:reconnect take over an unacked session:new; false if it was acked.

        The timer stays bound to the old id, so the heir has no deadline (PROTOCOL.md 2.6.3).
        """
        if self._initial_msgid is None:
            return False
        pending = self._pending.pop(self._initial_msgid, None)
        self._initial_msgid = msgid
        record = HookRecord(msgid, "session:reconnect", None, connection, self._world.elapsed_s)
        self._world.ledger.hooks[msgid] = record
        if pending is not None:
            # None of an outbound call whose session:new has timed out: it has no heir, but the
            # marker stands, so it becomes a zombie all the same.
            pending.record.dead_by = "drop"
            self._pending[msgid] = _Pending(record, pending.timer, pending.reply)
        return True

    def receive(self, connection: int, ack: AckFrame) -> None:
        """Take an ack: the first in time counts, any other is written down and discarded."""
        if self._initial_msgid not in (None, ack.msgid):
            detail = f"ack of {ack.msgid!r} before session:new was acked clears its marker (2.3)"
            self._world.anomaly(connection, "stray_ack_before_first", detail)
        self._initial_msgid = None
        pending = self._pending.pop(ack.msgid, None) if isinstance(ack.msgid, str) else None
        if pending is None:
            self._discard(connection, ack.msgid)
            return
        pending.timer.cancel()
        pending.record.acked_at_s = self._world.elapsed_s
        pending.record.data = ack.data
        pending.reply.settle(ReplyAcked(ack.data))

    def abandon(self) -> None:
        """The socket is lost: reject all, but keep an unacked session:new (PROTOCOL.md 2.6.3)."""
        if self._initial_msgid is not None:
            return
        for msgid, pending in list(self._pending.items()):
            pending.timer.cancel()
            pending.record.dead_by = "drop"
            pending.reply.settle(ReplyDead("drop", f"abandoning msgid {msgid} since socket is closed"))
        self._pending.clear()

    def forget_all(self) -> None:
        """Close by jambonz itself: whoever still waits is told, nobody is blamed."""
        for msgid, pending in list(self._pending.items()):
            pending.timer.cancel()
            pending.reply.settle(ReplyDead("drop", f"abandoning msgid {msgid} since socket is closed"))
        self._pending.clear()
        self._initial_msgid = None

    def _time_out(self, msgid: str) -> None:
        pending = self._pending.pop(msgid, None)
        if pending is None:
            return
        pending.record.dead_by = "timeout"
        detail = f"{pending.record.kind} {pending.record.hook or ''}".strip()
        self._world.anomaly(pending.record.connection, "deadline_missed", detail)
        pending.reply.settle(ReplyDead("timeout", f"timeout from far end for msgid {msgid}"))

    def _discard(self, connection: int, msgid: Any) -> None:
        record = self._world.ledger.hooks.get(msgid) if isinstance(msgid, str) else None
        if record is None:
            is_notice = isinstance(msgid, str) and msgid in self._world.ledger.notice_msgids
            kind = "ack_of_notice" if is_notice else "unknown_ack"
            self._world.anomaly(connection, kind, f"msgid {msgid!r}")
        elif record.is_acked:
            record.duplicate_acks += 1
            self._world.anomaly(connection, "duplicate_ack", f"{record.kind} {record.hook or ''}".strip())
        else:
            record.late_acks.append(self._world.elapsed_s)
            self._world.anomaly(connection, "late_ack", f"{record.kind} {record.hook or ''}".strip())
