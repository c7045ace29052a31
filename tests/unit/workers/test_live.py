"""A call this worker owns: when it is woken."""

import asyncio
from typing import Any, cast

from jambonz_workers.live import LiveCall


async def test_the_earliest_wake_up_counts() -> None:
    """One gap of a call may end before another one that was found first."""
    loop, woken = asyncio.get_running_loop(), list[LiveCall]()
    live = LiveCall(cast("Any", None), cast("Any", None))
    live.wake_at(loop.time() + 60, loop, woken.append)
    late = live.timer
    live.wake_at(loop.time() + 30, loop, woken.append)
    early = live.timer
    live.wake_at(loop.time() + 45, loop, woken.append)
    assert late is not None
    assert early is not None
    assert (late.cancelled(), early.cancelled(), live.timer is early) == (True, False, True)
    early.cancel()
