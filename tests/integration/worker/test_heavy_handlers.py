"""Handlers that block or compute: threads, turns between calls, and the warning that names who holds up the loop."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from jambonz_workers import App, Call, Event, blockage
from jambonz_workers.blockage import blockages_told, place_of
from tests.conditions import until
from tests.integration.worker.conftest import Start
from tests.integration.worker.gateway_double import GatewayDouble, Line

SAY = {"verb": "say", "text": "Hello"}


class Gate:
    """Handlers that wait in their threads until the test lets them go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = 0
        self.order: list[str] = []
        self._lock = threading.Lock()

    def app(self) -> App:
        app = App()

        @app.session("/ivr")
        async def welcome(call: Call) -> object:
            return SAY

        @app.hook("/block")
        def block(call: Call, event: Event) -> object:
            with self._lock:
                self.inside += 1
                self.order.append(call.sid)
            assert self.open.wait(30)
            with self._lock:
                self.inside -= 1
            return SAY

        @app.hook("/quick")
        async def quick(call: Call) -> object:
            return SAY

        return app


async def started(gateway: GatewayDouble, count: int) -> list[Line]:
    lines = [await gateway.open() for _ in range(count)]
    for line in lines:
        await line.start()
    return lines


async def test_synchronous_handlers_take_bounded_threads_and_nobody_elses_time(
    start: Start, gateway: GatewayDouble
) -> None:
    """More of them than threads wait their turn, while async handlers of the same worker go on."""
    gate = Gate()
    running = await start(gate.app(), handler_threads=2)
    lines = await started(gateway, 5)
    blocked = [await line.send("verb:hook", hook="/block") for line in lines[:4]]
    await until(lambda: gate.inside == 2, "both threads are busy")
    for _ in range(3):
        assert await lines[4].hook("/quick") == [SAY]
    assert gate.inside == 2
    assert not any(msgid in line.acks for line, msgid in zip(lines, blocked, strict=False))
    gate.open.set()
    for line, msgid in zip(lines, blocked, strict=False):
        assert await line.answer(msgid) == [SAY]
    for line in lines:
        await line.end()
    assert running.worker.metrics.handler_failures._value.get() == 0


async def test_calls_take_turns_however_many_events_one_of_them_sends(start: Start, gateway: GatewayDouble) -> None:
    """A call holds one thread at most, and gets behind the others with its next event."""
    gate = Gate()
    await start(gate.app(), handler_threads=1)
    greedy, modest = await started(gateway, 2)
    msgids = [await greedy.send("verb:hook", hook="/block") for _ in range(10)]
    await until(lambda: gate.inside == 1, "the thread is busy")
    last = await modest.send("verb:hook", hook="/block")
    # An async hook behind it in the same inbox: once it is answered, the worker has read both.
    third = await gateway.open()
    await third.start()
    gate.open.set()
    await modest.answer(last)
    await greedy.answer(msgids[-1])
    assert gate.order == [greedy.sid, modest.sid, *[greedy.sid] * 9]
    for line in (greedy, modest, third):
        await line.end()


def holding() -> App:
    app = App()

    @app.session("/ivr")
    async def welcome(call: Call) -> object:
        return SAY

    @app.hook("/sleep")
    async def sleeps(call: Call) -> object:
        time.sleep(0.3)  # noqa: ASYNC251 the mistake that is looked for
        return SAY

    @app.hook("/compute")
    async def computes(call: Call) -> object:
        until_s = time.monotonic() + 0.3
        while time.monotonic() < until_s:
            sum(range(1000))
        return SAY

    @app.hook("/spawn")
    async def spawns(call: Call) -> object:
        call.spawn(works())
        return SAY

    @app.hook("/await")
    async def awaits(call: Call) -> object:
        await asyncio.sleep(0.3)
        return SAY

    return app


async def works() -> None:
    time.sleep(0.3)  # noqa: ASYNC251 the mistake that is looked for


@pytest.mark.parametrize(
    ("hook", "name"),
    [("/sleep", "sleeps"), ("/compute", "computes"), ("/spawn", "works")],
    ids=["blocking_call", "computing", "background_work"],
)
async def test_what_holds_up_the_loop_is_named_once(
    start: Start, gateway: GatewayDouble, caplog: pytest.LogCaptureFixture, hook: str, name: str
) -> None:
    """With its file and line; counted each time."""
    running = await start(holding(), handler_block_s=0.05)
    (line,) = await started(gateway, 1)
    with caplog.at_level(logging.WARNING, "jambonz_workers.blockage"):
        for count in (1, 2):
            assert await line.hook(hook) == [SAY]
            await until(lambda count=count: running.worker.metrics.blocked._value.get() >= count, "it is counted")
    warnings: list[Any] = [record for record in caplog.records if record.name == "jambonz_workers.blockage"]
    # On a machine that stands still for a moment others hold up the loop as well.
    (told,) = [warning for warning in warnings if name in warning.handler]
    assert __file__ in told.handler
    assert told.blocked_ms >= 200
    await line.end()


@pytest.mark.parametrize(("hook", "limit_s"), [("/await", 0.05), ("/sleep", 0)], ids=["waiting", "switched_off"])
async def test_nobody_is_named_who_waits_properly_or_when_it_is_off(
    start: Start, gateway: GatewayDouble, caplog: pytest.LogCaptureFixture, hook: str, limit_s: float
) -> None:
    """An await holds up nobody."""
    running = await start(holding(), handler_block_s=limit_s)
    (line,) = await started(gateway, 1)
    assert await line.hook(hook) == [SAY]
    await line.end()
    assert running.worker.metrics.blocked._value.get() == 0
    assert "held up" not in caplog.text


async def test_idle_loop_is_not_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard asks only while a handler runs: forty wake-ups a second took most of an idle worker's CPU."""
    loop, asked = asyncio.get_running_loop(), list[object]()
    ask = loop.call_soon_threadsafe

    def asks(callback: Callable[[], object]) -> None:
        asked.append(callback)
        ask(callback)

    looks = list[object]()

    def looked(frame: FrameType | None) -> str:
        looks.append(frame is None)
        return place_of(frame)

    monkeypatch.setattr(loop, "call_soon_threadsafe", asks)
    monkeypatch.setattr(blockage, "place_of", looked)
    count = Counter("blocked", "Times a handler held up the loop", registry=CollectorRegistry())
    with blockages_told(0.02, count):
        await until(lambda: len(looks) >= 40, "the guard has looked")
        # Some may have met this test itself; each look that asks would make as many.
        assert len(asked) <= 20
        await works()
        await until(lambda: count._value.get() == 1, "the handler is counted")
