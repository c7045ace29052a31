"""Waiting for facts instead of for times."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

# Long enough for a loaded machine; a fact that holds is seen at once, so only failures wait this long.
LIMIT_S = 40.0


async def until(
    fact: Callable[[], bool] | Callable[[], Awaitable[bool]], description: str, *, limit_s: float = LIMIT_S
) -> None:
    """Wait until a fact holds; fail with its description if it never does."""
    if not await comes_true(fact, limit_s=limit_s):
        pytest.fail(f"never came true within {limit_s:g} s: {description}")


async def comes_true(fact: Callable[[], bool] | Callable[[], Awaitable[bool]], *, limit_s: float = LIMIT_S) -> bool:
    """Wait until a fact holds, and return whether it did in time."""
    try:
        async with asyncio.timeout(limit_s):
            while True:
                answer = fact()
                if answer if isinstance(answer, bool) else await answer:
                    return True
                await asyncio.sleep(0.005)
    except TimeoutError:
        return False


def until_now(fact: Callable[[], bool], description: str, *, limit_s: float = LIMIT_S) -> None:
    """Do as ``until`` in a test without a loop."""
    give_up_at_s = time.monotonic() + limit_s
    while not fact():
        if time.monotonic() > give_up_at_s:
            pytest.fail(f"never came true within {limit_s:g} s: {description}")
        time.sleep(0.005)
