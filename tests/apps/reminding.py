"""An application whose timer has to ring, whoever lives by then."""

from jambonz_workers import App, Call, Event

app = App()


@app.session("/reminding")
async def welcome(call: Call) -> object:
    call.after(1.5, "/remind", {"who": "Ada"})
    return [{"verb": "answer"}, {"verb": "pause", "length": 3600}]


@app.hook("/remind")
async def remind(call: Call, event: Event) -> None:
    call.state["times"] = call.state.get("times", 0) + 1
    await call.redirect([{"verb": "say", "text": f"{event.data['who']} {call.state['times']}"}, {"verb": "hangup"}])
