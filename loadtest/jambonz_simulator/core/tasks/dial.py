"""The dial verb: the B leg, its statuses, confirm session, bridge and end. Pure."""

from typing import Any, Final

from jambonz_simulator.core.acks import Reply, ReplyAcked
from jambonz_simulator.core.ears import Heard
from jambonz_simulator.core.info import CallInfo, child_call_info
from jambonz_simulator.core.kernel import TIMED_OUT, Promise, Steps
from jambonz_simulator.core.script import Dial
from jambonz_simulator.core.session import LastWords, Session, VerbEnd
from jambonz_simulator.core.tasks.media import playing
from jambonz_simulator.core.verbs import Verb, hook_path, number

_FAILURES: Final[dict[str, tuple[str, int, str]]] = {
    "busy": ("busy", 486, "Busy Here"),
    "no-answer": ("no-answer", 487, "Request Terminated"),
    "failed": ("failed", 503, "Service Unavailable"),
}


def dial(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Call somebody, bridge, and tell the actionHook how it ended (PROTOCOL.md 6.2)."""
    fate = session.take_dial()
    leg = child_call_info(session.info, _target(verb), session.world.ids)
    results = _results(leg)

    def told() -> dict[str, Any]:
        return {"dial_call_status": leg.call_status, "dial_sip_status": leg.sip_status, **results}

    session.last_words = LastWords(told, is_moot_if_replaced=True)
    try:
        if (yield from _answers(session, verb, leg, fate)):
            # Of a leg that is connected this is what the actionHook is told, however it ends (feature-server
            # lib/tasks/dial.js: _selectSingleDial).
            results |= {"dial_call_status": "completed", "dial_sip_status": 200}
            yield from _bridge(session, verb, fate)
    finally:
        if session.child is leg:
            session.child = None
            _leg_status(session, leg, "completed", 200, "OK")
        session.ears.close()
    return "next"


def _target(verb: Verb) -> str:
    targets = verb["target"]
    first = targets[0] if isinstance(targets, list) and targets else targets
    if not isinstance(first, dict):
        return "unknown"
    return str(first.get("number") or first.get("sipUri") or first.get("name") or "unknown")


def _results(leg: CallInfo) -> dict[str, Any]:
    return {"dial_call_sid": leg.call_sid, "dial_sbc_callid": leg.call_id}


def _leg_status(session: Session, leg: CallInfo, status: str, code: int, reason: str) -> None:
    """B-leg statuses go to the parent's socket, without b3 (PROTOCOL.md 2.10)."""
    leg.set_status(status, code, reason)
    if status == "completed":
        leg.duration_s = 0
    session.notifier.request("call:status", None, leg.to_data())


def _answers(session: Session, verb: Verb, leg: CallInfo, fate: Dial) -> Steps[bool]:
    """Ring the callee, and ask the app about who picks up; false if there is nobody to connect."""
    _leg_status(session, leg, "trying", 100, "Trying")
    yield session.world.kernel.sleep(0.0)
    _leg_status(session, leg, "ringing", 180, "Ringing")
    ring_s = session.world.within_s(number(verb.get("timeout"), 60.0))
    rung = yield session.world.kernel.first(session.world.passing(fate.ring_s), within_s=ring_s)
    if rung is TIMED_OUT or fate.end != "answer":
        end = "no-answer" if rung is TIMED_OUT else fate.end
        _leg_status(session, leg, *_FAILURES[end])
        return False
    _leg_status(session, leg, "in-progress", 200, "OK")
    session.child = leg
    confirm = hook_path(verb.get("confirmHook"))
    if confirm is None or (yield from _confirm(session, confirm, leg, fate)):
        return True
    # jambonz hangs up without another status: nobody listens to the leg any more (lib/utils/place-outdial.js:
    # _executeApp), so that the actionHook is told of one that is in progress.
    session.child = None
    return False


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
    limits = [s for s in (fate.talk_s, number(verb.get("timeLimit"), 0.0) or None) if s is not None]
    ends: Promise[None] = session.world.passing(min(limits)) if limits else Promise(session.world.kernel)
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
