"""The buffer for streamed TTS tokens: full, paused, resumed, flushed late. Pure.

The model of ``lib/utils/tts-streaming-buffer.js``; rules and numbers are those of PROTOCOL.md 4.
The voice speaks at once here: text that left the buffer is spoken.
"""

import re
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from jambonz_simulator.core.kernel import Timer
from jambonz_simulator.core.world import World

HIGH_WATER_CHARS: Final = 1000
RESUME_CHARS: Final = 200
IDLE_S: Final = 1.0

# Besides those whose name begins with "custom" (PROTOCOL.md 4.1; ttsb:419-426).
STREAMING_VENDORS: Final = frozenset({"deepgram", "cartesia", "elevenlabs", "rimelabs", "google"})

# Up to the last sentence end: a mark behind no digit, or a blank line (PROTOCOL.md 4.3).
_SENTENCES: Final = re.compile(r".*(?:(?<!\d)[.!?](?=\s|$)|[\u3002\uff01\uff1f]|\n\s*\n)", re.DOTALL)

Notice: TypeAlias = Callable[[str, dict[str, Any]], None]
State: TypeAlias = Literal["none", "off", "connecting", "open", "failed"]


class TtsBuffer:
    """Text that the application streamed and the voice has not spoken yet.

    Attributes:
        state: ``none`` if the leg has no buffer (adulting, 2.7); ``off`` until switched on;
            ``connecting`` until the vendor answers.
        spoken: Text that went to the voice.
    """

    def __init__(self, world: World, notice: Notice) -> None:
        self._world = world
        self._notice = notice
        self._vendor = ""
        self._pieces: list[str] = []
        self._flushes = False
        self._is_paused = False
        self._idle: Timer | None = None
        self.state: State = "off"
        self.spoken: list[str] = []

    @property
    def size_chars(self) -> int:
        """Characters in the buffer."""
        return sum(map(len, self._pieces))

    def start(self, vendor: str) -> None:
        """Switch on: tokens are taken at once, spoken when the vendor has connected.

        A vendor that cannot stream never connects, of which no event tells (PROTOCOL.md 4.4).
        """
        if self.state in ("none", "connecting", "open"):
            return
        self.state = "connecting"
        self._vendor = vendor
        connects = vendor in STREAMING_VENDORS or vendor.startswith("custom")
        self._world.kernel.after(self._world.within_s(0.01), self._connected if connects else self._refused)

    def stop(self) -> None:
        """Switch off; ``stream_closed`` is not sent at the end of a call (PROTOCOL.md 4.4)."""
        self._reset()
        if self.state != "none":
            self.state = "off"

    def switch_off(self) -> None:
        """Switch off by the application or the end of a say verb, which is told."""
        if self.state not in ("none", "off"):
            self.stop()
            self._event("stream_closed")

    def interrupt(self) -> bool:
        """The caller barged in: drop all; true if the stream is on."""
        if self.state != "open":
            return False
        self._reset()
        return True

    def tokens(self, data: Any) -> None:
        """Take a ``tts:tokens`` command and send its result, if it has an id."""
        fields = data if isinstance(data, dict) else {}
        result = self._offer(fields.get("tokens"))
        if "id" in fields:
            self._notice("tts:tokens-result", {"id": fields["id"], **result})

    def flush(self) -> None:
        """Speak the rest: at once if nothing is queued, else with the next token or timer (4.3)."""
        if self.state == "open" and self._pieces:
            self._flushes = True
            self._restart_idle()

    def clear(self) -> None:
        """Drop all, without ``stream_resumed``; only when connected."""
        if self.state == "open":
            self._reset()

    def _offer(self, tokens: Any) -> dict[str, Any]:
        if self.state == "failed":
            return {"status": "failed", "reason": f"connection to {self._vendor} failed"}
        if self.state in ("none", "off") or (tokens is not None and not isinstance(tokens, str)):
            return {}
        if not tokens:
            return {"status": "failed", "reason": "missing tokens"}
        if self._flushes:
            self._speak_all()
        if not self._pieces and not tokens.strip():
            return {"status": "ok"}
        if self.size_chars + len(tokens) > HIGH_WATER_CHARS:
            if not self._is_paused:
                self._is_paused = True
                self._event("stream_paused")
            return {"status": "failed", "reason": "full"}
        self._pieces.append(tokens)
        if self.state == "open":
            self._speak_sentences()
            self._restart_idle()
        return {"status": "ok"}

    def _connected(self) -> None:
        if self.state == "connecting":
            self.state = "open"
            self._event("stream_open")
            self._speak_sentences()
            self._restart_idle()

    def _refused(self) -> None:
        if self.state == "connecting":
            self.state = "failed"

    def _speak_sentences(self) -> None:
        match = _SENTENCES.match("".join(self._pieces))
        if match is not None:
            self._speak(match.end())

    def _restart_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._world.kernel.after(self._world.within_s(IDLE_S), self._speak_words)

    def _speak_words(self) -> None:
        if self.state != "open":
            return
        if self._flushes:
            self._speak_all()
            return
        text = "".join(self._pieces)
        end = text.rstrip(text[-1:] if text[-1:].isspace() else "").rfind(" ") + 1
        if text[-1:].isspace():
            end = len(text)
        if end:
            self._speak(end)

    def _speak(self, end: int) -> None:
        text = "".join(self._pieces)
        self.spoken.append(text[:end])
        self._pieces = [text[end:]] if text[end:] else []
        if self._is_paused and self.size_chars <= RESUME_CHARS:
            self._is_paused = False
            self._event("stream_resumed")

    def _speak_all(self) -> None:
        """A flush never sends ``stream_resumed`` (PROTOCOL.md 4.4)."""
        self.spoken.append("".join(self._pieces))
        self._pieces = []
        self._flushes = False
        self._is_paused = False

    def _reset(self) -> None:
        self._pieces = []
        self._flushes = False
        self._is_paused = False
        if self._idle is not None:
            self._idle.cancel()

    def _event(self, event_type: str) -> None:
        self._notice("tts:streaming-event", {"event_type": event_type})
