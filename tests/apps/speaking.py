"""An application that streams the text it is told to, from its handler or from background work."""

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


async def speak(call: Call, tokens: list[str]) -> None:
    async with call.tts_stream() as speech:
        for token in tokens:
            await speech.write(token)
    await call.redirect([{"verb": "tag", "data": {"taken": speech.taken, "cut": speech.is_interrupted}}], queue=True)
