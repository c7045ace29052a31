"""Errors of a worker's own: each is counted, and stops nothing else."""

import asyncio
from itertools import pairwise
from typing import NoReturn

import pytest
from redis.asyncio import Redis

from jambonz_shared.envelope import Envelope
from jambonz_shared.redis.errors import ResponseError
from jambonz_workers import App, Call
from jambonz_workers.vigil import Vigil
from tests.conditions import until
from tests.integration.redis.desk import execute
from tests.integration.worker.conftest import Running, Start
from tests.integration.worker.gateway_double import GATEWAY_ID, GatewayDouble

SAY = {"verb": "say", "text": "Hello"}


def greeter() -> App:
    app = App()

    @app.on("session:new")
    async def welcome(call: Call) -> object:
        return SAY

    return app


def counted(running: Running, name: str = "failures") -> float | None:
    return running.worker.metrics.registry.get_sample_value(f"jambonz_worker_{name}_total")


async def test_event_that_the_worker_itself_cannot_handle_is_acked_and_counted(
    start: Start, gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a fault of the application, so it is not among those of its handlers."""
    app = greeter()
    running = await start(app)
    assert counted(running) == 0
    line = await gateway.open()
    assert await line.start() == [SAY]
    with monkeypatch.context() as patched:
        patched.setattr(app, "resolve", _fail)
        assert await line.hook("/x") == []
    assert (counted(running), counted(running, "handler_failures")) == (1, 0)
    await line.end()


async def test_entries_that_cannot_be_taken_in_are_counted(start: Start, gateway: GatewayDouble) -> None:
    """A callback of Redis that raises costs what it was called with, and has to show; as a notice of nonsense does."""
    running = await start(greeter())
    line = await gateway.open()
    await line.start()
    notice = Envelope(line.sid, 0, 0, "cluster:transferred", "", 0, GATEWAY_ID, False, b"?")
    await gateway.redis.xadd(gateway.keys.inbox(line.owner), {"e": notice.encode()})
    await until(lambda: counted(running) == 1, "the failure is counted")
    assert await line.hook("/x") == []
    await line.end()


@pytest.mark.sources_only(because="the runner is replaced")
async def test_event_that_cannot_be_overheard_costs_nobody_anything(
    start: Start, gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read brings events of many calls: what came with it was lost, and the call of the event itself stood still."""
    running = await start(greeter())
    first, second = await gateway.open(), await gateway.open()
    for line in (first, second):
        await line.start()
    monkeypatch.setattr(running.worker.office._runner, "_overhear", _fail)
    status = first.envelope("call:status", b"{}", "s", first.n + 1)
    hook = second.envelope("verb:hook", b'{"hook":"/x"}', "h", second.n + 1)
    await execute(gateway.redis, "XADD", gateway.keys.inbox(first.owner), "*", "e", status.decode(), "e", hook.decode())
    assert await second.answer("h") == []
    await until(lambda: counted(running) == 1, "the failure is counted")
    await gateway.nothing_waits()
    for line in (first, second):
        line.n += 1
        await line.end()


async def test_event_that_cannot_be_forwarded_is_counted(start: Start, gateway: GatewayDouble, redis: Redis) -> None:
    """It is lost: a stream of the wrong type stands for whatever no repetition would cure."""
    running = await start(greeter())
    sales = GatewayDouble(redis, "sales")
    line = await sales.open()
    await redis.set(gateway.keys.dispatch("sales"), "no stream")
    await redis.xadd(gateway.keys.inbox(running.worker.id), {"e": line.envelope("verb:hook", b"{}", "m", 1)})
    await until(lambda: counted(running) == 1, "the failure is counted")
    await redis.delete(gateway.keys.dispatch("sales"))
    await line.forget()
    await gateway.nothing_waits()


async def test_failing_watch_over_other_processes_is_counted_and_goes_on(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would be missed when another worker dies."""
    running = await start(greeter())
    with monkeypatch.context() as patched:
        patched.setattr(Vigil, "_poll", _fail)
        await until(lambda: (counted(running) or 0) >= 2, "it has failed and tried again")
    assert counted(running, "handler_failures") == 0


async def test_watching_that_redis_refuses_does_not_fill_the_log(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator has forgotten a right, and a subscription is looked at forty times a second."""
    await start(greeter())
    other = await start(greeter())
    await until(lambda: len(other.worker._vigil._peers) == 2, "they watch each other")
    loop, asked_s = asyncio.get_running_loop(), list[float]()

    async def refuse(vigil: Vigil) -> NoReturn:
        if vigil is other.worker._vigil:
            asked_s.append(loop.time())
        raise ResponseError("NOPERM this user has no permissions to run the 'pubsub|numsub' command")

    with monkeypatch.context() as patched:
        patched.setattr(Vigil, "_poll", refuse)
        await until(lambda: len(asked_s) >= 3, "it has been refused three times")
    # One line of each worker, however often it is refused.
    assert [vars(it)["why"] for it in caplog.records if it.name == "jambonz_workers.vigil"] == ["NOPERM", "NOPERM"]
    assert all(later_s - earlier_s > 0.45 for earlier_s, later_s in pairwise(asked_s))


def _fail(*_: object) -> NoReturn:
    raise LookupError
