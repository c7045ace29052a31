"""Waiting for something, but not for ever; ending what somebody waits in."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

_T = TypeVar("_T")


async def wait_at_most(event: asyncio.Event, limit_s: float) -> None:
    """Return when the event is set, or when the time is over; ``event.is_set`` tells which."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await event.wait()


async def within(limit_s: float, work: Coroutine[Any, Any, _T]) -> _T:
    """Return what ``work`` returns, or raise what it raises, if it ends in time; else it is cancelled.

    In a task of its own: libraries in it may swallow a cancellation, which must not keep a process from ending.

    Raises:
        TimeoutError: If it has not ended in time.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,), timeout=limit_s)
    finally:
        task.cancel()
    if not task.done():
        raise TimeoutError
    return task.result()


async def end_tasks(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks, one at least, and return when all of them have ended; how they ended nobody asks."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
