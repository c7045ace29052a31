"""Many simulated calls: so many per second, whatever the server does (an open model)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from jambonz_simulator.client import DEFAULT_OPTIONS, CallOptions, simulate_call
from jambonz_simulator.core.script import Script
from jambonz_simulator.script_files import load_script
from jambonz_simulator.summary import Summary


@dataclass(frozen=True, slots=True)
class Load:
    """How many calls come and how fast.

    Attributes:
        calls: How many in all.
        rate: New calls per second.
        concurrency: Calls at the same time at most; one that has to wait counts as delayed.
    """

    calls: int
    rate: float
    concurrency: int | None = None


async def run_fleet(
    url: str,
    script: Script | str,
    load: Load,
    options: CallOptions = DEFAULT_OPTIONS,
    on_result: Callable[[Summary], None] | None = None,
) -> Summary:
    """Play ``load.calls`` calls and sum them up; transcripts are not kept.

    Call ``n`` starts ``n / rate`` seconds after the first one, even if the server is slow, unless
    ``concurrency`` calls are running. ``on_result`` is called after each call that has ended.
    Cancellation drops all calls.

    Raises:
        ScriptError: If the script cannot be found or read.
    """
    loaded = load_script(script) if isinstance(script, str) else script
    bare = replace(options, keeps_entries=False)
    summary = Summary()
    slots = asyncio.Semaphore(load.concurrency or load.calls)
    loop = asyncio.get_running_loop()
    started_at_s = loop.time()

    async def play(number: int) -> None:
        seed = None if options.seed is None else options.seed + number
        try:
            result = await simulate_call(url, loaded, replace(bare, seed=seed))
        finally:
            slots.release()
        summary.add(result)
        summary.duration_s = loop.time() - started_at_s
        if on_result is not None:
            on_result(summary)

    async with asyncio.TaskGroup() as calls:
        for number in range(load.calls):
            await asyncio.sleep(started_at_s + number / load.rate - loop.time())
            summary.delayed_calls += slots.locked()
            await slots.acquire()
            calls.create_task(play(number))
    return summary
