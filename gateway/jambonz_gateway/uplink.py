"""Events on their way to Redis streams: packed per tick, kept while Redis is away, never reordered."""

import asyncio
from collections import OrderedDict, deque
from functools import partial
from typing import Final, Protocol

from jambonz_gateway.holding import Pool
from jambonz_gateway.metrics import Metrics
from jambonz_shared import kinds
from jambonz_shared.envelope import ENTRY_BYTES, ENTRY_EVENTS, Envelope
from jambonz_shared.keys import Keys
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.wire import Reply

# Redis refuses writes for a while when it is out of memory; asking more often would not help it.
_RETRY_S: Final = 0.2


class Origin(Protocol):
    """Who published an event: takes it back if its inbox is gone."""

    app_name: str

    def returned(self, worker_id: str, envelope: Envelope) -> None:
        """Find another way for ``envelope``."""


Item = tuple[Origin, str, Envelope]


class Uplink:
    """Appends Envelopes to ``dispatch`` and to inboxes.

    While Redis is away events wait here in order, up to the limit of ``pool``, in which what sockets hold counts as
    well; beyond it the oldest Notices are dropped first, then the oldest events, and counted. An event whose fate is
    unknown is sent again: workers drop what they have seen (same call, epoch and n).

    Attributes:
        backlog_bytes: Events waiting for Redis.
        apps: Those to whose ``dispatch`` something was appended.
    """

    def __init__(self, link: Link, keys: Keys, metrics: Metrics, *, pool: Pool) -> None:
        self._link: Final = link
        self._keys: Final = keys
        self._metrics: Final = metrics
        self._tally: Final = metrics.tally
        self._pool: Final = pool
        self._loop: Final = asyncio.get_running_loop()
        # By app and worker id; the names of the streams are made once per tick.
        self._gathered: dict[tuple[str, str], list[Item]] = {}
        # In the order of coming, and which of them are Notices: after a long outage there are tens of thousands, and
        # each event that comes then makes one go.
        self._backlog: OrderedDict[int, Item] = OrderedDict()
        self._notices: deque[int] = deque()
        self._kept = 0
        self._retry: asyncio.TimerHandle | None = None
        self.in_flight = 0
        self.backlog_bytes = 0
        self.apps: Final[set[str]] = set()

    def publish(self, origin: Origin, worker_id: str, envelope: Envelope) -> None:
        """Append ``envelope`` to the inbox of ``worker_id``, or to its app's dispatch when that is empty."""
        item = (origin, worker_id, envelope)
        if self._backlog or not self._link.is_up:
            self._keep(item)
            return
        if not self._gathered:
            self._loop.call_soon(self._flush)
        place = ("" if worker_id else origin.app_name, worker_id)
        items = self._gathered.get(place)
        if items is None:
            self._gathered[place] = [item]
        else:
            items.append(item)

    def resume(self) -> None:
        """Send what has waited, because Redis is back; call it after the calls are attached again."""
        self._retry = None
        self._pool.used_bytes -= self.backlog_bytes
        backlog, self._backlog, self.backlog_bytes = self._backlog, OrderedDict(), 0
        self._notices.clear()
        for item in backlog.values():
            self.publish(*item)

    @property
    def is_idle(self) -> bool:
        """True when every event has been taken by Redis."""
        return not (self._gathered or self._backlog or self.in_flight)

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, {}
        for (app, worker_id), items in gathered.items():
            key = self._keys.inbox(worker_id) if worker_id else self._keys.dispatch(app)
            if not worker_id:
                self.apps.add(app)
            # Calls that come together must not all go to the one worker that reads first.
            entry_events = ENTRY_EVENTS if worker_id else 1
            entry: list[Item] = []
            size_bytes = 0
            for item in items:
                entry.append(item)
                size_bytes += len(item[2].body)
                if len(entry) >= entry_events or size_bytes > ENTRY_BYTES:
                    self._append(key, entry)
                    entry, size_bytes = [], 0
            if entry:
                self._append(key, entry)

    def _append(self, key: str, entry: list[Item]) -> None:
        fields: list[bytes] = []
        for _, _, envelope in entry:
            fields += (b"e", envelope.encode())
        option = (b"NOMKSTREAM", b"*") if entry[0][1] else (b"*",)
        self.in_flight += 1
        self._link.send(partial(self._appended, entry), b"XADD", key, *option, *fields)

    def _appended(self, entry: list[Item], reply: Reply) -> None:
        self.in_flight -= 1
        if isinstance(reply, Exception):
            if self._link.is_up:
                self._metrics.count_refusal(reply)
            for item in entry:
                self._keep(item)
            self._retry_later()
        elif reply is None:
            self._metrics.returned += len(entry)
            for origin, worker_id, envelope in entry:
                origin.returned(worker_id, envelope)
        else:
            self._tally.published += len(entry)

    def _retry_later(self) -> None:
        """Try again soon if Redis answers but refuses; a broken link calls ``resume`` itself."""
        if self._link.is_up and self._retry is None:
            self._retry = self._loop.call_later(_RETRY_S, self.resume)

    def _keep(self, item: Item) -> None:
        self._kept += 1
        self._backlog[self._kept] = item
        if _is_notice(item[2]):
            self._notices.append(self._kept)
        self._count(len(item[2].body))
        while self._backlog and self._pool.is_over:
            dropped = self._backlog.pop(self._notices.popleft() if self._notices else next(iter(self._backlog)))
            self._count(-len(dropped[2].body))
            self._metrics.sessions["event_dropped"] += 1

    def _count(self, size_bytes: int) -> None:
        self.backlog_bytes += size_bytes
        self._pool.used_bytes += size_bytes


def _is_notice(envelope: Envelope) -> bool:
    return envelope.kind != kinds.ENDED and not kinds.kind_of(envelope.kind).is_hook
