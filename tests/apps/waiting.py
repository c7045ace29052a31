"""An application that answers calls and waits for commands from outside."""

from jambonz_workers import App, Call, Event

app = App("waiting")


@app.session("/waiting")
async def wait_for_commands(call: Call, event: Event) -> list[dict[str, object]]:
    call.state["purpose"] = "to be controlled"
    # Only an answered call can be hung up by a command (PROTOCOL.md 3.2).
    return [{"verb": "answer"}, {"verb": "pause", "length": 3600}]
