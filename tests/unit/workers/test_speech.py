"""Streamed speech as applications write it. Through AppClient."""

import asyncio
from typing import Any

import pytest

from jambonz_workers import App, Call, CallGone, Event, Interrupted, Speech, SpeechFailed
from jambonz_workers.testing import AppClient
from tests.conditions import until


def frames(client: AppClient) -> list[tuple[str, Any]]:
    return [(it["command"], it.get("data")) for it in client.commands]


async def taken(client: AppClient, token_id: int, **result: Any) -> None:
    """Wait for a token and give its result."""
    await until(
        lambda: any(it.get("data", {}).get("id") == token_id for it in client.commands), f"token {token_id} was sent"
    )
    await client.send("tts:tokens-result", {"id": token_id, **(result or {"status": "ok"})})


async def test_a_handler_can_speak_while_it_runs() -> None:
    """Results reach the speech although the call's handler is busy; text goes out before the handler's answer."""
    app = App()

    @app.hook("/speak")
    async def speak(call: Call) -> object:
        async with call.tts_stream() as speech:
            await speech.write("Hello ")
            await speech.write("world")
            call.state["taken"] = speech.taken
        return {"verb": "hangup"}

    async with AppClient(app, takes_text=False) as client:
        running = asyncio.create_task(client.hook("/speak"))
        await taken(client, 1)
        await taken(client, 2)
        reaction = await running
        assert reaction.verbs == [{"verb": "hangup"}]
        assert frames(client) == [
            ("tts:tokens", {"id": 1, "tokens": "Hello "}),
            ("tts:tokens", {"id": 2, "tokens": "world"}),
            ("tts:flush", None),
            ("tts:tokens", {"tokens": " "}),
        ]
        assert client.state == {"taken": "Hello world"}
        assert all(it["callSid"] == "test-call" for it in client.commands)


def speaking(*texts: str) -> tuple[App, list[object]]:
    """An app that speaks in background work, and what became of it."""
    app, fates = App(), list[object]()

    @app.hook("/speak")
    async def speak(call: Call) -> None:
        call.spawn(run(call))

    async def run(call: Call) -> None:
        try:
            async with call.tts_stream() as speech:
                fates.append(speech)
                for text in texts:
                    await speech.write(text)
                    fates.append(text)
        except BaseException as error:
            fates.append(error)
            raise
        fates.append("done")

    return app, fates


async def test_an_interruption_ends_the_speech_quietly() -> None:
    """The write raises, the block ends, the application sees what was not spoken."""
    app, seen = App(), list[object]()

    @app.hook("/speak")
    async def speak(call: Call) -> None:
        async with call.tts_stream() as speech:
            try:
                await speech.write("x" * 600)
            except Interrupted as error:
                seen.append(error.unspoken)
                raise
        seen.append(speech.is_interrupted)
        async with call.tts_stream() as speech:
            await speech.write("Sorry.")

    async with AppClient(app, takes_text=False) as client:
        running = asyncio.create_task(client.hook("/speak"))
        await taken(client, 1)
        await client.send("tts:streaming-event", {"event_type": "user_interruption"})
        # The second piece had crossed the interruption.
        await taken(client, 2)
        await taken(client, 3)
        await running
        assert seen == ["x" * 100, True]
        assert [name for name, _ in frames(client)] == ["tts:tokens"] * 2 + ["tts:clear", "tts:tokens", "tts:flush"] + [
            "tts:tokens"
        ]


async def test_nothing_is_written_after_an_interruption() -> None:
    """A model that thinks while the caller interrupts must not go on with its old sentence."""
    app, goes_on = App(), asyncio.Event()
    caught: list[Interrupted] = []

    @app.hook("/speak")
    async def speak(call: Call) -> None:
        async with call.tts_stream() as speech:
            await goes_on.wait()
            try:
                await speech.write("too late")
            except Interrupted as error:
                caught.append(error)

    async with AppClient(app, takes_text=False) as client:
        running = asyncio.create_task(client.hook("/speak"))
        await asyncio.sleep(0)
        await client.send("tts:streaming-event", {"event_type": "user_interruption"})
        goes_on.set()
        await running
        assert [it.unspoken for it in caught] == ["too late"]
        assert client.commands == []


