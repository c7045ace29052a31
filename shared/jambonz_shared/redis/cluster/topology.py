"""Finds out who is who in a Redis Cluster, from any of its servers that answers."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from jambonz_shared.redis.cluster.slots import SlotTable
from jambonz_shared.redis.endpoint import CONNECT_LIMIT_S, Address, UrlEndpoint, host_and_port, split_hosts
from jambonz_shared.redis.errors import code_of
from jambonz_shared.redis.wire import reason_of
from jambonz_shared.runtime.patience import within

SCHEMES: Final = ("redis+cluster", "rediss+cluster")
_DEFAULT_PORT: Final = 6379

# A third of the time a connection may take (endpoint.CONNECT_LIMIT_S): two servers whose hosts are gone must not keep
# a third one from being asked.
_ASK_LIMIT_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class ClusterUrl:
    """The parts of ``redis+cluster://[user:password@]host[:port][,host[:port]...][/0][?options]``.

    Attributes:
        seeds: Servers to ask first; one that answers is enough, it names the others.
        server: What stands before and behind host and port in the URL of a server.
    """

    seeds: tuple[Address, ...]
    server: tuple[str, str]

    @classmethod
    def parse(cls, url: str) -> "ClusterUrl":
        """Return the parts.

        Raises:
            ValueError: If the URL is not of this form; the text does not repeat it, it may hold a password.
        """
        parts, credentials, hosts = split_hosts(url)
        if parts.scheme not in SCHEMES or not hosts:
            raise ValueError("Redis URL: expected redis+cluster://[user:password@]host[:port][,host[:port]...]")
        if parts.path.strip("/") not in ("", "0"):
            raise ValueError("Redis URL: a Redis Cluster has database 0 only")
        scheme = parts.scheme.removesuffix("+cluster")
        login = f"{credentials}@" if credentials else ""
        query = f"?{parts.query}" if parts.query else ""
        seeds = tuple(host_and_port(host, _DEFAULT_PORT) for host in hosts.split(","))
        return cls(seeds, (f"{scheme}://{login}", f"/0{query}"))


class Topology:
    """The servers of a cluster, as the last answer named them.

    Attributes:
        ask_limit_s: How long one server is waited for. It grows while none of them answers in time, so that those
            which are only slow (TLS and a login, on a busy machine) are heard out in the end.

    Raises:
        ValueError: If the URL is not as ``ClusterUrl`` says, or has a bad option.
    """

    def __init__(self, url: str) -> None:
        self.ask_limit_s = _ASK_LIMIT_S
        self._url = ClusterUrl.parse(url)
        # Checks the options once.
        self.endpoint(self._url.seeds[0])
        self._masters: frozenset[Address] = frozenset()
        self._replicas: frozenset[Address] = frozenset()

    @property
    def name(self) -> str:
        """The seeds, without credentials."""
        return f"redis+cluster://{','.join(map(str, self._url.seeds))}"

    def endpoint(self, address: Address) -> UrlEndpoint:
        """Return the way to one server."""
        return UrlEndpoint(str(address).join(self._url.server))

    async def discover(self) -> SlotTable:
        """Ask one server after the other for the slots; return the first answer.

        It may be that of a server which does not know yet: whoever is sent on (MOVED) asks again.

        Raises:
            redis.RedisError, OSError: If none knows.
        """
        # Masters first: who moves a slot tells them (redis-cli --cluster reshard), replicas may hear of it late. Not
        # always the same one first: it may be the one that is cut off from the others.
        masters = random.sample(list(self._masters), len(self._masters))
        refusal: RedisError | None = None
        reasons: dict[Address, str] = {}
        for address in dict.fromkeys((*masters, *self._replicas, *self._url.seeds)):
            try:
                table = await within(self.ask_limit_s, self._slots(address))
            except (RedisError, OSError) as error:
                # TimeoutError is an OSError. A wrong password is worth more words than a server that is away.
                refusal = error if isinstance(error, RedisError) and code_of(error) else refusal
                reasons[address] = "" if isinstance(error, TimeoutError) else _why_not(error)
                continue
            self.ask_limit_s = _ASK_LIMIT_S
            self._masters, self._replicas = table.masters, table.servers - table.masters
            return table
        raise refusal or self._nobody_knows(reasons)

    def _nobody_knows(self, reasons: Mapping[Address, str]) -> RedisConnectionError:
        """Return what to raise when all were asked in vain; ``reasons`` are empty for those that were too slow."""
        late = f"no answer within {self.ask_limit_s:g} s"
        if not any(reasons.values()):
            self.ask_limit_s = min(2 * self.ask_limit_s, CONNECT_LIMIT_S)
        # Those of the URL, in its order, so that the same trouble is told by the same words.
        told = "; ".join(dict.fromkeys(reasons[seed] or late for seed in self._url.seeds))
        return RedisConnectionError(f"no server of the Redis Cluster knows all slots: {told}")

    async def connect(self, key: str) -> AbstractConnection:
        """Return an open connection to the master of a key, as ``Endpoint.connect`` says."""
        table = await self.discover()
        return await self.endpoint(table.owner(key)).connect()

    async def _slots(self, address: Address) -> SlotTable:
        connection: Any = await self.endpoint(address).connect()
        try:
            await connection.send_command("CLUSTER", "SLOTS")
            return SlotTable.of(await connection.read_response(), address)
        finally:
            await connection.disconnect(nowait=True)


def _why_not(error: Exception) -> str:
    if isinstance(error, ResponseError):
        # "ERR This instance has cluster support disabled"; refusals with a code of their own are told by that.
        return "it is no Redis Cluster"
    return reason_of(error)


@dataclass(frozen=True, slots=True)
class KeyEndpoint:
    """The master of one key, whoever that is at each connect."""

    topology: Topology
    key: str

    @property
    def name(self) -> str:
        """The cluster, without credentials."""
        return self.topology.name

    async def connect(self) -> AbstractConnection:
        """Return an open connection, as ``Endpoint.connect`` says."""
        return await self.topology.connect(self.key)
