"""The llm verb: a scripted speech-to-speech model with events and tools. Pure."""

from typing import Any, Final, assert_never

from jambonz_simulator.core.frames import is_truthy
from jambonz_simulator.core.kernel import Promise, Steps
from jambonz_simulator.core.script import ModelEvent, ModelStep, ToolCall, Wait
from jambonz_simulator.core.session import LastWords, Session, VerbEnd, ends_call
from jambonz_simulator.core.verbs import Verb, hook_path

# `type` of `data`, or of the nested `data.data`, that each vendor takes (PROTOCOL.md 5.1).
_OUTPUT_TYPES: Final = {
    "openai": "conversation.item.create",
    "microsoft": "conversation.item.create",
    "ultravox": "client_tool_result",
}
_NESTED_OUTPUT_TYPES: Final = {
    "elevenlabs": "client_tool_result",
    "deepgram": "FunctionCallResponse",
    "voiceagent": "FunctionCallResponse",
}
_UPDATE_TYPES: Final[dict[str, list[str]]] = {
    "openai": ["session.update", "conversation.item.create", "conversation.item.delete", "response.cancel"],
    "microsoft": ["session.update", "conversation.item.create", "conversation.item.delete", "response.cancel"],
    "ultravox": ["input_text_message"],
    "deepgram": ["UpdateInstructions", "UpdateSpeak", "InjectAgentMessage"],
    "voiceagent": ["UpdateInstructions", "UpdateSpeak", "InjectAgentMessage"],
    "elevenlabs": [],
}


def llm(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Play the model's script, then stay until killed; a failed actionHook ends the call (pitfall 7)."""
    results = {"completion_reason": "normal conversation end"}
    outputs: dict[str, Promise[None]] = {}

    def take(command: str, tool_call_id: Any, data: Any) -> str:
        return _take(verb, outputs, command, tool_call_id, data)

    session.last_words = LastWords(lambda: results, if_failed=ends_call)
    session.model_task = take
    try:
        for step in session.script.model:
            yield from _model_step(session, verb, step, outputs)
        if not session.script.model_ends:
            yield Promise(session.world.kernel)
    finally:
        session.model_task = None
    return "next"


def _model_step(session: Session, verb: Verb, step: ModelStep, outputs: dict[str, Promise[None]]) -> Steps[None]:
    match step:
        case Wait(seconds):
            yield session.world.passing(seconds)
        case ModelEvent(data):
            hook = hook_path(verb.get("eventHook"))
            events = verb.get("events")
            if hook is not None and _is_wanted(events, data.get("type")):
                session.notice("llm:event", dict(data), hook)
        case ToolCall(name, args, tool_call_id):
            hook = hook_path(verb.get("toolHook"))
            if hook is None:
                return
            output: Promise[None] = Promise(session.world.kernel)
            outputs[tool_call_id] = output
            data = {"tool_call_id": tool_call_id, "name": name, "args": dict(args)}
            session.notice("llm:tool-call", data, hook)
            yield output
        case _:
            assert_never(step)


def _is_wanted(events: Any, kind: Any) -> bool:
    return not isinstance(events, list) or "all" in events or kind in events


def _take(verb: Verb, outputs: dict[str, Promise[None]], command: str, tool_call_id: Any, data: Any) -> str:
    """Take a tool output or an update; give why it is dropped, ``""`` if it is not (5.1)."""
    vendor = str(verb.get("vendor"))
    if command == "llm:update":
        kinds = _UPDATE_TYPES.get(vendor)
        kind = data.get("type") if isinstance(data, dict) else None
        return "" if kinds is None or kind in kinds else f"{vendor} takes no update {kind!r}"
    if not _has_vendor_shape(vendor, data):
        return f"not the shape of a tool output for {vendor}"
    output = outputs.get(tool_call_id) if isinstance(tool_call_id, str) else None
    if output is None:
        return f"no tool call {tool_call_id!r} waits"
    output.settle(None)
    return ""


def _has_vendor_shape(vendor: str, data: Any) -> bool:
    if not isinstance(data, dict):
        return False
    if vendor in _OUTPUT_TYPES:
        return bool(data.get("type") == _OUTPUT_TYPES[vendor])
    if vendor in _NESTED_OUTPUT_TYPES:
        nested = data.get("data")
        return isinstance(nested, dict) and nested.get("type") == _NESTED_OUTPUT_TYPES[vendor]
    return is_truthy(data.get("toolResponse"))
