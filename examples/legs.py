"""Legs: a callee who accepts or declines, who goes on alone, and a caller who is handed to another application.

The caller is connected to somebody who hears first who calls (``dial:confirm``). Pressing ``*`` parts the two: the
caller goes on here, the callee's leg gets a life of its own (``session:adulting``). When the callee hangs up, the
caller is handed to another application (``examples/survey.py``), wherever that runs.
"""

from jambonz_workers import App, Call
from jambonz_workers.events import DialResult, GatherResult, SessionEvent

app = App(
    env={
        "CALLEE": {"type": "string", "description": "Who is called", "default": "+15550077"},
        "SURVEY_URL": {
            "type": "string",
            "description": "Application that asks how it was",
            "default": "wss://survey.example.com/survey",
        },
    }
)


@app.session("/legs")
async def connect(call: Call) -> object:
    return {
        "verb": "dial",
        "target": [{"type": "phone", "number": call.env["CALLEE"]}],
        "confirmHook": "/legs/screen",
        "dtmfCapture": ["*"],
        "dtmfHook": "/legs/part",
        "actionHook": "/legs/dialled",
    }


# The callee. Each leg is a call of its own, so `call` is the callee's here; its parent is the caller's.


@app.hook("/legs/screen")
async def screen(call: Call, event: SessionEvent) -> object:
    call.state["caller"] = event.from_
    gather = {"verb": "gather", "input": ["digits"], "numDigits": 1, "timeout": 5, "actionHook": "/legs/screened"}
    return {**gather, "say": {"text": f"A call from {event.from_}. Press 1 to take it."}}


@app.hook("/legs/screened")
async def screened(_: Call, event: GatherResult) -> object:
    # Nothing accepts; still there after the verbs accepts too, so declining has to hang up.
    return None if event.digits == "1" else {"verb": "hangup"}


@app.hook("/legs/alone")
async def alone(call: Call) -> object:
    """Go on alone: asked by `session:redirect`, after that over a websocket of its own."""
    call.state["is_alone"] = True
    return [{"verb": "say", "text": "Please leave a note on the call."}, {"verb": "hangup"}]


# The caller.


@app.hook("/legs/part")
async def part(call: Call) -> None:
    await call.redirect_hook(call_hook="/legs/goodbye", child_call_hook="/legs/alone")


@app.hook("/legs/goodbye")
async def goodbye(_: Call) -> object:
    return [{"verb": "say", "text": "Goodbye."}, {"verb": "hangup"}]


@app.hook("/legs/dialled")
async def dialled(call: Call, event: DialResult) -> object:
    if not event.is_answered:
        return [{"verb": "say", "text": "Nobody could take your call."}, {"verb": "hangup"}]
    # An absolute url opens a websocket there. Statuses stay here, so this application hears of the end.
    return {"verb": "redirect", "actionHook": f"{call.env['SURVEY_URL']}?call_sid={call.sid}"}
