"""When this machine stood still under a storm: its host took a processor away, or something held up this process."""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Final

import psutil

# The gateways' guard answers at 4.0 s what jambonz gives up at 5.0 s (PROTOCOL.md 2.3).
STANDSTILL_S: Final = 0.5
LOOK_EVERY_S: Final = 0.05


class Standstills:
    """Spans of more than ``STANDSTILL_S``, monotonic, found by looking at two clocks.

    This process is late to a look of its own: callers live in it, and the proxies before servers and Redis. Or the host
    has kept a processor for itself in one piece, on which a server may have been while this process ran on another;
    what is stolen slice by slice makes everybody slow, and nobody late.

    Attributes:
        spans: From and to, one after the other.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        self._last_s: float | None = None
        self._stolen_s: Sequence[float] = ()

    def look(self, now_s: float, stolen_s: Sequence[float]) -> None:
        """Look at the time, and at what the host has taken of each processor up to now."""
        late_s = now_s - self._last_s - LOOK_EVERY_S if self._last_s is not None else 0.0
        taken_s = [now - before for now, before in zip(stolen_s, self._stolen_s, strict=False)]
        held_up_s = max([late_s, *taken_s])
        if held_up_s > STANDSTILL_S:
            self.spans.append((now_s - held_up_s, now_s))
        self._last_s, self._stolen_s = now_s, stolen_s

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            # Only Linux knows.
            self.look(monotonic(), [getattr(times, "steal", 0.0) for times in psutil.cpu_times(percpu=True)])
            await asyncio.sleep(LOOK_EVERY_S)

    def between(self, from_s: float, to_s: float) -> bool:
        """Tell whether a span has any time in common with this one."""
        return any(begin_s < to_s and end_s > from_s for begin_s, end_s in self.spans)
