"""The dial verb: the B leg, its statuses, confirm session, bridge and end. Pure."""

from typing import Any, Final

from jambonz_simulator.core.acks import Reply, ReplyAcked
from jambonz_simulator.core.ears import Heard
from jambonz_simulator.core.info import CallInfo, child_call_info
from jambonz_simulator.core.kernel import Promise, Steps
from jambonz_simulator.core.script import Dial
from jambonz_simulator.core.session import LastWords, Session, VerbEnd
from jambonz_simulator.core.tasks.media import playing
from jambonz_simulator.core.verbs import Verb, hook_path, number

_FAILURES: Final[dict[str, tuple[str, int, str]]] = {
    "busy": ("busy", 486, "Busy Here"),
    "no-answer": ("no-answer", 487, "Request Terminated"),
    "failed": ("failed", 503, "Service Unavailable"),
}


# The most legs that one dial rings (tasks/dial.js, filterAndLimit).
MAX_LEGS: Final = 10


def dial(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Call everybody at once, bridge the first who takes the call, and tell the actionHook how it ended (6.2)."""
    legs = _Legs(session, verb)
    session.last_words = LastWords(lambda: legs.results, is_moot_if_replaced=True)
    try:
        winner = yield legs.winner
        if winner is not None:
            leg, fate = winner
            legs.select(leg)
            yield from _bridge(session, verb, fate)
    finally:
        legs.end()
        session.ears.close()
    return "next"


class _Legs:
    """The legs of one dial; the first who is accepted wins.

    Attributes:
        results: What the actionHook is told: the last status of any leg, until one is connected or nobody answered.
        winner: The leg that is to be bridged, ``None`` if there is nobody.
    """

    def __init__(self, session: Session, verb: Verb) -> None:
        self._session = session
        self._verb = verb
        self.results: dict[str, Any] = {}
        self.winner: Promise[tuple[CallInfo, Dial] | None] = Promise(session.world.kernel)
        self._ringing: list[CallInfo] = []
        self._answered: list[CallInfo] = []
        self._has_selected = False
        self._calls = [session.world.kernel.spawn(self._call(*leg)) for leg in self._invited()]
        ring_s = session.world.within_s(number(verb.get("timeout"), 60.0))
        self._timer = session.world.kernel.after(ring_s, self._ring_no_more)

    def _invited(self) -> list[tuple[CallInfo, Dial]]:
        session = self._session
        self._ringing = [child_call_info(session.info, to, session.world.ids) for to in _targets(self._verb)]
        return [(leg, session.take_dial()) for leg in self._ringing]

    def _call(self, leg: CallInfo, fate: Dial) -> Steps[None]:
        """Ring one callee, and ask the app about who picks up."""
        self._tell(leg, "trying", 100, "Trying")
        yield self._session.world.kernel.sleep(0.0)
        self._tell(leg, "ringing", 180, "Ringing")
        yield self._session.world.passing(fate.ring_s)
        self._ringing.remove(leg)
        if fate.end != "answer":
            self._tell(leg, *_FAILURES[fate.end])
        else:
            self._timer.cancel()
            self._answered.append(leg)
            self._tell(leg, "in-progress", 200, "OK")
            confirm = hook_path(self._verb.get("confirmHook"))
            if confirm is None or (yield from _confirm(self._session, confirm, leg, fate)):
                self.winner.settle((leg, fate))
                return
            # jambonz hangs up without another status: nobody listens to the leg any more (lib/utils/place-outdial.js:
            # _executeApp), so that the actionHook is told of one that is in progress.
            self._answered.remove(leg)
        if not self._ringing and not self._answered:
            self.winner.settle(None)

    def _ring_no_more(self) -> None:
        self._cancel()
        self.winner.settle(None)

    def _cancel(self) -> None:
        """Stop to ring, and to ask the app about anybody."""
        self._timer.cancel()
        for call in self._calls:
            call.kill()
        for leg in self._ringing:
            self._tell(leg, *_FAILURES["no-answer"])
        self._ringing.clear()

    def select(self, leg: CallInfo) -> None:
        """Connect this leg and hang up all others."""
        self._session.child = leg
        self._has_selected = True
        # Of a leg that is connected this is what the actionHook is told, however it ends (feature-server
        # lib/tasks/dial.js: _selectSingleDial).
        self.results = _results(leg, "completed", 200)
        self._cancel()
        for other in self._answered:
            if other is not leg:
                self._tell(other, "completed", 200, "OK")
        self._answered = [leg]

    def end(self) -> None:
        """Hang up whoever has answered, but a leg that has got a life of its own."""
        self._timer.cancel()
        for call in self._calls:
            call.kill()
        for leg in self._answered:
            if not self._has_selected or self._session.child is leg:
                self._tell(leg, "completed", 200, "OK")
        self._session.child = None

    def _tell(self, leg: CallInfo, status: str, code: int, reason: str) -> None:
        """B-leg statuses go to the parent's socket, without b3 (PROTOCOL.md 2.10)."""
        leg.set_status(status, code, reason)
        if status == "completed":
            leg.duration_s = 0
        self._session.notifier.request("call:status", None, leg.to_data())
        if self.results.get("dial_call_status") not in ("completed", "no-answer"):
            self.results = _results(leg, status, code)


def _results(leg: CallInfo, status: str, code: int) -> dict[str, Any]:
    return {
        "dial_call_status": status,
        "dial_sip_status": code,
        "dial_call_sid": leg.call_sid,
        "dial_sbc_callid": leg.call_id,
    }


def _targets(verb: Verb) -> list[str]:
    """Give whom to call, each once (tasks/dial.js, filterAndLimit)."""
    targets = verb["target"]
    names = [_name(target) for target in (targets if isinstance(targets, list) else [targets])]
    return list(dict.fromkeys(names))[:MAX_LEGS] or ["unknown"]


def _name(target: Any) -> str:
    if not isinstance(target, dict):
        return "unknown"
    return str(target.get("number") or target.get("sipUri") or target.get("name") or "unknown")


def _confirm(session: Session, hook: str, leg: CallInfo, fate: Dial) -> Steps[bool]:
    """Ask the app about the callee; a late or bad answer is a "no" (PROTOCOL.md 2.9)."""
    reply: Reply = yield session.requestor.request("dial:confirm", hook, leg.to_data())
    if not isinstance(reply, ReplyAcked):
        return False
    if not isinstance(reply.data, list) or not reply.data:
        return True
    verbs = session.read(reply.data)
    if verbs is None:
        return False
    while verbs:
        verb, *verbs = verbs
        match verb["verb"]:
            case "hangup":
                return False
            case "gather":
                answer = yield from _confirm_gather(session, verb, leg, fate)
                verbs = verbs if answer is None else answer
            case "say" | "play" | "pause":
                yield playing(session, verb)
            case "tag" | "config":
                continue
            case _:
                session.world.anomaly(
                    session.requestor.connection or 0, "invalid_verbs", f"{verb['verb']} in a confirm session"
                )
                return False
    return True


def _confirm_gather(session: Session, verb: Verb, leg: CallInfo, fate: Dial) -> Steps[list[Verb] | None]:
    """The callee presses; the hook comes on the parent's socket with the child's info (2.9)."""
    for name in ("say", "play"):
        if isinstance(verb.get(name), dict):
            yield playing(session, {**verb[name], "verb": name})
    yield session.world.passing(0.5)
    hook = hook_path(verb.get("actionHook"))
    if hook is None:
        return None
    results = {"digits": fate.digits, "reason": "dtmfDetected"} if fate.digits else {"reason": "timeout"}
    reply: Reply = yield session.requestor.request("verb:hook", hook, {**leg.to_data(), **results})
    if isinstance(reply, ReplyAcked) and isinstance(reply.data, list) and reply.data:
        return session.read(reply.data)
    return None


def _bridge(session: Session, verb: Verb, fate: Dial) -> Steps[None]:
    """Both talk until the callee hangs up or the time limit; digits may go to the dtmfHook."""
    leaves = session.child_leaves = None if fate.talk_s is None else session.world.passing(fate.talk_s)
    limit_s = number(verb.get("timeLimit"), 0.0)
    limit = session.world.passing(limit_s) if limit_s else None
    ends: Promise[None] = session.world.kernel.first(*(end for end in (leaves, limit) if end is not None))
    hook = hook_path(verb.get("dtmfHook"))
    if hook is not None:
        session.ears.open(frozenset({"digits"}))
    while True:
        heard = yield session.world.kernel.first(ends, session.ears.next())
        if not isinstance(heard, Heard):
            return
        if hook is not None and _captures(verb.get("dtmfCapture"), heard.digits):
            session.hook(hook, {"dtmf": heard.digits}, verb)


def _captures(capture: Any, digits: str) -> bool:
    if isinstance(capture, dict):
        capture = [item for side in capture.values() if isinstance(side, list) for item in side]
    return isinstance(capture, list) and digits in capture
