"""Takes over what a dead process leaves behind: a worker's calls and events, a gateway's connections.

One worker adopts; every step may be repeated, so if it dies itself another one begins again (architecture.md
section 8). A process that was only slow loses its calls, and nothing else: what it takes up meanwhile stays its own,
and it is adopted again should it die after all.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jambonz_shared import kinds
from jambonz_shared.envelope import ENTRY_BYTES, ENTRY_EVENTS, Envelope, notice
from jambonz_shared.keys import GROUP, Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.errors import ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import (
    Abandoned,
    CallKeys,
    Orphaned,
    abandon_args,
    abandon_reply,
    bury_args,
    bury_reply,
    orphan_args,
    orphan_reply,
    retire_args,
)
from jambonz_shared.redis.wire import Reply
from jambonz_workers.estate import PART_BYTES, Part, left_behind, pending_of
from jambonz_workers.redelivery import Place, Redelivery, redelivery, undone

log = logging.getLogger(__name__)

# An adopter that dies leaves the rest to another one after this time, soon enough for those who wait for what is in it
# (mailbox.FIRST_GAP_S). Adopting 1,000 calls takes 0.2 s (measured); two at a time do it twice, which numbers tell.
_LOCK_MS: Final = 2_000
# A second one that has seen the same death must not begin again at once.
_SETTLED_MS: Final = 1_000
# So long a worker that was stopped may sleep and still learn, when it wakes, that its calls are others' now.
_TOMBSTONE_MS: Final = 3_600_000
_QUARANTINE_LENGTH: Final = 1_000
# Entries read at one go; Redis handles each command alone, and others are waiting.
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was taken over: calls without an owner now, events sent to dispatch again, events put in quarantine.

    Attributes:
        is_first: Nobody has adopted this process before; it is adopted again until it has been silent for a lease.
    """

    calls: int
    events: int
    quarantined: int = 0
    is_first: bool = True


@dataclass(frozen=True, slots=True)
class _Estate:
    """What a worker had when its inbox was taken away."""

    dispatch: str
    reader: bytes | None
    owned: list[str]
    begun: frozenset[str]
    is_first: bool


