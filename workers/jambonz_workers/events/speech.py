"""Events of what was heard and spoken: gather, transcription, play, streamed text. Pure."""

from collections.abc import Mapping
from typing import Any

from jambonz_workers.event import Event
from jambonz_workers.events.members import NOTHING, mapping_in, number_in, text_in


class _Heard(Event):
    """Anything with a ``speech`` in it."""

    __slots__ = ()

    @property
    def speech(self) -> Mapping[str, Any]:
        """The recognizer's result; empty without speech."""
        return mapping_in(self.data, "speech")

    @property
    def transcript(self) -> str:
        """The likeliest words; empty without speech."""
        return text_in(self._likeliest, "transcript")

    @property
    def confidence(self) -> float | None:
        """How sure the recognizer is, 0 to 1."""
        return number_in(self._likeliest, "confidence")

    @property
    def language(self) -> str:
        """Language code of the speech."""
        return text_in(self.speech, "language_code")

    @property
    def is_final(self) -> bool:
        """False for a partial result."""
        return self.speech.get("is_final") is not False

    @property
    def _likeliest(self) -> Mapping[str, Any]:
        alternatives = self.speech.get("alternatives")
        if isinstance(alternatives, dict):
            # Older feature servers make objects of all lists, with "0", "1" ... for keys (snakecase-keys.js).
            alternatives = list(alternatives.values())
        first = alternatives[0] if isinstance(alternatives, list) and alternatives else None
        return first if isinstance(first, dict) else NOTHING


class GatherResult(_Heard):
    """``actionHook`` or ``partialResultHook`` of a gather, and ``bargeIn`` of a config."""

    __slots__ = ()

    @property
    def reason(self) -> str:
        """``speechDetected``, ``dtmfDetected``, ``timeout``, ``error`` or ``stt-low-confidence``."""
        return text_in(self.data, "reason")

    @property
    def digits(self) -> str:
        """Keys that were pressed."""
        return text_in(self.data, "digits")

    @property
    def is_timeout(self) -> bool:
        """True when the caller did nothing."""
        return self.reason == "timeout"


class Transcription(_Heard):
    """``transcriptionHook`` or ``translationHook`` of a transcribe."""

    __slots__ = ()

    @property
    def speech_event(self) -> Mapping[str, Any]:
        """What the recognizer noticed instead of words, such as the start of speech."""
        return mapping_in(self.data, "speech_event")

    @property
    def translation(self) -> Mapping[str, Any]:
        """The translation, of a ``translationHook``."""
        return mapping_in(self.data, "translation")


class PlayResult(Event):
    """``actionHook`` of a play."""

    __slots__ = ()

    @property
    def reason(self) -> str:
        """``playCompleted`` or ``playFailed``."""
        return text_in(self.data, "reason")

    @property
    def seconds(self) -> float | None:
        """How long it played."""
        return number_in(self.data, "playback_seconds")


class MachineDetection(Event):
    """``actionHook`` of answering machine detection (dial, config, or the call itself)."""

    __slots__ = ()

    @property
    def type(self) -> str:
        """``amd_human_detected``, ``amd_machine_detected`` and others."""
        return text_in(self.data, "type")

    @property
    def reason(self) -> str:
        """Why it thinks so."""
        return text_in(self.data, "reason")

    @property
    def is_human(self) -> bool:
        """True if a person answered."""
        return self.type == "amd_human_detected"


class TokensResult(Event):
    """``tts:tokens-result``; ``Call.tts_stream`` hears it by itself."""

    __slots__ = ()

    @property
    def token_id(self) -> Any:
        """What the application gave to ``tts_tokens``."""
        return self.data.get("id")

    @property
    def is_taken(self) -> bool:
        """True if the text is in jambonz's buffer."""
        return self.data.get("status") == "ok"

    @property
    def reason(self) -> str:
        """Why not, such as ``full``."""
        return text_in(self.data, "reason")


class StreamingEvent(Event):
    """``tts:streaming-event``."""

    __slots__ = ()

    @property
    def type(self) -> str:
        """Such as ``stream_open``, ``user_interruption``, ``stream_closed``."""
        return text_in(self.data, "event_type")

    @property
    def text(self) -> str:
        """What was spoken, with ``tts_spoken`` (10+)."""
        return text_in(self.data, "text")
