"""Verbs that hand over or talk SIP: redirect, listen, transcribe, sip:refer, sip:request, message. Pure."""

from typing import Any

from jambonz_simulator.core.kernel import Promise, Steps
from jambonz_simulator.core.session import LastWords, Session, VerbEnd, ends_call
from jambonz_simulator.core.urls import is_absolute_ws, is_usable
from jambonz_simulator.core.verbs import Verb, hook_path, number


def redirect(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Ask another path, or another application on a new socket; no ack ends the call (2.5)."""
    hook = hook_path(verb["actionHook"]) or "/"
    if is_absolute_ws(hook) and not is_usable(hook):
        session.world.anomaly(0, "connect_failed", f"redirect to {hook!r}")
        return "ends_call"
    if is_absolute_ws(hook):
        session.move_to(hook, hook_path(verb.get("statusHook")))
    session.last_words = LastWords(dict, if_failed=ends_call, kind="session:redirect")
    yield session.world.kernel.sleep(0.0)
    return "next"


def listen(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Fork audio until killed or the time limit. The audio socket itself is not simulated."""
    since_s = session.world.elapsed_s

    def results() -> dict[str, Any]:
        return {"dial_call_duration": int(session.world.elapsed_s - since_s)}

    session.last_words = LastWords(results)
    limit = number(verb.get("maxLength"), 0.0) or number(verb.get("timeout"), 0.0)
    yield session.world.passing(limit) if limit else Promise(session.world.kernel)
    return "next"


def transcribe(session: Session, _verb: Verb) -> Steps[VerbEnd]:
    """Transcribe until killed; transcriptions come from the test (`SendHook`)."""
    while True:
        yield Promise(session.world.kernel)


def sip_refer(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Transfer by REFER, accepted by the far end."""
    hook = hook_path(verb.get("eventHook"))
    if hook is not None:
        session.hook(hook, {"event": "transfer-status", "call_status": 200}, verb)
    yield session.world.passing(0.5)
    session.last_words = LastWords(lambda: {"refer_status": 202, "final_referred_call_status": 200})
    return "next"


def sip_request(session: Session, _verb: Verb) -> Steps[VerbEnd]:
    """Send an in-dialog request; a failed hook ends the call (PROTOCOL.md 2.8)."""
    yield session.world.passing(0.1)
    session.last_words = LastWords(lambda: {"result": "success", "sip_status": 200}, if_failed=ends_call)
    return "next"


def message(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Send an SMS; the hook is not awaited (message:62-117)."""
    yield session.world.passing(0.1)
    hook = hook_path(verb.get("actionHook"))
    if hook is not None:
        sid = session.world.ids.sid()
        session.hook(hook, {"message_sid": sid, "message_status": "success"}, verb)
    return "next"


def bot(session: Session, _verb: Verb) -> Steps[VerbEnd]:
    """dialogflow, lex, rasa: talk to a bot until killed; their events come from the test."""
    while True:
        yield Promise(session.world.kernel)
