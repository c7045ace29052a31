"""A link to Redis for as long as a command needs it, and what to say when there is none."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from jambonz_shared.config import CommonSettings
from jambonz_shared.keys import Keys
from jambonz_shared.redis.admin import why_unreachable
from jambonz_shared.redis.connect import backend_of
from jambonz_shared.redis.link import Link
from jambonz_shared.runtime.loop import run_in_loop

_T = TypeVar("_T")

# A person waits. Redis may be failing over, so not at the first refusal; but what takes longer is worth an error.
CONNECT_LIMIT_S: Final = 3.0


@asynccontextmanager
async def connected(settings: CommonSettings) -> AsyncIterator[Link]:
    """Keep a link to Redis up while the block runs; it need not be up at the start."""
    link = backend_of(settings.redis_url).link("status", scripts=())
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        task.cancel()
        await asyncio.wait([task])


def no_answer(settings: CommonSettings) -> str:
    """Return one sentence with the reason why Redis gave no answer in time, as far as another try tells it."""
    reason = run_in_loop(why_unreachable(settings.redis_url, Keys(settings.key_prefix).apps))
    return f"Redis does not answer: {reason}" if reason else "Redis does not answer in time"


def run_command(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's coroutine to its end and return its result."""
    # What the link logs about its tries is for processes that run for days; here one sentence is enough.
    logging.getLogger().addHandler(logging.NullHandler())
    return run_in_loop(main)
