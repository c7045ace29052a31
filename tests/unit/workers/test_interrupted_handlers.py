"""Handlers, commands and speeches whose call is lost, over or given up in the middle: nothing half done, no silence."""

import asyncio
import logging
from typing import Any

import pytest

from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import ClusterError
from jambonz_workers import App, Call, CallGone, CallLost, Event
from jambonz_workers.effects import Commit
from jambonz_workers.handling import OnCommitted
from jambonz_workers.incoming import event_of
from jambonz_workers.testing import AppClient
from jambonz_workers.timers import envelope_of

SAY = {"verb": "say", "text": "Hi"}
LOST = CallLost("test-call", "another-worker")


class SlowOffice(AppClient):
    """Says what became of a commit when the test wants it, as Redis does."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self.waiting: list[OnCommitted] = []

    def commit(self, call: Call, commit: Commit, on_committed: OnCommitted) -> None:
        self.waiting.append(on_committed)

    def answer(self, error: ClusterError | None) -> None:
        """Answer all commits."""
        waiting, self.waiting = self.waiting, []
        for on_committed in waiting:
            on_committed(error)


async def forever() -> None:
    await asyncio.Event().wait()


async def test_work_of_a_handler_whose_effects_were_not_saved_never_starts() -> None:
    """Another worker owns the call, and runs the handler again."""
    app, begun = App(), []

    async def works() -> None:
        begun.append(True)

    @app.hook("/x")
    async def hook(call: Call) -> object:
        call.spawn(works())
        return SAY

    async with SlowOffice(app) as client:
        await client.hook("/x")
        client.answer(LOST)
        await asyncio.sleep(0)
        assert (begun, client.call.works.running) == ([], set())


async def test_a_command_of_background_work_tells_that_the_call_is_lost() -> None:
    """Under way, and from then on at once."""
    async with SlowOffice(App()) as client:
        under_way = asyncio.ensure_future(client.call.hangup())
        cancelled = asyncio.ensure_future(client.call.hangup())
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.sleep(0)
        client.answer(LOST)
        with pytest.raises(CallLost):
            await under_way
        assert cancelled.cancelled()
        client.call.release(LOST)
        with pytest.raises(CallLost):
            client.call.hangup()


async def test_a_speech_ends_when_its_text_cannot_be_sent() -> None:
    """The writer must not wait for a result that never comes."""
    async with SlowOffice(App()) as client:
        stream = client.call.tts_stream()
        async with stream as speech:
            writing = asyncio.ensure_future(speech.write("Hello "))
            await asyncio.sleep(0)
            client.answer(LOST)
            with pytest.raises(CallLost):
                await writing
            with pytest.raises(CallLost):
                await speech.write("again")
        client.call.release(LOST)
        async with client.call.tts_stream() as later:
            with pytest.raises(CallLost):
                await later.write("Hello")


async def test_a_cancelled_handler_leaves_nothing_behind() -> None:
    """A worker that gives a call up cancels what runs; whoever takes the event next begins anew."""
    app = App()

    @app.hook("/x")
    async def hook(call: Call) -> None:
        call.state["tries"] = 1
        call.redirect(SAY)
        call.spawn(forever())
        await forever()

    async with AppClient(app) as client:
        running = asyncio.create_task(client.hook("/x"))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (client.state, dict(client.call.state), client.commands) == ({}, {}, [])
        assert (client.call.works.running, client.call.ledger.handling) == (set(), None)


async def test_a_timer_that_was_cancelled_while_it_waited_its_turn_does_not_run() -> None:
    """It had rung already."""
    app, rung = App(), []

    @app.hook("/later")
    async def later(call: Call) -> None:
        rung.append(True)

    async with AppClient(app) as client:
        timer = client.call.after(60, "/later")
        event = event_of(envelope_of("test-call", timer, "/later", {}))
        assert client.call.cancel_timer(timer)
        await client._runner.handle(client.call, event, lambda _: None)
        assert rung == []


@pytest.mark.parametrize("has_handler", [True, False])
async def test_a_takeover_is_told_to_those_who_want_to_know(has_handler: bool) -> None:
    """The others go on without a word; the event is done either way."""
    app = App()
    done: list[ClusterError | None] = []
    seen: list[str] = []

    async def resumed(call: Call, event: Event) -> None:
        seen.append(event.kind)

    if has_handler:
        app.takeover(resumed)
    async with AppClient(app) as client:
        event = Event("cluster:takeover", "test-call", {})
        await client._runner.takeover(client.call, event, done.append)
    assert done == [None]
    assert seen == (["cluster:takeover"] if has_handler else [])


def overheard(body: bytes) -> Envelope:
    return Envelope("test-call", 1, 1, "tts:streaming-event", "m1", 0, "test", is_acked=False, body=body)


async def test_a_concurrent_handler_starts_neither_for_nonsense_nor_after_the_end() -> None:
    """What cannot be read is logged in its turn; a call that is over needs nothing any more."""
    app, heard = App(), []

    @app.on("tts:streaming-event", concurrent=True)
    async def hear(call: Call, event: Event) -> None:
        heard.append(event.data)

    async with AppClient(app) as client:
        client._runner.overhear(client.call, overheard(b"{"))
        client.call.release(CallGone("test-call"))
        client._runner.overhear(client.call, overheard(b'{"data": {}}'))
        await asyncio.sleep(0)
        assert (heard, client.call.works.running) == ([], set())


def test_calls_of_an_app_that_nobody_runs_say_where_they_are() -> None:
    """In a script, or before the worker is up."""
    with pytest.raises(RuntimeError, match=r"Calls\.connect"):
        _ = App().calls


async def test_state_that_background_work_left_unusable_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    """It is not saved with the next handler's effects either."""
    app = App()
    shared: list[Any] = []

    async def works(call: Call) -> None:
        call.state["list"] = shared
        shared.append(object())

    @app.hook("/x")
    async def hook(call: Call) -> None:
        call.spawn(works(call))

    async with AppClient(app) as client:
        with caplog.at_level(logging.ERROR):
            await client.hook("/x")
            await client.settle()
        assert (client.state, dict(client.call.state)) == ({}, {})
