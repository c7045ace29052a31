"""Limits and times of a Session. Pure."""

from dataclasses import dataclass
from typing import Final

from jambonz_shared import kinds

NEVER: Final = float("inf")
"""A time that does not come, so that times can be compared without asking first whether there is one."""


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """Limits and times of a Session, in seconds and bytes.

    Attributes:
        max_held_bytes: Events of one Connection that wait for an owner; as much of Hooks that wait for an answer.
        ack_deadline_s: Time after which a hook is answered by the fallback; jambonz gives up at 5 s (2.3).
        gate_s: Commands wait so long behind the ack of an inbound ``session:new`` unless jambonz shows that it has
            read it: they would be lost (PROTOCOL.md 2.4, pitfall 11). Four times what PROTOCOL.md 12 asks for, because
            a busy feature server reads an ack late, and a lost command is not reported; nearly every call answers the
            ping behind the ack, and speaks, within milliseconds.
        reconnect_wait_s: How long ``session:reconnect`` may wait for Redis before it is acked blindly. Should this
            process die meanwhile jambonz hangs up (PROTOCOL.md 2.6.2); a blind ack costs a bounce at most.
        bounce_s: After an inherited ``session:new`` was acked, so long until the socket is closed
            to make jambonz release its queue (PROTOCOL.md 2.6.3).
        reap_s: A socket is closed so long after its call's final status (PROTOCOL.md 1.4, pitfall 31).
        identify_s: A Connection must have named its call by then.
        anonymous_s: The same for one that has begun with an anonymous ``session:reconnect``: a ringing callee or a
            quiet redirect socket says nothing for long, and each close costs one of four reconnects (pitfall 33).
    """

    max_held_bytes: int = 1 << 20
    ack_deadline_s: float = kinds.ACK_DEADLINE_S
    gate_s: float = 1.0
    reconnect_wait_s: float = 0.25
    bounce_s: float = 0.25
    reap_s: float = 5.0
    identify_s: float = 10.0
    anonymous_s: float = 3600.0
