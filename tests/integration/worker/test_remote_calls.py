"""Calls: the same commands from any process, and what became of them."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.directive import Close, Command
from jambonz_shared.outcome import Outcome, OutcomeKind
from jambonz_shared.redis.scripts import batch_field
from jambonz_workers import App, Call, CallGone, Calls, LinkDown
from tests.conditions import until
from tests.integration.worker.conftest import Start
from tests.integration.worker.gateway_double import GatewayDouble

SAY = {"verb": "say", "text": "Hello"}


def app_with(name: str = "default") -> App:
    app = App(name)

    @app.on("session:new")
    async def welcome(call: Call) -> object:
        call.state["seen"] = [1]
        return SAY

    @app.hook("/known")
    async def known(call: Call) -> object:
        return {"verb": "tag", "data": {"known": [await app.calls.exists(sid) for sid in (call.sid, "nobody")]}}

    @app.hook("/refused")
    async def refused(call: Call) -> None:
        call.mute()

    return app


@pytest.fixture
async def calls(redis_url: str) -> AsyncIterator[Calls]:
    async with Calls.connect(redis_url, outcome_wait_s=5.0) as connected:
        yield connected


async def test_a_live_call_is_found_with_its_facts_and_state(
    start: Start, gateway: GatewayDouble, calls: Calls
) -> None:
    """Everything a supervisor needs to decide."""
    running = await start(app_with())
    line = await gateway.open(path="/anything")
    await line.start({"from": "+49"})
    remote = await calls.get(line.sid)
    assert (remote.sid, remote.app, remote.path, remote.owner) == (
        line.sid,
        "default",
        "/anything",
        running.worker.id,
    )
    assert remote.facts["from"] == "+49"
    state = await remote.state()
    assert state == {"seen": [1]}
    state["seen"].append(2)
    assert await remote.state() == {"seen": [1]}
    assert line.sid in repr(remote)
    assert await calls.exists(line.sid)
    await line.end()
    assert not await calls.exists(line.sid)


async def test_live_calls_are_listed_by_app(start: Start, gateway: GatewayDouble, calls: Calls) -> None:
    """All of them, or one app's."""
    await start(app_with())
    lines = [await gateway.open() for _ in range(3)]
    for line in lines:
        await line.start()
    assert {it.sid for it in await calls.list()} == {line.sid for line in lines}
    assert len(await calls.list("default")) == 3
    assert await calls.list("other") == []
    for line in lines:
        await line.end()
    assert await calls.list() == []


async def test_a_command_tells_that_it_was_sent(start: Start, gateway: GatewayDouble, calls: Calls) -> None:
    """P5: any process controls any call."""
    await start(app_with())
    line = await gateway.open()
    await line.start()
    remote = await calls.get(line.sid)
    outcome = await remote.redirect([SAY], queue=True)
    assert outcome.kind is OutcomeKind.SENT
    assert line.frames[-1]["queueCommand"] is True
    assert (await remote.close(1012)).kind is OutcomeKind.SENT
    assert isinstance(line.directives[-1], Close)
    await line.end()


async def test_a_long_redirect_is_sent_as_a_whole(start: Start, gateway: GatewayDouble, calls: Calls) -> None:
    """One Outcome for all its parts, which are one batch."""
    await start(app_with())
    line = await gateway.open()
    await line.start()
    remote = await calls.get(line.sid)
    outcome = await remote.redirect([{"verb": "say", "text": "x" * 10_000} for _ in range(5)])
    assert outcome.kind is OutcomeKind.SENT
    assert [frame["queueCommand"] for frame in line.frames] == [False, True, True]
    assert len(line.batches) == 2
    await line.end()


async def test_a_refused_command_tells_why(start: Start, gateway: GatewayDouble, calls: Calls) -> None:
    """P4: its sender learns the reason."""
    await start(app_with())
    line = await gateway.open()
    await line.start()
    gateway.outcome = lambda it: Outcome(it.id, OutcomeKind.REFUSED, "no dial is running")
    outcome = await (await calls.get(line.sid)).mute()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "no dial is running")
    await line.end()


