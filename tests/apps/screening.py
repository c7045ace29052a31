"""A callee is asked whether to take the call, and the application takes its time with what was pressed."""

import asyncio

from jambonz_workers import App, Call

app = App()


@app.session("/screening")
async def connect(_: Call) -> object:
    target = [{"type": "phone", "number": "+15550077"}]
    return {"verb": "dial", "target": target, "confirmHook": "/screen", "actionHook": "/dialled"}


@app.hook("/screen")
async def screen(_: Call) -> object:
    return {"verb": "gather", "input": ["digits"], "numDigits": 1, "actionHook": "/pressed"}


@app.hook("/pressed")
async def pressed(_: Call) -> object:
    await asyncio.sleep(1)
    return {"verb": "hangup"}