async def test_a_refused_token_fails_the_speech() -> None:
    """The application learns jambonz's own words."""
    app, fates = speaking("Hello")
    async with AppClient(app, raises=False, takes_text=False) as client:
        await client.hook("/speak")
        await taken(client, 1, status="failed", reason="connection to x failed")
        await client.settle()
        error = fates[-1]
        assert isinstance(error, SpeechFailed)
        assert (error.reason, error.unspoken, error.silent) == ("connection to x failed", "Hello", False)


async def test_a_closed_stream_fails_the_next_write() -> None:
    """As after ``ttsStream`` was switched off."""
    app, goes_on = App(), asyncio.Event()

    @app.hook("/speak")
    async def speak(call: Call) -> object:
        async with call.tts_stream() as speech:
            await goes_on.wait()
            with pytest.raises(SpeechFailed, match="closed"):
                await speech.write("Hello")
            with pytest.raises(SpeechFailed):
                await speech.flush()
            with pytest.raises(SpeechFailed):
                await speech.clear()
        return {"verb": "hangup"}

    async with AppClient(app, takes_text=False) as client:
        running = asyncio.create_task(client.hook("/speak"))
        await asyncio.sleep(0)
        await client.send("tts:streaming-event", {"event_type": "stream_closed"})
        goes_on.set()
        assert (await running).verbs == [{"verb": "hangup"}]


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_a_hang_up_ends_the_speech_at_once(status: str) -> None:
    """The final status waits in the mailbox behind the handler that speaks."""
    app, seen = App(), list[object]()

    @app.hook("/speak")
    async def speak(call: Call) -> None:
        for _ in range(2):
            try:
                async with call.tts_stream() as speech:
                    await speech.write("Hello")
            except CallGone as error:
                seen.append(error.call_sid)

    async with AppClient(app, takes_text=False) as client:
        running = asyncio.create_task(client.hook("/speak"))
        await until(lambda: bool(client.commands), "the token was sent")
        await client.send("call:status", {"call_sid": "leg", "call_status": status})
        await client.send("call:status", {"call_status": "in-progress"})
        assert seen == []
        await client.send("call:status", {"call_status": status})
        await running
        assert seen == ["test-call", "test-call"]


async def test_the_end_of_the_call_ends_the_speech() -> None:
    """Nothing is sent any more."""
    app, fates = speaking("Hello")
    async with AppClient(app, takes_text=False) as client:
        await client.hook("/speak")
        await until(lambda: bool(client.commands), "the token was sent")
        await client.end()
        await client.settle()
        assert isinstance(fates[-1], CallGone | asyncio.CancelledError)


async def test_a_speech_outlives_a_lost_websocket() -> None:
    """The result comes after the reconnect, and the text is not sent again."""
    app, fates = speaking("Hello. ", "World. ")
    async with AppClient(app, takes_text=False) as client:
        await client.hook("/speak")
        await until(lambda: bool(client.commands), "the token was sent")
        await client.send("cluster:detached")
        await client.send("session:reconnect")
        await taken(client, 1)
        await taken(client, 2)
        await client.settle()
        assert fates[1:] == ["Hello. ", "World. ", "done"]
        assert [name for name, _ in frames(client)] == ["tts:tokens", "tts:tokens", "tts:flush"]


async def test_a_second_speech_waits_for_the_first() -> None:
    """One writer per call (PROTOCOL.md 4.5)."""
    app, fates = speaking("Hello. ")
    async with AppClient(app, takes_text=False) as client:
        await client.hook("/speak")
        await client.hook("/speak")
        await taken(client, 1)
        await taken(client, 2)
        await client.settle()
        assert fates[-1] == "done"
        assert [name for name, _ in frames(client)] == ["tts:tokens", "tts:flush"] * 2


async def test_a_cancelled_writer_takes_back_what_waits() -> None:
    """Its work was cancelled by the application, as a newer answer is ready."""
    app, works = App(), []

    @app.hook("/speak")
    async def speak(call: Call) -> None:
        works.append(call.spawn(run(call)))

    async def run(call: Call) -> None:
        async with call.tts_stream() as speech:
            await speech.write("x" * 1200)

    async with AppClient(app, takes_text=False) as client:
        await client.hook("/speak")
        await until(lambda: bool(client.commands), "the first piece was sent")
        works[0].cancel()
        await client.settle()
        await client.send("tts:tokens-result", {"id": 1, "status": "ok"})
        assert len(client.commands) == 1


