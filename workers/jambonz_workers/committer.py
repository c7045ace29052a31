"""Commits on their way to Redis, and what their answers mean for the call."""

import asyncio
import logging
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
    Full,
    Gone,
    behind,
    bounded,
    commit_args,
    commit_reply,
)
from jambonz_workers.effects import Commit
from jambonz_workers.handling import OnCommitted
from jambonz_workers.live import LiveCall
from jambonz_workers.outbox import AGAIN, Outbox
from jambonz_workers.tally import Tally

log = logging.getLogger(__name__)


class Owner(Protocol):
    """Whose calls these are: the office."""

    def give_up(self, call_sid: str) -> None:
        """Let go of a call for another worker to take."""

    def lose(self, live: LiveCall, owner: str) -> None:
        """Let go of a call that another worker owns."""

    def misses(self, live: LiveCall) -> bool:
        """Tell whether Redis may have lost a call by mistake, so that it is there again in a moment."""

    def vanished(self, live: LiveCall) -> None:
        """Let go of a call that Redis does not have any more."""


class _Sent:
    """A commit under way; it is the callback of its reply, so that it costs one object."""

    __slots__ = ("committer", "live", "n", "on_committed", "on_full", "series")

    def __init__(self, committer: "Committer", live: LiveCall, commit: Commit, on_committed: OnCommitted) -> None:
        self.committer = committer
        self.live = live
        self.series = commit.series
        self.n = commit.n
        self.on_committed = on_committed
        self.on_full = commit.on_full

    def __call__(self, reply: Any) -> object:
        """Take the reply."""
        return self.committer.answered(self, reply)


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
        renews = live.renews(self._loop.time())
        keys, args = commit_args(
            live.ownership, (commit.series, commit.n), batch, changes, previous=previous, renews=renews
        )
        if commit.on_full is not None:
            keys, args = bounded((keys, args))
        newest = live.newest_series
        if newest != commit.series:
            live.newest_series = commit.series
            if (n := live.sent.get(newest, 0)) > live.committed.get(newest, 0):
                keys, args = behind((keys, args), (newest, n))
        self._outbox.script(_Sent(self, live, commit, on_committed), script.COMMIT, keys, args)

    def answered(self, sent: _Sent, reply: Any) -> object:
        """Take what Redis says to a commit; ``AGAIN`` repeats it."""
        live, on_committed = sent.live, sent.on_committed
        if isinstance(reply, Exception):
            why = getattr(reply, "code", type(reply).__name__)
            log.error("commit refused by redis", extra={"call_sid": live.call.sid, "why": why})
            self._tally.commit("failed")
            # What was sent behind it waits for it in vain: another worker goes on from what is committed.
            self._owner.give_up(live.call.sid)
            on_committed(CallLost(live.call.sid, ""))
            return None
        match commit_reply(reply):
            case Committed():
                self._tally.commit("ok")
                live.confirm(sent.series, sent.n)
                on_committed(None)
            case Duplicate():
                self._tally.commit("duplicate")
                live.confirm(sent.series, sent.n)
                on_committed(None)
            case Full(waiting):
                self._tally.commit("full")
                live.confirm(sent.series, sent.n)
                self._tell_full(sent, waiting)
                on_committed(None)
            case Fenced(owner):
                self._tally.commit("fenced")
                self._owner.lose(live, owner)
                on_committed(live.call.over or CallLost(live.call.sid, owner))
            case Gone() if self._owner.misses(live):
                return AGAIN
            case Gone():
                self._tally.commit("gone")
                self._owner.vanished(live)
                on_committed(CallGone(live.call.sid))
            case other:
                assert_never(other)
        return None

    def _tell_full(self, sent: _Sent, waiting: int) -> None:
        """Tell the sender, who may not listen; should the link be lost with this reply, it hears that all was taken."""
        assert sent.on_full is not None, "the others are not bounded"
        sent.on_full(waiting)
        if not sent.live.was_full:
            sent.live.was_full = True
            extra = {"call_sid": sent.live.call.sid, "waiting": waiting}
            log.warning("commands are refused: too many wait for the call's websocket", extra=extra)
