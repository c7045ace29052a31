"""Timers of a call: kept with its state in Redis, so that they ring at whichever worker owns it then."""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from jambonz_shared.envelope import Envelope, notice
from jambonz_shared.kinds import TIMER
from jambonz_workers.state import CallState
from jambonz_workers.verbs import dump

FIELD: Final = "@timers"
"""Field of the call state: timer ids with the Unix milliseconds they are due at, their path and their data."""


class Timers:
    """The timers of one call here. What the state holds is true; ``arm`` makes the event loop follow it."""

    def __init__(self, call_sid: str, fence: int, state: CallState, ring: Callable[[Envelope], None]) -> None:
        self._call_sid = call_sid
        self._state = state
        self._ring = ring
        self._fence = fence
        self._numbers = itertools.count(1)
        # None once it has rung and waits for its turn in the mailbox.
        self._handles: dict[str, asyncio.TimerHandle | None] = {}

    def set(self, seconds: float, path: str, data: Mapping[str, Any]) -> str:
        """Note a timer in the state; it is armed once that is saved. Return its id."""
        # As the event will have them, also after another worker has read them from Redis.
        plain = orjson.loads(dump(data, "timer data"))
        # The fence rises with every claim, so that no two owners of a call give the same id.
        timer_id = f"{self._fence}-{next(self._numbers)}"
        due_ms = time.time_ns() // 1_000_000 + round(seconds * 1000)
        self._state.set_own(FIELD, {**self._all(), timer_id: [due_ms, path, plain]})
        return timer_id

    def forget(self, timer_id: str) -> bool:
        """Take a timer out of the state; False if it is not there."""
        timers = dict(self._all())
        found = timers.pop(timer_id, None)
        if found:
            self._state.set_own(FIELD, timers or None)
        return found is not None

    def arm(self) -> None:
        """Let the event loop know the timers that the state holds, and no others."""
        timers = self._all()
        for timer_id in [it for it in self._handles if it not in timers]:
            handle = self._handles.pop(timer_id)
            if handle:
                handle.cancel()
        now_ms = time.time_ns() // 1_000_000
        loop = asyncio.get_running_loop()
        for timer_id, (due_ms, path, data) in timers.items():
            if timer_id not in self._handles:
                wait_s = max(0.0, (due_ms - now_ms) / 1000)
                self._handles[timer_id] = loop.call_later(wait_s, self._rings, timer_id, path, data)

    def stop(self) -> None:
        """Ring no more: the call is over, or not ours any more."""
        for handle in self._handles.values():
            if handle:
                handle.cancel()
        self._handles.clear()

    def _rings(self, timer_id: str, path: str, data: Mapping[str, Any]) -> None:
        self._handles[timer_id] = None
        self._ring(envelope_of(self._call_sid, timer_id, path, data))

    def _all(self) -> Mapping[str, tuple[int, str, Mapping[str, Any]]]:
        found: Mapping[str, tuple[int, str, Mapping[str, Any]]] = self._state.own(FIELD) or {}
        return found


def envelope_of(call_sid: str, timer_id: str, path: str, data: Mapping[str, Any]) -> Envelope:
    """Return the event of a timer: its id is the msgid, its path the hook."""
    body = orjson.dumps({"hook": path, "data": data})
    return notice(call_sid, TIMER, time.time_ns() // 1_000_000, msgid=timer_id, body=body)
