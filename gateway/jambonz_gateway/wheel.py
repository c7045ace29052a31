"""One timer for all connections of a process."""

import asyncio
import sys
from collections.abc import Callable
from typing import Final, Protocol

# Soon enough for an ack that is due (P1), not so soon that a lasting fault fills the log.
_AFTER_ERROR_S: Final = 0.5

# In place of the slot the timer is set for: each one is earlier, so the next that is asked for sets it.
_UNSET: Final = sys.maxsize
# None is earlier.
_KEPT_UNSET: Final = -1

_COMPANY_S: Final = 0.25


def in_company(at_s: float) -> float:
    """Return a moment at most a quarter of a second earlier that many share, for what may come a little early.

    The pings of idle calls go out together, and their pongs come in together: an idle process sleeps meanwhile.
    """
    return at_s - at_s % _COMPANY_S


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
    the slot of its earliest deadline and looks, when woken, whether anything is due. A slot without anybody does not
    wake the process.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, on_error: Callable[[Exception], None], slot_s: float = 0.05
    ) -> None:
        self._loop: Final = loop
        self._slot_s: Final = slot_s
        self._on_error: Final = on_error
        self._slots: Final[dict[int, set[Timed]]] = {}
        self._next_slot = int(loop.time() / slot_s)
        self._handle: asyncio.TimerHandle | None = None
        self._set_for_slot = _UNSET

    def ask(self, timed: Timed, at_s: float | None) -> None:
        """Wake ``timed`` at ``at_s``, unless it will be woken earlier anyway."""
        if at_s is None or at_s >= timed.wakes_at_s:
            return
        slot = max(int(at_s / self._slot_s) + 1, self._next_slot)
        wakes_at_s = slot * self._slot_s
        # It is in that slot already.
        if wakes_at_s >= timed.wakes_at_s:
            return
        self.forget(timed)
        timed.wakes_at_s = wakes_at_s
        self._slots.setdefault(slot, set()).add(timed)
        if slot < self._set_for_slot:
            self._set(slot)

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
        self._unset(_KEPT_UNSET)

    def _set(self, slot: int) -> None:
        self._unset(slot)
        self._handle = self._loop.call_at(slot * self._slot_s, self._turn)

    def _unset(self, slot: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._set_for_slot = slot

    def _turn(self) -> None:
        now_s = self._loop.time()
        last = int(now_s / self._slot_s)
        self._next_slot = max(self._next_slot, last + 1)
        # What is asked for meanwhile need not set the timer: it is set below.
        self._unset(_KEPT_UNSET)
        for slot in sorted(slot for slot in self._slots if slot <= last):
            for timed in self._slots.pop(slot):
                timed.wakes_at_s = float("inf")
                try:
                    self.ask(timed, timed.wake(now_s))
                except Exception as error:  # noqa: BLE001 one connection's fault must not stop the others' clock
                    self._on_error(error)
                    # Its other deadlines still count: a hook owed an ack must not wait for the next message.
                    self.ask(timed, now_s + _AFTER_ERROR_S)
        self._set_for_slot = _UNSET
        if self._slots:
            self._set(min(self._slots))
