"""What a worker does for its calls when Redis has lost them, when others took them, or when their sockets are gone."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from jambonz_shared.redis import script
from jambonz_shared.redis.errors import ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import Fenced, Memory, Restored, restore_args, restore_reply
from jambonz_workers.facts import encode_facts
from jambonz_workers.live import LiveCall
from jambonz_workers.presence import OWNED_TTL_MS

log = logging.getLogger(__name__)


# Gateways attach their calls again as soon as their own link is up, which takes a second at most (redis.wire).
_REFILL_S: Final = 3.0
# An adoption is over by then (adoption.py); what it took from us behind our first look is seen by the second.
_LOOK_AGAIN_S: Final = 5.0
_PAGE: Final = 500
# Redis refuses writes for a while when it is out of memory.
_RETRY_S: Final = 0.2
# What Redis has lost is there again two round trips after that is noticed.
_MISSED_S: Final = 1.0


class Owner(Protocol):
    """Whose calls these are: the office."""

    live: dict[str, LiveCall]

    def lose(self, live: LiveCall, owner: str) -> None:
        """Let go of a call that another worker owns."""

    def end(self, live: LiveCall) -> None:
        """Run the end of a call as if its gateway had told it."""


class Recovery:
    """Restores, drops and ends calls in the rare cases; see architecture.md section 8.

    Attributes:
        on_missed: Called when Redis does not have a call that it should have; ``restore`` follows if it has lost all.
    """

    def __init__(self, link: Link, owner: Owner, *, owned_key: str, grace_s: float) -> None:
        """``owned_key`` is the set in which adopters find the calls of this process."""
        self._link: Final = link
        self._owner: Final = owner
        self._owned_key: Final = owned_key
        self._grace_s: Final = grace_s
        self._loop: Final = asyncio.get_running_loop()
        self._restored_at_s = float("-inf")
        self.on_missed: Callable[[], None] = _nothing

    @property
    def may_come_back(self) -> bool:
        """True for a while after Redis was away: a call it does not know may still be attached again."""
        return self._loop.time() - self._restored_at_s < _REFILL_S

    def restore(self) -> None:
        """Write down what is known of every call; call it before anything else is sent on a new connection.

        Only what is committed for certain: a commit whose fate is unknown is repeated behind this one, and must
        not find its number taken.
        """
        self._restored_at_s = self._loop.time()
        self._own(list(self._owner.live))
        for live in list(self._owner.live.values()):
            self._refill(live)

    def misses(self, live: LiveCall) -> bool:
        """Tell whether Redis may have lost a call together with all else (FLUSHALL), and find that out.

        If so, the call is there again in a moment; if it is not within a second it is over.
        """
        if self._owner.live.get(live.call.sid) is not live or live.is_detached or live.has_ended:
            return False
        now_s = self._loop.time()
        if not live.missed_at_s:
            live.missed_at_s = now_s
            self.on_missed()
        return now_s - live.missed_at_s < _MISSED_S

    def _refill(self, live: LiveCall) -> None:
        live.missed_at_s = 0.0
        call = live.call
        facts = encode_facts(call.facts) if call.facts else b""
        memory = Memory(call.app, facts, call.status, dict(live.committed), call.state.stored)
        arguments = restore_args(live.ownership, memory, round(self._grace_s * 1000))
        self._link.script(partial(self._restored, live), script.RESTORE, *arguments)

    def _refill_again(self, live: LiveCall) -> None:
        if self._owner.live.get(live.call.sid) is live:
            self._own([live.call.sid])
            self._refill(live)

    def taken_for_dead(self) -> None:
        """Drop the calls that others have now; look once more when the adoption is over for certain."""
        log.error("this worker was taken for dead; others have its calls", extra={"calls": len(self._owner.live)})
        self._look_again()
        self._loop.call_later(_LOOK_AGAIN_S, self._look_again)

    def _look_again(self, call_sid: str = "") -> None:
        for live in [self._owner.live.get(call_sid)] if call_sid else list(self._owner.live.values()):
            if live:
                self._look_whose(live)

    def look_after(self, call_sid: str, wait_s: float) -> None:
        """Let go of a call if it is not ours any more ``wait_s`` from now."""
        # A handler in a thread may say so.
        self._loop.call_soon_threadsafe(self._loop.call_later, wait_s, self._look_again, call_sid)

    def _look_whose(self, live: LiveCall) -> None:
        if self._owner.live.get(live.call.sid) is live:
            self._link.send(partial(self._looked, live), b"HMGET", live.ownership.call.call, b"owner", b"fence")

    def _looked(self, live: LiveCall, reply: Any) -> None:
        if isinstance(reply, Exception) or self._owner.live.get(live.call.sid) is not live:
            # The next connection begins with ``restore``, which tells the same.
            return
        mine = [live.ownership.worker_id.encode(), str(live.ownership.fence).encode()]
        if reply != mine:
            owner = (reply[0] or b"").decode()
            self._owner.lose(live, "" if owner == live.ownership.worker_id else owner)
        else:
            # Claimed since; who adopted us may have struck it out with the others. A gateway that found no inbox has
            # given an event to dispatch, and holds the rest until it hears of an owner.
            self._own([live.call.sid])
            self._refill(live)

    def _own(self, sids: list[str]) -> None:
        """Write down whose calls these are, because Redis may have lost it: nobody adopts a call that is not there."""
        for start in range(0, len(sids), _PAGE):
            self._link.send(_ignore, b"SADD", self._owned_key, *sids[start : start + _PAGE])
            self._link.send(_ignore, b"PEXPIRE", self._owned_key, OWNED_TTL_MS)

    def without_sockets(self, live: LiveCall) -> None:
        """End a call if no Connection has come back after the grace time."""
        live.is_detached = True
        self._look(live, partial(self._wait, live))

    def _wait(self, live: LiveCall, reply: Any) -> None:
        if isinstance(reply, Exception):
            # Redis is away: the gateways attach again when it is back, so wait without knowing.
            self._look_later(live, b"")
        elif int(reply[0] or 0) <= 0:
            self._look_later(live, reply[1])
        else:
            live.is_detached = False

    def _look_later(self, live: LiveCall, epoch: bytes | None) -> None:
        self._loop.call_later(self._grace_s, self._look, live, partial(self._end_if_still, live, epoch))

    def _look(self, live: LiveCall, then: Callable[[Any], None]) -> None:
        if self._owner.live.get(live.call.sid) is live:
            self._link.send(then, b"HMGET", live.ownership.call.call, b"live", b"epoch")

    def _end_if_still(self, live: LiveCall, epoch: bytes | None, reply: Any) -> None:
        if isinstance(reply, Exception):
            self.without_sockets(live)
        elif int(reply[0] or 0) > 0:
            live.is_detached = False
        elif reply[1] and reply[1] != epoch:
            # There was a Connection meanwhile: its loss has a grace time of its own.
            self._look_later(live, reply[1])
        else:
            log.info("call ended: jambonz has not reconnected", extra={"call_sid": live.call.sid})
            self._owner.end(live)

    def _restored(self, live: LiveCall, reply: Any) -> None:
        if isinstance(reply, ResponseError):
            self._loop.call_later(_RETRY_S, self._refill_again, live)
            return
        if isinstance(reply, Exception):
            # With the next connection it is tried again.
            return
        match restore_reply(reply):
            case Fenced(owner):
                self._owner.lose(live, owner)
            case Restored(0):
                self.without_sockets(live)
            case Restored():
                pass


def _ignore(_: object) -> None:
    """With the next connection it is written down again."""


def _nothing() -> None:
    """Nobody wants to know."""
