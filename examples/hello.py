"""The smallest application: every caller hears one sentence."""

from jambonz_workers import App, Call

app = App()


@app.session("/hello")
async def hello(call: Call):
    return [{"verb": "say", "text": "Hello from jambonz-cluster"}, {"verb": "hangup"}]
