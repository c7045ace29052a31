"""What a handled event makes the gateway do, as Directives. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from jambonz_shared.directive import Ack, Command, Directive
from jambonz_shared.wire import redirect_frame
from jambonz_workers.event import Event
from jambonz_workers.routing import Late
from jambonz_workers.state import StateChanges
from jambonz_workers.verbs import dump, verb_arrays

NewId = Callable[[], str]

# An inbound call refuses an empty application (PROTOCOL.md 2.4), so a handler that returns nothing holds the
# caller while its commands take over, for as long as PROTOCOL.md section 12 gives a fallback ...
HOLD: Final = ({"verb": "pause", "length": 30},)
# ... and one that failed, or that does not exist, lets the caller hear so at once instead of silence.
DECLINE_FAILED: Final = ({"verb": "sip:decline", "status": 500},)
DECLINE_UNKNOWN: Final = ({"verb": "sip:decline", "status": 404},)

# Verbs of these hooks make no sense in another place: they are for the callee who is not bridged yet.
_KINDS_NEVER_REDIRECTED: Final = frozenset({"dial:confirm"})


def is_inbound_start(event: Event) -> bool:
    """True for the message that needs a non-empty application."""
    return event.kind == "session:new" and event.data.get("direction") == "inbound"


def answer(event: Event, verbs: object, late: Late, new_id: NewId, reply_to: str) -> list[Directive]:
    """Return the Ack of a Hook, then the appends with what did not fit into it.

    ``None`` is an empty ack; for an inbound ``session:new`` it is ``HOLD``.

    Raises:
        TypeError: If ``verbs`` are none.
        MessageTooBig: If one verb alone is too big.
    """
    if verbs is None and is_inbound_start(event):
        verbs = HOLD
    first, *rest = verb_arrays(verbs)
    may_redirect = late == "redirect" and first != b"[]" and event.kind not in _KINDS_NEVER_REDIRECTED
    directives: list[Directive] = [Ack(new_id(), event.epoch, event.msgid, first, may_redirect)]
    frames = [redirect_frame(array, call_sid=event.call_sid, queue=True) for array in rest]
    return directives + [Command(new_id(), frame, reply_to) for frame in frames]


def bare_ack(event: Event, verbs: Sequence[Mapping[str, object]], new_id: NewId) -> Ack:
    """Return the Ack of a Hook that no handler answered."""
    return Ack(new_id(), event.epoch, event.msgid, dump(verbs, "verbs"), may_redirect=False)


@dataclass(slots=True)
class Commit:
    """What one script run saves, all or nothing.

    Attributes:
        series: The epoch of the event, or below zero a series of the fence for effects outside of events; with ``n``
            it makes a repeated commit a duplicate instead of a second effect.
        n: Number within the series.
        directives: For the gateway, in order.
        facts: New call facts as JSON, or empty.
        status: New call status, or empty.
        state: Changed fields of the call state.
    """

    series: int
    n: int
    directives: Sequence[Directive] = ()
    facts: bytes = b""
    status: str = ""
    state: StateChanges = field(default_factory=list)
