"""Commands of the server: which one jambonz follows, which it ignores without a word. Pure.

jambonz never confirms a command (PROTOCOL.md 3.1); the simulator writes down why it ignored one.
"""

from collections.abc import Callable
from typing import Any, Final

from jambonz_simulator.core.acks import Reply, ReplyAcked
from jambonz_simulator.core.frames import CommandFrame, is_truthy
from jambonz_simulator.core.info import CallInfo
from jambonz_simulator.core.kernel import Promise, Steps
from jambonz_simulator.core.session import Session
from jambonz_simulator.core.tasks.media import configure
from jambonz_simulator.core.tasks.rooms import conference_loop
from jambonz_simulator.core.verbs import hook_path

Handler = Callable[[Session, CommandFrame], str]
"""Follows a command; gives why it ignores it, ``""`` if it does not."""

# Lists, as what is looked up in them may be anything.
PARTICIPANT_ACTIONS: Final = ["tag", "untag", "coach", "uncoach", "hold", "unhold", "mute", "unmute", "kick"]


def receive_command(session: Session, connection: int, frame: CommandFrame) -> None:
    """Follow a command or ignore it, and write down which (PROTOCOL.md 3.1, 3.2)."""
    if session.is_over:
        # Sent before the server could know: nobody's fault.
        session.world.command(connection, frame, "ignored", "the call is over")
        return
    handler = _HANDLERS.get(frame.command) if isinstance(frame.command, str) else None
    reason = f"unknown command {frame.command!r}" if handler is None else handler(session, frame)
    session.world.command(connection, frame, "ignored" if reason else "accepted", reason)
    if reason:
        session.world.anomaly(connection, "command_ignored", f"{frame.command}: {reason}")


def _object(frame: CommandFrame) -> dict[str, Any]:
    return frame.data if isinstance(frame.data, dict) else {}


def _redirect(session: Session, frame: CommandFrame) -> str:
    if isinstance(frame.data, list):
        verbs = session.read(frame.data)
        if verbs is None:
            return "invalid verbs"
        if frame.queue_command:
            session.append(verbs)
        else:
            session.replace(verbs)
        return ""
    data = _object(frame)
    call_hook, child_hook = hook_path(data.get("call_hook")), hook_path(data.get("child_call_hook"))
    parent_verbs = data.get("parent_call")
    if call_hook is None and child_hook is None and not isinstance(parent_verbs, list):
        return "redirect wants verbs, call_hook, child_call_hook or parent_call"
    if child_hook is not None and session.child is None:
        return "no connected dial to take the child from"
    if isinstance(parent_verbs, list):
        verbs = session.read(parent_verbs)
        if verbs is None:
            return "invalid verbs"
        session.replace(verbs)
    if call_hook is not None or child_hook is not None:
        session.world.kernel.spawn(_ask_new_apps(session, call_hook, child_hook))
    return ""


def _ask_new_apps(session: Session, call_hook: str | None, child_hook: str | None) -> Steps[None]:
    """Ask for both before following either, as in the recording `call-adulting` (2.5, 6.7)."""
    child = session.child
    asked = None if call_hook is None else _ask(session, call_hook, session.info)
    asked_for_child = None if child_hook is None or child is None else _ask(session, child_hook, child)
    reply = None if asked is None else (yield asked)
    child_reply = None if asked_for_child is None else (yield asked_for_child)
    if child is not None and child_reply is not None:
        _grow_up(session, child, child_reply)
    if reply is not None and session.apply(reply) == "nothing" and isinstance(reply, ReplyAcked):
        if reply.data == []:
            session.replace([])
        else:
            # Missing data kills the current verb (cs:1649-1652).
            session.kill_current()


def _ask(session: Session, hook: str, info: CallInfo) -> Promise[Reply]:
    b3 = session.info.next_b3()
    return session.requestor.request("session:redirect", hook, info.to_data(), b3)


def _grow_up(session: Session, child: CallInfo, reply: Reply) -> None:
    """Give the child leg its verbs and with them a life of its own; the dial ends (6.7)."""
    verbs = session.read(reply.data) if isinstance(reply, ReplyAcked) else None
    if verbs is None or session.child is not child:
        return
    session.child = None
    session.adult(child, verbs, session.child_leaves)
    session.kill_current()


def _call_status(session: Session, frame: CommandFrame) -> str:
    match _object(frame).get("call_status"):
        case "completed" if session.is_answered:
            session.end("jambonz")
        case "completed":
            return "the call is not answered: use sip:decline or no-answer"
        case "no-answer" if session.is_answered:
            return "the call is answered"
        case "no-answer" if session.info.direction == "outbound":
            session.rings_off.settle("cancelled")
        case "no-answer":
            session.fail("no-answer", 503, "Service Unavailable")
        case other:
            return f"unknown call_status {other!r}"
    return ""


def _config(session: Session, frame: CommandFrame) -> str:
    if not isinstance(frame.data, dict):
        return "config wants an object"
    configure(session, frame.data)
    return ""


def _dial(_session: Session, frame: CommandFrame) -> str:
    data = _object(frame)
    return "" if "from" in data and "to" in data else "dial wants from and to"


def _dub(_session: Session, frame: CommandFrame) -> str:
    data = _object(frame)
    return "" if "action" in data and "track" in data else "dub wants action and track"


def _record(session: Session, frame: CommandFrame) -> str:
    data = _object(frame)
    actions = [f"{word}CallRecording" for word in ("start", "stop", "pause", "resume")]
    if data.get("action") not in actions:
        return "record wants a known action"
    # A start before the answer is kept until then (cs:771-866).
    is_early = not session.is_answered and data.get("type", "siprec") == "siprec"
    return "the call is not answered" if is_early and data["action"] != actions[0] else ""


