"""Counters of the hot path: plain numbers, turned into metrics only when somebody asks for them. Pure.

A counter of prometheus_client takes a lock and five calls each time; three of them per event would cost as much
as decoding the event.
"""

from typing import Final

from jambonz_shared.kinds import KINDS, is_ours

# A hook must be answered in 4 s (kinds.ACK_DEADLINE_S); what matters lies below.
BUCKETS_S: Final[tuple[float, ...]] = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 4.0, 10.0)


def kind_label(kind: str) -> str:
    """Return the kind, or ``other`` for one we do not know: labels have few values."""
    return kind if kind in KINDS or is_ours(kind) else "other"


class Tally:
    """Counts events, commits and the time of handlers. For one thread.

    Attributes:
        events: Events by kind.
        commits: Commits by what became of them.
        handlers: Runs of handlers by how long they took: one for each of ``BUCKETS_S``, the last for what is above.
        handlers_s: How long all of them took.
    """

    def __init__(self) -> None:
        self.events: dict[str, int] = {}
        self.commits: dict[str, int] = {}
        self.handlers = [0] * (len(BUCKETS_S) + 1)
        self.handlers_s = 0.0

    def event(self, kind: str) -> None:
        """Count an event that is about to be handled."""
        label = kind if kind in KINDS else kind_label(kind)
        self.events[label] = self.events.get(label, 0) + 1

    def commit(self, result: str) -> None:
        """Count a commit."""
        self.commits[result] = self.commits.get(result, 0) + 1

    def handler(self, took_s: float) -> None:
        """Count a handler's run."""
        bucket = 0
        # Most are in the first: quicker found than by halves.
        while bucket < len(BUCKETS_S) and took_s > BUCKETS_S[bucket]:
            bucket += 1
        self.handlers[bucket] += 1
        self.handlers_s += took_s
