"""Events of speech-to-speech models and agents. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

from jambonz_workers.event import Event
from jambonz_workers.events.members import NOTHING, text_in


class ToolCall(Event):
    """``llm:tool-call`` or ``agent:tool-call``; ``@app.tool`` takes them apart by itself."""

    __slots__ = ()

    @property
    def tool_call_id(self) -> str:
        """What the answer must carry."""
        return text_in(self.data, "tool_call_id")

    @property
    def name(self) -> str:
        """The tool."""
        return text_in(self.data, "name")

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The model's arguments: ``args`` in 0.9, ``arguments`` (an object or JSON text) in 10+."""
        return arguments_in(self.data)


def arguments_in(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a model's arguments in whatever form they came; none if they are unreadable."""
    found = data.get("args", data.get("arguments"))
    if isinstance(found, str):
        try:
            found = orjson.loads(found)
        except orjson.JSONDecodeError:
            found = None
    return found if isinstance(found, dict) else NOTHING


class ModelEvent(Event):
    """``llm:event`` or ``agent:event``: an event of the model, in its vendor's shape."""

    __slots__ = ()

    @property
    def type(self) -> str:
        """The vendor's own type; of an agent such as ``user_transcript``, ``turn_end``."""
        return text_in(self.data, "type")

    @property
    def transcript(self) -> str:
        """What was said, where the event carries it."""
        return text_in(self.data, "transcript")

    @property
    def response(self) -> str:
        """What the agent answered, where the event carries it."""
        return text_in(self.data, "response")

    @property
    def is_interrupted(self) -> bool:
        """True if the caller interrupted the turn."""
        return self.data.get("interrupted") is True


class ModelResult(Event):
    """``actionHook`` of an llm, s2s or agent verb. Must be answered within 5 s, or the call ends (pitfall 7)."""

    __slots__ = ()

    @property
    def completion_reason(self) -> str:
        """``normal conversation end``, ``connection failure``, ``server error`` and others."""
        return text_in(self.data, "completion_reason")

    @property
    def error(self) -> Any:
        """The vendor's own error."""
        return self.data.get("error")
