"""Events over which workers have died: written down while they run, from two deaths on one at a time."""

import asyncio
from typing import cast

import pytest

from jambonz_shared.envelope import Envelope
from jambonz_workers.handling import OnCommitted, ignore
from jambonz_workers.outbox import Outbox
from jambonz_workers.suspects import Suspects


class OutboxDouble:
    """Keeps what is sent; Redis takes it at once."""

    def __init__(self) -> None:
        self.sent: list[object] = []

    def send(self, _: object, *args: object) -> None:
        self.sent.append((args[0], args[2]))

    async def call(self, *args: object) -> None:
        self.sent.append(args[0])


class Handlers:
    """What runs: it is committed, or cancelled, when the test says so."""

    def __init__(self) -> None:
        self.outbox = OutboxDouble()
        self.suspects = Suspects(cast("Outbox", self.outbox), "begun")
        self.running: dict[int, OnCommitted] = {}

    async def run(self, n: int, deaths: int) -> "asyncio.Task[None]":
        """Begin event ``n``; return when it runs or waits for its turn."""

        async def handler(on_committed: OnCommitted) -> None:
            self.running[n] = on_committed
            await asyncio.Event().wait()

        suspect = Envelope("a", 1, n, "verb:hook", f"m{n}", 0, "g", is_acked=False, body=b"{}", deaths=deaths)
        task = asyncio.create_task(self.suspects.run(suspect, handler, ignore))
        await _settled()
        return task


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_suspect_is_written_down_before_it_runs_and_struck_out_once_when_it_is_committed() -> None:
    """What an adopter finds there has killed the worker, and nothing else."""
    handlers = Handlers()
    task = await handlers.run(1, deaths=1)
    assert handlers.outbox.sent == [(b"SADD", "a:1:1"), b"PEXPIRE"]
    assert list(handlers.running) == [1]
    handlers.running[1](None)
    task.cancel()
    await _settled()
    assert handlers.outbox.sent[2:] == [(b"SREM", "a:1:1")]


@pytest.mark.parametrize("how", ["committed", "cancelled"])
async def test_suspects_of_two_deaths_run_one_at_a_time(how: str) -> None:
    """So that the guilty one is alone when it kills a third worker; those of one death do not wait."""
    handlers = Handlers()
    first = await handlers.run(1, deaths=2)
    second, quick = await handlers.run(2, deaths=2), await handlers.run(3, deaths=1)
    assert list(handlers.running) == [1, 3]
    if how == "committed":
        handlers.running[1](None)
    else:
        first.cancel()
    await _settled()
    assert list(handlers.running) == [1, 3, 2]
    assert handlers.outbox.sent[-3:] == [(b"SREM", "a:1:1"), (b"SADD", "a:1:2"), b"PEXPIRE"]
    for task in (first, second, quick):
        task.cancel()
    await asyncio.wait([first, second, quick])
