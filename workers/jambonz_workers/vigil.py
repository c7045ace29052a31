"""Watches the other processes and adopts those that die."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from jambonz_shared.keys import Keys
from jambonz_shared.redis.errors import LinkError, ResponseError, code_of
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.registry import heartbeats
from jambonz_workers.adoption import Adopted, Adopter
from jambonz_workers.metrics import WorkerMetrics
from jambonz_workers.watch import Watch

log = logging.getLogger(__name__)

# Four polls without a subscriber are a death (watch.ZEROS_OF_DEATH), so a crash is known within 100 ms.
_POLL_S: Final = 0.025
# A lasting fault must not take all of Redis' time; a death is found out half a second later then.
_AFTER_FAILURE_S: Final = 0.5
# Nor must it fill the log: one line for each of its reasons, and one a minute.
_FAILURES_PER_LINE: Final = 120
# Heartbeats come every 0.5 s and are good for a lease of 2 s; looking five times a second finds a hang within 2.2 s.
_LOOK_S: Final = 0.2


class Vigil:
    """Looks after workers and gateways, as long as ``run`` runs."""

    def __init__(self, link: Link, keys: Keys, watch: Watch, adopter: Adopter, metrics: WorkerMetrics) -> None:
        self._link: Final = link
        self._keys: Final = keys
        self._workers: Final = watch
        # A dead gateway is known by its heartbeat only: its calls reconnect without us.
        self._gateways: Final = Watch(watch.me, watch.lease_s)
        self._adopter: Final = adopter
        self._metrics: Final = metrics
        self._loop: Final = asyncio.get_running_loop()
        self._peers: list[str] = []
        self._looks_at_s = 0.0
        link.on_up(self._link_up)
        link.on_down(self._link_down)
        if link.is_up:
            self._link_up()

    async def run(self) -> None:
        """Watch until cancelled. Trouble with Redis is waited out."""
        refusals = Counter[str]()
        while True:
            await asyncio.sleep(self._pause_s())
            if not self._link.is_up:
                continue
            try:
                await self._poll()
                refusals.clear()
            except (LinkError, ResponseError) as error:
                why = code_of(error) or str(error)
                if refusals[why] % _FAILURES_PER_LINE == 0:
                    log.warning("watching other processes failed; trying again", extra={"why": why})
                refusals[why] += 1
                await asyncio.sleep(_AFTER_FAILURE_S)
            except Exception:
                # Our own fault, and a worker that no longer watches would only be missed when another one dies.
                self._metrics.failures.inc()
                log.exception("watching other processes failed; trying again")
                await asyncio.sleep(_AFTER_FAILURE_S)

    def _pause_s(self) -> float:
        # Alone, there is nobody whose subscription could vanish.
        if self._workers.neighbours(self._peers):
            return _POLL_S
        return max(_POLL_S, self._looks_at_s - self._loop.time())

    async def _poll(self) -> None:
        if self._loop.time() >= self._looks_at_s:
            self._looks_at_s = self._loop.time() + _LOOK_S
            await self._look_at_heartbeats()
        await self._look_at_subscriptions()

    async def _look_at_heartbeats(self) -> None:
        (now_ms, beats), (gateways_now_ms, gateways) = await asyncio.gather(
            heartbeats(self._link, self._keys.workers), heartbeats(self._link, self._keys.gateways)
        )
        for watch in (self._workers, self._gateways):
            watch.own_heartbeat(self._loop.time(), now_ms, beats.get(watch.me))
        for peer in set(self._peers) - beats.keys():
            self._workers.forget(peer)
        self._peers = list(beats)
        await self._bury(self._workers, self._workers.overdue(now_ms, beats), self._adopter.adopt_worker)
        await self._bury(self._gateways, self._gateways.overdue(gateways_now_ms, gateways), self._adopter.adopt_gateway)

    async def _look_at_subscriptions(self) -> None:
        neighbours = self._workers.neighbours(self._peers)
        if not neighbours:
            return
        # One by one: in a Redis Cluster the channels lie on different servers.
        asked = (self._link.call(b"PUBSUB", b"NUMSUB", self._keys.alive(peer)) for peer in neighbours)
        replies: list[Any] = await asyncio.gather(*asked)
        counts = {peer: int(reply[1]) for peer, reply in zip(neighbours, replies, strict=True)}
        await self._bury(self._workers, self._workers.subscribers(counts), self._adopter.adopt_worker)

    async def _bury(self, watch: Watch, suspects: list[str], adopt: Callable[[str], Awaitable[Adopted | None]]) -> None:
        for process_id in watch.judge(self._loop.time(), suspects):
            adopted = await adopt(process_id)
            if adopted is None:
                continue
            watch.forget(process_id)
            self._metrics.quarantined.inc(adopted.quarantined)
            if not (adopted.is_first or adopted.calls or adopted.events):
                # Tidied up, now that it has been silent for a lease.
                continue
            self._metrics.adoptions.inc()
            log.warning(
                "adopted a dead process",
                extra={"dead": process_id, "calls": adopted.calls, "events": adopted.events},
            )

    def _link_up(self) -> None:
        for watch in (self._workers, self._gateways):
            watch.link_up(self._loop.time())

    def _link_down(self) -> None:
        for watch in (self._workers, self._gateways):
            watch.link_down()
