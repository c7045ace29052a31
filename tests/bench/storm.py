"""All sockets break at once and come back the way jambonz brings them back."""

import heapq
import itertools
import time
from collections import deque
from typing import Final

from tests.bench.caller import Caller, Crowd
from tests.bench.figures import Figures, percentiles

# PROTOCOL.md 1.4: 0.5 s after the socket is gone, then ever later; 1.1: a handshake may take 1.5 s; 2.3: an ack 5 s.
PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 6.0)
HANDSHAKE_LIMIT_S: Final = 1.5
ACK_LIMIT_S: Final = 5.0
# So many connect between two looks at what has come.
_AT_A_TIME: Final = 64


class Storm:
    """``run`` once. Handshakes that take too long are given up and begun again, which is more work for the server."""

    def __init__(self, crowd: Crowd, callers: list[Caller]) -> None:
        self._crowd = crowd
        self._callers = callers
        self._left = set(callers)
        self._tries = dict.fromkeys(callers, 0)
        self._number = itertools.count()
        self._due: list[tuple[float, int, Caller]] = []
        self._handshakes: deque[tuple[float, Caller]] = deque()
        self._late_handshakes = 0
        self._broken = 0

    def run(self, limit_s: float) -> Figures:
        """Break the sockets and return the figures when all calls are back, or the time is over."""
        crowd = self._crowd
        crowd.on_ack, before, crowd.on_lost = self._acked, crowd.on_lost, self._lost
        crowd.cut(self._callers)
        began_s = time.perf_counter()
        for caller in self._callers:
            self._again(caller)
        while self._left and time.perf_counter() < began_s + limit_s:
            self._dial_due()
            self._give_up_late_ones()
            crowd.turn(0.01)
        took_s = time.perf_counter() - began_s
        crowd.on_lost = before
        back = [caller for caller in self._callers if caller not in self._left]
        acks_s = sorted(caller.acked_s - caller.upgraded_s for caller in back)
        return {
            "storm_s": took_s,
            "storm_late_handshakes": self._late_handshakes,
            "storm_broken": self._broken,
            "storm_late_acks": sum(value > ACK_LIMIT_S for value in acks_s),
            "storm_not_back": len(self._left),
            **percentiles("storm_handshake_", sorted(caller.upgraded_s for caller in back)),
            **percentiles("storm_ack_", acks_s),
        }

    def _again(self, caller: Caller) -> None:
        pause_s = PAUSES_S[min(self._tries[caller], len(PAUSES_S) - 1)]
        self._tries[caller] += 1
        heapq.heappush(self._due, (time.perf_counter() + pause_s, next(self._number), caller))

    def _dial_due(self) -> None:
        for _ in range(_AT_A_TIME):
            if not self._due or self._due[0][0] > time.perf_counter():
                return
            caller = heapq.heappop(self._due)[2]
            self._crowd.reconnect(caller)
            self._handshakes.append((caller.opened_at_s, caller))

    def _give_up_late_ones(self) -> None:
        now_s = time.perf_counter()
        while self._handshakes and self._handshakes[0][0] + HANDSHAKE_LIMIT_S <= now_s:
            opened_at_s, caller = self._handshakes.popleft()
            if caller.opened_at_s == opened_at_s and caller.is_connecting:
                self._late_handshakes += 1
                self._crowd.cut([caller])
                self._again(caller)

    def _acked(self, caller: Caller, now_s: float) -> None:
        caller.due_s = 0.0
        caller.acked_s = now_s - caller.opened_at_s
        caller.is_reconnecting = False
        self._left.discard(caller)

    def _lost(self, caller: Caller) -> None:
        self._broken += 1
        self._left.add(caller)
        self._again(caller)
