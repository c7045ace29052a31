"""Which other processes are dead: judged by their subscriptions and heartbeats. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

# At a poll each 25 ms: a crash is known within 100 ms, while a worker whose subscription broke has resubscribed
# (after 20 ms, jambonz_shared.redis.wire) before the fourth poll in a row has missed it.
ZEROS_OF_DEATH: Final = 4

# Each worker asks about this many neighbours only, so the cost does not grow with the square of their number.
# Neighbours that die together are found by their heartbeats.
_NEIGHBOURS: Final = 2


@dataclass(slots=True)
class Watch:
    """What one process knows of its peers. Time is seconds of any one clock, heartbeats ms of the Redis clock.

    Attributes:
        me: The own id; never judged.
        lease_s: A heartbeat older than this is a death.
    """

    me: str
    lease_s: float
    _zeros: dict[str, int] = field(default_factory=dict)
    _judges_from_s: float = float("inf")

    def link_up(self, now_s: float) -> None:
        """Judge nobody for a lease: after Redis was away all heartbeats are old and all subscriptions young."""
        self._judges_from_s = now_s + self.lease_s
        self._zeros.clear()

    def link_down(self) -> None:
        """Judge nobody until the link is back."""
        self._judges_from_s = float("inf")

    def own_heartbeat(self, now_s: float, redis_now_ms: int, beat_ms: int | None) -> None:
        """Judge nobody for a lease if the own heartbeat is late: Redis takes none, so those of all others are late."""
        if beat_ms is None or beat_ms < redis_now_ms - self.lease_s * 500:
            self.link_up(now_s)

    def neighbours(self, peers: Sequence[str]) -> list[str]:
        """Return whose subscriptions to ask about: those that follow in the ring of ids."""
        ring = sorted({*peers, self.me})
        at = ring.index(self.me)
        following = ring[at + 1 :] + ring[:at]
        return following[:_NEIGHBOURS]

    def subscribers(self, counts: Mapping[str, int]) -> list[str]:
        """Take how many subscribers each peer's channel has; return those whose connection has died."""
        dead: list[str] = []
        for peer, count in counts.items():
            if count > 0:
                self._zeros[peer] = 0
            elif peer in self._zeros:
                self._zeros[peer] += 1
                if self._zeros[peer] >= ZEROS_OF_DEATH:
                    dead.append(peer)
        return dead

    def judge(self, now_s: float, suspects: Sequence[str]) -> list[str]:
        """Return those of the suspects that may be declared dead now."""
        if now_s < self._judges_from_s:
            return []
        return [peer for peer in suspects if peer != self.me]

    def overdue(self, redis_now_ms: int, heartbeats: Mapping[str, int]) -> list[str]:
        """Return the processes whose last heartbeat is older than the lease."""
        oldest_ms = redis_now_ms - self.lease_s * 1000
        return [peer for peer, beat_ms in heartbeats.items() if beat_ms < oldest_ms]

    def forget(self, peer: str) -> None:
        """A peer has left or has been adopted."""
        self._zeros.pop(peer, None)
