"""The hot path to a Redis Cluster: a Link for each master, commands go to the one that has their key."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NoReturn, TypeAlias

from jambonz_shared.redis import script as lua
from jambonz_shared.redis.cluster.group import run_with_group
from jambonz_shared.redis.cluster.slots import SLOTS, SlotTable, routed, slot_of
from jambonz_shared.redis.cluster.topology import KeyEndpoint, Topology
from jambonz_shared.redis.command import Argument
from jambonz_shared.redis.endpoint import Address
from jambonz_shared.redis.errors import LinkDown, ResponseError, code_of
from jambonz_shared.redis.link import Link, OnReply
from jambonz_shared.redis.script import Script, sharded
from jambonz_shared.redis.wire import FAILURES_PER_LINE, TICK_S, WEATHER, Reply, reason_of

log = logging.getLogger(__name__)

OnTable: TypeAlias = Callable[[SlotTable], object]

# While a master is missing the servers are asked so often who has taken its place. An election takes half a second at
# least (Redis Cluster specification, "Replica election"), so this adds little.
_ASK_EVERY_S: Final = 0.2

# All masters of a table must be reached within this time, or the table is old.
_JOIN_LIMIT_S: Final = 0.5

# A server that has no slots any more still answers what was sent to it before.
_RETIRE_S: Final = 1.0

# Redis says these of a slot that moves. Nothing has been done then, so the command is repeated, after a pause where
# the target is not known yet, or the keys of one script are on two servers (TRYAGAIN).
_REDIRECTIONS: Final = frozenset({"MOVED", "ASK", "TRYAGAIN"})
_PAUSE_S: Final = 0.02
_TRIES: Final = 250

# What else may only mean: not now, and nobody knows whether here. The cluster is looked at anew.
_CODES_OF_DOWN: Final = frozenset({"CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN"})


class ClusterLink(Link):
    """A Link to a whole cluster. Make it inside the running loop.

    As with one Redis, it is up or down: up while every slot has a master that is connected. When one is lost, all are
    told ``on_down``, and ``on_up`` when the cluster is whole again, so that everything is said again that one server
    may have lost. Replies come in the order of the commands for each slot, not over slots. A command whose slot moves
    is repeated by itself, behind those sent before it.

    ``PING`` is answered when all that was sent before has been answered, whatever its slot.
    """

    def __init__(self, topology: Topology, *, name: str = "link", scripts: Sequence[Script] = lua.ALL) -> None:
        super().__init__(KeyEndpoint(topology, name), name=name, scripts=())
        self._topology = topology
        self._scripts = tuple(map(sharded, scripts))
        self._servers: dict[Address, Link] = {}
        self._masters: list[Link] = []
        nobody = Link(KeyEndpoint(topology, name), name=name, scripts=())
        self._owners: list[Link] = [nobody] * SLOTS
        self._detours: dict[int, _Detour] = {}
        self._group: asyncio.TaskGroup
        self._tasks: dict[Link, asyncio.Task[None]] = {}
        self._table: SlotTable | None = None
        self._table_listeners: list[OnTable] = []
        self._wish = asyncio.Event()
        self._failures = 0

    async def run(self) -> None:
        """Keep the links to all masters up until cancelled; follows fail-overs and slots that move."""
        try:
            await run_with_group(self._keep_up)
        finally:
            self._go_down()

    def on_table(self, listener: OnTable) -> None:
        """Call the listener each time the cluster has been asked who has which slot; at once if that is known."""
        self._table_listeners.append(listener)
        if self._table:
            listener(self._table)

    def ask_again(self) -> None:
        """Ask the cluster who has which slot: somebody has met a server that no longer has one."""
        self._wish.set()

    @property
    def in_flight(self) -> int:
        """Commands whose reply has not come yet."""
        detained = sum(len(detour.returned) + len(detour.later) for detour in self._detours.values())
        return sum(master.in_flight for master in self._masters) + detained

    @property
    def nodes(self) -> Sequence[Link]:
        """A Link to each master."""
        return self._masters

    def node_of(self, key: str) -> Link:
        """Return the Link to the server that has a key now."""
        return self._owners[slot_of(key)]

    def server(self, address: Address) -> Link | None:
        """Return the Link to a server, if there is one."""
        return self._servers.get(address)

    def send(self, on_reply: OnReply, *args: Argument) -> None:
        """Send a command to the master of its key; otherwise as ``Link.send``.

        Raises:
            TypeError: If it has no key, or an argument is none of bytes, str, int, float.
        """
        if args[0] == b"PING":
            self._ping(on_reply)
            return
        key, args = routed(args)
        self._route(_Errand(self, on_reply, slot_of(key), args))

    def script(self, on_reply: OnReply, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> None:
        """Run a script at the master of its first key; otherwise as ``Link.script``."""
        key = keys[0]
        assert isinstance(key, str | bytes)
        self._route(_Errand(self, on_reply, slot_of(key), args, sharded(script), keys))

    def _route(self, errand: "_Errand") -> None:
        if not self.is_up:
            self._loop.call_soon(self._deliver, errand.on_reply, LinkDown(sent=False))
        elif self._detours and errand.slot in self._detours:
            self._detours[errand.slot].later.append(errand)
        else:
            errand.start(self._owners[errand.slot])

    # Slots that move.

    def redirected(self, errand: "_Errand", error: ResponseError) -> None:
        """Take a command back that a server has refused because it does not have the slot, or not all of it."""
        errand.tries += 1
        if not self.is_up or errand.tries > _TRIES:
            self._deliver(errand.on_reply, LinkDown(sent=False))
            return
        if error.code in _CODES_OF_DOWN:
            self._deliver(errand.on_reply, LinkDown(sent=False))
            self._loop.call_soon(self._go_down)
            return
        errand.guest_of = self._host_of(errand.slot, error)
        detour = self._detours.get(errand.slot)
        if detour is None:
            assert errand.server is not None
            detour = self._detours[errand.slot] = _Detour()
            # Replies of a server come in order: with this one, those of all commands for the slot are here.
            errand.server.send(partial(self._have_returned, errand.slot, detour), b"PING")
        detour.returned.append(errand)

    def _host_of(self, slot: int, error: ResponseError) -> Link | None:
        """Note where a slot has gone; return whose guest a command for a slot on its way is, None if it is at home."""
        if error.code == "TRYAGAIN":
            return None
        address = Address.parse(str(error).split(" ")[2])
        server = self._servers.get(address)
        if error.code == "ASK":
            server = server or self._linked(address)
            return server if server.is_up else None
        self._wish.set()
        if server and server.is_up:
            self._owners[slot] = server
        return None

    def _have_returned(self, slot: int, detour: "_Detour", reply: Reply) -> None:
        del reply
        self._loop.call_later(_PAUSE_S, self._go_on, slot, detour)

    def _go_on(self, slot: int, detour: "_Detour") -> None:
        if self._detours.get(slot) is not detour:
            return
        del self._detours[slot]
        for errand in (*detour.returned, *detour.later):
            self._route(errand)

    def _ping(self, on_reply: OnReply) -> None:
        if not self.is_up:
            self._loop.call_soon(self._deliver, on_reply, LinkDown(sent=False))
        elif self._detours:
            self._loop.call_later(_PAUSE_S, self._ping, on_reply)
        else:
            barrier = _Barrier(on_reply, len(self._masters))
            for master in self._masters:
                master.send(barrier, b"PING")

    # Up and down.

    async def _keep_up(self, group: asyncio.TaskGroup) -> NoReturn:
        self._group = group
        while True:
            await self._come_up()
            await self._stay_up()

    async def _come_up(self) -> None:
        while not await self._is_whole():
            # Jitter: processes that lost the same server must not all ask in the same millisecond.
            await asyncio.sleep(_ASK_EVERY_S * random.uniform(0.5, 1.0))  # noqa: S311
        self._failures = 0
        self.is_up = True
        self.refusal = ""
        self.connects += 1
        self._up_event.set()
        log.info("redis cluster link is up", extra={"connection": self._name, "connects": self.connects})
        self._tell(self._up_listeners)

    async def _is_whole(self) -> bool:
        try:
            await self._ask()
        except WEATHER as error:
            self._failures += 1
            refusals = [code_of(error), *[server.refusal for server in self._servers.values()]]
            self.refusal = next(filter(None, refusals), "")
            if self._failures % FAILURES_PER_LINE == 1:
                reason = self.refusal or reason_of(error)
                log.warning(
                    "redis cluster is not whole",
                    extra={"connection": self._name, "redis": self._topology.name, "reason": reason},
                )
            return False
        return True

    async def _stay_up(self) -> None:
        while self.is_up:
            self.last_reply_at_s = min(master.last_reply_at_s for master in self._masters)
            # Asked at most this often: hundreds of slots may move in a second.
            await asyncio.sleep(TICK_S)
            if not self._wish.is_set():
                continue
            try:
                await self._ask()
            except WEATHER:
                self._go_down()

    async def _ask(self) -> None:
        """Ask for the slots, and take the table over when all its masters are there and well.

        Raises:
            One of ``WEATHER``: If it is no good yet.
        """
        self._wish.clear()
        table = await self._topology.discover()
        masters = {address: self._servers.get(address) or self._linked(address) for address in table.masters}
        async with asyncio.timeout(_JOIN_LIMIT_S):
            await asyncio.gather(*(master.wait_up() for master in masters.values()))
            await asyncio.gather(*map(_must_be_well, masters.values()))
        # One that was well may have been lost while the others were asked: who is not up yet does not hear of that.
        if not all(master.is_up for master in masters.values()):
            raise LinkDown(sent=False)
        self._owners = [masters[address] for address in table.owners]
        self._masters = list(masters.values())
        for address in self._servers.keys() - masters.keys():
            self._retire(address)
        self._table = table
        self._tell([partial(listener, table) for listener in self._table_listeners])

    def _linked(self, address: Address) -> Link:
        server = Link(self._topology.endpoint(address), name=self._name, scripts=self._scripts)
        server.linger_s = self.linger_s
        server.on_failure = self.on_failure
        self._servers[address] = server
        server.on_down(partial(self._server_down, address, server))
        self._tasks[server] = self._group.create_task(server.run())
        return server

    def _retire(self, address: Address) -> None:
        server = self._servers.pop(address)
        self._loop.call_later(_RETIRE_S, self._tasks.pop(server).cancel)

    def _server_down(self, address: Address, server: Link) -> None:
        if server in self._masters and self._servers.get(address) is server:
            self._go_down()

    def _go_down(self) -> None:
        if not self.is_up:
            return
        self.is_up = False
        self._up_event.clear()
        detours, self._detours = self._detours, {}
        for detour in detours.values():
            for errand in (*detour.returned, *detour.later):
                self._deliver(errand.on_reply, LinkDown(sent=False))
        self._tell(self._down_listeners)


@dataclass(slots=True)
class _Detour:
    """Commands for a slot that moves: those that have come back, and those that came after them."""

    returned: list["_Errand"] = field(default_factory=list)
    later: list["_Errand"] = field(default_factory=list)


class _Errand:
    """A command until it has been answered; it is its own callback, so that it costs one object."""

    __slots__ = ("args", "guest_of", "keys", "link", "on_reply", "script", "server", "slot", "tries")

    def __init__(
        self,
        link: ClusterLink,
        on_reply: OnReply,
        slot: int,
        args: Sequence[Argument],
        script: Script | None = None,
        keys: Sequence[Argument] = (),
    ) -> None:
        self.link = link
        self.on_reply = on_reply
        self.slot = slot
        self.args = args
        self.script = script
        self.keys = keys
        self.server: Link | None = None
        self.guest_of: Link | None = None
        self.tries = 0

    def start(self, server: Link) -> None:
        """Send it to the server that has its slot, or that takes the slot over and is asked for it."""
        if self.guest_of is not None:
            server, self.guest_of = self.guest_of, None
            server.send(_ignore, b"ASKING")
        self.server = server
        if self.script is None:
            server.send(self, *self.args)
        else:
            server.script(self, self.script, self.keys, self.args)

    def __call__(self, reply: Reply) -> None:
        """Take the reply."""
        if reply.__class__ is ResponseError and _is_of_the_cluster(reply):
            self.link.redirected(self, reply)
        else:
            self.on_reply(reply)


class _Barrier:
    """Gives one reply when all servers have replied: the first error, if there was one."""

    __slots__ = ("awaited", "on_reply", "reply")

    def __init__(self, on_reply: OnReply, awaited: int) -> None:
        self.on_reply = on_reply
        self.awaited = awaited
        self.reply: Reply = b"PONG"

    def __call__(self, reply: Reply) -> None:
        """Take the reply of one server."""
        if isinstance(reply, Exception) and not isinstance(self.reply, Exception):
            self.reply = reply
        self.awaited -= 1
        if not self.awaited:
            self.on_reply(self.reply)


def _is_of_the_cluster(error: ResponseError) -> bool:
    return error.code in _REDIRECTIONS or error.code in _CODES_OF_DOWN


async def _must_be_well(server: Link) -> None:
    info = await server.call(b"CLUSTER", b"INFO")
    if not isinstance(info, bytes) or b"cluster_state:ok" not in info:
        raise LinkDown(sent=False)


def _ignore(reply: Reply) -> None:
    """The command behind ASKING tells how it went."""
