"""Sharded pub/sub: a connection to each master of a Redis Cluster, each channel on the one that has its slot."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Final, NoReturn

from jambonz_shared.redis.channels import Channels, OnMessage, OnReady
from jambonz_shared.redis.cluster.group import run_with_group
from jambonz_shared.redis.cluster.link import ClusterLink
from jambonz_shared.redis.cluster.slots import SlotTable, slot_of
from jambonz_shared.redis.cluster.topology import KeyEndpoint, Topology
from jambonz_shared.redis.endpoint import Address
from jambonz_shared.redis.wire import TICK_S, Reply

log = logging.getLogger(__name__)


class ShardChannels(Channels):
    """The channels of one master.

    Attributes:
        on_moved: Called when the master says that a channel is no longer, or never was, one of its own.
    """

    _SUBSCRIBE: ClassVar = b"SSUBSCRIBE"
    _UNSUBSCRIBE: ClassVar = b"SUNSUBSCRIBE"
    _PUBLISH: ClassVar = b"SPUBLISH"
    _MESSAGE: ClassVar = b"smessage"
    # All channels of one command have to be of one slot.
    _per_command: ClassVar = 1

    on_moved: Callable[[bytes | None], object]

    def _on_other(self, reply: Reply) -> None:
        match reply:
            case [b"sunsubscribe", bytes(channel), int()] if channel not in self._unconfirmed:
                # Nobody has asked for it: the slot has gone to another server.
                self._handlers.pop(channel, None)
                self._ready.pop(channel, None)
                self.on_moved(channel)
            case Exception():
                self.on_moved(None)
                super()._on_other(reply)
            case _:
                super()._on_other(reply)


class ClusterChannels(Channels):
    """Subscriptions in a whole cluster, kept up by ``run``; otherwise as ``Channels``.

    A channel whose slot moves, or whose master dies, is subscribed at its new master; ``on_resubscribed`` is called
    when all such channels are there, because messages may have been lost meanwhile.
    """

    def __init__(
        self,
        topology: Topology,
        link: ClusterLink,
        canary: str,
        on_resubscribed: Callable[[], object] | None = None,
        *,
        name: str = "channels",
    ) -> None:
        super().__init__(KeyEndpoint(topology, canary), link, canary, on_resubscribed, name=name)
        self._topology: Final = topology
        self._cluster: Final = link
        self._canary_name: Final = canary
        self._table: SlotTable | None = None
        self._shards: dict[Address, ShardChannels] = {}
        self._canaries: dict[Address, str] = {}
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        self._places: dict[bytes, ShardChannels] = {}
        # Channels that have to be confirmed before what was lost meanwhile can be looked up.
        self._moving: set[bytes] = set()
        # Channels that were confirmed once: if they move, messages may have been lost.
        self._heard: set[bytes] = set()
        self._group: asyncio.TaskGroup

    async def run(self) -> None:
        """Keep the subscriptions up until cancelled; follows fail-overs and slots that move."""
        await run_with_group(self._keep_up)

    async def _keep_up(self, group: asyncio.TaskGroup) -> NoReturn:
        self._group = group
        self._cluster.on_table(self._follow)
        while True:
            self.is_up = bool(self._shards) and not self._moving and all(map(_is_up, self._shards.values()))
            await asyncio.sleep(TICK_S)

    def subscribe(self, channel: bytes, on_message: OnMessage, on_ready: OnReady | None = None) -> None:
        """As ``Channels.subscribe``."""
        self._handlers[channel] = on_message
        if on_ready is None:
            self._ready.pop(channel, None)
        else:
            self._ready[channel] = on_ready
        self._place(channel)

    def unsubscribe(self, channel: bytes) -> None:
        """As ``Channels.unsubscribe``."""
        if self._handlers.pop(channel, None) is None:
            return
        self._ready.pop(channel, None)
        self._moving.discard(channel)
        self._heard.discard(channel)
        if shard := self._places.pop(channel, None):
            shard.unsubscribe(channel)

    def _place(self, channel: bytes) -> None:
        """Subscribe a channel where its slot is; as soon as anybody knows where."""
        shard = self._shards.get(self._table.owner(channel)) if self._table else None
        if shard is not None:
            self._places[channel] = shard
            shard.subscribe(channel, self._handlers[channel], partial(self._confirmed_at, channel, shard))

    def _confirmed_at(self, channel: bytes, shard: ShardChannels) -> None:
        if self._places.get(channel) is not shard:
            return
        self._heard.add(channel)
        on_ready = self._ready.pop(channel, None)
        if on_ready is not None:
            self._call(on_ready)
        if channel in self._moving:
            self._moving.discard(channel)
            if not self._moving:
                self._caught_up()

    def _caught_up(self) -> None:
        self.connects += 1
        log.info("channels subscribed again", extra={"connection": self._name, "channels": len(self._handlers)})
        if self._on_resubscribed is not None:
            self._call(self._on_resubscribed)

    # Where the slots are.

    def _follow(self, table: SlotTable) -> None:
        """Have a connection to each master, and each channel where its slot is."""
        self._table = table
        for address in table.masters:
            canary = self._canaries.get(address, "")
            if not canary or table.owner(canary) != address:
                self._part_with(address)
                self._connect(address, table)
        for address in self._shards.keys() - table.masters:
            self._part_with(address)
        for channel in self._handlers:
            place = self._places.get(channel)
            if place is None or place is not self._shards.get(table.owner(channel)):
                if place is not None:
                    place.unsubscribe(channel)
                if channel in self._heard:
                    self._moving.add(channel)
                self._place(channel)

    def _connect(self, address: Address, table: SlotTable) -> None:
        link = self._cluster.server(address)
        if link is None:
            return
        canary = self._canaries[address] = _canary_at(self._canary_name, address, table)
        shard = ShardChannels(self._topology.endpoint(address), link, canary, self._caught_up, name=self._name)
        shard.on_moved = self._moved
        self._shards[address] = shard
        self._tasks[address] = self._group.create_task(shard.run())

    def _part_with(self, address: Address) -> None:
        self._canaries.pop(address, None)
        self._shards.pop(address, None)
        if task := self._tasks.pop(address, None):
            task.cancel()

    def _moved(self, channel: bytes | None) -> None:
        if channel is not None:
            self._places.pop(channel, None)
        self._cluster.ask_again()


def _is_up(shard: ShardChannels) -> bool:
    return shard.is_up


def _canary_at(name: str, address: Address, table: SlotTable) -> str:
    """Return a channel like ``name`` whose slot a server has: each connection needs a canary of its own."""
    number = 0
    while table.owners[slot_of(canary := name.replace("}", f"-{number}}}"))] != address:
        number += 1
    return canary
