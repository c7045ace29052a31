"""A call that sends much more than its handler takes: the worker keeps a bounded part, and serves the others."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import orjson
import pytest

from jambonz_shared.kinds import ENDED
from jambonz_workers import App, Call, Event
from tests.conditions import until
from tests.integration.worker.conftest import Running, Start
from tests.integration.worker.gateway_double import GatewayDouble, Line

SAY: Final = {"verb": "say", "text": "Hello"}
LIMIT_BYTES: Final = 32 * 1024**2
# So large that a few hundred of them are too much: each goes through Redis.
PADDING: Final = "x" * 512 * 1024
FLOOD: Final = 150
TURN: Final = 64


@dataclass
class Heard:
    """What the handlers of a flooded call have seen, over all workers.

    Attributes:
        release: Ends the handler that waits.
        turns: The ``turn`` in which each notice was handled.
    """

    release: asyncio.Event = field(default_factory=asyncio.Event)
    notices: list[int] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    turn: int = 0

    async def count_turns(self) -> None:
        """Count how often others have had their turn, until it is cancelled."""
        while True:
            self.turn += 1
            await asyncio.sleep(0)


def busy_app(heard: Heard) -> App:
    app = App()

    @app.session("/ivr")
    async def welcome(call: Call) -> object:
        return SAY

    @app.hook("/wait")
    async def wait(call: Call) -> object:
        await heard.release.wait()
        return SAY

    @app.hook("/hello")
    async def hello(call: Call) -> object:
        return SAY

    @app.on("verb:status")
    async def notice(call: Call, event: Event) -> None:
        heard.notices.append(event.data["i"])
        heard.turns.append(heard.turn)

    @app.on("call:status")
    async def status(call: Call) -> None:
        heard.statuses.append(call.status)

    return app


async def flood(line: Line, running: Running) -> float:
    """Send much more than may wait; return the most that waited."""
    most_bytes = 0.0
    for i in range(FLOOD):
        await line.send("verb:status", {"i": i, "padding": PADDING})
        most_bytes = max(most_bytes, metric(running, "waiting_bytes"))
    return most_bytes


def metric(running: Running, name: str, **labels: str) -> float:
    value = running.worker.metrics.registry.get_sample_value(f"jambonz_worker_{name}", labels)
    assert value is not None, name
    return value


def dropped(running: Running) -> float:
    return metric(running, "skipped_total", reason="dropped")


def waiting(running: Running) -> int:
    """Return how many notices of a flood wait."""
    return int(metric(running, "waiting_bytes") / len(PADDING))


async def test_flood_of_a_call_whose_handler_waits_is_bounded_and_costs_nobody_else_anything(
    start: Start, gateway: GatewayDouble, caplog: pytest.LogCaptureFixture
) -> None:
    """No peer can fill a worker; its own call goes on with what came last, in order, and ends."""
    heard = Heard()
    running = await start(busy_app(heard), max_waiting_bytes=LIMIT_BYTES)
    loud, quiet = await gateway.open(), await gateway.open()
    await loud.start()
    await quiet.start()
    slow = await loud.send("verb:hook", hook="/wait")
    await loud.send("call:status", {"call_status": "in-progress"})
    early = await loud.send("verb:hook", hook="/hello")
    assert 0 < await flood(loud, running) <= LIMIT_BYTES
    assert await quiet.hook("/hello") == [SAY]
    late = await loud.send("verb:hook", hook="/hello")
    # What was dropped is deleted in Redis, too, where it would wait as long.
    await until(lambda: dropped(running) > 0, "events are dropped")

    async def is_bounded() -> bool:
        # The two hooks that wait, the one that runs, and the status.
        return await gateway.entries() - 4 <= LIMIT_BYTES // len(PADDING)

    await until(is_bounded, "what was dropped is deleted")
    heard.release.set()
    assert await loud.answer(late) == [SAY]
    # The number of each is one more than that of the one before: none of those that stayed is missing.
    assert heard.notices == list(range(FLOOD))[-len(heard.notices) :]
    assert LIMIT_BYTES // 3 < len(heard.notices) * len(PADDING) < LIMIT_BYTES
    assert heard.statuses == ["in-progress"]
    assert slow in loud.acks
    assert early not in loud.acks
    assert dropped(running) == FLOOD - len(heard.notices) + 1
    (line, *_) = [it for it in caplog.records if it.getMessage().startswith("events dropped")]
    assert (line.__dict__["call_sid"], line.__dict__["events"] > 0) == (loud.sid, True)
    assert metric(running, "gaps_total") == 0
    await quiet.end()
    await loud.end()
    await gateway.nothing_waits()


async def test_call_that_ends_in_its_own_flood_is_let_go(start: Start, gateway: GatewayDouble) -> None:
    """The news of its end is never what is dropped, so nothing of it stays."""
    heard = Heard()
    running = await start(busy_app(heard), max_waiting_bytes=LIMIT_BYTES)
    line = await gateway.open()
    await line.start()
    await line.send("verb:hook", hook="/wait")
    await line.detach()
    await line.publish(ENDED)
    await flood(line, running)
    await until(lambda: dropped(running) > 0, "events are dropped")
    heard.release.set()
    await until(lambda: line.is_ended, "the call has ended")
    await gateway.nothing_waits()
    assert metric(running, "waiting_bytes") == 0


async def test_what_was_dropped_does_not_come_back_with_the_next_worker(start: Start, gateway: GatewayDouble) -> None:
    """It gets what was not dropped, and does not wait longer for the rest than for any lost event."""
    heard = Heard()
    terms = {"max_waiting_bytes": LIMIT_BYTES}
    first = await start(busy_app(heard), **terms)
    line = await gateway.open()
    await line.start()
    await line.send("verb:hook", hook="/wait")
    await flood(line, first)
    await until(lambda: dropped(first) + waiting(first) == FLOOD, "it has taken in everything")
    second = await start(busy_app(heard), **terms)
    await first.stop()
    await line.wait(lambda: line.owner == second.worker.id, "the other worker has the call")
    heard.release.set()
    await line.hook("/hello")
    assert heard.notices == list(range(FLOOD))[-len(heard.notices) :]
    assert len(heard.notices) == FLOOD - dropped(first)
    await line.end()
    await gateway.nothing_waits()


async def test_calls_take_turns_when_one_has_much_to_catch_up(start: Start, gateway: GatewayDouble) -> None:
    """Handlers that wait for nothing would otherwise hold up all others, at last for longer than the lease."""
    heard = Heard()
    await start(busy_app(heard))
    line = await gateway.open()
    await line.start()
    await line.send("verb:hook", hook="/wait")
    for i in range(4 * TURN):
        await line.send("verb:status", {"i": i})
    last = await line.send("verb:hook", hook="/hello")
    # Runs once each time the loop goes round.
    others = asyncio.create_task(heard.count_turns())
    heard.release.set()
    await line.answer(last)
    others.cancel()
    assert max(Counter(heard.turns).values()) <= TURN
    await line.end()


def test_padding_is_what_the_tests_believe() -> None:
    """One notice is no more than a gateway takes, and all of them are several times the limit."""
    assert len(orjson.dumps({"data": {"padding": PADDING}})) < 1024**2
    assert FLOOD * len(PADDING) > 2 * LIMIT_BYTES
