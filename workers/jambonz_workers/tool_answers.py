"""Tool calls of models and their answers, in the shape of each vendor. Pure. Source: PROTOCOL.md 5.1, 5.2.

jambonz drops an answer in another shape without a word, and the model waits for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from jambonz_workers.event import Event
from jambonz_workers.events import ToolCall
from jambonz_workers.events.members import text_in
from jambonz_workers.events.models import arguments_in
from jambonz_workers.verbs import AGENT, dump

TOOL_KINDS: Final = frozenset({"llm:tool-call", "agent:tool-call"})


# jambonz hands a model's module the answer as one of several arguments, joined by this, which no escape protects: the
# model would get the beginning only (feature-server lib/tasks/llm/llms/ openai_s2s.js, ultravox_s2s.js,
# elevenlabs_s2s.js, voice_agent_s2s.js and google_s2s.js: `^^|${args.join('|')}`). A text gets a look-alike; in JSON
# inside of a text an escape says the same.
_SEPARATOR: Final = "|"
_INSTEAD: Final = "¦"
_ESCAPED: Final = "\\u007c"


@dataclass(frozen=True, slots=True)
class Asked:
    """One tool that a model wants to be run."""

    tool_call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What a tool gave; ``value`` is JSON, or words for the model if ``is_error``."""

    value: Any
    is_error: bool = False

    @property
    def text(self) -> str:
        """The value as one text: as it is if it is one, else as JSON; without the character that jambonz cuts it at."""
        if isinstance(self.value, str):
            return self.value.replace(_SEPARATOR, _INSTEAD)
        return dump(self.value, "tool result").decode().replace(_SEPARATOR, _ESCAPED)

    @property
    def plain(self) -> Any:
        """The value as JSON gives it back, its texts as in ``text``."""
        return orjson.loads(dump(self.value, "tool result").replace(_SEPARATOR.encode(), _INSTEAD.encode()))


def asked_in(event: Event) -> list[Asked]:
    """Return the tools that an event asks for; google's may be several, answered together."""
    calls = event.data.get("function_calls")
    if isinstance(calls, list):
        return [
            Asked(text_in(call, "id"), text_in(call, "name"), arguments_in(call))
            for call in calls
            if isinstance(call, dict)
        ]
    one = event.seen_as(ToolCall)
    return [Asked(one.tool_call_id, one.name, one.arguments)]


def answer_of(kind: str, vendor: str, told: Sequence[tuple[Asked, Told]]) -> dict[str, Any]:
    """Return ``data`` of the ``llm:tool-output`` for a call of this kind; ``vendor`` as ``vendor_in`` gives it."""
    asked, result = told[0]
    if kind == "agent:tool-call" or vendor == AGENT:
        return {"result": result.value}
    match vendor:
        case "google":
            return {"toolResponse": {"functionResponses": [_google(*pair) for pair in told]}}
        case "ultravox":
            return {"type": "client_tool_result", "invocation_id": asked.tool_call_id, "result": result.text}
        case "elevenlabs":
            output = {"tool_call_id": asked.tool_call_id, "result": result.text, "is_error": result.is_error}
            return {"data": {"type": "client_tool_result", **output}}
        case "deepgram" | "voiceagent":
            response = {"id": asked.tool_call_id, "name": asked.name, "content": result.text}
            return {"data": {"type": "FunctionCallResponse", **response}}
        case _:
            # openai and microsoft, and those that imitate them.
            item = {"type": "function_call_output", "call_id": asked.tool_call_id, "output": result.text}
            return {"type": "conversation.item.create", "item": item}


def _google(asked: Asked, told: Told) -> dict[str, Any]:
    value = told.plain
    response = value if isinstance(value, dict) else {"error" if told.is_error else "result": value}
    return {"id": asked.tool_call_id, "name": asked.name, "response": response}
