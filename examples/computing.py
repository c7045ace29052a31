"""Handlers with hard work: what computes goes to other processes, what blocks to a thread, so that no caller waits."""

import asyncio
import math
import multiprocessing
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from jambonz_workers import App, Call, Event
from jambonz_workers.events import GatherResult

# Spawned, not forked: a fork would copy the worker's connections.
pool = ProcessPoolExecutor(max_workers=2, mp_context=multiprocessing.get_context("spawn"))


@asynccontextmanager
async def lifespan(_: App) -> AsyncIterator[None]:
    # A process starts with its first work, which no caller should have to wait for.
    await asyncio.get_running_loop().run_in_executor(pool, largest_prime_below, 2)
    yield
    pool.shutdown(wait=False, cancel_futures=True)


app = App(lifespan=lifespan)

ASK = {"verb": "gather", "input": ["digits"], "numDigits": 4, "actionHook": "/computing/number"}


@app.session("/computing")
async def welcome(_: Call) -> object:
    return [{"verb": "answer"}, {**ASK, "say": {"text": "Tell me a number of four digits."}}]


@app.hook("/computing/number")
async def number(_: Call, event: GatherResult) -> object:
    """Compute in another process; over some seconds, acknowledge first and redirect when it is done."""
    loop = asyncio.get_running_loop()
    largest = await loop.run_in_executor(pool, largest_prime_below, int(event.digits or 0))
    return [{"verb": "say", "text": f"The largest prime number up to there is {largest}."}, ASK]


@app.hook("/computing/note")
def note(call: Call, event: Event) -> object:
    """A `def` handler runs in a thread: for libraries that block. It may use the call as any handler does."""
    Path(event.data["file"]).write_text(call.from_)
    return {"verb": "hangup"}


def largest_prime_below(limit: int) -> int:
    """Run in a process of the pool: it gets and gives what can be pickled, never the call."""
    return next((it for it in range(limit, 1, -1) if all(it % d for d in range(2, math.isqrt(it) + 1))), 2)