async def test_clear_drops_what_others_write() -> None:
    """And says so in jambonz too; the speech may go on."""
    app, shared = App(), list[Speech]()

    @app.hook("/speak")
    async def speak(call: Call) -> None:
        async with call.tts_stream() as speech:
            shared.append(speech)
            with pytest.raises(Interrupted):
                await speech.write("Hello")
            assert not speech.is_interrupted
            await speech.write("")
            await speech.flush()

    async with AppClient(app, takes_text=False) as client:
        running = asyncio.create_task(client.hook("/speak"))
        await until(lambda: bool(client.commands), "the token was sent")
        await shared[0].clear()
        await running
        assert [name for name, _ in frames(client)] == ["tts:tokens", "tts:clear", "tts:flush"]


async def test_text_before_the_first_answer_is_a_mistake() -> None:
    """jambonz loses commands before it has the answer to session:new (pitfall 11)."""
    app = App()

    @app.session("/ivr")
    async def welcome(call: Call) -> object:
        with pytest.raises(RuntimeError, match="answer session:new first"):
            call.tts_stream()
        await call.ack({"verb": "answer"})
        async with call.tts_stream() as speech:
            with pytest.raises(TypeError):
                await speech.write(b"x")  # type: ignore[arg-type]
        return None

    async with AppClient(app, takes_text=False) as client:
        assert (await client.session_new("/ivr")).verbs == [{"verb": "answer"}]


async def test_a_concurrent_handler_runs_beside_the_one_that_runs() -> None:
    """So that an application can cancel its own work at an interruption."""
    app, interrupted = App(), asyncio.Event()

    @app.hook("/think")
    async def think(call: Call) -> object:
        await interrupted.wait()
        return {"verb": "hangup"}

    @app.on("tts:streaming-event", concurrent=True)
    async def stop(call: Call, event: Event) -> None:
        await call.redirect([])
        interrupted.set()

    async with AppClient(app, takes_text=False) as client:
        running = asyncio.create_task(client.hook("/think"))
        await asyncio.sleep(0)
        await client.send("tts:streaming-event", {"event_type": "user_interruption"})
        assert (await running).verbs == [{"verb": "hangup"}]
        await client.settle()
        assert [name for name, _ in frames(client)] == ["redirect"]


def test_concurrent_handlers_are_checked_when_registered() -> None:
    """A hook's handler gives the answer, in its turn."""
    app = App()
    with pytest.raises(ValueError, match="is a hook"):
        app.on("verb:hook", concurrent=True)
    with pytest.raises(TypeError, match="async def"):
        app.on("llm:event", concurrent=True)(lambda call: None)


@pytest.mark.parametrize("moment", ["without_a_block", "before_its_turn", "after_its_block"])
async def test_a_speech_outside_of_its_block_takes_nothing(moment: str) -> None:
    """It would hear of no interruption, and talk into another one's text."""
    app, seen = App(), list[str]()

    async def use(speech: Speech) -> None:
        for act in (speech.write("Hello "), speech.flush(), speech.clear()):
            with pytest.raises(RuntimeError, match="inside of `async with"):
                await act
            seen.append("refused")

    @app.hook("/speak")
    async def speak(call: Call) -> None:
        speech = call.tts_stream()
        if moment == "after_its_block":
            async with speech:
                pass
        if moment == "before_its_turn":
            async with call.tts_stream():
                await use(speech)
        else:
            await use(speech)

    async with AppClient(app, takes_text=False) as client:
        assert (await client.hook("/speak")).commands == []
    assert seen == ["refused"] * 3


@pytest.mark.parametrize("status", [["completed"], {"a": 1}, 7])
async def test_a_status_that_is_no_text_does_not_end_a_speech(status: object) -> None:
    """P9: whoever has the credentials may send it."""
    app, fates = speaking("Hello ")
    async with AppClient(app, takes_text=False) as client:
        await client.hook("/speak")
        await until(lambda: bool(client.commands), "the speech has begun")
        await client.send("call:status", {"call_status": status})
        await taken(client, 1)
        await until(lambda: "done" in fates, "the speech is over")
