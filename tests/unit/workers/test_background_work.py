"""Background work of a call: started, watched and cancelled with it. Through AppClient."""

import asyncio
import sys
from typing import Any

import pytest

from jambonz_workers import App, Call, CallGone, OutcomeKind
from jambonz_workers.testing import AppClient

SAY = {"verb": "say", "text": "Hi"}


async def test_background_work_starts_after_the_commit_and_acts_at_once() -> None:
    """So it can never overtake the ack of the handler that started it."""
    app = App()
    order: list[str] = []

    async def tick(call: Call) -> None:
        order.append("work")
        assert (await call.redirect(SAY, queue=True)).kind is OutcomeKind.QUEUED
        call.state["ticks"] = 1

    @app.hook("/a")
    async def hook(call: Call) -> object:
        work = call.spawn(tick(call), name="ticker")
        assert (work.name, work.is_done) == ("ticker", False)
        await asyncio.sleep(0)
        order.append("handler")
        return SAY

    async with AppClient(app) as client:
        assert (await client.hook("/a")).commands == []
        assert [frame["queueCommand"] for frame in await client.settle()] == [True]
        assert client.state == {"ticks": 1}
    assert order == ["handler", "work"]


async def test_background_work_that_exits_is_work_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    """It ended the worker, with every other call that it had."""
    app = App()

    async def leave() -> None:
        sys.exit("no more")

    @app.hook("/a")
    async def hook(call: Call) -> None:
        call.spawn(leave())

    async with AppClient(app, raises=False) as client:
        await client.hook("/a")
        await client.settle()
    assert "sys.exit('no more') would end the worker with all its calls" in caplog.text


async def test_background_work_can_start_more_of_it() -> None:
    """It starts at once there."""
    app = App()

    async def inner(call: Call) -> None:
        await call.hangup()

    async def outer(call: Call) -> None:
        call.spawn(inner(call))

    @app.hook("/a")
    async def hook(call: Call) -> None:
        call.spawn(outer(call))

    async with AppClient(app) as client:
        await client.hook("/a")
        assert [frame["command"] for frame in await client.settle()] == ["call:status"]


async def test_background_work_is_cancelled_with_the_call() -> None:
    """Nobody is left to hear it."""
    app = App()
    seen: list[str] = []

    async def forever(call: Call) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            with pytest.raises(CallGone):
                call.hangup()
            with pytest.raises(CallGone):
                await call.mute()
            raise

    @app.hook("/a")
    async def hook(call: Call) -> None:
        call.spawn(forever(call))

    @app.on_end
    async def ended(call: Call) -> None:
        seen.append(f"ended with {dict(call.state)}")

    async with AppClient(app) as client:
        await client.hook("/a")
        await asyncio.sleep(0)
        await client.end()
        await client.settle()
        with pytest.raises(CallGone):
            await client.call.hangup()
    assert seen == ["ended with {}", "cancelled"]


async def test_work_can_be_cancelled_by_its_handle(caplog: pytest.LogCaptureFixture) -> None:
    """Before it starts and after; again does nothing."""
    app = App()
    ran: list[int] = []

    async def forever(number: int) -> None:
        ran.append(number)
        await asyncio.Event().wait()

    @app.hook("/a")
    async def hook(call: Call) -> None:
        early, late = call.spawn(forever(1)), call.spawn(forever(2))
        early.cancel()
        early.cancel()
        assert early.is_done
        await early.wait()
        works.append(late)

    works: list[Any] = []
    async with AppClient(app) as client:
        await client.hook("/a")
        await asyncio.sleep(0)
        assert not works[0].is_done
        works[0].cancel()
        await works[0].wait()
        assert works[0].is_done
    assert ran == [2]
    assert caplog.records == []


