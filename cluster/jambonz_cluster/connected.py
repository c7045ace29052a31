"""A link to Redis for as long as a command needs it, and what to say when there is none."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from jambonz_cluster.output import failed
from jambonz_shared.config import CommonSettings
from jambonz_shared.keys import Keys
from jambonz_shared.redis.admin import trouble_of, why_unreachable
from jambonz_shared.redis.connect import backend_of
from jambonz_shared.redis.errors import LinkError, ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.runtime.loop import run_in_loop
from jambonz_shared.runtime.patience import end_tasks

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
        await end_tasks([task])


def no_answer(settings: CommonSettings) -> str:
    """Return one sentence with the reason why Redis gave no answer in time, as far as another try tells it."""
    return trouble_of(run_in_loop(why_unreachable(settings.redis_url, Keys(settings.key_prefix).apps)))


def run_command(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's coroutine to its end and return its result."""
    # What the link logs about its tries is for processes that run for days; here one sentence is enough.
    logging.getLogger().addHandler(logging.NullHandler())
    return run_in_loop(main)


def with_link(settings: CommonSettings, ask: Callable[[Link, Keys], Awaitable[_T]], show: Callable[[_T], int]) -> int:
    """Ask Redis, then show what came; return the exit code. An error is one sentence on standard error."""

    async def main() -> _T:
        async with connected(settings) as link:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await link.wait_up()
            return await ask(link, Keys(settings.key_prefix))

    try:
        answer = run_command(main())
    except (TimeoutError, LinkError, ResponseError, OSError) as error:
        return failed(no_answer(settings) if isinstance(error, TimeoutError) else str(error))
    return show(answer)
