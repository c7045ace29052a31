"""A survey: gets live calls from other applications, and hands them back if it is asked to."""

from jambonz_workers import App, Call
from jambonz_workers.events import GatherResult

app = App("survey")

ASK = {"verb": "gather", "input": ["digits"], "numDigits": 1, "timeout": 10, "actionHook": "/survey/answer"}


# A call of its own begins with session:new; one that another application redirects here, with session:redirect, whose
# hook is the url that it was redirected to.
@app.session("/survey")
@app.hook("/survey")
async def ask(_: Call) -> object:
    return {**ASK, "say": {"text": "How was it, from 1 to 5?"}}


@app.hook("/survey/answer")
async def answer(call: Call, event: GatherResult) -> object:
    call.state["rating"] = event.digits
    return [{"verb": "say", "text": "Thank you."}, {"verb": "hangup"}]
