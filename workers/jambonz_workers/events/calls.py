"""Events about a call and its legs: sessions, statuses, dial, transfer, errors. Pure."""

from collections.abc import Mapping
from typing import Any

from jambonz_shared.kinds import FINAL_STATUSES
from jambonz_workers.event import Event
from jambonz_workers.events.members import mapping_in, number_in, text_in, whole


class SessionEvent(Event):
    """``session:new``, ``session:redirect``, ``session:adulting`` or ``session:reconnect``: who calls whom."""

    __slots__ = ()

    @property
    def from_(self) -> str:
        """Number or user of the calling party."""
        return text_in(self.data, "from")

    @property
    def to(self) -> str:
        """Number or user of the called party."""
        return text_in(self.data, "to")

    @property
    def direction(self) -> str:
        """``inbound`` or ``outbound``."""
        return text_in(self.data, "direction")

    @property
    def caller_name(self) -> str:
        """Display name of the caller."""
        return text_in(self.data, "caller_name")

    @property
    def sip_headers(self) -> Mapping[str, Any]:
        """Headers of the INVITE in their own spelling; only an inbound ``session:new`` has them."""
        return mapping_in(mapping_in(self.data, "sip"), "headers")

    @property
    def env_vars(self) -> Mapping[str, Any]:
        """Environment variables of the application, as jambonz sent them; see ``Call.env``."""
        return mapping_in(self.data, "env_vars")

    @property
    def parent(self) -> Mapping[str, Any]:
        """Call info of the parent leg; only ``session:adulting`` has it."""
        return mapping_in(self.data, "parent_call_info")


class CallStatus(Event):
    """``call:status``, of the call or of a leg it dialled."""

    __slots__ = ()

    @property
    def status(self) -> str:
        """Such as ``ringing``, ``in-progress``, ``completed``, ``failed``, ``busy``, ``no-answer``."""
        return text_in(self.data, "call_status")

    @property
    def is_final(self) -> bool:
        """True if the leg is over."""
        return self.status in FINAL_STATUSES

    @property
    def sip_status(self) -> int | None:
        """SIP status behind it."""
        return whole(number_in(self.data, "sip_status"))

    @property
    def duration_s(self) -> float | None:
        """Length of the call; only with ``completed``."""
        return number_in(self.data, "duration")

    @property
    def ended_by(self) -> str:
        """``caller`` (the far end) or ``jambonz``; only with a final status."""
        return text_in(self.data, "call_termination_by")

    @property
    def parent_call_sid(self) -> str:
        """The call that dialled this leg; empty for a call of its own."""
        return text_in(self.data, "parent_call_sid")

    @property
    def error(self) -> str:
        """Why the answer to a gather was no good; else empty (PROTOCOL.md 2.10)."""
        return text_in(self.data, "error")


class DialResult(Event):
    """``actionHook`` of a dial."""

    __slots__ = ()

    @property
    def status(self) -> str:
        """Final status of the dialled leg, such as ``completed``, ``busy`` or ``no-answer``."""
        return text_in(self.data, "dial_call_status")

    @property
    def sip_status(self) -> int | None:
        """SIP status of the dialled leg."""
        return whole(number_in(self.data, "dial_sip_status"))

    @property
    def dialled_call_sid(self) -> str:
        """The dialled leg."""
        return text_in(self.data, "dial_call_sid")

    @property
    def is_answered(self) -> bool:
        """True if somebody talked with the caller; False for a callee whom ``dial:confirm`` has not let through.

        Of a callee who hangs up instead of accepting the status is ``completed`` as well, but without a SIP status:
        only of a leg that was connected jambonz says 200 (feature-server lib/tasks/dial.js: callStatusChange,
        _selectSingleDial). Of one that was declined by a verb the status stays ``in-progress``.
        """
        return self.status == "completed" and self.sip_status == 200


class ReferRequest(Event):
    """``referHook`` of a dial or a config: the far end wants to be transferred."""

    __slots__ = ()

    @property
    def details(self) -> Mapping[str, Any]:
        """All of ``refer_details``."""
        return mapping_in(self.data, "refer_details")

    @property
    def refer_to(self) -> str:
        """User part of whom the call should go to."""
        return text_in(self.details, "refer_to_user")


class TransferResult(Event):
    """``actionHook`` of a transfer (10+) or a sip:refer."""

    __slots__ = ()

    @property
    def result(self) -> str:
        """Such as ``bridged``, ``failed``; of a sip:refer the final status of the referred call."""
        return text_in(self.data, "transfer_result") or text_in(self.data, "final_referred_call_status")

    @property
    def reason(self) -> str:
        """Why, for a transfer."""
        return text_in(self.data, "transfer_reason")


class SipResult(Event):
    """``actionHook`` of a sip:request."""

    __slots__ = ()

    @property
    def result(self) -> str:
        """``success`` or ``failed``."""
        return text_in(self.data, "result")

    @property
    def sip_status(self) -> int | None:
        """SIP status of the answer."""
        return whole(number_in(self.data, "sip_status"))


class VerbStatus(Event):
    """``verb:status``; comes after a ``config`` with ``notifyEvents`` only (pitfall 30)."""

    __slots__ = ()

    @property
    def event(self) -> str:
        """``starting``, ``finished``, ``start-playback``, ``stop-playback``, ``kill-playback`` and others."""
        return text_in(self.data, "event")

    @property
    def verb(self) -> str:
        """Name of the verb."""
        return text_in(self.data, "verb") or text_in(self.data, "name")

    @property
    def verb_id(self) -> str:
        """Its ``id``, if the application gave it one."""
        return text_in(self.data, "id")


class JambonzError(Event):
    """``jambonz:error``."""

    __slots__ = ()

    @property
    def message(self) -> str:
        """What failed, such as ``TTS error``."""
        return text_in(self.data, "msg")

    @property
    def details(self) -> Any:
        """More about it; jambonz sends a text or an object."""
        return self.data.get("details")

    @property
    def verb_id(self) -> str:
        """``id`` of the verb, if the application gave it one."""
        return text_in(self.data, "id")
