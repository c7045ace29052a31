"""The application that load tests call: a menu, a conversation, a call centre. It works as little as it can."""

from typing import Any

from jambonz_workers import App, Call, Event

app = App(fallback=[{"verb": "say", "text": "Please call again later."}, {"verb": "hangup"}])

Verbs = list[dict[str, Any]]


def _menu(text: str) -> Verbs:
    gather = {"verb": "gather", "input": ["digits"], "numDigits": 1, "timeout": 10, "actionHook": "/menu"}
    return [gather | {"say": {"text": text}}]


def _listen(text: str) -> Verbs:
    gather = {"verb": "gather", "input": ["speech"], "timeout": 10, "actionHook": "/turn"}
    return [gather | {"say": {"text": text}}]


@app.session("/ivr")
async def ivr(call: Call) -> Verbs:
    """Offer the menu."""
    call.state["presses"] = 0
    return [{"verb": "answer"}, *_menu("Welcome")]


@app.session("/agent")
async def agent(call: Call) -> Verbs:
    """Begin a conversation."""
    call.state["turns"] = 0
    return [{"verb": "answer"}, *_listen("How can I help you?")]


@app.session("/centre")
async def centre(_: Call) -> Verbs:
    """Offer the menu that leads to an agent."""
    return [{"verb": "answer"}, *_menu("Press 2 for an agent")]


@app.hook("/menu")
async def menu(call: Call, event: Event) -> Verbs:
    """Do what the digit says."""
    call.state["presses"] = call.state.get("presses", 0) + 1
    match event.data.get("digits"):
        case "2":
            return [{"verb": "dial", "target": [{"type": "user", "name": "agent"}], "actionHook": "/dialled"}]
        case "9":
            return [{"verb": "say", "text": "Goodbye"}, {"verb": "hangup"}]
    return _menu("Go on")


@app.hook("/turn")
async def turn(call: Call) -> Verbs:
    """Answer what was said."""
    call.state["turns"] = call.state.get("turns", 0) + 1
    return _listen(f"That was your turn {call.state['turns']}")


@app.hook("/dialled")
async def dialled(_: Call) -> Verbs:
    """End the call when the agent has left."""
    return [{"verb": "hangup"}]
