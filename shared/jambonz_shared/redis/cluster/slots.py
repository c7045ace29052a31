"""Which server of a Redis Cluster has which key, and what a command has to look like there."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ConnectionError as RedisConnectionError

from jambonz_shared.redis.command import Argument
from jambonz_shared.redis.endpoint import Address

SLOTS: Final = REDIS_CLUSTER_HASH_SLOTS

# Names of live calls come again with each event; a name that was forgotten costs a microsecond.
_NAMES_KEPT: Final = 65_536

# The place of the key is the second argument but for these.
_KEY_AT: Final[dict[Argument, int]] = {b"XGROUP": 2, b"XINFO": 2, b"PUBSUB": 2}

# They ask one server, not the cluster: the answer differs from server to server.
_OF_A_SERVER: Final = frozenset({b"TIME", b"CLIENT", b"SCAN", b"INFO", b"CONFIG", b"KEYS", b"FLUSHALL", b"WAIT"})


@dataclass(frozen=True, slots=True)
class SlotTable:
    """Who is the master of each slot.

    Attributes:
        owners: An address for each of the 16,384 slots.
        masters: The servers that have slots.
        servers: Every server that was named, replicas included.
    """

    owners: tuple[Address, ...]
    masters: frozenset[Address]
    servers: frozenset[Address]

    def owner(self, key: str | bytes) -> Address:
        """Return the master of a key, or of a sharded channel."""
        return self.owners[slot_of(key)]

    @classmethod
    def of(cls, reply: Any, asked: Address) -> "SlotTable":
        """Read the reply of CLUSTER SLOTS by the server ``asked``.

        Raises:
            redis.ConnectionError: If a slot has no master: the cluster is not made yet, or a part of it is lost.
        """
        owners: list[Address | None] = [None] * SLOTS
        servers: set[Address] = set()
        for first, last, *nodes in reply:
            addresses = [_address(node, asked) for node in nodes]
            servers.update(addresses)
            owners[first : last + 1] = [addresses[0]] * (last + 1 - first)
        whole = tuple(owner for owner in owners if owner is not None)
        if len(whole) < SLOTS:
            raise RedisConnectionError(f"{SLOTS - len(whole)} slots of the Redis Cluster have no master")
        return cls(whole, frozenset(whole), frozenset(servers))


@lru_cache(_NAMES_KEPT)
def slot_of(key: str | bytes) -> int:
    """Return the slot of a key or a sharded channel: of what is between its first braces, if there is something."""
    return key_slot(key.encode() if isinstance(key, str) else key)


def routed(args: tuple[Argument, ...]) -> tuple[str | bytes, tuple[Argument, ...]]:
    """Return the key that decides where a command goes, and the command as a cluster understands it.

    PUBLISH becomes SPUBLISH and PUBSUB NUMSUB (of one channel) PUBSUB SHARDNUMSUB: in a cluster all channels are
    sharded.

    Raises:
        TypeError: If the command has no key: it is for one server (``Link.node_of``, ``Link.nodes``).
    """
    name = args[0]
    if name == b"PUBLISH":
        args = (b"SPUBLISH", *args[1:])
    elif name == b"PUBSUB":
        if len(args) != 3:
            raise TypeError("PUBSUB in a cluster: expected NUMSUB and one channel")
        args = (b"PUBSUB", b"SHARDNUMSUB", args[2])
    elif name in _OF_A_SERVER:
        raise TypeError(f"{name!r} is no command for a cluster: send it to one of its servers")
    key = args[_KEY_AT.get(name, 1)]
    if not isinstance(key, str | bytes):
        raise TypeError(f"expected a key in {name!r}, got {type(key).__name__}")
    return key, args


def _address(node: Any, asked: Address) -> Address:
    # Without a name the server that was asked means itself (cluster-preferred-endpoint-type unknown-endpoint).
    host = node[0].decode() if isinstance(node[0], bytes) else node[0]
    return Address(host if host and host != "?" else asked.host, node[1])
