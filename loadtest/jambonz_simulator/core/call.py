"""One simulated call: inputs of sockets, time and people; effects for a shell. Pure.

A shell feeds every input with its time, carries out the effects in their order, and calls `tick`
at `wakes_at_s`. Times are seconds of any steady clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from jambonz_simulator.core.acks import Reply, ReplyAcked, ReplyDead
from jambonz_simulator.core.caller import do_step, hang_up, play_script, press, speak, unfinished, wait_for
from jambonz_simulator.core.commands import receive_command
from jambonz_simulator.core.effects import AbortSocket, Effect, EndCall, Failure
from jambonz_simulator.core.ids import Ids
from jambonz_simulator.core.info import CallInfo, inbound_session_data, new_call_info, outbound_session_data
from jambonz_simulator.core.kernel import Promise, Steps
from jambonz_simulator.core.records import CallResult, HookRecord, Outcome
from jambonz_simulator.core.requestor import Requestor
from jambonz_simulator.core.script import DialEnd, Script, Step
from jambonz_simulator.core.session import RingsOff, Session, Surroundings
from jambonz_simulator.core.tasks.runners import RUNNERS
from jambonz_simulator.core.timing import JAMBONZ_TIMING, Timing
from jambonz_simulator.core.verbs import InvalidVerbs, Verb, read_verbs
from jambonz_simulator.core.world import World

# What an outbound call that rings may end with (PROTOCOL.md 2.10).
_DIAL_FAILURES: Final[dict[DialEnd | RingsOff, tuple[str, int, str]]] = {
    "busy": ("busy", 486, "Busy Here"),
    "declined": ("busy", 603, "Decline"),
    "no-answer": ("no-answer", 487, "Request Terminated"),
    "failed": ("failed", 503, "Service Unavailable"),
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a call lives.

    Attributes:
        timing: The times of the protocol.
        speed: How many times faster than in life media and people are.
        keeps_entries: Whether the transcript is kept.
    """

    timing: Timing = JAMBONZ_TIMING
    speed: float = 1.0
    keeps_entries: bool = True


