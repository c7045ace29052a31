"""What this process holds of a Call: its Connections here, and what Redis must be told of them again."""

from typing import Final, Protocol

from jambonz_gateway.effects import Attach, Detach, MarkAcked, ReadLog
from jambonz_gateway.route import Known
from jambonz_shared.directive import ChannelMessage
from jambonz_shared.redis.scripts import Attached, CallKeys


class Holder(Protocol):
    """A Connection as the Downlink sees it: who it is, and where answers go."""

    app_name: str
    path: str

    @property
    def has_left(self) -> bool:
        """True when its socket is closed."""

    def attached(self, call_sid: str, attachment: Attached) -> None:
        """Redis has attached the Connection."""

    def known(self, call_sid: str) -> Known:
        """Return what a Redis that has lost the Call must learn of it."""

    def refused(self, call_sid: str) -> None:
        """The Call belongs to another app."""

    def channel(self, call_sid: str, message: ChannelMessage) -> None:
        """A message of the call channel."""

    def resubscribed(self, call_sid: str) -> None:
        """Messages of the call channel may have been lost."""

    def log_read(self, wanted: ReadLog, entries: list[tuple[int, bytes]]) -> None:
        """What the log holds."""

    def detached(self, call_sid: str, connections_left: int) -> None:
        """Redis has detached the Connection."""


class Place:
    """One Connection's place in one Call: what must be said to Redis again after the link was down."""

    __slots__ = (
        "app", "attach", "detach", "epoch", "holder", "is_attaching", "is_leaving", "is_outdated", "seq", "was_tried",
    )  # fmt: skip

    def __init__(self, holder: Holder, attach: Attach) -> None:
        self.holder: Final = holder
        self.attach: Final = attach
        # Of the Call, once it is known; a new one is made for the app of its Connection.
        self.app = ""
        self.epoch = 0
        self.seq = 0
        self.was_tried = False
        # Between the first attach and its answer, and whether to say it again then: a second one that does not know its
        # epoch would be taken for a newer Connection.
        self.is_attaching = False
        self.is_outdated = False
        self.detach: Detach | None = None
        self.is_leaving = False

    def belongs_to(self, app: str) -> None:
        """Note the app of the Call; its Connection goes with it, and so do events for dispatch and new legs."""
        self.app = app
        if self.attach.line != "leg":
            self.holder.app_name = app


NONE_UNDELETED: Final[frozenset[int]] = frozenset()
"""Stands for nearly every Call's: an empty set of its own takes 216 bytes."""


class Followed:
    """A Call this process follows: its names, its Connections here, and what Redis could not be told of its log.

    Attributes:
        undeleted: Batches that are to be deleted.
        unmarked: Acks whose batch still has them.
    """

    __slots__ = ("is_subscribed", "keys", "places", "undeleted", "unmarked")

    def __init__(self, keys: CallKeys) -> None:
        self.keys: Final = keys
        self.places: Final[dict[int, Place]] = {}
        self.is_subscribed = False
        self.undeleted = NONE_UNDELETED
        self.unmarked: tuple[MarkAcked, ...] = ()
