"""An Envelope together with the stream entry it came in, which is deleted once all its Envelopes are done. Pure."""

from dataclasses import dataclass
from enum import Enum

from jambonz_shared.envelope import Envelope


class Source(Enum):
    """The stream an entry was read from."""

    INBOX = "inbox"
    DISPATCH = "dispatch"


@dataclass(slots=True, eq=False)
class Entry:
    """One stream entry; not frozen, since it counts what is left of it.

    Attributes:
        source: The stream.
        id: Its id there.
        open: How many of its Envelopes are not done yet.
    """

    source: Source
    id: bytes
    open: int

    def settle(self) -> bool:
        """Count one Envelope as done; True when that was the last, so that the entry can be deleted."""
        self.open -= 1
        return self.open == 0


@dataclass(init=False, slots=True, eq=False)
class Delivery:
    """One Envelope on its way through the worker.

    Attributes:
        is_settled: It is counted as done in its entry.
    """

    envelope: Envelope
    entry: Entry
    is_settled: bool = False

    def __init__(self, envelope: Envelope, entry: Entry, is_settled: bool = False) -> None:
        self.envelope = envelope
        self.entry = entry
        self.is_settled = is_settled

    def settle(self) -> bool:
        """Count it as done, once; True when its entry can be deleted now."""
        if self.is_settled:
            return False
        self.is_settled = True
        return self.entry.settle()
