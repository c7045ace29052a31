"""What a handled event makes the gateway do, as Directives. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from jambonz_shared.directive import Ack, Command, Directive
from jambonz_shared.errors import MessageTooBig
from jambonz_shared.paths import shown_hook
from jambonz_shared.wire import MAX_VERBS_BYTES, redirect_frame
from jambonz_workers.event import Event
from jambonz_workers.routing import Late
from jambonz_workers.state import StateChanges
from jambonz_workers.verbs import Verbs, dump, verb_arrays

NewId = Callable[[], str]

# An inbound call refuses an empty application (PROTOCOL.md 2.4), so a handler that returns nothing holds the
# caller while its commands take over, for as long as PROTOCOL.md section 12 gives a fallback ...
HOLD: Final = ({"verb": "pause", "length": 30},)
# ... and one that failed, or that does not exist, lets the caller hear so at once instead of silence (ADR 0005).
DECLINE_FAILED: Final = ({"verb": "sip:decline", "status": 500},)
DECLINE_UNKNOWN: Final = ({"verb": "sip:decline", "status": 404},)

# ``[]`` is an application here, too, and one without verbs ends a call that waits for commands, if it was asked for by
# the command ``redirect`` (call-session.js, _lccCallHook and exec); without data the call goes on.
_KINDS_WITHOUT_EMPTY_ANSWER: Final = frozenset({"session:redirect"})

# Verbs of these hooks make no sense in another place: they are for the callee who is not bridged yet.
_KINDS_NEVER_REDIRECTED: Final = frozenset({"dial:confirm"})
# Nor do those of enqueue's waitHook and dial's onHoldHook, which are played inside of the running verb (PROTOCOL.md
# 2.8): as a redirect they would end it. jambonz asks both again. A conference's waitHook shows no sign of what it is.
_IN_A_QUEUE: Final = "queue_position"
_ON_HOLD: Final = "hold_detail"


def is_inbound_start(event: Event) -> bool:
    """True for the message that needs a non-empty application."""
    return event.kind == "session:new" and event.data.get("direction") == "inbound"


def answer(
    event: Event, verbs: Verbs | None, late: Late, new_id: NewId, reply_to: str, has_own_socket: bool = True
) -> list[Directive]:
    """Return the Ack of a Hook, then the appends with what did not fit into it.

    ``None`` is an empty ack; for an inbound ``session:new`` it is ``HOLD``, as is a list without verbs, for a
    ``session:redirect`` an ack without data. A leg that shares its parent's websocket has nothing but the ack: jambonz
    looks at no leg of a ``redirect`` and would do it to the parent (PROTOCOL.md 3.2).

    Raises:
        TypeError: If a verb holds a value that JSON cannot.
        MessageTooBig: If one verb alone is too big, or all together where nothing can be appended.
    """
    arrays, data = verb_arrays(verbs or ()), event.data
    if arrays[0] == b"[]" and is_inbound_start(event):
        arrays = verb_arrays(HOLD)
    can_redirect = (
        has_own_socket
        and event.kind not in _KINDS_NEVER_REDIRECTED
        and _IN_A_QUEUE not in data
        and _ON_HOLD not in data
    )
    if len(arrays) > 1 and not can_redirect:
        raise MessageTooBig(f"answer to {shown_hook(event.hook) or event.kind}", sum(map(len, arrays)), MAX_VERBS_BYTES)
    may_redirect = can_redirect and late == "redirect" and arrays[0] != b"[]"
    first = b"" if verbs is None and event.kind in _KINDS_WITHOUT_EMPTY_ANSWER else arrays[0]
    directives: list[Directive] = [Ack(new_id(), event.epoch, event.msgid, first, may_redirect)]
    for array in arrays[1:]:
        frame = redirect_frame(array, call_sid=event.call_sid, queue=True)
        directives.append(Command(new_id(), frame, reply_to))
    return directives


def bare_ack(event: Event, verbs: Verbs, new_id: NewId) -> Ack:
    """Return the Ack of a Hook that no handler answered."""
    data = b"" if not verbs and event.kind in _KINDS_WITHOUT_EMPTY_ANSWER else dump(verbs, "verbs")
    return Ack(new_id(), event.epoch, event.msgid, data, may_redirect=False)


@dataclass(init=False, slots=True)
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
        on_full: Told how many batches wait if they are too many to take the directives; the rest is saved. ``None``:
            they are taken in any case.
    """

    series: int
    n: int
    directives: Sequence[Directive]
    facts: bytes
    status: str
    state: StateChanges
    on_full: Callable[[int], None] | None

    def __init__(  # noqa: PLR0913, PLR0917 as its fields
        self,
        series: int,
        n: int,
        directives: Sequence[Directive] = (),
        facts: bytes = b"",
        status: str = "",
        state: StateChanges | None = None,
        on_full: Callable[[int], None] | None = None,
    ) -> None:
        self.series = series
        self.n = n
        self.directives = directives
        self.facts = facts
        self.status = status
        self.state = state or []
        self.on_full = on_full
