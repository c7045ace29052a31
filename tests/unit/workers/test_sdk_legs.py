"""The layer for applications of the SDK: legs of a dial, whose messages come over their parent's websocket."""

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest

from jambonz_shared.errors import CallLost
from jambonz_workers.call import Call
from jambonz_workers.claimed_call import ClaimedCall
from jambonz_workers.contrib.sdk import Service, Services, Session
from jambonz_workers.testing import AppClient

LEG = {"parent_call_sid": "caller", "direction": "outbound"}


def caller_of(services: Services) -> AppClient:
    return AppClient(services.app, path="/sdk", call_sid="caller")


def callee_of(services: Services) -> AppClient:
    return AppClient(services.app, path="/sdk", call_sid="callee")


def dialling(services: Services, **hooks: Any) -> tuple[Service, list[Session]]:
    """Register an application whose handlers are closures over the caller's session; return it with its sessions."""
    sessions = list[Session]()

    async def begin(session: Session) -> None:
        sessions.append(session)
        for name, hook in hooks.items():
            session.on(f"/{name}", lambda event, hook=hook: hook(session, event))
        session.dial(target=[{"type": "phone", "number": "+1"}], confirmHook="/screen")
        await session.send()

    service = services(path="/sdk")
    service.on("session:new", begin)
    return service, sessions


async def screen(session: Session, _: dict[str, Any]) -> None:
    session.gather(input=["digits"], actionHook="/pressed")
    await session.reply()


async def test_a_leg_is_answered_by_the_handlers_of_the_call_that_dialled_it() -> None:
    """As a redirect the callee's verbs would replace the caller's, and the callee be let through (PROTOCOL.md 2.9)."""
    services = Services()
    dialling(services, screen=screen)
    async with caller_of(services) as caller, callee_of(services) as callee:
        await caller.session_new()
        screened = await callee.send("dial:confirm", LEG, hook="/screen")
        assert [verb["verb"] for verb in screened.verbs or []] == ["gather"]
        assert caller.commands == callee.commands == []


async def test_verbs_of_caller_and_callee_built_at_a_time_do_not_mix() -> None:
    """Their handlers run side by side, and both call the same session."""
    met = asyncio.Barrier(2)

    async def say_who(session: Session, event: dict[str, Any]) -> None:
        session.say(text=event["who"])
        await met.wait()
        await session.reply()

    services = Services()
    dialling(services, who=say_who)
    async with caller_of(services) as caller, callee_of(services) as callee:
        await caller.session_new()
        first, second = await asyncio.gather(caller.hook("/who", who="caller"), callee.hook("/who", LEG, who="callee"))
        assert first.verbs == [{"verb": "say", "text": "caller"}]
        assert second.verbs == [{"verb": "say", "text": "callee"}]


async def test_a_late_answer_of_a_leg_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """jambonz looks at no leg of a redirect, and would do it to the caller (PROTOCOL.md 3.2)."""
    tasks = list[asyncio.Task[None]]()

    async def answer_later(session: Session, event: dict[str, Any]) -> None:
        tasks.append(asyncio.create_task(screen(session, event)))

    services = Services()
    dialling(services, screen=answer_later)
    async with caller_of(services) as caller, callee_of(services) as callee:
        await caller.session_new()
        with caplog.at_level(logging.WARNING):
            assert (await callee.send("dial:confirm", LEG, hook="/screen")).verbs == []
            await asyncio.gather(*tasks)
        assert caller.commands == callee.commands == []
    assert [record.getMessage() for record in caplog.records] == ["too late for the answer of a leg, which is left out"]


async def test_commands_go_to_the_caller_until_the_callee_has_a_websocket() -> None:
    """jambonz takes what comes over the caller's websocket for the caller's."""

    async def mute(session: Session, _: dict[str, Any]) -> None:
        await session.inject_mute("mute")

    services = Services()
    dialling(services, mute=mute)
    async with caller_of(services) as caller, callee_of(services) as callee:
        await caller.session_new()
        await callee.hook("/mute", LEG)
        assert [it["callSid"] for it in caller.commands] == ["caller"]
        await callee.send("session:adulting", LEG)
        await callee.hook("/mute", LEG)
        assert [it["callSid"] for it in callee.commands] == ["callee"]
        assert len(caller.commands) == 1


async def test_a_parted_leg_has_a_session_of_its_own() -> None:
    """The caller's is left alone: its data, its handlers, its end."""
    services, closed = Services(), list[str]()

    async def part(session: Session) -> None:
        assert session.data["call_sid"] == session.call_sid == "callee"
        session.on("/note", lambda _: session.say(text="Thank you").reply())
        session.on("close", lambda *_: closed.append(session.call_sid))
        session.say(text="Please leave a note")
        await session.reply()

    service, _ = dialling(services)
    service.on("session:redirect", part)
    async with caller_of(services) as caller, callee_of(services) as callee:
        await caller.session_new()
        parted = await callee.send("session:redirect", LEG, hook="/alone")
        assert parted.verbs == [{"verb": "say", "text": "Please leave a note"}]
        assert (await caller.hook("/note")).verbs == []
        await callee.send("session:adulting", LEG)
        await caller.end()
        assert (await callee.hook("/note")).verbs == [{"verb": "say", "text": "Thank you"}]
        assert not closed
        await callee.end()
        assert closed == ["callee"]


async def test_a_leg_without_the_session_of_its_caller_begins_by_itself() -> None:
    """The caller has ended, or lives in another worker since."""
    services = Services()
    _, sessions = dialling(services, screen=screen)
    async with callee_of(services) as callee:
        screened = await callee.send("dial:confirm", LEG, hook="/screen")
        assert [verb["verb"] for verb in screened.verbs or []] == ["gather"]
        assert [session.call_sid for session in sessions] == ["callee"]


async def test_a_call_that_comes_back_to_its_worker_has_a_new_session() -> None:
    """The old one answered by a Call that is not ours any more, and stayed for good."""
    services = Services()
    _, sessions = dialling(services, screen=screen)
    async with caller_of(services) as caller:
        # As in a worker: the context of its handlers ends with the task, of which the loop lets go at its next turn.
        await asyncio.create_task(caller.session_new())
        old = weakref.ref(sessions.pop())
        caller.call.release(CallLost(caller.call.sid, "other"))
        caller.call = Call(caller.call.sid, caller, ClaimedCall(fence=3, app="default", path="/sdk"))
        await asyncio.sleep(0)
        gc.collect()
        assert old() is None
        answered = await caller.hook("/screen")
        assert [verb["verb"] for verb in answered.verbs or []] == ["gather"]
