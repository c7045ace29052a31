"""Two apps that hand calls to each other; what happens to their calls stands in their logs."""

import asyncio
import logging
from pathlib import Path

from jambonz_workers import App, Call, CallLost, Event

log = logging.getLogger(__name__)

first = App("first", env={"SECOND_URL": {"type": "string", "description": "Where the second app is"}})
second = App("second")

WAIT = {"verb": "pause", "length": 3600}


def note(call: Call, what: object) -> None:
    log.info("%s %s: %s", call.app, call.sid, what)


async def watch(call: Call) -> None:
    """Tell how it ends, and what a command is told then."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError as cancelled:
        note(call, f"cancelled: {cancelled}")
        try:
            await call.config(notifyEvents=True)
        except CallLost as lost:
            note(call, f"{type(lost).__name__} at {call.path}")
        raise


@first.session("/first")
async def begin(call: Call) -> object:
    call.state["secret"] = "of the first"
    call.spawn(watch(call))
    call.after(3600, "/first/late")
    return WAIT


@first.hook("/hand")
async def hand(call: Call, event: Event) -> None:
    talk = {"verb": "pause", "length": event.data.get("talk_s", 0)}
    # A call that has come back has not brought them with it.
    url = event.data.get("url") or call.env["SECOND_URL"]
    given = {"n": 2**53 + 1, "none": [], **event.data.get("given", {})}
    await call.redirect([talk, call.transfer("second", url, state={"given": given})])


@first.session("/first/again")
@first.hook("/first/again")
async def take_back(call: Call) -> object:
    note(call, f"back with {dict(call.state)}")
    return WAIT


@second.session("/second")
@second.hook("/second")
async def take(call: Call) -> object:
    if gate := call.state["given"].get("gate"):
        note(call, "waits at the gate")
        while not Path(gate).exists():  # noqa: ASYNC240  a look at a local folder
            await asyncio.sleep(0.01)
    note(call, f"took it at {call.path} with {dict(call.state)}, env {dict(call.env_vars)}, from {call.from_}")
    return WAIT


@second.hook("/back")
async def give_back(call: Call, event: Event) -> None:
    await call.redirect(call.transfer("first", event.data["url"], state={"returned": True}))


@second.hook("/ask")
async def ask(call: Call) -> object:
    call.state["asked"] = call.state.get("asked", 0) + 1
    return {"verb": "tag", "data": {"asked": call.state["asked"], "app": call.app}}


@second.on("call:status")
async def status(call: Call, event: Event) -> None:
    note(call, f"status {event.data['call_status']} epoch {event.epoch}")


@second.takeover
async def taken_over(call: Call) -> None:
    note(call, "taken over")


@first.on_end
@second.on_end
async def ended(call: Call) -> None:
    note(call, "ended")
