"""Directives on their way to the websocket: each ack once, commands in order and not too early. Pure."""

from collections.abc import Mapping
from typing import Final, assert_never

from jambonz_gateway.effects import (
    CloseSocket,
    Count,
    Delivered,
    Effect,
    LeftToAnother,
    MarkAcked,
    Ping,
    Report,
    Send,
)
from jambonz_gateway.owed import Fallbacks, OwedAck, OwedAcks, fallback_count, fallback_data
from jambonz_gateway.policy import NEVER
from jambonz_gateway.route import Route
from jambonz_shared import kinds, wire
from jambonz_shared.directive import Ack, Close, Command, Directive, decode_batch, encode_batch
from jambonz_shared.errors import BadFormat
from jambonz_shared.outcome import Outcome, OutcomeKind

# Time from reading the ack of session:new to taking commands (PROTOCOL.md 12, command gate).
_READY_S: Final = 0.25
_EMPTY: Final = (b"", b"[]")
# How an ack ends that gives jambonz verbs: those without, or without data, change nothing there.
_END_OF_VERBS: Final = b"}]}"
# What a server may put into a close frame (RFC 6455 7.4, IANA's registry); others break the closing handshake.
_CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})


class Delivery:
    """What may be written to one websocket now, what must wait, and what must not be sent at all.

    Attributes:
        is_over: The primary Call has had its final status: acks still go out, commands do not (ADR 0002).
        is_closing: The socket is being closed: what has not been written stays in the log for the next Connection.
        is_acked: ``session:new`` has been acked, here or on an earlier socket, and jambonz has read it.
        bounce_at_s: When the socket must be closed with 1012 to cure a deaf call (PROTOCOL.md 2.6.3); or ``NEVER``.
    """

    __slots__ = (
        "_bounce_s",
        "_confirm_by_s",
        "_gate_opens_at_s",
        "_gate_s",
        "_inherited",
        "_is_asked",
        "_owed",
        "_pings",
        "_read_by_s",
        "_routes",
        "_unconfirmed",
        "_waiting",
        "bounce_at_s",
        "is_acked",
        "is_closing",
        "is_over",
    )

    def __init__(self, owed: OwedAcks, routes: Mapping[str, Route], *, gate_s: float, bounce_s: float) -> None:
        self._owed: Final = owed
        self._routes: Final = routes
        self._gate_s: Final = gate_s
        self._bounce_s: Final = bounce_s
        self._gate_opens_at_s = 0.0
        # A list, because it is empty in nearly every call: an empty deque takes 760 bytes.
        self._waiting: list[tuple[Route, int, Directive]] = []
        self._inherited = ""
        # The Call whose session:new was acked, and the batch with that ack (0: it was a fallback).
        self._unconfirmed: tuple[str, Route | None, int] | None = None
        self._confirm_by_s = NEVER
        # When jambonz has read the last ack with verbs at the latest; and whether it was asked by a ping behind that.
        self._read_by_s = 0.0
        self._is_asked = False
        self._pings = 0
        self.bounce_at_s = NEVER
        self.is_acked = False
        self.is_closing = False
        self.is_over = False

    @property
    def waiting_count(self) -> int:
        """Commands that wait for the gate, or for an ack to be read, and acks behind such."""
        return len(self._waiting)

    @property
    def wake_at_s(self) -> float:
        """When ``tick`` has something to do."""
        at_s = self.bounce_at_s if self._unconfirmed is None else self._confirm_by_s
        return min(max(self._gate_opens_at_s, self._read_by_s), at_s) if self._waiting else at_s

    def awaits_pong(self, number: int) -> bool:
        """Tell whether the answer to this ping tells something: that to the newest one tells all."""
        return (self._is_asked or self._unconfirmed is not None) and number >= self._pings

    @property
    def is_unconfirmed(self) -> bool:
        """True while an ack of ``session:new`` has been written of which nobody knows whether jambonz has read it."""
        return self._unconfirmed is not None

    def read(self, now_s: float) -> list[Effect]:
        """Let the ack of ``session:new`` count, and commands follow another one: the ping behind it is answered."""
        if self._unconfirmed is not None and self._gate_opens_at_s < NEVER:
            self._gate_opens_at_s = min(self._gate_opens_at_s, now_s + _READY_S)
        if self._is_asked:
            self._is_asked = False
            self._read_by_s = 0.0
        return self.confirmed() + self._sent_waiting(now_s)

    def confirmed(self) -> list[Effect]:
        """Let the ack of ``session:new`` count.

        An ack that dies with its socket leaves jambonz waiting for it on the next one, where an empty answer rejects
        the caller (PROTOCOL.md 2.6.3). So its batch stays in the log until then, for the next Connection.
        """
        if self._unconfirmed is None:
            return []
        call_sid, route, seq = self._unconfirmed
        self._unconfirmed = None
        self._confirm_by_s = NEVER
        self.is_acked = True
        if left := [directive for of, in_batch, directive in self._waiting if of is route and in_batch == seq]:
            # The next Connection must find them without the ack, or it would say the application once more.
            return [MarkAcked(call_sid, seq, encode_batch(left))]
        effects: list[Effect] = [MarkAcked(call_sid)]
        if route is not None and seq <= route.delivered_seq:
            self._done_with(route, seq, effects)
        return effects

    def attached(self, call_sid: str, *, is_acked: bool) -> list[Effect]:
        """Compare with Redis whether ``session:new`` is acked: its ack may have been read while Redis was away."""
        if self.is_acked and not is_acked:
            return [MarkAcked(call_sid)]
        self.is_acked = is_acked
        return []

    def shut_gate(self) -> None:
        """Hold commands: jambonz would lose them before its answer to ``session:new`` (PROTOCOL.md 2.4)."""
        self._gate_opens_at_s = NEVER

    def heard(self, now_s: float) -> list[Effect]:
        """Open the gate, because jambonz spoke after it had read the ack of ``session:new``.

        One that speaks is not deaf, so it needs no bounce: the ack had reached it on its socket before.
        """
        if self.bounce_at_s != NEVER:
            self.bounce_at_s = NEVER
            self._gate_opens_at_s = now_s
            return self.confirmed() + self._sent_waiting(now_s)
        # Before the pong it may have spoken before it read the ack.
        if now_s < self._gate_opens_at_s < NEVER and self._unconfirmed is None:
            self._gate_opens_at_s = now_s
        # Nearly never, and this is asked for every message.
        return self._sent_waiting(now_s) if self._waiting else []

    def inherit(self, reconnect: OwedAck) -> None:
        """Owe ``session:new``'s answer to the ``session:reconnect`` that took its place (PROTOCOL.md 2.6.3)."""
        self._inherited = reconnect.msgid
        # jambonz makes a new msgid for each message; whoever does not gets one answer.
        self._owed.settle(reconnect.msgid)
        self._owed.add(reconnect)
        self.shut_gate()

    def bounce(self, acked_at_s: float) -> None:
        """Close the socket once more, because its ``session:reconnect`` was acked with an application."""
        self.bounce_at_s = acked_at_s + self._bounce_s

    def leave_to_newer(self, route: Route) -> None:
        """Let go of the commands of ``route`` that wait here: a newer Connection finds them in the log."""
        self._waiting = [it for it in self._waiting if it[0] is not route or isinstance(it[2], Ack)]

    def batch(self, route: Route, seq: int, raw: bytes, now_s: float) -> list[Effect]:
        """Process one batch of ``route``; it stays in the log while a command of it waits.

        One that cannot be read is skipped: a worker of another version must not block the call.
        """
        effects: list[Effect] = []
        if self.is_closing:
            return effects
        try:
            directives = decode_batch(raw)
        except BadFormat:
            effects.append(Count("bad_batch"))
            directives = []
        for directive in directives:
            self._one(route, directive, seq, now_s, effects)
        route.delivered_seq = seq
        epoch = route.epoch_of_acks(directives)
        if epoch != route.epoch and epoch in route.live_epochs:
            # Its gateway may have missed the channel's word, and find it in the log only.
            if route.is_newest:
                effects.append(LeftToAnother(route.call_sid, seq))
        else:
            self._done_with(route, seq, effects, is_own=epoch == route.epoch)
        return effects

    def tick(self, now_s: float) -> list[Effect]:
        """Send what waited for the gate; bounce the socket when it is time.

        A peer that answers no ping, against RFC 6455 5.5.2, is believed to have read its ack when the gate would open.
        """
        effects = self.confirmed() if now_s >= self._confirm_by_s else []
        effects += self._sent_waiting(now_s)
        if now_s >= self.bounce_at_s and self._unconfirmed is None:
            self.bounce_at_s = NEVER
            self.is_closing = True
            effects += [Count("bounced"), CloseSocket(1012, "reconnect once more so that jambonz releases its queue")]
        return effects

    def fall_back(self, fallbacks: Fallbacks, now_s: float) -> list[Effect]:
        """Answer the Hooks that nobody has answered in time, or while too much is unanswered."""
        effects: list[Effect] = []
        for owed in self._owed.due(now_s):
            effects.append(fallback_count(owed))
            frame = wire.ack_frame(owed.msgid, fallback_data(owed, fallbacks))
            self._answer(owed, frame, now_s, effects, (None, 0))
        return effects

    def _sent_waiting(self, now_s: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._waiting and self._may_write(now_s):
            effects += self.confirmed()
            route, seq, directive = self._waiting.pop(0)
            if isinstance(directive, Ack):
                behind = len(self._waiting)
                self._ack(route, directive, seq, now_s, effects)
                # A late one has become a command, which keeps its place.
                self._waiting = self._waiting[behind:] + self._waiting[:behind]
            else:
                self._write(directive, route, effects)
            if self.is_closing:
                for of, in_batch, refused in self._waiting:
                    if of is route and in_batch == seq:
                        _behind_a_close(refused, effects)
                # What is of other batches stays in the log for the next Connection.
                self._waiting = []
            self._done_with(route, seq, effects)
        return effects

    def _may_write(self, now_s: float) -> bool:
        return not self.is_closing and now_s >= max(self._gate_opens_at_s, self._read_by_s)

    # Below, effects are appended to a list handed down: five generators around each ack cost more than the ack.

    def _one(self, route: Route, directive: Directive, seq: int, now_s: float, effects: list[Effect]) -> None:
        if self.is_closing:
            _behind_a_close(directive, effects)
        elif not isinstance(directive, Ack):
            self._command(route, directive, seq, now_s, effects)
        elif self._waiting and now_s < self._read_by_s:
            # Behind a command that waits for an earlier ack: jambonz is to do them in this order.
            self._waiting.append((route, seq, directive))
        else:
            self._ack(route, directive, seq, now_s, effects)

    def _ack(self, route: Route, ack: Ack, seq: int, now_s: float, effects: list[Effect]) -> None:
        if ack.epoch != route.epoch:
            self._ack_of_another_socket(route, ack, seq, now_s, effects)
            return
        frame = wire.ack_frame(ack.msgid, ack.data)
        if len(frame) > wire.MAX_MESSAGE_BYTES:
            # Still owed: the worker may answer shorter, and the guard answers in any case (P10).
            effects.append(Count("command_refused"))
            _report(ack, OutcomeKind.REFUSED, effects, _too_big(frame))
        elif owed := self._owed.settle(ack.msgid):
            self._answer(owed, frame, now_s, effects, (route, seq))
            _report(ack, OutcomeKind.SENT, effects)
        elif self._owed.was_late(ack.msgid):
            self._late(route, ack, seq, now_s, effects)
        else:
            effects.append(Count("duplicate_ack"))
            _report(ack, OutcomeKind.REFUSED, effects, "the hook has been answered before")

    def _ack_of_another_socket(self, route: Route, ack: Ack, seq: int, now_s: float, effects: list[Effect]) -> None:
        if ack.epoch in route.live_epochs or not route.is_newest:
            return
        if self._inherited and (owed := self._owed.settle(self._inherited)):
            self._answer(owed, wire.ack_frame(owed.msgid, ack.data), now_s, effects, (route, seq))
            _report(ack, OutcomeKind.SENT, effects)
        elif ack.msgid == route.late_msgid:
            # It was in the log, and is repeated by a worker that cannot know whether it was (ADR 0019).
            effects.append(Count("duplicate_ack"))
        else:
            route.late_msgid = ack.msgid
            self._late(route, ack, seq, now_s, effects)

    def _late(self, route: Route, ack: Ack, seq: int, now_s: float, effects: list[Effect]) -> None:
        """Send the verbs of an ack that jambonz would discard as a command (pitfalls 7 and 8)."""
        effects.append(Count("late_ack"))
        if not ack.may_redirect or ack.data in _EMPTY:
            _report(ack, OutcomeKind.REFUSED, effects, "too late, and not an answer that can be given late")
            return
        if route.is_passed_over:
            _report(ack, OutcomeKind.REFUSED, effects, "too late, and jambonz takes commands on another websocket now")
            return
        frame = wire.redirect_frame(ack.data, call_sid=route.call_sid)
        self._command(route, Command(ack.id, frame, ack.reply_to), seq, now_s, effects)

    def _answer(
        self, owed: OwedAck, frame: bytes, now_s: float, effects: list[Effect], batch: tuple[Route | None, int]
    ) -> None:
        effects.append(Send(frame))
        if route := self._routes.get(owed.call_sid):
            route.answered(owed.msgid)
        else:
            # A Hook that came before its Call had a name belongs to the primary one, whichever that became.
            for candidate in self._routes.values():
                candidate.answered(owed.msgid)
        if owed.msgid == self._inherited:
            self._inherited = ""
            self.bounce(now_s)
        elif owed.kind is kinds.SESSION_NEW and self._gate_opens_at_s == NEVER:
            self._gate_opens_at_s = now_s + self._gate_s
        elif frame.endswith(_END_OF_VERBS):
            self._read_by_s = now_s + self._gate_s
            self._is_asked = False
        if owed.kind is kinds.SESSION_NEW:
            effects += self.confirmed()
            self._unconfirmed = (owed.call_sid, *batch)
            self._confirm_by_s = now_s + self._gate_s
            self._ask(effects)
        elif self._waiting and not self._is_asked and now_s < self._read_by_s:
            self._ask(effects)

    def _command(self, route: Route, directive: Command | Close, seq: int, now_s: float, effects: list[Effect]) -> None:
        if not route.is_newest:
            return
        if self._waiting or now_s < self._gate_opens_at_s or now_s < self._read_by_s:
            if now_s < self._read_by_s and not self._is_asked:
                self._ask(effects)
            self._waiting.append((route, seq, directive))
            if now_s < self._gate_opens_at_s:
                # One that waits for a pong only is sent within a moment, and its sender told so.
                _report(directive, OutcomeKind.QUEUED, effects)
        else:
            self._write(directive, route, effects)

    def _ask(self, effects: list[Effect]) -> None:
        """Ask by a ping whether the last ack has been read.

        jambonz does a command as soon as it reads it, but what an ack says only when it has gone through all that
        came with it: verbs that were appended in one read with the ack would go with the old ones, and an older ack
        would replace what a newer redirect says (PROTOCOL.md 2.4, ws:507-547, task:254-260).
        """
        self._is_asked = True
        self._pings += 1
        effects.append(Ping(self._pings))

    def _write(self, directive: Command | Close, route: Route, effects: list[Effect]) -> None:
        if self.is_over or route.is_over:
            effects.append(Count("command_refused"))
            _report(directive, OutcomeKind.GONE, effects, "the call has had its final status")
            return
        match directive:
            case Command(_, frame):
                refusal = _too_big(frame) if len(frame) > wire.MAX_MESSAGE_BYTES else ""
                effect: Effect = Send(frame)
            case Close(_, code):
                refusal = "" if code in _CLOSE_CODES else f"{code} is no close code a server may send"
                effect = CloseSocket(code, "the application asked for it")
            case _:
                assert_never(directive)
        if refusal:
            effects.append(Count("command_refused"))
            _report(directive, OutcomeKind.REFUSED, effects, refusal)
            return
        # A command must not be found in the log again, with an ack that nobody has confirmed.
        effects += self.confirmed()
        self.is_closing = isinstance(directive, Close)
        effects.append(effect)
        _report(directive, OutcomeKind.SENT, effects)

    def _done_with(self, route: Route, seq: int, effects: list[Effect], *, is_own: bool = False) -> None:
        """Delete a batch from the log, unless something of it waits, or must be found there by a newer Connection.

        ``is_own``: it holds nothing but acks of this socket.
        """
        if not (is_own or route.is_newest) or (self._unconfirmed is not None and self._unconfirmed[1:] == (route, seq)):
            return
        if self._waiting and any(waiting[0] is route and waiting[1] == seq for waiting in self._waiting):
            return
        effects.append(Delivered(route.call_sid, seq))


def _too_big(frame: bytes) -> str:
    return f"{len(frame)} bytes are over {wire.MAX_MESSAGE_BYTES}"


def _behind_a_close(directive: Directive, effects: list[Effect]) -> None:
    """Refuse what stands behind a Close in one batch: left in the log, the Close would be found again with it."""
    effects.append(Count("command_refused"))
    _report(directive, OutcomeKind.REFUSED, effects, "it stands behind a close of the websocket")


def _report(directive: Directive, kind: OutcomeKind, effects: list[Effect], reason: str = "") -> None:
    if directive.reply_to:
        effects.append(Report(directive.reply_to, Outcome(directive.id, kind, reason)))