class Adopter:
    """Adopts dead processes. Its methods wait for Redis and may be cancelled between steps."""

    def __init__(
        self, link: Link, keys: Keys, me: str, *, grace_ms: int, lease_ms: int, now_ms: Callable[[], int]
    ) -> None:
        self._link: Final = link
        self._keys: Final = keys
        self._me: Final = me
        self._grace_ms: Final = grace_ms
        self._lease_ms: Final = lease_ms
        self._now_ms: Final = now_ms

    async def adopt_worker(self, worker_id: str) -> Adopted | None:
        """Take the calls of a dead worker away from it and send what it had not done to dispatch.

        Return ``None`` if another worker is at it, or nothing is left to adopt. Commands that need no answer of each
        other go in one flush: hundreds of callers wait.

        Raises:
            LinkError, ResponseError: If Redis is away; try again later.
        """
        if not await self._lock(worker_id):
            return None
        estate = await self._take_inbox(worker_id)
        if estate is None:
            # It never said what it is, so it never had a call.
            await self._link.script_call(script.BURY, *bury_args(self._keys.workers, worker_id, self._lease_ms))
            return None
        # First of all, since what comes next to dispatch must not go to one that only hangs.
        self._end_its_reading(estate)
        orphans, pending = await asyncio.gather(
            self._orphan_calls(worker_id, estate.owned), pending_of(self._link, estate.dispatch, worker_id)
        )
        events = quarantined = 0
        places: set[Place] = set()
        async for part in left_behind(self._link, estate.dispatch, pending, self._keys.taken(worker_id)):
            waiting = undone(part.envelopes, await self._committed(part.envelopes))
            # Without take-overs after the first part: they are written.
            takeovers = orphans if part.is_first else ()
            again = redelivery(takeovers, waiting, estate.begun, self._now_ms(), places)
            await self._hand_on(estate.dispatch, again)
            await self._strike_out(worker_id, estate.dispatch, part)
            events += len(waiting)
            quarantined += len(again.quarantined)
        await self._forget_worker(worker_id, estate)
        return Adopted(len(orphans), events, quarantined, is_first=estate.is_first)

    async def adopt_gateway(self, gateway_id: str) -> Adopted | None:
        """Make the connections of a dead gateway leave their calls; jambonz reconnects them by itself.

        Return ``None`` if another worker is at it.

        Raises:
            LinkError, ResponseError: If Redis is away; try again later.
        """
        keys, call = self._keys, self._link.call
        if not await self._lock(gateway_id):
            return None
        sids = await self._members(keys.held(gateway_id))
        abandoned = 0
        for page in _pages(sids):
            scripts = [
                self._link.script_call(
                    script.ABANDON, *abandon_args(CallKeys.of(keys, sid), gateway_id, self._grace_ms)
                )
                for sid in page
            ]
            replies = zip(page, map(abandon_reply, await asyncio.gather(*scripts)), strict=True)
            found = [(sid, left) for sid, left in replies if isinstance(left, Abandoned)]
            abandoned += len(found)
            await asyncio.gather(*(self._tell_detached(sid, left) for sid, left in found if left.left == 0))
        if await self._is_buried(keys.gateways, gateway_id):
            await call(b"UNLINK", keys.held(gateway_id), keys.gateway(gateway_id))
        return Adopted(abandoned, 0)

    async def _lock(self, process_id: str) -> bool:
        return await self._link.call(b"SET", self._keys.adopting(process_id), self._me, b"NX", b"PX", _LOCK_MS) == b"OK"

    async def _take_inbox(self, worker_id: str) -> _Estate | None:
        """Take the inbox away, so that gateways write to dispatch; what an earlier adopter has taken comes first.

        Return ``None`` if the worker has never said what it is.
        """
        keys, call = self._keys, self._link.call
        about, before, _, owned, begun = await asyncio.gather(
            call(b"HMGET", keys.worker(worker_id), b"app", b"reader"),
            call(b"SET", keys.adopted(worker_id), self._me, b"PX", _TOMBSTONE_MS, b"GET"),
            self._renamed(keys.inbox(worker_id), keys.taken(worker_id)),
            self._members(keys.owned(worker_id)),
            self._members(keys.begun(worker_id)),
        )
        assert isinstance(about, list)
        app, reader = about
        if not isinstance(app, bytes):
            return None
        return _Estate(keys.dispatch(app.decode()), reader, owned, frozenset(begun), is_first=before is None)

    async def _renamed(self, inbox: str, taken: str) -> None:
        # Refused if there is none: it ran out, the worker had none yet, or another adopter has taken it.
        with contextlib.suppress(ResponseError):
            await self._link.call(b"RENAMENX", inbox, taken)
        self._link.send(_nothing, b"PEXPIRE", taken, _TOMBSTONE_MS)

    def _end_its_reading(self, estate: _Estate) -> None:
        if estate.reader:
            self._link.node_of(estate.dispatch).send(_nothing, b"CLIENT", b"KILL", b"ID", estate.reader)

    async def _orphan_calls(self, worker_id: str, owned: Sequence[str]) -> list[str]:
        """Take each call from its owner."""
        orphans: list[str] = []
        for page in _pages(owned):
            scripts = [
                self._link.script_call(script.ORPHAN, *orphan_args(CallKeys.of(self._keys, sid), worker_id))
                for sid in page
            ]
            replies = await asyncio.gather(*scripts)
            orphans += [
                sid for sid, reply in zip(page, replies, strict=True) if isinstance(orphan_reply(reply), Orphaned)
            ]
        return orphans

    async def _committed(self, envelopes: Sequence[Envelope]) -> dict[tuple[str, int], int]:
        """Return the highest committed number of each call and epoch."""
        places = list({(envelope.call_sid, envelope.epoch) for envelope in envelopes if envelope.n})
        keys = self._keys
        replies = await asyncio.gather(*(self._link.call(b"HGET", keys.call(sid), f"d:{n}") for sid, n in places))
        return {place: int(reply) for place, reply in zip(places, replies, strict=True) if isinstance(reply, bytes)}

    async def _hand_on(self, dispatch: str, again: Redelivery) -> None:
        """Write events to dispatch; return when Redis has them."""
        written = [self._quarantine(dispatch, envelope) for envelope in again.quarantined]
        size_bytes = 0
        for entry in _entries_for(again.by_call):
            size_bytes += sum(map(len, entry))
            written.append(self._append(dispatch, *entry))
            if size_bytes >= PART_BYTES:
                await asyncio.gather(*written)
                written, size_bytes = [], 0
        await asyncio.gather(*written)

    async def _strike_out(self, worker_id: str, dispatch: str, part: Part) -> None:
        """Delete what is written to dispatch: first the one, then the other, which may be on another server.

        Who dies in between leaves it to be handed on once more; the owner knows it by its number.
        """
        keys, call = self._keys, self._link.call
        await asyncio.gather(
            *(call(b"XACK", dispatch, GROUP, *page) for page in _pages(part.pending)),
            *(call(b"XDEL", dispatch, *page) for page in _pages(part.pending)),
            *(call(b"XDEL", keys.taken(worker_id), *page) for page in _pages(part.taken)),
            # Nobody else begins while this one goes on.
            call(b"PEXPIRE", keys.adopting(worker_id), _LOCK_MS),
        )

    def _quarantine(self, dispatch: str, envelope: Envelope) -> "asyncio.Future[Reply]":
        log.error(
            "event quarantined: its handler has killed %d workers",
            envelope.deaths,
            extra={"call_sid": envelope.call_sid, "kind": envelope.kind, "n": envelope.n},
        )
        fields = (b"e", envelope.encode(), b"dispatch", dispatch)
        return self._link.call(b"XADD", self._keys.quarantine, b"MAXLEN", b"~", _QUARANTINE_LENGTH, b"*", *fields)

    async def _forget_worker(self, worker_id: str, estate: _Estate) -> None:
        """Strike out the calls that were taken over, and the worker with them if it has been silent for a lease.

        One that lives is not told apart from one that has just died; so nothing is deleted that it may have got since:
        a new inbox, new calls, new entries of dispatch.
        """
        keys, call = self._keys, self._link.call
        struck_out = [
            *(call(b"SREM", keys.owned(worker_id), *page) for page in _pages(estate.owned)),
            call(b"UNLINK", keys.taken(worker_id)),
            call(b"PEXPIRE", keys.adopting(worker_id), _SETTLED_MS),
        ]
        is_retired, has_inbox, *_ = await asyncio.gather(
            self._link.script_call(script.RETIRE, *retire_args(estate.dispatch, worker_id)),
            call(b"EXISTS", keys.inbox(worker_id)),
            *struck_out,
        )
        # With entries pending again it is adopted once more: it lives, or it hangs and Redis gave its blocked read what
        # was sent to the others, because it had not told yet by which connection it reads.
        if is_retired and not has_inbox and await self._is_buried(keys.workers, worker_id):
            await call(b"PEXPIRE", keys.worker(worker_id), self._lease_ms)
            await call(b"UNLINK", keys.owned(worker_id), keys.begun(worker_id))

    async def _is_buried(self, registry: str, process_id: str) -> bool:
        return bury_reply(await self._link.script_call(script.BURY, *bury_args(registry, process_id, self._lease_ms)))

    async def _tell_detached(self, call_sid: str, left: Abandoned) -> None:
        """Let the owner, or whoever becomes it, wait for jambonz to reconnect."""
        envelope = notice(call_sid, kinds.DETACHED, self._now_ms())
        if left.owner:
            inbox = self._keys.inbox(left.owner)
            if await self._link.call(b"XADD", inbox, b"NOMKSTREAM", b"*", b"e", envelope.encode()) is not None:
                return
        await self._append(self._keys.dispatch(left.app), envelope.encode())

    def _append(self, stream: str, *envelopes: bytes) -> "asyncio.Future[Reply]":
        fields = [part for envelope in envelopes for part in (b"e", envelope)]
        return self._link.call(b"XADD", stream, b"*", *fields)

    async def _members(self, key: str) -> list[str]:
        members = await self._link.call(b"SMEMBERS", key)
        assert isinstance(members, list)
        return sorted(member.decode() for member in members)


def _entries_for(calls: Iterable[Sequence[Envelope]]) -> Iterable[list[bytes]]:
    """Yield the envelopes of each entry: of one call, in order."""
    for call in calls:
        entry: list[bytes] = []
        for envelope in call:
            entry.append(envelope.encode())
            if len(entry) >= ENTRY_EVENTS or sum(map(len, entry)) >= ENTRY_BYTES:
                yield entry
                entry = []
        if entry:
            yield entry


def _pages(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(items), _PAGE):
        yield items[start : start + _PAGE]


def _nothing(reply: Any) -> None:
    """The reader may have gone with its process, the inbox with its TTL."""
