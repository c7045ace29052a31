"""The mailbox of one call: events in the order jambonz sent them, each once, one at a time. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from jambonz_workers.delivery import Delivery

# A hole means that an Envelope takes the long way (dispatch, another worker's inbox). Redis hands it on within
# milliseconds; after a second it is lost, and the caller must not wait longer in silence.
GAP_S: Final = 1.0

# Before the first event that is run here, the missing one may be in the hands of a worker that took it from dispatch
# and died: found out after a lease (2 s), which a worker that has just started waits before it judges others. Not
# longer, because at 4 s the gateway answers the hooks that wait (kinds.ACK_DEADLINE_S).
FIRST_GAP_S: Final = 3.0

_UNNUMBERED: Final = -1
"""Lane of Envelopes without an n (our own kinds); they keep the order of their arrival."""


@dataclass(slots=True)
class _Lane:
    """The events of one epoch.

    Attributes:
        next_n: The number that may run next; all below are done or running.
        waiting: Deliveries by n, each with the position of its arrival.
        gap_since_s: Since when ``next_n`` is missing while later ones wait.
        gap_s: How long it is waited for.
    """

    next_n: int
    waiting: dict[int, tuple[int, Delivery]] = field(default_factory=dict)
    gap_since_s: float | None = None
    gap_s: float = FIRST_GAP_S


class Mailbox:
    """Orders the events of one call by (epoch, n); epochs run side by side in the order of arrival.

    ``put`` what arrives, ``take`` what may run, ``finish`` when it has run. Time is seconds on any one clock.

    Attributes:
        gaps: How many numbers were given up as lost.
    """

    __slots__ = ("_arrivals", "_committed", "_is_running", "_lanes", "_unnumbered", "_waiting", "gaps")

    def __init__(self, committed: Mapping[int, int] | None = None) -> None:
        """Begin after the numbers that are ``committed`` already, by epoch."""
        self._committed = dict(committed or {})
        self._lanes: dict[int, _Lane] = {}
        self._arrivals = 0
        self._unnumbered = 0
        self._waiting = 0
        self._is_running = False
        self.gaps = 0

    def put(self, delivery: Delivery, now_s: float) -> bool:
        """Take in a delivery; False when its event is done, running or waiting already."""
        epoch, n = delivery.envelope.epoch, delivery.envelope.n
        if n == 0:
            self._unnumbered += 1
            epoch, n = _UNNUMBERED, self._unnumbered
        lane = self._lanes.get(epoch)
        if lane is None:
            lane = self._lanes[epoch] = _Lane(self._committed.get(epoch, 0) + 1)
        if n < lane.next_n or n in lane.waiting:
            return False
        self._arrivals += 1
        self._waiting += 1
        lane.waiting[n] = (self._arrivals, delivery)
        if lane.gap_since_s is None and lane.next_n not in lane.waiting:
            lane.gap_since_s = now_s
        return True

    def take(self, now_s: float) -> Delivery | None:
        """Return the delivery that may run now, or None; ``finish`` it before the next."""
        if self._is_running or not self._waiting:
            return None
        lane = self._first_ready() or self._skip_gap(now_s)
        if lane is None:
            return None
        self._waiting -= 1
        _, delivery = lane.waiting[lane.next_n]
        del lane.waiting[lane.next_n]
        self._advance(lane, now_s)
        self._is_running = True
        return delivery

    def finish(self) -> None:
        """Say that the delivery taken last has run."""
        self._is_running = False

    @property
    def is_running(self) -> bool:
        """True between ``take`` and ``finish``."""
        return self._is_running

    @property
    def is_ready(self) -> bool:
        """True when ``take`` would return a delivery without skipping a gap."""
        return not self._is_running and self._waiting > 0 and self._first_ready() is not None

    def wake_at_s(self) -> float | None:
        """Return when to ``take`` again although nothing new came, or None."""
        if not self._waiting:
            return None
        first = None
        for lane in self._lanes.values():
            since_s = lane.gap_since_s
            if since_s is not None and (first is None or since_s + lane.gap_s < first):
                first = since_s + lane.gap_s
        return first

    def undone(self) -> list[Delivery]:
        """Return what waits, in order, and forget it."""
        waiting = [item for lane in self._lanes.values() for item in lane.waiting.values()]
        self._lanes.clear()
        self._waiting = 0
        return [delivery for _, delivery in sorted(waiting, key=lambda item: item[0])]

    def _first_ready(self) -> _Lane | None:
        first, arrived = None, 0
        for lane in self._lanes.values():
            found = lane.waiting.get(lane.next_n)
            if found is not None and (first is None or found[0] < arrived):
                first, arrived = lane, found[0]
        return first

    def _skip_gap(self, now_s: float) -> _Lane | None:
        for lane in self._lanes.values():
            if lane.gap_since_s is not None and now_s - lane.gap_since_s >= lane.gap_s:
                found = min(lane.waiting)
                self.gaps += found - lane.next_n
                lane.next_n = found
                return lane
        return None

    def _advance(self, lane: _Lane, now_s: float) -> None:
        lane.next_n += 1
        lane.gap_s = GAP_S
        waiting = lane.waiting
        lane.gap_since_s = now_s if waiting and lane.next_n not in waiting else None