async def test_failing_work_is_logged_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Its bad state is not saved, either."""
    app = App()

    async def fail(call: Call) -> None:
        call.state["bad"] = []
        call.state["bad"].append({1})
        raise RuntimeError("broken")

    @app.hook("/a")
    async def hook(call: Call) -> None:
        call.spawn(fail(call), name="failing")

    async with AppClient(app, raises=False) as client:
        await client.hook("/a")
        await client.settle()
        assert client.state == {}
    failed, left = caplog.records
    assert failed.__dict__["work"] == "failing"
    assert "call.state['bad']: JSON cannot hold it" in left.getMessage()


async def test_state_that_work_has_spoilt_is_no_handlers_fault(caplog: pytest.LogCaptureFixture) -> None:
    """Nor does it cost the commands of the work itself."""
    app = App()
    go_on = asyncio.Event()

    async def spoil(call: Call) -> None:
        call.state.setdefault("seen", []).append({1})
        await go_on.wait()
        call.state["seen"].append({2})
        await call.redirect({"verb": "hangup"})

    @app.hook("/start")
    async def start(call: Call) -> None:
        call.spawn(spoil(call))

    @app.hook("/next")
    async def following(call: Call) -> object:
        call.state["next"] = True
        return {"verb": "pause", "length": 1}

    async with AppClient(app) as client:
        client.call.state["seen"] = []
        await client.hook("/start")
        await asyncio.sleep(0)
        assert (await client.hook("/next")).verbs == [{"verb": "pause", "length": 1}]
        go_on.set()
        assert [frame["command"] for frame in await client.settle()] == ["redirect"]
        assert client.state == {"seen": [], "next": True}
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


async def test_state_that_work_has_written_outlives_a_handler_that_fails() -> None:
    """It was written before the hook came, so it is not the handler's to lose."""
    app = App()

    async def write(call: Call) -> None:
        call.state["written"] = True
        await asyncio.Event().wait()

    @app.hook("/start")
    async def start(call: Call) -> None:
        call.spawn(write(call))

    @app.hook("/fails")
    async def fails(call: Call) -> None:
        call.state["mine"] = True
        raise RuntimeError

    async with AppClient(app, raises=False) as client:
        await client.hook("/start")
        await asyncio.sleep(0)
        await client.hook("/fails")
        assert client.state == {"written": True}


async def test_only_coroutines_can_be_spawned() -> None:
    """A function that was not called would never run."""
    app = App()

    @app.on("call:status")
    async def status(call: Call) -> None:
        job: Any = status
        with pytest.raises(TypeError, match="expects a coroutine"):
            call.spawn(job)

    async with AppClient(app) as client:
        await client.send("call:status")


async def test_state_of_a_running_handler_is_not_saved_by_background_work() -> None:
    """Half of a handler's effects must never be seen."""
    app = App()
    client = AppClient(app)
    go, sent = asyncio.Event(), asyncio.Event()

    async def act(call: Call) -> None:
        await go.wait()
        await call.mute()
        sent.set()

    @app.hook("/start")
    async def start(call: Call) -> None:
        call.spawn(act(call))

    @app.hook("/a")
    async def hook(call: Call) -> None:
        call.state["half"] = 1
        go.set()
        await sent.wait()
        assert client.state == {}
        del call.state["half"]
        call.state["whole"] = 1

    async with client:
        await client.hook("/start")
        await client.hook("/a")
        assert client.state == {"whole": 1}
        assert len(client.commands) == 1


def commands_in_a_thread(call: Call, seen: list[str]) -> None:
    """What a thread of background work might try; each must be refused before it has touched anything."""

    async def work() -> None:
        """Nobody runs it."""

    never = work()
    try:
        for act in (
            lambda: call.redirect(SAY),
            call.hangup,
            call.close,
            lambda: call.after(1, "/later"),
            lambda: call.cancel_timer("1-1"),
            lambda: call.transfer("sales", "wss://host/sales"),
            lambda: call.spawn(never),
            call.tts_stream,
        ):
            try:
                act()
                seen.append("done")
            except RuntimeError as error:
                seen.append(str(error))
    finally:
        never.close()


async def test_a_thread_of_background_work_is_told_what_to_do_instead() -> None:
    """It has no event loop; nothing that it tried is half done."""
    app, seen = App(), list[str]()

    @app.hook("/work")
    async def work(call: Call) -> None:
        call.spawn(asyncio.to_thread(commands_in_a_thread, call, seen))

    async with AppClient(app) as client:
        await client.hook("/work")
        assert await client.settle() == []
        assert client.state == {}
        assert not client.call.state.changes()
        assert [text.partition(" is for the event loop")[0] for text in seen] == [
            *["a command outside of a handler"] * 3,
            "call.after() outside of a handler",
            "call.cancel_timer() outside of a handler",
            "call.transfer() outside of a handler",
            "call.spawn() outside of a handler",
            "call.tts_stream()",
        ]
        assert all("await asyncio.to_thread" in text for text in seen)
        assert (await client.hook("/work")).verbs == []


async def test_a_thread_of_a_handler_may_do_what_the_handler_may() -> None:
    """Its effects wait for the handler; only a stream of text needs the event loop."""
    app, seen = App(), list[str]()

    @app.hook("/work")
    def work(call: Call) -> None:
        call.ledger.status = "in-progress"
        commands_in_a_thread(call, seen)

    async with AppClient(app) as client:
        reaction = await client.hook("/work")
    assert seen[:-1] == ["done"] * 7
    assert seen[-1].startswith("call.tts_stream() is for the event loop")
    assert [frame["command"] for frame in reaction.commands] == ["redirect", "call:status"]
    assert client.closed == [1000]
