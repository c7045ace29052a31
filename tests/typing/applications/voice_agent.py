"""A voice agent that type checkers must accept: streamed speech, interruptions, tools of a model."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, assert_type

from pydantic import Field

from jambonz_workers import App, Call, Interrupted, Speech, SpeechFailed
from jambonz_workers.events import ModelResult, StreamingEvent, ToolCall

app = App(target="10+")


async def words() -> AsyncIterator[str]:
    yield "Hello "
    yield "there."


@app.hook("/answer")
async def answer(call: Call) -> None:
    stream = call.tts_stream()
    assert_type(stream, Speech)
    async with stream as speech:
        assert_type(speech, Speech)
        async for word in words():
            await speech.write(word)
        await speech.flush()
    assert_type(speech.is_interrupted, bool)
    assert_type(speech.taken, str)


async def once(speech: Speech) -> str:
    try:
        await speech.write("Hello")
    except Interrupted as interrupted:
        return interrupted.unspoken
    except SpeechFailed as failed:
        assert_type(failed.silent, bool)
        return failed.reason
    return ""


@app.tool("find_order", timeout_s=3)
async def find_order(call: Call, order_no: str, limit: Annotated[int, Field(ge=1)] = 3) -> dict[str, object]:
    return {"order": order_no, "limit": limit}


@app.tool("hours")
def hours(day: str) -> str:
    return f"closed on {day}"


@app.on("llm:tool-call")
async def other_tool(call: Call, event: ToolCall) -> None:
    await call.tool_output(event.tool_call_id, {"result": "no"})


@app.on("tts:streaming-event", concurrent=True)
async def heard(_: Call, event: StreamingEvent) -> None:
    assert_type(event.type, str)


@app.hook("/over")
async def over(call: Call, event: ModelResult) -> object:
    assert_type(event.completion_reason, str)
    assert_type(call.model_vendor, str)
    await call.agent_update("update_instructions", instructions="Be brief")
    return None


schema: dict[str, Any] = app.toolbox.tools["find_order"].schema
