"""The mailbox of one call: events in the order jambonz sent them, each once, one at a time. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from jambonz_shared.kinds import (
    CALL_STATUS,
    SESSION_ADULTING,
    SESSION_NEW,
    SESSION_RECONNECT,
    SESSION_REDIRECT,
    TIMER,
    is_ours,
)
from jambonz_workers.delivery import Delivery

# A hole means that an Envelope takes the long way (dispatch, another worker's inbox). Redis hands it on within
# milliseconds; after a second it is lost, and the caller must not wait longer in silence.
GAP_S: Final = 1.0

# Before the first event that is run here, the missing one may be in the hands of a worker that took it from dispatch
# and died: found out after a lease (2 s), which a worker that has just started waits before it judges others. Not
# longer, because at 4 s the gateway answers the hooks that wait (kinds.ACK_DEADLINE_S).
FIRST_GAP_S: Final = 3.0

# What an event that waits takes besides its body: header, objects, places in tables. Measured with Python 3.11: 780 to
# 900 bytes of resident memory. In Redis it takes 180 to 260 besides its body, and a quarter of a body of 8 KiB.
EVENT_BYTES: Final = 900

# They begin, move or end a call, or tell that it ended.
_OF_THE_CALLS_LIFE: Final = frozenset(
    kind.name for kind in (SESSION_NEW, SESSION_RECONNECT, SESSION_REDIRECT, SESSION_ADULTING, CALL_STATUS)
)

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
        lost_to: Numbers below it that do not wait were shed, or given up with those, and are not missing.
    """

    next_n: int
    waiting: dict[int, tuple[int, Delivery]] = field(default_factory=dict)
    gap_since_s: float | None = None
    gap_s: float = FIRST_GAP_S
    lost_to: int = 0

    def go_on(self, now_s: float) -> None:
        """Pass over what was lost; begin to wait for the next number if only later ones are there."""
        waiting = self.waiting
        if self.next_n < self.lost_to and self.next_n not in waiting:
            self.next_n = min(self.lost_to, min(waiting, default=self.lost_to))
        self.gap_since_s = now_s if waiting and self.next_n not in waiting else None


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A delivery that waits, and where; only made where all of them are looked through.

    Attributes:
        n: Its number in the lane.
    """

    lane: _Lane
    n: int
    delivery: Delivery


class Load:
    """What waits in all mailboxes of a worker.

    Attributes:
        waiting_bytes: How much that is now, with ``EVENT_BYTES`` for each event.
    """

    __slots__ = ("waiting_bytes",)

    def __init__(self) -> None:
        self.waiting_bytes = 0


class Mailbox:
    """Orders the events of one call by (epoch, n); epochs run side by side in the order of arrival.

    ``put`` what arrives, ``take`` what may run, ``finish`` when it has run. Time is seconds on any one clock.

    Attributes:
        gaps: How many numbers were given up as lost.
        waiting_bytes: Its part of the ``Load``.
    """

    __slots__ = ("_arrivals", "_committed", "_is_running", "_lanes", "_load", "_unnumbered", "_waiting", "gaps",
                 "waiting_bytes")  # fmt: skip

    def __init__(self, committed: Mapping[int, int] | None = None, load: Load | None = None) -> None:
        """Begin after the numbers that are ``committed`` already, by epoch; what waits here counts in ``load``."""
        self._load = load or Load()
        self.waiting_bytes = 0
        self._committed = dict(committed or {})
        self._lanes: dict[int, _Lane] = {}
        self._arrivals = 0
        self._unnumbered = 0
        self._waiting = 0
        self._is_running = False
        self.gaps = 0

    def put(self, delivery: Delivery, now_s: float) -> bool:
        """Take in a delivery; False when its event is done, running, waiting already or was shed."""
        epoch, n = delivery.envelope.epoch, delivery.envelope.n
        if n == 0:
            self._unnumbered += 1
            epoch, n = _UNNUMBERED, self._unnumbered
        lane = self._lanes.get(epoch)
        if lane is None:
            lane = self._lanes[epoch] = _Lane(self._committed.get(epoch, 0) + 1)
        if n < lane.next_n or n in lane.waiting or n < lane.lost_to:
            return False
        self._arrivals += 1
        self._waiting += 1
        self._weigh(_size_bytes(delivery))
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
        self._weigh(-_size_bytes(delivery))
        lane.next_n += 1
        lane.gap_s = GAP_S
        lane.go_on(now_s)
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
        self._weigh(-self.waiting_bytes)
        return [delivery for _, delivery in sorted(waiting, key=lambda item: item[0])]

    def shed(self, most_bytes: int, now_s: float) -> list[Delivery]:
        """Forget the older half of what waits, or ``most_bytes`` of it; nobody waits for these numbers any more.

        What belongs to the life of the call stays while there is enough else; timers, and the newest of each other kind
        of our own, stay in any case.
        """
        shed = []
        for it in _expendable(self._by_age(), min(most_bytes, self.waiting_bytes // 2)):
            del it.lane.waiting[it.n]
            it.lane.lost_to = max(it.lane.lost_to, it.n + 1)
            self._waiting -= 1
            self._weigh(-_size_bytes(it.delivery))
            shed.append(it.delivery)
        for lane in self._lanes.values():
            if lane.next_n < lane.lost_to:
                lane.go_on(now_s)
        return shed

    def _by_age(self) -> Iterator[_Waiting]:
        # By number and not by arrival: what the owner before hands on comes over another way than what is new, and
        # below a number that is shed nobody waits for more. One after the other, since there may be very many.
        for _, lane in sorted(self._lanes.items()):
            for n in sorted(lane.waiting):
                yield _Waiting(lane, n, lane.waiting[n][1])

    def _weigh(self, more_bytes: int) -> None:
        self.waiting_bytes += more_bytes
        self._load.waiting_bytes += more_bytes

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


def _size_bytes(delivery: Delivery) -> int:
    return len(delivery.envelope.body) + EVENT_BYTES


def _expendable(waiting: Iterable[_Waiting], size_bytes: int) -> list[_Waiting]:
    """Return so much of what waits as may be lost, the oldest first.

    A peer that sends much of what belongs to a call's life must not fill the worker either; its call ends all the same,
    since its gateway tells that by a notice of ours. Timers are the application's.
    """
    going, of_life, ours = [], [], []
    for it in waiting:
        kind = it.delivery.envelope.kind
        if is_ours(kind):
            ours.append(it)
        elif kind in _OF_THE_CALLS_LIFE:
            of_life.append(it)
        else:
            going.append(it)
            size_bytes -= _size_bytes(it.delivery)
            if size_bytes <= 0:
                return going
    newest = {it.delivery.envelope.kind: it for it in ours}
    of_life += [it for it in ours if it.delivery.envelope.kind != TIMER and it not in newest.values()]
    for it in of_life:
        if size_bytes <= 0:
            break
        going.append(it)
        size_bytes -= _size_bytes(it.delivery)
    return going
