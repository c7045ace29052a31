"""Commits on their way to Redis, and what their answers mean for the call."""

import asyncio
import logging
from functools import partial
from typing import Any, Final, Protocol, assert_never

from jambonz_shared.directive import encode_batch
from jambonz_shared.errors import CallGone, CallLost
from jambonz_shared.redis import script
from jambonz_shared.redis.scripts import (
    NO_CHANGES,
    Changes,
    Committed,
    Duplicate,
    Fenced,
    Gone,
    commit_args,
    commit_reply,
)
from jambonz_workers.effects import Commit
from jambonz_workers.handling import OnCommitted
from jambonz_workers.live import LiveCall
from jambonz_workers.outbox import Outbox
from jambonz_workers.tally import Tally

log = logging.getLogger(__name__)


class Owner(Protocol):
    """Whose calls these are: the office."""

    def give_up(self, call_sid: str) -> None:
        """Let go of a call for another worker to take."""

    def lose(self, live: LiveCall, owner: str) -> None:
        """Let go of a call that another worker owns."""

    def over(self, live: LiveCall) -> None:
        """Let go of a call that has ended."""


class Committer:
    """Saves commits; those of one call in the order of ``commit``, over any number of lost connections."""

    def __init__(self, outbox: Outbox, tally: Tally, owner: Owner) -> None:
        self._outbox: Final = outbox
        self._tally: Final = tally
        self._owner: Final = owner
        self._loop: Final = asyncio.get_running_loop()

    def commit(self, live: LiveCall, commit: Commit, on_committed: OnCommitted) -> None:
        """Save a commit of a call this worker owns, as far as it knows."""
        batch = encode_batch(commit.directives) if commit.directives else b""
        has_changes = commit.state or commit.facts or commit.status
        changes = Changes(commit.facts, commit.status, dict(commit.state)) if has_changes else NO_CHANGES
        previous = live.sent.get(commit.series, 0)
        live.sent[commit.series] = max(previous, commit.n)
        event = (commit.series, commit.n)
        renews = live.renews(self._loop.time())
        keys, args = commit_args(live.ownership, event, batch, changes, previous=previous, renews=renews)
        self._outbox.script(partial(self._answered, live, event, on_committed), script.COMMIT, keys, args)

    def _answered(self, live: LiveCall, event: tuple[int, int], on_committed: OnCommitted, reply: Any) -> None:
        call_sid = live.call.sid
        if isinstance(reply, Exception):
            log.error("commit refused by redis", exc_info=reply, extra={"call_sid": call_sid})
            self._tally.commits["failed"] += 1
            # What was sent behind it waits for it in vain: another worker goes on from what is committed.
            self._owner.give_up(call_sid)
            on_committed(CallLost(call_sid, ""))
            return
        match commit_reply(reply):
            case Committed():
                self._tally.commits["ok"] += 1
                live.confirm(*event)
                on_committed(None)
            case Duplicate():
                self._tally.commits["duplicate"] += 1
                live.confirm(*event)
                on_committed(None)
            case Fenced(owner):
                self._tally.commits["fenced"] += 1
                self._owner.lose(live, owner)
                on_committed(live.call.over or CallLost(call_sid, owner))
            case Gone():
                self._tally.commits["gone"] += 1
                self._owner.over(live)
                on_committed(CallGone(call_sid))
            case other:
                assert_never(other)
