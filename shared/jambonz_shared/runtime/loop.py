"""Runs a process's one coroutine under uvloop."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

_T = TypeVar("_T")


def run_in_loop(main: Coroutine[Any, Any, _T]) -> _T:
    """Run the coroutine to its end in a fresh loop and return its result.

    Tasks that are left over are cancelled. Call it once, from the main thread: signals are delivered there.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