def _mute(session: Session, frame: CommandFrame) -> str:
    value = _object(frame).get("mute_status") if isinstance(frame.data, dict) else frame.data
    if value not in ("mute", "unmute"):
        return "mute:status wants mute or unmute"
    return _only_in(session, "dial", "conference")


def _only_in(session: Session, *names: str) -> str:
    return "" if session.current_name in names else f"only in {' or '.join(names)}"


def _conference_mute(session: Session, frame: CommandFrame) -> str:
    if not _object(frame).get("conf_mute_status"):
        return "wants conf_mute_status"
    return _only_in(session, "conference")


def _conference_hold(session: Session, frame: CommandFrame) -> str:
    data = _object(frame)
    if not data.get("conf_hold_status"):
        return "wants conf_hold_status"
    reason = _only_in(session, "conference")
    return reason or _hold(session, data, is_on=data["conf_hold_status"] == "hold")


def _hold(session: Session, data: dict[str, Any], *, is_on: bool) -> str:
    was_on, session.is_on_hold = session.is_on_hold, is_on
    hook = hook_path(data.get("wait_hook"))
    if is_on and not was_on and hook is not None:
        session.world.kernel.spawn(_hold_loop(session, hook))
    return ""


def _hold_loop(session: Session, hook: str) -> Steps[None]:
    """Play the wait hook's verbs while the participant is on hold (conference:477-512)."""
    loop = session.world.kernel.spawn(conference_loop(session, hook))
    yield session.world.until(lambda: not session.is_on_hold or session.current_name != "conference")
    loop.kill()


def _participant(session: Session, frame: CommandFrame) -> str:
    data = _object(frame)
    action = data.get("action")
    if action not in PARTICIPANT_ACTIONS:
        return f"unknown participant action {action!r}"
    reason = _only_in(session, "conference")
    if reason:
        return reason
    if action == "kick":
        session.kill_current()
    elif action in ("hold", "unhold"):
        return _hold(session, data, is_on=action == "hold")
    return ""


def _listen(session: Session, frame: CommandFrame) -> str:
    data = _object(frame)
    if not (data.get("listen_status") or data.get("stream_status")):
        return "wants listen_status or stream_status"
    if session.current_name == "dial" and session.current is not None and "listen" in session.current:
        return ""
    return _only_in(session, "listen")


def _transcribe(session: Session, frame: CommandFrame) -> str:
    if not _object(frame).get("transcribe_status"):
        return "wants transcribe_status"
    if session.is_background_transcribing:
        return ""
    return _only_in(session, "transcribe", "dial", "listen")


def _whisper(session: Session, frame: CommandFrame) -> str:
    whisper = _object(frame).get("whisper")
    verbs = session.read(whisper if isinstance(whisper, list) else [whisper])
    if verbs is None or any(verb["verb"] not in ("say", "play") for verb in verbs):
        return "whisper wants say and play verbs"
    return _only_in(session, "dial", "listen")


def _sip_request(session: Session, frame: CommandFrame) -> str:
    request = _object(frame).get("sip_request")
    if not isinstance(request, dict) or "method" not in request:
        return "must be wrapped in sip_request"
    return "" if session.is_answered else "the call is not answered"


def _dtmf(session: Session, frame: CommandFrame) -> str:
    dtmf = _object(frame).get("dtmf")
    if not isinstance(dtmf, dict) or "digit" not in dtmf:
        return 'wants {"dtmf": {"digit"}}'
    return "" if session.is_answered else "the call is not answered"


def _boost(_session: Session, frame: CommandFrame) -> str:
    return "" if isinstance(frame.data, (str, int, float)) else "wants a number or '6dB'"


def _media_path(session: Session, frame: CommandFrame) -> str:
    if frame.data not in ("no-media", "partial-media", "full-media"):
        return "unknown media path"
    return _only_in(session, "dial")


def _model(session: Session, frame: CommandFrame) -> str:
    if session.model_task is None:
        return "the current verb is no llm verb"
    if not is_truthy(frame.data):
        return "no data"
    return session.model_task(frame.command, frame.tool_call_id, frame.data)


def _tts_tokens(session: Session, frame: CommandFrame) -> str:
    session.tts.tokens(frame.data)
    return "" if session.tts.state in ("connecting", "open") else "TTS streaming is off"


def _tts_flush(session: Session, _frame: CommandFrame) -> str:
    session.tts.flush()
    return "" if session.tts.state == "open" else "TTS streaming is not connected"


def _tts_clear(session: Session, _frame: CommandFrame) -> str:
    session.tts.clear()
    return "" if session.tts.state == "open" else "TTS streaming is not connected"


_HANDLERS: Final[dict[str, Handler]] = {
    "redirect": _redirect,
    "call:status": _call_status,
    "config": _config,
    "dial": _dial,
    "dub": _dub,
    "record": _record,
    "mute:status": _mute,
    "conf:mute-status": _conference_mute,
    "conf:hold-status": _conference_hold,
    "conf:participant-action": _participant,
    "listen:status": _listen,
    "stream:status": _listen,
    "transcribe:status": _transcribe,
    "whisper": _whisper,
    "sip:request": _sip_request,
    "dtmf": _dtmf,
    "boostAudioSignal": _boost,
    "media:path": _media_path,
    "llm:tool-output": _model,
    "llm:update": _model,
    "tts:tokens": _tts_tokens,
    "tts:flush": _tts_flush,
    "tts:clear": _tts_clear,
}

KNOWN_COMMANDS: Final = frozenset(_HANDLERS)