async def test_a_refused_command_of_a_handler_is_logged_and_counted(
    start: Start, gateway: GatewayDouble, caplog: pytest.LogCaptureFixture
) -> None:
    """P4: a handler has returned long before, so its operator learns it."""
    running = await start(app_with())
    line = await gateway.open()
    await line.start()
    gateway.outcome = lambda it: Outcome(it.id, OutcomeKind.REFUSED, "no dial is running")
    with caplog.at_level(logging.WARNING):
        await line.hook("/refused")
        await until(lambda: any("refused" in it.message for it in caplog.records), "a warning")
    assert caplog.records[-1].__dict__["why"] == "no dial is running"
    assert next(iter(running.worker.metrics.refused.collect())).samples[0].value == 1
    await line.end()


async def test_a_command_for_a_call_that_ends_meanwhile_is_gone(
    start: Start, gateway: GatewayDouble, calls: Calls
) -> None:
    """Whether Redis or the gateway says so."""
    await start(app_with())
    line = await gateway.open()
    await line.start()
    remote = await calls.get(line.sid)
    gateway.outcome = lambda it: Outcome(it.id, OutcomeKind.GONE)
    with pytest.raises(CallGone):
        await remote.hangup()
    await line.end()
    with pytest.raises(CallGone):
        await remote.hangup()
    with pytest.raises(CallGone):
        await remote.state()
    with pytest.raises(CallGone):
        await calls.get(line.sid)


async def test_a_command_nobody_answers_for_is_queued(start: Start, gateway: GatewayDouble, redis_url: str) -> None:
    """The websocket is down; it goes out when jambonz is back."""
    await start(app_with())
    line = await gateway.open()
    await line.start()
    gateway.outcome = lambda it: None
    async with Calls.connect(redis_url, outcome_wait_s=0.05) as calls:
        outcome = await (await calls.get(line.sid)).hangup()
    assert outcome.kind is OutcomeKind.QUEUED
    await line.wait(lambda: bool(line.frames), "the command arrives all the same")
    await line.end()


async def test_a_command_is_refused_while_a_thousand_wait(start: Start, gateway: GatewayDouble, calls: Calls) -> None:
    """P4: a loop that commands a call without a websocket is told, before it fills Redis."""
    await start(app_with())
    line = await gateway.open()
    await line.start()
    remote = await calls.get(line.sid)
    waiting = [batch_field(seq) for seq in range(1, 1001)]
    await gateway.redis.hset(
        gateway.keys.call(line.sid), items=[part for field in waiting for part in (field, "batch")]
    )
    outcome = await remote.mute()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "1000 batches wait for the call's websocket")
    await gateway.redis.hdel(gateway.keys.call(line.sid), *waiting)
    assert (await remote.mute()).kind is OutcomeKind.SENT
    assert len(line.frames) == 1
    await line.end()


async def test_a_command_goes_out_although_nobody_awaits_it(start: Start, gateway: GatewayDouble, calls: Calls) -> None:
    """In order, and even if who waited was cancelled."""
    await start(app_with())
    line = await gateway.open()
    await line.start()
    remote = await calls.get(line.sid)
    remote.mute()
    waiting = asyncio.ensure_future(remote.unmute())
    waiting.cancel()
    await asyncio.wait([waiting])
    await remote.tts_flush()
    assert [frame["command"] for frame in line.frames] == ["mute:status", "mute:status", "tts:flush"]
    assert all(isinstance(it, Command) for it in line.directives[1:])
    await line.end()


async def test_handlers_can_ask_for_other_calls(start: Start, gateway: GatewayDouble) -> None:
    """``app.calls`` is there while a worker runs."""
    app = app_with()
    running = await start(app)
    line = await gateway.open()
    await line.start()
    assert await line.hook("/known") == [{"verb": "tag", "data": {"known": [True, False]}}]
    await line.end()
    await running.stop()
    with pytest.raises(RuntimeError, match=r"Calls\.connect"):
        _ = app.calls


async def test_while_redis_is_away_the_error_tells_whether_to_try_again(redis_server: EmbeddedRedis) -> None:
    """A supervisor must know that nobody has heard it."""
    async with Calls.connect(redis_server.url) as calls:
        redis_server.kill()

        async def is_known() -> bool:
            with pytest.raises(LinkDown) as caught:
                await calls.exists("a")
            return not caught.value.sent

        await until(is_known, "the link knows that it is down")


async def test_connecting_to_nothing_fails_in_time() -> None:
    """A supervisor script must not hang."""
    with pytest.raises(TimeoutError, match=r"no answer from Redis at redis://127\.0\.0\.1:1/0 within 0\.2 s"):
        async with Calls.connect("redis://:secret@127.0.0.1:1/0", connect_wait_s=0.2):
            pass
