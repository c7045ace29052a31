"""An application that streams the text it is told to, from its handler or from background work."""

import asyncio
from time import monotonic_ns

from jambonz_workers import App, Call, Event

app = App()

LISTEN = [
    {"verb": "config", "ttsStream": {"enable": True}, "synthesizer": {"vendor": "elevenlabs", "voice": "v1"}},
    {"verb": "gather", "input": ["digits"], "timeout": 60_000, "actionHook": "/heard"},
]


@app.session("/speaking")
async def welcome(call: Call) -> object:
    return LISTEN


@app.hook("/here")
async def here(call: Call, event: Event) -> None:
    await speak(call, event.data["args"]["tokens"])


@app.hook("/beside")
async def beside(call: Call, event: Event) -> object:
    call.spawn(speak(call, event.data["args"]["tokens"]))
    return []


@app.hook("/timed")
async def timed(call: Call, event: Event) -> object:
    call.spawn(speak_times(call, event.data["args"]["count"]))
    return []


async def speak_times(call: Call, count: int) -> None:
    """Speak the time of each write, which every process of the machine reads from the same clock."""
    for _ in range(count):
        async with call.tts_stream() as speech:
            await speech.write(f"{monotonic_ns()}. ")
        await asyncio.sleep(0.01)


async def speak(call: Call, tokens: list[str]) -> None:
    async with call.tts_stream() as speech:
        for token in tokens:
            await speech.write(token)
    await call.redirect([{"verb": "tag", "data": {"taken": speech.taken, "cut": speech.is_interrupted}}], queue=True)
