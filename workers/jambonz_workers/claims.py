"""Whose calls are, as Redis has it: claimed by this worker, disowned, orphaned, ended."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from jambonz_shared.envelope import notice
from jambonz_shared.kinds import TAKEOVER
from jambonz_shared.redis import script
from jambonz_shared.redis.scripts import (
    CallKeys,
    Claimed,
    Ended,
    Fenced,
    Gone,
    OtherApp,
    OwnedBy,
    Ownership,
    StillLive,
    claim_args,
    claim_reply,
    end_args,
    end_reply,
    orphan_args,
)
from jambonz_workers.outbox import Outbox
from jambonz_workers.presence import OWNED_TTL_MS
from jambonz_workers.recovery import Recovery
from jambonz_workers.terms import Terms

# After Redis was away its gateways may need so long to tell it of a call.
_CLAIM_AGAIN_S: Final = 0.2

ClaimAnswer = Claimed | OwnedBy | OtherApp | Gone

# Values of the label ``result`` of jambonz_worker_claims.
_RESULTS: Final[dict[type[ClaimAnswer], str]] = {Claimed: "ok", OwnedBy: "owned", OtherApp: "app", Gone: "gone"}


class Claims:
    """Asks Redis for calls and tells it which ones are let go; what follows for them is the business of its caller."""

    def __init__(
        self, terms: Terms, outbox: Outbox, recovery: Recovery, on_answer: Callable[[str, ClaimAnswer], None]
    ) -> None:
        """``on_answer`` gets the answer to each ``claim``."""
        self._terms: Final = terms
        self._outbox: Final = outbox
        self._recovery: Final = recovery
        self._on_answer: Final = on_answer
        self._owned_key: Final = terms.keys.owned(terms.process_id)
        self._loop: Final = asyncio.get_running_loop()

    def claim(self, call_sid: str, *, is_first: bool) -> None:
        """Ask for a call; ``is_first`` if this worker has none, as far as it knows."""
        # First the set, then the claim, in one flush: whoever adopts our calls must find this one.
        self._outbox.send(_ignore, b"SADD", self._owned_key, call_sid)
        if is_first:
            # The first call makes the set; from then on heartbeats renew it.
            self._outbox.send(_ignore, b"PEXPIRE", self._owned_key, OWNED_TTL_MS)
        names, is_young = CallKeys.of(self._terms.keys, call_sid), self._outbox.link.is_young
        keys, args = claim_args(names, self._terms.process_id, self._terms.app, is_young=is_young)
        self._outbox.script(partial(self._answered, call_sid), script.CLAIM, keys, args)

    def _answered(self, call_sid: str, reply: Any) -> None:
        answer = Gone() if isinstance(reply, Exception) else claim_reply(reply)
        if isinstance(answer, Gone) and self._recovery.may_come_back:
            # The other calls, and with them the set, may have ended meanwhile.
            self._loop.call_later(_CLAIM_AGAIN_S, partial(self.claim, call_sid, is_first=True))
            return
        self._terms.metrics.claims.labels(_RESULTS[type(answer)]).inc()
        if not isinstance(answer, Claimed):
            self.disown(call_sid)
        self._on_answer(call_sid, answer)

    def disown(self, call_sid: str) -> None:
        """Strike a call that is not ours from what adopters find."""
        self._outbox.send(_ignore, b"SREM", self._owned_key, call_sid)

    def orphan(self, call_sid: str, is_ours: Callable[[str], bool]) -> None:
        """Let nobody own a call of ours, and have it claimed by whoever has room, who may be this worker.

        ``is_ours`` is asked when nobody owns it any more. Only then it is disowned: a Redis without memory refuses the
        script, and would take the removal from what adopters find.
        """
        call, orphaned = CallKeys.of(self._terms.keys, call_sid), partial(self._orphaned, call_sid, is_ours)
        self._outbox.script(orphaned, script.ORPHAN, *orphan_args(call, self._terms.process_id))
        # Somebody owns it again at once, so that background work goes on and commands find their handler.
        takeover = notice(call_sid, TAKEOVER, 0)
        dispatch = self._terms.keys.dispatch(self._terms.app)
        self._outbox.send(_ignore, b"XADD", dispatch, b"*", b"e", takeover.encode())

    def _orphaned(self, call_sid: str, is_ours: Callable[[str], bool], _: object) -> None:
        if not is_ours(call_sid):
            self.disown(call_sid)

    async def has_sockets(self, ownership: Ownership) -> bool:
        """Tell whether a call has a Connection, however long Redis is away."""
        reply = await self._outbox.call(b"HGET", ownership.call.call, b"live")
        return isinstance(reply, bytes) and int(reply) > 0

    async def end(self, ownership: Ownership) -> Ended | StillLive | Fenced | Gone:
        """Remove a call from Redis, however long that is away; cancelled, it may be removed or not."""
        reply = await self._outbox.script_call(script.END, *end_args(ownership))
        return Gone() if isinstance(reply, Exception) else end_reply(reply)


def _ignore(_: object) -> None:
    """The reply tells nothing that matters."""
