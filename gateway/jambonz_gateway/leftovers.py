"""Connections that Redis believes to be held here, and that are not: it came back without its last second."""

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from jambonz_gateway.downlink import Identity
from jambonz_shared import kinds
from jambonz_shared.envelope import notice
from jambonz_shared.redis import script
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import Abandoned, CallKeys, abandon_args, abandon_reply
from jambonz_shared.redis.wire import Reply


class Leftovers:
    """Lets go of Connections that have left already. ``look`` whenever the link has come up.

    An append-only file that is written once a second loses what came last: detaching, the news that the call is over,
    a reconnect to this same gateway. Without this such a call would stay in Redis, and with its owner, for hours.
    """

    def __init__(self, link: Link, identity: Identity, epochs_here: Callable[[str], Collection[int]]) -> None:
        """``epochs_here`` tells the epochs of a call's Connections here; 0 for one that is being attached."""
        self._link: Final = link
        self._identity: Final = identity
        self._epochs_here: Final = epochs_here
        self._held: Final = identity.keys.held(identity.gateway_id)

    def look(self) -> None:
        """Ask Redis, and let go of what is not here when the answer comes."""
        self._link.send(self._found, b"SMEMBERS", self._held)

    def _found(self, reply: Reply) -> None:
        if not isinstance(reply, list):
            return
        for call_sid in (member.decode() for member in reply):
            epochs = self._epochs_here(call_sid)
            # One that is being attached has an epoch that nobody here knows yet.
            if 0 not in epochs:
                self._let_go(call_sid, epochs)

    def _let_go(self, call_sid: str, staying: Collection[int]) -> None:
        identity = self._identity
        keys_and_args = abandon_args(
            CallKeys.of(identity.keys, call_sid), identity.gateway_id, identity.call_grace_ms, staying
        )
        self._link.script(partial(self._abandoned, call_sid), script.ABANDON, *keys_and_args)
        if not staying:
            self._link.send(_ignore, b"SREM", self._held, call_sid)

    def _abandoned(self, call_sid: str, reply: Reply) -> None:
        if isinstance(reply, Exception):
            # The link is down again, and will come up again.
            return
        left = abandon_reply(reply)
        if isinstance(left, Abandoned) and left.owner and not left.left:
            now_ms = time.time_ns() // 1_000_000
            detached = notice(call_sid, kinds.DETACHED, now_ms)
            inbox = self._identity.keys.inbox(left.owner)
            self._link.send(_ignore, b"XADD", inbox, b"NOMKSTREAM", b"*", b"e", detached.encode())


def _ignore(reply: Reply) -> None:
    """The owner's inbox may be gone; who adopts it looks after its calls."""
