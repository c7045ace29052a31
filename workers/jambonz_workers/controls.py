"""What can be done to a call, the same inside a handler, in background work and from any other process."""

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Generator, Mapping, Sequence
from typing import Any, Final, Literal

from jambonz_shared.errors import ClusterError
from jambonz_shared.outcome import Outcome, OutcomeKind
from jambonz_workers import commands
from jambonz_workers.call_facts import CallFacts
from jambonz_workers.capabilities import Target, check_command, check_verbs
from jambonz_workers.commands import AgentUpdate, DubAction, Isolation, MediaPath, ParticipantAction, RecordAction
from jambonz_workers.phase import WouldEndParent, WrongState
from jambonz_workers.verbs import verb_list

log = logging.getLogger(__name__)

# jambonz takes 1000 as "done, never reconnect" (PROTOCOL.md 1.3).
NORMAL_CLOSURE = 1000

# An application would have each of its calls warned of the same thing; names of unknown commands it may make up.
_WARNED_LIMIT: Final = 100
_warned: set[str] = set()

Sending = Awaitable[Outcome]
"""Awaiting it gives the Outcome. The command is on its way even if nobody awaits it."""


class Settled:
    """An Outcome that is known at once; need not be awaited."""

    __slots__ = ("_outcome",)

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def __await__(self) -> Generator[Any, None, Outcome]:
        yield from ()
        return self._outcome


class Posted:
    """A command that goes out at once, for whoever waits for its Outcome."""

    __slots__ = ("_directive_id", "outcome")

    def __init__(self, directive_id: str, outcome: asyncio.Future[Outcome]) -> None:
        self._directive_id: Final = directive_id
        self.outcome: Final = outcome

    def committed(self, error: ClusterError | None) -> None:
        """Tell that it is on its way, or why it is not."""
        if self.outcome.done():
            return
        if error:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(Outcome(self._directive_id, OutcomeKind.QUEUED))

    def refused(self, waiting: int) -> None:
        """Tell that too many wait already."""
        if not self.outcome.done():
            reason = f"{waiting} batches wait for the call's websocket"
            self.outcome.set_result(Outcome(self._directive_id, OutcomeKind.REFUSED, reason))


def _warn_once(message: str, extra: Mapping[str, str]) -> None:
    about = f"{extra['command']} {extra.get('why', '')}"
    if about not in _warned and len(_warned) < _WARNED_LIMIT:
        _warned.add(about)
        log.warning(message, extra=extra)


