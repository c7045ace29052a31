"""What becomes of a hook whose handler fails, or returns what cannot be sent. Through AppClient."""

import asyncio
import sys
from collections.abc import Callable

import pytest

from jambonz_workers import App, Call, Event, MessageTooBig
from jambonz_workers.testing import AppClient, Reaction

SAY = {"verb": "say", "text": "Hi"}


async def test_a_failed_handler_leaves_nothing_behind_but_an_ack(caplog: pytest.LogCaptureFixture) -> None:
    """Effects are all or nothing; the caller must not wait for the deadline."""
    app = App()
    ran: list[str] = []

    async def never() -> None:
        ran.append("work")

    @app.hook("/crash")
    async def hook(call: Call) -> object:
        call.state["tries"] = 1
        call.mute()
        call.spawn(never())
        raise RuntimeError("broken")

    async with AppClient(app, raises=False) as client:
        assert await client.hook("/crash") == Reaction([])
        await client.settle()
        assert (client.state, ran) == ({}, [])
    record = next(record for record in caplog.records if record.message == "handler failed")
    assert record.exc_info is not None
    assert record.__dict__["hook"] == "/crash"


async def _exit(call: Call) -> None:
    sys.exit(3)


def _exit_in_a_thread(call: Call) -> None:
    sys.exit(3)


@pytest.mark.parametrize("handler", [_exit, _exit_in_a_thread])
async def test_a_handler_that_exits_is_one_that_failed(
    handler: Callable[[Call], object], caplog: pytest.LogCaptureFixture
) -> None:
    """A library of the application may well do so; it ended the worker, with every other call that it had."""
    app = App()
    app.hook("/exit")(handler)
    async with AppClient(app, raises=False) as client:
        assert await client.hook("/exit") == Reaction([])
    assert "sys.exit(3) would end the worker with all its calls; raise an exception instead" in caplog.text


async def _replace_state(call: Call) -> object:
    call.state = {"tries": 1}  # type: ignore[misc, assignment]
    return SAY


async def test_the_state_cannot_be_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """The call was mute from then on, since nothing of it could be saved; now the line that does it is in the log."""
    app = App()
    app.hook("/replace")(_replace_state)
    app.hook("/next")(lambda _: SAY)
    async with AppClient(app, raises=False) as client:
        assert await client.hook("/replace") == Reaction([])
        assert await client.hook("/next") == Reaction([SAY])
    assert "in the handler _replace_state" in caplog.text


async def test_a_failed_start_declines_the_call() -> None:
    """An empty application would be refused in silence (PROTOCOL.md 2.4)."""
    app = App()

    @app.session("/")
    async def crash(call: Call) -> None:
        raise RuntimeError("broken")

    async with AppClient(app, raises=False) as client:
        assert (await client.session_new()).verbs == [{"verb": "sip:decline", "status": 500}]
        assert (await client.session_new("/unknown")).verbs == [{"verb": "sip:decline", "status": 404}]


async def test_the_error_handler_may_answer() -> None:
    """It sees the call, the event and the error."""
    app = App()

    @app.hook("/crash")
    async def hook(call: Call) -> None:
        raise LookupError("broken")

    @app.on_error
    async def failed(call: Call, event: Event, error: Exception) -> object:
        call.state["failed"] = event.hook
        return [{"verb": "say", "text": type(error).__name__}]

    async with AppClient(app) as client:
        assert (await client.hook("/crash")).verbs == [{"verb": "say", "text": "LookupError"}]
        assert client.state == {"failed": "/crash"}


async def test_an_error_handler_that_fails_cannot_stop_the_ack(caplog: pytest.LogCaptureFixture) -> None:
    """Both errors are logged."""
    app = App()

    @app.hook("/crash")
    async def hook(call: Call) -> None:
        raise LookupError("broken")

    @app.on_error
    async def failed(call: Call, event: Event, error: Exception) -> object:
        raise RuntimeError("broken, too")

    async with AppClient(app, raises=False) as client:
        assert (await client.hook("/crash")).verbs == []
    assert [record.message for record in caplog.records] == ["handler failed", "error handler failed"]


@pytest.mark.parametrize(
    ("result", "error"),
    [
        pytest.param("text", TypeError, id="no_verbs"),
        pytest.param([{"verb": "say", "text": "x" * 30_000}], MessageTooBig, id="verb_too_big"),
    ],
)
async def test_a_result_that_cannot_be_sent_is_an_error_of_the_handler(result: object, error: type[Exception]) -> None:
    """Its author is told; the hook is acked."""
    app = App()
    seen: list[Exception] = []

    @app.hook("/a")
    async def hook(call: Call) -> object:
        call.state["tries"] = 1
        return result

    @app.on_error
    async def failed(call: Call, event: Event, error: Exception) -> None:
        seen.append(error)

    async with AppClient(app) as client:
        assert (await client.hook("/a")).verbs == []
        assert client.state == {}
    assert [type(it) for it in seen] == [error]


async def test_a_state_json_cannot_hold_is_an_error_of_the_handler() -> None:
    """It is named, and nothing is committed."""
    app = App()
    seen: list[str] = []

    @app.hook("/a")
    async def hook(call: Call) -> object:
        call.state.setdefault("seen", []).append({1})
        return SAY

    @app.on_error
    async def failed(call: Call, event: Event, error: Exception) -> None:
        seen.append(str(error))

    async with AppClient(app) as client:
        assert (await client.hook("/a")).verbs == []
        assert client.state == {}
    assert "call.state['seen']" in seen[0]


def cancelled_elsewhere() -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


async def test_what_a_handler_awaits_may_be_cancelled_by_others(caplog: pytest.LogCaptureFixture) -> None:
    """A barge-in cancels a search that the handler awaits: the handler fails, and its call goes on."""
    app = App()

    @app.hook("/ask")
    async def ask(call: Call) -> None:
        await cancelled_elsewhere()

    @app.on_end
    async def end(call: Call) -> None:
        await cancelled_elsewhere()

    async with AppClient(app, raises=False) as client:
        assert await client.hook("/ask") == Reaction([])
        await client.end()
    failures = [record for record in caplog.records if record.exc_info]
    assert [record.message for record in failures] == ["handler failed", "end handler failed"]
    assert "what the handler awaited was cancelled" in str(failures[0].exc_info)


async def test_error_handler_is_asked_about_what_was_cancelled() -> None:
    """As of any other failure; and may fail the same way."""
    app = App()

    @app.hook("/ask")
    async def ask(call: Call) -> None:
        await cancelled_elsewhere()

    @app.on_error
    async def failed(call: Call, event: Event, error: Exception) -> object:
        if "again" in event.data:
            await cancelled_elsewhere()
        return [{"verb": "say", "text": type(error).__name__}]

    async with AppClient(app, raises=False) as client:
        assert (await client.hook("/ask")).verbs == [{"verb": "say", "text": "RuntimeError"}]
        assert await client.hook("/ask", {"again": True}) == Reaction([])