class SimulatedCall:
    """The state machine of one call; every input gives the effects to carry out, in order."""

    def __init__(
        self,
        url: str,
        script: Script,
        ids: Ids,
        *,
        credentials: tuple[str, str] | None = None,
        pace: Pace = Pace(),
    ) -> None:
        self.world = World(ids, pace.timing, pace.speed, keeps_entries=pace.keeps_entries)
        self.script = script
        self.info = new_call_info(script, ids)
        self._url = url
        self._adulting_suffix = ""
        self._credentials = credentials
        self._requestors: list[Requestor] = []
        self._sessions: list[Session] = []
        self._outcome: Outcome | None = None
        self.result: CallResult | None = None
        requestor = self._open_requestor(url, credentials)
        self.session = self._new_session(self.info, requestor)

    # Inputs.

    def start(self, now_s: float) -> list[Effect]:
        """Begin the call; the first input."""
        self.world.kernel.now_s = now_s
        self.world.ledger.started_at_s = now_s
        is_inbound = self.script.direction == "inbound"
        self.world.kernel.spawn(self._arrive() if is_inbound else self._call_out())
        return self._digest(now_s)

    def tick(self, now_s: float) -> list[Effect]:
        """Let time pass."""
        return self._digest(now_s)

    def socket_opened(self, connection: int, now_s: float) -> list[Effect]:
        """The handshake of `OpenSocket` succeeded, the subprotocol echoed."""
        self.world.run(now_s)
        for requestor in self._owners(connection):
            requestor.socket_opened(connection)
        return self._digest(now_s)

    def socket_failed(self, connection: int, failure: Failure, now_s: float) -> list[Effect]:
        """The handshake of `OpenSocket` failed."""
        self.world.run(now_s)
        for requestor in self._owners(connection):
            requestor.socket_failed(connection, failure)
        return self._digest(now_s)

    def socket_closed(self, connection: int, code: int, now_s: float) -> list[Effect]:
        """An open socket is gone: closed by the server, lost (1006), or after `CloseSocket`."""
        self.world.run(now_s)
        for requestor in self._owners(connection):
            requestor.socket_closed(connection, code)
        return self._digest(now_s)

    def frames_received(self, connection: int, payloads: Iterable[str | bytes], now_s: float) -> list[Effect]:
        """Messages came in one read: commands are done on the way, what acks say only afterwards (pitfall 49)."""
        self.world.run(now_s)
        for payload in payloads:
            for requestor in self._owners(connection):
                requestor.frame_received(connection, payload)
        return self._digest(now_s)

    def do(self, step: Step, now_s: float) -> list[Effect]:
        """Have the caller do a step beside the script."""
        self.world.run(now_s)
        self.world.kernel.spawn(do_step(self.session, step))
        return self._digest(now_s)

    def press(self, digits: str, now_s: float) -> tuple[bool, list[Effect]]:
        """Press digits at once; also tells whether a verb listened."""
        self.world.run(now_s)
        was_heard = press(self.session, digits)
        return was_heard, self._digest(now_s)

    def speak(self, text: str, confidence: float, now_s: float) -> tuple[bool, list[Effect]]:
        """Say something at once; also tells whether a verb listened."""
        self.world.run(now_s)
        was_heard = speak(self.session, text, confidence)
        return was_heard, self._digest(now_s)

    def hang_up(self, now_s: float) -> list[Effect]:
        """The caller hangs up."""
        self.world.run(now_s)
        hang_up(self.session)
        return self._digest(now_s)

    @property
    def wakes_at_s(self) -> float | None:
        """When `tick` is due, ``None`` if never."""
        return None if self.result is not None else self.world.kernel.wakes_at_s

    @property
    def hooks(self) -> list[HookRecord]:
        """All messages so far that want an ack, in the order of sending."""
        return list(self.world.ledger.hooks.values())

    def _digest(self, now_s: float) -> list[Effect]:
        self.world.run(now_s)
        self._end_if_over()
        effects, self.world.effects = self.world.effects, []
        return effects

    def _owners(self, connection: int) -> list[Requestor]:
        return [requestor for requestor in self._requestors if requestor.owns(connection)]

    # Beginning.

    def _open_requestor(self, url: str, credentials: tuple[str, str] | None) -> Requestor:
        requestor = Requestor(self.world, url, credentials)
        requestor.on_crash = self._crash
        self._requestors.append(requestor)
        return requestor

    def _new_session(self, info: CallInfo, requestor: Requestor) -> Session:
        def open_requestor(url: str) -> Requestor:
            # No basic authentication but that of the URL (PROTOCOL.md 2.5).
            moved = self._open_requestor(url, None)
            self._listen(session, moved)
            return moved

        surroundings = Surroundings(RUNNERS, open_requestor, self._adult)
        session = Session(self.world, self.script, info, requestor, surroundings)
        requestor.on_reconnect_error = lambda: self._reconnect_failed(session)
        self._sessions.append(session)
        return session

    def _listen(self, session: Session, requestor: Requestor) -> None:
        requestor.on_command = lambda connection, frame: receive_command(session, connection, frame)
        requestor.on_reconnect_error = lambda: self._reconnect_failed(session)

    def _arrive(self) -> Steps[None]:
        """An inbound call: session:new first, its ack must carry the app (PROTOCOL.md 2.4)."""
        data = inbound_session_data(self.info, self.script)
        asked = self.session.requestor.request("session:new", None, data, self.info.next_b3())
        reply: Reply = yield self.world.kernel.first(asked, self.world.kernel.spawn(self._give_up()).finished)
        verbs = self._first_verbs(reply)
        if verbs is None:
            return
        yield self.world.kernel.sleep(self.world.timing.gate_s)
        self._listen(self.session, self.session.requestor)
        if self.session.is_cancelled:
            self.session.cancel()
            return
        self.session.set_status("trying", 100, "Trying")
        self.session.start(verbs)
        self.world.kernel.spawn(play_script(self.session))

    def _give_up(self) -> Steps[Reply]:
        """Have the caller cancel while a session:reconnect, which has no deadline, is not acked (PROTOCOL.md 2.6.3)."""
        yield self.world.until(lambda: self.world.ledger.reconnects > 0)
        yield from wait_for(self.session, lambda: self.session.is_cancelled or self.session.has_begun)
        yield self.world.kernel.sleep(self.world.timing.ack_timeout_s)
        return ReplyDead("timeout", "cancelled")

    def _first_verbs(self, reply: Reply) -> list[Verb] | None:
        match reply:
            case ReplyAcked(data):
                return self._inbound_app(data)
            case ReplyDead(by="connect", reason=reason):
                self._fail_to_connect(reason)
            case ReplyDead(by="drop", reason=reason):
                self._reject(reason)
            case _:
                # The error of a timeout is a string, so there is no better word (PROTOCOL.md 2.4).
                self._reject("unknown")
        return None

    def _inbound_app(self, data: Any) -> list[Verb] | None:
        try:
            verbs = read_verbs(data)
        except InvalidVerbs as error:
            self._reject(str(error))
            return None
        if not verbs:
            self._reject("no application provided")
        return verbs or None

    def _reject(self, reason: str) -> None:
        """The caller, if still there, hears 480 with an X-Reason; the socket is closed with 1001 (2.4)."""
        if self.session.is_cancelled:
            self.session.failure = (487, "Request Terminated")
        else:
            detail = f"480 X-Reason: {reason}"
            self.world.anomaly(self.session.requestor.connection or 0, "call_rejected", detail)
            self._outcome = Outcome("rejected", 480, reason)
        self._abandon(self.session, 1001)

    def _fail_to_connect(self, reason: str) -> None:
        self.world.anomaly(0, "connect_failed", reason)
        self._outcome = Outcome("failed", 480, reason)
        self._abandon(self.session, 1001)

    def _abandon(self, session: Session, code: int) -> None:
        session.is_over = True
        session.has_closed = True
        session.requestor.close(code)

    def _call_out(self) -> Steps[None]:
        """An outbound call: statuses first, session:new at the answer (PROTOCOL.md 2.4, 2.10)."""
        session, fate = self.session, self.script.answer
        self._listen(session, session.requestor)
        session.set_status("trying", 100, "Trying")
        yield self.world.kernel.sleep(0.0)
        session.set_status("ringing", 180, "Ringing")
        rung = yield self.world.kernel.first(self.world.passing(fate.ring_s), session.rings_off)
        end = rung or fate.end
        if end == "cancelled":
            # The websocket is closed before the 487 to the CANCEL could be told (_callReleased, _clearResources).
            session.end("jambonz")
        if session.is_over:
            return
        if end != "answer":
            yield from self._not_answered(session, end)
            return
        session.answer()
        session.start([])
        data = outbound_session_data(self.info, self.script)
        reply: Reply = yield session.requestor.request("session:new", None, data, self.info.next_b3())
        self._take_outbound_app(reply)
        self.world.kernel.spawn(play_script(session))

    def _not_answered(self, session: Session, end: DialEnd | RingsOff) -> Steps[None]:
        call_status, sip_status, sip_reason = _DIAL_FAILURES[end]
        session.failure = (sip_status, sip_reason)
        session.set_status(call_status, sip_status, sip_reason)
        session.is_over = True
        yield self.world.kernel.sleep(self.world.timing.failed_dial_close_s)
        session.requestor.close()
        session.has_closed = True

    def _take_outbound_app(self, reply: Reply) -> None:
        """An ack that brings no verbs leaves the call up in silence (PROTOCOL.md 2.4, pitfall 40)."""
        match reply:
            case ReplyAcked(data) if isinstance(data, list):
                verbs = self.session.read(data)
                if verbs:
                    self.session.replace(verbs)
            case ReplyDead(by="connect", reason=reason):
                self.world.anomaly(0, "connect_failed", reason)
            case _:
                pass

    # Legs that grow up.

    def _adult(self, child: CallInfo, verbs: list[Verb], leaves: Promise[None] | None) -> None:
        """Give the leg a socket and session of its own (PROTOCOL.md 2.7)."""
        # The object of the URL is shared, so the suffix grows with each adulting (po:460).
        self._adulting_suffix += "/adulting"
        requestor = self._open_requestor(self._url + self._adulting_suffix, self._credentials)
        session = self._new_session(child, requestor)
        session.tts.state = "none"
        session.is_answered = True
        self._listen(session, requestor)
        assert child.parent is not None
        data = {**child.to_data(), "parent_call_info": child.parent.to_data()}
        requestor.request("session:adulting", None, data)
        session.start(verbs)
        leaves = leaves or self.world.until(lambda: self.session.is_over)
        leaves.then(lambda _: session.end("caller"))

    # Ends.

    def _reconnect_failed(self, session: Session) -> None:
        """session:reconnect got no ack: the call is hung up (PROTOCOL.md 2.6.2)."""
        self.world.anomaly(0, "reconnect_failed", "session:reconnect was not acked: hung up (pitfall 9)")
        if session is self.session and self._outcome is None:
            self._outcome = Outcome("reconnect_failed", 200, "session:reconnect was not acked")
        session.end("jambonz")

    def _crash(self) -> None:
        """The feature server exits: all sockets are lost, no status is sent (pitfall 1)."""
        self._outcome = Outcome("crashed", 0, "an oversize frame in the closing phase (pitfall 1)")
        for requestor in self._requestors:
            for connection in requestor.sockets():
                self.world.do(AbortSocket(connection))
        self._finish()

    def _end_if_over(self) -> None:
        if self.result is not None or not all(session.has_closed for session in self._sessions):
            return
        if all(requestor.is_quiet for requestor in self._requestors):
            self._finish()

    def _finish(self) -> None:
        if self.result is not None:
            return
        self._check_expectations()
        ledger = self.world.ledger
        self.result = CallResult(
            script=self.script.name,
            call_sid=self.info.call_sid,
            direction=self.script.direction,
            outcome=self._outcome or self._natural_outcome(),
            duration_s=self.world.elapsed_s,
            hooks=tuple(ledger.hooks.values()),
            commands=tuple(ledger.commands),
            anomalies=tuple(ledger.anomalies),
            entries=tuple(ledger.entries),
            sockets=ledger.sockets,
            reconnects=ledger.reconnects,
            failed_connects=ledger.failed_connects,
            notices=len(ledger.notice_msgids),
        )
        self.world.do(EndCall(self.result))

    def _natural_outcome(self) -> Outcome:
        main = self.session.notifier
        if main.is_zombie:
            return Outcome("zombie", self.info.sip_status, "hooks could not be sent (2.6.3)")
        if main.is_deaf:
            return Outcome("deaf", self.info.sip_status, "the server closed with 1000 (1.3)")
        if self.session.failure is not None:
            return Outcome("unanswered", *self.session.failure)
        return Outcome("completed", self.info.sip_status, f"by {self.info.termination_by}")

    def _check_expectations(self) -> None:
        left = unfinished(self.session)
        if left:
            self.world.anomaly(0, "script_unfinished", f"the call ended before the caller could {', '.join(left)}")
        expects = self.script.expects
        kind = (self._outcome or self._natural_outcome()).kind
        unmet = [f"outcome {expects.outcome}, not {kind}"] * (expects.outcome not in (None, kind))
        acked = {hook.hook for hook in self.hooks if hook.is_acked}
        unmet += [f"hook {hook} acked" for hook in expects.hooks if hook not in acked]
        said = _texts([hook.data for hook in self.hooks])
        said += _texts([command.data for command in self.world.ledger.commands])
        unmet += [f"says {text!r}" for text in expects.says if text not in said]
        for what in unmet:
            self.world.anomaly(0, "expectation_unmet", what)


def _texts(verb_lists: list[Any]) -> str:
    """Give all texts of say verbs, the prompts of gathers included."""
    lines: list[str] = []
    for verbs in verb_lists:
        for verb in verbs if isinstance(verbs, list) else []:
            if isinstance(verb, dict):
                say = verb.get("say")
                lines.append(str((say if isinstance(say, dict) else verb).get("text", "")))
    return "\n".join(lines)
