"""Commands in the shapes that jambonz really accepts. Pure. Source: PROTOCOL.md 3.1 to 3.3.

jambonz answers a bad command with silence (pitfall 18), so what can be checked is checked here.
``callSid`` is always sent: without it commands on some sockets reach the wrong leg (PROTOCOL.md 3.1).
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

from jambonz_shared.wire import check_size, command_frame, redirect_frame
from jambonz_workers.verbs import Verbs, dump, verb_arrays, verb_name

# The only commands jambonz takes without data (PROTOCOL.md 3.1).
COMMANDS_WITHOUT_DATA: Final = frozenset({"llm:tool-output", "tts:flush", "tts:clear"})

# PROTOCOL.md 3.2, 3.4. Type checkers refuse all else where an application is written, ``_check_one_of`` where it runs.
RecordAction = Literal["start", "stop", "pause", "resume"]
RecordKind = Literal["siprec", "cloud"]
# ``kick`` works over the websocket only.
ParticipantAction = Literal["tag", "untag", "coach", "uncoach", "hold", "unhold", "mute", "unmute", "kick"]
DubAction = Literal["addTrack", "removeTrack", "silenceTrack", "playOnTrack", "sayOnTrack"]
MediaPath = Literal["no-media", "partial-media", "full-media"]
AgentUpdate = Literal["update_instructions", "inject_context", "update_tools", "generate_reply"]
Isolation = Literal["enable", "disable"]
Flow = Literal["pause", "resume"]

# What a dub needs besides its track: dub.js passes the member on as it is.
_DUB_NEEDS: Final[Mapping[str, str]] = {"playOnTrack": "play", "sayOnTrack": "say"}
# More at once is always "full" (PROTOCOL.md 4.3, pitfall 23).
MAX_TOKENS_CHARS: Final = 1000
# Of any other text jambonz makes 0 dB (feature-server lib/utils/parse-decibels.js).
_DECIBELS: Final = re.compile(r"[+-]?\d+(\.\d+)?\s*dB", re.IGNORECASE)


def command(name: str, data: object = None, *, leg: str, tool_call_id: str = "") -> bytes:
    """Return the frame of any command; ``data`` goes out exactly as given.

    Raises:
        ValueError: If ``name`` is empty, or ``data`` is one that jambonz takes for missing.
        TypeError: If JSON cannot hold ``data``.
        MessageTooBig: If the frame is bigger than jambonz accepts.
    """
    if not name:
        raise ValueError("a command needs a name")
    if not data and not isinstance(data, list | tuple | Mapping) and name not in COMMANDS_WITHOUT_DATA:
        # PROTOCOL.md 3.1, pitfall 19: an InvalidMessage error and an alert in the account.
        raise ValueError(f"command {name!r} needs data: jambonz refuses null, 0, false and empty text")
    if name == "redirect" and isinstance(data, Mapping) and "child_call" in data:
        # PROTOCOL.md 3.2, pitfall 43.
        raise ValueError("jambonz cannot take verbs for the child of a dial: use redirect_hook(child_call_hook=...)")
    body = b"" if data is None else dump(data, f"command {name!r}")
    frame = command_frame(name, body, call_sid=leg, tool_call_id=tool_call_id)
    return check_size(f"command {name!r}", frame)


def redirect(verbs: Verbs, *, leg: str, queue: bool = False) -> list[bytes]:
    """Return the frames that replace the application by ``verbs``, or append them with ``queue``.

    A list that is too long for one message goes on in appends, in order.

    Raises:
        TypeError: If a verb holds a value that JSON cannot.
        MessageTooBig: If one verb alone is too big.
    """
    first, *rest = verb_arrays(verbs)
    frames = [redirect_frame(first, call_sid=leg, queue=queue)]
    return frames + [redirect_frame(array, call_sid=leg, queue=True) for array in rest]


def redirect_hook(call_hook: str | None, child_call_hook: str | None, *, leg: str) -> bytes:
    """Return the command that makes jambonz ask a hook (``session:redirect``) for new verbs.

    Raises:
        ValueError: If both are missing.
    """
    hooks = {"call_hook": call_hook, "child_call_hook": child_call_hook}
    data = {name: hook for name, hook in hooks.items() if hook}
    if not data:
        raise ValueError("redirect_hook needs a call_hook or a child_call_hook")
    return command("redirect", data, leg=leg)


def redirect_parent(verbs: Verbs, *, leg: str) -> bytes:
    """Return the command that gives the parent of a dialled leg a new application."""
    return command("redirect", {"parent_call": verbs}, leg=leg)


def call_status(status: Literal["completed", "no-answer"], *, leg: str) -> bytes:
    """Return the command that ends a call; ``completed`` works once answered only (PROTOCOL.md 3.2)."""
    return command("call:status", {"call_status": status}, leg=leg)


def mute(status: Literal["mute", "unmute"], *, leg: str) -> bytes:
    """Return the command that mutes a leg of a dial, or a member of a conference."""
    return command("mute:status", {"mute_status": status}, leg=leg)


def whisper(verbs: Verbs, *, leg: str) -> bytes:
    """Return the command that plays verbs to one leg of a dial.

    Raises:
        ValueError: If there is no verb, or another than say and play.
    """
    if not verbs or any(verb_name(verb) not in ("say", "play") for verb in verbs):
        raise ValueError("whisper needs say or play verbs, and no others")
    return command("whisper", {"whisper": verbs}, leg=leg)


def dtmf(digit: str, duration_ms: int | None, *, leg: str) -> bytes:
    """Return the command that sends one digit.

    Raises:
        TypeError: If it is no text.
        ValueError: If it is not one of ``0-9*#A-D``.
    """
    if not isinstance(digit, str):
        raise TypeError(f"dtmf sends one digit as text, such as '1', got {type(digit).__name__}")
    if len(digit) != 1 or digit not in "0123456789*#ABCD":
        raise ValueError("dtmf sends one digit: 0-9, *, # or A-D")
    inner: dict[str, Any] = {"digit": digit}
    if duration_ms is not None:
        inner["duration"] = duration_ms
    # Must be wrapped: a flat {"digit": ...} is ignored (pitfall 26).
    return command("dtmf", {"dtmf": inner}, leg=leg)


def record(action: RecordAction, options: Mapping[str, object], *, leg: str) -> bytes:
    """Return a recording command; ``options`` in jambonz's spelling, ``None`` values left out.

    Raises:
        ValueError: If the action, or the kind of recording, is unknown.
    """
    _check_one_of(get_args(RecordAction), action, "a record action")
    given = {name: value for name, value in options.items() if value is not None}
    if "type" in given:
        _check_one_of(get_args(RecordKind), given["type"], "a recording's kind")
    return command("record", {"action": f"{action}CallRecording", **given}, leg=leg)


def flow(what: Literal["listen", "stream", "transcribe"], status: Flow, *, leg: str) -> bytes:
    """Return the command that pauses or resumes a running listen, stream or transcribe."""
    return command(f"{what}:status", {f"{what}_status": status}, leg=leg)


def conference(what: Literal["mute", "hold"], status: str, wait_hook: str | None, *, leg: str) -> bytes:
    """Return the command that mutes or holds in a conference; ``wait_hook`` is asked for verbs while on hold."""
    data = {f"conf_{what}_status": status}
    return command(f"conf:{what}-status", {**data, "wait_hook": wait_hook} if wait_hook else data, leg=leg)


def participant(action: str, tag: str | None, wait_hook: str | None, *, leg: str) -> bytes:
    """Return the command for what a member of a conference may do and hear.

    Raises:
        ValueError: If the action is unknown, or it needs a tag.
    """
    _check_one_of(get_args(ParticipantAction), action, "a participant action")
    if action in ("tag", "coach") and not tag:
        raise ValueError(f"participant action {action!r} needs a tag")
    options = {"tag": tag, "wait_hook": wait_hook}
    given = {name: value for name, value in options.items() if value is not None}
    return command("conf:participant-action", {"action": action, **given}, leg=leg)


def dial(from_: str, to: Mapping[str, object], options: Mapping[str, object], *, leg: str) -> bytes:
    """Return the command that starts another outbound call, as a body of createCall (PROTOCOL.md section 9).

    Raises:
        ValueError: If ``to`` does not say what it is.
    """
    if not from_ or not isinstance(to, Mapping) or not to.get("type"):
        raise ValueError("dial needs from_ and to, such as {'type': 'phone', 'number': '+15550001'}")
    return command("dial", {"from": from_, "to": dict(to), **options}, leg=leg)


def dub(action: str, track: str, options: Mapping[str, object], *, leg: str) -> bytes:
    """Return the command for an extra audio track.

    Raises:
        ValueError: If the action is unknown, the track has no name, or there is nothing to be played or said on it.
    """
    _check_one_of(get_args(DubAction), action, "a dub action")
    if not track:
        raise ValueError("dub needs a track")
    given = {name: value for name, value in options.items() if value is not None}
    if (need := _DUB_NEEDS.get(action)) and not given.get(need):
        raise ValueError(f"dub action {action!r} needs {need}=...")
    return command("dub", {"action": action, "track": track, **given}, leg=leg)


def boost(level: float | str, *, leg: str) -> bytes:
    """Return the command that changes how loud a leg hears; ``level`` in dB.

    Raises:
        ValueError: If it is no number of decibels, such as ``6`` or ``"-3dB"``.
    """
    if isinstance(level, bool) or not (_DECIBELS.search(level) if isinstance(level, str) else math.isfinite(level)):
        raise ValueError(f"expected a level in dB, such as 6 or '-3dB', got {level!r}")
    # jambonz takes a plain 0 for missing (PROTOCOL.md 3.2).
    return command("boostAudioSignal", level if isinstance(level, str) else f"{level}dB", leg=leg)


def media_path(path: str, *, leg: str) -> bytes:
    """Return the command that takes a dial's media through jambonz or past it.

    Raises:
        ValueError: If there is no such path.
    """
    _check_one_of(get_args(MediaPath), path, "a media path")
    return command("media:path", path, leg=leg)


def agent_update(kind: str, data: Mapping[str, object], *, leg: str) -> bytes:
    """Return the command that changes a running agent verb (PROTOCOL.md 3.4).

    Raises:
        ValueError: If there is no such kind of update.
    """
    _check_one_of(get_args(AgentUpdate), kind, "an agent update")
    return command("agent:update", {"type": kind, **data}, leg=leg)


def noise_isolation(status: Isolation, options: Mapping[str, object], *, leg: str) -> bytes:
    """Return the command that switches noise isolation (PROTOCOL.md 3.4).

    Raises:
        ValueError: If it is neither to be on nor off.
    """
    _check_one_of(get_args(Isolation), status, "noise isolation")
    given = {name: value for name, value in options.items() if value is not None}
    return command("noiseIsolation:status", {"noise_isolation_status": status, **given}, leg=leg)


def sip_request(method: str, options: Mapping[str, object], *, leg: str) -> bytes:
    """Return the command that sends a SIP request inside the dialog.

    Raises:
        ValueError: If it has no method.
    """
    if not method:
        raise ValueError("sip_request needs a method, such as INFO or MESSAGE")
    given = {name: value for name, value in options.items() if value is not None}
    # Must be wrapped (pitfall 26).
    return command("sip:request", {"sip_request": {"method": method, **given}}, leg=leg)


def tool_output(tool_call_id: str, data: object, *, leg: str) -> bytes:
    """Return the answer to an ``llm:tool-call``; its id is a top-level member (PROTOCOL.md 3.1).

    Raises:
        ValueError: If the id is empty.
    """
    if not tool_call_id:
        raise ValueError("tool_output needs the tool_call_id of the llm:tool-call")
    return command("llm:tool-output", data, leg=leg, tool_call_id=tool_call_id)


def tts_tokens(tokens: str, token_id: int | None, *, leg: str) -> bytes:
    """Return the command that offers text to the TTS stream; without an id jambonz sends no result (pitfall 23).

    Raises:
        TypeError: If it is no text: jambonz says nothing of it (PROTOCOL.md 4.2).
        ValueError: If there is no text, or more than jambonz takes at once.
    """
    if not isinstance(tokens, str):
        raise TypeError(f"tts_tokens expects text, got {type(tokens).__name__}")
    if not tokens:
        raise ValueError("tts_tokens needs text")
    if (length := _js_length(tokens)) > MAX_TOKENS_CHARS:
        raise ValueError(
            f"tts_tokens takes {MAX_TOKENS_CHARS} characters at once, got {length}; call.tts_stream() takes any"
        )
    data: dict[str, Any] = {"tokens": tokens} if token_id is None else {"id": token_id, "tokens": tokens}
    return command("tts:tokens", data, leg=leg)


def _js_length(text: str) -> int:
    """Return how long jambonz finds a text: in UTF-16, an emoji counts twice."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def stt_reconfigure(language_hints: Sequence[str], *, leg: str) -> bytes:
    """Return the command that changes the languages a recognizer expects (PROTOCOL.md 3.4).

    Raises:
        TypeError: If they are no list of texts, such as one text.
    """
    hints = [] if isinstance(language_hints, str) else list(language_hints)
    if isinstance(language_hints, str) or not all(isinstance(it, str) for it in hints):
        raise TypeError(f"stt_reconfigure expects a list of languages such as ['en-US'], got {language_hints!r}")
    return command("stt:reconfigure", {"languageHints": hints}, leg=leg)


def _check_one_of(known: tuple[str, ...], given: object, what: str) -> None:
    if given not in known:
        raise ValueError(f"expected {what} of {', '.join(known)}, got {given!r}")
