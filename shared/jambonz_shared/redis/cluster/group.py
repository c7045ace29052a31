"""A group of tasks for whoever keeps connections to several servers.

Never compiled: its end waits for the tasks while an exception is handled, see ADR 0013.
"""

import asyncio
from collections.abc import Awaitable, Callable


async def run_with_group(work: Callable[[asyncio.TaskGroup], Awaitable[object]]) -> None:
    """Run ``work`` with a group for its tasks; when cancelled, return when all of them have ended."""
    async with asyncio.TaskGroup() as group:
        await work(group)
