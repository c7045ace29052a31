"""Waiting for an event, but not for ever."""

import asyncio

from jambonz_shared.runtime.patience import wait_at_most


async def test_event_that_is_set_ends_the_wait() -> None:
    """Whoever sleeps between two looks is woken by a wish."""
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    await wait_at_most(event, 60)
    assert event.is_set()


async def test_time_that_is_over_ends_the_wait() -> None:
    """Without an error: it is time for the next look."""
    event = asyncio.Event()
    await wait_at_most(event, 0)
    assert not event.is_set()
