"""Calls whose jambonz has gone, or whose handler was caught in what it awaited: each ends once, and nothing stays."""

import asyncio
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from jambonz_shared.redis import script
from jambonz_shared.redis.scripts import Attach, Attached, CallKeys, attach_args, attach_reply, detach_args
from jambonz_workers import App, Call
from tests.conditions import until
from tests.integration.worker.conftest import Running, Start
from tests.integration.worker.gateway_double import GATEWAY_ID, GatewayDouble, Line

GRACE_S = 2.0


def application(ended: list[str]) -> App:
    app = App()

    @app.on("session:new")
    async def begin(call: Call) -> object:
        return {"verb": "pause", "length": 9}

    @app.on_end
    async def end(call: Call) -> None:
        ended.append(call.sid)

    return app


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> Callable[[Running], None]:
    """The setting takes 15 s at least: jambonz reconnects for that long."""
    return lambda running: monkeypatch.setattr(running.worker.office.recovery, "_grace_s", GRACE_S)


async def lose(line: Line, redis: Redis) -> None:
    """Lose the only socket of a call."""
    names, args = detach_args(CallKeys.of(line.gateway.keys, line.sid), line.epoch, round(GRACE_S * 1000))
    await redis.eval(script.DETACH.source.decode(), len(names), *names, *args)
    await line.publish("cluster:detached")


async def come_back(line: Line, redis: Redis) -> Attached:
    attach = Attach(GATEWAY_ID, "default", "/ivr", "main", 60_000, is_reconnect=True)
    names, args = attach_args(CallKeys.of(line.gateway.keys, line.sid), attach)
    attached = attach_reply(await redis.eval(script.ATTACH.source.decode(), len(names), *names, *args))
    assert isinstance(attached, Attached)
    line.epoch, line.n = attached.epoch, 0
    return attached


async def test_call_that_is_claimed_without_a_socket_ends_after_its_grace_time(
    start: Start, gateway: GatewayDouble, brief: Callable[[Running], None]
) -> None:
    """Its former owner may have died behind the news that jambonz has gone; nobody tells it again."""
    ended: list[str] = []
    running = await start(application(ended))
    brief(running)
    line = await gateway.open()
    await line.detach()
    await line.send("session:new", {"direction": "inbound"})
    await until(lambda: ended == [line.sid], "the application is told of the end")
    await until(lambda: line.is_ended and not running.worker.office.live, "nothing of the call is left")
    await line.leave()


async def test_second_loss_has_its_own_grace_time(
    start: Start, gateway: GatewayDouble, redis: Redis, brief: Callable[[Running], None]
) -> None:
    """Two gateways are replaced one after the other: jambonz has its time each time."""
    ended: list[str] = []
    running = await start(application(ended))
    brief(running)
    line = await gateway.open()
    await line.start()
    loop = asyncio.get_running_loop()
    first_s = loop.time()
    await lose(line, redis)
    assert (await come_back(line, redis)).existed
    await line.send("session:reconnect")
    await asyncio.sleep(first_s + 0.7 * GRACE_S - loop.time())
    await lose(line, redis)
    await asyncio.sleep(first_s + 1.3 * GRACE_S - loop.time())
    assert (await come_back(line, redis)).existed
    assert ended == []
    await line.end()


async def test_speech_under_way_ends_when_jambonz_does_not_come_back(
    start: Start, gateway: GatewayDouble, redis: Redis, brief: Callable[[Running], None]
) -> None:
    """The handler waits for jambonz on a piece of text; without an end the call would stay for ever."""
    ended: list[str] = []
    app = application(ended)

    @app.hook("/speak")
    async def speak(call: Call) -> None:
        await call.ack([])
        async with call.tts_stream() as speech:
            await speech.write("Hello ")
            await speech.write("world. ")

    running = await start(app)
    brief(running)
    line = await gateway.open()
    await line.start()
    await line.hook("/speak")
    await until(lambda: any(frame["command"] == "tts:tokens" for frame in line.frames), "text is offered")
    await lose(line, redis)
    await until(lambda: not running.worker.office.live, "the call is let go", limit_s=10)
    await until(lambda: ended == [line.sid], "the application is told")
    await gateway.nothing_waits()
    assert await gateway.owned_by(running.worker.id) == set()
    await line.leave()


