"""AppClient: a test of an application that fails is told so, whoever of its functions has raised."""

from typing import Any

import pytest

from jambonz_workers import App, Call, Event
from jambonz_workers.testing import AppClient, Reaction

SAY = {"verb": "say", "text": "Hi"}


async def broken(call: Call) -> None:
    call.state["tries"] = 1
    raise LookupError("broken")


async def work(call: Call) -> None:
    raise LookupError("broken")


async def with_work(call: Call) -> object:
    call.spawn(work(call))
    return SAY


async def with_timer(call: Call) -> object:
    call.after(60, "/broken")
    return SAY


def broken_app() -> App:
    app = App()
    app.session("/broken")(broken)
    app.hook("/broken")(broken)
    app.on("call:status")(broken)
    app.on_end(broken)
    app.hook("/work")(with_work)
    app.hook("/timer")(with_timer)
    return app


async def until_work_has_failed(client: AppClient) -> None:
    await client.hook("/work")
    while client.call.works.running:
        await next(iter(client.call.works.running)).wait()


async def test_what_a_handler_raises_is_raised_where_the_event_was_sent() -> None:
    """Of a notice nothing else would be seen: its test was green."""
    async with AppClient(broken_app()) as client:
        for sending in (client.session_new("/broken"), client.hook("/broken"), client.send("call:status")):
            with pytest.raises(LookupError, match="broken") as raised:
                await sending
            assert "in the handler broken" in raised.value.__notes__[0]
        assert client.state == {}
        with pytest.raises(LookupError):
            await client.end()


async def test_what_a_timer_raises_is_raised_where_it_was_fired() -> None:
    """As with any event."""
    async with AppClient(broken_app()) as client:
        assert await client.hook("/timer") == Reaction([SAY])
        with pytest.raises(LookupError):
            await client.fire("/broken")


async def test_what_background_work_raises_is_raised_when_it_is_waited_for() -> None:
    """Once: the end of the block has nothing more to tell."""
    async with AppClient(broken_app()) as client:
        assert await client.hook("/work") == Reaction([SAY])
        with pytest.raises(LookupError):
            await client.settle()


async def test_what_nobody_has_waited_for_is_raised_at_the_end_of_the_block() -> None:
    """A test that forgets `settle` is not green either, if the work has ended by then."""

    async def play() -> None:
        async with AppClient(broken_app()) as client:
            await until_work_has_failed(client)

    with pytest.raises(LookupError):
        await play()


async def test_the_test_s_own_failure_is_the_one_that_is_told() -> None:
    """What it has found out comes first."""

    async def play() -> None:
        async with AppClient(broken_app()) as client:
            await until_work_has_failed(client)
            raise AssertionError("mine")

    with pytest.raises(AssertionError, match="mine"):
        await play()


async def test_text_is_taken_as_jambonz_does_it() -> None:
    """Without it whoever waits for a speech waits for ever."""
    app, taken = App(), list[str]()

    async def speak(call: Call) -> None:
        async with call.tts_stream() as speech:
            await speech.write("One. ")
            await speech.write("Two.")
        taken.append(speech.taken)

    @app.hook("/speak")
    async def hook(call: Call) -> None:
        call.spawn(speak(call))

    async with AppClient(app) as client:
        await client.hook("/speak")
        tokens = [it["data"]["tokens"] for it in await client.settle() if it["command"] == "tts:tokens"]
    assert (tokens[:2], taken) == (["One. ", "Two."], ["One. Two."])


async def test_an_answer_of_the_error_handler_is_no_failure() -> None:
    """It is what the application does."""
    app = broken_app()

    @app.on_error
    async def sorry(call: Call, event: Event, error: Exception) -> object:
        return SAY

    async with AppClient(app) as client:
        assert await client.hook("/broken") == Reaction([SAY])


async def test_a_client_that_does_not_raise_shows_what_jambonz_gets() -> None:
    """For a test of just that."""
    async with AppClient(broken_app(), raises=False) as client:
        assert (await client.session_new("/broken")).verbs == [{"verb": "sip:decline", "status": 500}]
        await client.hook("/work")
        await client.settle()
        await client.end()


def test_a_client_wants_an_app() -> None:
    """And not the module that it is in, say."""
    nothing: Any = pytest
    with pytest.raises(TypeError, match="expected an App, got module"):
        AppClient(nothing)
