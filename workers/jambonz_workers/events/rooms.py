"""Events of queues and conferences. Pure."""

from jambonz_workers.event import Event
from jambonz_workers.events.members import number_in, text_in, whole


class QueueWait(Event):
    """``waitHook`` of an enqueue. Answer it with verbs, in time: otherwise the caller waits in silence (pitfall 17)."""

    __slots__ = ()

    @property
    def position(self) -> int | None:
        """Place in the queue, as jambonz counts it (from 0)."""
        return whole(number_in(self.data, "queue_position"))

    @property
    def size(self) -> int | None:
        """Callers in the queue."""
        return whole(number_in(self.data, "queue_size"))

    @property
    def waited_s(self) -> float | None:
        """How long this caller has waited."""
        return number_in(self.data, "queue_time")


class QueueResult(Event):
    """``actionHook`` of an enqueue or a dequeue."""

    __slots__ = ()

    @property
    def result(self) -> str:
        """Such as ``bridged``, ``hangup``, ``leave`` of an enqueue; ``complete``, ``timeout`` of a dequeue."""
        return text_in(self.data, "queue_result") or text_in(self.data, "dequeue_result")

    @property
    def waited_s(self) -> float | None:
        """How long the caller has waited."""
        return number_in(self.data, "queue_time")


class ConferenceEvent(Event):
    """``statusHook`` of a conference."""

    __slots__ = ()

    @property
    def event(self) -> str:
        """``start``, ``join``, ``leave``, ``end`` and others."""
        return text_in(self.data, "event")

    @property
    def name(self) -> str:
        """The conference's name."""
        return text_in(self.data, "friendly_name")

    @property
    def members(self) -> int | None:
        """How many are in it."""
        return whole(number_in(self.data, "members"))

    @property
    def duration_s(self) -> float | None:
        """How long it has gone on."""
        return number_in(self.data, "duration")
