"""Every message kind jambonz sends: which are owed an ack, and what to say when nobody answers. Pure."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

# jambonz abandons a hook after 5 s (JAMBONES_WS_API_MSG_RESPONSE_TIMEOUT, PROTOCOL.md 2.3).
# We answer 1 s earlier, so that a Redis fail-over's worth of delay on our side still fits.
ACK_DEADLINE_S: Final = 4.0

# Kinds of our own travel in the same streams; a Session takes none of them for a message of jambonz.
CLUSTER_PREFIX: Final = "cluster:"
ENDED: Final = "cluster:ended"
TAKEOVER: Final = "cluster:takeover"
DETACHED: Final = "cluster:detached"
TRANSFERRED: Final = "cluster:transferred"
TIMER: Final = "cluster:timer"
"""Made by the worker that owns the call; in no stream, unless that worker has let go of the call meanwhile."""

# Own-leg statuses after which a call is over (PROTOCOL.md 2.10).
FINAL_STATUSES: Final = frozenset({"completed", "failed", "busy", "no-answer"})


class Fallback(Enum):
    """What the gateway acks by itself at the deadline (PROTOCOL.md section 12)."""

    NONE = "none"
    """Not a hook: nothing is owed."""
    AT_ONCE = "at_once"
    """Acked the moment it arrives, with an empty list: content is ignored (PROTOCOL.md 2.6.2, 2.7)."""
    START = "start"
    """An inbound call needs a non-empty application (PROTOCOL.md 2.4): the app's fallback verbs."""
    NO_DATA = "no_data"
    """Ack without data: 'no instructions', the call goes on (PROTOCOL.md 2.3)."""
    DECLINE = "decline"
    """A callee nobody could screen is hung up, as jambonz itself does on a time-out (PROTOCOL.md 2.9)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One message type of PROTOCOL.md section 2.2.

    Attributes:
        name: jambonz's own ``type`` string.
        fallback: What is acked when no worker has answered in time; ``NONE`` for a Notice.
    """

    name: str
    fallback: Fallback = Fallback.NONE

    @property
    def is_hook(self) -> bool:
        """True when jambonz waits for an ack."""
        return self.fallback is not Fallback.NONE


SESSION_NEW: Final = Kind("session:new", Fallback.START)
SESSION_RECONNECT: Final = Kind("session:reconnect", Fallback.AT_ONCE)
# Not ``[]``: asked for by ``call_hook`` while the call waits for commands, jambonz would run an application without
# verbs, which ends the call (call-session.js, _lccCallHook and exec). Without data the call goes on.
SESSION_REDIRECT: Final = Kind("session:redirect", Fallback.NO_DATA)
SESSION_ADULTING: Final = Kind("session:adulting", Fallback.AT_ONCE)
VERB_HOOK: Final = Kind("verb:hook", Fallback.NO_DATA)
DIAL_CONFIRM: Final = Kind("dial:confirm", Fallback.DECLINE)
CALL_STATUS: Final = Kind("call:status")

KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        SESSION_NEW,
        SESSION_RECONNECT,
        SESSION_REDIRECT,
        SESSION_ADULTING,
        VERB_HOOK,
        DIAL_CONFIRM,
        CALL_STATUS,
        Kind("verb:status"),
        Kind("jambonz:error"),
        Kind("llm:event"),
        Kind("llm:tool-call"),
        Kind("tts:tokens-result"),
        Kind("tts:streaming-event"),
        # Only the commercial line has these (PROTOCOL.md 2.12).
        Kind("agent:event"),
        Kind("agent:tool-call"),
    )
}
"""All kinds by name. ``queue:status`` is missing on purpose: it never comes over a websocket (PROTOCOL.md 2.2)."""

HOOKS: Final = frozenset(kind.name for kind in KINDS.values() if kind.is_hook)
"""Names of the kinds jambonz waits for."""


def is_ours(name: str) -> bool:
    """Tell whether a kind is one of the cluster's own, which jambonz can never send."""
    return name.startswith(CLUSTER_PREFIX)


def kind_of(name: str) -> Kind:
    """Return the Kind called ``name``; an unknown one is a Notice (PROTOCOL.md 2.12), never an error."""
    return KINDS.get(name) or Kind(name)
