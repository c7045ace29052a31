"""Reads one stream, alone or as a member of a consumer group, on a connection of its own."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias

import hiredis

from jambonz_shared.redis.command import pack_command
from jambonz_shared.redis.endpoint import CONNECT_LIMIT_S, Endpoint
from jambonz_shared.redis.errors import ResponseError, WireLost
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.wire import INCOMPLETE, SILENT_TICKS_LIMIT, TICK_S, Reply, Wire, keep_connected
from jambonz_shared.runtime.patience import wait_at_most

log = logging.getLogger(__name__)

Entry: TypeAlias = tuple[bytes, list[bytes]]
OnEntries: TypeAlias = Callable[[list[Entry]], object]
Credits: TypeAlias = Callable[[], int]

BEGINNING: Final = b"0-0"

# Redis answers a blocked read at the latest after this time, so that a dead connection is told from a quiet stream.
# Longer saves next to nothing (one command per reader), shorter costs wake-ups.
BLOCK_MS: Final = 2000

# Entries of one read: enough to spread the cost of a round trip, few enough to leave the loop within a millisecond.
COUNT: Final = 100


@dataclass(frozen=True, slots=True)
class GroupMember:
    """Who reads as what.

    Attributes:
        consumer: Name in the group; after a restart under the same name, what was delivered to it and not
            acknowledged is delivered again.
        credits: Asked before each read how many entries may come; 0 waits for ``StreamReader.poke``.
    """

    group: str
    consumer: str
    credits: Credits


@dataclass(frozen=True, slots=True)
class Source:
    """What to read, and how much of it at a time.

    Attributes:
        member: None reads the stream alone.
        count: Entries of one read at most.
        most: As ``count``, as long as each read gets all it may: it doubles up to this and falls back to ``count``.
        block_ms: How long Redis lets a read wait for entries.
    """

    key: str
    member: GroupMember | None = None
    count: int = COUNT
    block_ms: int = BLOCK_MS
    most: int = 0


class StreamReader:
    """Hands the entries of a stream to a callback, in order. Make it inside the running loop.

    The callback gets ``[(entry id, [field values])]``, and nothing else is read until it returns. If it raises, that
    is logged and told the ``link``, and its entries are not delivered again.

    Alone (the inbox), every entry comes once as long as Redis keeps its data, over any number of lost connections:
    the reader goes on after the last id it has seen. If Redis has lost data, so that ids now end before that one, it
    begins anew, and entries that are still there come again. As a group member (dispatch) likewise: after a
    lost connection it first asks for what Redis had delivered to it in a reply that never came; a vanished group is
    made again at the beginning of the stream.

    Attributes:
        is_up: Whether the connection stands.
        client_id: Number that Redis has given the newest connection; 0 before the first.
        on_numbered: Called when a connection has got its ``client_id``, before it reads.
        on_refused: Called when Redis has refused a read: most often, because it has lost its data.
    """

    def __init__(
        self, endpoint: Endpoint, link: Link, source: Source, on_entries: OnEntries, *, name: str = "stream"
    ) -> None:
        """Use the ``link`` to end a blocked read when the reader is stopped."""
        self.is_up = False
        self._endpoint = endpoint
        self._link = link
        self._source_key = source.key
        self._key = source.key.encode()
        self._on_entries = on_entries
        self._member = source.member
        self._name = name
        self._count = self._least = source.count
        self._most = max(source.count, source.most)
        self._block_ms = source.block_ms
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self.client_id = 0
        self.on_numbered: Callable[[], object] = _nothing
        self.on_refused: Callable[[], object] = _nothing
        self._last_id = BEGINNING
        self._is_reading = False
        # Redis may have delivered to us what a lost connection kept from us; it is asked for that first.
        self._is_reading_history = False
        self._asked: deque[asyncio.Future[Reply]] = deque()
        self._is_stopping = False
        self._finished = asyncio.Event()

    async def run(self) -> None:
        """Read until stopped or cancelled; reconnects by itself.

        Cancelling drops a reply that may be on its way (a group keeps its entries as pending, to be claimed by
        others); ``stop`` waits for it.
        """
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(keep_connected(self._endpoint, self._name, self._on_data, self._serve))
            await self._finished.wait()
            keeping.cancel()

    async def stop(self) -> None:
        """Start no more reads, let the one under way hand on what it got, and make ``run`` return.

        Takes a round trip, or as long as a read blocks if the link is down.
        """
        self._is_stopping = True
        while self._is_reading:
            # Repeated, because a read may come to Redis after the command that is to end it.
            self._link.node_of(self._source_key).send(_ignore, b"CLIENT", b"UNBLOCK", self.client_id)
            await wait_at_most(self._finished, TICK_S)
        self._finished.set()

    def poke(self) -> None:
        """Tell that there are credits again. Cheap; may be called at any time."""
        if self.is_up and not self._is_reading:
            self._read()

    # A read, its reply, the next read: no task is woken in between.

    def _read(self) -> None:
        if self._is_stopping:
            self._finished.set()
        if self._wire is None or self._is_reading or self._is_stopping:
            return
        count = self._count
        if self._member is not None:
            count = min(count, self._member.credits())
            if count <= 0:
                return
        self._is_reading = True
        self._wire.transport.write(self._read_command(count))

    def _read_command(self, count: int) -> bytes:
        if self._member is None:
            return pack_command(
                (b"XREAD", b"COUNT", count, b"BLOCK", self._block_ms, b"STREAMS", self._key, self._last_id)
            )
        after = self._last_id if self._is_reading_history else b">"
        group = (b"XREADGROUP", b"GROUP", self._member.group, self._member.consumer)
        return pack_command((*group, b"COUNT", count, b"BLOCK", self._block_ms, b"STREAMS", self._key, after))

    def _on_data(self, reader: hiredis.Reader) -> None:
        while (reply := reader.gets()) is not INCOMPLETE:
            if self._asked:
                asked = self._asked.popleft()
                if not asked.done():
                    asked.set_result(reply)
            else:
                self._on_read(reply)

    def _on_read(self, reply: Any) -> None:
        self._is_reading = False
        if isinstance(reply, ResponseError):
            # NOGROUP or UNBLOCKED: Redis lost its data; the next connection makes the group again.
            assert self._wire is not None
            self.is_up = False
            self._loop.call_soon(self._wire.drop, f"read refused: {reply.code}")
            self._loop.call_soon(self.on_refused)
            return
        entries = reply[0][1] if reply else None
        self._count = min(2 * self._count, self._most) if entries and len(entries) >= self._count else self._least
        if entries:
            self._last_id = entries[-1][0]
            self._hand_on(entries)
            # Behind what they have caused to be sent: that is awaited, and Redis wakes once for both.
            self._loop.call_soon(self._read)
            return
        self._is_reading_history = False
        self._read()

    def _hand_on(self, entries: list[list[Any]]) -> None:
        # Without values: pending for us, but deleted since.
        present = [(entry[0], entry[1][1::2]) for entry in entries if entry[1] is not None]
        try:
            self._on_entries(present)
        except Exception:
            self._link.on_failure()
            log.exception("handler of stream entries failed", extra={"connection": self._name})

    # The life of a connection.

    async def _serve(self, wire: Wire) -> NoReturn:
        self._wire = wire
        wire.on_lost(self._wire_lost)
        async with asyncio.timeout(CONNECT_LIMIT_S):
            await self._prepare(wire)
        wire.must_stand()
        self.is_up = True
        self._read()
        await wire.watch(self._tick)

    async def _prepare(self, wire: Wire) -> None:
        client_id = await self._ask(wire, b"CLIENT", b"ID")
        if isinstance(client_id, ResponseError):
            raise client_id
        if not isinstance(client_id, int):
            raise WireLost("CLIENT ID gave no number")
        lost_id, self.client_id = self.client_id, client_id
        self.on_numbered()
        if self._member is None:
            if self._last_id != BEGINNING and await self._is_stream_new(wire):
                self._last_id = BEGINNING
            return
        # Redis may not know yet that the connection before is lost, and would give an entry to the read that waits
        # there, behind our look at what is pending. Not KILL: after a fail-over the number may be somebody else's.
        await self._ask(wire, b"CLIENT", b"UNBLOCK", str(lost_id))
        created = await self._ask(wire, b"XGROUP", b"CREATE", self._key, self._member.group, b"0", b"MKSTREAM")
        if not isinstance(created, ResponseError):
            self._last_id = BEGINNING
        elif created.code != "BUSYGROUP":
            raise created
        self._is_reading_history = True

    async def _is_stream_new(self, wire: Wire) -> bool:
        """Whether the ids of the stream now end before the last one seen, so that new ones may lie before it too."""
        info = await self._ask(wire, b"XINFO", b"STREAM", self._key)
        if isinstance(info, ResponseError):
            if info.code == "ERR":  # no such key
                return True
            raise info
        assert isinstance(info, list)
        names_values: dict[bytes, Any] = dict(zip(info[::2], info[1::2], strict=True))
        return _id_order(names_values[b"last-generated-id"]) < _id_order(self._last_id)

    async def _ask(self, wire: Wire, *command: bytes | str) -> Reply:
        """Return the reply to one command while nothing is read; a refusal is a value."""
        reply: asyncio.Future[Reply] = self._loop.create_future()
        self._asked.append(reply)
        wire.transport.write(pack_command(command))
        return await reply

    def _tick(self) -> None:
        assert self._wire is not None
        if not self._is_reading:
            self._wire.silent_ticks = 0
            return
        # A read may be silent for as long as it blocks, and then for as long as a stalled Redis is borne with.
        self._wire.count_silence(math.ceil(self._block_ms / 1000 / TICK_S) + SILENT_TICKS_LIMIT)

    def _wire_lost(self) -> None:
        self._wire = None
        self.is_up = False
        self._is_reading = False
        asked, self._asked = self._asked, deque()
        for reply in asked:
            if not reply.done():
                reply.set_exception(WireLost("lost while it was prepared"))
        if self._is_stopping:
            self._finished.set()


def _id_order(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence)


def _ignore(reply: Reply) -> None:
    """Whether a read was ended does not matter: its reply comes in any case."""


def _nothing() -> None:
    """Nobody wants to know."""
