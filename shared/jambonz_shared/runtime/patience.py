"""Waiting for an event, but not for ever."""

import asyncio
from contextlib import suppress


async def wait_at_most(event: asyncio.Event, limit_s: float) -> None:
    """Return when the event is set, or when the time is over; ``event.is_set`` tells which."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await event.wait()
