"""The smallest application: every caller hears one sentence."""

from jambonz_workers import App, Call

app = App()


@app.session("/hello")
async def hello(call: Call) -> object:
    return [{"verb": "say", "text": f"Hello {call.from_}, this is jambonz-cluster"}, {"verb": "hangup"}]
