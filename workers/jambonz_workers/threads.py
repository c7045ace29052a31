"""Threads for the synchronous functions of an application, so that they hold up nobody else."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

THREADS: Final = 32
"""As many as fit into a small container; a thread costs 100 kB or so, and Python runs one of them at a time."""


class Threads:
    """A bounded number of threads. What finds none free waits its turn, first come, first served.

    A call runs one handler at a time, so it holds one thread at most: calls take turns, whatever one of them sends.
    """

    def __init__(self, count: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="handler")

    async def run(self, function: Callable[..., Any], *positional: Any, **named: Any) -> Any:
        """Return what ``function`` gives, called in a thread with the context of who asks.

        When cancelled, a function that has begun goes on in its thread; nobody hears of its result.
        """
        call = partial(contextvars.copy_context().run, function, *positional, **named)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def stop(self) -> None:
        """Begin nothing more; what runs goes on to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def running_loop(what: str) -> asyncio.AbstractEventLoop:
    """Return the event loop that runs here.

    Raises:
        RuntimeError: In a thread, where none does; the text begins with ``what``.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"{what} is for the event loop, and this is a thread: do it behind `await asyncio.to_thread(...)`, "
            "or by loop.call_soon_threadsafe"
        ) from None
