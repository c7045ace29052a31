"""Calls that Redis believes to be held here, and that are not: it came back without its last second."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from jambonz_gateway.downlink import Identity
from jambonz_shared import kinds
from jambonz_shared.envelope import Envelope
from jambonz_shared.redis import script
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import Abandoned, CallKeys, abandon_args, abandon_reply
from jambonz_shared.redis.wire import Reply


class Leftovers:
    """Lets go of calls that have left already. ``look`` whenever the link has come up.

    An append-only file that is written once a second loses what came last: detaching, the news that the call is over.
    Without this such a call would stay in Redis, and with its owner, for hours.
    """

    def __init__(self, link: Link, identity: Identity, is_followed: Callable[[str], bool]) -> None:
        """``is_followed`` tells whether a call has a Connection here."""
        self._link: Final = link
        self._identity: Final = identity
        self._is_followed: Final = is_followed
        self._held: Final = identity.keys.held(identity.gateway_id)

    def look(self) -> None:
        """Ask Redis, and let go of what is not followed when the answer comes."""
        self._link.send(self._found, b"SMEMBERS", self._held)

    def _found(self, reply: Reply) -> None:
        if not isinstance(reply, list):
            return
        for call_sid in (member.decode() for member in reply):
            if not self._is_followed(call_sid):
                self._let_go(call_sid)

    def _let_go(self, call_sid: str) -> None:
        identity = self._identity
        keys_and_args = abandon_args(CallKeys.of(identity.keys, call_sid), identity.gateway_id, identity.call_grace_ms)
        self._link.script(partial(self._abandoned, call_sid), script.ABANDON, *keys_and_args)
        self._link.send(_ignore, b"SREM", self._held, call_sid)

    def _abandoned(self, call_sid: str, reply: Reply) -> None:
        if isinstance(reply, Exception):
            # The link is down again, and will come up again.
            return
        left = abandon_reply(reply)
        if isinstance(left, Abandoned) and left.owner and not left.left:
            now_ms = time.time_ns() // 1_000_000
            notice = Envelope(call_sid, 0, 0, kinds.DETACHED, "", now_ms, "", is_acked=True, body=b"{}")
            inbox = self._identity.keys.inbox(left.owner)
            self._link.send(_ignore, b"XADD", inbox, b"NOMKSTREAM", b"*", b"e", notice.encode())


def _ignore(reply: Reply) -> None:
    """The owner's inbox may be gone; who adopts it looks after its calls."""
