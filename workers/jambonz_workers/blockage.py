"""Names the handler that holds up the event loop, at no cost per event, and none to a loop that is idle.

A thread looks a few times per limit at what the loop's thread does. If that is in an application's function, the loop
is asked for a sign of life; when that is overdue, the thread takes down where the loop's thread is, and the loop tells
the log when it moves again.
"""

import asyncio
import logging
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from prometheus_client import Counter

import jambonz_shared

log = logging.getLogger(__name__)

_LOOKS_PER_LIMIT: Final = 4

# Each place is told once: what blocks once blocks for every caller.
_TOLD_LIMIT: Final = 100

_ASYNCIO: Final = str(Path(sysconfig.get_path("stdlib"), "asyncio"))
# Our own code, from Redis to the handler; and where an idle loop of asyncio's own waits (uvloop waits in no Python).
_NOT_OF_APPLICATIONS: Final = (
    str(Path(__file__).parent),
    str(Path(jambonz_shared.__file__).parent),
    str(Path(sysconfig.get_path("stdlib"), "selectors.py")),
)
# From here on outwards the stack is that of the program that runs the loop.
_LOOP: Final = frozenset({"_run_once", "run_forever", "run_until_complete", "run"})


@contextmanager
def blockages_told(limit_s: float, count: Counter) -> Iterator[None]:
    """Warn, while the block runs, of what holds up the running loop for ``limit_s`` or longer; 0: of nothing."""
    if not limit_s:
        yield
        return
    guard = LoopGuard(limit_s, count)
    guard.start()
    try:
        yield
    finally:
        guard.stop()


class LoopGuard:
    """Watches the loop of the thread it was made in; ``start`` it there, ``stop`` it there."""

    def __init__(self, limit_s: float, count: Counter) -> None:
        self._limit_s = limit_s
        self._look_s = limit_s / _LOOKS_PER_LIMIT
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        # Since when the loop owes a sign of life.
        self._asked_s: float | None = None
        self._seen = ""
        self._told: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="loop-guard", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns when the thread has ended."""
        self._over.set()
        self._thread.join()

    def _moves(self) -> None:
        """Give the sign of life; called by the loop."""
        if self._seen and self._asked_s is not None:
            self._tell(self._seen, time.monotonic() - self._asked_s)
        self._seen = ""
        self._asked_s = None

    def _tell(self, place: str, blocked_s: float) -> None:
        self._count.inc()
        if place in self._told or len(self._told) >= _TOLD_LIMIT:
            return
        self._told.add(place)
        log.warning(
            "a handler held up the event loop, and so every other call; "
            "await what waits, make it a `def` handler, or give what computes to a process pool",
            extra={"handler": place, "blocked_ms": round(blocked_s * 1000)},
        )

    def _look(self) -> None:
        while not self._over.wait(self._look_s):
            asked_s = self._asked_s
            if asked_s is not None and (self._seen or time.monotonic() - asked_s < self._limit_s):
                continue
            place = place_of(sys._current_frames().get(self._loop_thread))  # noqa: SLF001 the only way
            if asked_s is not None:
                self._seen = place
            elif place:
                self._asked_s = time.monotonic()
                self._loop.call_soon_threadsafe(self._moves)


def place_of(frame: FrameType | None) -> str:
    """Return the application's outermost function in a stack, with the line it is at; empty if there is none."""
    found = ""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_ASYNCIO):
            if code.co_name in _LOOP:
                break
        elif not code.co_filename.startswith(_NOT_OF_APPLICATIONS):
            found = f"{code.co_qualname}, {code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return found
