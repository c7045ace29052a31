"""The application that the chaos suite runs: it counts what it sees in the call state, and says so in every answer.

Every number that a call sends as ``i`` comes back in a tag, with how many numbers the call state holds by then.
Background work sends numbered commands, ``[fence, 1], [fence, 2], ...``: a new series with each owner.
"""

import asyncio
import os
import signal
from typing import Final

from jambonz_workers import App, Call, Event

TICK_S: Final = 0.5

# Longer than any take-over, so that a hook is surely pending when its worker dies.
STUCK_S: Final = 2.0

app = App("chaos", fallback=[{"verb": "answer"}, {"verb": "pause", "length": 3600}])


@app.session("/chaos")
async def begin(call: Call) -> object:
    call.state["seen"] = []
    call.state["first_fence"] = call.fence
    # The first command comes when the gateway still holds commands behind the ack (PROTOCOL.md 2.4).
    call.spawn(tick(call))
    return [{"verb": "answer"}, _tag(call, i=0), {"verb": "pause", "length": 3600}]


@app.hook("/count/{i}")
async def count(call: Call, event: Event) -> object:
    return _seen(call, int(event.path_params["i"]))


@app.hook("/stuck/{i}")
async def stuck(call: Call, event: Event) -> object:
    """Take long in the first worker that has the call, and no time in any other."""
    if call.fence == call.state.get("first_fence"):
        await asyncio.sleep(STUCK_S)
    return _seen(call, int(event.path_params["i"]))


@app.hook("/poison/{i}")
async def poison(call: Call, event: Event) -> None:
    """Kill the worker, as an extension module with a bug does."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.on("verb:status")
async def notice(call: Call, event: Event) -> None:
    _seen(call, event.data["i"])


@app.hook("/report")
async def report(call: Call) -> object:
    return _tag(call, seen=call.state.get("seen", []))


@app.takeover
async def resume(call: Call) -> None:
    call.state["takeovers"] = call.state.get("takeovers", 0) + 1
    call.spawn(tick(call))


async def tick(call: Call) -> None:
    """Send a numbered command twice a second; the series ends with this worker's ownership."""
    number = 0
    while True:
        await asyncio.sleep(TICK_S)
        number += 1
        await call.redirect([{"verb": "tag", "data": {"tick": [call.fence, number]}}], queue=True)


def _seen(call: Call, i: int) -> object:
    seen = call.state.setdefault("seen", [])
    seen.append(i)
    return _tag(call, i=i, count=len(seen))


def _tag(call: Call, **data: object) -> dict[str, object]:
    return {"verb": "tag", "data": {"pid": os.getpid(), "fence": call.fence, **data}}
