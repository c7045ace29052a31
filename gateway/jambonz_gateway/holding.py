"""How many bytes of what jambonz has sent are kept: by each socket, and by the process. Pure."""

from typing import Final

# The first message of a call with all its SIP headers: a new caller must not go before old Notices of others.
_SHARE_BYTES: Final = 16_384


class Pool:
    """What all sockets of a process keep together, and what waits for Redis.

    Attributes:
        used_bytes: How much that is now.
    """

    __slots__ = ("_limit_bytes", "share_bytes", "used_bytes")

    def __init__(self, limit_bytes: int, sockets_max: int) -> None:
        """Allow so much for all; when it is used up, each of ``sockets_max`` sockets may keep its share, or 16 KiB."""
        self._limit_bytes: Final = limit_bytes
        self.share_bytes: Final = max(limit_bytes // sockets_max, min(limit_bytes // 64, _SHARE_BYTES))
        self.used_bytes = 0

    @property
    def is_over(self) -> bool:
        """True while more is kept than allowed."""
        return self.used_bytes > self._limit_bytes


class Stock:
    """What one socket keeps. Some that keep much must not take the room of those that keep little.

    Attributes:
        used_bytes: How much that is now.
    """

    __slots__ = ("_pool", "limit_bytes", "used_bytes")

    def __init__(self, pool: Pool, limit_bytes: int) -> None:
        self._pool: Final = pool
        self.limit_bytes: Final = limit_bytes
        self.used_bytes = 0

    @property
    def is_over(self) -> bool:
        """True while it keeps more than it may: over its limit, or over its share of a process that keeps too much."""
        used_bytes = self.used_bytes
        return used_bytes > self.limit_bytes or (used_bytes > self._pool.share_bytes and self._pool.is_over)

    def put(self, size_bytes: int) -> None:
        """Keep so much more; less if it is negative."""
        self.used_bytes += size_bytes
        self._pool.used_bytes += size_bytes


class Pools:
    """The two of a process.

    Attributes:
        held: Events that cannot be published yet.
        unanswered: Hooks that wait for their ack, wherever they are.
    """

    __slots__ = ("held", "unanswered")

    def __init__(self, limit_bytes: int = 1 << 26, sockets_max: int = 1) -> None:
        """Allow so much of each."""
        self.held: Final = Pool(limit_bytes, sockets_max)
        self.unanswered: Final = Pool(limit_bytes, sockets_max)
