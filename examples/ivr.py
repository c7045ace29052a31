"""A menu: gather a digit, act on it, remember what happened in the call's state."""

from jambonz_workers import App, Call, Event

app = App(
    env={"GREETING": {"type": "string", "description": "What to say first", "default": "Welcome"}},
    # Said by the gateway itself while no worker is there.
    fallback=[{"verb": "say", "text": "Please call again later."}, {"verb": "hangup"}],
)

MENU = "Press 1 for our opening hours, 2 to talk to a person, 9 to hang up."
TRIES = 3


def ask(text: str) -> list[dict[str, object]]:
    return [
        {
            "verb": "gather",
            "input": ["digits"],
            "numDigits": 1,
            "timeout": 10,
            "say": {"text": text},
            "actionHook": "/menu",
        }
    ]


def goodbye(text: str) -> list[dict[str, object]]:
    return [{"verb": "say", "text": text}, {"verb": "hangup"}]


@app.session("/ivr")
async def welcome(call: Call) -> object:
    call.state["tries"] = 0
    greeting = call.env_vars.get("GREETING", "Welcome")
    return [{"verb": "answer"}, *ask(f"{greeting}. {MENU}")]


@app.hook("/menu")
async def menu(call: Call, event: Event) -> object:
    match event.data.get("digits"):
        case "1":
            return ask(f"We are open from nine to five. {MENU}")
        case "2":
            return [{"verb": "dial", "target": [{"type": "user", "name": "operator"}], "actionHook": "/dialled"}]
        case "9":
            return goodbye("Goodbye.")
    call.state["tries"] += 1
    if call.state["tries"] >= TRIES:
        return goodbye("Please call again when you know what you want.")
    return ask(f"I did not understand that. {MENU}")


@app.hook("/dialled")
async def dialled(_: Call, event: Event) -> object:
    if event.data.get("dial_call_status") == "completed":
        return [{"verb": "hangup"}]
    return ask(f"Nobody is free right now. {MENU}")


@app.on_end
async def ended(call: Call) -> None:
    print(f"call {call.sid} ended after {call.state.get('tries', 0)} misunderstandings")
