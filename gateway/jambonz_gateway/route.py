"""One Call on one Connection: where its events go, and which of its batches are done with. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from jambonz_gateway.effects import Count, Effect, Publish, ReadLog
from jambonz_gateway.holding import Stock
from jambonz_shared import kinds
from jambonz_shared.directive import NEWEST, Ack, ConnectionAttached, ConnectionLeft, Directive
from jambonz_shared.envelope import Envelope
from jambonz_shared.redis.scripts import Attached

HELD_MAX: Final = 2048
"""So many events of one call wait for an owner, however small: each further one looks through them for a Notice."""


@dataclass(init=False, slots=True)
class Known:
    """What a gateway can tell a Redis that has lost a Call: owner, the owner's fence, session:new acked."""

    owner: str = ""
    fence: int = 0
    is_acked: bool = False

    def __init__(self, owner: str = "", fence: int = 0, is_acked: bool = False) -> None:
        self.owner = owner
        self.fence = fence
        self.is_acked = is_acked


@dataclass(init=False, slots=True)
class Event:
    """A message that has no number yet: it gets one when it is published, so that numbers have no holes.

    Attributes:
        is_acked: Answered here as soon as it came, whoever handles it; the worker must not ack it.
        is_answered: The deadline guard has answered it before it was published, so that is not to be repeated.
    """

    kind: str
    msgid: str
    received_at_ms: int
    is_acked: bool
    body: bytes
    is_answered: bool = False

    def __init__(
        self, kind: str, msgid: str, received_at_ms: int, is_acked: bool, body: bytes, is_answered: bool = False
    ) -> None:
        self.kind = kind
        self.msgid = msgid
        self.received_at_ms = received_at_ms
        self.is_acked = is_acked
        self.body = body
        self.is_answered = is_answered


