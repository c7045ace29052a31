"""What goes to dispatch again after a worker's death, and what is never run again. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from jambonz_shared.envelope import Envelope, notice
from jambonz_shared.kinds import HOOKS, TAKEOVER, TRANSFERRED

# A handler that has killed this many workers is not run again for the same event.
DEATHS_MAX: Final = 3

# Call and epoch.
Place: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Redelivery:
    """The work of a dead worker.

    Attributes:
        by_call: For dispatch, what belongs to one call together, so that one worker gets it: its take-over, then its
            events in order. Calls for which jambonz waits come first, the longest waiting before the others.
        quarantined: Those among them that are acked, but not run: they have killed too many workers.
    """

    by_call: list[list[Envelope]]
    quarantined: list[Envelope]

    @property
    def envelopes(self) -> list[Envelope]:
        """All of them, in the order in which they go to dispatch."""
        return [envelope for call in self.by_call for envelope in call]


def undone(envelopes: Sequence[Envelope], committed: Mapping[Place, int]) -> list[Envelope]:
    """Return what is not committed yet: an entry with several envelopes stays in its stream until all of them are done.

    ``committed`` is the highest number done by ``(call_sid, epoch)``. That a call was transferred was news to the dead
    worker alone.
    """
    return [
        one
        for one in envelopes
        if one.kind != TRANSFERRED and not 0 < one.n <= committed.get((one.call_sid, one.epoch), 0)
    ]


def redelivery(
    orphans: Sequence[str],
    undone: Sequence[Envelope],
    begun: Collection[str],
    now_ms: int,
    places: set[Place] | None = None,
) -> Redelivery:
    """Sort out what a dead worker leaves behind, or a part of it.

    Args:
        orphans: Calls that it owned.
        undone: What it had not done.
        begun: Marks (see ``mark_of``) of suspects that it had begun to run.
        now_ms: Unix milliseconds, for notices.
        places: Those whose suspect was in an earlier part; the ones of this part are added.
    """
    takeovers = {envelope.call_sid: envelope for envelope in undone if envelope.kind == TAKEOVER}
    fresh = [notice(sid, TAKEOVER, now_ms) for sid in orphans if sid not in takeovers]
    # By number: what came through dispatch may be newer than what waits in the inbox.
    others = sorted((one for one in undone if one.kind != TAKEOVER), key=lambda one: (one.epoch, one.n))
    ordered = [*takeovers.values(), *others]
    judged = list(_judged(ordered, begun, set() if places is None else places))
    quarantined = [
        after for before, after in zip(ordered, judged, strict=True) if after.is_quarantined > before.is_quarantined
    ]
    calls: dict[str, list[Envelope]] = {}
    for envelope in (*fresh, *judged):
        calls.setdefault(envelope.call_sid, []).append(envelope)
    return Redelivery(sorted(calls.values(), key=_waits_since_ms), quarantined)


def mark_of(envelope: Envelope) -> str:
    """Return what a worker writes down before it runs a suspect."""
    return f"{envelope.call_sid}:{envelope.epoch}:{envelope.n}"


def _waits_since_ms(call: Sequence[Envelope]) -> float:
    """Return since when jambonz waits for the answer to a hook, in Unix milliseconds; infinity if it does not."""
    hooks = (one.received_at_ms for one in call if one.kind in HOOKS and not one.is_acked)
    return min(hooks, default=float("inf"))


def _judged(undone: Sequence[Envelope], begun: Collection[str], places: set[Place]) -> Iterator[Envelope]:
    """Count the death for those that may have caused it.

    The first event of each epoch may have, and the first notice of ours before it: which of them ran nobody knows.
    From its second death on a suspect is written down before it runs, so that the innocent, which just
    waited in the same worker each time, are not quarantined with the guilty.
    """
    for envelope in undone:
        place = (envelope.call_sid, envelope.epoch)
        is_first = place not in places
        places.add(place)
        if envelope.is_quarantined or not is_first or (envelope.deaths and mark_of(envelope) not in begun):
            yield envelope
        else:
            deaths = envelope.deaths + 1
            yield replace(envelope, deaths=deaths, is_quarantined=deaths >= DEATHS_MAX)
