"""A call centre: callers wait in a queue with announcements, agents take them, a supervisor helps.

Callers come to ``/support``, agents to ``/agent``. A supervisor runs ``whisper`` and ``mute`` from any process that
reaches Redis, on a caller who talks to the specialist.
"""

from jambonz_workers import App, Call, Calls, Router
from jambonz_workers.events import DialResult, GatherResult, QueueResult, QueueWait

app = App()
callers = Router("/support")

QUEUE = "support"
MUSIC = {"verb": "play", "url": "https://media.example.com/waiting.mp3"}
SPECIALIST = {"type": "phone", "number": "+15550099"}


@callers.session("/")
async def welcome(_: Call) -> object:
    gather = {"verb": "gather", "input": ["digits"], "numDigits": 1, "timeout": 5, "actionHook": "/support/menu"}
    return [{"verb": "answer"}, {**gather, "say": {"text": "Press 2 for the specialist, or wait for an agent."}}]


@callers.hook("/menu")
async def menu(call: Call, event: GatherResult) -> object:
    if event.digits == "2":
        return [{"verb": "dial", "target": [SPECIALIST], "anchorMedia": True, "actionHook": "/support/specialist"}]
    call.state["announced"] = 0
    return [{"verb": "enqueue", "name": QUEUE, "waitHook": "/support/wait", "actionHook": "/support/left"}]


# An empty or late answer would let the caller wait in silence from then on, so the gateway has one of its own.
@callers.hook("/wait", late="drop", fallback=[MUSIC])
async def wait(call: Call, event: QueueWait) -> object:
    call.state["announced"] += 1
    ahead = event.position or 0
    text = "You are next." if ahead == 0 else f"There are {ahead} callers before you."
    return [{"verb": "say", "text": text}, MUSIC]


@callers.hook("/left")
async def left(_: Call, event: QueueResult) -> object:
    if event.result == "bridged":
        return [{"verb": "say", "text": "Thank you for calling."}, {"verb": "hangup"}]
    return [{"verb": "say", "text": "Nobody is free. Please call again."}, {"verb": "hangup"}]


@callers.hook("/specialist")
async def specialist(_: Call, event: DialResult) -> object:
    if event.is_answered:
        return {"verb": "hangup"}
    return [{"verb": "say", "text": "The specialist is busy."}, {"verb": "redirect", "actionHook": "/support/queue"}]


@callers.hook("/queue")
async def to_queue(call: Call) -> object:
    call.state["announced"] = 0
    return [{"verb": "enqueue", "name": QUEUE, "waitHook": "/support/wait", "actionHook": "/support/left"}]


app.include(callers)


@app.session("/agent")
async def agent(_: Call) -> object:
    return [
        {"verb": "answer"},
        {"verb": "dequeue", "name": QUEUE, "beep": True, "timeout": 20, "actionHook": "/agent/served"},
    ]


@app.hook("/agent/served")
async def served(call: Call, event: QueueResult) -> object:
    call.state["served"] = call.state.get("served", 0) + (event.result == "complete")
    return [{"verb": "dequeue", "name": QUEUE, "beep": True, "timeout": 20, "actionHook": "/agent/served"}]


# The supervisor.


async def whisper(calls: Calls, call_sid: str, text: str) -> None:
    """Say something that only the caller hears."""
    await (await calls.get(call_sid)).whisper({"verb": "say", "text": text})


async def mute(calls: Calls, call_sid: str, leg: str) -> None:
    """Mute the specialist's leg."""
    await (await calls.get(call_sid)).mute(leg=leg)
