"""Timers with a real Redis: they survive the worker that set them, and run once."""

from redis.asyncio import Redis

from jambonz_workers import App, Call, Event
from tests.conditions import until
from tests.integration.worker.conftest import Start
from tests.integration.worker.gateway_double import GatewayDouble


def reminding(seconds: float) -> App:
    app = App()

    @app.session("/ivr")
    async def welcome(call: Call) -> object:
        call.after(seconds, "/remind", {"who": "Ada"})
        return {"verb": "pause"}

    @app.hook("/remind")
    async def remind(call: Call, event: Event) -> None:
        call.state["reminded"] = call.state.get("reminded", 0) + 1
        await call.redirect({"verb": "tag", "data": {"who": event.data["who"], "times": call.state["reminded"]}})

    return app


async def test_a_timer_rings_at_the_next_worker(start: Start, gateway: GatewayDouble, redis: Redis) -> None:
    """The one that set it leaves; due meanwhile, it runs as soon as another has the call, and only there."""
    app = reminding(0.5)
    first = await start(app)
    line = await gateway.open()
    await line.start()
    assert b"s:@timers" in await redis.hkeys(gateway.keys.call(line.sid))
    await start(app)
    await first.stop()
    await until(lambda: bool(line.frames), "the timer has run")
    assert line.frames[0]["data"] == [{"verb": "tag", "data": {"who": "Ada", "times": 1}}]

    async def is_forgotten() -> bool:
        return b"s:@timers" not in await redis.hkeys(gateway.keys.call(line.sid))

    await until(is_forgotten, "the timer has left Redis with what it did")
    await line.end()
    assert len(line.frames) == 1
