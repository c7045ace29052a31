"""Which calls this worker owns, and what becomes of each envelope that arrives. Pure: it returns what to do."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from jambonz_shared.kinds import TAKEOVER, TIMER, TRANSFERRED
from jambonz_workers.delivery import Delivery
from jambonz_workers.mailbox import Load, Mailbox


@dataclass(frozen=True, slots=True)
class Claim:
    """Try to become the owner of a call; answer with ``claimed``, ``is_elsewhere``, ``is_foreign`` or ``gone``."""

    call_sid: str


@dataclass(init=False, slots=True)
class Ready:
    """The mailbox of a call has something to ``take``."""

    call_sid: str

    def __init__(self, call_sid: str) -> None:
        self.call_sid = call_sid


@dataclass(frozen=True, slots=True)
class Wait:
    """An event of a call is missing; ``take`` again at ``at_s``, when it is given up."""

    call_sid: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Forward:
    """Hand an envelope to the call's owner; ``worker_id`` empty: to whoever takes it from dispatch.

    Attributes:
        app: Whose dispatch, if it is not this worker's own app.
    """

    worker_id: str
    delivery: Delivery
    app: str = ""


@dataclass(frozen=True, slots=True)
class Settle:
    """An envelope is done without being handled: a duplicate, or its call is over."""

    delivery: Delivery
    reason: str


@dataclass(frozen=True, slots=True)
class Shed:
    """Events are done without being handled, since too much waits in this worker, and most of it for this call."""

    call_sid: str
    deliveries: list[Delivery]


@dataclass(frozen=True, slots=True)
class Overhear:
    """An event may concern what runs for its call right now; it is still handled in its turn."""

    delivery: Delivery


Effect = Claim | Ready | Wait | Forward | Settle | Shed | Overhear

DUPLICATE = "duplicate"
GONE = "gone"
TAKEN_AWAY = "transferred"

# What one call loses at one go. So much that it is seldom looked who holds the most, and so little that other calls do
# not have to wait: 3,800 of the smallest events take 6 to 11 ms (measured, not compiled).
_SHED_BYTES: Final = 4 * 1024 * 1024

# Notices that mean something to the app only that they were made for.
_OF_ONE_APP = frozenset({TAKEOVER, TIMER, TRANSFERRED})


class Dispatcher:
    """The calls of one worker: claimed, or with a claim under way.

    Attributes:
        capacity: How many calls it takes at most; the inbox may bring more, dispatch does not.
        load: What waits for its turn in all calls together. What waits for a claim does not count: that lasts for a
            round trip to Redis, and until then gateways send no more than the first event of a call.
        is_draining: It takes no call that it does not own already.
    """

    def __init__(self, capacity: int, overheard: Collection[str] = (), max_waiting_bytes: int = 1 << 26) -> None:
        """Make one without calls; events of the kinds ``overheard`` are also told at once, by ``Overhear``.

        When more than ``max_waiting_bytes`` wait, those calls that hold the most lose their oldest.
        """
        self.capacity = capacity
        self.load = Load()
        self._max_waiting_bytes = max_waiting_bytes
        self._overheard = frozenset(overheard)
        self.is_draining = False
        self._claiming: dict[str, list[Delivery]] = {}
        self._mailboxes: dict[str, Mailbox] = {}

    @property
    def credits(self) -> int:
        """How many calls it has room for."""
        if self.is_draining:
            return 0
        return max(0, self.capacity - len(self._mailboxes) - len(self._claiming))

    @property
    def calls(self) -> list[str]:
        """The call_sids it owns."""
        return list(self._mailboxes)

    @property
    def count(self) -> int:
        """How many calls it owns or claims."""
        return len(self._mailboxes) + len(self._claiming)

    def has(self, call_sid: str) -> bool:
        """Tell whether it owns or claims a call."""
        return call_sid in self._mailboxes or call_sid in self._claiming

    def receive(self, delivery: Delivery, now_s: float) -> list[Effect]:
        """Take in one envelope and say what to do."""
        call_sid = delivery.envelope.call_sid
        mailbox = self._mailboxes.get(call_sid)
        if mailbox is not None:
            return self._put(mailbox, delivery, now_s)
        queue = self._claiming.get(call_sid)
        if queue is not None:
            queue.append(delivery)
            return []
        if self.is_draining:
            return [Forward("", delivery)]
        self._claiming[call_sid] = [delivery]
        return [Claim(call_sid)]

    def claimed(self, call_sid: str, committed: Mapping[int, int], now_s: float) -> list[Effect]:
        """The claim succeeded; ``committed`` is the highest number done, by epoch."""
        mailbox = self._mailboxes[call_sid] = Mailbox(committed, self.load)
        effects: list[Effect] = []
        waiting = self._claiming.pop(call_sid, [])
        has_suspects = any(delivery.envelope.deaths for delivery in waiting)
        for delivery in waiting:
            if has_suspects and delivery.envelope.kind in self._overheard and not delivery.envelope.deaths:
                # Begun at once, beside the suspect, it could not be told from it.
                delivery.envelope = replace(delivery.envelope, deaths=1)
            effects += [
                effect for effect in self._put(mailbox, delivery, now_s) if not isinstance(effect, Ready | Wait)
            ]
        return effects + _next(mailbox, call_sid)

    def is_elsewhere(self, call_sid: str, worker_id: str) -> list[Effect]:
        """The claim failed, since ``worker_id`` owns the call."""
        return [Forward(worker_id, delivery) for delivery in self._claiming.pop(call_sid, [])]

    def is_foreign(self, call_sid: str, app: str) -> list[Effect]:
        """The claim failed, since the call belongs to another app."""
        return [_to_app(app, delivery) for delivery in self._claiming.pop(call_sid, [])]

    def gone(self, call_sid: str) -> list[Effect]:
        """The call is over; nobody needs its events any more."""
        return [Settle(delivery, GONE) for delivery in self._release(call_sid)]

    def lost(self, call_sid: str, worker_id: str) -> list[Effect]:
        """Another worker owns the call now (empty: nobody does); it gets the events that wait."""
        return [Forward(worker_id, delivery) for delivery in self._release(call_sid)]

    def transferred(self, call_sid: str, app: str) -> list[Effect]:
        """The call belongs to another app now; that gets the events that wait."""
        return [_to_app(app, delivery) for delivery in self._release(call_sid)]

    def mailbox(self, call_sid: str) -> Mailbox | None:
        """Return the mailbox of an owned call."""
        return self._mailboxes.get(call_sid)

    def _put(self, mailbox: Mailbox, delivery: Delivery, now_s: float) -> list[Effect]:
        if not mailbox.put(delivery, now_s):
            return [Settle(delivery, DUPLICATE)]
        if self.load.waiting_bytes > self._max_waiting_bytes:
            return [*self._shed(now_s), *self._told(mailbox, delivery)]
        return self._told(mailbox, delivery)

    def _told(self, mailbox: Mailbox, delivery: Delivery) -> list[Effect]:
        if delivery.envelope.kind in self._overheard:
            return [Overhear(delivery), *_next(mailbox, delivery.envelope.call_sid)]
        return _next(mailbox, delivery.envelope.call_sid)

    def _shed(self, now_s: float) -> list[Effect]:
        """Make room at the cost of those calls that hold the most."""
        effects: list[Effect] = []
        for call_sid, mailbox in sorted(self._mailboxes.items(), key=_waiting_bytes, reverse=True):
            if self.load.waiting_bytes <= self._max_waiting_bytes:
                break
            if shed := mailbox.shed(_SHED_BYTES, now_s):
                effects.append(Shed(call_sid, shed))
                # It may have waited for a number that is given up with those.
                effects += _next(mailbox, call_sid)
        return effects

    def _release(self, call_sid: str) -> list[Delivery]:
        mailbox = self._mailboxes.pop(call_sid, None)
        waiting = mailbox.undone() if mailbox else []
        return waiting + self._claiming.pop(call_sid, [])


def _waiting_bytes(item: tuple[str, Mailbox]) -> int:
    return item[1].waiting_bytes


def _to_app(app: str, delivery: Delivery) -> Effect:
    if delivery.envelope.kind in _OF_ONE_APP:
        return Settle(delivery, TAKEN_AWAY)
    return Forward("", delivery, app)


def _next(mailbox: Mailbox, call_sid: str) -> list[Effect]:
    if mailbox.is_running:
        return []
    if mailbox.is_ready:
        return [Ready(call_sid)]
    at_s = mailbox.wake_at_s()
    return [] if at_s is None else [Wait(call_sid, at_s)]