class Route:
    """The path of one Call's events to its owner, and the cursor in its call log.

    Events are published in the order given. While the owner is unknown one event is *offered* to
    ``dispatch`` (or to the parent's worker) and the rest waits: the answer names the owner.
    """

    __slots__ = (
        "_fence", "_held", "_hooks", "_is_offered", "_n", "_offer_to", "_reading", "_reads_again",
        "_returned", "_seen_seq", "_stock", "announced", "asked", "call_sid", "delivered_seq", "epoch", "held_bytes",
        "is_over", "is_passed_over", "is_side", "last_owner", "late_msgid", "live_epochs", "owner",
    )  # fmt: skip

    def __init__(self, call_sid: str, stock: Stock, *, offer_to: str = "", is_side: bool = False) -> None:
        """Make the Route; ``offer_to`` is the worker a first event is offered to instead of ``dispatch``.

        ``stock`` counts what is held on the whole Connection.
        """
        self.call_sid: Final = call_sid
        self._stock: Final = stock
        self.epoch = 0
        self.owner = ""
        # Whose inbox was gone, until Redis names another one: it may be Redis that has lost the inbox.
        self.last_owner = ""
        self.live_epochs: set[int] = set()
        self.delivered_seq = 0
        # The newest Hook of an older Connection whose answer was given here.
        self.late_msgid = ""
        self.held_bytes = 0
        self.is_over = False
        self.is_passed_over = False
        self.is_side: Final = is_side
        self.announced: list[ConnectionAttached | ConnectionLeft] = []
        self._offer_to = offer_to
        self._fence = -1
        self._n = 0
        self._is_offered = False
        # Lists, because they are short, and empty in nearly every call: an empty deque takes 760 bytes.
        self._held: list[Event] = []
        self._returned: list[Envelope] = []
        # Published Hooks that are not answered yet, by msgid.
        self._hooks: dict[str, Envelope] = {}
        self._reading = False
        self._reads_again = False
        self._seen_seq = 0
        # The reading that is under way, or was the last.
        self.asked = ReadLog(call_sid, 0, 0)

    @property
    def is_newest(self) -> bool:
        """True when commands for the Call are ours to deliver: on its newest side line, or else newest Connection."""
        if self.is_passed_over or self.is_side:
            return self.epoch > 0 and not self.is_passed_over
        if len(self.live_epochs) == 1:
            return self.epoch > 0 and (self.epoch in self.live_epochs or self.epoch > max(self.live_epochs))
        return self.epoch > 0 and self.epoch >= max(self.live_epochs, default=0)

    @property
    def fence(self) -> int:
        """The owner's fence, 0 if nobody has claimed the Call."""
        return max(self._fence, 0)

    def add(self, event: Event, gateway_id: str) -> list[Effect]:
        """Take the next event of the Call; over ``HELD_MAX`` the oldest held Notice is dropped. See ``shrink``."""
        if self.owner and not self._held and not self._returned:
            return [Publish(self.owner, self._numbered(event, gateway_id))]
        self._held.append(event)
        self._count(len(event.body))
        effects = list(self.flush(gateway_id))
        if len(self._held) > HELD_MAX:
            effects.append(self.drop_oldest())
        return effects

    def attached(self, attachment: Attached, gateway_id: str, *, may_begin: bool = False) -> Iterator[Effect]:
        """Begin to publish: the Call has given this Connection its epoch.

        With ``may_begin`` a Call that Redis does not know begins with a ``session:reconnect`` that is not acked.
        """
        if may_begin and not attachment.existed:
            self._begin_anew()
        was_older = self.epoch > 0 and not self.is_newest
        self.is_passed_over = self.is_passed_over or attachment.is_passed_over
        self.epoch = attachment.epoch
        # Attached again, after the link was down: a log that was being read then has not been.
        self._reading = False
        self.live_epochs = {*attachment.live_epochs, attachment.epoch}
        # A Redis that came back empty begins at fence 0 again; otherwise the newer word counts.
        if not attachment.existed or attachment.fence >= self._fence:
            self._fence, self.owner, self._is_offered = attachment.fence, attachment.owner, False
            self.last_owner = ""
        # Attached again: Redis may have lost what was published. Workers know the number if it has not.
        for envelope in self._hooks.values():
            yield Publish(self.owner, envelope)
            self._is_offered = not self.owner
        yield from self.flush(gateway_id)
        self._seen_seq = max(self._seen_seq, attachment.seq)
        if was_older and self.is_newest:
            # The newer Connection has left unnoticed; its batches are ours now.
            self.delivered_seq = 0
        # Also for a new Call: a batch may have overtaken this answer, they come over two connections.
        yield from self.read_log()

    def owner_changed(self, worker_id: str, fence: int, gateway_id: str) -> Iterator[Effect]:
        """Follow an owner notice; an empty ``worker_id`` means that the next event goes to ``dispatch``."""
        if fence < self._fence:
            return
        self._fence, self.owner, self.last_owner = fence, worker_id, ""
        self._is_offered = False
        yield from self.flush(gateway_id)

    def returned(self, worker_id: str, envelope: Envelope, gateway_id: str) -> Iterator[Effect]:
        """Take back an event whose inbox is gone; it keeps its number."""
        if self.owner == worker_id:
            self.last_owner, self.owner = worker_id, ""
            self._is_offered = False
        elif not self.owner and worker_id == self._offer_to:
            self._is_offered = False
        self._offer_to = ""
        self._returned.append(envelope)
        self._count(len(envelope.body))
        yield from self.flush(gateway_id)

    def flush(self, gateway_id: str, *, everything: bool = False) -> Iterator[Effect]:
        """Publish what may go now; ``everything`` when the socket is gone and nobody will call again."""
        if not self.epoch:
            return
        while (self._held or self._returned) and (self.owner or everything or not self._is_offered):
            envelope = self._next(gateway_id)
            self._is_offered = not self.owner
            yield Publish(self.owner or self._offer_to, envelope)

    @property
    def may_drop(self) -> bool:
        """True if it holds events that have no number yet: dropped, they leave no hole."""
        return bool(self._held)

    def drop_oldest(self) -> Effect:
        """Drop the oldest Notice that is held, or the oldest event if there is none."""
        oldest = next((event for event in self._held if event.kind not in kinds.HOOKS), self._held[0])
        self._held.remove(oldest)
        self._count(-len(oldest.body))
        return Count("event_dropped")

    def drop_all(self) -> None:
        """Let go of what is held: nobody is to have it."""
        self._held, self._returned = [], []
        self._count(-self.held_bytes)

    def answered(self, msgid: str) -> None:
        """A Hook has its ack: it need not be published again."""
        if self._hooks.pop(msgid, None) is None:
            for event in self._held:
                event.is_answered = event.is_answered or event.msgid == msgid

    def farewell(self, now_ms: int, gateway_id: str) -> Iterator[Effect]:
        """Publish, behind everything else, that the Call is over, or that no Connection of it is left."""
        event = Event(kinds.ENDED if self.is_over else kinds.DETACHED, "", now_ms, is_acked=True, body=b"{}")
        yield Publish(self.owner or self._offer_to, self._numbered(event, gateway_id))

    def is_next(self, seq: int) -> bool:
        """Tell whether the live batch ``seq`` follows what has been processed; if not, ``read_log`` covers it."""
        self._seen_seq = max(self._seen_seq, seq)
        return not self._reading and self.epoch > 0 and seq == self.delivered_seq + 1

    def epoch_of_acks(self, directives: Collection[Directive]) -> int:
        """Return the socket for which a batch holds an ack and nothing else; 0 if there is none, or one socket only."""
        # Nearly never are there others.
        if len(self.live_epochs) < 2:
            return NEWEST
        epochs = {directive.epoch if isinstance(directive, Ack) else NEWEST for directive in directives}
        return epochs.pop() if len(epochs) == 1 else NEWEST

    def read_log(self, *, is_certain: bool = True) -> Iterator[Effect]:
        """Ask for the log behind the cursor, unless that is under way or there is nothing to read.

        With ``is_certain`` false there may be batches that nobody has told us of.
        """
        if self._reading:
            # It may have been asked before the channel was subscribed again: what was said between is in neither.
            self._reads_again = self._reads_again or not is_certain
        elif self.epoch and (self._seen_seq > self.delivered_seq or not is_certain):
            self._reading = True
            self.asked = ReadLog(self.call_sid, self.delivered_seq, self._seen_seq)
            yield self.asked

    def reread_log(self) -> Iterator[Effect]:
        """Ask for the whole log: batches that were another Connection's to deliver are ours now."""
        self.delivered_seq = 0
        self._reading = False
        yield from self.read_log()

    def is_outdated(self, wanted: ReadLog) -> bool:
        """Tell whether a later reading is under way, which may begin earlier and cover more: only its answer counts."""
        return self._reading and wanted is not self.asked

    def log_was_read(self) -> Iterator[Effect]:
        """End the reading. What it covers and what did not come has been delivered by another Connection."""
        self.delivered_seq = max(self.delivered_seq, self.asked.covers)
        self._reading = False
        reads_again, self._reads_again = self._reads_again, False
        yield from self.read_log(is_certain=not reads_again)

    def _begin_anew(self) -> None:
        """Make a held ``session:reconnect`` the ``session:new`` whose data it carries (PROTOCOL.md 2.6.1)."""
        for event in self._held:
            if event.kind == kinds.SESSION_RECONNECT.name:
                event.kind, event.is_acked = kinds.SESSION_NEW.name, False

    def _next(self, gateway_id: str) -> Envelope:
        if self._returned:
            envelope = self._returned.pop(0)
            self._count(-len(envelope.body))
            return envelope
        event = self._held.pop(0)
        self._count(-len(event.body))
        return self._numbered(event, gateway_id)

    def _numbered(self, event: Event, gateway_id: str) -> Envelope:
        self._n += 1
        envelope = Envelope(
            self.call_sid, self.epoch, self._n, event.kind, event.msgid,
            event.received_at_ms, gateway_id, event.is_acked, event.body,
        )  # fmt: skip
        if not event.is_acked and not event.is_answered and event.kind in kinds.HOOKS:
            self._hooks[event.msgid] = envelope
        return envelope

    def _count(self, size_bytes: int) -> None:
        self.held_bytes += size_bytes
        self._stock.put(size_bytes)


def shrink(routes: Collection[Route], stock: Stock) -> Iterator[Effect]:
    """Drop events until ``stock`` is no longer over: of the Call that holds most, the oldest Notice first."""
    while stock.is_over:
        droppable = [route for route in routes if route.may_drop]
        if not droppable:
            return
        yield max(droppable, key=lambda route: route.held_bytes).drop_oldest()
