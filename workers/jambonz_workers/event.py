"""Event: one message from jambonz, as a handler sees it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar


@dataclass(slots=True)
class Event:
    """One message from jambonz, to be read only; not frozen, which would take Python five times as long to make.

    Attributes:
        kind: jambonz's own ``type``, such as ``"verb:hook"``.
        call_sid: The Call it is about; for a leg of a ``dial`` the leg's own.
        data: What jambonz sent, keys in snake_case (PROTOCOL.md 2.1); empty when it sent none.
        hook: The hook as it stands in the verb, such as ``"/menu"``; empty where the kind has none.
        msgid: jambonz's own identifier of the message.
        path_params: Variables of the matched route, such as ``{"step": "2"}``.
        epoch: The Connection of the Call it came over; rises with each reconnect.
        n: 1, 2, 3 ... within the Call and the epoch.
        received_at_ms: Unix milliseconds on the gateway's clock.
        is_hook: True when jambonz waits for an answer that the handler gives.
        is_stand_in: True for the ``session:new`` that a gateway has made of a ``session:reconnect``, because Redis did
            not know of the call: the one before it was lost, or comes yet.
    """

    kind: Final[str]
    call_sid: Final[str]
    data: Final[dict[str, Any]]
    hook: Final[str] = ""
    msgid: Final[str] = ""
    path_params: Final[Mapping[str, str]] = field(default_factory=dict)
    epoch: Final[int] = 0
    n: Final[int] = 0
    received_at_ms: Final[int] = 0
    is_hook: Final[bool] = False
    is_stand_in: Final[bool] = False

    @property
    def verb_id(self) -> str:
        """The ``id`` that the application gave to the verb of an action hook; else empty."""
        found = self.data.get("verb_id")
        return found if isinstance(found, str) else ""

    @property
    def customer_data(self) -> Mapping[str, Any]:
        """What a ``tag`` set, or createCall; under whichever of its two names it came (PROTOCOL.md 2.1, pitfall 29)."""
        found = self.data.get("customerData", self.data.get("customerdata"))
        return found if isinstance(found, dict) else {}

    def seen_as(self, kind_of_event: "type[E]", path_params: Mapping[str, str] | None = None) -> "E":
        """Return the same event as another class of ``jambonz_workers.events``."""
        return kind_of_event(
            self.kind,
            self.call_sid,
            self.data,
            self.hook,
            self.msgid,
            self.path_params if path_params is None else path_params,
            self.epoch,
            self.n,
            self.received_at_ms,
            self.is_hook,
            self.is_stand_in,
        )


E = TypeVar("E", bound=Event)
