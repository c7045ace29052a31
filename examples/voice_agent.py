"""A voice agent: a model's words are spoken while it still writes them, the caller may interrupt, and it has a tool.

The model is a stand-in that needs no network; put yours into ``answer_of``. jambonz streams text with the vendors of
PROTOCOL.md 4.1, such as elevenlabs.
"""

import asyncio
from collections.abc import AsyncIterator

from jambonz_workers import App, Call
from jambonz_workers.events import GatherResult

app = App()

VOICE = {"vendor": "elevenlabs", "language": "en-US", "voice": "v1"}
LISTEN = {"verb": "gather", "input": ["speech"], "timeout": 60, "actionHook": "/heard"}
OPENING_HOURS = {"monday": "nine to five", "sunday": "closed"}


@app.session("/voice-agent")
async def welcome(call: Call) -> object:
    call.state["turns"] = []
    call.spawn(speak(call, "hello"))
    return [
        {"verb": "answer"},
        {"verb": "config", "ttsStream": {"enable": True}, "synthesizer": VOICE},
        LISTEN,
    ]


@app.hook("/heard")
async def heard(call: Call, event: GatherResult) -> object:
    if event.is_timeout:
        return [{"verb": "say", "text": "Goodbye."}, {"verb": "hangup"}]
    # The answer is spoken beside the next gather, so that the caller can interrupt it.
    call.spawn(speak(call, event.transcript))
    return [LISTEN]


async def speak(call: Call, question: str) -> None:
    async with call.tts_stream() as speech:
        async for word in answer_of(question):
            await speech.write(f"{word} ")
    # What was written after an interruption is not in `taken`: the model should remember what the caller has heard.
    turns = [*call.state["turns"], {"question": question, "answer": speech.taken, "cut": speech.is_interrupted}]
    call.state["turns"] = turns[-20:]


async def answer_of(question: str) -> AsyncIterator[str]:
    """Yield words as a model does: one by one, a tool called in between."""
    words = question.lower().split()
    text = "How can I help you?"
    if day := next((day for day in OPENING_HOURS if day in words), None):
        text = f"On {day} we are {await opening_hours(day)}."
    elif "everything" in words:
        text = "There is much to say about it, and more. " * 100
    for word in text.split():
        await asyncio.sleep(0.001)
        yield word


async def opening_hours(day: str) -> str:
    """The tool: a look-up that may take its time."""
    await asyncio.sleep(0.01)
    return OPENING_HOURS[day]