async def test_handler_that_outlasts_the_grace_time_does_not_cost_the_end_handler(
    start: Start, gateway: GatewayDouble, redis: Redis, brief: Callable[[Running], None]
) -> None:
    """Its commit finds that Redis has forgotten the call."""
    ended: list[str] = []
    app = application(ended)

    @app.hook("/long")
    async def long(call: Call) -> None:
        await call.ack([])
        await asyncio.sleep(2 * GRACE_S)
        call.state["x"] = 1

    running = await start(app)
    brief(running)
    line = await gateway.open()
    await line.start()
    await line.hook("/long")
    await lose(line, redis)
    await until(lambda: ended == [line.sid], "the application is told")
    await until(lambda: not running.worker.office.is_busy, "nothing runs any more")
    assert not running.worker.office.live
    assert ended == [line.sid]
    await line.leave()


async def test_call_goes_on_when_what_its_handler_awaits_is_cancelled(start: Start, gateway: GatewayDouble) -> None:
    """By a barge-in, which runs beside it: the hook is acked, and events behind it run."""
    ended: list[str] = []
    app, searches = application(ended), dict[str, asyncio.Task[None]]()

    @app.on("tts:streaming-event", concurrent=True)
    async def barge_in(call: Call) -> None:
        searches[call.sid].cancel()

    @app.hook("/ask")
    async def ask(call: Call) -> None:
        searches[call.sid] = asyncio.create_task(asyncio.sleep(60))
        await searches[call.sid]

    @app.hook("/next")
    async def next_one(call: Call) -> object:
        return {"verb": "say", "text": "here"}

    running = await start(app)
    line = await gateway.open()
    await line.start()
    msgid = await line.send("verb:hook", hook="/ask")
    await until(lambda: line.sid in searches, "it awaits")
    await line.send("tts:streaming-event", {"event_type": "user_interruption"})
    assert await line.answer(msgid) == []
    assert await line.hook("/next") == [{"verb": "say", "text": "here"}]
    await line.end()
    await until(lambda: not running.worker.office.live, "the call has ended")
    assert ended == [line.sid]


@pytest.mark.parametrize("is_late", [False, True], ids=["before its end handler", "in its end handler"])
async def test_call_that_comes_back_while_it_is_ended_does_not_count_as_over(
    start: Start,
    gateway: GatewayDouble,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    is_late: bool,
) -> None:
    """P6: a Redis that is emptied then would be believed that the call has ended; and its end is to be told, too."""
    caplog.set_level("INFO")
    ended: list[str] = []
    app, is_busy, may_go_on = App(), asyncio.Event(), asyncio.Event()

    async def dawdle() -> None:
        is_busy.set()
        await may_go_on.wait()

    @app.on("session:new")
    async def begin(call: Call) -> object:
        return {"verb": "pause", "length": 9}

    @app.hook("/long")
    async def long(call: Call) -> None:
        if not is_late:
            await dawdle()

    @app.on_end
    async def end(call: Call) -> None:
        ended.append(call.sid)
        if is_late:
            await dawdle()

    office = (await start(app)).worker.office
    monkeypatch.setattr(office.recovery, "_grace_s", 0.05)
    line = await gateway.open()
    await line.start()
    await line.send("verb:hook", hook="/long")
    await lose(line, redis)
    await until(lambda: "call ended: jambonz has not reconnected" in caplog.messages, "its grace time is over")
    await is_busy.wait()
    assert (await come_back(line, redis)).existed
    [live] = office.live.values()
    may_go_on.set()
    await until(lambda: not (live.is_detached or live.has_ended), "it counts as one that lives")
    assert office.recovery.misses(live)
    await line.send("session:reconnect")
    await line.end()
    assert ended == [line.sid] * (2 if is_late else 1)
