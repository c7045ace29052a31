"""What can be done to a call, the same inside a handler, in background work and from any other process."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Generator, Mapping, Sequence
from typing import Any

from jambonz_shared.directive import Outcome
from jambonz_workers import commands
from jambonz_workers.commands import RecordAction

# jambonz takes 1000 as "done, never reconnect" (PROTOCOL.md 1.3).
NORMAL_CLOSURE = 1000

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


class Controls(ABC):
    """The commands of a call. Each method acts at once and returns its Outcome to be awaited.

    A command that jambonz would silently ignore raises instead: ``ValueError`` or ``TypeError`` for bad data,
    ``MessageTooBig`` for a single message over jambonz's limit.
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

    def command(self, name: str, data: object = None, *, leg: str | None = None, tool_call_id: str = "") -> Sending:
        """Send any command of jambonz with exactly this data, to the call itself or to ``leg``."""
        return self._send([commands.command(name, data, leg=leg or self.sid, tool_call_id=tool_call_id)])

    def redirect(self, verbs: object, queue: bool = False, *, leg: str | None = None) -> Sending:
        """Replace the running application by ``verbs``, or append them with ``queue``.

        A list over jambonz's message limit is split; the parts are appended in order.
        """
        return self._send(commands.redirect(verbs, leg=leg or self.sid, queue=queue))

    def redirect_hook(self, call_hook: str | None = None, child_call_hook: str | None = None) -> Sending:
        """Let jambonz ask a hook for new verbs; it comes back as ``session:redirect``."""
        return self._send([commands.redirect_hook(call_hook, child_call_hook, leg=self.sid)])

    def hangup(self) -> Sending:
        """End an answered call. An inbound call not answered yet is ended by the verb ``sip:decline`` instead."""
        return self._send([commands.call_status("completed", leg=self.sid)])

    def mute(self, leg: str | None = None) -> Sending:
        """Mute a leg of a running dial, or the call in a conference."""
        return self._send([commands.mute("mute", leg=leg or self.sid)])

    def unmute(self, leg: str | None = None) -> Sending:
        """Undo ``mute``."""
        return self._send([commands.mute("unmute", leg=leg or self.sid)])

    def whisper(self, verbs: object, leg: str | None = None) -> Sending:
        """Play say or play verbs to one leg of a running dial."""
        return self._send([commands.whisper(verbs, leg=leg or self.sid)])

    def dtmf(self, digit: str, duration_ms: int | None = None, *, leg: str | None = None) -> Sending:
        """Send one DTMF digit; the call must be answered."""
        return self._send([commands.dtmf(digit, duration_ms, leg=leg or self.sid)])

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
        return self._send([commands.record(action, options, leg=self.sid)])

    def listen_pause(self) -> Sending:
        """Pause the audio of the running listen verb."""
        return self._send([commands.listen("pause", leg=self.sid)])

    def listen_resume(self) -> Sending:
        """Resume the audio of the running listen verb."""
        return self._send([commands.listen("resume", leg=self.sid)])

    def sip_request(
        self,
        method: str,
        *,
        content_type: str | None = None,
        content: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Sending:
        """Send a SIP request inside the call's dialog, such as INFO or MESSAGE."""
        options = {"content_type": content_type, "content": content, "headers": headers}
        return self._send([commands.sip_request(method, options, leg=self.sid)])

    def tool_output(self, tool_call_id: str, data: object) -> Sending:
        """Answer an ``llm:tool-call``; ``data`` in the shape of the model's vendor (PROTOCOL.md 5.1)."""
        return self._send([commands.tool_output(tool_call_id, data, leg=self.sid)])

    def llm_update(self, data: object) -> Sending:
        """Change the running llm verb's session; ``data`` in the shape of the model's vendor."""
        return self._send([commands.command("llm:update", data, leg=self.sid)])

    def config(self, **properties: object) -> Sending:
        """Run a config verb at once beside the running one, such as ``config(notifyEvents=True)``."""
        return self._send([commands.command("config", properties, leg=self.sid)])

    def tts_tokens(self, tokens: str, *, token_id: int | None = None) -> Sending:
        """Offer text to the TTS stream; with a ``token_id`` a ``tts:tokens-result`` comes back."""
        return self._send([commands.tts_tokens(tokens, token_id, leg=self.sid)])

    def tts_flush(self) -> Sending:
        """Speak what the TTS stream still holds."""
        return self._send([commands.command("tts:flush", leg=self.sid)])

    def tts_clear(self) -> Sending:
        """Drop what the TTS stream still holds."""
        return self._send([commands.command("tts:clear", leg=self.sid)])