class Controls(CallFacts):
    """The commands of a call. Each method acts at once and returns its Outcome to be awaited.

    A command that jambonz would surely ignore raises instead: ``ValueError`` or ``TypeError`` for bad data,
    ``MessageTooBig`` for a single message over jambonz's limit, ``WrongState`` when its time is past,
    ``WouldEndParent`` when it would end another call than this one. One that jambonz ignores only if the call is
    still as jambonz told last is sent, with a warning in the log (once per kind and process).
    """

    __slots__ = ("sid",)

    def __init__(self, sid: str) -> None:
        self.sid = sid

    @abstractmethod
    def _send(self, frames: Sequence[bytes]) -> Sending:
        """Send command frames, in order."""

    @abstractmethod
    def close(self, code: int = NORMAL_CLOSURE) -> Sending:
        """Close the call's newest websocket; jambonz reconnects unless the code is 1000."""

    @property
    @abstractmethod
    def target(self) -> Target | None:
        """The line of jambonz that the app is made for; None: whatever comes."""

    def command(self, name: str, data: object = None, *, leg: str | None = None, tool_call_id: str = "") -> Sending:
        """Send any command of jambonz with exactly this data, to the call or to ``leg``, in whatever state it is.

        A name that no version of jambonz is known to have is sent all the same, with a warning in the log.

        Raises:
            Unsupported: If the app's target lacks it.
        """
        return self._send_known(name, commands.command(name, data, leg=leg or self.sid, tool_call_id=tool_call_id))

    def _why_refused(self, _: str) -> str:
        """Return why jambonz will surely ignore a command; empty if it might follow it."""
        return ""

    def _why_doubted(self, _: str) -> str:
        """Return why jambonz would ignore a command, if the call is still as it was told; empty if nobody knows."""
        return ""

    def _issue(self, name: str, frame: bytes, leg: str | None = None, *, asking: str = "") -> Sending:
        """Send a command of a typed method; ``asking`` names it where its name alone does not tell what it needs."""
        command = asking or name
        if leg in (None, self.sid):
            if why := self._why_refused(command):
                raise WrongState(self.sid, command, why)
            if why := self._why_doubted(command):
                extra = {"call_sid": self.sid, "command": command, "why": why}
                _warn_once("jambonz may ignore this command; it is sent all the same", extra)
        return self._send_known(name, frame)

    def _send_known(self, name: str, frame: bytes) -> Sending:
        if not check_command(name, self.target):
            _warn_once("jambonz is not known to have this command; it is sent all the same", {"command": name})
        return self._send([frame])

    def check_verbs(self, verbs: object) -> None:
        """Let pass verbs that may be sent.

        Raises:
            Unsupported: If the app's target lacks one.
            InvalidVerbs: If verbs are validated, and one is wrong.
        """
        if self.target:
            check_verbs(verb_list(verbs), self.target)

    def _checked(self, verbs: object) -> list[dict[str, Any]]:
        """Return verbs that may be sent as a list: a builder of the SDK is empty once it was read."""
        found = verb_list(verbs)
        self.check_verbs(found)
        return found

    # The application of the call.

    def redirect(self, verbs: object, queue: bool = False, *, leg: str | None = None) -> Sending:
        """Replace the running application by ``verbs``, or append them with ``queue``.

        A list over jambonz's message limit is split; the parts are appended in order.
        """
        verbs = self._checked(verbs)
        return self._send(commands.redirect(verbs, leg=leg or self.sid, queue=queue))

    def redirect_hook(self, call_hook: str | None = None, child_call_hook: str | None = None) -> Sending:
        """Let jambonz ask a hook for new verbs; it comes back as ``session:redirect``."""
        return self._issue("redirect", commands.redirect_hook(call_hook, child_call_hook, leg=self.sid))

    def redirect_parent(self, verbs: object) -> Sending:
        """Replace the application of the call that dialled this leg."""
        verbs = self._checked(verbs)
        return self._issue("redirect", commands.redirect_parent(verbs, leg=self.sid))

    def hangup(self) -> Sending:
        """End an answered call; one not answered yet is ended by ``no_answer`` or the verb ``sip:decline``.

        Raises:
            WouldEndParent: For a leg of a dial; the error names how to end it.
        """
        return self._end("hangup", "completed")

    def no_answer(self) -> Sending:
        """Refuse an inbound call that is not answered yet (503), or cancel an outbound one that rings."""
        return self._end("no-answer", "no-answer")

    def _end(self, command: str, status: Literal["completed", "no-answer"]) -> Sending:
        if not self.has_own_socket:
            raise WouldEndParent(self.sid, command, self.parent_call_sid)
        return self._issue("call:status", commands.call_status(status, leg=self.sid), asking=command)

    def config(self, **properties: object) -> Sending:
        """Run a config verb at once beside the running one, such as ``config(notifyEvents=True)``."""
        return self._issue("config", commands.command("config", properties, leg=self.sid))

    def tag(self, **data: object) -> Sending:
        """Set the call's ``customerData``; only the commercial line has this command, else use the verb ``tag``."""
        return self._issue("tag", commands.command("tag", data, leg=self.sid))

    def dial(self, from_: str, to: Mapping[str, object], **options: object) -> Sending:
        """Start another outbound call, independent of this one; ``options`` as in createCall, such as ``call_hook``.

        jambonz does not tell its call_sid; use ``Calls.create`` to learn it.
        """
        return self._issue("dial", commands.dial(from_, to, options, leg=self.sid))

    # Legs of a dial.

    def mute(self, leg: str | None = None) -> Sending:
        """Mute a leg of a running dial, or the call in a conference."""
        return self._issue("mute:status", commands.mute("mute", leg=leg or self.sid), leg)

    def unmute(self, leg: str | None = None) -> Sending:
        """Undo ``mute``."""
        return self._issue("mute:status", commands.mute("unmute", leg=leg or self.sid), leg)

    def whisper(self, verbs: object, leg: str | None = None) -> Sending:
        """Play say or play verbs to one leg of a running dial."""
        verbs = self._checked(verbs)
        return self._issue("whisper", commands.whisper(verbs, leg=leg or self.sid), leg)

    def media_path(self, path: MediaPath) -> Sending:
        """Take the media of a running dial through jambonz, or past it."""
        return self._issue("media:path", commands.media_path(path, leg=self.sid))

    def boost(self, level_db: float | str, leg: str | None = None) -> Sending:
        """Change how loud a leg hears the other, such as ``boost(6)`` or ``boost("-3dB")``."""
        return self._issue("boostAudioSignal", commands.boost(level_db, leg=leg or self.sid), leg)

    def dub(self, action: DubAction, track: str, *, leg: str | None = None, **options: object) -> Sending:
        """Work on an extra audio track; ``options`` are those of the verb: ``play``, ``say``, ``loop``, ``gain``."""
        return self._issue("dub", commands.dub(action, track, options, leg=leg or self.sid), leg)

    # Conferences.

    def conference_mute(self) -> Sending:
        """Mute all of the conference but its moderators."""
        return self._issue("conf:mute-status", commands.conference("mute", "mute", None, leg=self.sid))

    def conference_unmute(self) -> Sending:
        """Undo ``conference_mute``."""
        return self._issue("conf:mute-status", commands.conference("mute", "unmute", None, leg=self.sid))

    def conference_hold(self, wait_hook: str | None = None) -> Sending:
        """Hold the call in its conference; ``wait_hook`` is asked for verbs again and again meanwhile."""
        return self._issue("conf:hold-status", commands.conference("hold", "hold", wait_hook, leg=self.sid))

    def conference_unhold(self) -> Sending:
        """Undo ``conference_hold``."""
        return self._issue("conf:hold-status", commands.conference("hold", "unhold", None, leg=self.sid))

    def participant(
        self, action: ParticipantAction, *, tag: str | None = None, wait_hook: str | None = None
    ) -> Sending:
        """Tag, coach, hold, mute or kick the call in its conference; ``coach`` is heard by those with the ``tag``."""
        return self._issue("conf:participant-action", commands.participant(action, tag, wait_hook, leg=self.sid))

    # Media.

    def dtmf(self, digit: str, duration_ms: int | None = None, *, leg: str | None = None) -> Sending:
        """Send one DTMF digit; the call must be answered."""
        return self._issue("dtmf", commands.dtmf(digit, duration_ms, leg=leg or self.sid), leg)

    def record(
        self,
        action: RecordAction,
        *,
        siprec_server_url: str | None = None,
        recording_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        kind: str | None = None,
    ) -> Sending:
        """Start, stop, pause or resume recording; ``kind`` is ``siprec`` (jambonz's default) or ``cloud``."""
        options = {
            "type": kind,
            "siprecServerURL": siprec_server_url,
            "recordingID": recording_id,
            "headers": headers,
        }
        return self._issue("record", commands.record(action, options, leg=self.sid))

    def listen_pause(self) -> Sending:
        """Pause the audio of the running listen verb."""
        return self._issue("listen:status", commands.flow("listen", "pause", leg=self.sid))

    def listen_resume(self) -> Sending:
        """Resume the audio of the running listen verb."""
        return self._issue("listen:status", commands.flow("listen", "resume", leg=self.sid))

    def stream_pause(self) -> Sending:
        """Pause the audio of the running stream verb."""
        return self._issue("stream:status", commands.flow("stream", "pause", leg=self.sid))

    def stream_resume(self) -> Sending:
        """Resume the audio of the running stream verb."""
        return self._issue("stream:status", commands.flow("stream", "resume", leg=self.sid))

    def transcribe_pause(self) -> Sending:
        """Pause transcription, that of the background too."""
        return self._issue("transcribe:status", commands.flow("transcribe", "pause", leg=self.sid))

    def transcribe_resume(self) -> Sending:
        """Resume transcription."""
        return self._issue("transcribe:status", commands.flow("transcribe", "resume", leg=self.sid))

    def sip_request(
        self,
        method: str,
        *,
        content_type: str | None = None,
        content: str | None = None,
        headers: Mapping[str, str] | None = None,
        leg: str | None = None,
    ) -> Sending:
        """Send a SIP request inside the call's dialog, such as INFO or MESSAGE."""
        options = {"content_type": content_type, "content": content, "headers": headers}
        return self._issue("sip:request", commands.sip_request(method, options, leg=leg or self.sid), leg)

    # Models and streamed text.

    def tool_output(self, tool_call_id: str, data: object) -> Sending:
        """Answer an ``llm:tool-call``; ``data`` in the shape of the model's vendor. ``@app.tool`` does it by itself."""
        return self._issue("llm:tool-output", commands.tool_output(tool_call_id, data, leg=self.sid))

    def llm_update(self, data: object) -> Sending:
        """Change the running llm verb's session; ``data`` in the shape of the model's vendor."""
        return self._issue("llm:update", commands.command("llm:update", data, leg=self.sid))

    def agent_update(self, kind: AgentUpdate, **data: object) -> Sending:
        """Change the running agent verb, such as ``agent_update("update_instructions", instructions="...")``."""
        return self._issue("agent:update", commands.agent_update(kind, data, leg=self.sid))

    def tts_tokens(self, tokens: str, *, token_id: int | None = None) -> Sending:
        """Offer at most 1,000 characters to the TTS stream; with a ``token_id`` a ``tts:tokens-result`` comes back."""
        return self._issue("tts:tokens", commands.tts_tokens(tokens, token_id, leg=self.sid))

    def tts_flush(self) -> Sending:
        """Speak what the TTS stream still holds."""
        return self._issue("tts:flush", commands.command("tts:flush", leg=self.sid))

    def tts_clear(self) -> Sending:
        """Drop what the TTS stream still holds."""
        return self._issue("tts:clear", commands.command("tts:clear", leg=self.sid))

    def noise_isolation(self, status: Isolation, **options: object) -> Sending:
        """Switch noise isolation; ``options``: ``vendor``, ``level``, ``model``. Commercial line only."""
        return self._issue("noiseIsolation:status", commands.noise_isolation(status, options, leg=self.sid))

    def stt_reconfigure(self, language_hints: Sequence[str]) -> Sending:
        """Change the languages a recognizer expects; none lets it find out. Commercial line only."""
        return self._issue("stt:reconfigure", commands.stt_reconfigure(language_hints, leg=self.sid))

    def room_say(self, **properties: object) -> Sending:
        """Say something to all in the room; properties of the say verb. Commercial line only."""
        return self._issue("room:say", commands.command("room:say", properties, leg=self.sid))

    def room_play(self, **properties: object) -> Sending:
        """Play something to all in the room; properties of the play verb. Commercial line only."""
        return self._issue("room:play", commands.command("room:play", properties, leg=self.sid))
