"""An application that brings its call into a state, and sends whatever command it is told to."""

from jambonz_workers import App, Call, Event, WrongState

app = App()

TALK = {"target": [{"type": "phone", "number": "+15550002"}], "actionHook": "/done", "anchorMedia": True}
MODEL = {"vendor": "openai", "model": "m", "auth": {"apiKey": "k"}, "toolHook": "/tool", "actionHook": "/done"}
VOICE = {"vendor": "elevenlabs", "voice": "v1"}

STAGES: dict[str, list[dict[str, object]]] = {
    "gather": [{"verb": "answer"}, {"verb": "gather", "input": ["digits"], "timeout": 600, "actionHook": "/done"}],
    "notified": [
        {"verb": "answer"},
        {"verb": "config", "notifyEvents": True},
        {"verb": "gather", "input": ["digits"], "timeout": 600, "actionHook": "/done"},
    ],
    # Verbs that do not answer the call.
    "ringing": [{"verb": "alert", "message": "180 Ringing"}, {"verb": "redirect", "actionHook": "/refuse"}],
    "dial": [{"verb": "dial", **TALK}],
    "conference": [{"verb": "conference", "name": "room", "actionHook": "/done"}],
    "listen": [{"verb": "answer"}, {"verb": "listen", "url": "ws://127.0.0.1:9/audio", "actionHook": "/done"}],
    "transcribe": [{"verb": "answer"}, {"verb": "transcribe", "transcriptionHook": "/done"}],
    "llm": [{"verb": "answer"}, {"verb": "llm", **MODEL, "llmOptions": {}}],
    "tts": [
        {"verb": "answer"},
        {"verb": "config", "ttsStream": {"enable": True}, "synthesizer": VOICE},
        {"verb": "gather", "input": ["digits"], "timeout": 600, "actionHook": "/done"},
    ],
}


@app.session("/commanding/{stage}")
async def begin(call: Call, event: Event) -> object:
    return STAGES[event.path_params["stage"]]


@app.hook("/send")
async def send(call: Call, event: Event) -> None:
    method = getattr(call, event.data["args"]["method"])
    await method(*event.data["args"]["positional"], **event.data["args"]["named"])


@app.hook("/try")
async def try_it(call: Call, event: Event) -> None:
    call.state["why"] = ""
    try:
        await send(call, event)
    except WrongState as error:
        call.state["why"] = error.why


@app.hook("/refuse")
async def refuse(call: Call) -> object:
    call.no_answer()
    return STAGES["ringing"]


@app.hook("/wait")
async def wait(call: Call) -> object:
    return {"verb": "pause", "length": 60}


@app.hook("/done")
async def done(call: Call) -> object:
    return {"verb": "pause", "length": 600}


@app.on("llm:tool-call")
async def tool_call(call: Call) -> None:
    call.state["called"] = True
