"""A call that another app has taken: its worker lets go of it, told by the gateway or not (ADR 0012)."""

import asyncio
import logging
import time

import orjson
import pytest
from redis.asyncio import Redis

from jambonz_shared.kinds import TRANSFERRED
from jambonz_shared.redis import script
from jambonz_shared.redis.scripts import Attach, Attached, CallKeys, attach_args, attach_reply
from jambonz_workers import App, Call, CallLost, CallTransferred
from jambonz_workers.recovery import Recovery
from tests.conditions import until
from tests.integration.worker.conftest import Start
from tests.integration.worker.gateway_double import GatewayDouble, Line

CONSENT_S = 0.3


def reception() -> App:
    app = App()

    @app.on("session:new")
    async def welcome(call: Call) -> object:
        call.spawn(asyncio.Event().wait())
        return {"verb": "pause", "length": 9}

    @app.hook("/hand")
    async def hand(call: Call) -> object:
        return call.transfer("sales", "wss://voice.example.net/sales")

    return app


async def taken_by_sales(line: Line, redis: Redis) -> Attached:
    """Attach as jambonz's websocket to sales does, at a gateway that dies before it can tell the old owner."""
    keys = CallKeys.of(line.gateway.keys, line.sid)
    names, args = attach_args(keys, Attach("g2", "sales", "/sales", "side", 60_000))
    reply = attach_reply(await redis.eval(script.ATTACH.source.decode(), len(names), *names, *args))
    assert isinstance(reply, Attached)
    return reply


@pytest.mark.parametrize("how", ["commit", "time", "notice"])
async def test_a_worker_lets_go_of_a_call_that_was_transferred(
    how: str,
    start: Start,
    gateway: GatewayDouble,
    redis: Redis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At its next commit, at the end of the consent, or as soon as it is told; no error, and no work goes on."""
    if how == "time":
        look_after = Recovery.look_after
        monkeypatch.setattr(Recovery, "look_after", lambda it, call_sid, _: look_after(it, call_sid, CONSENT_S))
    running = await start(reception())
    line = await gateway.open()
    await line.start()
    assert (await line.hook("/hand"))[0]["verb"] == "redirect"
    (live,) = running.worker.office.live.values()
    (work,) = live.call.works.running
    with caplog.at_level(logging.INFO):
        attached = await taken_by_sales(line, redis)
        assert attached.former_owner == running.worker.id
        if how == "notice":
            told = {"app": "sales", "fence": attached.fence}
            await redis.xadd(gateway.keys.inbox(running.worker.id), {"e": notice(line, told)})
        elif how == "commit":
            with pytest.raises(CallTransferred, match="'sales'"):
                await live.call.config(notifyEvents=True)
        await until(lambda: not running.worker.office.live, "the worker has let go of the call")
        await until(lambda: work.is_done, "its background work has ended")
    with pytest.raises(CallTransferred):
        await live.call.config(notifyEvents=True)
    assert [it for it in caplog.records if it.levelno > logging.INFO] == []
    assert any(it.getMessage().startswith("call transferred to another") for it in caplog.records)
    await line.forget()


async def test_a_call_that_is_lost_long_after_a_consent_was_not_transferred(
    start: Start, gateway: GatewayDouble, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """jambonz never opened the websocket; hours later another worker takes the call, and somebody should look why."""
    running = await start(reception())
    line = await gateway.open()
    key = gateway.keys.call(line.sid)
    unused = {"app": "sales", "until_ms": time.time_ns() // 1_000_000 - 3_600_000, "facts": "{}", "state": {}}
    await redis.hset(key, "s:@transfer", orjson.dumps(unused))
    await line.start()
    (live,) = running.worker.office.live.values()
    await redis.hincrby(key, "fence", 1)
    await redis.hset(key, "owner", "w-other")
    with pytest.raises(CallLost) as lost:
        await live.call.config(notifyEvents=True)
    assert (type(lost.value), lost.value.owner) == (CallLost, "w-other")
    assert [it.getMessage() for it in caplog.records if it.levelno > logging.INFO] == ["call lost to another worker"]
    await line.forget()


async def test_old_news_of_a_transfer_takes_no_call(start: Start, gateway: GatewayDouble, redis: Redis) -> None:
    """The call has come back meanwhile, to the same worker."""
    running = await start(reception())
    line = await gateway.open()
    await line.start()
    (live,) = running.worker.office.live.values()
    told = {"app": "sales", "fence": live.ownership.fence}
    inbox = gateway.keys.inbox(running.worker.id)
    await redis.xadd(inbox, {"e": notice(line, told)})
    assert (await line.hook("/hand"))[0]["verb"] == "redirect"
    assert live.call.over is None

    async def is_empty() -> bool:
        return not await redis.xlen(inbox)

    await until(is_empty, "the notice is done with")
    await line.end()


def notice(line: Line, told: dict[str, object]) -> bytes:
    return line.envelope(TRANSFERRED, orjson.dumps(told), "", 0).replace(b"\x1f1\x1f0\x1f", b"\x1f0\x1f0\x1f", 1)


async def test_consent_of_a_concurrent_handler_does_not_wait_for_the_one_that_runs(
    start: Start, gateway: GatewayDouble, redis: Redis
) -> None:
    """Its redirect goes out at once, and jambonz opens the other app's websocket at once."""
    app, may_go_on = reception(), asyncio.Event()

    @app.hook("/slow")
    async def slow(call: Call) -> None:
        await may_go_on.wait()

    @app.on("llm:event", concurrent=True)
    async def heard(call: Call) -> None:
        await call.redirect(call.transfer("sales", "wss://voice.example.net/sales"))

    running = await start(app)
    line = await gateway.open()
    await line.start()
    await line.send("verb:hook", hook="/slow")
    await line.send("llm:event")
    await until(lambda: [frame["command"] for frame in line.frames] == ["redirect"], "the redirect is out")
    assert (await taken_by_sales(line, redis)).app == "sales"
    may_go_on.set()
    await until(lambda: not running.worker.office.live, "the worker lets go of it")
    await gateway.nothing_waits()
    await line.forget()
    # What was not done is for sales, which has no worker here.
    await redis.delete(gateway.keys.dispatch("sales"))
