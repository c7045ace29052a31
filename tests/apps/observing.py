"""An application that takes down the class and some facts of every event it gets, and tells them at ``/seen``."""

from jambonz_workers import App, Call, Event
from jambonz_workers.events import (
    CallStatus,
    JambonzError,
    ModelEvent,
    SessionEvent,
    StreamingEvent,
    TokensResult,
    ToolCall,
    VerbStatus,
)

app = App()

DIAL = {"target": [{"type": "phone", "number": "+2"}], "confirmHook": "/confirm", "actionHook": "/done"}
MODEL = {"vendor": "openai", "model": "m", "auth": {"apiKey": "k"}, "toolHook": "/tool", "eventHook": "/event"}

STAGES: dict[str, list[dict[str, object]]] = {
    "dial": [{"verb": "dial", **DIAL}],
    "llm": [{"verb": "answer"}, {"verb": "llm", **MODEL, "llmOptions": {}}],
    "gather": [{"verb": "answer"}, {"verb": "gather", "input": ["digits"], "timeout": 600, "actionHook": "/done"}],
}


def note(call: Call, event: Event, *facts: object) -> None:
    call.state.setdefault("seen", {})[event.kind] = [type(event).__name__, *facts]


@app.session("/observing/{stage}")
async def begin(call: Call, event: SessionEvent) -> object:
    note(call, event, event.direction)
    return STAGES[event.path_params["stage"]]


@app.on("session:redirect")
async def redirected(call: Call, event: SessionEvent) -> object:
    note(call, event, event.hook)
    return [{"verb": "pause", "length": 600}]


@app.on("session:reconnect")
async def reconnected(call: Call, event: SessionEvent) -> None:
    note(call, event, event.is_hook)


@app.on("session:adulting")
async def adulting(call: Call, event: SessionEvent) -> None:
    note(call, event, bool(event.parent))


@app.on("dial:confirm")
async def confirm(call: Call, event: SessionEvent) -> None:
    note(call, event, event.hook)


@app.on("verb:hook")
async def hook(call: Call, event: Event) -> object:
    note(call, event, event.hook)
    return [{"verb": "pause", "length": 600}]


@app.on("call:status")
async def status(call: Call, event: CallStatus) -> None:
    note(call, event, event.is_final)


@app.on("verb:status")
async def verb_status(call: Call, event: VerbStatus) -> None:
    note(call, event, event.verb)


@app.on("jambonz:error")
async def error(call: Call, event: JambonzError) -> None:
    note(call, event, event.message)


@app.on("llm:event")
@app.on("agent:event")
async def model_event(call: Call, event: ModelEvent) -> None:
    note(call, event, event.type)


@app.on("llm:tool-call")
@app.on("agent:tool-call")
async def tool_call(call: Call, event: ToolCall) -> None:
    note(call, event, event.name, dict(event.arguments))


@app.on("tts:tokens-result")
async def tokens_result(call: Call, event: TokensResult) -> None:
    note(call, event, event.is_taken)


@app.on("tts:streaming-event")
async def streaming_event(call: Call, event: StreamingEvent) -> None:
    note(call, event, event.type)


@app.on("future:kind")
async def future(call: Call, event: Event) -> None:
    note(call, event)


@app.hook("/seen")
async def seen(call: Call) -> object:
    return {"verb": "tag", "data": {"seen": call.state.get("seen", {})}}
