"""Verbs of jambonz-python-sdk, built and as models, that type checkers must accept from handlers."""

from jambonz_sdk.verb_builder import VerbBuilder  # type: ignore[import-untyped]
from jambonz_sdk.verbs import Hangup, Say  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

from jambonz_workers import App, Call
from jambonz_workers.events import GatherResult

app = App()


@app.session("/built")
async def built(call: Call) -> object:
    return VerbBuilder().say(text=f"Hello {call.from_}").gather(input=["digits"], numDigits=1, actionHook="/menu")


@app.hook("/menu")
async def modelled(call: Call, event: GatherResult) -> list[object]:
    await call.redirect(VerbBuilder().hangup())
    return [Say(text=f"You pressed {event.digits}"), Hangup()]
