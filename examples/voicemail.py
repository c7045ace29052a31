"""Voicemail: ring somebody; if nobody answers, record a message, and end it in time, whatever happens to the worker."""

from jambonz_workers import App, Call
from jambonz_workers.events import DialResult

app = App(
    env={
        "MAILBOX": {"type": "string", "description": "Whose mailbox it is", "default": "+15550002"},
        "RECORDER": {
            "type": "string",
            "description": "Audio websocket",
            "default": "wss://media.example.com/voicemail",
        },
        "MAX_SECONDS": {"type": "number", "description": "Longest message", "default": 120},
    }
)


@app.session("/voicemail")
async def ring(call: Call) -> object:
    target = {"type": "phone", "number": call.env["MAILBOX"]}
    return [{"verb": "dial", "target": [target], "timeout": 20, "actionHook": "/voicemail/rung"}]


@app.hook("/voicemail/rung")
async def rung(call: Call, event: DialResult) -> object:
    if event.is_answered:
        return {"verb": "hangup"}
    # Kept with the call's state: it rings at another worker if this one dies.
    call.state["timer"] = call.after(call.env["MAX_SECONDS"], "/voicemail/too-long")
    return [
        {"verb": "say", "text": "Please leave a message, and press the hash key."},
        {
            "verb": "listen",
            "url": call.env["RECORDER"],
            "finishOnKey": "#",
            "playBeep": True,
            "metadata": {"mailbox": call.env["MAILBOX"]},
            "actionHook": "/voicemail/recorded",
        },
    ]


@app.hook("/voicemail/recorded")
async def recorded(call: Call) -> object:
    call.cancel_timer(call.state["timer"])
    return [{"verb": "say", "text": "Thank you."}, {"verb": "hangup"}]


@app.hook("/voicemail/too-long")
async def too_long(call: Call) -> None:
    await call.redirect([{"verb": "say", "text": "Your time is up. Thank you."}, {"verb": "hangup"}])
