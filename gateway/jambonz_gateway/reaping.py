"""When a Connection is closed because jambonz will not say any more on it. Pure."""

from typing import Final

from jambonz_gateway.policy import NEVER, SessionPolicy
from jambonz_shared import kinds
from jambonz_shared.wire import Head

GOING_AWAY: Final = 1001

# jambonz's own codes for the end of a call (PROTOCOL.md 1.3): 1000 normal, 1001 the first answer was unusable.
_CODES_OF_THE_END: Final = frozenset({1000, GOING_AWAY})

# What the sockets of an application URL begin with (ws-requestor.js; PROTOCOL.md 1.4). An outbound call's first one
# begins with a status, but then session:new has not been acked (2.10).
_BEGINNINGS: Final = frozenset({kinds.SESSION_NEW.name, kinds.SESSION_RECONNECT.name})


class Reaping:
    """Decides when the socket of one Connection has no call behind it any more; jambonz leaves such sockets open.

    Attributes:
        at_s: When it is to be closed, once no hook is owed; ``NEVER`` while its call may live on.
        reason: Why, for the close frame.
    """

    __slots__ = ("_is_status_elsewhere", "_policy", "_unlike_a_beginning_at_s", "at_s", "reason")

    def __init__(self, policy: SessionPolicy, now_s: float) -> None:
        self._policy: Final = policy
        self._unlike_a_beginning_at_s = NEVER
        self.at_s = now_s + policy.identify_s
        self.reason = "no message has named a call"
        # It is the socket of a redirect verb, so the final status comes on the call's first one (PROTOCOL.md 2.5). Was
        # that lost, jambonz opens it for the status, and has closed this one by then.
        self._is_status_elsewhere = False

    def anonymous(self, now_s: float) -> None:
        """Wait longer: the Connection has begun with a ``session:reconnect`` that names no call (PROTOCOL.md 2.6.1)."""
        self.at_s = now_s + self._policy.anonymous_s
        self._is_status_elsewhere = True

    def named(self, head: Head, now_s: float) -> None:
        """Let the socket live: its first message has named a call."""
        self.at_s = NEVER
        if head.top_call_sid or head.kind == kinds.CALL_STATUS.name:
            self._is_status_elsewhere = False
        elif head.kind == kinds.SESSION_REDIRECT.name:
            self._is_status_elsewhere = True
        if head.top_call_sid and head.kind not in _BEGINNINGS:
            self._unlike_a_beginning_at_s = now_s

    def attached(self, *, was_acked: bool) -> None:
        """Reap the socket if the call it names was answered before, on another socket, and it does not reconnect.

        It was opened for one message, and the call ended while it opened: jambonz sends that message without the
        ``session:reconnect``, discards all others, the final status too, and never closes it (PROTOCOL.md 1.4,
        pitfall 31).
        """
        said_at_s, self._unlike_a_beginning_at_s = self._unlike_a_beginning_at_s, NEVER
        if was_acked and said_at_s != NEVER:
            self._reap(said_at_s, "the call ended while this socket opened")

    def over(self, now_s: float) -> None:
        """Reap the socket, because the call has had its final status (pitfall 31)."""
        self._reap(now_s, "the call is over")

    def is_due(self, now_s: float, next_deadline_s: float) -> bool:
        """Tell whether to close the socket now; not before the last hook has its ack (P1)."""
        if now_s < self.at_s:
            return False
        self.at_s = next_deadline_s
        return self.at_s == NEVER

    def is_end(self, code: int, *, by_us: bool, is_replaced: bool) -> bool:
        """Tell whether a close of the socket is the end of its call.

        jambonz reconnects after a 1001 of ours, but its own 1001 is the end of the call (PROTOCOL.md 1.3).
        """
        is_ours = by_us and (code == GOING_AWAY or is_replaced)
        return code in _CODES_OF_THE_END and not is_ours and not self._is_status_elsewhere

    def _reap(self, since_s: float, reason: str) -> None:
        self.at_s = since_s + self._policy.reap_s
        self.reason = reason
