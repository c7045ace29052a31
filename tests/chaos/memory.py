"""Whether processes keep what they should let go of: their memory, looked at all along a storm."""

from dataclasses import dataclass
from time import monotonic
from typing import Final

import psutil

from tests.cluster_fixture import Cluster

_MIB: Final = 1024 * 1024

# Imports, code paths that run for the first time, pools: a process has grown up by then.
_GROWN_UP_S: Final = 20.0
# A leak of 100 kB per call would be 40 MiB after 400 calls; allocators keep some of what is freed.
_GROWTH_MAX_MIB: Final = 24.0


@dataclass(slots=True)
class _Life:
    """One process: its memory in MiB when it had grown up, and when it was last looked at."""

    name: str
    born_at_s: float
    first_mib: float = 0.0
    first_at_s: float = 0.0
    last_mib: float = 0.0
    last_at_s: float = 0.0

    @property
    def is_grown_up(self) -> bool:
        return self.first_at_s > 0

    @property
    def growth_mib(self) -> float:
        return self.last_mib - self.first_mib


class Memory:
    """Resident memory of every process that has lived for 20 s; ``look`` now and then."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster: Final = cluster
        self._lives: dict[int, _Life] = {}

    def look(self) -> None:
        """Note the memory of those that run."""
        for member in self._cluster.members:
            if not member.is_running:
                continue
            try:
                mib = psutil.Process(member.pid).memory_info().rss / _MIB
            except psutil.NoSuchProcess:
                continue
            now_s = monotonic()
            life = self._lives.setdefault(member.pid, _Life(member.name, now_s))
            if not life.is_grown_up and now_s - life.born_at_s >= _GROWN_UP_S:
                life.first_mib, life.first_at_s = mib, now_s
            life.last_mib, life.last_at_s = mib, now_s

    def lines(self) -> list[str]:
        """Return a line about each process that has grown up."""
        return [
            f"{life.name}: {life.first_mib:.1f} -> {life.last_mib:.1f} MiB in {life.last_at_s - life.first_at_s:.0f} s"
            for life in self._grown_up()
        ]

    def grown(self) -> list[str]:
        """Return the names of those that have grown by more than a noisy allocator explains."""
        return [life.name for life in self._grown_up() if life.growth_mib > _GROWTH_MAX_MIB]

    def _grown_up(self) -> list[_Life]:
        return [life for life in self._lives.values() if life.is_grown_up]
