"""One timer for all connections of a process."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

# Soon enough for an ack that is due (P1), not so soon that a lasting fault fills the log.
_AFTER_ERROR_S: Final = 0.5


class Timed(Protocol):
    """Something the Wheel may wake.

    Attributes:
        wakes_at_s: Loop time of the slot it is in; infinity when in none. Owned by the Wheel.
    """

    wakes_at_s: float

    def wake(self, now_s: float) -> float | None:
        """Do what is due and return the loop time of the next wake, or ``None``."""


class Wheel:
    """Wakes each Timed once per asked time, at most one slot late. Asking for a later time costs a comparison.

    Thousands of ``loop.call_later`` handles, most of them cancelled a millisecond later when the ack comes,
    would cost more than the acks: an ack is owed for a moment, its deadline is 4 s away. So a connection stays in
    the slot of its earliest deadline and looks, when woken, whether anything is due.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, slot_s: float = 0.05, on_error: Callable[[Exception], None]
    ) -> None:
        self._loop: Final = loop
        self._slot_s: Final = slot_s
        self._on_error: Final = on_error
        self._slots: Final[dict[int, set[Timed]]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._next_slot = int(loop.time() / slot_s)
        self._arm()

    def ask(self, timed: Timed, at_s: float | None) -> None:
        """Wake ``timed`` at ``at_s``, unless it will be woken earlier anyway."""
        if at_s is None or at_s >= timed.wakes_at_s:
            return
        self.forget(timed)
        slot = max(int(at_s / self._slot_s) + 1, self._next_slot)
        timed.wakes_at_s = slot * self._slot_s
        self._slots.setdefault(slot, set()).add(timed)

    def forget(self, timed: Timed) -> None:
        """Do not wake ``timed`` any more."""
        if timed.wakes_at_s == float("inf"):
            return
        waiting = self._slots.get(round(timed.wakes_at_s / self._slot_s))
        if waiting is not None:
            waiting.discard(timed)
        timed.wakes_at_s = float("inf")

    def stop(self) -> None:
        """End the timer."""
        if self._handle is not None:
            self._handle.cancel()

    def _arm(self) -> None:
        self._handle = self._loop.call_at(self._next_slot * self._slot_s, self._turn)

    def _turn(self) -> None:
        now_s = self._loop.time()
        last = int(now_s / self._slot_s)
        first, self._next_slot = self._next_slot, max(self._next_slot, last + 1)
        for slot in range(first, last + 1):
            for timed in self._slots.pop(slot, ()):
                timed.wakes_at_s = float("inf")
                try:
                    self.ask(timed, timed.wake(now_s))
                except Exception as error:  # noqa: BLE001 one connection's fault must not stop the others' clock
                    self._on_error(error)
                    # Its other deadlines still count: a hook owed an ack must not wait for the next message.
                    self.ask(timed, now_s + _AFTER_ERROR_S)
        self._arm()
