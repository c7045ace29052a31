"""An application with a tool, and a model of the vendor that the path names."""

from jambonz_workers import App, Call, Event

app = App()

DONE: dict[str, object] = {"toolHook": "/tool", "actionHook": "/done", "model": "m", "auth": {"apiKey": "k"}}


@app.session("/shop/{vendor}")
async def begin(call: Call, event: Event) -> object:
    return [{"verb": "answer"}, {"verb": "llm", "vendor": event.path_params["vendor"], **DONE, "llmOptions": {}}]


@app.tool("find_order")
async def find_order(call: Call, order_no: str) -> object:
    call.state["asked"] = order_no
    return {"status": "shipped"}


@app.hook("/done")
async def done(call: Call) -> object:
    return {"verb": "hangup"}
